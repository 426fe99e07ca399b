//! The keys that open this gateway: a file, looked at every second.
//!
//! A file that cannot be understood changes nothing: the keys that were known stand, and the log says so once. What is no
//! longer in it ends at once, with the live connections that it opened.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nexus_common::domain::Timestamp;
use nexus_common::identity::{self, Digest, Holder, Key};
use tokio_util::sync::CancellationToken;

use super::Identity;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// The longest file, in bytes.
const LONGEST: u64 = 1 << 20;

/// Who has a key; by digest, so that a request costs one hash and one look.
#[derive(Debug)]
pub(super) struct Keyring {
    path: PathBuf,
    /// Held for a look; never across an await.
    known: RwLock<HashMap<Digest, Known>>,
}

#[derive(Debug)]
struct Known {
    holder: Holder,
    name: Arc<str>,
    /// Ends what was opened with the key.
    until: CancellationToken,
}

impl Keyring {
    /// The keys of a file.
    ///
    /// # Errors
    /// Why it cannot be read, in one line without anything that stands in it.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let keyring = Keyring { path: path.to_owned(), known: RwLock::default() };
        let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        let text = bounded(length).and_then(|()| std::fs::read_to_string(path).map_err(|error| error.to_string()))?;
        keyring.take(&text, Timestamp::now())?;
        Ok(keyring)
    }

    /// Whether nobody has a key.
    pub(super) fn is_empty(&self) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whose key it is, while it is worth something.
    pub(super) fn find(&self, key: &Key, now: Timestamp) -> Option<Identity> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Known { holder, name, until } = known.get(&key.digest())?;
        holder.is_good(now).then(|| Identity { name: Some(Arc::clone(name)), role: holder.role, until: until.clone() })
    }

    /// Looks at the file for ever.
    pub(super) async fn watch(&self) {
        let mut complaint = None;
        loop {
            tokio::time::sleep(EVERY).await;
            match self.look().await {
                Ok(None) => complaint = None,
                Ok(Some(keys)) => {
                    complaint = None;
                    tracing::info!(target: "nexus::audit_log", keys, "the API keys were changed");
                }
                Err(reason) if complaint.as_ref() == Some(&reason) => {}
                Err(reason) => {
                    let file = self.path.display();
                    tracing::error!(%file, reason, "the API keys cannot be read; those that were known stand");
                    complaint = Some(reason);
                }
            }
        }
    }

    async fn look(&self) -> Result<Option<usize>, String> {
        let length = tokio::fs::metadata(&self.path).await.map_err(|error| error.to_string())?.len();
        bounded(length)?;
        let text = tokio::fs::read_to_string(&self.path).await.map_err(|error| error.to_string())?;
        self.take(&text, Timestamp::now())
    }

    /// Makes a file's keys the ones that are known. Returns how many there are, where that is not as it was.
    fn take(&self, text: &str, now: Timestamp) -> Result<Option<usize>, String> {
        let holders = identity::read(text).map_err(|wrong| wrong.to_string())?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *known);
        let (count, mut changed) = (holders.len(), false);
        for holder in holders {
            let same = before.remove(&holder.digest).filter(|known| known.holder == holder);
            changed |= same.is_none();
            let kept = same.unwrap_or_else(|| Known {
                name: holder.name.as_str().into(),
                until: CancellationToken::new(),
                holder,
            });
            if !kept.holder.is_good(now) {
                kept.until.cancel();
            }
            known.insert(kept.holder.digest, kept);
        }
        // Also of those that stand there otherwise now: another role, another end.
        changed |= !before.is_empty();
        drop(known);
        Ok(changed.then_some(count))
    }
}

/// What lost its place in the file ends what it opened.
impl Drop for Known {
    fn drop(&mut self) {
        self.until.cancel();
    }
}

fn bounded(length: u64) -> Result<(), String> {
    if length > LONGEST { Err(format!("it has more than {LONGEST} bytes")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_common::identity::Role;

    fn line(name: &str, role: Role, key: &Key, expires: Option<Timestamp>) -> String {
        format!("{}\n", Holder::new(name, role, key, expires).unwrap())
    }

    fn keyring() -> Keyring {
        Keyring { path: PathBuf::new(), known: RwLock::default() }
    }

    #[test]
    fn what_opened_ends_with_its_key() {
        let (now, later) = (Timestamp(1_000_000), Timestamp(2_000_000));
        let [alice, bob, carol] = [Role::Reader, Role::Operator, Role::Reader].map(Key::new);
        let file = |bobs| {
            let lines = [
                line("alice", Role::Reader, &alice, None),
                line("bob", bobs, &bob, None),
                line("carol", Role::Reader, &carol, Some(Timestamp(1_500_000))),
            ];
            lines.concat()
        };
        let keyring = keyring();
        assert_eq!(keyring.take(&file(Role::Operator), now), Ok(Some(3)));
        let [a, b, c] = [&alice, &bob, &carol].map(|key| keyring.find(key, now).unwrap());
        assert_eq!((a.name.as_deref(), a.role, b.role), (Some("alice"), Role::Reader, Role::Operator));
        assert!(keyring.find(&Key::new(Role::Operator), now).is_none());

        // The same again is no change; a file that is wrong is none.
        assert_eq!(keyring.take(&file(Role::Operator), now), Ok(None));
        assert!(keyring.take("nonsense", now).is_err());
        assert!(!a.until.is_cancelled() && !b.until.is_cancelled() && !c.until.is_cancelled());

        // Time passes: carol's is over. Bob is a reader from now on, and what he opened as an operator ends.
        assert_eq!(keyring.take(&file(Role::Reader), later), Ok(Some(3)));
        assert!(!a.until.is_cancelled() && b.until.is_cancelled() && c.until.is_cancelled());
        assert_eq!(keyring.find(&bob, later).unwrap().role, Role::Reader);
        assert!(keyring.find(&carol, later).is_none());

        assert_eq!(keyring.take("", later), Ok(Some(0)));
        assert!(a.until.is_cancelled() && keyring.find(&alice, later).is_none());
    }
}
