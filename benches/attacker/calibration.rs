//! Is the listener ideal? Bursts left unmasked against measured figures of such a listener.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tonewall::proto::codec::Law;

use crate::common::{
    jobs,
    listener::{Audio, Guess, listen, rounding},
    presses::{Noise, Press, noise},
    report::Table,
    signal::{MS, encode, power_of},
};

/// Kind of noise, and decibels from the tone down; `None` for a silent line.
type Line = Option<(Noise, f64)>;

/// How much worse than the reference he may be, in points.
const TOLERANCE: f64 = 5.0;
/// Lengths of the bursts, samples: 1, 1.5, 2 and 3 ms.
const BURSTS: [usize; 4] = [8, 12, 16, 24];
/// Percent right of an ideal listener to bursts of [`BURSTS`] in mu-law: tones of -10 dBm0 each, ten
/// digits, noise whitened from what was before. Measured with another program.
#[rustfmt::skip]
const REFERENCE: [(Line, [f64; 4]); 9] = [
    (None,                        [95.0, 100.0, 100.0, 100.0]),
    (Some((Noise::White, 30.0)),  [76.0, 100.0, 100.0, 100.0]),
    (Some((Noise::White, 20.0)),  [42.0,  88.0, 100.0, 100.0]),
    (Some((Noise::White, 10.0)),  [25.0,  39.0,  65.0,  98.0]),
    (Some((Noise::White, 0.0)),   [14.0,  18.0,  26.0,  51.0]),
    (Some((Noise::Babble, 30.0)), [89.0, 100.0, 100.0, 100.0]),
    (Some((Noise::Babble, 20.0)), [58.0,  92.0,  99.0, 100.0]),
    (Some((Noise::Babble, 10.0)), [33.0,  60.0,  80.0,  96.0]),
    (Some((Noise::Babble, 0.0)),  [22.0,  32.0,  44.0,  72.0]),
];

/// What came of it.
pub(crate) struct Calibration {
    pub(crate) table: Table,
    /// What he should have got and did not.
    pub(crate) misses: Vec<String>,
}

/// Lets him hear `bursts` bursts of each kind.
pub(crate) fn calibrate(seed: u64, bursts: usize) -> Calibration {
    let cells: Vec<(u64, usize, usize)> = (0..REFERENCE.len() * BURSTS.len())
        .map(|n| {
            (
                jobs::seed_of(seed, (1 << 50) + n as u64),
                n / BURSTS.len(),
                n % BURSTS.len(),
            )
        })
        .collect();
    let shares = jobs::run("calibration", &cells, |(seed, row, burst)| {
        let mut rng = StdRng::seed_from_u64(*seed);
        let right: f64 = (0..bursts)
            .map(|_| one(REFERENCE[*row].0, BURSTS[*burst], &mut rng).right)
            .sum();
        100.0 * right / bursts as f64
    });
    let mut table = Table::new(&["left unmasked", "1 ms", "1.5 ms", "2 ms", "3 ms"]);
    let mut misses = Vec::new();
    for (row, (noise, wanted)) in REFERENCE.iter().enumerate() {
        let name = match noise {
            None => "clean".to_owned(),
            Some((noise, snr_db)) => format!("{} {snr_db} dB", noise.name()),
        };
        let mut cells = vec![name.clone()];
        for (burst, wanted) in wanted.iter().enumerate() {
            let got = shares[row * BURSTS.len() + burst];
            cells.push(format!("{got:.0} ({wanted:.0})"));
            if got < wanted - TOLERANCE {
                let ms = BURSTS[burst] as f64 / MS as f64;
                misses.push(format!("{name}, {ms} ms: {got:.1} % of {wanted} %"));
            }
        }
        table.row(cells);
    }
    Calibration { table, misses }
}

fn one(kind: Line, burst: usize, rng: &mut StdRng) -> Guess {
    let from = 1_600 + rng.random_range(0..160);
    let peak = (2.0 * power_of(-10.0)).sqrt();
    let press = Press {
        digit: rng.random_range(0..10),
        from,
        until: from + burst,
        row_detune: 1.0,
        column_detune: 1.0,
        row_peak: peak,
        column_peak: peak,
        ramp: 0,
    };
    let length = press.until + 80;
    let mut audio = match kind {
        None => vec![0.0; length],
        Some((kind, snr_db)) => noise(kind, length, power_of(-7.0 - snr_db), rng),
    };
    press.add(&mut audio, rng);
    let law = Law::Mu;
    let codes = encode(law, &audio);
    let samples: Vec<f64> = codes.iter().map(|c| f64::from(law.decode(*c))).collect();
    let steps = rounding(law);
    let rounding: Vec<f64> = codes.iter().map(|c| steps[usize::from(*c)]).collect();
    let audio = Audio {
        samples: &samples,
        rounding: &rounding,
        heard: &vec![true; length],
        noise: &samples,
    };
    listen(&audio, &press, 0)
}
