//! Payments that wait for the code that an agent dials.

use tokio::time::{Duration, sleep};

use super::{
    super::{NewPayment, PaymentError, PaymentState, PaymentView},
    fakes::{Bench, request, settle},
};
use crate::{
    journal::PaymentFilter,
    media::{MediaCommand, MediaEventKind},
    proto::{
        call::{CodeRefusal, Dialled},
        proof::MaskingProof,
    },
};

impl Bench {
    async fn dial(&self, dialled: Dialled) -> Vec<PaymentView> {
        self.media(MediaEventKind::Dialled(dialled));
        // The arming is acknowledged after 40 ms.
        sleep(Duration::from_millis(100)).await;
        settle().await;
        self.payments
            .list(
                &self.by,
                None,
                PaymentFilter {
                    limit: 100,
                    ..PaymentFilter::default()
                },
            )
            .await
            .unwrap()
    }

    /// The last command that the call got about the code.
    fn awaits(&self) -> Option<bool> {
        let told = |command: &MediaCommand| match command {
            MediaCommand::AwaitCode(awaits) => Some(*awaits),
            _ => None,
        };
        self.stage().commands.iter().rev().find_map(told)
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_begins_when_the_agent_dials_and_only_once() {
    let bench = Bench::new();
    let view = bench.payments.prepare(&bench.by, request()).unwrap();
    assert_eq!((view.key_code.as_str(), view.amount_minor), ("*77#", 1250));
    assert_eq!(bench.awaits(), Some(true));
    assert!(bench.stage().rows.is_empty(), "nothing is recorded before");
    let waits = bench.payments.prepared(&bench.by, "call-1@sip").unwrap();
    assert_eq!(waits, Some(view));
    let payments = bench.dial(Dialled::Code).await;
    assert_eq!(payments.len(), 1);
    assert_eq!(payments[0].state, PaymentState::Open);
    assert!(payments[0].armed);
    assert_eq!(payments[0].reference, "INV-1");
    assert_eq!(bench.dial(Dialled::Code).await.len(), 1);
    let waits = bench.payments.prepared(&bench.by, "call-1@sip").unwrap();
    assert_eq!(waits, None);
}

#[tokio::test(start_paused = true)]
async fn without_one_that_waits_the_code_begins_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.dial(Dialled::Code).await, []);
    bench.payments.prepare(&bench.by, request()).unwrap();
    assert!(bench.payments.unprepare(&bench.by, "call-1@sip").unwrap());
    assert!(!bench.payments.unprepare(&bench.by, "call-1@sip").unwrap());
    assert_eq!(bench.dial(Dialled::Code).await, []);
    bench.payments.prepare(&bench.by, request()).unwrap();
    sleep(Duration::from_secs(15 * 60)).await;
    assert_eq!(bench.dial(Dialled::Code).await, [], "it waited too long");
    bench.payments.prepare(&bench.by, request()).unwrap();
    bench.media(MediaEventKind::Ended(MaskingProof::default()));
    assert_eq!(bench.dial(Dialled::Code).await, [], "the call is over");
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_refused_begins_nothing_is_told_and_leaves_what_waits() {
    let bench = Bench::new();
    bench.payments.prepare(&bench.by, request()).unwrap();
    let mut told = bench.payments.subscribe(&bench.by.tenant, None).live;
    for refusal in [
        CodeRefusal::NoPin,
        CodeRefusal::WrongPin,
        CodeRefusal::PinHeard,
        CodeRefusal::LastWrongPin,
    ] {
        assert_eq!(bench.dial(Dialled::Refused(refusal)).await, []);
        assert_eq!(told.recv().await.unwrap().name, "call.key-code-refused");
    }
    let waits = bench.payments.prepared(&bench.by, "call-1@sip").unwrap();
    assert!(waits.is_some());
    assert_eq!(bench.dial(Dialled::Code).await.len(), 1);
    assert_eq!(told.recv().await.unwrap().name, "call.key-code");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_prepared_is_told_at_once() {
    let bench = Bench::new();
    let prepare = |new: NewPayment| bench.payments.prepare(&bench.by, new).unwrap_err();
    let nobody = NewPayment {
        call: "nobody".to_owned(),
        ..request()
    };
    assert!(matches!(prepare(nobody), PaymentError::UnknownCall(_)));
    let nothing = NewPayment {
        amount_minor: 0,
        ..request()
    };
    assert!(matches!(prepare(nothing), PaymentError::Invalid { .. }));
    let of_agent = NewPayment {
        leg: Some("agent-tag".to_owned()),
        ..request()
    };
    assert!(matches!(prepare(of_agent), PaymentError::WrongLeg(_)));
    bench.created().await;
    assert!(matches!(
        prepare(request()),
        PaymentError::CallHasPayment(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_cannot_begin_waits_on_and_the_agent_may_dial_again() {
    let bench = Bench::new();
    bench.payments.prepare(&bench.by, request()).unwrap();
    bench.stage().broken.push("payment-created");
    assert_eq!(
        bench
            .dial(Dialled::Code)
            .await
            .iter()
            .filter(|one| one.armed)
            .count(),
        0
    );
    bench.stage().broken.clear();
    let armed = bench.dial(Dialled::Code).await;
    assert_eq!(armed.iter().filter(|one| one.armed).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_amount_that_is_dialled_is_taken_in_the_configured_currency() {
    let bench = Bench::new();
    let payments = bench.dial(Dialled::Amount(1_999)).await;
    assert_eq!(payments.len(), 1);
    assert_eq!(
        (payments[0].amount_minor, payments[0].currency.as_str()),
        (1_999, "EUR")
    );
    assert!(payments[0].armed);
    let bench = Bench::new();
    assert_eq!(bench.dial(Dialled::Amount(0)).await, [], "no amount");
}
