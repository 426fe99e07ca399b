//! Files as people have them: growing, rotated, zipped, piped, broken, several, looped.

use std::io::Write;
use std::process::Stdio;

use nexus_common::testing::eventually;

use crate::rows::{HEADER, expected, file, lines};
use crate::world::{PATIENCE, World};

#[tokio::test]
async fn a_followed_file_grows_and_is_rotated() {
    let world = World::new().await;
    let folder = world.folder.path().join("exports");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("live.csv");
    std::fs::write(&path, file(500)).unwrap();
    let collector = world.collector();
    let streamer = world.start("streamer", &[("CSV_FILE", folder.to_str().unwrap()), ("FOLLOW", "true")]);
    world.until_accounted(500).await;

    let mut writer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    writer.write_all(lines(500, 800).as_bytes()).unwrap();
    // A half-written line waits for its other half.
    let line = lines(800, 801);
    let (half, rest) = line.split_at(40);
    writer.write_all(half.as_bytes()).unwrap();
    world.until_accounted(800).await;
    writer.write_all(rest.as_bytes()).unwrap();
    // Renamed while it is written to, as logrotate does; what is still appended belongs to it.
    std::fs::rename(&path, folder.join("live.csv.1")).unwrap();
    writer.write_all(lines(801, 900).as_bytes()).unwrap();
    drop(writer);
    std::fs::write(&path, format!("{HEADER}{}", lines(900, 1_500))).unwrap();
    std::fs::write(folder.join("another.csv"), format!("{HEADER}{}", lines(1_500, 2_000))).unwrap();

    world.holds_exactly(&expected(0, 2_000)).await;
    streamer.stop().await;
    collector.stop().await;
}

#[tokio::test]
async fn two_lanes_interleave_and_neither_harms_the_other() {
    let world = World::new().await;
    let first = world.file("a.csv", format!("{HEADER}{}", lines(0, 3_000)));
    let second = world.file("b.csv", format!("{HEADER}{}", lines(3_000, 6_000)));
    let collectors = [world.collector(), world.collector()];
    let (mut a, mut b) = (world.slow_streamer(first.to_str().unwrap()), world.slow_streamer(second.to_str().unwrap()));
    a.succeeds().await;
    b.succeeds().await;
    world.holds_exactly(&expected(0, 6_000)).await;
    for collector in collectors {
        collector.stop().await;
    }
}

#[tokio::test]
async fn streamers_divide_one_file_by_stripes() {
    let world = World::new().await;
    // Many blocks.
    let path = world.file("a.csv", file(30_000));
    assert!(path.metadata().unwrap().len() > 3 << 20);
    let collector = world.collector();
    let stripe = |stripe: &str| {
        world.start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("STRIPE", stripe), ("BATCH_SIZE", "120")])
    };
    let (mut a, mut b) = (stripe("0/2"), stripe("1/2"));
    a.succeeds().await;
    b.succeeds().await;
    world.until_accounted(30_000).await;
    world.is_drained().await;
    assert_eq!(world.sums().await, [30_000, 30_000, 0, 0]);
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM samples").await, Some(30_000));
    // In another number of parts rows would be published twice.
    let mut other = stripe("0/3");
    assert_eq!(other.ended().await.code(), Some(2), "{}", other.log());
    assert!(other.log().contains("STRIPE=0/2"), "{}", other.log());
    collector.stop().await;
}

#[tokio::test]
async fn standard_input_and_gzip_are_sources_too() {
    let world = World::new().await;
    let collector = world.collector();
    let plain = world.file("a.csv", format!("{HEADER}{}", lines(0, 500)));
    let input = Stdio::from(std::fs::File::open(&plain).unwrap());
    world.start_with_input("streamer", &[("CSV_FILE", "-")], input).succeeds().await;
    let zipped = world.file("b.csv", format!("{HEADER}{}", lines(500, 1_000)));
    assert!(std::process::Command::new("gzip").arg(&zipped).status().unwrap().success());
    let zipped = format!("{}.gz", zipped.to_str().unwrap());
    world.start("streamer", &[("CSV_FILE", &zipped)]).succeeds().await;
    world.holds_exactly(&expected(0, 1_000)).await;
    collector.stop().await;
}

#[tokio::test]
async fn each_pass_of_a_loop_is_a_replay_of_now() {
    let world = World::new().await;
    let path = world.file("a.csv", file(100));
    let collector = world.collector();
    let environment = [("CSV_FILE", path.to_str().unwrap()), ("LOOP_MODE", "true"), ("STREAM_INTERVAL", "20ms")];
    let streamer = world.start("streamer", &environment);
    world.until_accounted(300).await;
    streamer.kill().await;
    let streamer = world.start("streamer", &environment);
    let before = world.accounted().await;
    eventually("it goes on", PATIENCE, async || world.accounted().await > before + 300).await;
    streamer.stop().await;
    world.is_drained().await;
    let [rows, stored, ..] = world.sums().await;
    assert_eq!(rows, stored);
    // No two passes meet in one time stamp, and none is of the past.
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM samples").await, Some(rows));
    assert_eq!(world.ask::<bool>("SELECT min(ts) > now() - interval '5 minutes' FROM samples").await, Some(true));
    world.lanes_are_whole().await;
    collector.stop().await;
}

#[tokio::test]
async fn broken_rows_become_dead_letters_with_line_and_reason_and_good_rows_are_stored() {
    let world = World::new().await;
    let row = |time: &str, host: &str, value: &str| {
        format!("{time},DCGM_FI_DEV_GPU_UTIL,0,nvidia0,GPU-1,H100,{host},,,,{value},\n")
    };
    let mut content = HEADER.as_bytes().to_vec();
    content.extend(row("2026-01-01T00:00:00Z", "h", "11").bytes()); // 2: good
    content.extend(b"2026-01-01T00:00:01Z,DCGM_FI_DEV_GPU_UTIL,0\n"); // 3: short
    content.extend(row("2026-01-01T00:00:02Z", "h", "hot").bytes()); // 4: text for a number
    content.extend(row("", "h", "12").bytes()); // 5: no timestamp
    content.extend(row("2026-01-01T00:00:03Z", "", "13").bytes()); // 6: unknown host
    content.extend(row("2026-01-01T00:00:04Z", "h", "9223372036854775794").bytes()); // 7: sentinel, good
    content.extend(b"2026-01-01T00:00:05Z,DCGM_FI_DEV_GPU_UTIL,0,nvidia0,GPU-1,H100,h\xff\xfe,,,,1,\n"); // 8: bad UTF-8
    content.extend(row("2026-01-01T00:00:06Z", "h", &"9".repeat(1 << 20)).bytes()); // 9: a field of 1 MiB
    content.extend(row("2026-01-01T00:00:07Z", "h", "14").bytes()); // 10: good
    let path = world.file("broken.csv", content);
    let collector = world.collector();
    let mut streamer = world.start("streamer", &[("CSV_FILE", path.to_str().unwrap())]);
    streamer.succeeds().await;
    world.until_accounted(9).await;
    world.is_drained().await;
    assert_eq!(world.sums().await, [9, 3, 6, 0]);
    world.lanes_are_whole().await;

    let letters = world
        .rows("SELECT line, reason, raw_bytes, length(raw)::bigint, file FROM dead_letters ORDER BY line")
        .await
        .unwrap();
    let expected =
        [(3, "field"), (4, "\"hot\""), (5, "no timestamp"), (6, "no host"), (8, "UTF-8"), (9, "MAX_ROW_BYTES")];
    assert_eq!(letters.len(), expected.len());
    for (letter, (line, words)) in letters.iter().zip(expected) {
        let (reason, length, kept): (String, i64, i64) = (letter.get(1), letter.get(2), letter.get(3));
        assert_eq!(letter.get::<_, i64>(0), line, "{reason}");
        assert!(reason.contains(words), "line {line}: {reason}");
        assert_eq!(kept, length.min(64 * 1024));
        assert_eq!(letter.get::<_, String>(4), path.to_str().unwrap());
    }
    let values = world.rows("SELECT gpu_utilization FROM samples ORDER BY ts").await.unwrap();
    let values: Vec<Option<f64>> = values.iter().map(|row| row.get(0)).collect();
    assert_eq!(values, [Some(11.0), None, Some(14.0)]);
    collector.stop().await;
}

#[tokio::test]
async fn a_copy_in_the_folder_is_one_source() {
    let world = World::new().await;
    let folder = world.folder.path().join("exports");
    std::fs::create_dir(&folder).unwrap();
    for name in ["a.csv", "b.csv"] {
        std::fs::write(folder.join(name), file(200)).unwrap();
    }
    let collector = world.collector();
    let folder = folder.to_str().unwrap();
    world.start("streamer", &[("CSV_FILE", folder)]).succeeds().await;
    world.holds_exactly(&expected(0, 200)).await;
    // Round and round, neither fences the other.
    let environment = [("CSV_FILE", folder), ("LOOP_MODE", "true"), ("STREAM_INTERVAL", "10ms")];
    let streamer = world.start("streamer", &environment);
    world.until_accounted(1_500).await;
    streamer.stop().await;
    collector.stop().await;
}

#[tokio::test]
async fn a_rotated_file_that_is_found_under_its_new_name_waits_for_its_turn() {
    let world = World::new().await;
    let folder = world.folder.path().join("exports");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("live.csv");
    std::fs::write(&path, file(1_000)).unwrap();
    let collector = world.collector();
    // Slower than it reads: the rotation is noticed long before the last row is published.
    let streamer = world
        .start("streamer", &[("CSV_FILE", folder.to_str().unwrap()), ("FOLLOW", "true"), ("STREAM_INTERVAL", "300ms")]);
    world.until_accounted(100).await;
    std::fs::rename(&path, folder.join("live-20260101.csv")).unwrap();
    std::fs::write(&path, format!("{HEADER}{}", lines(1_000, 1_200))).unwrap();
    // A file that cannot be read on harms no other.
    std::fs::write(folder.join("torn.csv.gz"), [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]).unwrap();
    world.holds_exactly(&expected(0, 1_200)).await;
    streamer.stop().await;
    collector.stop().await;
}

#[tokio::test]
async fn the_stripes_of_a_loop_keep_step() {
    let world = World::new().await;
    let path = world.file("a.csv", file(10_000));
    let collector = world.collector();
    let start = |stripe: &str| {
        world.start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("STRIPE", stripe), ("LOOP_MODE", "true")])
    };
    // Whoever comes late joins the first stripe in the pass it is in: so the other one is there before it.
    let (client, lanes) = (world.client().await, world.keys().lanes());
    let second = start("1/2");
    eventually("the second stripe waits for the first", PATIENCE, async || {
        !client.list(&lanes, usize::MAX).await.unwrap().kvs.is_empty()
    })
    .await;
    let streamers = [second, start("0/2")];
    // Whoever is late by a whole pass leaves that one out, and the stop cuts the last ones off: what both have replayed to
    // the file's end is whole, and nothing of another pass lies in its time.
    let whole = "FROM (SELECT shift_us FROM ledger GROUP BY shift_us HAVING sum(row_count) = 10000) whole";
    let passes = format!("SELECT count(*) {whole}");
    eventually("two whole passes", PATIENCE, async || world.ask::<i64>(&passes).await >= Some(2)).await;
    for streamer in streamers {
        streamer.stop().await;
    }
    world.is_drained().await;
    // Each of a pass's 625 seconds has 16 GPUs; where a block ends inside one, either stripe has a part of it.
    let torn = format!(
        "SELECT count(*) {whole},
             LATERAL (SELECT count(DISTINCT ts) AS seconds, count(*) AS rows FROM samples
                      WHERE ts - shift_us * interval '1 us' BETWEEN '2026-01-01' AND '2026-01-01 00:10:24') pass
         WHERE (seconds, rows) <> (625, 10000)"
    );
    assert_eq!(world.ask::<i64>(&torn).await, Some(0));
    // The second stripe has no pass of its own.
    let strange = "SELECT count(*) FROM ledger
                   WHERE lane LIKE '%-1of2' AND shift_us NOT IN (SELECT shift_us FROM ledger WHERE lane LIKE '%-0of2')";
    let of_second = "SELECT count(*) FROM ledger WHERE lane LIKE '%-1of2'";
    assert_eq!((world.ask::<i64>(strange).await, world.ask::<i64>(of_second).await > Some(0)), (Some(0), true));
    // Another number of streamers may loop over the same file.
    let alone = start("0/1");
    let before = world.accounted().await;
    eventually("it goes on", PATIENCE, async || world.accounted().await > before + 5_000).await;
    alone.stop().await;
    collector.stop().await;
}

#[tokio::test]
async fn a_file_that_was_looped_is_published_once_from_its_start() {
    let world = World::new().await;
    let path = world.file("a.csv", file(500));
    let path = path.to_str().unwrap();
    let collector = world.collector();
    let looping = world.start("streamer", &[("CSV_FILE", path), ("LOOP_MODE", "true"), ("STREAM_INTERVAL", "20ms")]);
    world.until_accounted(700).await;
    looping.stop().await;
    world.is_drained().await;
    world.start("streamer", &[("CSV_FILE", path)]).succeeds().await;
    world.is_drained().await;
    let own_times = "SELECT count(*) FROM samples WHERE ts < '2026-01-02'";
    eventually("every row is stored with its own time", PATIENCE, async || {
        world.ask::<i64>(own_times).await == Some(500)
    })
    .await;
    let before = world.accounted().await;
    world.start("streamer", &[("CSV_FILE", path)]).succeeds().await;
    world.is_drained().await;
    assert_eq!(world.accounted().await, before, "there was nothing left to do");
    collector.stop().await;
}
