//! One trace leads from the rows of a CSV file to the frame that a WebSocket client got; and a receiver that is not there
//! is nobody's trouble.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nexus_common::testing::eventually;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::receiver::{Receiver, Told};
use crate::rows::expected;
use crate::stack::Stack;
use crate::world::PATIENCE;

const LEVEL: &str = "info,nexus_streamer=debug,nexus_collector=debug,nexus_gateway=debug";

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// One that is told what is stored from now on, and nothing out of memory; where it begins it has been told.
    async fn of(stack: &Stack) -> Client {
        let mut client =
            Client(connect_async(format!("ws://{}/ws?mode=all", stack.addresses["gateway"])).await.unwrap().0);
        client.next(|message| message["type"] == "position").await;
        client
    }

    /// The next frame that begins with this line of the file, or a later one.
    async fn frame(&mut self, line: u64) -> Value {
        self.next(|message| message["type"] == "telemetry" && line_of(&message["samples"][0]) >= line).await
    }

    async fn next(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("a frame").unwrap().unwrap();
            let message: Value = serde_json::from_str(message.to_text().unwrap()).unwrap_or_default();
            if wanted(&message) {
                return message;
            }
        }
    }
}

/// The line of the file that a sample of a frame stands in: row i, whose value is i, stands in line i + 2.
fn line_of(sample: &Value) -> u64 {
    let at: jiff::Timestamp = sample["timestamp"].as_str().unwrap().parse().unwrap();
    let place = (
        sample["host_id"].as_str().unwrap().to_owned(),
        sample["gpu_id"].as_str().unwrap().to_owned(),
        at.as_microsecond(),
    );
    expected(0, 1_000)[&place] as u64 + 2
}

#[tokio::test]
async fn one_trace_leads_from_a_line_of_the_file_to_the_frame_of_a_client() {
    let receiver = Receiver::start().await;
    let stack = Stack::with(
        100,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.address),
            ("OTEL_TRACES_SAMPLER_ARG", "1"),
            ("LOG_FORMAT", "json"),
            ("LOG_LEVEL", LEVEL),
        ],
    )
    .await;
    stack.until("collector", "nexus_collector_rows_total", 100.0).await;
    let (mut client, mut other) = (Client::of(&stack).await, Client::of(&stack).await);
    stack.append(100, 140);
    let frame = client.frame(102).await;
    assert_eq!(other.frame(102).await["position"], frame["position"]);

    // From the frame back to the file.
    let position = frame["position"].as_str().unwrap();
    let delivering = |told: &Told| told.name == "deliver" && told.says("nexus.position") == position;
    eventually("the delivery is told", PATIENCE, async || receiver.told().iter().any(delivering)).await;
    let of_trace = || {
        let told = receiver.told();
        let trace = told.iter().find(|told| delivering(told)).unwrap().trace.clone();
        told.into_iter().filter(|told| told.trace == trace).collect::<Vec<_>>()
    };
    eventually("all steps are told", PATIENCE, async || of_trace().len() >= 6).await;
    let told = of_trace();
    let step = |name: &str| {
        let mut steps = told.iter().filter(|told| told.name == name);
        let only = steps.next().unwrap_or_else(|| panic!("no {name}: {told:?}"));
        assert!(steps.next().is_none(), "{name} is told twice, of two clients: {told:?}");
        only
    };
    let [read, publish, claim, store, acknowledge, deliver] =
        ["read", "publish", "claim", "store", "acknowledge", "deliver"].map(step);
    for (step, service, parent) in [
        (read, "nexus-streamer", ""),
        (publish, "nexus-streamer", read.id.as_str()),
        (claim, "nexus-collector", &publish.id),
        (store, "nexus-collector", &publish.id),
        (acknowledge, "nexus-collector", &publish.id),
        (deliver, "nexus-gateway", &acknowledge.id),
    ] {
        assert_eq!((step.service.as_str(), step.parent.as_str()), (service, parent), "{step:?}");
        assert!(step.began <= step.ended && !step.failed, "{step:?}");
    }
    // Whoever takes can end before the giver has heard that it gave, but not begin.
    let begun = [read, publish, claim, store, acknowledge, deliver].map(|step| step.began);
    assert!(begun.is_sorted(), "{told:?}");

    assert!(publish.says("nexus.file").ends_with("rows.csv"), "{publish:?}");
    let (first, last) = (publish.number("nexus.first_line"), publish.number("nexus.last_line"));
    let lines: BTreeSet<u64> = frame["samples"].as_array().unwrap().iter().map(line_of).collect();
    assert_eq!(lines, (first..=last).collect(), "the frame holds the lines that the trace names");
    assert_eq!(publish.number("nexus.rows"), store.number("nexus.stored"));
    let batch = publish.says("nexus.batch");
    for step in [claim, store, acknowledge, deliver] {
        assert_eq!(step.says("nexus.batch"), batch);
    }
    for (process, message) in [
        (&stack.streamer, "published"),
        (&stack.collector, "claimed"),
        (&stack.collector, "stored"),
        (&stack.collector, "acknowledged"),
        (&stack.gateway, "in the feed"),
    ] {
        let log = process.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line["batch"] == batch && line["message"] == message);
        assert_eq!(line.unwrap()["trace_id"], publish.trace.as_str(), "{message}");
    }

    // A request that its client records is a span of that trace; one that nobody records is none. What is asked about is
    // known once the gateway has looked it up.
    eventually("the cluster is known", PATIENCE, async || {
        stack.get("gateway", "/api/v1/clusters/local-cluster").await.0 == 200
    })
    .await;
    let asked = async |flags: &str| {
        let url = format!("http://{}/api/v1/clusters/local-cluster", stack.addresses["gateway"]);
        let traceparent = format!("00-{:032x}-00f067aa0ba902b7-{flags}", 77);
        let answer = reqwest::Client::new().get(url).header("traceparent", traceparent).send().await.unwrap();
        answer.headers()["traceparent"].to_str().unwrap().to_owned()
    };
    let (_, answered) = (asked("00").await, asked("01").await);
    let requests =
        || receiver.told().into_iter().filter(|told| told.trace == format!("{:032x}", 77)).collect::<Vec<_>>();
    eventually("the request is told", PATIENCE, async || !requests().is_empty()).await;
    let [request] = &requests()[..] else { panic!("{:?}", requests()) };
    assert_eq!(
        (request.name.as_str(), request.parent.as_str()),
        ("GET /api/v1/clusters/{cluster_id}", "00f067aa0ba902b7")
    );
    assert_eq!((request.kind, request.says("http.response.status_code")), (2, "200"));
    assert!(answered.contains(&request.id), "{answered}: {request:?}");

    assert!(stack.value("streamer", "nexus_trace_spans_total{outcome=\"sent\"}").await > Some(0.0));
    stack.stop().await;
}

/// Neither one that refuses nor one that takes the connection and never says a word.
#[tokio::test]
async fn a_dead_receiver_holds_nothing_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (address, fails_at_once) in
        [("127.0.0.1:1".to_owned(), true), (silent.local_addr().unwrap().to_string(), false)]
    {
        let environment =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", &*format!("http://{address}")), ("OTEL_TRACES_SAMPLER_ARG", "1")];
        let stack = Stack::with(1_000, &environment).await;
        stack.until("collector", "nexus_collector_rows_total", 1_000.0).await;
        if fails_at_once {
            let failed = async || stack.value("collector", "nexus_trace_spans_total{outcome=\"failed\"}").await;
            eventually("lost spans are counted", PATIENCE, async || failed().await > Some(0.0)).await;
        }
        stack.world.is_drained().await;
        stack.world.start("audit", &[]).succeeds().await;
        for process in [stack.streamer, stack.collector, stack.gateway] {
            let began = Instant::now();
            process.stop().await;
            assert!(began.elapsed() < Duration::from_secs(8), "it waited for the receiver: {:?}", began.elapsed());
        }
    }
}
