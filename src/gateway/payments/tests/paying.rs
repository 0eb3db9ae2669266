//! From `complete` to the outcome.

use tokio::time::{Duration, Instant, sleep};

use super::{
    super::{FieldStatus, PaymentError, PaymentState},
    fakes::{Answer, Bench, approved, request, settle, unknown},
};
use crate::{
    journal::Phase,
    media::MediaEventKind,
    processor::{Advice, Outcome},
    proto::{audit::Event, field::Field, proof::MaskingProof},
};

fn declined(advice: Advice) -> Outcome {
    Outcome::Declined {
        advice,
        code: "card_declined".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_approval_is_recorded_released_and_told() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers(approved());
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Approved);
    assert_eq!(view.outcome, Some(approved()));
    assert_eq!(view.attempts, 1);
    settle().await;
    let stage = bench.stage();
    assert_eq!(stage.releases(), 1);
    assert!(stage.armed.is_empty());
    assert_eq!(stage.attempts[0].phase, Phase::Result(approved()));
    assert_eq!(stage.rows[&id].state, "approved");
    assert_eq!(stage.rows[&id].last4.unwrap().to_string(), "4242");
    for name in ["charge-intent", "charge-sending", "charge-result"] {
        assert_eq!(stage.logged(name), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_named_and_nothing_is_charged() {
    let bench = Bench::new();
    let id = bench.created().await;
    bench.key(&id, Field::PaymentCardNumber).await;
    let refused = bench.payments.complete(&bench.by, &id).await.unwrap_err();
    let PaymentError::FieldsMissing(missing) = refused else {
        panic!("{refused}");
    };
    assert_eq!(missing, [Field::ExpirationDate, Field::SecurityCode]);
    assert!(bench.stage().attempts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_unless_intent_and_sending_are_durable() {
    for (broken, state) in [
        ("charge-intent", PaymentState::Open),
        ("intent", PaymentState::Open),
        ("charge-sending", PaymentState::Failed),
        ("sending", PaymentState::Failed),
    ] {
        let bench = Bench::new();
        let id = bench.keyed().await;
        bench.stage().broken.push(broken);
        let answer = bench.payments.complete(&bench.by, &id).await;
        settle().await;
        assert!(bench.stage().submitted.is_empty(), "{broken}");
        let view = bench.payments.get(&bench.by, &id).await.unwrap();
        assert_eq!(view.state, state, "{broken}");
        if state == PaymentState::Open {
            assert!(
                matches!(answer, Err(PaymentError::NotRecordable(_))),
                "{broken}"
            );
            bench.stage().broken.clear();
            bench.answers(approved());
            let view = bench.payments.complete(&bench.by, &id).await.unwrap();
            assert_eq!(view.state, PaymentState::Approved, "{broken}");
        } else {
            assert!(
                view.advice.contains("Nothing was charged"),
                "{}",
                view.advice
            );
        }
        settle().await;
        assert_eq!(bench.stage().releases(), 1, "{broken}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_approval_that_cannot_be_written_down_is_told_all_the_same() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers_after(Duration::from_secs(1), approved());
    let completing = bench.payments.complete(&bench.by, &id);
    let breaking = async {
        sleep(Duration::from_millis(500)).await;
        bench.stage().broken = vec!["result", "audit", "put_payment", "clear_armed"];
    };
    let (view, ()) = tokio::join!(completing, breaking);
    assert_eq!(view.unwrap().state, PaymentState::Approved);
    assert_eq!(bench.stage().attempts[0].phase, Phase::Sending);
    assert_eq!(bench.stage().releases(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_code_is_asked_for_again_and_the_card_is_kept() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers(declined(Advice::ReEnter(Field::SecurityCode)));
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Declined);
    assert!(view.armed);
    assert!(view.advice.contains("security code"), "{}", view.advice);
    assert_eq!(
        view.fields[&Field::PaymentCardNumber].status,
        FieldStatus::Complete
    );
    assert_eq!(
        view.fields[&Field::SecurityCode].status,
        FieldStatus::Missing
    );
    assert_eq!(bench.stage().releases(), 0);

    let early = bench.payments.complete(&bench.by, &id).await;
    assert!(matches!(early, Err(PaymentError::FieldsMissing(_))));
    bench.key(&id, Field::SecurityCode).await;
    bench.answers(approved());
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Approved);
    assert_eq!(view.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn two_minutes_after_a_decline_the_card_is_asked_for_again() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers(declined(Advice::TryAgain));
    bench.payments.complete(&bench.by, &id).await.unwrap();
    sleep(Duration::from_secs(121)).await;
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    assert_eq!(
        view.fields[&Field::PaymentCardNumber].status,
        FieldStatus::Missing
    );
    assert!(view.advice.contains("card number"), "{}", view.advice);
    let refused = bench.payments.complete(&bench.by, &id).await.unwrap_err();
    assert!(matches!(refused, PaymentError::FieldsMissing(fields) if fields.len() == 3));
}

#[tokio::test(start_paused = true)]
async fn another_card_is_keyed_in_full() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers(declined(Advice::OtherCard));
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Declined);
    let refused = bench.payments.complete(&bench.by, &id).await.unwrap_err();
    assert!(matches!(refused, PaymentError::FieldsMissing(fields) if fields.len() == 3));
    bench.key_all(&id).await;
    bench.answers(approved());
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Approved);
}

#[tokio::test(start_paused = true)]
async fn a_decline_that_is_final_ends_the_payment() {
    for advice in [Advice::CallIssuer, Advice::DoNotRetry] {
        let bench = Bench::new();
        let id = bench.keyed().await;
        bench.answers(declined(advice));
        let view = bench.payments.complete(&bench.by, &id).await.unwrap();
        assert_eq!(view.state, PaymentState::Declined);
        settle().await;
        assert_eq!(bench.stage().releases(), 1);
        assert_eq!(bench.stage().rows[&id].state, "declined");
        let number = Field::PaymentCardNumber;
        let refused = bench.payments.capture(&bench.by, &id, number).await;
        assert!(matches!(refused, Err(PaymentError::WrongState { .. })));
        bench.created().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_card_plane_that_no_longer_has_a_field_asks_for_it_only() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    let gone = Answer::Missing(Field::SecurityCode);
    bench.stage().answers.push_back(gone);
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Open);
    assert_eq!(
        view.fields[&Field::SecurityCode].status,
        FieldStatus::Missing
    );
    bench.key(&id, Field::SecurityCode).await;
    bench.answers(approved());
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Approved);
}

#[tokio::test(start_paused = true)]
async fn a_charge_on_its_way_can_be_neither_cancelled_nor_doubled() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers_after(Duration::from_secs(3), approved());
    let first = bench.payments.complete(&bench.by, &id);
    let meanwhile = async {
        sleep(Duration::from_secs(1)).await;
        let refused = bench.payments.cancel(&bench.by, &id).await;
        assert!(
            matches!(refused, Err(PaymentError::WrongState { .. })),
            "{refused:?}"
        );
        bench.payments.complete(&bench.by, &id).await.unwrap()
    };
    let (first, second) = tokio::join!(first, meanwhile);
    assert_eq!(first.unwrap().state, PaymentState::Approved);
    assert_eq!(second.state, PaymentState::Approved);
    assert_eq!(bench.stage().submitted.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn complete_answers_after_30_s_and_the_outcome_comes_later() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers_after(Duration::from_secs(40), approved());
    let asked = Instant::now();
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Submitting);
    assert!((29..=31).contains(&asked.elapsed().as_secs()));
    sleep(Duration::from_secs(15)).await;
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Approved);
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_while_submitting_lets_the_answer_come() {
    for (outcome, state) in [
        (approved(), PaymentState::Approved),
        (declined(Advice::TryAgain), PaymentState::Declined),
    ] {
        let bench = Bench::new();
        let id = bench.keyed().await;
        bench.answers_after(Duration::from_secs(2), outcome.clone());
        let completing = bench.payments.complete(&bench.by, &id);
        let hanging_up = async {
            sleep(Duration::from_secs(1)).await;
            bench.media(MediaEventKind::Ended(MaskingProof::default()));
        };
        let (view, ()) = tokio::join!(completing, hanging_up);
        let view = view.unwrap();
        assert_eq!(view.state, state);
        assert!(!view.armed);
        settle().await;
        let stage = bench.stage();
        assert_eq!(stage.attempts[0].phase, Phase::Result(outcome));
        assert_eq!(stage.releases(), 1);
        assert!(stage.wipes >= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_charge_is_looked_up_with_growing_pauses_until_resolved() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers(unknown());
    bench
        .stage()
        .look_ups
        .extend([unknown(), unknown(), approved()]);
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    let told = Instant::now();
    assert_eq!(view.state, PaymentState::Unknown);
    assert!(
        view.advice.contains("Do not charge again"),
        "{}",
        view.advice
    );
    assert!(!view.armed);
    let second = bench.payments.create(&bench.by, request()).await;
    assert!(
        matches!(second, Err(PaymentError::WrongState { .. })),
        "{second:?}"
    );
    sleep(Duration::from_secs(10)).await;
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Approved);
    let stage = bench.stage();
    let at: Vec<u64> = stage
        .looked_up_at
        .iter()
        .map(|at| at.duration_since(told).as_secs())
        .collect();
    assert_eq!(at, [1, 3, 7]);
    assert_eq!(stage.attempts[0].phase, Phase::Result(approved()));
    assert_eq!(stage.releases(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_charge_that_stays_unknown_is_left_to_a_person_after_a_day() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers(unknown());
    bench.payments.complete(&bench.by, &id).await.unwrap();
    sleep(Duration::from_secs(25 * 3600)).await;
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Unknown);
    assert!(
        view.advice.contains("Somebody has to look it up"),
        "{}",
        view.advice
    );
    let looked_up = bench.stage().looked_up_at.len();
    assert!((280..=310).contains(&looked_up), "{looked_up}");
    assert_eq!(bench.stage().logged("control-failure"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_panics_leaves_an_unknown_and_no_armed_call() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.stage().answers.push_back(Answer::Panics);
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Unknown);
    settle().await;
    assert_eq!(bench.stage().releases(), 1);
}

#[tokio::test(start_paused = true)]
async fn watchers_see_the_payment_from_its_creation_to_its_end() {
    let bench = Bench::new();
    let mut watched = bench.payments.subscribe(&bench.by.tenant, None);
    let id = bench.keyed().await;
    bench.answers(approved());
    bench.payments.complete(&bench.by, &id).await.unwrap();
    settle().await;
    let mut names = Vec::new();
    let mut first = None;
    while let Ok(event) = watched.live.try_recv() {
        first.get_or_insert(event.id);
        names.push(event.name);
    }
    assert_eq!(names[0], "payment.created");
    assert!(names.contains(&"payment.capture"));
    assert_eq!(names[names.len() - 1], "payment.ended");
    let again = bench.payments.subscribe(&bench.by.tenant, first);
    assert_eq!(again.replay.unwrap().len(), names.len() - 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_number_after_a_decline_takes_its_own_expiry_and_code() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers(declined(Advice::TryAgain));
    bench.payments.complete(&bench.by, &id).await.unwrap();
    bench.key(&id, Field::PaymentCardNumber).await;
    let refused = bench.payments.complete(&bench.by, &id).await.unwrap_err();
    let PaymentError::FieldsMissing(missing) = refused else {
        panic!("{refused}");
    };
    assert_eq!(missing, [Field::ExpirationDate, Field::SecurityCode]);

    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers(declined(Advice::ReEnter(Field::PaymentCardNumber)));
    bench.payments.complete(&bench.by, &id).await.unwrap();
    bench.key(&id, Field::PaymentCardNumber).await;
    let refused = bench.payments.complete(&bench.by, &id).await.unwrap_err();
    let PaymentError::FieldsMissing(missing) = refused else {
        panic!("{refused}");
    };
    assert_eq!(missing, [Field::SecurityCode], "the expiry was right");
}

#[tokio::test(start_paused = true)]
async fn each_step_is_durable_before_the_next_is_done() {
    let bench = Bench::new();
    let id = bench.created().await;
    let created = std::mem::take(&mut bench.stage().trail);
    assert_eq!(
        created,
        [
            "payment-created",
            "arming-requested",
            "put_payment arming",
            "set_armed",
            "arm",
            "armed",
            "put_payment open",
        ]
    );
    bench.key(&id, Field::PaymentCardNumber).await;
    let keyed = std::mem::take(&mut bench.stage().trail);
    assert_eq!(keyed, ["capture-opened", "open", "capture-completed"]);
    bench.key(&id, Field::ExpirationDate).await;
    bench.key(&id, Field::SecurityCode).await;
    bench.stage().trail.clear();
    bench.answers(approved());
    bench.payments.complete(&bench.by, &id).await.unwrap();
    settle().await;
    let paid = std::mem::take(&mut bench.stage().trail);
    assert_eq!(
        paid,
        [
            "charge-intent",
            "put_payment submitting",
            "intent",
            "charge-sending",
            "sending",
            "submit",
            "wipe",
            "result",
            "charge-result",
            "card-wiped",
            "put_payment approved",
            "wipe",
            "release",
            "clear_armed",
            "wipe",
        ]
    );

    let id = bench.keyed().await;
    bench.stage().trail.clear();
    bench.payments.cancel(&bench.by, &id).await.unwrap();
    settle().await;
    assert_eq!(
        bench.stage().trail,
        [
            "wipe",
            "payment-cancelled",
            "card-wiped",
            "put_payment cancelled",
            "release",
            "clear_armed",
            "wipe",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn that_the_processor_knows_nothing_counts_once_it_must_know() {
    let bench = Bench::new();
    bench.stage().consistency_delay = Duration::from_secs(5);
    let id = bench.keyed().await;
    bench.answers(unknown());
    let nothing_done = Outcome::Failed {
        reason: "the processor has no such charge".to_owned(),
        retryable: true,
    };
    // Asked after 1 s and 3 s it does not know yet; after 7 s it does.
    let said = [nothing_done.clone(), nothing_done.clone(), approved()];
    bench.stage().look_ups.extend(said);
    bench.payments.complete(&bench.by, &id).await.unwrap();
    sleep(Duration::from_secs(4)).await;
    assert_eq!(bench.stage().looked_up_at.len(), 2);
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Unknown);
    sleep(Duration::from_secs(4)).await;
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Approved);

    let id = bench.keyed().await;
    bench.answers(unknown());
    let said = std::iter::repeat_n(nothing_done, 3);
    bench.stage().look_ups.extend(said);
    bench.payments.complete(&bench.by, &id).await.unwrap();
    sleep(Duration::from_secs(8)).await;
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Failed);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_log_does_not_take_is_kept_for_it() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.answers_after(Duration::from_secs(1), approved());
    let completing = bench.payments.complete(&bench.by, &id);
    let breaking = async {
        sleep(Duration::from_millis(500)).await;
        bench.stage().broken = vec!["audit"];
    };
    let (view, ()) = tokio::join!(completing, breaking);
    assert_eq!(view.unwrap().state, PaymentState::Approved);
    let stage = bench.stage();
    assert!(
        matches!(&stage.left[..], [Event::ChargeResult { outcome, .. }, Event::CardWiped { .. }]
            if outcome == "approved"),
        "{:?}",
        stage.left
    );
}
