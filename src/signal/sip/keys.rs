//! A caller's keys in SIP messages: taken out before the stack sees the message.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::timeout;
use tracing::warn;
use zeroize::Zeroizing;

use super::{DialogEntry, Dialogs};
use crate::{
    media::SlotSource,
    proto::{
        call::InfoForward,
        id::CallId,
        leg::Leg,
        secret::SealedPress,
        sip::{Cover, Edit, Head, read_key, tells_keys},
    },
    signal::Calls,
};

/// How long the media plane may take to say what becomes of a key.
pub(super) const PRESS_TIMEOUT: Duration = Duration::from_millis(100);

/// The requests of a far end, as the screen has seen them.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The highest number.
    highest: Option<u32>,
    /// The last INFO that told a key, and what became of it.
    told: Option<(u32, InfoForward)>,
}

/// Whether a request is in its turn.
enum Turn {
    /// It is.
    New,
    /// It told a key that this became of: the network repeats datagrams.
    Told(InfoForward),
    /// Something came with this number or a higher one.
    Over,
}

impl Turns {
    /// Of a far end whose first request had this number.
    pub(super) const fn since(number: u32) -> Self {
        Self {
            highest: Some(number),
            told: None,
        }
    }

    fn take(&mut self, number: u32) -> Turn {
        match self.told {
            Some((told, forward)) if told == number => Turn::Told(forward),
            _ if self.highest.is_some_and(|highest| number <= highest) => Turn::Over,
            _ => {
                self.highest = Some(number);
                Turn::New
            }
        }
    }
}

/// Takes keys out of messages.
pub(super) struct Keys {
    dialogs: Dialogs,
    calls: Calls,
    slots: Arc<dyn SlotSource>,
}

impl Keys {
    pub(super) const fn new(dialogs: Dialogs, calls: Calls, slots: Arc<dyn SlotSource>) -> Self {
        Self {
            dialogs,
            calls,
            slots,
        }
    }

    /// What of a message must not go further. An INFO that tells a key gives it to the call.
    pub(super) async fn take(
        &self,
        message: &[u8],
        head: &Head<'_>,
        edit: &Edit,
        peer: usize,
    ) -> Cover {
        let entry = self.dialogs.find(head.call_id);
        let Some(entry) = entry.filter(|entry| entry.leg == Leg::Caller && entry.peer == peer)
        else {
            return Cover::Nothing;
        };
        let turn = entry.turn(head);
        let Some(id) = self.calls.live_id(&entry.registered_as) else {
            return Cover::Nothing;
        };
        let body = message.get(head.body.clone()).unwrap_or_default();
        let is_request = head.status.is_none();
        if is_request && head.method == "INFO" && tells_keys(head.kind()) && !body.is_empty() {
            let forward = match turn {
                Some(Turn::New) => {
                    let forward = self.press(&id, body).await;
                    entry.tell(head.cseq, forward);
                    forward
                }
                Some(Turn::Told(forward)) => forward,
                // The call refuses it, or its transaction answers it.
                Some(Turn::Over) => InfoForward::Keep,
                None => self.otherwise(&id),
            };
            return match forward {
                InfoForward::Keep => Cover::All,
                InfoForward::Relay => Cover::Nothing,
            };
        }
        if !self.calls.is_armed(&id) {
            return Cover::Nothing;
        }
        if edit.describes_session() {
            return Cover::Fields;
        }
        // What is not known may tell a key.
        Cover::All
    }

    fn otherwise(&self, id: &CallId) -> InfoForward {
        if self.calls.is_armed(id) {
            InfoForward::Keep
        } else {
            InfoForward::Relay
        }
    }

    /// Gives the key of an INFO to the call. What cannot be asked is kept where the call is armed.
    async fn press(&self, id: &CallId, body: &[u8]) -> InfoForward {
        let mut copy = Zeroizing::new(body.to_vec());
        let key = match read_key(&mut copy) {
            Ok(key) => key,
            Err(error) => {
                warn!(call = %id, %error, "an INFO tells no key");
                return self.otherwise(id);
            }
        };
        let Some(slot) = self.slots.acquire() else {
            warn!(call = %id, "no slot of secret memory is free for a key; it is lost on an armed call");
            return self.otherwise(id);
        };
        let press = SealedPress::seal(slot, key);
        match timeout(PRESS_TIMEOUT, self.calls.press(id, press)).await {
            Ok(Ok(forward)) => forward,
            Ok(Err(error)) => {
                warn!(call = %id, %error, "the media plane does not take a key");
                self.otherwise(id)
            }
            Err(_) => {
                warn!(call = %id, waited = ?PRESS_TIMEOUT, "the media plane does not answer for a key");
                // It may have taken it: telling it on could tell a key of an armed call.
                InfoForward::Keep
            }
        }
    }
}

impl DialogEntry {
    /// Whether a request of the far end is in its turn; `None` when it is none of this dialog, or
    /// has no turn of its own.
    fn turn(&self, head: &Head<'_>) -> Option<Turn> {
        let remote = self.remote_tag();
        let belongs = head.status.is_none()
            && head.to_tag == Some(&*self.local_tag)
            && head.from_tag.is_some()
            && head.from_tag == remote.as_deref();
        if !belongs || matches!(head.method, "ACK" | "CANCEL") {
            return None;
        }
        Some(self.turns().take(head.cseq))
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, cseq: u32, forward: InfoForward) {
        self.turns().told = Some((cseq, forward));
    }

    /// Whether the key of this INFO was kept.
    pub(super) fn kept(&self, cseq: u32) -> bool {
        self.turns().told == Some((cseq, InfoForward::Keep))
    }
}
