//! The head of a SIP message, read strictly before a stack reads the message: what two readers could
//! understand differently is refused (RFC 3261 sections 7.3 and 18.3).

use std::ops::Range;

use thiserror::Error;

use super::strict::{is_request_uri, names_hops, quotes_end, tag};

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

/// The fields that are needed of a caller's message while the call is armed. Whatever else it says, it
/// says to nobody.
const NEEDED: &[(&str, &str)] = &[
    ("Allow", ""),
    ("Call-ID", "i"),
    ("Contact", "m"),
    ("Content-Disposition", ""),
    ("Content-Encoding", "e"),
    ("Content-Length", "l"),
    ("Content-Type", "c"),
    ("CSeq", ""),
    ("From", "f"),
    ("Max-Forwards", ""),
    ("Min-SE", ""),
    ("Proxy-Authenticate", ""),
    ("RAck", ""),
    ("Record-Route", ""),
    ("Require", ""),
    ("Retry-After", ""),
    ("RSeq", ""),
    ("Session-Expires", "x"),
    ("Supported", "k"),
    ("To", "t"),
    ("Via", "v"),
    ("WWW-Authenticate", ""),
];

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
    /// The tag in `From`; each request has one.
    pub from_tag: Option<&'a str>,
    /// The tag in `To`, where there is one: a request with one is within a dialog.
    pub to_tag: Option<&'a str>,
    /// `Content-Type` with its parameters, and its place.
    pub content_type: Option<(&'a str, Range<usize>)>,
    /// The place of what `Content-Length` says, where there is one.
    pub length_told: Option<Range<usize>>,
    /// Where the body is.
    pub body: Range<usize>,
    /// The places of what the fields say that nothing here needs.
    pub not_needed: Vec<Range<usize>>,
}

impl Head<'_> {
    /// What kind of body it has: `Content-Type` without parameters, or nothing.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.content_type
            .as_ref()
            .map_or("", |(value, _)| bare(value))
    }

    /// Whether it is of those messages that describe sessions (RFC 3261 section 13.2.1, RFC 3262,
    /// RFC 3311).
    #[must_use]
    pub fn may_describe_session(&self) -> bool {
        matches!(self.method, "INVITE" | "ACK" | "PRACK" | "UPDATE")
    }
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
    let fields = Fields::read(rest, text.len() - rest.len())?;
    let (cseq, method) = cseq(fields.one("CSeq", "")?)?;
    if request.is_some_and(|request| request != method) {
        return Err(HeadError::Value("CSeq"));
    }
    let from_tag = tag(fields.one("From", "f")?);
    if status.is_none() && from_tag.is_none() {
        // RFC 3261 section 8.1.1.3. What came before it is not spoken here.
        return Err(HeadError::Value("From"));
    }
    let to_tag = tag(fields.one("To", "t")?);
    let call_id = fields.one("Call-ID", "i")?;
    if call_id.contains(char::is_whitespace) {
        // Two readers could join the lines of one that is folded differently.
        return Err(HeadError::Value("Call-ID"));
    }
    for (name, short) in [("From", "f"), ("To", "t"), ("Contact", "m")] {
        if !fields.all(name, short).all(quotes_end) {
            return Err(HeadError::Value(name));
        }
    }
    if fields.all("Via", "v").next().is_none() {
        return Err(HeadError::NotOne("Via"));
    }
    if !fields.all("Via", "v").all(names_hops) {
        return Err(HeadError::Value("Via"));
    }
    if let Some(hops) = fields.at_most_one("Max-Forwards", "")?
        && number(hops, 255).is_none()
    {
        return Err(HeadError::Value("Max-Forwards"));
    }
    fields.at_most_one("Event", "o")?;
    let came = message.len() - end - 4;
    let length_told = fields.place("Content-Length", "l");
    let told = fields.length()?;
    if told.is_none() && came > MAX_BODY_BYTES {
        return Err(HeadError::TooLarge);
    }
    let length = told.unwrap_or(came);
    if length > came {
        return Err(HeadError::Short);
    }
    let kind = fields.at_most_one("Content-Type", "c")?;
    Ok(Head {
        status,
        method,
        cseq,
        call_id,
        from_tag,
        to_tag,
        content_type: kind.zip(fields.place("Content-Type", "c")),
        length_told,
        body: end + 4..end + 4 + length,
        not_needed: fields.not_needed(),
    })
}

/// How long the body is, by what the header that ends there tells.
pub(super) fn told_length(message: &[u8], end: usize) -> Result<Option<usize>, HeadError> {
    if end > MAX_HEAD_BYTES {
        return Err(HeadError::TooLarge);
    }
    let text = checked_text(message.get(..end).ok_or(HeadError::Endless)?)?;
    let (_, rest) = text.split_once("\r\n").unwrap_or((text, ""));
    Fields::read(rest, 0)?.length()
}

/// Where the header ends: the place of the empty line's `CRLF CRLF`.
pub(super) fn find_end(message: &[u8]) -> Option<usize> {
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
            if !method.is_empty() && method.bytes().all(is_token) && is_request_uri(uri) =>
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

/// Header fields, in their order.
pub(super) struct Fields<'a>(Vec<Field<'a>>);

struct Field<'a> {
    name: &'a str,
    value: &'a str,
    /// Where the value is, with what white space is around it.
    place: Range<usize>,
}

impl<'a> Fields<'a> {
    /// `text` begins at this place of the message.
    pub(super) fn read(text: &'a str, at: usize) -> Result<Self, HeadError> {
        let mut fields: Vec<Field<'_>> = Vec::new();
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
            let before = at + begin + name.len() + 1;
            let name = name.trim_end_matches([' ', '\t']);
            if name.is_empty() || !name.bytes().all(is_token) || fields.len() == MAX_FIELDS {
                return Err(HeadError::Field);
            }
            fields.push(Field {
                name,
                value: value.trim(),
                place: before..before + value.len(),
            });
            begin += end + 2;
        }
        Ok(Self(fields))
    }

    fn found(&self, name: &'static str, short: &'static str) -> impl Iterator<Item = &Field<'a>> {
        self.0.iter().filter(move |field| field.is(name, short))
    }

    fn all(&self, name: &'static str, short: &'static str) -> impl Iterator<Item = &'a str> {
        self.found(name, short).map(|field| field.value)
    }

    fn place(&self, name: &'static str, short: &'static str) -> Option<Range<usize>> {
        let field = self.found(name, short).next();
        field.map(|field| field.place.clone())
    }

    fn not_needed(&self) -> Vec<Range<usize>> {
        let needed = |field: &&Field<'_>| !NEEDED.iter().any(|(name, short)| field.is(name, short));
        self.0
            .iter()
            .filter(needed)
            .map(|field| field.place.clone())
            .collect()
    }

    /// What `Content-Length` tells.
    fn length(&self) -> Result<Option<usize>, HeadError> {
        let Some(value) = self.at_most_one("Content-Length", "l")? else {
            return Ok(None);
        };
        let told = number(value, u32::MAX).ok_or(HeadError::Value("Content-Length"))?;
        let told = usize::try_from(told).ok();
        told.filter(|told| *told <= MAX_BODY_BYTES)
            .map(Some)
            .ok_or(HeadError::TooLarge)
    }

    pub(super) fn at_most_one(
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

impl Field<'_> {
    fn is(&self, name: &str, short: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || (!short.is_empty() && self.name.eq_ignore_ascii_case(short))
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

/// A value without its parameters.
pub(super) fn bare(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// RFC 3261 section 25.1.
pub(super) const fn is_token(byte: u8) -> bool {
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
        assert_eq!((head.call_id, head.kind()), ("a@b", "application/sdp"));
        assert_eq!((head.from_tag, head.to_tag), (Some("f"), None));
        assert_eq!(&message[head.body], b"v=0");
    }

    #[test]
    fn a_folded_field_is_one_field() {
        let message = invite("Content-Length:\r\n  0\r\nSubject: a\r\n b: c\r\n", "");
        assert!(read_head(&message).unwrap().length_told.is_some());
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
            ("o: a\r\nEvent: b\r\n", HeadError::NotOne("Event")),
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
    fn a_call_id_of_more_than_one_word_is_none() {
        let whole = String::from_utf8(invite("", "")).unwrap();
        for call_id in ["a b", "a\r\n b", "a\tb"] {
            let message = whole.replace("Call-ID: a@b", &format!("Call-ID: {call_id}"));
            let error = read_head(message.as_bytes()).unwrap_err();
            assert_eq!(error, HeadError::Value("Call-ID"), "{call_id:?}");
        }
        let message = whole.replace("Call-ID: a@b", "Call-ID:\r\n a@b ");
        assert_eq!(read_head(message.as_bytes()).unwrap().call_id, "a@b");
    }

    #[test]
    fn what_nothing_here_needs_is_found_to_the_byte() {
        let message = invite("X-Digits: 5\r\n 6\r\nl: 0\r\nSignal :7\r\nk: timer\r\n", "");
        let head = read_head(&message).unwrap();
        let found: Vec<_> = head
            .not_needed
            .iter()
            .map(|r| &message[r.clone()])
            .collect();
        assert_eq!(found, [&b" 5\r\n 6"[..], b"7"]);
        assert_eq!(&message[head.length_told.unwrap()], b" 0");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_head(&bytes);
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
        }
    }
}
