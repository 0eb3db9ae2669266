//! What answers a request that goes no further.

use super::{
    head::{MAX_HEAD_BYTES, find_end},
    strict::tag,
};

/// The fields that an answer repeats (RFC 3261 section 8.2.6.2).
const REPEATED: [[&str; 2]; 5] = [
    ["Via", "v"],
    ["From", "f"],
    ["To", "t"],
    ["Call-ID", "i"],
    ["CSeq", ""],
];
const VIA: usize = 0;
const TO: usize = 2;

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
    let mut found = [false; REPEATED.len()];
    let mut lines = rest.split("\r\n").peekable();
    while let Some(line) = lines.next() {
        let mut whole = line.to_owned();
        // Folded: it belongs to the line before it.
        while let Some(more) = lines.next_if(|next| next.starts_with([' ', '\t'])) {
            whole.push(' ');
            whole.push_str(more.trim());
        }
        let Some((name, value)) = whole.split_once(':') else {
            continue;
        };
        let place = REPEATED.iter().position(|names| {
            let is = |known: &&str| known.eq_ignore_ascii_case(name.trim());
            names.iter().any(is)
        });
        let Some(place) = place else { continue };
        // A second one may contradict the first; but a message has a Via a hop.
        if std::mem::replace(&mut found[place], true) && place != VIA {
            return None;
        }
        response.push_str(&whole);
        if place == TO && tag(value).is_none() {
            response.push_str(";tag=refused");
        }
        response.push_str("\r\n");
    }
    if found != [true; REPEATED.len()] || response.bytes().any(|byte| byte == 0) {
        return None;
    }
    response.push_str(fields);
    response.push_str("Content-Length: 0\r\n\r\n");
    Some(response.into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invite(fields: &str) -> Vec<u8> {
        format!(
            "INVITE sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1\r\n\
             f: <sip:2@192.0.2.2>;tag=f\r\nCall-ID: a@b\r\nCSeq: 7 INVITE\r\n{fields}\r\n"
        )
        .into_bytes()
    }

    fn refused(fields: &str) -> String {
        let made = refusal(&invite(fields), 503, "Full", "Retry-After: 5\r\n").unwrap();
        String::from_utf8(made).unwrap()
    }

    #[test]
    fn a_refusal_is_made_of_the_requests_own_lines() {
        let text = refused("To: <sip:1@192.0.2.1>\r\nVia: SIP/2.0/UDP 192.0.2.3\r\nSubject: x\r\n");
        assert!(
            text.starts_with("SIP/2.0 503 Full\r\nVia: SIP/2.0/UDP 192.0.2.2"),
            "{text}"
        );
        assert_eq!(text.matches("Via:").count(), 2);
        assert!(
            text.contains("To: <sip:1@192.0.2.1>;tag=refused\r\n"),
            "{text}"
        );
        assert!(!text.contains("Subject"), "{text}");
        assert!(
            text.ends_with("Retry-After: 5\r\nContent-Length: 0\r\n\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_tag_that_is_there_is_kept_wherever_it_stands() {
        for to in ["<sip:1@b>; tag=x", "<sip:1@b>\r\n ;Tag = x"] {
            let text = refused(&format!("To: {to}\r\n"));
            assert!(!text.contains("refused"), "{text}");
        }
        let text = refused("t : \"a;tag=no\"\r\n\t<sip:1@b>\r\n");
        assert!(
            text.contains("\r\nt : \"a;tag=no\" <sip:1@b>;tag=refused\r\n"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        for message in [
            &b"SIP/2.0 200 OK\r\n\r\n"[..],
            &invite("")[..60],
            &invite(""),
            &invite("To: <a:b>\r\nTo: <a:b>\r\n"),
            &invite("To: <a:\0>\r\n"),
        ] {
            assert_eq!(refusal(message, 400, "", ""), None);
        }
        let ack = String::from_utf8(invite("To: <a:b>\r\n")).unwrap();
        let ack = ack.replace("INVITE", "ACK");
        assert_eq!(refusal(ack.as_bytes(), 400, "", ""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = refusal(&bytes, 400, "Bad Request", "");
        }

        #[test]
        fn no_changed_request_panics(place in 0_usize..260, byte: u8, cut in 0_usize..300) {
            let mut message = invite("To: <sip:1@b>\r\n a\r\n");
            if let Some(found) = message.get_mut(place) {
                *found = byte;
            }
            message.truncate(message.len() - cut.min(message.len()));
            let _ = refusal(&message, 400, "Bad Request", "");
        }
    }
}
