//! What is found wrong with a log, and where.

use std::os::unix::fs::FileExt;

use super::{faulty::FaultyDisk, *};
use crate::audit_log::{
    store::Store,
    verify::{self, VerifyError},
};

/// A node's log that was opened, took three records and was closed: five entries.
async fn small_log(dir: &Path) {
    let log = open(dir);
    for number in 1..=3 {
        let _ = log.record(None, numbered(number)).await.unwrap();
    }
    log.close().await.unwrap();
}

/// Gives a file other content, as a new file: replacing by truncation makes ext4 flush it at once.
fn put(file: &Path, content: impl AsRef<[u8]>) -> std::io::Result<()> {
    fs::remove_file(file)?;
    fs::write(file, content)
}

fn damages(dir: &Path) -> Vec<Damage> {
    let report = verify::run(dir, None).unwrap();
    report
        .logs
        .into_iter()
        .flat_map(|log| log.damages)
        .collect()
}

/// Opens a log for writing, only to see whether that is refused.
fn opens(dir: &Path) -> Result<u64, AuditOpenError> {
    Store::open(&FaultyDisk::default(), &node_log(dir), None, 1 << 20).map(|(_, cut)| cut)
}

#[tokio::test]
async fn an_intact_log_verifies_but_is_never_called_anchored() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path()).await;
    let report = verify::run(dir.path(), None).unwrap();
    assert!(report.is_intact());
    assert_eq!(report.logs[0].entries, 5);
    let text = report.to_string();
    assert!(
        text.contains("not anchored: whoever holds this machine"),
        "{text}"
    );
    assert!(
        text.contains("5 entries, 2023-11-14T22:13:20.000000Z"),
        "{text}"
    );
}

#[tokio::test]
async fn every_changed_bit_of_a_log_and_of_its_head_is_found() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await.unwrap();
    let (mut bits, mut found) = (0, 0);
    for file in [
        first_segment(&node_log(dir.path())),
        node_log(dir.path()).join("head"),
    ] {
        let whole = fs::read(&file).unwrap();
        let open = fs::File::options().write(true).open(&file).unwrap();
        for bit in 0..whole.len() * 8 {
            let offset = bit as u64 / 8;
            let byte = whole[bit / 8];
            open.write_all_at(&[byte ^ 1 << (bit % 8)], offset).unwrap();
            bits += 1;
            found += usize::from(!damages(dir.path()).is_empty());
            open.write_all_at(&[byte], offset).unwrap();
        }
    }
    println!("{found} of {bits} single changed bits found");
    assert_eq!(found, bits);
    assert_eq!(damages(dir.path()), []);
}

#[tokio::test]
async fn damage_refuses_to_open_and_names_file_entry_and_byte() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path()).await;
    let file = first_segment(&node_log(dir.path()));
    let whole = fs::read(&file).unwrap();
    for byte in 0..whole.len() {
        let mut changed = whole.clone();
        changed[byte] ^= 1;
        put(&file, changed).unwrap();
        assert!(
            matches!(opens(dir.path()), Err(AuditOpenError::Damaged { .. })),
            "{byte}"
        );
    }
    let mut changed = whole.clone();
    let first = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    changed[first + 100] ^= 1;
    put(&file, changed).unwrap();
    let error = open_with(dir.path(), LocalDisk, SMALL).err().unwrap();
    let text = error.to_string();
    for part in [file.to_str().unwrap(), "entry 2", &format!("byte {first}")] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_removed_repeated_moved_or_cut_entry_is_found() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path()).await;
    let log = node_log(dir.path());
    let lines = lines(&log);
    let check = |order: Vec<usize>| {
        let text: String = order.iter().map(|at| format!("{}\n", lines[*at])).collect();
        put(&first_segment(&log), text).unwrap();
        assert_ne!(damages(dir.path()), [], "{order:?}");
        assert!(opens(dir.path()).is_err(), "{order:?}");
    };
    for one in 0..lines.len() {
        check((0..lines.len()).filter(|at| *at != one).collect());
        check(
            (0..lines.len())
                .flat_map(|at| vec![at; 1 + usize::from(at == one)])
                .collect(),
        );
        check((0..one).collect());
        for other in 0..one {
            let mut order: Vec<_> = (0..lines.len()).collect();
            order.swap(one, other);
            check(order);
        }
    }
}

#[tokio::test]
async fn a_log_cut_at_any_byte_before_its_head_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path()).await;
    let file = first_segment(&node_log(dir.path()));
    let whole = fs::read(&file).unwrap();
    for cut in 0..whole.len() {
        put(&file, &whole[..cut]).unwrap();
        assert_ne!(damages(dir.path()), [], "{cut}");
        assert!(opens(dir.path()).is_err(), "{cut}");
    }
    fs::remove_file(&file).unwrap();
    assert!(opens(dir.path()).is_err());
    fs::write(&file, &whole).unwrap();
    fs::remove_file(node_log(dir.path()).join("head")).unwrap();
    assert!(opens(dir.path()).is_err());
}

#[tokio::test]
async fn a_kill_at_any_byte_of_the_tail_loses_no_acknowledged_entry() {
    let dir = tempfile::tempdir().unwrap();
    let file = first_segment(&node_log(dir.path()));
    let head = node_log(dir.path()).join("head");
    let log = open(dir.path());
    for number in 1..=3 {
        let _ = log.record(None, numbered(number)).await.unwrap();
    }
    let (acknowledged, head_then) = (fs::read(&file).unwrap(), fs::read(&head).unwrap());
    for number in 4..=5 {
        let _ = log.record(None, numbered(number)).await.unwrap();
    }
    drop(log);
    let whole = fs::read(&file).unwrap();
    for cut in acknowledged.len()..=whole.len() {
        // What a kill leaves, and what the loss of power may leave: room that was not written.
        let blank = [&whole[..cut], &vec![0; whole.len() - cut]].concat();
        for tail in [whole[..cut].to_vec(), blank] {
            put(&file, tail).unwrap();
            put(&head, &head_then).unwrap();
            assert_eq!(damages(dir.path()), [], "{cut}");
            opens(dir.path()).unwrap();
            let kept = numbers(&node_log(dir.path()));
            assert!(kept.len() >= 3, "{cut}: {kept:?}");
            assert_eq!(kept, (1..=kept.len()).collect::<Vec<_>>());
            let after = verify::run(dir.path(), None).unwrap();
            assert!(
                after.is_intact() && after.logs[0].unfinished_bytes == 0,
                "{cut}"
            );
        }
    }
}

#[tokio::test]
async fn a_cut_tail_is_itself_recorded() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path()).await;
    let file = first_segment(&node_log(dir.path()));
    let torn = [fs::read(&file).unwrap(), b"000000ff 0123".to_vec()].concat();
    put(&file, torn).unwrap();
    let report = verify::run(dir.path(), None).unwrap();
    assert!(report.is_intact() && report.logs[0].unfinished_bytes == 13);
    open(dir.path()).close().await.unwrap();
    assert_eq!(damages(dir.path()), []);
    let last = lines(&node_log(dir.path()));
    assert!(
        last[6].contains("13 bytes were cut") && last[6].contains("10.7.2"),
        "{}",
        last[6]
    );
}

#[tokio::test]
async fn a_missing_segment_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = Sizes {
        segment_bytes: 1,
        ..SMALL
    };
    let log = open_with(dir.path(), LocalDisk, sizes).unwrap();
    for number in 1..=3 {
        let _ = log.record(None, numbered(number)).await.unwrap();
    }
    drop(log);
    assert_eq!(damages(dir.path()), []);
    for first in 1..=4 {
        let path = node_log(dir.path()).join(format!("{first:020}.log"));
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_ne!(damages(dir.path()), [], "{first}");
        assert!(opens(dir.path()).is_err());
        fs::write(&path, &bytes).unwrap();
        // Damage in a segment that is not the last is never an unfinished write.
        if first < 4 {
            put(&path, &bytes[..bytes.len() - 1]).unwrap();
            assert!(opens(dir.path()).is_err());
        }
        put(&path, bytes).unwrap();
    }
    drop(open_with(dir.path(), LocalDisk, sizes).unwrap());
    assert_eq!(damages(dir.path()), []);
}

#[tokio::test]
async fn what_was_never_written_is_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let nothing = verify::run(dir.path(), None);
    assert!(matches!(nothing, Err(VerifyError::NoLog(_))));
    small_log(dir.path()).await;
    let nothing = verify::run(dir.path(), Some(&tenant()));
    assert!(matches!(nothing, Err(VerifyError::NoLog(_))));
}

#[tokio::test]
async fn showing_a_log_names_who_did_what_and_cannot_steer_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let evil = record(Event::SignInRefused {
        reason: "\u{1b}[2J\u{9b}2J\nforged".to_owned(),
    });
    let _ = log.record(Some(&tenant()), evil).await.unwrap();
    drop(log);
    let mut out = Vec::new();
    let damages = verify::show(dir.path(), Some(&tenant()), verify::Form::Text, &mut out).unwrap();
    assert_eq!(damages, []);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text}");
    assert!(
        text.contains("FAILED sign-in-refused [10.2.1.4] by peer address=192.0.2.1:2223"),
        "{text}"
    );
}
