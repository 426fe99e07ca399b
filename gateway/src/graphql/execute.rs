//! One query, whichever way it came: refused early where it asks for too much, then answered by the schema.

use std::any::TypeId;
use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use async_graphql::{Data, Executor, Request, Response, ServerError};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Schema;
use super::asked::Asked;
use super::cost::{self, Bounds};
use super::error::{Failure, code, complete};
use super::scan::scan;
use crate::access::Allowance;
use crate::read::Model;

/// The id of the request a query came with.
pub(super) struct RequestId(pub(super) String);

/// What may be under way on one connection that takes several operations.
pub(super) struct Operations(pub(super) Arc<Semaphore>);

/// The request came in a way that must not change anything: by GET, which anybody may repeat or fetch in advance.
pub(super) struct OnlyAsks;

/// Answers queries; cheap to clone.
#[derive(Clone)]
pub(super) struct Api {
    schema: Schema,
    read: Model,
    bounds: Bounds,
}

impl Api {
    pub(super) fn new(schema: Schema, read: Model, bounds: Bounds) -> Self {
        Api { schema, read, bounds }
    }

    /// With what belongs to this request alone.
    fn prepare(&self, mut request: Request) -> Result<Request, ServerError> {
        scan(&request.query).map_err(|reason| Failure::new(code::TOO_COMPLEX, reason))?;
        // Before anything is known, each field says so itself; the feed and the schema are told all the same.
        let size = self.read.size().unwrap_or_default();
        let (variables, asks) = (std::mem::take(&mut request.variables), held::<OnlyAsks>(&request.data).is_some());
        let document = request.parsed_query()?;
        if asks && document.operations.iter().any(|(_, operation)| operation.node.ty == OperationType::Mutation) {
            return Err(Failure::new(code::INVALID_REQUEST, "what changes something is sent with POST").into());
        }
        let weighed = cost::check(document, &variables, size, self.bounds);
        request.variables = variables;
        weighed.map_err(|reason| Failure::new(code::TOO_COMPLEX, reason))?;
        Ok(request.data(Asked::new(self.read.clone())))
    }
}

impl Executor for Api {
    async fn execute(&self, request: Request) -> Response {
        let id = id_of(held(&request.data));
        let response = match self.prepare(request) {
            Ok(request) => self.schema.execute(request).await,
            Err(error) => Response::from_errors(vec![error]),
        };
        completed(response, &id)
    }

    fn execute_stream(&self, request: Request, session: Option<Arc<Data>>) -> BoxStream<'static, Response> {
        let session = session.unwrap_or_default();
        let id = id_of(held(&session));
        let turn = match admitted(&session) {
            Ok(turn) => turn,
            Err(refusal) => {
                let refused = Response::from_errors(vec![refusal.into()]);
                return stream::iter([completed(refused, &id)]).boxed();
            }
        };
        let responses = match self.prepare(request) {
            Ok(request) => self.schema.execute_stream_with_session_data(request, session),
            Err(error) => stream::iter([Response::from_errors(vec![error])]).boxed(),
        };
        responses
            .map(move |response| {
                // Free again when the stream is dropped.
                let _turn = &turn;
                completed(response, &id)
            })
            .boxed()
    }
}

/// Lets one more operation of a connection in: it takes a token as a request does, and its place among those under way.
fn admitted(session: &Data) -> Result<Option<OwnedSemaphorePermit>, Failure> {
    if let Some(allowance) = held::<Allowance>(session) {
        allowance.take().map_err(Failure::too_often)?;
    }
    let turn = held::<Operations>(session).map(|Operations(all)| Arc::clone(all).try_acquire_owned()).transpose();
    turn.map_err(|_| {
        let reason = "as many operations as one connection may have are under way on it; complete one first";
        Failure::new(code::TOO_COMPLEX, reason)
    })
}

/// What a request or a connection carries along.
fn held<T: 'static>(data: &Data) -> Option<&T> {
    data.get(&TypeId::of::<T>())?.downcast_ref()
}

fn id_of(id: Option<&RequestId>) -> String {
    id.map(|RequestId(id)| id.clone()).unwrap_or_default()
}

fn completed(mut response: Response, request_id: &str) -> Response {
    for error in &mut response.errors {
        complete(error, request_id);
    }
    response
}
