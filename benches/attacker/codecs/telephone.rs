//! Telephones of every codec: what the caller's makes of audio, and what the agent's makes of
//! packets.

use rand::{SeedableRng, rngs::StdRng};
use ropus::{OPUS_APPLICATION_AUDIO, OPUS_APPLICATION_VOIP, OpusEncoder};
use tonewall::proto::{
    codec::{Decimator, Decoder, Encoder, Interpolator, MAX_SAMPLES, RESAMPLING_DELAY},
    encoding::AudioCodec,
};

use crate::common::{
    gateway::Left,
    presses::{Noise, Press, noise},
    signal::power_of,
};

/// Longest packet of any of them, bytes.
const MOST_BYTES: usize = 1_500;
/// Furthest that audio is sought behind what was said, samples of 8 kHz.
const MOST_DELAY: usize = 400;

/// Makes a payload of a packet's samples.
type Encode = dyn FnMut(&[i16]) -> Vec<u8>;
/// Changes decoded audio before it is encoded anew.
pub(crate) type Between<'a> = dyn Fn(&mut [i16]) + 'a;

/// A kind of telephone.
#[derive(Clone, Copy)]
pub(crate) struct Telephone {
    pub(crate) name: &'static str,
    pub(crate) codec: AudioCodec,
    encoding: Encoding,
}

/// How the caller's telephone encodes.
#[derive(Clone, Copy)]
enum Encoding {
    /// As our own encoder does.
    Ours,
    /// Opus for speech: linear prediction (SILK), variable rate, forward error correction.
    OpusSpeech,
    /// Opus for any sound: transform coding (CELT), variable rate.
    OpusSound,
}

impl Telephone {
    /// Every codec that can be masked; of Opus both kinds, which smear a tone in ways of their own.
    pub(crate) const ALL: [Self; 6] = [
        Self::new("PCMU", AudioCodec::Pcmu, Encoding::Ours),
        Self::new("PCMA", AudioCodec::Pcma, Encoding::Ours),
        Self::new("G.722", AudioCodec::G722, Encoding::Ours),
        Self::new("Opus, SILK", AudioCodec::Opus, Encoding::OpusSpeech),
        Self::new("Opus, CELT", AudioCodec::Opus, Encoding::OpusSound),
        Self::new("G.729", AudioCodec::G729, Encoding::Ours),
    ];

    const fn new(name: &'static str, codec: AudioCodec, encoding: Encoding) -> Self {
        Self {
            name,
            codec,
            encoding,
        }
    }

    /// Bursts of which he has to be sure, ms. G.729 sends a voice's parameters, which a tone of less than
    /// a frame hardly changes.
    pub(crate) const fn sure_burst_ms(&self) -> usize {
        match self.codec {
            AudioCodec::G729 => 20,
            _ => 5,
        }
    }

    /// What leaves before the first key has to be as much like what was said, or the rest is not where
    /// he listens: by the middle one of hundreds of calls, of which each is 0.02 off by chance. Noise
    /// comes out of two codings in G.729 as other noise, mostly.
    pub(crate) const fn least_alike(&self) -> f64 {
        match self.codec {
            AudioCodec::G729 => 0.03,
            _ => 0.3,
        }
    }

    /// Samples of its own in one of 8 kHz.
    pub(crate) const fn times(&self) -> usize {
        self.codec.rate_hz() as usize / 8_000
    }

    /// What it hears: noise given at 8 kHz, and the keys.
    pub(crate) fn hear(&self, quiet: &[f64], presses: &[Press], rng: &mut StdRng) -> Vec<i16> {
        let narrow: Vec<i16> = quiet.iter().map(rounded).collect();
        let mut audio: Vec<f64> = match self.times() {
            1 => quiet.to_vec(),
            times => {
                let mut wide = vec![0; times * narrow.len()];
                Interpolator::default().interpolate(&narrow, &mut wide);
                wide.into_iter().map(f64::from).collect()
            }
        };
        for press in presses {
            press.add_at(self.times(), &mut audio, rng);
        }
        audio.iter().map(rounded).collect()
    }

    /// How much later noise is in what it hears, samples of 8 kHz.
    pub(crate) const fn noise_delay(&self) -> usize {
        match self.times() {
            1 => 0,
            _ => RESAMPLING_DELAY / 2,
        }
    }

    /// Payloads of `packet` samples of 8 kHz each.
    pub(crate) fn encode(&self, samples: &[i16], packet: usize) -> Vec<Vec<u8>> {
        let packets = samples.chunks_exact(packet * self.times());
        packets.map(self.encoder()).collect()
    }

    fn encoder(&self) -> Box<Encode> {
        let (application, bit_rate, celt) = match self.encoding {
            Encoding::Ours => {
                let mut encoder = Encoder::new(self.codec);
                return Box::new(move |samples| {
                    let mut payload = [0; MOST_BYTES];
                    let bytes = encoder.encode(samples, &mut payload);
                    payload[..bytes].to_vec()
                });
            }
            Encoding::OpusSpeech => (OPUS_APPLICATION_VOIP, 24_000, false),
            Encoding::OpusSound => (OPUS_APPLICATION_AUDIO, 64_000, true),
        };
        let rate_hz = self.codec.rate_hz() as i32;
        let mut encoder = OpusEncoder::new(rate_hz, 1, application).expect("a rate of Opus");
        encoder.set_bitrate(bit_rate);
        encoder.set_vbr(1);
        if !celt {
            encoder.set_inband_fec(1);
            encoder.set_packet_loss_perc(5);
        }
        encoder.set_complexity(2);
        Box::new(move |samples| {
            let mut payload = [0; MOST_BYTES];
            let bytes = encoder
                .encode(
                    samples,
                    samples.len() as i32,
                    &mut payload,
                    MOST_BYTES as i32,
                )
                .expect("a length of Opus");
            // RFC 6716 section 3.1: the first bit tells CELT from SILK.
            let is_celt = payload[0] & 0x80 != 0;
            assert_eq!(is_celt, celt, "the encoder chose the other mode");
            payload[..bytes as usize].to_vec()
        })
    }

    /// What the agent's telephone makes of packets, at 8 kHz, laid where the caller said it.
    pub(crate) fn play(&self, left: &[Left], length: usize) -> Vec<i16> {
        let mut timeline = vec![0; self.times() * length];
        let mut decoder = Decoder::new(self.codec);
        let mut call = 0;
        for left in left {
            if left.call != call {
                decoder = Decoder::new(self.codec);
                call = left.call;
            }
            let mut samples = [0; MAX_SAMPLES];
            let count = decoder.decode(&left.payload, &mut samples);
            let samples = &samples[..count.expect("what leaves can be decoded")];
            let first = left.first * self.times() as i64;
            for (sample, at) in samples.iter().zip(first..) {
                if let Some(place) = usize::try_from(at).ok().and_then(|at| timeline.get_mut(at)) {
                    *place = *sample;
                }
            }
        }
        self.narrowed(&timeline)
    }

    /// At 8 kHz.
    pub(crate) fn narrowed(&self, samples: &[i16]) -> Vec<i16> {
        match self.times() {
            1 => samples.to_vec(),
            times => {
                let mut narrow = vec![0; samples.len() / times];
                Decimator::default().decimate(samples, &mut narrow);
                narrow
            }
        }
    }

    /// What becomes of audio without any mask, at 8 kHz: relayed, or decoded and encoded anew by the
    /// gateway, where `between` may change it.
    pub(crate) fn through(
        &self,
        samples: &[i16],
        packet: usize,
        anew: Option<&Between>,
    ) -> Vec<i16> {
        let mut heard = self.decoded(&self.encode(samples, packet));
        if let Some(between) = anew {
            // The gateway's ear takes this long in codecs of 16 kHz.
            if self.times() > 1 {
                heard.splice(0..0, [0; RESAMPLING_DELAY]);
                heard.truncate(samples.len());
            }
            between(&mut heard);
            let gateway = Self::new(self.name, self.codec, Encoding::Ours);
            heard = self.decoded(&gateway.encode(&heard, packet));
        }
        heard.resize(samples.len(), 0);
        self.narrowed(&heard)
    }

    fn decoded(&self, payloads: &[Vec<u8>]) -> Vec<i16> {
        let mut decoder = Decoder::new(self.codec);
        let mut heard = Vec::new();
        for payload in payloads {
            let mut samples = [0; MAX_SAMPLES];
            let count = decoder.decode(payload, &mut samples);
            heard.extend(&samples[..count.expect("its own packets can be decoded")]);
        }
        heard
    }
}

fn rounded(sample: &f64) -> i16 {
    sample.round().clamp(-32_768.0, 32_767.0) as i16
}

/// How a codec treats what goes through it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    /// How much later a key is heard, samples of 8 kHz.
    pub(crate) delay: usize,
}

/// The paths of a telephone: relayed, and through the gateway's decoder and encoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paths {
    pub(crate) relayed: Path,
    pub(crate) anew: Path,
}

impl Paths {
    /// Measures them with voices.
    pub(crate) fn measure(telephone: &Telephone, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let said = noise(Noise::Babble, 16_000, power_of(-15.0), &mut rng);
        let heard = telephone.hear(&said, &[], &mut rng);
        let path = |anew| {
            let arrived = telephone.through(&heard, 160, anew);
            let alike = (0..MOST_DELAY).map(|delay| (delay, correlation(&said, &arrived[delay..])));
            let (delay, _) = alike
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .expect("there are delays");
            Path {
                delay: delay - telephone.noise_delay(),
            }
        };
        Self {
            relayed: path(None),
            anew: path(Some(&|_| {})),
        }
    }
}

/// How alike two pieces of audio are, -1 to 1.
pub(crate) fn correlation(said: &[f64], heard: &[i16]) -> f64 {
    let (mut both, mut one, mut other) = (0.0, 0.0, 1e-9);
    for (said, heard) in said.iter().zip(heard) {
        both += said * f64::from(*heard);
        one += said.powi(2);
        other += f64::from(*heard).powi(2);
    }
    both / (one * other).sqrt().max(1e-9)
}
