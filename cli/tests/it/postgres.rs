//! The same project on a database: by configuration alone, with the same answers, and without a trace of the password.

use std::process::Output;

use serde_json::Value;

use crate::support::{self, Project, Site, last_object, text};

const SECTION: &str = "\n[postgres]\nurl = \"env:ONGGI_POSTGRES\"\nschema = \"serving\"\n";

fn objects(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(output));
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_serving_side_moves_to_a_database_and_answers_the_same() {
    let Some(server) = services::postgres() else { return };
    if !support::browser() {
        return;
    }
    let url = server.database();
    let site = Site::new(10, 300);
    let embedded = Project::new(&site);
    embedded.run(0);
    let moved = embedded.copy();
    moved.replace("onggi.toml", "sinks = [\"sqlite\", \"keywords\", \"vectors\"]", "sinks = [\"postgres\"]");
    moved.replace("onggi.toml", "sinks = [\"keywords\"]", "sinks = [\"postgres\"]");
    moved.append("onggi.toml", SECTION);
    let ask = |arguments: &[&str]| moved.command(arguments).env("ONGGI_POSTGRES", &url).output().unwrap();

    let first = ask(&["run", "--json", "--log", "trace"]);
    assert!(first.status.success(), "{}", text(&first));
    assert!(last_object(&first)["synced"].as_u64().unwrap() > 10, "{}", text(&first));
    let second = ask(&["run", "--json"]);
    assert_eq!((&last_object(&second)["synced"], &last_object(&second)["fetched"]), (&0.into(), &0.into()));
    assert_eq!(server.psql(&url, "select count(*) from serving.places").trim(), "10");

    for part in ["국", "맛있", "요"] {
        let arguments = ["search", "--json", "--keyword", part];
        assert_eq!(objects(&ask(&arguments)), objects(&embedded.onggi(&arguments)), "{part}");
    }
    for question in ["비 오는 날 혼자 먹기 좋은 국밥", "조용한 카페에서 데이트"] {
        let arguments = ["search", "--json", question];
        let keys = |hits: &[Value]| hits.iter().map(|hit| hit["key"].clone()).collect::<Vec<_>>();
        assert_eq!(keys(&objects(&ask(&arguments))), keys(&objects(&embedded.onggi(&arguments))), "{question}");
    }
    let doctor = text(&ask(&["doctor"]));
    assert!(doctor.contains("PostgreSQL") && doctor.contains("schema serving"), "{doctor}");
    let wrong =
        moved.command(&["doctor"]).env("ONGGI_POSTGRES", url.replace(services::PASSWORD, "canary-2")).output().unwrap();
    assert!(!wrong.status.success() && text(&wrong).contains("check user and password"), "{}", text(&wrong));
    for output in [&first, &second, &wrong] {
        assert!(!text(output).contains(services::PASSWORD) && !text(output).contains("canary-2"));
    }
}

#[test]
fn a_database_without_its_url_is_told_before_anything_is_done() {
    let project = Project::unpointed();
    project.append("onggi.toml", SECTION);
    let output = project.command(&["doctor"]).env_remove("ONGGI_POSTGRES").output().unwrap();
    assert!(text(&output).contains("environment variable `ONGGI_POSTGRES`"), "{}", text(&output));
}
