//! Keys by SIP INFO, alone and beside the media.

use crate::proto::{capture::CaptureSettings, secret::plain, sip::InfoError};

use super::*;

impl World {
    fn info(&mut self, body: &str) -> Result<InfoForward, InfoError> {
        let mut bytes = body.as_bytes().to_vec();
        let forward = self.call.handle_info(&mut bytes, self.now);
        self.drain();
        let wiped = bytes.iter().all(|byte| *byte == 0);
        assert_eq!(wiped, forward != Ok(InfoForward::Relay), "{body:?}");
        forward
    }

    /// A press of 120 ms, beside speech or beside its own tone, that an INFO tells `info_late` ms
    /// after the key went down, and events from `event_late` ms on.
    fn press_of_three(&mut self, event_late: Option<u32>, by_tone: bool, info_late: u32) {
        let begin = self.timestamp;
        let sent = five(0, 960);
        let quiet = voice(160);
        let mut left = Vec::new();
        for tick in 0..(info_late / 20 + 1).max(20) {
            if tick == info_late / 20 {
                let taken = self.info("Signal=5\r\nDuration=160\r\n");
                assert_eq!(taken, Ok(InfoForward::Keep));
            }
            let of_tone = sent.chunks(160).nth(tick as usize).filter(|_| by_tone);
            left.extend(self.audio(0, of_tone.unwrap_or(&quiet)));
            let update = event_late.and_then(|late| tick.checked_sub(late / 20));
            if let Some(update @ 0..6) = update {
                let told = event(5, update == 5, (update as u16 + 1) * 160);
                let datagram = self.datagram(EVENT, begin, &told);
                left.extend(self.give(&datagram));
            }
        }
        assert_no_tone(&left, &sent);
    }
}

#[test]
fn a_key_that_signalling_has_read_counts_while_the_call_is_armed_and_not_before() {
    let mut world = World::answered();
    world.speak(2);
    assert_eq!(
        world.call.handle_press(plain::key('5'), world.now),
        InfoForward::Relay
    );
    assert_eq!(world.proof().keys_heard, 0);
    let mut world = World::armed();
    assert_eq!(
        world.call.handle_press(plain::key('5'), world.now),
        InfoForward::Keep
    );
    assert_eq!(world.proof().keys_heard, 1);
}

#[test]
fn an_info_of_a_call_that_is_not_armed_is_left_as_it_is() {
    let mut world = World::answered();
    world.speak(2);
    assert_eq!(world.info("Signal=5\r\n"), Ok(InfoForward::Relay));
    assert_eq!(world.proof().keys_heard, 0);
}

#[test]
fn an_info_that_tells_no_key_is_wiped_and_stays_here() {
    let mut world = World::armed();
    assert_eq!(world.info("Signal=!\r\n"), Err(InfoError::NotAKey));
    assert_eq!(world.info("hello world"), Err(InfoError::NotAKey));
    assert_eq!(world.proof().keys_heard, 0);
}

#[test]
fn a_press_is_one_whichever_sources_tell_it_and_whenever_the_info_comes() {
    // The tone is recognised after 40 to 60 ms, so these are all orders of all three.
    for event_late in [None, Some(0), Some(20), Some(100), Some(240)] {
        for by_tone in [event_late.is_none(), true] {
            for info_late in [0, 20, 40, 80, 100, 200, 400, 900, 1_600] {
                let mut world = World::armed();
                world.speak(20);
                world.press_of_three(event_late, by_tone, info_late);
                world.press_of_three(event_late, by_tone, info_late);
                let keys = world.proof().keys_heard;
                assert_eq!(
                    keys, 2,
                    "event {event_late:?} ms late, tone {by_tone}, INFO {info_late} ms late"
                );
            }
        }
    }
}

#[test]
fn an_info_before_its_press_is_the_same_press() {
    for early in [20, 100, 300, 800] {
        let mut world = World::armed();
        world.speak(20);
        world.info("5").unwrap();
        world.speak(early / 20);
        world.key(5, 6, Some(&voice(160)));
        world.speak(10);
        assert_eq!(world.proof().keys_heard, 1, "{early} ms before");
    }
}

#[test]
fn an_info_changes_nothing_of_what_leaves() {
    let hear = |infos: bool| {
        let mut world = World::armed();
        let mut left = world.speak(10);
        for n in 0..4 {
            if infos && n % 2 == 0 {
                world.info("Signal=5").unwrap();
            }
            left.extend(world.key(5, 6, Some(&voice(160))));
            if infos && n % 2 == 1 {
                world.info("Signal=5").unwrap();
            }
            left.extend(world.speak(10));
            if infos {
                world.info("Signal=9").unwrap();
            }
            left.extend(world.speak(10));
        }
        (left, world.proof().keys_heard)
    };
    let (without, keys) = hear(false);
    let (with, more) = hear(true);
    assert!(with == without, "what left differs");
    assert_eq!((keys, more), (4, 8));
}

#[test]
fn infos_alone_fill_a_field_also_before_the_first_packet() {
    for before_media in [false, true] {
        let mut world = World::answered();
        if !before_media {
            world.speak(5);
        }
        let Holder::Payment(payment) = payment('A') else {
            unreachable!("a payment's own");
        };
        world.command(Command::Arm(Holder::Payment(payment.clone())));
        world.command(Command::OpenCapture {
            payment,
            field: Field::PaymentCardNumber,
            from: Leg::Caller,
            settings: CaptureSettings::default(),
            slot: plain::slot(),
        });
        // Two of one key follow each other at once.
        for digit in "5555555555554444".chars() {
            world
                .info(&format!("Signal= {digit}\r\nDuration= 250\r\n"))
                .unwrap();
        }
        let complete = |output: &Output| {
            matches!(output, Output::Capture(event)
                if matches!(event.kind, CaptureEventKind::Complete { count: 16, .. }))
        };
        assert_eq!(world.count(complete), 1);
        assert_eq!(world.proof().keys_heard, 16);
    }
}

#[test]
fn a_release_waits_after_an_info_as_after_any_key() {
    let mut world = World::armed();
    world.speak(5);
    world.command(Command::Release(Holder::Ng));
    for _ in 0..20 {
        world.info("5").unwrap();
        world.speak(5);
        assert!(world.call.is_armed());
    }
    world.speak(40);
    assert!(!world.call.is_armed());
}
