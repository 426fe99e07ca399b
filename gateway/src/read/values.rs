use nexus_common::domain::Metric;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Values by metric: those that were reported and no others, the catalogue's first and in its order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Values(pub Vec<(Metric, f64)>);

/// An object of metric to number.
impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (metric, value) in &self.0 {
            map.serialize_entry(metric.name(), &Number(*value))?;
        }
        map.end()
    }
}

/// A stored number, exactly: read back as a 64-bit float it is the same. Whole numbers are written without decimals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number(pub(super) f64);

/// Up to here every whole number is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0.fract() == 0.0 && self.0.abs() <= EXACT && !(self.0 == 0.0 && self.0.is_sign_negative());
        #[allow(clippy::cast_possible_truncation)] // whole and in range
        if whole { serializer.serialize_i64(self.0 as i64) } else { serializer.serialize_f64(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_numbers_are_written_plainly() {
        let values = Values(vec![(Metric::named("power_watts"), 71.5), (Metric::named("memory_used_mib"), 81_007.0)]);
        assert_eq!(serde_json::to_string(&values).unwrap(), r#"{"power_watts":71.5,"memory_used_mib":81007}"#);
    }

    proptest! {
        #[test]
        fn a_number_is_the_one_that_was_stored(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let text = serde_json::to_string(&Number(number)).unwrap();
            prop_assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), number.to_bits());
        }
    }
}
