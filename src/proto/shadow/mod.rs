//! What shadow mode counts: plain values that add up, and that tell no key.
//!
//! There is no count by key, by row or by column. Level, twist and signal-to-noise ratio depend on
//! the key a little (a line passes 697 Hz unlike 1633 Hz), so no press is ever entered by itself: a
//! call enters the mean over all its tones, once, and only where there were [`LEAST_TONES`].

mod histogram;
mod name;
mod trunk;

use serde::{Deserialize, Serialize};

pub use histogram::{Histogram, LEVEL_DBM0, SNR_DB, Scale, TWIST_DB};
pub use name::{TrunkName, TrunkNameError};
pub use trunk::{PublishRules, Trunk};

/// Fewest presses by tone whose means a call enters: of fewer, a mean would tell of single keys.
pub const LEAST_TONES: u32 = 4;

/// What carries the packets of a call, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are names of codecs")]
pub enum Carried {
    Pcmu,
    Pcma,
    G722,
    Opus,
    G729,
    /// RFC 4733 telephone-event.
    TelephoneEvent,
    /// RFC 4733 `tone`.
    Tone,
    /// RFC 2198.
    Red,
    /// Declared, but not understood: silence while armed.
    Other,
    /// A payload type that no SDP named: silence while armed.
    Undeclared,
}

impl Carried {
    /// All of them, in the order of their counts.
    pub const ALL: [Self; 10] = [
        Self::Pcmu,
        Self::Pcma,
        Self::G722,
        Self::Opus,
        Self::G729,
        Self::TelephoneEvent,
        Self::Tone,
        Self::Red,
        Self::Other,
        Self::Undeclared,
    ];

    /// As a report names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
            Self::G729 => "G729",
            Self::TelephoneEvent => "telephone-event",
            Self::Tone => "tone",
            Self::Red => "red",
            Self::Other => "other",
            Self::Undeclared => "undeclared",
        }
    }
}

/// RTP packets of callers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// That came.
    pub came: u64,
    /// That never came, by their sequence numbers.
    pub lost: u64,
    /// That came after a later one.
    pub late: u64,
    /// That came again.
    pub repeated: u64,
    /// That came and were not listened to, because this host had more urgent things to do.
    pub unheard: u64,
    /// By what they carried, in the order of [`Carried::ALL`].
    pub carried: [u64; Carried::ALL.len()],
}

/// Presses of keys, whichever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presses {
    /// Told by a telephone-event.
    pub by_event: u64,
    /// Told by an in-band tone.
    pub by_tone: u64,
    /// Told by a SIP INFO.
    pub by_info: u64,
    /// Told by a transport after another had told the same press: counted for both of them.
    pub doubles: u64,
}

impl Presses {
    /// How many keys were pressed.
    #[must_use]
    pub const fn total(&self) -> u64 {
        (self.by_event + self.by_tone + self.by_info).saturating_sub(self.doubles)
    }
}

/// Stretches of audio that an armed call would have replaced for one reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Masked {
    /// How many stretches.
    pub count: u64,
    /// Samples of 8 kHz in them.
    pub samples: u64,
    /// Samples of speech in them; 0 for keys.
    pub speech: u64,
}

/// The callers' audio, in samples of 8 kHz, and what of it an armed call would have replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Audio that was listened to.
    pub audio: u64,
    /// Of it, speech: louder than what was there before; keys excluded.
    pub speech: u64,
    /// Replaced because of a key.
    pub keys: Masked,
    /// Replaced because audio was missing and may have held a key.
    pub losses: Masked,
    /// Replaced though no key was heard: false masks.
    pub alarms: Masked,
    /// Stretches with a pair of tones beyond doubt, and no key: a listener who only counts would
    /// have taken these for one, and no other.
    pub tones: u64,
}

/// Means of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measures {
    /// Calls that entered theirs.
    pub calls: u64,
    /// Both tones together, [`LEVEL_DBM0`].
    pub level: Histogram,
    /// Column over row, [`TWIST_DB`].
    pub twist: Histogram,
    /// Tones over what is beside them, [`SNR_DB`].
    pub snr: Histogram,
}

/// Sums over the tones of one call, of which only means leave it. Deliberately absent: `Serialize`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToneSums {
    presses: u32,
    level: f32,
    twist: f32,
    snr: f32,
}

impl ToneSums {
    /// One press by tone: level of both tones in dBm0, twist (column over row) and ratio of tones to
    /// noise in dB.
    pub fn add(&mut self, level_dbm0: f32, twist_db: f32, snr_db: f32) {
        self.presses = self.presses.saturating_add(1);
        self.level += level_dbm0;
        self.twist += twist_db;
        self.snr += snr_db;
    }

    /// The means of the call, where there were enough presses.
    #[must_use]
    pub fn means(&self) -> Measures {
        let mut measures = Measures::default();
        if self.presses >= LEAST_TONES {
            let mean = |sum: f32| sum / self.presses as f32;
            measures.calls = 1;
            measures.level.enter(&LEVEL_DBM0, mean(self.level));
            measures.twist.enter(&TWIST_DB, mean(self.twist));
            measures.snr.enter(&SNR_DB, mean(self.snr));
        }
        measures
    }
}

/// What was heard on one call, or on many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Calls on which audio came.
    pub calls: u64,
    /// Of these, calls on which a key was pressed.
    pub keyed_calls: u64,
    /// Packets.
    pub packets: Packets,
    /// Keys.
    pub presses: Presses,
    /// Audio, and what of it would have been masked.
    pub listening: Listening,
    /// Levels and the like.
    pub measures: Measures,
}

impl Tally {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.keyed_calls += other.keyed_calls;
        self.packets.add(&other.packets);
        self.presses.by_event += other.presses.by_event;
        self.presses.by_tone += other.presses.by_tone;
        self.presses.by_info += other.presses.by_info;
        self.presses.doubles += other.presses.doubles;
        self.listening.add(&other.listening);
        self.measures.add(&other.measures);
    }
}

impl Listening {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.audio += other.audio;
        self.speech += other.speech;
        self.keys.add(&other.keys);
        self.losses.add(&other.losses);
        self.alarms.add(&other.alarms);
        self.tones += other.tones;
    }
}

impl Packets {
    fn add(&mut self, other: &Self) {
        self.came += other.came;
        self.lost += other.lost;
        self.late += other.late;
        self.repeated += other.repeated;
        self.unheard += other.unheard;
        for (ours, theirs) in self.carried.iter_mut().zip(other.carried) {
            *ours += theirs;
        }
    }

    /// Counts what a packet carries.
    pub fn count(&mut self, carried: Carried) {
        self.carried[carried as usize] += 1;
    }
}

impl Masked {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.samples += other.samples;
        self.speech += other.speech;
    }
}

impl Measures {
    /// Adds the means of other calls.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.level.add(&other.level);
        self.twist.add(&other.twist);
        self.snr.add(&other.snr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_few_tones_enters_no_mean_and_one_of_enough_enters_one() {
        let mut sums = ToneSums::default();
        for _ in 1..LEAST_TONES {
            sums.add(-13.0, 2.0, 30.0);
            assert_eq!(sums.means(), Measures::default());
        }
        sums.add(-5.0, -2.0, 30.0);
        let means = sums.means();
        assert_eq!(means.calls, 1);
        for histogram in [means.level, means.twist, means.snr] {
            assert_eq!(histogram.total(), 1);
        }
        // (3 * 2 - 2) / 4 = 1 dB.
        assert_eq!(means.twist.mean(&TWIST_DB), Some(1.0));
    }

    #[test]
    fn tallies_add_up_member_by_member() {
        // Every number of it, whatever members it has.
        fn numbers(value: &serde_json::Value, found: &mut Vec<u64>) {
            match value {
                serde_json::Value::Object(members) => {
                    members.values().for_each(|member| numbers(member, found));
                }
                serde_json::Value::Array(items) => {
                    items.iter().for_each(|item| numbers(item, found));
                }
                other => found.extend(other.as_u64()),
            }
        }
        fn counted(value: &mut serde_json::Value, next: &mut u64) {
            match value {
                serde_json::Value::Object(members) => {
                    members
                        .values_mut()
                        .for_each(|member| counted(member, next));
                }
                serde_json::Value::Array(items) => {
                    items.iter_mut().for_each(|item| counted(item, next));
                }
                other => {
                    *next += 1;
                    *other = (*next).into();
                }
            }
        }
        let mut value = serde_json::to_value(Tally::default()).unwrap();
        counted(&mut value, &mut 0);
        let tally: Tally = serde_json::from_value(value.clone()).unwrap();
        let mut twice = tally;
        twice.add(&tally);
        let (mut once, mut both) = (Vec::new(), Vec::new());
        numbers(&value, &mut once);
        numbers(&serde_json::to_value(twice).unwrap(), &mut both);
        let doubled: Vec<u64> = once.iter().map(|n| 2 * n).collect();
        assert!(once.len() > 50);
        assert_eq!(both, doubled);
    }

    #[test]
    fn what_is_carried_is_counted_at_its_place() {
        for (place, carried) in Carried::ALL.into_iter().enumerate() {
            let mut packets = Packets::default();
            packets.count(carried);
            assert_eq!(packets.carried[place], 1, "{}", carried.name());
        }
    }
}
