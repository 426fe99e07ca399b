//! One file among several streamers: each reads all of it and parses its own blocks.

/// Bytes of a block: small enough that a small file is shared too, large enough that a batch of a few hundred rows lies
/// in one (a batch covers its part of the source without gaps, so it ends with its block).
const BLOCK: u64 = 256 * 1024;

/// The `index`-th of `count` parts of a file.
///
/// A row belongs to the block of 256 KiB that its first byte falls into, and block `b` to the stripe `b % count`: so the
/// stripes of one file share its rows without a word between their readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripe {
    /// Which part, counted from 0.
    pub index: u64,
    /// How many parts there are; 1 is the whole file.
    pub count: u64,
}

impl Default for Stripe {
    fn default() -> Self {
        Stripe { index: 0, count: 1 }
    }
}

impl Stripe {
    /// Whether the row that starts at this byte is of this stripe.
    pub fn owns(self, byte: u64) -> bool {
        self.count <= 1 || (byte / BLOCK) % self.count == self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_of_one_stripe() {
        for byte in [0, 1, BLOCK - 1, BLOCK, 5 * BLOCK + 7] {
            let owners = (0..3).filter(|&index| Stripe { index, count: 3 }.owns(byte)).count();
            assert_eq!(owners, 1, "byte {byte}");
            assert!(Stripe::default().owns(byte));
        }
    }
}
