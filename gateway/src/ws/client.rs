//! One WebSocket, from the first frame to the last.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{BoxStream, SelectAll, SplitSink, select_all};
use futures_util::{FutureExt, SinkExt, StreamExt, stream};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::command::{Conversation, Said};
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
    /// What comes seldom: polled when it is woken, not for every frame that is sent.
    seldom: SelectAll<BoxStream<'static, Seldom>>,
    /// When it is to be asked whether somebody is there; or sooner, where something was heard since it was set.
    due: Pin<Box<Sleep>>,
    subscription: Subscription,
    conversation: Conversation,
    rate: Rate,
    live: Live,
    /// Of the request that opened it: what it is known by in the log.
    request_id: String,
    /// When the client last said anything, or was asked to.
    heard: Instant,
    /// Questions since it last said anything.
    asked: u32,
}

/// What is not a frame to send.
enum Seldom {
    Said(Message),
    /// What came is no message, or the connection broke.
    Broke(axum::Error),
    /// Nothing more comes.
    Left,
    Stop,
    /// Its key is not good any more.
    Expelled,
}

/// Why it is over.
enum End {
    /// The client is not there any more, or cannot be told anything.
    Gone,
    /// It is told why.
    Close(u16, &'static str),
}

impl Client {
    /// `until` ends it: its key is not good any more.
    pub(super) fn new(
        socket: WebSocket,
        subscription: Subscription,
        live: Live,
        until: CancellationToken,
        request_id: String,
    ) -> Self {
        let (sink, source) = socket.split();
        let said = source.map(|said| said.map_or_else(Seldom::Broke, Seldom::Said));
        let said = said.chain(stream::once(async { Seldom::Left })).boxed();
        let stop = live.stop.clone().cancelled_owned().map(|()| Seldom::Stop).into_stream().boxed();
        let expelled = until.cancelled_owned().map(|()| Seldom::Expelled).into_stream().boxed();
        let (conversation, rate, heard) = (Conversation::default(), Rate::default(), Instant::now());
        let due = Box::pin(sleep_until(heard + live.bounds.ping_interval));
        Client {
            sink,
            seldom: select_all([stop, expelled, said]),
            due,
            subscription,
            conversation,
            rate,
            live,
            request_id,
            heard,
            asked: 0,
        }
    }

    /// Serves it until either side ends it.
    pub(super) async fn serve(mut self) {
        let mut done = {
            let welcome = Said::welcome(&self.request_id).text();
            self.send(Message::Text(welcome)).await
        };
        let end = loop {
            if let Err(end) = done {
                break end;
            }
            done = self.turn().await;
        };
        if let End::Close(code, reason) = end {
            tracing::debug!(request_id = self.request_id, code, reason, "a live client is closed");
            let farewell = async {
                let frame = CloseFrame { code, reason: reason.into() };
                if self.sink.send(Message::Close(Some(frame))).await.is_ok() {
                    // A socket that is closed with something unread takes the farewell down with it.
                    while let Some(Seldom::Said(_) | Seldom::Stop | Seldom::Expelled) = self.seldom.next().await {}
                }
            };
            let _ = timeout(FAREWELL, farewell).await;
        }
    }

    /// Whatever comes first.
    async fn turn(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            seldom = self.seldom.next() => match seldom {
                Some(Seldom::Said(message)) => self.take(message).await,
                Some(Seldom::Broke(error)) => Err(refusal(&error)),
                Some(Seldom::Stop) => Err(STOPPING),
                Some(Seldom::Expelled) => Err(End::Close(close_code::POLICY, "the API key is not good any more")),
                Some(Seldom::Left) | None => Err(End::Gone),
            },
            () = self.due.as_mut() => self.ask().await,
            delivery = self.subscription.next() => {
                self.send(Message::Text(delivery.text())).await?;
                self.subscription.sent(&delivery);
                Ok(())
            }
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
                let said = Said::answer(&answer, &self.request_id);
                if let Some(reason) = said.refusal() {
                    tracing::debug!(request_id = self.request_id, reason, "a live client asked for what cannot be");
                }
                let text = said.text();
                self.send(Message::Text(text)).await
            }
            Message::Binary(_) => Err(End::Close(close_code::UNSUPPORTED, "messages are JSON, sent as text")),
            Message::Close(_) => Err(End::Gone),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        }
    }

    /// Asks whether somebody is there, where nothing was heard for so long.
    async fn ask(&mut self) -> Result<(), End> {
        let interval = self.live.bounds.ping_interval;
        if self.heard + interval > Instant::now() {
            self.due.as_mut().reset(self.heard + interval);
            return Ok(());
        }
        if self.asked >= PATIENCE {
            return Err(End::Gone);
        }
        self.asked += 1;
        self.heard = Instant::now();
        self.due.as_mut().reset(self.heard + interval);
        self.send(Message::Ping(Vec::new().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        let mut sending = pin!(self.sink.send(message));
        // Mostly there is room, and nothing to wait for.
        if let Poll::Ready(sent) = poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await {
            return sent.map_err(|_| End::Gone);
        }
        let (longest, began) = (self.live.bounds.ping_interval * PATIENCE, Instant::now());
        tokio::select! {
            biased;
            sent = timeout(longest, sending) => match sent {
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
