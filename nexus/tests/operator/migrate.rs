//! `nexus migrate`: the tables are made once, by whoever owns them, and it says which.

use crate::world::World;

const TABLES: &str = "SELECT count(*) FROM pg_class WHERE relname IN ('samples', 'rollup_fives') AND relkind = 'p'";

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_are_brought_up_to_date_once() {
    let world = World::new().await;
    let newest = nexus_common::db::newest();
    // Two at once, and although DB_MIGRATE says that components must not.
    let off = [("DB_MIGRATE", "false")];
    let (one, other) = tokio::join!(world.nexus_with(&["migrate"], &off), world.nexus_with(&["migrate"], &off));
    for answer in [&one, &other] {
        assert_eq!(answer.status, 0, "{} {}", answer.out, answer.err);
        assert!(answer.out.contains(&format!("is at version {newest}")), "{}", answer.out);
    }
    let applied: Vec<_> =
        one.out.lines().chain(other.out.lines()).filter(|line| line.starts_with("applied ")).collect();
    assert_eq!(applied.len(), usize::try_from(newest).unwrap(), "{applied:?}");
    assert_eq!(applied[0], "applied V1__registry_samples_ledger");
    assert_eq!(world.ask::<i64>(TABLES).await, Some(2));

    let again = world.nexus(&["migrate"]).await;
    assert!(again.status == 0 && again.out.ends_with(&format!("is at version {newest} already\n")), "{}", again.out);

    // With its tables there, a collector that may not migrate works.
    let collector = world.start("collector", &off);
    let file = world.file("a.csv", crate::rows::file(50));
    world.publish(&file, &[]).await;
    world.until_accounted(50).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_told_by_the_status() {
    let world = World::new().await;
    for (environment, status, word) in [
        (&[("DB_PASSWORD_FILE", "/no/such/file")][..], 2, "DB_PASSWORD_FILE=/no/such/file"),
        (&[("DB_STARTUP_TIMEOUT", "soon")], 2, "DB_STARTUP_TIMEOUT"),
        (&[("DB_NAME", "not_there")], 1, "not_there"),
        (&[("DB_PORT", "1"), ("DB_STARTUP_TIMEOUT", "0s")], 1, ":1/"),
    ] {
        let answer = world.nexus_with(&["migrate"], environment).await;
        let last = answer.err.lines().last().unwrap_or_default();
        assert!(
            answer.status == status && last.starts_with("nexus: ") && last.contains(word),
            "{status}: {}",
            answer.err
        );
        assert_eq!(answer.out, "");
    }
}
