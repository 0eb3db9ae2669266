//! What the sequence of masked frames tells of the digit, heard or not: when the gate shut and opened,
//! on the grid of frames, from the true beginning and end of the tone.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tonewall::proto::mask::Masking;

use crate::{
    cells::{Cell, Gate, KEYS_PER_CALL},
    common::{
        jobs,
        presses::Noise,
        report::{Report, Table},
    },
    statistics::{Bits, bits},
};

/// Most that the gate may tell.
const MOST_BITS: f64 = 0.01;
/// Tone over noise: drawn anew for each call.
const SNR_DB: (f64, f64) = (5.0, 40.0);
/// Bands of it that stand in the table.
const BANDS: [(f64, f64); 4] = [(5.0, 10.0), (10.0, 20.0), (20.0, 40.0), SNR_DB];
/// Parts of a frame that a tone may begin in, for somebody who knows in which.
const PARTS: usize = 8;
/// Keys as people press them, and keys of one level and no detune.
const CONDITIONS: [(usize, &str); 2] = [(1, "usual"), (0, "plain")];

struct Key {
    condition: usize,
    snr_db: f64,
    told: (u8, Gate, usize),
}

/// Presses as many keys and says what their gates tell.
pub(crate) fn judge(seed: u64, presses: usize, report: &mut Report) {
    let calls = presses.div_ceil(KEYS_PER_CALL);
    let cells: Vec<Cell> = (0..calls as u64)
        .map(|call| {
            let seed = jobs::seed_of(seed, (1 << 52) + call);
            let mut rng = StdRng::seed_from_u64(seed);
            let kind = if rng.random_bool(0.5) {
                Noise::White
            } else {
                Noise::Babble
            };
            let (condition, _) = CONDITIONS[call as usize % CONDITIONS.len()];
            Cell {
                condition,
                noise: Some((kind, rng.random_range(SNR_DB.0..SNR_DB.1))),
                masked: true,
                masking: Masking::default(),
                seed,
            }
        })
        .collect();
    let keys: Vec<Key> = jobs::run("gates", &cells, |cell| {
        let snr_db = cell.noise.map_or(f64::INFINITY, |(_, snr_db)| snr_db);
        let played = cell.play();
        let gates = played.gates().map(|(digit, gate, began)| Key {
            condition: cell.condition,
            snr_db,
            told: (digit, gate, (began * PARTS as f64) as usize),
        });
        gates.collect::<Vec<_>>()
    })
    .into_iter()
    .flatten()
    .collect();
    report.say(
        "## What the gate tells\n\nBits a digit that the masked frames alone tell: mutual information of the \
         digit and of where the gate shut and opened, less what the same gates tell of shuffled digits (in \
         brackets: the standard deviation of that). `in a frame`: for somebody who knows in which eighth of a \
         frame the tone began.",
    );
    let mut table = Table::new(&["keys", "SNR", "presses", "bits/digit", "in a frame"]);
    for (condition, name) in CONDITIONS {
        for (from, to) in BANDS {
            let of_band = keys
                .iter()
                .filter(|key| key.condition == condition && (from..to).contains(&key.snr_db));
            let told: Vec<_> = of_band.map(|key| key.told).collect();
            table.row(vec![
                name.to_owned(),
                format!("{from} to {to} dB"),
                told.len().to_string(),
                words(regardless(&told)),
                words(bits(&told)),
            ]);
        }
    }
    report.say(&table.markdown());
    let told: Vec<_> = keys.iter().map(|key| key.told).collect();
    for (what, bits) in [
        ("of tones that begin anywhere", regardless(&told)),
        ("for somebody who knows where in a frame", bits(&told)),
    ] {
        // A small run cannot tell less than the spread of chance.
        let limit = MOST_BITS + 2.0 * bits.spread;
        report.goal(
            bits.told <= limit,
            format!(
                "{} presses, {what}: the gate tells {} bits a digit, of at most {MOST_BITS} and twice the \
                 spread of chance",
                told.len(),
                words(bits)
            ),
        );
    }
}

fn regardless(told: &[(u8, Gate, usize)]) -> Bits {
    let all: Vec<_> = told
        .iter()
        .map(|(digit, gate, _)| (*digit, *gate, 0))
        .collect();
    bits(&all)
}

fn words(bits: Bits) -> String {
    format!("{:.4} ({:.4})", bits.told, bits.spread)
}
