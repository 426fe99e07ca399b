//! How a field fails: the one place that maps errors to GraphQL. What an error says inside goes to the log, never to a
//! client.

use std::sync::Arc;

use async_graphql::{Context, Error, ErrorExtensions, ServerError, Value};

use crate::access::TooOften;
use crate::desk::{self, Sort};
use crate::read;

/// What a field gives.
pub(super) type Result<T> = std::result::Result<T, Failure>;

/// What a program tells errors apart by: `extensions.code`.
pub(super) mod code {
    /// Nothing of this name is known.
    pub(crate) const NOT_FOUND: &str = "NOT_FOUND";
    /// An argument, named in `extensions.parameter`, cannot be answered.
    pub(crate) const INVALID_ARGUMENT: &str = "INVALID_ARGUMENT";
    /// The query is no GraphQL, or does not fit the schema.
    pub(crate) const INVALID_QUERY: &str = "INVALID_QUERY";
    /// The request is not one of GraphQL over HTTP.
    pub(crate) const INVALID_REQUEST: &str = "INVALID_REQUEST";
    /// Whoever asks may not ask for this.
    pub(crate) const FORBIDDEN: &str = "FORBIDDEN";
    /// The query asks for more than it may.
    pub(crate) const TOO_COMPLEX: &str = "TOO_COMPLEX";
    /// It took longer than a statement may.
    pub(crate) const TOO_SLOW: &str = "TOO_SLOW";
    /// As many questions over time ranges run as may; later it may well be answered.
    pub(crate) const BUSY: &str = "BUSY";
    /// More operations than RATE_LIMIT lets in; `extensions.retry_after_seconds` says when to come back.
    pub(crate) const TOO_MANY_REQUESTS: &str = "TOO_MANY_REQUESTS";
    /// Something is under way, or not as whoever asks saw it.
    pub(crate) const CONFLICT: &str = "CONFLICT";
    /// The configuration leaves it out.
    pub(crate) const SWITCHED_OFF: &str = "SWITCHED_OFF";
    /// Later it may well be answered.
    pub(crate) const UNAVAILABLE: &str = "UNAVAILABLE";
    /// A fault of ours.
    pub(crate) const INTERNAL: &str = "INTERNAL";
}

/// Why a field has no value. It has no text of its own (no `Display`), so that no other error becomes an answer by
/// accident.
#[derive(Debug)]
pub(super) struct Failure {
    code: &'static str,
    message: String,
    parameter: Option<&'static str>,
    /// Further things that a program is told: names and numbers.
    figures: Vec<(&'static str, u64)>,
    cause: Option<String>,
}

/// What the error says inside, carried along for the log.
struct Cause(String);

impl Failure {
    /// For the client alone.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), parameter: None, figures: Vec::new(), cause: None }
    }

    /// An argument that cannot be answered.
    pub(super) fn argument(parameter: &'static str, reason: impl Into<String>) -> Self {
        Failure { parameter: Some(parameter), ..Failure::new(code::INVALID_ARGUMENT, reason) }
    }

    /// A fault of ours.
    pub(super) fn internal(cause: impl Into<String>) -> Self {
        let message = "something went wrong here; the log has the reason under this request_id";
        Failure { cause: Some(cause.into()), ..Failure::new(code::INTERNAL, message) }
    }

    /// More than RATE_LIMIT lets in.
    pub(super) fn too_often(refusal: TooOften) -> Self {
        let figures =
            vec![("retry_after_seconds", refusal.seconds()), ("rate_limit_per_second", refusal.per_second.into())];
        Failure { figures, ..Failure::new(code::TOO_MANY_REQUESTS, refusal.to_string()) }
    }

    /// As the read model failed.
    pub(super) fn of(error: &read::Error) -> Self {
        let text = error.to_string();
        match error {
            read::Error::NotFound(detail) => Failure::new(code::NOT_FOUND, detail),
            read::Error::Invalid { parameter, reason } => Failure::argument(parameter, reason),
            read::Error::TooSlow(_) => {
                let message = format!("{text}; ask for less: a shorter range, fewer GPUs or metrics");
                Failure { cause: Some(text), ..Failure::new(code::TOO_SLOW, message) }
            }
            read::Error::Busy { .. } => {
                let message = format!("{text}; come back in 2 s, or ask for less: a shorter range, fewer GPUs");
                Failure { cause: Some(text), ..Failure::new(code::BUSY, message) }
            }
            read::Error::Underway(_) => Failure::new(code::UNAVAILABLE, text),
            read::Error::Unavailable(_) => {
                let message = "the database does not answer now; try again";
                Failure { cause: Some(text), ..Failure::new(code::UNAVAILABLE, message) }
            }
            read::Error::Internal(_) => Failure::internal(text),
        }
    }
}

impl From<read::Error> for Failure {
    fn from(error: read::Error) -> Self {
        Failure::of(&error)
    }
}

impl From<desk::Error> for Failure {
    fn from(error: desk::Error) -> Self {
        let cause = error.to_string();
        match error.sort() {
            Sort::SwitchedOff => Failure::new(code::SWITCHED_OFF, cause),
            Sort::Wrong(parameter, reason) => Failure::argument(parameter, reason),
            Sort::Missing(message) => Failure::new(code::NOT_FOUND, message),
            Sort::Conflict(message) => Failure::new(code::CONFLICT, message),
            Sort::Unavailable(message) => Failure { cause: Some(cause), ..Failure::new(code::UNAVAILABLE, message) },
            Sort::Fault => Failure::internal(cause),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let Failure { code, message, parameter, figures, cause } = failure;
        let mut error = Error::new(message).extend_with(|_, extensions| {
            extensions.set("code", code);
            if let Some(parameter) = parameter {
                extensions.set("parameter", parameter);
            }
            for (name, figure) in figures {
                extensions.set(name, figure);
            }
        });
        error.source = cause.map(|cause| Arc::new(Cause(cause)) as Arc<_>);
        error
    }
}

/// The value of a field, or null and an error: what fails leaves the fields beside it.
pub(super) fn field<T>(context: &Context<'_>, looked: Result<T>) -> Option<T> {
    match looked {
        Ok(value) => Some(value),
        Err(failure) => {
            let error = Error::from(failure).into_server_error(context.item.pos);
            context.add_error(context.set_error_path(error));
            None
        }
    }
}

/// An error of the whole request.
impl From<Failure> for ServerError {
    fn from(failure: Failure) -> Self {
        Error::from(failure).into_server_error(async_graphql::Pos::default())
    }
}

/// Puts what every error carries into this one, and logs what has to be known here.
pub(super) fn complete(error: &mut ServerError, request_id: &str) {
    if let Some(Cause(cause)) = error.source::<Cause>() {
        tracing::warn!(request_id, cause, "a GraphQL field failed");
    }
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        extensions.set("code", code::INVALID_QUERY);
    }
    extensions.set("request_id", Value::from(request_id));
    // A request as a whole has no place in the query.
    error.locations.retain(|at| at.line > 0);
}
