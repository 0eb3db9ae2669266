//! A card as an adapter sees it: its digits can be counted, and copied into a request in secret
//! memory. Nothing else can be done with them.

use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    digest::{BYTES as DIGEST_BYTES, BodyDigest, mac_into},
    test_cards, words,
};
use crate::{
    audit_log::Recorded,
    proto::{
        card::{Expiry, Pan, SecurityCode},
        secret::SecretBytes,
    },
    secret_memory::Slab,
};

/// Where requests that hold a card are composed: slots of secret memory.
pub trait RequestMemory: Send + Sync {
    /// A wiped slot, which is wiped again when it is dropped; `None` when all are taken.
    fn acquire(&self) -> Option<Box<dyn SecretBytes>>;
}

impl RequestMemory for Slab {
    fn acquire(&self) -> Option<Box<dyn SecretBytes>> {
        self.acquire_request().map(|slot| Box::new(slot) as _)
    }
}

/// The card of one payment, borrowed for one attempt.
///
/// Deliberately absent: `Clone`, `Debug`, `Display`, `Serialize`, and any way to get at a digit other
/// than to have it copied into a request.
///
/// ```compile_fail,E0277
/// fn print(card: tonewall::processor::CardView<'_>) {
///     println!("{card:?}");
/// }
/// ```
pub struct CardView<'a> {
    pan: &'a mut Pan,
    expiry: &'a mut Expiry,
    code: Option<&'a mut SecurityCode>,
    memory: &'a dyn RequestMemory,
}

/// A stretch of a request's body: text, or a hole that the card fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// As it stands.
    Text(&'a str),
    /// The card number.
    Pan,
    /// The month of expiry, two digits.
    ExpiryMonth,
    /// The month of expiry as JSON writes a number: without a zero before it.
    ExpiryMonthNumber,
    /// The year of expiry, its last two digits.
    ExpiryYear,
    /// The security code.
    SecurityCode,
}

/// A request composed in secret memory, wiped when dropped.
pub(super) struct CardRequest {
    memory: Box<dyn SecretBytes>,
    /// The request goes from here to the memory's end.
    start: usize,
}

/// A body that is composed, as far as whoever writes its head may know it: how long it is, and its hash.
pub(super) struct Composed<'a>(&'a [u8]);

impl Composed<'_> {
    /// In bytes.
    pub(super) fn length(&self) -> usize {
        self.0.len()
    }

    /// Its hash, which is as secret as the body: whoever has it can find the card by trying.
    pub(super) fn digest(&self) -> BodyDigest {
        BodyDigest::of(self.0)
    }
}

/// Why no request could be composed. Nothing was sent.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum ComposeError {
    /// All slots are taken.
    #[error("no slot of secret memory is free for the request; try again in a moment")]
    NoMemory,
    /// The slot is smaller than the request.
    #[error("the request is longer than its {0} bytes of secret memory")]
    TooLong(usize),
    /// A hole of the template has no field.
    #[error("the request needs a field that is not held or cannot be opened; ask for it again")]
    Unreadable,
}

impl<'a> CardView<'a> {
    pub(super) fn new(
        pan: &'a mut Pan,
        expiry: &'a mut Expiry,
        code: Option<&'a mut SecurityCode>,
        memory: &'a dyn RequestMemory,
    ) -> Self {
        Self {
            pan,
            expiry,
            code,
            memory,
        }
    }

    /// Whether a security code is there to be sent.
    pub(super) fn has_security_code(&self) -> bool {
        self.code.is_some()
    }

    /// Whether its number is one that processors publish for tests.
    pub(super) fn is_test_card(&mut self) -> bool {
        self.read(Piece::Pan, test_cards::is_test_card)
            .unwrap_or(false)
    }

    /// Writes an HMAC-SHA256 of its number, as values 0 to 9; nothing where it cannot be read.
    pub(super) fn authenticate_number(
        &mut self,
        key: &[u8],
        mac: &mut [u8; DIGEST_BYTES],
    ) -> Option<()> {
        self.read(Piece::Pan, |number| mac_into(key, number, mac))
            .ok()
    }

    /// Whether a text that came from outside repeats part of its number. What cannot be compared
    /// counts as repeated.
    pub(super) fn is_repeated_in(&mut self, text: &str) -> bool {
        self.read(Piece::Pan, |number| words::repeats(text, number))
            .unwrap_or(true)
    }

    /// Fills the card into a request: `body` first, at the memory's end, then before it `head`, which may
    /// depend on what the body has become.
    ///
    /// Takes the [`Recorded`] of the sending: without one no card can be read.
    pub(super) fn compose(
        mut self,
        _recorded: Recorded,
        head: impl FnOnce(&Composed<'_>) -> Zeroizing<String>,
        body: &[Piece<'_>],
    ) -> Result<CardRequest, ComposeError> {
        let mut body_length = 0;
        for piece in body {
            body_length += self.read(*piece, <[u8]>::len)?;
        }

        let mut memory = self.memory.acquire().ok_or(ComposeError::NoMemory)?;
        let room = memory.bytes().len();
        let body_start = room.checked_sub(body_length);
        let body_start = body_start.ok_or(ComposeError::TooLong(room))?;
        let mut rest = &mut memory.bytes_mut()[body_start..];
        for piece in body {
            match *piece {
                Piece::Text(text) => append(&mut rest, text.as_bytes(), room)?,
                hole => self.read(hole, |digits| append_digits(&mut rest, digits, room))??,
            }
        }

        let head = head(&Composed(&memory.bytes()[body_start..]));
        let start = body_start.checked_sub(head.len());
        let start = start.ok_or(ComposeError::TooLong(room))?;
        memory.bytes_mut()[start..body_start].copy_from_slice(head.as_bytes());
        Ok(CardRequest { memory, start })
    }

    /// Lends the bytes of a piece. The one place where the card plane opens a field.
    fn read<R>(
        &mut self,
        piece: Piece<'_>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, ComposeError> {
        let read = match piece {
            Piece::Text(text) => Some(read(text.as_bytes())),
            Piece::Pan => self.pan.expose(whole(read)),
            Piece::ExpiryMonth => self.expiry.expose(|digits| digits.get(..2).map(read)),
            Piece::ExpiryMonthNumber => self.expiry.expose(|digits| {
                let month = digits.get(..2)?;
                Some(read(month.strip_prefix(&[0]).unwrap_or(month)))
            }),
            Piece::ExpiryYear => self.expiry.expose(|digits| digits.get(2..4).map(read)),
            Piece::SecurityCode => self.code.as_mut().and_then(|code| code.expose(whole(read))),
        };
        read.ok_or(ComposeError::Unreadable)
    }
}

impl CardRequest {
    /// The whole request, as it goes to the processor.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory.bytes()[self.start..]
    }
}

/// All digits of a field; none of one that cannot be opened, which then is empty.
fn whole<R>(read: impl FnOnce(&[u8]) -> R) -> impl FnOnce(&[u8]) -> Option<R> {
    |digits| (!digits.is_empty()).then(|| read(digits))
}

fn append(rest: &mut &mut [u8], bytes: &[u8], room: usize) -> Result<(), ComposeError> {
    let into = rest
        .split_off_mut(..bytes.len())
        .ok_or(ComposeError::TooLong(room))?;
    into.copy_from_slice(bytes);
    Ok(())
}

/// Digits are kept as values 0 to 9; processors read ASCII.
fn append_digits(rest: &mut &mut [u8], digits: &[u8], room: usize) -> Result<(), ComposeError> {
    let into = rest
        .split_off_mut(..digits.len())
        .ok_or(ComposeError::TooLong(room))?;
    for (to, digit) in into.iter_mut().zip(digits) {
        *to = b'0' + digit;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::testing::{Memory, TestCard, recorded};

    #[test]
    fn a_request_is_its_template_with_the_card_in_the_holes_and_its_exact_length() {
        let memory = Memory::new(128);
        let mut card = TestCard::new("4242424242424242", "1230", Some("123"));
        let body = [
            Piece::Text("n="),
            Piece::Pan,
            Piece::Text("&m="),
            Piece::ExpiryMonth,
            Piece::Text("&y=20"),
            Piece::ExpiryYear,
            Piece::Text("&c="),
            Piece::SecurityCode,
        ];
        let request = card
            .view(&memory)
            .compose(
                recorded(),
                |body| Zeroizing::new(format!("{} ", body.length())),
                &body,
            )
            .map_err(|error| error.to_string())
            .unwrap();
        assert_eq!(request.bytes(), b"36 n=4242424242424242&m=12&y=2030&c=123");
    }

    #[test]
    fn a_head_that_is_made_of_the_body_stands_before_it() {
        let memory = Memory::new(64);
        let mut card = TestCard::new("4242424242424242", "1230", None);
        let request = card
            .view(&memory)
            .compose(
                recorded(),
                |body| body.digest().base64(),
                &[Piece::Text("n="), Piece::Pan],
            )
            .map_err(|error| error.to_string())
            .unwrap();
        // printf n=4242424242424242 | openssl dgst -sha256 -binary | base64
        let digest = "5hKfjahNC1eGAEHfcJuZW3UulfTKKFXx2S1QU08ZHjk=";
        assert_eq!(
            request.bytes(),
            format!("{digest}n=4242424242424242").as_bytes()
        );
    }

    #[test]
    fn a_month_that_is_a_number_has_no_zero_before_it() {
        let memory = Memory::new(16);
        for (expiry, month) in [("0130", "1"), ("0930", "9"), ("1030", "10"), ("1230", "12")] {
            let request = TestCard::new("4242424242424242", expiry, None)
                .view(&memory)
                .compose(
                    recorded(),
                    |body| Zeroizing::new(format!("{} ", body.length())),
                    &[Piece::ExpiryMonthNumber],
                )
                .map_err(|error| error.to_string())
                .unwrap();
            let expected = format!("{} {month}", month.len());
            assert_eq!(request.bytes(), expected.as_bytes(), "{expiry}");
        }
    }

    #[test]
    fn without_memory_or_room_or_field_nothing_is_composed_and_nothing_is_kept() {
        let memory = Memory::new(10);
        let mut card = TestCard::new("4242424242424242", "1230", None);
        let mut compose = |memory: &Memory, body: &[Piece<'_>]| {
            card.view(memory)
                .compose(recorded(), |_| Zeroizing::default(), body)
                .err()
        };
        assert_eq!(
            compose(&memory, &[Piece::Pan]),
            Some(ComposeError::TooLong(10))
        );
        assert_eq!(
            compose(&memory, &[Piece::SecurityCode]),
            Some(ComposeError::Unreadable)
        );
        // There is room for the body, and not for the head too.
        let long = |_: &Composed<'_>| Zeroizing::new("a head".to_owned());
        let mut other = TestCard::new("4242424242424242", "1230", None);
        let view = other.view(&memory);
        let refused = view.compose(recorded(), long, &[Piece::Text("a body")]);
        assert_eq!(refused.err(), Some(ComposeError::TooLong(10)));
        assert_eq!(memory.taken(), 0);
        assert_eq!(
            compose(&Memory::none(), &[Piece::ExpiryYear]),
            Some(ComposeError::NoMemory)
        );
    }
}
