//! `block DTMF`: arming on behalf of the NG protocol, and what an earlier arming leaves behind.
//!
//! The caller's leg is masked towards the agent, whichever leg a client names: when unsure, mask
//! more, and say so.

use std::net::SocketAddr;

use jiff::Timestamp;
use tokio::time::timeout;
use tracing::{error, warn};

use super::{
    calls::{By, Calls},
    record::CallRecord,
};
use crate::{
    journal::{ArmedRow, JournalError},
    media::{MediaCommand, MediaError},
    proto::{
        audit::{Event, Success},
        call::{ArmRefusal, Holder},
        id::CallId,
        leg::Leg,
        ng::{BlockRequest, Dict, Reply, Security, Value, reason},
    },
};

/// Why DTMF is not blocked.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlockError {
    /// The call cannot be armed.
    #[error("{0}")]
    Refused(#[from] ArmRefusal),
    /// What is not kept would be forgotten by a crash.
    #[error("that the call is armed cannot be kept: {0}")]
    NotKept(#[from] JournalError),
    /// The media plane does not take commands.
    #[error("{0}")]
    Media(#[from] MediaError),
}

impl Calls {
    /// Whether a call of this Call-ID was armed when the gateway last knew it, and the tag of its
    /// caller, where that is known.
    pub(super) async fn was_armed(&self, signalling_id: &str) -> (bool, Option<String>) {
        match self.armed_rows(signalling_id).await {
            Ok(rows) => (
                !rows.is_empty(),
                rows.into_iter().find_map(|row| row.caller_tag),
            ),
            Err(error) => {
                // Not knowing, the call starts armed: it keeps its voice, and no key passes.
                error!(%error, "whether a call was armed before cannot be read; it starts armed");
                (true, None)
            }
        }
    }

    /// `block-DTMF` in an offer or an answer: kept at once, done when both legs have media.
    pub(super) async fn block_as_offered(
        &self,
        id: &CallId,
        wanted: bool,
        peer: SocketAddr,
    ) -> Result<(), BlockError> {
        let state = self.with_live(id, |call| {
            call.block_wanted |= wanted;
            (call.block_wanted, call.answered())
        });
        match state {
            Some((true, true)) => self.arm(id, peer).await,
            Some((true, false)) if wanted => Ok(self.keep(id).await?),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) async fn block(&self, block: &BlockRequest, peer: SocketAddr) -> Reply {
        let _turn = self.turn(&block.call_id).await;
        let Some(id) = self.live_id(&block.call_id) else {
            return Reply::error(reason::UNKNOWN_CALL_BLOCK);
        };
        match block.security {
            Some(Security::Unknown) => {
                return Reply::error(
                    "DTMF-security names nothing that is known; expected off, drop, silence, tone, random, zero or DTMF",
                );
            }
            // A block that asks for nothing releases what another one holds.
            Some(Security::Off) => return self.unblocked(&id, &block.call_id, peer).await,
            Some(Security::On) | None => {}
        }
        match self.arm(&id, peer).await {
            Ok(()) => self.blocked(&id, block),
            Err(problem) => Reply::error(self.not_blocked(&id, &problem, peer).await),
        }
    }

    /// Records that a block was refused; the sentence for whoever asked for it.
    pub(super) async fn not_blocked(
        &self,
        id: &CallId,
        problem: &BlockError,
        peer: SocketAddr,
    ) -> String {
        let event = Event::ArmRefused {
            call: id.clone(),
            reason: problem.to_string(),
        };
        self.record(By::Peer(peer), Success::Failure, event).await;
        warn!(call = %id, %problem, "DTMF is not blocked");
        format!("DTMF is not blocked: {problem}")
    }

    /// Releases what `block DTMF` holds, and nothing else.
    pub(super) async fn unblock(&self, unblock: &BlockRequest, peer: SocketAddr) -> Reply {
        let _turn = self.turn(&unblock.call_id).await;
        let Some(id) = self.live_id(&unblock.call_id) else {
            return Reply::error(reason::UNKNOWN_CALL_BLOCK);
        };
        self.unblocked(&id, &unblock.call_id, peer).await
    }

    async fn unblocked(&self, id: &CallId, signalling_id: &str, peer: SocketAddr) -> Reply {
        if let Err(error) = self.release(id).await {
            return Reply::error(format!("DTMF stays blocked: {error}"));
        }
        let Some(holder) = self.other_holder(id, signalling_id).await else {
            return Reply::ok();
        };
        let refusal = format!("the call stays armed: {holder}");
        let event = Event::DisarmRefused {
            call: id.clone(),
            reason: refusal.clone(),
        };
        self.record(By::Peer(peer), Success::Failure, event).await;
        Reply::ok_with(Dict::new().with("warning", refusal))
    }

    /// Arms for the NG protocol; answers once the media plane has the whole chain in place.
    async fn arm(&self, id: &CallId, peer: SocketAddr) -> Result<(), BlockError> {
        let (blocked, refusal) = self
            .with_live(id, |call| (call.blocked, call.refusal()))
            .ok_or(ArmRefusal::Gone)?;
        if blocked {
            return Ok(());
        }
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
        self.keep(id).await?;
        if let Err(problem) = self.arm_for(id, Holder::Ng).await {
            // It may still arm; a client that was told no must not find the call armed for ever.
            // Where the media plane does not even take this, there is nothing to release.
            let _ = self.inner.media.send(id, MediaCommand::Release(Holder::Ng));
            self.let_go(id).await;
            return Err(problem);
        }
        self.with_live(id, |call| {
            call.blocked = true;
        });
        let event = Event::Armed {
            call: id.clone(),
            holder: "ng".to_owned(),
        };
        // Armed without a record is better than unarmed; the failure is logged where it happened.
        self.record(By::Peer(peer), Success::Success, event).await;
        Ok(())
    }

    /// Arms for a holder and waits until the media plane confirms.
    pub(super) async fn arm_for(&self, id: &CallId, holder: Holder) -> Result<(), BlockError> {
        let answer = self.wait_for(id, holder.clone());
        self.inner.media.send(id, MediaCommand::Arm(holder))?;
        match timeout(self.inner.settings.arm_timeout, answer).await {
            Ok(Ok(armed)) => Ok(armed?),
            Ok(Err(_)) => Err(ArmRefusal::Gone.into()),
            Err(_) => Err(ArmRefusal::TimedOut.into()),
        }
    }

    /// Durable: the NG protocol holds this call armed.
    async fn keep(&self, id: &CallId) -> Result<(), JournalError> {
        let named = |call: &mut CallRecord| (call.signalling_id.to_string(), call.caller_tag());
        let Some((signalling_id, caller_tag)) = self.with_live(id, named) else {
            return Ok(());
        };
        let row = ArmedRow {
            tenant: self.inner.settings.tenant.clone(),
            signalling_id,
            holder: Holder::Ng,
            caller_tag,
            since: Timestamp::now(),
        };
        self.inner.store.set_armed(row).await
    }

    /// Forgets that the NG protocol holds this call. What cannot be forgotten masks too much later.
    async fn let_go(&self, id: &CallId) {
        let Some(signalling_id) = self.with_live(id, |call| call.signalling_id.to_string()) else {
            return;
        };
        let tenant = self.inner.settings.tenant.clone();
        let store = &self.inner.store;
        if let Err(error) = store
            .clear_armed(tenant, signalling_id, Some(Holder::Ng))
            .await
        {
            warn!(call = %id, %error, "that the call is no longer blocked could not be kept");
        }
    }

    async fn release(&self, id: &CallId) -> Result<(), MediaError> {
        self.inner
            .media
            .send(id, MediaCommand::Release(Holder::Ng))?;
        self.with_live(id, |call| {
            call.blocked = false;
            call.block_wanted = false;
        });
        self.let_go(id).await;
        Ok(())
    }

    /// Who else holds the call armed, in words.
    pub(super) async fn other_holder(
        &self,
        id: &CallId,
        signalling_id: &str,
    ) -> Option<&'static str> {
        if self.with_live(id, |call| call.recovered) == Some(true) {
            return Some("it was armed when the gateway restarted, and stays so until it ends");
        }
        match self.armed_rows(signalling_id).await {
            Ok(rows) => rows
                .iter()
                .any(|row| row.holder != Holder::Ng)
                .then_some("a payment holds it; complete or cancel the payment"),
            Err(_) => Some("whether a payment holds it cannot be read; see the gateway's log"),
        }
    }

    async fn armed_rows(&self, signalling_id: &str) -> Result<Vec<ArmedRow>, JournalError> {
        let tenant = self.inner.settings.tenant.clone();
        self.inner
            .store
            .armed(tenant, signalling_id.to_owned())
            .await
    }

    /// The reply to a block that is in place: which legs it masks.
    fn blocked(&self, id: &CallId, block: &BlockRequest) -> Reply {
        let named = self.with_live(id, |call| {
            let by_label = block
                .label
                .as_deref()
                .and_then(|name| call.leg_of_label(name));
            let by_tag = || {
                block
                    .from_tag
                    .as_deref()
                    .and_then(|tag| call.leg_of_tag(tag))
            };
            let by_address = || {
                block
                    .address
                    .and_then(|address| call.leg_of_address(address))
            };
            let leg = by_label
                .or_else(by_address)
                .or_else(|| block.directional.then(by_tag).flatten());
            (call.masked_tags(), call.sides_known(), leg)
        });
        let (masked, sides_known, leg) = named.unwrap_or_default();
        let masked: Vec<Value> = masked.into_iter().map(Value::Text).collect();
        let reply = Reply::ok().with("tonewall-masked", masked);
        if !sides_known {
            return reply.warning(
                "the digits of both legs are masked, for which of them is the caller's is not known",
            );
        }
        if leg == Some(Leg::Agent) {
            return reply.warning("only the caller's digits are masked, not those of this leg");
        }
        reply
    }
}
