use std::time::Duration;

use nexus_common::books::health::{Burden, Schema, Server};
use nexus_common::books::wal::Archiver;
use nexus_common::domain::Timestamp;
use nexus_common::etcd::{Alarm, Status};
use nexus_common::queue::{BatchId, Cursor, Manifest, Source, Standee, Standing};

use super::*;
use crate::operator::doctor::facts::{Memory, Queue, Refused, Trouble};

const NOW_MS: i64 = 1_700_000_000_000;

fn member() -> Status {
    Status {
        member: 1,
        cluster: 7,
        leader: 1,
        version: "3.6.14".into(),
        file_bytes: 1 << 20,
        used_bytes: 1 << 20,
        quota_bytes: Some(2 << 30),
        latency: Duration::from_millis(1),
        ..Status::default()
    }
}

fn well() -> Facts {
    let server = Server {
        version: "15.8".into(),
        version_number: 150_008,
        now: Timestamp(0),
        in_recovery: false,
        read_only: false,
        fsync: true,
        synchronous_commit: "on".into(),
        full_page_writes: true,
        database_bytes: 9 << 20,
        connections: 5,
        max_connections: 100,
        may_create: true,
        long_transactions: 0,
        archiver: None,
    };
    let schema = Schema { version: Some(3), ..Schema::default() };
    let cursor = Cursor {
        v: 1,
        run: "r".into(),
        epoch: 1,
        n: 1,
        rows: 1,
        opened_rows: Some(0),
        last_ms: NOW_MS - 1_000,
        position: serde_json::Value::Null,
    };
    let standing = Standing { revision: 9, batches: Vec::new(), lanes: [("l".to_owned(), Some(cursor))].into() };
    let ours = || Some(env!("CARGO_PKG_VERSION").to_owned());
    Facts {
        now: Timestamp::from_millis(NOW_MS),
        etcd: vec![("a:1".into(), Ok(member()))],
        queue: Some(Queue {
            alarms: Ok(Vec::new()),
            operations: Ok(()),
            writing: Ok(()),
            standing: Ok(standing),
            members: Ok(vec![("streamer", ours()), ("collector", ours())]),
        }),
        max_txn_ops: 128,
        place: "telemetry@localhost:5433/telemetry".into(),
        memory: Ok(Memory {
            latency: Duration::from_millis(1),
            server,
            clock_ahead_ms: 3,
            schema: Ok(schema),
            burden: Ok(Burden::default()),
        }),
        our_schema: 3,
        sources: Some(("x.csv".into(), Ok(1))),
    }
}

fn standee(age_ms: i64, attempts: u32) -> Standee {
    let batch = BatchId { published_ms: NOW_MS - age_ms, lane: "l".into(), run: "r".into(), n: 1 };
    let source = Source { file: "f".into(), pass: 0, lines: [2, 3], bytes: [0, 9], shift_us: 0 };
    let (first, last) = (String::new(), String::new());
    let manifest =
        Manifest { v: 1, first, last, messages: 2, rows: 2, rows_before: 0, lease: 1, source, traceparent: None };
    Standee { batch, manifest: Some(manifest), revision: 1, holder: None, attempts }
}

/// What one change makes of a pipeline that is well: the checks that are not ok.
fn after(change: impl FnOnce(&mut Facts)) -> Vec<(String, Verdict)> {
    let mut facts = well();
    change(&mut facts);
    let checks = judge(&facts);
    for check in &checks {
        assert_eq!(check.verdict == Verdict::Ok, check.remedy.is_none(), "{check:?}");
    }
    let found = checks.into_iter().filter(|check| check.verdict != Verdict::Ok);
    found.map(|check| (check.name, check.verdict)).collect()
}

fn one(name: &str, verdict: Verdict) -> Vec<(String, Verdict)> {
    vec![(name.to_owned(), verdict)]
}

fn with_member(change: impl FnOnce(&mut Status)) -> Vec<(String, Verdict)> {
    let mut status = member();
    change(&mut status);
    after(|facts| facts.etcd = vec![("a:1".into(), Ok(status))])
}

fn queue(facts: &mut Facts) -> &mut Queue {
    facts.queue.as_mut().unwrap()
}

fn standing(facts: &mut Facts) -> &mut Standing {
    queue(facts).standing.as_mut().unwrap()
}

fn memory(facts: &mut Facts) -> &mut Memory {
    facts.memory.as_mut().unwrap()
}

#[test]
fn who_is_well_is_told_so() {
    assert_eq!(after(|_| ()), []);
}

#[test]
fn each_trouble_of_etcd_is_found() {
    assert_eq!(with_member(|status| status.leader = 0), one("etcd a:1", Verdict::Fail));
    assert_eq!(with_member(|status| status.latency = Duration::from_secs(1)), one("etcd a:1", Verdict::Warn));
    assert_eq!(with_member(|status| status.errors = vec!["no leader".into()]), one("etcd a:1", Verdict::Warn));
    for (version, verdict) in [("3.3.9", Verdict::Fail), ("3.4.23", Verdict::Warn), ("3.5.32", Verdict::Warn)] {
        let found = with_member(|status| version.clone_into(&mut status.version));
        assert_eq!(found, one("etcd version", verdict), "{version}");
    }
    for version in ["3.5.33", "3.6.14", "3.7.0-rc.1", "4.0.0"] {
        assert_eq!(with_member(|status| version.clone_into(&mut status.version)), [], "{version}");
    }
    let percent = (2u64 << 30) / 100 + 1;
    for (file, used, verdict) in [(85, 80, Verdict::Warn), (96, 90, Verdict::Fail), (96, 5, Verdict::Warn)] {
        let found = with_member(|status| {
            (status.file_bytes, status.used_bytes) = (percent * file, percent * used);
        });
        assert_eq!(found, one("etcd room a:1", verdict), "{file} {used}");
    }
    assert_eq!(with_member(|status| status.quota_bytes = None), []);
}

#[test]
fn members_that_are_away_or_of_another_cluster_are_found() {
    let away = || ("b:1".to_owned(), Err("refused".to_owned()));
    assert_eq!(after(|facts| facts.etcd.push(away())), one("etcd b:1", Verdict::Warn), "the others answer");
    assert_eq!(after(|facts| (facts.etcd, facts.queue) = (vec![away()], None)), one("etcd b:1", Verdict::Fail));
    let other = |status| ("b:1".to_owned(), Ok(status));
    let found = after(|facts| facts.etcd.push(other(Status { cluster: 8, ..member() })));
    assert_eq!(found, one("etcd cluster", Verdict::Fail));
    let found = after(|facts| facts.etcd.push(other(Status { leader: 2, ..member() })));
    assert_eq!(found, one("etcd cluster", Verdict::Warn));
}

#[test]
fn what_etcd_does_not_take_is_found() {
    for name in ["NOSPACE", "CORRUPT"] {
        let found = after(|facts| queue(facts).alarms = Ok(vec![Alarm { member: 1, name }]));
        assert_eq!(found, one("etcd alarms", Verdict::Fail));
    }
    let found = after(|facts| queue(facts).operations = Err(Trouble::TooLarge));
    assert_eq!(found, one("etcd transactions", Verdict::Fail));
    let found = after(|facts| queue(facts).writing = Err(Trouble::Other("permission denied".into())));
    assert_eq!(found, one("etcd writing", Verdict::Fail));
}

#[test]
fn each_trouble_of_postgres_is_found() {
    let with = |change: fn(&mut Memory)| after(|facts| change(memory(facts)));
    assert_eq!(with(|memory| memory.server.version_number = 140_000), one("postgres version", Verdict::Fail));
    assert_eq!(with(|memory| memory.server.in_recovery = true), one("postgres writing", Verdict::Fail));
    assert_eq!(with(|memory| memory.server.read_only = true), one("postgres writing", Verdict::Fail));
    assert_eq!(with(|memory| memory.server.fsync = false), one("postgres durability", Verdict::Warn));
    assert_eq!(with(|m| m.server.synchronous_commit = "off".into()), one("postgres durability", Verdict::Warn));
    assert_eq!(with(|memory| memory.server.full_page_writes = false), one("postgres durability", Verdict::Warn));
    assert_eq!(with(|memory| memory.server.connections = 95), one("postgres connections", Verdict::Warn));
    assert_eq!(with(|memory| memory.server.long_transactions = 1), one("postgres transactions", Verdict::Warn));
    assert_eq!(with(|memory| memory.clock_ahead_ms = -5_000), one("clock", Verdict::Warn));
    assert_eq!(with(|memory| memory.clock_ahead_ms = 90_000), one("clock", Verdict::Fail));
    assert_eq!(with(|memory| memory.server.may_create = false), one("partitions", Verdict::Fail));
    for (answered, hint) in [(true, "DB_PASSWORD"), (false, "start PostgreSQL")] {
        let mut facts = well();
        facts.memory = Err(Refused { reason: "no".into(), answered });
        let checks = judge(&facts);
        let check = checks.iter().find(|check| check.name == "postgres").unwrap();
        assert!(check.verdict == Verdict::Fail && check.remedy.as_ref().unwrap().contains(hint), "{check:?}");
    }
}

#[test]
fn each_trouble_of_the_schema_is_found() {
    let with = |schema: Schema| after(|facts| memory(facts).schema = Ok(schema));
    assert_eq!(with(Schema { version: None, ..Schema::default() }), one("schema", Verdict::Warn));
    assert_eq!(with(Schema { version: Some(2), ..Schema::default() }), one("schema", Verdict::Fail));
    assert_eq!(with(Schema { version: Some(4), ..Schema::default() }), one("schema", Verdict::Warn));
    let sound = || Schema { version: Some(3), ..Schema::default() };
    let missing_rights = vec!["ledger: INSERT".to_owned()];
    assert_eq!(with(Schema { missing_rights, ..sound() }), one("rights", Verdict::Fail));
    assert_eq!(with(Schema { not_owned: vec!["ledger".to_owned()], ..sound() }), one("partitions", Verdict::Fail));
}

/// Another component's user is well without them: nobody is to be given what he does not need.
#[test]
fn whoever_lacks_a_right_is_first_told_whose_it_is() {
    let remedies = |change: fn(&mut Memory)| {
        let mut facts = well();
        change(memory(&mut facts));
        let checks = judge(&facts).into_iter().filter(|check| check.verdict == Verdict::Fail);
        checks.filter_map(|check| check.remedy).collect::<Vec<_>>().join("; ")
    };
    let schema = |memory: &mut Memory| match &mut memory.schema {
        Ok(schema) => schema.missing_rights = vec!["ledger: INSERT".to_owned()],
        Err(error) => panic!("{error}"),
    };
    for (remedy, instead) in [
        (remedies(|memory| memory.server.read_only = true), "ALTER ROLE"),
        (remedies(schema), "GRANT"),
        (remedies(|memory| memory.server.may_create = false), "CREATE"),
    ] {
        let first = remedy.find("sk as the").unwrap_or_else(|| panic!("{remedy}"));
        assert!(first < remedy.find(instead).unwrap(), "{remedy}");
    }
}

#[test]
fn what_does_not_flow_is_found() {
    let no_collector = |facts: &mut Facts| queue(facts).members = Ok(Vec::new());
    assert_eq!(after(no_collector), one("queue", Verdict::Warn));
    let found = after(|facts| {
        no_collector(facts);
        standing(facts).batches = vec![standee(5_000, 0)];
    });
    assert_eq!(found, one("queue", Verdict::Fail));
    assert_eq!(after(|facts| standing(facts).batches = vec![standee(5_000, 1)]), []);
    assert_eq!(after(|facts| standing(facts).batches = vec![standee(90_000, 1)]), one("queue", Verdict::Warn));
    let held = || Standee { holder: Some("c".into()), ..standee(90_000, 1) };
    assert_eq!(after(|facts| standing(facts).batches = vec![held()]), []);
    assert_eq!(after(|facts| standing(facts).batches = vec![standee(5_000, 3)]), one("attempts", Verdict::Warn));
    let newest = |facts: &mut Facts, ms: i64| {
        standing(facts).lanes.values_mut().flatten().for_each(|cursor| cursor.last_ms = ms);
    };
    assert_eq!(after(|facts| newest(facts, NOW_MS + 60_000)), one("publishing", Verdict::Warn));
    assert_eq!(after(|facts| newest(facts, NOW_MS - 3_600_000)), one("publishing", Verdict::Warn));
    assert_eq!(after(|facts| drop(standing(facts).lanes.insert("x".into(), None))), one("lanes", Verdict::Warn));
    let other = Ok(vec![("collector", Some("0.0.9".to_owned()))]);
    assert_eq!(after(|facts| queue(facts).members = other), one("versions", Verdict::Warn));
}

#[test]
fn what_did_not_arrive_is_found() {
    let with = |burden: Burden| after(|facts| memory(facts).burden = Ok(burden));
    assert_eq!(with(Burden { dead_rows: 1, ..Burden::default() }), one("dead letters", Verdict::Warn));
    assert_eq!(with(Burden { expired_rows: 1, ..Burden::default() }), one("expired", Verdict::Warn));
    let unreadable = Some(("x".to_owned(), Err("no such file".to_owned())));
    assert_eq!(after(|facts| facts.sources = unreadable), one("sources", Verdict::Fail));
}

#[test]
fn an_archive_that_fails_is_told_from_one_that_failed_once_or_has_nothing_to_do() {
    let minute = 60_000_000;
    let with = |archived: Option<i64>, failed: Option<i64>, waiting: i64| {
        after(|facts| {
            let Ok(memory) = &mut facts.memory else { panic!("it answers") };
            memory.server.now = Timestamp(60 * minute);
            let failed = failed.map(|at| (Timestamp(at), "000000010000000000000002".to_owned()));
            let archived = archived.map(Timestamp);
            memory.server.archiver = Some(Archiver { archived, failed, waiting, ..Archiver::default() });
        })
    };
    for well in [with(Some(minute), None, 0), with(Some(2), Some(1), 0), with(Some(59 * minute), None, 9)] {
        assert_eq!(well, []);
    }
    assert_eq!(with(None, None, 0), one("postgres archive", Verdict::Warn));
    for ill in [with(None, Some(1), 0), with(Some(1), Some(2), 0), with(Some(minute), None, 1)] {
        assert_eq!(ill, one("postgres archive", Verdict::Fail));
    }
}
