//! What the API stands on, as one trait, so that tests put a fake behind a real listener.

use std::{future::Future, pin::Pin, sync::Arc};

use axum::http::HeaderMap;
use jiff::Timestamp;

use crate::{
    audit_log::{AuditError, AuditLog},
    gateway::{
        links::Links,
        notifications::{NotTaken, Notifications},
        payments::{
            NewPayment, OperationOrder, PaymentError, PaymentView, Payments, PreparedView,
            Principal, Subscription,
        },
    },
    journal::{Idempotent, Journal, JournalError, KeyKind, KeyRow, PaymentFilter},
    proto::{
        audit::Record,
        field::Field,
        id::{KeyId, PaymentId, Tenant},
    },
    shadow::{ShadowReport, Shadows, TrunkLine},
    signal::{CallView, Calls},
};

/// An answer that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything that a request can ask of the gateway.
pub trait Service: Send + Sync + 'static {
    /// Creates a payment.
    fn create<'a>(
        &'a self,
        by: &'a Principal,
        new: NewPayment,
    ) -> Later<'a, Result<PaymentView, PaymentError>>;
    /// Opens a field.
    fn capture<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
        field: Field,
    ) -> Later<'a, Result<PaymentView, PaymentError>>;
    /// Charges.
    fn complete<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
    ) -> Later<'a, Result<PaymentView, PaymentError>>;
    /// Wipes and ends.
    fn cancel<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
    ) -> Later<'a, Result<PaymentView, PaymentError>>;
    /// Settles, voids or refunds.
    fn operate<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
        order: OperationOrder,
    ) -> Later<'a, Result<PaymentView, PaymentError>>;
    /// One payment.
    fn payment<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
    ) -> Later<'a, Result<PaymentView, PaymentError>>;
    /// The tenant's payments that fit, newest first.
    fn payments<'a>(
        &'a self,
        by: &'a Principal,
        call: Option<&'a str>,
        filter: PaymentFilter,
    ) -> Later<'a, Result<Vec<PaymentView>, PaymentError>>;
    /// Has a payment wait for the agent's code.
    fn prepare(&self, by: &Principal, new: NewPayment) -> Result<PreparedView, PaymentError>;
    /// The payment that waits on a call.
    fn prepared(&self, by: &Principal, call: &str) -> Result<Option<PreparedView>, PaymentError>;
    /// None waits any longer; whether one did.
    fn unprepare(&self, by: &Principal, call: &str) -> Result<bool, PaymentError>;
    /// Takes what the processor of this name sends by itself.
    fn notified<'a>(
        &'a self,
        processor: &'a str,
        headers: &'a HeaderMap,
        body: &'a [u8],
    ) -> Later<'a, Result<(), NotTaken>>;
    /// Which desktop is at which call.
    fn links(&self) -> &Links;
    /// The tenant's events after `last`, then live ones.
    fn subscribe(&self, tenant: &Tenant, last: Option<u64>) -> Subscription;
    /// The tenant's live calls.
    fn calls(&self, tenant: &Tenant) -> Vec<CallView>;
    /// One live call by our id or the signalling's.
    fn call(&self, tenant: &Tenant, id: &str) -> Option<CallView>;
    /// The tenant's trunks that shadow mode listens to.
    fn shadow_trunks(&self, tenant: &Tenant) -> Vec<TrunkLine>;
    /// What would be heard on one of them.
    fn shadow_report(&self, tenant: &Tenant, trunk: &str) -> Option<ShadowReport>;
    /// The live key with this hash.
    fn key_by_hash(
        &self,
        kind: KeyKind,
        hash: [u8; 32],
        at: Timestamp,
    ) -> Later<'_, Result<Option<KeyRow>, JournalError>>;
    /// Uses up the one-time key with this hash: of two that try, one gets the row.
    fn redeem_key(
        &self,
        kind: KeyKind,
        hash: [u8; 32],
        at: Timestamp,
    ) -> Later<'_, Result<Option<KeyRow>, JournalError>>;
    /// Stores a key.
    fn put_key(&self, row: KeyRow) -> Later<'_, Result<(), JournalError>>;
    /// Revokes a key; false when there is no such live key.
    fn revoke_key(&self, key: KeyId, at: Timestamp) -> Later<'_, Result<bool, JournalError>>;
    /// Reserves an idempotency key, or tells what became of it.
    fn idempotency(
        &self,
        tenant: Tenant,
        key: String,
        fingerprint: [u8; 32],
        at: Timestamp,
    ) -> Later<'_, Result<Idempotent, JournalError>>;
    /// Keeps the answer to replay, or frees the key.
    fn idempotency_answer(
        &self,
        tenant: Tenant,
        key: String,
        answer: Option<(u16, String)>,
    ) -> Later<'_, Result<(), JournalError>>;
    /// Appends to the tenant's audit log, or to the node's; tells where the record stands. What is
    /// recorded here (sign-ins and refusals) needs no proof further on.
    fn record<'a>(
        &'a self,
        tenant: Option<&'a Tenant>,
        record: Record,
    ) -> Later<'a, Result<u64, AuditError>>;
}

/// The gateway's own parts behind the API.
pub struct Gateway {
    /// Payments.
    pub payments: Payments,
    /// The processor's own notifications.
    pub notifications: Notifications,
    /// Calls.
    pub calls: Calls,
    /// Which desktop is at which of them.
    pub links: Links,
    /// Shadow mode's reports, where it is enabled.
    pub shadows: Option<Shadows>,
    /// Keys and idempotency.
    pub journal: Journal,
    /// Sign-ins and refusals.
    pub audit_log: AuditLog,
}

impl Gateway {
    /// Puts the parts behind the API's trait.
    #[must_use]
    pub fn shared(self) -> Arc<dyn Service> {
        Arc::new(self)
    }
}

impl Service for Gateway {
    fn create<'a>(
        &'a self,
        by: &'a Principal,
        new: NewPayment,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(self.payments.create(by, new))
    }

    fn capture<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
        field: Field,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(self.payments.capture(by, id, field))
    }

    fn complete<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(self.payments.complete(by, id))
    }

    fn cancel<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(self.payments.cancel(by, id))
    }

    fn operate<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
        order: OperationOrder,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(self.payments.operate(by, id, order))
    }

    fn payment<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(self.payments.get(by, id))
    }

    fn payments<'a>(
        &'a self,
        by: &'a Principal,
        call: Option<&'a str>,
        filter: PaymentFilter,
    ) -> Later<'a, Result<Vec<PaymentView>, PaymentError>> {
        Box::pin(self.payments.list(by, call, filter))
    }

    fn prepare(&self, by: &Principal, new: NewPayment) -> Result<PreparedView, PaymentError> {
        self.payments.prepare(by, new)
    }

    fn prepared(&self, by: &Principal, call: &str) -> Result<Option<PreparedView>, PaymentError> {
        self.payments.prepared(by, call)
    }

    fn unprepare(&self, by: &Principal, call: &str) -> Result<bool, PaymentError> {
        self.payments.unprepare(by, call)
    }

    fn notified<'a>(
        &'a self,
        processor: &'a str,
        headers: &'a HeaderMap,
        body: &'a [u8],
    ) -> Later<'a, Result<(), NotTaken>> {
        Box::pin(self.notifications.take(processor, headers, body))
    }

    fn links(&self) -> &Links {
        &self.links
    }

    fn subscribe(&self, tenant: &Tenant, last: Option<u64>) -> Subscription {
        self.payments.subscribe(tenant, last)
    }

    fn calls(&self, tenant: &Tenant) -> Vec<CallView> {
        self.calls.list(tenant)
    }

    fn call(&self, tenant: &Tenant, id: &str) -> Option<CallView> {
        self.calls.find(tenant, id)
    }

    fn shadow_trunks(&self, tenant: &Tenant) -> Vec<TrunkLine> {
        let shadows = self.shadows.as_ref();
        shadows.map_or_else(Vec::new, |shadows| shadows.list(tenant))
    }

    fn shadow_report(&self, tenant: &Tenant, trunk: &str) -> Option<ShadowReport> {
        self.shadows.as_ref()?.report(tenant, trunk)
    }

    fn key_by_hash(
        &self,
        kind: KeyKind,
        hash: [u8; 32],
        at: Timestamp,
    ) -> Later<'_, Result<Option<KeyRow>, JournalError>> {
        Box::pin(self.journal.key_by_hash(kind, hash, at))
    }

    // `revoke_key` answers true to one caller only, so that of two who found the row one gets it.
    fn redeem_key(
        &self,
        kind: KeyKind,
        hash: [u8; 32],
        at: Timestamp,
    ) -> Later<'_, Result<Option<KeyRow>, JournalError>> {
        Box::pin(self.journal.redeem_key(kind, hash, at))
    }

    fn put_key(&self, row: KeyRow) -> Later<'_, Result<(), JournalError>> {
        Box::pin(self.journal.put_key(row))
    }

    fn revoke_key(&self, key: KeyId, at: Timestamp) -> Later<'_, Result<bool, JournalError>> {
        Box::pin(self.journal.revoke_key(key, at))
    }

    fn idempotency(
        &self,
        tenant: Tenant,
        key: String,
        fingerprint: [u8; 32],
        at: Timestamp,
    ) -> Later<'_, Result<Idempotent, JournalError>> {
        Box::pin(self.journal.idempotency(tenant, key, fingerprint, at))
    }

    fn idempotency_answer(
        &self,
        tenant: Tenant,
        key: String,
        answer: Option<(u16, String)>,
    ) -> Later<'_, Result<(), JournalError>> {
        Box::pin(self.journal.idempotency_answer(tenant, key, answer))
    }

    fn record<'a>(
        &'a self,
        tenant: Option<&'a Tenant>,
        record: Record,
    ) -> Later<'a, Result<u64, AuditError>> {
        Box::pin(async move { Ok(self.audit_log.record(tenant, record).await?.sequence()) })
    }
}
