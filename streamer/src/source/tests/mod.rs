//! Sources from their first byte to their last row, on files and streams of the tests' own making.

mod broken;
mod follow;
mod forms;
mod places;
mod resume;

use std::io::{self, Read};
use std::path::Path;

use nexus_common::domain::{Content, Metric, Record, Reject, Row};

use super::{End, Error, Location, Next, Options, Source};

const LONG: &str =
    "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw\n";

/// A row of the long form, quoted as the exporter's tooling does.
fn long_row(host: &str, gpu: u32, metric: &str, value: &str) -> String {
    format!(
        "\"2025-07-18T20:42:34Z\",\"{metric}\",\"{gpu}\",\"nvidia{gpu}\",\"GPU-{host}-{gpu}\",\"NVIDIA H100\",\
         \"{host}\",\"\",\"\",\"\",\"{value}\",\"Hostname=\"\"{host}\"\",__name__=\"\"{metric}\"\",job=\"\"dcgm\"\"\"\n"
    )
}

/// A reader that gives its bytes in pieces of these sizes, over and over.
struct Pieces {
    bytes: io::Cursor<Vec<u8>>,
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()].min(buffer.len());
        self.turn += 1;
        self.bytes.read(&mut buffer[..size])
    }
}

fn source(bytes: &[u8], options: &Options) -> Source {
    Source::from_reader("test", io::Cursor::new(bytes.to_vec()), options).unwrap()
}

fn in_pieces(bytes: &[u8], sizes: Vec<usize>, options: &Options) -> Result<Source, Error> {
    Source::from_reader("test", Pieces { bytes: io::Cursor::new(bytes.to_vec()), sizes, turn: 0 }, options)
}

fn open(path: &Path, options: &Options) -> Source {
    Source::open(&Location::File(path.to_owned()), options).unwrap()
}

/// The rows up to where the source waits or ends.
fn drain(source: &mut Source) -> (Vec<Row>, Option<End>) {
    let mut rows = Vec::new();
    loop {
        match source.next().unwrap() {
            Next::Row(row) => rows.push(row),
            Next::Pending => return (rows, None),
            Next::End(end) => return (rows, Some(end)),
        }
    }
}

fn rows(bytes: &[u8], options: &Options) -> Vec<Row> {
    drain(&mut source(bytes, options)).0
}

/// The rows of these bytes; each must be understood.
fn records(bytes: &[u8], options: &Options) -> Vec<Record> {
    rows(bytes, options).into_iter().map(record).collect()
}

fn record(row: Row) -> Record {
    match row.content {
        Content::Record(record) => record,
        Content::Reject(reject) => panic!("line {}: {}", row.line, reject.reason),
    }
}

fn reject(row: &Row) -> &Reject {
    match &row.content {
        Content::Record(record) => panic!("line {} became {record:?}", row.line),
        Content::Reject(reject) => reject,
    }
}

fn value(record: &Record, metric: &str) -> Option<f64> {
    let metric = Metric::named(metric);
    record.values.iter().find(|(found, _)| *found == metric).unwrap_or_else(|| panic!("no {metric:?}")).1
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
    let mut zipped = Vec::new();
    encoder.read_to_end(&mut zipped).unwrap();
    zipped
}

#[test]
fn a_source_moves_to_the_thread_that_reads_it() {
    fn moves<T: Send + 'static>() {}
    moves::<Source>();
    moves::<super::Discovery>();
}
