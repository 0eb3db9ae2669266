//! What those who follow a payment from signalling are told.

use tokio::time::{Duration, timeout};

use super::{
    super::PaymentState,
    fakes::{Bench, approved},
};
use crate::{
    processor::{Advice, Outcome},
    proto::field::Field,
    signal::PaymentPort,
};

#[tokio::test(start_paused = true)]
async fn each_outcome_is_told_once_in_its_order_and_then_nothing_more() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    let (payments, followed) = (bench.payments.clone(), id.clone());
    let told = tokio::spawn(async move {
        let (mut known, mut told) = (None, Vec::new());
        while let Some((now, dict)) = payments.outcome(followed.clone(), known).await {
            assert_eq!(dict.text("state").as_deref(), Some(now.state));
            assert_eq!(dict.text("last4").as_deref(), Some("4242"));
            told.push(now.state);
            known = Some(now);
        }
        told
    });
    // Nothing has come of it yet.
    let early = bench.payments.outcome(id.clone(), None);
    assert!(timeout(Duration::from_secs(60), early).await.is_err());
    for _ in 0..2 {
        bench.answers(Outcome::Declined {
            advice: Advice::ReEnter(Field::SecurityCode),
            code: "card_declined".to_owned(),
        });
        let view = bench.payments.complete(&bench.by, &id).await.unwrap();
        assert_eq!(view.state, PaymentState::Declined);
        bench.key(&id, Field::SecurityCode).await;
    }
    bench.answers(approved());
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Approved);
    assert_eq!(told.await.unwrap(), ["declined", "declined", "approved"]);
    // Whoever asks late is told, too; whoever knows is not kept waiting.
    let late = bench.payments.outcome(id.clone(), None).await.unwrap().0;
    assert_eq!((late.state, late.attempts), ("approved", 3));
    assert_eq!(bench.payments.outcome(id, Some(late)).await, None);
}
