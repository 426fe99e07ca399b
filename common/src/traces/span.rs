//! A step of a batch, or a request, from its beginning to its end.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::{Context, hand_over, on};

/// A step under way. Told when it [`end`](Span::end)s; one that is dropped before is not.
#[derive(Debug)]
pub struct Span {
    pub(super) context: Context,
    pub(super) parent: Option<u64>,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    pub(super) began: SystemTime,
    pub(super) failed: bool,
    pub(super) attributes: Vec<(&'static str, Value)>,
}

/// A step that is over.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) span: Span,
    pub(super) at: SystemTime,
}

/// How a step stands to the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Within a process.
    Internal,
    /// Answers a request.
    Server,
    /// Gives away what others take later.
    Producer,
    /// Takes what others gave.
    Consumer,
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A count, a line, an offset.
    Number(i64),
}

impl Span {
    /// The first step of a trace that is sampled. `None` where spans are not sent.
    pub fn root(name: &'static str, kind: Kind) -> Option<Span> {
        on().then(|| Span::new(Context::root(true), None, name, kind))
    }

    /// A step behind the one that this `traceparent` names. `None` where there is none, nobody records it, or spans are
    /// not sent.
    pub fn behind(traceparent: Option<&str>, name: &'static str, kind: Kind) -> Option<Span> {
        let parent: Context = traceparent.filter(|_| on())?.parse().ok()?;
        parent.sampled.then(|| Span::new(parent.child(), Some(parent.span), name, kind))
    }

    /// A step within this one, or behind it.
    pub fn child(&self, name: &'static str, kind: Kind) -> Span {
        Span::new(self.context.child(), Some(self.context.span), name, kind)
    }

    /// The step that has this context already. `None` where nobody records it, or spans are not sent.
    pub fn of(context: Context, parent: Context, name: impl Into<Cow<'static, str>>, kind: Kind) -> Option<Span> {
        (context.sampled && on()).then(|| Span::new(context, Some(parent.span), name, kind))
    }

    fn new(context: Context, parent: Option<u64>, name: impl Into<Cow<'static, str>>, kind: Kind) -> Span {
        let (name, began) = (name.into(), SystemTime::now());
        Span { context, parent, name, kind, began, failed: false, attributes: Vec::new() }
    }

    /// What those behind it follow.
    pub fn context(&self) -> Context {
        self.context
    }

    /// It began at this moment.
    #[must_use]
    pub fn from(self, began: SystemTime) -> Self {
        Span { began, ..self }
    }

    /// It began so long ago.
    #[must_use]
    pub fn took(self, time: Duration) -> Self {
        let began = self.began.checked_sub(time).unwrap_or(self.began);
        self.from(began)
    }

    /// With something to say of it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// It did not do what it was for.
    #[must_use]
    pub fn failed(self, failed: bool) -> Self {
        Span { failed, ..self }
    }

    /// It is over.
    pub fn end(self) {
        self.end_at(SystemTime::now());
    }

    /// It was over at this moment.
    pub fn end_at(self, at: SystemTime) {
        // A clock may step back within a step.
        let at = at.max(self.began);
        hand_over(Ended { span: self, at });
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Value::from(number as u64)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Number(number)
    }
}
