use std::time::Duration;

use nexus_common::books::Error;
use nexus_common::domain::Timestamp;

use super::{Auditor, Rounds, Seen};

/// What PostgreSQL says to a statement that took longer than it may.
const TOOK_TOO_LONG: &str = "57014";

/// The books for requests, which cannot wait for long; cheap to clone.
#[derive(Debug, Clone)]
pub struct Books {
    auditor: Auditor,
    rounds: Rounds,
    /// What a look of the auditor's may take.
    longest: Duration,
}

impl Books {
    /// Over an auditor whose statements may run for `longest`, and one that looks beside the requests and may take its time.
    pub fn new(auditor: Auditor, rounds: Rounds, longest: Duration) -> Self {
        Books { auditor, rounds, longest }
    }

    /// The state of the books: of now, or, where that takes longer than a request may, as it was found last.
    ///
    /// # Errors
    /// Where etcd or PostgreSQL cannot be read; a statement that took too long where nothing was found before. Then it is
    /// looked beside the requests, and asking again is worth while.
    pub async fn look(&self) -> Result<Seen, Error> {
        // Whoever asks in vain again and again would keep PostgreSQL at work for nothing.
        let lasts = self.rounds.length().is_some_and(|length| length > self.longest);
        if lasts && let Some(seen) = self.rounds.ask().standing(Timestamp::now()) {
            return Ok(seen.clone());
        }
        match self.auditor.look().await {
            Err(Error::Memory(error)) if error.sqlstate().is_some_and(|state| state.code() == TOOK_TOO_LONG) => {
                let known = self.rounds.ask();
                known.standing(Timestamp::now()).cloned().ok_or(Error::Memory(error))
            }
            seen => seen,
        }
    }
}
