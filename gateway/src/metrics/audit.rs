//! The books as metrics: what became of the rows that were read, all lanes together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nexus_common::books::Audit;
use nexus_common::observe::Scrape;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::time::{Instant, timeout};

use crate::audit::Auditor;

/// One look into the books. Without figures it says that it failed, and nothing else: no figure is better than a wrong one.
#[derive(Debug)]
pub(super) struct Books {
    found: Option<Arc<Audit>>,
    took: Duration,
}

impl Books {
    /// Looks, or gives up after `patience`.
    pub(super) async fn look(auditor: &Auditor, patience: Duration) -> Self {
        let asked = Instant::now();
        let found = match timeout(patience, auditor.look()).await {
            Ok(Ok(audit)) => Some(audit),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a scrape goes without the books");
                None
            }
            Err(_) => {
                tracing::warn!("a scrape goes without the books: they were not read in {patience:?}");
                None
            }
        };
        Books { found, took: asked.elapsed() }
    }
}

impl Collector for Books {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut scrape = Scrape::new(&mut encoder);
        scrape.gauge(
            "nexus_audit_success",
            "1 where etcd and PostgreSQL let this scrape look into the books; 0 where not, then no figures are given.",
            i64::from(self.found.is_some()),
        )?;
        scrape.gauge(
            "nexus_audit_duration_seconds",
            "How long this scrape waited for the books.",
            self.took.as_secs_f64(),
        )?;
        let Some(audit) = &self.found else { return Ok(()) };
        let total = &audit.total;
        scrape.gauges(
            "nexus_audit_rows",
            "Rows that were read, and what became of them: read = stored + dead + queued + in_flight + expired + residue.",
            "state",
            [
                ("read", total.read),
                ("stored", total.stored),
                ("dead", total.dead),
                ("queued", total.queued),
                ("in_flight", total.in_flight),
                ("expired", total.expired),
            ],
        )?;
        scrape.gauge(
            "nexus_audit_residue_rows",
            "Rows nobody can account for, all lanes together; below zero where more became of them than were read.",
            total.residue,
        )?;
        scrape.gauge(
            "nexus_audit_read_again_rows",
            "Of the rows read: those read more than once, because etcd had gone back in time.",
            total.read_again,
        )?;
        scrape.gauge(
            "nexus_dead_letters_open",
            "Dead letters, in rows, that were neither sent through the queue again nor given up.",
            total.dead.saturating_sub(total.redriven).saturating_sub(total.purged),
        )?;
        scrape.gauge("nexus_audit_lanes", "Lanes in the books.", audit.lanes.len())?;
        let unbalanced = audit.lanes.iter().filter(|lane| !lane.known || lane.figures.residue != 0).count();
        scrape.gauge("nexus_audit_unbalanced_lanes", "Lanes with a residue, or whose cursor is lost.", unbalanced)?;
        scrape.gauge(
            "nexus_audit_unreadable_keys",
            "Keys in etcd that this version cannot read: what they hold is not accounted for.",
            audit.unreadable.len(),
        )?;
        scrape.gauge(
            "nexus_audit_balanced",
            "1 where every row is accounted for: no residue, no lane whose cursor is lost, no key unreadable.",
            i64::from(audit.balanced),
        )
    }
}

#[cfg(test)]
mod tests {
    use nexus_common::books::Figures;
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::registry::Registry;

    use super::*;

    fn text(books: Books) -> String {
        let mut registry = Registry::default();
        let cluster = ("cluster".into(), "a \"b\"\\c".into());
        registry.sub_registry_with_label(cluster).register_collector(Box::new(books));
        let mut text = String::new();
        encode_registry(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn figures_are_under_their_cluster_and_state() {
        let total = Figures {
            read: 9,
            stored: 1,
            dead: 2,
            queued: 3,
            in_flight: 4,
            expired: 5,
            residue: -6,
            ..Figures::default()
        };
        let audit = Audit { total, unreadable: vec!["/key".to_owned()], ..Audit::default() };
        let text = text(Books { found: Some(Arc::new(audit)), took: Duration::from_millis(1_500) });
        for line in [
            "# TYPE nexus_audit_rows gauge",
            r#"nexus_audit_success{cluster="a \"b\"\\c"} 1"#,
            r#"nexus_audit_duration_seconds{cluster="a \"b\"\\c"} 1.5"#,
            r#"nexus_audit_rows{cluster="a \"b\"\\c",state="in_flight"} 4"#,
            r#"nexus_audit_residue_rows{cluster="a \"b\"\\c"} -6"#,
            r#"nexus_audit_unreadable_keys{cluster="a \"b\"\\c"} 1"#,
            r#"nexus_audit_balanced{cluster="a \"b\"\\c"} 0"#,
        ] {
            assert!(text.lines().any(|given| given == line), "{line}: {text}");
        }
    }

    #[test]
    fn a_look_that_failed_has_no_figures() {
        let text = text(Books { found: None, took: Duration::ZERO });
        let names: Vec<_> =
            text.lines().filter(|line| !line.starts_with('#')).map(|line| &line[..line.find('{').unwrap()]).collect();
        assert_eq!(names, ["nexus_audit_success", "nexus_audit_duration_seconds"]);
        assert!(text.contains("nexus_audit_success{cluster=\"a \\\"b\\\"\\\\c\"} 0"), "{text}");
    }
}
