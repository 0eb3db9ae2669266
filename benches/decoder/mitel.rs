//! Side 1 of Mitel's test tape CM7291, rebuilt from its description: what its parts play, at 50 ms on
//! and 50 ms off, and how they are counted. (Part 1 is the calibration; side 2 is speech, for which
//! there is a bench of its own.)

use tonewall::proto::codec::Law;

use crate::{
    common::{
        signal::{MS, through},
        tones::{Dice, KEYS, Tone, add_white},
    },
    report::{Goal, Report},
    trials::{Bench, Clip, Receivers, Right, told},
};

/// Presses of each step.
const PULSES: usize = 10;

/// Pulses of `tone`, each `on` samples and 50 ms apart, over faint noise.
fn pulses(tone: Tone, count: usize, on: usize, noise_dbm0: f64, dice: &mut Dice) -> Clip {
    let mut samples = vec![0.0; count * (on + 50 * MS) + 100 * MS];
    add_white(&mut samples, noise_dbm0, dice);
    for pulse in 0..count {
        let from = 50 * MS + pulse * (on + 50 * MS);
        tone.add(&mut samples[from..from + on], dice);
    }
    through(Law::Mu, &samples).into()
}

/// How far each receiver follows: the last step of those in a row at which it heard every pulse.
fn reach(
    receivers: &mut Receivers,
    steps: usize,
    dice: &mut Dice,
    tone: &dyn Fn(usize) -> Tone,
) -> [Option<usize>; 2] {
    let mut reached: [Option<usize>; 2] = [Some(0), Some(0)];
    let mut lost = [false; 2];
    for step in 1..=steps {
        let tone = tone(step);
        let expected = told(tone.name()).to_string().repeat(PULSES);
        let heard = receivers.hear(&pulses(tone, PULSES, 50 * MS, -60.0, dice));
        for ((reached, lost), heard) in reached.iter_mut().zip(&mut lost).zip(heard) {
            *lost |= heard.as_deref().is_some_and(|heard| heard != expected);
            *reached = heard
                .and(*reached)
                .map(|last| if *lost { last } else { step });
        }
        if lost == [true; 2] {
            break;
        }
    }
    reached
}

/// Runs all of it.
pub(crate) fn run(bench: &Bench, report: &mut Report) {
    report.section("Mitel CM7291, side 1");
    let mut dice = Dice::new(bench.seed ^ 0xC0_7291);
    let mut receivers = Receivers::new(bench.program.as_deref());
    decode(bench, report);
    bandwidth(&mut receivers, &mut dice, report);
    twist(&mut receivers, &mut dice, report);
    dynamic_range(&mut receivers, &mut dice, report);
    guard_time(&mut receivers, &mut dice, report);
    noise(bench, report);
}

fn decode(bench: &Bench, report: &mut Report) {
    let right = bench.right("decode", 160, &|dice| {
        let mut samples = vec![0.0; 16 * 100 * MS + 50 * MS];
        add_white(&mut samples, -60.0, dice);
        for key in 0..KEYS.len() {
            let from = (50 + 100 * key) * MS;
            Tone::plain(key).add(&mut samples[from..from + 50 * MS], dice);
        }
        let keys = KEYS.iter().copied().map(char::from).collect();
        (through(Law::Mu, &samples).into(), keys)
    });
    report.row("2: all 16 keys, 10 times", Goal::AtLeast(1.0), right);
}

fn bandwidth(receivers: &mut Receivers, dice: &mut Dice, report: &mut Report) {
    for (band, low) in [("low", true), ("high", false)] {
        for key in [0, 5, 10, 15] {
            let mut side = |sign: f64| {
                reach(receivers, 60, dice, &|step| {
                    let share = sign * step as f64 / 1000.0;
                    Tone::plain(key).off(
                        if low { share } else { 0.0 },
                        if low { 0.0 } else { share },
                        0.0,
                    )
                })
            };
            let (below, above) = (side(-1.0), side(1.0));
            let show = |which: usize| {
                let (below, above) = (below[which]?, above[which]?);
                Some(format!(
                    "-{:.1} / +{:.1} %",
                    below as f64 / 10.0,
                    above as f64 / 10.0
                ))
            };
            let inside = |steps: Option<usize>| steps.is_some_and(|s| (18..35).contains(&s));
            report.value(
                &format!(
                    "3: {} tone of {}, every pulse heard",
                    band,
                    char::from(KEYS[key])
                ),
                "1.8 % and not 3.5 %",
                Some(inside(below[0]) && inside(above[0])),
                [show(0), show(1)],
            );
        }
    }
}

fn twist(receivers: &mut Receivers, dice: &mut Dice, report: &mut Report) {
    for (name, sign, goal) in [
        ("4: column below row", -1.0, 80),
        ("4: column above row", 1.0, 40),
    ] {
        let mut least: [Option<usize>; 2] = [None; 2];
        for key in [0, 5, 10, 15] {
            let reached = reach(receivers, 200, dice, &|step| Tone {
                twist_db: sign * step as f64 / 10.0,
                dbm0: -6.0,
                ..Tone::plain(key)
            });
            for (least, reached) in least.iter_mut().zip(reached) {
                *least = reached.map(|steps| least.map_or(steps, |least| least.min(steps)));
            }
        }
        let show = |steps: Option<usize>| steps.map(|s| format!("{:.1} dB", s as f64 / 10.0));
        report.value(
            name,
            &format!("{} dB", goal / 10),
            Some(least[0].is_some_and(|steps| steps >= goal)),
            least.map(show),
        );
    }
}

fn dynamic_range(receivers: &mut Receivers, dice: &mut Dice, report: &mut Report) {
    let reached = reach(receivers, 60, dice, &|step| Tone {
        dbm0: -2.0 - step as f64,
        ..Tone::plain(0)
    });
    report.value(
        "5: levels from -3 dBm0 each down, every pulse heard",
        "25 dB",
        Some(reached[0].is_some_and(|steps| steps >= 25)),
        reached.map(|steps| steps.map(|steps| format!("{steps} dB"))),
    );
}

fn guard_time(receivers: &mut Receivers, dice: &mut Dice, report: &mut Report) {
    let mut shortest: [Option<f64>; 2] = [None; 2];
    let mut longest = [None; 2];
    let mut certain = [true; 2];
    for tenths in (100..=490).rev() {
        let on = tenths * MS / 10;
        let heard = receivers.hear(&pulses(Tone::plain(0), PULSES, on, -60.0, dice));
        for which in 0..2 {
            let Some(heard) = &heard[which] else { continue };
            certain[which] &= heard.len() == PULSES;
            let ms = tenths as f64 / 10.0;
            if certain[which] {
                shortest[which] = Some(ms);
            }
            if heard.is_empty() && longest[which].is_none() {
                longest[which] = Some(ms);
            }
        }
    }
    let show = |which: usize| {
        let (short, long): (Option<f64>, Option<f64>) = (shortest[which], longest[which]);
        Some(format!("{:.1} / {:.1} ms", short?, long.unwrap_or(0.0)))
    };
    report.value(
        "6: shortest always heard / longest never",
        "40 / 23 ms",
        Some(shortest[0].is_some_and(|s| s <= 40.0) && longest[0].is_some_and(|l| l >= 23.0)),
        [show(0), show(1)],
    );
}

fn noise(bench: &Bench, report: &mut Report) {
    for (snr_db, goal) in [
        (24.0, Goal::AtLeast(1.0)),
        (18.0, Goal::AtLeast(1.0)),
        (12.0, Goal::AtLeast(1.0)),
        (10.0, Goal::AtLeast(0.9999)),
        (8.0, Goal::Shown),
        (7.0, Goal::AtLeast(0.99)),
        (6.0, Goal::Shown),
        (5.0, Goal::Shown),
    ] {
        let name = format!("7: pulses of 50 ms, SNR {snr_db} dB");
        let right: Right = bench.right(&name, 20_000, &|dice| {
            let tone = Tone::any(dice);
            let clip = pulses(tone, 1, 50 * MS, tone.total_dbm0() - snr_db, dice);
            (clip, tone.name().into())
        });
        report.row(&name, goal, right);
    }
}
