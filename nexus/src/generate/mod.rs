//! `nexus generate`: sample telemetry of a fleet that does not exist.
//!
//! The same options give the same bytes, on every machine and in every version of a dependency: each number is
//! computed from the seed, the GPU and the time by integer mixing and plain arithmetic. Nothing is remembered from
//! row to row, so any number of rows takes the same memory.

mod fleet;
mod form;
mod reading;

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use nexus_common::config::Invalid;

use self::fleet::Fleet;
pub(crate) use self::form::Form;
use self::reading::METRICS;

/// Makes sample telemetry: busy and idle GPUs over the day, one hot, one allocated but idle, one missing, one failing.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Hosts of the fleet
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) hosts: u32,

    /// GPUs a host; the last host lacks one
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) gpus: u32,

    /// Metrics a GPU, in the long form
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=METRICS.len() as i64))]
    pub(crate) metrics: u32,

    /// How long the fleet is watched, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,

    /// Seconds between two scrapes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) interval: u32,

    /// Another seed, another fleet
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Time of the first scrape, RFC 3339
    #[arg(long, default_value = "2026-01-05T08:00:00Z")]
    pub(crate) start: jiff::Timestamp,

    /// Form of the rows: long is DCGM's, one metric a row; wide is one GPU a row; smi is nvidia-smi's, of one host
    #[arg(long, value_enum, default_value_t = Form::Long)]
    pub(crate) form: Form,

    /// Order of the long form's rows within a scrape
    #[arg(long, value_enum, default_value_t = Order::Gpu)]
    pub(crate) order: Order,

    /// File to write; without it standard output
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

/// What neighbouring rows of a scrape share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Order {
    /// One GPU's metrics follow each other: they travel as one message.
    Gpu,
    /// One metric of all GPUs, then the next, as Prometheus answers: each row travels alone.
    Metric,
}

impl Default for Options {
    /// What `data/gpu_telemetry_sample.csv` is made with.
    fn default() -> Self {
        Options {
            hosts: 4,
            gpus: 8,
            metrics: 10,
            seconds: 60,
            interval: 10,
            seed: 1,
            start: jiff::Timestamp::constant(1_767_600_000, 0),
            form: Form::Long,
            order: Order::Gpu,
            out: None,
        }
    }
}

/// Writes what the options ask for. A reader that closes the pipe early ends it without an error.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let written = match &options.out {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            write(options, BufWriter::with_capacity(1 << 20, file))
        }
        None => write(options, BufWriter::with_capacity(1 << 20, io::stdout().lock())),
    };
    match written {
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => Ok(()),
        Err(error) => Err(error),
        Ok(rows) => {
            if let Some(path) = &options.out {
                eprintln!("{rows} rows in {}", path.display());
            }
            Ok(())
        }
    }
}

/// Writes header and rows; returns the number of rows.
pub(crate) fn write(options: &Options, mut out: impl Write) -> anyhow::Result<u64> {
    if options.form == Form::Smi && options.hosts != 1 {
        return Err(
            Invalid("nvidia-smi's form names no host, so it can hold one only: add --hosts 1".to_owned()).into()
        );
    }
    let fleet = Fleet::new(options);
    let mut rows = 0;
    options.form.header(&mut out)?;
    for second in (0..options.seconds).step_by(options.interval as usize) {
        let time = options.start + jiff::SignedDuration::from_secs(i64::from(second));
        rows += options.form.scrape(&mut out, options, &fleet, time, second)?;
    }
    out.flush()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(options: &Options) -> String {
        let mut bytes = Vec::new();
        write(options, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_same_options_give_the_same_bytes_and_another_seed_others() {
        let options = Options::default();
        assert_eq!(text(&options), text(&options));
        assert_ne!(text(&options), text(&Options { seed: 2, ..options }));
    }

    #[test]
    fn every_scrape_has_one_row_a_metric_of_every_gpu_but_the_missing_one() {
        let options = Options::default();
        let lines = text(&options).lines().count();
        assert_eq!(lines, 1 + 6 * 31 * 10);
        let by_metric = text(&Options { order: Order::Metric, ..options.clone() });
        assert_eq!(by_metric.lines().count(), lines);
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&by_metric), sorted(&text(&options)), "the order changes no row");
    }

    #[test]
    fn a_wide_row_holds_what_the_long_rows_say() {
        let long = text(&Options { metrics: 1, ..Options::default() });
        let wide = text(&Options { form: Form::Wide, ..Options::default() });
        let long: Vec<&str> = long.lines().skip(1).map(|line| line.split("\",\"").nth(10).unwrap()).collect();
        let wide: Vec<&str> = wide.lines().skip(1).map(|line| line.split(',').nth(6).unwrap()).collect();
        assert_eq!(long, wide);
    }

    #[test]
    fn smi_rows_are_of_one_host() {
        let smi = Options { form: Form::Smi, ..Options::default() };
        assert!(write(&smi, io::sink()).unwrap_err().to_string().contains("--hosts 1"));
        let text = text(&Options { hosts: 1, ..smi });
        assert!(text.starts_with("timestamp, index, uuid, name, utilization.gpu [%], "), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("2026/01/05 08:00:00.000, 0, GPU-"), "{text}");
    }
}
