//! Layers: what is noted of a request before it is answered, and what is done about its answer.
//!
//! Both are plain functions. axum's `from_fn` lets a layer wait for something of its own, and for that it copies all that lies
//! within into a box, for every request; here nobody waits, and six of them around each other cost little
//! (docs/bench/NOTES.md, "api").

use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// What a layer does; cheap to clone.
pub(crate) trait Pass: Clone {
    /// What is known of a request until it is answered. It is dropped where nobody waits for the answer any more.
    type Noted;

    /// A request comes; whoever breaks here answers it, and nothing within sees it.
    fn before(&self, request: &mut Request) -> ControlFlow<Response, Self::Noted>;

    /// It was answered within.
    fn after(&self, _: Self::Noted, response: Response) -> Response {
        response
    }
}

/// The layer of a [`Pass`].
#[derive(Debug, Clone)]
pub(crate) struct Passing<P>(pub(crate) P);

impl<P: Pass, S> Layer<S> for Passing<P> {
    type Service = Passed<P, S>;

    fn layer(&self, within: S) -> Passed<P, S> {
        Passed { pass: self.0.clone(), within }
    }
}

/// What lies within a [`Pass`], with it.
#[derive(Debug, Clone)]
pub(crate) struct Passed<P, S> {
    pass: P,
    within: S,
}

impl<P: Pass, S: Service<Request, Response: IntoResponse>> Service<Request> for Passed<P, S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Answering<P, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.within.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Answering<P, S::Future> {
        match self.pass.before(&mut request) {
            ControlFlow::Continue(noted) => {
                let after = Some((self.pass.clone(), noted));
                Answering::Within { answer: self.within.call(request), after }
            }
            ControlFlow::Break(response) => Answering::Here { response: Some(response) },
        }
    }
}

pin_project! {
    /// A request on its way through a [`Pass`].
    #[project = Way]
    pub(crate) enum Answering<P: Pass, F> {
        Within { #[pin] answer: F, after: Option<(P, P::Noted)> },
        Here { response: Option<Response> },
    }
}

impl<P: Pass, F: Future<Output = Result<R, E>>, R: IntoResponse, E> Future for Answering<P, F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response, E>> {
        let response = match self.project() {
            Way::Here { response } => response.take(),
            Way::Within { answer, after } => {
                let response = ready!(answer.poll(cx))?.into_response();
                after.take().map(|(pass, noted)| pass.after(noted, response))
            }
        };
        response.map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;

    use super::*;

    type Seen = Arc<Mutex<Vec<&'static str>>>;

    /// Says what it sees, and answers who asks for `/no` itself.
    #[derive(Debug, Clone)]
    struct Watch {
        names: [&'static str; 2],
        seen: Seen,
    }

    impl Watch {
        fn says(&self, what: &'static str) {
            self.seen.lock().unwrap().push(what);
        }
    }

    impl Pass for Watch {
        type Noted = Seen;

        fn before(&self, request: &mut Request) -> ControlFlow<Response, Seen> {
            self.says(self.names[0]);
            match request.uri().path() {
                "/no" if self.names[0] == "inner" => ControlFlow::Break(StatusCode::FORBIDDEN.into_response()),
                _ => ControlFlow::Continue(Arc::clone(&self.seen)),
            }
        }

        fn after(&self, noted: Seen, response: Response) -> Response {
            noted.lock().unwrap().push(self.names[1]);
            response
        }
    }

    fn watched(seen: &Seen) -> Router {
        let watch = |names| Passing(Watch { names, seen: Arc::clone(seen) });
        let within = Arc::clone(seen);
        let routes = Router::new()
            .route(
                "/yes",
                get(async move || {
                    within.lock().unwrap().push("answered");
                    "yes"
                }),
            )
            .route("/no", get("never"))
            .route("/never", get(std::future::pending::<&str>));
        routes.layer((watch(["outer", "outer after"]), watch(["inner", "inner after"])))
    }

    fn ask(router: &mut Router, path: &str) -> impl Future<Output = Result<Response, std::convert::Infallible>> {
        router.call(Request::builder().uri(path).body(Body::empty()).unwrap())
    }

    #[tokio::test]
    async fn each_sees_the_request_before_and_the_answer_after_what_lies_within() {
        let seen = Seen::default();
        let response = ask(&mut watched(&seen), "/yes").await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(*seen.lock().unwrap(), ["outer", "inner", "answered", "inner after", "outer after"]);
    }

    #[tokio::test]
    async fn who_answers_himself_keeps_it_from_all_within() {
        let seen = Seen::default();
        let response = ask(&mut watched(&seen), "/no").await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(*seen.lock().unwrap(), ["outer", "inner", "outer after"]);
    }

    #[tokio::test]
    async fn what_was_noted_goes_with_who_hangs_up() {
        let seen = Seen::default();
        let mut router = watched(&seen);
        let before = Arc::strong_count(&seen);
        let mut asking = Box::pin(ask(&mut router, "/never"));
        assert!(futures_util::poll!(&mut asking).is_pending());
        assert!(Arc::strong_count(&seen) > before, "noted");
        drop(asking);
        assert_eq!(Arc::strong_count(&seen), before);
        assert_eq!(*seen.lock().unwrap(), ["outer", "inner"]);
    }
}
