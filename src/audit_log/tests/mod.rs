mod damage;
mod faulty;
mod writing;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicI64, Ordering},
};

use super::*;
use crate::proto::audit::{Actor, Event, Success};

const SMALL: Sizes = Sizes {
    segment_bytes: 64 << 20,
    reserve_bytes: 4096,
    between_refills: Duration::ZERO,
    // Whoever waits longer than that has been forgotten.
    gather: Duration::from_secs(3_600),
};

fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

/// Each reading is a microsecond after the one before.
fn clock() -> Clock {
    let read = AtomicI64::new(1_700_000_000_000_000);
    Box::new(move || Timestamp::from_microsecond(read.fetch_add(1, Ordering::Relaxed)).unwrap())
}

fn context() -> Context {
    Context {
        node: "n1".parse().unwrap(),
        boot: "boot".to_owned(),
        build: "test".to_owned(),
        configuration: "c0".to_owned(),
    }
}

fn open_with(
    dir: &Path,
    disk: impl Disk + 'static,
    sizes: Sizes,
) -> Result<AuditLog, AuditOpenError> {
    AuditLog::open_on(dir, Box::new(disk), clock(), context(), sizes)
}

fn open(dir: &Path) -> AuditLog {
    open_with(dir, LocalDisk, SMALL).unwrap()
}

fn record(event: Event) -> Record {
    Record {
        actor: Actor::Peer {
            address: "192.0.2.1:2223".to_owned(),
        },
        origin: "192.0.2.1:2223".to_owned(),
        success: Success::Failure,
        event,
    }
}

/// An event that ends something, told apart by its number.
fn numbered(number: usize) -> Record {
    record(Event::SignInRefused {
        reason: format!("number {number}"),
    })
}

/// An event that begins something.
fn beginning() -> Record {
    let id = |prefix: &str| format!("{prefix}_acme_n1_00000000000000000000000000");
    record(Event::ChargeIntent {
        payment: id("pay").parse().unwrap(),
        attempt: id("att").parse().unwrap(),
        amount_minor: 1250,
        currency: "EUR".to_owned(),
    })
}

fn node_log(dir: &Path) -> PathBuf {
    dir.join("audit/node")
}

fn first_segment(log: &Path) -> PathBuf {
    log.join("00000000000000000001.log")
}

/// The entries of a log as text, whatever is wrong with them.
fn lines(log: &Path) -> Vec<String> {
    let mut segments: Vec<_> = fs::read_dir(log)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    segments.sort();
    let text: String = segments
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    text.lines().map(str::to_owned).collect()
}

/// The numbers of the numbered events, in the order of the log.
fn numbers(log: &Path) -> Vec<usize> {
    let number = |line: &String| {
        let rest = line.split_once("\"number ")?.1;
        rest.split_once('"')?.0.parse().ok()
    };
    lines(log).iter().filter_map(number).collect()
}
