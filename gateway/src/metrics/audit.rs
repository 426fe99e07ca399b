//! The books as metrics: what became of the rows that were read, all lanes together.

use std::fmt;

use nexus_common::domain::Timestamp;
use nexus_common::observe::Scrape;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::audit::{Known, Seen};

/// What is known of the books at a scrape. What is known no more is left out: no figure is better than a wrong one.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) known: Known,
    pub(super) now: Timestamp,
}

impl Collector for Books {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut scrape = Scrape::new(&mut encoder);
        scrape.gauge(
            "nexus_audit_success",
            "1 where the last look into the books succeeded; 0 where etcd or PostgreSQL did not let it, and before the first.",
            i64::from(self.known.last.is_some_and(|(succeeded, _)| succeeded)),
        )?;
        scrape.gauge(
            "nexus_audit_interval_seconds",
            "AUDIT_INTERVAL: how often the books are looked into, while somebody scrapes and a look does not take long.",
            self.known.interval.as_secs_f64(),
        )?;
        if let Some((_, took)) = self.known.last {
            scrape.gauge(
                "nexus_audit_duration_seconds",
                "How long the last look into the books took.",
                took.as_secs_f64(),
            )?;
        }
        if let Some(found) = &self.known.found {
            scrape.gauge(
                "nexus_audit_timestamp_seconds",
                "When the last look that succeeded began, in seconds since 1970: the other figures of the books are of then.",
                found.at.0 as f64 / 1e6,
            )?;
        }
        let Some(Seen { audit, .. }) = self.known.standing(self.now) else { return Ok(()) };
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
    use std::sync::Arc;
    use std::time::Duration;

    use nexus_common::books::{Audit, Figures};
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::registry::Registry;

    use super::*;

    const THEN: Timestamp = Timestamp(1_750_000_000_500_000);

    /// After a last look that succeeded or not, so many seconds after one that found this.
    fn text(succeeded: bool, audit: Option<Audit>, seconds: i64) -> String {
        let took = Duration::from_millis(1_500);
        let found = audit.map(|audit| Seen { at: THEN, took, audit: Arc::new(audit) });
        let known = Known { interval: Duration::from_secs(60), last: Some((succeeded, took)), found };
        let mut registry = Registry::default();
        let cluster = ("cluster".into(), "a \"b\"\\c".into());
        let books = Books { known, now: THEN.shifted(seconds * 1_000_000) };
        registry.sub_registry_with_label(cluster).register_collector(Box::new(books));
        let mut text = String::new();
        encode_registry(&mut text, &registry).unwrap();
        text
    }

    fn names(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(&line[..line.find('{')?])).collect()
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
        let text = text(true, Some(audit), 30);
        for line in [
            "# TYPE nexus_audit_rows gauge",
            r#"nexus_audit_success{cluster="a \"b\"\\c"} 1"#,
            r#"nexus_audit_interval_seconds{cluster="a \"b\"\\c"} 60.0"#,
            r#"nexus_audit_duration_seconds{cluster="a \"b\"\\c"} 1.5"#,
            r#"nexus_audit_timestamp_seconds{cluster="a \"b\"\\c"} 1750000000.5"#,
            r#"nexus_audit_rows{cluster="a \"b\"\\c",state="in_flight"} 4"#,
            r#"nexus_audit_residue_rows{cluster="a \"b\"\\c"} -6"#,
            r#"nexus_audit_unreadable_keys{cluster="a \"b\"\\c"} 1"#,
            r#"nexus_audit_balanced{cluster="a \"b\"\\c"} 0"#,
        ] {
            assert!(text.lines().any(|given| given == line), "{line}: {text}");
        }
    }

    #[test]
    fn what_was_found_stays_beside_a_look_that_failed_until_it_is_old() {
        let success = "nexus_audit_success{cluster=\"a \\\"b\\\"\\\\c\"} 0";
        let recent = text(false, Some(Audit::default()), 600);
        assert!(recent.contains(success) && names(&recent).contains(&"nexus_audit_residue_rows"), "{recent}");
        let old = text(false, Some(Audit::default()), 3_600);
        let all = ["success", "interval_seconds", "duration_seconds", "timestamp_seconds"];
        assert_eq!(names(&old), all.map(|name| format!("nexus_audit_{name}")), "its age is told on");
        let never = text(false, None, 0);
        assert!(never.contains(success), "{never}");
        assert_eq!(names(&never), all[..3].iter().map(|name| format!("nexus_audit_{name}")).collect::<Vec<_>>());
    }
}
