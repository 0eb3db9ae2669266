//! Cards that their issuers do not want to see again, for as long as the call lasts.
//!
//! A card is known again by an HMAC of its number, under a key that is drawn for this process (PCI DSS
//! 3.5.1.1). Key and HMACs stand in one slot of secret memory, and nowhere else.

use rand::{TryRng, rngs::SysRng};

use super::card::{CardView, RequestMemory};
use crate::proto::{id::CallId, secret::SecretBytes};

/// Bytes of the key, and of each HMAC.
const BYTES: usize = 32;

/// The register. Empty, it takes no memory.
#[derive(Default)]
pub(super) struct Barred {
    /// The key, then one HMAC for each of `calls`.
    slot: Option<Box<dyn SecretBytes>>,
    /// On which call each card was barred; `None` where that call is over.
    calls: Vec<Option<CallId>>,
    /// Where the next one goes once there is no room behind the last.
    oldest: usize,
}

/// Why a card could not be barred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotBarred {
    /// Every slot for requests is taken.
    #[error("no slot of secret memory is free")]
    NoMemory,
    /// The system gave no random bytes.
    #[error("no random bytes for a key")]
    NoKey,
    /// The number cannot be opened.
    #[error("the card cannot be read")]
    Unreadable,
}

impl Barred {
    /// The card is not charged again on this call.
    pub(super) fn bar(
        &mut self,
        call: &CallId,
        card: &mut CardView<'_>,
        memory: &dyn RequestMemory,
    ) -> Result<(), NotBarred> {
        if self.slot.is_none() {
            let mut slot = memory.acquire().ok_or(NotBarred::NoMemory)?;
            SysRng
                .try_fill_bytes(&mut slot.bytes_mut()[..BYTES])
                .map_err(|_| NotBarred::NoKey)?;
            self.slot = Some(slot);
        }
        let slot = self.slot.as_mut().ok_or(NotBarred::NoMemory)?;
        let (key, macs) = slot.bytes_mut().split_at_mut(BYTES);
        let free = self.calls.iter().position(Option::is_none);
        let place = match free {
            Some(place) => place,
            None if self.calls.len() < macs.len() / BYTES => {
                self.calls.push(None);
                self.calls.len() - 1
            }
            None => {
                tracing::warn!("so many cards are barred that the oldest is forgotten");
                let place = self.oldest;
                self.oldest = (place + 1) % self.calls.len();
                place
            }
        };
        // It is nobody's until its HMAC stands there.
        self.calls[place] = None;
        let (_, mac) = macs.split_at_mut(place * BYTES);
        let mac = mac.first_chunk_mut().ok_or(NotBarred::NoMemory)?;
        card.authenticate_number(key, mac)
            .ok_or(NotBarred::Unreadable)?;
        self.calls[place] = Some(call.clone());
        Ok(())
    }

    /// Whether it was barred on this call. A number that cannot be read is not known to be.
    pub(super) fn is_barred(&self, call: &CallId, card: &mut CardView<'_>) -> bool {
        let (Some(slot), true) = (&self.slot, self.has(call)) else {
            return false;
        };
        let (key, macs) = slot.bytes().split_at(BYTES);
        let mut ours = [0; BYTES];
        if card.authenticate_number(key, &mut ours).is_none() {
            return false;
        }
        self.calls
            .iter()
            .zip(macs.chunks_exact(BYTES))
            .any(|(of, mac)| of.as_ref() == Some(call) && mac == ours)
    }

    /// The call is over.
    pub(super) fn forget(&mut self, call: &CallId) {
        for of in &mut self.calls {
            of.take_if(|of| of == call);
        }
        if self.calls.iter().all(Option::is_none) {
            // The slot is wiped, and the key with it.
            *self = Self::default();
        }
    }

    fn has(&self, call: &CallId) -> bool {
        self.calls.iter().flatten().any(|of| of == call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::testing::{Memory, TestCard, call};

    const VISA: &str = "4242424242424242";
    const OTHER: &str = "5555555555554444";

    struct Bench {
        memory: Memory,
        barred: Barred,
    }

    impl Bench {
        fn new(bytes: usize) -> Self {
            Self {
                memory: Memory::new(bytes),
                barred: Barred::default(),
            }
        }

        fn bar(&mut self, serial: u64, number: &str) -> Result<(), NotBarred> {
            let mut card = TestCard::new(number, "1230", None);
            self.barred
                .bar(&call(serial), &mut card.view(&self.memory), &self.memory)
        }

        fn is_barred(&self, serial: u64, number: &str) -> bool {
            let mut card = TestCard::new(number, "1231", Some("123"));
            self.barred
                .is_barred(&call(serial), &mut card.view(&self.memory))
        }
    }

    #[test]
    fn a_card_is_barred_on_its_call_and_no_other_is() {
        let mut bench = Bench::new(4096);
        assert!(!bench.is_barred(1, VISA));
        bench.bar(1, VISA).unwrap();
        assert!(bench.is_barred(1, VISA), "whatever the expiry and code");
        assert!(!bench.is_barred(1, OTHER));
        assert!(!bench.is_barred(2, VISA));
        bench.bar(2, OTHER).unwrap();
        assert!(!bench.is_barred(2, VISA) && !bench.is_barred(1, OTHER));
        bench.barred.forget(&call(1));
        assert!(!bench.is_barred(1, VISA));
        assert!(bench.is_barred(2, OTHER));
        // Its place is taken again.
        bench.bar(3, VISA).unwrap();
        assert_eq!(bench.barred.calls.len(), 2);
    }

    #[test]
    fn memory_is_taken_while_a_card_is_barred_and_no_number_stands_in_it() {
        let mut bench = Bench::new(4096);
        assert_eq!(bench.memory.taken(), 0);
        bench.bar(1, VISA).unwrap();
        bench.bar(2, VISA).unwrap();
        assert_eq!(bench.memory.taken(), 1);
        let slot = bench.barred.slot.as_ref().unwrap().bytes();
        let number: Vec<u8> = VISA.bytes().map(|digit| digit - b'0').collect();
        for digits in [VISA.as_bytes(), number.as_slice()] {
            assert!(!slot.windows(6).any(|found| found == &digits[..6]));
        }
        bench.barred.forget(&call(1));
        assert_eq!(bench.memory.taken(), 1);
        bench.barred.forget(&call(2));
        assert_eq!(bench.memory.taken(), 0);
    }

    #[test]
    fn where_there_is_no_room_the_oldest_is_forgotten_and_where_there_is_no_memory_it_is_said() {
        let mut bench = Bench::new(4 * BYTES);
        for serial in 1..=5 {
            bench.bar(serial, VISA).unwrap();
        }
        let barred: Vec<_> = (1..=5).filter(|n| bench.is_barred(*n, VISA)).collect();
        assert_eq!(barred, [3, 4, 5]);

        let mut bench = Bench {
            memory: Memory::none(),
            barred: Barred::default(),
        };
        assert_eq!(bench.bar(1, VISA), Err(NotBarred::NoMemory));
        assert!(!bench.is_barred(1, VISA));
    }
}
