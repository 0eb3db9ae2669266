//! The head of a SIP message, read strictly before a stack reads the message: what two readers could
//! understand differently is refused (RFC 3261 sections 7.3 and 18.3).

use std::ops::Range;

use thiserror::Error;

/// Longest start line and header together.
pub const MAX_HEAD_BYTES: usize = 16_384;
/// Longest body.
pub const MAX_BODY_BYTES: usize = 16_384;
/// Most header fields.
const MAX_FIELDS: usize = 128;

/// Why a message is refused. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeadError {
    /// No empty line.
    #[error("no end of the header; expected an empty line")]
    Endless,
    /// Larger than any real one.
    #[error("a message of more than {MAX_HEAD_BYTES} bytes of header or {MAX_BODY_BYTES} of body")]
    TooLarge,
    /// A control character, a line end of its own, or no UTF-8.
    #[error("a header with bytes that no header has")]
    Bytes,
    /// The first line.
    #[error("a first line that is neither METHOD URI SIP/2.0 nor SIP/2.0 STATUS REASON")]
    StartLine,
    /// Another version of the protocol.
    #[error("another SIP version than 2.0")]
    Version,
    /// A line without a colon, or too many.
    #[error("a header field without a name or a colon, or more than {MAX_FIELDS} of them")]
    Field,
    /// A header field that must be there once.
    #[error("not exactly one {0}")]
    NotOne(&'static str),
    /// A header field whose value cannot be read.
    #[error("a {0} that cannot be read")]
    Value(&'static str),
    /// More body than came.
    #[error("a Content-Length of more than what came")]
    Short,
}

impl HeadError {
    /// The status that answers a request like this (RFC 3261 section 21).
    #[must_use]
    pub const fn status(&self) -> (u16, &'static str) {
        match self {
            Self::TooLarge => (513, "Message Too Large"),
            Self::Version => (505, "Version Not Supported"),
            _ => (400, "Bad Request"),
        }
    }
}

/// What is told of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// Its status, where it is a response.
    pub status: Option<u16>,
    /// The method of the request, or of the request that it answers.
    pub method: &'a str,
    /// The number in `CSeq`.
    pub cseq: u32,
    /// `Call-ID`.
    pub call_id: &'a str,
    /// Whether `To` has a tag: the request is within a dialog.
    pub in_dialog: bool,
    /// `Content-Type` without parameters.
    pub content_type: Option<&'a str>,
    /// `Event` without parameters.
    pub event: Option<&'a str>,
    /// Where the body is.
    pub body: Range<usize>,
    /// Whether `Content-Length` told so.
    pub length_told: bool,
}

/// Reads the head of a datagram.
///
/// # Errors
/// [`HeadError`] for what must not be taken further.
pub fn read_head(message: &[u8]) -> Result<Head<'_>, HeadError> {
    let end = find_end(message).ok_or(HeadError::Endless)?;
    if end > MAX_HEAD_BYTES {
        return Err(HeadError::TooLarge);
    }
    let head = message.get(..end).ok_or(HeadError::Endless)?;
    let text = checked_text(head)?;
    let (start, rest) = text.split_once("\r\n").unwrap_or((text, ""));
    let (status, request) = start_line(start)?;
    let fields = Fields::read(rest)?;
    let (cseq, method) = cseq(fields.one("CSeq", "")?)?;
    if request.is_some_and(|request| request != method) {
        return Err(HeadError::Value("CSeq"));
    }
    fields.one("From", "f")?;
    let to = fields.one("To", "t")?;
    if fields.all("Via", "v").next().is_none() {
        return Err(HeadError::NotOne("Via"));
    }
    if let Some(hops) = fields.at_most_one("Max-Forwards", "")?
        && number(hops, 255).is_none()
    {
        return Err(HeadError::Value("Max-Forwards"));
    }
    let came = message.len() - end - 4;
    let told = fields
        .at_most_one("Content-Length", "l")?
        .map(|value| number(value, u32::MAX).ok_or(HeadError::Value("Content-Length")))
        .transpose()?;
    let length = told.map_or(came, |told| usize::try_from(told).unwrap_or(usize::MAX));
    if length > MAX_BODY_BYTES {
        return Err(HeadError::TooLarge);
    }
    if length > came {
        return Err(HeadError::Short);
    }
    Ok(Head {
        status,
        method,
        cseq,
        call_id: fields.one("Call-ID", "i")?,
        in_dialog: to.contains(";tag=") || to.contains("; tag="),
        content_type: fields.at_most_one("Content-Type", "c")?.map(bare),
        event: fields.at_most_one("Event", "o")?.map(bare),
        body: end + 4..end + 4 + length,
        length_told: told.is_some(),
    })
}

/// A response to a request that goes no further: made of its own lines, so that nothing has to be
/// understood. `None` where those are not there, or it is an ACK or a response itself.
#[must_use]
pub fn refusal(message: &[u8], status: u16, reason: &str, fields: &str) -> Option<Vec<u8>> {
    let end = find_end(message)
        .unwrap_or(message.len())
        .min(MAX_HEAD_BYTES);
    let text = std::str::from_utf8(message.get(..end)?).ok()?;
    let (start, rest) = text.split_once("\r\n")?;
    if start.starts_with("SIP/") || start.starts_with("ACK ") {
        return None;
    }
    let mut response = format!("SIP/2.0 {status} {reason}\r\n");
    let mut found = [false; 5];
    let mut copied = false;
    for line in rest.split("\r\n") {
        if line.starts_with([' ', '\t']) {
            // Folded: it belongs to the line before it.
            if copied {
                response.truncate(response.len() - 2);
                response.push_str(line);
                response.push_str("\r\n");
            }
            continue;
        }
        let name = line.split(':').next().unwrap_or_default().trim();
        let place = [
            ["Via", "v"],
            ["From", "f"],
            ["To", "t"],
            ["Call-ID", "i"],
            ["CSeq", ""],
        ]
        .iter()
        .position(|names| names.iter().any(|n| n.eq_ignore_ascii_case(name)));
        copied = place.is_some();
        if let Some(place) = place {
            // A second one may contradict the first; but a message has a Via a hop.
            if place > 0 && std::mem::replace(&mut found[place], true) {
                return None;
            }
            found[place] = true;
            response.push_str(line);
            if place == 2 && !line.contains(";tag=") {
                response.push_str(";tag=refused");
            }
            response.push_str("\r\n");
        }
    }
    if found != [true; 5] || response.bytes().any(|byte| byte == 0) {
        return None;
    }
    response.push_str(fields);
    response.push_str("Content-Length: 0\r\n\r\n");
    Some(response.into_bytes())
}

/// Where the header ends: the place of the empty line's `CRLF CRLF`.
fn find_end(message: &[u8]) -> Option<usize> {
    message.windows(4).position(|four| four == b"\r\n\r\n")
}

fn checked_text(head: &[u8]) -> Result<&str, HeadError> {
    let mut before = 0;
    for (place, byte) in head.iter().enumerate() {
        let next = head.get(place + 1).copied();
        let lone = match byte {
            b'\r' => next != Some(b'\n'),
            b'\n' => before != b'\r',
            0..=8 | 11..=31 | 127 => true,
            _ => false,
        };
        if lone {
            return Err(HeadError::Bytes);
        }
        before = *byte;
    }
    std::str::from_utf8(head).map_err(|_| HeadError::Bytes)
}

/// The status of a response, or the method of a request.
fn start_line(line: &str) -> Result<(Option<u16>, Option<&str>), HeadError> {
    if let Some(rest) = line.strip_prefix("SIP/") {
        let (version, rest) = rest.split_once(' ').ok_or(HeadError::StartLine)?;
        if version != "2.0" {
            return Err(HeadError::Version);
        }
        let status = rest.split(' ').next().unwrap_or_default();
        let status = number(status, 699).filter(|_| status.len() == 3);
        let status = status.and_then(|status| u16::try_from(status).ok());
        return match status {
            Some(status @ 100..) => Ok((Some(status), None)),
            _ => Err(HeadError::StartLine),
        };
    }
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(uri), Some(version), None)
            if !method.is_empty()
                && method.bytes().all(is_token)
                && !uri.is_empty()
                && !uri.contains(['<', '>', '"', '\t']) =>
        {
            match version {
                "SIP/2.0" => Ok((None, Some(method))),
                _ if version.starts_with("SIP/") => Err(HeadError::Version),
                _ => Err(HeadError::StartLine),
            }
        }
        _ => Err(HeadError::StartLine),
    }
}

struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, HeadError> {
        let mut fields: Vec<(&str, &str)> = Vec::new();
        let mut begin = 0;
        while begin < text.len() {
            let rest = text.get(begin..).unwrap_or_default();
            // A line that begins with white space goes on with the one before it.
            let mut end = 0;
            loop {
                end += rest
                    .get(end..)
                    .and_then(|r| r.find("\r\n"))
                    .unwrap_or(rest.len() - end);
                let next = rest.as_bytes().get(end + 2);
                if end >= rest.len() || !matches!(next, Some(b' ' | b'\t')) {
                    break;
                }
                end += 2;
            }
            let line = rest.get(..end).unwrap_or(rest);
            let (name, value) = line.split_once(':').ok_or(HeadError::Field)?;
            let name = name.trim_end_matches([' ', '\t']);
            if name.is_empty() || !name.bytes().all(is_token) || fields.len() == MAX_FIELDS {
                return Err(HeadError::Field);
            }
            fields.push((name, value.trim()));
            begin += end + 2;
        }
        Ok(Self(fields))
    }

    fn all(&self, name: &'static str, short: &'static str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(found, _)| {
                found.eq_ignore_ascii_case(name)
                    || (!short.is_empty() && found.eq_ignore_ascii_case(short))
            })
            .map(|(_, value)| *value)
    }

    fn at_most_one(
        &self,
        name: &'static str,
        short: &'static str,
    ) -> Result<Option<&'a str>, HeadError> {
        let mut all = self.all(name, short);
        match (all.next(), all.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(HeadError::NotOne(name)),
        }
    }

    fn one(&self, name: &'static str, short: &'static str) -> Result<&'a str, HeadError> {
        let found = self.at_most_one(name, short)?;
        found
            .filter(|value| !value.is_empty())
            .ok_or(HeadError::NotOne(name))
    }
}

fn cseq(value: &str) -> Result<(u32, &str), HeadError> {
    let mut words = value.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(text), Some(method), None) if method.bytes().all(is_token) => {
            // RFC 3261 section 8.1.1.5: less than 2^31.
            let number = number(text, (1 << 31) - 1).ok_or(HeadError::Value("CSeq"))?;
            Ok((number, method))
        }
        _ => Err(HeadError::Value("CSeq")),
    }
}

fn number(text: &str, most: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.trim_start_matches('0');
    if !digits || value.len() > 10 {
        return None;
    }
    let value: u64 = if value.is_empty() {
        0
    } else {
        value.parse().ok()?
    };
    u32::try_from(value).ok().filter(|value| *value <= most)
}

fn bare(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// RFC 3261 section 25.1.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invite(fields: &str, body: &str) -> Vec<u8> {
        format!(
            "INVITE sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1\r\n\
             From: <sip:2@192.0.2.2>;tag=f\r\nTo: <sip:1@192.0.2.1>\r\nCall-ID: a@b\r\n\
             CSeq: 7 INVITE\r\n{fields}\r\n{body}"
        )
        .into_bytes()
    }

    #[test]
    fn what_is_needed_is_read_in_long_and_short_form() {
        let message = invite("l: 3\r\nc: application/sdp; charset=x\r\n", "v=0more");
        let head = read_head(&message).unwrap();
        assert_eq!((head.method, head.cseq, head.status), ("INVITE", 7, None));
        assert_eq!(
            (head.call_id, head.content_type),
            ("a@b", Some("application/sdp"))
        );
        assert_eq!(&message[head.body], b"v=0");
    }

    #[test]
    fn a_folded_field_is_one_field() {
        let message = invite("Content-Length:\r\n  0\r\nSubject: a\r\n b: c\r\n", "");
        assert!(read_head(&message).unwrap().length_told);
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        for (fields, error) in [
            (
                "Content-Length: 0\r\nl: 3\r\n",
                HeadError::NotOne("Content-Length"),
            ),
            (
                "Content-Length: 3\r\nContent-Length: 3\r\n",
                HeadError::NotOne("Content-Length"),
            ),
            ("Content-Length: 3x\r\n", HeadError::Value("Content-Length")),
            ("Content-Length: -1\r\n", HeadError::Value("Content-Length")),
            ("Content-Length: +3\r\n", HeadError::Value("Content-Length")),
            ("Content-Length:\r\n", HeadError::Value("Content-Length")),
            ("Content-Length: 4\r\n", HeadError::Short),
            (
                "Content-Length: 4294967296\r\n",
                HeadError::Value("Content-Length"),
            ),
            ("Content-Length: 99999999\r\n", HeadError::TooLarge),
            ("Call-ID: other\r\n", HeadError::NotOne("Call-ID")),
            ("i: other\r\n", HeadError::NotOne("Call-ID")),
            ("CSeq: 8 INVITE\r\n", HeadError::NotOne("CSeq")),
            ("Max-Forwards: 256\r\n", HeadError::Value("Max-Forwards")),
            ("no colon\r\n", HeadError::Field),
            ("Subject: a\nContent-Length: 0\r\n", HeadError::Bytes),
            ("Subject: a\rb\r\n", HeadError::Bytes),
            ("Subject: \0\r\n", HeadError::Bytes),
        ] {
            let message = invite(fields, "v=0");
            assert_eq!(read_head(&message).unwrap_err(), error, "{fields:?}");
        }
        let mut latin = invite("Subject: x\r\n", "");
        let place = latin.iter().rposition(|byte| *byte == b'x').unwrap();
        latin[place] = 0xE9;
        assert_eq!(read_head(&latin).unwrap_err(), HeadError::Bytes);
    }

    #[test]
    fn a_refusal_is_made_of_the_requests_own_lines() {
        let message = invite("Via: SIP/2.0/UDP 192.0.2.3\r\n", "");
        let text = String::from_utf8(refusal(&message, 503, "Full", "Retry-After: 5\r\n").unwrap());
        let text = text.unwrap();
        assert!(
            text.starts_with("SIP/2.0 503 Full\r\nVia: SIP/2.0/UDP 192.0.2.2"),
            "{text}"
        );
        assert_eq!(text.matches("Via:").count(), 2);
        assert!(
            text.contains("To: <sip:1@192.0.2.1>;tag=refused\r\n"),
            "{text}"
        );
        assert!(
            text.ends_with("Retry-After: 5\r\nContent-Length: 0\r\n\r\n"),
            "{text}"
        );
        assert_eq!(refusal(b"SIP/2.0 200 OK\r\n\r\n", 400, "", ""), None);
        assert_eq!(refusal(&message[..60], 400, "", ""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_head(&bytes);
            let _ = refusal(&bytes, 400, "Bad Request", "");
        }

        #[test]
        fn no_changed_message_panics(
            place in 0_usize..260, byte: u8, cut in 0_usize..300,
        ) {
            let mut message = invite("Content-Length: 3\r\nContent-Type: a/b\r\n", "v=0");
            if let Some(found) = message.get_mut(place) {
                *found = byte;
            }
            message.truncate(message.len() - cut.min(message.len()));
            let _ = read_head(&message);
            let _ = refusal(&message, 400, "Bad Request", "");
        }
    }
}
