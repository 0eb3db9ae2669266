//! Hands on what the media plane tells and what other processes left to be recorded.

use std::{sync::Arc, time::Duration};

use tokio::sync::{broadcast::error::RecvError, mpsc};

use super::{payments::Payments, read_clocks};
use crate::{
    audit_log::AuditLog,
    journal::Journal,
    media::{MediaEvent, MediaEventKind},
    metrics::Metrics,
    proto::id::Tenant,
    shadow::Shadows,
    signal::{CallChange, Calls},
};

/// How often records that the command line left are looked for.
const LEFT_RECORDS: Duration = Duration::from_secs(1);

/// How often open outcomes are counted.
const OPEN_OUTCOMES: Duration = Duration::from_secs(5);

/// Hands on every media event, in order, until the media plane is gone.
pub(super) async fn media_events(
    mut events: mpsc::Receiver<MediaEvent>,
    calls: Calls,
    payments: Payments,
    shadows: Option<Shadows>,
    metrics: Arc<Metrics>,
) {
    while let Some(event) = events.recv().await {
        if let (Some(shadows), MediaEventKind::Shadowed(trunk, tally)) = (&shadows, &event.kind) {
            shadows.add(trunk, tally, read_clocks().utc);
        }
        metrics.observe_media(&event);
        calls.handle_media(&event);
        payments.handle_media(&event);
    }
}

/// Tells watchers of calls that came up.
pub(super) async fn call_changes(calls: Calls, payments: Payments) {
    let mut changes = calls.subscribe();
    loop {
        match changes.recv().await {
            Ok(CallChange::Started(call)) => payments.handle_call_started(&call.id),
            Ok(CallChange::Changed(call)) => payments.handle_call_changed(&call.id),
            // The end is told by the media plane; a lagging watcher asks for the state anew.
            Ok(CallChange::Ended(_)) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Counts payments that end.
pub(super) async fn payment_events(payments: Payments, tenant: Tenant, metrics: Arc<Metrics>) {
    let mut live = payments.subscribe(&tenant, None).live;
    loop {
        match live.recv().await {
            Ok(event) => {
                metrics.observe_payment(&event);
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "the metrics did not see some payment events");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Counts what waits to be found out: whoever finds it out, the journal has it.
pub(super) async fn open_outcomes(journal: Journal, metrics: Arc<Metrics>) {
    loop {
        match journal.open_outcomes().await {
            Ok(open) => metrics.observe_open_outcomes(&open, read_clocks().utc),
            Err(error) => {
                tracing::warn!(%error, "what waits to be found out cannot be counted");
            }
        }
        tokio::time::sleep(OPEN_OUTCOMES).await;
    }
}

/// Writes into the compliance log what the command line did while the gateway holds it, and what
/// the log did not take when it happened.
pub(super) async fn left_records(journal: Journal, audit: AuditLog) {
    loop {
        if let Err(error) = take_left_records(&journal, &audit).await {
            tracing::error!(%error, "what was left to be recorded cannot be recorded");
        }
        tokio::time::sleep(LEFT_RECORDS).await;
    }
}

pub(super) async fn take_left_records(journal: &Journal, audit: &AuditLog) -> anyhow::Result<()> {
    for left in journal.records_left().await? {
        let _recorded = audit.record(left.tenant.as_ref(), left.record).await?;
        journal.record_taken(left.number).await?;
    }
    Ok(())
}
