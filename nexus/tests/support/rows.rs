//! Input whose every value is another, and what PostgreSQL must hold of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use nexus_common::domain::Timestamp;

pub(crate) const HEADER: &str =
    "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw\n";
/// 2026-01-01T00:00:00Z.
const START_US: i64 = 1_767_225_600_000_000;
const GPUS: u64 = 16;

/// What a stored sample is known by: host, GPU, microseconds.
pub(crate) type Place = (String, String, i64);

/// Rows `from..to` of an endless export: the value of row i is i.
pub(crate) fn lines(from: u64, to: u64) -> String {
    let mut text = String::new();
    for index in from..to {
        let (host, gpu, at) = place(index);
        let time = Timestamp(at);
        writeln!(
            text,
            "{time},DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION,{gpu},nvidia{gpu},GPU-{host}-{gpu},H100,{host},,,,{index},"
        )
        .unwrap();
    }
    text
}

/// A whole file of so many rows.
pub(crate) fn file(rows: u64) -> String {
    part(0, rows)
}

/// A file of the rows `from..to`.
pub(crate) fn part(from: u64, to: u64) -> String {
    format!("{HEADER}{}", lines(from, to))
}

/// What must be stored of rows `from..to`.
pub(crate) fn expected(from: u64, to: u64) -> BTreeMap<Place, f64> {
    (from..to).map(|index| (place(index), index as f64)).collect()
}

fn place(index: u64) -> Place {
    let gpu = index % GPUS;
    let seconds = i64::try_from(index / GPUS).unwrap();
    (format!("host-{:03}", gpu / 8), (gpu % 8).to_string(), START_US + seconds * 1_000_000)
}
