use super::*;

const VISA: &str = "4242424242424242";

fn pan_line(change: impl FnOnce(&mut CaptureSettings)) -> Line {
    let mut settings = CaptureSettings::default();
    change(&mut settings);
    Line::open(Field::PaymentCardNumber, settings, None)
}

fn visa_said() -> [Said; 2] {
    [
        Said::Field(digits(VISA)),
        complete(16, Some(Brand::Visa), Some("4242")),
    ]
}

#[test]
fn a_card_number_completes_on_its_last_digit_and_the_field_leaves_before_the_news() {
    let mut line = pan_line(|_| ());
    assert_eq!(line.heard(), [opened(3)]);
    line.key(VISA);
    assert_eq!(line.heard(), visa_said());
    assert!(!line.capture.is_open() && line.capture.poll_timeout().is_none());
}

#[test]
fn keys_after_the_end_of_a_field_go_nowhere() {
    let mut line = pan_line(|_| ());
    line.key(VISA);
    line.heard();
    assert!(line.capture.slot_mut().is_none());
    line.key("123#*");
    line.wait_ms(1_000_000);
    assert_eq!(line.heard(), []);
}

#[test]
fn progress_is_told_on_the_grid_once_for_all_keys_between_two_points() {
    let mut line = pan_line(|_| ());
    for (wait, symbol) in [(10, '5'), (100, '5'), (100, '5'), (50, '5'), (700, '5')] {
        line.wait_ms(wait);
        line.press(symbol);
    }
    line.wait_ms(1000);
    let brand = Some(Brand::Mastercard);
    let progress = |count| Said::Event(CaptureEventKind::Progress { count, brand });
    let expected = [
        (0, opened(3)),
        (250, progress(3)),
        (500, progress(4)),
        (1000, progress(5)),
    ];
    assert_eq!(line.said, expected);
}

#[test]
fn a_late_timer_does_not_mix_the_keys_of_two_cells_into_one_event() {
    let mut line = pan_line(|_| ());
    line.wait_ms(100);
    line.press('4');
    line.sleep_ms(200);
    line.press('2');
    line.wait_ms(1000);
    let brand = Some(Brand::Visa);
    let progress = |count| Said::Event(CaptureEventKind::Progress { count, brand });
    assert_eq!(
        line.said,
        [(0, opened(3)), (300, progress(1)), (500, progress(2))]
    );
}

#[test]
fn the_star_clears_and_the_field_stays_open_with_all_its_tries() {
    let mut line = pan_line(|_| ());
    line.key("4111*");
    line.key(VISA);
    let [field, complete] = visa_said();
    let cleared = Said::Event(CaptureEventKind::Cleared);
    assert_eq!(line.heard(), [opened(3), cleared, field, complete]);
}

#[test]
fn keys_that_are_switched_off_do_nothing() {
    let mut line = pan_line(|settings| {
        settings.star_clears = false;
        settings.hash_ends = false;
    });
    line.key("42*42#42A42424242");
    line.key("4242");
    assert_eq!(line.heard()[1..], visa_said());
}

#[test]
fn an_end_key_before_the_first_digit_does_nothing() {
    let mut line = pan_line(|_| ());
    line.key("##*");
    line.key(VISA);
    assert_eq!(line.heard()[1..], visa_said());
}

#[test]
fn a_wrong_number_opens_the_field_again_until_no_try_is_left() {
    let mut line = pan_line(|settings| settings.attempts = 2);
    line.key("5555555555554445");
    line.key("4242#");
    let said = [
        opened(2),
        rejected(Rejection::CheckDigit, 1),
        rejected(Rejection::TooShort, 0),
    ];
    assert_eq!(line.heard(), said);
    assert!(!line.capture.is_open());
}

#[test]
fn a_try_after_a_rejected_one_starts_from_nothing() {
    let mut line = pan_line(|_| ());
    line.key("5555555555554445");
    assert_eq!(line.capture.slot_mut().unwrap().count(), 0);
    line.key(VISA);
    assert_eq!(line.heard()[2..], visa_said());
}

#[test]
fn a_brand_that_is_not_taken_is_refused_by_that_name() {
    let mut line = pan_line(|settings| settings.accepted_brands = vec![Brand::Amex]);
    line.key(VISA);
    assert_eq!(line.heard()[1], rejected(Rejection::BrandNotAccepted, 2));
}

#[test]
fn an_unknown_brand_is_told_at_the_end_and_not_in_the_middle_of_keying() {
    let mut line = pan_line(|_| ());
    line.key("9999999999999999");
    assert_eq!(line.heard(), [opened(3)]);
    line.key("#");
    assert_eq!(line.heard()[0], rejected(Rejection::UnknownBrand, 2));
}

#[test]
fn a_number_that_may_be_complete_ends_by_the_end_key_or_by_silence() {
    let union_pay = "6200000000000005";
    let said = [
        Said::Field(digits(union_pay)),
        complete(16, Some(Brand::Unionpay), Some("0005")),
    ];
    let mut line = pan_line(|_| ());
    line.key(union_pay);
    assert!(line.capture.is_open());
    line.key("#");
    assert_eq!(line.heard()[1..], said);

    let mut line = pan_line(|_| ());
    line.key(union_pay);
    line.wait_ms(5999);
    assert!(line.capture.is_open());
    line.wait_ms(1);
    assert_eq!(line.heard()[1..], said);
}

#[test]
fn a_nineteen_digit_card_whose_first_sixteen_digits_do_not_fit_is_taken_whole() {
    let mut line = pan_line(|_| ());
    line.key("4000000000000000006");
    let said = [
        Said::Field(digits("4000000000000000006")),
        complete(19, Some(Brand::Visa), Some("0006")),
    ];
    assert_eq!(line.heard()[1..], said);
}

#[test]
fn each_time_out_closes_the_field_by_its_name() {
    let mut line = pan_line(|_| ());
    line.wait_ms(29_999);
    assert!(line.capture.is_open());
    line.wait_ms(1);
    assert_eq!(line.heard()[1..], [timed_out(CaptureTimeout::FirstDigit)]);

    let mut line = pan_line(|_| ());
    line.key("42");
    line.wait_ms(6000);
    assert_eq!(line.heard()[1..], [timed_out(CaptureTimeout::InterDigit)]);

    let mut line = pan_line(|_| ());
    for _ in 0..20 {
        line.wait_ms(5000);
        line.press('4');
        line.wait_ms(5000);
        line.press('*');
    }
    assert_eq!(
        line.heard().last(),
        Some(&timed_out(CaptureTimeout::Overall))
    );
    assert_eq!(line.capture.poll_timeout(), None);
}

#[test]
fn a_key_that_is_heard_before_a_late_timer_still_counts() {
    let mut line = pan_line(|_| ());
    line.key("424242424242424");
    line.sleep_ms(10_000);
    line.press('2');
    assert_eq!(line.heard()[1..], visa_said());
}

#[test]
fn closing_wipes_and_says_so_once() {
    let mut line = pan_line(|_| ());
    line.key("4242");
    line.heard();
    line.capture.close(line.now);
    line.capture.close(line.now);
    line.drain();
    assert_eq!(line.heard(), [Said::Event(CaptureEventKind::Cancelled)]);
    assert!(line.capture.slot_mut().is_none());
}

#[test]
fn a_failure_closes_an_open_field_and_takes_a_completion_back_that_nobody_heard_of() {
    let reason = CaptureFailure::CardPlaneBusy;
    let failed = Said::Event(CaptureEventKind::Failed { reason });
    let mut line = pan_line(|_| ());
    line.key("4242");
    line.capture.fail(reason);
    line.drain();
    assert_eq!(line.heard().split_off(1), std::slice::from_ref(&failed));

    let mut line = pan_line(|_| ());
    line.key("424242424242424");
    line.heard();
    let pressed = line.capture.slot_mut().unwrap().press(key('2'));
    line.capture.handle_pressed(pressed, line.now);
    assert!(matches!(
        line.capture.poll_output(),
        Some(CaptureOutput::Field(..))
    ));
    line.capture.fail(reason);
    line.drain();
    assert_eq!(line.heard(), [failed]);

    let mut line = pan_line(|_| ());
    line.key(VISA);
    line.heard();
    line.capture.fail(reason);
    line.drain();
    assert_eq!(line.heard(), [], "what was told is not taken back");
}

#[test]
fn several_keys_heard_at_once_are_all_in_the_field() {
    let mut line = pan_line(|_| ());
    line.key("42424242424242");
    let slot = line.capture.slot_mut().unwrap();
    let pressed = ['4', '2'].map(|symbol| slot.press(key(symbol)));
    for one in pressed {
        line.capture.handle_pressed(one, line.now);
    }
    line.drain();
    assert_eq!(line.heard()[1..], visa_said());
}

#[test]
fn a_security_code_is_as_long_as_the_card_needs_it() {
    let code = |brand, keys: &str| {
        let mut line = Line::open(Field::SecurityCode, CaptureSettings::default(), brand);
        line.key(keys);
        line.heard().split_off(1)
    };
    let done = |text: &str| {
        [
            Said::Field(digits(text)),
            complete(u8::try_from(text.len()).unwrap(), None, None),
        ]
    };
    assert_eq!(code(Some(Brand::Visa), "123"), done("123"));
    assert_eq!(code(Some(Brand::Amex), "1234"), done("1234"));
    assert_eq!(code(Some(Brand::Amex), "123"), []);
    assert_eq!(
        code(Some(Brand::Amex), "123#")[0],
        rejected(Rejection::CodeLength, 2)
    );
    assert_eq!(code(None, "123"), []);
    assert_eq!(code(None, "123#"), done("123"));
    assert_eq!(code(None, "1234"), done("1234"));

    let mut line = Line::open(Field::SecurityCode, CaptureSettings::default(), None);
    line.key("123");
    line.wait_ms(6000);
    assert_eq!(line.heard()[1..], done("123"));
}

#[test]
fn every_other_field_is_checked_on_its_last_digit() {
    let keyed = |field, keys: &str| {
        let mut line = Line::open(field, CaptureSettings::default(), None);
        line.key(keys);
        line.heard().split_off(1)
    };
    assert_eq!(
        keyed(Field::ExpirationDate, "0630")[1],
        complete(4, None, None)
    );
    assert_eq!(
        keyed(Field::ExpirationDate, "0530")[0],
        rejected(Rejection::Expired, 2)
    );
    assert_eq!(
        keyed(Field::BankRoutingNumber, "110000000")[1],
        complete(9, None, None)
    );
    assert_eq!(
        keyed(Field::BankRoutingNumber, "110000001")[0],
        rejected(Rejection::CheckDigit, 2)
    );
    assert_eq!(
        keyed(Field::PostalCode, "12345#")[1],
        complete(5, None, None)
    );
    assert_eq!(
        keyed(Field::PostalCode, "1234567890")[1],
        complete(10, None, None)
    );
    let account = keyed(Field::BankAccountNumber, "000123456789#");
    assert_eq!(account[1], complete(12, None, Some("6789")));
}

#[test]
fn zero_attempts_are_one() {
    let mut line = pan_line(|settings| settings.attempts = 0);
    line.key("1#");
    assert_eq!(
        line.heard(),
        [opened(1), rejected(Rejection::UnknownBrand, 0)]
    );
}

#[test]
fn two_cards_that_differ_only_in_hidden_digits_are_told_alike() {
    let told = |pan: &str| {
        let mut line = pan_line(|_| ());
        line.key(pan);
        line.said
            .retain(|(_, said)| !matches!(said, Said::Field(_)));
        line.said
    };
    assert_eq!(told("4000056655665556"), told("4012005077775556"));
}
