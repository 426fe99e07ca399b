//! A source read ahead on a thread of its own: parsing never waits for etcd, and memory stays bounded.

use std::time::Duration;

use nexus_common::domain::Row;
use tokio::sync::{mpsc, oneshot};

use crate::source::{End, Error, Location, Next, Options, Source};

/// Rows handed over at once: on a busy machine each handing over may wait for its turn.
const CHUNK_ROWS: usize = 512;
/// Chunks that wait to be published: a large batch, so that reading goes on while the one before is published.
const CHUNKS: usize = 20;
/// How often a followed file is looked at when it is quiet.
const QUIET: Duration = Duration::from_millis(200);

/// Rows in order, and what comes behind them.
pub(crate) struct Chunk {
    pub(crate) rows: Vec<Row>,
    pub(crate) then: Then,
}

/// What comes behind a chunk's rows.
pub(crate) enum Then {
    /// More rows at once.
    More,
    /// Nothing for now: what is there should be published.
    Quiet,
    /// Nothing any more.
    End(End),
    /// The source cannot be read on.
    Failed(Error),
}

/// Opens a source on a thread of its own: standard input and pipes block until somebody writes.
pub(crate) async fn open(location: Location, options: Options) -> anyhow::Result<Source> {
    let (tell, opened) = oneshot::channel();
    let work = move || _ = tell.send(Source::open(&location, &options));
    std::thread::Builder::new().name("opener".to_owned()).spawn(work)?;
    Ok(opened.await??)
}

/// Starts reading. The thread ends with the source, or when the receiver is dropped and the source says something.
pub(crate) fn feed(source: Source) -> std::io::Result<mpsc::Receiver<Chunk>> {
    let (tell, chunks) = mpsc::channel(CHUNKS);
    std::thread::Builder::new().name("reader".to_owned()).spawn(move || read(source, &tell))?;
    Ok(chunks)
}

fn read(mut source: Source, tell: &mpsc::Sender<Chunk>) {
    let mut rows = Vec::new();
    let mut quiet = false;
    loop {
        let then = match source.next() {
            Ok(Next::Row(row)) => {
                quiet = false;
                rows.push(row);
                if rows.len() < CHUNK_ROWS {
                    continue;
                }
                Then::More
            }
            Ok(Next::Pending) if quiet => {
                if tell.is_closed() {
                    return;
                }
                std::thread::park_timeout(QUIET);
                continue;
            }
            Ok(Next::Pending) => {
                quiet = true;
                Then::Quiet
            }
            Ok(Next::End(end)) => Then::End(end),
            Err(error) => Then::Failed(error),
        };
        let last = matches!(then, Then::End(_) | Then::Failed(_));
        if last {
            // Whoever hears of the end may look for the next source at once: this one must be closed by then.
            let rows = std::mem::take(&mut rows);
            drop(source);
            let _ = tell.blocking_send(Chunk { rows, then });
            return;
        }
        if tell.blocking_send(Chunk { rows: std::mem::take(&mut rows), then }).is_err() {
            return;
        }
    }
}
