//! Codes that an agent dials.

use crate::proto::rtp::NamedEvents;

use super::*;

/// Samples of a packet.
const FRAME: u32 = 160;

/// The agent's end of a call, and the caller's as it hears it.
pub(super) struct Line {
    pub(super) world: World,
    sequence: u16,
    pub(super) timestamp: u32,
    ssrc: u32,
    /// Everything that left towards the caller.
    pub(super) left: Vec<Vec<u8>>,
}

impl Line {
    pub(super) fn new(code: &str) -> Self {
        Self::with_pin(code, None)
    }

    pub(super) fn with_pin(code: &str, pin: Option<&str>) -> Self {
        let mut world = World::answered();
        world.call.listen_for(code_of(code, pin));
        let mut line = Self {
            world,
            sequence: 65_530,
            timestamp: u32::MAX - 2_000,
            ssrc: 99,
            left: Vec::new(),
        };
        line.speak(3);
        line
    }

    pub(super) fn send(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) {
        self.sequence = self.sequence.wrapping_add(1);
        let header = write_header(payload_type, false, self.sequence, timestamp, self.ssrc);
        let mut datagram = [&header[..], payload].concat();
        let world = &mut self.world;
        let now = world.now;
        let forward =
            world
                .call
                .handle_media(Leg::Agent, Channel::Rtp, &mut datagram, now, &mut world.out);
        world.drain();
        match forward.unwrap() {
            Forward::ToCallerRtp => self.left.push(datagram),
            Forward::ToCallerCut(length) => self.left.push(datagram[..length].to_vec()),
            Forward::Nothing => {}
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.world.now = self.world.now.after(Duration::from_millis(milliseconds));
    }

    pub(super) fn speak(&mut self, packets: usize) {
        for _ in 0..packets {
            self.send(0, self.timestamp, &voice(160));
            self.timestamp = self.timestamp.wrapping_add(FRAME);
            self.pass(20);
        }
    }

    /// A press of 80 ms, as a telephone sends it, and 40 ms of voice.
    pub(super) fn dial(&mut self, keys: &str) {
        for key in keys.chars() {
            let key = "0123456789*#".find(key).unwrap() as u8;
            let began = self.timestamp;
            for n in 1..=4_u16 {
                for _ in 0..if n == 4 { 3 } else { 1 } {
                    self.send(EVENT, began, &event(key, n == 4, n * 160));
                }
                self.timestamp = self.timestamp.wrapping_add(FRAME);
                self.pass(20);
            }
            self.speak(2);
        }
    }

    pub(super) fn dialled(&self) -> Vec<Dialled> {
        let dialled = self.world.said.iter().filter_map(|output| match output {
            Output::Dialled(dialled) => Some(*dialled),
            _ => None,
        });
        dialled.collect()
    }

    /// The keys that the caller hears pressed, as a receiver reads them (RFC 4733 section 2.5.2), and that
    /// each is whole: it begins once, lasts, and ends.
    pub(super) fn heard(&self) -> String {
        let mut keys = String::new();
        let mut last: Option<(u32, u8, u16, bool)> = None;
        for datagram in &self.left {
            let header = header_of(datagram);
            if header.payload_type != EVENT {
                continue;
            }
            let told = NamedEvents::new(&datagram[header.payload]).next().unwrap();
            match last {
                Some((timestamp, code, duration, _)) if timestamp == header.timestamp => {
                    assert_eq!(code, told.code);
                    assert!(told.duration >= duration);
                }
                _ => {
                    assert!(
                        last.is_none_or(|(.., ended)| ended),
                        "a press that never ends"
                    );
                    keys.push(char::from(b"0123456789*#"[usize::from(told.code)]));
                }
            }
            if told.end {
                assert!(told.duration >= 640, "too short to be heard");
            }
            last = Some((header.timestamp, told.code, told.duration, told.end));
        }
        assert!(
            last.is_none_or(|(.., ended)| ended),
            "a press that never ends"
        );
        keys
    }

    pub(super) fn assert_one_stream(&self) {
        let numbers: Vec<_> = self
            .left
            .iter()
            .map(|one| header_of(one).sequence)
            .collect();
        for pair in numbers.windows(2) {
            assert!((pair[1].wrapping_sub(pair[0]) as i16) > 0, "{pair:?}");
        }
        for one in &self.left {
            assert_eq!(header_of(one).ssrc, self.ssrc);
        }
    }
}

#[test]
fn the_code_starts_a_payment_once_and_the_caller_hears_nothing_of_it() {
    let mut line = Line::new("*77#");
    line.dial("*77#");
    line.speak(300);
    assert_eq!(line.dialled(), [Dialled::Code]);
    assert_eq!(line.heard(), "");
    line.dial("*77#");
    assert_eq!(line.dialled().len(), 2, "and again");
    line.assert_one_stream();
}

#[test]
fn an_amount_goes_with_the_code_in_minor_units() {
    for (keys, amount) in [
        ("*77*1999#", 1_999),
        ("*77*0#", 0),
        ("*77*99999999#", 99_999_999),
    ] {
        let mut line = Line::new("*77#");
        line.dial(keys);
        line.speak(300);
        assert_eq!(line.dialled(), [Dialled::Amount(amount)]);
        assert_eq!(line.heard(), "");
    }
}

#[test]
fn keys_that_are_no_code_reach_the_caller_all_of_them_in_order_and_whole() {
    for keys in [
        "5",
        "1234567890",
        "*",
        "*7",
        "*78",
        "**77",
        "*77*#",
        "*77**",
        "*7*77",
        "*77*123456789#",
        "*77*4539578763621486#",
        "#*0",
    ] {
        let mut line = Line::new("*77#");
        line.dial(keys);
        // Longer than anybody waits for the rest of a code, and as long as all presses take.
        line.speak(200 + 12 * keys.len());
        assert_eq!(line.dialled(), [], "{keys}");
        assert_eq!(line.heard(), keys);
        line.assert_one_stream();
    }
}

#[test]
fn a_code_may_follow_what_looked_like_its_beginning() {
    let mut line = Line::new("*77#");
    line.dial("9**7*77#");
    line.speak(300);
    assert_eq!(line.dialled(), [Dialled::Code]);
    assert_eq!(line.heard(), "9**7");
}

#[test]
fn who_stops_dialling_has_dialled_no_code() {
    let mut line = Line::new("*77#");
    line.dial("*77");
    line.speak(160);
    line.dial("#");
    line.speak(100);
    assert_eq!(line.dialled(), []);
    assert_eq!(line.heard(), "*77#");
}

#[test]
fn a_caller_who_dials_the_code_starts_nothing() {
    let mut line = Line::new("*77#");
    for code in [10, 7, 7, 11] {
        let left = line.world.key(code, 4, None);
        assert!(!left.is_empty(), "the agent hears it, as before");
        line.world.speak(3);
    }
    assert_eq!(line.dialled(), []);
}

#[test]
fn while_the_call_is_armed_the_agents_keys_are_keys() {
    let mut line = Line::new("*77#");
    line.dial("*7");
    line.world.command(Command::Arm(Holder::Ng));
    line.dial("7#");
    line.speak(300);
    assert_eq!(line.dialled(), []);
    let mut heard: Vec<_> = line.heard().into_bytes();
    heard.sort_unstable();
    assert_eq!(heard, b"#*77", "none is lost");
    line.assert_one_stream();
}

#[test]
fn the_rest_of_a_press_stays_where_its_beginning_did_also_once_the_call_is_armed() {
    for armed in [true, false] {
        let mut line = Line::new("*77#");
        line.dial("*77");
        let began = line.timestamp;
        for n in 1..=4_u16 {
            line.send(EVENT, began, &event(11, n == 4, n * 160));
            line.timestamp = line.timestamp.wrapping_add(FRAME);
            if n == 2 && armed {
                line.world.command(Command::Arm(Holder::Ng));
            } else if n == 2 {
                line.world.call.listen_for(None);
            }
        }
        line.speak(200);
        assert_eq!(line.dialled(), [Dialled::Code]);
        assert_eq!(line.heard(), "");
    }
}

#[test]
fn where_no_code_is_set_keys_pass() {
    let mut line = Line::new("*77#");
    line.dial("*7");
    line.world.call.listen_for(None);
    line.speak(200);
    line.dial("*77#");
    assert_eq!((line.dialled(), line.heard().as_str()), (vec![], "*7*77#"));
}

#[test]
fn lost_and_repeated_packets_neither_add_nor_lose_a_key() {
    let mut dice = 7_u64;
    let mut roll = move || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice
    };
    for _ in 0..200 {
        let mut line = Line::new("*77#");
        for key in [10, 7, 7, 11] {
            let began = line.timestamp;
            let mut told = false;
            for n in 1..=4_u16 {
                for repeat in 0..if n == 4 { 3 } else { 1 } {
                    // The last of each press always comes.
                    if roll() % 3 == 0 && !(n == 4 && repeat == 2 && !told) {
                        continue;
                    }
                    told = true;
                    for _ in 0..=roll() % 2 {
                        line.send(EVENT, began, &event(key, n == 4, n * 160));
                    }
                }
                line.timestamp = line.timestamp.wrapping_add(FRAME);
                line.pass(20);
            }
            line.speak(2);
        }
        line.speak(200);
        assert_eq!(line.dialled(), [Dialled::Code]);
        assert_eq!(line.heard(), "");
    }
}

#[test]
fn a_flood_of_keys_is_not_kept_and_a_stream_that_counts_anew_is_heard() {
    let mut line = Line::new("*77#");
    line.dial("*7");
    for n in 0..1_000 {
        line.send(
            EVENT,
            line.timestamp.wrapping_add(n * 800),
            &event(5, true, 800),
        );
    }
    let passed = line
        .left
        .iter()
        .filter(|one| header_of(one).payload_type == EVENT);
    assert!(passed.count() >= 960, "the rest passes as it is");
    line.timestamp = line.timestamp.wrapping_sub(1_000_000);
    line.left.clear();
    line.speak(400);
    line.dial("*77#");
    assert_eq!(line.dialled(), [Dialled::Code]);
}

#[test]
fn a_code_is_a_star_digits_and_a_hash() {
    for good in ["*77#", "*1#", "*123456#"] {
        let code: KeyCode = good.parse().unwrap();
        assert_eq!(code.to_string(), good);
    }
    for bad in [
        "",
        "77#",
        "*77",
        "*#",
        "*7*7#",
        "*1234567#",
        "#77#",
        "*7a#",
        "*77##",
    ] {
        assert_eq!(bad.parse::<KeyCode>(), Err(KeyCodeError), "{bad}");
    }
}
