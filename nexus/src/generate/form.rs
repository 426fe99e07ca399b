//! The three forms in which people have such rows.

use std::io::{self, Write};

use jiff::Timestamp;

use super::fleet::{DRIVER, Fleet, Gpu, MODEL};
use super::reading::{METRICS, Metric, Reading};
use super::{Options, Order};

/// How rows look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// DCGM's long form: one metric a row.
    Long,
    /// One GPU a row.
    Wide,
    /// What `nvidia-smi --query-gpu=… --format=csv` prints.
    Smi,
}

const LONG: &str =
    "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw";
const WIDE: &str = "timestamp,gpu_id,hostname,uuid,device,modelname,gpu_utilization,memory_utilization,memory_used_mb,\
                    memory_free_mb,temperature,power_draw,sm_clock_mhz,memory_clock_mhz";
const SMI: &str = "timestamp, index, uuid, name, utilization.gpu [%], utilization.memory [%], memory.used [MiB], \
                   memory.free [MiB], temperature.gpu, power.draw [W], clocks.current.sm [MHz], \
                   clocks.current.memory [MHz], fan.speed [%]";

impl Form {
    pub(super) fn header(self, out: &mut impl Write) -> io::Result<()> {
        let header = match self {
            Form::Long => LONG,
            Form::Wide => WIDE,
            Form::Smi => SMI,
        };
        writeln!(out, "{header}")
    }

    /// Writes what the whole fleet reports at one time; returns the number of rows.
    pub(super) fn scrape(
        self,
        out: &mut impl Write,
        options: &Options,
        fleet: &Fleet,
        time: Timestamp,
        second: u32,
    ) -> io::Result<u64> {
        let read = |gpu: &Gpu| Reading::new(options, gpu, time.as_second(), second);
        let metrics = &METRICS[..options.metrics as usize];
        let gpus = fleet.gpus.len() as u64;
        match (self, options.order) {
            (Form::Long, Order::Gpu) => {
                for gpu in &fleet.gpus {
                    let reading = read(gpu);
                    metrics.iter().try_for_each(|metric| long(out, time, gpu, metric, &reading))?;
                }
                return Ok(gpus * metrics.len() as u64);
            }
            (Form::Long, Order::Metric) => {
                for metric in metrics {
                    fleet.gpus.iter().try_for_each(|gpu| long(out, time, gpu, metric, &read(gpu)))?;
                }
                return Ok(gpus * metrics.len() as u64);
            }
            (Form::Wide, _) => fleet.gpus.iter().try_for_each(|gpu| wide(out, time, gpu, &read(gpu)))?,
            (Form::Smi, _) => fleet.gpus.iter().try_for_each(|gpu| smi(out, time, gpu, &read(gpu)))?,
        }
        Ok(gpus)
    }
}

fn long(
    out: &mut impl Write,
    time: Timestamp,
    gpu: &Gpu,
    (name, value, decimals): &Metric,
    reading: &Reading,
) -> io::Result<()> {
    let Gpu { host, index, uuid, .. } = gpu;
    let (pod, namespace, container) = gpu.holder.as_ref().map_or(("", "", ""), |(pod, n, c)| (pod.as_str(), *n, *c));
    let value = value(reading);
    writeln!(
        out,
        "\"{time}\",\"{name}\",\"{index}\",\"nvidia{index}\",\"{uuid}\",\"{MODEL}\",\"{host}\",\"{container}\",\
         \"{pod}\",\"{namespace}\",\"{value:.decimals$}\",\"DCGM_FI_DRIVER_VERSION=\"\"{DRIVER}\"\",\
         Hostname=\"\"{host}\"\",UUID=\"\"{uuid}\"\",__name__=\"\"{name}\"\",device=\"\"nvidia{index}\"\",\
         gpu=\"\"{index}\"\",instance=\"\"{host}:9400\"\",job=\"\"dcgm-exporter\"\",modelName=\"\"{MODEL}\"\"\""
    )
}

fn wide(out: &mut impl Write, time: Timestamp, gpu: &Gpu, r: &Reading) -> io::Result<()> {
    let Gpu { host, index, uuid, .. } = gpu;
    write!(
        out,
        "{time},{index},{host},{uuid},nvidia{index},{MODEL},{:.0},{:.0},",
        r.utilization, r.memory_utilization
    )?;
    write!(out, "{:.0},{:.0},{:.0},{:.3},", r.memory_used, r.memory_free, r.temperature, r.power)?;
    writeln!(out, "{:.0},{:.0}", r.sm_clock, r.memory_clock)
}

/// H100s in a chassis have no fans of their own, so the last column is what the tool says then.
fn smi(out: &mut impl Write, time: Timestamp, gpu: &Gpu, r: &Reading) -> io::Result<()> {
    let Gpu { index, uuid, .. } = gpu;
    write!(out, "{}, ", time.strftime("%Y/%m/%d %H:%M:%S%.3f"))?;
    write!(out, "{index}, {uuid}, {MODEL}, {:.0} %, {:.0} %, ", r.utilization, r.memory_utilization)?;
    write!(out, "{:.0} MiB, {:.0} MiB, {:.0}, {:.2} W, ", r.memory_used, r.memory_free, r.temperature, r.power)?;
    writeln!(out, "{:.0} MHz, {:.0} MHz, [N/A]", r.sm_clock, r.memory_clock)
}
