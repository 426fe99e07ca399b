//! How much time a question about single samples has to look through (pure).
//!
//! A page of the newest samples lies in the last day or two, though the question names no time and a year is stored. Without a
//! bound PostgreSQL opens every day's partition before it reads the first row: 30 ms with a month of days, half a second
//! with a year. So a page is looked for in a little time first, and in more where that does not fill it. What is found is
//! the answer all the same: nothing outside the part that was looked through can come before what a full page holds.

use nexus_common::domain::Timestamp;

use super::Order;
use super::days::Days;

const DAY: i64 = 86_400_000_000;

/// Days looked through, one after the other, before all there is. Few steps, because each asks anew; and the first ones short,
/// because that is where nearly every question ends.
const DAYS: [i64; 3] = [2, 16, 128];

/// The parts of a range (from, until, and what days they lie in) in which a page is looked for, one after the other; each holds
/// the one before, and the last is the range itself.
///
/// `near` is about where the samples begin, seen from the end that is asked for: for [`Order::Newest`] the time of the newest one.
/// Whether it is right decides about the work, never about the answer.
pub(super) fn parts(
    from: Timestamp,
    until: Timestamp,
    order: Order,
    near: Option<Timestamp>,
) -> impl Iterator<Item = (Timestamp, Timestamp, Days)> {
    // A cursor can lie outside of the range; then `from` is not before `until`, and there is nothing.
    let near = near.map(|near| near.max(from).min(until));
    let shorter = DAYS.into_iter().filter_map(move |days| {
        let length = days * DAY;
        let near = near?.0;
        let part = match order {
            Order::Newest => (Timestamp(near.saturating_sub(length)), until),
            Order::Oldest => (from, Timestamp(near.saturating_add(length))),
        };
        (from < part.0 || part.1 < until).then_some((part, length))
    });
    let whole = ((from, until), until.0.saturating_sub(from.0));
    // Behind a cursor a sample of its very time may follow.
    shorter.chain([whole]).map(|((from, until), length)| (from, until, Days::of(from, until.shifted(1), length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(from: i64, until: i64, order: Order, near: Option<i64>) -> Vec<(i64, i64)> {
        let parts = parts(Timestamp(from), Timestamp(until), order, near.map(Timestamp));
        parts.map(|(from, until, _)| (from.0, until.0)).collect()
    }

    #[test]
    fn a_page_is_looked_for_where_it_begins() {
        let (from, until) = (i64::MIN, i64::MAX);
        let near = 1_000 * DAY;
        let newest = [(998 * DAY, until), (984 * DAY, until), (872 * DAY, until), (from, until)];
        assert_eq!(all(from, until, Order::Newest, Some(near)), newest);
        let oldest = [(from, 1_002 * DAY), (from, 1_016 * DAY), (from, 1_128 * DAY), (from, until)];
        assert_eq!(all(from, until, Order::Oldest, Some(near)), oldest);
    }

    #[test]
    fn a_short_range_is_asked_once() {
        assert_eq!(all(0, DAY, Order::Newest, Some(DAY)), [(0, DAY)]);
        assert_eq!(all(0, 3 * DAY, Order::Oldest, Some(0)), [(0, 2 * DAY), (0, 3 * DAY)]);
        assert_eq!(all(i64::MIN, i64::MAX, Order::Newest, None), [(i64::MIN, i64::MAX)]);
    }

    #[test]
    fn a_longer_part_changes_its_days_more_seldom() {
        let parts = |day: i64| {
            let near = Timestamp(day * DAY + DAY / 2);
            parts(Timestamp(i64::MIN), Timestamp(i64::MAX), Order::Newest, Some(near)).map(|(_, _, days)| days)
        };
        let changes =
            |part: usize| (1_000..1_128).filter(|day| parts(*day).nth(part) != parts(*day + 1).nth(part)).count();
        assert_eq!([0, 1, 2, 3].map(changes), [128, 16, 2, 0]);
    }

    #[test]
    fn a_range_that_is_over_is_asked_once() {
        for order in [Order::Newest, Order::Oldest] {
            assert_eq!(all(DAY, 0, order, Some(DAY / 2)).last(), Some(&(DAY, 0)));
        }
    }

    proptest! {
        #[test]
        fn each_part_holds_the_one_before_and_begins_where_the_page_does(
            from: i64, length in 1..i64::MAX, newest: bool, near: Option<i64>,
        ) {
            let (until, order) = (from.saturating_add(length), if newest { Order::Newest } else { Order::Oldest });
            let parts = all(from, until, order, near);
            prop_assert_eq!(parts.last(), Some(&(from, until)));
            for pair in parts.windows(2) {
                prop_assert!(pair[1].0 <= pair[0].0 && pair[0].1 <= pair[1].1 && pair[0] != pair[1]);
            }
            // The end that the page begins at is never cut off.
            let begins = |part: &&(i64, i64)| if newest { part.1 == until } else { part.0 == from };
            prop_assert_eq!(parts.iter().filter(begins).count(), parts.len());
            prop_assert!(parts.iter().all(|part| part.0 <= part.1));
        }
    }
}
