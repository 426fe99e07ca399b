//! One query, whichever way it came: refused early where it asks for too much, then answered by the schema.

use std::sync::Arc;

use async_graphql::{Data, Executor, Request, Response, ServerError};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::Schema;
use super::asked::Asked;
use super::cost::{self, Bounds};
use super::error::{Failure, code, complete};
use super::scan::scan;
use crate::read::Model;

/// The id of the request a query came with.
pub(super) struct RequestId(pub(super) String);

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
        let size = self.read.size().map_err(Failure::from)?;
        let variables = std::mem::take(&mut request.variables);
        let weighed = cost::check(request.parsed_query()?, &variables, size, self.bounds);
        request.variables = variables;
        weighed.map_err(|reason| Failure::new(code::TOO_COMPLEX, reason))?;
        Ok(request.data(Asked::new(self.read.clone())))
    }
}

impl Executor for Api {
    async fn execute(&self, request: Request) -> Response {
        let id = id_of(request.data.get(&std::any::TypeId::of::<RequestId>()).and_then(|id| id.downcast_ref()));
        let response = match self.prepare(request) {
            Ok(request) => self.schema.execute(request).await,
            Err(error) => Response::from_errors(vec![error]),
        };
        completed(response, &id)
    }

    fn execute_stream(&self, request: Request, session: Option<Arc<Data>>) -> BoxStream<'static, Response> {
        let session = session.unwrap_or_default();
        let id = id_of(session.get(&std::any::TypeId::of::<RequestId>()).and_then(|id| id.downcast_ref()));
        let responses = match self.prepare(request) {
            Ok(request) => self.schema.execute_stream_with_session_data(request, session),
            Err(error) => stream::iter([Response::from_errors(vec![error])]).boxed(),
        };
        responses.map(move |response| completed(response, &id)).boxed()
    }
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
