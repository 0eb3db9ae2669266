//! DTMF in the bodies of SIP INFO requests: `application/dtmf-relay` and `application/dtmf`.
//!
//! Neither has a standard, so what is found in the field is read: any case, spaces around every
//! part, any line end, the key as a character or as a telephone-event code.

use thiserror::Error;
use zeroize::Zeroize;

use crate::proto::digit::Key;

/// Longest body. Real ones have 1 to 30 bytes.
const MAX_BYTES: usize = 256;

/// Why a body tells no key. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InfoError {
    /// Larger than any real one.
    #[error(
        "the INFO body has {0} bytes; expected at most {MAX_BYTES}: Signal= and Duration=, or one key"
    )]
    TooLong(usize),
    /// No `Signal=` line, and more or less than one word without it.
    #[error("the INFO body names no signal; expected a line Signal=, or one key alone")]
    NoSignal,
    /// Two `Signal=` lines: which one was pressed is not known.
    #[error("the INFO body names more than one signal; send one INFO a key")]
    Contradiction,
    /// A signal that is no key: a hook flash, say.
    #[error(
        "the INFO body's signal is no key; expected 0 to 9, *, #, A to D or a code of 10 to 15"
    )]
    NotAKey,
}

/// The key that a body tells; the body is overwritten, whatever it told.
///
/// Which of the two forms it has is told by the body itself: senders exist that name the other
/// one as its type. `Duration=` is not used: it is how long a tone would be played, often a
/// constant, and some send it before the key comes up and some after.
///
/// # Errors
/// [`InfoError`] when the body does not tell exactly one key.
pub fn read_key(body: &mut [u8]) -> Result<Key, InfoError> {
    let key = parse(body);
    body.zeroize();
    key
}

fn parse(body: &[u8]) -> Result<Key, InfoError> {
    if body.len() > MAX_BYTES {
        return Err(InfoError::TooLong(body.len()));
    }
    let mut lines = body
        .split(|byte| matches!(byte, b'\r' | b'\n' | 0))
        .map(<[u8]>::trim_ascii);
    let mut signals = lines.clone().filter_map(signal);
    let told = match (signals.next(), signals.next()) {
        (Some(signal), None) => signal,
        (Some(_), Some(_)) => return Err(InfoError::Contradiction),
        (None, _) => {
            let mut words = lines.by_ref().filter(|line| !line.is_empty());
            match (words.next(), words.next()) {
                (Some(word), None) if !word.contains(&b'=') => word,
                _ => return Err(InfoError::NoSignal),
            }
        }
    };
    code_of(told)
        .and_then(Key::from_event)
        .ok_or(InfoError::NotAKey)
}

/// What stands after `Signal=`.
fn signal(line: &[u8]) -> Option<&[u8]> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (name, value) = line.split_at(equals);
    name.trim_ascii()
        .eq_ignore_ascii_case(b"signal")
        .then(|| value.get(1..).unwrap_or_default().trim_ascii())
}

/// The telephone-event code of a signal.
fn code_of(signal: &[u8]) -> Option<u8> {
    match *signal {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        [b'*'] => Some(10),
        [b'#'] => Some(11),
        [letter @ (b'A'..=b'D' | b'a'..=b'd')] => Some(letter.to_ascii_uppercase() - b'A' + 12),
        [b'1', digit @ b'0'..=b'9'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Result<u8, InfoError> {
        let mut bytes = body.as_bytes().to_vec();
        let told = read_key(&mut bytes).map(|key| key.code());
        assert!(bytes.iter().all(|byte| *byte == 0), "{body:?} was left");
        told
    }

    #[test]
    fn every_key_is_read_in_every_form_found_in_the_field() {
        let keys = [
            "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "#", "A", "B", "C", "D",
        ];
        for (code, key) in (0_u8..).zip(keys) {
            for body in [
                format!("Signal={key}\r\nDuration=160\r\n"),
                format!("Signal= {key}\r\nDuration= 250"),
                format!("signal = {key} \nduration = 100\n"),
                format!("SIGNAL={key}"),
                format!("Duration=160\r\nSignal={}\r\n\r\n", key.to_lowercase()),
                format!("\r\n\tSignal\t=\t{key}\r\n\0"),
                format!("Signal={code}\r\nDuration=160\r\n"),
                key.to_owned(),
                format!("{key}\r\n"),
                format!("  {} \n\n", key.to_lowercase()),
                format!("{code}\r\n"),
            ] {
                assert_eq!(read(&body), Ok(code), "{body:?}");
            }
        }
    }

    #[test]
    fn what_does_not_tell_one_key_is_refused_by_name_and_wiped() {
        for (body, error) in [
            ("", InfoError::NoSignal),
            (" \r\n ", InfoError::NoSignal),
            ("Duration=160\r\n", InfoError::NoSignal),
            ("5\r\n6\r\n", InfoError::NoSignal),
            ("Signal=\r\n", InfoError::NotAKey),
            ("Signal=16\r\n", InfoError::NotAKey),
            ("Signal=!\r\n", InfoError::NotAKey),
            ("Signal=05\r\n", InfoError::NotAKey),
            ("Signal=123\r\n", InfoError::NotAKey),
            ("4242424242424242", InfoError::NotAKey),
            ("5 6", InfoError::NotAKey),
            ("hookflash", InfoError::NotAKey),
            ("Signal=5\r\nSignal=5\r\n", InfoError::Contradiction),
            ("Signal=5\r\nsignal = 6\r\n", InfoError::Contradiction),
        ] {
            assert_eq!(read(body), Err(error), "{body:?}");
        }
        let long = format!("Signal=5\r\nX={}", "x".repeat(300));
        assert_eq!(read(&long), Err(InfoError::TooLong(long.len())));
    }

    #[test]
    fn no_error_repeats_what_the_body_said() {
        for body in [
            "4111111111111111",
            "Signal=4111\r\nSignal=4111",
            "Signal=4111",
            "x=4111",
        ] {
            let error = read(body).unwrap_err().to_string();
            assert!(!error.contains("4111"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics_and_each_is_wiped(mut body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_key(&mut body);
            prop_assert!(body.iter().all(|byte| *byte == 0));
        }
    }
}
