//! The JSON Canonicalization Scheme (RFC 8785), so that one entry has one form and one hash.

use serde_json::Value;

/// The largest whole number that every JSON reader keeps exactly (2^53 - 1; RFC 7493 §2.2).
const LARGEST: u64 = (1 << 53) - 1;

/// Why a value has no canonical form here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotCanonical {
    /// A number with a fraction, a negative one or one beyond 2^53 - 1. Entries count things.
    #[error("found the number {0}; expected a whole number of 0 to 9007199254740991")]
    Number(String),
}

/// The canonical bytes of a value: members sorted by UTF-16 code units (RFC 8785 §3.2.3), no white
/// space, the shortest escapes.
pub fn canonical(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::with_capacity(512);
    write(value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            let whole = number.as_u64().filter(|n| *n <= LARGEST);
            let whole = whole.ok_or_else(|| NotCanonical::Number(number.to_string()))?;
            out.extend_from_slice(whole.to_string().as_bytes());
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for (index, (name, member)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write(member, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// RFC 8785 §3.2.2.2.
fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    // What is escaped is one byte each, and no part of a longer character.
    while let Some(at) = rest.iter().position(is_escaped) {
        let (plain, escaped) = rest.split_at(at);
        out.extend_from_slice(plain);
        match escaped[0] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\x08' => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\x0c' => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &escaped[1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> String {
        let value: Value = serde_json::from_str(json).unwrap();
        String::from_utf8(canonical(&value).unwrap()).unwrap()
    }

    #[test]
    fn the_sorting_example_of_rfc_8785_comes_out_in_its_order() {
        // RFC 8785 §3.2.3: the order is by UTF-16 code units, so U+1F600 (a surrogate pair) comes
        // before U+FB33.
        let sorted = of(
            r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew",
            "1":"One","\ud83d\ude00":"Emoji","\u0080":"Control","\u00f6":"Latin"}"#,
        );
        assert_eq!(
            sorted,
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"\u{f6}\":\"Latin\",\"\u{20ac}\":\"Euro Sign\",\"\u{1f600}\":\"Emoji\",\
             \"\u{fb33}\":\"Hebrew\"}"
        );
    }

    #[test]
    fn the_string_example_of_rfc_8785_is_escaped_as_it_says() {
        let text = of(r#"["\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/"]"#);
        assert_eq!(text, "[\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"]");
    }

    #[test]
    fn a_number_that_readers_would_round_is_refused() {
        for bad in ["9007199254740992", "1.5", "-1", "1e300"] {
            let value: Value = serde_json::from_str(bad).unwrap();
            assert!(canonical(&value).is_err(), "{bad}");
        }
        assert_eq!(of("9007199254740991"), "9007199254740991");
    }
}
