//! The three forms, each as people have it.

use super::*;
use crate::source::Form;

const WIDE: &str = "timestamp,gpu_id,hostname,uuid,device,modelname,gpu_utilization,memory_used_mb,temperature,pod\n";
const SMI: &str = "timestamp, index, uuid, name, pstate, utilization.gpu [%], memory.used [MiB], power.draw [W], \
     clocks.current.sm [MHz], clocks_throttle_reasons.active, driver_version, ecc.errors.uncorrected.volatile.total\n";

fn smi_options() -> Options {
    Options { source_host: Some("box".to_owned()), ..Options::default() }
}

#[test]
fn a_long_row_is_one_metric() {
    let text = format!(
        "{LONG}\"2025-07-18T20:42:34Z\",\"DCGM_FI_DEV_GPU_UTIL\",\"0\",\"nvidia0\",\"GPU-5f\",\"NVIDIA H100\",\
         \"host-031\",\"\",\"train-1\",\"\",\"97\",\"DCGM_FI_DRIVER_VERSION=\"\"535.129.03\"\",\
         Hostname=\"\"host-031\"\",UUID=\"\"GPU-5f\"\",__name__=\"\"DCGM_FI_DEV_GPU_UTIL\"\",device=\"\"nvidia0\"\",\
         gpu=\"\"0\"\",job=\"\"dcgm\"\",modelName=\"\"NVIDIA H100\"\",empty=\"\"\"\"\"\n"
    );
    let found = records(text.as_bytes(), &Options::default());
    let [record] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((record.described.gpu.host.as_str(), record.described.gpu.gpu.as_str()), ("host-031", "0"));
    assert_eq!(record.described.gpu.uuid.as_deref(), Some("GPU-5f"));
    assert_eq!(
        (record.described.model.as_deref(), record.described.device.as_deref()),
        (Some("NVIDIA H100"), Some("nvidia0"))
    );
    assert_eq!(record.timestamp.to_string(), "2025-07-18T20:42:34Z");
    assert_eq!(record.values, [(Metric::known("gpu_utilization").unwrap(), Some(97.0))]);
    let labels: Vec<_> = record.described.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("DCGM_FI_DRIVER_VERSION", "535.129.03"), ("job", "dcgm"), ("pod", "train-1")]);
}

#[test]
fn empty_columns_are_filled_from_the_labels() {
    let text = format!(
        "{LONG}2025-07-18T20:42:34Z,DCGM_FI_PROF_GR_ENGINE_ACTIVE,3,,,,,,,,0.5,\
         \"Hostname=\"\"h\"\",UUID=\"\"GPU-1\"\",modelName=\"\"A100\"\",GPU_I_ID=\"\"7\"\",GPU_I_PROFILE=\"\"1g.5gb\"\"\"\n"
    );
    let record = records(text.as_bytes(), &Options::default()).remove(0);
    assert_eq!((record.described.gpu.host.as_str(), record.described.gpu.gpu.as_str()), ("h", "3:7"));
    assert_eq!((record.described.gpu.uuid.as_deref(), record.described.gpu.mig.as_deref()), (Some("GPU-1"), Some("7")));
    assert_eq!(record.described.model.as_deref(), Some("A100"));
    assert_eq!(
        record.described.labels.clone().into_iter().collect::<Vec<_>>(),
        [("GPU_I_PROFILE".to_owned(), "1g.5gb".to_owned())]
    );
}

#[test]
fn a_metric_outside_the_catalogue_keeps_its_name() {
    let text = format!("{LONG}{}", long_row("h", 0, "DCGM_FI_DEV_NVLINK_CRC", "5"));
    let record = records(text.as_bytes(), &Options::default()).remove(0);
    assert_eq!(value(&record, "DCGM_FI_DEV_NVLINK_CRC"), Some(5.0));
}

#[test]
fn a_wide_row_is_one_gpu() {
    let text = format!("{WIDE}2025-07-18 20:42:34,2,h1,GPU-2,nvidia2,NVIDIA A100,45.5,,64,train\n");
    let mut source = source(text.as_bytes(), &Options::default());
    assert_eq!(source.form(), Form::Wide);
    let record = record(drain(&mut source).0.remove(0));
    assert_eq!((record.described.gpu.host.as_str(), record.described.gpu.gpu.as_str()), ("h1", "2"));
    assert_eq!(value(&record, "gpu_utilization"), Some(45.5));
    assert_eq!(value(&record, "memory_used_mib"), None, "asked for, not reported");
    assert_eq!(value(&record, "temperature_celsius"), Some(64.0));
    assert_eq!(record.described.labels["pod"], "train");
}

#[test]
fn a_wide_row_may_report_nothing_and_hold_unknown_columns() {
    let text = "TIME,HOST,GPU,temp,inlet_fan_rpm,weather\n1752871354,h,0,[N/A],1200,fine\n1752871355,h,0,,,\n";
    let found = records(text.as_bytes(), &Options::default());
    assert_eq!(value(&found[0], "temp"), None);
    assert_eq!(value(&found[0], "inlet_fan_rpm"), Some(1200.0));
    assert_eq!(found[0].described.labels["weather"], "fine");
    assert_eq!(found[1].values, [(Metric::known("temp").unwrap(), None)]);
    assert!(found[1].described.labels.is_empty());
}

#[test]
fn nvidia_smi_output_is_read_as_it_is_printed() {
    let text = format!(
        "{SMI}2025/07/18 20:42:34.123, 0, GPU-0, NVIDIA H100, P0, 45 %, 12345 MiB, 71.23 W, 1980 MHz, \
         0x0000000000000004, 535.129.03, 0\n\
         2025/07/18 20:42:34.125, 1, GPU-1, NVIDIA H100, P8, [N/A], 0 MiB, [Not Supported], 345 MHz, \
         0x0000000000000001, 535.129.03, [N/A]\n"
    );
    let mut source = source(text.as_bytes(), &smi_options());
    assert_eq!(source.form(), Form::Smi);
    let found: Vec<_> = drain(&mut source).0.into_iter().map(record).collect();
    assert_eq!((found[1].described.gpu.host.as_str(), found[1].described.gpu.gpu.as_str()), ("box", "1"));
    assert_eq!(found[0].timestamp.to_string(), "2025-07-18T20:42:34.123Z");
    assert_eq!(found[0].described.model.as_deref(), Some("NVIDIA H100"));
    let values = |record: &Record| record.values.iter().map(|(_, value)| *value).collect::<Vec<_>>();
    assert_eq!(
        values(&found[0]),
        [Some(0.0), Some(45.0), Some(12345.0), Some(71.23), Some(1980.0), Some(4.0), Some(0.0)]
    );
    assert_eq!(values(&found[1]), [Some(8.0), None, Some(0.0), None, Some(345.0), Some(1.0), None]);
    assert!(found[0].values.iter().all(|(metric, _)| metric.definition().is_some()));
    assert_eq!(found[0].described.labels["driver_version"], "535.129.03");
}

#[test]
fn nvidia_smi_times_are_in_the_zone_it_is_told() {
    let text = "timestamp, index, temperature.gpu\n2025/07/18 22:42:34.123, 0, 60\n";
    let options = Options { utc_offset: crate::source::utc_offset("+02:00").unwrap(), ..smi_options() };
    assert_eq!(records(text.as_bytes(), &options)[0].timestamp.to_string(), "2025-07-18T20:42:34.123Z");
}

#[test]
fn nvidia_smi_needs_a_host_to_be_named() {
    let error = Source::from_reader("x.csv", SMI.as_bytes(), &Options::default()).unwrap_err().to_string();
    assert!(error.starts_with("x.csv: the rows name no host and SOURCE_HOST is not set"), "{error}");
}

#[test]
fn byte_order_mark_line_ends_and_compression_change_nothing() {
    let text = format!("{LONG}{}{}", long_row("h", 0, "SM_CLOCK", "1980"), long_row("h", 1, "SM_CLOCK", "345"));
    let plain = source(text.as_bytes(), &Options::default());
    let want = records(text.as_bytes(), &Options::default());
    assert_eq!(want.len(), 2);
    for variant in [
        format!("\u{feff}{text}"),
        text.replace('\n', "\r\n"),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        format!("\n\n{}", text.replace('\n', "\n\n")),
        text.trim_end().to_owned(),
        text.replace('\n', "\r"),
    ] {
        let mut other = source(variant.as_bytes(), &Options::default());
        assert_eq!(other.fingerprint(), plain.fingerprint());
        assert_eq!(drain(&mut other).0.into_iter().map(record).collect::<Vec<_>>(), want);
        let mut zipped = source(&gzip(variant.as_bytes()), &Options::default());
        assert_eq!(zipped.fingerprint(), plain.fingerprint());
        assert_eq!(drain(&mut zipped), drain(&mut source(variant.as_bytes(), &Options::default())));
    }
    let members = [gzip(&text.as_bytes()[..150]), gzip(&text.as_bytes()[150..])].concat();
    assert_eq!(records(&members, &Options::default()), want);
}

#[test]
fn quoted_commas_and_line_ends_stay_in_their_field() {
    let text =
        "timestamp,hostname,gpu_id,temperature,note\n1752871354,h,0,60,\"a, \"\"b\"\"\nc\"\n1752871355,h,0,61,\n";
    let found = rows(text.as_bytes(), &Options::default());
    assert_eq!((found[0].line, found[0].next_line, found[1].line), (2, 4, 4));
    assert_eq!(record(found[0].clone()).described.labels["note"], "a, \"b\"\nc");
}

#[test]
fn what_is_no_source_is_one_clear_line() {
    let message = |bytes: &[u8]| {
        let options = Options::default();
        let message = Source::from_reader("x.csv", io::Cursor::new(bytes.to_vec()), &options).unwrap_err().to_string();
        assert!(message.starts_with("x.csv: ") && !message.contains('\n'), "{message}");
        message
    };
    assert_eq!(message(b""), "x.csv: the file is empty");
    assert_eq!(message(b"\n\r\n"), "x.csv: the file is empty");
    for (bytes, problem) in [
        (&b"name,age\nbob,7\n"[..], "no header Nexus knows, it starts with \"name,age\""),
        (b"\x7fELF\x02\x01\x01\0\0", "not a CSV file"),
        (b"\"timestamp,gpu\n", "not a CSV file: a quote is not closed"),
        (b"{\"a\": 1}\n", "no header Nexus knows"),
    ] {
        let message = message(bytes);
        assert!(message.contains(problem) && message.contains("expected timestamp,metric_name,gpu_id"), "{message}");
    }
    assert!(message(&vec![b'x'; 2_000_000]).contains("MAX_ROW_BYTES"));
    let zipped = gzip(LONG.repeat(500).as_bytes());
    let mut cut =
        Source::from_reader("x.csv", io::Cursor::new(zipped[..zipped.len() - 9].to_vec()), &Options::default());
    let error = loop {
        match cut.as_mut().map(Source::next) {
            Ok(Ok(Next::End(end))) => panic!("{end:?}"),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => break error.to_string(),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.starts_with("x.csv: cannot be read: "), "{error}");
}
