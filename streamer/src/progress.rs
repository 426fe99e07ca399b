//! How far it is: a line that is rewritten on a terminal, a log line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, interval};

/// Counts since the start of this process.
#[derive(Debug)]
pub(crate) struct Progress {
    rows: AtomicU64,
    messages: AtomicU64,
    /// How long publishing a batch took, in microseconds.
    publish_us: Mutex<Histogram<u64>>,
    rejected: AtomicU64,
    queued: AtomicU64,
    bytes: AtomicU64,
    bytes_total: AtomicU64,
    held: Mutex<Option<String>>,
}

/// A batch that was published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    pub(crate) rows: u64,
    pub(crate) rejected: u64,
    pub(crate) messages: u64,
    /// Bytes of the source.
    pub(crate) bytes: u64,
    /// From the call until etcd had answered.
    pub(crate) took: Duration,
}

impl Progress {
    pub(crate) fn new() -> anyhow::Result<Self> {
        const SIGNIFICANT_DIGITS: u8 = 2;
        Ok(Progress {
            rows: AtomicU64::default(),
            messages: AtomicU64::default(),
            publish_us: Mutex::new(Histogram::new(SIGNIFICANT_DIGITS)?),
            rejected: AtomicU64::default(),
            queued: AtomicU64::default(),
            bytes: AtomicU64::default(),
            bytes_total: AtomicU64::default(),
            held: Mutex::default(),
        })
    }

    pub(crate) fn published(&self, batch: Published) {
        self.rows.fetch_add(batch.rows, Relaxed);
        self.messages.fetch_add(batch.messages, Relaxed);
        self.rejected.fetch_add(batch.rejected, Relaxed);
        self.bytes.fetch_add(batch.bytes, Relaxed);
        let mut publish_us = self.publish_us.lock().unwrap_or_else(PoisonError::into_inner);
        // Grows with what it is told; nothing to be done for a batch that it cannot count.
        let _ = publish_us.record(batch.took.as_micros() as u64);
    }

    /// So many bytes lie before us, where that is known.
    pub(crate) fn expect(&self, bytes: u64) {
        self.bytes_total.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn queued(&self, rows: u64) {
        self.queued.store(rows, Relaxed);
    }

    pub(crate) fn hold(&self, reason: Option<String>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Tells for ever, in the manner of where it is read.
    pub(crate) async fn tell(&self) {
        match std::io::stderr().is_terminal() {
            true => self.draw().await,
            false => self.log().await,
        }
    }

    async fn draw(&self) {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        let mut rates = Rate::new();
        let mut every = interval(Duration::from_millis(250));
        loop {
            every.tick().await;
            let rate = rates.of(self.rows.load(Relaxed));
            bar.set_message(self.line(rate));
            bar.tick();
        }
    }

    async fn log(&self) {
        let mut rates = Rate::new();
        let mut every = interval(Duration::from_secs(10));
        every.tick().await;
        loop {
            every.tick().await;
            tracing::info!("{}", self.line(rates.of(self.rows.load(Relaxed))));
        }
    }

    /// The whole story so far.
    pub(crate) fn last_word(&self, started: Instant) {
        let (rows, seconds) = (self.rows.load(Relaxed), started.elapsed().as_secs_f64());
        let publish_us = self.publish_us.lock().unwrap_or_else(PoisonError::into_inner);
        let publish_ms = |share| publish_us.value_at_quantile(share) as f64 / 1_000.0;
        tracing::info!(
            rows,
            rejected = self.rejected.load(Relaxed),
            messages = self.messages.load(Relaxed),
            publish_p50_ms = publish_ms(0.5),
            publish_p99_ms = publish_ms(0.99),
            seconds = (seconds * 1000.0).round() / 1000.0,
            rows_per_second = (rows as f64 / seconds).round(),
            "published"
        );
    }

    fn line(&self, rate: f64) -> String {
        let (rows, queued) = (self.rows.load(Relaxed), self.queued.load(Relaxed));
        let mut line = format!("{rows} rows published, {rate:.0} rows/s, {queued} queued");
        let (done, total) = (self.bytes.load(Relaxed), self.bytes_total.load(Relaxed));
        if total > done && done > 0 && rows > 0 && rate > 0.0 {
            let rows_left = (total - done) as f64 / (done as f64 / rows as f64);
            line.push_str(&format!(", {} left", span(rows_left / rate)));
        }
        if let Some(reason) = &*self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            line.push_str(&format!(", waiting: {reason}"));
        }
        line
    }
}

fn span(seconds: f64) -> String {
    let seconds = seconds.min(1e9).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Rows per second over the last few looks.
struct Rate {
    last: u64,
    at: Instant,
    smooth: f64,
}

impl Rate {
    fn new() -> Self {
        Rate { last: 0, at: Instant::now(), smooth: 0.0 }
    }

    fn of(&mut self, rows: u64) -> f64 {
        let seconds = self.at.elapsed().as_secs_f64();
        if seconds > 0.0 {
            let now = (rows - self.last) as f64 / seconds;
            self.smooth = if self.smooth == 0.0 { now } else { 0.8 * self.smooth + 0.2 * now };
        }
        (self.last, self.at) = (rows, Instant::now());
        self.smooth
    }
}
