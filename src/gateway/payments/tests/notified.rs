//! What processors tell by themselves.

use tokio::time::{Duration, sleep};

use super::{
    super::{PaymentError, PaymentState, Taken},
    fakes::{Bench, approved, attempt_id, payment_id, unknown},
    restarting::left,
};
use crate::{
    journal::Phase,
    processor::{Advice, Outcome},
    proto::{
        audit::Event,
        payment::{About, Notification},
    },
};

fn told(serial: u128, outcome: Outcome) -> Notification {
    Notification {
        reference: attempt_id(serial).to_string(),
        about: About::Charge,
        processor_reference: "psp".to_owned(),
        amount: Some((500, "EUR".to_owned())),
        outcome,
        event: "AUTHORISATION".to_owned(),
    }
}

fn declined() -> Outcome {
    Outcome::Declined {
        advice: Advice::OtherCard,
        code: "Refused".to_owned(),
    }
}

fn phase(bench: &Bench, serial: u128) -> Phase {
    let stage = bench.stage();
    let mut attempts = stage.attempts.iter();
    let found = attempts.find(|row| row.id == attempt_id(serial));
    found.unwrap().phase.clone()
}

fn results(bench: &Bench) -> usize {
    let stage = bench.stage();
    let is = |event: &&Event| matches!(event, Event::ChargeResult { .. });
    stage.log.iter().filter(is).count()
}

async fn state(bench: &Bench, serial: u128) -> PaymentState {
    let view = bench.payments.get(&bench.by, &payment_id(serial)).await;
    view.unwrap().state
}

#[tokio::test(start_paused = true)]
async fn a_notification_is_not_accepted_before_what_it_tells_is_in_the_journal() {
    for live in [true, false] {
        let bench = Bench::new();
        left(&bench, 1, "unknown", Some(Phase::Result(unknown())));
        if live {
            bench
                .stage()
                .look_ups
                .extend(std::iter::repeat_n(unknown(), 9));
            bench.payments.recover().await.unwrap();
        }
        bench.stage().broken.push("result");
        let refused = bench.payments.notified(told(1, approved())).await;
        assert!(
            matches!(refused, Err(PaymentError::NotRecordable(_))),
            "{refused:?}"
        );
        assert_eq!(phase(&bench, 1), Phase::Result(unknown()));

        bench.stage().broken.clear();
        sleep(Duration::from_secs(1)).await;
        let taken = bench.payments.notified(told(1, approved())).await;
        assert_eq!(taken.unwrap(), Taken::Concluded, "live: {live}");
        assert_eq!(phase(&bench, 1), Phase::Result(approved()));
        assert_eq!(
            state(&bench, 1).await,
            PaymentState::Approved,
            "live: {live}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_row_of_a_payment_without_a_task_is_finished_when_it_is_told_again() {
    let bench = Bench::new();
    left(&bench, 1, "unknown", Some(Phase::Result(unknown())));
    bench.stage().broken.push("put_payment");
    assert!(bench.payments.notified(told(1, declined())).await.is_err());
    bench.stage().broken.clear();
    let taken = bench.payments.notified(told(1, declined())).await;
    assert_eq!(taken.unwrap(), Taken::Known);
    assert_eq!(state(&bench, 1).await, PaymentState::Declined);
    assert_eq!(results(&bench), 1);
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_stays_ended_and_a_contradiction_is_on_record_once() {
    let bench = Bench::new();
    left(&bench, 1, "approved", Some(Phase::Result(approved())));
    for _ in 0..3 {
        let known = bench.payments.notified(told(1, approved())).await;
        assert_eq!(known.unwrap(), Taken::Known);
        let against = bench.payments.notified(told(1, declined())).await;
        assert_eq!(against.unwrap(), Taken::Contradicts);
    }
    assert_eq!(phase(&bench, 1), Phase::Result(approved()));
    assert_eq!(state(&bench, 1).await, PaymentState::Approved);
    assert_eq!(results(&bench), 0);
    let log = bench.stage().log.clone();
    let [Event::ControlFailure { control, cause, .. }] = log.as_slice() else {
        panic!("{log:?}");
    };
    assert_eq!(control, "processor-notification");
    let payment = payment_id(1).to_string();
    assert!(
        cause.contains(&payment) && cause.contains("(Refused)"),
        "{cause}"
    );

    // Where it cannot be put on record, it is to be sent again.
    left(&bench, 2, "approved", Some(Phase::Result(approved())));
    let other = Notification {
        amount: Some((499, "EUR".to_owned())),
        ..told(2, approved())
    };
    let taken = bench.payments.notified(other.clone()).await;
    assert_eq!(taken.unwrap(), Taken::Contradicts, "of another amount");
}

#[tokio::test(start_paused = true)]
async fn what_is_about_nothing_of_ours_is_accepted_and_changes_nothing() {
    let bench = Bench::new();
    left(&bench, 1, "unknown", Some(Phase::Result(unknown())));
    left(&bench, 2, "unknown", Some(Phase::Result(unknown())));
    bench.stage().attempts[1].processor = "other".to_owned();
    let id = attempt_id(1).to_string();
    let serial = id.rsplit('_').next().unwrap();
    let of = |reference: String| Notification {
        reference,
        ..told(1, approved())
    };
    for other in [
        of(format!("att_other_n1_{serial}")),
        of(format!("op_{serial}")),
        of("att_01JD0000000000000000000000".to_owned()),
        told(2, approved()),
    ] {
        let taken = bench.payments.notified(other.clone()).await;
        assert_eq!(taken.unwrap(), Taken::NotOurs, "{other:?}");
    }
    assert_eq!(phase(&bench, 1), Phase::Result(unknown()));
    let short = of(format!("att_{serial}"));
    let taken = bench.payments.notified(short).await;
    assert_eq!(taken.unwrap(), Taken::Concluded);
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_the_answer_is_kept_and_applied_after_it() {
    let bench = Bench::new();
    left(&bench, 1, "submitting", Some(Phase::Sending));
    bench.stage().broken.push("keep_notification");
    let refused = bench.payments.notified(told(1, approved())).await;
    assert!(refused.is_err(), "neither kept nor applied");
    bench.stage().broken.clear();
    let taken = bench.payments.notified(told(1, approved())).await;
    assert_eq!(taken.unwrap(), Taken::Kept);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(phase(&bench, 1), Phase::Sending);
    // The answer.
    bench.stage().attempts[0].phase = Phase::Result(unknown());
    bench.stage().rows.get_mut(&payment_id(1)).unwrap().state = "unknown".to_owned();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(phase(&bench, 1), Phase::Result(approved()));
    assert_eq!(state(&bench, 1).await, PaymentState::Approved);
    assert_eq!(results(&bench), 1);
}
