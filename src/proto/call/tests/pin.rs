//! Codes that start nothing without a PIN.

use super::{messages::Messages, trigger::Line, *};

const PIN: Option<&str> = Some("2846");
const NO_PIN: Dialled = Dialled::Refused(CodeRefusal::NoPin);
const WRONG: Dialled = Dialled::Refused(CodeRefusal::WrongPin);
const LAST: Dialled = Dialled::Refused(CodeRefusal::LastWrongPin);
const HEARD: Dialled = Dialled::Refused(CodeRefusal::PinHeard);

/// What the code says of keys, and that the caller gets none of them, told by events and by messages.
fn said_of(keys: &str) -> Vec<Dialled> {
    let mut line = Line::with_pin("*77#", PIN);
    line.dial(keys);
    line.speak(300);
    assert_eq!(line.heard(), "", "of events");
    line.assert_one_stream();
    let mut messages = Messages::with_pin("*77#", PIN);
    messages.dial(keys);
    assert_eq!(
        (&*messages.held, &*messages.passed),
        ("", ""),
        "of messages"
    );
    assert_eq!(messages.dialled(), line.dialled());
    line.dialled()
}

#[test]
fn with_the_right_pin_a_payment_starts_and_an_amount_stands_before_it() {
    assert_eq!(said_of("*77*2846#"), [Dialled::Code]);
    assert_eq!(said_of("*77*1999*2846#"), [Dialled::Amount(1_999)]);
    assert_eq!(said_of("*77*2846*2846#"), [Dialled::Amount(2_846)]);
    assert_eq!(said_of("*77*99999999*2846#"), [Dialled::Amount(99_999_999)]);
}

#[test]
fn without_it_or_with_another_one_nothing_does() {
    assert_eq!(said_of("*77#"), [NO_PIN]);
    for keys in [
        "*77*2847#",
        "*77*284#",
        "*77*28460#",
        "*77*#",
        "*77*2846*#",
        "*77**2846#",
        "*77*2846*1999#",
        "*77*1999*2847#",
        "*77*123456789*2846#",
        "*77*1*1*2846#",
        "*77*12345678901234567890123456789012#",
        "*77*1234567890123456789012345678901234567890*2846#",
    ] {
        assert_eq!(said_of(keys), [WRONG], "{keys}");
    }
}

#[test]
fn the_longest_that_can_be_dialled_has_room_and_a_digit_more_is_not_forgotten() {
    let longest = "*123456*99999999*12345678";
    for (more, said) in [
        ("", Dialled::Amount(99_999_999)),
        ("9", WRONG),
        ("99", WRONG),
    ] {
        let mut line = Line::with_pin("*123456#", Some("12345678"));
        line.dial(&format!("{longest}{more}#"));
        assert_eq!(line.dialled(), [said], "{more}");
    }
}

#[test]
fn after_three_wrong_pins_no_code_is_heard_on_this_call_any_more() {
    let mut line = Line::with_pin("*77#", PIN);
    line.dial("*77*2847#*77#*77*2848#");
    assert_eq!(line.dialled(), [WRONG, NO_PIN, WRONG]);
    line.dial("*77*2849#");
    assert_eq!(line.dialled()[3..], [LAST]);
    assert_eq!(line.heard(), "");
    for _ in 0..2 {
        line.dial("*77*2846#");
        line.speak(300);
        assert_eq!(line.dialled().len(), 4, "deaf");
        // Who prepares another payment does not change that.
        line.world.call.listen_for(code_of("*77#", PIN));
    }
    assert!(!line.world.call.hears_agent());

    let mut messages = Messages::with_pin("*77#", PIN);
    messages.dial("*77*1111#*77*2222#*77*3333#");
    assert_eq!(messages.dialled(), [WRONG, WRONG, LAST]);
    messages.dial("*77*2846#");
    assert_eq!(messages.dialled().len(), 3);
}

#[test]
fn two_wrong_pins_are_forgiven() {
    let mut line = Line::with_pin("*77#", PIN);
    line.dial("*77*2847#*77*2848#*77*2846#");
    assert_eq!(line.dialled(), [WRONG, WRONG, Dialled::Code]);
}

#[test]
fn what_may_be_a_pin_reaches_nobody_also_where_it_does_not_end() {
    let mut line = Line::with_pin("*77#", PIN);
    line.dial("*77*28");
    line.speak(300);
    line.dial("5");
    line.speak(50);
    assert_eq!((line.dialled(), line.heard().as_str()), (vec![], "5"));
    // What is no beginning of it does, as ever.
    line.dial("*75");
    line.speak(300);
    assert_eq!(line.heard(), "5*75");

    let mut messages = Messages::with_pin("*77#", PIN);
    messages.dial("*77*28");
    messages.world.wait(4_000);
    messages.press('5');
    assert_eq!((&*messages.held, &*messages.passed), ("", "5"));
}

#[test]
fn a_pin_is_kept_to_its_end_also_where_the_call_is_armed_meanwhile_and_starts_nothing_then() {
    let mut line = Line::with_pin("*77#", PIN);
    line.dial("*77*28");
    line.world.command(Command::Arm(Holder::Ng));
    line.dial("46#");
    line.speak(300);
    assert_eq!((line.dialled(), line.heard().as_str()), (vec![], ""));
    line.dial("46");
    line.speak(100);
    assert_eq!(line.heard(), "46", "keys of an armed call");

    let mut line = Line::with_pin("*77#", PIN);
    line.dial("*77*28");
    line.world.command(Command::Arm(Holder::Ng));
    line.dial("47#");
    assert_eq!(line.dialled(), [WRONG], "it is on record");

    let mut messages = Messages::with_pin("*77#", PIN);
    messages.dial("*77*28");
    messages.world.command(Command::Arm(Holder::Ng));
    messages.dial("46#46");
    assert_eq!((&*messages.held, &*messages.passed), ("", "46"));
    assert_eq!(messages.dialled(), []);
}

/// Dials by tones, or by events that cannot be kept back, or by events with the tone beside them.
fn dial_aloud(line: &mut Line, keys: &str, tones: bool, events: Option<u8>) {
    for key in keys.chars() {
        let code = "0123456789*#".find(key).unwrap() as u8;
        let place = "123A456B789C*0#D".find(key).unwrap();
        let scale = if events == Some(FOREIGN_EVENT) { 6 } else { 1 };
        let began = line.timestamp.wrapping_mul(scale);
        for number in 0..9_usize {
            let audio = match number {
                0..5 if tones => tone(
                    ROWS_HZ[place / 4],
                    COLUMNS_HZ[place % 4],
                    6_000.0,
                    160 * number,
                    160,
                ),
                _ => voice(160),
            };
            line.send(0, line.timestamp, &audio);
            if let Some(payload_type) = events.filter(|_| number < 5) {
                let lasted = (number as u32 + 1) * 160 * scale;
                line.send(
                    payload_type,
                    began,
                    &event(code, number == 4, lasted as u16),
                );
            }
            line.timestamp = line.timestamp.wrapping_add(160);
            line.pass(20);
        }
    }
}

#[test]
fn a_pin_that_the_caller_could_hear_starts_nothing_and_is_not_looked_at() {
    for (tones, events) in [
        (true, None),
        (false, Some(FOREIGN_EVENT)),
        (true, Some(FOREIGN_EVENT)),
        (true, Some(EVENT)),
    ] {
        let mut line = Line::with_pin("*77#", PIN);
        // The right one, and as many wrong ones as are forgiven nobody.
        for pin in ["2846", "2847", "2848", "2849"] {
            dial_aloud(&mut line, &format!("*77*{pin}#"), tones, events);
            line.speak(200);
        }
        assert_eq!(line.dialled(), [HEARD; 4], "{tones}, {events:?}");
        line.dial("*77*2846#");
        assert_eq!(line.dialled().last(), Some(&Dialled::Code), "kept back");
    }
}

#[test]
fn a_pin_by_messages_that_the_tones_beside_them_tell_starts_nothing() {
    let mut line = Line::with_pin("*77#", PIN);
    for key in "*77*2846#".chars() {
        let key = crate::proto::secret::plain::key(key);
        let _ = line.world.call.handle_agents_press(key, line.world.now);
        dial_aloud(&mut line, "5", true, None);
    }
    assert_eq!(line.dialled(), [HEARD]);
}

#[test]
fn without_a_pin_in_the_configuration_what_could_be_one_is_an_amount() {
    let mut line = Line::new("*77#");
    line.dial("*77*2846#");
    assert_eq!(line.dialled(), [Dialled::Amount(2_846)]);
}
