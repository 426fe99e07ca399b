//! What a subscription gives.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;

use super::{Frame, Position};

/// One message to a client.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// What was stored.
    Frame(Arc<Frame>),
    /// Something is missing.
    Gap(Gap),
    /// Nothing that was wanted happened up to here.
    Position(Position),
}

/// What a client was not told, and will not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The last position before it.
    pub after: Position,
    /// The first frame behind it, where there is one yet.
    pub before: Option<Position>,
    /// Where the client stands now.
    pub position: Position,
    /// Why, and where to ask for what is missing.
    pub reason: Arc<str>,
}

impl Delivery {
    /// The word for it: `type` of the message.
    pub fn kind(&self) -> &'static str {
        match self {
            Delivery::Frame(frame) => frame.kind(),
            Delivery::Gap(_) => "gap",
            Delivery::Position(_) => "position",
        }
    }

    /// What to give as `since` after it.
    pub fn position(&self) -> Position {
        match self {
            Delivery::Frame(frame) => frame.position,
            Delivery::Gap(gap) => gap.position,
            Delivery::Position(position) => *position,
        }
    }

    /// As JSON.
    pub fn text(&self) -> Utf8Bytes {
        let message = match self {
            Delivery::Frame(frame) => return frame.text(),
            Delivery::Gap(Gap { after, before, position, reason }) => {
                Message { after: Some(*after), before: *before, reason: Some(reason), ..self.message(*position) }
            }
            Delivery::Position(position) => self.message(*position),
        };
        serde_json::to_string(&message).unwrap_or_default().into()
    }

    fn message(&self, position: Position) -> Message<'_> {
        Message { r#type: self.kind(), position, after: None, before: None, reason: None }
    }
}

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    position: Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}
