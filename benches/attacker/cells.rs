//! The conditions under which keys are pressed, and one call under each.

use std::ops::Range;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tonewall::proto::{codec::Law, mask::Masking};

use crate::common::{
    chance::common_length,
    gateway::{Agent, Fate, Journey, Network},
    listener::{Audio, Guess, listen, rounding},
    peers::{Peer, Peers},
    presses::{Noise, Press, noise},
    signal::{MS, encode, power_of},
};

/// Keys of one call: a card, its expiry, and a bit.
pub(crate) const KEYS_PER_CALL: usize = 21;
/// Audio before the arming, and from there to the first key.
pub(crate) const LEAD: usize = 1_600;

/// Between two keys: so long that nothing put in the place of one key covers the next one.
const PAUSE: (usize, usize) = (250 * MS, 450 * MS);

/// One condition. The level is drawn for each call, everything else for each key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Condition {
    pub(crate) name: &'static str,
    /// Of both tones together.
    dbm0: (f64, f64),
    /// Column over row.
    twist_db: (f64, f64),
    /// Furthest from the nominal frequency, as a share; each tone its own.
    detune: f64,
    length_ms: (f64, f64),
    /// Longest rise.
    ramp_ms: f64,
    /// How much louder the noise is until the key goes down, and again a while after it.
    louder_before_db: f64,
    /// Samples a packet; one is drawn for each call.
    packets: &'static [usize],
    network: Network,
}

const PLAIN: Condition = Condition {
    name: "plain: -10 dBm0 each, 60-120 ms",
    dbm0: (-7.0, -7.0),
    twist_db: (0.0, 0.0),
    detune: 0.0,
    length_ms: (60.0, 120.0),
    ramp_ms: 0.0,
    louder_before_db: 0.0,
    packets: &[160],
    network: Network::CLEAN,
};

const USUAL: Condition = Condition {
    name: "usual: -25 to -3 dBm0, twist -8 to +4 dB, 1.5 % off, 40-120 ms",
    dbm0: (-25.0, -3.0),
    twist_db: (-8.0, 4.0),
    detune: 0.015,
    length_ms: (40.0, 120.0),
    ..PLAIN
};

/// How many of them each row has.
pub(crate) const OF_ROWS: usize = 16;
/// What a telephone's own microphone picks up of a key that it sends otherwise.
pub(crate) const FAINTEST: usize = OF_ROWS;

/// All of them; the first one is the plain one.
pub(crate) const CONDITIONS: [Condition; OF_ROWS + 1] = [
    PLAIN,
    USUAL,
    Condition {
        name: "faint: -50 to -35 dBm0",
        dbm0: (-50.0, -35.0),
        ..USUAL
    },
    Condition {
        name: "loud: -6 to 0 dBm0",
        dbm0: (-6.0, 0.0),
        ..USUAL
    },
    Condition {
        name: "twist -15 to +15 dB",
        twist_db: (-15.0, 15.0),
        ..USUAL
    },
    Condition {
        name: "up to 4 % off",
        detune: 0.04,
        ..USUAL
    },
    Condition {
        name: "bursts of 2-6 ms",
        length_ms: (2.0, 6.0),
        ..USUAL
    },
    Condition {
        name: "bursts of 6-15 ms",
        length_ms: (6.0, 15.0),
        ..USUAL
    },
    Condition {
        name: "tones of 15-40 ms",
        length_ms: (15.0, 40.0),
        ..USUAL
    },
    Condition {
        name: "rise of up to 20 ms",
        ramp_ms: 20.0,
        ..USUAL
    },
    Condition {
        name: "noise 15 dB louder until the key",
        dbm0: (-25.0, -10.0),
        louder_before_db: 15.0,
        ..USUAL
    },
    Condition {
        name: "packets of 10, 30 and 60 ms",
        packets: &[80, 240, 480],
        ..USUAL
    },
    Condition {
        name: "1 % lost",
        network: Network {
            loss: 0.01,
            ..Network::CLEAN
        },
        ..USUAL
    },
    Condition {
        name: "5 % lost",
        network: Network {
            loss: 0.05,
            ..Network::CLEAN
        },
        ..USUAL
    },
    Condition {
        name: "jitter of 60 ms, 5 % overtaken",
        network: Network {
            loss: 0.0,
            swap: 0.05,
            jitter: 480,
        },
        ..USUAL
    },
    Condition {
        name: "all of it: -45 dBm0, twist 15 dB, 4 % off, 10-120 ms",
        dbm0: (-45.0, -3.0),
        twist_db: (-15.0, 15.0),
        detune: 0.04,
        length_ms: (10.0, 120.0),
        ramp_ms: 5.0,
        ..PLAIN
    },
    Condition {
        name: "residue of -60 dBm0",
        dbm0: (-60.0, -60.0),
        ..USUAL
    },
];

/// A condition in a noise: what a call is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) condition: usize,
    /// Kind, and decibels from the tone down; `None` for a silent line.
    pub(crate) noise: Option<(Noise, f64)>,
    pub(crate) masked: bool,
    pub(crate) masking: Masking,
    pub(crate) seed: u64,
}

/// When the gate shut and opened around a key, in frames from the frames of its beginning and end;
/// `None` where it never shut.
pub(crate) type Gate = Option<(i32, i32)>;

/// What a call led to.
pub(crate) struct Outcome {
    pub(crate) cell: Cell,
    pub(crate) guesses: Vec<(u8, Guess, Gate)>,
    /// Digits that each peer told rightly; `None` where it is not there.
    pub(crate) told: [Option<usize>; Peer::ALL.len()],
    pub(crate) strange_frames: usize,
    pub(crate) incidents: usize,
}

impl Condition {
    /// No key that a person pressed: the head of one that something upstream cut off.
    pub(crate) fn is_burst(&self) -> bool {
        self.length_ms.1 <= 15.0
    }

    /// Whether the noise under the keys is another one than around them.
    pub(crate) fn has_louder_pauses(&self) -> bool {
        self.louder_before_db > 0.0
    }
}

impl Cell {
    /// Equal for the calls of one cell.
    pub(crate) fn key(&self) -> (usize, Option<(Noise, u64)>) {
        (
            self.condition,
            self.noise.map(|(kind, db)| (kind, db.to_bits())),
        )
    }

    /// What the caller's telephone hears: keys, and the noise without them.
    pub(crate) fn scene(&self, rng: &mut StdRng) -> Scene {
        let condition = &CONDITIONS[self.condition];
        let packet = condition.packets[rng.random_range(0..condition.packets.len())];
        let level = uniform(condition.dbm0, rng);
        let presses = presses(condition, level, rng);
        let length = presses.last().map_or(0, |press| press.until) + 3_200;
        let quiet = match self.noise {
            None => vec![0.0; length],
            Some((kind, snr_db)) => noise(kind, length, power_of(level - snr_db), rng),
        };
        Scene {
            packet,
            network: condition.network,
            presses,
            quiet,
        }
    }

    /// One call: keys in noise through the product.
    pub(crate) fn play(self) -> Played {
        let condition = &CONDITIONS[self.condition];
        let mut rng = StdRng::seed_from_u64(self.seed);
        let law = if rng.random_bool(0.5) {
            Law::Mu
        } else {
            Law::A
        };
        let scene = self.scene(&mut rng);
        let mut audio = scene.quiet.clone();
        louder(condition.louder_before_db, &scene.presses, &mut audio);
        for press in &scene.presses {
            press.add(&mut audio, &mut rng);
        }
        let codes = encode(law, &audio);
        let journey = Journey {
            law,
            codes: &codes,
            packet: scene.packet,
            network: scene.network,
            masking: self.masking,
            armed_from: self.masked.then_some(LEAD),
            keys: &scene.keys(),
        };
        Played {
            law,
            packet: scene.packet,
            look_ahead: self.masking.profile.guard().look_ahead_samples(),
            agent: journey.run(&mut rng),
            quiet: encode(law, &scene.quiet),
            presses: scene.presses,
        }
    }

    /// The same, and everybody listens.
    pub(crate) fn run(self, peers: &Peers) -> Outcome {
        let played = self.play();
        let Played {
            law,
            packet,
            look_ahead,
            presses,
            quiet,
            agent,
        } = &played;
        let decoded: Vec<i16> = agent.codes.iter().map(|code| law.decode(*code)).collect();
        Outcome {
            cell: self,
            guesses: guesses(
                presses,
                quiet,
                *law,
                (*packet, *look_ahead),
                CONDITIONS[self.condition].has_louder_pauses(),
                agent,
            ),
            told: told(presses, &decoded, peers),
            strange_frames: agent.strange_frames,
            incidents: agent.incidents,
        }
    }
}

/// How many of these keys each peer tells.
pub(crate) fn told(
    presses: &[Press],
    samples: &[i16],
    peers: &Peers,
) -> [Option<usize>; Peer::ALL.len()] {
    Peer::ALL.map(|peer| {
        let told = peers.decode(peer, samples)?;
        let keyed: Vec<u8> = presses.iter().map(|press| b'0' + press.digit).collect();
        Some(common_length(told.as_bytes(), &keyed))
    })
}

/// Keys in noise, at 8 kHz.
pub(crate) struct Scene {
    /// Samples a packet.
    pub(crate) packet: usize,
    pub(crate) network: Network,
    pub(crate) presses: Vec<Press>,
    /// The noise alone.
    pub(crate) quiet: Vec<f64>,
}

impl Scene {
    /// Where keys are down.
    pub(crate) fn keys(&self) -> Vec<Range<usize>> {
        let spans = self.presses.iter().map(|press| press.from..press.until);
        spans.collect()
    }
}

/// A call that was played.
pub(crate) struct Played {
    law: Law,
    packet: usize,
    /// Samples, at first.
    look_ahead: usize,
    presses: Vec<Press>,
    /// The noise alone.
    quiet: Vec<u8>,
    agent: Agent,
}

impl Played {
    /// Each digit, when the gate shut and opened around it, and where in a frame it began, as a share.
    pub(crate) fn gates(&self) -> impl Iterator<Item = (u8, Gate, f64)> {
        self.presses.iter().map(|press| {
            let gate = gate(press, (self.packet, self.look_ahead), &self.agent.fates);
            let began = (press.from + self.look_ahead) % self.packet;
            (press.digit, gate, began as f64 / self.packet as f64)
        })
    }
}

fn uniform(range: (f64, f64), rng: &mut StdRng) -> f64 {
    if range.0 < range.1 {
        rng.random_range(range.0..range.1)
    } else {
        range.0
    }
}

fn presses(condition: &Condition, level: f64, rng: &mut StdRng) -> Vec<Press> {
    let mut at = 2 * LEAD;
    let mut presses = Vec::with_capacity(KEYS_PER_CALL);
    for _ in 0..KEYS_PER_CALL {
        let from = at + rng.random_range(PAUSE.0..PAUSE.1);
        let length = (uniform(condition.length_ms, rng) * MS as f64).round() as usize;
        let power = power_of(level);
        let twist = 10_f64.powf(uniform(condition.twist_db, rng) / 10.0);
        let ramp_ms = uniform((0.0, condition.ramp_ms), rng);
        let mut detune = || 1.0 + uniform((-condition.detune, condition.detune), rng);
        presses.push(Press {
            row_detune: detune(),
            column_detune: detune(),
            digit: rng.random_range(0..10),
            from,
            until: from + length,
            row_peak: (2.0 * power / (1.0 + twist)).sqrt(),
            column_peak: (2.0 * power * twist / (1.0 + twist)).sqrt(),
            ramp: (ramp_ms * MS as f64) as usize,
        });
        at = from + length;
    }
    presses
}

/// Makes the noise louder where no key is down.
fn louder(db: f64, presses: &[Press], audio: &mut [f64]) {
    let factor = 10_f64.powf(db / 20.0);
    let mut from = 0;
    for press in presses {
        let until = press.from.min(audio.len());
        audio[from..until]
            .iter_mut()
            .for_each(|sample| *sample *= factor);
        from = press.until + 60 * MS;
    }
}

fn guesses(
    presses: &[Press],
    noise: &[u8],
    law: Law,
    frames: (usize, usize),
    louder_before: bool,
    agent: &Agent,
) -> Vec<(u8, Guess, Gate)> {
    let decode = |codes: &[u8]| -> Vec<f64> {
        codes
            .iter()
            .map(|code| f64::from(law.decode(*code)))
            .collect()
    };
    let (samples, noise) = (decode(&agent.codes), decode(noise));
    let mut heard: Vec<bool> = agent
        .fates
        .iter()
        .map(|fate| *fate == Fate::Heard)
        .collect();
    if louder_before {
        // Another noise than the one under the keys: it tells nothing of that.
        let mut from = 0;
        for press in presses {
            heard[from..press.from].fill(false);
            from = press.until;
        }
    }
    let steps = rounding(law);
    let rounding: Vec<f64> = agent.codes.iter().map(|c| steps[usize::from(*c)]).collect();
    let audio = Audio {
        samples: &samples,
        rounding: &rounding,
        heard: &heard,
        noise: &noise,
    };
    let mut quiet_from = LEAD;
    let mut guesses = Vec::with_capacity(presses.len());
    for press in presses {
        let guess = listen(&audio, press, quiet_from);
        quiet_from = press.until;
        guesses.push((press.digit, guess, gate(press, frames, &agent.fates)));
    }
    guesses
}

/// Frames of the agent stand the look-ahead before the caller's.
fn gate(press: &Press, (packet, look_ahead): (usize, usize), fates: &[Fate]) -> Gate {
    let frame = |at: usize| ((at + look_ahead) / packet) as i32;
    let replaced = |at: &usize| fates.get(*at) == Some(&Fate::Replaced);
    let reach = 60 * MS;
    let first = (press.from.saturating_sub(reach)..press.until).find(replaced)?;
    let last = (first..press.until + 2 * reach)
        .take_while(replaced)
        .last()?;
    Some((
        frame(first) - frame(press.from),
        frame(last) - frame(press.until),
    ))
}
