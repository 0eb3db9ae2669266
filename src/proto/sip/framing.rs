//! Where a message ends in what a connection brings (RFC 3261 section 18.3).

use super::head::{HeadError, MAX_HEAD_BYTES, find_end, told_length};

/// What stands first in what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed {
    /// Nothing that is whole.
    Partial,
    /// Empty lines of so many bytes.
    Lines {
        /// How many bytes.
        bytes: usize,
        /// Whether they ask for one in return (RFC 5626 section 4.4.1).
        ping: bool,
    },
    /// A message of so many bytes.
    Message(usize),
}

/// Reads what stands first.
///
/// # Errors
/// [`HeadError`] where it cannot be told where the message ends, or it is too large: what comes
/// after it cannot be read either.
pub fn frame(bytes: &[u8]) -> Result<Framed, HeadError> {
    const PING: &[u8] = b"\r\n\r\n";
    if PING.starts_with(bytes) && bytes.len() < PING.len() {
        return Ok(Framed::Partial);
    }
    for (lines, ping) in [(PING, true), (b"\r\n", false)] {
        if bytes.starts_with(lines) {
            let bytes = lines.len();
            return Ok(Framed::Lines { bytes, ping });
        }
    }
    let Some(end) = find_end(bytes) else {
        return if bytes.len() > MAX_HEAD_BYTES {
            Err(HeadError::TooLarge)
        } else {
            Ok(Framed::Partial)
        };
    };
    let length = told_length(bytes, end)?.ok_or(HeadError::NotOne("Content-Length"))?;
    let whole = end + 4 + length;
    Ok(if bytes.len() < whole {
        Framed::Partial
    } else {
        Framed::Message(whole)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::sip::{MAX_BODY_BYTES, read_head};

    fn message(fields: &str, body: &str) -> Vec<u8> {
        format!(
            "INFO sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.2;branch=z9hG4bK1\r\n\
             From: <sip:2@192.0.2.2>;tag=f\r\nTo: <sip:1@192.0.2.1>;tag=t\r\nCall-ID: a@b\r\n\
             CSeq: 7 INFO\r\n{fields}\r\n{body}"
        )
        .into_bytes()
    }

    #[test]
    fn a_message_is_whole_with_its_last_byte_and_not_before() {
        let whole = message("l: 4\r\n", "abcd");
        for length in 3..whole.len() {
            assert_eq!(frame(&whole[..length]), Ok(Framed::Partial), "{length}");
        }
        let two = [&whole[..], b"INFO"].concat();
        assert_eq!(frame(&two), Ok(Framed::Message(whole.len())));
    }

    #[test]
    fn empty_lines_before_a_message_are_told_apart_from_a_ping() {
        for (bytes, expected) in [
            (&b""[..], Framed::Partial),
            (b"\r\n\r", Framed::Partial),
            (
                b"\r\n\r\n",
                Framed::Lines {
                    bytes: 4,
                    ping: true,
                },
            ),
            (
                b"\r\nINFO",
                Framed::Lines {
                    bytes: 2,
                    ping: false,
                },
            ),
            (
                b"\r\n\r\nINFO",
                Framed::Lines {
                    bytes: 4,
                    ping: true,
                },
            ),
        ] {
            assert_eq!(frame(bytes), Ok(expected));
        }
    }

    #[test]
    fn what_has_no_certain_end_is_refused() {
        let large = format!("l: {}\r\n", MAX_BODY_BYTES + 1);
        for (bytes, error) in [
            (message("", "abcd"), HeadError::NotOne("Content-Length")),
            (
                message("l: 4\r\nl: 4\r\n", "abcd"),
                HeadError::NotOne("Content-Length"),
            ),
            (
                message("l: 4,\r\n", "abcd"),
                HeadError::Value("Content-Length"),
            ),
            (message(&large, ""), HeadError::TooLarge),
            (vec![b'x'; MAX_HEAD_BYTES + 1], HeadError::TooLarge),
            (b"INFO\n\r\n\r\n".to_vec(), HeadError::Bytes),
        ] {
            assert_eq!(frame(&bytes), Err(error));
        }
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read_alike(
            fields in proptest::collection::vec("(l|L|Content-Length|c|x) ?:(\r\n)? {0,2}[0-9]{0,3}\r\n", 0..3),
            body in "[a-z\r\n]{0,40}",
        ) {
            let bytes = message(&fields.concat(), &body);
            if let Ok(Framed::Message(length)) = frame(&bytes)
                && let Ok(head) = read_head(&bytes[..length])
            {
                prop_assert_eq!(head.body.end, length);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = frame(&bytes);
        }
    }
}
