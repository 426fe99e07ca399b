//! A client of the live feed that costs as little as it can, because it shares the machine with what is measured.

use std::io::{ErrorKind, IoSliceMut, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nexus_common::domain::Timestamp;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// The first sample of a frame: host, GPU, time.
pub(super) type First = (String, String, i64);

/// After the handshake [`read()`] takes text frames from its socket as they come. A server's frames are not masked.
pub(super) struct Reader {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come.
    begun: Vec<u8>,
    pub(super) arrivals: Vec<Arrival>,
    /// Whole texts, where they are wanted.
    pub(super) texts: Option<Vec<Vec<u8>>>,
}

/// When a revision came, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) revision: i64,
    /// The kernel had it for the client.
    pub(super) in_socket: i64,
    /// The client had it.
    pub(super) read: i64,
}

impl Reader {
    pub(super) async fn connect(gateway: SocketAddr, path: &str, whole: bool) -> anyhow::Result<Reader> {
        let mut stream = tokio::net::TcpStream::connect(gateway).await?;
        let ask = format!(
            "GET {path} HTTP/1.1\r\nHost: {gateway}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bmV4dXMgYmVuY2htYXJrLg==\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await?;
        // The first frame says where the feed stands: from then on every revision is told. What came behind it is kept.
        let mut begun = Vec::new();
        let head = loop {
            ensure!(stream.read_buf(&mut begun).await? > 0, "the gateway ended the connection");
            let Some(end) = memmem(&begun, b"\r\n\r\n") else { continue };
            ensure!(begun.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&begun[..end]));
            let behind = &begun[end + 4..];
            if frame(behind).is_some_and(|(head, length)| behind.len() >= head + length) {
                break end + 4;
            }
        };
        begun.drain(..head);
        let stream = stream.into_std()?;
        #[cfg(target_os = "linux")]
        {
            setsockopt(&stream, nix::sys::socket::sockopt::ReceiveTimestampns, &true)?;
            // What was received is acknowledged a little later, not while others wait for their frames.
            socket2::SockRef::from(&stream).set_tcp_quickack(false)?;
        }
        let texts = whole.then(Vec::new);
        let mut reader = Reader { stream: TcpStream::from_std(stream), begun: Vec::new(), arrivals: Vec::new(), texts };
        let now = Timestamp::now().0;
        let rest = reader.frames(&begun, now, now)?;
        reader.begun = begun.split_off(begun.len() - rest);
        Ok(reader)
    }

    /// Takes what is there.
    fn take(&mut self, room: &mut [u8], times: &mut [u8]) -> anyhow::Result<()> {
        loop {
            let (length, in_socket) = match receive(&self.stream, room, times) {
                Ok((0, _)) => bail!("the gateway ended the connection"),
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let read = Timestamp::now().0;
            let in_socket = in_socket.unwrap_or(read);
            if self.begun.is_empty() {
                let rest = self.frames(&room[..length], in_socket, read)?;
                self.begun.extend_from_slice(&room[length - rest..length]);
            } else {
                let mut bytes = std::mem::take(&mut self.begun);
                bytes.extend_from_slice(&room[..length]);
                let rest = self.frames(&bytes, in_socket, read)?;
                bytes.drain(..bytes.len() - rest);
                self.begun = bytes;
            }
            if length < room.len() {
                return Ok(());
            }
        }
    }

    /// Notes the frames in these bytes. Returns how many bytes are left of one whose end is not there yet.
    fn frames(&mut self, mut bytes: &[u8], in_socket: i64, read: i64) -> anyhow::Result<usize> {
        while let Some((head, length)) = frame(bytes)
            && let Some(text) = bytes.get(head..head + length)
        {
            match bytes[0] & 0x0f {
                1 => self.note(text, in_socket, read)?,
                8 => bail!("the gateway closed the connection: {}", String::from_utf8_lossy(text)),
                // An answer without content, masked with zeros.
                9 => self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0])?,
                _ => {}
            }
            bytes = &bytes[head + length..];
        }
        Ok(bytes.len())
    }

    fn note(&mut self, text: &[u8], in_socket: i64, read: i64) -> anyhow::Result<()> {
        let start = std::str::from_utf8(&text[..text.len().min(200)]).unwrap_or_default();
        ensure!(!start.contains("\"type\":\"gap\""), "a client was told a gap: {start}");
        let Some(revision) = revision_of(start) else { return Ok(()) };
        self.arrivals.push(Arrival { revision, in_socket, read });
        if let Some(texts) = &mut self.texts {
            texts.push(text.to_vec());
        }
        Ok(())
    }
}

/// Reads what there is, and the time at which its last byte was in the socket, in microseconds since 1970.
#[cfg(target_os = "linux")]
fn receive(stream: &TcpStream, room: &mut [u8], times: &mut [u8]) -> Result<(usize, Option<i64>), Errno> {
    let mut into = [IoSliceMut::new(room)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut into, Some(times), MsgFlags::MSG_DONTWAIT)?;
    let in_socket = message.cmsgs()?.find_map(|told| match told {
        ControlMessageOwned::ScmTimestampns(at) => Some(at.tv_sec() * 1_000_000 + at.tv_nsec() / 1_000),
        _ => None,
    });
    Ok((message.bytes, in_socket))
}

/// The same where a kernel keeps no such times.
#[cfg(not(target_os = "linux"))]
fn receive(stream: &TcpStream, room: &mut [u8], _: &mut Vec<u8>) -> Result<(usize, Option<i64>), Errno> {
    let read = nix::sys::socket::recv(stream.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT)?;
    Ok((read, None))
}

/// Where this is found first.
fn memmem(bytes: &[u8], this: &[u8]) -> Option<usize> {
    bytes.windows(this.len()).position(|window| window == this)
}

/// Lengths of the head and of what follows, once the head is there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes.get(1)? & 0x7f {
        126 => Some((4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into())),
        127 => Some((10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?)),
        short => Some((2, short.into())),
    }
}

/// Reads frames of these clients, in one thread, until told to stop.
pub(super) fn read(mut readers: Vec<Reader>, stop: &CancellationToken) -> anyhow::Result<Vec<Reader>> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(readers.len()));
    for (number, reader) in readers.iter_mut().enumerate() {
        poll.registry().register(&mut reader.stream, Token(number), Interest::READABLE)?;
    }
    let (mut room, mut times) = (vec![0; 128 << 10], nix::cmsg_space!(nix::sys::time::TimeSpec));
    while !stop.is_cancelled() {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            readers[event.token().0].take(&mut room, &mut times)?;
        }
    }
    Ok(readers)
}

fn revision_of(text: &str) -> Option<i64> {
    let rest = text.split_once("\"revision\":")?.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok().filter(|_| text.contains("\"type\":\"telemetry\""))
}

pub(super) fn first_of(frame: &Value) -> Option<First> {
    let sample = frame["samples"].get(0)?;
    let at: jiff::Timestamp = sample["timestamp"].as_str()?.parse().ok()?;
    Some((sample["host_id"].as_str()?.to_owned(), sample["gpu_id"].as_str()?.to_owned(), at.as_microsecond()))
}
