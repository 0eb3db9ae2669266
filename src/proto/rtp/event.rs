//! RFC 4733 telephone-event payloads.

use zeroize::Zeroize;

/// Bytes of one event (RFC 4733 §2.3).
pub const EVENT_BYTES: usize = 4;

/// One event of a telephone-event payload (RFC 4733 §2.3). Wiped on drop: the code is a key.
///
/// Deliberately absent: `Debug`, `Clone`.
pub struct NamedEvent {
    /// Event code; 0 to 15 are DTMF keys.
    pub code: u8,
    /// The E bit: the event has ended.
    pub end: bool,
    /// How long it has lasted, in units of the payload type's clock rate.
    pub duration: u16,
}

impl Drop for NamedEvent {
    fn drop(&mut self) {
        self.code.zeroize();
    }
}

/// The events of one payload, in order; several may stand in one packet. A tail shorter than an
/// event is left out, for no length field says what it was meant to be.
pub struct NamedEvents<'a>(&'a [u8]);

impl<'a> NamedEvents<'a> {
    /// The events in `payload`.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }
}

impl Iterator for NamedEvents<'_> {
    type Item = NamedEvent;

    fn next(&mut self) -> Option<NamedEvent> {
        let (&[code, flags, high, low], rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(NamedEvent {
            code,
            end: flags & 0x80 != 0,
            duration: u16::from_be_bytes([high, low]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_events_stand_in_one_payload_and_a_torn_tail_is_left_out() {
        let payload = [5, 0x8a, 0x03, 0x20, 11, 0x0a, 0x00, 0xa0, 7, 7];
        let events: Vec<_> = NamedEvents::new(&payload)
            .map(|e| (e.code, e.end, e.duration))
            .collect();
        assert_eq!(events, [(5, true, 800), (11, false, 160)]);
    }
}
