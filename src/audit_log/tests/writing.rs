//! What is acknowledged is durable, whatever the disk does.

use std::time::Instant;

use super::{faulty::FaultyDisk, *};
use crate::audit_log::verify;

fn assert_intact(dir: &Path) {
    let report = verify::run(dir, None).unwrap();
    assert!(report.is_intact(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_records_at_once_stand_in_order_and_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let before = Instant::now();
    let tasks: Vec<_> = (0..1000)
        .map(|number| {
            let log = log.clone();
            tokio::spawn(async move {
                let recorded = log.record(Some(&tenant()), numbered(number)).await.unwrap();
                (recorded.sequence(), number)
            })
        })
        .collect();
    let mut proofs = Vec::new();
    for task in tasks {
        proofs.push(task.await.unwrap());
    }
    println!("1000 records at once in {:?}", before.elapsed());
    proofs.sort_unstable();
    // Entry 1 says that the log was started.
    assert!(proofs.iter().map(|(sequence, _)| *sequence).eq(2..=1001));
    let log_dir = dir.path().join("audit/tenant-acme");
    let expected: Vec<_> = proofs.into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers(&log_dir), expected);
    drop(log);
    assert_intact(dir.path());

    let log = open(dir.path());
    let before = Instant::now();
    for number in 0..100 {
        let _ = log.record(None, numbered(number)).await.unwrap();
    }
    println!("100 records one after another in {:?}", before.elapsed());
    assert_eq!(numbers(&node_log(dir.path())), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_entry_is_synced_before_the_head_names_it_and_the_head_before_anybody_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    // A new head is written under another name first.
    drop(open(dir.path()));
    let log = open_with(dir.path(), disk.clone(), SMALL).unwrap();
    for number in 0..3 {
        disk.plan().trail.clear();
        let _recorded = log.record(None, numbered(number)).await.unwrap();
        let entries = "00000000000000000001.log";
        assert_eq!(
            disk.plan().trail,
            [
                format!("write {entries}"),
                format!("sync {entries}"),
                "write head".to_owned(),
                "sync head".to_owned(),
            ]
        );
    }
}

#[tokio::test]
async fn what_was_noted_stands_before_what_is_recorded_after_it_and_is_synced_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let log = open_with(dir.path(), disk.clone(), SMALL).unwrap();
    let _started = log.record(None, numbered(0)).await.unwrap();
    disk.plan().trail.clear();
    for number in 1..=20 {
        log.note(None, numbered(number)).unwrap();
        // Time in which each would be synced alone.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let proof = log.record(None, numbered(21)).await.unwrap();
    assert_eq!(proof.sequence(), 23, "behind the notes");
    assert_eq!(numbers(&node_log(dir.path())), (0..=21).collect::<Vec<_>>());
    let plan = disk.plan();
    let syncs = plan.trail.iter().filter(|done| done.starts_with("sync"));
    assert!(syncs.count() <= 4, "one or two commits, not twenty");
}

#[tokio::test]
async fn what_was_noted_is_durable_after_a_while_and_when_the_log_ends() {
    let dir = tempfile::tempdir().unwrap();
    let short = Sizes {
        gather: Duration::from_millis(1),
        ..SMALL
    };
    let log = open_with(dir.path(), LocalDisk, short).unwrap();
    log.note(Some(&tenant()), numbered(0)).unwrap();
    let log_dir = dir.path().join("audit/tenant-acme");
    let until = Instant::now() + Duration::from_secs(30);
    while !log_dir.exists() || numbers(&log_dir).is_empty() {
        assert!(Instant::now() < until, "never written");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(log);
    let log = open(dir.path());
    log.note(Some(&tenant()), numbered(1)).unwrap();
    drop(log);
    assert_eq!(numbers(&log_dir), [0, 1]);
    assert_intact(dir.path());
}

#[tokio::test]
async fn a_failed_sync_gives_no_proof_and_ends_all_writing_until_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let log = open_with(dir.path(), disk.clone(), SMALL).unwrap();
    let _ = log.record(None, numbered(1)).await.unwrap();
    disk.plan().syncs_fail = true;
    let failed = log.record(None, numbered(2)).await;
    assert!(matches!(failed, Err(AuditError::Broken(_))), "{failed:?}");
    disk.plan().syncs_fail = false;
    let failed = log.record(Some(&tenant()), numbered(3)).await;
    assert!(matches!(failed, Err(AuditError::Broken(_))), "{failed:?}");
    assert!(log.is_broken() && !log.has_room());
    assert!(matches!(log.close().await, Err(AuditError::Broken(_))));
    drop(log);

    let log = open(dir.path());
    let _ = log.record(None, numbered(4)).await.unwrap();
    assert!(log.has_room());
    drop(log);
    assert_intact(dir.path());
    let kept = numbers(&node_log(dir.path()));
    assert!(
        kept.first() == Some(&1) && kept.last() == Some(&4),
        "{kept:?}"
    );
}

#[tokio::test]
async fn whichever_operation_of_the_disk_fails_nothing_acknowledged_is_lost() {
    let sizes = Sizes {
        segment_bytes: 1500,
        ..SMALL
    };
    // The first run, in which nothing fails, counts them.
    let (mut operations, mut failing) = (0, 0);
    while failing <= operations {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        disk.plan().fail_at = Some(failing);
        let mut acknowledged = Vec::new();
        if let Ok(log) = open_with(dir.path(), disk.clone(), sizes) {
            for number in 1..=6 {
                let tenant = (number % 3 == 0).then(tenant);
                if let Ok(proof) = log.record(tenant.as_ref(), numbered(number)).await {
                    acknowledged.push((tenant, proof.sequence(), number));
                }
            }
            let _ = log.close().await;
        }
        if failing == 0 {
            operations = disk.plan().done;
        }
        // A restart on the same disk, now healthy.
        let log = open_with(dir.path(), LocalDisk, sizes);
        let log = log.unwrap_or_else(|error| panic!("operation {failing}: {error}"));
        let _ = log.record(None, numbered(7)).await.unwrap();
        drop(log);
        assert_intact(dir.path());
        for (tenant, sequence, number) in acknowledged {
            let name = tenant.map_or("node".to_owned(), |tenant| format!("tenant-{tenant}"));
            let lines = lines(&dir.path().join("audit").join(name));
            let line = &lines[usize::try_from(sequence).unwrap() - 1];
            assert!(
                line.contains(&format!("number {number}\"")),
                "operation {failing}"
            );
        }
        failing += 1;
    }
    println!("{operations} operations, each made to fail once");
    assert!(operations > 40, "{operations}");
}

#[tokio::test]
async fn a_full_disk_refuses_what_begins_and_still_takes_what_ends() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let log = open_with(dir.path(), disk.clone(), SMALL).unwrap();
    assert!(log.has_room());
    let _ = log.record(Some(&tenant()), beginning()).await.unwrap();
    disk.plan().room = Some(0);
    // The record that meets the full disk still fits, into the reserve's room.
    let _ = log.record(Some(&tenant()), numbered(1)).await.unwrap();
    assert!(!log.has_room());
    let refused = log.record(Some(&tenant()), beginning()).await;
    assert!(matches!(refused, Err(AuditError::NoRoom)), "{refused:?}");
    let _ = log.record(Some(&tenant()), numbered(2)).await.unwrap();

    disk.plan().room = Some(1 << 20);
    let _ = log.record(Some(&tenant()), beginning()).await.unwrap();
    assert!(log.has_room());
    drop(log);
    assert_intact(dir.path());
    assert_eq!(numbers(&dir.path().join("audit/tenant-acme")), [1, 2]);
}

#[tokio::test]
async fn a_disk_without_any_room_left_breaks_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let log = open_with(dir.path(), disk.clone(), SMALL).unwrap();
    disk.plan().room = Some(0);
    let mut taken = 0;
    while log.record(None, numbered(taken)).await.is_ok() {
        taken += 1;
    }
    assert!(taken > 2, "{taken}");
    assert!(log.is_broken());
    drop(log);
    open(dir.path()).close().await.unwrap();
    assert_intact(dir.path());
    assert_eq!(
        numbers(&node_log(dir.path())),
        (0..taken).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_log_says_when_it_was_started_and_stopped_and_takes_nothing_after() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let _ = log.record(Some(&tenant()), numbered(1)).await.unwrap();
    log.set_configuration("c1").await.unwrap();
    log.close().await.unwrap();
    let closed = log.record(None, numbered(2)).await;
    assert!(matches!(closed, Err(AuditError::Closed)), "{closed:?}");
    // Without a close: as after a kill.
    drop(open(dir.path()));
    let node = lines(&node_log(dir.path()));
    let is = |line: &str, event: &str| assert!(line.contains(&format!("\"{event}\"")), "{line}");
    is(&node[0], "log-started");
    is(&node[1], "log-stopped");
    is(&node[2], "log-started");
    assert!(node[0].contains("\"c0\"") && node[1].contains("\"c1\""));
    assert!(
        node[0].contains("\"requirement\":\"10.2.1.6\""),
        "{}",
        node[0]
    );
    let tenant = lines(&dir.path().join("audit/tenant-acme"));
    assert_eq!((node.len(), tenant.len()), (3, 4));
    assert!(tenant[1].contains("\"tenant\":\"acme\""), "{}", tenant[1]);
    assert_intact(dir.path());
}

#[test]
fn two_gateways_cannot_write_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let second = open_with(dir.path(), LocalDisk, SMALL).err();
    assert!(matches!(second, Some(AuditOpenError::InUse(_))));
    drop(log);
    drop(open(dir.path()));
}

#[tokio::test]
async fn a_record_that_does_not_fit_is_refused_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let long = record(Event::SignInRefused {
        reason: "x".repeat(70_000),
    });
    let refused = log.record(None, long).await;
    assert!(matches!(refused, Err(AuditError::Unfit(_))), "{refused:?}");
    let next = log.record(None, numbered(1)).await.unwrap();
    assert_eq!(next.sequence(), 2);
    drop(log);
    assert_intact(dir.path());
}
