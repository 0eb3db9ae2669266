//! Where a message ends in a stream: `COOKIE SP MESSAGE` after `COOKIE SP MESSAGE`, nothing between
//! them, and no length ahead.

use super::cookie::MAX_COOKIE_BYTES;

/// Longest message with its cookie, as long as a datagram can be.
const MAX_BYTES: usize = 65_535;

/// Why a stream cannot be followed any further. Nothing tells where its next message would begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// What comes is no cookie.
    #[error("no space after {MAX_COOKIE_BYTES} bytes; expected a cookie, a space and a message")]
    Cookie,
    /// Neither encoding begins like this.
    #[error("the message begins with neither \"d\" (bencode) nor \"{{\" (JSON)")]
    Encoding,
    /// No bencode.
    #[error("no bencode at byte {0}")]
    Bencode(usize),
    /// Too long.
    #[error("the message is longer than {MAX_BYTES} bytes")]
    TooLong,
}

/// What stands at a place of the stream.
#[derive(Debug, Clone, Copy, Default)]
enum At {
    /// A cookie, of which so much has come.
    #[default]
    Cookie,
    /// The message's first byte.
    Start,
    /// A bencode value, or the end of a list or dictionary.
    Value,
    /// The digits of an integer.
    Integer,
    /// The length of a string, so far.
    Length(usize),
    /// So much of a string is still to come.
    String(usize),
    /// JSON outside of strings.
    Json,
    /// A string of JSON; whether the last byte was a backslash.
    Quoted(bool),
}

/// Follows one stream. Every byte is looked at once, however few come at a time.
#[derive(Debug, Default)]
pub struct Framer {
    at: At,
    /// Bytes of the buffer that were looked at.
    seen: usize,
    /// Open lists and dictionaries.
    depth: usize,
}

impl Framer {
    /// How long the first message in `buffer` is with its cookie, once all of it is there; whoever asks
    /// takes it out of the buffer. Until then the buffer may only grow.
    ///
    /// # Errors
    /// [`FramingError`]: the stream is of no use any more.
    pub fn whole(&mut self, buffer: &[u8]) -> Result<Option<usize>, FramingError> {
        while let Some(byte) = buffer.get(self.seen).copied() {
            let before = self.seen;
            self.at = match self.at {
                At::String(left) => {
                    let here = left.min(buffer.len() - self.seen);
                    self.seen += here;
                    if here < left {
                        At::String(left - here)
                    } else {
                        At::Value
                    }
                }
                at => {
                    self.seen += 1;
                    self.after(at, byte, before)?
                }
            };
            if self.seen > MAX_BYTES {
                return Err(FramingError::TooLong);
            }
            if self.depth == 0 && matches!(self.at, At::Value | At::Json) {
                let length = self.seen;
                *self = Self::default();
                return Ok(Some(length));
            }
        }
        Ok(None)
    }

    /// What stands behind this byte, which is not within a bencode string.
    fn after(&mut self, at: At, byte: u8, place: usize) -> Result<At, FramingError> {
        let broken = FramingError::Bencode(place);
        Ok(match (at, byte) {
            (At::Cookie, b' ') if place > 0 => At::Start,
            (At::Cookie, _) if place >= MAX_COOKIE_BYTES => return Err(FramingError::Cookie),
            (At::Cookie, _) => At::Cookie,
            (At::Start, b'd') => self.open(At::Value),
            (At::Start, b'{') => self.open(At::Json),
            (At::Start, _) => return Err(FramingError::Encoding),
            (At::Value, b'd' | b'l') => self.open(At::Value),
            (At::Value, b'e') => self.close(At::Value),
            (At::Value, b'i') => At::Integer,
            (At::Integer, b'e') => At::Value,
            (At::Integer, b'0'..=b'9' | b'-') => At::Integer,
            (At::Value, b'0'..=b'9') => At::Length(usize::from(byte - b'0')),
            (At::Length(length), b'0'..=b'9') => {
                let length = length * 10 + usize::from(byte - b'0');
                if length > MAX_BYTES {
                    return Err(FramingError::TooLong);
                }
                At::Length(length)
            }
            (At::Length(0), b':') => At::Value,
            (At::Length(length), b':') => At::String(length),
            (At::Value | At::Integer | At::Length(_) | At::String(_), _) => return Err(broken),
            (At::Json, b'{' | b'[') => self.open(At::Json),
            (At::Json, b'}' | b']') => self.close(At::Json),
            (At::Json, b'"') | (At::Quoted(true), _) => At::Quoted(false),
            (At::Json, _) => At::Json,
            (At::Quoted(false), b'"') => At::Json,
            (At::Quoted(false), _) => At::Quoted(byte == b'\\'),
        })
    }

    const fn open(&mut self, at: At) -> At {
        self.depth += 1;
        at
    }

    const fn close(&mut self, at: At) -> At {
        // It began with one that is open, and ends with the last.
        self.depth -= 1;
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGES: [&str; 6] = [
        "0_4214_0 d7:command4:pinge",
        "1 d5:flagsl1:e2:eei-42ee3:sdp0:1:xd1:yi7eee",
        r#"c2 {"command":"ping"}"#,
        r#"c3 {"sdp":"} \" ] \\","flags":["a",{"b":[]}]}"#,
        "c4 de",
        "c5 {}",
    ];

    fn framed(stream: &[u8], step: usize) -> Result<Vec<String>, FramingError> {
        let (mut framer, mut buffer, mut found) = (Framer::default(), Vec::new(), Vec::new());
        for part in stream.chunks(step.max(1)) {
            buffer.extend_from_slice(part);
            while let Some(length) = framer.whole(&buffer)? {
                let message = buffer.drain(..length).collect();
                found.push(String::from_utf8(message).unwrap());
            }
        }
        Ok(found)
    }

    #[test]
    fn messages_end_where_they_end_however_the_stream_is_cut() {
        let stream = MESSAGES.concat();
        for step in 1..stream.len() {
            assert_eq!(framed(stream.as_bytes(), step).unwrap(), MESSAGES, "{step}");
        }
    }

    #[test]
    fn what_is_no_message_breaks_the_stream_at_once() {
        for (stream, error) in [
            ("c x", FramingError::Encoding),
            ("c d1x", FramingError::Bencode(4)),
            ("c dix", FramingError::Bencode(4)),
            ("c dx", FramingError::Bencode(3)),
            ("c d65536:", FramingError::TooLong),
            ("c d99999999999999999999999999:", FramingError::TooLong),
        ] {
            assert_eq!(framed(stream.as_bytes(), 1), Err(error), "{stream}");
        }
        let long = "c".repeat(300);
        assert_eq!(framed(long.as_bytes(), 7), Err(FramingError::Cookie));
        let long = format!("c {{{}", " ".repeat(70_000));
        assert_eq!(framed(long.as_bytes(), 1000), Err(FramingError::TooLong));
        let long = format!("c d{}", "65535:".to_owned() + &"x".repeat(70_000));
        assert_eq!(framed(long.as_bytes(), 1000), Err(FramingError::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_break_the_stream(
            stream in prop::collection::vec(prop::sample::select(b"c d{}[]le:\"\\i019".to_vec()), 0..200),
            step in 1_usize..9,
        ) {
            prop_assert_eq!(framed(&stream, step), framed(&stream, 200));
        }
    }
}
