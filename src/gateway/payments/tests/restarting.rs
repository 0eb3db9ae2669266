//! What is found after a crash.

use jiff::Timestamp;
use tokio::time::{Duration, sleep};

use super::{
    super::{PaymentState, Recovery},
    fakes::{Bench, approved, attempt_id, call_id, payment_id, unknown},
};
use crate::{
    journal::{AttemptRow, PaymentRow, Phase},
    processor::{Advice, Outcome},
    proto::{audit::Event, payment::Purpose},
};

pub(super) fn left(bench: &Bench, serial: u128, state: &str, phase: Option<Phase>) {
    let mut stage = bench.stage();
    let id = payment_id(serial);
    let row = PaymentRow {
        id: id.clone(),
        call: call_id(serial),
        state: state.to_owned(),
        amount_minor: 500,
        currency: "EUR".to_owned(),
        purpose: Purpose::Charge,
        reference: "INV-9".to_owned(),
        description: None,
        brand: None,
        last4: None,
        created: Timestamp::UNIX_EPOCH,
        updated: Timestamp::UNIX_EPOCH,
        signalling_id: None,
        sandbox: None,
    };
    stage.rows.insert(id.clone(), row);
    if let Some(phase) = phase {
        stage.attempts.push(AttemptRow {
            id: attempt_id(serial),
            payment: id,
            amount_minor: 500,
            currency: "EUR".to_owned(),
            reference: "INV-9".to_owned(),
            processor: "sandbox".to_owned(),
            phase,
            created: Timestamp::UNIX_EPOCH,
            updated: Timestamp::UNIX_EPOCH,
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_resolves_every_attempt_and_cancels_what_was_open() {
    let bench = Bench::new();
    left(&bench, 21, "open", None);
    left(&bench, 22, "submitting", Some(Phase::Intent));
    left(&bench, 23, "submitting", Some(Phase::Sending));
    left(&bench, 24, "unknown", Some(Phase::Result(unknown())));
    left(&bench, 25, "submitting", Some(Phase::Result(approved())));
    left(&bench, 26, "approved", Some(Phase::Result(approved())));
    let nothing_done = Outcome::Failed {
        reason: "the processor knows nothing of it".to_owned(),
        retryable: true,
    };
    bench
        .stage()
        .look_ups
        .extend([approved(), nothing_done.clone()]);

    let found = bench.payments.recover().await.unwrap();
    let expected = Recovery {
        operations: 0,
        not_sent: 1,
        looked_up: 2,
        left_to_a_person: 0,
        cancelled: 2,
    };
    assert_eq!(found, expected);
    let state = async |serial| {
        let id = payment_id(serial);
        bench.payments.get(&bench.by, &id).await.unwrap().state
    };
    assert_eq!(state(23).await, PaymentState::Unknown);
    sleep(Duration::from_secs(5)).await;
    for (serial, expected) in [
        (21, PaymentState::Cancelled),
        (22, PaymentState::Cancelled),
        (23, PaymentState::Approved),
        (24, PaymentState::Failed),
        (25, PaymentState::Approved),
        (26, PaymentState::Approved),
    ] {
        assert_eq!(state(serial).await, expected, "payment {serial}");
        let row = bench.stage().rows[&payment_id(serial)].state.clone();
        assert_eq!(row, expected.as_str(), "row {serial}");
    }
    assert!(bench.stage().submitted.is_empty());
    let stage = bench.stage();
    for attempt in &stage.attempts {
        let ended = matches!(
            attempt.phase,
            Phase::Result(Outcome::Approved { .. } | Outcome::Failed { .. })
        );
        assert!(ended, "{attempt:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_submitting_is_unknown_until_it_is_looked_up() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers_after(Duration::from_secs(3600), approved());
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Submitting);

    let after = bench.restarted();
    bench.stage().look_ups.push_back(approved());
    assert_eq!(after.payments.recover().await.unwrap().looked_up, 1);
    let view = after.payments.get(&after.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Unknown);
    assert!(view.advice.contains("Do not charge again"));
    sleep(Duration::from_secs(2)).await;
    let view = after.payments.get(&after.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Approved);
    let number = &view.fields[&crate::proto::field::Field::PaymentCardNumber];
    assert_eq!(number.last4.unwrap().to_string(), "4242");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_was_written_down_and_not_told_is_told_after_a_restart() {
    let declined = Outcome::Declined {
        advice: Advice::DoNotRetry,
        code: "lost_card".to_owned(),
    };
    let failed = Outcome::Failed {
        reason: "the processor has no such charge".to_owned(),
        retryable: true,
    };
    for (row, outcome, expected) in [
        ("submitting", approved(), PaymentState::Approved),
        ("submitting", declined.clone(), PaymentState::Declined),
        ("unknown", approved(), PaymentState::Approved),
        ("unknown", declined, PaymentState::Declined),
        ("unknown", failed, PaymentState::Failed),
    ] {
        let bench = Bench::new();
        let word = outcome.as_str();
        left(&bench, 21, row, Some(Phase::Result(outcome)));
        bench.payments.recover().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        let id = payment_id(21);
        let view = bench.payments.get(&bench.by, &id).await.unwrap();
        assert_eq!(view.state, expected, "{row} {word}");
        let stage = bench.stage();
        assert_eq!(stage.rows[&id].state, expected.as_str());
        // The crash may have come before the log had it.
        let logged = stage.log.iter().any(|event| {
            matches!(event, Event::ChargeResult { outcome, attempt, .. }
                if outcome == word && *attempt == attempt_id(21))
        });
        assert!(logged, "{row} {word}: {:?}", stage.log);
        assert!(stage.looked_up_at.is_empty() && stage.submitted.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_of_a_newer_build_never_reads_as_nothing_charged() {
    let bench = Bench::new();
    left(&bench, 21, "refunded", None);
    let view = bench.payments.get(&bench.by, &payment_id(21)).await;
    assert_eq!(view.unwrap().state, PaymentState::Unknown);
}

#[tokio::test(start_paused = true)]
async fn what_another_processor_was_sent_is_not_looked_up_here() {
    for phase in [Phase::Sending, Phase::Result(unknown())] {
        let bench = Bench::new();
        left(&bench, 21, "submitting", Some(phase));
        bench.stage().attempts[0].processor = "the one before".to_owned();
        let found = bench.payments.recover().await.unwrap();
        assert_eq!((found.left_to_a_person, found.cancelled), (1, 0));
        sleep(Duration::from_secs(5)).await;
        assert!(bench.stage().looked_up_at.is_empty());
        let view = bench.payments.get(&bench.by, &payment_id(21)).await;
        assert_eq!(view.unwrap().state, PaymentState::Unknown);
        assert_eq!(bench.stage().logged("control-failure"), 1);
    }
}
