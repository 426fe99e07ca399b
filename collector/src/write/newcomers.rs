//! GPUs that nobody has heard of, registered many at once: a fleet that appears costs two statements, not five for each of
//! its GPUs.

use std::collections::HashMap;

use deadpool_postgres::Client;
use nexus_common::domain::{Described, Timestamp};
use tokio_postgres::types::Json;

use super::sql;

/// A GPU, and when this was said of it.
pub(super) type Newcomer<'a> = (&'a Described, Timestamp);

/// Registers those that are new in every respect; returns their ids, by place. Whoever is left out (the place or the UUID
/// is known, or taken by another newcomer) needs a closer look.
///
/// # Errors
/// As PostgreSQL answers; nothing of it is needed by the closer look.
pub(super) async fn register<'a>(
    client: &Client,
    cluster_id: i32,
    newcomers: &[Newcomer<'a>],
    keeps_details: bool,
) -> Result<HashMap<Place<'a>, i32>, tokio_postgres::Error> {
    let newcomers = apart(newcomers);
    let mut hosts: Vec<&str> = newcomers.iter().map(|(described, _)| described.gpu.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    client.execute(&client.prepare_cached(sql::INSERT_HOSTS).await?, &[&cluster_id, &hosts]).await?;

    let text = |of: &dyn Fn(&'a Described) -> Option<&'a str>| -> Vec<Option<&'a str>> {
        newcomers.iter().map(|(described, _)| of(described)).collect()
    };
    let detail =
        |of: &dyn Fn(&'a Described) -> Option<&'a str>| text(&|described| of(described).filter(|_| keeps_details));
    let no_labels = Default::default();
    let labels: Vec<_> = newcomers
        .iter()
        .map(|(described, _)| Json(if keeps_details { &described.labels } else { &no_labels }))
        .collect();
    let seen: Vec<_> = newcomers.iter().map(|(_, at)| keeps_details.then_some(at.0 as f64)).collect();
    let rows = client
        .query(
            &client.prepare_cached(sql::INSERT_GPUS).await?,
            &[
                &cluster_id,
                &text(&|described| Some(&described.gpu.host)),
                &text(&|described| Some(&described.gpu.gpu)),
                &text(&|described| described.gpu.uuid.as_deref()),
                &text(&|described| described.gpu.mig.as_deref()),
                &detail(&|described| described.model.as_deref()),
                &detail(&|described| described.device.as_deref()),
                &labels,
                &seen,
            ],
        )
        .await?;
    let ids: HashMap<(&str, &str), i32> = rows.iter().map(|row| ((row.get(1), row.get(2)), row.get(0))).collect();
    let registered = newcomers.iter().map(|(described, _)| place(described));
    Ok(registered.filter_map(|place| Some((place, *ids.get(&place)?))).collect())
}

/// Host and index.
pub(super) type Place<'a> = (&'a str, &'a str);

pub(super) fn place(described: &Described) -> Place<'_> {
    (&described.gpu.host, &described.gpu.gpu)
}

/// Those that have their place and their UUID for themselves (pure).
fn apart<'a>(newcomers: &[Newcomer<'a>]) -> Vec<Newcomer<'a>> {
    let identity = |described: &'a Described| (described.gpu.uuid.as_deref(), described.gpu.mig.as_deref());
    let (mut places, mut identities) = (HashMap::new(), HashMap::new());
    for (described, _) in newcomers {
        *places.entry(place(described)).or_insert(0) += 1;
        *identities.entry(identity(described)).or_insert(0) += 1;
    }
    let is_apart = |(described, _): &&Newcomer<'a>| {
        let has_uuid = described.gpu.uuid.is_some();
        places[&place(described)] == 1 && (!has_uuid || identities[&identity(described)] == 1)
    };
    newcomers.iter().filter(is_apart).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use nexus_common::domain::GpuIdentity;

    #[test]
    fn who_shares_a_place_or_a_uuid_is_looked_at_closely() {
        let gpu = |host: &str, index: &str, uuid: Option<&str>| -> Described {
            GpuIdentity { host: host.into(), gpu: index.into(), uuid: uuid.map(str::to_owned), mig: None }.into()
        };
        let all = [
            gpu("h", "0", None),
            gpu("h", "1", Some("a")),
            gpu("h", "2", Some("b")),
            gpu("g", "2", Some("b")),
            gpu("g", "0", None),
            gpu("g", "0", Some("c")),
        ];
        let newcomers: Vec<_> = all.iter().map(|described| (described, Timestamp(1))).collect();
        let places: HashSet<_> = apart(&newcomers).into_iter().map(|(described, _)| place(described)).collect();
        assert_eq!(places, HashSet::from([("h", "0"), ("h", "1")]));
    }
}
