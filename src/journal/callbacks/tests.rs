use std::time::Duration;

use super::*;
use crate::journal::tests::{approved, at, attempt, declined, open, payment, tenant, unknown};

fn endpoint(name: &str) -> EndpointName {
    name.parse().unwrap()
}

fn route(name: &str, events: &[CallbackEvent]) -> Route {
    Route {
        tenant: tenant(),
        endpoint: endpoint(name),
        events: events.iter().copied().collect(),
    }
}

/// A payment's row in a state, put.
async fn put(journal: &Journal, number: u128, state: PaymentState, second: i64) {
    let row = PaymentRow {
        state: state.as_str().to_owned(),
        updated: at(second),
        ..payment(number)
    };
    journal.put_payment(row).await.unwrap();
}

/// The same, with an attempt that ended so.
async fn attempted(journal: &Journal, number: u128, outcome: Outcome, second: i64) {
    put(journal, number, PaymentState::Submitting, second).await;
    let row = attempt(&payment(number), u128::try_from(second).unwrap());
    let id = row.id.clone();
    journal.intent(row).await.unwrap();
    journal.sending(id.clone(), at(second)).await.unwrap();
    journal.result(id, outcome, at(second)).await.unwrap();
}

async fn due(journal: &Journal, name: &str, second: i64) -> Vec<CallbackRow> {
    let due = journal.callbacks_due(endpoint(name), at(second), 100).await;
    due.unwrap().0
}

async fn tried(journal: &Journal, row: &CallbackRow, tried: Tried) {
    let id = row.id.clone();
    journal.callback_tried(id, tried, at(500)).await.unwrap();
}

fn again(second: i64) -> Tried {
    Tried::Again {
        due: at(second),
        problem: "HTTP 500".to_owned(),
    }
}

fn dead() -> Tried {
    Tried::Dead {
        problem: "HTTP 410".to_owned(),
    }
}

#[tokio::test]
async fn what_is_told_is_written_with_the_state_and_outlives_the_process() {
    let (_dir, path, journal) = open();
    let routes = vec![
        route("crm", &CallbackEvent::ALL),
        route("books", &[CallbackEvent::Approved]),
    ];
    journal.route_callbacks(routes).await.unwrap();
    let mut written = journal.callbacks_written();
    put(&journal, 1, PaymentState::Open, 1).await;
    assert!(!written.has_changed().unwrap(), "nothing to tell yet");
    attempted(&journal, 1, unknown(), 10).await;
    put(&journal, 1, PaymentState::Unknown, 11).await;
    assert!(written.has_changed().unwrap());
    written.mark_unchanged();
    put(&journal, 1, PaymentState::Unknown, 12).await;
    assert!(!written.has_changed().unwrap(), "told once");
    attempted(&journal, 2, approved(), 13).await;
    put(&journal, 2, PaymentState::Approved, 14).await;
    drop(journal);

    let journal = Journal::open(&path).unwrap();
    let told = |rows: Vec<CallbackRow>| -> Vec<_> {
        rows.into_iter()
            .map(|row| (row.payment, row.event))
            .collect()
    };
    let of = |number, event| (payment(number).id, event);
    assert_eq!(
        told(due(&journal, "crm", 20).await),
        [
            of(1, CallbackEvent::Unknown),
            of(2, CallbackEvent::Approved)
        ]
    );
    let books = due(&journal, "books", 20).await;
    assert_eq!(books[0].created, at(14));
    let body: serde_json::Value = serde_json::from_str(&books[0].body).unwrap();
    assert_eq!(body["type"], "payment.approved");
    assert_eq!(body["data"]["outcome"]["code"], "00");
    assert_eq!(body["data"]["signalling_id"], "call-2@pbx");
    assert_eq!(body["data"]["last4"], "4242");
    assert_eq!(told(books), [of(2, CallbackEvent::Approved)]);
}

#[tokio::test]
async fn neither_the_state_nor_what_is_told_of_it_is_there_without_the_other() {
    let (_dir, path, journal) = open();
    let routes = vec![
        route("crm", &CallbackEvent::ALL),
        route("books", &CallbackEvent::ALL),
    ];
    journal.route_callbacks(routes).await.unwrap();
    put(&journal, 1, PaymentState::Open, 1).await;
    let other = Connection::open(&path).unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON callbacks WHEN NEW.endpoint = 'books'
        BEGIN SELECT RAISE(ABORT, 'no room'); END";
    other.execute_batch(full).unwrap();
    let cancelled = PaymentRow {
        state: "cancelled".to_owned(),
        ..payment(1)
    };
    let refused = journal.put_payment(cancelled.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("no room"), "{refused}");
    let kept = journal.payment(cancelled.id.clone()).await.unwrap();
    assert_eq!(kept.unwrap().state, "open");
    assert_eq!(due(&journal, "crm", 200).await, []);
    other.execute_batch("DROP TRIGGER full").unwrap();
    journal.put_payment(cancelled).await.unwrap();
    assert_eq!(due(&journal, "crm", 200).await.len(), 1);
    assert_eq!(due(&journal, "books", 200).await.len(), 1);
}

#[tokio::test]
async fn without_a_route_and_of_other_tenants_nothing_is_told() {
    let (_dir, _path, journal) = open();
    put(&journal, 1, PaymentState::Cancelled, 1).await;
    let other = Route {
        tenant: "other".parse().unwrap(),
        ..route("crm", &CallbackEvent::ALL)
    };
    journal.route_callbacks(vec![other]).await.unwrap();
    put(&journal, 2, PaymentState::Cancelled, 2).await;
    assert_eq!(due(&journal, "crm", 100).await, []);
}

#[tokio::test]
async fn a_decline_after_which_the_payment_goes_on_is_told_as_one() {
    let (_dir, _path, journal) = open();
    let routes = vec![route("crm", &CallbackEvent::ALL)];
    journal.route_callbacks(routes).await.unwrap();
    attempted(&journal, 1, declined(), 10).await;
    put(&journal, 1, PaymentState::Open, 11).await;
    let told = due(&journal, "crm", 20).await;
    let body: serde_json::Value = serde_json::from_str(&told[0].body).unwrap();
    assert_eq!(body["type"], "payment.declined");
    assert_eq!(body["data"]["state"], "declined");
    assert_eq!(body["data"]["ended"], false);
    assert_eq!(body["data"]["attempts"], 1);
}

#[tokio::test]
async fn of_one_payment_the_later_message_waits_for_the_earlier_and_others_do_not() {
    let (_dir, _path, journal) = open();
    let routes = vec![
        route("crm", &CallbackEvent::ALL),
        route("books", &CallbackEvent::ALL),
    ];
    journal.route_callbacks(routes).await.unwrap();
    attempted(&journal, 1, unknown(), 10).await;
    put(&journal, 1, PaymentState::Unknown, 11).await;
    put(&journal, 1, PaymentState::Failed, 12).await;
    put(&journal, 2, PaymentState::Cancelled, 13).await;

    let first = due(&journal, "crm", 20).await;
    let events: Vec<_> = first.iter().map(|row| row.event).collect();
    assert_eq!(events, [CallbackEvent::Unknown, CallbackEvent::Cancelled]);
    tried(&journal, &first[0], again(600)).await;
    tried(&journal, &first[1], Tried::Delivered).await;
    let (rows, next) = journal
        .callbacks_due(endpoint("crm"), at(599), 100)
        .await
        .unwrap();
    assert_eq!((rows, next), (vec![], Some(at(600))));
    assert_eq!(
        due(&journal, "books", 20).await.len(),
        2,
        "another endpoint has a line of its own"
    );
    // What is written meanwhile stands behind it, too.
    put(&journal, 1, PaymentState::Approved, 550).await;
    assert_eq!(due(&journal, "crm", 599).await, []);

    let mut delivered = Vec::new();
    for _ in 0..3 {
        let rows = due(&journal, "crm", 600).await;
        assert_eq!(rows.len(), 1, "one of a payment at a time");
        delivered.push(rows[0].event);
        tried(&journal, &rows[0], Tried::Delivered).await;
    }
    assert_eq!(
        delivered,
        [
            CallbackEvent::Unknown,
            CallbackEvent::Failed,
            CallbackEvent::Approved
        ]
    );
}

#[tokio::test]
async fn a_dead_letter_holds_up_nobody_and_is_replayed_under_its_id_or_dropped() {
    let (_dir, _path, journal) = open();
    let routes = vec![route("crm", &CallbackEvent::ALL)];
    journal.route_callbacks(routes).await.unwrap();
    put(&journal, 1, PaymentState::Unknown, 11).await;
    put(&journal, 1, PaymentState::Failed, 12).await;
    let first = due(&journal, "crm", 20).await.remove(0);
    tried(&journal, &first, again(30)).await;
    tried(&journal, &first, dead()).await;
    let second = due(&journal, "crm", 40).await;
    assert_eq!(second[0].event, CallbackEvent::Failed);

    let row = journal.callback(first.id.clone()).await.unwrap().unwrap();
    assert_eq!((row.state, row.tries), (CallbackState::Dead, 2));
    assert_eq!(row.problem.as_deref(), Some("HTTP 410"));
    let listed = journal.callbacks(tenant(), CallbackState::Dead, 10).await;
    assert_eq!(listed.unwrap(), [row]);
    let replay = |id: &MessageId| journal.replay_callback(id.clone(), at(700));
    assert!(!replay(&second[0].id).await.unwrap(), "it is not dead");
    assert!(replay(&first.id).await.unwrap());
    assert!(!replay(&first.id).await.unwrap(), "once");
    let replayed = due(&journal, "crm", 700).await;
    assert_eq!(replayed.len(), 1, "and the later one waits for it again");
    assert_eq!(
        (&replayed[0].id, replayed[0].tries, &replayed[0].body),
        (&first.id, 0, &first.body)
    );
    tried(&journal, &first, dead()).await;
    let drop_it = || journal.drop_callback(first.id.clone());
    assert!(drop_it().await.unwrap());
    assert!(!drop_it().await.unwrap(), "once");
    assert_eq!(journal.callback(first.id.clone()).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_delivered_is_forgotten_after_a_while_and_nothing_else() {
    let (_dir, _path, journal) = open();
    let routes = vec![route("crm", &CallbackEvent::ALL)];
    journal.route_callbacks(routes).await.unwrap();
    for number in 1..=3 {
        put(&journal, number, PaymentState::Cancelled, 10).await;
    }
    let rows = due(&journal, "crm", 20).await;
    tried(&journal, &rows[0], Tried::Delivered).await;
    tried(&journal, &rows[1], dead()).await;
    let counts = journal.callback_counts(endpoint("crm")).await.unwrap();
    let expected = CallbackCounts {
        waiting: 1,
        dead: 1,
        oldest: Some(at(10)),
    };
    assert_eq!(counts, expected);
    assert!(!journal.forget_callbacks(at(500)).await.unwrap());
    let later = at(500) + Duration::from_nanos(1);
    assert!(journal.forget_callbacks(later).await.unwrap());
    let is_there = |n: usize| journal.callback(rows[n].id.clone());
    assert_eq!(is_there(0).await.unwrap(), None);
    assert!(is_there(1).await.unwrap().is_some());
    assert!(is_there(2).await.unwrap().is_some());
    assert!(!journal.forget_callbacks(at(10_000)).await.unwrap());
}

#[tokio::test]
async fn what_waits_for_an_endpoint_that_is_no_more_becomes_a_dead_letter() {
    let (_dir, _path, journal) = open();
    let routes = vec![
        route("crm", &CallbackEvent::ALL),
        route("books", &CallbackEvent::ALL),
    ];
    journal.route_callbacks(routes).await.unwrap();
    put(&journal, 1, PaymentState::Cancelled, 10).await;
    let kept = vec![endpoint("books")];
    let retire = || journal.retire_callbacks(kept.clone(), at(20));
    assert_eq!(retire().await.unwrap(), 1);
    assert_eq!(retire().await.unwrap(), 0);
    assert_eq!(due(&journal, "books", 30).await.len(), 1);
    let dead = journal.callbacks(tenant(), CallbackState::Dead, 10).await;
    let dead = dead.unwrap();
    assert_eq!(dead[0].endpoint, endpoint("crm"));
    assert!(dead[0].problem.as_ref().unwrap().contains("no endpoint"));
}
