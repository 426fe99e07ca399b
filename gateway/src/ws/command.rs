//! What a client may say: `subscribe` and `unsubscribe`, as JSON.

use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};

use crate::live::{Filter, Mode, Subscription, interval, metrics};

/// The longest name or id, in bytes.
const LONGEST: usize = 512;

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Command {
    Subscribe(Wish),
    Unsubscribe(Id),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    id: Option<String>,
    cluster_id: Option<String>,
    host_id: Option<String>,
    gpu_id: Option<String>,
    #[serde(default)]
    metrics: Vec<String>,
    mode: Option<String>,
    interval: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Id {
    id: Option<String>,
}

/// What is said back.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Answer {
    /// It holds from now on.
    Subscribed { id: String, filters: usize },
    /// It holds no longer. Without an id: nothing is wanted any more.
    Unsubscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        filters: usize,
    },
    /// Nothing was changed.
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        reason: String,
    },
}

/// A message that is no frame: what is said back, or the welcome; with the request's id where somebody may ask about it.
#[derive(Debug, Serialize)]
pub(super) struct Said<'a> {
    /// Only of a welcome: an answer has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    #[serde(flatten)]
    answer: Option<&'a Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl<'a> Said<'a> {
    /// The first message on a connection.
    pub(super) fn welcome(request_id: &'a str) -> Self {
        Said { r#type: Some("welcome"), answer: None, request_id: Some(request_id) }
    }

    /// What is said back.
    pub(super) fn answer(answer: &'a Answer, request_id: &'a str) -> Self {
        let is_refusal = matches!(answer, Answer::Error { .. });
        Said { r#type: None, answer: Some(answer), request_id: is_refusal.then_some(request_id) }
    }

    /// Why something was not done.
    pub(super) fn refusal(&self) -> Option<&'a str> {
        match self.answer {
            Some(Answer::Error { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    /// As JSON.
    pub(super) fn text(&self) -> Utf8Bytes {
        // Only text is in here: it cannot fail.
        serde_json::to_string(self).unwrap_or_default().into()
    }
}

/// What a connection remembers of what was said on it.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// Whether it was subscribed to anything by a message: the first takes the place of what the URL asked for.
    begun: bool,
    named: u64,
}

impl Conversation {
    /// Does what a message asks for, or says why not.
    pub(super) fn take(&mut self, text: &str, subscription: &mut Subscription, most: u32) -> Answer {
        match serde_json::from_str(text) {
            Ok(Command::Subscribe(wish)) => {
                let id = wish.id.clone();
                self.subscribe(wish, subscription, most).unwrap_or_else(|reason| Answer::Error { id, reason })
            }
            Ok(Command::Unsubscribe(Id { id })) => {
                match &id {
                    None => subscription.clear(),
                    Some(known) if subscription.remove(known) => {}
                    Some(_) => {
                        let reason = "there is no subscription of this id; without an id all are taken back".to_owned();
                        return Answer::Error { id, reason };
                    }
                }
                self.begun = true;
                Answer::Unsubscribed { id, filters: subscription.filters().len() }
            }
            Err(error) => {
                let reason = format!("cannot be understood: {error}; send {EXAMPLE} or {{\"type\":\"unsubscribe\"}}");
                Answer::Error { id: None, reason }
            }
        }
    }

    fn subscribe(&mut self, wish: Wish, subscription: &mut Subscription, most: u32) -> Result<Answer, String> {
        let Wish { id, cluster_id, host_id, gpu_id, metrics: names, mode, interval: pause } = wish;
        let texts = [&id, &cluster_id, &host_id, &gpu_id].into_iter().flatten().chain(&names);
        if texts.into_iter().any(|text| text.len() > LONGEST) {
            return Err(format!("a name is longer than {LONGEST} bytes"));
        }
        let mode = match mode {
            Some(text) => text.parse().map_err(|reason| format!("mode: {reason}"))?,
            None => subscription.mode(),
        };
        let pause = match pause {
            Some(text) => interval(&text, mode).map_err(|reason| format!("interval: {reason}"))?,
            None if mode == Mode::All => Duration::ZERO,
            None => subscription.interval(),
        };
        let metrics = metrics(names.iter().map(String::as_str)).map_err(|reason| format!("metrics: {reason}"))?;
        let id = id.unwrap_or_else(|| self.name(subscription));
        let filters = if self.begun { subscription.filters().len() } else { 0 };
        let known = self.begun && subscription.filters().holds(&id);
        if !known && filters >= most as usize {
            return Err(format!("{most} subscriptions are the most one client may have (MAX_LIVE_FILTERS)"));
        }
        if !self.begun {
            self.begun = true;
            subscription.clear();
        }
        subscription.set_manner(mode, pause);
        subscription.add(&id, Filter { cluster_id, host_id, gpu_id, metrics });
        Ok(Answer::Subscribed { id, filters: subscription.filters().len() })
    }

    /// For a subscription that the client gave none.
    fn name(&mut self, subscription: &Subscription) -> String {
        loop {
            self.named += 1;
            let name = self.named.to_string();
            if !subscription.filters().holds(&name) {
                return name;
            }
        }
    }
}

const EXAMPLE: &str = r#"{"type":"subscribe","id":"a","host_id":"h","gpu_id":"0","metrics":["power_watts"]}"#;
