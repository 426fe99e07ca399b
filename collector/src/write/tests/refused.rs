//! What PostgreSQL refuses becomes a dead letter, row by row, and holds nothing else up.

use nexus_common::domain::{Reject, Timestamp};
use nexus_common::queue::{Body, Decoder};

use super::{NOON, Stored, batch, claimed, gpu, message, store};
use crate::work::Work;

fn good(line: u64) -> Body {
    message(gpu("h", "0"), NOON.shifted(line as i64), line, &[("power_watts", 1.0)])
}

#[tokio::test]
async fn a_refused_row_is_a_dead_letter_and_everything_else_is_stored() {
    let store = store().await;
    store.run("ALTER TABLE samples ADD CONSTRAINT not_evil CHECK (power_watts <> 666)").await;
    let evil = |line: u64| message(gpu("h", "0"), NOON.shifted(line as i64), line, &[("power_watts", 666.0)]);
    let mut works = [
        batch(1, &[good(2), good(3)]),
        batch(2, &[good(4), evil(5), good(6), good(7), evil(8)]),
        batch(3, &[evil(9)]),
        batch(4, &[good(10)]),
    ];
    let outcome = store.writer().store(&mut works).await.unwrap();
    assert_eq!(outcome, Stored { batches: 4, rows: 6, dead: 3, ..Stored::default() });
    assert_eq!((store.count("samples").await, store.ledger().await), (6, (4, 6, 3, 0)));
    let letters = store
        .client()
        .await
        .query("SELECT line, byte, reason, raw, batch, key, file, row_count FROM dead_letters ORDER BY line", &[])
        .await
        .unwrap();
    assert_eq!(letters.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [5, 8, 9]);
    for letter in &letters {
        let (line, byte, reason): (i64, i64, String) = (letter.get(0), letter.get(1), letter.get(2));
        assert_eq!(byte, line * 10);
        assert!(reason.contains("not_evil"), "{reason}");
        let raw: serde_json::Value = serde_json::from_slice(letter.get(3)).unwrap();
        assert_eq!(raw["rows"][0][2]["power_watts"], 666.0, "the row is kept as it was");
    }
    assert_eq!(letters[0].get::<_, String>(4), works[1].claimed.batch.to_string());
    assert_eq!(letters[0].get::<_, String>(5), "key-2-1");

    // The redelivery of such a batch is a replay like any other.
    let again = store.writer().store(&mut [batch(2, &[good(4), evil(5), good(6), good(7), evil(8)])]).await.unwrap();
    assert_eq!(again, Stored { batches: 1, replays: 1, ..Stored::default() });
    assert_eq!(store.count("dead_letters").await, 3);
}

#[tokio::test]
async fn a_row_nobody_understood_keeps_its_place_and_its_bytes() {
    let store = store().await;
    let reject = Reject::new("text\0for a number", b"a,\xff\0,b");
    let dead = Body::Dead { line: 7, byte: 70, reject: reject.clone() };
    let outcome = store.writer().store(&mut [batch(1, &[good(2), dead])]).await.unwrap();
    assert_eq!(outcome, Stored { batches: 1, rows: 1, dead: 1, ..Stored::default() });
    let letter = store
        .client()
        .await
        .query_one("SELECT line, byte, reason, raw, raw_bytes, sha256 FROM dead_letters", &[])
        .await;
    let letter = letter.unwrap();
    assert_eq!((letter.get::<_, i64>(0), letter.get::<_, i64>(1), letter.get::<_, i64>(4)), (7, 70, 6));
    assert_eq!(letter.get::<_, String>(2), "text\u{fffd}for a number");
    assert_eq!((letter.get::<_, Vec<u8>>(3), letter.get::<_, String>(5)), (reject.raw, reject.sha256));
}

#[tokio::test]
async fn a_message_that_is_none_is_a_dead_letter_whole() {
    let store = store().await;
    let mut broken = claimed(1, &[good(2), good(3), good(4)]);
    broken.messages[1].1 = b"{not json".to_vec();
    let outcome = store.writer().store(&mut [Work::decode(broken, &mut Decoder::default()).unwrap()]).await.unwrap();
    assert_eq!(outcome, Stored { batches: 1, rows: 2, dead: 1, ..Stored::default() });
    assert_eq!(store.one::<Vec<u8>>("SELECT raw FROM dead_letters").await, b"{not json");
}

/// 3 KB that no compression makes small: over what an index entry holds.
fn endless_name() -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
    };
    (0..4_000).map(|_| next()).collect()
}

#[tokio::test]
async fn hostile_names_are_stored_as_they_are_or_refused_alone() {
    let store = store().await;
    let names =
        ["'; DROP TABLE samples; --", "\"quoted\"", "back\\slash", "tab\tand\nnewline", "\u{1f525}", "%s{}$1", " "];
    let mut bodies: Vec<_> = names
        .iter()
        .zip(2..)
        .map(|(name, line)| message(gpu(name, name), NOON, line, &[("power_watts", 1.0), (name, 2.0)]))
        .collect();
    bodies.push(message(gpu(&endless_name(), "0"), NOON, 50, &[("power_watts", 1.0)]));
    bodies.push(message(gpu("h", &endless_name()), NOON, 51, &[("power_watts", 1.0)]));
    bodies.push(message(gpu("nul\0", "0"), NOON, 52, &[("power_watts", 1.0)]));
    let outcome = store.writer().store(&mut [batch(1, &bodies)]).await.unwrap();
    assert_eq!(outcome, Stored { batches: 1, rows: names.len() as u64, dead: 3, ..Stored::default() });
    let mut found: Vec<String> = store
        .column("SELECT h.name FROM samples s JOIN gpus g ON g.id = s.gpu_id JOIN hosts h ON h.id = g.host_id")
        .await;
    found.sort();
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(store.column::<i64>("SELECT line FROM dead_letters ORDER BY line").await, [50, 51, 52]);
}

/// A time that no calendar has must not stop the collector that reads it.
#[tokio::test]
async fn a_time_beyond_the_calendar_is_a_dead_letter() {
    let store = store().await;
    const YEAR_US: i64 = 31_556_952 * 1_000_000;
    let absurd = [i64::MAX, i64::MIN, 8_100 * YEAR_US, -3_000 * YEAR_US, 250_000 * YEAR_US];
    let mut bodies: Vec<_> = absurd
        .iter()
        .zip(3..)
        .map(|(micros, line)| message(gpu("h", "0"), Timestamp(*micros), line, &[("power_watts", 1.0)]))
        .collect();
    bodies.push(good(2));
    let outcome = store.writer().store(&mut [batch(1, &bodies)]).await.unwrap();
    assert_eq!(outcome, Stored { batches: 1, rows: 1, dead: 5, ..Stored::default() });
    assert_eq!(store.count("samples").await, 1);
}
