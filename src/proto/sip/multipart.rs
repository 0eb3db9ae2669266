//! The session description of a message that carries more than one body (RFC 2046 section 5.1,
//! RFC 5621).

use std::ops::Range;

use super::head::{Fields, bare, find_end};

/// Most parts that are looked at.
const MAX_PARTS: usize = 16;

/// Whether a body of this type has parts.
#[must_use]
pub fn has_parts(content_type: &str) -> bool {
    let kind = bare(content_type).split('/').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("multipart")
}

/// Where in a body of several parts the session description is. `None` where there is none, or more
/// than one, or a part that has to be understood beside it, or what cannot be read.
///
/// `content_type` is the whole value of the field. Parts within parts are not looked into.
#[must_use]
pub fn session_part(content_type: &str, body: &[u8]) -> Option<Range<usize>> {
    let boundary = boundary(content_type)?;
    let mut found = None;
    for part in parts(boundary.as_bytes(), body)? {
        match judge(body.get(part.clone())?)? {
            Part::Session(content) => {
                let content = part.start + content.start..part.start + content.end;
                if found.replace(content).is_some() {
                    return None;
                }
            }
            Part::Other => {}
        }
    }
    found
}

enum Part {
    /// Where, in the part, the description is.
    Session(Range<usize>),
    Other,
}

/// `boundary` of a `Content-Type`.
fn boundary(content_type: &str) -> Option<&str> {
    let (_, parameters) = content_type.split_once(';')?;
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then(|| value.trim())
    })?;
    let value = value
        .strip_prefix('"')
        .map_or(Some(value), |rest| rest.strip_suffix('"'))?;
    // RFC 2046 section 5.1.1.
    (1..=70).contains(&value.len()).then_some(value)
}

/// The parts between the boundaries; `None` where the last boundary is not there.
fn parts(boundary: &[u8], body: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut parts = Vec::new();
    let mut open = None;
    let mut place = 0;
    loop {
        // Each boundary begins a line.
        let (before, dashes) = next_boundary(boundary, body, place)?;
        if let Some(begin) = open {
            if parts.len() == MAX_PARTS {
                return None;
            }
            parts.push(begin..before.max(begin));
        }
        let rest = body.get(dashes + 2 + boundary.len()..)?;
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        if !rest
            .get(..line)?
            .iter()
            .all(|byte| matches!(byte, b' ' | b'\t'))
        {
            return None;
        }
        place = dashes + 2 + boundary.len() + line;
        open = Some(place + 2);
    }
}

/// Where the text before the next boundary ends, and where its dashes begin.
fn next_boundary(boundary: &[u8], body: &[u8], from: usize) -> Option<(usize, usize)> {
    let is_at = |place: usize| {
        let rest = body.get(place..).unwrap_or_default();
        rest.strip_prefix(b"--")
            .is_some_and(|rest| rest.starts_with(boundary))
    };
    if from == 0 && is_at(0) {
        return Some((0, 0));
    }
    (from..body.len())
        .find(|place| {
            body.get(*place..).unwrap_or_default().starts_with(b"\r\n") && is_at(place + 2)
        })
        .map(|place| (place, place + 2))
}

/// What a part is; `None` where it has to be understood and cannot be.
fn judge(part: &[u8]) -> Option<Part> {
    let (head, content) = if part.starts_with(b"\r\n") {
        (&[][..], 2)
    } else {
        let end = find_end(part)?;
        (part.get(..end)?, end + 4)
    };
    let head = std::str::from_utf8(head).ok()?;
    let fields = Fields::read(head, 0).ok()?;
    let one = |name| fields.at_most_one(name, "").ok();
    let kind = one("Content-Type")?.map_or("text/plain", bare);
    let disposition = one("Content-Disposition")?.unwrap_or("session");
    let plain = one("Content-Encoding")?.is_none()
        && one("Content-Transfer-Encoding")?.is_none_or(|encoding| {
            ["7bit", "8bit", "binary"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(encoding))
        });
    if kind.eq_ignore_ascii_case("application/sdp")
        && bare(disposition).eq_ignore_ascii_case("session")
    {
        return plain.then_some(Part::Session(content..part.len()));
    }
    let required = disposition.split(';').skip(1).any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        name.trim().eq_ignore_ascii_case("handling")
            && value
                .trim()
                .trim_matches('"')
                .eq_ignore_ascii_case("required")
    });
    (!required).then_some(Part::Other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/mixed; boundary=\"b 1\"";

    fn found<'a>(content_type: &str, body: &'a str) -> Option<&'a str> {
        session_part(content_type, body.as_bytes()).map(|place| &body[place])
    }

    #[test]
    fn the_description_is_found_among_other_parts() {
        let isup = "Content-Type: application/ISUP\r\nContent-Disposition: signal;handling=optional\r\n\r\n\x01\x02";
        let sdp = "content-type: application/sdp; x=y\r\nContent-Disposition: session\r\n\r\nv=0\r\ns=-\r\n";
        for body in [
            format!("--b 1\r\n{sdp}\r\n--b 1\r\n{isup}\r\n--b 1--"),
            format!("a preamble\r\n--b 1 \t\r\n{isup}\r\n--b 1\r\n{sdp}\r\n--b 1--\r\nepilogue"),
            format!("--b 1\r\n\r\nplain text\r\n--b 1\r\n{sdp}\r\n--b 1--\r\n"),
        ] {
            assert_eq!(found(TYPE, &body), Some("v=0\r\ns=-\r\n"), "{body}");
        }
        let body = "--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x--";
        assert_eq!(
            found("Multipart/Related;type=a/b; Boundary=x", body),
            Some("v=0")
        );
    }

    #[test]
    fn what_is_not_one_description_for_certain_is_none() {
        let sdp = "--b 1\r\nContent-Type: application/sdp\r\n";
        for body in [
            String::new(),
            "--b 1--".to_owned(),
            format!("{sdp}\r\nv=0"),
            format!("{sdp}\r\nv=0\r\n--b 1"),
            format!("{sdp}\r\nv=0\r\n--b 2--"),
            format!("{sdp}\r\nv=0\r\n{sdp}\r\nv=0\r\n--b 1--"),
            format!("{sdp}Content-Type: application/sdp\r\n\r\nv=0\r\n--b 1--"),
            format!("{sdp}Content-Encoding: gzip\r\n\r\nv=0\r\n--b 1--"),
            format!("{sdp}Content-Transfer-Encoding: base64\r\n\r\nv=0\r\n--b 1--"),
            format!("{sdp}Content-Disposition: early-session\r\n\r\nv=0\r\n--b 1--"),
            format!(
                "{sdp}\r\nv=0\r\n--b 1\r\nContent-Type: a/b\r\n\
                 Content-Disposition: x; handling=required\r\n\r\n\r\n--b 1--"
            ),
            format!("--b 1x\r\n{sdp}\r\nv=0\r\n--b 1--"),
        ] {
            assert_eq!(found(TYPE, &body), None, "{body}");
        }
        let body = "--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x--";
        for kind in [
            "multipart/mixed",
            "multipart/mixed;boundary=\"x",
            "multipart/mixed;boundary=",
        ] {
            assert_eq!(found(kind, body), None, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics_and_what_is_found_lies_within(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("--x".to_owned()), Just("\r\n".to_owned()), Just("--".to_owned()),
                    Just("Content-Type: application/sdp".to_owned()), ".{0,6}",
                ],
                0..24,
            ),
        ) {
            let body = pieces.concat();
            if let Some(place) = session_part("multipart/mixed;boundary=x", body.as_bytes()) {
                prop_assert!(body.as_bytes().get(place).is_some());
            }
        }
    }
}
