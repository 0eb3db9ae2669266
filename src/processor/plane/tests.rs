//! The thread, its queue and its rules, with an adapter that answers as told.

mod tokens;

use std::sync::Mutex;

use super::*;
use crate::processor::{
    Abilities, Advice, CardView, Processor, Token,
    testing::{Memory, Tokens, call, charge, key_memory, payment, recorded, request_memory},
};

type Turn = Box<dyn FnOnce() -> oneshot::Receiver<Outcome> + Send>;

/// Answers each submission with what the test sends for it, in turn.
#[derive(Clone, Default)]
struct Scripted {
    turns: Arc<Mutex<Vec<Turn>>>,
}

impl Scripted {
    /// The next submission is answered once the returned sender is used; dropping it makes the
    /// adapter panic.
    fn next(&self) -> (oneshot::Sender<Outcome>, oneshot::Receiver<()>) {
        let (answer, answered) = oneshot::channel();
        let (started, has_started) = oneshot::channel();
        self.turns.lock().unwrap().insert(
            0,
            Box::new(move || {
                let _ = started.send(());
                answered
            }),
        );
        (answer, has_started)
    }
}

impl Processor for Scripted {
    fn promises(&self) -> Promises {
        Promises {
            name: "scripted",
            sandbox: true,
            test_cards_only: false,
            tokenises: false,
            idempotency_retention: Duration::ZERO,
            look_up_by_reference: true,
            consistency_delay: Duration::ZERO,
            reversal_by_reference: false,
            abilities: Abilities::default(),
        }
    }

    async fn submit(
        &self,
        _recorded: Recorded,
        _card: CardView<'_>,
        _charge: &Charge,
    ) -> Submitted {
        let turn = self.turns.lock().unwrap().pop().expect("a turn");
        turn().await.expect("the test asked for a panic").into()
    }

    async fn look_up(&self, charge: &Charge, _token: Option<&Token>) -> Outcome {
        std::future::ready(()).await;
        Outcome::Unknown {
            reason: charge.attempt.to_string(),
        }
    }
}

struct Bench {
    plane: CardPlane,
    script: Scripted,
    fields: Memory,
}

impl Bench {
    fn new(settings: CardPlaneSettings) -> Self {
        let script = Scripted::default();
        let memory = Arc::new(request_memory());
        Self {
            plane: CardPlane::start(
                settings,
                script.clone(),
                memory,
                Arc::new(Tokens::default()),
            )
            .unwrap(),
            script,
            fields: key_memory(),
        }
    }

    fn key(&self, field: Field) -> Result<(), CardPlaneBusy> {
        let digits = self.fields.test_card(field);
        self.plane.sink().store(&payment(1), digits)
    }

    fn key_card(&self) {
        self.key(Field::PaymentCardNumber).unwrap();
        self.key(Field::ExpirationDate).unwrap();
        self.key(Field::SecurityCode).unwrap();
    }

    async fn submit(&self) -> Result<Outcome, SubmitError> {
        self.plane.submit(recorded(), charge(1)).await
    }

    /// A submission that has reached the adapter.
    async fn in_flight(
        &self,
    ) -> (
        oneshot::Sender<Outcome>,
        tokio::task::JoinHandle<Result<Outcome, SubmitError>>,
    ) {
        let (answer, started) = self.script.next();
        let plane = self.plane.clone();
        let flight = tokio::spawn(async move { plane.submit(recorded(), charge(1)).await });
        started.await.unwrap();
        (answer, flight)
    }

    async fn held(&self) -> Vec<Field> {
        self.plane.held(&payment(1)).await
    }
}

fn try_again() -> Outcome {
    Outcome::Declined {
        advice: Advice::TryAgain,
        code: "no".to_owned(),
    }
}

#[tokio::test]
async fn when_the_answer_is_known_what_it_wipes_is_wiped() {
    let bench = Bench::new(CardPlaneSettings::default());
    bench.key_card();
    assert_eq!(bench.held().await.len(), 3);
    let (answer, flight) = bench.in_flight().await;
    assert_eq!(bench.held().await, []);
    answer.send(try_again()).unwrap();
    assert_eq!(flight.await.unwrap().unwrap(), try_again());
    assert_eq!(bench.fields.taken(), 2);
    assert_eq!(
        bench.held().await,
        [Field::PaymentCardNumber, Field::ExpirationDate]
    );
}

#[tokio::test]
async fn what_a_decline_keeps_is_wiped_by_itself_when_its_time_is_over() {
    let bench = Bench::new(CardPlaneSettings {
        keep_after_decline: Duration::from_millis(50),
        ..CardPlaneSettings::default()
    });
    bench.key_card();
    let (answer, flight) = bench.in_flight().await;
    answer.send(try_again()).unwrap();
    flight.await.unwrap().unwrap();
    // Nothing is asked of the card plane meanwhile.
    tokio::time::timeout(Duration::from_secs(5), async {
        while bench.fields.taken() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert!(matches!(
        bench.submit().await,
        Err(SubmitError::Missing(Field::PaymentCardNumber))
    ));
}

#[tokio::test]
async fn a_wipe_during_a_charge_waits_for_its_answer_and_then_spares_nothing() {
    let bench = Bench::new(CardPlaneSettings::default());
    bench.key_card();
    let (answer, flight) = bench.in_flight().await;
    bench.plane.wipe(&payment(1));
    assert_eq!(bench.held().await, []);
    assert_eq!(bench.fields.taken(), 3);
    answer.send(try_again()).unwrap();
    assert_eq!(flight.await.unwrap().unwrap(), try_again());
    assert_eq!(bench.fields.taken(), 0);
}

#[tokio::test]
async fn a_card_that_must_not_be_tried_again_is_not_sent_again_while_the_call_lasts() {
    let bench = Bench::new(CardPlaneSettings::default());
    let never_again = Outcome::Declined {
        advice: Advice::DoNotRetry,
        code: "stolen_card".to_owned(),
    };
    bench.key_card();
    let (answer, flight) = bench.in_flight().await;
    answer.send(never_again.clone()).unwrap();
    assert_eq!(flight.await.unwrap().unwrap(), never_again);
    assert_eq!(bench.fields.taken(), 0);

    // The adapter has no answer to this: it panics where it is asked.
    bench.key_card();
    let barred = Outcome::Declined {
        advice: Advice::OtherCard,
        code: BARRED.to_owned(),
    };
    assert_eq!(bench.submit().await.unwrap(), barred);

    // Another call is another matter, and so is this one's end.
    let other = Charge {
        call: call(2),
        ..charge(1)
    };
    for charge in [other, charge(1)] {
        bench.key_card();
        let (answer, started) = bench.script.next();
        let plane = bench.plane.clone();
        let flight = tokio::spawn(async move { plane.submit(recorded(), charge).await });
        started.await.unwrap();
        answer.send(try_again()).unwrap();
        assert_eq!(flight.await.unwrap().unwrap(), try_again());
        bench.plane.call_ended(&call(1));
    }
}

#[tokio::test]
async fn a_second_charge_of_the_same_payment_sends_nothing() {
    let bench = Bench::new(CardPlaneSettings::default());
    bench.key_card();
    let (answer, flight) = bench.in_flight().await;
    let second = bench.submit().await.unwrap();
    assert!(
        matches!(
            second,
            Outcome::Failed {
                retryable: true,
                ..
            }
        ),
        "{second:?}"
    );
    answer.send(try_again()).unwrap();
    assert_eq!(flight.await.unwrap().unwrap(), try_again());
}

#[tokio::test]
async fn an_adapter_that_panics_is_unknown_and_wipes_and_harms_nobody_else() {
    let bench = Bench::new(CardPlaneSettings::default());
    bench.key_card();
    let (answer, flight) = bench.in_flight().await;
    drop(answer);
    let outcome = flight.await.unwrap().unwrap();
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert_eq!(bench.fields.taken(), 0);
    bench.key_card();
    let (answer, flight) = bench.in_flight().await;
    answer.send(try_again()).unwrap();
    assert_eq!(flight.await.unwrap().unwrap(), try_again());
}

#[tokio::test]
async fn an_adapter_that_does_not_end_is_cut_off_as_unknown() {
    let bench = Bench::new(CardPlaneSettings {
        flight_limit: Duration::from_millis(50),
        ..CardPlaneSettings::default()
    });
    bench.key_card();
    let (_answer, flight) = bench.in_flight().await;
    let outcome = flight.await.unwrap().unwrap();
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert_eq!(bench.fields.taken(), 0);
}

#[tokio::test]
async fn a_full_queue_gives_the_field_up_but_takes_a_wipe() {
    let bench = Bench::new(CardPlaneSettings {
        queue: 2,
        ..CardPlaneSettings::default()
    });
    let room = bench.plane.inner.room.clone();
    let _full = room.acquire_many(2).await.unwrap();
    assert_eq!(bench.key(Field::SecurityCode), Err(CardPlaneBusy));
    assert_eq!(bench.fields.taken(), 0);
    bench.plane.wipe(&payment(1));
}

#[tokio::test]
async fn a_wipe_does_not_overtake_the_field_that_it_is_for() {
    let bench = Bench::new(CardPlaneSettings::default());
    for _ in 0..1000 {
        while bench.key(Field::PaymentCardNumber).is_err() {
            tokio::task::yield_now().await;
        }
        bench.plane.sink().wipe(&payment(1));
    }
    assert_eq!(bench.held().await, []);
    assert_eq!(bench.fields.taken(), 0);
}

#[tokio::test]
async fn the_last_handle_ends_the_thread_and_wipes_after_the_charges_on_their_way() {
    let bench = Bench::new(CardPlaneSettings::default());
    bench.key_card();
    let (answer, flight) = bench.in_flight().await;
    let fields = bench.fields.clone();
    drop(bench);
    answer.send(try_again()).unwrap();
    assert_eq!(flight.await.unwrap().unwrap(), try_again());
    tokio::time::timeout(Duration::from_secs(5), async {
        while fields.taken() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_look_up_reaches_the_adapter() {
    let bench = Bench::new(CardPlaneSettings::default());
    assert_eq!(
        bench.plane.look_up(&charge(7)).await,
        Outcome::Unknown {
            reason: charge(7).attempt.to_string()
        }
    );
}
