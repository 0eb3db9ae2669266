//! Telephone-events (RFC 4733) in every clock, however mangled: one press each, and nothing of them
//! leaves.

use super::*;

/// Payload types of telephone-event with their clock rates in Hz.
pub(super) const CLOCKS: [(u8, u32); 4] = [
    (EVENT, 8_000),
    (116, 16_000),
    (104, 32_000),
    (FOREIGN_EVENT, 48_000),
];

/// What of one press gets lost, and how it looks.
#[derive(Debug, Clone, Copy)]
struct Mangled {
    first_lost: bool,
    /// How many of the three packets at the end.
    ends_lost: usize,
    marker: bool,
    audio_beside: bool,
}

impl Mangled {
    fn all() -> impl Iterator<Item = Self> {
        (0..32).map(|n| Self {
            first_lost: n & 1 != 0,
            ends_lost: if n & 2 != 0 { 3 } else { n >> 4 },
            marker: n & 4 != 0,
            audio_beside: n & 8 != 0,
        })
    }
}

impl World {
    /// A press of `packets` times 20 ms in segments as long as the clock's 16 bits allow.
    fn press(&mut self, clock: (u8, u32), code: u8, packets: u32, how: Mangled) -> Vec<Vec<u8>> {
        let (payload_type, rate) = clock;
        let update = rate / 50;
        let segment = 65_535 / update;
        let begin = self.timestamp.wrapping_mul(rate / 8_000);
        let mut left = Vec::new();
        for packet in 0..packets {
            let last = packet + 1 == packets;
            let (of_segment, within) = (packet / segment, packet % segment);
            let told = begin.wrapping_add(of_segment * segment * update);
            let payload = event(code, last, ((within + 1) * update) as u16);
            if how.audio_beside {
                let beside = self.datagram(0, self.timestamp, &voice(160));
                left.extend(self.give(&beside));
            }
            let (times, lost) = if last { (3, how.ends_lost) } else { (1, 0) };
            for time in 0..times {
                let mut datagram = self.datagram(payload_type, told, &payload);
                if how.marker && packet == 0 {
                    datagram[1] |= 0x80;
                }
                if time >= lost && !(how.first_lost && packet == 0) {
                    left.extend(self.give(&datagram));
                }
            }
            self.timestamp = self.timestamp.wrapping_add(160);
            self.wait(20);
        }
        left
    }
}

fn armed_with_every_clock() -> World {
    armed_with_every_clock_of(Leg::Caller)
}

/// `side` names all clocks, the other two of them.
fn armed_with_every_clock_of(side: Leg) -> World {
    let clocks = |port| {
        let mut leg = leg(port);
        let events = CLOCKS.map(|(number, rate)| (number, Encoding::TelephoneEvent(rate)));
        leg.payload_types.extend(events);
        leg
    };
    let mut world = World::unanswered();
    world.command(Command::SetLeg(side, clocks(4_000)));
    world.command(Command::SetLeg(side.other(), leg(4_002)));
    world.speak(5);
    world.command(Command::Arm(Holder::Ng));
    world
}

fn assert_plain_audio(left: &[Vec<u8>]) {
    assert!(left.iter().all(|d| header_of(d).payload_type == 0));
    assert_seamless(left);
}

#[test]
fn a_press_is_one_in_every_clock_whatever_of_it_is_lost() {
    for clock in CLOCKS {
        for how in Mangled::all() {
            let mut world = armed_with_every_clock();
            let mut left = world.press(clock, 5, 6, how);
            left.extend(world.speak(4));
            left.extend(world.press(clock, 5, 6, how));
            left.extend(world.speak(10));
            assert_plain_audio(&left);
            assert_eq!(world.proof().keys_heard, 2, "{clock:?}, {how:?}");
        }
    }
}

#[test]
fn a_press_longer_than_a_segment_is_one_in_every_clock() {
    for clock in CLOCKS {
        for audio_beside in [false, true] {
            let mut world = armed_with_every_clock();
            let how = Mangled {
                first_lost: false,
                ends_lost: 0,
                marker: true,
                audio_beside,
            };
            // Two segments and a half.
            let packets = 65_535 / (clock.1 / 50) * 5 / 2;
            let mut left = world.press(clock, 9, packets, how);
            left.extend(world.speak(10));
            assert_plain_audio(&left);
            let keys = world.proof().keys_heard;
            assert_eq!(keys, 1, "{clock:?}, audio beside it: {audio_beside}");
        }
    }
}

#[test]
fn the_volume_of_an_event_changes_nothing_of_what_leaves() {
    let hear = |volume: u8| {
        let mut world = World::armed();
        let begin = world.timestamp;
        let mut left = Vec::new();
        for packet in 1..=10 {
            let mut told = event(5, packet == 10, packet * 160);
            // With the reserved bit.
            told[1] = (told[1] & 0x80) | volume;
            let datagram = world.datagram(EVENT, begin, &told);
            left.extend(world.give(&datagram));
            world.timestamp = world.timestamp.wrapping_add(160);
            world.wait(20);
        }
        left.extend(world.speak(10));
        left
    };
    let expected = hear(0);
    assert!(!expected.is_empty());
    for volume in [1, 10, 36, 63, 0x40, 0x7f] {
        assert_eq!(hear(volume), expected, "volume {volume}");
    }
}

#[test]
fn an_event_that_begins_anew_is_a_press_of_its_own() {
    // With its end, and without: then a key that is pressed again has come up in between.
    for ends_lost in [0, 3] {
        let mut world = World::armed();
        let how = Mangled {
            first_lost: false,
            ends_lost,
            marker: false,
            audio_beside: false,
        };
        for _ in 0..5 {
            world.press((EVENT, 8_000), 5, 4, how);
            world.timestamp = world.timestamp.wrapping_add(160);
            world.wait(20);
        }
        assert_eq!(world.proof().keys_heard, 5, "{ends_lost} ends lost");
    }
}

#[test]
fn two_keys_at_one_timestamp_are_two_presses_however_they_are_mixed() {
    let mut world = World::armed();
    let begin = world.timestamp;
    for packet in 1..=10 {
        for code in [5, 6] {
            let datagram = world.datagram(EVENT, begin, &event(code, packet == 10, packet * 160));
            world.give(&datagram);
        }
        world.wait(20);
    }
    assert_eq!(world.proof().keys_heard, 2);
}

#[test]
fn a_key_that_follows_another_without_a_gap_is_a_press_of_its_own() {
    for ends_lost in [0, 3] {
        let mut world = World::armed();
        let how = Mangled {
            first_lost: false,
            ends_lost,
            marker: false,
            audio_beside: false,
        };
        for code in [1, 2, 3, 4, 5, 6] {
            world.press((EVENT, 8_000), code, 4, how);
        }
        assert_eq!(world.proof().keys_heard, 6, "{ends_lost} ends lost");
    }
}

#[test]
fn several_events_of_a_packet_are_a_press_each_in_every_clock_however_often_it_comes() {
    let sides = [Leg::Caller, Leg::Agent];
    for ((payload_type, rate), side) in CLOCKS.into_iter().flat_map(|c| sides.map(|s| (c, s))) {
        let mut world = armed_with_every_clock_of(side);
        let begin = world.timestamp.wrapping_mul(rate / 8_000);
        let tenth = (rate / 10) as u16;
        let packed = [7, 7, 3, 9].map(|code| event(code, true, tenth));
        for _ in 0..3 {
            let datagram = world.datagram(payload_type, begin, packed.as_flattened());
            let left = world.give(&datagram);
            assert!(left.iter().all(|d| header_of(d).payload_type == 0));
            world.wait(20);
        }
        world.timestamp = world.timestamp.wrapping_add(3_200);
        world.speak(10);
        assert_eq!(world.proof().keys_heard, 4, "{rate} Hz, named by {side:?}");
    }
}
