use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use super::*;
use crate::proto::{
    audit::{Actor, Event, Success},
    field::Field,
};
use tempfile::TempDir;
use ulid::Ulid;

pub(super) fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

pub(super) fn node() -> Node {
    "n1".parse().unwrap()
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn call(number: u128) -> CallId {
    CallId::new(tenant(), node(), Ulid::from_parts(1, number))
}

pub(super) fn payment(number: u128) -> PaymentRow {
    PaymentRow {
        id: PaymentId::new(tenant(), node(), Ulid::from_parts(1, number)),
        call: call(number % 2),
        state: "open".to_owned(),
        amount_minor: 1250,
        currency: "EUR".to_owned(),
        purpose: Purpose::Charge,
        reference: format!("INV-{number}"),
        description: None,
        brand: Some(Brand::Visa),
        last4: Last4::of(&[4, 2, 4, 2, 4, 2, 4, 2]),
        created: at(i64::try_from(number).unwrap()) + Duration::from_nanos(7),
        updated: at(100),
        signalling_id: Some(format!("call-{number}@pbx")),
        sandbox: Some(true),
    }
}

pub(super) fn attempt(payment: &PaymentRow, number: u128) -> AttemptRow {
    AttemptRow {
        id: AttemptId::new(tenant(), node(), Ulid::from_parts(1, number)),
        payment: payment.id.clone(),
        amount_minor: payment.amount_minor,
        currency: payment.currency.clone(),
        reference: payment.reference.clone(),
        processor: "sandbox".to_owned(),
        phase: Phase::Intent,
        created: at(i64::try_from(number).unwrap()),
        updated: at(i64::try_from(number).unwrap()),
    }
}

pub(super) fn approved() -> Outcome {
    Outcome::Approved {
        processor_reference: "ref".to_owned(),
        code: "00".to_owned(),
    }
}

pub(super) fn unknown() -> Outcome {
    Outcome::Unknown {
        reason: "no answer".to_owned(),
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        reason: "not sent".to_owned(),
        retryable: true,
    }
}

pub(super) fn declined() -> Outcome {
    Outcome::Declined {
        advice: crate::proto::payment::Advice::ReEnter(Field::SecurityCode),
        code: "incorrect_cvc".to_owned(),
    }
}

fn key(number: u8, kind: KeyKind, expires: Option<Timestamp>) -> KeyRow {
    KeyRow {
        id: KeyId::new(tenant(), node(), Ulid::from_parts(1, number.into())),
        kind,
        role: Role::Agent,
        label: "Ana".to_owned(),
        agent: number
            .is_multiple_of(2)
            .then(|| format!("sip:47{number}@pbx").parse().unwrap()),
        secret_hash: [number; 32],
        created: at(number.into()),
        expires,
        revoked: None,
    }
}

fn latest(limit: u32) -> PaymentFilter {
    PaymentFilter {
        limit,
        ..PaymentFilter::default()
    }
}

pub(super) fn open() -> (TempDir, PathBuf, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = Journal::open_for(&path, node()).unwrap();
    (dir, path, journal)
}

#[tokio::test]
async fn a_payment_reads_back_as_it_was_put_also_after_reopening() {
    let (_dir, path, journal) = open();
    let mut row = payment(1);
    journal.put_payment(row.clone()).await.unwrap();
    row.state = "approved".to_owned();
    row.description = Some("socks".to_owned());
    row.brand = None;
    row.last4 = None;
    journal.put_payment(row.clone()).await.unwrap();
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.payment(row.id.clone()).await.unwrap(), Some(row));
    assert_eq!(journal.payment(payment(2).id).await.unwrap(), None);
}

#[tokio::test]
async fn payments_come_newest_first_of_one_tenant_and_of_one_call() {
    let (_dir, _path, journal) = open();
    for number in 1..=5 {
        journal.put_payment(payment(number)).await.unwrap();
    }
    let references = async |call, limit| {
        let rows = journal
            .payments(
                tenant(),
                PaymentFilter {
                    call,
                    limit,
                    ..PaymentFilter::default()
                },
            )
            .await
            .unwrap();
        rows.into_iter()
            .map(|row| row.reference)
            .collect::<Vec<_>>()
    };
    assert_eq!(references(None, 2).await, ["INV-5", "INV-4"]);
    assert_eq!(references(Some(call(0)), 9).await, ["INV-4", "INV-2"]);
    let other = "other".parse().unwrap();
    assert_eq!(journal.payments(other, latest(9)).await.unwrap(), []);
}

#[tokio::test]
async fn payments_are_found_by_state_reference_card_time_and_page() {
    let (_dir, _, journal) = open();
    for number in 1..=6 {
        let row = PaymentRow {
            state: if number % 2 == 0 {
                "approved"
            } else {
                "failed"
            }
            .to_owned(),
            last4: Last4::of(&[0, 4, 2, 4, u8::try_from(number).unwrap()]),
            ..payment(number)
        };
        journal.put_payment(row).await.unwrap();
    }
    let found = async |filter: PaymentFilter| -> Vec<String> {
        let rows = journal.payments(tenant(), filter).await.unwrap();
        rows.into_iter().map(|row| row.reference).collect()
    };
    let all = || latest(9);
    let state = Some(PaymentState::Approved);
    assert_eq!(
        found(PaymentFilter { state, ..all() }).await,
        ["INV-6", "INV-4", "INV-2"]
    );
    let reference = Some("INV-3".to_owned());
    assert_eq!(found(PaymentFilter { reference, ..all() }).await, ["INV-3"]);
    let last4 = Last4::of(&[0, 4, 2, 4, 5]);
    assert_eq!(found(PaymentFilter { last4, ..all() }).await, ["INV-5"]);
    let (since, until) = (Some(at(2)), Some(at(4)));
    let between = PaymentFilter {
        since,
        until,
        ..all()
    };
    assert_eq!(found(between).await, ["INV-3", "INV-2"]);
    let before = Some(payment(3).id);
    assert_eq!(
        found(PaymentFilter { before, ..all() }).await,
        ["INV-2", "INV-1"]
    );
    let page = PaymentFilter {
        before: Some(payment(6).id),
        state,
        ..latest(1)
    };
    assert_eq!(found(page).await, ["INV-4"]);
}

#[tokio::test]
async fn an_attempt_only_moves_forward_and_only_an_unknown_result_is_replaced() {
    let (_dir, _path, journal) = open();
    let paid = payment(1);
    journal.put_payment(paid.clone()).await.unwrap();
    let row = attempt(&paid, 1);
    let id = row.id.clone();
    let refused = |result: Result<(), JournalError>| {
        assert!(
            matches!(result, Err(JournalError::Order { .. })),
            "{result:?}"
        );
    };

    journal.intent(row.clone()).await.unwrap();
    refused(journal.intent(row.clone()).await);
    refused(journal.result(id.clone(), approved(), at(2)).await);
    journal.sending(id.clone(), at(2)).await.unwrap();
    refused(journal.sending(id.clone(), at(2)).await);
    journal.result(id.clone(), unknown(), at(3)).await.unwrap();
    refused(journal.sending(id.clone(), at(4)).await);
    journal.result(id.clone(), unknown(), at(4)).await.unwrap();
    journal.result(id.clone(), approved(), at(5)).await.unwrap();
    for outcome in [declined(), failed(), unknown()] {
        refused(journal.result(id.clone(), outcome, at(6)).await);
    }
    // Found out by two at a time: the same is no contradiction, and changes nothing.
    journal.result(id.clone(), approved(), at(6)).await.unwrap();

    let stored = journal.attempts(paid.id.clone()).await.unwrap();
    let expected = AttemptRow {
        phase: Phase::Result(approved()),
        updated: at(5),
        ..row
    };
    assert_eq!(stored, [expected]);
}

#[tokio::test]
async fn a_token_is_kept_once_while_its_attempt_is_on_its_way_and_until_it_ends() {
    let (_dir, _path, journal) = open();
    let paid = payment(1);
    journal.put_payment(paid.clone()).await.unwrap();
    let row = attempt(&paid, 1);
    let id = row.id.clone();
    let token = |text| Token::new(text).unwrap();
    journal.intent(row).await.unwrap();
    assert!(journal.keep_token(id.clone(), token("t1")).await.is_err());
    journal.sending(id.clone(), at(2)).await.unwrap();
    assert_eq!(journal.token(id.clone()).await.unwrap(), None);
    journal.keep_token(id.clone(), token("t1")).await.unwrap();
    assert!(journal.keep_token(id.clone(), token("t2")).await.is_err());
    journal.result(id.clone(), unknown(), at(3)).await.unwrap();
    assert_eq!(journal.token(id.clone()).await.unwrap(), Some(token("t1")));
    journal.result(id.clone(), approved(), at(4)).await.unwrap();
    assert_eq!(journal.token(id).await.unwrap(), None);
}

#[tokio::test]
async fn an_attempt_that_was_never_sent_can_only_have_failed() {
    let (_dir, _path, journal) = open();
    let paid = payment(1);
    journal.put_payment(paid.clone()).await.unwrap();
    let row = attempt(&paid, 1);
    journal.intent(row.clone()).await.unwrap();
    for outcome in [declined(), unknown(), approved()] {
        let result = journal.result(row.id.clone(), outcome, at(6)).await;
        assert!(matches!(result, Err(JournalError::Order { .. })));
    }
    journal.result(row.id, failed(), at(6)).await.unwrap();
}

#[tokio::test]
async fn an_attempt_needs_its_payment_and_a_step_its_attempt() {
    let (_dir, _path, journal) = open();
    let row = attempt(&payment(1), 1);
    let result = journal.sending(row.id.clone(), at(1)).await;
    assert!(matches!(result, Err(JournalError::NoAttempt(id)) if id == row.id));
    let result = journal.intent(row).await;
    assert!(matches!(result, Err(JournalError::NoPayment(_))));
}

#[tokio::test]
async fn a_restart_finds_every_attempt_that_has_not_ended_oldest_first() {
    let (_dir, path, journal) = open();
    let paid = payment(1);
    journal.put_payment(paid.clone()).await.unwrap();
    let rows: Vec<_> = (1..=4).map(|n| attempt(&paid, n)).collect();
    for row in rows.iter().rev() {
        journal.intent(row.clone()).await.unwrap();
    }
    for row in &rows[1..] {
        journal.sending(row.id.clone(), at(9)).await.unwrap();
    }
    journal
        .result(rows[2].id.clone(), unknown(), at(9))
        .await
        .unwrap();
    journal
        .result(rows[3].id.clone(), declined(), at(9))
        .await
        .unwrap();
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    let phases: Vec<_> = journal.unresolved().await.unwrap();
    let phases: Vec<_> = phases.into_iter().map(|row| (row.id, row.phase)).collect();
    let expected = [
        (rows[0].id.clone(), Phase::Intent),
        (rows[1].id.clone(), Phase::Sending),
        (rows[2].id.clone(), Phase::Result(unknown())),
    ];
    assert_eq!(phases, expected);
}

#[tokio::test]
async fn what_was_answered_is_there_when_the_files_are_copied_in_the_middle_of_work() {
    let (_dir, path, journal) = open();
    let paid = payment(1);
    journal.put_payment(paid.clone()).await.unwrap();
    for number in 1..=20 {
        let row = attempt(&paid, number);
        journal.intent(row.clone()).await.unwrap();
        journal.sending(row.id.clone(), at(1)).await.unwrap();
        // What a crash leaves: the file and its write-ahead log, without the shared memory.
        let crashed = tempfile::tempdir().unwrap();
        let copy = crashed.path().join("journal.db");
        fs::copy(&path, &copy).unwrap();
        fs::copy(path.with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
        let after = Journal::open(&copy).unwrap();
        let unresolved = after.unresolved().await.unwrap();
        assert_eq!(unresolved.len(), usize::try_from(number).unwrap());
        assert!(unresolved.iter().all(|row| row.phase == Phase::Sending));
    }
}

#[tokio::test]
async fn a_commit_waits_for_the_disk() {
    let (_dir, path, journal) = open();
    let again = Journal::open(&path).unwrap();
    for journal in [journal, again] {
        let setting =
            async |name: &'static str| journal.run(move |s| s.setting(name)).await.unwrap();
        // 2 is FULL: the write-ahead log is synced at each commit, not at checkpoints only.
        assert_eq!(setting("synchronous").await, "Integer(2)");
        assert_eq!(setting("journal_mode").await, "Text(\"wal\")");
        assert_eq!(setting("foreign_keys").await, "Integer(1)");
    }
}

#[tokio::test]
async fn a_call_stays_armed_until_its_last_holder_is_cleared() {
    let (_dir, path, journal) = open();
    let row = |holder| ArmedRow {
        tenant: tenant(),
        signalling_id: "call@sip".to_owned(),
        holder,
        caller_tag: Some("caller".to_owned()),
        since: at(1),
    };
    let (ng, paying) = (row(Holder::Ng), row(Holder::Payment(payment(1).id)));
    let of_nobody = ArmedRow {
        caller_tag: None,
        ..ng.clone()
    };
    // The tag is learnt later, and not forgotten again.
    journal.set_armed(of_nobody.clone()).await.unwrap();
    journal.set_armed(ng.clone()).await.unwrap();
    journal.set_armed(of_nobody).await.unwrap();
    journal.set_armed(paying.clone()).await.unwrap();
    journal.set_armed(paying.clone()).await.unwrap();
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    let armed = async || {
        journal
            .armed(tenant(), "call@sip".to_owned())
            .await
            .unwrap()
    };
    let clear = async |holder| {
        let id = "call@sip".to_owned();
        journal.clear_armed(tenant(), id, holder).await.unwrap();
    };
    assert_eq!(armed().await, [ng.clone(), paying.clone()]);
    clear(Some(paying.holder)).await;
    assert_eq!(armed().await, [ng]);
    clear(None).await;
    assert_eq!(armed().await, []);
}

#[tokio::test]
async fn an_idempotency_key_replays_its_answer_for_24_hours() {
    let (_dir, _path, journal) = open();
    let ask = async |fingerprint: u8, seconds| {
        let print = [fingerprint; 32];
        journal
            .idempotency(tenant(), "k".to_owned(), print, at(seconds))
            .await
            .unwrap()
    };
    let answer = async |answer| {
        let key = "k".to_owned();
        journal
            .idempotency_answer(tenant(), key, answer)
            .await
            .unwrap();
    };
    assert_eq!(ask(1, 0).await, Idempotent::New);
    assert_eq!(ask(1, 1).await, Idempotent::InProgress);
    assert_eq!(ask(2, 1).await, Idempotent::Conflict);
    answer(None).await;
    assert_eq!(ask(2, 2).await, Idempotent::New);
    answer(Some((201, "{}".to_owned()))).await;
    let replay = Idempotent::Replay {
        status: 201,
        body: "{}".to_owned(),
    };
    assert_eq!(ask(2, 3).await, replay);
    assert_eq!(ask(1, 3).await, Idempotent::Conflict);
    assert_eq!(ask(2, 24 * 3600 + 1).await, replay);
    assert_eq!(ask(1, 24 * 3600 + 2).await, Idempotent::New);
}

#[tokio::test]
async fn a_request_that_died_with_its_process_may_be_made_again() {
    let (_dir, path, journal) = open();
    let ask = async |journal: &Journal| {
        let key = "k".to_owned();
        journal
            .idempotency(tenant(), key, [1; 32], at(0))
            .await
            .unwrap()
    };
    assert_eq!(ask(&journal).await, Idempotent::New);
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(ask(&journal).await, Idempotent::New);
    assert_eq!(ask(&journal).await, Idempotent::InProgress);
}

#[tokio::test]
async fn a_key_is_found_by_its_hash_while_it_lives() {
    let (_dir, _path, journal) = open();
    let row = key(1, KeyKind::Api, Some(at(60)));
    journal.put_key(row.clone()).await.unwrap();
    let find = async |kind, seconds| {
        let found = journal.key_by_hash(kind, [1; 32], at(seconds)).await;
        found.unwrap()
    };
    assert_eq!(find(KeyKind::Api, 59).await, Some(row.clone()));
    assert_eq!(find(KeyKind::Api, 60).await, None);
    assert_eq!(find(KeyKind::PanelSession, 0).await, None);
    assert!(!journal.revoke_key(row.id.clone(), at(60)).await.unwrap());
    assert!(journal.revoke_key(row.id.clone(), at(10)).await.unwrap());
    assert!(!journal.revoke_key(row.id.clone(), at(10)).await.unwrap());
    assert_eq!(find(KeyKind::Api, 11).await, None);

    journal.put_key(key(2, KeyKind::Api, None)).await.unwrap();
    let labels: Vec<_> = journal.keys(tenant()).await.unwrap();
    let revoked: Vec<_> = labels.iter().map(|row| row.revoked).collect();
    assert_eq!(revoked, [None, Some(at(10))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_link_used_many_times_at_once_from_two_processes_opens_once() {
    let (_dir, path, journal) = open();
    let other = Journal::open(&path).unwrap();
    let row = key(7, KeyKind::PanelLink, Some(at(60)));
    journal.put_key(row.clone()).await.unwrap();
    let uses = (0..40).map(|number| {
        let journal = if number % 2 == 0 { &journal } else { &other }.clone();
        tokio::spawn(async move { journal.redeem_key(KeyKind::PanelLink, [7; 32], at(5)).await })
    });
    let mut opened = Vec::new();
    for used in uses.collect::<Vec<_>>() {
        opened.extend(used.await.unwrap().unwrap());
    }
    let revoked = KeyRow {
        revoked: Some(at(5)),
        ..row
    };
    assert_eq!(opened, [revoked]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_write_at_once_and_nothing_is_lost() {
    let (_dir, path, journal) = open();
    let other = Journal::open(&path).unwrap();
    let writes: Vec<_> = (1..=200)
        .map(|number| {
            let journal = if number % 2 == 0 { &journal } else { &other }.clone();
            tokio::spawn(async move { journal.put_payment(payment(number)).await })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    let rows = journal.payments(tenant(), latest(1000)).await.unwrap();
    assert_eq!(rows.len(), 200);
}

#[tokio::test]
async fn records_that_another_process_left_are_taken_once() {
    let (_dir, path, journal) = open();
    let left = |uid| Record {
        actor: Actor::Console { uid },
        origin: "console".to_owned(),
        success: Success::Success,
        event: Event::ApiKeyRevoked {
            key: key(1, KeyKind::Api, None).id,
        },
    };
    let console = Journal::open(&path).unwrap();
    console.leave_record(None, left(1)).await.unwrap();
    console.leave_record(Some(tenant()), left(2)).await.unwrap();
    let found = journal.records_left().await.unwrap();
    let expected = [(None, left(1)), (Some(tenant()), left(2))];
    for (found, (tenant, record)) in found.into_iter().zip(expected) {
        assert_eq!((found.tenant, found.record), (tenant, record));
        journal.record_taken(found.number).await.unwrap();
    }
    assert_eq!(journal.records_left().await.unwrap(), []);
}

#[tokio::test]
async fn only_its_owner_can_read_the_files() {
    let (dir, _path, journal) = open();
    journal.put_payment(payment(1)).await.unwrap();
    let mut files = 0;
    for file in fs::read_dir(dir.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert!(files >= 2, "the file and its write-ahead log");
}

#[test]
fn a_file_of_a_newer_build_is_refused() {
    let (_dir, path, journal) = open();
    drop(journal);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Journal::open(&path).err().unwrap();
    assert!(
        matches!(error, JournalError::Newer { found: 99, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_word_of_a_newer_build_is_an_error_and_not_a_guess() {
    let (_dir, path, journal) = open();
    journal.put_payment(payment(1)).await.unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute("UPDATE payments SET brand = 'new-brand'", [])
        .unwrap();
    let error = journal.payment(payment(1).id).await.unwrap_err();
    assert!(error.to_string().contains("new-brand"), "{error}");
}

#[tokio::test]
async fn which_calls_are_armed_is_known_again_after_a_restart_and_forgotten_with_the_last_holder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let tenant: Tenant = "acme".parse().unwrap();
    let row = |holder: Holder| ArmedRow {
        tenant: tenant.clone(),
        signalling_id: "c1".to_owned(),
        holder,
        caller_tag: None,
        since: Timestamp::now(),
    };
    let armed = async |journal: &Journal, call: &str| {
        let rows = journal
            .armed(tenant.clone(), call.to_owned())
            .await
            .unwrap();
        rows.len()
    };
    let journal = Journal::open(&path).unwrap();
    assert_eq!(armed(&journal, "c1").await, 0);
    journal.set_armed(row(Holder::Ng)).await.unwrap();
    journal.set_armed(row(Holder::Recovered)).await.unwrap();
    assert_eq!(
        (armed(&journal, "c1").await, armed(&journal, "c2").await),
        (2, 0)
    );
    drop(journal);

    let journal = Journal::open(&path).unwrap();
    assert_eq!(armed(&journal, "c1").await, 2);
    for (holder, left) in [(Some(Holder::Ng), 1), (None, 0)] {
        journal
            .clear_armed(tenant.clone(), "c1".to_owned(), holder)
            .await
            .unwrap();
        assert_eq!(armed(&journal, "c1").await, left);
    }
    drop(journal);
    assert_eq!(armed(&Journal::open(&path).unwrap(), "c1").await, 0);
}
