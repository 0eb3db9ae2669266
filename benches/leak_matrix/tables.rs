//! The matrix as text: coloured on the terminal, as Markdown in the report, and its goals.

use std::io::IsTerminal;

use crate::{
    Outcome,
    common::report::{Report, Table},
    daemons::Kind,
    judges::{Told, most_of_chance},
    rows::{Happening, Network, Row},
};

/// Share of the digits that each listener has to get of a call that is not blocked.
const LEAST_UNMASKED: f64 = 0.95;
/// Share of the voice that an armed call on a good line has to leave.
const LEAST_VOICE: f64 = 0.3;

/// A row's result in a few words.
pub(crate) fn word(row: &Row, outcome: &Outcome) -> &'static str {
    match (row.block, outcome) {
        (_, outcome) if outcome.crashed => "CRASHED",
        (None, _) => "control",
        (Some(_), outcome) if outcome.heard.leaks() => "LEAKS",
        (Some(_), outcome) if outcome.refused.is_some() => "refused",
        (Some(_), _) => "nothing",
    }
}

/// Tells a row that is done.
pub(crate) fn progress(row: &Row, outcome: &Outcome) {
    let colour = match (row.block, outcome.is_red()) {
        (None, _) => "36",
        (Some(_), true) => "31",
        (Some(_), false) => "32",
    };
    let word = word(row, outcome);
    let word = if std::io::stdout().is_terminal() {
        format!("\x1b[1;{colour}m{word:<8}\x1b[0m")
    } else {
        format!("{word:<8}")
    };
    println!(
        "{word} {:<10} {}: {} ({} of {} digits)",
        outcome.kind.name(),
        row.group,
        row.name,
        outcome.heard.most(),
        outcome.heard.digits
    );
}

fn told(told: Option<Told>, digits: usize) -> String {
    match told {
        None => "-".to_owned(),
        Some(Told { of: 0, .. }) => ".".to_owned(),
        Some(told) => format!("{:.0} %", 100.0 * told.right as f64 / digits as f64),
    }
}

/// The table of every row.
pub(crate) fn say(rows: &[Row], outcomes: &[Outcome], report: &mut Report) {
    let mut group = "";
    let mut table = None;
    let mut text = String::new();
    let mut close = |table: &mut Option<(&str, Table)>| {
        if let Some((group, table)) = table.take() {
            text += &format!("### {group}\n\n{}\n", table.markdown());
        }
    };
    for (number, row) in rows.iter().enumerate() {
        if row.group != group {
            close(&mut table);
            group = row.group;
            let head = Table::new(&[
                "row",
                "daemon",
                "",
                "ideal",
                "fit",
                "events",
                "spandsp",
                "multimon-ng",
                "masked ms a digit",
                "delay ms",
                "voice",
                "notes",
            ]);
            table = Some((group, head));
        }
        for outcome in outcomes.iter().filter(|outcome| outcome.row == number) {
            let mut line = vec![
                row.name.clone(),
                outcome.kind.name().to_owned(),
                word(row, outcome).to_owned(),
            ];
            let all = outcome.heard.all().into_iter();
            line.extend(all.map(|listener| told(listener, outcome.heard.digits)));
            line.push(format!("{:.0}", outcome.masked_ms));
            let delay = outcome.delay_ms.map(|ms| format!("{ms:.1}"));
            line.push(delay.unwrap_or_else(|| "-".to_owned()));
            line.push(format!("{:.0} %", 100.0 * outcome.voice));
            line.push(notes(outcome));
            if let Some((_, table)) = &mut table {
                table.row(line);
            }
        }
    }
    close(&mut table);
    let digits = outcomes.first().map_or(0, |outcome| outcome.heard.digits);
    report.say(&format!(
        "Percent: digits that a listener got. A point: he heard nothing at all. `LEAKS`: of the digits of \
         which a listener heard something, he got more than chance (one in ten) exceeds once in a thousand \
         times: more than {} of 4, more than {} of {digits}.",
        most_of_chance(4),
        most_of_chance(digits)
    ));
    report.say(&text);
}

fn notes(outcome: &Outcome) -> String {
    let mut notes = Vec::new();
    notes.extend(outcome.refused.clone());
    if outcome.packets == 0 {
        notes.push("no packet came".to_owned());
    }
    if outcome.unended_events > 0 {
        notes.push(format!("{} events not ended", outcome.unended_events));
    }
    notes.join("; ")
}

/// What has to hold.
pub(crate) fn judge(rows: &[Row], outcomes: &[Outcome], report: &mut Report) {
    controls(rows, outcomes, report);
    let of = |kind: Kind| {
        outcomes
            .iter()
            .filter(move |outcome| outcome.kind == kind && rows[outcome.row].block.is_some())
    };
    let names = |red: &[&Outcome]| {
        let names = red
            .iter()
            .map(|outcome| format!("{}: {}", rows[outcome.row].group, rows[outcome.row].name));
        names.collect::<Vec<_>>().join("; ")
    };
    let all = of(Kind::Tonewall).count();
    let red: Vec<_> = of(Kind::Tonewall).filter(|o| o.is_red()).collect();
    let what = if red.is_empty() {
        format!("tonewall: nothing leaks on any of {all} rows")
    } else {
        format!("tonewall leaks on {} rows ({})", red.len(), names(&red))
    };
    report.goal(red.is_empty(), what);

    // Only the ideal listener guesses from what may be nothing; the others have to be told.
    let sure: Vec<_> = of(Kind::Tonewall)
        .filter(|outcome| {
            let [_, sure @ ..] = outcome.heard.all();
            sure.iter().flatten().any(|told| told.of > 0)
        })
        .collect();
    let what = if sure.is_empty() {
        "tonewall: on no row an event, a fit, or a digit for spandsp or multimon-ng".to_owned()
    } else {
        format!("tonewall: something is told on {}", names(&sure))
    };
    report.goal(sure.is_empty(), what);
    let ideal = of(Kind::Tonewall).filter_map(|outcome| outcome.heard.ideal);
    let (of_all, right) = ideal.fold((0, 0), |(of, right), told| {
        (of + told.of, right + told.right)
    });
    let most = most_of_chance(of_all);
    report.goal(
        right <= most,
        format!(
            "tonewall, all rows: the ideal listener heard something of {of_all} digits and got {right} \
             of them; by chance up to {most}"
        ),
    );

    let mute: Vec<_> = of(Kind::Tonewall)
        .filter(|outcome| has_to_speak(&rows[outcome.row]))
        .filter(|outcome| outcome.voice < LEAST_VOICE)
        .collect();
    let what = if mute.is_empty() {
        format!("tonewall: on good lines more than {LEAST_VOICE} of the voice comes through")
    } else {
        format!(
            "tonewall: the voice does not come through on {}",
            names(&mute)
        )
    };
    report.goal(mute.is_empty(), what);

    if of(Kind::Rtpengine).count() > 0 {
        let red = of(Kind::Rtpengine).filter(|outcome| outcome.is_red());
        report.say(&format!(
            "rtpengine is red on {} of {} rows.",
            red.count(),
            of(Kind::Rtpengine).count()
        ));
    }
}

/// Whether silence would be no answer: what is sent is what was agreed, and comes in order.
fn has_to_speak(row: &Row) -> bool {
    let Network {
        loss,
        swap,
        duplicate: _,
        clump_ms: _,
        jitter_ms: _,
        reorder_ms,
    } = row.network;
    row.law == row.session.law
        && loss == 0.0
        && swap == 0.0
        && reorder_ms == 0
        && row.happening != Happening::Restart
}

/// Deaf listeners prove nothing.
fn controls(rows: &[Row], outcomes: &[Outcome], report: &mut Report) {
    let controls = outcomes.iter().filter(|o| rows[o.row].block.is_none());
    let mut deaf = Vec::new();
    for outcome in controls {
        let row = &rows[outcome.row];
        let [ideal, fit, events, spandsp, multimon] = outcome.heard.all();
        let audible = ideal.is_some();
        let in_events = !matches!(row.keys, crate::rows::Keys::Tones);
        for (name, told, wanted) in [
            ("ideal", ideal, audible),
            ("fit", Some(fit.unwrap_or_default()), audible),
            ("events", events, in_events),
            ("spandsp", spandsp, audible),
            ("multimon-ng", multimon, audible),
        ] {
            let least = LEAST_UNMASKED * outcome.heard.digits as f64;
            if wanted && told.is_some_and(|told| (told.right as f64) < least) {
                deaf.push(format!("{name}, {} ({})", row.name, outcome.kind.name()));
            }
        }
    }
    let what = if deaf.is_empty() {
        "of calls that are not blocked every listener gets 95 % of the digits".to_owned()
    } else {
        format!(
            "VOID: these do not hear calls that are not blocked: {}",
            deaf.join("; ")
        )
    };
    report.goal(deaf.is_empty(), what);
}
