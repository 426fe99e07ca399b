//! A [`Timestamp`] as PostgreSQL's `timestamptz`, bit for bit: both count microseconds.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use crate::domain::Timestamp;

/// 2000-01-01, which PostgreSQL counts from, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

/// The extremes stand for `-infinity` and `infinity`, as they do on PostgreSQL's side.
impl ToSql for Timestamp {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let micros = match self.0 {
            i64::MIN | i64::MAX => self.0,
            micros => micros.saturating_sub(EPOCH),
        };
        out.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match i64::from_be_bytes(raw.try_into()?) {
            micros @ (i64::MIN | i64::MAX) => Timestamp(micros),
            micros => Timestamp(micros.saturating_add(EPOCH)),
        })
    }

    accepts!(TIMESTAMPTZ);
}
