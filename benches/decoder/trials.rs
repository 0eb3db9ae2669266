//! Runs a row's trials over all processors; a trial depends on nothing but the seed and its number.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use tonewall::{
    media::SlotSource,
    proto::{codec::Audio, digit::KeyClass, dtmf::Ear, secret::KeySlot},
    secret_memory::Slab,
};

use crate::common::{
    spandsp::{Part, Spandsp},
    tones::Dice,
};

/// 20 ms, as RTP brings them.
pub(crate) const PACKET: usize = 160;

/// What a receiver gets: audio in packets, some of which may be lost.
pub(crate) struct Clip {
    /// Samples.
    pub(crate) samples: Vec<i16>,
    /// Packets that never come; none where it is shorter than the clip.
    pub(crate) lost: Vec<bool>,
}

impl From<Vec<i16>> for Clip {
    fn from(samples: Vec<i16>) -> Self {
        Self {
            samples,
            lost: Vec::new(),
        }
    }
}

impl Clip {
    fn parts(&self) -> Vec<Part<'_>> {
        if self.lost.is_empty() {
            return vec![Part::Audio(&self.samples)];
        }
        let lost = self.lost.iter().copied().chain(std::iter::repeat(false));
        let packets = self.samples.chunks(PACKET).zip(lost);
        packets
            .map(|(packet, lost)| match lost {
                true => Part::Lost(packet.len()),
                false => Part::Audio(packet),
            })
            .collect()
    }
}

/// Both receivers.
pub(crate) struct Receivers {
    slab: Slab,
    spandsp: Option<Spandsp>,
}

impl Receivers {
    /// Ours, and spandsp's where its program is there.
    pub(crate) fn new(program: Option<&Path>) -> Self {
        Self {
            slab: Slab::map(2, 0, false).expect("this host has lockable memory"),
            spandsp: program.map(Spandsp::decoder),
        }
    }

    /// What each hears; ours tells no letter from another, for none is ever kept: `D` is any.
    pub(crate) fn hear(&mut self, clip: &Clip) -> [Option<String>; 2] {
        let theirs = self.spandsp.as_mut().map(|spandsp| {
            let heard = spandsp.keys(&clip.parts());
            heard.chars().map(told).collect()
        });
        [Some(self.ours(clip)), theirs]
    }

    fn ours(&self, clip: &Clip) -> String {
        let mut slot = self.slab.acquire().expect("a slot is free");
        let mut ear = Ear::default();
        let mut keys = String::new();
        for part in clip.parts() {
            match part {
                Part::Lost(samples) => drop(ear.hear_gap(samples)),
                Part::Audio(samples) => {
                    for packet in samples.chunks(PACKET) {
                        let mut classes = Vec::new();
                        let _ = ear.hear_audio(
                            &Audio::narrow(packet),
                            Some(&mut slot),
                            &mut |pressed| {
                                classes.push(pressed.class);
                            },
                        );
                        take(&classes, &mut slot, &mut keys);
                    }
                }
            }
        }
        keys
    }
}

fn take(classes: &[KeyClass], slot: &mut KeySlot, keys: &mut String) {
    if classes.is_empty() {
        return;
    }
    slot.expose(|digits| {
        let mut digits = digits.iter();
        keys.extend(classes.iter().map(|class| match class {
            KeyClass::Digit => digits.next().map_or('?', |digit| char::from(b'0' + digit)),
            KeyClass::Hash => '#',
            KeyClass::Star => '*',
            KeyClass::Letter => 'D',
        }));
    });
    slot.clear();
}

/// A key as both receivers tell it.
pub(crate) fn told(key: char) -> char {
    if key.is_ascii_alphabetic() { 'D' } else { key }
}

/// How the trials of a row run.
pub(crate) struct Bench {
    /// First number of every random sequence.
    pub(crate) seed: u64,
    /// Fewer trials.
    pub(crate) quick: bool,
    /// spandsp's program.
    pub(crate) program: Option<PathBuf>,
}

/// Of how many trials each receiver heard what is right.
#[derive(Clone, Copy, Default)]
pub(crate) struct Right {
    /// Trials.
    pub(crate) trials: usize,
    /// Ours.
    pub(crate) ours: usize,
    /// spandsp's.
    pub(crate) spandsp: Option<usize>,
}

impl Bench {
    /// Runs `trials` (a tenth of them when quick) of what `make` makes: a clip and the keys in it.
    pub(crate) fn right(
        &self,
        name: &str,
        trials: usize,
        make: &(dyn Fn(&mut Dice) -> (Clip, String) + Sync),
    ) -> Right {
        let trials = if self.quick {
            (trials / 10).max(200)
        } else {
            trials
        };
        let next = AtomicUsize::new(0);
        let seed = name.bytes().fold(self.seed, |seed, byte| {
            seed.wrapping_mul(1_099_511_628_211) ^ u64::from(byte)
        });
        let work = || {
            let mut receivers = Receivers::new(self.program.as_deref());
            let mut right = [0, 0];
            loop {
                let trial = next.fetch_add(1, Ordering::Relaxed);
                if trial >= trials {
                    return right;
                }
                let mut dice = Dice::new(seed ^ (trial as u64).wrapping_mul(0x1234_5678_9ABC_DEF1));
                let (clip, keys) = make(&mut dice);
                let keys: String = keys.chars().map(told).collect();
                for (right, heard) in right.iter_mut().zip(receivers.hear(&clip)) {
                    *right += usize::from(heard.as_deref() == Some(&keys));
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let rights = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let ended = running.into_iter().map(|thread| thread.join());
            ended
                .collect::<Result<Vec<_>, _>>()
                .expect("no trial panics")
        });
        let sum = |which: usize| rights.iter().map(|right| right[which]).sum();
        Right {
            trials,
            ours: sum(0),
            spandsp: self.program.is_some().then(|| sum(1)),
        }
    }
}
