//! How large a batch may be that etcd takes (pure): half of one that it refused, and twice as much again after so many that it
//! took. One row that is too large does not make every batch behind it small; larger batches that it refused soon after they were
//! tried are tried ever less often.

use nexus_common::queue::{Bounds, Draft};

/// Batches in a row that etcd takes before larger ones are tried.
const PATIENCE: u32 = 16;
/// The most of them, where every try was refused: larger batches are what this server does not take.
const MOST_PATIENCE: u32 = 4_096;

/// What fits now, and what is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fit {
    wanted: Bounds,
    now: Bounds,
    /// Batches taken since these bounds were found.
    taken: u32,
    patience: u32,
    /// These bounds were tried after smaller ones had gone well.
    tried: bool,
}

impl Fit {
    pub(crate) fn new(wanted: Bounds) -> Fit {
        Fit { wanted, now: wanted, taken: 0, patience: PATIENCE, tried: false }
    }

    /// What a batch may hold.
    pub(crate) fn bounds(&self) -> Bounds {
        self.now
    }

    /// etcd took a batch. `true`: larger ones are worth a try.
    pub(crate) fn took_one(&mut self) -> bool {
        self.taken = self.taken.saturating_add(1);
        if self.tried && self.taken >= PATIENCE {
            // They are what it takes: if it refuses one later, that one is the exception.
            (self.tried, self.patience) = (false, PATIENCE);
        }
        let Bounds { rows, messages, bytes, .. } = self.wanted;
        if (self.now.rows, self.now.messages, self.now.bytes) == (rows, messages, bytes) {
            return false;
        }
        let enough = self.taken >= self.patience;
        if enough {
            self.taken = 0;
            self.tried = true;
            self.now = Bounds {
                rows: self.now.rows.saturating_mul(2).min(rows),
                messages: self.now.messages.saturating_mul(2).min(messages),
                bytes: self.now.bytes.saturating_mul(2).min(bytes),
                ..self.now
            };
        }
        enough
    }

    /// What fits if etcd does not take such a batch: bounds that halve it. `None` when it is a single row.
    pub(crate) fn without(self, refused: &Draft) -> Option<Fit> {
        let half = |count: usize| count.div_ceil(2);
        let patience = if self.tried { self.patience.saturating_mul(2).min(MOST_PATIENCE) } else { self.patience };
        (refused.rows > 1).then(|| Fit {
            now: Bounds {
                rows: self.now.rows.min(half(usize::try_from(refused.rows).unwrap_or(usize::MAX))),
                messages: self.now.messages.min(half(refused.messages.len())),
                bytes: half(self.now.bytes),
                ..self.now
            },
            taken: 0,
            patience,
            tried: false,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use nexus_common::queue::{Body, Source};

    use super::*;

    fn draft(rows: u64) -> Draft {
        let source = Source { file: String::new(), pass: 0, lines: [1, rows], bytes: [0, 1], shift_us: 0 };
        let reject = nexus_common::domain::Reject::new("none".to_owned(), b"");
        let messages = vec![Body::Dead { line: 1, byte: 0, reject }; usize::try_from(rows).unwrap()];
        Draft { messages, rows, source, traceparent: None }
    }

    /// Batches that are taken until larger ones are tried.
    fn taken(fit: &mut Fit) -> u32 {
        (1..).find(|_| fit.took_one()).unwrap()
    }

    #[test]
    fn a_row_too_large_is_found_and_then_batches_grow_again() {
        let mut fit = Fit::new(Bounds::new(50, 128));
        while fit.bounds().rows > 1 {
            fit = fit.without(&draft(fit.bounds().rows as u64)).unwrap();
        }
        assert!(fit.without(&draft(1)).is_none(), "a single row has no half");
        let mut sizes = Vec::new();
        while fit.bounds().messages < 120 {
            assert_eq!(taken(&mut fit), PATIENCE);
            sizes.push(fit.bounds().rows);
        }
        assert_eq!(sizes, [2, 4, 8, 16, 32, 50, 50]);
        assert_eq!(fit.bounds().bytes, Bounds::BYTES);
        assert!((0..1_000).all(|_| !fit.took_one()), "there is nothing larger to try");
    }

    #[test]
    fn however_many_rows_are_too_large_batches_grow_again_as_soon() {
        let mut fit = Fit::new(Bounds::new(64, 72));
        for _ in 0..10 {
            while fit.bounds().rows > 1 {
                fit = fit.without(&draft(fit.bounds().rows as u64)).unwrap();
            }
            let mut batches = 0;
            while fit.bounds().rows < 64 {
                fit.took_one();
                batches += 1;
            }
            assert_eq!(batches, 6 * PATIENCE);
            (0..PATIENCE).for_each(|_| _ = fit.took_one());
        }
    }

    #[test]
    fn what_is_refused_each_time_is_tried_ever_less_often() {
        let mut fit = Fit::new(Bounds::new(100, 1_024));
        fit = fit.without(&draft(100)).unwrap();
        let patience: Vec<_> = (0..10)
            .map(|_| {
                let taken = taken(&mut fit);
                fit = fit.without(&draft(100)).unwrap();
                taken
            })
            .collect();
        assert_eq!(patience, [16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 4_096]);
    }
}
