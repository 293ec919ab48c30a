//! What belongs to others: tables, lakes, projects, indexes, triggers, rights.

use super::*;
use crate::reconcile::{compare, drop_orphan, orphans, repair};
use crate::testing::{name, places};

#[tokio::test]
async fn a_table_that_follows_another_lake_is_refused_until_it_is_adopted() {
    for server in servers() {
        let (prod, dev, url) = (World::new().await, World::new().await, server.database());
        prod.put("marts.places", places(&many(3, 4.0))).await;
        dev.put("marts.places", places(&many(1, 1.0))).await;
        go(&prod, &url, &place_sync()).await;
        let rows = "select count(*), min(rating) from places";
        let by = async |rules: &Rules| sync(&dev.lake, &place_sync(), &serving(&dev, &url), rules, &|_| {}).await;
        let error = by(&Rules::default()).await.unwrap_err();
        assert!(told(&error).contains("follows another lake") && told(&error).contains("--adopt"), "{}", told(&error));
        assert!(compare(&dev.lake, &place_sync(), &serving(&dev, &url)).await.is_err());
        assert_eq!(server.sql(&url, rows), "3\t4\n", "nothing was touched");
        let adopt = Rules { adopt: true, ..Rules::default() };
        repair(&dev.lake, &place_sync(), &serving(&dev, &url), &adopt, &|_| {}).await.unwrap();
        assert_eq!(server.sql(&url, rows), "1\t1\n");
        assert!(by(&Rules::default()).await.unwrap().is_up_to_date());
        assert!(sync(&prod.lake, &place_sync(), &serving(&prod, &url), &Rules::default(), &|_| {}).await.is_err());
    }
}

#[tokio::test]
async fn what_belongs_to_others_is_left_alone() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        world.put("marts.places", places(&many(3, 4.0))).await;
        server.sql(&url, "create table places (mine int); insert into places values (1)");
        let refused = async |target: &SyncTarget, options: MysqlOptions| {
            let serving = world.serving().with(Arc::new(Mysql::new(&options).unwrap()));
            told(&sync(&world.lake, target, &serving, &Rules::default(), &|_| {}).await.unwrap_err())
        };
        let error = refused(&place_sync(), options(&url)).await;
        assert!(error.contains("is not ours") && error.contains("another database"), "{error}");
        assert_eq!(server.sql(&url, "select mine from places"), "1\n");
        server.sql(&url, "drop table places; create view places as select 1 as x");
        assert!(refused(&place_sync(), options(&url)).await.contains("no plain table"));
        server.sql(&url, "drop view places");
        go(&world, &url, &place_sync()).await;

        let error = refused(&place_sync(), MysqlOptions { project: "another".into(), ..options(&url) }).await;
        assert!(error.contains("kept by the project `test`"), "{error}");
        world.put("marts.staging_x", places(&many(1, 4.0))).await;
        world.put("staging.x", places(&many(1, 4.0))).await;
        go(&world, &url, &SyncTarget { table: name("staging.x"), ..place_sync() }).await;
        let error = refused(&SyncTarget { table: name("marts.staging_x"), ..place_sync() }, options(&url)).await;
        assert!(error.contains("would both be the table"), "{error}");

        // Tables that no target asks for any more are named, and go when they are told to.
        let with = serving(&world, &url);
        let found = orphans(&world.lake, &with, &[place_sync()]).await.unwrap();
        assert_eq!(found.iter().map(|it| it.table.to_string()).collect::<Vec<_>>(), ["staging.x"]);
        drop_orphan(&with, &found[0], &|| {}).await.unwrap();
        assert_eq!(tables(server, &url), ["places"]);

        // A watermark or a comment that was lost: the table is ours by its hashes, and is made anew.
        server.sql(&url, "drop table _onggi_sync");
        assert_eq!(go(&world, &url, &place_sync()).await.upserted, 3);
        server.sql(&url, "alter table places comment = 'somebody'");
        assert_eq!(go(&world, &url, &place_sync()).await.upserted, 3);
        assert_eq!(tables(server, &url), ["places"]);
    }
}

#[tokio::test]
async fn a_table_in_anothers_place_has_its_rights_views_and_indexes() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        world.put("marts.places", places(&many(3, 4.0))).await;
        go(&world, &url, &place_sync()).await;
        let database = url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
        let reader = format!("reader_{}", database.rsplit('_').next().unwrap());
        server.sql(
            &url,
            &format!(
                "create user {reader} identified by 'x'; grant select on {database}.places to {reader};
                 create view v as select place_id, name from places;
                 create index mine on places (rating desc); create unique index both_of on places (name(20), rating)"
            ),
        );
        let anew = SyncTarget { key: "place_id".into(), entity: review_sync().entity, ..place_sync() };
        assert_eq!(go(&world, &url, &anew).await.upserted, 3, "another role is another table");
        let index = "select distinct index_name from information_schema.statistics \
             where table_schema = database() and table_name = 'places' order by 1";
        let mut found: Vec<String> = server.sql(&url, index).lines().map(str::to_owned).collect();
        found.sort();
        assert_eq!(found, ["PRIMARY", "_onggi_entity", "both_of", "mine"]);
        assert_eq!(server.sql(&url, "select count(*) from v"), "3\n");
        assert!(server.sql(&url, &format!("show grants for {reader}")).contains("`places`"));
        server.sql(&url, &format!("drop user {reader}"));
    }
}

#[tokio::test]
async fn what_a_new_table_cannot_get_refuses_the_swap() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        world.put("marts.places", places(&many(3, 4.0))).await;
        go(&world, &url, &place_sync()).await;
        let anew = SyncTarget { entity: review_sync().entity, ..place_sync() };
        let collation = server.sql(&url, "select collation_name from information_schema.columns where table_schema = database() and table_name = 'places' and column_name = 'place_id'");
        let child = format!(
            "create table notes (place varchar(768) character set utf8mb4 collate {}, constraint of_place foreign key (place) references places (place_id))",
            collation.trim()
        );
        for (make, expected, drop) in [
            (
                "create trigger watch before update on places for each row set @x = 1",
                "the trigger watch",
                "drop trigger watch",
            ),
            (child.as_str(), "the foreign key of_place of notes", "drop table notes"),
            (
                "alter table places add constraint good check (rating > 0)",
                "the check good",
                "alter table places drop constraint good",
            ),
        ] {
            server.sql(&url, make);
            let (failed, again) = counted(&world, &serving(&world, &url), &anew).await;
            let error = told(&failed.unwrap_err());
            assert!(error.contains(expected) && error.contains("would be lost") && again.is_empty(), "{error}");
            // A table that is not made anew keeps it.
            assert!(go(&world, &url, &place_sync()).await.is_up_to_date());
            server.sql(&url, drop);
        }
        assert_eq!(go(&world, &url, &anew).await.upserted, 3);
    }
}
