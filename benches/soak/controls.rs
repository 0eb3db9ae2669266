//! Whether the soak sees what creeps: faults that are put in on purpose.

use std::time::Duration;

use crate::{
    common::report::{Report, Table},
    judge,
    live::{daemons::Kind, floor::Fault, load::Length},
    long::Long,
};

const CALLS: usize = 100;
const TIME: Duration = Duration::from_secs(8);
const LENGTH: Length = Length {
    warm: Duration::from_millis(200),
    measured: Duration::from_millis(800),
};

/// Runs them all; false when one was not seen, or something was seen where there was nothing.
pub(crate) fn pass(long: &mut Long<'_>, report: &mut Report) -> bool {
    eprintln!("soak: controls");
    let mut table = Table::new(&["control", "has to be seen in", "seen", "verdict"]);
    let mut pass = true;
    for (fault, words) in [
        (None, ""),
        (Some(Fault::Hoard), "resident"),
        (Some(Fault::Leak), "descriptors"),
        (Some(Fault::Drop), "lost"),
        (Some(Fault::Creep), "p99.9"),
    ] {
        let name = fault.map_or("nothing", Fault::name);
        let seen: Vec<String> = match long.soak(&Kind::Floor(fault), CALLS, TIME, LENGTH) {
            Ok(samples) => judge::verdicts(&samples)
                .into_iter()
                .filter_map(|(ok, what)| (!ok).then_some(what))
                .collect(),
            Err(error) => vec![error],
        };
        let ok = match fault {
            None => seen.is_empty(),
            Some(_) => seen
                .iter()
                .any(|what| what.contains(words) && !what.contains("VOID")),
        };
        pass &= ok;
        let verdict = match (fault, ok) {
            (None, true) => "nothing seen",
            (None, false) => "SEEN",
            (Some(_), true) => "seen",
            (Some(_), false) => "NOT SEEN",
        };
        let row = [name, words, &seen.join("; "), verdict];
        table.row(row.map(str::to_owned).to_vec());
    }
    report.say(&table.markdown());
    pass
}
