//! One WebSocket, from the first frame to the last.

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

use super::command::Conversation;
use crate::live::{Live, Subscription};

/// What a client may say in a second.
const MESSAGES_PER_SECOND: u32 = 20;
/// Questions without an answer after which nobody is there.
const PATIENCE: u32 = 2;
/// A message that took longer to send had to wait for the client.
const WAITED: Duration = Duration::from_millis(100);
/// How long a client may take to answer a farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// A client that is connected.
pub(super) struct Client {
    sink: SplitSink<WebSocket, Message>,
    source: SplitStream<WebSocket>,
    subscription: Subscription,
    conversation: Conversation,
    rate: Rate,
    live: Live,
    /// When the client last said anything, or was asked to.
    heard: Instant,
    /// Questions since it last said anything.
    asked: u32,
}

/// Why it is over.
enum End {
    /// The client is not there any more, or cannot be told anything.
    Gone,
    /// It is told why.
    Close(u16, &'static str),
}

impl Client {
    pub(super) fn new(socket: WebSocket, subscription: Subscription, live: Live) -> Self {
        let (sink, source) = socket.split();
        let (conversation, rate) = (Conversation::default(), Rate::default());
        Client { sink, source, subscription, conversation, rate, live, heard: Instant::now(), asked: 0 }
    }

    /// Serves it until either side ends it.
    pub(super) async fn serve(mut self) {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        if let End::Close(code, reason) = end {
            let farewell = async {
                let frame = CloseFrame { code, reason: reason.into() };
                if self.sink.send(Message::Close(Some(frame))).await.is_ok() {
                    // A socket that is closed with something unread takes the farewell down with it.
                    while let Some(Ok(_)) = self.source.next().await {}
                }
            };
            let _ = timeout(FAREWELL, farewell).await;
        }
    }

    /// Whatever comes first.
    async fn turn(&mut self) -> Result<(), End> {
        let due = self.heard + self.live.bounds.ping_interval;
        tokio::select! {
            biased;
            () = self.live.stop.cancelled() => Err(STOPPING),
            said = self.source.next() => match said {
                Some(Ok(message)) => self.take(message).await,
                Some(Err(error)) => Err(refusal(&error)),
                None => Err(End::Gone),
            },
            () = sleep_until(due) => self.ask().await,
            delivery = self.subscription.next() => self.send(Message::Text(delivery.text())).await,
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        (self.heard, self.asked) = (Instant::now(), 0);
        if !matches!(message, Message::Pong(_)) && !self.rate.admits(self.heard) {
            return Err(End::Close(close_code::POLICY, "more than 20 messages a second"));
        }
        match message {
            Message::Text(text) => {
                let most = self.live.bounds.live_filters;
                let answer = self.conversation.take(&text, &mut self.subscription, most);
                self.send(Message::Text(serde_json::to_string(&answer).unwrap_or_default().into())).await
            }
            Message::Binary(_) => Err(End::Close(close_code::UNSUPPORTED, "messages are JSON, sent as text")),
            Message::Close(_) => Err(End::Gone),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        }
    }

    async fn ask(&mut self) -> Result<(), End> {
        if self.asked >= PATIENCE {
            return Err(End::Gone);
        }
        self.asked += 1;
        self.heard = Instant::now();
        self.send(Message::Ping(Vec::new().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        let (longest, began) = (self.live.bounds.ping_interval * PATIENCE, Instant::now());
        tokio::select! {
            biased;
            sent = timeout(longest, self.sink.send(message)) => match sent {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(End::Gone),
            },
            () = self.live.stop.cancelled() => return Err(STOPPING),
        }
        let now = Instant::now();
        if now - began > WAITED {
            // There was no room, and now there is: somebody takes what is sent. The question waits behind it.
            (self.heard, self.asked) = (now, 0);
        }
        Ok(())
    }
}

const STOPPING: End = End::Close(close_code::AWAY, "the gateway stops; connect again with since");

fn refusal(error: &axum::Error) -> End {
    // The only thing said about what a client sent; everything else is a connection that broke.
    if error.to_string().contains("too long") {
        End::Close(close_code::SIZE, "a message may have 64 KiB")
    } else {
        End::Gone
    }
}

/// So many in each second that begins with one.
#[derive(Debug, Default)]
struct Rate {
    began: Option<Instant>,
    count: u32,
}

impl Rate {
    fn admits(&mut self, now: Instant) -> bool {
        if self.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            (self.began, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count <= MESSAGES_PER_SECOND
    }
}
