//! Whether the instrument sees what is bad: faults that are put in on purpose.

use std::time::Duration;

use crate::{
    common::report::{Report, Table},
    daemons::Kind,
    figures,
    floor::{Fault, LAG},
    load::{Length, Slice},
    rows::Run,
};

const CALLS: usize = 200;
const LENGTH: Length = Length {
    warm: Duration::from_millis(400),
    measured: Duration::from_millis(1_000),
};
/// How long the load stands still in every 20 ms where it is the one at fault.
const STALL: Duration = Duration::from_millis(6);
/// What a figure may be off by, on a host that is busy with other things.
const SLACK_US: f64 = 1_500.0;

/// Runs them all; false when one was not seen, so that nothing can be said of anybody.
pub(crate) fn pass(run: &mut Run<'_>, report: &mut Report) -> bool {
    eprintln!("relay: controls");
    let usual = (run.length, run.rounds);
    run.length = LENGTH;
    let seen = all(run);
    (run.length, run.rounds) = usual;
    let mut table = Table::new(&["control", "put in", "seen", "verdict"]);
    let mut pass = true;
    match seen {
        Ok(controls) => {
            for control in controls {
                pass &= control.ok;
                let verdict = if control.ok { "seen" } else { "NOT SEEN" };
                let row = [control.name, &control.put_in, &control.seen, verdict];
                table.row(row.map(str::to_owned).to_vec());
            }
            report.say(&table.markdown());
        }
        Err(error) => {
            report.say(&format!("The controls could not be run: {error}"));
            pass = false;
        }
    }
    pass
}

struct Control {
    name: &'static str,
    put_in: String,
    seen: String,
    ok: bool,
}

fn all(run: &mut Run<'_>) -> Result<Vec<Control>, String> {
    let honest = run.once(CALLS, &Kind::Floor(None))?;
    let mut floor = |calls, fault| run.once(calls, &Kind::Floor(Some(fault)));
    let drop = floor(CALLS, Fault::Drop)?;
    let delay = floor(CALLS, Fault::Delay)?;
    let spin = floor(CALLS, Fault::Spin)?;
    let fat = [floor(CALLS, Fault::Fat)?, floor(2 * CALLS, Fault::Fat)?];
    let reframed = floor(CALLS, Fault::Reframe)?;
    run.load.stall = Some(STALL);
    let stalled = run.once(CALLS, &Kind::Floor(None));
    run.load.stall = None;
    let stalled = stalled?;

    let loss =
        |slice: &Slice| 100.0 * slice.arrivals.lost as f64 / slice.arrivals.expected.max(1) as f64;
    let p50 = |slice: &Slice| slice.arrivals.relayed.quantile_us(0.5);
    let honest_us = p50(&honest).unwrap_or(f64::INFINITY);
    let cpu_us = |slice: &Slice| slice.cpu.ns as f64 / 1e3 / slice.delivered.max(1) as f64;
    let within = |value: f64, low: f64, high: f64| (low..=high).contains(&value);
    let arrivals = &honest.arrivals;
    let bad = arrivals.lost + arrivals.twice + arrivals.altered + arrivals.strange;
    let delayed_us = p50(&delay).unwrap_or(f64::INFINITY);
    let put_in_us = Fault::DELAY.as_secs_f64() * 1e6;
    let spun_us = cpu_us(&spin) - cpu_us(&honest);
    let program_us = |slice: &Slice| cpu_us(slice) * slice.cpu.user_share();
    let spun_by_program_us = program_us(&spin) - program_us(&honest);
    let spin_us = Fault::SPIN.as_secs_f64() * 1e6;
    let fat_kib = fat[1].resident_kib.saturating_sub(fat[0].resident_kib) as f64 / CALLS as f64;
    let lag_us = LAG as f64 * 125.0;
    let masked = &reframed.arrivals.masked;
    let lagged_us = masked.quantile_us(0.5).unwrap_or(f64::INFINITY);
    let unrecognised = reframed.arrivals.unrecognised + reframed.arrivals.lost;
    let void = figures::void(&stalled);
    Ok(vec![
        Control {
            name: "the floor as it is",
            put_in: "nothing".to_owned(),
            seen: format!("{bad} lost, twice or altered; p50 {honest_us:.0} us"),
            ok: bad == 0 && arrivals.expected > 0 && honest_us < SLACK_US,
        },
        Control {
            name: "drop",
            put_in: format!("{:.1} % lost", 100.0 / Fault::DROP_ONE_OF as f64),
            seen: format!("{:.2} % lost", loss(&drop)),
            ok: within(loss(&drop) * Fault::DROP_ONE_OF as f64, 90.0, 110.0),
        },
        Control {
            name: "delay",
            put_in: format!("{put_in_us:.0} us"),
            seen: format!("p50 {delayed_us:.0} us"),
            ok: within(delayed_us, put_in_us, put_in_us + honest_us + SLACK_US),
        },
        Control {
            name: "CPU",
            put_in: format!("{spin_us:.1} us a packet"),
            seen: format!(
                "{spun_us:.1} us a packet more; in the program {spun_by_program_us:.1} more"
            ),
            ok: within(spun_us / spin_us, 0.7, 1.3)
                && within(spun_by_program_us / spin_us, 0.6, 1.4),
        },
        Control {
            name: "memory",
            put_in: format!("{} KiB a call", Fault::FAT_KIB),
            seen: format!("{fat_kib:.1} KiB a call"),
            ok: within(fat_kib / Fault::FAT_KIB as f64, 0.95, 1.1),
        },
        Control {
            name: "masking's delay",
            put_in: format!("{lag_us:.0} us, packets made anew"),
            seen: format!("p50 {lagged_us:.0} us, {unrecognised} lost or not recognised"),
            ok: within(lagged_us, lag_us, lag_us + honest_us + SLACK_US) && unrecognised == 0,
        },
        Control {
            name: "a load that falls behind",
            put_in: format!("{STALL:?} in every 20 ms"),
            seen: void.clone().unwrap_or_else(|| "nothing".to_owned()),
            ok: void.is_some(),
        },
    ])
}
