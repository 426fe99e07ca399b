use std::time::Duration;

use nexus_common::domain::Timestamp;

use super::{Auditor, Error, Rounds, Seen};

/// The books for requests, which cannot wait for long; cheap to clone.
#[derive(Debug, Clone)]
pub struct Books {
    auditor: Auditor,
    rounds: Rounds,
    /// What a statement of the auditor's may take.
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
    /// Where etcd or PostgreSQL cannot be read; [`Error::TooLong`] where nothing was found before: it is looked beside the
    /// requests, and asking again is worth while, unless it is [`Error::FarTooLong`].
    pub async fn look(&self) -> Result<Seen, Error> {
        // Whoever asks in vain again and again would keep PostgreSQL at work for nothing.
        if self.rounds.length().is_some_and(|length| length > self.longest) {
            return self.found_before();
        }
        match self.auditor.look().await {
            Err(Error::TooLong) => self.found_before(),
            looked => looked,
        }
    }

    fn found_before(&self) -> Result<Seen, Error> {
        let known = self.rounds.ask();
        let missing = || self.rounds.exceeded().map_or(Error::TooLong, Error::FarTooLong);
        known.standing(Timestamp::now()).cloned().ok_or_else(missing)
    }
}
