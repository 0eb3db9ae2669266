use std::collections::BTreeMap;

use ulid::Ulid;

use super::*;
use crate::{
    journal::OpenOutcomes,
    journal::tests::{at, attempt, node, open, payment, tenant, unknown},
    proto::payment::{Advice, Purpose},
};

const ABLE: Abilities = Abilities {
    authorise: true,
    settle_part: true,
    void_charge: true,
    refund: true,
    refund_part: true,
};

fn order(number: u128, kind: OperationKind, amount_minor: Option<u64>) -> NewOperation {
    NewOperation {
        id: OperationId::new(tenant(), node(), Ulid::from_parts(2, number)),
        payment: payment(1).id,
        kind,
        amount_minor,
        limits: None,
        key: None,
        reason: Some("broken".to_owned()),
        actor: "key_acme_n1_1".to_owned(),
        at: at(50),
    }
}

fn approved(reference: &str) -> Outcome {
    Outcome::Approved {
        processor_reference: reference.to_owned(),
        code: "approved".to_owned(),
    }
}

/// A journal with a charge of 1250 that ended so.
async fn charged(purpose: Purpose, outcome: Outcome) -> (Journal, tempfile::TempDir) {
    let (folder, _, journal) = open();
    let row = PaymentRow {
        purpose,
        state: outcome.as_str().to_owned(),
        ..payment(1)
    };
    let attempt = attempt(&row, 1);
    let id = attempt.id.clone();
    journal.put_payment(row).await.unwrap();
    journal.intent(attempt).await.unwrap();
    journal.sending(id.clone(), at(20)).await.unwrap();
    journal.result(id, outcome, at(30)).await.unwrap();
    (journal, folder)
}

async fn begin(journal: &Journal, new: NewOperation) -> Result<OperationBegun, NotBegun> {
    let begun = journal.begin_operation(new, "sandbox".to_owned(), ABLE);
    begun.await.unwrap()
}

async fn ended(journal: &Journal, new: NewOperation, outcome: Outcome) {
    let id = new.id.clone();
    begin(journal, new).await.unwrap();
    journal.operation_sending(id.clone(), at(60)).await.unwrap();
    journal.operation_result(id, outcome, at(70)).await.unwrap();
}

#[tokio::test]
async fn what_is_begun_is_read_back_with_its_charge() {
    let (journal, _folder) = charged(Purpose::Authorise, approved("ch_1")).await;
    ended(
        &journal,
        order(1, OperationKind::Settle, Some(1000)),
        approved("st_1"),
    )
    .await;
    let begun = begin(&journal, order(2, OperationKind::Refund, None))
        .await
        .unwrap();
    assert_eq!(begun.operation.amount_minor, 1000);
    assert_eq!(begun.operation.phase, Phase::Intent);
    assert_eq!(begun.processor_reference, "ch_1");
    assert_eq!(begun.settlement_reference.as_deref(), Some("st_1"));
    assert_eq!(begun.payment.purpose, Purpose::Authorise);
    let read = journal.operation(begun.operation.id.clone()).await.unwrap();
    assert_eq!(read, Some(begun.clone()));
    let all = journal.operations(vec![payment(1).id]).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[1], begun.operation);
    let open = journal.unresolved_operations().await.unwrap();
    assert_eq!(open, [begun.operation]);
}

#[tokio::test]
async fn only_what_was_approved_here_and_is_named_can_be_operated_on() {
    let declined = Outcome::Declined {
        advice: Advice::OtherCard,
        code: "no".to_owned(),
    };
    for outcome in [declined, unknown()] {
        let state = outcome.as_str().to_owned();
        let (journal, _folder) = charged(Purpose::Charge, outcome).await;
        let refused = begin(&journal, order(1, OperationKind::Refund, None)).await;
        assert_eq!(refused.unwrap_err(), NotBegun::NothingStands { state });
    }
    for reference in ["withheld", "", "../x", "a b", "a/b"] {
        let (journal, _folder) = charged(Purpose::Charge, approved(reference)).await;
        let refused = begin(&journal, order(1, OperationKind::Refund, None)).await;
        assert_eq!(refused.unwrap_err(), NotBegun::NoReference, "{reference:?}");
    }
    let (journal, _folder) = charged(Purpose::Charge, approved("ch_1")).await;
    let elsewhere = journal.begin_operation(
        order(1, OperationKind::Refund, None),
        "stripe".to_owned(),
        ABLE,
    );
    assert!(matches!(
        elsewhere.await.unwrap(),
        Err(NotBegun::OtherProcessor { .. })
    ));
    let nobody = NewOperation {
        payment: payment(2).id,
        ..order(1, OperationKind::Refund, None)
    };
    let refused = begin(&journal, nobody).await.unwrap_err();
    assert_eq!(refused, NotBegun::NoPayment(payment(2).id));
    assert!(journal.unresolved_operations().await.unwrap().is_empty());
}

#[tokio::test]
async fn two_at_once_cannot_give_back_more_than_was_taken() {
    let (journal, _folder) = charged(Purpose::Charge, approved("ch_1")).await;
    let first = begin(&journal, order(1, OperationKind::Refund, Some(1000)));
    let second = begin(&journal, order(2, OperationKind::Refund, Some(1000)));
    let both = tokio::join!(first, second);
    let begun = [&both.0, &both.1].into_iter().filter(|one| one.is_ok());
    assert_eq!(begun.count(), 1);
    let refused = both.0.err().or(both.1.err()).unwrap();
    assert_eq!(
        refused,
        NotBegun::NotAllowed(NotAllowed::TooMuch { most_minor: 250 })
    );
}

#[tokio::test]
async fn a_request_that_came_before_does_not_begin_again_and_nobody_is_beyond_the_limit() {
    let (journal, _folder) = charged(Purpose::Charge, approved("ch_1")).await;
    let keyed = |number, amount| NewOperation {
        key: Some("sha256:abc".to_owned()),
        ..order(number, OperationKind::Refund, Some(amount))
    };
    begin(&journal, keyed(1, 10)).await.unwrap();
    assert_eq!(
        begin(&journal, keyed(2, 10)).await.unwrap_err(),
        NotBegun::Repeated
    );
    let limited = |number, limits: &[(&str, u64)]| NewOperation {
        limits: Some(
            limits
                .iter()
                .map(|(currency, most)| ((*currency).to_owned(), *most))
                .collect::<BTreeMap<_, _>>(),
        ),
        ..order(number, OperationKind::Refund, Some(500))
    };
    for (number, limits, most_minor) in [(3, &[("EUR", 499)][..], 499), (4, &[("USD", 900)], 0)] {
        let over = NotBegun::OverLimit {
            amount_minor: 500,
            currency: "EUR".to_owned(),
            most_minor,
        };
        assert_eq!(
            begin(&journal, limited(number, limits)).await.unwrap_err(),
            over
        );
    }
    begin(&journal, limited(5, &[("EUR", 500)])).await.unwrap();
}

#[tokio::test]
async fn an_operation_only_moves_forward_and_only_what_is_open_is_replaced() {
    let (journal, _folder) = charged(Purpose::Charge, approved("ch_1")).await;
    let new = order(1, OperationKind::Refund, None);
    let id = new.id.clone();
    let refused = |error: JournalError| matches!(error, JournalError::OperationOrder { .. });
    assert!(refused(
        journal
            .operation_sending(id.clone(), at(60))
            .await
            .unwrap_err()
    ));
    begin(&journal, new).await.unwrap();
    // What was never sent cannot have been done.
    let early = journal.operation_result(id.clone(), approved("re_1"), at(60));
    assert!(refused(early.await.unwrap_err()));
    journal.operation_sending(id.clone(), at(60)).await.unwrap();
    assert!(refused(
        journal
            .operation_sending(id.clone(), at(61))
            .await
            .unwrap_err()
    ));
    for outcome in [unknown(), unknown(), approved("re_1"), approved("re_1")] {
        journal
            .operation_result(id.clone(), outcome, at(70))
            .await
            .unwrap();
    }
    let other = journal.operation_result(id.clone(), unknown(), at(80));
    assert!(refused(other.await.unwrap_err()));
    let row = journal.operation(id).await.unwrap().unwrap().operation;
    assert_eq!(row.phase, Phase::Result(approved("re_1")));
}

#[tokio::test]
async fn a_settlement_or_void_that_is_open_holds_everything_up() {
    let (journal, _folder) = charged(Purpose::Authorise, approved("ch_1")).await;
    begin(&journal, order(1, OperationKind::Settle, None))
        .await
        .unwrap();
    for kind in OperationKind::ALL {
        let refused = begin(&journal, order(2, kind, None)).await.unwrap_err();
        let undecided = NotAllowed::Undecided(OperationKind::Settle);
        assert_eq!(refused, NotBegun::NotAllowed(undecided));
    }
}

#[tokio::test]
async fn what_waits_to_be_found_out_is_counted_until_it_is() {
    let (journal, _folder) = charged(Purpose::Charge, unknown()).await;
    let open = journal.open_outcomes().await.unwrap();
    assert_eq!((open.charges, open.operations), (1, 0));

    let (journal, _folder) = charged(Purpose::Charge, approved("ch_1")).await;
    for (number, outcome) in [(1, unknown()), (2, unknown()), (3, approved("re_3"))] {
        let new = order(number, OperationKind::Refund, Some(100));
        ended(&journal, new, outcome).await;
    }
    let on_its_way = order(4, OperationKind::Refund, Some(100));
    let (id, asked) = (on_its_way.id.clone(), on_its_way.at);
    begin(&journal, on_its_way).await.unwrap();
    journal.operation_sending(id, at(60)).await.unwrap();
    let open = journal.open_outcomes().await.unwrap();
    let expected = OpenOutcomes {
        charges: 0,
        operations: 2,
        oldest_operation: Some(asked),
    };
    assert_eq!(open, expected);
    for number in [1, 2] {
        let id = order(number, OperationKind::Refund, None).id;
        let done = journal.operation_result(id, approved("re"), at(90)).await;
        done.unwrap();
    }
    assert_eq!(
        journal.open_outcomes().await.unwrap(),
        OpenOutcomes::default()
    );
}
