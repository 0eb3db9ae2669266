//! A stretch of speech through the detector, the product and the peers.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tonewall::proto::{
    codec::{Audio, Law},
    dtmf::{Ear, OutputCheck, Suspicion},
    mask::{Guard, Masking},
};

use crate::{
    common::{
        gateway::{Fate, Journey, Network},
        jobs::seed_of,
        peers::{Peer, Peers},
    },
    corpus::Corpus,
};

/// Profiles of suspicion beside the one that armed calls begin with.
pub(crate) const OTHERS: [Suspicion; 3] =
    [Suspicion::Shadow, Suspicion::Strict, Suspicion::Strictest];

/// Samples of a stretch: 10 minutes.
const STRETCH: usize = 600 * 8_000;
/// Samples of an arming: a minute, as long as a payment takes.
const ARMING: usize = 60 * 8_000;
/// Samples a packet.
const PACKET: usize = 160;
/// Mean square of -45 dBm0 in mu-law: what is above it sounds.
const SOUNDING: f64 = 22_656.0 * 22_656.0 / 2.0 * 3.162e-5;

/// Part of a corpus, played once.
pub(crate) struct Stretch<'a> {
    pub(crate) corpus: usize,
    /// 0 as it is; others at a speed and a level of their own.
    pub(crate) pass: usize,
    from: usize,
    samples: &'a [i16],
    speed: f64,
    gain: f64,
    seed: u64,
}

/// What was heard, summed over stretches.
#[derive(Default)]
pub(crate) struct Heard {
    samples: usize,
    packets: u64,
    packets_masked: u64,
    sounding: usize,
    sounding_masked: usize,
    suspect: usize,
    /// Times that suspicion began.
    pub(crate) false_masks: usize,
    /// Where a digit was heard, in samples of the stretch.
    pub(crate) digits: Vec<usize>,
    /// Times that the output check stopped the call.
    pub(crate) incidents: usize,
    armings: usize,
    /// Armings whose line was taken to be too noisy for the profile.
    tightened: usize,
    /// The same, so noisy that the caller was muted.
    muted: usize,
    /// Times that it would find something in what is not masked.
    pub(crate) alarms: usize,
    /// By each of [`OTHERS`]: times that suspicion began, and samples that are suspect.
    pub(crate) others: [(usize, usize); OTHERS.len()],
    /// Digits that each peer heard.
    pub(crate) told: [usize; Peer::ALL.len()],
}

/// All corpora in stretches, as they are and `passes` times otherwise.
pub(crate) fn stretches(corpora: &[Corpus], passes: usize, seed: u64) -> Vec<Stretch<'_>> {
    let mut stretches = Vec::new();
    for pass in 0..=passes {
        for (corpus, recordings) in corpora.iter().enumerate() {
            for (n, samples) in recordings.samples.chunks(STRETCH).enumerate() {
                let number = ((pass * 100 + corpus) * 1_000 + n) as u64;
                let mut rng = StdRng::seed_from_u64(seed_of(seed, number));
                let (speed, gain_db) = if pass == 0 {
                    (1.0, 0.0)
                } else {
                    (rng.random_range(0.8..1.25), rng.random_range(-15.0..5.0))
                };
                stretches.push(Stretch {
                    corpus,
                    pass,
                    from: n * STRETCH,
                    samples,
                    speed,
                    gain: 10_f64.powf(gain_db / 20.0),
                    seed: rng.random(),
                });
            }
        }
    }
    stretches
}

impl Stretch<'_> {
    /// Where a sample of the stretch is in its corpus.
    pub(crate) fn origin(&self, at: usize) -> usize {
        self.from + (at as f64 * self.speed) as usize
    }

    fn codes(&self) -> Vec<u8> {
        if self.pass == 0 {
            return self.samples.iter().map(|s| Law::Mu.encode(*s)).collect();
        }
        let length = ((self.samples.len() - 1) as f64 / self.speed) as usize;
        (0..length)
            .map(|n| {
                let at = n as f64 * self.speed;
                let (whole, share) = (at as usize, at.fract());
                let [this, next] = [whole, whole + 1]
                    .map(|at| f64::from(self.samples.get(at).copied().unwrap_or(0)));
                let sample = (this * (1.0 - share) + next * share) * self.gain;
                Law::Mu.encode(sample.round().clamp(-32_768.0, 32_767.0) as i16)
            })
            .collect()
    }

    /// Everybody listens.
    pub(crate) fn hear(&self, peers: &Peers) -> Heard {
        let codes = self.codes();
        let samples: Vec<i16> = codes.iter().map(|code| Law::Mu.decode(*code)).collect();
        let mut heard = Heard {
            samples: samples.len(),
            ..Heard::default()
        };
        heard.by_ear(&samples);
        for (suspicion, sums) in OTHERS.into_iter().zip(&mut heard.others) {
            *sums = suspected(suspicion, &samples);
        }
        heard.by_call(&codes, &samples, self.seed);
        if self.pass == 0 {
            for peer in Peer::ALL {
                let told = peers.decode(peer, &samples);
                heard.told[peer as usize] += told.map_or(0, |digits| digits.len());
            }
        }
        heard
    }
}

/// How often suspicion begins, and how many samples are suspect.
fn suspected(suspicion: Suspicion, samples: &[i16]) -> (usize, usize) {
    let mut ear = Ear::new(suspicion);
    let (mut times, mut suspect, mut masked_until) = (0, 0, 0);
    for piece in samples.chunks(PACKET) {
        let Some(span) = ear
            .hear_audio(&Audio::narrow(piece), None, &mut drop)
            .suspect()
        else {
            continue;
        };
        times += usize::from(span.start > masked_until);
        let until = span.end.min(samples.len() as u64);
        suspect += until.saturating_sub(span.start.max(masked_until)) as usize;
        masked_until = masked_until.max(until);
    }
    (times, suspect)
}

impl Heard {
    /// By the detector itself.
    fn by_ear(&mut self, samples: &[i16]) {
        let mut ear = Ear::default();
        let mut check = OutputCheck::default();
        let mut masked_until = 0;
        for (n, piece) in samples.chunks(PACKET).enumerate() {
            let end = (n * PACKET + piece.len()) as u64;
            let digits = &mut self.digits;
            let verdict = ear.hear_audio(&Audio::narrow(piece), None, &mut |_| {
                digits.push(end as usize)
            });
            self.alarms += usize::from(check.listen(piece));
            let Some(suspect) = verdict.suspect() else {
                continue;
            };
            // What a verdict says again is no new mask.
            self.false_masks += usize::from(suspect.start > masked_until);
            let until = suspect.end.min(samples.len() as u64);
            self.suspect += until.saturating_sub(suspect.start.max(masked_until)) as usize;
            masked_until = masked_until.max(until);
        }
    }

    /// By an armed call.
    fn by_call(&mut self, codes: &[u8], samples: &[i16], seed: u64) {
        for (codes, samples) in codes.chunks(ARMING).zip(samples.chunks(ARMING)) {
            self.by_one_call(codes, samples, seed);
        }
    }

    fn by_one_call(&mut self, codes: &[u8], samples: &[i16], seed: u64) {
        let journey = Journey {
            law: Law::Mu,
            codes,
            packet: PACKET,
            network: Network::CLEAN,
            masking: Masking::default(),
            armed_from: Some(0),
            keys: &[],
        };
        let agent = journey.run(&mut StdRng::seed_from_u64(seed));
        self.armings += 1;
        self.muted += usize::from(agent.guard == Some(Guard::Mute));
        self.packets += agent.proof.packets_sent;
        self.packets_masked += agent.proof.packets_masked;
        self.incidents += agent.incidents;
        self.tightened += usize::from(agent.guard.is_some());
        for (piece, fates) in samples.chunks(PACKET).zip(agent.fates.chunks(PACKET)) {
            let power: f64 = piece.iter().map(|s| f64::from(*s).powi(2)).sum();
            if power > SOUNDING * piece.len() as f64 {
                self.sounding += fates.len();
                let masked = fates.iter().filter(|fate| **fate == Fate::Replaced);
                self.sounding_masked += masked.count();
            }
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.packets += other.packets;
        self.packets_masked += other.packets_masked;
        self.sounding += other.sounding;
        self.sounding_masked += other.sounding_masked;
        self.suspect += other.suspect;
        self.false_masks += other.false_masks;
        self.digits.extend(&other.digits);
        self.incidents += other.incidents;
        self.armings += other.armings;
        self.tightened += other.tightened;
        self.muted += other.muted;
        self.alarms += other.alarms;
        for (sum, other) in self.others.iter_mut().zip(other.others) {
            *sum = (sum.0 + other.0, sum.1 + other.1);
        }
        for (sum, told) in self.told.iter_mut().zip(other.told) {
            *sum += told;
        }
    }

    /// Shares of the armings that were tightened, and muted.
    pub(crate) fn tightened_shares(&self) -> (f64, f64) {
        let share = |armings: usize| armings as f64 / self.armings.max(1) as f64;
        (share(self.tightened), share(self.muted))
    }

    /// False masks an hour and suspect share of the time by one of [`OTHERS`].
    pub(crate) fn other(&self, suspicion: Suspicion) -> (f64, f64) {
        let place = OTHERS.iter().position(|other| *other == suspicion);
        let (times, suspect) = place.map_or((0, 0), |place| self.others[place]);
        (
            times as f64 / self.hours().max(1e-9),
            suspect as f64 / self.samples.max(1) as f64,
        )
    }

    pub(crate) fn hours(&self) -> f64 {
        self.samples as f64 / 8_000.0 / 3_600.0
    }

    /// Share of the packets that carried the replacement.
    pub(crate) fn masked_share(&self) -> f64 {
        self.packets_masked as f64 / self.packets.max(1) as f64
    }

    /// The same of what sounds.
    pub(crate) fn sounding_masked_share(&self) -> f64 {
        self.sounding_masked as f64 / self.sounding.max(1) as f64
    }

    /// Share of the samples that the detector marks.
    pub(crate) fn suspect_share(&self) -> f64 {
        self.suspect as f64 / self.samples.max(1) as f64
    }
}
