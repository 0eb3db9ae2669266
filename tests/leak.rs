//! Two cards that differ in hidden digits only are taken, each by a gateway of its own that logs
//! all it can. Nothing that is left behind may hold a part of the card, and nothing may tell which
//! of the two it was.
//!
//! Each search has a control: the same search through the same bytes with the card planted.

#[path = "leak/agent.rs"]
mod agent;
mod common;
#[path = "leak/normal.rs"]
mod normal;
#[path = "leak/run.rs"]
mod run;
#[path = "leak/scan.rs"]
mod scan;

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    process::{Command, Stdio},
};

use rusqlite::Connection;
use tempfile::TempDir;
use tonewall::proto::rtp::RtpHeader;

use run::{Artefact, CODE_AT, EXPIRY_AT, KEY, NUMBER_AT, Run, TONES, capture, process};
use scan::{Scanner, forms};

/// A card that the sandbox approves.
#[derive(Clone, Copy)]
struct Card {
    number: &'static str,
    expiry: &'static str,
    code: &'static str,
}

/// Of one brand, with the same last four. No zeros in a row: measured times begin with some.
const CARDS: [Card; 2] = [
    Card {
        number: "4716835173984242",
        expiry: "1236",
        code: "739",
    },
    Card {
        number: "4242428609324242",
        expiry: "0835",
        code: "582",
    },
];

/// Artefacts above this size are controlled with one form of the card instead of all.
const LARGE: usize = 1 << 20;
/// How long after a tone its mask may still depend on which key it was, in samples.
const AFTER_A_TONE: usize = 2_400;
/// Masking is in place this long after it was acknowledged, in samples.
const SETTLED: usize = 8_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_left_behind_tells_which_card_was_keyed() {
    let (one, other) = tokio::join!(capture(CARDS[0]), capture(CARDS[1]));
    for run in [&one, &other] {
        assert_nothing_holds_the_card(run);
        assert_a_journal_row_would_be_found(run);
        assert_shadow_mode_heard_the_keys(run);
        assert_the_agent_got_no_key(run);
    }
    assert_alike(&one, &other);
    assert_packets_alike(&one, &other);
}

#[test]
fn the_search_finds_a_card_in_a_command_line_and_in_an_environment() {
    let [card, other] = CARDS;
    let mut sleeper = Command::new("sh")
        .args(["-c", "read -r _", card.number])
        .env("CARD", card.number)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    // The names are the shell's own only once it has been executed.
    let found = loop {
        let artefacts = process(sleeper.id());
        if artefacts[0].bytes.starts_with(b"sh\0") {
            break artefacts;
        }
    };
    sleeper.kill().expect("killed");
    sleeper.wait().expect("ended");
    for Artefact { name, bytes } in found {
        assert!(Scanner::new(&card).find(&bytes).is_some(), "void: {name}");
        assert_eq!(Scanner::new(&other).find(&bytes), None, "{name}");
    }
}

fn assert_nothing_holds_the_card(run: &Run) {
    let scanner = Scanner::new(&run.card);
    let forms = forms(&run.card);
    for Artefact { name, bytes } in &run.artefacts {
        let found = scanner.find(bytes);
        if let Some((what, at)) = found {
            let around = &bytes[at.saturating_sub(80)..bytes.len().min(at + 80)];
            panic!(
                "{name} holds {what} at byte {at}:\n{}",
                String::from_utf8_lossy(around)
            );
        }
        let planted = if bytes.len() > LARGE {
            &forms[..1]
        } else {
            &forms[..]
        };
        let (before, behind) = bytes.split_at(bytes.len() / 2);
        for (form, card) in planted {
            let with = [before, b"\n", card, b"\n", behind].concat();
            assert!(
                scanner.find(&with).is_some(),
                "void: {form} would not be found in {name}"
            );
        }
    }
    for kind in [
        "log",
        "journal.db-wal",
        "environ",
        "stdout",
        "sandbox.json",
        "event stream",
        "shadow report",
        "shadow.json",
        "metrics",
        "answer",
        "agent",
    ] {
        assert!(
            run.artefacts.iter().any(|found| found.name.contains(kind)),
            "void: no {kind}"
        );
    }
}

/// The files of the journal as they were, with one more row written by SQLite itself.
fn assert_a_journal_row_would_be_found(run: &Run) {
    let scanner = Scanner::new(&run.card);
    let folder = TempDir::new().expect("a folder");
    for (name, bytes) in &run.journal {
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    let journal = Connection::open(folder.path().join("journal.db")).expect("the journal");
    let planted = "UPDATE payments SET description = 'paid with ' || ?1";
    assert_eq!(
        journal.execute(planted, [run.card.number]).expect("a row"),
        1
    );
    let files = fs::read_dir(folder.path()).expect("a folder").flatten();
    let holds = files.filter(|file| {
        let bytes = fs::read(file.path()).expect("a file");
        scanner.find(&bytes).is_some()
    });
    assert!(
        holds.count() > 0,
        "void: a row with the card would not be found"
    );
}

/// Else it would be no wonder that nothing of them is in what it tells.
fn assert_shadow_mode_heard_the_keys(run: &Run) {
    let presses = &run.shadow["presses"];
    for by in ["by_event", "by_tone"] {
        let heard = presses[by].as_u64();
        assert!(heard > Some(0), "void: {}", run.shadow);
    }
}

fn assert_the_agent_got_no_key(run: &Run) {
    let Card {
        number,
        expiry,
        code,
    } = run.card;
    let open = agent::keys(&run.open);
    assert_eq!(
        open,
        [number, expiry, code].concat(),
        "void: keys on an unmasked call are not read"
    );
    assert!(Scanner::new(&run.card).find(open.as_bytes()).is_some());

    assert_eq!(agent::keys(&run.masked), "", "the agent got keys");
    let audio =
        |packet: &Vec<u8>| RtpHeader::parse(packet).is_ok_and(|header| header.payload_type == 0);
    assert!(
        run.masked.iter().all(audio),
        "the agent got something but audio"
    );
}

fn assert_alike(one: &Run, other: &Run) {
    let both = [one, other];
    let parts: [(&str, [Vec<String>; 2]); 7] = [
        ("log", both.map(|run| normal::log(&run.log))),
        ("metrics", both.map(|run| normal::metrics(&run.metrics))),
        ("node's audit", both.map(|run| lines(&run.audit[0]))),
        ("tenant's audit", both.map(|run| lines(&run.audit[1]))),
        ("journal", both.map(|run| normal::rows(&run.rows))),
        ("answers", both.map(|run| normal::answers(&run.answers))),
        ("event stream", both.map(|run| normal::stream(&run.stream))),
    ];
    for (what, [one, other]) in parts {
        assert!(!one.is_empty(), "void: no {what}");
        let differs = (0..one.len().max(other.len())).find(|n| one.get(*n) != other.get(*n));
        if let Some(n) = differs {
            panic!(
                "{what}: line {n} tells the cards apart:\n{:#?}\n{:#?}",
                one.get(n),
                other.get(n)
            );
        }
        // The control: one digit more in any line.
        let mut changed = one.clone();
        changed[0].push('7');
        assert_ne!(changed, other, "void");
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(normal::text).collect()
}

/// From one second after arming until the last key, each packet is the other run's packet of the
/// same timestamp, header and payload, wherever keys are events. Where they are tones, the mask
/// follows the detector's gate, whose edges may differ by a packet from key to key; what a listener
/// makes of it is checked for both runs above.
///
/// Two gateways in real time arm at different packets, so what was relayed before is not compared.
/// `simulation.rs` compares datagrams and their times exactly, from the first to the last, in
/// simulated time.
fn assert_packets_alike(one: &Run, other: &Run) {
    let from = one.armed.start.max(other.armed.start) + SETTLED;
    let until = one.armed.end.min(other.armed.end);
    assert!(
        from < NUMBER_AT && until > CODE_AT,
        "void: armed too late, for this host is too slow"
    );
    let tones = [
        NUMBER_AT + TONES.start * KEY..NUMBER_AT + TONES.end * KEY + AFTER_A_TONE,
        CODE_AT + KEY..usize::MAX,
    ];
    let compared = from..until;
    let [one, other] = [one, other].map(|run| by_timestamp(&run.masked, &compared, &tones));
    let masked_keys = TONES.start + 1 + 4;
    assert!(
        one.len() > masked_keys * 8 && compared.contains(&EXPIRY_AT),
        "void: {} packets compared",
        one.len()
    );
    let timestamps = |run: &BTreeMap<usize, &Vec<u8>>| run.keys().copied().collect::<Vec<_>>();
    assert_eq!(
        timestamps(&one),
        timestamps(&other),
        "timestamps tell the cards apart"
    );
    for (timestamp, packet) in &one {
        assert_eq!(
            Some(packet),
            other.get(timestamp),
            "the packet of {timestamp} tells the cards apart"
        );
    }
}

fn by_timestamp<'a>(
    packets: &'a [Vec<u8>],
    compared: &Range<usize>,
    tones: &[Range<usize>],
) -> BTreeMap<usize, &'a Vec<u8>> {
    packets
        .iter()
        .map(|packet| {
            (
                RtpHeader::parse(packet).expect("RTP").timestamp as usize,
                packet,
            )
        })
        .filter(|(at, _)| compared.contains(at) && !tones.iter().any(|tone| tone.contains(at)))
        .collect()
}
