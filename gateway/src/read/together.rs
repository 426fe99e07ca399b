//! Editions that are asked for together: whoever has to wait for a turn takes along who comes meanwhile.
//!
//! One edition takes PostgreSQL less than the statement that it comes with. So the first question that waits keeps seats for
//! others about the same days, and when its turn comes all of them are asked for at once. None is asked for before its
//! question came: whoever is late waits with the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use nexus_common::domain::Timestamp;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::days::Days;
use super::edition::{Edition, Hours};
use super::selection::Source;
use super::{Error, Model, Result};

/// The most that are asked for at once: few, because they overtake whoever waits for a turn of his own.
const SEATS: usize = 8;

/// Who waits, by the days that are asked about.
#[derive(Debug, Default)]
pub(super) struct Together(Mutex<HashMap<Days, Weak<Party>>>);

/// Questions that wait for one turn. Once none of them waits any more, nobody asks.
#[derive(Debug)]
struct Party {
    /// Of who asks: ends he without a word, nobody waits for one.
    seats: Weak<Seats>,
    _asking: AbortOnDropHandle<()>,
}

/// `None`: it is too late to come along.
type Seats = Mutex<Option<Vec<Seat>>>;

#[derive(Debug)]
struct Seat {
    hours: Hours,
    came: Instant,
    tell: oneshot::Sender<Result<Option<Edition>>>,
}

impl Model {
    /// The edition of all hours that this range touches, asked for in one turn together with others'; `None` where something
    /// was stored of them and is not rolled up, or PostgreSQL has no answer.
    ///
    /// # Errors
    /// [`Error::Busy`] where the turn does not come soon.
    pub(crate) async fn edition_with_others(
        &self,
        sources: &[Source],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Option<Edition>> {
        let hours = Hours::touched(sources, start, end);
        let (tell, told) = oneshot::channel();
        let days = hours.days();
        let _party = self.together().join(days, Seat { hours, came: Instant::now(), tell }, |seats| {
            let model = self.clone();
            #[expect(clippy::disallowed_methods, reason = "ends with the handle")]
            AbortOnDropHandle::new(tokio::spawn(async move { model.ask_for(days, &seats).await }))
        });
        told.await.unwrap_or(Ok(None))
    }

    /// Waits for a turn and asks for all who came until then.
    async fn ask_for(&self, days: Days, seats: &Seats) {
        let turn = self.in_turn().await;
        let mut asked = taken(seats).take().unwrap_or_default();
        asked.retain(|seat| !seat.tell.is_closed());
        // Where there is no answer, without a word: who then asks for samples is told why.
        match turn {
            Err(Error::Busy { most, waited }) => {
                // Who came late waits for a turn of his own.
                asked.retain(|seat| seat.came.elapsed() >= waited);
                asked.into_iter().for_each(|seat| drop(seat.tell.send(Err(Error::Busy { most, waited }))));
            }
            Ok(model) if !asked.is_empty() => {
                let hours: Vec<_> = asked.iter().map(|seat| &seat.hours).collect();
                let Ok(editions) = model.editions(days, &hours).await else { return };
                asked.into_iter().zip(editions).for_each(|(seat, edition)| drop(seat.tell.send(Ok(edition))));
            }
            _ => {}
        }
    }
}

impl Together {
    /// Takes a seat, in a new party where none waits that has one.
    fn join(&self, days: Days, seat: Seat, ask: impl FnOnce(Arc<Seats>) -> AbortOnDropHandle<()>) -> Arc<Party> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(party) = waiting.get(&days).and_then(Weak::upgrade)
            && let Some(seats) = party.seats.upgrade()
            && let Some(seats) = taken(&seats).as_mut()
            && seats.len() < SEATS
        {
            seats.push(seat);
            return party;
        }
        let seats = Arc::new(Mutex::new(Some(vec![seat])));
        let party = Arc::new(Party { seats: Arc::downgrade(&seats), _asking: ask(seats) });
        waiting.retain(|_, party| party.strong_count() > 0);
        waiting.insert(days, Arc::downgrade(&party));
        party
    }
}

/// Held for a moment only.
fn taken(seats: &Seats) -> MutexGuard<'_, Option<Vec<Seat>>> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seat, and what its owner waits for.
    fn seat() -> (Seat, oneshot::Receiver<Result<Option<Edition>>>) {
        let (tell, told) = oneshot::channel();
        (Seat { hours: Hours::touched(&[], Timestamp(0), Timestamp(1)), came: Instant::now(), tell }, told)
    }

    /// Joins; who asks waits for ever, and the seats of a party that is new are put into `parties`.
    fn join(together: &Together, parties: &mut Vec<Arc<Seats>>) -> Arc<Party> {
        together.join(Days::default(), seat().0, |seats| {
            parties.push(Arc::clone(&seats));
            #[expect(clippy::disallowed_methods, reason = "ends with the handle")]
            AbortOnDropHandle::new(tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(seats);
            }))
        })
    }

    #[tokio::test]
    async fn a_party_has_so_many_seats_and_leaves_without_who_is_late() {
        let (together, mut parties) = (Together::default(), Vec::new());
        let mut joined: Vec<_> = (0..=SEATS).map(|_| join(&together, &mut parties)).collect();
        assert_eq!(parties.len(), 2);
        assert!(Arc::ptr_eq(&joined[0], &joined[SEATS - 1]) && !Arc::ptr_eq(&joined[0], &joined[SEATS]));
        assert_eq!(taken(&parties[1]).take().map(|seats| seats.len()), Some(1));
        joined.push(join(&together, &mut parties));
        assert_eq!(parties.len(), 3, "the second has left");
    }

    #[tokio::test]
    async fn a_party_ends_with_the_last_who_waits() {
        let (together, mut parties) = (Together::default(), Vec::new());
        let joined = [join(&together, &mut parties), join(&together, &mut parties)];
        let seats = parties.pop().map(|seats| Arc::downgrade(&seats)).unwrap_or_default();
        drop(joined);
        while seats.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
        drop(join(&together, &mut parties));
        assert_eq!((parties.len(), together.0.lock().unwrap().len()), (1, 1), "nobody joins the one that ended");
    }
}
