//! Who should take a batch: rendezvous hashing, so that members agree without talking (pure).

use std::hash::{DefaultHasher, Hash, Hasher};

use nexus_common::queue::BatchId;

/// So many batches of a lane in a row prefer one member: the metrics of a scrape follow each other, and meet in one
/// member's memory instead of in the database.
const RUN_OF_BATCHES: u64 = 16;

/// The member that a batch prefers; a member that comes or goes moves only its own share.
pub(crate) fn preferred<'a>(batch: &BatchId, members: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    members.max_by_key(|member| hash((&batch.lane, &batch.run, batch.n / RUN_OF_BATCHES, member)))
}

/// A number that differs by member: two members that look at the same batches see them in different orders.
pub(crate) fn weight(batch: &BatchId, member: &str) -> u64 {
    hash((&batch.lane, &batch.run, batch.n, member))
}

/// Members of different builds may come to different numbers; then both prefer a batch, and the claim decides.
fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(n: u64) -> BatchId {
        BatchId { published_ms: 1, lane: "l".into(), run: "r".into(), n }
    }

    #[test]
    fn a_leaving_member_moves_only_its_own_batches() {
        let three = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let mut shares = [0; 3];
        for n in (0..3_000 * RUN_OF_BATCHES).step_by(RUN_OF_BATCHES as usize) {
            let neighbour = batch(n + RUN_OF_BATCHES - 1);
            assert_eq!(preferred(&batch(n), three.iter()), preferred(&neighbour, three.iter()));
            let owner = preferred(&batch(n), three.iter()).unwrap();
            shares[three.iter().position(|member| member == owner).unwrap()] += 1;
            if owner != "c" {
                assert_eq!(preferred(&batch(n), three[..2].iter()), Some(owner));
            }
        }
        assert!(shares.iter().all(|share| (800..1200).contains(share)), "{shares:?}");
    }
}
