//! Whether the instrument sees what is bad: faults that are put in on purpose.

use std::time::Duration;

use crate::{
    common::report::{Report, Table},
    figures,
    live::{daemons::Kind, process::Cores, set_up_floor::Fault},
    load::Pace,
    rounds::{Contestant, Held, Slice},
};

const CYCLES: f64 = 500.0;
const GAP: Duration = Duration::from_millis(5);
const TIMES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(1_000));
/// So many that replies come close together.
const CLOSE: f64 = 5_000.0;
/// More than one core's worth of load.
const TOO_MANY: f64 = 200_000.0;
/// What a figure may be off by, on a host that is busy with other things.
const SLACK_US: f64 = 1_500.0;

/// Runs them all; false when one was not seen, so that nothing can be said of anybody.
pub(crate) fn pass(cores: Cores, seed: u64, report: &mut Report) -> bool {
    eprintln!("setup: controls");
    let mut table = Table::new(&["control", "put in", "seen", "verdict"]);
    let mut pass = true;
    match all(cores, seed) {
        Ok(controls) => {
            for (name, put_in, seen, ok) in controls {
                pass &= ok;
                let verdict = if ok { "seen" } else { "NOT SEEN" };
                table.row(vec![name.to_owned(), put_in, seen, verdict.to_owned()]);
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

type Control = (&'static str, String, String, bool);

fn all(cores: Cores, seed: u64) -> Result<Vec<Control>, String> {
    let start = |fault: Option<Fault>| Contestant::start(&Kind::SetUpFloor(fault), cores, 10);
    let play_on = |mut one: Contestant, rate: f64| {
        let slice = one.play(Pace::Open(rate, GAP), TIMES, cores, seed);
        let slice = slice.map_err(|error| error.to_string())?;
        Ok::<_, String>((slice, one.before, one.held()))
    };
    let play = |fault: Option<Fault>, rate: f64| play_on(start(fault)?, rate);
    let honest = play(None, CYCLES)?;
    let slow = play(Some(Fault::Slow), CYCLES)?;
    let deaf = play(Some(Fault::Deaf), CYCLES)?;
    let leak = play(Some(Fault::Leak), CYCLES)?;
    let spin = play(Some(Fault::Spin), CYCLES)?;
    let crowded = play(None, TOO_MANY)?;
    let narrow = start(None)?;
    narrow.lose_replies().map_err(|error| error.to_string())?;
    let narrow = play_on(narrow, CLOSE)?;

    let p50 = |(slice, ..): &(Slice, Held, Held)| {
        let offers = slice.replies.times[0].quantile_us(0.5);
        offers.unwrap_or(f64::INFINITY)
    };
    let bad = |(slice, ..): &(Slice, Held, Held)| slice.replies.refused + slice.replies.unanswered;
    let more = |(_, before, after): &(Slice, Held, Held)| {
        after.descriptors.saturating_sub(before.descriptors)
    };
    let cpu_us = |one: &(Slice, Held, Held)| figures::cpu_us(&one.0);
    let slow_us = Fault::SLOW.as_secs_f64() * 1e6;
    // Three commands a cycle.
    let spin_us = 3.0 * Fault::SPIN.as_secs_f64() * 1e6;
    let spun_us = cpu_us(&spin) - cpu_us(&honest);
    let late = figures::void(&crowded.0);
    let lost = narrow.0.own_drops;
    let heard = narrow.0.replies.cycles;
    Ok(vec![
        (
            "the floor as it is",
            "nothing".to_owned(),
            format!(
                "{} refused or unanswered, {} descriptors left, p50 {:.0} us",
                bad(&honest),
                more(&honest),
                p50(&honest)
            ),
            bad(&honest) == 0 && more(&honest) == 0 && p50(&honest) < SLACK_US,
        ),
        (
            "slow replies",
            format!("{slow_us:.0} us"),
            format!("p50 {:.0} us", p50(&slow)),
            p50(&slow) >= slow_us,
        ),
        (
            "no reply to one delete of a hundred",
            "1 %".to_owned(),
            format!("{} unanswered", bad(&deaf)),
            bad(&deaf) > 0,
        ),
        (
            "sockets that are not closed",
            "one call of a hundred".to_owned(),
            format!("{} descriptors left", more(&leak)),
            more(&leak) > 0,
        ),
        (
            "CPU",
            format!("{spin_us:.0} us a cycle"),
            format!("{spun_us:.0} us a cycle more"),
            (0.7..=1.3).contains(&(spun_us / spin_us)),
        ),
        (
            "a load that falls behind",
            format!("{TOO_MANY} cycles a second"),
            late.clone().unwrap_or_else(|| "nothing".to_owned()),
            late.is_some(),
        ),
        (
            "a load that loses replies, and hears the others",
            format!("room for a reply or two, {CLOSE} cycles a second"),
            format!("{lost} lost, {heard} cycles whole"),
            lost > 0 && heard > 100 && figures::void(&narrow.0).is_some(),
        ),
    ])
}
