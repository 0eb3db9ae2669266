mod adversarial;
mod audible;
mod codecs;
mod continuous;
mod cover;
mod events;
mod g729;
mod holding;
mod info;
mod late;
mod masking;
mod messages;
mod mirror;
mod network;
mod noninterference;
mod pin;
mod profiles;
mod reports;
mod seams;
mod sequence;
mod shadow;
mod sources;
mod spoken;
mod transports;
mod trigger;

use std::{collections::HashSet, f64::consts::TAU, sync::Arc, time::Duration};

use crate::proto::{
    codec::Law,
    encoding::{AudioCodec, Encoding},
    rtp::write_header,
};

use self::reports::sender_report;
use super::*;

pub(super) const EVENT: u8 = 101;
/// The same in a clock of its own.
const FOREIGN_EVENT: u8 = 110;
/// RFC 2198, where a test names it.
const RED: u8 = 121;
/// RFC 4733 section 4, where a test names it.
const TONE: u8 = 122;
/// Frequencies of the keys, Hz.
const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS_HZ: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const SSRC: u32 = 0x1234_5678;
const MILLISECOND: Duration = Duration::from_millis(1);

/// A call in simulated time with a caller who counts.
pub(super) struct World {
    pub(super) call: Call,
    now: Now,
    out: Outbox,
    /// Whose packets these are.
    from: Leg,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    pub(super) said: Vec<Output>,
    /// Everything that left towards the other leg, and when.
    tape: Vec<(Instant, Vec<u8>)>,
}

pub(super) fn leg(port: u16) -> LegMedia {
    LegMedia {
        rtp: ([127, 0, 0, 1], port).into(),
        rtcp: ([127, 0, 0, 1], port + 1).into(),
        source: SourcePolicy::Exact,
        payload_types: vec![
            (0, Encoding::Audio(AudioCodec::Pcmu)),
            (8, Encoding::Audio(AudioCodec::Pcma)),
            (EVENT, Encoding::TelephoneEvent(8_000)),
            (FOREIGN_EVENT, Encoding::TelephoneEvent(48_000)),
        ],
        packet_time: Duration::from_millis(20),
    }
}

/// What an agent may dial, with a PIN or without one.
fn code_of(code: &str, pin: Option<&str>) -> Option<Arc<AgentCode>> {
    Some(Arc::new(AgentCode {
        code: code.parse().unwrap(),
        pin: pin.map(|pin| pin.parse().unwrap()),
    }))
}

pub(super) fn payment(serial: char) -> Holder {
    Holder::Payment(
        format!("pay_default_sim_01ARZ3NDEKTSV4RRFFQ69G5FA{serial}")
            .parse()
            .expect("a constant id"),
    )
}

/// Two sines of a key, or of something else at level 0.
fn tone(row_hz: f64, column_hz: f64, level: f64, from: usize, samples: usize) -> Vec<u8> {
    (from..from + samples)
        .map(|n| {
            let t = n as f64 / 8_000.0;
            let sample = level * ((TAU * row_hz * t).sin() + (TAU * column_hz * t).sin());
            Law::Mu.encode(sample as i16)
        })
        .collect()
}

pub(super) fn five(from: usize, samples: usize) -> Vec<u8> {
    tone(770.0, 1_336.0, 6_000.0, from, samples)
}

fn voice(samples: usize) -> Vec<u8> {
    tone(180.0, 310.0, 300.0, 0, samples)
}

fn event(code: u8, end: bool, duration: u16) -> [u8; 4] {
    let [high, low] = duration.to_be_bytes();
    [code, if end { 0x8a } else { 0x0a }, high, low]
}

fn header_of(datagram: &[u8]) -> RtpHeader {
    RtpHeader::parse(datagram).unwrap()
}

impl World {
    pub(super) fn answered() -> Self {
        Self::answered_and_masked(Masking::default())
    }

    fn answered_and_masked(masking: Masking) -> Self {
        let mut world = Self::unanswered();
        world.call = Call::new(masking);
        world.command(Command::SetLeg(Leg::Caller, leg(4_000)));
        world.command(Command::SetLeg(Leg::Agent, leg(4_002)));
        world
    }

    fn unanswered() -> Self {
        Self {
            call: Call::default(),
            now: Now {
                instant: Instant::now(),
                utc: "2026-11-22T12:00:00Z".parse().unwrap(),
            },
            out: Outbox::default(),
            from: Leg::Caller,
            ssrc: SSRC,
            sequence: 65_500,
            timestamp: u32::MAX - 1_000,
            said: Vec::new(),
            tape: Vec::new(),
        }
    }

    pub(super) fn armed() -> Self {
        let mut world = Self::answered();
        world.speak(5);
        world.command(Command::Arm(Holder::Ng));
        world
    }

    pub(super) fn command(&mut self, command: Command) {
        self.call.handle_command(command, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.call.poll_output() {
            self.said.push(output);
        }
    }

    fn left(&self) -> Vec<Vec<u8>> {
        self.out
            .cleared()
            .map(|cleared| cleared.datagram().to_vec())
            .collect()
    }

    /// Lets time pass and serves the timers.
    pub(super) fn wait(&mut self, milliseconds: u32) -> Vec<Vec<u8>> {
        let mut left = Vec::new();
        for step in 0..=milliseconds {
            if step > 0 {
                self.now = self.now.after(MILLISECOND);
            }
            while let Some(due) = self.call.poll_timeout()
                && due <= self.now.instant
            {
                self.call.handle_timeout(self.now, &mut self.out);
                let towards_agent = self.left();
                self.call.handle_mirror_timeout(self.now, &mut self.out);
                let released = match self.from {
                    Leg::Caller => towards_agent,
                    Leg::Agent => self.left(),
                };
                self.record(&released);
                left.extend(released);
                self.drain();
            }
        }
        left
    }

    fn datagram(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let header = write_header(payload_type, false, self.sequence, timestamp, self.ssrc);
        self.sequence = self.sequence.wrapping_add(1);
        [&header, payload].concat()
    }

    fn give(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.give_on(self.from, Channel::Rtp, &mut datagram.to_vec())
    }

    fn give_on(&mut self, from: Leg, channel: Channel, datagram: &mut [u8]) -> Vec<Vec<u8>> {
        let _ = self
            .call
            .handle_media(from, channel, datagram, self.now, &mut self.out);
        self.drain();
        let left = self.left();
        if from == self.from {
            self.record(&left);
        }
        left
    }

    fn record(&mut self, left: &[Vec<u8>]) {
        let at = self.now.instant;
        let left = left.iter().map(|datagram| (at, datagram.clone()));
        self.tape.extend(left);
    }

    /// One packet of audio, and its time.
    pub(super) fn audio(&mut self, payload_type: u8, payload: &[u8]) -> Vec<Vec<u8>> {
        let datagram = self.datagram(payload_type, self.timestamp, payload);
        self.timestamp = self.timestamp.wrapping_add(payload.len() as u32);
        let left = self.give(&datagram);
        self.wait(payload.len() as u32 / 8);
        left
    }

    pub(super) fn speak(&mut self, packets: usize) -> Vec<Vec<u8>> {
        (0..packets)
            .flat_map(|_| self.audio(0, &voice(160)))
            .collect()
    }

    /// A key of `packets` times 20 ms as events only; `beside` is sent beside them.
    fn key(&mut self, code: u8, packets: u16, beside: Option<&[u8]>) -> Vec<Vec<u8>> {
        let begin = self.timestamp;
        let mut left = Vec::new();
        for packet in 1..=packets {
            if let Some(audio) = beside {
                let datagram = self.datagram(0, self.timestamp, audio);
                left.extend(self.give(&datagram));
            }
            let last = packet == packets;
            for _ in 0..if last { 3 } else { 1 } {
                let datagram = self.datagram(EVENT, begin, &event(code, last, packet * 160));
                left.extend(self.give(&datagram));
            }
            self.timestamp = self.timestamp.wrapping_add(160);
            self.wait(20);
        }
        left
    }

    fn release(&mut self) {
        self.command(Command::Release(Holder::Ng));
        for _ in 0..60 {
            self.speak(1);
        }
        assert!(!self.call.is_armed());
    }

    fn proof(&mut self) -> MaskingProof {
        self.command(Command::HangUp);
        let proofs = self.said.iter().find_map(|output| match output {
            Output::Ended(proof) => Some(*proof),
            _ => None,
        });
        proofs.unwrap()
    }

    fn count(&self, is: impl Fn(&Output) -> bool) -> usize {
        self.said.iter().filter(|output| is(output)).count()
    }
}

/// All that was sent, of datagrams without anything beside header and payload.
fn payloads(left: &[Vec<u8>]) -> Vec<u8> {
    left.iter()
        .flat_map(|datagram| datagram[12..].to_vec())
        .collect()
}

/// 2 ms of a tone tell a key: no window of `sent` may stand in what left.
fn assert_no_tone(left: &[Vec<u8>], sent: &[u8]) {
    let tone: HashSet<&[u8]> = sent.windows(16).collect();
    for datagram in left {
        assert!(!datagram[12..].windows(16).any(|w| tone.contains(w)));
    }
}

fn assert_seamless(left: &[Vec<u8>]) {
    for pair in left.windows(2) {
        let (before, after) = (header_of(&pair[0]), header_of(&pair[1]));
        assert_eq!(after.sequence, before.sequence.wrapping_add(1));
        let samples = before.payload.len() as u32;
        assert_eq!(after.timestamp, before.timestamp.wrapping_add(samples));
    }
}

#[test]
fn before_any_arming_every_datagram_leaves_bit_for_bit() {
    let mut world = World::answered();
    let audio = world.datagram(0, 7, &voice(160));
    let mut padded = world.datagram(0, 167, &[1, 2, 3, 4]);
    padded[0] |= 1 << 5;
    padded[15] = 2;
    let mut extended = world.datagram(99, 0, &[0xbe, 0xde, 0, 1, 9, 9, 9, 9, 5]);
    extended[0] |= 1 << 4;
    let key = world.datagram(EVENT, 327, &event(5, true, 800));
    for datagram in [&audio, &padded, &audio, &extended, &key] {
        assert_eq!(world.give(datagram), std::slice::from_ref(datagram));
    }
    let report = sender_report(1, 2, 3);
    let mut arrived = report.clone();
    let left = world.give_on(Leg::Caller, Channel::Rtcp, &mut arrived);
    assert_eq!(left, [report]);
}

#[test]
fn a_call_without_a_field_or_a_hole_waits_for_no_timer_armed_or_not() {
    for mut world in [World::answered(), World::armed()] {
        for _ in 0..100 {
            world.speak(1);
            assert_eq!(world.call.poll_timeout(), None);
        }
        world.key(5, 5, None);
        assert_eq!(world.call.poll_timeout(), None);
    }
}

#[test]
fn the_agents_voice_passes_bit_for_bit_while_armed() {
    let mut world = World::armed();
    let sent = world.datagram(8, 5, &five(0, 160));
    let mut datagram = sent.clone();
    let now = world.now;
    let forward =
        world
            .call
            .handle_media(Leg::Agent, Channel::Rtp, &mut datagram, now, &mut world.out);
    assert_eq!((forward, datagram), (Ok(Forward::ToCallerRtp), sent));
}
