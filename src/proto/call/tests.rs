use std::{collections::HashSet, f64::consts::TAU};

use crate::proto::{codec::Law, rtp::write_header};

use super::*;

pub(super) const EVENT: u8 = 101;
/// The same in a clock of its own.
const FOREIGN_EVENT: u8 = 110;
const SSRC: u32 = 0x1234_5678;
const MILLISECOND: Duration = Duration::from_millis(1);

/// A call in simulated time with a caller who counts.
pub(super) struct World {
    pub(super) call: Call,
    now: Now,
    out: Outbox,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    pub(super) said: Vec<Output>,
}

pub(super) fn leg(port: u16) -> LegMedia {
    LegMedia {
        rtp: ([127, 0, 0, 1], port).into(),
        rtcp: ([127, 0, 0, 1], port + 1).into(),
        source: SourcePolicy::Exact,
        payload_types: vec![
            (0, Encoding::Pcmu),
            (8, Encoding::Pcma),
            (EVENT, Encoding::TelephoneEvent(8_000)),
            (FOREIGN_EVENT, Encoding::TelephoneEvent(48_000)),
        ],
        packet_time: Duration::from_millis(20),
    }
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
    tone(180.0, 310.0, 900.0, 0, samples)
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
        let mut world = Self::unanswered();
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
            ssrc: SSRC,
            sequence: 65_500,
            timestamp: u32::MAX - 1_000,
            said: Vec::new(),
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
                left.extend(self.left());
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
        self.give_on(Leg::Caller, Channel::Rtp, &mut datagram.to_vec())
    }

    fn give_on(&mut self, from: Leg, channel: Channel, datagram: &mut [u8]) -> Vec<Vec<u8>> {
        let _ = self
            .call
            .handle_media(from, channel, datagram, self.now, &mut self.out);
        self.drain();
        self.left()
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
fn after_each_release_payloads_leave_bit_for_bit_and_numbers_go_on_without_a_break() {
    let mut world = World::answered();
    let mut left = world.speak(5);
    for _ in 0..3 {
        world.command(Command::Arm(Holder::Ng));
        left.extend(world.speak(3));
        left.extend(world.key(7, 6, None));
        left.extend(world.speak(10));
        world.command(Command::Release(Holder::Ng));
        for _ in 0..60 {
            left.extend(world.speak(1));
        }
        assert!(!world.call.is_armed());
        let shifts = world.call.stream.shifts();
        for _ in 0..20 {
            let sent = world.datagram(8, world.timestamp, &voice(160));
            world.timestamp = world.timestamp.wrapping_add(160);
            let arrived = world.give(&sent);
            let (ours, theirs) = (header_of(&arrived[0]), header_of(&sent));
            assert_eq!(arrived[0][12..], sent[12..]);
            assert_eq!(ours.sequence.wrapping_sub(theirs.sequence), shifts.sequence);
            assert_eq!(
                ours.timestamp.wrapping_sub(theirs.timestamp),
                shifts.timestamp
            );
            left.extend(arrived);
        }
    }
    assert_seamless(&left);
}

#[test]
fn an_event_that_the_arming_cuts_is_ended_and_no_more_of_it_leaves() {
    for beside in [None, Some(voice(160))] {
        let mut world = World::answered();
        world.speak(3);
        let begin = world.timestamp;
        let mut last = Vec::new();
        for packet in 1..=3 {
            if let Some(audio) = &beside {
                let datagram = world.datagram(0, world.timestamp, audio);
                last = world.give(&datagram);
                world.timestamp = world.timestamp.wrapping_add(160);
            }
            let datagram = world.datagram(EVENT, begin, &event(5, false, packet * 160));
            last.extend(world.give(&datagram));
            world.wait(20);
        }
        if let Some(audio) = &beside {
            let datagram = world.datagram(0, world.timestamp, audio);
            last.extend(world.give(&datagram));
        }
        world.timestamp = begin.wrapping_add(480);
        let next = header_of(last.last().unwrap()).sequence.wrapping_add(1);
        world.command(Command::Arm(Holder::Ng));
        let ends = world.wait(0);
        assert_eq!(ends.len(), 3);
        for (number, end) in (0..).zip(&ends) {
            assert_eq!(header_of(end).sequence, next.wrapping_add(number));
            assert_eq!(header_of(end).timestamp, begin);
            assert_eq!(end[12..], event(5, true, 480));
        }
        let datagram = world.datagram(EVENT, begin, &event(5, true, 640));
        let after = [world.give(&datagram), world.speak(10)].concat();
        assert!(
            after
                .iter()
                .all(|datagram| header_of(datagram).payload_type == 0)
        );
    }
}

#[test]
fn an_event_that_ended_before_the_arming_is_not_ended_again() {
    let mut world = World::answered();
    world.speak(1);
    let datagram = world.datagram(EVENT, world.timestamp, &event(5, false, 160));
    world.give(&datagram);
    // Its end is lost; the voice goes on.
    world.timestamp = world.timestamp.wrapping_add(160);
    world.speak(10);
    world.command(Command::Arm(Holder::Ng));
    assert!(world.wait(100).is_empty());
}

#[test]
fn a_call_armed_before_its_first_packet_leaks_nothing() {
    let mut by_event = World::answered();
    by_event.command(Command::Arm(Holder::Ng));
    let left = by_event.key(5, 10, None);
    assert!(
        left.iter()
            .all(|datagram| header_of(datagram).payload_type == 0)
    );
    assert_seamless(&left);

    let mut by_tone = World::answered();
    by_tone.command(Command::Arm(Holder::Ng));
    let sent = five(0, 1_600);
    let left: Vec<_> = sent.chunks(160).flat_map(|c| by_tone.audio(0, c)).collect();
    assert_no_tone(&left, &sent);
    assert_seamless(&left);
    let mut report = sender_report(1, 2, 3);
    let mut armed = World::answered();
    armed.command(Command::Arm(Holder::Ng));
    assert!(
        armed
            .give_on(Leg::Caller, Channel::Rtcp, &mut report)
            .is_empty()
    );
}

#[test]
fn a_recovered_call_is_armed_before_it_has_media() {
    let mut world = World::unanswered();
    world.command(Command::SetLeg(Leg::Caller, leg(4_000)));
    world.command(Command::Arm(Holder::Recovered));
    world.command(Command::SetLeg(Leg::Agent, leg(4_002)));
    assert!(world.call.is_armed());
    let left = world.key(5, 10, None);
    assert!(left.iter().all(|d| header_of(d).payload_type == 0));
}

#[test]
fn a_tone_is_masked_whatever_the_packet_time_and_whenever_it_begins() {
    for packet in [1, 40, 80, 160, 240, 479, 480, 481, 800] {
        for onset in [0, 1, 37, 150] {
            let mut world = World::armed();
            let sent = five(0, 2_400);
            let audio = [voice(4_800 + onset), sent.clone(), voice(4_800)].concat();
            let left: Vec<_> = audio
                .chunks(packet)
                .flat_map(|c| world.audio(0, c))
                .collect();
            assert_no_tone(&left, &sent);
            assert_seamless(&left);
            let voices: HashSet<Vec<u8>> = voice(4_800).windows(32).map(<[u8]>::to_vec).collect();
            let heard = left
                .iter()
                .filter(|d| d.windows(32).any(|w| voices.contains(w)));
            assert!(
                heard.count() * 2 > left.len(),
                "packets of {packet}: the voice is lost"
            );
            assert_eq!(
                world.proof().keys_heard,
                1,
                "packets of {packet}, onset {onset}"
            );
        }
    }
}

#[test]
fn events_that_differ_in_the_digit_only_leave_the_same() {
    let hear = |code: u8| {
        let mut world = World::armed();
        let mut left = world.key(code, 5, None);
        left.extend(world.speak(2));
        left.extend(world.key(code, 5, Some(&voice(160))));
        // Three in one packet, in a stretch without audio.
        let packed = [
            event(code, true, 800),
            event(code, true, 900),
            event(code, true, 700),
        ];
        let datagram = world.datagram(EVENT, world.timestamp, packed.as_flattened());
        left.extend(world.give(&datagram));
        world.timestamp = world.timestamp.wrapping_add(2_400);
        left.extend(world.speak(3));
        let datagram = world.datagram(FOREIGN_EVENT, 99, &event(code, false, 960));
        left.extend(world.give(&datagram));
        let datagram = world.datagram(113, 99, &event(code, true, 960));
        left.extend(world.give(&datagram));
        left.extend(world.speak(20));
        left
    };
    assert_eq!(hear(1), hear(9));
}

#[test]
fn many_events_in_one_packet_do_not_shift_the_mask_of_the_tone_after_them() {
    for events in [1, 3, 30, 370] {
        let mut world = World::armed();
        world.wait(100);
        let packed: Vec<u8> = (0..events).flat_map(|_| event(5, true, 65_535)).collect();
        let datagram = world.datagram(EVENT, world.timestamp, &packed);
        world.give(&datagram);
        // What it claimed has passed.
        world.timestamp = world.timestamp.wrapping_add(1_200);
        let mut left = world.speak(50);
        let sent = five(0, 1_600);
        left.extend(sent.chunks(160).flat_map(|c| world.audio(0, c)));
        assert_no_tone(&left, &sent);
    }
}

#[test]
fn every_press_of_a_packet_is_counted() {
    let mut world = World::armed();
    let packed: Vec<u8> = (0..8).flat_map(|code| event(code, true, 400)).collect();
    let datagram = world.datagram(EVENT, world.timestamp, &packed);
    world.give(&datagram);
    assert_eq!(world.proof().keys_heard, 8);
}

#[test]
fn a_long_key_in_a_clock_of_its_own_is_counted_once() {
    for beside in [false, true] {
        let mut world = World::armed();
        // 3 s at 48 kHz: three segments (RFC 4733 section 2.5.1.3).
        for packet in 1..=150u32 {
            let segment = (packet - 1) / 68;
            let begin = 5_000u32.wrapping_add(segment * 68 * 960);
            let duration = (packet - segment * 68) * 960;
            if beside {
                world.speak(1);
            } else {
                world.wait(20);
            }
            let payload = event(5, packet == 150, duration as u16);
            let datagram = world.datagram(FOREIGN_EVENT, begin, &payload);
            world.give(&datagram);
        }
        assert_eq!(world.proof().keys_heard, 1, "audio beside it: {beside}");
    }
}

#[test]
fn an_event_after_a_pause_does_not_fill_the_pause() {
    let mut world = World::armed();
    world.speak(3);
    world.wait(3_000);
    world.timestamp = world.timestamp.wrapping_add(24_000);
    let left = world.key(5, 10, None);
    assert!(left.len() <= 11, "{} packets in 200 ms", left.len());
    assert_eq!(world.proof().keys_heard, 1);
}

#[test]
fn a_source_whose_numbers_begin_anew_is_heard_again() {
    let mut world = World::armed();
    world.speak(5);
    world.sequence = world.sequence.wrapping_sub(5_000);
    let left = world.speak(30);
    assert!(left.len() >= 20, "{} packets left", left.len());
    assert_seamless(&left[1..]);
    world.ssrc = 7;
    world.sequence = 9;
    let left = world.speak(30);
    assert!(left.len() >= 20, "{} packets left", left.len());
    assert!(left.iter().all(|datagram| header_of(datagram).ssrc == 7));
}

#[test]
fn a_second_source_is_not_heard_beside_the_first_not_even_right_after_arming() {
    let mut world = World::armed();
    for _ in 0..4 {
        let stranger = write_header(0, false, world.sequence, 1, 99);
        assert!(
            world
                .give(&[&stranger[..], &five(0, 160)].concat())
                .is_empty()
        );
        world.sequence = world.sequence.wrapping_add(1);
    }
    let left = world.speak(5);
    assert!(left.iter().all(|datagram| header_of(datagram).ssrc == SSRC));
}

#[test]
fn of_what_is_not_understood_nothing_leaves_and_the_stream_goes_on() {
    for payload_type in [9, 13, 18, 96, 113, 121] {
        let mut world = World::armed();
        world.speak(1);
        let told = event(5, true, 800);
        let left: Vec<_> = (0..20)
            .flat_map(|_| world.audio(payload_type, &told.repeat(40)))
            .collect();
        assert!(left.len() >= 15);
        assert_seamless(&left);
        assert!(!left.iter().any(|d| d[12..].windows(4).any(|w| w == told)));
    }
}

#[test]
fn a_tone_in_the_other_law_is_masked_and_the_voice_passes() {
    let mut world = World::armed();
    let other = |codes: &[u8]| -> Vec<u8> {
        let encode = |code: &u8| Law::A.encode(Law::Mu.decode(*code));
        codes.iter().map(encode).collect()
    };
    let back = |codes: &[u8]| -> Vec<u8> {
        let encode = |code: &u8| Law::Mu.encode(Law::A.decode(*code));
        codes.iter().map(encode).collect()
    };
    world.speak(3);
    let sent = other(&five(0, 1_600));
    let mut left = world.audio(0, &voice(160));
    left.extend(sent.chunks(160).flat_map(|c| world.audio(8, c)));
    let after: Vec<_> = (0..20)
        .flat_map(|_| world.audio(8, &other(&voice(160))))
        .collect();
    assert_no_tone(&left, &back(&sent));
    assert_no_tone(&after, &back(&sent));
    let spoken = back(&other(&voice(160)));
    let voices: HashSet<&[u8]> = spoken.windows(32).collect();
    assert!(
        after
            .last()
            .unwrap()
            .windows(32)
            .any(|w| voices.contains(w))
    );
    left.extend(after);
    assert!(
        left.iter()
            .all(|datagram| header_of(datagram).payload_type == 0)
    );
    assert_eq!(world.proof().keys_heard, 1);
}

#[test]
fn an_event_that_either_side_named_is_never_taken_for_audio() {
    let mut world = World::answered();
    let mut odd = leg(4_000);
    odd.payload_types = vec![(0, Encoding::Pcmu), (EVENT, Encoding::Pcmu)];
    world.command(Command::SetLeg(Leg::Caller, odd));
    world.speak(2);
    world.command(Command::Arm(Holder::Ng));
    let left = [world.key(5, 5, None), world.speak(5)].concat();
    let told = event(5, false, 160);
    assert!(!left.iter().any(|d| d[12..].windows(4).any(|w| w == told)));
    assert_eq!(world.proof().keys_heard, 1);
}

#[test]
fn a_release_waits_for_the_key_to_come_up() {
    let mut world = World::armed();
    let begin = world.timestamp;
    world.command(Command::Release(Holder::Ng));
    for packet in 1..=60 {
        let datagram = world.datagram(EVENT, begin, &event(5, packet == 60, packet * 160));
        let left = world.give(&datagram);
        assert!(
            left.iter()
                .all(|datagram| header_of(datagram).payload_type == 0)
        );
        world.wait(20);
        assert!(world.call.is_armed());
    }
    world.wait(1_000);
    assert!(!world.call.is_armed());
}

#[test]
fn a_key_held_over_a_network_that_stood_still_does_not_leave_after_the_release() {
    for stall in [350, 900, 1_500, 4_000] {
        let mut world = World::armed();
        let begin = world.timestamp;
        for packet in 1..=5 {
            let datagram = world.datagram(EVENT, begin, &event(5, false, packet * 160));
            world.give(&datagram);
            world.wait(20);
        }
        world.command(Command::Release(Holder::Ng));
        world.wait(stall);
        for packet in 0..5 {
            let duration = (5 + packet) * 160 + stall as u16 * 8;
            let datagram = world.datagram(EVENT, begin, &event(5, packet == 4, duration));
            let left = world.give(&datagram);
            let is_event = |d: &Vec<u8>| header_of(d).payload_type == EVENT;
            assert!(!left.iter().any(is_event), "stalled for {stall} ms");
            world.wait(20);
        }
    }
}

#[test]
fn what_comes_late_from_the_armed_time_does_not_leave_after_the_release() {
    let mut world = World::armed();
    world.speak(5);
    let late = world.datagram(0, world.timestamp, &five(0, 160));
    world.timestamp = world.timestamp.wrapping_add(160);
    world.speak(5);
    world.release();
    assert!(world.give(&late).is_empty());
    // The numbers wrap around below what was refused.
    for _ in 0..700 {
        assert_eq!(world.speak(100).len(), 100);
    }
}

#[test]
fn an_arming_after_an_overtaken_packet_takes_no_number_twice() {
    let mut world = World::answered();
    let overtaken = world.datagram(0, world.timestamp, &voice(160));
    world.timestamp = world.timestamp.wrapping_add(160);
    let last = world.speak(2).pop().unwrap();
    world.give(&overtaken);
    world.command(Command::Arm(Holder::Ng));
    assert_seamless(&[vec![last], world.speak(3)].concat());
}

#[test]
fn each_holder_releases_only_its_own() {
    let mut world = World::answered();
    world.speak(2);
    for holder in [payment('A'), payment('B'), Holder::Ng] {
        world.command(Command::Arm(holder));
    }
    assert_eq!(world.count(|o| matches!(o, Output::Armed(_))), 3);
    for holder in [
        Holder::Recovered,
        payment('C'),
        Holder::Ng,
        payment('A'),
        payment('A'),
    ] {
        world.command(Command::Release(holder));
        world.speak(60);
        assert!(world.call.is_armed());
    }
    world.command(Command::Release(payment('B')));
    world.speak(10);
    assert!(world.call.is_armed(), "armed for 300 ms more");
    // Armed again meanwhile: the release is off.
    world.command(Command::Arm(payment('C')));
    world.speak(60);
    assert!(world.call.is_armed());
    world.command(Command::Release(payment('C')));
    world.speak(60);
    assert!(!world.call.is_armed());
    assert_eq!(world.count(|o| matches!(o, Output::Disarmed)), 1);
}

#[test]
fn an_arming_that_is_impossible_is_refused_by_name() {
    let refused = |world: &World, reason: ArmRefusal| matches!(world.said.last(), Some(Output::ArmRefused(Holder::Ng, told)) if *told == reason);
    let mut world = World::unanswered();
    world.command(Command::Arm(Holder::Ng));
    assert!(refused(&world, ArmRefusal::NotAnswered));
    let mut opus = leg(4_000);
    opus.payload_types = vec![
        (111, Encoding::Other),
        (EVENT, Encoding::TelephoneEvent(8_000)),
    ];
    world.command(Command::SetLeg(Leg::Caller, opus.clone()));
    world.command(Command::Arm(Holder::Ng));
    assert!(refused(&world, ArmRefusal::NotAnswered));
    world.command(Command::SetLeg(Leg::Agent, opus));
    world.command(Command::Arm(Holder::Ng));
    assert!(refused(&world, ArmRefusal::Codec));
    assert!(!world.call.is_armed());
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

/// A sender report with these values, by the caller, without blocks.
fn sender_report(timestamp: u32, packets: u32, octets: u32) -> Vec<u8> {
    let mut report = vec![0x80, 200, 0, 6];
    for word in [SSRC, 11, 22, timestamp, packets, octets] {
        report.extend(word.to_be_bytes());
    }
    report
}

/// A receiver report on the caller's stream.
fn receiver_report(highest: u32) -> Vec<u8> {
    let mut report = vec![0x81, 201, 0, 7];
    for word in [99, SSRC, 0, highest, 0, 0, 0] {
        report.extend(word.to_be_bytes());
    }
    report
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn reports_tell_each_side_of_its_own_numbers() {
    let mut world = World::answered();
    let mut left = world.speak(5);
    world.command(Command::Arm(Holder::Ng));
    left.extend(world.speak(5));
    // Events become audio packets: more or fewer leave than came.
    left.extend(world.key(5, 10, None));
    left.extend(world.speak(5));
    let told = world.give_on(
        Leg::Caller,
        Channel::Rtcp,
        &mut [
            sender_report(world.timestamp, 1, 2),
            vec![0x80, 204, 0, 2, 1, 2, 3, 4, 5, 5, 5, 5],
        ]
        .concat(),
    );
    assert_eq!(word(&told[0], 20), left.len() as u32);
    let octets: usize = left.iter().map(|datagram| datagram.len() - 12).sum();
    assert_eq!(word(&told[0], 24), octets as u32);
    // What comes now leaves behind what waits.
    assert_eq!(word(&told[0], 16), world.timestamp.wrapping_add(96));
    assert!(
        !told[0].windows(4).any(|w| w == [5; 4]),
        "an APP packet left"
    );

    world.release();
    let shifts = world.call.stream.shifts();
    assert_ne!(shifts.sequence, 0);
    // One packet after the wrap of what left is some packets before it for the caller.
    let ours = 0x0003_0001u32;
    let mut report = receiver_report(ours);
    world.give_on(Leg::Agent, Channel::Rtcp, &mut report);
    let shift = i32::from(shifts.sequence.cast_signed());
    assert_eq!(word(&report, 16), ours.wrapping_add_signed(-shift));

    let told = world.give_on(
        Leg::Caller,
        Channel::Rtcp,
        &mut sender_report(world.timestamp, 1_000, 2_000),
    );
    assert_eq!(
        word(&told[0], 16),
        world.timestamp.wrapping_add(shifts.timestamp)
    );
    let more = i32::from(shifts.sequence.cast_signed());
    assert_eq!(word(&told[0], 20), 1_000u32.wrapping_add_signed(more));
}
