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
}
