//! A small OpenTelemetry receiver: takes what is told over HTTP and reads it with OpenTelemetry's own types.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Status;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A span, and who told it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty of a root.
    pub(crate) parent: String,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) failed: bool,
    attributes: BTreeMap<String, String>,
}

impl Told {
    /// What it says under this name.
    pub(crate) fn says(&self, name: &str) -> &str {
        self.attributes.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.says(name).parse().unwrap()
    }
}

pub(crate) struct Receiver {
    pub(crate) address: String,
    told: Spans,
    _serving: JoinSet<()>,
}

type Spans = Arc<Mutex<Vec<Told>>>;

impl Receiver {
    pub(crate) async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let told = Spans::default();
        let app = Router::new().route("/v1/traces", post(take)).with_state(told.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Receiver { address, told, _serving: serving }
    }

    /// All there is so far.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }
}

async fn take(State(told): State<Spans>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    for of_process in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let resource = words(&of_process.resource.unwrap().attributes);
        assert_eq!(resource["nexus.cluster_id"], "local-cluster");
        for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            told.lock().unwrap().push(Told {
                service: resource["service.name"].clone(),
                name: span.name,
                kind: span.kind,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                began: span.start_time_unix_nano,
                ended: span.end_time_unix_nano,
                failed: span.status.is_some_and(|Status { code, .. }| code == 2),
                attributes: words(&span.attributes),
            });
        }
    }
    StatusCode::OK
}

fn words(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let word = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let value = |attribute: &KeyValue| word(attribute.value.as_ref().unwrap().value.as_ref().unwrap());
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
