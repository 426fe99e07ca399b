//! The views as the API's description has them, where their types do not say it themselves: words and times are text,
//! values an object of numbers.

use std::borrow::Cow;

use nexus_common::domain::{Condition, Severity, Status};
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{Object, ObjectBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{Reading, Readings, Time, Values};

/// One of these words.
pub(crate) fn words<const N: usize>(words: [&'static str; N]) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words))
}

/// The word for a state.
pub(super) fn status() -> Object {
    let all = [Status::Ok, Status::Degraded, Status::Stale, Status::Empty];
    words(all.map(Status::as_str)).description(Some("In one word.")).build()
}

/// Conditions that hold.
pub(super) fn findings() -> utoipa::openapi::schema::Array {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let finding = ObjectBuilder::new()
        .property("condition", words(Condition::ALL.map(Condition::as_str)).description(Some("Which.")))
        .property(
            "severity",
            words(Severity::ALL.map(Severity::as_str))
                .description(Some("How much it matters; it rises with the time it holds.")),
        )
        .property("since", Ref::from_schema_name("Time"))
        .property(
            "evidence",
            text()
                .description(Some("What shows it, in words with figures and units."))
                .examples(["82 °C, above 80 °C for 5m"]),
        );
    let finding = ["condition", "severity", "since", "evidence"].into_iter().fold(finding, ObjectBuilder::required);
    ArrayBuilder::new()
        .items(finding)
        .description(Some("What is the matter with it, each since when and with the evidence; empty where nothing is."))
        .build()
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339 in UTC, down to microseconds where there are any."))
            .examples(["2025-07-18T20:42:34Z"])
            .into()
    }
}

impl ToSchema for Time {
    fn name() -> Cow<'static, str> {
        "Time".into()
    }
}

impl PartialSchema for Values {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .additional_properties(Some(ObjectBuilder::new().schema_type(Type::Number)))
            .description(Some(
                "Metric to value, in the unit that /api/v1/metrics tells; what nobody reported is not in here.",
            ))
            .examples([serde_json::json!({"gpu_utilization": 97, "power_watts": 412.5})])
            .into()
    }
}

impl ToSchema for Values {
    fn name() -> Cow<'static, str> {
        "Values".into()
    }
}

impl PartialSchema for Readings {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .additional_properties(Some(AdditionalProperties::RefOr(Ref::from_schema_name("Reading").into())))
            .description(Some("Metric to its newest value; what nobody reported is not in here."))
            .into()
    }
}

impl ToSchema for Readings {
    fn name() -> Cow<'static, str> {
        "Readings".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("Reading".to_owned(), Reading::schema()));
        Reading::schemas(schemas);
    }
}
