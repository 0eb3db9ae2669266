//! Looks for a card in bytes, in every form in which a program usually lets one slip.

use std::collections::HashSet;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::Card;

/// Digits of a card number in a row that are a find. The last four and the brand may be told.
const RUN: usize = 7;
/// The same within an id or a digest, where seven come about by chance.
const RUN_IN_ID: usize = 10;
/// Letters and digits in a row that make an id or a digest.
const ID: usize = 26;
/// How far behind the name of a field its value is looked for.
const NEAR: usize = 40;

/// Looks for one card.
pub(crate) struct Scanner {
    runs: HashSet<Vec<u8>>,
    long_runs: HashSet<Vec<u8>>,
    /// Found wherever they stand, by their first byte.
    needles: Vec<Vec<(&'static str, Vec<u8>)>>,
    /// Found where no letter, digit or point is beside them: too short for more.
    middle: [Vec<u8>; 1],
    code: [Vec<u8>; 1],
    expiry: Vec<Vec<u8>>,
}

impl Scanner {
    pub(crate) fn new(card: &Card) -> Self {
        let number = card.number.as_bytes();
        let reversed: Vec<u8> = number.iter().rev().copied().collect();
        let windows = |length| -> HashSet<Vec<u8>> {
            [number, &reversed]
                .iter()
                .flat_map(|text| text.windows(length))
                .map(<[u8]>::to_vec)
                .collect()
        };
        let mut needles = vec![Vec::new(); 256];
        for (name, bytes) in disguises(card.number) {
            needles[usize::from(bytes[0])].push((name, bytes));
        }
        let (month, year) = card.expiry.split_at(2);
        Self {
            runs: windows(RUN),
            long_runs: windows(RUN_IN_ID),
            needles,
            middle: [number[6..12].to_vec()],
            code: [card.code.into()],
            expiry: ["", "/", "-"]
                .iter()
                .flat_map(|between| {
                    [
                        format!("{month}{between}{year}"),
                        format!("{year}{between}{month}"),
                    ]
                })
                .map(String::into_bytes)
                .collect(),
        }
    }

    /// What was found first, and at which byte.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<(&'static str, usize)> {
        for at in 0..bytes.len() {
            for (name, needle) in &self.needles[usize::from(bytes[at])] {
                if bytes[at..].starts_with(needle) {
                    return Some((name, at));
                }
            }
        }
        if let Some(at) = self.find_digits(bytes) {
            return Some(("digits in a row", at));
        }
        if let Some(at) = find_alone(bytes, &self.middle) {
            return Some(("the hidden six", at));
        }
        let lower = bytes.to_ascii_lowercase();
        for name in ["code", "cvc", "cvv", "csc"] {
            if let Some(at) = find_near(&lower, name, &self.code) {
                return Some(("security code", at));
            }
        }
        for name in ["expir", "exp_", "mmyy"] {
            if let Some(at) = find_near(&lower, name, &self.expiry) {
                return Some(("expiry", at));
            }
        }
        None
    }

    /// Digits, also in groups with one space or dash between two of them.
    fn find_digits(&self, bytes: &[u8]) -> Option<usize> {
        let is = |at: usize, what: fn(&u8) -> bool| bytes.get(at).is_some_and(what);
        let mut at = 0;
        while at < bytes.len() {
            if !bytes[at].is_ascii_digit() {
                at += 1;
                continue;
            }
            let start = at;
            let mut digits = Vec::new();
            loop {
                if is(at, u8::is_ascii_digit) {
                    digits.push(bytes[at]);
                    at += 1;
                } else if is(at, |b| matches!(b, b' ' | b'-')) && is(at + 1, u8::is_ascii_digit) {
                    at += 1;
                } else {
                    break;
                }
            }
            if digits.len() < RUN {
                continue;
            }
            let before = bytes[..start]
                .iter()
                .rev()
                .take_while(|b| b.is_ascii_alphanumeric())
                .count();
            let behind = bytes[at..]
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric())
                .count();
            let in_id = before + behind > 0 && before + (at - start) + behind >= ID;
            let (runs, length) = if in_id {
                (&self.long_runs, RUN_IN_ID)
            } else {
                (&self.runs, RUN)
            };
            if digits.windows(length).any(|window| runs.contains(window)) {
                return Some(start);
            }
        }
        None
    }
}

/// One of `values` soon behind `name`.
fn find_near(lower: &[u8], name: &str, values: &[Vec<u8>]) -> Option<usize> {
    let mut places = lower.windows(name.len()).enumerate();
    let place = places.find(|(at, text)| {
        *text == name.as_bytes()
            && find_alone(&lower[*at..lower.len().min(at + NEAR)], values).is_some()
    });
    place.map(|(at, _)| at)
}

fn find_alone(bytes: &[u8], values: &[Vec<u8>]) -> Option<usize> {
    let joins = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'.')
    };
    values.iter().find_map(|value| {
        let mut places = bytes.windows(value.len()).enumerate();
        let place = places.find(|(at, text)| {
            text == value && !joins(at.checked_sub(1)) && !joins(Some(at + value.len()))
        });
        place.map(|(at, _)| at)
    })
}

/// The number as bytes that are not its digits in ASCII.
fn disguises(number: &str) -> Vec<(&'static str, Vec<u8>)> {
    let ascii = number.as_bytes();
    let values: Vec<u8> = ascii.iter().map(|digit| digit - b'0').collect();
    let mut all = vec![];
    for window in ascii.windows(RUN) {
        let hex: String = window.iter().map(|byte| format!("{byte:02x}")).collect();
        all.push(("hex", hex.into_bytes()));
    }
    for (name, list) in [
        ("a list of characters", ascii),
        ("a list of digits", &values),
    ] {
        for window in list.windows(RUN) {
            let items: Vec<String> = window.iter().map(ToString::to_string).collect();
            all.push((name, items.join(", ").into_bytes()));
            all.push((name, items.join(",").into_bytes()));
        }
    }
    all.extend(
        values
            .windows(RUN_IN_ID)
            .map(|window| ("digit values", window.to_vec())),
    );
    let packed: Vec<u8> = values
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    all.extend(
        packed
            .windows(6)
            .map(|window| ("packed decimal", window.to_vec())),
    );
    let integer: u64 = number.parse().expect("digits");
    // Seven bytes hold sixteen digits; eight or more may be around them.
    all.push(("an integer", integer.to_be_bytes()[1..].to_vec()));
    all.push(("an integer", integer.to_le_bytes()[..7].to_vec()));
    for part in [ascii, &ascii[..12], &ascii[4..12]] {
        for before in 0..3 {
            // Characters that depend on nothing but the part.
            let text = STANDARD.encode([&vec![0; before], part].concat());
            let (first, last) = ((before * 8).div_ceil(6), (before + part.len()) * 8 / 6);
            all.push(("base64", text.as_bytes()[first..last].to_vec()));
        }
    }
    all
}

/// The card in each form that must be found: what the controls plant.
pub(crate) fn forms(card: &Card) -> Vec<(&'static str, Vec<u8>)> {
    let Card {
        number,
        expiry,
        code,
    } = card;
    let groups = |between: &str| {
        [&number[..4], &number[4..8], &number[8..12], &number[12..]]
            .join(between)
            .into_bytes()
    };
    let ascii = number.as_bytes();
    let integer: u64 = number.parse().expect("digits");
    let mut forms = vec![
        ("whole", ascii.to_vec()),
        ("first twelve", ascii[..12].to_vec()),
        ("hidden six", ascii[6..12].to_vec()),
        ("hidden eight", ascii[4..12].to_vec()),
        ("seven in the middle", ascii[5..12].to_vec()),
        ("by spaces", groups(" ")),
        ("by dashes", groups("-")),
        ("with the expiry", format!("{expiry}{number}").into_bytes()),
        ("in a word", format!("card{number}card").into_bytes()),
        ("reversed", ascii.iter().rev().copied().collect()),
        ("bytes", format!("{ascii:?}").into_bytes()),
        ("big-endian", integer.to_be_bytes().to_vec()),
        ("little-endian", integer.to_le_bytes().to_vec()),
        (
            "hex",
            ascii
                .iter()
                .flat_map(|byte| format!("{byte:02X}").into_bytes())
                .collect(),
        ),
        (
            "packed decimal",
            ascii
                .chunks(2)
                .map(|pair| (pair[0] - b'0') << 4 | (pair[1] - b'0'))
                .collect(),
        ),
        (
            "digit values",
            ascii.iter().map(|digit| digit - b'0').collect(),
        ),
        ("security code", format!("\"cvv\":\"{code}\"").into_bytes()),
        (
            "security code",
            format!("security_code={code}").into_bytes(),
        ),
        (
            "expiry",
            format!("\"expiry\":\"{}/{}\"", &expiry[..2], &expiry[2..]).into_bytes(),
        ),
    ];
    for before in ["", "a", "ab"] {
        forms.push((
            "base64",
            STANDARD.encode(format!("{before}{number}")).into_bytes(),
        ));
        forms.push((
            "base64",
            STANDARD
                .encode(format!("{before}{}", &number[..12]))
                .into_bytes(),
        ));
    }
    forms
}
