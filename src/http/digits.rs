//! Keeps what might be a card number from coming back: nothing that a client sent and that holds a
//! run of twelve digits is shown, stored or logged.

/// Shortest card number there is (ISO/IEC 7812).
const SHORTEST_PAN: usize = 12;

/// Whether `text` holds twelve digits in a row, single spaces, dots, dashes or slashes between them
/// notwithstanding. A UUID does not count: its digits are random, and it is a common reference.
pub(super) fn could_be_card(text: &str) -> bool {
    !is_uuid(text) && !runs(text).is_empty()
}

/// `text` with every such run replaced.
pub(super) fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for (start, end) in runs(text) {
        clean.push_str(&text[from..start]);
        clean.push_str("[digits withheld]");
        from = end;
    }
    clean.push_str(&text[from..]);
    clean
}

/// Byte ranges of the runs. Digits of other scripts count too: a card number can be pasted in them.
fn runs(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let (mut start, mut end, mut digits, mut gap) = (0, 0, 0_usize, 0);
    let mut close = |start, end, digits| {
        if digits >= SHORTEST_PAN {
            found.push((start, end));
        }
    };
    for (at, c) in text.char_indices() {
        if c.is_numeric() {
            if digits == 0 {
                start = at;
            }
            digits += 1;
            gap = 0;
            end = at + c.len_utf8();
        } else if digits > 0 && gap == 0 && (c.is_whitespace() || ".-_/\u{2013}".contains(c)) {
            gap = 1;
        } else {
            close(start, end, digits);
            (digits, gap) = (0, 0);
        }
    }
    close(start, end, digits);
    found
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_digits_in_a_row_are_withheld_however_they_are_spaced() {
        for card in [
            "4242424242424242",
            "ref 4242 4242 4242 4242 x",
            "PAN4242-4242-4242-4242",
            "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢",
            "123456789012",
        ] {
            assert!(could_be_card(card), "{card}");
            assert!(runs(&redact(card)).is_empty(), "{card}");
        }
        assert_eq!(redact("a 4242 4242 4242 4242, b"), "a [digits withheld], b");
    }

    #[test]
    fn usual_references_pass() {
        for fine in [
            "INV-2026-000123",
            "order 12345678901",
            "93b1d3a4-1111-4222-8333-444455556666",
            "2026-11-22",
            "",
        ] {
            assert!(!could_be_card(fine), "{fine}");
            assert_eq!(
                redact(&format!("say {fine:?}")).contains("withheld"),
                fine.len() == 36
            );
        }
    }
}
