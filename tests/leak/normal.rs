//! Takes out of a text what differs between any two runs: ids, times, ports, digests, and counts
//! that depend on real time. All other numbers stay, for a digit may hide in any.

use serde_json::Value;

use super::run::events;

/// Counts that depend on when a packet came.
const REAL_TIME: [&str; 5] = [
    "armed_ms",
    "micros",
    "packets_checked",
    "packets_masked",
    "packets_sent",
];
/// The same among the metrics.
const REAL_TIME_METRICS: [&str; 4] = [
    "tonewall_media_packets_total",
    "tonewall_media_wait_seconds",
    "tonewall_output_checked_packets_total",
    "tonewall_output_masked_packets_total",
];

/// A text without ids, times, ports, digests and random references.
pub(crate) fn text(text: &str) -> String {
    let mut normal = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        normal.push_str(&word(&rest[..length]));
        let gap = rest[length..].find(is_word).unwrap_or(rest.len() - length);
        normal.push_str(&rest[length..length + gap]);
        rest = &rest[length + gap..];
    }
    for name in REAL_TIME {
        normal = without_number(&normal, name);
    }
    normal
}

fn word(word: &str) -> String {
    let is_ulid = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if word.len() >= 20 && word.starts_with("20") && word.contains('T') && word.ends_with('Z') {
        "TIME".to_owned()
    } else if word.starts_with("127.0.0.1:") {
        "127.0.0.1:PORT".to_owned()
    } else if word.starts_with("sha256:") || is_digest(word) {
        "DIGEST".to_owned()
    } else if word.starts_with("sbx_") {
        "REFERENCE".to_owned()
    } else if word.len() >= 19 && word.bytes().all(|b| b.is_ascii_digit()) {
        "NANOSECONDS".to_owned()
    } else if let Some((before, id)) = word.split_at_checked(word.len().saturating_sub(26))
        && id.len() == 26
        && is_ulid(id)
    {
        format!("{before}ID")
    } else {
        word.to_owned()
    }
}

/// `name":12` as `name":N`.
fn without_number(text: &str, name: &str) -> String {
    let mut parts = text.split(name);
    let mut normal = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        normal.push_str(name);
        let value = part.trim_start_matches(['\\', '"', ':']);
        normal.push_str(&part[..part.len() - value.len()]);
        let rest = value.trim_start_matches(|c: char| c.is_ascii_digit() || "e.-".contains(c));
        if rest.len() < value.len() {
            normal.push('N');
        }
        normal.push_str(rest);
    }
    normal
}

/// What this program logs, sorted. How often a start is asked for depends on real time.
pub(crate) fn log(log: &str) -> Vec<String> {
    let mut lines: Vec<String> = log
        .lines()
        .filter(|line| {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            let target = line["target"].as_str().expect("a target");
            target.starts_with("tonewall") && line["fields"]["route"] != "/readyz"
        })
        .map(text)
        .collect();
    lines.sort();
    lines
}

pub(crate) fn metrics(metrics: &str) -> Vec<String> {
    let line = |line: &str| {
        let name = REAL_TIME_METRICS
            .iter()
            .find(|name| line.starts_with(**name));
        name.map_or_else(
            || line.to_owned(),
            |_| line[..line.rfind(' ').unwrap_or(0)].to_owned(),
        )
    };
    metrics.lines().map(line).collect()
}

pub(crate) fn rows(rows: &[String]) -> Vec<String> {
    let cell = |cell: &str| match cell.split_once('=') {
        Some((name @ ("fingerprint" | "secret_hash"), _)) => name.to_owned(),
        _ => text(cell),
    };
    let row = |row: &String| row.split(" | ").map(cell).collect::<Vec<_>>().join(" | ");
    rows.iter().map(row).collect()
}

pub(crate) fn answers(answers: &[(String, String)]) -> Vec<String> {
    answers
        .iter()
        .map(|(request, body)| text(&format!("{request}: {body}")))
        .collect()
}

/// Names and payments of the events, one after another. What is told while a field is being keyed
/// comes on a grid of 250 ms: which counts it catches depends on real time, so they are left out.
pub(crate) fn stream(stream: &str) -> Vec<String> {
    let mut told: Vec<String> = events(stream)
        .into_iter()
        .map(|(name, mut event)| {
            event["id"] = Value::Null;
            if let Some(fields) = event["payment"]["fields"].as_object_mut() {
                for field in fields
                    .values_mut()
                    .filter(|field| field["status"] == "capturing")
                {
                    for count in ["count", "masked", "brand", "attempts_left"] {
                        field[count] = Value::Null;
                    }
                }
            }
            text(&format!("{name}: {event}"))
        })
        .collect();
    told.dedup();
    told
}
