use deadpool_postgres::Transaction;
use nexus_common::db::Error;
use nexus_common::domain::Timestamp;

use crate::merge::Harvest;
use crate::rollup::hour_of;

/// One row, whatever the harvest: nothing is looked up and no lock taken that another writer could wait for.
const NOTE: &str = "INSERT INTO rollup_notes (gpu_ids, hours) VALUES ($1, $2)";

/// Notes which hours of which GPUs these samples belong to.
///
/// # Errors
/// As PostgreSQL answers.
pub(crate) async fn note(transaction: &Transaction<'_>, harvest: &Harvest) -> Result<(), Error> {
    let (gpu_ids, hours) = touched(harvest);
    let statement = transaction.prepare_cached(NOTE).await?;
    transaction.execute(&statement, &[&gpu_ids, &hours]).await?;
    Ok(())
}

/// Each GPU and hour once: a harvest is in order of GPU and time.
fn touched(harvest: &Harvest) -> (Vec<i32>, Vec<Timestamp>) {
    let mut touched: Vec<_> = harvest.samples.keys().map(|(gpu_id, at)| (*gpu_id, hour_of(*at))).collect();
    touched.dedup();
    touched.into_iter().unzip()
}
