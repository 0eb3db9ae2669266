//! What leaves does not tell which key was pressed: two calls that differ in nothing but the digits
//! of events, RED, described tones and INFO give the same datagrams at the same times.

use proptest::prelude::*;

use crate::proto::{
    capture::CaptureSettings, dtmf::tests::signal::Dice, rtp::write_red, secret::plain,
};

use super::{events::CLOCKS, *};

/// Frequencies of the digits, Hz.
pub(super) const DIGITS_HZ: [(u16, u16); 10] = [
    (941, 1_336),
    (697, 1_209),
    (697, 1_336),
    (697, 1_477),
    (770, 1_209),
    (770, 1_336),
    (770, 1_477),
    (852, 1_209),
    (852, 1_336),
    (852, 1_477),
];

/// By what a press is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Events under a payload type, of a clock rate in Hz.
    Event(u8, u32),
    /// RED whose primary block is the event, with the press before as redundant block.
    RedOfEvents,
    /// RED of audio with the packet before and the event as redundant blocks.
    RedOfAudio,
    /// Tones that are described.
    Tone,
    /// INFO alone.
    Info,
    /// INFO and events.
    InfoAndEvent,
}

impl By {
    fn any() -> impl Strategy<Value = Self> {
        let clock = (0..CLOCKS.len()).prop_map(|n| Self::Event(CLOCKS[n].0, CLOCKS[n].1));
        prop_oneof![
            4 => clock,
            2 => Just(Self::RedOfEvents),
            2 => Just(Self::RedOfAudio),
            1 => Just(Self::Tone),
            1 => Just(Self::Info),
            2 => Just(Self::InfoAndEvent),
        ]
    }
}

enum Input {
    Rtp(Vec<u8>),
    Info(Vec<u8>),
}

/// What the gateway gets, and when in milliseconds. Of one seed everything but the digits is alike.
struct Script {
    dice: Dice,
    by: By,
    /// Of a hundred packets, how many get lost and how many come twice.
    lost: usize,
    twice: usize,
    jitter_ms: usize,
    beside: bool,
    sequence: u16,
    timestamp: u32,
    audio: Vec<u8>,
    info_ms: u64,
    inputs: Vec<(u64, Input)>,
}

impl Script {
    fn new(seed: u64, by: By, bad: bool) -> Self {
        let mut dice = Dice::new(seed);
        let mut up_to = |most| if bad { dice.below(most) } else { 0 };
        let (lost, twice, jitter_ms) = (up_to(12), up_to(6), up_to(70));
        Self {
            lost,
            twice,
            jitter_ms,
            beside: by == By::Info || by == By::RedOfAudio || dice.below(2) == 0,
            by,
            sequence: 65_500,
            timestamp: u32::MAX - 3_000,
            audio: Vec::new(),
            info_ms: 0,
            inputs: Vec::new(),
            dice,
        }
    }

    /// Noise of a level that changes.
    fn noise(&mut self) -> Vec<u8> {
        let level = [0, 30, 300, 3_000][self.dice.below(4)] + 1;
        let mut one = || self.dice.below(2 * level) as i16 - level as i16;
        (0..160).map(|_| Law::Mu.encode(one())).collect()
    }

    fn send(&mut self, at_ms: u64, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let header = write_header(payload_type, false, self.sequence, timestamp, SSRC);
        self.sequence = self.sequence.wrapping_add(1);
        let datagram = [&header, payload].concat();
        let (lost, twice) = (self.dice.below(100), self.dice.below(100));
        for copy in 0..2 {
            let late = self.dice.below(self.jitter_ms + 1) as u64;
            if lost >= self.lost && (copy == 0 || twice < self.twice) {
                self.inputs
                    .push((at_ms + late, Input::Rtp(datagram.clone())));
            }
        }
    }

    fn speak(&mut self, at_ms: u64) {
        let audio = self.noise();
        self.send(at_ms, 0, self.timestamp, &audio);
        self.audio = audio;
    }

    /// The whole call.
    fn of(mut self, digits: &[u8]) -> Vec<(u64, Input)> {
        let mut at_ms = 0;
        let mut before: Option<(u32, [u8; 4])> = None;
        for &digit in digits {
            for _ in 0..4 + self.dice.below(12) {
                self.speak(at_ms);
                self.timestamp = self.timestamp.wrapping_add(160);
                at_ms += 20;
            }
            let (begin, packets) = (self.timestamp, 3 + self.dice.below(8) as u16);
            if matches!(self.by, By::Info | By::InfoAndEvent) {
                let body = [
                    format!("Signal={digit}\r\nDuration=160\r\n"),
                    format!("{digit}\r\n"),
                ];
                let body = body[self.dice.below(2)].clone().into_bytes();
                // A dialog's requests come in their order (RFC 3261 section 12.2.2).
                self.info_ms = self.info_ms.max(at_ms + self.dice.below(600) as u64);
                self.inputs.push((self.info_ms, Input::Info(body)));
            }
            for packet in 1..=packets {
                let last = packet == packets;
                let told = event(digit, last, packet * 160);
                self.tell(at_ms, digit, begin, told, before);
                if last {
                    // The end three times in all.
                    self.tell(at_ms, digit, begin, told, before);
                    self.tell(at_ms, digit, begin, told, before);
                }
                self.timestamp = self.timestamp.wrapping_add(160);
                at_ms += 20;
            }
            before = Some((begin, event(digit, true, packets * 160)));
        }
        for _ in 0..30 {
            self.speak(at_ms);
            self.timestamp = self.timestamp.wrapping_add(160);
            at_ms += 20;
        }
        // Stable, so that what comes at one moment comes in the order in which it was sent.
        self.inputs.sort_by_key(|(at_ms, _)| *at_ms);
        self.inputs
    }

    /// One update of an event, and what is sent beside it.
    fn tell(
        &mut self,
        at_ms: u64,
        digit: u8,
        begin: u32,
        told: [u8; 4],
        before: Option<(u32, [u8; 4])>,
    ) {
        let [_, flags, high, low] = told;
        let duration = u16::from_be_bytes([high, low]);
        // Only the first of the three ends has audio beside it.
        let first = self.timestamp == begin.wrapping_add(u32::from(duration) - 160);
        if self.beside && first && self.by != By::RedOfAudio {
            self.speak(at_ms);
        }
        match self.by {
            By::Event(payload_type, rate) => {
                let faster = (rate / 8_000) as u16;
                let told = event(digit, flags & 0x80 != 0, duration * faster);
                let begin = begin.wrapping_mul(u32::from(faster));
                self.send(at_ms, payload_type, begin, &told);
            }
            By::InfoAndEvent => self.send(at_ms, EVENT, begin, &told),
            By::RedOfEvents => {
                let old = before.map(|(old, told)| (begin.wrapping_sub(old) as u16, told));
                let blocks: Vec<(u8, u16, &[u8])> = old
                    .iter()
                    .filter(|(offset, _)| *offset < 16_384)
                    .map(|(offset, told)| (EVENT, *offset, &told[..]))
                    .collect();
                self.send(at_ms, RED, begin, &write_red(&blocks, (EVENT, &told)));
            }
            By::RedOfAudio => {
                let (old, new) = (self.audio.clone(), self.noise());
                let offset = self.timestamp.wrapping_sub(begin) as u16;
                let blocks: [(u8, u16, &[u8]); 2] = [(EVENT, offset, &told), (0, 160, &old)];
                let red = write_red(&blocks, (0, &new));
                self.send(at_ms, RED, self.timestamp, &red);
                self.audio = new;
            }
            By::Tone => {
                let (row, column) = DIGITS_HZ[usize::from(digit)];
                let frequencies = [row.to_be_bytes(), column.to_be_bytes()].concat();
                let tone = [&[0, 10, high, low][..], &frequencies].concat();
                self.send(at_ms, TONE, begin, &tone);
            }
            By::Info => {}
        }
    }
}

/// What the agent and the control plane see of a call, and when.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    datagrams: Vec<(u64, Vec<u8>)>,
    outputs: Vec<(u64, String)>,
}

/// An output without what may be told of a card.
fn kind_of_output(output: &Output) -> String {
    match output {
        Output::Armed(_) => "armed".to_owned(),
        Output::ArmRefused(_, why) => format!("{why:?}"),
        Output::Disarmed => "disarmed".to_owned(),
        Output::Incident => "incident".to_owned(),
        Output::Tightened(guard) => guard.as_str().to_owned(),
        Output::Dialled(dialled) => format!("{dialled:?}"),
        Output::Contested(leg) => format!("{leg:?} contested"),
        Output::Captured(_, field) => format!("{:?}", field.field()),
        Output::Shadowed(tally) => format!("{tally:?}"),
        Output::Ended(proof) => format!("{proof:?}"),
        Output::Capture(event) => match &event.kind {
            CaptureEventKind::Progress { count, .. } => format!("progress {count}"),
            CaptureEventKind::Complete { count, .. } => format!("complete {count}"),
            kind => format!("{kind:?}"),
        },
    }
}

/// A leg that names every transport of keys.
pub(super) fn leg_with_all(port: u16) -> LegMedia {
    let mut leg = leg(port);
    leg.payload_types
        .extend([(RED, Encoding::Red), (TONE, Encoding::Tone(8_000))]);
    let events = CLOCKS.map(|(number, rate)| (number, Encoding::TelephoneEvent(rate)));
    leg.payload_types.extend(events);
    leg
}

fn world(armed: bool, field: Field) -> World {
    let mut world = World::unanswered();
    world.command(Command::SetLeg(Leg::Caller, leg_with_all(4_000)));
    world.command(Command::SetLeg(Leg::Agent, leg(4_002)));
    let Holder::Payment(payment) = payment('A') else {
        unreachable!("a payment's own");
    };
    if armed {
        world.command(Command::Arm(Holder::Payment(payment.clone())));
        world.command(Command::OpenCapture {
            payment,
            field,
            from: Leg::Caller,
            settings: CaptureSettings::default(),
            slot: plain::slot(),
        });
    }
    world
}

fn play(mut world: World, inputs: Vec<(u64, Input)>) -> Seen {
    let mut seen = Seen::default();
    let mut at_ms = 0;
    let mut pass = |world: &mut World, until_ms: u64, seen: &mut Seen| {
        while at_ms < until_ms {
            let left = world.wait(1);
            at_ms += 1;
            seen.datagrams.extend(left.into_iter().map(|d| (at_ms, d)));
            let said = world.said.drain(..);
            seen.outputs
                .extend(said.map(|said| (at_ms, kind_of_output(&said))));
        }
    };
    let end_ms = inputs.last().map_or(0, |(at_ms, _)| *at_ms);
    for (due_ms, input) in inputs {
        pass(&mut world, due_ms, &mut seen);
        match input {
            Input::Rtp(datagram) => {
                let left = world.give(&datagram);
                seen.datagrams.extend(left.into_iter().map(|d| (due_ms, d)));
            }
            Input::Info(mut body) => {
                let _ = world.call.handle_info(&mut body, world.now);
                world.drain();
            }
        }
    }
    world.command(Command::Release(payment('A')));
    pass(&mut world, end_ms + 3_000, &mut seen);
    world.command(Command::HangUp);
    pass(&mut world, end_ms + 3_001, &mut seen);
    seen
}

fn assert_alike(one: &Seen, other: &Seen) {
    assert!(!one.datagrams.is_empty() && !one.outputs.is_empty());
    let mut pairs = one.datagrams.iter().zip(&other.datagrams);
    let differs = pairs.position(|(a, b)| a != b);
    assert_eq!(
        differs, None,
        "the number of the first datagram that differs"
    );
    assert_eq!(one.datagrams.len(), other.datagrams.len());
    assert_eq!(one.outputs, other.outputs);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_a_bad_network_the_digits_change_nothing_of_what_is_seen(
        seed in any::<u64>(),
        by in By::any(),
        digits in prop::collection::vec(0..10_u8, 4..9),
        shift in 1..10_u8,
    ) {
        let others: Vec<u8> = digits.iter().map(|digit| (digit + shift) % 10).collect();
        let see = |digits: &[u8]| {
            let world = world(true, Field::BankAccountNumber);
            play(world, Script::new(seed, by, true).of(digits))
        };
        assert_alike(&see(&digits), &see(&others));
    }

    #[test]
    fn any_digits_look_like_any_others(
        seed in any::<u64>(),
        by in By::any(),
        digits in prop::collection::vec((0..10_u8, 0..10_u8), 4..9),
    ) {
        let (one, other): (Vec<u8>, Vec<u8>) = digits.into_iter().unzip();
        let see = |digits: &[u8]| {
            let world = world(true, Field::BankAccountNumber);
            play(world, Script::new(seed, by, false).of(digits))
        };
        let seen = see(&one);
        assert_alike(&seen, &see(&other));
        let keys = format!("keys_heard: {},", one.len());
        prop_assert!(seen.outputs.iter().any(|(_, said)| said.contains(&keys)), "{:?}", seen.outputs);
    }
}

#[test]
fn two_cards_of_a_brand_look_alike_by_every_transport() {
    let cards = ["4242424242424242", "4000056655665556"];
    let clocks = CLOCKS.map(|(number, rate)| By::Event(number, rate));
    let others = [
        By::RedOfEvents,
        By::RedOfAudio,
        By::Tone,
        By::Info,
        By::InfoAndEvent,
    ];
    for by in clocks.into_iter().chain(others) {
        let [one, other] = cards.map(|card| {
            let digits: Vec<u8> = card.bytes().map(|digit| digit - b'0').collect();
            let world = world(true, Field::PaymentCardNumber);
            play(world, Script::new(7, by, false).of(&digits))
        });
        assert_alike(&one, &other);
        let complete = |(_, said): &(u64, String)| said == "complete 16";
        assert_eq!(
            one.outputs.iter().filter(|o| complete(o)).count(),
            1,
            "{by:?}"
        );
    }
}

#[test]
fn the_comparison_sees_a_digit_that_leaves() {
    for by in [
        By::Event(EVENT, 8_000),
        By::RedOfEvents,
        By::RedOfAudio,
        By::Tone,
    ] {
        let [one, other] = [[1, 2, 3, 4], [1, 2, 3, 5]].map(|digits| {
            let world = world(false, Field::BankAccountNumber);
            play(world, Script::new(7, by, false).of(&digits))
        });
        assert_ne!(one.datagrams, other.datagrams, "{by:?}");
    }
}

fn digit_tone(digit: u8, samples: usize) -> Vec<u8> {
    let (row, column) = DIGITS_HZ[usize::from(digit)];
    tone(row.into(), column.into(), 6_000.0, 0, samples)
}

/// A gateway that hears a key by itself: `head_ms` of the tone stay in the audio before it sends
/// events instead, or beside audio that it has silenced.
fn head_then_events(digit: u8, head_ms: usize, onset: usize, beside: bool) -> (u32, Vec<Vec<u8>>) {
    let mut world = World::armed();
    let head = digit_tone(digit, head_ms * 8);
    let before = 1_600 + onset;
    let start = before + head.len();
    let mut audio = [voice(before), head.clone()].concat();
    audio.resize(audio.len().next_multiple_of(160), Law::Mu.silence());
    let base = world.timestamp;
    let mut left = Vec::new();
    for packet in audio.chunks(160) {
        left.extend(world.audio(0, packet));
    }
    let told = base.wrapping_add(start as u32);
    for packet in 1..=8 {
        let until = audio.len() + packet * 160;
        let payload = event(digit, packet == 8, (until - start) as u16);
        for _ in 0..if packet == 8 { 3 } else { 1 } {
            let datagram = world.datagram(EVENT, told, &payload);
            left.extend(world.give(&datagram));
        }
        if beside {
            left.extend(world.audio(0, &[Law::Mu.silence(); 160]));
        } else {
            world.timestamp = world.timestamp.wrapping_add(160);
            world.wait(20);
        }
    }
    left.extend(world.speak(30));
    assert_no_tone(&left, &head);
    assert_seamless(&left);
    (world.proof().keys_heard, left)
}

#[test]
fn of_the_head_that_a_gateway_leaves_before_its_event_nothing_leaves_and_it_is_one_press() {
    for head_ms in (25..=60).step_by(5) {
        for onset in [0, 1, 40, 97, 159] {
            for beside in [false, true] {
                let digit = (head_ms + onset) as u8 % 10;
                let (keys, _) = head_then_events(digit, head_ms, onset, beside);
                assert_eq!(
                    keys, 1,
                    "{head_ms} ms at {onset}, beside {beside}, key {digit}"
                );
            }
        }
    }
}

#[test]
fn keys_that_roll_over_without_a_gap_are_each_counted_and_nothing_of_them_leaves() {
    for length_ms in [50, 80, 120] {
        for onset in [0, 60, 159] {
            let mut world = World::armed();
            let digits = [1, 5, 9, 0, 2, 7];
            let rolled = digits
                .map(|digit| digit_tone(digit, length_ms * 8))
                .concat();
            let audio = [voice(1_600 + onset), rolled.clone(), voice(3_200)].concat();
            let left: Vec<_> = audio.chunks(160).flat_map(|c| world.audio(0, c)).collect();
            assert_no_tone(&left, &rolled);
            assert_eq!(
                world.proof().keys_heard,
                6,
                "{length_ms} ms each, onset {onset}"
            );
        }
    }
}

#[test]
fn of_two_keys_at_once_nothing_leaves() {
    for (one, other) in [(1, 5), (1, 3), (1, 7), (0, 9), (2, 8), (4, 6)] {
        for onset in [0, 33, 100, 159] {
            let mut world = World::armed();
            let mixed: Vec<u8> = digit_tone(one, 800)
                .into_iter()
                .zip(digit_tone(other, 800))
                .map(|(a, b)| Law::Mu.encode(Law::Mu.decode(a) / 2 + Law::Mu.decode(b) / 2))
                .collect();
            let audio = [voice(1_600 + onset), mixed.clone(), voice(3_200)].concat();
            let left: Vec<_> = audio.chunks(160).flat_map(|c| world.audio(0, c)).collect();
            assert_no_tone(&left, &mixed);
        }
    }
}
