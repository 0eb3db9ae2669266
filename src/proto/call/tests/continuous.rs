//! The mask of a whole field: what leaves behind it is a function of when the field was opened and
//! closed, and of nothing that the caller does.

use proptest::prelude::*;

use crate::proto::{
    dtmf::tests::signal::Dice,
    mask::{Fill, Profile},
    rtp::write_red,
};

use super::{
    events::CLOCKS,
    noninterference::{DIGITS_HZ, leg_with_all},
    profiles::{close_field, masked, open_field},
    reports::sender_report,
    *,
};

/// How long the field is open, and how long its mask outlasts it.
const OPEN_MS: u64 = 3_000;
const AFTER_MS: u64 = 300;
const FILLS: [Fill; 3] = [Fill::Tone, Fill::Noise, Fill::Silence];

/// By what a press is told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Tone,
    /// Under a payload type, of a clock rate in Hz.
    Event(u8, u32),
    ToneAndEvent,
    /// As redundant block beside audio.
    Red,
    /// By its frequencies (RFC 4733 section 4).
    Described,
    Info,
}

#[derive(Debug, Clone)]
struct Press {
    digit: u8,
    at_ms: u64,
    length_ms: u64,
    /// Linear amplitudes of row and column.
    levels: (f64, f64),
    way: Way,
}

/// What a caller does while a field is open. `seed` is for the noise and the network.
#[derive(Debug, Clone)]
struct Caller {
    seed: u64,
    presses: Vec<Press>,
    /// Amplitude of the noise that stands for a voice.
    noise: usize,
    /// Milliseconds a packet at first, and from half of the time on.
    packet_ms: [u64; 2],
    /// PCMU or PCMA.
    payload_type: u8,
    /// Of a hundred packets, how many get lost and how many come twice; all of them from some time on.
    lost: usize,
    twice: usize,
    silent_from_ms: u64,
    jitter_ms: usize,
    /// Another source goes on 150 ms after this time.
    replaced_ms: Option<u64>,
    /// Between: RTCP, strangers and what nobody understands.
    disturbed: bool,
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        3 => Just(Way::Tone),
        2 => (0..CLOCKS.len()).prop_map(|n| Way::Event(CLOCKS[n].0, CLOCKS[n].1)),
        2 => Just(Way::ToneAndEvent),
        1 => Just(Way::Red),
        1 => Just(Way::Described),
        1 => Just(Way::Info),
    ]
}

fn press() -> impl Strategy<Value = Press> {
    let levels = (20.0..12_000.0_f64, 20.0..12_000.0_f64);
    (0..10_u8, 0..OPEN_MS, 20..500_u64, levels, way()).prop_map(
        |(digit, at_ms, length_ms, levels, way)| Press {
            digit,
            at_ms,
            length_ms,
            levels,
            way,
        },
    )
}

fn caller() -> impl Strategy<Value = Caller> {
    let packet_ms = || prop::sample::select(vec![10, 20, 20, 30, 40, 60]);
    (
        any::<u64>(),
        prop::collection::vec(press(), 0..8),
        prop::sample::select(vec![1, 30, 300, 3_000, 20_000]),
        [packet_ms(), packet_ms()],
        prop::sample::select(vec![0, 8]),
        (0..30_usize, 0..10_usize, 0..90_usize),
        prop_oneof![3 => Just(u64::MAX), 1 => 0..OPEN_MS],
        prop_oneof![7 => Just(None), 1 => (0..OPEN_MS).prop_map(Some)],
        any::<bool>(),
    )
        .prop_map(
            |(seed, presses, noise, packet_ms, payload_type, net, silent, replaced, disturbed)| {
                let (lost, twice, jitter_ms) = net;
                Caller {
                    seed,
                    presses,
                    noise,
                    packet_ms,
                    payload_type,
                    lost,
                    twice,
                    silent_from_ms: silent,
                    jitter_ms,
                    replaced_ms: replaced,
                    disturbed,
                }
            },
        )
}

enum Input {
    Rtp(Vec<u8>),
    Rtcp(Vec<u8>),
    Info(Vec<u8>),
}

/// What comes of a caller, and when in milliseconds.
struct Script<'a> {
    caller: &'a Caller,
    dice: Dice,
    ssrc: u32,
    sequence: u16,
    /// Of the opening of the field.
    began: u32,
    inputs: Vec<(u64, Input)>,
}

impl Script<'_> {
    fn of(caller: &Caller, world: &World) -> Vec<(u64, Input)> {
        let mut script = Script {
            caller,
            dice: Dice::new(caller.seed),
            ssrc: world.ssrc,
            sequence: world.sequence,
            began: world.timestamp,
            inputs: Vec::new(),
        };
        for press in &caller.presses {
            if press.way == Way::Info {
                let body = format!("Signal={}\r\nDuration=160\r\n", press.digit);
                let body = Input::Info(body.into_bytes());
                script.inputs.push((press.at_ms, body));
            }
        }
        let mut at_ms = 0;
        while at_ms < OPEN_MS + AFTER_MS {
            let packet_ms = caller.packet_ms[usize::from(at_ms >= OPEN_MS / 2)];
            match caller.replaced_ms {
                Some(from) if (from..from + 150).contains(&at_ms) => script.ssrc = 0x7777,
                _ => script.packets(at_ms, packet_ms),
            }
            at_ms += packet_ms;
        }
        script.inputs.sort_by_key(|(at_ms, _)| *at_ms);
        script.inputs
    }

    fn timestamp(&self, at_ms: u64) -> u32 {
        self.began.wrapping_add(at_ms as u32 * 8)
    }

    /// What is sent of the time from `at_ms` on.
    fn packets(&mut self, at_ms: u64, packet_ms: u64) {
        let caller = self.caller;
        let audio = self.audio(at_ms, packet_ms);
        let is_down =
            |press: &&Press| (press.at_ms..press.at_ms + press.length_ms).contains(&at_ms);
        let mut red = None;
        for press in caller.presses.iter().filter(is_down) {
            let until_ms = at_ms + packet_ms;
            let end = until_ms >= press.at_ms + press.length_ms;
            let begin = self.timestamp(press.at_ms);
            let duration = ((until_ms - press.at_ms) * 8) as u16;
            let told = event(press.digit, end, duration);
            match press.way {
                Way::Event(payload_type, rate) => {
                    let faster = rate / 8_000;
                    let told = event(press.digit, end, duration.saturating_mul(faster as u16));
                    self.send(at_ms, payload_type, begin.wrapping_mul(faster), &told);
                }
                Way::ToneAndEvent => self.send(at_ms, EVENT, begin, &told),
                Way::Red => red = Some((((at_ms - press.at_ms) * 8) as u16, told)),
                Way::Described => {
                    let (row, column) = DIGITS_HZ[usize::from(press.digit)];
                    let hz = [row.to_be_bytes(), column.to_be_bytes()].concat();
                    let duration = duration.to_be_bytes();
                    let tone = [&[0, 10, duration[0], duration[1]][..], &hz].concat();
                    self.send(at_ms, TONE, begin, &tone);
                }
                Way::Tone | Way::Info => {}
            }
        }
        let timestamp = self.timestamp(at_ms);
        if let Some((offset, told)) = red {
            let red = write_red(&[(EVENT, offset, &told)], (caller.payload_type, &audio));
            self.send(at_ms, RED, timestamp, &red);
        } else {
            self.send(at_ms, caller.payload_type, timestamp, &audio);
        }
        if caller.disturbed {
            let report = sender_report(timestamp, self.sequence.into(), 7);
            self.inputs.push((at_ms, Input::Rtcp(report)));
            self.send(at_ms, 99, timestamp, &[9; 33]);
            let stranger = [&write_header(0, false, 5, 5, 5)[..], &audio].concat();
            self.inputs.push((at_ms, Input::Rtp(stranger)));
            self.inputs.push((at_ms, Input::Rtp(vec![0; 40])));
        }
    }

    fn audio(&mut self, at_ms: u64, packet_ms: u64) -> Vec<u8> {
        let caller = self.caller;
        let law = if caller.payload_type == 8 {
            Law::A
        } else {
            Law::Mu
        };
        let sample = |n: u64| {
            let noise = self.dice.below(2 * caller.noise + 1) as f64 - caller.noise as f64;
            let keyed = caller.presses.iter().filter(|press| {
                let span = press.at_ms * 8..(press.at_ms + press.length_ms) * 8;
                matches!(press.way, Way::Tone | Way::ToneAndEvent) && span.contains(&n)
            });
            let tones = keyed.map(|press| {
                let (row, column) = DIGITS_HZ[usize::from(press.digit)];
                let t = TAU * n as f64 / 8_000.0;
                press.levels.0 * (f64::from(row) * t).sin()
                    + press.levels.1 * (f64::from(column) * t).sin()
            });
            law.encode((noise + tones.sum::<f64>()) as i16)
        };
        (at_ms * 8..(at_ms + packet_ms) * 8).map(sample).collect()
    }

    fn send(&mut self, at_ms: u64, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let caller = self.caller;
        let header = write_header(payload_type, false, self.sequence, timestamp, self.ssrc);
        self.sequence = self.sequence.wrapping_add(1);
        let (lost, twice) = (self.dice.below(100), self.dice.below(100));
        for copy in 0..2 {
            let late = self.dice.below(caller.jitter_ms + 1) as u64;
            let comes = lost >= caller.lost && at_ms < caller.silent_from_ms;
            if comes && (copy == 0 || twice < caller.twice) {
                let datagram = [&header, payload].concat();
                self.inputs.push((at_ms + late, Input::Rtp(datagram)));
            }
        }
    }
}

/// What left while a field was open, each with its milliseconds, and when the field was closed.
struct Field {
    left: Vec<(u64, Vec<u8>)>,
    closed_ms: u64,
}

fn field(profile: Profile, fill: Fill, caller: &Caller) -> Field {
    let mut world = masked(profile, fill);
    world.command(Command::SetLeg(Leg::Caller, leg_with_all(4_000)));
    world.command(Command::Arm(payment('A')));
    world.speak(20);
    open_field(&mut world);
    let (opened, from) = (world.now.instant, world.tape.len());
    let mut inputs = Script::of(caller, &world).into_iter().peekable();
    let mut closed_ms = None;
    for at_ms in 0..=OPEN_MS + AFTER_MS {
        if at_ms > 0 {
            world.wait(1);
        }
        if at_ms == OPEN_MS {
            close_field(&mut world);
        }
        while let Some((_, input)) = inputs.next_if(|(due, _)| *due <= at_ms) {
            match input {
                Input::Rtp(datagram) => {
                    world.give(&datagram);
                }
                Input::Rtcp(mut report) => {
                    world.give_on(Leg::Caller, Channel::Rtcp, &mut report);
                }
                Input::Info(mut body) => {
                    world.call.handle_info(&mut body, world.now).unwrap();
                }
            }
        }
        // What the keys or the network end is ended at a moment of its own, which shows.
        if world.call.capture.is_none() {
            closed_ms.get_or_insert(at_ms);
        }
    }
    let tape = world.tape[from..].iter();
    let left = tape.map(|(at, datagram)| {
        let after = at.duration_since(opened).as_millis() as u64;
        (after, datagram.clone())
    });
    Field {
        left: left.collect(),
        closed_ms: closed_ms.unwrap(),
    }
}

impl Field {
    /// What left before 300 ms after a close had passed.
    fn until(&self, closed_ms: u64) -> &[(u64, Vec<u8>)] {
        let end_ms = closed_ms + AFTER_MS;
        let count = self.left.partition_point(|(at_ms, _)| *at_ms < end_ms);
        &self.left[..count]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behind_the_mask_of_a_field_any_caller_looks_like_any_other(
        one in caller(),
        other in caller(),
        fill in prop::sample::select(FILLS.to_vec()),
    ) {
        let [one, other] = [&one, &other].map(|caller| field(Profile::Continuous, fill, caller));
        let closed_ms = one.closed_ms.min(other.closed_ms);
        let (one, other) = (one.until(closed_ms), other.until(closed_ms));
        let mut pairs = one.iter().zip(other);
        let differs = pairs.find(|(one, other)| one != other);
        prop_assert!(differs.is_none(), "{differs:?}");
        prop_assert_eq!(one.len(), other.len());
        // One packet each 20 ms from the opening on, whatever the caller's packets are.
        let due = (closed_ms + AFTER_MS).div_ceil(20);
        prop_assert_eq!(one.len() as u64, due, "closed after {} ms", closed_ms);
        let constant = |(at_ms, datagram): &(u64, Vec<u8>)| at_ms % 20 == 0 && datagram.len() == 172;
        prop_assert!(one.iter().all(constant));
    }
}

fn quiet() -> Caller {
    Caller {
        seed: 1,
        presses: Vec::new(),
        noise: 30,
        packet_ms: [20, 20],
        payload_type: 0,
        lost: 0,
        twice: 0,
        silent_from_ms: u64::MAX,
        jitter_ms: 0,
        replaced_ms: None,
        disturbed: false,
    }
}

#[test]
fn without_it_these_callers_are_told_apart() {
    let seen = |change: &dyn Fn(&mut Caller)| {
        let mut caller = quiet();
        caller.seed = 2;
        change(&mut caller);
        field(Profile::Strictest, Fill::Tone, &caller).left
    };
    let usual = field(Profile::Strictest, Fill::Tone, &quiet()).left;
    let press = |way| Press {
        digit: 5,
        at_ms: 500,
        length_ms: 200,
        levels: (6_000.0, 6_000.0),
        way,
    };
    let told: [&dyn Fn(&mut Caller); 7] = [
        &|c| c.presses = vec![press(Way::Tone)],
        &|c| c.presses = vec![press(Way::Event(EVENT, 8_000))],
        &|c| c.packet_ms[1] = 40,
        &|c| c.noise = 3_000,
        &|c| c.lost = 10,
        &|c| c.jitter_ms = 50,
        &|c| c.replaced_ms = Some(1_000),
    ];
    for (n, change) in told.into_iter().enumerate() {
        assert_ne!(usual, seen(change), "caller {n}");
    }
}

/// Where the neutral sound is heard in what left, and how long, in ms.
pub(super) fn sounds(codes: &[u8]) -> Vec<(usize, usize)> {
    let period: Vec<u8> = [
        0, 494, 940, 1_294, 1_522, 1_600, 1_522, 1_294, 940, 494, 0, -494, -940, -1_294, -1_522,
        -1_600, -1_522, -1_294, -940, -494,
    ]
    .map(|sample| Law::Mu.encode(sample))
    .into();
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while at + 20 <= codes.len() {
        if codes[at..at + 20] != period[..] {
            at += 1;
            continue;
        }
        match found.last_mut() {
            Some((begin, length)) if *begin + *length == at => *length += 20,
            _ => found.push((at, 20)),
        }
        at += 20;
    }
    let ms = found.into_iter().map(|(at, length)| (at / 8, length / 8));
    ms.collect()
}

#[test]
fn the_agent_hears_a_beat_of_2_s_in_silence_or_in_noise_and_nothing_else() {
    let mut keyed = quiet();
    keyed.presses = (0..6)
        .map(|n| Press {
            digit: n,
            at_ms: 300 + 400 * u64::from(n),
            length_ms: 120,
            levels: (6_000.0, 6_000.0),
            way: Way::ToneAndEvent,
        })
        .collect();
    for fill in FILLS {
        let left = field(Profile::Continuous, fill, &keyed);
        let datagrams = left.until(OPEN_MS).iter().map(|(_, datagram)| datagram);
        let codes: Vec<u8> = datagrams.flat_map(|d| d[12..].to_vec()).collect();
        let beat = match fill {
            Fill::Tone | Fill::Noise => vec![(0, 120), (2_000, 120)],
            Fill::Silence => vec![],
        };
        assert_eq!(sounds(&codes), beat, "{fill:?}");
        let between = codes[8 * 200..8 * 1_900].iter();
        let loudest = between
            .map(|code| Law::Mu.decode(*code).unsigned_abs())
            .max();
        // The voice before the field was as loud as 600.
        let quiet_enough = if fill == Fill::Noise { 1..2_000 } else { 0..1 };
        assert!(
            quiet_enough.contains(&loudest.unwrap()),
            "{loudest:?}, {fill:?}"
        );
    }
}
