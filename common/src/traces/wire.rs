//! What OTLP 1 has of traces, as far as we say it: `opentelemetry/proto/collector/trace/v1/trace_service.proto` and what it
//! names. A test decodes it with OpenTelemetry's own types (`nexus/tests/metrics/traced.rs`).

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::span::Ended;
use super::{Kind, Value};

/// Who tells.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) service: &'static str,
    pub(super) cluster_id: String,
    pub(super) host: String,
}

/// One request: these spans of this process.
pub(super) fn encode(origin: &Origin, spans: impl IntoIterator<Item = Ended>) -> Vec<u8> {
    let attributes = vec![
        attribute("service.name", origin.service.into()),
        attribute("service.namespace", "nexus".into()),
        attribute("service.version", env!("CARGO_PKG_VERSION").into()),
        attribute("host.name", origin.host.as_str().into()),
        attribute("process.pid", u64::from(std::process::id()).into()),
        attribute("nexus.cluster_id", origin.cluster_id.as_str().into()),
    ];
    let spans = spans.into_iter().map(Span::from).collect();
    let scope = Some(Scope { name: "nexus".to_owned() });
    let resource = Some(Resource { attributes });
    Request { resource_spans: vec![ResourceSpans { resource, scope_spans: vec![ScopeSpans { scope, spans }] }] }
        .encode_to_vec()
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::Text(text),
        Value::Number(number) => Any::Number(number),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

impl From<Ended> for Span {
    fn from(Ended { span, at }: Ended) -> Self {
        let super::Span { context, parent, name, kind, began, failed, attributes } = span;
        Span {
            trace_id: context.trace.to_be_bytes().to_vec(),
            span_id: context.span.to_be_bytes().to_vec(),
            parent_span_id: parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
            name: name.into_owned(),
            kind: match kind {
                Kind::Internal => 1,
                Kind::Server => 2,
                Kind::Producer => 4,
                Kind::Consumer => 5,
            },
            start_time_unix_nano: nanoseconds(began),
            end_time_unix_nano: nanoseconds(at),
            attributes: attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
            status: failed.then_some(Status { code: 2 }),
            flags: u32::from(context.sampled),
        }
    }
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 3")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}
