//! A value made of files, made anew when what they hold changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Contents, File};
use crate::config::Invalid;

/// The files are looked at no oftener than this.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A value and the files it is made of. Nothing runs in the background: whoever asks for the value looks at the files,
/// where the last look is [`LOOK_EVERY`] ago. Cheap to clone.
pub struct Reloaded<T>(Arc<Inner<T>>);

struct Inner<T> {
    /// For the log: whose files they are.
    whose: &'static str,
    files: Vec<File>,
    make: Make<T>,
    /// Held while small local files are read, and never across an await.
    state: Mutex<State<T>>,
}

type Make<T> = Box<dyn Fn(&Contents) -> Result<T, Invalid> + Send + Sync>;

struct State<T> {
    edition: Edition<T>,
    digest: [u8; 32],
    looked: Instant,
    complaint: Option<String>,
}

/// The value as it was made from one state of the files.
pub struct Edition<T> {
    /// The value.
    pub value: Arc<T>,
    /// Counts the states of the files, from 0.
    pub number: u64,
    /// Since when.
    pub since: Instant,
}

impl<T> Reloaded<T> {
    /// Reads the files and makes the value.
    ///
    /// # Errors
    /// A file that cannot be read or used, in one line.
    pub fn new(
        whose: &'static str,
        files: Vec<File>,
        make: impl Fn(&Contents) -> Result<T, Invalid> + Send + Sync + 'static,
    ) -> Result<Self, Invalid> {
        let contents = Contents::read(&files)?;
        let edition = Edition { value: Arc::new(make(&contents)?), number: 0, since: Instant::now() };
        let state = State { edition, digest: contents.digest(), looked: Instant::now(), complaint: None };
        Ok(Reloaded(Arc::new(Inner { whose, files, make: Box::new(make), state: Mutex::new(state) })))
    }

    /// The value as the files say now. Where they cannot be used, that is said once, and the one before stays.
    pub fn present(&self) -> Edition<T> {
        let mut state = self.state();
        if !self.0.files.is_empty() && state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            self.look(&mut state);
        }
        state.edition.clone()
    }

    /// Comes back once the value is another than this edition's. Never, where there are no files.
    pub async fn outdates(&self, number: u64) {
        if self.0.files.is_empty() {
            std::future::pending::<()>().await;
        }
        while self.present().number == number {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn look(&self, state: &mut State<T>) {
        let whose = self.0.whose;
        let made = Contents::read(&self.0.files).and_then(|contents| {
            let digest = contents.digest();
            if digest == state.digest { Ok(None) } else { Ok(Some(((self.0.make)(&contents)?, digest))) }
        });
        match made {
            Ok(made) => {
                state.complaint = None;
                let Some((value, digest)) = made else { return };
                let number = state.edition.number + 1;
                (state.edition, state.digest) =
                    (Edition { value: Arc::new(value), number, since: Instant::now() }, digest);
                tracing::info!(whose, "certificates and secrets were read anew; new connections use them");
            }
            // A pair that is being replaced is half old and half new for a moment: said once, and looked at again.
            Err(Invalid(reason)) if state.complaint.as_ref() != Some(&reason) => {
                tracing::warn!(whose, reason, "the files cannot be used as they are now: those before stay in use");
                state.complaint = Some(reason);
            }
            Err(_) => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Reloaded(Arc::clone(&self.0))
    }
}

impl<T> Clone for Edition<T> {
    fn clone(&self) -> Self {
        Edition { value: Arc::clone(&self.value), ..*self }
    }
}

/// The files' names, and nothing of what they hold.
impl<T> std::fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reloaded").field(&self.0.whose).field(&self.0.files).finish()
    }
}
