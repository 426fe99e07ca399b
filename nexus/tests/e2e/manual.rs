//! `docs/API.md` is true: every request in it is asked of a running gateway, and answered in the form that stands below it.
//! What it shows of WebSockets is in `manual_live`.
//!
//! What is compared is status, fields and their types, the names of columns and the reasons of problems: values are of the
//! moment. `…` stands for what is left out.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nexus_common::domain::Timestamp;
use serde_json::Value;
use tokio::time::timeout;

use crate::markdown::Markdown;
use crate::parity::Gateway;
use crate::world::{PATIENCE, World};

pub(crate) const MANUAL: &str = include_str!("../../../docs/API.md");

/// Rows of the fleet in `data/`, which is what the examples show, and one row that nobody understands.
const ROWS: u64 = 1_860;
const BROKEN: &str = "timestamp,hostname,gpu_id,temperature\n2026-01-05T08:00:00Z,host-001,0,warm\n";

/// `$ curl …` in the manual, and what stands below it.
struct Example {
    line: usize,
    path: String,
    body: Option<String>,
    headers: Vec<(String, String)>,
    answer: String,
}

/// The words of a line as a shell has them, without expansion: the examples need none but `$KEY`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c.is_whitespace() => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            None => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn examples() -> Vec<Example> {
    let mut examples = Vec::new();
    for block in Markdown::of(MANUAL).blocks {
        for (at, part) in format!("\n{}", block.text).split("\n$ curl ").enumerate().skip(1) {
            let (asked, answer) = part.split_once('\n').unwrap_or((part, ""));
            let words = words(asked);
            let address = words.iter().find_map(|word| word.strip_prefix("localhost:8080"));
            let behind =
                |flag: &'static str| words.iter().zip(words.iter().skip(1)).filter(move |(word, _)| *word == flag);
            let header = |(_, text): (&String, &String)| {
                text.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap()
            };
            examples.push(Example {
                line: block.line + at,
                path: address.unwrap_or_else(|| panic!("docs/API.md:{}: {asked}", block.line)).to_owned(),
                body: behind("--json").map(|(_, text)| text.clone()).next(),
                headers: behind("-H").map(header).collect(),
                answer: answer.trim().to_owned(),
            });
        }
    }
    examples
}

/// JSON with parts left out: without `…`, and without the comma before it.
pub(crate) fn shown(text: &str) -> Option<Value> {
    let mut whole = String::with_capacity(text.len());
    for c in text.chars().filter(|c| *c != '…') {
        let last = whole.trim_end();
        if matches!(c, ']' | '}') && last.ends_with(',') {
            whole.truncate(last.len() - 1);
        }
        whole.push(c);
    }
    serde_json::from_str(&whole).ok()
}

/// Where an answer is not of the form that is shown.
fn differs(shown: &Value, told: &Value) -> Option<String> {
    match (shown, told) {
        // What may be null is so at one moment and not at another.
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Object(shown), Value::Object(told)) => shown.iter().find_map(|(name, value)| match told.get(name) {
            None => Some(format!(".{name} is missing")),
            Some(told) => differs(value, told).map(|what| format!(".{name}{what}")),
        }),
        (Value::Array(shown), Value::Array(told)) => {
            let missing = (told.len() < shown.len()).then(|| format!(" has {} of {}", told.len(), shown.len()));
            let different = || shown.iter().zip(told).find_map(|(shown, told)| differs(shown, told));
            missing.or_else(|| different().map(|what| format!("[]{what}")))
        }
        (Value::String(shown), Value::String(told)) => {
            let problem = shown.starts_with("urn:nexus:problem:") && shown != told;
            problem.then(|| format!(" is {told}, not {shown}"))
        }
        (Value::Number(_), Value::Number(_)) | (Value::Bool(_), Value::Bool(_)) => None,
        _ => Some(format!(" is {told}, not like {shown}")),
    }
}

impl Example {
    /// What is not as the manual says.
    async fn lies(&self, gateway: &Gateway, key: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{}", gateway.port, self.path);
        let client = reqwest::Client::new();
        let mut request = match &self.body {
            Some(body) => client.post(url).header("content-type", "application/json").body(body.clone()),
            None => client.get(url),
        };
        for (name, value) in &self.headers {
            request = request.header(name, value.replace("$KEY", key));
        }
        let mut answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        // A stream has no end: its first piece will do.
        let told = match self.path.starts_with("/api/v1/stream") {
            true => String::from_utf8_lossy(&answer.chunk().await.ok()??).into_owned(),
            false => answer.text().await.ok()?,
        };
        let example = shown(&self.answer);
        let problem = example.as_ref().filter(|shown| shown["title"].is_string()).map(|shown| &shown["status"]);
        let expected = problem.and_then(Value::as_u64).unwrap_or(200);
        if u64::from(status) != expected {
            return Some(format!("{status}: {told}"));
        }
        match (example, serde_json::from_str(&told)) {
            (Some(example), Ok(told)) => differs(&example, &told).map(|what| format!("{what} in {told}")),
            _ => self.lines_differ(&told),
        }
    }

    /// Of an answer in lines: JSON like JSON, of a stream's fields and of metrics the name, else the same line.
    fn lines_differ(&self, told: &str) -> Option<String> {
        // Of a table the names of its columns.
        let most = if self.path.contains("format=csv") { 1 } else { usize::MAX };
        let shown_lines = self.answer.lines().filter(|line| !line.is_empty() && !line.starts_with('…')).take(most);
        let mut missing = shown_lines.filter(|line| {
            let name = line.split([' ', '{']).next().unwrap_or_default();
            !told.lines().any(|other| match (shown(line), shown(other)) {
                (Some(example), Some(told)) => differs(&example, &told).is_none(),
                _ if name.is_empty() => true,
                _ => other.starts_with(name),
            })
        });
        missing.next().map(|line| format!("no line like {line} in {told}"))
    }
}

/// The fleet of the examples, as of the last minute.
pub(crate) fn fleet(world: &World) -> PathBuf {
    let now = Timestamp::now().as_millis() / 1_000;
    let start = Timestamp((now - 60) * 1_000_000).to_string();
    let fleet = world.folder.path().join("gpu_telemetry_sample.csv");
    let mut generate = Command::new(env!("CARGO_BIN_EXE_nexus"));
    generate.args(["generate", "--form=long", "--start", &start, "--out"]).arg(&fleet);
    assert!(generate.stderr(Stdio::null()).status().unwrap().success());
    fleet
}

#[tokio::test]
async fn every_example_of_the_manual_is_answered_as_it_says() {
    let world = World::new().await;
    let fleet = fleet(&world);
    let broken = world.file("broken.csv", BROKEN);
    let keys = world.folder.path().join("keys");
    let mut make_key = Command::new(env!("CARGO_BIN_EXE_nexus"));
    make_key.args(["keys", "new", "--name=alice", "--role=operator", "--file"]).arg(&keys);
    let key = String::from_utf8(make_key.output().unwrap().stdout).unwrap().trim().to_owned();

    let collector = world.collector();
    for file in [&fleet, &broken] {
        world.start("streamer", &[("CSV_FILE", file.to_str().unwrap())]).succeeds().await;
    }
    world.until_accounted(ROWS + 1).await;
    let open = [
        ("API_KEYS_FILE", keys.to_str().unwrap()),
        ("ALLOW_ANONYMOUS", "true"),
        ("METRICS_OPEN", "true"),
        ("ENABLE_OPERATOR_ROUTES", "true"),
    ];
    let gateway = Gateway::start_with(&world, &open).await;
    let examples = examples();
    assert!(examples.len() >= 25, "{} examples were found: the manual is not read", examples.len());
    for example in &examples {
        let mut lie = example.lies(&gateway, &key).await;
        let asked = async {
            // What is the matter with GPUs shows a moment after their values.
            while lie.is_some() {
                tokio::time::sleep(Duration::from_millis(200)).await;
                lie = example.lies(&gateway, &key).await;
            }
        };
        let _ = timeout(PATIENCE, asked).await;
        assert!(lie.is_none(), "docs/API.md:{}: {}: {}", example.line, example.path, lie.unwrap_or_default());
    }
    collector.stop().await;
}
