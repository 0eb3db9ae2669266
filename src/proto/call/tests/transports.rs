//! Whatever can carry a key: heard, or denied; and nothing of it leaves while armed.

use crate::proto::{dtmf::code_of_tone, rtp::write_red};

use super::{reports::sender_report, *};

/// What SDP names and the gateway does not understand: RTX, ULPFEC and the like.
const OPAQUE: u8 = 123;
/// What no SDP names.
const UNDECLARED: u8 = 99;

fn with_all(port: u16) -> LegMedia {
    let mut leg = leg(port);
    leg.payload_types.extend([
        (RED, Encoding::Red),
        (TONE, Encoding::Tone(8_000)),
        (OPAQUE, Encoding::Other),
    ]);
    leg
}

fn answered() -> World {
    let mut world = World::unanswered();
    world.command(Command::SetLeg(Leg::Caller, with_all(4_000)));
    world.command(Command::SetLeg(Leg::Agent, leg(4_002)));
    world
}

fn armed() -> World {
    let mut world = answered();
    world.speak(5);
    world.command(Command::Arm(Holder::Ng));
    world
}

/// An RFC 4733 tone of these frequencies.
fn described(frequencies_hz: &[u16], duration: u16) -> Vec<u8> {
    let [high, low] = duration.to_be_bytes();
    let mut payload = vec![0, 10, high, low];
    for hz in frequencies_hz {
        payload.extend(hz.to_be_bytes());
    }
    payload
}

fn assert_nothing_of_it(left: &[Vec<u8>], told: &[u8]) {
    assert!(left.iter().all(|d| header_of(d).payload_type == 0));
    assert!(
        !left
            .iter()
            .any(|d| d.windows(told.len()).any(|w| w == told))
    );
}

/// Payloads one after the other, each datagram's alone.
fn spoken(left: &[Vec<u8>]) -> Vec<u8> {
    left.iter().flat_map(|d| d[12..].to_vec()).collect()
}

#[test]
fn a_key_in_the_primary_and_in_redundant_blocks_is_one_press_and_plain_audio_leaves() {
    let mut world = armed();
    let mut left = world.speak(2);
    let mut before: Option<(u32, [u8; 4])> = None;
    for code in [5, 5, 7] {
        let begin = world.timestamp;
        for packet in 1..=6 {
            let told = event(code, packet == 6, packet * 160);
            let mut blocks: Vec<(u8, u16, &[u8])> = Vec::new();
            if let Some((timestamp, told)) = &before {
                blocks.push((EVENT, begin.wrapping_sub(*timestamp) as u16, told));
            }
            let payload = write_red(&blocks, (EVENT, &told));
            let datagram = world.datagram(RED, begin, &payload);
            left.extend(world.give(&datagram));
            assert_nothing_of_it(&left, &told);
            world.timestamp = world.timestamp.wrapping_add(160);
            world.wait(20);
        }
        before = Some((begin, event(code, true, 960)));
        left.extend(world.speak(4));
    }
    assert_seamless(&left);
    assert_eq!(world.proof().keys_heard, 3);
}

#[test]
fn a_key_that_only_a_redundant_block_tells_is_heard_also_where_the_packet_is_late() {
    for (primary, late) in [(0, false), (EVENT, false), (0, true)] {
        let mut world = armed();
        world.speak(3);
        let lost = world.timestamp;
        // Every packet of the press is lost.
        world.sequence = world.sequence.wrapping_add(8);
        world.timestamp = world.timestamp.wrapping_add(960);
        world.wait(120);
        let told = event(5, true, 960);
        let next = event(6, false, 160);
        let payload: &[u8] = if primary == 0 { &voice(160) } else { &next };
        let block = (EVENT, 960, &told[..]);
        let red = write_red(&[block], (primary, payload));
        let datagram = world.datagram(RED, lost.wrapping_add(960), &red);
        if late {
            world.timestamp = world.timestamp.wrapping_add(160);
            world.speak(1);
        }
        let left = world.give(&datagram);
        assert_nothing_of_it(&left, &told);
        let keys = if primary == EVENT { 2 } else { 1 };
        assert_eq!(
            world.proof().keys_heard,
            keys,
            "primary {primary}, late {late}"
        );
    }
}

/// What leaves of `audio`, sent as RED that repeats the packet before, or plainly; some are lost.
fn heard_of(audio: &[u8], repeats: bool, lost: impl Fn(usize) -> bool) -> (World, Vec<Vec<u8>>) {
    let mut world = armed();
    let mut left = Vec::new();
    let packets: Vec<&[u8]> = audio.chunks(160).collect();
    for (n, packet) in packets.iter().enumerate() {
        let datagram = if repeats && n > 0 {
            let red = write_red(&[(0, 160, packets[n - 1])], (0, packet));
            world.datagram(RED, world.timestamp, &red)
        } else {
            world.datagram(0, world.timestamp, packet)
        };
        world.timestamp = world.timestamp.wrapping_add(160);
        if !lost(n) {
            left.extend(world.give(&datagram));
        }
        world.wait(20);
    }
    (world, left)
}

#[test]
fn redundant_audio_takes_the_place_of_what_was_lost() {
    // Faint, and different in every packet.
    let audio: Vec<u8> = (0..100)
        .flat_map(|n| {
            tone(
                180.0,
                310.0 + f64::from(n) / 10.0,
                900.0,
                n as usize * 160,
                160,
            )
        })
        .collect();
    let every_fifth = |n: usize| n % 5 == 3;
    let (_, whole) = heard_of(&audio, false, |_| false);
    let (_, repaired) = heard_of(&audio, true, every_fifth);
    let (_, holed) = heard_of(&audio, false, every_fifth);
    assert_eq!(spoken(&repaired), spoken(&whole));
    assert_ne!(spoken(&holed), spoken(&whole), "control");
    assert_seamless(&repaired);
}

#[test]
fn a_tone_in_redundant_audio_is_masked_and_counted_once() {
    for lost_from in 0..5 {
        let sent = five(0, 800);
        let audio = [voice(1_600), sent.clone(), voice(1_600)].concat();
        let (mut world, left) = heard_of(&audio, true, |n| n == 9 + lost_from);
        assert_no_tone(&left, &sent);
        assert_eq!(world.proof().keys_heard, 1, "lost {lost_from}");
    }
}

#[test]
fn redundant_audio_of_long_ago_does_not_turn_the_time_back() {
    let mut world = armed();
    let mut left = world.speak(5);
    let sent = five(0, 160);
    for _ in 0..10 {
        let blocks: [(u8, u16, &[u8]); 2] = [(0, 16_000, &sent), (0, 2_000, &sent)];
        let red = write_red(&blocks, (0, &voice(160)));
        left.extend(world.audio(RED, &red));
        // `audio` counts the bytes of RED.
        world.timestamp = world.timestamp.wrapping_sub(red.len() as u32 - 160);
    }
    assert_no_tone(&left, &sent);
    assert_seamless(&left);
    assert_eq!(world.proof().keys_heard, 0);
}

#[test]
fn a_tone_described_by_a_keys_two_frequencies_is_a_press_and_any_other_is_not() {
    let cases: [(&[u16], u32); 7] = [
        (&[770, 1_336], 1),
        // 1.5 % off, and the higher first.
        (&[1_356, 760], 1),
        (&[770, 1_400], 0),
        (&[770], 0),
        (&[770, 1_336, 1_477], 0),
        (&[350, 440], 0),
        (&[], 0),
    ];
    for (frequencies_hz, keys) in cases {
        let mut world = armed();
        let begin = world.timestamp;
        let mut left = Vec::new();
        for packet in 1..=6 {
            let told = described(frequencies_hz, packet * 160);
            let datagram = world.datagram(TONE, begin, &told);
            left.extend(world.give(&datagram));
            world.timestamp = world.timestamp.wrapping_add(160);
            world.wait(20);
            assert_nothing_of_it(&left, &told);
        }
        left.extend(world.speak(10));
        assert_seamless(&left);
        assert_eq!(world.proof().keys_heard, keys, "{frequencies_hz:?}");
    }
}

#[test]
fn an_event_a_described_tone_and_a_tone_of_one_press_are_one() {
    let mut world = armed();
    world.speak(10);
    let sent = five(0, 960);
    let begin = world.timestamp;
    let mut left = Vec::new();
    for (packet, audio) in (1..).zip(sent.chunks(160)) {
        let told = described(&[770, 1_336], packet * 160);
        let red = write_red(
            &[(TONE, 0, &told)],
            (EVENT, &event(5, packet == 6, packet * 160)),
        );
        let datagram = world.datagram(RED, begin, &red);
        left.extend(world.give(&datagram));
        left.extend(world.audio(0, audio));
    }
    left.extend(world.speak(10));
    assert_no_tone(&left, &sent);
    assert_eq!(world.proof().keys_heard, 1);
}

/// Payloads that carry `code`, each with a number: what may come beside audio, and does not leave.
fn carriers(code: u8) -> Vec<(&'static str, u8, Vec<u8>)> {
    let told = event(code, true, 800);
    let tones = [(770, 1_336), (697, 1_209)];
    let (row, column) = tones[usize::from(code % 2)];
    assert_ne!(code_of_tone(Some((row, column))), 255);
    let tone = described(&[row, column], 800);
    let nested = write_red(&[(EVENT, 160, &told)], (EVENT, &told));
    let cut = write_red(&[(EVENT, 160, &told)], (EVENT, &told));
    // Sequence number that is sent again, then the payload (RFC 4588 section 4).
    let again = [&[0xff, 0x01][..], &told].concat();
    // FEC header and level header, then the exclusive or of payloads (RFC 5109 section 7).
    let repair = [&[0; 18][..], &told, &[0; 40]].concat();
    vec![
        ("an event under no number", UNDECLARED, told.to_vec()),
        (
            "an event where speech was named that is not understood",
            OPAQUE,
            told.to_vec(),
        ),
        ("RTX", OPAQUE, again.clone()),
        ("RTX under no number", UNDECLARED, again),
        ("ULPFEC", OPAQUE, repair.clone()),
        ("FlexFEC under no number", 118, repair.clone()),
        ("parityfec", 127, repair),
        (
            "comfort noise with a spectrum",
            13,
            [&[60][..], &told].concat(),
        ),
        ("comfort noise of old", 19, told.to_vec()),
        ("Cisco's events", 100, told.to_vec()),
        ("G.722 that was not named", 9, told.repeat(40)),
        ("G.729 that was not named", 18, told.repeat(5)),
        ("GSM that was not named", 3, told.repeat(8)),
        ("text", 98, vec![b'0' + code; 4]),
        (
            "RED",
            RED,
            write_red(&[(EVENT, 160, &told)], (EVENT, &told)),
        ),
        (
            "RED in RED",
            RED,
            write_red(&[(RED, 160, &nested)], (RED, &nested)),
        ),
        (
            "RED of what is not understood",
            RED,
            write_red(
                &[(UNDECLARED, 160, &told), (OPAQUE, 80, &told)],
                (UNDECLARED, &told),
            ),
        ),
        ("RED that was cut", RED, cut[..cut.len() - 5].to_vec()),
        (
            "RED without an end",
            RED,
            [0x80 | EVENT, 0, 0, 4].repeat(20),
        ),
        ("a described tone", TONE, tone.clone()),
        ("a described tone that was cut", TONE, tone[..7].to_vec()),
        ("a torn event", EVENT, told[..3].to_vec()),
        ("many events", EVENT, event(code, true, 0).repeat(300)),
    ]
}

#[test]
fn of_whatever_carries_a_key_nothing_leaves_and_the_stream_goes_on() {
    let hear = |nth: usize, code: u8, beside: bool| {
        let (_, number, payload) = carriers(code).swap_remove(nth);
        let mut world = armed();
        let mut left = world.speak(2);
        for _ in 0..20 {
            let datagram = world.datagram(number, world.timestamp, &payload);
            left.extend(world.give(&datagram));
            if beside {
                left.extend(world.audio(0, &voice(160)));
            } else {
                world.timestamp = world.timestamp.wrapping_add(160);
                world.wait(20);
            }
        }
        left.extend(world.speak(10));
        (payload, left)
    };
    for (nth, (name, ..)) in carriers(0).into_iter().enumerate() {
        for beside in [false, true] {
            let (payload, left) = hear(nth, 4, beside);
            assert!(left.len() >= 20, "{name}: {} packets left", left.len());
            assert_seamless(&left);
            assert!(left.iter().all(|d| d.len() == 172), "{name}: sizes differ");
            assert_nothing_of_it(&left, &event(4, true, 800));
            assert_nothing_of_it(&left, &payload);
            assert_eq!(left, hear(nth, 5, beside).1, "{name}: tells the digit");
        }
    }
}

#[test]
fn a_source_of_what_is_not_understood_is_not_followed_though_the_caller_is_silent() {
    for (number, followed) in [(OPAQUE, false), (UNDECLARED, false), (0, true)] {
        let mut world = armed();
        world.speak(3);
        world.wait(300);
        for sequence in 0..5 {
            let header = write_header(number, false, sequence, 7, 99);
            world.give(&[&header[..], &[0xff; 160]].concat());
            world.wait(5);
        }
        let left = world.speak(1);
        assert_eq!(left.is_empty(), followed, "payload type {number}");
        assert!(left.iter().all(|d| header_of(d).ssrc == SSRC));
    }
}

#[test]
fn of_the_callers_rtcp_only_reports_of_our_own_leave_on_either_port() {
    let packet = |first: u8, kind: u8, body: &[u8]| {
        let words = (body.len() / 4) as u8;
        [&[first, kind, 0, words][..], body].concat()
    };
    let ssrc = SSRC.to_be_bytes();
    let told = event(5, true, 800);
    let private = [&ssrc[..], &[8, 8, 3, b'k', b'e', b'y'], &told, &[0, 0]].concat();
    let all = [
        (
            "APP",
            packet(0x80, 204, &[&ssrc[..], b"DTMF", &told].concat()),
        ),
        (
            "XR",
            packet(0x80, 207, &[&ssrc[..], &[42, 0, 0, 1], &told].concat()),
        ),
        ("SDES PRIV", packet(0x81, 202, &private)),
        (
            "transport feedback",
            packet(0x81, 205, &[&ssrc[..], &ssrc, &told].concat()),
        ),
        (
            "payload feedback",
            packet(0x8f, 206, &[&ssrc[..], &ssrc, &told].concat()),
        ),
        (
            "a goodbye's reason",
            packet(0x81, 203, &[&ssrc[..], &[3], &told[..3]].concat()),
        ),
        ("a report's extension", {
            let mut report = sender_report(1, 2, 3);
            report[3] += 1;
            report.extend(told);
            report
        }),
        ("a kind of tomorrow", packet(0x80, 213, &told)),
    ];
    for (name, odd) in all {
        for channel in [Channel::Rtp, Channel::Rtcp] {
            for after_report in [true, false] {
                let mut world = armed();
                world.speak(2);
                let mut compound = odd.clone();
                if after_report {
                    compound = [sender_report(1, 2, 3), odd.clone()].concat();
                }
                let left = world.give_on(Leg::Caller, channel, &mut compound);
                let reports = usize::from(after_report || name == "a report's extension");
                assert_eq!(left.len(), reports, "{name}");
                for compound in &left {
                    assert!(!compound.windows(3).any(|w| w == &told[..3]), "{name}");
                    let own = |kind: &u8| matches!(kind, 200 | 202 | 203);
                    assert!(compound.get(1).is_some_and(own), "{name}");
                }
            }
        }
    }
}

#[test]
fn what_is_neither_rtp_nor_rtcp_stays_here() {
    let told = event(5, true, 800);
    let datagrams: [(&str, Vec<u8>); 5] = [
        (
            "STUN",
            [&[0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12], &told].concat(),
        ),
        ("DTLS", [&[22, 254, 253, 0, 0][..], &[0; 8], &told].concat()),
        (
            "ZRTP",
            [&[0x10, 0, 0, 1, b'Z', b'R', b'T', b'P'][..], &told].concat(),
        ),
        ("SIP", b"INFO sip:a@b SIP/2.0\r\n\r\nSignal=5\r\n".to_vec()),
        ("the event alone", told.to_vec()),
    ];
    for (name, datagram) in datagrams {
        for channel in [Channel::Rtp, Channel::Rtcp] {
            let mut world = armed();
            world.speak(2);
            let (now, mut bytes) = (world.now, datagram.clone());
            let forward =
                world
                    .call
                    .handle_media(Leg::Caller, channel, &mut bytes, now, &mut world.out);
            assert_eq!(forward, Err(Refused::NotMedia), "{name}");
            assert!(world.left().is_empty(), "{name}");
        }
    }
}

#[test]
fn what_either_side_says_spells_keys_or_is_not_understood_is_never_taken_for_speech() {
    let meanings = [
        Encoding::Red,
        Encoding::Tone(8_000),
        Encoding::TelephoneEvent(48_000),
        Encoding::Other,
    ];
    for meaning in meanings {
        for odd_side in [Leg::Caller, Leg::Agent] {
            let mut odd = leg(4_000);
            odd.payload_types.push((97, meaning));
            let mut plain = leg(4_002);
            plain
                .payload_types
                .push((97, Encoding::Audio(AudioCodec::Pcmu)));
            let mut world = World::unanswered();
            world.command(Command::SetLeg(odd_side, odd));
            world.command(Command::SetLeg(odd_side.other(), plain));
            world.speak(5);
            world.command(Command::Arm(Holder::Ng));
            let told = event(5, true, 800);
            let mut left = Vec::new();
            for _ in 0..10 {
                left.extend(world.audio(97, &told.repeat(40)));
            }
            left.extend(world.speak(10));
            assert_nothing_of_it(&left, &told);
        }
    }
}

#[test]
fn what_red_repeats_of_the_armed_time_does_not_leave_after_the_release() {
    for block in [EVENT, 0, TONE] {
        let mut world = armed();
        world.speak(5);
        let keyed = world.timestamp;
        world.key(5, 5, None);
        world.speak(2);
        world.command(Command::Release(Holder::Ng));
        while world.call.is_armed() {
            world.speak(1);
        }
        let told = match block {
            EVENT => event(5, true, 800).to_vec(),
            TONE => described(&[770, 1_336], 800),
            _ => five(0, 160),
        };
        let offset = |world: &World| world.timestamp.wrapping_sub(keyed) as u16;
        let mut left = Vec::new();
        while offset(&world) < 16_000 {
            let red = write_red(&[(block, offset(&world), &told)], (0, &voice(160)));
            let datagram = world.datagram(RED, world.timestamp, &red);
            left.extend(world.give(&datagram));
            world.timestamp = world.timestamp.wrapping_add(160);
            world.wait(20);
        }
        assert!(
            left.is_empty(),
            "block {block}: {} packets left",
            left.len()
        );
        // What it repeats of the time after it leaves as it is.
        world.speak(100);
        let red = write_red(&[(block, 160, &told)], (0, &voice(160)));
        let datagram = world.datagram(RED, world.timestamp, &red);
        let arrived = world.give(&datagram);
        assert_eq!(arrived[0][12..], datagram[12..], "block {block}");
    }
}

#[test]
fn what_is_not_understood_leaves_again_only_when_it_cannot_be_of_the_armed_time() {
    let mut world = armed();
    world.speak(5);
    world.key(5, 5, None);
    world.release();
    let again = [&[0xff, 0x01][..], &event(5, true, 800)].concat();
    for number in [OPAQUE, UNDECLARED] {
        let datagram = world.datagram(number, world.timestamp, &again);
        assert!(world.give(&datagram).is_empty(), "payload type {number}");
        let mut stranger = world.datagram(number, world.timestamp, &again);
        stranger[8..12].copy_from_slice(&[9; 4]);
        assert!(world.give(&stranger).is_empty(), "of a source of its own");
    }
    // Comfort noise tells nothing of the past.
    let noise = world.datagram(13, world.timestamp, &[60]);
    assert_eq!(world.give(&noise).len(), 1);
    for _ in 0..250 {
        world.speak(1);
    }
    let datagram = world.datagram(OPAQUE, world.timestamp, &again);
    assert_eq!(world.give(&datagram).len(), 1);
}

#[test]
fn an_event_in_red_that_the_arming_cuts_is_ended_in_its_own_payload_type() {
    let mut world = answered();
    world.speak(3);
    let begin = world.timestamp;
    for packet in 1..=3 {
        let red = write_red(&[], (EVENT, &event(5, false, packet * 160)));
        let datagram = world.datagram(RED, begin, &red);
        world.give(&datagram);
        world.wait(20);
    }
    world.command(Command::Arm(Holder::Ng));
    let ends = world.wait(0);
    assert_eq!(ends.len(), 3);
    for end in ends {
        assert_eq!(
            (header_of(&end).payload_type, header_of(&end).timestamp),
            (EVENT, begin)
        );
        assert_eq!(end[12..], event(5, true, 480));
    }
}
