//! What the callers and the agents say and key: G.711 mu-law, the same for the same seed.

use tonewall::proto::codec::Law;

use crate::common::{
    signal::{self, encode},
    tones::{Dice, KEYS, Tone, add_white},
};

/// Samples of a packet.
pub(crate) const FRAME: usize = 160;
/// Packets of a key.
pub(crate) const KEY_FRAMES: u32 = 5;
/// Samples of a voice before it begins anew.
const LOOP: usize = 20 * 8_000;
/// How many different voices there are.
const VOICES: usize = 8;
/// Line noise of each, dBm0: so that no two stretches of a pause are the same.
const NOISE_DBM0: f64 = -55.0;

pub(crate) struct Speech {
    /// Each [`LOOP`] long, and twice in a row, so that no stretch within has an end.
    voices: Vec<Vec<u8>>,
    /// A tone for each of the sixteen keys.
    tones: Vec<Vec<u8>>,
}

impl Speech {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let spoken = signal::speech("");
        let law = Law::Mu;
        let voices = (0..VOICES).map(|_| {
            let from = dice.below(spoken.len());
            let codes = spoken.iter().cycle().skip(from).take(LOOP);
            let mut samples: Vec<f64> = codes.map(|code| f64::from(law.decode(*code))).collect();
            add_white(&mut samples, NOISE_DBM0, dice);
            plain(&samples).repeat(2)
        });
        let voices = voices.collect();
        let tones = (0..KEYS.len()).map(|key| {
            let mut samples = vec![0.0; FRAME * KEY_FRAMES as usize];
            Tone::plain(key).add(&mut samples, dice);
            plain(&samples)
        });
        Self {
            voices,
            tones: tones.collect(),
        }
    }

    pub(crate) fn voices(&self) -> usize {
        self.voices.len()
    }

    /// `length` codewords of a voice, from any sample of its endless speech on; at most a loop.
    pub(crate) fn voice(&self, voice: usize, from: u64, length: usize) -> &[u8] {
        let from = (from % LOOP as u64) as usize;
        &self.voices[voice][from..from + length]
    }

    /// A packet of a key's tone.
    pub(crate) fn tone(&self, key: usize, step: u32) -> &[u8] {
        let from = FRAME * step as usize;
        &self.tones[key][from..from + FRAME]
    }
}

/// Encoded without the two codewords of zero: they are one value, and a program that decodes and
/// encodes again may give back the other.
fn plain(samples: &[f64]) -> Vec<u8> {
    let mut codes = encode(Law::Mu, samples);
    for code in &mut codes {
        if *code & 0x7F == 0x7F {
            *code &= 0xFE;
        }
    }
    codes
}
