//! The same line on the real parts, by configuration alone: S3, SQS, Postgres with pgvector, an OpenAI-compatible server.

use std::collections::BTreeSet;

use llm_replica::LlmReplica;

use crate::support::{self, Project, Site, text};

/// The profile that `onggi init` writes, pointed at servers of this machine.
pub(crate) fn project(site: &Site, servers: &Servers) -> Project {
    let mut project = Project::unpointed();
    let file = "onggi.cloud.toml";
    let bucket = servers.s3.bucket();
    let lake = format!("uri = \"s3://{bucket}/reviews\"\nendpoint = \"{}\"", servers.s3.endpoint());
    project.replace(file, "uri = \"s3://my-team-lake/reviews\"", &lake);
    let (queue, _) = servers.aws.queue();
    let queue = format!("uri = \"sqs://{queue}\"\nendpoint = \"{}\"", servers.aws.endpoint());
    project.replace(file, "uri = \"sqs://onggi-tasks\"", &queue);
    project.replace(file, "region = \"ap-northeast-2\"", &format!("region = \"{}\"", services::REGION));
    let athena = format!(
        "output = \"s3://{bucket}/answers/\"\nendpoint = \"{0}\"\nglue_endpoint = \"{0}\"",
        servers.aws.endpoint()
    );
    project.replace(file, "output = \"s3://my-team-lake/athena-results/\"", &athena);
    project.append(file, &site.hosts());
    project.env = vec![
        ("ONGGI_CONFIG", file.to_owned()),
        ("AWS_ACCESS_KEY_ID", servers.s3.access_key().to_owned()),
        ("AWS_SECRET_ACCESS_KEY", servers.s3.secret_key().to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("ONGGI_IDENTITY_KEY", "a key that only these tests know".to_owned()),
        ("ONGGI_POSTGRES", servers.postgres.database()),
        ("OPENAI_API_KEY", "sk-test".to_owned()),
    ];
    project
}

/// Points the project's language model at a replica.
pub(crate) fn ask(project: &Project, model: &LlmReplica) {
    project.replace("onggi.cloud.toml", "https://api.openai.com/v1", model.url());
}

/// What the profile needs.
pub(crate) struct Servers {
    pub s3: &'static services::S3,
    pub aws: &'static services::Aws,
    pub postgres: &'static services::Postgres,
}

/// The servers, or `None` after it was said which one is missing.
pub(crate) fn servers() -> Option<Servers> {
    Some(Servers { s3: services::s3()?, aws: services::aws()?, postgres: services::postgres()? })
}

#[test]
fn the_cloud_profile_gives_the_same_tables_and_answers() {
    if !support::browser() {
        return;
    }
    let Some(servers) = servers() else { return };
    let site = Site::new(20, 400);
    let embedded = Project::new(&site);
    embedded.run(0);

    let cloud = project(&site, &servers);
    // The texts of two providers differ; the rows can be equal only with one.
    cloud.replace("onggi.cloud.toml", "provider = \"openai\"", "provider = \"local\"");
    let doctor = cloud.onggi(&["doctor"]);
    assert!(doctor.status.success(), "{}", text(&doctor));
    let first = cloud.run(0);
    assert_eq!(first["status"], "done");
    assert_eq!(cloud.tables(), embedded.tables());

    let second = cloud.run(0);
    for name in ["fetched", "landed", "set_aside", "built", "summarised", "embedded", "synced"] {
        assert_eq!(second[name], 0, "{name} in {second}");
    }

    let url = &cloud.env.iter().find(|(name, _)| *name == "ONGGI_POSTGRES").unwrap().1;
    assert_eq!(servers.postgres.psql(url, "select count(*) from serving.places").trim(), "20");
    for word in ["국", "혼자", "비 오는 날"] {
        assert_eq!(found(&cloud, word), found(&embedded, word), "{word}");
    }
}

/// The places whose text has `word`.
fn found(project: &Project, word: &str) -> BTreeSet<String> {
    let output = project.onggi(&["search", "--json", "--keyword", word]);
    assert!(output.status.success(), "{}", text(&output));
    let keys = String::from_utf8(output.stdout).unwrap();
    keys.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].to_string()).collect()
}
