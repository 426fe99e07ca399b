//! What the set is made of.

/// One part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// What it is called in `--only`, in the notes, and the name of its files.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What is printed is shown like this.
    pub(super) shown: Shown,
    /// Measured several times, for a median; the others try things several times themselves, or take long.
    pub(super) several: bool,
    arguments: &'static str,
    /// The same for a small set.
    quickly: &'static str,
}

/// How figures are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// A run of the pipeline.
    Flow,
    /// The live feed.
    Live,
    /// Routes of the API.
    Routes,
    /// Several named durations.
    Durations,
    /// A curve: a table of its steps, and a plot.
    Curve,
    /// Where processor time goes.
    Profile,
    /// Pure parts by themselves.
    Pure,
}

impl Part {
    /// What `nexus bench` is told.
    pub(super) fn arguments(&self, quick: bool) -> Vec<&'static str> {
        if quick { self.quickly } else { self.arguments }.split(' ').collect()
    }
}

const fn part(name: &'static str, title: &'static str, shown: Shown, arguments: [&'static str; 2]) -> Part {
    let several = matches!(shown, Shown::Flow | Shown::Live | Shown::Routes);
    Part { name, title, shown, several, arguments: arguments[0], quickly: arguments[1] }
}

/// In the order of the document.
pub(super) const PARTS: [Part; 25] = [
    part(
        "row",
        "Rows, a message each",
        Shown::Flow,
        ["--mode row --rows 1000000 --gpus 1000", "--mode row --rows 100000 --gpus 1000"],
    ),
    part(
        "scrape",
        "Scrapes, ten rows a message",
        Shown::Flow,
        ["--mode scrape --rows 1000000 --gpus 1000", "--mode scrape --rows 100000 --gpus 1000"],
    ),
    part(
        "live",
        "The live feed to 1,000 clients",
        Shown::Live,
        ["--mode live --clients 1000 --rate 1000 --seconds 20", "--mode live --clients 300 --rate 1000 --seconds 5"],
    ),
    part(
        "live-few",
        "The live feed to 100 clients",
        Shown::Live,
        ["--mode live --clients 100 --rate 1000 --seconds 20", "--mode live --clients 30 --rate 1000 --seconds 5"],
    ),
    part(
        "api",
        "The API to 200 clients at once",
        Shown::Routes,
        [
            "--mode api --clients 200 --gpus 1000 --rows 100000000 --seconds 60 --pause 100ms",
            "--mode api --clients 200 --gpus 1000 --rows 1000000 --seconds 5 --pause 100ms",
        ],
    ),
    part(
        "row-profile",
        "Where time goes: rows, a message each",
        Shown::Profile,
        [
            "--mode row --rows 500000 --gpus 1000 --light-seconds 3 --profile",
            "--mode row --rows 300000 --gpus 1000 --light-seconds 3 --profile",
        ],
    ),
    part(
        "scrape-profile",
        "Where time goes: scrapes",
        Shown::Profile,
        [
            "--mode scrape --rows 3000000 --gpus 1000 --light-seconds 3 --profile",
            "--mode scrape --rows 2000000 --gpus 1000 --light-seconds 3 --profile",
        ],
    ),
    part(
        "live-profile",
        "Where time goes: 1,000 live clients",
        Shown::Profile,
        [
            "--mode live --clients 1000 --rate 1000 --seconds 10 --profile",
            "--mode live --clients 300 --rate 1000 --seconds 8 --profile",
        ],
    ),
    part(
        "api-profile",
        "Where time goes: 200 clients of the API that never pause",
        Shown::Profile,
        [
            "--mode api --clients 200 --gpus 1000 --rows 10000000 --seconds 10 --profile",
            "--mode api --clients 200 --gpus 1000 --rows 1000000 --seconds 8 --profile",
        ],
    ),
    part("start", "Starting", Shown::Durations, ["--mode start --times 5", "--mode start --times 1"]),
    part(
        "recovery",
        "Recovering",
        Shown::Durations,
        ["--mode recovery --times 3 --rate 1000", "--mode recovery --times 1 --rate 1000"],
    ),
    part(
        "rows",
        "More rows",
        Shown::Curve,
        ["--mode grow --by rows --most 10000000 --shape scrape", "--mode grow --by rows --most 100000 --shape scrape"],
    ),
    part(
        "rows-single",
        "More rows, a message each",
        Shown::Curve,
        ["--mode grow --by rows --most 10000000 --shape row", "--mode grow --by rows --most 100000 --shape row"],
    ),
    part(
        "gpus",
        "More GPUs",
        Shown::Curve,
        ["--mode grow --by gpus --most 100000 --rows 1000000", "--mode grow --by gpus --most 1000 --rows 100000"],
    ),
    part(
        "gpus-profile",
        "Where time goes: 100,000 GPUs",
        Shown::Profile,
        [
            "--mode grow --by gpus --most 100000 --rows 1500000 --profile",
            "--mode grow --by gpus --most 10000 --rows 1500000 --profile",
        ],
    ),
    part(
        "collectors",
        "More collectors",
        Shown::Curve,
        [
            "--mode grow --by collectors --most 8 --rows 1000000 --shape row",
            "--mode grow --by collectors --most 2 --rows 100000 --shape row",
        ],
    ),
    part(
        "collectors-profile",
        "Where time goes: eight collectors",
        Shown::Profile,
        [
            "--mode grow --by collectors --most 8 --rows 500000 --shape row --profile",
            "--mode grow --by collectors --most 4 --rows 300000 --shape row --profile",
        ],
    ),
    part(
        "streamers",
        "More streamers of one file",
        Shown::Curve,
        [
            "--mode grow --by streamers --most 4 --rows 2000000 --shape scrape",
            "--mode grow --by streamers --most 2 --rows 100000 --shape scrape",
        ],
    ),
    part(
        "streamers-profile",
        "Where time goes: four streamers of one file",
        Shown::Profile,
        [
            "--mode grow --by streamers --most 4 --rows 2000000 --shape scrape --profile",
            "--mode grow --by streamers --most 2 --rows 2000000 --shape scrape --profile",
        ],
    ),
    part(
        "backlog",
        "A longer queue",
        Shown::Curve,
        ["--mode grow --by backlog --most 1000000 --shape row", "--mode grow --by backlog --most 10000 --shape row"],
    ),
    part(
        "backlog-profile",
        "Where time goes: a million queued rows are drained",
        Shown::Profile,
        [
            "--mode grow --by backlog --most 1000000 --shape row --profile",
            "--mode grow --by backlog --most 700000 --shape row --profile",
        ],
    ),
    part(
        "history",
        "A longer history",
        Shown::Curve,
        [
            "--mode grow --by history --most 365 --rows 30000000 --gpus 24 --seconds 15",
            "--mode grow --by history --most 90 --rows 1000000 --gpus 24 --seconds 2",
        ],
    ),
    part(
        "history-dense",
        "A longer history, a reading every ten seconds",
        Shown::Curve,
        [
            "--mode grow --by history --most 30 --rows 725000000 --gpus 24 --seconds 15",
            "--mode grow --by history --most 7 --rows 220000000 --gpus 8 --seconds 2",
        ],
    ),
    part(
        "history-profile",
        "Where time goes: questions over a month",
        Shown::Profile,
        [
            "--mode grow --by history --most 30 --rows 725000000 --gpus 24 --seconds 10 --profile",
            "--mode grow --by history --most 7 --rows 220000000 --gpus 8 --seconds 8 --profile",
        ],
    ),
    part("parts", "Pure parts by themselves", Shown::Pure, ["--mode parts", "--mode parts"]),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::bench::Options;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        _options: Options,
    }

    #[test]
    fn every_part_is_something_that_can_be_typed() {
        for part in PARTS {
            for quick in [false, true] {
                let line = [vec!["bench"], part.arguments(quick), vec!["--json"]].concat();
                assert!(Line::try_parse_from(&line).is_ok(), "{line:?}");
            }
        }
    }
}
