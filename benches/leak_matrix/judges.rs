//! What each listener makes of what the agent got, and whether that is more than chance.

use std::{f64::consts::TAU, ops::Range, sync::LazyLock};

use tonewall::proto::codec::Law;

use crate::{
    agent::Agent,
    caller::Script,
    common::{
        chance::{common_length, highest_of_chance},
        listener::{Audio, listen, rounding},
        peers::{Peer, Peers},
        presses::{COLUMNS_HZ, PLACES},
        signal::{MS, RATE_HZ, ROWS_HZ},
    },
    rows::{Keys, Row},
};

/// What the fit looks at: 5 ms.
const WINDOW: usize = 5 * MS;
/// How far it moves on: 1 ms.
const STEP: usize = MS;
/// Share of the energy that the two tones have to explain.
const EXPLAINED: f64 = 0.9;
/// How much louder than the noise a window has to be: 8 dB.
const LOUDER: f64 = 6.3;
/// Before a key's beginning on the caller's scale, what is heard is counted to it: 2 ms.
const EARLY: i64 = 2 * MS as i64;
/// A right guess of ten is chance; a listener who does better than what chance exceeds with this
/// probability has been told.
const PROBABILITY: f64 = 0.001;

/// Of how many digits a listener heard something, and how many he got right.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    pub(crate) of: usize,
    pub(crate) right: usize,
}

/// Digits out of `of` that chance alone gets.
pub(crate) fn most_of_chance(of: usize) -> usize {
    highest_of_chance(of, 0.1, PROBABILITY)
}

impl Told {
    fn hear(&mut self, guess: Option<u8>, digit: u8) {
        self.of += usize::from(guess.is_some());
        self.right += usize::from(guess == Some(digit));
    }

    /// More right ones than chance has among those of which he heard something.
    pub(crate) fn beyond_chance(&self) -> bool {
        self.right > most_of_chance(self.of)
    }
}

/// The listeners' results; `None` where one has nothing to do with the row or is not there.
pub(crate) struct Heard {
    pub(crate) digits: usize,
    /// Bayes, on what came as it was.
    pub(crate) ideal: Option<Told>,
    /// Two tones fitted to any 5 ms, wherever they come from.
    pub(crate) fit: Told,
    /// Events read in clear.
    pub(crate) events: Told,
    pub(crate) peers: [Option<Told>; Peer::ALL.len()],
}

impl Heard {
    pub(crate) fn new(row: &Row, script: &Script, agent: &Agent, peers: &Peers) -> Self {
        let counted = script.counted_from..script.presses.len();
        let keyed: Vec<u8> = script.presses[counted.clone()]
            .iter()
            .map(|press| b'0' + press.digit)
            .collect();
        let own = matches!(row.keys, Keys::Tones | Keys::Both(_));
        // What was before the first digit that counts may be heard.
        let from = script.presses[counted.start].from as i64 - EARLY;
        let after: Vec<i16> = (0..agent.audio.len())
            .map(|at| {
                let counts = agent.said_at(at) >= from;
                if counts { agent.audio[at] } else { 0 }
            })
            .collect();
        Self {
            digits: counted.len(),
            ideal: own.then(|| ideal(row.law, script, agent, counted.clone())),
            fit: fit(script, agent, counted),
            events: events(agent, from, &keyed),
            peers: Peer::ALL.map(|peer| {
                let told = peers.decode(peer, &after)?;
                Some(Told {
                    of: told.len(),
                    right: common_length(told.as_bytes(), &keyed),
                })
            }),
        }
    }

    /// In the order of the table.
    pub(crate) fn all(&self) -> [Option<Told>; 5] {
        let [spandsp, multimon] = self.peers;
        [
            self.ideal,
            Some(self.fit),
            Some(self.events),
            spandsp,
            multimon,
        ]
    }

    /// Whether any of them was told more than chance.
    pub(crate) fn leaks(&self) -> bool {
        self.all().iter().flatten().any(Told::beyond_chance)
    }

    /// Most digits that any of them got.
    pub(crate) fn most(&self) -> usize {
        let rights = self.all().into_iter().flatten().map(|told| told.right);
        rights.max().unwrap_or(0)
    }
}

fn ideal(law: Law, script: &Script, agent: &Agent, counted: Range<usize>) -> Told {
    let decode = |codes: &[u8]| -> Vec<f64> {
        let samples = codes.iter().map(|code| f64::from(law.decode(*code)));
        samples.collect()
    };
    let steps = rounding(law);
    let rounding: Vec<f64> = script
        .codes
        .iter()
        .map(|c| steps[usize::from(*c)])
        .collect();
    let (samples, noise) = (decode(&script.codes), decode(&script.quiet));
    let audio = Audio {
        samples: &samples,
        rounding: &rounding,
        heard: &agent.heard,
        noise: &noise,
    };
    let mut told = Told::default();
    let mut quiet_from = 0;
    for (number, press) in script.presses.iter().enumerate() {
        if counted.contains(&number) {
            let guess = listen(&audio, press, quiet_from);
            let digit = if guess.right == 1.0 {
                press.digit
            } else {
                u8::MAX
            };
            told.hear((guess.heard > 0).then_some(digit), press.digit);
        }
        quiet_from = press.until;
    }
    told
}

/// For each digit an orthonormal base of its two tones over a window.
static BASES: LazyLock<[[[f64; WINDOW]; 4]; 10]> = LazyLock::new(|| {
    PLACES.map(|(row, column)| {
        let mut base = [[0.0; WINDOW]; 4];
        for (n, hz) in [ROWS_HZ[row], COLUMNS_HZ[column]].into_iter().enumerate() {
            let angle = |at: usize| TAU * hz * at as f64 / RATE_HZ;
            base[2 * n] = std::array::from_fn(|at| angle(at).cos());
            base[2 * n + 1] = std::array::from_fn(|at| angle(at).sin());
        }
        for n in 0..base.len() {
            for before in 0..n {
                let other = base[before];
                let along = dot(&base[n], &other);
                for (value, other) in base[n].iter_mut().zip(&other) {
                    *value -= along * other;
                }
            }
            let length = dot(&base[n], &base[n]).sqrt();
            base[n].iter_mut().for_each(|value| *value /= length);
        }
        base
    })
});

fn dot(a: &[f64; WINDOW], b: &[f64; WINDOW]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The digit whose tones explain a window.
fn fitted(samples: &[i16], noise_power: f64) -> Option<usize> {
    let window: [f64; WINDOW] = std::array::from_fn(|at| f64::from(samples[at]));
    let energy = dot(&window, &window);
    if energy < LOUDER * noise_power * WINDOW as f64 {
        return None;
    }
    let explained = BASES.each_ref().map(|base| {
        let parts = base.iter().map(|wave| dot(wave, &window).powi(2));
        parts.sum::<f64>() / energy
    });
    let (digit, most) = explained
        .into_iter()
        .enumerate()
        .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (most >= EXPLAINED).then_some(digit)
}

/// The press that a place on the caller's scale belongs to: from its beginning to the next one's.
fn press_at(script: &Script, at: i64) -> Option<usize> {
    let presses = &script.presses;
    presses
        .partition_point(|press| press.from as i64 - EARLY <= at)
        .checked_sub(1)
}

fn fit(script: &Script, agent: &Agent, counted: Range<usize>) -> Told {
    let mut votes = vec![[0_usize; 10]; script.presses.len()];
    let mut vote = |at: usize, samples: &[i16]| {
        if let Some(press) = press_at(script, agent.said_at(at))
            && let Some(digit) = fitted(samples, script.noise_power)
        {
            votes[press][digit] += 1;
        }
    };
    let windows = agent.audio.windows(WINDOW).enumerate().step_by(STEP);
    windows.for_each(|(at, window)| vote(at, window));
    for (at, samples) in &agent.besides {
        let windows = samples.windows(WINDOW).enumerate().step_by(STEP);
        windows.for_each(|(within, window)| vote(at + within, window));
    }
    majority(script, counted, &votes)
}

/// In the order in which they came: a daemon may have moved them against the audio.
fn events(agent: &Agent, from: i64, keyed: &[u8]) -> Told {
    let read = agent
        .events
        .iter()
        .filter(|event| event.came >= from && event.code < 10);
    let told: Vec<u8> = read.map(|event| b'0' + event.code).collect();
    Told {
        of: told.len(),
        right: common_length(&told, keyed),
    }
}

fn majority(script: &Script, counted: Range<usize>, votes: &[[usize; 10]]) -> Told {
    let mut told = Told::default();
    for (press, votes) in script.presses.iter().zip(votes).skip(counted.start) {
        let best = votes.iter().enumerate().max_by_key(|(_, votes)| **votes);
        let guess = best.filter(|(_, votes)| **votes > 0);
        told.hear(guess.map(|(digit, _)| digit as u8), press.digit);
    }
    told
}
