//! The same over every codec that can be masked. One with a memory smears a tone into what is before
//! and after it, so the listener hears all around a key, masked or not, and everything that leaves.

mod control;
mod tables;
mod telephone;

use std::{f64::consts::TAU, process::ExitCode};

use rand::{SeedableRng, rngs::StdRng};
use tonewall::proto::mask::Masking;

use crate::{
    cells::{CONDITIONS, Cell, KEYS_PER_CALL, LEAD, OF_ROWS, Outcome, Scene, told},
    common::{
        gateway::Route,
        jobs,
        listener::{Audio, Guess, listen_around, rounding},
        options::Options,
        peers::Peers,
        presses::{Noise, Press},
        report::Report,
        signal::{MS, RATE_HZ},
    },
    counts_at, tell_missing,
};
use telephone::{Path, Paths, Telephone, correlation};

/// Rows of each codec.
const ROWS: [(&str, &[Option<f64>]); 2] = [
    ("15 dB and up", &[None, Some(30.0), Some(20.0), Some(15.0)]),
    ("10 dB", &[Some(10.0)]),
];
/// How far around a key he listens.
const AROUND: (usize, usize) = (40 * MS, 80 * MS);
/// Samples that tell how loud what a codec adds to a sample is, each side.
const NEAR: usize = 20;
/// What a codec with a memory adds at least, as power, to what is near.
const LEAST_ADDED: f64 = 1e-3;
/// And where there is nothing, as power.
const IDLE: f64 = 1.0;
/// Two periods of the neutral sound.
const NEUTRAL_BLOCK: usize = 40;
/// What may stand beside the neutral sound, as power to it.
const NEUTRAL_ADDED: f64 = 0.02;
/// A call over a codec.
struct Call {
    telephone: usize,
    row: usize,
    cell: Cell,
}

/// What came of it.
struct Heard {
    telephone: usize,
    row: usize,
    outcome: Outcome,
    /// Digits that he would have got had he always guessed.
    blind: f64,
    /// What leaves before the first key, beside what was said there.
    alike: Option<f64>,
}

/// Every codec, as a report of its own.
pub(crate) fn judge(options: &Options, seed: u64, peers: &Peers) -> ExitCode {
    let mut report = Report::new("attacker_codecs", options.quick);
    let keys = if options.quick { 2_000 } else { 10_000 };
    report.say(&format!(
        "# The ideal listener over codecs\n\n{} run, seed {seed}, {keys} digits a codec from 15 dB up, look-ahead of 12 ms.\n\n\
         Caller and agent speak one codec; the gateway decodes, masks and encodes anew. The listener hears \
         all that leaves, from 40 ms before each key to 80 ms after it. He is told by how much the codec \
         delays it and what the noise alone is, and knows the neutral sound.",
        if options.quick { "Quick" } else { "Full" }
    ));
    tell_missing(peers, options, &mut report);
    let paths: Vec<Paths> = jobs::run("codecs", &Telephone::ALL, |telephone| {
        Paths::measure(telephone, seed)
    });
    let (unmasked, hears) = control::unmasked(seed, options.quick, &paths, peers, &mut report);
    let hears = control::remains(seed, options.quick, &paths, &mut report) && hears;
    let calls = calls(options.quick, keys, seed);
    let results = jobs::run("codecs, armed", &calls, |call| run(call, &paths, peers));
    let aligned = tables::rows(&results, peers, &mut report);
    if !hears || !aligned {
        report.say("**VOID**: the listener is not ideal, so nothing here says that nothing leaks.");
    }
    report.finish(&tables::curves(&results, &unmasked), options.check)
}

fn calls(quick: bool, keys: usize, seed: u64) -> Vec<Call> {
    // A quick run has the first row only; the others are a fifth as long.
    let rows = if quick { 1 } else { ROWS.len() };
    let mut calls = Vec::new();
    for telephone in 0..Telephone::ALL.len() {
        for (row, (_, snrs)) in ROWS.into_iter().enumerate().take(rows) {
            let mut cells = Vec::new();
            for snr_db in snrs {
                let noises: &[Option<(Noise, f64)>] = &match snr_db {
                    None => vec![None],
                    Some(db) => vec![Some((Noise::White, *db)), Some((Noise::Babble, *db))],
                };
                let conditions = (0..OF_ROWS).filter(|condition| {
                    !CONDITIONS[*condition].has_louder_pauses() && counts_at(*condition, *snr_db)
                });
                cells.extend(conditions.flat_map(|c| noises.iter().map(move |n| (c, *n))));
            }
            let keys = if row == 0 { keys } else { keys / 5 };
            let each = keys.div_ceil(cells.len() * KEYS_PER_CALL);
            for n in 0..cells.len() * each {
                let (condition, noise) = cells[n % cells.len()];
                let serial = (1 << 56) + ((telephone * ROWS.len() + row) << 32) + n;
                calls.push(Call {
                    telephone,
                    row,
                    cell: Cell {
                        condition,
                        noise,
                        masked: true,
                        masking: Masking::default(),
                        seed: jobs::seed_of(seed, serial as u64),
                    },
                });
            }
        }
    }
    calls
}

/// One call: keys in noise through the product, and everybody listens.
fn run(call: &Call, paths: &[Paths], peers: &Peers) -> Heard {
    let telephone = &Telephone::ALL[call.telephone];
    let mut rng = StdRng::seed_from_u64(call.cell.seed);
    let mut scene = call.cell.scene(&mut rng);
    scene.packet = telephone.codec.frame(scene.packet);
    let packet = scene.packet;
    let said = telephone.hear(&scene.quiet, &scene.presses, &mut rng);
    let payloads = telephone.encode(&said, packet);
    let route = Route {
        codec: telephone.codec,
        payloads: &payloads,
        packet,
        network: scene.network,
        masking: call.cell.masking,
        armed_from: call.cell.masked.then_some(LEAD),
        keys: &scene.keys(),
    };
    let trip = route.travel(&mut rng);
    let left = telephone.play(&trip.left, scene.quiet.len());
    let path = if call.cell.masked {
        paths[call.telephone].anew
    } else {
        paths[call.telephone].relayed
    };
    let guesses = guesses(telephone, path, &scene, &left);
    let settled = LEAD + 100 * MS..scene.presses[0].from - AROUND.0;
    let alike = call.cell.noise.map(|_| {
        let later = settled.start + path.delay + telephone.noise_delay();
        correlation(&scene.quiet[settled], &left[later.min(left.len())..])
    });
    Heard {
        telephone: call.telephone,
        row: call.row,
        blind: guesses.iter().map(|(_, guess)| guess.blind).sum(),
        alike,
        outcome: Outcome {
            cell: call.cell,
            told: told(&scene.presses, &left, peers),
            strange_frames: 0,
            incidents: trip.incidents,
            guesses: guesses
                .into_iter()
                .map(|(digit, guess)| (digit, guess, None))
                .collect(),
        },
    }
}

/// What he makes of what the agent's telephone plays.
fn guesses(telephone: &Telephone, path: Path, scene: &Scene, played: &[i16]) -> Vec<(u8, Guess)> {
    let mut rng = StdRng::seed_from_u64(0);
    let quiet = telephone.narrowed(&telephone.hear(&scene.quiet, &[], &mut rng));
    let noise: Vec<f64> = quiet.into_iter().map(f64::from).collect();
    let mut samples: Vec<f64> = played[path.delay..].iter().map(|s| f64::from(*s)).collect();
    samples.resize(scene.quiet.len(), 0.0);
    let rounding = added(telephone, &samples);
    let audio = Audio {
        samples: &samples,
        rounding: &rounding,
        heard: &vec![true; samples.len()],
        noise: &noise,
    };
    let guess = |press: &Press| (press.digit, listen_around(&audio, press, AROUND));
    scene.presses.iter().map(guess).collect()
}

/// Mean square of what a codec adds to each sample, at least; the listener reckons with more.
fn added(telephone: &Telephone, samples: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; samples.len() + 1];
    for (at, sample) in samples.iter().enumerate() {
        sums[at + 1] = sums[at] + sample.powi(2);
    }
    let near = |at: usize| {
        let (from, until) = (at.saturating_sub(NEAR), (at + NEAR).min(samples.len()));
        (sums[until] - sums[from]) / (until - from) as f64
    };
    let neutral = neutral(samples);
    let law = telephone.codec.law();
    let steps = law.map(rounding);
    let of_codec = |at: usize| match law.zip(steps) {
        Some((law, steps)) => steps[usize::from(law.encode(samples[at] as i16))],
        None => near(at) * LEAST_ADDED + IDLE,
    };
    (0..samples.len())
        .map(|at| {
            let sound = if neutral[at / NEUTRAL_BLOCK] {
                near(at) * NEUTRAL_ADDED
            } else {
                0.0
            };
            of_codec(at) + sound
        })
        .collect()
}

/// Blocks of [`NEUTRAL_BLOCK`] in which the neutral sound is to be heard, or beside one: what a codec
/// adds to it is its overtones, of which one is next to a key's.
fn neutral(samples: &[f64]) -> Vec<bool> {
    let sounds: Vec<bool> = samples
        .chunks(NEUTRAL_BLOCK)
        .map(|block| {
            let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
            for (n, sample) in block.iter().enumerate() {
                let (sin, cos) = (TAU * 400.0 * n as f64 / RATE_HZ).sin_cos();
                re += sample * cos;
                im += sample * sin;
                all += sample.powi(2);
            }
            let power = 2.0 * (re.powi(2) + im.powi(2)) / block.len() as f64;
            power > 0.9 * all && all > 500_f64.powi(2) * block.len() as f64
        })
        .collect();
    (0..sounds.len())
        .map(|at| sounds[at.saturating_sub(1)..(at + 2).min(sounds.len())].contains(&true))
        .collect()
}
