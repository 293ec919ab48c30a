//! The same project with its lake in a bucket: by configuration alone, and with the same rows at the end.

use std::os::unix::process::ExitStatusExt;

use serde_json::Value;

use crate::support::{self, Project, Site, text};

/// Points a project at a fresh bucket, with a configuration beside its own; `None` without a server, which has been said.
fn in_a_bucket(project: &mut Project) -> Option<String> {
    let server = services::s3()?;
    let uri = format!("s3://{}/lakes/reviews", server.bucket());
    let own = std::fs::read_to_string(project.folder.join("onggi.toml")).unwrap();
    let lake = format!("uri = \"{uri}\"\nendpoint = \"{}\"\n\n[aws]\nregion = \"us-east-1\"", server.endpoint());
    assert!(own.contains("uri = \"lake\""), "{own}");
    let file = project.folder.join("cloud.toml");
    std::fs::write(&file, own.replacen("uri = \"lake\"", &lake, 1)).unwrap();
    project.env = vec![
        ("ONGGI_CONFIG", file.display().to_string()),
        ("AWS_ACCESS_KEY_ID", server.access_key().to_owned()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key().to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_CONFIG_FILE", "/nowhere".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere".to_owned()),
    ];
    Some(uri)
}

#[test]
fn a_lake_in_a_bucket_has_the_same_rows_and_a_second_run_does_nothing() {
    let site = Site::new(4, 60);
    let mut cloud = Project::new(&site);
    let Some(uri) = in_a_bucket(&mut cloud) else { return };
    if !support::browser() {
        return;
    }
    let first = cloud.run(0);
    assert!(first["fetched"].as_i64() > Some(60) && first["requests"]["put"].as_u64() > Some(0), "{first}");
    let second = cloud.run(0);
    for name in ["fetched", "landed", "set_aside", "built", "summarised", "embedded", "synced"] {
        assert_eq!(second[name], 0, "{name} in {second}");
    }
    let requests = &second["requests"];
    println!("requests of the first run: {}\nof the second: {requests}", first["requests"]);
    let total: u64 =
        ["put", "get", "head", "list", "delete"].iter().map(|kind| requests[*kind].as_u64().unwrap()).sum();
    assert!(total < 220, "an idle run asks {total} times: {requests}");

    let status = text(&cloud.onggi(&["status", "--last", "1"]));
    assert!(status.contains("requests: ") && status.contains(" put, "), "{status}");
    let recorded = cloud.sql("select totals from ops.runs order by started_at limit 1");
    let totals: Value = serde_json::from_str(recorded[0]["totals"].as_str().unwrap()).unwrap();
    assert_eq!(totals["put_requests"], first["requests"]["put"]);

    let doctor = text(&cloud.onggi(&["doctor"]));
    let server = services::s3().unwrap().endpoint();
    assert!(doctor.contains(&format!("{uri}/ at {server}, conditional writes proved, ")), "{doctor}");
    assert!(!doctor.contains(services::SECRET_KEY), "{doctor}");

    // The embedded parts are in the project, and nothing of the lake is.
    assert!(!cloud.folder.join("lake").exists());
    let house = uri.replace("s3://", ".onggi/s3/");
    assert!(cloud.folder.join(house).join("serving").is_dir());

    let local = Project::new(&site);
    local.run(0);
    let tables = |project: &Project| -> Vec<_> {
        project.contents().into_iter().filter(|(name, _)| name != "serving").collect()
    };
    assert_eq!(tables(&local), tables(&cloud));
}

#[test]
fn killed_around_a_commit_to_a_bucket_and_run_again_the_rows_are_there_once() {
    let site = Site::new(3, 20);
    let local = Project::new(&site);
    if services::s3().is_none() || !support::browser() {
        return;
    }
    let run = ["run", "--quiet", "--select", "+staging.places"];
    let rows = |project: &Project| project.sql("select place_id, name from staging.places order by place_id");
    assert!(local.onggi(&run).status.success());
    for point in ["catalog.files.after", "catalog.commit.before", "catalog.commit.after", "run.record.before"] {
        let mut cloud = Project::new(&site);
        in_a_bucket(&mut cloud);
        let killed = cloud.command(&run).env("ONGGI_FAILPOINT", point).output().unwrap();
        assert_eq!(killed.status.signal(), Some(9), "{point} was not reached\n{}", text(&killed));
        let again = cloud.onggi(&run);
        assert!(again.status.success(), "{point}\n{}", text(&again));
        assert_eq!(rows(&cloud), rows(&local), "{point}");
        assert_eq!(cloud.number("select count(*) from raw.naver_places"), 3, "{point}");
    }
}

#[test]
fn a_bucket_that_is_not_there_is_one_clear_error() {
    let mut project = Project::unpointed();
    if in_a_bucket(&mut project).is_none() {
        return;
    }
    let output = project.onggi(&["status", "--lake", "s3://no-such-bucket/x"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let shown = text(&output);
    assert!(shown.contains("error: cannot reach the lake `s3://no-such-bucket/x/`: there is no bucket"), "{shown}");
    assert!(shown.contains("hint: make the bucket, or correct `uri` under `[lake]` in onggi.toml"), "{shown}");
}
