//! The figures as tables, and the goals.

use crate::{
    common::{
        bars::bars,
        report::{Report, Table},
    },
    figures::Figures,
    live::daemons::Kind,
    load::Step,
    rounds::{Held, Slice},
};

/// Cycles a second on one core.
pub(crate) const GOAL_RATE: f64 = 5_000.0;
/// Of each command at that rate, microseconds.
const P99_US: f64 = 2_000.0;
/// Microseconds of a core that a cycle may take at that rate.
const GOAL_US: f64 = 1e6 / GOAL_RATE;

/// The stretches of all daemons at one pace.
pub(crate) struct Phase {
    title: String,
    figures: Vec<Option<Figures>>,
}

impl Phase {
    pub(crate) fn new(title: String, slices: &[Vec<Slice>]) -> Self {
        let figures = slices.iter().map(|slices| Figures::of(slices)).collect();
        Self { title, figures }
    }
}

/// All of a run; daemons in one order everywhere.
pub(crate) struct Results {
    pub(crate) kinds: Vec<Kind>,
    /// Before the first cycle and after the last.
    pub(crate) held: Vec<(Held, Held)>,
    /// As fast as it goes, usual, at the goal's rate.
    pub(crate) phases: [Phase; 3],
    pub(crate) rate: f64,
}

impl Results {
    fn place(&self, kind: &Kind) -> Option<usize> {
        self.kinds.iter().position(|other| other == kind)
    }

    fn of(&self, phase: usize, kind: &Kind) -> Option<&Figures> {
        self.phases[phase].figures[self.place(kind)?].as_ref()
    }

    /// rtpengine's better setting: the one of more cycles.
    fn rtpengine(&self) -> Option<&Figures> {
        let settings = self.kinds.iter().filter(|kind| kind.is_rtpengine());
        settings
            .filter_map(|kind| self.of(0, kind))
            .max_by(|a, b| a.rate.total_cmp(&b.rate))
    }
}

/// The tables.
pub(crate) fn say(results: &Results, report: &mut Report) {
    for (number, phase) in results.phases.iter().enumerate() {
        report.say(&format!("## {}\n\n{}", phase.title, table(results, number)));
    }
    report.say(&format!("## What is held\n\n{}", held(results)));
}

fn table(results: &Results, number: usize) -> String {
    let mut table = Table::new(&[
        "daemon",
        "cycles/s",
        "us/cycle",
        "program + kernel",
        "x floor",
        "x rtpengine",
        "core",
        "offer p50 / p99 / p99.9 us",
        "answer",
        "delete",
        "refused",
        "unanswered",
        "load: core, late p99 us",
        "others",
    ]);
    let floor = results.of(number, &Kind::SetUpFloor(None));
    for (kind, figures) in results.kinds.iter().zip(&results.phases[number].figures) {
        let mut cells = vec![kind.name().to_owned()];
        match figures {
            None => cells.push("does not keep up".to_owned()),
            Some(figures) => cells.extend(line(figures, floor, results.rtpengine())),
        }
        table.row(cells);
    }
    table.markdown()
}

fn line(figures: &Figures, floor: Option<&Figures>, rtpengine: Option<&Figures>) -> Vec<String> {
    let times = |other: Option<&Figures>| {
        other.map_or_else(
            || "-".to_owned(),
            |other| format!("{:.2}", figures.cpu_us / other.cpu_us),
        )
    };
    let void = figures
        .void
        .as_ref()
        .map_or_else(String::new, |why| format!("**VOID: {why}** "));
    let mut cells = vec![
        format!("{void}{:.0}", figures.rate),
        format!("{:.1}", figures.cpu_us),
        format!(
            "{:.1} + {:.1}",
            figures.user_us,
            figures.cpu_us - figures.user_us
        ),
        times(floor),
        times(rtpengine),
        format!("{:.0} %", 100.0 * figures.core),
    ];
    cells.extend(figures.delays.iter().map(|delay| {
        delay.map_or_else(
            || "-".to_owned(),
            |delay| format!("{:.0} / {:.0} / {:.0}", delay.p50, delay.p99, delay.p999),
        )
    }));
    let refusal = figures.refusal.as_ref();
    cells.extend([
        refusal.map_or_else(
            || "0".to_owned(),
            |refusal| format!("{} ({refusal})", figures.refused),
        ),
        figures.unanswered.to_string(),
        format!(
            "{:.0} %, {:.0}",
            100.0 * figures.load_core,
            figures.load_late_us
        ),
        format!("{:.0} %", 100.0 * figures.foreign),
    ]);
    cells
}

fn held(results: &Results) -> String {
    let mut table = Table::new(&[
        "daemon",
        "descriptors before",
        "after",
        "resident MB before",
        "after",
    ]);
    for (kind, (before, after)) in results.kinds.iter().zip(&results.held) {
        let mb = |held: &Held| format!("{:.1}", held.resident_kib as f64 * 1.024 / 1e3);
        table.row(vec![
            kind.name().to_owned(),
            before.descriptors.to_string(),
            after.descriptors.to_string(),
            mb(before),
            mb(after),
        ]);
    }
    table.markdown()
}

/// The goals; false when the run is void.
pub(crate) fn judge(results: &Results, report: &mut Report) -> bool {
    let mut valid = true;
    for (phase, kind) in
        (0..3).flat_map(|phase| results.kinds.iter().map(move |kind| (phase, kind)))
    {
        let why = results.of(phase, kind).and_then(|one| one.void.as_ref());
        if let Some(why) = why {
            let title = &results.phases[phase].title;
            report.goal(false, format!("VOID: {title}, {}: {why}", kind.name()));
            valid = false;
        }
    }
    let own = Kind::Tonewall;
    let rate = results.rate;
    let fast = results.of(0, &own);
    if let Some(fast) = fast.filter(|fast| fast.void.is_none()) {
        report.goal(
            fast.rate >= rate,
            format!(
                "{:.0} cycles a second on a core, {rate} at least",
                fast.rate
            ),
        );
    }
    match results.of(2, &own) {
        None => report.goal(false, format!("{rate} cycles a second can be offered")),
        Some(figures) if figures.void.is_some() => {}
        Some(figures) => {
            report.goal(
                figures.p99_us() <= P99_US,
                format!(
                    "{rate} cycles a second: p99 of the slowest command {:.0} us, at most {P99_US}",
                    figures.p99_us()
                ),
            );
        }
    }
    for phase in 0..3 {
        if let Some(figures) = results.of(phase, &own) {
            report.goal(
                figures.refused == 0 && figures.unanswered == 0,
                format!(
                    "{}: {} refused, {} unanswered; none allowed",
                    results.phases[phase].title, figures.refused, figures.unanswered
                ),
            );
        }
    }
    if let Some(place) = results.place(&own) {
        let (before, after) = results.held[place];
        report.goal(
            after.descriptors <= before.descriptors,
            format!(
                "{} descriptors after the last delete, {} before the first offer",
                after.descriptors, before.descriptors
            ),
        );
    }
    valid
}

/// What a cycle costs, as bars.
pub(crate) fn picture(results: &Results) -> String {
    let values: Vec<(String, f64)> = results
        .kinds
        .iter()
        .filter_map(|kind| Some((kind.name().to_owned(), results.of(0, kind)?.cpu_us)))
        .collect();
    let commands = Step::ALL.map(Step::name).join(", ");
    bars(
        "What setting a call up costs",
        &format!("microseconds of a core for a cycle of {commands}"),
        &values,
        GOAL_US,
    )
}
