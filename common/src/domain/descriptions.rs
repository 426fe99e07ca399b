use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Described;

/// What is remembered of the texts that descriptions were made of, in bytes: some 50,000 GPUs with all their labels.
const MOST_BYTES: usize = 24 << 20;
/// The most descriptions that are remembered.
const MOST: usize = 100_000;

/// Descriptions that were made before, found again by the texts they were made of. What is equal is one value, whatever
/// it was made of, so that neighbours can be told by address.
#[derive(Debug, Default)]
pub struct Descriptions {
    by_texts: HashMap<Box<[u8]>, Arc<Described>, RandomState>,
    all: HashSet<Arc<Described>, RandomState>,
    bytes: usize,
    /// The texts that are looked for.
    wanted: Vec<u8>,
}

impl Descriptions {
    /// The description made of these texts, made now if it is new.
    ///
    /// # Errors
    /// As making it ends.
    pub fn of<'a, E>(
        &mut self,
        texts: impl IntoIterator<Item = Option<&'a str>>,
        make: impl FnOnce() -> Result<Described, E>,
    ) -> Result<Arc<Described>, E> {
        self.wanted.clear();
        for text in texts {
            // The length goes first: no two lists of texts are the same bytes.
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            self.wanted.extend_from_slice(&length.to_le_bytes());
            self.wanted.extend_from_slice(text.unwrap_or_default().as_bytes());
        }
        if let Some(known) = self.by_texts.get(self.wanted.as_slice()) {
            return Ok(known.clone());
        }
        let described = self.unique(make()?);
        if self.bytes + self.wanted.len() > MOST_BYTES {
            *self = Descriptions { wanted: std::mem::take(&mut self.wanted), ..Descriptions::default() };
            self.all.insert(described.clone());
        }
        self.bytes += self.wanted.len();
        self.by_texts.insert(self.wanted.as_slice().into(), described.clone());
        Ok(described)
    }

    /// The one value that is equal to this.
    pub fn unique(&mut self, described: Described) -> Arc<Described> {
        if let Some(known) = self.all.get(&described) {
            return known.clone();
        }
        if self.all.len() >= MOST {
            self.all.clear();
        }
        let described = Arc::new(described);
        self.all.insert(described.clone());
        described
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::GpuIdentity;

    fn gpu(host: &str) -> Described {
        GpuIdentity { host: host.to_owned(), ..GpuIdentity::default() }.into()
    }

    #[test]
    fn a_description_is_made_once_and_equal_ones_are_one() {
        let mut descriptions = Descriptions::default();
        let mut of = |texts: [Option<&str>; 2], host: &str| {
            let mut made = false;
            let described = descriptions.of(texts, || {
                made = true;
                Ok::<_, ()>(gpu(host))
            });
            (described.unwrap(), made)
        };
        let (first, made) = of([Some("a"), Some("b")], "h");
        assert!(made);
        let (again, made) = of([Some("a"), Some("b")], "never made");
        assert!(!made && Arc::ptr_eq(&first, &again));
        // Other texts, cut elsewhere or absent: made anew, and equal to the first.
        for texts in [[Some("ab"), Some("")], [Some(""), Some("ab")], [Some("ab"), None]] {
            let (other, made) = of(texts, "h");
            assert!(made && Arc::ptr_eq(&first, &other), "{texts:?}");
        }
        assert!(!Arc::ptr_eq(&first, &of([None, None], "g").0));
        assert_eq!(descriptions.of([Some("x")], || Err("no")), Err("no"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut descriptions = Descriptions::default();
        let long = "x".repeat(1 << 20);
        for n in 0..100 {
            let text = format!("{n}{long}");
            descriptions.of([Some(text.as_str())], || Ok::<_, ()>(gpu(&text))).unwrap();
            assert!(descriptions.bytes <= MOST_BYTES && descriptions.by_texts.len() <= 24);
            assert!(descriptions.all.len() <= 24);
        }
    }
}
