//! Real adapters against processors that do wrong as they are told, over real TLS, with the real
//! journal, compliance log, secret memory and card plane: journal, log, what the agent and merchants are told
//! and the processor's books agree, no charge is made twice and none is lost.
//!
//! `cargo test --test faults -- --ignored` repeats the matrix 50 times.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod processors;
mod shop;

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use processors::{Fault, Kind, Processor as Simulator, Stage};
use serde_json::json;
use shop::{AT_A_TIME, PATIENCE, Shop, join_all};
use tempfile::TempDir;
use tonewall::{
    gateway::payments::{PaymentError, PaymentState},
    journal::Phase,
    processor::{Advice, Outcome},
    proto::field::Field,
};

/// What becomes of a payment that meets this fault, once all is resolved that can be.
fn expected(kind: Kind, stage: Stage, fault: Fault) -> PaymentState {
    use PaymentState::{Approved, Failed, Unknown};
    let is_done = match fault {
        fault if fault.is_at_the_door() => return Failed,
        // In the processor's own words nothing was done.
        Fault::Busy429 => return Failed,
        Fault::ResetBefore | Fault::Busy503 => false,
        _ => true,
    };
    match (kind, stage) {
        // What happens to a token moves no money.
        (Kind::Stripe | Kind::Checkout | Kind::Braintree, Stage::Card) => Failed,
        // The charge is asked for again under its key.
        (Kind::Stripe | Kind::Checkout, _) => Approved,
        (Kind::Connector | Kind::Braintree | Kind::AuthorizeNet, _) if is_done => Approved,
        (Kind::Connector, _) => Failed,
        // It is found, or it is too early to say that there is none.
        (Kind::Worldpay | Kind::CyberSource, _) if is_done => Approved,
        (Kind::Worldpay | Kind::CyberSource, _) => Unknown,
        // That a search does not have it counts after more than an hour.
        (Kind::Braintree, _) => Unknown,
        // It tells of what it has, and not that it has none.
        (Kind::AuthorizeNet, _) => Unknown,
        // It cannot be asked.
        (Kind::Adyen, _) => Unknown,
    }
}

/// So many payments that each meet the fault.
async fn meet(kind: Kind, stage: Stage, fault: Fault, times: usize) {
    let shop = Shop::new(kind).await;
    let mut payments = Vec::new();
    // A fault at the door meets one connection, which charges by tokens share.
    let at_once = match stage {
        Stage::Token if fault.is_at_the_door() => 1,
        _ => AT_A_TIME,
    };
    for first in (0..times).step_by(at_once) {
        let at_a_time = at_once.min(times - first);
        for _ in 0..at_a_time {
            shop.simulator.will(stage, fault);
        }
        let calls: Vec<String> = (first..first + at_a_time)
            .map(|n| format!("c{n}"))
            .collect();
        let views = join_all(calls.iter().map(|call| shop.pay(call))).await;
        shop.simulator.open_the_door();
        let wanted = expected(kind, stage, fault);
        for view in views {
            let settled = shop.until(&view.id, |view| view.state == wanted);
            let settled = tokio::time::timeout(PATIENCE, settled).await;
            assert!(settled.is_ok(), "{kind:?} {stage:?} {fault:?}: {view:?}");
            payments.push(view.id);
        }
    }
    // What is unknown and cannot be asked for is still unknown after a few look-ups.
    if expected(kind, stage, fault) == PaymentState::Unknown {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    shop.nothing_is_lost(&payments).await;
}

async fn matrix(kind: Kind, stage: Stage, times: usize) {
    let tasks: Vec<_> = Fault::ALL
        .into_iter()
        .map(|fault| (fault, tokio::spawn(meet(kind, stage, fault, times))))
        .collect();
    let mut broken = Vec::new();
    for (fault, task) in tasks {
        if let Err(error) = task.await {
            broken.push(format!("{fault:?}: {error}"));
        }
    }
    assert!(broken.is_empty(), "{kind:?} {stage:?}: {broken:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_stripe_while_it_takes_the_card() {
    matrix(Kind::Stripe, Stage::Card, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_stripe_while_it_charges() {
    matrix(Kind::Stripe, Stage::Token, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_adyen() {
    matrix(Kind::Adyen, Stage::Card, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_checkout_com_while_it_takes_the_card() {
    matrix(Kind::Checkout, Stage::Card, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_checkout_com_while_it_charges() {
    matrix(Kind::Checkout, Stage::Token, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_worldpay() {
    matrix(Kind::Worldpay, Stage::Card, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_cybersource() {
    matrix(Kind::CyberSource, Stage::Card, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_braintree_while_it_takes_the_card() {
    matrix(Kind::Braintree, Stage::Card, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_braintree_while_it_charges() {
    matrix(Kind::Braintree, Stage::Token, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_authorize_net() {
    matrix(Kind::AuthorizeNet, Stage::Card, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_charges_twice_or_loses_a_charge_by_a_connector() {
    matrix(Kind::Connector, Stage::Card, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn no_fault_charges_twice_or_loses_a_charge_in_fifty_runs_of_each() {
    for (kind, stage) in [
        (Kind::Stripe, Stage::Card),
        (Kind::Stripe, Stage::Token),
        (Kind::Adyen, Stage::Card),
        (Kind::Checkout, Stage::Card),
        (Kind::Checkout, Stage::Token),
        (Kind::Worldpay, Stage::Card),
        (Kind::CyberSource, Stage::Card),
        (Kind::Braintree, Stage::Card),
        (Kind::Braintree, Stage::Token),
        (Kind::AuthorizeNet, Stage::Card),
        (Kind::Connector, Stage::Card),
    ] {
        matrix(kind, stage, 50).await;
    }
}

#[tokio::test]
async fn each_processor_charges_a_card_and_says_so() {
    for kind in Kind::ALL {
        let shop = Shop::new(kind).await;
        let view = shop.pay("one").await;
        assert_eq!(view.state, PaymentState::Approved, "{kind:?}: {view:?}");
        assert!(view.sandbox, "test mode moves no money");
        shop.nothing_is_lost(&[view.id]).await;
        let Some(Outcome::Approved {
            processor_reference,
            ..
        }) = view.outcome
        else {
            panic!("{kind:?}")
        };
        let state = shop.simulator.state();
        assert_eq!(state.ledger.len(), 1, "{kind:?}");
        assert_eq!(processor_reference, state.ledger[0].id, "{kind:?}");
    }
}

#[tokio::test]
async fn a_decline_tells_what_to_do_and_a_code_to_be_keyed_again_is_missing() {
    for kind in Kind::ALL {
        let shop = Shop::new(kind).await;
        for (number, expected) in [
            ("4000000000000002", Advice::OtherCard),
            ("4000000000000127", Advice::ReEnter(Field::SecurityCode)),
            ("4000000000000069", Advice::ReEnter(Field::ExpirationDate)),
            ("4000000000009995", Advice::TryAgain),
            ("4000000000009987", Advice::DoNotRetry),
        ] {
            *shop.caller.number.lock().unwrap() = number;
            let view = shop.pay(number).await;
            assert_eq!(view.state, PaymentState::Declined, "{kind:?}: {view:?}");
            let Some(Outcome::Declined { advice, .. }) = view.outcome else {
                panic!("{kind:?}")
            };
            assert_eq!(advice, expected, "{kind:?} {number}");
            shop.agree(&view.id).await;
            if advice == Advice::ReEnter(Field::SecurityCode) {
                let again = shop.payments.complete(&shop.by, &view.id).await;
                let Err(PaymentError::FieldsMissing(missing)) = again else {
                    panic!("charged again without the code: {again:?}")
                };
                assert_eq!(missing, [Field::SecurityCode]);
            }
        }
        assert_eq!(shop.simulator.state().violations, Vec::<String>::new());
    }
}

#[tokio::test]
async fn in_test_mode_a_real_card_is_sent_to_nobody() {
    for kind in Kind::ALL {
        let shop = Shop::new(kind).await;
        *shop.caller.number.lock().unwrap() = "4716835173984242";
        let view = shop.pay("real").await;
        let refused = Outcome::Declined {
            advice: Advice::OtherCard,
            code: "not_a_test_card".to_owned(),
        };
        assert_eq!(view.outcome, Some(refused), "{kind:?}");
        assert_eq!(shop.simulator.state().requests, 0, "{kind:?}");
    }
}

#[tokio::test]
async fn an_old_attempt_is_searched_for_and_not_charged_any_more() {
    let behind = SignedDuration::from_mins(20);
    let shop = |simulator| Shop::over(simulator, Arc::new(TempDir::new().unwrap()), behind);

    let found = shop(Simulator::start(Kind::Stripe).await);
    found.simulator.will(Stage::Token, Fault::ResetAfter);
    let view = found.pay("found").await;
    found
        .until(&view.id, |view| view.state == PaymentState::Approved)
        .await;
    found.nothing_is_lost(&[view.id]).await;

    // An index that lags behind is no answer, and nothing is charged once nobody expects it.
    let missed = shop(Simulator::start(Kind::Stripe).await);
    missed.simulator.state().stale = true;
    missed.simulator.will(Stage::Token, Fault::ResetBefore);
    let view = missed.pay("missed").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(missed.view(&view.id).await.state, PaymentState::Unknown);
    assert!(missed.simulator.state().ledger.is_empty());
    missed.nothing_is_lost(&[view.id]).await;
}

/// A charge of which the processor has nothing is known not to be there once its search has had the time to
/// show it, and no earlier.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_nothing_was_charged_is_believed_of_a_search_that_had_time_to_find_it() {
    for (kind, too_early, late_enough) in [(Kind::Worldpay, 15, 25), (Kind::CyberSource, 60, 80)] {
        for (minutes, wanted) in [
            (too_early, PaymentState::Unknown),
            (late_enough, PaymentState::Failed),
        ] {
            let behind = SignedDuration::from_mins(minutes);
            let data = Arc::new(TempDir::new().unwrap());
            let shop = Shop::over(Simulator::start(kind).await, data, behind);
            shop.simulator.will(Stage::Card, Fault::ResetBefore);
            let view = shop.pay("lost").await;
            assert_eq!(view.state, PaymentState::Unknown, "{kind:?}: {view:?}");
            if wanted == PaymentState::Unknown {
                // A few look-ups later.
                tokio::time::sleep(Duration::from_secs(4)).await;
            }
            shop.until(&view.id, |view| view.state == wanted).await;
            shop.nothing_is_lost(&[view.id]).await;
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_as_such_and_is_no_decline() {
    for (ahead, said) in [(10, "behind"), (-10, "ahead of")] {
        let shop = Shop::new(Kind::CyberSource).await;
        shop.simulator.state().clock = SignedDuration::from_mins(ahead);
        let view = shop.pay("clock").await;
        assert_eq!(view.state, PaymentState::Failed, "{view:?}");
        let Some(Outcome::Failed { reason, .. }) = &view.outcome else {
            panic!("{view:?}")
        };
        assert!(
            reason.contains("did nothing: the clock") && reason.contains(said),
            "{reason}"
        );
        assert!(shop.simulator.state().ledger.is_empty());
        shop.nothing_is_lost(&[view.id]).await;
    }
}

#[tokio::test]
async fn that_a_search_of_braintree_is_empty_counts_after_more_than_an_hour_and_nothing_is_asked_for_again()
 {
    for (minutes, wanted) in [(60, PaymentState::Unknown), (71, PaymentState::Failed)] {
        let simulator = Simulator::start(Kind::Braintree).await;
        let data = Arc::new(TempDir::new().unwrap());
        let shop = Shop::over(simulator, data, SignedDuration::from_mins(minutes));
        shop.simulator.will(Stage::Token, Fault::ResetBefore);
        let view = shop.pay("lost").await;
        assert_eq!(view.state, PaymentState::Unknown);
        let asked = |name: &str| {
            let state = shop.simulator.state();
            let asked = state.asked.iter();
            asked.filter(|asked| asked.body.contains(name)).count()
        };
        let looked_up = async {
            while asked("query Find(") < 2
                && shop.view(&view.id).await.state == PaymentState::Unknown
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looked_up).await.unwrap();
        assert_eq!(shop.view(&view.id).await.state, wanted, "{minutes} minutes");
        assert_eq!(asked("mutation Charge("), 0, "asked for again");
        shop.nothing_is_lost(&[view.id]).await;
    }
}

#[tokio::test]
async fn that_authorize_net_does_not_list_a_charge_never_counts_and_what_it_lists_does() {
    let simulator = Simulator::start(Kind::AuthorizeNet).await;
    let data = Arc::new(TempDir::new().unwrap());
    let shop = Shop::over(simulator, data, SignedDuration::from_hours(20));
    shop.simulator.state().stale = true;
    shop.simulator.will(Stage::Card, Fault::ResetAfter);
    let view = shop.pay("late").await;
    // The charge itself, and the list twice.
    let looked_up = async {
        while shop.simulator.state().requests < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked_up).await.unwrap();
    assert_eq!(shop.view(&view.id).await.state, PaymentState::Unknown);
    shop.simulator.state().stale = false;
    shop.until(&view.id, |view| view.state == PaymentState::Approved)
        .await;
    shop.nothing_is_lost(&[view.id]).await;
}

#[test]
fn after_a_restart_a_charge_without_an_answer_is_asked_for_under_its_key() {
    let outside = tokio::runtime::Runtime::new().unwrap();
    let simulator = outside.block_on(Simulator::start(Kind::Stripe));
    let data = Arc::new(TempDir::new().unwrap());
    let first = tokio::runtime::Runtime::new().unwrap();
    let id = first.block_on(async {
        let shop = Shop::over(simulator.clone(), data.clone(), SignedDuration::ZERO);
        let id = shop.keyed("crash").await;
        shop.simulator.will(Stage::Token, Fault::Hang);
        let _gone = tokio::time::timeout(
            Duration::from_secs(1),
            shop.payments.complete(&shop.by, &id),
        )
        .await;
        let attempts = shop.journal.attempts(id.clone()).await.unwrap();
        assert_eq!(attempts[0].phase, Phase::Sending);
        let token = shop.journal.token(attempts[0].id.clone()).await.unwrap();
        assert!(token.is_some(), "charged without a durable token");
        // Nothing more is written; the other process takes over.
        shop.audit.close().await.unwrap();
        id
    });
    first.shutdown_background();

    let second = tokio::runtime::Runtime::new().unwrap();
    second.block_on(async {
        let shop = Shop::over(simulator, data, SignedDuration::ZERO);
        shop.tell().await;
        assert_eq!(shop.payments.recover().await.unwrap().looked_up, 1);
        shop.until(&id, |view| view.state == PaymentState::Approved)
            .await;
        let attempts = shop.journal.attempts(id.clone()).await.unwrap();
        let token = shop.journal.token(attempts[0].id.clone()).await.unwrap();
        assert!(token.is_none(), "kept beyond the end of the attempt");
        let told = shop.told(&id).await;
        let of = |n: usize| (&told[n]["type"], &told[n]["data"]["signalling_id"]);
        assert_eq!(told.len(), 2, "{told:#?}");
        assert_eq!(of(0), (&json!("payment.unknown"), &json!("crash")));
        assert_eq!(of(1), (&json!("payment.approved"), &json!("crash")));
        shop.nothing_is_lost(&[id]).await;
    });
}
