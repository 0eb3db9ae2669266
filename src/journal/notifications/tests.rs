use super::*;
use crate::{
    journal::tests::{at, attempt, open, payment, tenant},
    proto::payment::{About, Outcome},
};

fn told(reference: &str) -> Notification {
    Notification {
        reference: reference.to_owned(),
        about: About::Charge,
        processor_reference: "psp".to_owned(),
        amount: Some((1250, "EUR".to_owned())),
        outcome: Outcome::Approved {
            processor_reference: "psp".to_owned(),
            code: "ok".to_owned(),
        },
        event: "AUTHORISATION".to_owned(),
    }
}

#[tokio::test]
async fn an_attempt_is_found_by_the_end_of_its_id_and_only_by_its_own_tenant() {
    let (_folder, _, journal) = open();
    for number in [1, 2] {
        let row = payment(number);
        journal.put_payment(row.clone()).await.unwrap();
        journal.intent(attempt(&row, number)).await.unwrap();
    }
    let wanted = attempt(&payment(2), 2);
    let id = wanted.id.to_string();
    let serial = id.rsplit('_').next().unwrap().to_owned();
    let find = |tenant, serial: &str| journal.attempt_by_serial(tenant, serial.to_owned());
    let found = find(tenant(), &serial).await.unwrap();
    assert_eq!(found.map(|row| row.id), Some(wanted.id));
    assert_eq!(find("other".parse().unwrap(), &serial).await.unwrap(), None);
    for other in [&serial[1..], "", "%", &id] {
        assert_eq!(find(tenant(), other).await.unwrap(), None, "{other}");
    }
    assert!(
        journal
            .operation_by_serial(tenant(), serial)
            .await
            .unwrap()
            .is_none()
    );
}

async fn keep(journal: &Journal, what: &str) -> Option<i64> {
    let kept = journal.keep_notification(tenant(), told(what), at(5));
    kept.await.unwrap()
}

#[tokio::test]
async fn what_was_told_too_early_is_kept_once_until_it_was_applied_also_across_a_restart() {
    let (_folder, path, journal) = open();
    let first = keep(&journal, "att_1").await.unwrap();
    assert_eq!(keep(&journal, "att_1").await, None, "it came twice");
    let second = keep(&journal, "att_2").await.unwrap();
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    let kept = journal.kept_notifications(tenant()).await.unwrap();
    let expected = [(first, "att_1"), (second, "att_2")].map(|(number, what)| KeptNotification {
        number,
        notification: told(what),
    });
    assert_eq!(kept, expected);
    journal.notification_applied(first).await.unwrap();
    let left = journal.kept_notifications(tenant()).await.unwrap();
    assert_eq!(left, expected[1..]);
    let others = journal.kept_notifications("other".parse().unwrap()).await;
    assert_eq!(others.unwrap(), []);
}
