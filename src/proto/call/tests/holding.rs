//! Arming, its holders, and the release.

use crate::proto::{capture::CaptureSettings, secret::plain};

use super::{reports::sender_report, *};

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
fn a_key_that_the_network_holds_back_over_the_end_of_a_hold_does_not_leave() {
    for payload_type in [EVENT, FOREIGN_EVENT, 0] {
        for stall in [120, 250, 400, 900] {
            let mut world = World::armed();
            world.speak(10);
            world.command(Command::Release(Holder::Ng));
            // Pressed 40 ms after the release was asked for, which is still armed time.
            world.wait(stall);
            world.timestamp = world.timestamp.wrapping_add(320);
            let rate = if payload_type == FOREIGN_EVENT { 6 } else { 1 };
            let begin = world.timestamp.wrapping_mul(rate);
            let tone = five(0, 800);
            let left: Vec<_> = (1..=5)
                .flat_map(|packet| {
                    let datagram = if payload_type == 0 {
                        let at = usize::from(packet - 1) * 160;
                        world.timestamp = world.timestamp.wrapping_add(160);
                        world.datagram(0, begin.wrapping_add(at as u32), &tone[at..at + 160])
                    } else {
                        let told = event(5, packet == 5, packet * 160 * rate as u16);
                        world.datagram(payload_type, begin, &told)
                    };
                    world.give(&datagram)
                })
                .collect();
            let is_event = |d: &Vec<u8>| header_of(d).payload_type == payload_type;
            assert!(
                payload_type == 0 || !left.iter().any(is_event),
                "payload type {payload_type}, held back for {stall} ms"
            );
            assert_no_tone(&left, &tone);
        }
    }
}

#[test]
fn the_rest_of_a_key_in_a_clock_of_its_own_does_not_leave_after_the_release() {
    let mut world = World::armed();
    for packet in 1..=5 {
        let told = event(5, false, packet * 960);
        let datagram = world.datagram(FOREIGN_EVENT, 77_000, &told);
        world.give(&datagram);
        world.wait(20);
    }
    world.command(Command::Release(Holder::Ng));
    world.wait(4_000);
    assert!(!world.call.is_armed());
    for (payload, leaves) in [(77_000, 0), (90_000, 1)] {
        let datagram = world.datagram(FOREIGN_EVENT, payload, &event(5, true, 40_000));
        assert_eq!(world.give(&datagram).len(), leaves, "an event of {payload}");
    }
}

#[test]
fn a_release_comes_also_where_the_caller_sends_now_and_then_only() {
    let mut world = World::armed();
    world.speak(5);
    world.command(Command::Release(Holder::Ng));
    for _ in 0..10 {
        world.wait(200);
        world.timestamp = world.timestamp.wrapping_add(1_600);
        let comfort_noise = world.datagram(13, world.timestamp, &[60]);
        world.give(&comfort_noise);
    }
    assert!(!world.call.is_armed());
}

#[test]
fn a_payment_does_not_take_another_payments_brand_nor_that_of_a_number_keyed_anew() {
    let open = |world: &mut World, holder: Holder, field: Field| {
        let Holder::Payment(payment) = holder else {
            unreachable!("a payment's own");
        };
        world.command(Command::OpenCapture {
            payment,
            field,
            from: Leg::Caller,
            settings: CaptureSettings::default(),
            slot: plain::slot(),
        });
    };
    let key = |world: &mut World, text: &str| {
        for digit in text.bytes() {
            world.key(digit - b'0', 4, None);
            world.wait(60);
            world.timestamp = world.timestamp.wrapping_add(480);
        }
    };
    let complete = |world: &World| {
        world.count(|output| {
            matches!(output, Output::Capture(event)
                if matches!(event.kind, CaptureEventKind::Complete { .. }))
        })
    };
    for (other, number_anew, completed) in [('A', false, 2), ('A', true, 1), ('B', false, 1)] {
        let mut world = World::armed();
        world.command(Command::Arm(payment('A')));
        world.command(Command::Arm(payment('B')));
        open(&mut world, payment('A'), Field::PaymentCardNumber);
        key(&mut world, "4242424242424242");
        assert_eq!(complete(&world), 1);
        if number_anew {
            open(&mut world, payment('A'), Field::PaymentCardNumber);
        }
        open(&mut world, payment(other), Field::SecurityCode);
        key(&mut world, "123");
        // Of an unknown brand a fourth digit may come.
        assert_eq!(complete(&world), completed, "{other}, {number_anew}");
    }
    let mut world = World::armed();
    world.command(Command::Arm(payment('A')));
    world.command(Command::Arm(payment('B')));
    open(&mut world, payment('A'), Field::PaymentCardNumber);
    key(&mut world, "4242424242424242");
    world.command(Command::Release(payment('B')));
    open(&mut world, payment('A'), Field::SecurityCode);
    key(&mut world, "123");
    assert_eq!(complete(&world), 2, "another's release takes nothing");
}
