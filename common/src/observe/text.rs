//! Prometheus' text format 0.0.4, made of the newer one that the registry writes.

use std::fmt::{self, Write};

/// OpenMetrics as the older text format: there a counter is described under the name that its samples have.
pub(super) fn classic(text: &str) -> Result<String, fmt::Error> {
    let mut classic = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let counter = |line: &str| Some(line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned());
        let described = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' '));
        match (described, counter(line), lines.peek().and_then(|next| counter(next))) {
            (Some((name, help)), _, Some(next)) if name == next => writeln!(classic, "# HELP {name}_total {help}")?,
            (_, Some(name), _) => writeln!(classic, "# TYPE {name}_total counter")?,
            _ => writeln!(classic, "{line}")?,
        }
    }
    Ok(classic)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_counter_is_described_under_its_own_name() {
        let (counter, gauge) = (Counter::<u64>::default(), Gauge::<i64>::default());
        counter.inc_by(3);
        let mut registry = Registry::default();
        registry.register("answers", "Answers given", counter);
        registry.register("open", "Open now", gauge);
        let mut text = String::new();
        encode_registry(&mut text, &registry).unwrap();
        assert_eq!(
            classic(&text).unwrap(),
            "# HELP answers_total Answers given.\n# TYPE answers_total counter\nanswers_total 3\n\
             # HELP open Open now.\n# TYPE open gauge\nopen 0\n"
        );
    }
}
