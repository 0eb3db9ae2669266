//! The wipe rules, in simulated time.

use super::*;
use crate::processor::testing::{Memory, key_memory, payment};

const KEEP: Duration = Duration::from_secs(120);
const HOLD: Duration = Duration::from_secs(1800);
const CARD: [Field; 2] = [Field::PaymentCardNumber, Field::ExpirationDate];

/// A vault with one payment's PAN, expiry and security code, and a count of the fields that exist.
struct Bench {
    vault: Vault,
    memory: Memory,
    payment: PaymentId,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            vault: Vault::new(KEEP, HOLD),
            memory: key_memory(),
            payment: payment(1),
            now: Instant::now(),
        };
        bench.key(Field::PaymentCardNumber);
        bench.key(Field::ExpirationDate);
        bench.key(Field::SecurityCode);
        bench
    }

    fn key(&mut self, field: Field) {
        let field = self.memory.test_card(field);
        self.vault.store(&self.payment, field, self.now);
    }

    fn charge(&mut self, outcome: &Outcome) {
        let card = self.vault.take(&self.payment).ok().unwrap();
        self.vault
            .answered(&self.payment, Some(card), outcome, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.vault.expire(self.now);
    }

    fn held(&self) -> Vec<Field> {
        let held = self.vault.held(&self.payment);
        assert_eq!(held.len(), self.memory.taken(), "a field exists unseen");
        held
    }
}

fn declined(advice: Advice) -> Outcome {
    let code = "no".to_owned();
    Outcome::Declined { advice, code }
}

fn failed(retryable: bool) -> Outcome {
    let reason = "no".to_owned();
    Outcome::Failed { reason, retryable }
}

#[test]
fn every_ending_but_a_decline_that_says_re_enter_or_try_again_wipes_all() {
    let reason = "silence".to_owned();
    for outcome in [
        Outcome::Approved {
            processor_reference: "x".to_owned(),
            code: "approved".to_owned(),
        },
        declined(Advice::OtherCard),
        declined(Advice::CallIssuer),
        declined(Advice::DoNotRetry),
        failed(false),
        failed(true),
        Outcome::Unknown { reason },
    ] {
        let mut bench = Bench::new();
        bench.charge(&outcome);
        assert_eq!(bench.held(), [], "{outcome:?}");
    }
}

#[test]
fn a_decline_that_says_try_again_keeps_pan_and_expiry_for_120_s_and_never_the_code() {
    let mut bench = Bench::new();
    bench.charge(&declined(Advice::TryAgain));
    assert_eq!(bench.held(), CARD);
    bench.pass(KEEP - Duration::from_millis(1));
    assert_eq!(bench.held(), CARD);
    assert_eq!(
        bench.vault.next_expiry(),
        Some(bench.now + Duration::from_millis(1))
    );
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.held(), []);
    assert_eq!(bench.vault.next_expiry(), None);
}

#[test]
fn a_decline_that_says_re_enter_wipes_the_field_that_it_names() {
    for (field, kept) in [
        (Field::SecurityCode, &CARD[..]),
        (Field::ExpirationDate, &CARD[..1]),
        (Field::PaymentCardNumber, &CARD[1..]),
    ] {
        let mut bench = Bench::new();
        bench.charge(&declined(Advice::ReEnter(field)));
        assert_eq!(bench.held(), kept);
    }
}

#[test]
fn a_card_that_is_charged_again_is_kept_for_120_s_of_its_last_decline() {
    let mut bench = Bench::new();
    bench.charge(&declined(Advice::TryAgain));
    bench.pass(KEEP / 2);
    bench.charge(&declined(Advice::TryAgain));
    bench.pass(KEEP / 2);
    assert_eq!(bench.held(), CARD);
    bench.pass(KEEP / 2);
    assert_eq!(bench.held(), []);
}

#[test]
fn a_field_that_is_keyed_after_a_decline_outlives_the_kept_ones() {
    let mut bench = Bench::new();
    bench.charge(&declined(Advice::ReEnter(Field::ExpirationDate)));
    bench.pass(KEEP / 2);
    bench.key(Field::ExpirationDate);
    bench.pass(KEEP / 2);
    assert_eq!(bench.held(), [Field::ExpirationDate]);
}

#[test]
fn a_field_that_nobody_charges_is_wiped_in_the_end() {
    let mut bench = Bench::new();
    bench.pass(HOLD - Duration::from_millis(1));
    assert_eq!(bench.held().len(), 3);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.held(), []);
}

#[test]
fn a_field_that_is_keyed_again_wipes_the_earlier_one() {
    let mut bench = Bench::new();
    bench.key(Field::PaymentCardNumber);
    assert_eq!(bench.held().len(), 3);
}

#[test]
fn other_fields_are_held_too_and_wiped_at_any_answer() {
    let mut bench = Bench::new();
    bench.key(Field::PostalCode);
    bench.key(Field::BankRoutingNumber);
    bench.key(Field::BankAccountNumber);
    assert_eq!(bench.held().len(), 6);
    bench.charge(&declined(Advice::TryAgain));
    assert_eq!(bench.held(), CARD);
}

#[test]
fn a_wipe_at_rest_wipes_all_and_of_this_payment_only() {
    let mut bench = Bench::new();
    let field = bench.memory.test_card(Field::PaymentCardNumber);
    bench.vault.store(&payment(2), field, bench.now);
    bench.vault.wipe(&bench.payment);
    assert_eq!(bench.vault.held(&bench.payment), []);
    assert_eq!(bench.memory.taken(), 1);
}

#[test]
fn a_wipe_during_a_flight_is_done_at_the_answer_whatever_it_is() {
    let mut bench = Bench::new();
    let card = bench.vault.take(&bench.payment).ok().unwrap();
    bench.vault.wipe(&bench.payment);
    bench.key(Field::SecurityCode);
    assert_eq!(bench.memory.taken(), 4);
    let outcome = declined(Advice::TryAgain);
    bench
        .vault
        .answered(&bench.payment, Some(card), &outcome, bench.now);
    assert_eq!(bench.held(), []);
}

#[test]
fn a_code_that_is_keyed_during_a_flight_is_wiped_at_the_answer_a_pan_replaces_the_sent_one() {
    let mut bench = Bench::new();
    let card = bench.vault.take(&bench.payment).ok().unwrap();
    bench.key(Field::SecurityCode);
    bench.key(Field::PaymentCardNumber);
    let outcome = declined(Advice::TryAgain);
    bench
        .vault
        .answered(&bench.payment, Some(card), &outcome, bench.now);
    assert_eq!(bench.held(), CARD);
}

#[test]
fn a_charge_needs_pan_and_expiry_and_takes_nothing_without_them() {
    let mut bench = Bench::new();
    bench.vault.wipe(&bench.payment);
    let missing = |bench: &mut Bench| bench.vault.take(&bench.payment).err();
    let pan = Some(NotReady::Missing(Field::PaymentCardNumber));
    let expiry = Some(NotReady::Missing(Field::ExpirationDate));
    assert_eq!(missing(&mut bench), pan);
    bench.key(Field::ExpirationDate);
    assert_eq!(missing(&mut bench), pan);
    assert_eq!(bench.held(), [Field::ExpirationDate]);
    bench.vault.wipe(&bench.payment);
    bench.key(Field::PaymentCardNumber);
    assert_eq!(missing(&mut bench), expiry);
    assert_eq!(bench.held(), [Field::PaymentCardNumber]);
    bench.key(Field::ExpirationDate);
    assert_eq!(missing(&mut bench), None);
}

#[test]
fn one_card_is_not_charged_twice_at_a_time() {
    let mut bench = Bench::new();
    let _card = bench.vault.take(&bench.payment).ok().unwrap();
    assert_eq!(
        bench.vault.take(&bench.payment).err(),
        Some(NotReady::InFlight)
    );
}
