//! Settling, voiding and refunding by real adapters at processors that do wrong as they are told: journal, log,
//! what is shown and told and the processor's books agree, nothing is done twice and nothing is lost.
//!
//! `cargo test --test operations -- --ignored` repeats each fault 25 times.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod processors;
mod shop;

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use processors::{Fault, Kind, Processor as Simulator, Stage};
use shop::{AT_A_TIME, PATIENCE, Shop, join_all, log};
use tempfile::TempDir;
use tonewall::{
    gateway::payments::{
        NewPayment, OperationOrder, OperationState, OperationView, PaymentError, PaymentState,
        PaymentView,
    },
    journal::NotBegun,
    processor::Outcome,
    proto::{
        id::PaymentId,
        payment::{NotAllowed, OperationKind, Purpose, Standing},
    },
};

use OperationKind::{Refund, Settle, Void};

const ABLE: [Kind; 6] = [
    Kind::Stripe,
    Kind::Adyen,
    Kind::Checkout,
    Kind::CyberSource,
    Kind::Braintree,
    Kind::AuthorizeNet,
];

fn order(kind: OperationKind, amount_minor: Option<u64>) -> OperationOrder {
    OperationOrder {
        kind,
        amount_minor,
        reason: Some("the box was broken".to_owned()),
        limits: None,
        key: None,
    }
}

impl Shop {
    async fn approved(&self, call: &str, purpose: Purpose) -> PaymentId {
        let id = self.keyed_for(call, purpose).await;
        let view = self.payments.complete(&self.by, &id).await.unwrap();
        assert_eq!(view.state, PaymentState::Approved, "{view:?}");
        id
    }

    async fn operate(
        &self,
        id: &PaymentId,
        kind: OperationKind,
        amount_minor: Option<u64>,
    ) -> Result<PaymentView, PaymentError> {
        let order = order(kind, amount_minor);
        self.payments.operate(&self.by, id, order).await
    }

    /// The last operation, once it is decided as far as this processor decides it.
    async fn decided(&self, id: &PaymentId) -> OperationView {
        let is_decided = |view: &PaymentView| {
            let last = view.operations.last();
            last.is_some_and(|last| !last.state.is_open() || self.waits_for_a_notification(last))
        };
        let view = tokio::time::timeout(PATIENCE, self.until(id, is_decided)).await;
        view.unwrap().operations.pop().unwrap()
    }

    /// The last operation, once it is decided or a second look-up shows that the first did not.
    async fn unknown_still(&self, id: &PaymentId) -> OperationView {
        let before = self.simulator.state().requests;
        let looked_up = async {
            while self.simulator.state().requests < before + 2 {
                let last = self.view(id).await.operations.pop().unwrap();
                if !last.state.is_open() {
                    return last;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.view(id).await.operations.pop().unwrap()
        };
        tokio::time::timeout(PATIENCE, looked_up).await.unwrap()
    }

    /// Adyen tells what became of it by notification.
    fn waits_for_a_notification(&self, operation: &OperationView) -> bool {
        self.simulator.kind == Kind::Adyen && operation.state == OperationState::Pending
    }

    /// How often the processor has done it.
    fn times(&self, operation: &OperationView, id: &PaymentId, charge: &str) -> usize {
        assert_eq!(operation.id.tenant(), id.tenant());
        let serial = operation.id.to_string();
        let reference = match (self.simulator.kind, operation.kind) {
            (Kind::Stripe | Kind::Braintree, Refund) => serial,
            (Kind::AuthorizeNet, Refund) => serial[serial.len() - 20..].to_owned(),
            (Kind::Stripe | Kind::Braintree | Kind::AuthorizeNet, kind) => {
                format!("{} of {charge}", kind.as_str())
            }
            _ => format!("op_{}", serial.rsplit('_').next().unwrap()),
        };
        self.simulator.state().operations(&reference)
    }

    /// The log says first that it is sent, and last how it ended; that comes right after the journal has it.
    async fn logged(&self, operation: &OperationView) {
        let serial = operation.id.to_string();
        let outcome = operation.outcome.as_ref().unwrap().as_str();
        let result = format!("\"outcome\":\"{outcome}\"");
        let wait = async {
            loop {
                let log = log(self.data.path());
                let mut lines = log.lines().filter(|line| line.contains(&serial));
                let first = lines.next().expect("a record of the sending");
                assert!(first.contains("operation-sending"), "{first}");
                if lines.next_back().is_some_and(|last| last.contains(&result)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let logged = tokio::time::timeout(PATIENCE, wait).await;
        assert!(logged.is_ok(), "{serial}: the log does not say {result}");
    }

    /// What is shown, logged and told of a payment's operations and what the processor has done agrees.
    async fn operations_agree(&self, id: &PaymentId) {
        let view = self.view(id).await;
        let Some(Outcome::Approved {
            processor_reference,
            ..
        }) = &view.outcome
        else {
            panic!("{view:?}")
        };
        let told = self.told(id).await;
        for operation in &view.operations {
            let times = self.times(operation, id, processor_reference);
            let fits = match operation.state {
                OperationState::Done => times == 1,
                OperationState::Refused | OperationState::Failed => times == 0,
                OperationState::Pending | OperationState::Unknown => times <= 1,
                OperationState::Sending => false,
            };
            assert!(fits, "done {times} times: {operation:?}");
            let serial = operation.id.to_string();
            self.logged(operation).await;
            let messages: Vec<_> = told
                .iter()
                .filter(|message| message["data"]["operation"]["id"] == serial)
                .collect();
            let expected = match (operation.state, operation.kind) {
                (OperationState::Done, Settle) => "payment.settled",
                (OperationState::Done, Void) => "payment.voided",
                (OperationState::Done, Refund) => "payment.refunded",
                (OperationState::Refused | OperationState::Failed, _) => "payment.operation-failed",
                _ => "payment.operation-unknown",
            };
            assert_eq!(messages.last().unwrap()["type"], expected, "{messages:?}");
        }
        // The processor has done nothing that is not shown.
        let state = self.simulator.state();
        let done = state
            .done
            .iter()
            .filter(|one| one.charge == *processor_reference);
        let shown = view.operations.iter().filter(|one| {
            matches!(
                one.state,
                OperationState::Done | OperationState::Pending | OperationState::Unknown
            )
        });
        assert!(done.count() <= shown.count());
        assert_eq!(state.violations, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_processor_settles_voids_and_refunds_in_part_and_in_whole() {
    for kind in ABLE {
        let shop = Shop::new(kind).await;
        let adyen = kind == Kind::Adyen;
        let done = if adyen {
            OperationState::Pending
        } else {
            OperationState::Done
        };
        let set_aside = shop.approved("aside", Purpose::Authorise).await;
        let view = shop.view(&set_aside).await;
        assert_eq!(
            view.balance.unwrap().standing,
            Standing::Authorised,
            "{kind:?}"
        );
        let refused = shop.operate(&set_aside, Refund, None).await.unwrap_err();
        assert!(matches!(
            refused,
            PaymentError::NotAllowed(NotBegun::NotAllowed(NotAllowed::VoidInstead))
        ));
        shop.operate(&set_aside, Settle, Some(1000)).await.unwrap();
        assert_eq!(shop.decided(&set_aside).await.state, done, "{kind:?}");

        let voided = shop.approved("voided", Purpose::Authorise).await;
        shop.operate(&voided, Void, None).await.unwrap();
        assert_eq!(shop.decided(&voided).await.state, done, "{kind:?}");

        let charged = shop.approved("charged", Purpose::Charge).await;
        for amount in [Some(250), None] {
            shop.operate(&charged, Refund, amount).await.unwrap();
            let refund = shop.decided(&charged).await;
            assert_eq!(refund.state, done, "{kind:?}");
            assert_eq!(refund.amount_minor, amount.unwrap_or(1000));
        }
        let refused = shop.operate(&charged, Refund, Some(1)).await.unwrap_err();
        assert!(refused.to_string().contains("at most 0"), "{refused}");
        if !adyen {
            let standing = async |id| shop.view(id).await.balance.unwrap().standing;
            assert_eq!(standing(&set_aside).await, Standing::Settled);
            assert_eq!(standing(&voided).await, Standing::Voided);
            assert_eq!(standing(&charged).await, Standing::Refunded);
            shop.operate(&set_aside, Refund, None).await.unwrap();
            assert_eq!(shop.decided(&set_aside).await.amount_minor, 1000);
        }
        for id in [set_aside, voided, charged] {
            shop.operations_agree(&id).await;
        }
    }
}

#[tokio::test]
async fn what_a_processor_cannot_do_is_refused_before_anything_is_sent() {
    let shop = Shop::new(Kind::Connector).await;
    let new = NewPayment {
        call: "aside".to_owned(),
        leg: None,
        amount_minor: 1250,
        currency: "EUR".to_owned(),
        purpose: Purpose::Authorise,
        reference: "INV-1".to_owned(),
        description: None,
        fields: Vec::new(),
    };
    let refused = shop.payments.create(&shop.by, new).await.unwrap_err();
    assert!(matches!(refused, PaymentError::Unable(_)), "{refused}");
    let id = shop.approved("charged", Purpose::Charge).await;
    let before = shop.simulator.state().requests;
    for kind in OperationKind::ALL {
        let refused = shop.operate(&id, kind, None).await.unwrap_err();
        assert!(matches!(refused, PaymentError::NotAllowed(_)), "{refused}");
    }
    assert_eq!(shop.simulator.state().requests, before);

    // A charge that Stripe has captured cannot be cancelled.
    let shop = Shop::new(Kind::Stripe).await;
    let id = shop.approved("charged", Purpose::Charge).await;
    let refused = shop.operate(&id, Void, None).await.unwrap_err();
    assert!(
        refused.to_string().contains("refund it instead"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_request_that_comes_again_under_its_key_is_not_done_again() {
    let shop = Shop::new(Kind::Stripe).await;
    let id = shop.approved("charged", Purpose::Charge).await;
    let keyed = || OperationOrder {
        key: Some("sha256:abc".to_owned()),
        ..order(Refund, Some(100))
    };
    for _ in 0..3 {
        let view = shop.payments.operate(&shop.by, &id, keyed()).await.unwrap();
        assert_eq!(view.operations.len(), 1);
        assert_eq!(view.balance.unwrap().refunded_minor, 100);
    }
    assert_eq!(shop.simulator.state().done.len(), 1);
}

#[tokio::test]
async fn before_it_settles_a_charge_is_voided_and_not_refunded() {
    for kind in [Kind::Braintree, Kind::AuthorizeNet] {
        let shop = Shop::new(kind).await;
        shop.simulator.state().batch_is_open = true;
        let id = shop.approved("open", Purpose::Charge).await;
        shop.operate(&id, Refund, Some(400)).await.unwrap();
        assert_eq!(shop.decided(&id).await.state, OperationState::Refused);
        shop.operate(&id, Void, None).await.unwrap();
        assert_eq!(shop.decided(&id).await.state, OperationState::Done);
        let standing = shop.view(&id).await.balance.unwrap().standing;
        assert_eq!(standing, Standing::Voided, "{kind:?}");
        shop.operations_agree(&id).await;
    }
}

#[tokio::test]
async fn after_it_settled_a_charge_is_refunded_which_braintree_does_for_a_void_too() {
    for (kind, fault, voided) in [
        (Kind::Braintree, None, OperationState::Done),
        (
            Kind::Braintree,
            Some(Fault::ResetAfter),
            OperationState::Done,
        ),
        (Kind::AuthorizeNet, None, OperationState::Refused),
    ] {
        let shop = Shop::new(kind).await;
        let id = shop.approved("settled", Purpose::Charge).await;
        if let Some(fault) = fault {
            shop.simulator.will(Stage::Operation, fault);
        }
        shop.operate(&id, Void, None).await.unwrap();
        assert_eq!(shop.decided(&id).await.state, voided, "{kind:?} {fault:?}");
        if voided == OperationState::Refused {
            shop.operate(&id, Refund, None).await.unwrap();
            assert_eq!(shop.decided(&id).await.state, OperationState::Done);
        }
        shop.operations_agree(&id).await;
        let given_back: u64 = {
            let state = shop.simulator.state();
            let refunds = state.done.iter().filter(|one| one.kind == "refund");
            refunds.map(|one| one.amount).sum()
        };
        assert_eq!(given_back, 1250, "{kind:?} {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_nothing_is_shown_counts_late_and_an_operation_is_never_asked_for_again() {
    let (unknown, failed) = (OperationState::Unknown, OperationState::Failed);
    let cases = [
        (Kind::Braintree, Settle, 9, unknown),
        (Kind::Braintree, Settle, 11, failed),
        (Kind::Braintree, Void, 9, unknown),
        (Kind::Braintree, Void, 11, failed),
        (Kind::Braintree, Refund, 69, unknown),
        (Kind::Braintree, Refund, 71, failed),
        (Kind::AuthorizeNet, Settle, 4, unknown),
        (Kind::AuthorizeNet, Settle, 6, failed),
        (Kind::AuthorizeNet, Void, 4, unknown),
        (Kind::AuthorizeNet, Void, 6, failed),
        (Kind::AuthorizeNet, Refund, 20 * 60, unknown),
    ];
    join_all(
        cases
            .into_iter()
            .map(async |(kind, operation, minutes, wanted)| {
                let simulator = Simulator::start(kind).await;
                let data = Arc::new(TempDir::new().unwrap());
                let shop = Shop::over(simulator, data, SignedDuration::from_mins(minutes));
                let purpose = match operation {
                    Settle | Void => Purpose::Authorise,
                    Refund => Purpose::Charge,
                };
                let id = shop.approved("lost", purpose).await;
                shop.simulator.will(Stage::Operation, Fault::ResetBefore);
                let amount = (operation == Refund).then_some(400);
                shop.operate(&id, operation, amount).await.unwrap();
                let found = shop.unknown_still(&id).await;
                assert_eq!(found.state, wanted, "{kind:?} {operation:?} {minutes}");
                assert_eq!(shop.simulator.state().done, [], "asked for again");
                shop.operations_agree(&id).await;
            }),
    )
    .await;
}

#[tokio::test]
async fn that_authorize_net_does_not_list_a_refund_never_counts_and_what_it_lists_does() {
    let simulator = Simulator::start(Kind::AuthorizeNet).await;
    let data = Arc::new(TempDir::new().unwrap());
    let shop = Shop::over(simulator, data, SignedDuration::from_hours(20));
    let id = shop.approved("late", Purpose::Charge).await;
    shop.simulator.state().stale = true;
    shop.simulator.will(Stage::Operation, Fault::ResetAfter);
    shop.operate(&id, Refund, Some(400)).await.unwrap();
    let refund = shop.unknown_still(&id).await;
    assert_eq!(refund.state, OperationState::Unknown);
    shop.simulator.state().stale = false;
    assert_eq!(shop.decided(&id).await.state, OperationState::Done);
    shop.operations_agree(&id).await;
}

/// What becomes of an operation that meets this fault, once all is resolved that can be.
fn expected(kind: Kind, fault: Fault) -> OperationState {
    let not_done = fault == Fault::Busy429;
    match kind {
        // In the processor's own words nothing was done.
        _ if not_done => OperationState::Failed,
        // It is asked for again under its key, and taken; what became of it comes by notification.
        Kind::Adyen => OperationState::Pending,
        // It is asked for once, and that the books do not have it counts later or never.
        Kind::CyberSource | Kind::Braintree | Kind::AuthorizeNet
            if matches!(fault, Fault::ResetBefore | Fault::Busy503) =>
        {
            OperationState::Unknown
        }
        _ => OperationState::Done,
    }
}

async fn meet(kind: Kind, operation: OperationKind, fault: Fault, times: usize) {
    let shop = Shop::new(kind).await;
    let purpose = match operation {
        Settle | Void => Purpose::Authorise,
        Refund => Purpose::Charge,
    };
    let calls: Vec<String> = (0..times).map(|n| format!("c{n}")).collect();
    let mut ids = Vec::new();
    for calls in calls.chunks(AT_A_TIME) {
        ids.extend(join_all(calls.iter().map(|call| shop.approved(call, purpose))).await);
    }
    for id in ids {
        shop.simulator.will(Stage::Operation, fault);
        // A part, so that a second one would not be refused for being too much.
        let amount = (operation == Refund).then_some(400);
        shop.operate(&id, operation, amount).await.unwrap();
        let wanted = expected(kind, fault);
        let decided = match wanted {
            OperationState::Unknown => shop.unknown_still(&id).await,
            _ => shop.decided(&id).await,
        };
        assert_eq!(
            decided.state, wanted,
            "{kind:?} {operation:?} {fault:?}: {decided:?}"
        );
        shop.operations_agree(&id).await;
    }
}

async fn matrix(kind: Kind, times: usize) {
    let faults = Fault::ALL
        .into_iter()
        .filter(|fault| !fault.is_at_the_door());
    let tasks: Vec<_> = faults
        .flat_map(|fault| OperationKind::ALL.map(|operation| (operation, fault)))
        .map(|(operation, fault)| {
            let met = tokio::spawn(meet(kind, operation, fault, times));
            (operation, fault, met)
        })
        .collect();
    let mut broken = Vec::new();
    for (operation, fault, task) in tasks {
        if let Err(error) = task.await {
            broken.push(format!("{operation:?} {fault:?}: {error}"));
        }
    }
    assert!(broken.is_empty(), "{kind:?}: {broken:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_does_an_operation_twice_or_loses_it_by_stripe() {
    matrix(Kind::Stripe, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_does_an_operation_twice_or_loses_it_by_adyen() {
    matrix(Kind::Adyen, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_does_an_operation_twice_or_loses_it_by_braintree() {
    matrix(Kind::Braintree, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_does_an_operation_twice_or_loses_it_by_authorize_net() {
    matrix(Kind::AuthorizeNet, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_does_an_operation_twice_or_loses_it_by_checkout_com() {
    matrix(Kind::Checkout, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_does_an_operation_twice_or_loses_it_by_cybersource() {
    matrix(Kind::CyberSource, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn no_fault_does_an_operation_twice_or_loses_it_in_many_runs() {
    for kind in ABLE {
        matrix(kind, 25).await;
    }
}

#[test]
fn after_a_restart_a_refund_without_an_answer_is_done_once() {
    for fault in [Fault::Hang, Fault::ResetBefore] {
        let outside = tokio::runtime::Runtime::new().unwrap();
        let simulator = outside.block_on(Simulator::start(Kind::Stripe));
        let data = Arc::new(TempDir::new().unwrap());
        let first = tokio::runtime::Runtime::new().unwrap();
        let id = first.block_on(async {
            let shop = Shop::over(simulator.clone(), data.clone(), SignedDuration::ZERO);
            let id = shop.approved("crash", Purpose::Charge).await;
            shop.simulator.will(Stage::Operation, fault);
            // It is gone before the answer, or before the first question.
            let refund = shop.operate(&id, Refund, None);
            let _gone = tokio::time::timeout(Duration::from_millis(700), refund).await;
            shop.audit.close().await.unwrap();
            id
        });
        first.shutdown_background();

        let second = tokio::runtime::Runtime::new().unwrap();
        second.block_on(async {
            let shop = Shop::over(simulator.clone(), data, SignedDuration::ZERO);
            shop.tell().await;
            assert_eq!(shop.payments.recover().await.unwrap().operations, 1);
            let refund = shop.decided(&id).await;
            assert_eq!(refund.state, OperationState::Done, "{fault:?}");
            assert_eq!(shop.simulator.state().done.len(), 1, "{fault:?}");
            shop.operations_agree(&id).await;
        });
    }
}
