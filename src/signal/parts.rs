//! What the registry needs of its neighbours, no more: so that it can be tried without them.

use std::{future::Future, net::SocketAddr, pin::Pin};

use crate::{
    audit_log::{AuditError, AuditLog},
    journal::{ArmedRow, Journal, JournalError},
    media::{CallStats, LegSockets, MediaCommand, MediaError, MediaPlane},
    proto::{
        audit::Record,
        call::{AgentKey, Holder, InfoForward, LegMedia},
        id::{CallId, PaymentId, Tenant},
        leg::Leg,
        ng::{Dict, PaymentOrder},
        secret::SealedPress,
    },
};

/// A future of a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The media plane, as signalling uses it.
pub trait MediaPort: Send + Sync {
    /// See [`MediaPlane::add_call`].
    fn add_call(
        &self,
        call: CallId,
        caller: LegSockets,
        agent: LegSockets,
        media: Option<(Leg, LegMedia)>,
        mask_both: bool,
    ) -> Result<(), MediaError>;
    /// See [`MediaPlane::send`].
    fn send(&self, call: &CallId, command: MediaCommand) -> Result<(), MediaError>;
    /// See [`MediaPlane::stats`].
    fn stats(&self, call: &CallId) -> Option<CallStats>;
    /// See [`MediaPlane::gather`].
    fn gather(&self);
    /// See [`MediaPlane::hand_over`].
    fn hand_over(&self);
    /// See [`MediaPlane::is_behind`].
    fn is_behind(&self) -> bool;
    /// See [`MediaPlane::press`].
    fn press<'a>(
        &'a self,
        call: &'a CallId,
        press: SealedPress,
    ) -> BoxFuture<'a, Result<InfoForward, MediaError>>;
    /// See [`MediaPlane::dial`].
    fn dial<'a>(
        &'a self,
        call: &'a CallId,
        press: SealedPress,
    ) -> BoxFuture<'a, Result<AgentKey, MediaError>>;
}

impl MediaPort for MediaPlane {
    fn add_call(
        &self,
        call: CallId,
        caller: LegSockets,
        agent: LegSockets,
        media: Option<(Leg, LegMedia)>,
        mask_both: bool,
    ) -> Result<(), MediaError> {
        Self::add_call(self, call, caller, agent, media, mask_both)
    }

    fn send(&self, call: &CallId, command: MediaCommand) -> Result<(), MediaError> {
        Self::send(self, call, command)
    }

    fn stats(&self, call: &CallId) -> Option<CallStats> {
        Self::stats(self, call)
    }

    fn gather(&self) {
        Self::gather(self);
    }

    fn hand_over(&self) {
        Self::hand_over(self);
    }

    fn is_behind(&self) -> bool {
        Self::is_behind(self)
    }

    fn press<'a>(
        &'a self,
        call: &'a CallId,
        press: SealedPress,
    ) -> BoxFuture<'a, Result<InfoForward, MediaError>> {
        Box::pin(Self::press(self, call, press))
    }

    fn dial<'a>(
        &'a self,
        call: &'a CallId,
        press: SealedPress,
    ) -> BoxFuture<'a, Result<AgentKey, MediaError>> {
        Box::pin(Self::dial(self, call, press))
    }
}

/// Where it is kept that a call is armed.
pub trait ArmedStore: Send + Sync {
    /// See [`Journal::set_armed`].
    fn set_armed(&self, row: ArmedRow) -> BoxFuture<'_, Result<(), JournalError>>;
    /// See [`Journal::clear_armed`].
    fn clear_armed(
        &self,
        tenant: Tenant,
        signalling_id: String,
        holder: Option<Holder>,
    ) -> BoxFuture<'_, Result<(), JournalError>>;
    /// See [`Journal::armed`].
    fn armed(
        &self,
        tenant: Tenant,
        signalling_id: String,
    ) -> BoxFuture<'_, Result<Vec<ArmedRow>, JournalError>>;
}

impl ArmedStore for Journal {
    fn set_armed(&self, row: ArmedRow) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(Self::set_armed(self, row))
    }

    fn clear_armed(
        &self,
        tenant: Tenant,
        signalling_id: String,
        holder: Option<Holder>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(Self::clear_armed(self, tenant, signalling_id, holder))
    }

    fn armed(
        &self,
        tenant: Tenant,
        signalling_id: String,
    ) -> BoxFuture<'_, Result<Vec<ArmedRow>, JournalError>> {
        Box::pin(Self::armed(self, tenant, signalling_id))
    }
}

/// What a payment has come to, as far as two of them have to be told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its state.
    pub state: &'static str,
    /// How often it was charged.
    pub attempts: u32,
}

/// Who takes payments, as far as signalling may ask for them.
pub trait PaymentPort: Send + Sync {
    /// Begins a payment on a call for a peer; its id once the call is armed.
    ///
    /// # Errors
    /// A sentence that repeats nothing that could be a card number.
    fn begin(
        &self,
        call: CallId,
        order: PaymentOrder,
        peer: SocketAddr,
    ) -> BoxFuture<'_, Result<PaymentId, String>>;
    /// Where it stands.
    fn result(&self, payment: PaymentId) -> BoxFuture<'_, Option<Dict>>;
    /// Waits until it has come to something else than `known`: approved, declined, failed, cancelled or
    /// unknown. `None` when nothing more can come.
    fn outcome(
        &self,
        payment: PaymentId,
        known: Option<Known>,
    ) -> BoxFuture<'_, Option<(Known, Dict)>>;
}

/// Where it is recorded what happened. Signalling needs no proof of it: the proof belongs to
/// captures and charges.
pub trait AuditSink: Send + Sync {
    /// See [`AuditLog::record`].
    fn record<'a>(
        &'a self,
        tenant: Option<&'a Tenant>,
        record: Record,
    ) -> BoxFuture<'a, Result<(), AuditError>>;
    /// See [`AuditLog::note`].
    ///
    /// # Errors
    /// Gives the record back when there is no room for it now.
    fn note(&self, tenant: Option<&Tenant>, record: Record) -> Result<(), Box<Record>>;
}

impl AuditSink for AuditLog {
    fn record<'a>(
        &'a self,
        tenant: Option<&'a Tenant>,
        record: Record,
    ) -> BoxFuture<'a, Result<(), AuditError>> {
        Box::pin(async move { Self::record(self, tenant, record).await.map(drop) })
    }

    fn note(&self, tenant: Option<&Tenant>, record: Record) -> Result<(), Box<Record>> {
        Self::note(self, tenant, record)
    }
}
