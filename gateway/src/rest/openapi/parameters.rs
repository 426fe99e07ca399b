//! The parameters as the API's description has them. They are read elsewhere (`query.rs`, `place.rs`); a test holds the
//! names here against those that each route takes.
#![expect(dead_code, reason = "described, never made")]

use nexus_common::domain::{Condition, EventKind, Severity};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::read::described::words;
use crate::read::{Aggregate, State};

/// A cluster by its path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfCluster {
    /// The cluster's name: CLUSTER_ID of whoever sent the telemetry.
    #[param(min_length = 1, pattern = r"^[^\u0000]+$", example = "local-cluster")]
    cluster_id: String,
}

/// A host by its path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfHost {
    /// The cluster's name: CLUSTER_ID of whoever sent the telemetry.
    #[param(min_length = 1, pattern = r"^[^\u0000]+$", example = "local-cluster")]
    cluster_id: String,
    /// The host's name.
    #[param(min_length = 1, pattern = r"^[^\u0000]+$", example = "host-001")]
    host_id: String,
}

/// A GPU by its path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfGpu {
    /// The cluster's name: CLUSTER_ID of whoever sent the telemetry.
    #[param(min_length = 1, pattern = r"^[^\u0000]+$", example = "local-cluster")]
    cluster_id: String,
    /// The host's name.
    #[param(min_length = 1, pattern = r"^[^\u0000]+$", example = "host-001")]
    host_id: String,
    /// The GPU's index on its host, or its UUID. Of several that followed each other at one index the one that reported
    /// last is meant.
    #[param(min_length = 1, pattern = r"^[^\u0000]+$", example = "0")]
    gpu_id: String,
}

/// The form of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Form {
    /// The form of the answer. It goes before Accept; without both it is json.
    #[param(inline, example = "json")]
    format: Option<FormWord>,
}

/// A part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// The most items of a page. More are refused, not cut.
    #[param(minimum = 1, maximum = 10_000, default = 100, example = 10)]
    limit: Option<u16>,
    /// Where to go on: `next_cursor` of the page before, with the question otherwise unchanged. One that was not given
    /// out, or for another list or order, is refused.
    #[param(pattern = r"^[A-Za-z0-9_-]*$")]
    cursor: Option<String>,
}

/// Hosts and GPUs of one cluster.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InCluster {
    /// Only of the cluster with this name. One that nobody knows gives an empty list.
    #[param(pattern = r"^[^\u0000]*$", example = "local-cluster")]
    cluster_id: Option<String>,
}

/// GPUs.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Chosen {
    /// Only of the cluster with this name. One that nobody knows gives an empty list.
    #[param(pattern = r"^[^\u0000]*$", example = "local-cluster")]
    cluster_id: Option<String>,
    /// Only of the host with this name.
    #[param(pattern = r"^[^\u0000]*$", example = "host-001")]
    host_id: Option<String>,
    /// Only of the GPU with this index on its host, or with this UUID.
    #[param(pattern = r"^[^\u0000]*$", example = "0")]
    gpu_id: Option<String>,
}

/// GPUs by what is the matter with them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Ailing {
    /// Only with this condition.
    #[param(inline, example = "hot")]
    condition: Option<ConditionWord>,
    /// Only with a condition that matters at least so much; with `condition` that one.
    #[param(inline, example = "warning")]
    min_severity: Option<SeverityWord>,
}

/// Events by their sort.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Sort {
    /// Only what happened in this way.
    #[param(inline, example = "xid")]
    kind: Option<KindWord>,
}

/// Dead letters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Undeliverable {
    /// Only those whose reason holds this text; case does not count.
    #[param(pattern = r"^[^\u0000]*$", example = "PostgreSQL")]
    reason: Option<String>,
    /// Only those of this file: its path as it is listed, or the end of it.
    #[param(pattern = r"^[^\u0000]*$", example = "export.csv")]
    file: Option<String>,
    /// Only those in this state.
    #[param(inline, example = "dead")]
    state: Option<StateWord>,
    /// Only those written at this time or later; written as in `/api/v1/telemetry`.
    #[param(inline, example = "now-1h")]
    start: Option<Moment>,
    /// Only those written before this time; written like `start`, and after it.
    #[param(inline, example = "now")]
    end: Option<Moment>,
}

/// A range of time, and the order within it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Span {
    /// The first moment: RFC 3339 (`2025-07-18T20:42:34Z`; without `+` percent-encoded a space will do), a day in UTC, epoch
    /// seconds or milliseconds, or relative to now (`now-1h`, `now-7d`). From 1970 to 9999. Without it as far back as there
    /// is anything; with `step` or `agg` see there.
    #[param(inline, example = "now-1h")]
    start: Option<Moment>,
    /// The moment behind the last one, written like `start`, and after it. Without it up to the newest.
    #[param(inline, example = "now")]
    end: Option<Moment>,
    /// By time: desc is the newest first, asc the oldest first.
    #[param(inline, example = "asc")]
    order: Option<OrderWord>,
}

/// How times are written.
const MOMENT: &str = r"^(now([ +-].+)?|[0-9]+(\.[0-9]*)?|[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].+)?)$";

/// Metrics.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Measured {
    /// Only these, with commas between them: a name, alias or DCGM field of `/api/v1/metrics`, or a metric outside of the
    /// catalogue that some GPU reported. Another name is refused, with names near it. Without it all.
    #[param(style = Form, explode = false, max_items = 100, example = json!(["power_watts", "temperature_celsius"]))]
    metrics: Option<Vec<String>>,
}

/// Samples summed up.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Summed {
    /// Sum up in steps of this length, from 1ms to 3650days, as `250ms`, `30s`, `5m`, `1h` or `7d`; or auto: a round length
    /// that gives up to 500 steps. Without `start` an automatic step is about the last hour before the newest value, another
    /// about 1,000 steps. More than 100,000 points (GPUs times steps) are refused with a step that would work. The answer
    /// names the step.
    #[param(pattern = r"^(auto|([0-9]+ ?(us|ms|s|m|min|h|d|days|w|weeks) ?)+)$", example = "5m")]
    step: Option<String>,
    /// How values are summed up; rate is the growth of counters per second, and refuses metrics that are no counters. Without
    /// it gauges are averaged and of the others the last value is taken. Without `step` the step is automatic. Over long times
    /// p95 is slower than the others: of whole minutes and hours all but percentiles are known beforehand. A query that
    /// takes too long is ended.
    #[param(inline, example = "max")]
    agg: Option<AggregateWord>,
}

/// How the live feed comes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Manner {
    /// all: every frame as it was committed. latest: the newest value of each GPU first, then what is new, merged where the
    /// client is slower than the feed.
    #[param(inline, example = "latest")]
    mode: Option<ModeWord>,
    /// At most one message in this time, up to 1h; only with mode=latest.
    #[param(pattern = r"^([0-9]+ ?(us|ms|s|m|min|h) ?)+$", example = "5s")]
    interval: Option<String>,
    /// Go on behind this position: that of the last message that was received, from any gateway. What is too old to be
    /// sent again is told as a gap.
    since: Option<String>,
    /// What POST /api/v1/tickets gave, where the client can send no header: good once, for half a minute.
    ticket: Option<String>,
}

/// The live feed again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct LastEvent {
    /// As `since`, which goes before it: the id of the last event. Browsers send it by themselves.
    #[param(rename = "last-event-id")]
    last_event_id: Option<String>,
}

/// Types that stand for what is text on the wire.
macro_rules! texts {
    ($($name:ident = $schema:expr;)*) => { $(
        struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $name {}
    )* };
}

texts! {
    Moment = ObjectBuilder::new().schema_type(Type::String).pattern(Some(MOMENT)).examples(["2025-07-18T20:00:00Z", "1752868800", "now-1h"]);
    FormWord = words(["json", "ndjson", "csv"]);
    ConditionWord = words(Condition::ALL.map(Condition::as_str));
    SeverityWord = words(Severity::ALL.map(Severity::as_str));
    KindWord = words(EventKind::ALL.map(EventKind::as_str));
    StateWord = words(State::WORDS);
    OrderWord = words(["desc", "asc"]).default(Some("desc".into()));
    ModeWord = words(["latest", "all"]);
    AggregateWord = words(Aggregate::WORDS.map(|(word, _)| word));
}
