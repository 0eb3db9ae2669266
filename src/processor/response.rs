//! Reads an HTTP/1.1 response from what has arrived so far (RFC 9112 §6).

use jiff::{Timestamp, fmt::rfc2822};
use thiserror::Error;
use zeroize::Zeroizing;

/// Most bytes of a response, head included.
pub(super) const MAX_RESPONSE_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// A complete response. The body is wiped when dropped: a processor might echo what it was sent.
pub(super) struct Response {
    /// The status code.
    pub(super) status: u16,
    /// When it was made, by the clock of whoever made it; `None` where that is not said.
    pub(super) date: Option<Timestamp>,
    /// The body, without transfer coding.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// What is wrong with a response.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum ResponseError {
    /// It does not end where it must.
    #[error("the response is longer than {MAX_RESPONSE_BYTES} bytes")]
    TooLarge,
    /// It is no HTTP/1.1.
    #[error("the response is no HTTP/1.1: {0}")]
    Malformed(&'static str),
    /// The connection ended first.
    #[error("the connection ended in the middle of the response")]
    Cut,
}

/// The response, `None` while more is to come. `ended` says that no more will.
pub(super) fn parse(mut received: &[u8], ended: bool) -> Result<Option<Response>, ResponseError> {
    let wait = || {
        if ended {
            Err(ResponseError::Cut)
        } else {
            Ok(None)
        }
    };
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let body = match head.parse(received) {
            Ok(httparse::Status::Complete(length)) => &received[length..],
            Ok(httparse::Status::Partial) => return wait(),
            Err(_) => return Err(ResponseError::Malformed("the head cannot be read")),
        };
        let status = head
            .code
            .ok_or(ResponseError::Malformed("there is no status"))?;
        if (100..200).contains(&status) {
            // Interim responses come before the real one (RFC 9110 §15.2).
            received = body;
            continue;
        }
        let date = head.headers.iter();
        let mut date = date.filter(|header| header.name.eq_ignore_ascii_case("date"));
        let date = date.next().and_then(|header| self::date(header.value));
        let body = match framing(head.headers)? {
            Framing::Length(length) if length > MAX_RESPONSE_BYTES => {
                return Err(ResponseError::TooLarge);
            }
            Framing::Length(length) => body.get(..length).map(copy),
            Framing::Chunked => unchunk(body)?,
            Framing::UntilEnd => ended.then(|| copy(body)),
        };
        return match body {
            Some(body) => Ok(Some(Response { status, date, body })),
            None => wait(),
        };
    }
}

/// The value of a `Date` (RFC 9110 §6.6.1).
pub(super) fn date(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

/// How the body ends. A response that says it twice is refused: that is how responses are smuggled.
fn framing(headers: &[httparse::Header<'_>]) -> Result<Framing, ResponseError> {
    let mut framing = Framing::UntilEnd;
    for header in headers {
        let found = if header.name.eq_ignore_ascii_case("content-length") {
            std::str::from_utf8(header.value)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse().ok())
                .map(Framing::Length)
                .ok_or(ResponseError::Malformed("its Content-Length is no number"))?
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(ResponseError::Malformed(
                    "it has a transfer coding other than chunked",
                ));
            }
            Framing::Chunked
        } else {
            continue;
        };
        if !matches!(framing, Framing::UntilEnd) {
            return Err(ResponseError::Malformed("its length is told twice"));
        }
        framing = found;
    }
    Ok(framing)
}

fn copy(body: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(body.to_vec())
}

fn unchunk(mut rest: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, ResponseError> {
    // As large as what is decoded can get, so that no copy is left behind by growing.
    let mut body = Zeroizing::new(Vec::with_capacity(rest.len()));
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(ResponseError::Malformed("a chunk's size cannot be read")),
        };
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= MAX_RESPONSE_BYTES)
            .ok_or(ResponseError::TooLarge)?;
        if size == 0 {
            return Ok(Some(body));
        }
        let Some(chunk) = rest.get(start..start + size + 2) else {
            return Ok(None);
        };
        let (data, end) = chunk.split_at(size);
        if end != b"\r\n" {
            return Err(ResponseError::Malformed(
                "a chunk does not end where it says",
            ));
        }
        body.extend_from_slice(data);
        rest = &rest[start + size + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ended: bool) -> Result<Option<(u16, Vec<u8>)>, ResponseError> {
        parse(text.as_bytes(), ended)
            .map(|found| found.map(|response| (response.status, response.body.to_vec())))
    }

    #[test]
    fn every_framing_gives_the_body() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello",
        ] {
            assert_eq!(read(text, false), Ok(Some((200, b"hello".to_vec()))));
        }
        let until_end = "HTTP/1.1 200 OK\r\n\r\nhello";
        assert_eq!(read(until_end, false), Ok(None));
        assert_eq!(read(until_end, true), Ok(Some((200, b"hello".to_vec()))));
    }

    #[test]
    fn a_response_says_when_it_was_made_or_does_not() {
        for (line, date) in [
            (
                "date: Thu, 18 Jul 2019 00:18:03 GMT",
                Some("2019-07-18T00:18:03Z"),
            ),
            ("Date: yesterday", None),
            ("X: y", None),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 0\r\n\r\n");
            let response = parse(text.as_bytes(), false).unwrap().unwrap();
            assert_eq!(response.date.map(|date| date.to_string()).as_deref(), date);
        }
    }

    #[test]
    fn a_response_that_arrives_byte_by_byte_is_complete_at_its_last_byte_only() {
        for (text, complete) in [
            ("HTTP/1.1 402 No\r\nContent-Length: 2\r\n\r\n{}", 0),
            (
                "HTTP/1.1 402 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                2, // The empty trailer's line end is not waited for.
            ),
        ] {
            for length in 0..text.len() - complete {
                assert_eq!(read(&text[..length], false), Ok(None), "{length}");
                assert_eq!(read(&text[..length], true), Err(ResponseError::Cut));
            }
            assert_eq!(read(text, false), Ok(Some((402, b"{}".to_vec()))));
        }
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for text in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        ] {
            assert!(
                matches!(read(text, false), Err(ResponseError::Malformed(_))),
                "{text:?}"
            );
        }
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", false),
            Err(ResponseError::TooLarge)
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, ended: bool) {
            let mut text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            text.extend_from_slice(&bytes);
            let _ = parse(&bytes, ended);
            let _ = parse(&text, ended);
        }
    }
}
