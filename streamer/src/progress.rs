//! How far it is: a line that is rewritten on a terminal, a log line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram as Quantiles;
use indicatif::{ProgressBar, ProgressStyle};
use nexus_common::observe::{CALLS, Counter, Histogram, Registry};
use nexus_common::queue::Depth;
use tokio::sync::watch;
use tokio::time::{Instant, interval};

use crate::held::Held;

/// Counts since the start of this process: what is logged, and what Prometheus is told.
#[derive(Debug)]
pub(crate) struct Progress {
    rows: Counter,
    rejected: Counter,
    messages: Counter,
    batches: Counter,
    bytes: Counter,
    retries: Counter,
    publish_seconds: Histogram,
    /// How long publishing a batch took, in microseconds: for quantiles, which buckets for Prometheus are too wide for.
    publish_us: Mutex<Quantiles<u64>>,
    /// What `bytes` will be at the end of the sources that are known to have one.
    bytes_total: AtomicU64,
    depth: watch::Receiver<Option<Depth>>,
    pub(crate) held: Held,
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
    /// With what is seen of the queue.
    pub(crate) fn new(depth: watch::Receiver<Option<Depth>>) -> anyhow::Result<Self> {
        const SIGNIFICANT_DIGITS: u8 = 2;
        Ok(Progress {
            rows: Counter::default(),
            rejected: Counter::default(),
            messages: Counter::default(),
            batches: Counter::default(),
            bytes: Counter::default(),
            retries: Counter::default(),
            publish_seconds: Histogram::new(CALLS),
            publish_us: Mutex::new(Quantiles::new(SIGNIFICANT_DIGITS)?),
            bytes_total: AtomicU64::default(),
            depth,
            held: Held::default(),
        })
    }

    /// Has Prometheus told what is counted.
    pub(crate) fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("rows", "Rows published, rejected ones among them", &self.rows),
            ("rejected_rows", "Rows published that could not be understood: they become dead letters", &self.rejected),
            ("messages", "Messages published", &self.messages),
            ("batches", "Batches published", &self.batches),
            ("source_bytes", "Bytes of the sources whose rows are published", &self.bytes),
            (
                "publish_retries",
                "Publishes that were tried again because etcd did not take or answer them",
                &self.retries,
            ),
        ] {
            registry.register(format!("nexus_streamer_{name}"), help, counter.clone());
        }
        registry.register(
            "nexus_streamer_publish_duration_seconds",
            "From the first try to publish a batch until etcd has it",
            self.publish_seconds.clone(),
        );
    }

    pub(crate) fn published(&self, batch: Published) {
        self.rows.inc_by(batch.rows);
        self.rejected.inc_by(batch.rejected);
        self.messages.inc_by(batch.messages);
        self.batches.inc();
        self.bytes.inc_by(batch.bytes);
        self.publish_seconds.observe(batch.took.as_secs_f64());
        let mut publish_us = self.publish_us.lock().unwrap_or_else(PoisonError::into_inner);
        // Grows with what it is told; nothing to be done for a batch that it cannot count.
        let _ = publish_us.record(batch.took.as_micros() as u64);
    }

    /// Publishes that are tried again are counted here.
    pub(crate) fn retries(&self) -> Counter {
        self.retries.clone()
    }

    /// So many bytes lie before us, where that is known.
    pub(crate) fn expect(&self, bytes: u64) {
        self.bytes_total.fetch_add(bytes, Relaxed);
    }

    /// So many of them are looked for anew.
    pub(crate) fn forget(&self, bytes: u64) {
        self.bytes_total.fetch_sub(bytes, Relaxed);
    }

    /// A source has ended: what is left of it (its header, other streamers' stripes) is nothing to publish.
    pub(crate) fn arrived(&self) {
        self.bytes_total.store(self.bytes.get(), Relaxed);
    }

    /// Bytes that lie before us, where that is known.
    pub(crate) fn bytes_left(&self) -> u64 {
        self.bytes_total.load(Relaxed).saturating_sub(self.bytes.get())
    }

    /// Rows that wait in the queue, as far as this streamer has seen.
    pub(crate) fn queued(&self) -> u64 {
        self.depth.borrow().map_or(0, |depth| depth.rows)
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
            let rate = rates.of(self.rows.get());
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
            tracing::info!("{}", self.line(rates.of(self.rows.get())));
        }
    }

    /// The whole story so far.
    pub(crate) fn last_word(&self, started: Instant) {
        let (rows, seconds) = (self.rows.get(), started.elapsed().as_secs_f64());
        let publish_us = self.publish_us.lock().unwrap_or_else(PoisonError::into_inner);
        let publish_ms = |share| publish_us.value_at_quantile(share) as f64 / 1_000.0;
        tracing::info!(
            rows,
            rejected = self.rejected.get(),
            messages = self.messages.get(),
            batches = self.batches.get(),
            publish_p50_ms = publish_ms(0.5),
            publish_p99_ms = publish_ms(0.99),
            seconds = (seconds * 1000.0).round() / 1000.0,
            rows_per_second = (rows as f64 / seconds).round(),
            "published"
        );
    }

    fn line(&self, rate: f64) -> String {
        let (rows, queued) = (self.rows.get(), self.queued());
        let mut line = format!("{rows} rows published, {rate:.0} rows/s, {queued} queued");
        let (done, left) = (self.bytes.get(), self.bytes_left());
        if left > 0 && done > 0 && rows > 0 && rate > 0.0 {
            let rows_left = left as f64 / (done as f64 / rows as f64);
            line.push_str(&format!(", {} left", span(rows_left / rate)));
        }
        if let Some(reason) = self.held.reason() {
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
