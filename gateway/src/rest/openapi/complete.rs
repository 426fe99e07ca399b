//! What holds for many routes, written into their description. It follows from what a route takes: who has a `format` is a
//! list, who has a `start` reads the database, who has a `since` is the live feed, who has a name in the path may not find
//! it.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema, ToSchema};

use super::super::problem;
use super::graphql;
use crate::access;

/// The whole document.
pub(super) fn complete(description: &OpenApi, graphql: bool, anonymous: bool) -> Value {
    // Its keys are strings and its numbers finite: it can be written.
    let mut document = serde_json::to_value(description).unwrap_or_default();
    if graphql {
        document["paths"][graphql::PATH] = graphql::operations();
        document["components"]["schemas"]["GraphqlAnswer"] = graphql::answer();
    }
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let taken = Taken::of(method, path, operation);
            taken.write(operation);
        }
    }
    let components = &mut document["components"];
    for (name, schema) in components["schemas"].as_object_mut().into_iter().flatten() {
        if let Some(item) = name.strip_prefix("Page_") {
            schema["properties"]["items"]["items"] = reference("schemas", item);
        }
    }
    components["schemas"][&*problem::Body::name()] = json!(problem::Body::schema());
    components["responses"] = Value::Object(refusals());
    components["headers"] = headers();
    components["parameters"] = parameters();
    components["securitySchemes"] = security_schemes();
    document["security"] = if anonymous { json!([{}, {"key": []}]) } else { json!([{"key": []}]) };
    document
}

/// What a route takes.
struct Taken {
    a_socket: bool,
    a_name: bool,
    a_form: bool,
    a_cursor: bool,
    a_range: bool,
    a_step: bool,
    /// Whose parameters are looked at.
    strict: bool,
    /// Of something else than the form.
    questions: bool,
    /// The answer has one.
    tag: bool,
    /// A key.
    a_key: bool,
    /// That of an operator.
    an_operator: bool,
    /// Requests are counted.
    limited: bool,
    /// It has a body.
    a_body: bool,
}

impl Taken {
    fn of(method: &str, path: &str, operation: &Value) -> Self {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let names: Vec<_> = parameters.filter_map(|parameter| parameter["name"].as_str()).collect();
        let takes = |name| names.contains(&name);
        let (api, feed) = (path.starts_with("/api/"), takes("since"));
        Taken {
            a_socket: feed && !api,
            a_name: path.contains('{'),
            a_form: takes("format"),
            a_cursor: takes("cursor"),
            a_range: takes("start"),
            a_step: takes("step"),
            strict: api || feed,
            questions: names.iter().any(|name| *name != "format"),
            tag: method == "get" && ((api && !feed) || path == super::PATH),
            a_key: access::needs_a_key(path),
            an_operator: operation["tags"].as_array().is_some_and(|tags| tags.contains(&json!("operators"))),
            limited: access::is_limited(path),
            a_body: api && operation["requestBody"].is_object(),
        }
    }

    fn write(&self, operation: &mut Value) {
        let mut asked = vec!["RequestId", "Traceparent"];
        asked.extend(self.tag.then_some("IfNoneMatch"));
        if !operation["parameters"].is_array() {
            operation["parameters"] = json!([]);
        }
        if let Some(parameters) = operation["parameters"].as_array_mut() {
            for parameter in
                parameters.iter_mut().filter(|parameter| parameter["in"] == "query" && parameter["required"] != true)
            {
                // It counts as not given.
                parameter["allowEmptyValue"] = json!(true);
            }
            parameters.extend(asked.into_iter().map(|name| reference("parameters", name)));
        }
        if !self.a_key {
            operation["security"] = json!([]);
        }
        let refused = [
            ("304", "NotModified", self.tag),
            ("400", "Invalid", self.strict),
            ("401", "Unauthorized", self.a_key),
            ("403", "Forbidden", self.a_socket),
            ("403", "NotAnOperator", self.an_operator),
            ("404", "NotFound", self.a_name),
            ("404", "SwitchedOff", self.a_body),
            ("406", "NotAcceptable", self.a_form),
            ("409", "Conflict", self.a_body),
            ("413", "TooLarge", true),
            ("414", "TooLong", true),
            ("415", "NotJson", self.a_body),
            ("426", "UpgradeRequired", self.a_socket),
            ("429", "TooOften", self.limited),
            ("500", "Internal", true),
            ("503", "Unavailable", self.questions || self.a_body),
            ("504", "TooSlow", self.a_range),
        ];
        let responses = &mut operation["responses"];
        if let Some(answer) = responses.get_mut("200") {
            self.write_answer(answer);
        }
        for (status, name, _) in refused.into_iter().filter(|(.., may)| *may) {
            responses[status] = reference("responses", name);
        }
        for (_, response) in responses.as_object_mut().into_iter().flatten() {
            if response.get("$ref").is_none() {
                always(response);
            }
        }
    }

    fn write_answer(&self, answer: &mut Value) {
        if answer["description"].as_str().is_none_or(str::is_empty) {
            answer["description"] =
                json!(if self.a_form { "A page of the list, in its order." } else { "What was asked for." });
        }
        if self.a_form {
            answer["content"]["application/x-ndjson"] = json!({
                "schema": {"type": "string", "description": "One item a line, as in `items`."},
            });
            answer["content"]["text/csv"] = json!({
                "schema": {"type": "string", "description":
                    "A row of names, then a row an item. What an item holds in depth has dotted names (`latest.power_watts`); \
                     the values of a sample stand under their metrics' own. Lists and labels are JSON in one column. Text that \
                     a spreadsheet would take for a formula begins with an apostrophe."},
            });
        }
        let said = [
            ("link", "Link", self.a_cursor),
            ("x-next-cursor", "NextCursor", self.a_cursor),
            ("x-step", "Step", self.a_step),
            ("etag", "ETag", self.tag),
        ];
        for (name, header, _) in said.into_iter().filter(|(.., says)| *says) {
            answer["headers"][name] = reference("headers", header);
        }
    }
}

/// On every answer.
fn always(response: &mut Value) {
    response["headers"]["x-request-id"] = reference("headers", "RequestId");
    response["headers"]["traceparent"] = reference("headers", "Traceparent");
}

fn reference(sort: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{sort}/{name}")})
}

const REFUSALS: [(&str, &str, &str); 17] = [
    ("304", "NotModified", "The answer has the tag that If-None-Match names: nothing changed."),
    (
        "400",
        "Invalid",
        "A parameter or a name in the path cannot be understood, or makes no sense; `parameter` says which, `detail` what would work.",
    ),
    ("401", "Unauthorized", "Nobody is known who asks: there is no API key, or none that is good (any more)."),
    ("403", "NotAnOperator", "The API key is not an operator's."),
    ("403", "Forbidden", "Pages of this origin may not connect; CORS_ORIGINS names those that may."),
    ("404", "NotFound", "Nothing of this name is known."),
    ("404", "SwitchedOff", "Operators do nothing over HTTP here (ENABLE_OPERATOR_ROUTES), or there is no such letter."),
    (
        "409",
        "Conflict",
        "Somebody else is at it, or the letters are no longer those that somebody saw: nothing was done.",
    ),
    ("406", "NotAcceptable", "Accept names no form that there is."),
    ("413", "TooLarge", "The request has a body that is longer than MAX_BODY_BYTES."),
    ("414", "TooLong", "Path and query are longer than 16 KiB."),
    ("415", "NotJson", "The body is not sent as application/json."),
    ("429", "TooOften", "More requests than RATE_LIMIT and RATE_BURST let one client send."),
    ("426", "UpgradeRequired", "This is spoken over WebSocket only."),
    ("500", "Internal", "A fault of ours; the log has the reason under `request_id`."),
    (
        "503",
        "Unavailable",
        "It cannot be answered now: the newest values are not in memory yet, the database is away, MAX_HEAVY_QUERIES questions over time ranges run already, or MAX_LIVE_CLIENTS listen.",
    ),
    ("504", "TooSlow", "It took longer than QUERY_TIMEOUT: ask for less."),
];

fn refusals() -> Map<String, Value> {
    let refusal = |(status, name, about): (&str, &str, &str)| {
        let mut refusal = json!({"description": about});
        match status {
            "304" => refusal["headers"]["etag"] = reference("headers", "ETag"),
            _ => {
                refusal["content"]["application/problem+json"] =
                    json!({"schema": reference("schemas", &problem::Body::name())});
            }
        }
        if matches!(status, "429" | "503") {
            refusal["headers"]["retry-after"] = reference("headers", "RetryAfter");
        }
        if status == "401" {
            refusal["headers"]["www-authenticate"] = reference("headers", "Authenticate");
        }
        always(&mut refusal);
        (name.to_owned(), refusal)
    };
    REFUSALS.into_iter().map(refusal).collect()
}

fn headers() -> Value {
    let text =
        |about: &str, example: &str| json!({"description": about, "schema": {"type": "string"}, "example": example});
    json!({
        "RequestId": text("The request's id: the caller's, where it sent one that can be used, or a new one.", "9f86d081884c7d659a2feaa0c55ad015"),
        "Traceparent": text("The request's place in its trace (W3C): the caller's trace, or a new one.", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        "Authenticate": text("What to send: a key, as `Authorization: Bearer nxk_…`.", "Bearer realm=\"nexus\""),
        "ETag": text("The answer's tag, for If-None-Match. Answers of more than 1 MiB, NDJSON and CSV have none.", "W/\"5f3c2b1a09d8e7f6-1a2\""),
        "Link": text("The next page, as `rel=\"next\"`; absent at the end of the list.", "</api/v1/hosts?limit=10&cursor=eyJuIjpbImEiLCIiXX0>; rel=\"next\""),
        "NextCursor": text("`next_cursor`, for the forms that have no room for it; absent at the end of the list.", "eyJuIjpbImEiLCIiXX0"),
        "Step": text("The length of a bucket; only where samples are summed up.", "5m"),
        "RetryAfter": {"description": "Seconds after which the same request may well pass.", "schema": {"type": "integer"}, "example": 2},
    })
}

fn security_schemes() -> Value {
    json!({"key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "nxk_…",
        "description": "An API key, made by `nexus keys new`: of a reader, or of an operator.",
    }})
}

fn parameters() -> Value {
    let header = |name: &str, about: &str| json!({"name": name, "in": "header", "description": about, "schema": {"type": "string"}});
    json!({
        "RequestId": header("x-request-id", "An id to find the request by in the log: 1 to 128 visible ASCII characters. Another one is replaced."),
        "Traceparent": header("traceparent", "The trace that the request belongs to (W3C). One that cannot be read begins a new one."),
        "IfNoneMatch": header("if-none-match", "Tags of answers that are there already: if it is one of them, 304."),
    })
}
