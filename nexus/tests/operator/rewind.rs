//! `nexus rewind`: what was lost with a PostgreSQL that was restored is read once more.

use std::process::Stdio;

use nexus_common::testing::eventually;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::rows::{expected, file};
use crate::world::{PATIENCE, World};

impl World {
    /// As if PostgreSQL had been restored, and these batches had come later.
    async fn lose(&self, rows_before: &str, values: &str) {
        self.alter(&format!("DELETE FROM ledger WHERE rows_before {rows_before}")).await;
        self.alter(&format!("DELETE FROM samples WHERE energy_millijoules {values}")).await;
    }
}

#[tokio::test]
async fn a_streamer_that_is_publishing_goes_on_from_there_by_itself() {
    let world = World::new().await;
    let path = world.file("a.csv", file(8_000));
    let collector = world.ready_collector().await;
    let mut streamer = world.waiting_streamer(path.to_str().unwrap(), 140);
    eventually("rows flow", PATIENCE, async || world.accounted().await > 1_000).await;
    world.lose("BETWEEN 400 AND 550", "BETWEEN 400 AND 599").await;
    let said = world.nexus(&["rewind", "--all"]).await;
    assert!(said.status == 0 && said.out.contains("put back to row 400"), "{} {}", said.out, said.err);
    streamer.go_on().await;
    streamer.succeeds().await;
    assert!(streamer.log().contains("etcd went back in time"), "{}", streamer.log());
    world.is_drained().await;
    world.values_are(&expected(0, 8_000)).await;
    let audit = world.nexus(&["audit", "--file", path.to_str().unwrap(), "--deep"]).await;
    assert_eq!(audit.status, 0, "{} {}", audit.out, audit.err);
    collector.stop().await;
}

#[tokio::test]
async fn a_hole_at_the_beginning_or_the_end_is_read_again_by_the_next_streamer() {
    let world = World::new().await;
    // Blank lines: lines are counted as ever.
    let path = world.file("a.csv", file(500).replace('\n', "\n\n"));
    let path = path.to_str().unwrap();
    let collector = world.ready_collector().await;
    let streamed = async || world.start("streamer", &[("CSV_FILE", path)]).succeeds().await;
    streamed().await;
    world.is_drained().await;
    let cases = [
        ("= 400", ">= 400", 100, 400, 801),
        // Of several holes the first.
        ("IN (100, 300)", "BETWEEN 100 AND 399", 200, 100, 201),
        ("= 0", "< 100", 100, 0, 1),
    ];
    for (rows_before, values, lost, row, after_line) in cases {
        world.lose(rows_before, values).await;
        let would = world.json(&["rewind", "--all", "--dry-run", "--json"]).await;
        let lane = would["rewound"][0]["lane"].as_str().unwrap();
        assert_eq!(world.cursor(lane).await.unwrap().rows, 500, "a dry run changes nothing");
        let said = world.json(&["rewind", "--all", "--json"]).await;
        assert_eq!(said, would);
        let rewound = &said["rewound"][0];
        assert_eq!(
            (&rewound["row"], &rewound["lost"], &rewound["after_line"]),
            (&json!(row), &json!(lost), &json!(after_line))
        );
        // Once more is no more.
        let again = world.json(&["rewind", "--all", "--json"]).await;
        assert!(matches!(again["rewound"][0]["read_again"].as_u64(), None | Some(0)), "{again}");
        streamed().await;
        world.is_drained().await;
        let audit = world.nexus(&["audit", "--file", path, "--deep"]).await;
        assert_eq!(audit.status, 0, "{} {}", audit.out, audit.err);
        world.values_are(&expected(0, 500)).await;
    }
    assert!(world.nexus(&["rewind", "--all"]).await.out.contains("no rows are lost"));
    let acts = world.json_lines(&["actions", "--json"]).await;
    let kinds: Vec<_> = acts.iter().map(|act| &act["action"]).collect();
    assert_eq!(kinds, ["rewind"; 3], "each is noted once, and no dry run");
    collector.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_again_is_left_and_said() {
    let world = World::new().await;
    let collector = world.ready_collector().await;
    let path = world.file("a.csv", file(300));
    let name = path.to_str().unwrap();
    let left = async |why: &str| {
        let said = world.nexus(&["rewind", "--all"]).await;
        assert!(
            said.status == 1 && said.out.contains(why) && said.err.contains("100 rows left"),
            "{} {}",
            said.out,
            said.err
        );
    };

    // A loop: a later pass has other times.
    let mut looping =
        world.start("streamer", &[("CSV_FILE", name), ("LOOP_MODE", "true"), ("STREAM_INTERVAL", "10ms")]);
    world.until_accounted(600).await;
    looping.signal(Signal::SIGTERM);
    looping.succeeds().await;
    world.is_drained().await;
    world.alter("DELETE FROM ledger WHERE rows_before = 100").await;
    left("LOOP_MODE").await;
    world.alter("DELETE FROM ledger").await;
    world.client().await.txn(nexus_common::etcd::Txn::new().and_then(lanes(&world).await)).await.unwrap();

    // A file that is another one now.
    world.start("streamer", &[("CSV_FILE", name)]).succeeds().await;
    world.is_drained().await;
    world.alter("DELETE FROM ledger WHERE rows_before = 100").await;
    let row = |value: u64| format!(",,,,{value},");
    let (first_row, moved) = (file(300).replace(&row(0), &row(1)), file(300).replace(&row(50), &row(5)));
    // As long as before, and the last row where it was.
    let moved = moved.replace(&row(150), &row(1_500));
    for (changed, why) in [
        (file(299), "the last row that was published is not where it was"),
        (first_row, "is another file now"),
        (moved, "no row ends at byte"),
    ] {
        world.file("a.csv", changed);
        left(why).await;
    }
    std::fs::remove_file(&path).unwrap();
    left("a.csv").await;
    world.file("a.csv", file(300));
    assert_eq!(world.nexus(&["rewind", "--all"]).await.status, 0);
    world.start("streamer", &[("CSV_FILE", name)]).succeeds().await;
    world.is_drained().await;

    // A stream.
    let input = std::fs::File::open(world.file("b.csv", crate::rows::part(300, 600))).unwrap();
    world.start_with_input("streamer", &[("CSV_FILE", "-")], Stdio::from(input)).succeeds().await;
    world.is_drained().await;
    world.alter("DELETE FROM ledger WHERE rows_before = 100 AND lane LIKE 'stream-%'").await;
    left("a stream cannot be read again").await;
    collector.stop().await;
}

/// Deletes all cursors.
async fn lanes(world: &World) -> Vec<nexus_common::etcd::TxnOp> {
    let found = world.client().await.list(&world.keys().lanes(), usize::MAX).await.unwrap().kvs;
    found.iter().map(|kv| nexus_common::etcd::TxnOp::delete(kv.key(), None)).collect()
}
