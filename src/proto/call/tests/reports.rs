//! RTCP across an arming.

use super::*;

/// A sender report with these values, by the caller, without blocks.
pub(super) fn sender_report(timestamp: u32, packets: u32, octets: u32) -> Vec<u8> {
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
    let rtp = world
        .tape
        .iter()
        .filter(|(_, datagram)| datagram[1] & 0x7f == 0);
    let octets: usize = rtp.map(|(_, datagram)| datagram.len() - 12).sum();
    // 75 packets of audio and 12 of the event.
    let came = 75 * 160 + 12 * 4;
    assert_eq!(word(&told[0], 24), 2_000 + octets as u32 - came);
}

#[test]
fn the_agents_reports_are_translated_while_armed_too() {
    let mut world = World::armed();
    world.key(5, 10, None);
    let shift = world.call.stream.shifts().sequence.cast_signed();
    assert_ne!(shift, 0);
    let mut report = receiver_report(0x0003_8001);
    world.give_on(Leg::Agent, Channel::Rtcp, &mut report);
    let theirs = 0x0003_8001u32.wrapping_add_signed(-i32::from(shift));
    assert_eq!(word(&report, 16), theirs);
}

#[test]
fn reports_count_the_ends_of_an_event_that_the_arming_cut() {
    let mut world = World::answered();
    world.speak(3);
    let datagram = world.datagram(EVENT, world.timestamp, &event(5, false, 160));
    world.give(&datagram);
    world.timestamp = world.timestamp.wrapping_add(160);
    world.command(Command::Arm(Holder::Ng));
    assert_eq!(world.wait(0).len(), 3);
    world.speak(3);
    let count = world.tape.len() as u32;
    let octets: usize = world.tape.iter().map(|(_, d)| d.len() - 12).sum();
    let mut report = sender_report(world.timestamp, 1, 2);
    let told = world.give_on(Leg::Caller, Channel::Rtcp, &mut report);
    assert_eq!(word(&told[0], 20), count);
    assert_eq!(word(&told[0], 24), octets as u32);
}

#[test]
fn a_goodbye_of_another_source_does_not_end_what_the_agent_hears() {
    let goodbye = |ssrc: u32| {
        let mut packet = vec![0x81, 203, 0, 1];
        packet.extend(ssrc.to_be_bytes());
        [sender_report(1, 2, 3), packet].concat()
    };
    let mut world = World::armed();
    world.speak(1);
    let said = |left: Vec<Vec<u8>>| left[0].windows(4).any(|w| w == [0x81, 203, 0, 1]);
    assert!(!said(world.give_on(
        Leg::Caller,
        Channel::Rtcp,
        &mut goodbye(7)
    )));
    assert!(said(world.give_on(
        Leg::Caller,
        Channel::Rtcp,
        &mut goodbye(SSRC)
    )));
    let mut of_another = sender_report(1, 2, 3);
    of_another[4..8].copy_from_slice(&[9; 4]);
    let left = world.give_on(Leg::Caller, Channel::Rtcp, &mut of_another);
    assert!(left.is_empty(), "its clock is not ours");
}

#[test]
fn reports_of_a_call_without_an_answer_or_that_has_ended_stay_here() {
    let mut world = World::unanswered();
    world.command(Command::SetLeg(Leg::Caller, leg(4_000)));
    let tell =
        |world: &mut World| world.give_on(Leg::Caller, Channel::Rtcp, &mut sender_report(1, 2, 3));
    assert!(tell(&mut world).is_empty());
    world.command(Command::SetLeg(Leg::Agent, leg(4_002)));
    assert_eq!(tell(&mut world).len(), 1);
    world.command(Command::HangUp);
    assert!(tell(&mut world).is_empty());
}

#[test]
fn a_report_that_was_cut_does_not_go_on() {
    let mut world = World::answered();
    let mut report = receiver_report(1);
    report.resize(1_501, 0);
    let now = world.now;
    let forward =
        world
            .call
            .handle_media(Leg::Agent, Channel::Rtcp, &mut report, now, &mut world.out);
    assert!(forward.is_err());
}
