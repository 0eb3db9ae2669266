//! How often a card may be tried.

use tokio::time::{Duration, sleep};

use super::{
    super::{PaymentError, Principal, Settings},
    fakes::{Bench, approved, call_id, settings, settle},
};
use crate::{
    media::MediaEventKind,
    processor::{Advice, Outcome},
    proto::{
        audit::Actor,
        id::KeyId,
        payment::{TooMany, VelocityLimits},
        proof::MaskingProof,
    },
};

fn bench(per_call: Option<u32>, per_key_hour: Option<u32>) -> Bench {
    Bench::with(Settings {
        velocity: VelocityLimits {
            per_call,
            per_key_hour,
        },
        ..settings()
    })
}

fn other_card() -> Outcome {
    Outcome::Declined {
        advice: Advice::OtherCard,
        code: "card_declined".to_owned(),
    }
}

fn not_again() -> Outcome {
    Outcome::Declined {
        advice: Advice::DoNotRetry,
        code: "stolen_card".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_has_so_many_tries_over_all_its_payments() {
    let bench = bench(Some(3), None);
    let first = bench.keyed().await;
    bench.answers(other_card());
    bench.payments.complete(&bench.by, &first).await.unwrap();
    // What is refused is no try, however often.
    for _ in 0..5 {
        let refused = bench.payments.complete(&bench.by, &first).await;
        assert!(matches!(refused, Err(PaymentError::FieldsMissing(_))));
    }
    bench.key_all(&first).await;
    bench.answers(not_again());
    bench.payments.complete(&bench.by, &first).await.unwrap();
    settle().await;

    let second = bench.keyed().await;
    bench.answers(other_card());
    bench.payments.complete(&bench.by, &second).await.unwrap();
    bench.key_all(&second).await;
    let refused = bench.payments.complete(&bench.by, &second).await;
    assert!(
        matches!(refused, Err(PaymentError::TooMany(TooMany::OnCall(3)))),
        "{refused:?}"
    );
    assert_eq!(bench.stage().attempts.len(), 3);

    // The next call is another one.
    bench.media(MediaEventKind::Ended(MaskingProof::default()));
    assert!(
        bench
            .payments
            .shared
            .velocity()
            .count(&call_id(1), None, std::time::Instant::now())
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_has_so_many_tries_in_an_hour() {
    let bench = bench(None, Some(1));
    let by = |number: u128| Principal {
        actor: Actor::Key {
            id: KeyId::new(
                bench.by.tenant.clone(),
                settings().node,
                ulid::Ulid::from_parts(1, number),
            ),
        },
        ..bench.by.clone()
    };
    let id = bench.keyed().await;
    for (number, outcome) in [(1, other_card()), (2, other_card())] {
        bench.answers(outcome);
        let tried = bench.payments.complete(&by(number), &id).await;
        tried.unwrap();
        bench.key_all(&id).await;
        let refused = bench.payments.complete(&by(number), &id).await;
        let Err(PaymentError::TooMany(TooMany::ByKey { limit: 1, wait })) = refused else {
            panic!("{refused:?}");
        };
        assert!(wait <= Duration::from_secs(60 * 60), "{wait:?}");
    }
    sleep(Duration::from_secs(10 * 60)).await;
    bench.key_all(&id).await;
    sleep(Duration::from_secs(14 * 60)).await;
    bench.key_all(&id).await;
    for _ in 0..3 {
        sleep(Duration::from_secs(14 * 60)).await;
        bench.key_all(&id).await;
    }
    bench.answers(approved());
    bench.payments.complete(&by(1), &id).await.unwrap();
    assert_eq!(bench.stage().attempts.len(), 3);
}
