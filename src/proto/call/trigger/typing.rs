//! Keys that may be a code's, as they come.

use std::time::Instant;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::code::{AgentCode, CODE_PATIENCE, LONGEST_DIALLED, Reading};

/// Two more than the longest code has: what fills it is no code, whatever its last key is.
const ROOM: usize = LONGEST_DIALLED + 2;

/// Keys of which each may go on with what was read so far. There may be a PIN among them: they are
/// wiped.
#[derive(Default)]
pub(super) struct Typing {
    typed: Typed,
    began: Option<Instant>,
    last: Option<Instant>,
    hidden: bool,
}

#[derive(Default, Zeroize, ZeroizeOnDrop)]
struct Typed {
    keys: [u8; ROOM],
    count: usize,
}

impl Typing {
    /// What it is with this key. `heard`: when the caller could last hear a key of the agent's.
    pub(super) fn press(
        &mut self,
        code: &AgentCode,
        key: u8,
        heard: Option<Instant>,
        now: Instant,
    ) -> Reading {
        if self.is_empty() {
            self.began = Some(now);
        }
        self.last = Some(now);
        // What does not fit stands in the last place.
        self.typed.count = (self.typed.count + 1).min(ROOM);
        self.typed.keys[self.typed.count - 1] = key;
        let reading = code.read(self.keys(), heard >= self.began);
        self.hidden = matches!(reading, Reading::Hidden);
        reading
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.typed.count == 0
    }

    /// Whether they may hold a PIN.
    pub(super) const fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether the next key came too late.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let waited = |last| now.duration_since(last) > CODE_PATIENCE;
        !self.is_empty() && self.last.is_some_and(waited)
    }

    pub(super) fn keys(&self) -> &[u8] {
        &self.typed.keys[..self.typed.count]
    }

    pub(super) fn keys_but_last(&self) -> &[u8] {
        self.keys().split_last().map_or(&[], |(_, before)| before)
    }

    /// Forgets all but the last key, and that too where it begins no code. Whether it does.
    pub(super) fn begins_anew(&mut self, code: &AgentCode) -> bool {
        let (last, now) = (self.keys().last().copied(), self.last);
        self.clear();
        let (Some(key), Some(now)) = (last, now) else {
            return false;
        };
        let begins = matches!(self.press(code, key, None, now), Reading::Begins);
        if !begins {
            self.clear();
        }
        begins
    }

    pub(super) fn clear(&mut self) {
        self.typed.zeroize();
        (self.began, self.last, self.hidden) = (None, None, false);
    }
}
