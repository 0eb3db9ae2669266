//! One simulated call, from its answer to its end, and what is checked on the way.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tonewall::{
    media::SlotSource,
    proto::{
        call::{Call, Channel, Command, Forward, Holder, LegMedia, Output, SourcePolicy},
        capture::{CaptureEventKind, CaptureFailure, CaptureSettings},
        card::{Brand, CapturedField},
        codec::Law,
        encoding::{AudioCodec, Encoding},
        field::Field,
        id::PaymentId,
        leg::Leg,
        mask::Outbox,
        rtp::{RtpHeader, write_header},
        time::Now,
    },
    secret_memory::Slab,
};

use super::{
    caller::{Caller, PACKET, Press, Quirks, Transport, WINDOW},
    network::{Impairment, carry},
    report::Report,
};

const EVENT: u8 = 101;
const SAMPLE: Duration = Duration::from_nanos(125_000);
/// Test cards of several lengths.
const CARDS: [(&str, &str); 4] = [
    ("4242424242424242", "1234"),
    ("378282246310005", "7373"),
    ("5555555555554444", "0119"),
    ("30569309025904", "6712"),
];

/// Slots of a call's secret memory; each test thread has its own.
const SLOTS: usize = 8;

thread_local! {
    static SLAB: Slab = Slab::map(SLOTS, 1, false).expect("this host has lockable memory");
}

/// What a call is made of.
pub(crate) struct Plan {
    seed: u64,
    network: Impairment,
    transports: &'static [Transport],
    /// Added to every digit: the other world of non-interference.
    rotate: u8,
    faults: bool,
    masked: bool,
    quirks: Quirks,
}

impl Plan {
    pub(crate) fn clean(seed: u64) -> Self {
        Self {
            seed,
            network: Impairment::NONE,
            transports: &[Transport::Event, Transport::Tone, Transport::Both],
            rotate: 0,
            faults: false,
            masked: true,
            quirks: Quirks::NONE,
        }
    }

    /// Packets of 10 to 60 ms, pauses, a jump of the timestamps in the middle of the call.
    pub(crate) fn odd(seed: u64) -> Self {
        const JUMPS: [u32; 6] = [0, 700, 1_300, 100_000, 0u32.wrapping_sub(900), 1 << 31];
        let quirks = Quirks {
            packet: [80, 160, 240, 480][seed as usize % 4],
            pauses: seed.is_multiple_of(3),
            jump: (60_000, JUMPS[seed as usize % JUMPS.len()]),
        };
        Self {
            quirks,
            ..Self::bad(seed)
        }
    }

    pub(crate) fn odd_events_only(seed: u64, rotate: u8) -> Self {
        Self {
            quirks: Self::odd(seed).quirks,
            ..Self::events_only(seed, rotate)
        }
    }

    pub(crate) fn bad(seed: u64) -> Self {
        Self {
            network: Impairment {
                loss: 0.01,
                duplicate: 0.01,
                swap: 0.01,
                jitter: 320,
                scatter: 0,
                strangers: 0.02,
            },
            faults: true,
            ..Self::clean(seed)
        }
    }

    /// Every fifth packet is overtaken by the one behind it.
    pub(crate) fn swapped(seed: u64) -> Self {
        Self {
            network: Impairment {
                swap: 0.2,
                ..Impairment::NONE
            },
            ..Self::clean(seed)
        }
    }

    /// Loss of 5 % and delays of up to 60 ms, so that packets overtake each other by three.
    pub(crate) fn scattered(seed: u64) -> Self {
        Self {
            network: Impairment {
                loss: 0.05,
                scatter: 480,
                ..Impairment::NONE
            },
            ..Self::clean(seed)
        }
    }

    /// So much of what is sent is lost, and keys are tones.
    pub(crate) fn tones_lost(seed: u64, loss: f64) -> Self {
        Self {
            network: Impairment {
                loss,
                ..Impairment::NONE
            },
            transports: &[Transport::Tone],
            ..Self::clean(seed)
        }
    }

    pub(crate) fn events_only(seed: u64, rotate: u8) -> Self {
        Self {
            transports: &[Transport::Event],
            rotate,
            ..Self::bad(seed)
        }
    }

    pub(crate) fn unmasked(mut self) -> Self {
        self.masked = false;
        self
    }
}

/// Where each field begins and what is keyed in it.
struct Script {
    fields: Vec<(Field, usize, Vec<u8>)>,
    presses: Vec<Press>,
    length: usize,
}

fn script(plan: &Plan, rng: &mut StdRng) -> Script {
    let (pan, code) = CARDS[rng.random_range(0..CARDS.len())];
    let brand_code = if pan.len() == 15 { 4 } else { 3 };
    let texts = [
        (Field::PaymentCardNumber, pan.to_owned()),
        (Field::ExpirationDate, "1230".to_owned()),
        (Field::SecurityCode, code[..brand_code].to_owned()),
    ];
    let mut at = rng.random_range(4_000..16_000);
    let mut presses = Vec::new();
    let mut fields = Vec::new();
    for (field, text) in texts {
        let opened = at;
        at += rng.random_range(4_000..12_000);
        let digits: Vec<u8> = text
            .bytes()
            .map(|b| (b - b'0' + plan.rotate) % 10)
            .collect();
        let transport = plan.transports[rng.random_range(0..plan.transports.len())];
        for key in &digits {
            let until = at + rng.random_range(440..1_200);
            presses.push(Press {
                key: *key,
                from: at,
                until,
                transport,
            });
            at = until + rng.random_range(440..3_000);
        }
        at += rng.random_range(4_000..8_000);
        fields.push((field, opened, digits));
    }
    Script {
        fields,
        presses,
        length: at + 16_000,
    }
}

fn leg(port: u16, law: Law, events: bool) -> LegMedia {
    let address = ([127, 0, 0, 1], port).into();
    let mut payload_types = vec![match law {
        Law::Mu => (0, Encoding::Audio(AudioCodec::Pcmu)),
        Law::A => (8, Encoding::Audio(AudioCodec::Pcma)),
    }];
    if events {
        payload_types.push((EVENT, Encoding::TelephoneEvent(8_000)));
    }
    LegMedia {
        rtp: address,
        rtcp: address,
        source: SourcePolicy::Exact,
        payload_types,
        packet_time: Duration::from_millis(20),
    }
}

fn settings() -> CaptureSettings {
    CaptureSettings {
        accepted_brands: vec![Brand::Visa, Brand::Mastercard, Brand::Amex, Brand::Diners],
        hash_ends: true,
        star_clears: true,
        first_digit_timeout: Duration::from_secs(20),
        inter_digit_timeout: Duration::from_secs(5),
        overall_timeout: Duration::from_secs(60),
        attempts: 3,
        min_postal_code_length: 4,
    }
}

fn payment() -> PaymentId {
    "pay_default_sim_01ARZ3NDEKTSV4RRFFQ69G5FAV"
        .parse()
        .expect("a constant id")
}

/// The call, the clock, and what left.
struct World<'a> {
    plan: &'a Plan,
    call: Call,
    out: Outbox,
    begin: Now,
    report: Report,
    armed_from: Option<usize>,
    expected: Option<(Field, Vec<u8>)>,
    /// The gateway crashed and started again when so much had left.
    crashed: Option<usize>,
}

/// Runs a call and checks the promises on the way.
pub(crate) fn simulate(plan: &Plan) -> Report {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let script = script(plan, &mut rng);
    let law = if rng.random_bool(0.5) {
        Law::Mu
    } else {
        Law::A
    };
    let caller = Caller::new(law, script.length, script.presses.clone(), &mut rng);
    let windows = caller.tone_windows();
    let arrived = carry(caller.packets(EVENT, plan.quirks), plan.network, &mut rng);
    let events_declared = rng.random_bool(0.8) || plan.transports == [Transport::Event];
    let mut world = World {
        plan,
        call: Call::default(),
        out: Outbox::default(),
        // The one reading of a clock: simulated time needs somewhere to begin.
        begin: Now {
            instant: Instant::now(),
            utc: "2026-11-22T12:00:00Z".parse().expect("a constant time"),
        },
        report: Report {
            keyed: script
                .fields
                .iter()
                .map(|(_, _, digits)| digits.clone())
                .collect(),
            ..Report::default()
        },
        armed_from: None,
        expected: None,
        crashed: None,
    };
    world.command(
        0,
        Command::SetLeg(Leg::Caller, leg(4_000, law, events_declared)),
    );
    world.command(0, Command::SetLeg(Leg::Agent, leg(4_002, law, true)));
    let arm_at = script.fields[0].1 - 2_000;
    let mut todo = script.fields.iter();
    let mut next_field = todo.next();
    let mut armed = false;
    let reinvite_at = rng.random_range(arm_at..script.length);
    let mut reinvited = !plan.faults;
    let mut crash_at = (plan.faults && rng.random_bool(0.15))
        .then(|| rng.random_range(arm_at + 2_000..script.length));
    for (at, datagram) in arrived {
        world.run_timers(at);
        if !armed && at >= arm_at {
            armed = true;
            world.arm(at);
        }
        if !reinvited && at >= reinvite_at {
            // A re-INVITE adds telephone-event in the middle: nothing is disarmed by it.
            reinvited = true;
            world.command(at, Command::SetLeg(Leg::Caller, leg(4_000, law, true)));
        }
        if crash_at.is_some_and(|crash| at >= crash) {
            crash_at = None;
            // What was captured is gone with its payment; the caller keys on all the same.
            next_field = None;
            world.crash(at, law);
        }
        if let Some((field, opened, digits)) = next_field
            && at >= *opened
        {
            world.open(at, *field, digits.clone());
            next_field = todo.next();
        }
        world.caller_sends(at, datagram);
        if plan.faults && rng.random_bool(0.002) {
            world.agent_sends(at);
        }
    }
    world.finish(script.length);
    world.check_agent(&caller, &windows);
    world.report
}

impl World<'_> {
    fn now(&self, at: usize) -> Now {
        self.begin.after(SAMPLE * at as u32)
    }

    fn command(&mut self, at: usize, command: Command) {
        let now = self.now(at);
        self.call.handle_command(command, now);
        self.drain();
        self.run_timers(at);
    }

    fn arm(&mut self, at: usize) {
        if !self.plan.masked {
            return;
        }
        self.command(at, Command::Arm(Holder::Payment(payment())));
        assert!(self.call.is_armed(), "seed {}", self.plan.seed);
        self.armed_from = Some(self.report.agent.len());
    }

    /// The process dies and starts again; the same call is offered anew, and it was armed.
    fn crash(&mut self, at: usize, law: Law) {
        if let Some((_, digits)) = self.expected.take() {
            self.report.fields_asked -= 1;
            self.report.digits_asked -= digits.len() as u64;
        }
        self.call = Call::default();
        self.crashed = Some(self.report.agent.len());
        self.command(at, Command::SetLeg(Leg::Caller, leg(4_000, law, true)));
        self.command(at, Command::Arm(Holder::Recovered));
        self.command(at, Command::SetLeg(Leg::Agent, leg(4_002, law, true)));
        assert!(self.call.is_armed(), "seed {}", self.plan.seed);
    }

    fn open(&mut self, at: usize, field: Field, digits: Vec<u8>) {
        if !self.plan.masked {
            return;
        }
        let slot = SLAB
            .with(SlotSource::acquire)
            .expect("slots are given back");
        self.report.fields_asked += 1;
        self.report.digits_asked += digits.len() as u64;
        self.expected = Some((field, digits));
        self.command(
            at,
            Command::OpenCapture {
                payment: payment(),
                field,
                from: Leg::Caller,
                settings: settings(),
                slot,
            },
        );
    }

    fn run_timers(&mut self, at: usize) {
        while let Some(due) = self.call.poll_timeout() {
            let now = self.now(at);
            if due > now.instant {
                return;
            }
            self.call.handle_timeout(now, &mut self.out);
            self.collect(at);
            self.drain();
        }
    }

    fn caller_sends(&mut self, at: usize, mut datagram: Vec<u8>) {
        let now = self.now(at);
        let forward =
            self.call
                .handle_media(Leg::Caller, Channel::Rtp, &mut datagram, now, &mut self.out);
        match forward {
            Ok(Forward::ToAgentRtp) => self.collect(at),
            Ok(Forward::ToAgentRtcp) => self.check_rtcp(),
            Ok(
                Forward::Nothing
                | Forward::ToCallerRtp
                | Forward::ToCallerCut(_)
                | Forward::ToCallerRtcp
                | Forward::MirroredRtp
                | Forward::MirroredRtcp,
            )
            | Err(_) => {}
        }
        self.drain();
    }

    /// The agent's voice goes through bit for bit, armed or not.
    fn agent_sends(&mut self, at: usize) {
        let header = write_header(0, false, 7, at as u32, 99);
        let sent = [&header[..], &[0x55; 160]].concat();
        let mut datagram = sent.clone();
        let now = self.now(at);
        let forward =
            self.call
                .handle_media(Leg::Agent, Channel::Rtp, &mut datagram, now, &mut self.out);
        assert_eq!(forward, Ok(Forward::ToCallerRtp));
        assert_eq!(datagram, sent);
    }

    fn collect(&mut self, at: usize) {
        for cleared in self.out.cleared() {
            self.report.agent.push((at, cleared.datagram().to_vec()));
        }
    }

    /// While armed, of RTCP only our own SR, RR, SDES and BYE leave.
    fn check_rtcp(&self) {
        for cleared in self.out.cleared().filter(|_| self.call.is_armed()) {
            let mut rest = cleared.datagram();
            while let Some(&[first, kind, high, low]) = rest.first_chunk() {
                assert!(
                    first >> 6 == 2 && (200..=203).contains(&kind),
                    "RTCP of type {kind} left"
                );
                rest = &rest[(usize::from(u16::from_be_bytes([high, low])) + 1) * 4..];
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.call.poll_output() {
            match output {
                Output::Captured(_, mut field) => self.captured(&mut field),
                Output::Capture(event) => match event.kind {
                    // What came late showed a key that was missed: asked again, never wrong.
                    CaptureEventKind::Failed {
                        reason: CaptureFailure::MediaLost,
                    } => self.expected = None,
                    CaptureEventKind::Failed { reason } => {
                        panic!("seed {}: capture failed: {reason:?}", self.plan.seed)
                    }
                    _ => {}
                },
                Output::Incident => {
                    panic!("seed {}: the output check heard a tone", self.plan.seed)
                }
                Output::Contested(leg) => panic!("seed {}: {leg:?} contested", self.plan.seed),
                Output::ArmRefused(_, refusal) => panic!("seed {}: {refusal}", self.plan.seed),
                Output::Armed(_)
                | Output::Disarmed
                | Output::Dialled(_)
                | Output::Tightened(_)
                | Output::Shadowed(_) => {}
                Output::Ended(proof) => {
                    assert_eq!(proof.tones_leaked, 0);
                    assert_eq!(proof.packets_checked, proof.packets_sent);
                }
            }
        }
    }

    fn captured(&mut self, field: &mut CapturedField) {
        let Some((expected_field, expected)) = self.expected.take() else {
            panic!("seed {}: a field that nobody asked for", self.plan.seed);
        };
        assert_eq!(field.field(), expected_field);
        let right = field.expose(|digits| digits == expected.as_slice());
        if right {
            self.report.fields_right += 1;
        } else {
            self.report.fields_wrong += 1;
            println!("seed {}: {:?} wrong", self.plan.seed, expected_field);
        }
    }

    fn finish(&mut self, length: usize) {
        if self.crashed.is_some() {
            assert!(self.call.is_armed(), "held until the call ends");
        } else if self.plan.masked {
            self.command(length, Command::Release(Holder::Payment(payment())));
            self.run_timers(length + 16_000);
            assert!(
                !self.call.is_armed(),
                "seed {}: still armed",
                self.plan.seed
            );
        }
        self.command(length + 16_000, Command::HangUp);
        let free = SLAB.with(Slab::free_key_slots);
        assert_eq!(free, SLOTS, "a slot was not given back");
    }

    /// Promise 1 on what left, and promise 3 on the voice.
    fn check_agent(&mut self, caller: &Caller, windows: &HashSet<[u8; WINDOW]>) {
        let seed = self.plan.seed;
        let from = self.armed_from.unwrap_or(self.report.agent.len());
        let mut last: Option<RtpHeader> = None;
        // Voice well away from keys: the middle 4 ms of each packet have to stand in some packet.
        let mut voice: HashMap<&[u8], bool> = (0..caller.codes.len() - 3 * PACKET)
            .step_by(PACKET)
            .filter(|at| !caller.near_a_key(*at, 1_600))
            .map(|at| (&caller.codes[at + 64..at + 96], false))
            .collect();
        for (at, (_, datagram)) in self.report.agent.iter().enumerate() {
            let header = RtpHeader::parse(datagram).expect("what leaves is RTP");
            let payload = &datagram[header.payload.clone()];
            if at >= from {
                assert_eq!(header.payload_type, caller.payload_type, "seed {seed}");
                // A call that begins anew in mid-event learns its packet time from the next audio.
                if self.crashed.is_none() {
                    assert_eq!(
                        payload.len(),
                        self.plan.quirks.packet,
                        "seed {seed}: packet sizes are constant"
                    );
                }
                if let Some(last) = last.as_ref().filter(|_| self.crashed != Some(at)) {
                    assert_eq!(
                        header.sequence,
                        last.sequence.wrapping_add(1),
                        "seed {seed}"
                    );
                    // After a crash a stranger's packet may come first, and the caller is followed later.
                    if self.crashed.is_none() {
                        assert_eq!(header.ssrc, last.ssrc, "seed {seed}");
                    }
                }
                last = Some(header);
            }
            self.report.leaked_windows += payload
                .windows(WINDOW)
                .filter(|window| windows.contains(*window))
                .count() as u64;
            for window in payload.windows(32) {
                if let Some(heard) = voice.get_mut(window) {
                    *heard = true;
                }
            }
        }
        if self.plan.masked {
            assert_eq!(
                self.report.leaked_windows, 0,
                "seed {seed}: tone reached the agent"
            );
        }
        self.report.voice_sent = voice.len() as u64;
        self.report.voice_concealed = voice.values().filter(|heard| !**heard).count() as u64;
    }
}
