#!/usr/bin/env python3
"""Takes out the line that guards an invariant, one at a time, and sees its test fail.

    checks/mutants/run.py            all of them, in a copy of what is committed
    checks/mutants/run.py I3 I4      those whose names begin so
    checks/mutants/run.py --look     only looks whether every guard is where this file says, and builds nothing

A guard that no test misses is a failure here, and so is one that is no longer where this file says it is.
docs/GUARANTEES.md tells what each of them is for, docs/SECURITY.md those of `security`. What a command of the operator must not do
stands under its name.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass

COMMON = ["-p", "nexus-common"]
GATEWAY = ["-p", "nexus-gateway"]
FAULTS = ["-p", "nexus", "--features", "failpoints"]
OPERATOR = FAULTS + ["--test", "operator"]
KEPT = GATEWAY + ["--test", "rest", "kept"]
SECURE = ["-p", "nexus", "--test", "secure"]


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    guard: str
    instead: str
    test: list


# What keeps the wrong people out, and secrets in: docs/SECURITY.md.
SECURITY = [
    Mutant("security: a reader acts", "gateway/src/access/mod.rs",
           "if identity.role.includes(Role::Operator) {", "if true {", OPERATOR + ["who_reads_does_not_act"]),
    Mutant("security: who shows no key reads", "gateway/src/access/mod.rs",
           "if self.0.anonymous { Ok(Identity::anonymous()) } else { Err(Problem::no_key()) }", "Ok(Identity::anonymous())",
           OPERATOR + ["who_reads_does_not_act"]),
    Mutant("security: a key outlives its end", "gateway/src/access/keyring.rs",
           "holder.is_good(now).then(||", "true.then(||", GATEWAY + ["--lib", "keyring"]),
    Mutant("security: what a key opened outlives it", "gateway/src/access/keyring.rs",
           "fn drop(&mut self) {\n        self.until.cancel();", "fn drop(&mut self) {", GATEWAY + ["--lib", "keyring"]),
    Mutant("security: a ticket is good twice", "gateway/src/access/tickets.rs",
           ".remove(&Digest::of(ticket));", ".get(&Digest::of(ticket)).cloned();", GATEWAY + ["--lib", "tickets"]),
    Mutant("security: nobody is asked too often", "gateway/src/access/rates.rs",
           "if ahead <= self.bucket { Ok(then) } else { Err(ahead - self.bucket) }", "Ok(then.max(ahead))",
           GATEWAY + ["--lib", "rates"]),
    Mutant("security: a WebSocket's operations are not counted", "gateway/src/graphql/execute.rs",
           "allowance.take().map_err(Failure::too_often)?;", "let _ = (allowance, Failure::too_often);",
           GATEWAY + ["--test", "rest", "graphql_rates"]),
    Mutant("security: anybody names the client's address", "gateway/src/access/shown.rs",
           "if !trusted(client) {", "if false && !trusted(client) {", GATEWAY + ["--lib", "shown"]),
    Mutant("security: a page of any origin connects", "gateway/src/ws/origin.rs",
           "own || origins.iter().any(same)", "own || origins.iter().any(same) || true", GATEWAY + ["--lib", "origin"]),
    Mutant("security: a GET changes something", "gateway/src/graphql/execute.rs",
           "if asks && document", "if false && asks && document", OPERATOR + ["a_reader_does_nothing"]),
    Mutant("security: a request does many things", "gateway/src/graphql/cost.rs",
           "if all.acts > 1 {", "if all.acts > 100 {", GATEWAY + ["--lib", "cost"]),
    Mutant("security: a purge takes others than were seen", "common/src/books/letters.rs",
           "if expected.is_some_and(|expected| expected != tally.letters) {", "if expected.is_none() && false {",
           OPERATOR + ["operators_redrive_and_purge"]),
    Mutant("security: a purge is not noted", "common/src/books/letters.rs",
           "actions::note(&transaction, cluster, by, &act).await?;", "", OPERATOR + ["operators_redrive_and_purge"]),
    Mutant("security: what was asked is kept whole", "common/src/books/actions.rs",
           "Asked(cut(asked))", "Asked(asked)", COMMON + ["--lib", "actions"]),
    Mutant("security: operators have the readers' file", "gateway/src/access/config.rs",
           "(db.password, db.password_file) = (password.clone(), None);", "db.password = password.clone();",
           GATEWAY + ["--lib", "config"]),
    Mutant("security: a key is in the log", "common/src/logging.rs",
           "self.0.write_all(&identity::cut(event))", "self.0.write_all(event)", OPERATOR + ["live_connections_need_a_key"]),
    Mutant("security: PostgreSQL may be anybody", "common/src/db/config.rs",
           "SslMode::VerifyFull => Strictness::Name,", "SslMode::VerifyFull => Strictness::None,",
           COMMON + ["--test", "database_tls"]),
    Mutant("security: PostgreSQL may be another host", "common/src/db/config.rs",
           "SslMode::VerifyFull => Strictness::Name,", "SslMode::VerifyFull => Strictness::Authority,",
           COMMON + ["--test", "database_tls"]),
    Mutant("security: a client needs no certificate", "common/src/tls/server.rs",
           "builder.with_client_cert_verifier(verifier.map_err(|error| file.wrong(error))?)",
           "{\n                    verifier.map_err(|error| file.wrong(error))?;\n                    builder.with_no_client_auth()\n                }",
           SECURE + ["refusals"]),
    Mutant("security: the gateway may be anybody", "nexus/src/web.rs",
           "files.config(contents, Strictness::Name)", "files.config(contents, Strictness::None)", SECURE + ["refusals"]),
    Mutant("security: the receiver of traces may be anybody", "common/src/traces/receiver.rs",
           "files.config(contents, Strictness::Name)", "files.config(contents, Strictness::None)", SECURE + ["traces"]),
    Mutant("security: the gateway's role writes", "scripts/roles-postgres.sql",
           "EXECUTE format('GRANT SELECT ON %I TO nexus_gateway, nexus_operator', tab.name);",
           "EXECUTE format('GRANT ALL ON %I TO nexus_gateway, nexus_operator', tab.name);", SECURE + ["least"]),
    Mutant("security: the gateway's user deletes messages", "scripts/roles-etcd.sh",
           "may nexus-gateway read queue batch", "may nexus-gateway readwrite queue batch", SECURE + ["least"]),
]

# What `nexus rewind` must not do: put a cursor where rows stay lost, or read others than those that were lost; and what the
# doctor must not do: change something, or call what is ill well.
CARE = [
    Mutant("rewind: a cursor goes forward", "common/src/queue/rewind.rs",
           "if cursor.rows <= rows {", "if cursor.rows == rows {", COMMON + ["--test", "queue", "rewinding"]),
    Mutant("rewind: two undo each other's work", "common/src/queue/rewind.rs",
           ".when([Compare::mod_revision(key.as_str(), CompareOp::Equal, revision)])",
           ".when([Compare::mod_revision(key.as_str(), CompareOp::Greater, revision - revision)])",
           COMMON + ["--test", "queue", "rewinding"]),
    Mutant("rewind: the source is read on where it was", "nexus/src/operator/rewind.rs",
           'Some(last) => fields.insert("last".to_owned(), last),', "Some(_) => None,", OPERATOR + ["rewind"]),
    Mutant("rewind: only the last hole is looked at", "nexus/src/operator/rewind.rs",
           "account.holes.iter().map(|hole| hole.rows[0]).min()", "account.holes.iter().map(|hole| hole.rows[0]).max()",
           OPERATOR + ["rewind"]),
    Mutant("rewind: the mark lies behind the hole", "common/src/books/sql/mark.sql",
           "rows_before + row_count <= $3", "$3::bigint >= 0", OPERATOR + ["rewind"]),
    Mutant("rewind: a dry run puts cursors back", "nexus/src/operator/rewind.rs",
           "if !options.dry_run && read_again > 0 {", "if read_again > 0 {", OPERATOR + ["rewind"]),
    Mutant("rewind: another file is read", "nexus/src/operator/rewind.rs",
           "if source.fingerprint() != fingerprint_of(lane) {", "if false {", OPERATOR + ["rewind"]),
    Mutant("rewind: a file that lost its end is read", "nexus/src/operator/rewind.rs",
           "&& !source.resume(&stands).map_err(|error| error.to_string())?", "&& false", OPERATOR + ["rewind"]),
    Mutant("rewind: rows that moved are read", "nexus/src/operator/rewind.rs",
           "return if row.end == bytes[1] { Ok(Some(last)) } else { Err(changed()) };", "return Ok(Some(last));",
           OPERATOR + ["rewind"]),
    Mutant("rewind: a loop is read with other times", "nexus/src/operator/rewind.rs",
           "looped.then(|| ", "(looped && false).then(|| ", OPERATOR + ["rewind"]),
    Mutant("rewind: it is not noted", "nexus/src/operator/rewind.rs",
           "rewind::note(&desk.client, desk.cluster, &actor(), &lane, row, read_again).await?;", "let _ = (rewind::note, actor());",
           OPERATOR + ["rewind"]),
    Mutant("doctor: a look puts keys", "nexus/src/operator/doctor/facts.rs",
           "Txn::new().when([never]).and_then(puts)", "Txn::new().when([never].into_iter().take(0).collect::<Vec<_>>()).and_then(puts)",
           OPERATOR + ["doctor"]),
    Mutant("doctor: who may not write is well", "nexus/src/operator/doctor/judge/postgres.rs",
           "checks.push(match schema.missing_rights.is_empty() {", "checks.push(match true {", OPERATOR + ["doctor"]),
    Mutant("doctor: rows that nobody collects are well", "nexus/src/operator/doctor/judge/pipeline.rs",
           "(0, Some(_)) => fail(", "(u64::MAX, Some(_)) => fail(", OPERATOR + ["doctor"]),
    Mutant("doctor: a full etcd is well", "nexus/src/operator/doctor/facts.rs",
           "client.txn(Txn::new().when([never]).and_then(puts)).await.map(drop).map_err(trouble)",
           "drop(client.txn(Txn::new().when([never]).and_then(puts)).await.map_err(trouble));\n    Ok(())", OPERATOR + ["doctor"]),
]

# What the gateway's memory keeps of what it worked out must be what it would work out anew.
MEMORY = [
    Mutant("memory: a host's state outlives a value", "gateway/src/memory/machine.rs",
           "self.health.forget();\n        self.host.seen(&sample.gpu_id, at);", "self.host.seen(&sample.gpu_id, at);",
           GATEWAY + ["--lib", "kept"]),
    Mutant("memory: a spread outlives a value", "gateway/src/memory/machines.rs",
           "self.spread.forget();", "", GATEWAY + ["--lib", "kept"]),
    Mutant("memory: silence is seen too late", "gateway/src/memory/kept.rs",
           "last = last.min(last_spoken);", "last = last.min(last_spoken + 1);", GATEWAY + ["--lib", "kept"]),
    Mutant("memory: silence outlives a clock that is set back", "gateway/src/memory/kept.rs",
           "first.max(last_spoken.saturating_add(1))", "first.max(last_spoken)", GATEWAY + ["--lib", "kept"]),
]

# Columns that nothing was seen in are not read.
DAYS = [
    Mutant("days: a statement does not name them", "gateway/src/read/days.rs",
           'let bounds = bound(">=", self.first) + &bound("<", self.behind);',
           'let bounds = bound(">=", None) + &bound("<", None);', GATEWAY + ["--test", "rest", "queries"]),
    Mutant("days: what follows a cursor at midnight is left out", "gateway/src/read/narrow.rs",
           "Days::of(from, until.shifted(1), length)", "Days::of(from, until, length)", GATEWAY + ["--test", "rest", "pages"]),
    Mutant("days: what a rate begins with is left out", "gateway/src/read/buckets.rs",
           "let from = from.shifted(-reach);", "let _ = reach;", GATEWAY + ["--test", "rest", "rates"]),
]

COLUMNS = [
    Mutant("columns: a row does not say that it has more", "gateway/src/read/samples.rs",
           '.replace("/* more */", &metrics.more())', '.replace("/* more */", "false")',
           GATEWAY + ["--test", "rest", "queries"]),
    Mutant("columns: what a row has more is not read", "gateway/src/read/samples.rs",
           "Ok(any || more?)", "Ok(any && more?)", GATEWAY + ["--test", "rest", "queries"]),
    Mutant("columns: what was in an answer is not seen", "gateway/src/read/seen.rs",
           "Metric::Known(index) => 1 << index,", "Metric::Known(_) => 1,", GATEWAY + ["--lib", "seen"]),
]

MUTANTS = [
    Mutant("I1 publish compares nothing", "common/src/queue/publish.rs",
           "Txn::new().when([last]).and_then(puts)", "let _ = last;\n        Txn::new().and_then(puts)", COMMON + ["--test", "queue"]),
    Mutant("I1 a batch sent ahead compares nothing", "common/src/queue/publish.rs",
           "true => Compare::value(key, CompareOp::Equal, self.tip().encode()),",
           "true => Compare::version(key, CompareOp::Greater, 0),", COMMON + ["--test", "queue", "ahead"]),
    Mutant("I1 a batch sent ahead takes the first no for an answer", "common/src/queue/publish.rs",
           "(Ok(answer), answered) if !answer.succeeded => {", "(Ok(answer), answered) if answer.revision < 0 => {", COMMON + ["--test", "queue", "ahead"]),
    Mutant("I1 only its own batch is looked for in the cursor", "common/src/queue/publish.rs",
           "std::iter::once(sent).chain(&self.sent)", "std::iter::once(sent).chain(self.sent.iter().take(0))",
           COMMON + ["--test", "queue", "ahead"]),
    Mutant("I1 a fenced producer tries again", "common/src/queue/publish.rs",
           "Ok(Verdict::Fenced) => break Fate::Fenced(self.name.clone()),",
           "Ok(Verdict::Fenced) => break Fate::Rewound(self.name.clone()),", COMMON + ["--test", "queue"]),
    Mutant("I2 what was taken cannot be acknowledged", "common/src/queue/consumer.rs",
           "Err(Error::TooLarge(_)) if !messages.is_empty() => {", "Err(Error::TooLarge(_)) if false => {",
           COMMON + ["--test", "queue", "claiming"]),
    Mutant("I5 a file ends with a batch under way", "streamer/src/voyage.rs",
           "            if let Some(outcome) = self.settle(0).await? {\n                return Ok(outcome);\n            }\n            match then {",
           "            match then {", FAULTS + ["--test", "faults", "a_streamer_dies"]),
    Mutant("I2 acknowledged before it is stored", "collector/src/worker.rs",
           "let stored = self.store(&mut works, stop).await;",
           "join_all(works.iter().map(|work| self.ack(work, stop))).await;\n        let stored = self.store(&mut works, stop).await;",
           FAULTS + ["--test", "faults", "boundaries"]),
    Mutant("I2 a frozen collector keeps its batches", "collector/src/write/store.rs",
           "= frozen::end(&self.pool).await", "= Ok::<_, Error>(frozen::end as usize)",
           FAULTS + ["--test", "faults", "frozen_while"]),
    Mutant("I2 expiry is silent", "collector/src/work.rs",
           "_ => rest.saturating_sub(one_each),", "_ => 0,", ["-p", "nexus-collector", "--lib", "work"]),
    Mutant("I2 an acknowledgement compares nothing", "common/src/queue/consumer.rs",
           "Txn::new().when([Compare::mod_revision(name, CompareOp::Equal, claimed.revision)]).and_then(work);",
           "{ let _ = (name, claimed.revision); Txn::new().and_then(work) };", COMMON + ["--test", "queue"]),
    Mutant("I3 the ledger takes a batch twice", "collector/src/write/insert_ledger.sql",
           "ON CONFLICT DO NOTHING", "ON CONFLICT (day, cluster_id, lane, run, n) DO UPDATE SET stored_at = now()",
           ["-p", "nexus-collector", "--lib", "once"]),
    Mutant("I3 batches of a dropped day are forgotten", "collector/src/write/insert_ledger.sql",
           "b.n BETWEEN d.first_n AND d.last_n", "false", ["-p", "nexus-collector", "--lib", "retention"]),
    Mutant("I4 a claim overwrites another", "common/src/queue/consumer.rs",
           "Compare::create_revision(claim.as_str(), CompareOp::Equal, 0),\n", "\n", COMMON + ["--test", "queue"]),
    Mutant("I4 a claim outlives its collector", "common/src/queue/consumer.rs",
           "self.id.as_str(), Some(PutOptions::new().with_lease(lease))", "self.id.as_str(), None",
           COMMON + ["--test", "queue"]),
    Mutant("I5 a hole is no hole", "common/src/books/balance.rs",
           "holes.extend(missing);", "drop(missing);", COMMON + ["--lib", "books"]),
    Mutant("I5 an older run covers what a later one lost", "common/src/books/balance.rs",
           "decided.push(range);", "decided.extend(there);", COMMON + ["--lib", "books"]),
    Mutant("I5 missing batches are not looked for", "common/src/books/ledger.rs",
           "if numbers != batches ||", "if false &&", ["-p", "nexus", "--test", "operator", "audit"]),
    Mutant("I5 dead letters are not counted", "common/src/books/balance.rs",
           "if letters_gone > 0 {", "if false {", COMMON + ["--lib", "books"]),
    Mutant("I5 a dropped day is not among the sums", "collector/src/write/retention/fold_totals.sql",
           "stored = t.stored + excluded.stored", "stored = t.stored", ["-p", "nexus-collector", "--lib", "retention"]),
    Mutant("I5 a day may be dropped under an audit", "common/src/books/ledger.rs",
           "LOCK TABLE ledger IN ACCESS SHARE MODE", "SELECT 1", ["-p", "nexus-collector", "--lib", "retention"]),
    Mutant("I6 an acknowledgement without a feed puts one", "common/src/queue/consumer.rs",
           "chain(feed.map(|feed| TxnOp::put(self.keys.feed(), feed, None)))",
           "chain([TxnOp::put(self.keys.feed(), feed.unwrap_or_default(), None)])", COMMON + ["--test", "queue"]),
    Mutant("I7 an acknowledgement deletes a range", "common/src/queue/consumer.rs",
           "self.while_it_stands(claimed, messages.iter().map(delete).chain(last()).collect()).await {",
           "{\n"
           "            let behind = [claimed.manifest.last.as_bytes(), &[0]].concat();\n"
           "            let all = crate::etcd::DeleteOptions::new().with_range(behind);\n"
           "            let range = TxnOp::delete(claimed.manifest.first.as_str(), Some(all));\n"
           "            self.while_it_stands(claimed, std::iter::once(range).chain(last()).collect()).await\n"
           "        } {",
           COMMON + ["--test", "queue"]),
    Mutant("I8 what is stored is not noted", "collector/src/write/store.rs",
           "note(&transaction, &harvest).await?;", "", ["-p", "nexus-collector", "--lib", "rollups"]),
    Mutant("I8 notes are not looked at", "gateway/src/read/rolled.sql",
           "WHERE $12 > ANY (hours)", "WHERE false AND $12 > ANY (hours)", FAULTS + ["--test", "e2e", "rollups"]),
    Mutant("I8 kept answers: notes are not looked at", "gateway/src/read/edition.sql",
           "WHERE q.behind > ANY (hours)", "WHERE false AND q.behind > ANY (hours)", KEPT),
    Mutant("I8 kept answers: the list is not looked at", "gateway/src/read/edition.sql",
           "AND hour >= q.first AND hour < q.behind", "AND hour >= q.first AND hour < q.behind AND false", KEPT),
    Mutant("I8 kept answers: an hour that was rolled up anew is the same", "gateway/src/read/edition.sql",
           "SELECT h.xmin\n", "SELECT '1'::xid\n", KEPT),
    Mutant("I8 kept answers: what comes meanwhile is not looked at", "gateway/src/rest/kept/mod.rs",
           "edition(&read).await.as_ref() == Some(&before)", "true", KEPT),
    Mutant("I8 kept answers: all have the edition of the first", "gateway/src/read/edition.rs",
           "usize::try_from(number - 1)", "usize::try_from(0 * number)", KEPT),
    Mutant("I8 rollups go before their samples", "collector/src/write/retention/mod.rs",
           "!has_samples(&transaction, day, table.end(day)).await?", "true", ["-p", "nexus-collector", "--lib", "retention"]),
    Mutant("poison is tried for ever", "collector/src/worker.rs",
           "claimed.attempt > self.max_attempts", "claimed.attempt > 1_000_000",
           ["-p", "nexus-collector", "--test", "collector", "buried"]),
    Mutant("the rounds see what is lost", "collector/src/worker.rs",
           "let stored = self.store(&mut works, stop).await;",
           "join_all(works.iter().map(|work| self.ack(work, stop))).await;\n        let stored = self.store(&mut works, stop).await;",
           FAULTS + ["--test", "rounds"]),
    Mutant("the rounds see what is doubled", "collector/src/write/insert_ledger.sql",
           "ON CONFLICT DO NOTHING\nRETURNING lane, run, n",
           "ON CONFLICT (day, cluster_id, lane, run, n) DO UPDATE SET stored = ledger.stored * 2, "
           "row_count = ledger.row_count + ledger.stored\nRETURNING lane, run, n", FAULTS + ["--test", "rounds"]),
    *MEMORY,
    *COLUMNS,
    *DAYS,
    *CARE,
    *SECURITY,
]


def tried(tree, mutant):
    """What became of it: 'seen', or why not."""
    path = tree / mutant.file
    text = path.read_text()
    if text.count(mutant.guard) != 1:
        return "the guard is not where it was"
    extra = ("pub use etcd_client::{Compare,", "pub use etcd_client::{DeleteOptions, Compare,")
    door = tree / "common/src/etcd/mod.rs"
    before = door.read_text()
    try:
        path.write_text(text.replace(mutant.guard, mutant.instead))
        if "DeleteOptions" in mutant.instead:
            door.write_text(before.replace(*extra))
        command = ["cargo", "test", "--locked", *mutant.test]
        environment = {**os.environ, "ROUNDS": os.environ.get("ROUNDS", "8"), "JOBS": "2", "SEED": "1"}
        try:
            done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=1200)
        except subprocess.TimeoutExpired:
            return "seen (the test did not end)"
        (tree / "last.log").write_text(done.stdout + done.stderr)
        failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("test ") and "FAILED" in line]
        if failed:
            return "seen by " + ", ".join(failed[:3])
        return "it does not compile" if done.returncode else "NOT SEEN"
    finally:
        path.write_text(text)
        door.write_text(before)


def look(root):
    """Whether every guard is there, once."""
    gone = [mutant for mutant in MUTANTS if (root / mutant.file).read_text().count(mutant.guard) != 1]
    for mutant in gone:
        print(f"{mutant.name}: the guard is not in {mutant.file}, or not once")
    print(f"{len(MUTANTS) - len(gone)} of {len(MUTANTS)} guards are where they should be")
    return 1 if gone else 0


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    if sys.argv[1:] == ["--look"]:
        sys.exit(look(root))
    chosen = [one for one in MUTANTS if not sys.argv[1:] or one.name.startswith(tuple(sys.argv[1:]))]
    target = os.environ.setdefault("CARGO_TARGET_DIR", str(root / "target/mutants"))
    pathlib.Path(target).mkdir(parents=True, exist_ok=True)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        for mutant in chosen:
            outcome = tried(pathlib.Path(folder), mutant)
            missed += not outcome.startswith("seen")
            print(f"{mutant.name:<50} {outcome}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} were seen")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
