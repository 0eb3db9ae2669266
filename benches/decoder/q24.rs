//! The corners of ITU-T Q.24 (the columns of its annex, and ETSI ES 201 235-3 for the frequencies):
//! what must be taken, in noise, and what must not.

use tonewall::proto::codec::Law;

use crate::{
    common::{
        signal::{MS, through},
        tones::{Dice, Tone, add_white},
    },
    report::{Goal, Report},
    trials::{Bench, Clip, PACKET},
};

/// What the line sounds like before and after.
const PAD: usize = 100 * MS;

/// 1.5 % + 2 Hz off, or nothing, each of the two; twist of +4 or -8 dB, or none; the stronger of the
/// two at -3 or at -25 dBm0.
pub(crate) fn corner(dice: &mut Dice) -> Tone {
    let mut tone = Tone::any(dice);
    tone.twist_db = dice.one_of(&[-8.0, 0.0, 4.0]);
    tone.dbm0 = dice.one_of(&[-3.0, -25.0]);
    let share = [-0.015, 0.0, 0.015];
    tone.off(dice.one_of(&share), dice.one_of(&share), 2.0)
}

/// Tones and pauses one after another over white noise, at any place of the packets, by either law.
pub(crate) fn line(parts: &[(Option<Tone>, usize)], noise_dbm0: f64, dice: &mut Dice) -> Vec<i16> {
    let lead = PAD + dice.below(PACKET);
    let length: usize = parts.iter().map(|part| part.1).sum();
    let mut samples = vec![0.0; lead + length + PAD];
    add_white(&mut samples, noise_dbm0, dice);
    let mut at = lead;
    for &(tone, length) in parts {
        if let Some(tone) = tone {
            tone.add(&mut samples[at..at + length], dice);
        }
        at += length;
    }
    through(dice.one_of(&[Law::Mu, Law::A]), &samples)
}

/// One tone in noise `snr_db` below both of its components together (white, 0 to 4 kHz).
pub(crate) fn one(tone: Tone, length: usize, snr_db: f64, dice: &mut Dice) -> (Clip, String) {
    let samples = line(&[(Some(tone), length)], tone.total_dbm0() - snr_db, dice);
    (samples.into(), tone.name().into())
}

fn none(tone: Tone, length: usize, snr_db: f64, dice: &mut Dice) -> (Clip, String) {
    (one(tone, length, snr_db, dice).0, String::new())
}

/// A tone at moderate levels.
fn usual(dice: &mut Dice) -> Tone {
    Tone {
        dbm0: dice.between(-25.0, -3.0),
        twist_db: dice.between(-6.0, 3.0),
        ..Tone::any(dice)
    }
}

/// Runs all of it.
pub(crate) fn run(bench: &Bench, report: &mut Report) {
    taken(bench, report);
    not_taken(bench, report);
    in_time(bench, report);
    lost(bench, report);
}

fn taken(bench: &Bench, report: &mut Report) {
    report.section("Q.24: what must be taken, 40 ms, each digit at any corner");
    for (snr_db, goal) in [
        (30.0, Goal::AtLeast(0.9999)),
        (15.0, Goal::AtLeast(0.9999)),
        (10.0, Goal::AtLeast(0.9999)),
        (7.0, Goal::AtLeast(0.99)),
        (5.0, Goal::Shown),
    ] {
        let name = format!("corners, SNR {snr_db} dB");
        let right = bench.right(&name, 100_000, &|dice| {
            let tone = corner(dice);
            one(tone, 40 * MS, snr_db, dice)
        });
        report.row(&name, goal, right);
    }
    let right = bench.right("1.8 % off", 20_000, &|dice| {
        let share = [-0.018, 0.018];
        let mut tone = usual(dice);
        tone = tone.off(dice.one_of(&share), dice.one_of(&share), 0.0);
        one(tone, 40 * MS, 15.0, dice)
    });
    report.row("1.8 % off (NTT), SNR 15 dB", Goal::AtLeast(0.999), right);
    let right = bench.right("-30", 20_000, &|dice| {
        let tone = Tone {
            dbm0: dice.between(-38.0, -25.0),
            ..corner(dice)
        };
        one(tone, 40 * MS, 20.0, dice)
    });
    report.row("-25 to -38 dBm0, SNR 20 dB", Goal::AtLeast(0.999), right);
    let right = bench.right("echo", 20_000, &|dice| {
        // The echo twists the tone by up to 6 dB itself.
        let tone = Tone {
            twist_db: 0.0,
            ..usual(dice)
        };
        let lead = PAD + dice.below(PACKET);
        let mut samples = vec![0.0; lead + 60 * MS + PAD];
        tone.add(&mut samples[lead..lead + 50 * MS], dice);
        let late = 1 + dice.below(20 * MS);
        for at in (late..samples.len()).rev() {
            samples[at] += samples[at - late] * 10_f64.powf(-10.0 / 20.0);
        }
        add_white(&mut samples, tone.dbm0 - 30.0, dice);
        (through(Law::Mu, &samples).into(), tone.name().into())
    });
    report.row(
        "echo of -10 dB, up to 20 ms late (AT&T)",
        Goal::AtLeast(0.999),
        right,
    );
}

fn not_taken(bench: &Bench, report: &mut Report) {
    report.section("Q.24: what must not be taken (right: nothing heard)");
    for (snr_db, off) in [(30.0, 0.035), (10.0, 0.035), (30.0, 0.030)] {
        let name = format!("{:.1} % off, SNR {snr_db} dB", off * 100.0);
        let right = bench.right(&name, 30_000, &|dice| {
            let mut tone = usual(dice);
            let [this, other] = [dice.one_of(&[-off, off]), dice.between(-off, off)];
            tone = if dice.below(2) == 0 {
                tone.off(this, other, 0.0)
            } else {
                tone.off(other, this, 0.0)
            };
            none(tone, 100 * MS, snr_db, dice)
        });
        let goal = if off > 0.03 {
            Goal::AtLeast(0.9999)
        } else {
            Goal::AtLeast(0.999)
        };
        report.row(&format!("{name} (one of the two, 100 ms)"), goal, right);
    }
    for (snr_db, length) in [
        (40.0, 23.0),
        (15.0, 23.0),
        (10.0, 23.0),
        (7.0, 23.0),
        (15.0, 24.0),
    ] {
        let name = format!("{length} ms, SNR {snr_db} dB");
        let right = bench.right(&name, 30_000, &|dice| {
            let tone = usual(dice);
            none(tone, (length * MS as f64) as usize, snr_db, dice)
        });
        report.row(&name, Goal::AtLeast(0.9999), right);
    }
    for (column_db, goal) in [(-14.0, Goal::AtLeast(0.999)), (10.0, Goal::AtLeast(0.999))] {
        let name = format!("twist {column_db:+} dB, SNR 30 dB");
        let right = bench.right(&name, 10_000, &|dice| {
            let tone = Tone {
                twist_db: column_db,
                ..usual(dice)
            };
            none(tone, 80 * MS, 30.0, dice)
        });
        report.row(&name, goal, right);
    }
    let right = bench.right("quiet", 10_000, &|dice| {
        let tone = Tone {
            dbm0: -55.0,
            ..usual(dice)
        };
        none(tone, 80 * MS, 20.0, dice)
    });
    report.row("-55 dBm0 (AT&T)", Goal::AtLeast(0.999), right);
    let right = bench.right("noise", 2_000, &|dice| {
        let mut samples = vec![0.0; 80_000];
        add_white(&mut samples, dice.between(-50.0, -10.0), dice);
        (through(Law::Mu, &samples).into(), String::new())
    });
    report.row("white noise, 10 s each", Goal::AtLeast(1.0), right);
}

fn in_time(bench: &Bench, report: &mut Report) {
    report.section("Q.24: pauses and interruptions, the same key before and after");
    for (pause, goal) in [(30, 0.9999), (40, 0.9999), (70, 0.9999)] {
        for snr_db in [30.0, 10.0] {
            let name = format!("pause of {pause} ms parts two presses, SNR {snr_db} dB");
            let right = bench.right(&name, 20_000, &|dice| {
                let tone = usual(dice);
                let press = (Some(tone), 50 * MS);
                let parts = [press, (None, pause * MS), press];
                let samples = line(&parts, tone.total_dbm0() - snr_db, dice);
                (samples.into(), [tone.name(); 2].iter().collect())
            });
            report.row(&name, Goal::AtLeast(goal), right);
        }
    }
    for (gap, goal) in [
        (10, Goal::AtLeast(0.9999)),
        (12, Goal::AtLeast(0.999)),
        (20, Goal::Shown),
    ] {
        for snr_db in [30.0, 10.0] {
            let name = format!("interruption of {gap} ms is ridden over, SNR {snr_db} dB");
            let right = bench.right(&name, 20_000, &|dice| {
                let tone = usual(dice);
                let before = dice.between(15.0, 80.0) as usize;
                let parts = [
                    (Some(tone), before * MS),
                    (None, gap * MS),
                    (Some(tone), (95 - before).max(40) * MS),
                ];
                let samples = line(&parts, tone.total_dbm0() - snr_db, dice);
                (samples.into(), tone.name().into())
            });
            report.row(&name, goal, right);
        }
    }
    let right = bench.right("rate", 5_000, &|dice| {
        let mut parts = Vec::new();
        let mut keys = String::new();
        for _ in 0..16 {
            let tone = Tone {
                dbm0: -12.0,
                ..Tone::any(dice)
            };
            keys.push(tone.name());
            parts.extend([(Some(tone), 50 * MS), (None, 43 * MS)]);
        }
        (line(&parts, -30.0, dice).into(), keys)
    });
    report.row(
        "16 keys, one each 93 ms (AT&T)",
        Goal::AtLeast(0.999),
        right,
    );
}

/// Packets of 20 ms lost one by one and in bursts; the figure is of single digits.
fn lost(bench: &Bench, report: &mut Report) {
    report.section("loss: two presses of 60 to 120 ms, a third of them of one key (both right)");
    for (percent, burst, goal) in [
        // Two digits in a trial: less than 0.1 % of the digits.
        (1.0, 1, Goal::AtLeast(0.998)),
        (3.0, 1, Goal::Shown),
        (5.0, 1, Goal::Shown),
        (1.0, 3, Goal::Shown),
    ] {
        let name = format!("{percent} % of the packets, bursts of {burst}");
        let right = bench.right(&name, 50_000, &|dice| {
            let (one, two) = (usual(dice), usual(dice));
            let two = if dice.below(3) == 0 {
                Tone {
                    key: one.key,
                    ..two
                }
            } else {
                two
            };
            let mut length = || dice.between(60.0, 120.0) as usize * MS;
            let parts = [
                (Some(one), length()),
                (None, length()),
                (Some(two), length()),
            ];
            let samples = line(&parts, one.total_dbm0().min(two.total_dbm0()) - 25.0, dice);
            let mut lost = vec![false; samples.len().div_ceil(PACKET)];
            let mut left = 0;
            for packet in &mut lost {
                if dice.between(0.0, 100.0) < percent / f64::from(burst) {
                    left = burst;
                }
                *packet = left > 0;
                left -= i32::from(left > 0);
            }
            let keys = [one.name(), two.name()].iter().collect();
            (Clip { samples, lost }, keys)
        });
        report.row(&name, goal, right);
    }
}

/// What the plot shows: digits of 40 ms at the corners over noise.
pub(crate) fn curve(bench: &Bench, report: &mut Report) {
    for snr_db in 0..=16 {
        let right = bench.right(&format!("curve {snr_db}"), 20_000, &|dice| {
            let tone = corner(dice);
            one(tone, 40 * MS, f64::from(snr_db), dice)
        });
        report.corners.push((f64::from(snr_db), right));
    }
    for length in 16..=46 {
        let right = bench.right(&format!("length {length}"), 4_000, &|dice| {
            let tone = usual(dice);
            one(tone, length * MS, 25.0, dice)
        });
        report.lengths.push((length as f64, right));
    }
}
