use super::Gauge;

/// One more in a gauge for as long as this lives.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    /// From now on.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
