//! A code that is read out to the agent.

use super::{
    codecs::{G722, G729, OPUS, PACKET, PCMU, Talk, breath},
    *,
};
use crate::proto::link::SpokenCode;

/// A voice that says a digit as 200 ms of a tone of 300 Hz and 100 more for each.
fn voice_of_tones() -> Arc<Voice> {
    let digit = |digit: usize| {
        let hz = 300.0 + 100.0 * digit as f64;
        (0..1_600)
            .map(|n| (8_000.0 * (TAU * hz * f64::from(n) / 8_000.0).sin()) as i16)
            .collect()
    };
    Arc::new(Voice::new(std::array::from_fn(digit)))
}

/// Digits heard: of each 100 ms the one whose tone is by far the strongest, told once as long as it lasts.
fn digits(heard: &[i16], rate_hz: f64) -> Vec<usize> {
    let power = |part: &[i16], hz: f64| {
        let step = TAU * hz / rate_hz;
        let (mut a, mut b) = (0.0, 0.0);
        for (n, sample) in part.iter().enumerate() {
            let (sin, cos) = (step * n as f64).sin_cos();
            a += f64::from(*sample) * sin;
            b += f64::from(*sample) * cos;
        }
        a.hypot(b) / part.len() as f64
    };
    let mut told = Vec::new();
    let mut last = None;
    for part in heard.chunks_exact(rate_hz as usize / 10) {
        let strongest = (0..10)
            .map(|digit| (digit, power(part, 300.0 + 100.0 * digit as f64)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|(_, power)| *power > 1_000.0)
            .map(|(digit, _)| digit);
        if let Some(digit) = strongest
            && last != strongest
        {
            told.push(digit);
        }
        last = strongest;
    }
    told
}

/// Packets of 20 ms until all of it has been said.
const WHOLE: usize = 250;

#[test]
fn the_agent_hears_the_code_twice_in_each_codec_and_then_the_caller_again() {
    for codec in [PCMU, G722, OPUS, G729] {
        let mut talk = Talk::open(codec);
        talk.say(&breath(10 * PACKET));
        talk.left.clear();
        talk.world
            .call
            .read_out(voice_of_tones(), SpokenCode::of(4_096));
        talk.say(&breath(WHOLE * PACKET));
        let rate_hz = f64::from(codec.1.rate_hz());
        let heard = digits(&talk.heard(codec), rate_hz);
        assert_eq!(heard, [4, 0, 9, 6, 4, 0, 9, 6], "{codec:?}");
        // As many packets as came, each in its place.
        assert_eq!(talk.left.len(), WHOLE);
        let sequences: Vec<u16> = talk.left.iter().map(|d| header_of(d).sequence).collect();
        assert!(sequences.windows(2).all(|w| w[1] == w[0].wrapping_add(1)));
        talk.left.clear();
        let packet = talk.encode(&breath(PACKET));
        talk.send(&packet);
        assert_eq!(talk.left[0][12..], packet);
    }
}

#[test]
fn an_arming_ends_it_and_an_armed_call_begins_none() {
    let mut world = World::answered();
    world.speak(5);
    let read_out = |world: &mut World| world.call.read_out(voice_of_tones(), SpokenCode::of(1));
    read_out(&mut world);
    world.speak(25);
    world.command(Command::Arm(Holder::Ng));
    let armed = world.speak(100);
    let samples = |left: &[Vec<u8>]| -> Vec<i16> {
        let bytes = payloads(left);
        bytes.iter().map(|byte| Law::Mu.decode(*byte)).collect()
    };
    assert_eq!(digits(&samples(&armed), 8_000.0), [0_usize; 0]);
    world.release();
    assert_eq!(digits(&samples(&world.speak(WHOLE)), 8_000.0), [0_usize; 0]);
    world.command(Command::Arm(Holder::Ng));
    read_out(&mut world);
    world.release();
    assert_eq!(digits(&samples(&world.speak(WHOLE)), 8_000.0), [0_usize; 0]);
}

#[test]
fn keys_and_what_has_no_length_pass_while_it_is_read_and_rtcp_does() {
    let mut world = World::answered();
    world.speak(5);
    world.call.read_out(voice_of_tones(), SpokenCode::of(1));
    let key = world.datagram(EVENT, world.timestamp, &event(5, false, 160));
    assert_eq!(world.give(&key), [key]);
    let other = world.datagram(99, world.timestamp, &[1, 2, 3]);
    assert_eq!(world.give(&other), [other]);
    // 2.5 ms: no packet of ours is as short.
    let short = world.datagram(0, world.timestamp, &[0xff; 20]);
    assert_eq!(world.give(&short), [short]);
    let mut report = sender_report(1, 2, 3);
    let same = report.clone();
    assert_eq!(
        world.give_on(Leg::Caller, Channel::Rtcp, &mut report),
        [same]
    );
    // The agent's voice goes to the caller as it is: the caller hears nothing of the code.
    let mut agents = world.datagram(0, 0, &voice(160));
    let same = agents.clone();
    let forward = world.call.handle_media(
        Leg::Agent,
        Channel::Rtp,
        &mut agents,
        world.now,
        &mut world.out,
    );
    assert_eq!(forward, Ok(Forward::ToCallerRtp));
    assert_eq!(agents, same);
}

#[test]
fn nothing_is_read_out_where_it_is_not_known_who_the_agent_is() {
    let mut world = World::answered();
    world.command(Command::MaskBoth);
    world.speak(5);
    world.call.read_out(voice_of_tones(), SpokenCode::of(1));
    let audio = world.datagram(0, world.timestamp, &voice(160));
    assert_eq!(world.give(&audio), [audio]);
}
