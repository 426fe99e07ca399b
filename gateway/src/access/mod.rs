//! Who asks, and whether they may: API keys, tickets, and how often.
//!
//! Nothing is served before this room has said yes, but for what `Need` names: the probes, the pages and the description
//! they need. Whoever adds a route has it guarded for readers; a route for operators takes an `Operator`.
//!
//! - Without API_KEYS_FILE everybody reads, and nobody does more. That is for an address of this host: on another one the
//!   gateway does not start, unless ALLOW_ANONYMOUS says so.
//! - A key is sent as `Authorization: Bearer …`; by a page that opens a WebSocket as the protocol `nexus.key.…`, to GraphQL's
//!   also in `connection_init`; by an EventSource as a ticket. It never stands in a URL.
//! - A key that is not known is refused also where nobody needs one: whoever sends one believes it is good.

mod allowance;
pub mod config;
mod keyring;
mod rates;
mod shown;
mod tickets;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use nexus_common::config::Invalid;
use nexus_common::domain::Timestamp;
use nexus_common::identity::Role;
use tokio_util::sync::CancellationToken;

pub(crate) use self::allowance::Allowance;
use self::keyring::Keyring;
use self::rates::Rates;
pub(crate) use self::rates::TooOften;
use self::shown::Shown;
pub(crate) use self::shown::TICKET;
pub(crate) use self::tickets::GOOD_FOR as TICKET_GOOD_FOR;
use self::tickets::Tickets;
use crate::config::Config;
use crate::pass::Pass;
use crate::rest::Problem;

/// Where a connection comes from; `serve` puts it into each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Peer {
    /// Of a request; nowhere, where nobody has put it there.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Peer(Ipv4Addr::UNSPECIFIED.into()))
    }
}

/// Who asks: in each request that was let in.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Of the key; `None`: nobody in particular.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) role: Role,
    /// Ends what the key opened, once it is revoked or expires.
    pub(crate) until: CancellationToken,
}

impl Identity {
    /// Who comes without a key, where that may be: a reader.
    pub(crate) fn anonymous() -> Self {
        Identity { name: None, role: Role::Reader, until: CancellationToken::new() }
    }

    /// What the audit log calls them.
    pub(crate) fn actor(&self) -> String {
        self.name.as_ref().map_or_else(|| "anonymous".to_owned(), |name| format!("key:{name}"))
    }
}

/// Who may ask what; cheap to clone.
#[derive(Debug, Clone)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keyring: Option<Keyring>,
    tickets: Tickets,
    rates: Option<Rates>,
    /// Everybody reads.
    anonymous: bool,
    metrics_open: bool,
    proxies: Vec<config::Network>,
}

/// What a request needs before it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing, and as often as anybody likes: whoever restarts this process asks so.
    Probe,
    /// Nothing: pages and what they are made of, which are the same for everybody.
    Page,
    /// What METRICS_OPEN says.
    Metrics,
    /// A reader, who may also say in the first message who he is.
    Greeting,
    /// A reader, who may show a ticket.
    Live,
    /// A reader.
    Reader,
}

/// Whether requests for a path, as it is routed, need a key where keys are asked for.
pub(crate) fn needs_a_key(path: &str) -> bool {
    !matches!(Need::at(path), Need::Probe | Need::Page)
}

/// Whether they are counted.
pub(crate) fn is_limited(path: &str) -> bool {
    Need::at(path) != Need::Probe
}

impl Need {
    fn of(request: &Request) -> Self {
        let Some(path) = request.extensions().get::<MatchedPath>() else { return Need::Reader };
        match path.as_str() {
            "/graphql" if crate::graphql::opens_a_socket(request) => Need::Greeting,
            "/graphql" if crate::graphql::wants_the_page(request) => Need::Page,
            path => Need::at(path),
        }
    }

    /// By the path as it is routed. What is not named here is for readers.
    fn at(path: &str) -> Self {
        match path {
            "/live" | "/ready" | "/health" => Need::Probe,
            "/" | "/openapi.json" | "/swagger" | "/swagger/" | "/swagger/{*file}" | "/graphql/assets/{*path}" => {
                Need::Page
            }
            "/ws" | "/api/v1/stream" => Need::Live,
            "/metrics" => Need::Metrics,
            _ => Need::Reader,
        }
    }
}

impl Access {
    /// As configured, for a gateway that listens on this address.
    ///
    /// # Errors
    /// [`Invalid`] where anybody could ask and nobody said so, or the keys cannot be read.
    pub fn new(config: &Config, address: SocketAddr) -> Result<Self, Invalid> {
        let asked = &config.access;
        let here = address.ip().to_canonical().is_loopback();
        let keyring = asked.api_keys_file.as_deref().map(|path| {
            Keyring::open(path).map_err(|reason| Invalid(format!("API_KEYS_FILE={}: {reason}", path.display())))
        });
        let keyring = keyring.transpose()?;
        match &keyring {
            None if asked.enable_operator_routes => {
                let what = "ENABLE_OPERATOR_ROUTES needs API_KEYS_FILE: nobody acts who is not known";
                return Err(Invalid(what.to_owned()));
            }
            Some(keyring) if keyring.is_empty() && !asked.allow_anonymous => {
                let what = "API_KEYS_FILE names no key: nobody could ask; nexus keys new --file makes one";
                return Err(Invalid(what.to_owned()));
            }
            None if !here && !asked.allow_anonymous => {
                return Err(Invalid(format!(
                    "BIND_ADDRESS={} can be reached from other hosts, and nobody would be asked for a key: give API_KEYS_FILE \
                     (nexus keys new makes a key), or let everybody read with ALLOW_ANONYMOUS=true",
                    address.ip()
                )));
            }
            _ => {}
        }
        let anonymous = asked.allow_anonymous || keyring.is_none();
        let metrics_open = asked.metrics_open.unwrap_or(here && keyring.is_none());
        Ok(Access(Arc::new(Inner {
            keyring,
            tickets: Tickets::default(),
            rates: Rates::new(config),
            anonymous,
            metrics_open,
            proxies: asked.trusted_proxies.clone(),
        })))
    }

    /// Whether everybody reads who comes without a key.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.0.anonymous
    }

    /// Follows the file of keys for ever.
    pub async fn watch(&self) {
        match &self.0.keyring {
            Some(keyring) => keyring.watch().await,
            None => std::future::pending().await,
        }
    }

    /// A ticket for whoever shows it.
    ///
    /// # Errors
    /// Where too many are about.
    pub(crate) fn ticket(&self, to: Identity) -> Result<String, Problem> {
        self.0.tickets.give(to, Instant::now()).ok_or_else(Problem::too_many_tickets)
    }

    /// Who says so in the first message of a GraphQL WebSocket.
    ///
    /// # Errors
    /// Where that is nobody who may read.
    pub(crate) fn greeted(&self, greeting: &serde_json::Value) -> Result<Identity, Problem> {
        match Shown::of_greeting(greeting) {
            Shown::Nothing => self.nobody(),
            shown => self.somebody(shown),
        }
    }

    /// Who asks; a key or ticket that is shown has to be good.
    fn identify(&self, shown: Shown, need: Need) -> Result<Option<Identity>, Problem> {
        match (shown, need) {
            (_, Need::Probe | Need::Page) | (Shown::Nothing, Need::Greeting) => Ok(None),
            (Shown::Nothing, Need::Metrics) if self.0.metrics_open => Ok(None),
            (Shown::Nothing, _) | (Shown::Ticket(_), Need::Reader | Need::Metrics) => self.nobody().map(Some),
            (shown, _) => self.somebody(shown).map(Some),
        }
    }

    fn nobody(&self) -> Result<Identity, Problem> {
        if self.0.anonymous { Ok(Identity::anonymous()) } else { Err(Problem::no_key()) }
    }

    fn somebody(&self, shown: Shown) -> Result<Identity, Problem> {
        let found = match shown {
            Shown::Key(key) => self.0.keyring.as_ref().and_then(|keyring| keyring.find(&key, Timestamp::now())),
            Shown::Ticket(ticket) => self.0.tickets.take(&ticket, Instant::now()),
            Shown::Nothing | Shown::NoKey => None,
        };
        found.ok_or_else(Problem::unknown_key)
    }
}

/// Around all routes: lets a request in, with who sent it, or refuses it before anything of it is read.
impl Pass for Access {
    type Noted = ();

    fn before(&self, request: &mut Request) -> ControlFlow<Response> {
        let need = Need::of(request);
        if need == Need::Probe {
            return ControlFlow::Continue(());
        }
        let shown = Shown::of(request.headers(), request.uri());
        let identified = self.identify(shown, need);
        let known = identified.as_ref().ok().and_then(Option::as_ref);
        let client = self.client(known, Peer::of(request.extensions()), request.headers());
        if let Err(too_often) = self.take(client) {
            return ControlFlow::Break(Problem::too_often(too_often).into_response());
        }
        match identified {
            Ok(identity) => {
                if let Some(identity) = identity {
                    request.extensions_mut().insert(identity);
                }
                ControlFlow::Continue(())
            }
            Err(problem) => ControlFlow::Break(unauthorized(problem)),
        }
    }
}

/// The answer that says what to show.
fn unauthorized(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"nexus\""));
    response
}

/// Who asks, as a handler takes it.
impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Identity>().cloned().ok_or_else(Problem::no_key)
    }
}

/// An operator, as a handler takes one: others are refused, and the audit log has it.
#[derive(Debug)]
pub(crate) struct Operator(pub(crate) Identity);

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let identity = Identity::from_request_parts(parts, state).await?;
        Operator::of(&identity, parts.uri.path()).ok_or_else(Problem::not_an_operator)
    }
}

impl Operator {
    /// Whoever may do what operators do; `None`: he may not, and the audit log has what he wanted.
    pub(crate) fn of(identity: &Identity, wanted: &str) -> Option<Self> {
        if identity.role.includes(Role::Operator) {
            return Some(Operator(identity.clone()));
        }
        let (actor, path) = (identity.actor(), wanted);
        tracing::warn!(target: "nexus::audit_log", actor, path, "refused: that is for operators");
        None
    }
}
