//! What is done to a message before anybody else reads it: the session description is taken out of
//! several bodies, what must go no further is overwritten, and the length of the body is told.

use std::ops::Range;

use zeroize::Zeroize;

use super::{
    head::Head,
    multipart::{has_parts, session_part},
};

/// What a session description is called.
const SDP: &str = "application/sdp";

/// The attributes of a description that tell of media and of nothing else.
const ATTRIBUTES: &[&[u8]] = &[
    b"fmtp",
    b"inactive",
    b"maxptime",
    b"mid",
    b"ptime",
    b"recvonly",
    b"rtcp",
    b"rtcp-mux",
    b"rtpmap",
    b"sendonly",
    b"sendrecv",
];

/// What of a message is overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// Nothing.
    Nothing,
    /// The header fields that nothing here needs, and what of a session description is no media.
    Fields,
    /// Those fields and the body.
    All,
}

/// The places of a message that may be changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Edit {
    body: Range<usize>,
    /// The session description, where the body is one or has one among its parts.
    session: Option<Range<usize>>,
    content_type: Option<Range<usize>>,
    content_length: Option<Range<usize>>,
    not_needed: Vec<Range<usize>>,
}

impl Edit {
    /// Of this message with this head.
    #[must_use]
    pub fn of(message: &[u8], head: &Head<'_>) -> Self {
        let kind = head.content_type.as_ref();
        let session = kind.filter(|_| head.may_describe_session());
        let session = session.and_then(|(value, _)| {
            let body = message.get(head.body.clone())?;
            if has_parts(value) {
                let part = session_part(value, body)?;
                Some(head.body.start + part.start..head.body.start + part.end)
            } else {
                head.kind()
                    .eq_ignore_ascii_case(SDP)
                    .then(|| head.body.clone())
            }
        });
        Self {
            session,
            content_type: kind.map(|(_, place)| place.clone()),
            content_length: head.length_told.clone(),
            body: head.body.clone(),
            not_needed: head.not_needed.clone(),
        }
    }

    /// Whether the message describes a session, as its body or among others.
    #[must_use]
    pub const fn describes_session(&self) -> bool {
        self.session.is_some()
    }

    /// Changes the message. What it holds beyond its body belongs to nobody, and goes.
    pub fn carry_out(self, message: &mut Vec<u8>, cover: Cover) {
        let mut body = self.body;
        if cover != Cover::Nothing {
            for place in self.not_needed {
                write_over(message, place, "");
            }
        }
        let before = body.clone();
        match self.session {
            _ if cover == Cover::All => {
                if let Some(body) = message.get_mut(body.clone()) {
                    body.zeroize();
                }
            }
            Some(part) => {
                body.end = body.start + part.len();
                if part != before
                    && let Some(place) = self.content_type
                {
                    message.copy_within(part, body.start);
                    write_over(message, place, SDP);
                }
                if cover == Cover::Fields
                    && let Some(description) = message.get_mut(body.clone())
                {
                    body.end = body.start + keep_media(description);
                }
            }
            None => {}
        }
        if body != before
            && let Some(place) = self.content_length.clone()
        {
            write_over(message, place, &body.len().to_string());
        }
        if let Some(rest) = message.get_mut(body.end..) {
            rest.zeroize();
        }
        message.truncate(body.end);
        if self.content_length.is_none() && !body.is_empty() {
            // A stack takes a datagram without it for one without a body.
            let field = format!("\r\nContent-Length: {}", body.len());
            let place = body.start - 4;
            message.splice(place..place, field.into_bytes());
        }
    }
}

/// Leaves of a description what tells of media, and answers how long it is: free text does not, and
/// attributes that nobody here knows may not.
fn keep_media(description: &mut [u8]) -> usize {
    let mut kept = Vec::with_capacity(description.len());
    for line in description.split_inclusive(|byte| *byte == b'\n') {
        let end = line.trim_ascii_end().len();
        match line {
            // A name that whoever reads it need not know.
            [b's', b'=', _, ..] if end > 2 => {
                kept.extend_from_slice(b"s=-");
                kept.extend_from_slice(line.get(end..).unwrap_or_default());
            }
            [b'o', b'=', rest @ ..] => {
                let user = rest.iter().position(|byte| *byte == b' ').unwrap_or(0);
                kept.extend_from_slice(if user > 0 { b"o=-" } else { b"o=" });
                kept.extend_from_slice(rest.get(user..).unwrap_or_default());
            }
            [b'v' | b's' | b'c' | b't' | b'b' | b'm', b'=', ..] => kept.extend_from_slice(line),
            [b'a', b'=', rest @ ..] => {
                let name = rest
                    .split(|byte| matches!(byte, b':' | b'\r' | b'\n'))
                    .next();
                if name.is_some_and(|name| ATTRIBUTES.contains(&name)) {
                    kept.extend_from_slice(line);
                }
            }
            _ => {}
        }
    }
    description.zeroize();
    if let Some(place) = description.get_mut(..kept.len()) {
        place.copy_from_slice(&kept);
    }
    let length = kept.len();
    kept.zeroize();
    length
}

/// Writes a shorter text over a field's value, behind white space: lines of it become one.
fn write_over(message: &mut [u8], place: Range<usize>, text: &str) {
    let Some(found) = message.get_mut(place) else {
        return;
    };
    found.fill(b' ');
    let behind = found.len().saturating_sub(text.len());
    if let Some(found) = found.get_mut(behind..) {
        found.copy_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rsipstack::sip::SipMessage;

    use super::*;
    use crate::proto::sip::{is_sdp, read_head, value};

    fn message(method: &str, fields: &str, body: &str) -> Vec<u8> {
        format!(
            "{method} sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1\r\n\
             From: <sip:2@192.0.2.2>;tag=f\r\nTo: <sip:1@192.0.2.1>;tag=t\r\nCall-ID: a@b\r\n\
             CSeq: 7 {method}\r\n{fields}\r\n{body}"
        )
        .into_bytes()
    }

    fn edited(mut message: Vec<u8>, cover: Cover) -> Vec<u8> {
        let edit = Edit::of(&message, &read_head(&message).unwrap());
        edit.carry_out(&mut message, cover);
        message
    }

    fn text(message: Vec<u8>) -> String {
        String::from_utf8(message).unwrap()
    }

    const PARTS: &str = "--b\r\nContent-Type: application/isup\r\n\r\nx\r\n\
                         --b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b--\r\n";

    #[test]
    fn of_several_bodies_the_session_description_is_left_and_told_as_the_only_one() {
        for (length, begin) in [
            (format!("l: {}\r\n", PARTS.len()), "c:"),
            (String::new(), "Content-Type:\r\n "),
        ] {
            let fields = format!("{begin} multipart/mixed;\r\n boundary=b\r\n{length}");
            for cover in [Cover::Nothing, Cover::Fields] {
                let found = edited(message("INVITE", &fields, PARTS), cover);
                let SipMessage::Request(read) = SipMessage::try_from(&found[..]).unwrap() else {
                    panic!("a request");
                };
                assert!(is_sdp(&read.headers), "{}", text(found));
                assert_eq!(read.body, b"v=0\r\n");
            }
        }
        let fields = "Content-Type: multipart/mixed;boundary=b\r\n";
        let found = text(edited(message("INFO", fields, PARTS), Cover::Nothing));
        assert!(found.ends_with(PARTS), "no session in an INFO: {found}");
    }

    #[test]
    fn nothing_of_what_is_covered_is_left() {
        let fields =
            "X-Digits: 5\r\n 98\r\nContent-Type: application/dtmf\r\nContent-Length: 2\r\n";
        let whole = message("INFO", fields, "98more");
        let found = edited(whole.clone(), Cover::All);
        assert!(!text(found.clone()).contains('8') && found.ends_with(b"\r\n\r\n\0\0"));
        assert!(!text(edited(whole.clone(), Cover::Fields)).contains("5\r\n"));
        let found = text(edited(whole, Cover::Nothing));
        assert!(found.contains("X-Digits: 5\r\n 98\r\n") && found.ends_with("\r\n\r\n98"));
    }

    #[test]
    fn a_covered_description_tells_of_media_only() {
        let body = "v=0\r\no=QQ 1 2 IN IP4 1.2.3.4\r\ns=QQ\r\ni=QQ\r\nu=Q\r\nc=IN IP4 1.2.3.4\r\n\
                    t=0 0\r\na=x:Q\r\nm=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n\
                    a=sendrecvQ\r\na=sendonly\r\nQ";
        let fields = format!("c: application/sdp\r\nl: {}\r\n", body.len());
        let found = text(edited(message("UPDATE", &fields, body), Cover::Fields));
        let head = read_head(found.as_bytes()).unwrap();
        assert_eq!(
            &found[head.body],
            "v=0\r\no=- 1 2 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendonly\r\n"
        );
        let fields = "c: application/sdp\r\n";
        let found = text(edited(message("UPDATE", fields, body), Cover::Fields));
        assert!(!found.contains('Q'), "{found}");
        let found = text(edited(message("UPDATE", fields, body), Cover::Nothing));
        assert!(found.ends_with(body), "{found}");
        // A name of nothing is longer with one.
        let found = text(edited(
            message("UPDATE", fields, "o= 1\r\ns=\r\ns="),
            Cover::Fields,
        ));
        assert!(found.ends_with("\r\n\r\no= 1\r\ns=\r\ns="), "{found}");
    }

    #[test]
    fn a_length_that_was_not_told_is() {
        let found = text(edited(message("INFO", "c: a/b\r\n", "98"), Cover::Nothing));
        assert!(
            found.ends_with("c: a/b\r\nContent-Length: 2\r\n\r\n98"),
            "{found}"
        );
        let found = text(edited(message("INFO", "", ""), Cover::Nothing));
        assert!(!found.contains("Content-Length"), "{found}");
    }

    proptest! {
        /// Q and J are the keys: the message has them nowhere else, and in the end nowhere.
        #[test]
        fn a_covered_message_is_read_alike_and_tells_nothing(
            fields in proptest::collection::vec(
                (
                    "(X-[a-z]{1,6}|Info-Package|s|Subject|Reason|P-Asserted-Identity)[ \t]{0,2}",
                    "([ -IK-PR-~]|[QJ]|\r\n [aQJ]){0,12}",
                ),
                0..8,
            ),
            kind in "(c|Content-Type|CONTENT-TYPE) ?: ?[a-z]{1,8}/[a-z-]{1,8}(; ?x=[a-z]{1,3})?",
            body in "[QJ\r\n =a-z]{0,40}",
            beyond in proptest::option::of("[QJ]{0,5}"),
        ) {
            let mut lines: Vec<_> = fields.iter().map(|(n, v)| format!("{n}:{v}\r\n")).collect();
            lines.push(format!("{kind}\r\n"));
            let mut rest = body.clone();
            if let Some(beyond) = beyond {
                lines.push(format!("Content-Length: {}\r\n", body.len()));
                rest += &beyond;
            }
            let whole = message("INFO", &lines.concat(), &rest);
            let head = read_head(&whole).unwrap();
            let mut covered = whole.clone();
            Edit::of(&whole, &head).carry_out(&mut covered, Cover::All);
            prop_assert!(!covered.contains(&b'Q') && !covered.contains(&b'J'));
            let again = read_head(&covered).unwrap();
            prop_assert_eq!((again.method, again.cseq), (head.method, head.cseq));
            prop_assert_eq!((again.call_id, again.from_tag), (head.call_id, head.from_tag));
            let SipMessage::Request(read) = SipMessage::try_from(&covered[..]).unwrap() else {
                panic!("a request");
            };
            prop_assert_eq!(read.body, vec![0; body.len()]);
            prop_assert_eq!(value(&read.headers, "Call-ID"), Some("a@b"));
        }
    }
}
