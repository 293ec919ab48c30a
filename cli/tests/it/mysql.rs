//! The same project with its marts in MySQL and MariaDB: by configuration alone, compared and repaired, and without a trace of the password.

use crate::support::{self, Project, Site, last_object, text};

const SECTION: &str = "\n[mysql]\nurl = \"env:ONGGI_MYSQL\"\n";

#[test]
fn marts_are_followed_by_mysql_where_the_configuration_says_so() {
    let servers: Vec<_> = [services::mysql(), services::mariadb()].into_iter().flatten().collect();
    if servers.is_empty() || !support::browser() {
        return;
    }
    let site = Site::new(6, 120);
    let embedded = Project::new(&site);
    embedded.run(0);
    for server in servers {
        let url = server.database();
        let beside = embedded.copy();
        beside.replace("onggi.toml", "\"keywords\", \"vectors\"]", "\"keywords\", \"vectors\", \"mysql\"]");
        beside.append("onggi.toml", SECTION);
        let ask = |arguments: &[&str]| beside.command(arguments).env("ONGGI_MYSQL", &url).output().unwrap();

        let first = ask(&["run", "--json", "--log", "trace"]);
        assert!(first.status.success(), "{}", text(&first));
        assert!(last_object(&first)["synced"].as_u64().unwrap() >= 6, "{}", text(&first));
        assert_eq!(server.sql(&url, "select count(*), count(distinct place_id) from places").trim(), "6\t6");
        let second = ask(&["run", "--json"]);
        assert_eq!((&last_object(&second)["synced"], &last_object(&second)["fetched"]), (&0.into(), &0.into()));

        // Somebody was at a row: it is found, and made as its mart.
        server.sql(&url, "update places set name = 'mine' limit 1");
        let found = ask(&["reconcile"]);
        assert!(!found.status.success() && text(&found).contains("mysql"), "{}", text(&found));
        let repaired = ask(&["reconcile", "--repair"]);
        assert!(repaired.status.success(), "{}", text(&repaired));
        assert_eq!(server.sql(&url, "select count(*) from places where name = 'mine'").trim(), "0");

        let doctor = text(&ask(&["doctor"]));
        let name = if server.is_mariadb() { "MariaDB 1" } else { "MySQL " };
        assert!(doctor.contains(name) && doctor.contains("load data local infile"), "{doctor}");
        let other = url.replace(services::PASSWORD, "canary-2");
        let wrong = beside.command(&["doctor"]).env("ONGGI_MYSQL", other).output().unwrap();
        assert!(!wrong.status.success() && text(&wrong).contains("check user and password"), "{}", text(&wrong));
        for output in [&first, &second, &found, &repaired, &wrong] {
            assert!(!text(output).contains(services::PASSWORD) && !text(output).contains("canary-2"));
        }
    }
}

#[test]
fn a_database_without_its_url_is_told_before_anything_is_done() {
    let project = Project::unpointed();
    project.append("onggi.toml", SECTION);
    let output = project.command(&["doctor"]).env_remove("ONGGI_MYSQL").output().unwrap();
    assert!(text(&output).contains("environment variable `ONGGI_MYSQL`"), "{}", text(&output));
}
