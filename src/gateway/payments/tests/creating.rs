//! From the request to a field that is keyed.

use tokio::time::{Duration, Instant};

use super::{
    super::{FieldStatus, NewPayment, PaymentError, PaymentState},
    fakes::{Bench, call_id, complete, request, settle},
};
use crate::{
    media::{MediaCommand, MediaEventKind},
    proto::{
        call::ArmRefusal,
        capture::{CaptureEventKind, CaptureTimeout, Rejection},
        field::Field,
        leg::Leg,
        mask::Guard,
        proof::MaskingProof,
    },
};

#[tokio::test(start_paused = true)]
async fn a_payment_is_acknowledged_once_the_call_is_armed_and_recorded() {
    let bench = Bench::new();
    let created = bench.payments.create(&bench.by, request()).await.unwrap();
    assert_eq!(created.state, PaymentState::Open);
    assert!(created.armed && created.sandbox);
    assert_eq!(created.fields.len(), 3);
    let stage = bench.stage();
    assert_eq!(stage.armed.len(), 1);
    assert_eq!(stage.rows[&created.id].state, "open");
    for name in ["payment-created", "arming-requested", "armed"] {
        assert_eq!(stage.logged(name), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_of_the_media_plane_refuses_after_250_ms_and_releases() {
    let bench = Bench::new();
    bench.stage().arming = None;
    let asked = Instant::now();
    let refused = bench.payments.create(&bench.by, request()).await;
    assert!(
        matches!(refused, Err(PaymentError::CannotArm(_))),
        "{refused:?}"
    );
    assert!(asked.elapsed() <= Duration::from_millis(260));
    let stage = bench.stage();
    assert_eq!(stage.releases(), 1);
    assert!(stage.armed.is_empty(), "the journal still says armed");
    assert_eq!(stage.logged("arm-refused"), 1);
    assert_eq!(stage.rows.values().next().unwrap().state, "failed");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_masked_says_so_and_can_be_tried_again() {
    let bench = Bench::new();
    bench.stage().arming = Some(Some(ArmRefusal::Codec));
    let refused = bench.payments.create(&bench.by, request()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("PCMU"), "{refused}");
    bench.stage().arming = Some(None);
    settle().await;
    bench.created().await;
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_cannot_be_recorded_arms_nothing() {
    for broken in ["payment-created", "put_payment", "set_armed", "audit"] {
        let bench = Bench::new();
        bench.stage().broken.push(broken);
        let refused = bench.payments.create(&bench.by, request()).await;
        assert!(
            matches!(refused, Err(PaymentError::NotRecordable(_))),
            "{broken}: {refused:?}"
        );
        let armed = |command: &MediaCommand| matches!(command, MediaCommand::Arm(_));
        assert!(!bench.stage().commands.iter().any(armed), "{broken}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_arming_that_cannot_be_recorded_is_released() {
    let bench = Bench::new();
    bench.stage().broken.push("armed");
    let refused = bench.payments.create(&bench.by, request()).await;
    assert!(matches!(refused, Err(PaymentError::NotRecordable(_))));
    assert_eq!(bench.stage().releases(), 1);
}

#[tokio::test(start_paused = true)]
async fn wrong_requests_say_what_is_wrong() {
    let bench = Bench::new();
    let try_it = async |change: fn(&mut super::super::NewPayment)| {
        let mut new = request();
        change(&mut new);
        bench.payments.create(&bench.by, new).await.unwrap_err()
    };
    let error = try_it(|new| new.call = "nobody".to_owned()).await;
    assert!(matches!(error, PaymentError::UnknownCall(_)));
    let error = try_it(|new| new.leg = Some("agent-tag".to_owned())).await;
    assert!(matches!(error, PaymentError::WrongLeg(_)));
    let error = try_it(|new| new.leg = Some("else".to_owned())).await;
    assert!(matches!(error, PaymentError::Invalid { field: "leg", .. }));
    let error = try_it(|new| new.reference = "4242 4242 4242 4242".to_owned()).await;
    assert!(matches!(
        error,
        PaymentError::Invalid {
            field: "reference",
            ..
        }
    ));
    bench.stage().calls[0].answered = false;
    let error = try_it(|_| {}).await;
    assert!(error.to_string().contains("no answer yet"), "{error}");
    assert!(
        bench.stage().log.is_empty(),
        "a refused request left traces"
    );
}

#[tokio::test(start_paused = true)]
async fn where_it_is_not_known_who_is_the_caller_a_payment_names_the_leg_that_keys() {
    for (tag, leg) in [("caller-tag", Leg::Caller), ("agent-tag", Leg::Agent)] {
        let bench = Bench::new();
        bench.stage().calls[0].sides_known = false;
        let unnamed = bench.payments.create(&bench.by, request()).await;
        assert!(matches!(unnamed, Err(PaymentError::CallerUnknown)));
        let named = NewPayment {
            leg: Some(tag.to_owned()),
            ..request()
        };
        let waits = bench.payments.prepare(&bench.by, named.clone());
        assert!(matches!(waits, Err(PaymentError::CallerUnknown)));
        let id = bench.payments.create(&bench.by, named).await.unwrap().id;
        let field = Field::PaymentCardNumber;
        let opened = bench.payments.capture(&bench.by, &id, field).await;
        opened.unwrap();
        let stage = bench.stage();
        let keyed_by: Vec<Leg> = stage
            .commands
            .iter()
            .filter_map(|command| match command {
                MediaCommand::OpenCapture { from, .. } => Some(*from),
                _ => None,
            })
            .collect();
        assert_eq!(keyed_by, [leg]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_has_one_payment_at_a_time() {
    let bench = Bench::new();
    let id = bench.created().await;
    let second = bench.payments.create(&bench.by, request()).await;
    assert!(matches!(second, Err(PaymentError::CallHasPayment(first)) if first == id));
    bench.payments.cancel(&bench.by, &id).await.unwrap();
    settle().await;
    bench.created().await;
}

#[tokio::test(start_paused = true)]
async fn a_draining_gateway_takes_no_new_payment_and_finishes_the_old() {
    let bench = Bench::new();
    let id = bench.created().await;
    bench.payments.drain();
    let refused = bench.payments.create(&bench.by, request()).await;
    assert!(matches!(refused, Err(PaymentError::Draining)));
    assert_eq!(bench.payments.in_progress(), 1);
    bench.key_all(&id).await;
    bench.answers(super::fakes::approved());
    let done = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(done.state, PaymentState::Approved);
    settle().await;
    assert_eq!(bench.payments.in_progress(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_agent_sees_progress_problems_and_the_last_four() {
    let bench = Bench::new();
    let id = bench.created().await;
    let number = Field::PaymentCardNumber;
    let view = async || {
        settle().await;
        bench.payments.get(&bench.by, &id).await.unwrap()
    };
    let open = bench
        .payments
        .capture(&bench.by, &id, number)
        .await
        .unwrap();
    assert_eq!(open.capturing, Some(number));
    assert_eq!(open.state, PaymentState::Capturing);

    bench.told(&id, number, CaptureEventKind::Opened { attempts_left: 3 });
    let count = 6;
    bench.told(
        &id,
        number,
        CaptureEventKind::Progress { count, brand: None },
    );
    assert_eq!(
        view().await.fields[&number].masked.as_deref(),
        Some("•••• ••")
    );

    let reason = Rejection::CheckDigit;
    let attempts_left = 2;
    bench.told(
        &id,
        number,
        CaptureEventKind::Rejected {
            reason,
            attempts_left,
        },
    );
    let field = view().await.fields[&number].clone();
    assert_eq!(field.status, FieldStatus::Capturing);
    assert!(field.problem.unwrap().contains("2 tries are left"));

    let timeout = CaptureTimeout::InterDigit;
    bench.told(&id, number, CaptureEventKind::TimedOut { timeout });
    let closed = view().await;
    assert_eq!(closed.state, PaymentState::Open);
    assert_eq!(closed.fields[&number].status, FieldStatus::Problem);

    bench.key(&id, number).await;
    let kept = view().await.fields[&number].clone();
    assert_eq!(kept.status, FieldStatus::Complete);
    assert_eq!(kept.masked.as_deref(), Some("•••• •••• •••• 4242"));
    assert_eq!(bench.stage().logged("capture-completed"), 1);
    assert_eq!(bench.stage().logged("capture-opened"), 2);
    assert_eq!(bench.stage().logged("capture-closed"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_agent_is_told_that_noise_has_muted_the_caller_as_long_as_it_does() {
    let bench = Bench::new();
    let id = bench.created().await;
    let mut watched = bench.payments.subscribe(&bench.by.tenant, None);
    let muted = async |id| {
        settle().await;
        bench
            .payments
            .get(&bench.by, id)
            .await
            .unwrap()
            .caller_muted
    };
    bench.media(MediaEventKind::Tightened(Guard::Strictest));
    assert!(!muted(&id).await, "only later, not muted");
    bench.media(MediaEventKind::Tightened(Guard::Mute));
    assert!(muted(&id).await);
    let told = watched.live.try_recv().unwrap();
    assert_eq!(told.name, "payment.updated");
    assert!(
        told.data.contains(r#""caller_muted":true"#),
        "{}",
        told.data
    );
    assert!(watched.live.try_recv().is_err(), "told once");
    // The call stays armed for the next payment: nothing loosens before the release.
    bench.payments.cancel(&bench.by, &id).await.unwrap();
    let next = bench.created().await;
    assert!(!muted(&id).await && muted(&next).await);
    bench.payments.cancel(&bench.by, &next).await.unwrap();
    bench.media(MediaEventKind::Disarmed);
    let last = bench.created().await;
    assert!(!muted(&last).await, "an arming of its own");
}

#[tokio::test(start_paused = true)]
async fn a_field_that_cannot_be_recorded_is_not_opened() {
    let bench = Bench::new();
    let id = bench.created().await;
    bench.stage().broken.push("capture-opened");
    let number = Field::PaymentCardNumber;
    let refused = bench.payments.capture(&bench.by, &id, number).await;
    assert!(matches!(refused, Err(PaymentError::NotRecordable(_))));
    let opened = |command: &MediaCommand| matches!(command, MediaCommand::OpenCapture { .. });
    assert!(!bench.stage().commands.iter().any(opened));
}

#[tokio::test(start_paused = true)]
async fn a_media_plane_that_is_busy_leaves_the_field_closed_and_says_so() {
    let bench = Bench::new();
    let id = bench.created().await;
    bench.stage().broken.push("media");
    let number = Field::PaymentCardNumber;
    let refused = bench.payments.capture(&bench.by, &id, number).await;
    assert!(
        matches!(refused, Err(PaymentError::Overloaded(_))),
        "{refused:?}"
    );
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Open);
    assert_eq!(view.fields[&number].status, FieldStatus::Problem);
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_while_a_field_is_keyed_cancels_wipes_and_releases() {
    let bench = Bench::new();
    let id = bench.created().await;
    bench.key(&id, Field::PaymentCardNumber).await;
    let expiry = Field::ExpirationDate;
    bench
        .payments
        .capture(&bench.by, &id, expiry)
        .await
        .unwrap();
    let mut watched = bench.payments.subscribe(call_id(1).tenant(), None);
    bench.media(MediaEventKind::Ended(MaskingProof::default()));
    settle().await;
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Cancelled);
    assert!(
        view.advice.contains("the call has ended"),
        "{}",
        view.advice
    );
    assert!(!view.armed);
    {
        let stage = bench.stage();
        assert_eq!(stage.releases(), 1);
        assert!(stage.wiped_before("payment-cancelled"));
        assert_eq!(stage.logged("payment-cancelled"), 1);
        assert_eq!(stage.logged("card-wiped"), 1);
        assert_eq!(stage.rows[&id].state, "cancelled");
    }
    assert_eq!(watched.live.recv().await.unwrap().name, "call.ended");
    assert_eq!(watched.live.recv().await.unwrap().name, "payment.ended");

    // A field that became complete in that moment would otherwise stay with the card plane.
    let wipes = bench.stage().wipes;
    bench.told(&id, expiry, complete(expiry));
    assert_eq!(bench.stage().wipes, wipes + 1);
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_is_left_alone_is_cancelled() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    tokio::time::sleep(Duration::from_secs(16 * 60)).await;
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Cancelled);
    assert_eq!(bench.stage().releases(), 1);
    assert!(bench.stage().wiped_before("payment-cancelled"));
}

#[tokio::test(start_paused = true)]
async fn another_tenant_finds_nothing() {
    let bench = Bench::new();
    let id = bench.created().await;
    let mut by = bench.by.clone();
    by.tenant = "other".parse().unwrap();
    let payments = &bench.payments;
    let unknown = |error: PaymentError| matches!(error, PaymentError::UnknownPayment(_));
    assert!(unknown(payments.get(&by, &id).await.unwrap_err()));
    assert!(unknown(payments.cancel(&by, &id).await.unwrap_err()));
    assert!(unknown(payments.complete(&by, &id).await.unwrap_err()));
    let refused = payments.create(&by, request()).await.unwrap_err();
    assert!(matches!(refused, PaymentError::UnknownCall(_)));
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_complete_while_the_end_is_recorded_is_wiped() {
    let bench = Bench::new();
    let id = bench.created().await;
    let number = Field::PaymentCardNumber;
    bench
        .payments
        .capture(&bench.by, &id, number)
        .await
        .unwrap();
    bench.stage().putting = Duration::from_millis(20);
    let cancelling = bench.payments.cancel(&bench.by, &id);
    let last_digit = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        // The card plane has the field before anybody is told.
        bench.stage().trail.push("complete".to_owned());
        bench.told(&id, number, complete(number));
    };
    let (view, ()) = tokio::join!(cancelling, last_digit);
    assert_eq!(view.unwrap().state, PaymentState::Cancelled);
    settle().await;
    let stage = bench.stage();
    let last = |what: &str| stage.trail.iter().rposition(|done| done == what);
    assert!(last("wipe") > last("complete"), "{:?}", stage.trail);
}
