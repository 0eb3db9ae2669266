//! Reports without calls: names, files, tenants.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::proto::shadow::{Carried, Packets, Presses};

const RULES: PublishRules = PublishRules {
    period: Duration::from_secs(60),
    least_calls: 5,
};

fn at(clock: &str) -> Timestamp {
    format!("2026-11-22T{clock}Z").parse().unwrap()
}

fn tenant(name: &str) -> Tenant {
    name.parse().unwrap()
}

fn open(folder: &Path) -> Shadows {
    Shadows::open(folder, tenant("acme"), RULES).unwrap()
}

fn call() -> Tally {
    let mut packets = Packets {
        came: 1_000,
        ..Packets::default()
    };
    packets.count(Carried::Pcmu);
    Tally {
        calls: 1,
        keyed_calls: 1,
        packets,
        presses: Presses {
            by_event: 16,
            by_tone: 16,
            by_info: 0,
            doubles: 16,
        },
        ..Tally::default()
    }
}

fn add(shadows: &Shadows, name: &str, calls: u32) {
    for _ in 0..calls {
        shadows.add(&name.parse().unwrap(), &call(), at("10:00:01"));
    }
}

#[test]
fn what_is_told_survives_a_restart_and_what_waits_is_nowhere_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let shadows = open(folder.path());
    add(&shadows, "a", 5);
    add(&shadows, "b", 4);
    assert!(!shadows.publish(at("10:00:59")).unwrap());
    assert!(!folder.path().join(FILE).exists());
    assert!(shadows.publish(at("10:01:00")).unwrap());
    let told = shadows.report(&tenant("acme"), "a").unwrap();
    assert_eq!((told.calls, told.presses.total), (5, 80));
    let mode = fs::metadata(folder.path().join(FILE))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "no half file is left");

    let again = open(folder.path());
    assert_eq!(again.report(&tenant("acme"), "a").unwrap(), told);
    let waited = again.report(&tenant("acme"), "b").unwrap();
    assert_eq!((waited.calls, waited.until), (0, None));
    add(&again, "a", 5);
    again.publish(at("10:02:00")).unwrap();
    assert_eq!(again.report(&tenant("acme"), "a").unwrap().calls, 10);
    let written = read_reports(folder.path()).unwrap();
    assert_eq!(written[0].calls, 10);
    // Another tenant's gateway begins anew, and a stranger sees nothing.
    let other = Shadows::open(folder.path(), tenant("other"), RULES).unwrap();
    assert!(other.list(&tenant("other")).is_empty());
    assert!(other.list(&tenant("acme")).is_empty());
    assert!(again.list(&tenant("other")).is_empty());
    assert!(again.report(&tenant("other"), "a").is_none());
}

#[test]
fn a_file_that_is_none_is_named_and_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    assert!(read_reports(folder.path()).unwrap().is_empty());
    for text in [
        "",
        "{}",
        "[1]",
        r#"{"schema":"x/9","tenant":"acme","least_calls":5,"trunks":[]}"#,
    ] {
        fs::write(&file, text).unwrap();
        let error = Shadows::open(folder.path(), tenant("acme"), RULES)
            .err()
            .unwrap();
        assert!(error.to_string().contains("shadow.json"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}

#[test]
fn trunks_beyond_those_told_apart_go_under_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let shadows = open(folder.path());
    for n in 0..1_000 {
        add(&shadows, &format!("trunk {n}"), 1);
    }
    let list = shadows.list(&tenant("acme"));
    assert_eq!(list.len(), MOST_TRUNKS + 1);
    shadows.publish(at("10:01:00")).unwrap();
    let others = shadows.report(&tenant("acme"), "other trunks").unwrap();
    assert_eq!(others.calls, 1_000 - MOST_TRUNKS as u64);
}

#[test]
fn an_empty_trunk_has_a_report_and_a_picture_that_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let shadows = open(folder.path());
    add(&shadows, "a", 1);
    let report = shadows.report(&tenant("acme"), "a").unwrap();
    assert_eq!(report.audio.false_masks_per_hour, None);
    assert_eq!(report.packets.lost_share, 0.0);
    assert!(report.picture().contains("nothing is told yet"));
    assert!(!report.json().contains("NaN"));
}

#[test]
fn no_name_breaks_out_of_a_picture_or_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let shadows = open(folder.path());
    let names = [
        "</title><script>alert(1)</script>",
        "\" onload=\"x",
        "]]>&amp;<!--",
        "\u{202e}\u{ffff}\u{fffe}'",
    ];
    for name in names {
        add(&shadows, name, 5);
    }
    shadows.publish(at("10:01:00")).unwrap();
    for name in names {
        let report = shadows.report(&tenant("acme"), name).unwrap();
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["trunk"], name);
        let picture = report.picture();
        assert!(
            !picture.contains("<script") && !picture.contains("<!--"),
            "{picture}"
        );
        assert!(!picture.contains("\" onload") && !picture.contains("]]>"));
        // Every tag is one of ours.
        for tag in picture.split('<').skip(1) {
            let word = tag
                .trim_start_matches('/')
                .split([' ', '>', '/'])
                .next()
                .unwrap();
            let ours = ["svg", "title", "style", "rect", "path", "text"];
            assert!(ours.contains(&word), "{word}");
        }
        assert!(
            picture
                .chars()
                .all(|c| c == '\n' || (!c.is_control() && c < '\u{fffe}'))
        );
    }
}
