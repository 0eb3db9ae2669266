//! A caller's keys in SIP messages: taken out before the stack sees the message.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::timeout;
use tracing::warn;
use zeroize::Zeroizing;

use super::{DialogEntry, Dialogs, screen::OwnedHead};
use crate::{
    media::SlotSource,
    proto::{
        call::InfoForward,
        id::CallId,
        leg::Leg,
        secret::SealedPress,
        sip::{read_key, tells_keys},
    },
    signal::Calls,
};

/// How long the media plane may take to say what becomes of a key.
const PRESS_TIMEOUT: Duration = Duration::from_millis(100);

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

    /// Whether the body of a message stays here: it is to be overwritten.
    pub(super) async fn take(&self, message: &[u8], head: &OwnedHead, peer: usize) -> bool {
        if !head.is_request || head.body.is_empty() {
            return false;
        }
        let Some(entry) = self.dialogs.find(&head.call_id) else {
            return false;
        };
        if entry.leg != Leg::Caller || entry.peer != peer {
            return false;
        }
        let kind = head.content_type.as_deref().unwrap_or_default();
        if kind.eq_ignore_ascii_case("application/sdp") {
            return false;
        }
        let Some(id) = self.calls.live_id(&entry.registered_as) else {
            return false;
        };
        if head.method != "INFO" || !tells_keys(kind) {
            // What is not known may tell a key.
            return self.calls.is_armed(&id);
        }
        if let Some(before) = entry.told_before(head.cseq) {
            return before == InfoForward::Keep;
        }
        let body = message.get(head.body.clone()).unwrap_or_default();
        let forward = self.press(&id, body).await;
        entry.tell(head.cseq, forward);
        forward == InfoForward::Keep
    }

    /// Gives the key of an INFO to the call. What cannot be asked is kept where the call is armed.
    async fn press(&self, id: &CallId, body: &[u8]) -> InfoForward {
        let otherwise = || {
            if self.calls.is_armed(id) {
                InfoForward::Keep
            } else {
                InfoForward::Relay
            }
        };
        let mut copy = Zeroizing::new(body.to_vec());
        let key = match read_key(&mut copy) {
            Ok(key) => key,
            Err(error) => {
                warn!(call = %id, %error, "an INFO tells no key");
                return otherwise();
            }
        };
        let Some(slot) = self.slots.acquire() else {
            warn!(call = %id, "no slot of secret memory is free for a key; it is lost on an armed call");
            return otherwise();
        };
        let press = SealedPress::seal(slot, key);
        match timeout(PRESS_TIMEOUT, self.calls.press(id, press)).await {
            Ok(Ok(forward)) => forward,
            Ok(Err(error)) => {
                warn!(call = %id, %error, "the media plane does not take a key");
                otherwise()
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
    /// What became of this INFO, if it came before: the network repeats datagrams.
    fn told_before(&self, cseq: u32) -> Option<InfoForward> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match *told {
            Some((last, forward)) if last == cseq => Some(forward),
            // Older than the last: its transaction answers it.
            Some((last, _)) if last > cseq => Some(InfoForward::Keep),
            _ => None,
        }
    }

    fn tell(&self, cseq: u32, forward: InfoForward) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Some((cseq, forward));
    }

    /// Whether the key of this INFO was kept.
    pub(super) fn kept(&self, cseq: u32) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told == Some((cseq, InfoForward::Keep))
    }
}
