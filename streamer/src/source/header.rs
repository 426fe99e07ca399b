//! The header line: which form a file has, and what each of its columns is for.

use std::sync::Arc;

use nexus_common::domain::Metric;

use super::form::{MAX_NAME_BYTES, is_printable};
use super::value;

/// What a header should be, for the person whose file has another.
pub(crate) const EXPECTED: &str = "timestamp,metric_name,gpu_id,Hostname,value,… (DCGM, one metric a row), \
     timestamp,gpu_id,hostname,gpu_utilization,temperature,… (one GPU a row), or what nvidia-smi \
     --query-gpu=timestamp,index,uuid,name,utilization.gpu,… --format=csv prints";

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The forms a source can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One metric a row, as the DCGM exporter's series are exported.
    Long,
    /// One GPU a row.
    Wide,
    /// One GPU a row, as `nvidia-smi --query-gpu` prints it: without a host.
    Smi,
}

/// What a column is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    Timestamp,
    Host,
    Gpu,
    Uuid,
    Model,
    Device,
    Mig,
    /// The name of the metric whose value [`Role::Value`] holds.
    MetricName,
    Value,
    /// A list of Prometheus labels.
    Labels,
    /// A metric's value, in this unit if the header names one.
    Reading(Metric, Option<String>),
    /// Something to know of the GPU, under this name.
    Label(String),
    /// A number is a metric of this name, anything else a label.
    Either(Arc<str>),
}

/// A header that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    /// The record's bytes, without byte order mark and line end.
    pub(crate) raw: Vec<u8>,
    pub(crate) form: Form,
    pub(crate) names: Vec<String>,
    pub(crate) roles: Vec<Role>,
}

impl Header {
    /// Understands a header; an error says what is wrong with it, in the middle of a sentence.
    pub(crate) fn read(raw: &[u8]) -> Result<Self, String> {
        let raw = raw.strip_prefix(BOM).unwrap_or(raw);
        let names = names(raw)?;
        let lower: Vec<_> = names.iter().map(|name| split_unit(name).0.to_ascii_lowercase()).collect();
        let has = |role: &Role| lower.iter().any(|name| identity(name).as_ref() == Some(role));
        let long = has(&Role::MetricName) && has(&Role::Value);
        let mut roles: Vec<Role> = Vec::new();
        for (name, lower) in names.iter().zip(&lower) {
            roles.push(distinct(role(name, lower, long)?, name, &roles));
        }
        let form = form(&names, &roles, long)?;
        Ok(Header { raw: raw.to_owned(), form, names, roles })
    }

    /// Whether a record is this header once more, as files put together have it. Quotes and blanks do not count.
    pub(crate) fn is_repeated(&self, record: &[u8]) -> bool {
        bare(record).eq(bare(&self.raw))
    }
}

/// The letters that tell headers apart.
fn bare(record: &[u8]) -> impl Iterator<Item = u8> {
    let record = record.strip_prefix(BOM).unwrap_or(record);
    record.iter().filter(|byte| !matches!(byte, b'"' | b' ')).map(u8::to_ascii_lowercase)
}

/// A second host column, say, does not win over the first, nor is what it says lost: it is a label.
fn distinct(role: Role, name: &str, before: &[Role]) -> Role {
    let is_free = |name: &String| {
        !before.contains(&Role::Label(name.clone())) && !before.contains(&Role::Either(name.as_str().into()))
    };
    let mut numbers = (before.len() + 1..).map(|number| format!("{name}_{number}"));
    let mut numbered = || numbers.find(is_free).unwrap_or_default();
    match role {
        // Two columns of one metric are compared where samples are merged.
        Role::Reading(..) => role,
        role if !before.contains(&role) => role,
        Role::Either(_) => Role::Either(numbered().into()),
        _ if before.contains(&Role::Label(name.to_owned())) => Role::Label(numbered()),
        _ => Role::Label(name.to_owned()),
    }
}

fn names(raw: &[u8]) -> Result<Vec<String>, String> {
    if raw.contains(&0) {
        return Err("not a CSV file".to_owned());
    }
    let mut record = csv::StringRecord::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(raw);
    match reader.read_record(&mut record) {
        Ok(_) => record.iter().zip(1..).map(|(text, number)| name(text.trim(), number)).collect(),
        Err(_) => Err("not a CSV file: the first line is not UTF-8".to_owned()),
    }
}

fn name(text: &str, number: usize) -> Result<String, String> {
    match text {
        "" => Ok(format!("column_{number}")),
        _ if text.len() > MAX_NAME_BYTES || !is_printable(text) => {
            Err(format!("not a CSV file: column {number} is called {}", value::quote(text)))
        }
        _ => Ok(text.to_owned()),
    }
}

/// `utilization.gpu [%]`: the name and the unit.
fn split_unit(name: &str) -> (&str, Option<&str>) {
    match name.strip_suffix(']').and_then(|name| name.rsplit_once('[')) {
        Some((name, unit)) => (name.trim_end(), Some(unit.trim())),
        None => (name, None),
    }
}

fn role(name: &str, lower: &str, long: bool) -> Result<Role, String> {
    match identity(lower) {
        Some(Role::MetricName | Role::Value) if !long => {}
        Some(role) => return Ok(role),
        None => {}
    }
    let (bare, unit) = split_unit(name);
    if long || is_label(lower) {
        return Ok(Role::Label(bare.to_owned()));
    }
    let metric = Metric::named(bare);
    match (metric.definition(), unit) {
        (None, None) => Ok(Role::Either(bare.into())),
        (_, Some(unit)) => value::factor(unit, &metric).map(|_| Role::Reading(metric, Some(unit.to_owned()))),
        (Some(_), None) => Ok(Role::Reading(metric, None)),
    }
}

fn identity(lower: &str) -> Option<Role> {
    Some(match lower {
        "timestamp" | "time" | "ts" | "datetime" | "date_time" | "_time" => Role::Timestamp,
        "hostname" | "host" | "host_name" | "host_id" | "node" | "node_name" | "nodename" => Role::Host,
        "gpu_id" | "gpu" | "index" | "gpu_index" => Role::Gpu,
        "uuid" | "gpu_uuid" => Role::Uuid,
        "modelname" | "model_name" | "model" | "name" | "gpu_name" | "gpu_model" | "product_name" => Role::Model,
        "device" => Role::Device,
        "gpu_i_id" | "mig_id" | "mig_instance" => Role::Mig,
        "metric_name" | "metric" | "__name__" => Role::MetricName,
        "value" | "metric_value" => Role::Value,
        "labels_raw" | "labels" => Role::Labels,
        _ => return None,
    })
}

/// Columns that hold text even where it looks like a number.
fn is_label(lower: &str) -> bool {
    let words = ["version", "bus_id", "serial", "mode", "compute_cap", "profile"];
    let names =
        ["pod", "namespace", "container", "instance", "job", "cluster", "rack", "zone", "count", "pci.device_id"];
    names.contains(&lower) || words.iter().any(|word| lower.contains(word))
}

/// Which form these columns make, and whether they suffice for it.
fn form(names: &[String], roles: &[Role], long: bool) -> Result<Form, String> {
    let has = |role: &Role| roles.contains(role);
    let labels = has(&Role::Labels);
    let readings = roles.iter().any(|role| matches!(role, Role::Reading(..) | Role::Either(_)));
    let known = long || roles.iter().any(|role| matches!(role, Role::Reading(..))) || (has(&Role::Gpu) && readings);
    if !known {
        return Err(format!("no header Nexus knows, it starts with {}", value::quote(&names.join(","))));
    }
    let smi = !long && !has(&Role::Host) && names.iter().any(|name| name.contains(['[', '.']));
    let missing = [
        (has(&Role::Timestamp), "timestamp"),
        (has(&Role::Gpu) || labels, if smi { "index" } else { "gpu_id" }),
        (has(&Role::Host) || labels || smi, "hostname"),
    ];
    match missing.iter().find(|(there, _)| !there) {
        Some((_, column)) => Err(format!("the header has no column {column}")),
        None if long => Ok(Form::Long),
        None if smi => Ok(Form::Smi),
        None => Ok(Form::Wide),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_the_form() {
        let form = |header: &str| Header::read(header.as_bytes()).map(|header| header.form);
        let long =
            "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw";
        assert_eq!(form(long), Ok(Form::Long));
        assert_eq!(form(&long.to_ascii_uppercase()), Ok(Form::Long));
        assert_eq!(form("\u{feff}\"hostname\",\"gpu_id\",\"temperature\",\"timestamp\""), Ok(Form::Wide));
        assert_eq!(form("timestamp, index, uuid, name, utilization.gpu [%], power.draw [W]"), Ok(Form::Smi));
        assert_eq!(form("timestamp, index, hostname, utilization.gpu [%]"), Ok(Form::Wide));
    }

    #[test]
    fn another_header_is_told_in_words() {
        let problem = |header: &[u8]| Header::read(header).unwrap_err();
        assert_eq!(problem(b"a,b,c"), "no header Nexus knows, it starts with \"a,b,c\"");
        assert_eq!(problem(b"gpu_id,hostname,temperature"), "the header has no column timestamp");
        assert_eq!(problem(b"timestamp,gpu_id,temperature"), "the header has no column hostname");
        assert_eq!(problem(b"timestamp, uuid, power.draw [W]"), "the header has no column index");
        assert_eq!(problem(b"timestamp,index,power.draw [hp]"), "power_watts: \"hp\" where \"W\" is expected");
        assert!(problem(b"PK\x03\x04\x00").contains("not a CSV file"));
        assert!(problem(b"\xff\xfe,a").contains("not UTF-8"));
    }

    #[test]
    fn columns_find_their_metric_by_any_name() {
        let header =
            Header::read(b"Timestamp,GPU,Host,fb_used,Temperature.GPU,temp,weather,pod,driver_version").unwrap();
        let metric = |name| Role::Reading(Metric::known(name).unwrap(), None);
        assert_eq!(header.roles[3..6], [metric("memory_used_mib"), metric("gpu_temp"), metric("gpu_temp")]);
        assert_eq!(header.roles[6], Role::Either("weather".into()));
        assert_eq!(header.roles[7..], [Role::Label("pod".to_owned()), Role::Label("driver_version".to_owned())]);
    }

    #[test]
    fn no_column_hides_another() {
        let header = Header::read(b"timestamp,gpu,hostname,node,temp,gpu_temp,pod,pod,x,x,").unwrap();
        let label = |name: &str| Role::Label(name.to_owned());
        assert_eq!(header.roles[2..4], [Role::Host, label("node")]);
        assert_eq!(header.roles[6..8], [label("pod"), label("pod_8")]);
        assert_eq!(header.roles[8..], ["x", "x_10", "column_11"].map(|name| Role::Either(name.into())));
    }

    #[test]
    fn a_number_that_tells_two_columns_apart_is_no_name_of_a_third() {
        let header = Header::read(b"timestamp,gpu,hostname,temp,x_7,x,x,pod_10,pod,pod").unwrap();
        assert_eq!(header.roles[4..7], ["x_7", "x", "x_8"].map(|name| Role::Either(name.into())));
        assert_eq!(header.roles[7], Role::Either("pod_10".into()));
        assert_eq!(header.roles[8..], ["pod", "pod_11"].map(|name| Role::Label(name.to_owned())));
    }

    #[test]
    fn a_header_is_known_again() {
        let header = Header::read(b"timestamp, index, uuid, power.draw [W]").unwrap();
        assert!(header.is_repeated(b"timestamp, index, uuid, power.draw [W]"));
        assert!(header.is_repeated(b"\xef\xbb\xbf\"Timestamp\",\"index\",\"uuid\",\"power.draw [W]\""));
        assert!(!header.is_repeated(b"timestamp, index, uuid"));
        assert!(!header.is_repeated(b""));
    }
}
