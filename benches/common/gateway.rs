//! The product itself: a call from a caller's datagrams to the agent's, in simulated time.

use std::time::{Duration, Instant};

use rand::{RngExt, rngs::StdRng};
use tonewall::proto::{
    call::{Call, Channel, Command, Forward, Holder, LegMedia, Output, SourcePolicy},
    codec::Law,
    encoding::{AudioCodec, Encoding},
    leg::Leg,
    mask::{Guard, Masking, Outbox},
    proof::MaskingProof,
    rtp::{RtpHeader, write_header},
    time::Now,
};

const SAMPLE: Duration = Duration::from_nanos(125_000);
/// Where the caller's timestamps begin: shortly before they wrap.
const FIRST_TIMESTAMP: u32 = u32::MAX - 50_000;
/// See [`FIRST_TIMESTAMP`].
const FIRST_SEQUENCE: u16 = u16::MAX - 300;
const SSRC: u32 = 0x1234_5678;
/// Peak of the neutral sound, and samples of its period: what replaces a tone is told apart by them.
const NEUTRAL: (f64, usize) = (1_600.0, 20);

/// How the network treats the caller's packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    /// Share of packets lost.
    pub(crate) loss: f64,
    /// Share of packets that are overtaken by the next one.
    pub(crate) swap: f64,
    /// Most that a packet is late, in samples; its followers queue behind it.
    pub(crate) jitter: usize,
}

impl Network {
    pub(crate) const CLEAN: Self = Self {
        loss: 0.0,
        swap: 0.0,
        jitter: 0,
    };
}

/// What a sample of the caller became at the agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Never came.
    Lost,
    /// Silence or the neutral sound came in its place.
    Replaced,
    /// It left as it was, or as something that is neither: a listener hears it.
    Heard,
}

/// What the agent got, on the caller's scale of samples.
pub(crate) struct Agent {
    pub(crate) codes: Vec<u8>,
    pub(crate) fates: Vec<Fate>,
    /// Frames that are neither the caller's own nor a known replacement.
    pub(crate) strange_frames: usize,
    /// Times at which the output check heard a tone and the call had to be begun anew.
    pub(crate) incidents: usize,
    /// What the line was too noisy for less than.
    pub(crate) guard: Option<Guard>,
    /// Sums over all calls that were needed.
    pub(crate) proof: MaskingProof,
}

/// A stretch of a caller's audio in G.711 and how it travels.
pub(crate) struct Journey<'a> {
    pub(crate) law: Law,
    pub(crate) codes: &'a [u8],
    /// Samples a packet.
    pub(crate) packet: usize,
    pub(crate) network: Network,
    /// How it is masked.
    pub(crate) masking: Masking,
    /// From which sample on the call is armed; `None` for never.
    pub(crate) armed_from: Option<usize>,
    /// Where keys are pressed: a call that an incident muted is begun anew after the key under way.
    pub(crate) keys: &'a [std::ops::Range<usize>],
}

impl Journey<'_> {
    /// Sends it through the product.
    pub(crate) fn run(&self, rng: &mut StdRng) -> Agent {
        let codec = match self.law {
            Law::Mu => AudioCodec::Pcmu,
            Law::A => AudioCodec::Pcma,
        };
        let packets = self.codes.chunks_exact(self.packet);
        let payloads: Vec<Vec<u8>> = packets.map(<[u8]>::to_vec).collect();
        let route = Route {
            codec,
            payloads: &payloads,
            packet: self.packet,
            network: self.network,
            masking: self.masking,
            armed_from: self.armed_from,
            keys: self.keys,
        };
        let trip = route.travel(rng);
        let mut agent = Agent {
            codes: vec![self.law.silence(); self.codes.len()],
            fates: vec![Fate::Lost; self.codes.len()],
            strange_frames: 0,
            incidents: trip.incidents,
            guard: trip.guard,
            proof: trip.proof,
        };
        let replacements = replacements(self.law);
        for left in &trip.left {
            self.understand(left, &replacements, &mut agent);
        }
        agent
    }

    /// Puts what left where the caller said it, and says what became of it.
    fn understand(&self, left: &Left, replacements: &[bool; 256], agent: &mut Agent) {
        let frame = &left.payload[left.silent..];
        let first = left.first + left.silent as i64;
        let place = |n: usize| usize::try_from(first + n as i64).ok();
        let own = frame
            .iter()
            .enumerate()
            .all(|(n, code)| place(n).and_then(|at| self.codes.get(at)) == Some(code));
        let replaced = !own && frame.iter().all(|code| replacements[usize::from(*code)]);
        if first >= left.armed_at && !own && !replaced {
            agent.strange_frames += 1;
        }
        for (n, code) in frame.iter().enumerate() {
            if let Some(at) = place(n).filter(|at| *at < agent.codes.len()) {
                agent.codes[at] = *code;
                agent.fates[at] = if replaced {
                    Fate::Replaced
                } else {
                    Fate::Heard
                };
            }
        }
    }
}

/// A caller's packets in any codec and how they travel.
pub(crate) struct Route<'a> {
    pub(crate) codec: AudioCodec,
    pub(crate) payloads: &'a [Vec<u8>],
    /// Samples of 8 kHz a packet.
    pub(crate) packet: usize,
    pub(crate) network: Network,
    pub(crate) masking: Masking,
    /// See [`Journey::armed_from`].
    pub(crate) armed_from: Option<usize>,
    /// See [`Journey::keys`].
    pub(crate) keys: &'a [std::ops::Range<usize>],
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Trip {
    /// In the order in which it left.
    pub(crate) left: Vec<Left>,
    /// See [`Agent::incidents`].
    pub(crate) incidents: usize,
    pub(crate) guard: Option<Guard>,
    pub(crate) proof: MaskingProof,
}

/// A packet that left for the agent. Positions are samples of 8 kHz.
pub(crate) struct Left {
    /// Where the caller said its first sample.
    pub(crate) first: i64,
    /// So much of its beginning is the silence that a longer look-ahead is paid with.
    pub(crate) silent: usize,
    pub(crate) payload: Vec<u8>,
    /// Where the caller said the first sample that came armed. The frame before it begins with the
    /// look-ahead's silence.
    pub(crate) armed_at: i64,
    /// How many calls had ended before.
    pub(crate) call: usize,
}

impl Route<'_> {
    /// Sends it through the product.
    pub(crate) fn travel(&self, rng: &mut StdRng) -> Trip {
        let mut world = World {
            route: self,
            call: Call::new(self.masking),
            late: 0,
            inserted: 0,
            out: Outbox::default(),
            // The one reading of a clock: simulated time needs somewhere to begin.
            begin: Now {
                instant: Instant::now(),
                utc: "2026-11-22T12:00:00Z".parse().expect("a constant time"),
            },
            trip: Trip::default(),
            incident: false,
            armed_at: 0,
        };
        world.begin_call(0);
        let mut armed = false;
        let mut deaf_until = 0;
        for (at, sent, mut datagram) in self.packets(rng) {
            if sent < deaf_until {
                continue;
            }
            if !armed && self.armed_from.is_some_and(|from| sent >= from) {
                armed = true;
                world.arm(at, sent);
            }
            world.feed(at, armed, &mut datagram);
            if std::mem::take(&mut world.incident) {
                world.trip.incidents += 1;
                let under_way = self
                    .keys
                    .iter()
                    .rev()
                    .find(|key| key.start < sent + self.packet);
                deaf_until = under_way.map_or(sent, |key| key.end) + 160;
                world.hang_up(at);
                world.begin_call(at);
                world.arm(at, deaf_until);
            }
        }
        world.hang_up(self.payloads.len() * self.packet);
        world.trip
    }

    /// Arrival, first sample, datagram; in order of arrival.
    fn packets(&self, rng: &mut StdRng) -> Vec<(usize, usize, Vec<u8>)> {
        let mut packets = Vec::with_capacity(self.payloads.len());
        let mut clock = 0;
        for (n, payload) in self.payloads.iter().enumerate() {
            let first = n * self.packet;
            let header = write_header(
                payload_type(self.codec),
                false,
                FIRST_SEQUENCE.wrapping_add(n as u16),
                FIRST_TIMESTAMP.wrapping_add(first as u32 * self.codec.ticks()),
                SSRC,
            );
            clock = clock.max(first + self.packet + rng.random_range(0..=self.network.jitter));
            if rng.random_bool(self.network.loss) {
                continue;
            }
            let late = if rng.random_bool(self.network.swap) {
                self.packet + 1
            } else {
                0
            };
            packets.push((clock + late, first, [&header[..], payload].concat()));
        }
        packets.sort_by_key(|(at, _, _)| *at);
        packets
    }
}

/// As RFC 3551 section 6 has it, else a dynamic one.
const fn payload_type(codec: AudioCodec) -> u8 {
    match codec {
        AudioCodec::Pcmu => 0,
        AudioCodec::Pcma => 8,
        AudioCodec::G722 => 9,
        AudioCodec::G729 => 18,
        AudioCodec::Opus => 111,
    }
}

/// Codewords that a replacement may consist of.
fn replacements(law: Law) -> [bool; 256] {
    let mut known = [false; 256];
    known[usize::from(law.silence())] = true;
    for n in 0..NEUTRAL.1 {
        let angle = std::f64::consts::TAU * n as f64 / NEUTRAL.1 as f64;
        known[usize::from(law.encode((NEUTRAL.0 * angle.sin()).round() as i16))] = true;
    }
    known
}

struct World<'a> {
    route: &'a Route<'a>,
    call: Call,
    /// Samples that what is armed leaves late.
    late: usize,
    /// Samples of silence that come before what waits: the look-ahead has become longer.
    inserted: usize,
    out: Outbox,
    begin: Now,
    trip: Trip,
    incident: bool,
    armed_at: usize,
}

impl World<'_> {
    fn now(&self, at: usize) -> Now {
        self.begin.after(SAMPLE * at as u32)
    }

    fn begin_call(&mut self, at: usize) {
        self.call = Call::new(self.route.masking);
        for (leg, port) in [(Leg::Caller, 4_000), (Leg::Agent, 4_002)] {
            let media = leg_media(port, self.route.codec, self.route.packet);
            self.command(at, Command::SetLeg(leg, media));
        }
    }

    /// `first` is the first sample that comes armed.
    fn arm(&mut self, at: usize, first: usize) {
        self.armed_at = first;
        self.late = self.route.masking.profile.guard().look_ahead_samples();
        self.inserted = 0;
        self.command(at, Command::Arm(Holder::Ng));
        assert!(
            self.call.is_armed(),
            "a call in a codec of ours can be armed"
        );
    }

    fn hang_up(&mut self, at: usize) {
        self.command(at, Command::HangUp);
    }

    fn command(&mut self, at: usize, command: Command) {
        let now = self.now(at);
        self.call.handle_command(command, now);
        self.drain();
    }

    fn feed(&mut self, at: usize, armed: bool, datagram: &mut [u8]) {
        let now = self.now(at);
        while self
            .call
            .poll_timeout()
            .is_some_and(|due| due <= now.instant)
        {
            self.call.handle_timeout(now, &mut self.out);
            self.collect(armed);
            self.drain();
        }
        let out = &mut self.out;
        let forward = self
            .call
            .handle_media(Leg::Caller, Channel::Rtp, datagram, now, out);
        self.drain();
        if forward == Ok(Forward::ToAgentRtp) {
            self.collect(armed);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.call.poll_output() {
            match output {
                Output::Incident => self.incident = true,
                Output::Tightened(guard) => {
                    let more = guard.look_ahead_samples() - self.late;
                    self.trip.guard = Some(guard);
                    self.late += more;
                    self.inserted += more;
                }
                Output::Ended(proof) => {
                    self.trip.proof.packets_sent += proof.packets_sent;
                    self.trip.proof.packets_masked += proof.packets_masked;
                    self.trip.proof.keys_heard += proof.keys_heard;
                }
                Output::ArmRefused(_, refusal) => panic!("{refusal}"),
                Output::Armed(_)
                | Output::Disarmed
                | Output::Capture(_)
                | Output::Captured(_, _)
                | Output::Contested(_)
                | Output::Shadowed(_) => {}
            }
        }
    }

    /// Keeps what left. While armed, it left late by the look-ahead.
    fn collect(&mut self, armed: bool) {
        let late = if armed { self.late } else { 0 };
        for cleared in self.out.cleared() {
            let datagram = cleared.datagram();
            let header = RtpHeader::parse(datagram).expect("what leaves is RTP");
            let payload = datagram[header.payload.clone()].to_vec();
            let codec = self.route.codec;
            let length = codec.length_of(&payload).expect("what leaves is audio");
            let silent = self.inserted.min(length);
            self.inserted -= silent;
            let shifted = header.timestamp.wrapping_sub(FIRST_TIMESTAMP) as i32;
            self.trip.left.push(Left {
                first: i64::from(shifted) / i64::from(codec.ticks()) - late as i64,
                silent,
                payload,
                armed_at: self.armed_at as i64,
                call: self.trip.incidents,
            });
        }
    }
}

fn leg_media(port: u16, codec: AudioCodec, packet: usize) -> LegMedia {
    let address = ([127, 0, 0, 1], port).into();
    LegMedia {
        rtp: address,
        rtcp: address,
        source: SourcePolicy::Exact,
        payload_types: vec![
            (payload_type(codec), Encoding::Audio(codec)),
            (101, Encoding::TelephoneEvent(8_000)),
        ],
        packet_time: Duration::from_millis(packet as u64 / 8),
    }
}
