//! What the agent's side sees where the stream changes hands, jumps, or loses packets.

use crate::proto::{
    dtmf::{Suspicion, tests::signal::Dice},
    mask::{Fill, Guard, Profile},
};

use super::{profiles::open_field, reports::sender_report, *};

const LOOK_AHEADS: [(Profile, usize); 3] = [
    (Profile::Fast, 96),
    (Profile::Strict, 160),
    (Profile::Strictest, 320),
];

fn armed(profile: Profile, fill: Fill) -> World {
    let mut world = World::answered_and_masked(Masking { profile, fill });
    world.speak(5);
    world.command(Command::Arm(Holder::Ng));
    world
}

fn suspicion(world: &mut World) -> Suspicion {
    world.call.stream.armed_mut().unwrap().suspicion()
}

/// Faint enough never to be suspect, each sample telling its place.
fn faint(samples: usize) -> Vec<u8> {
    (0..samples)
        .map(|n| Law::Mu.encode((n * 37 % 61) as i16 - 30))
        .collect()
}

#[test]
fn a_frame_leaves_once_the_look_ahead_beyond_its_end_has_been_heard_and_not_before() {
    for (profile, look_ahead) in LOOK_AHEADS {
        let mut world = armed(profile, Fill::Tone);
        let sent = faint(2_000);
        let (mut left, mut frame) = (0, Vec::new());
        for (heard, code) in (1..).zip(&sent) {
            let datagram = world.datagram(0, world.timestamp, &[*code]);
            world.timestamp = world.timestamp.wrapping_add(1);
            for datagram in world.give(&datagram) {
                let payload = &datagram[12..];
                frame.push(payload.len());
                left += payload.len();
                // As much silence as the look-ahead has left first.
                assert_eq!(heard, left, "{profile:?}");
                for (at, code) in (left - payload.len()..).zip(payload) {
                    let expected = at.checked_sub(look_ahead).map_or(0xff, |at| sent[at]);
                    assert_eq!(*code, expected, "{profile:?}, sample {at}");
                }
            }
        }
        assert!(left >= 1_900 && frame.iter().all(|length| *length == frame[0]));
    }
}

#[test]
fn of_what_the_look_ahead_did_not_hear_to_its_end_before_a_loss_nothing_leaves() {
    for (profile, look_ahead) in LOOK_AHEADS {
        for packet in [80, 160, 240, 480] {
            let mut world = armed(profile, Fill::Silence);
            let sent = faint(480 * 20);
            let mut left = Vec::new();
            for (n, audio) in sent.chunks(packet).enumerate() {
                if n == 9 {
                    world.sequence = world.sequence.wrapping_add(1);
                    world.timestamp = world.timestamp.wrapping_add(packet as u32);
                    world.wait(packet as u32 / 8);
                } else {
                    left.extend(world.audio(0, audio));
                }
            }
            assert_seamless(&left);
            let heard = payloads(&left);
            let lost = look_ahead + 9 * packet;
            let masked = lost - look_ahead..lost + packet;
            assert!(
                heard[masked].iter().all(|code| *code == 0xff),
                "{profile:?}, packets of {packet}"
            );
            // And no more than the frames that this falls into.
            let before = lost - look_ahead - packet;
            assert_eq!(
                heard[look_ahead..before],
                sent[..before - look_ahead],
                "{profile:?}, packets of {packet}"
            );
        }
    }
}

#[test]
fn each_guard_suspects_as_readily_as_its_look_ahead_allows() {
    for profile in [
        Profile::Fast,
        Profile::Strict,
        Profile::Strictest,
        Profile::Continuous,
    ] {
        let mut world = armed(profile, Fill::Tone);
        assert_eq!(suspicion(&mut world), profile.guard().suspicion());
        // Nor does another source loosen it.
        world.speak(5);
        world.wait(150);
        (world.ssrc, world.sequence) = (7, 9);
        world.speak(10);
        assert_eq!(header_of(&world.tape.last().unwrap().1).ssrc, 7);
        assert_eq!(suspicion(&mut world), profile.guard().suspicion());
    }
}

#[test]
fn where_noise_tightens_the_guard_it_suspects_more_readily_too() {
    let mut dice = Dice::new(8);
    let mut world = armed(Profile::Fast, Fill::Tone);
    for (amplitude, guard) in [(2_600.0, Guard::Strict), (4_200.0, Guard::Strictest)] {
        for _ in 0..350 {
            let noise =
                (0..160).map(|_| Law::Mu.encode(dice.between(-amplitude, amplitude) as i16));
            let noise: Vec<u8> = noise.collect();
            world.audio(0, &noise);
        }
        let told = |output: &Output| matches!(output, Output::Tightened(to) if *to == guard);
        assert_eq!(world.count(told), 1, "{guard:?}");
        assert_eq!(suspicion(&mut world), guard.suspicion());
    }
}

#[test]
fn a_jump_of_the_callers_time_opens_a_talkspurt_as_far_on_and_never_back() {
    for jump in [8_000_i32, 400_000, -50_000] {
        let mut world = World::armed();
        let before = world.speak(10);
        world.timestamp = world.timestamp.wrapping_add_signed(jump);
        let after = world.speak(10);
        let marked = |datagram: &Vec<u8>| datagram[1] & 0x80 != 0;
        assert!(!before.iter().any(marked));
        assert!(marked(&after[0]), "by {jump}");
        assert!(!after[1..].iter().any(marked), "the first one only");
        let [last, first] = [before.last().unwrap(), &after[0]].map(|d| header_of(d));
        assert_eq!(first.sequence, last.sequence.wrapping_add(1));
        let forward = 160 + u32::try_from(jump).unwrap_or(0);
        assert_eq!(first.timestamp, last.timestamp.wrapping_add(forward));
        assert_seamless(&after);
        // Reports speak of the same time: what comes now leaves behind what waits.
        let mut report = sender_report(world.timestamp, 1, 2);
        let told = world.give_on(Leg::Caller, Channel::Rtcp, &mut report);
        let next = header_of(after.last().unwrap()).timestamp.wrapping_add(160);
        let timestamp = u32::from_be_bytes(told[0][16..20].try_into().unwrap());
        assert_eq!(timestamp, next.wrapping_add(96));
    }
}

#[test]
fn a_change_of_the_packet_time_is_followed_from_packet_to_packet() {
    let mut world = World::armed();
    let sent = faint(480 * 12);
    let (mut left, mut rest) = (Vec::new(), &sent[..]);
    for packet in [160, 80, 240, 320, 400, 480, 80, 480, 160] {
        for _ in 0..2 {
            let (audio, later) = rest.split_at(packet);
            rest = later;
            left = [left, world.audio(0, audio)].concat();
        }
        let last = left.last().unwrap();
        assert_eq!(header_of(last).payload.len(), packet);
    }
    assert_seamless(&left);
    let heard = payloads(&left);
    assert_eq!(heard[96..], sent[..heard.len() - 96]);
}

#[test]
fn the_proof_counts_what_was_masked_checked_and_sent() {
    let mut world = World::armed();
    let mut left = world.speak(20);
    left.extend(world.key(5, 10, None));
    left.extend(world.speak(20));
    let spoken: HashSet<Vec<u8>> = voice(320).windows(32).map(<[u8]>::to_vec).collect();
    let hidden = |datagram: &&Vec<u8>| !datagram.windows(32).any(|w| spoken.contains(w));
    let masked = left.iter().filter(hidden).count() as u64;
    assert!(masked >= 11, "{masked} packets");
    let proof = world.proof();
    let counted = (
        proof.packets_masked,
        proof.packets_sent,
        proof.packets_checked,
    );
    let all = left.len() as u64;
    assert_eq!(counted, (masked, all, all));
}

#[test]
fn a_release_waits_for_a_quiet_moment_but_not_for_long() {
    let loud = |samples| tone(180.0, 310.0, 3_000.0, 0, samples);
    for (loud_ms, released_ms) in [(0, 300..=340), (540, 520..=600), (5_000, 780..=840)] {
        let mut world = World::armed();
        world.speak(30);
        world.command(Command::Release(Holder::Ng));
        let mut after_ms = 0;
        while world.call.is_armed() {
            let audio = if after_ms < loud_ms {
                loud(160)
            } else {
                faint(160)
            };
            world.audio(0, &audio);
            after_ms += 20;
        }
        assert!(
            released_ms.contains(&after_ms),
            "loud for {loud_ms} ms: after {after_ms} ms"
        );
    }
}

#[test]
fn a_release_cuts_into_no_tone_that_has_just_begun() {
    // 300 ms after the release 2,400 samples were heard. The second tone is fainter than what a release
    // takes for silence.
    for level in [6_000.0, 60.0] {
        for onset in (2_240..=2_352).step_by(14) {
            let mut world = World::armed();
            world.speak(30);
            world.command(Command::Release(Holder::Ng));
            let sent = tone(770.0, 1_336.0, level, 0, 640);
            let mut audio = vec![0xff; onset];
            audio.extend(&sent);
            audio.resize(4_800, 0xff);
            let mut left = Vec::new();
            for packet in audio.chunks(160) {
                left.extend(world.audio(0, packet));
            }
            assert_no_tone(&left, &sent);
            world.speak(40);
            assert!(!world.call.is_armed(), "a tone after {onset} samples");
        }
    }
}

#[test]
fn a_tone_that_a_timer_would_let_out_is_an_incident_too() {
    let mut world = World::armed();
    let codes = five(0, 960);
    let wide = codes.iter().flat_map(|code| [Law::Mu.decode(*code); 2]);
    let wide: Vec<i16> = wide.collect();
    world.call.stream.armed_mut().unwrap().let_pass(&wide);
    world.call.handle_timeout(world.now, &mut world.out);
    world.drain();
    assert!(world.left().is_empty());
    assert_eq!(world.count(|o| matches!(o, Output::Incident)), 1);
}

#[test]
fn no_key_of_a_source_that_takes_over_completes_the_field_of_the_one_before() {
    let mut world = World::armed();
    world.command(Command::Arm(payment('A')));
    open_field(&mut world);
    for digit in [4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4] {
        world.key(digit, 4, None);
        world.speak(3);
    }
    let progress = world.said.iter().filter_map(|output| match output {
        Output::Capture(event) => match event.kind {
            CaptureEventKind::Progress { count, .. } => Some(count),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(progress.max(), Some(15), "one key is missing");
    world.wait(150);
    (world.ssrc, world.sequence) = (7, 9);
    world.key(2, 4, None);
    world.speak(20);
    let is_complete = |kind: &CaptureEventKind| matches!(kind, CaptureEventKind::Complete { .. });
    let reason = CaptureFailure::MediaChanged;
    let of = |world: &World, is: &dyn Fn(&CaptureEventKind) -> bool| {
        world.count(|output| matches!(output, Output::Capture(event) if is(&event.kind)))
    };
    assert_eq!(of(&world, &is_complete), 0);
    assert_eq!(
        of(&world, &|k| *k == CaptureEventKind::Failed { reason }),
        1
    );
}

#[test]
fn after_an_incident_no_key_is_told_and_no_noise_is_made() {
    for fill in [Fill::Tone, Fill::Noise, Fill::Silence] {
        let mut world = armed(Profile::Fast, fill);
        for audio in faint(16_000).chunks(160) {
            world.audio(0, audio);
        }
        let codes = five(0, 960);
        let wide = codes
            .iter()
            .flat_map(|code| [Law::Mu.decode(*code); 2])
            .collect::<Vec<_>>();
        world.call.stream.armed_mut().unwrap().let_pass(&wide);
        let mut left = world.speak(10);
        assert_eq!(world.count(|o| matches!(o, Output::Incident)), 1);
        left.extend(world.key(5, 15, None));
        left.extend(world.speak(30));
        assert!(left.len() > 40);
        assert!(payloads(&left).iter().all(|code| *code == 0xff), "{fill:?}");
    }
}
