//! `onggi doctor` where Athena and Glue are configured.

use serde_json::{Value, json};

use super::{project, publish};
use crate::support::Project;

/// What `onggi doctor` finds about Athena and Glue, with its exit code.
fn doctor(project: &Project) -> (Option<i32>, Vec<Value>) {
    let output = project.onggi(&["doctor", "--json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let findings = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = findings.filter(|it| it["what"] == "athena" || it["what"] == "glue").collect();
    (output.status.code(), found)
}

#[test]
fn the_doctor_looks_at_the_workgroup_and_the_databases_and_makes_none() {
    let Some(aws) = services::aws() else { return };
    let project = project(aws, "doctor_");
    project.run(0);
    let expected = json!([
        { "what": "athena", "fine": true, "hint": null,
          "text": "the answers of the workgroup `primary` go to s3://jar/results/" },
        { "what": "glue", "fine": true, "hint": null, "text": "`onggi catalog publish` makes doctor_raw, doctor_staging, \
          doctor_marts, doctor_ops when there is a table for it" },
    ]);
    for _ in 0..2 {
        assert_eq!(Value::from(doctor(&project).1), expected);
    }
    publish(&project, &[], 0);
    let found = "databases doctor_staging, doctor_marts, doctor_ops are there; `onggi catalog publish` makes doctor_raw \
        when there is a table for it";
    assert_eq!(doctor(&project).1[1]["text"], found);

    // Without the section nobody is asked.
    let other = Project::unpointed();
    assert_eq!(doctor(&other).1, Vec::<Value>::new());
}

#[test]
fn the_doctor_tells_what_keeps_athena_from_answering_and_the_way_out() {
    let Some(aws) = services::aws() else { return };
    let mut project = project(aws, "ill_");
    project.run(0);
    let ill = |project: &Project, what: &str, text: &str, hint: &str| {
        let (code, found) = doctor(project);
        let finding = found.iter().find(|it| it["what"] == what).unwrap();
        let has = |name: &str, part: &str| finding[name].as_str().unwrap_or_default().contains(part);
        assert_eq!((code, &finding["fine"]), (Some(1), &json!(false)), "{found:?}");
        assert!(has("text", text) && has("hint", hint), "`{text}` or `{hint}` is not in {found:?}");
    };
    let file = "onggi.toml";
    project.replace(file, "[athena]\n", "[athena]\nworkgroup = \"nobody\"\n");
    ill(&project, "athena", "there is no workgroup `nobody`", "set `workgroup` under `[athena]`");
    project.replace(file, "workgroup = \"nobody\"\n", "");
    project.replace(file, "output = \"s3://jar/results/\"\n", "");
    ill(&project, "athena", "nothing says where the answers of the workgroup `primary` go", "set `output = ");
    project.replace(file, "location = \"s3://jar/lake\"\n", "");
    ill(&project, "glue", "Athena reads S3 only, and the lake is at file:///", "[lake]");
    project.replace(file, "[athena]\n", "[athena]\nlocation = \"s3://jar/lake\"\noutput = \"s3://jar/results/\"\n");

    let before = std::fs::read_to_string(project.folder.join(file)).unwrap();
    let nobody = format!("http://127.0.0.1:{}", services::guard::free_port());
    std::fs::write(project.folder.join(file), before.replace(aws.endpoint(), &nobody)).unwrap();
    for (what, right) in [("athena", "athena:GetWorkGroup"), ("glue", "glue:GetDatabase")] {
        ill(&project, what, &format!("({right}) got no answer: "), "the endpoints under `[athena]`");
    }
    std::fs::write(project.folder.join(file), before).unwrap();

    project.env.retain(|(name, _)| !name.starts_with("AWS_"));
    project.env.extend(["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"].map(|name| (name, "/nowhere".to_owned())));
    ill(&project, "athena", "expected a region of AWS", "AWS_REGION");
    project.env.push(("AWS_REGION", services::REGION.to_owned()));
    project.env.push(("AWS_EC2_METADATA_DISABLED", "true".to_owned()));
    for what in ["athena", "glue"] {
        ill(&project, what, "credential", "give the machine or task a role");
    }
}
