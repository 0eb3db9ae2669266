//! Prometheus metrics, on a listener of their own. No digit and no label of many values.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, http::header, routing::get};
use jiff::Timestamp;
use prometheus::{
    Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::{
    audit_log::AuditLog,
    callbacks::Totals,
    gateway::payments::{PaymentEvent, PaymentState},
    journal::OpenOutcomes,
    media::{MediaEvent, MediaEventKind, MediaPlane},
    proto::{capture::CaptureEventKind, field::Field, id::EndpointName, leg::Leg},
};

/// Peers by name, and whether each answers.
type PeersThere = Box<dyn Fn() -> Vec<(String, bool)> + Send + Sync>;
/// What became of messages to merchants, by endpoint.
type CallbackTotals = Box<dyn Fn() -> Vec<(EndpointName, Totals)> + Send + Sync>;
/// What a door of the control plane turned away since the start, by reason.
type RefusalTotals = Box<dyn Fn() -> Vec<(&'static str, &'static str, u64)> + Send + Sync>;

/// All metrics of the gateway.
pub struct Metrics {
    registry: Registry,
    media: MediaPlane,
    calls: IntGauge,
    armed_calls: IntGauge,
    packets: IntCounterVec,
    refused: IntCounterVec,
    unsent: IntCounter,
    panicked: IntCounter,
    armings: IntCounterVec,
    keys_heard: IntCounter,
    packets_checked: IntCounter,
    packets_masked: IntCounter,
    incidents: IntCounter,
    tightened: IntCounterVec,
    contested: IntCounter,
    shadowed: IntCounter,
    captures: IntCounterVec,
    payments: IntCounterVec,
    notifications: IntCounterVec,
    unresolved: IntGauge,
    operations_open: IntGauge,
    operations_oldest: IntGauge,
    audit: AuditLog,
    audit_healthy: IntGauge,
    control_refused: IntCounterVec,
    refusals: Mutex<Vec<RefusalTotals>>,
    sip_peers: IntGaugeVec,
    peers: Mutex<Option<PeersThere>>,
    callbacks_tried: IntCounterVec,
    callbacks_waiting: IntGaugeVec,
    callbacks_dead: IntGaugeVec,
    callbacks_oldest: IntGaugeVec,
    callbacks: Mutex<Option<CallbackTotals>>,
    /// Held while totals of the workers are taken over, so that two scrapes do not add them twice.
    scrape: Mutex<()>,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Only when two metrics were given one name: an error in this file.
    pub fn new(
        media: MediaPlane,
        audit: AuditLog,
        secret_memory: &str,
    ) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let info = IntGaugeVec::new(
            Opts::new("tonewall_build_info", "Version and kind of secret memory."),
            &["version", "secret_memory"],
        )?;
        registry.register(Box::new(info.clone()))?;
        registry.register(Box::new(media.waits().clone()))?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), secret_memory])
            .set(1);
        let sip_peers = IntGaugeVec::new(
            Opts::new(
                "tonewall_sip_peer_up",
                "Whether a SIP peer answered when it was last asked.",
            ),
            &["peer"],
        )?;
        registry.register(Box::new(sip_peers.clone()))?;
        let of_endpoints = |name: &str, help: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &["endpoint"])?;
            registry.register(Box::new(gauges.clone()))?;
            prometheus::Result::Ok(gauges)
        };
        Ok(Self {
            callbacks_tried: counters(
                "tonewall_callbacks_total",
                "Callbacks that were delivered, tries that failed, and callbacks that became dead letters.",
                &["endpoint", "result"],
            )?,
            callbacks_waiting: of_endpoints(
                "tonewall_callbacks_waiting",
                "Callbacks that are to be sent, or sent again.",
            )?,
            callbacks_dead: of_endpoints(
                "tonewall_callbacks_dead",
                "Dead letters: callbacks that are not sent any more unless a person says so.",
            )?,
            callbacks_oldest: of_endpoints(
                "tonewall_callbacks_oldest_seconds",
                "Age of the oldest callback that waits; 0 where none does.",
            )?,
            callbacks: Mutex::default(),
            calls: gauge("tonewall_calls", "Calls that are up.")?,
            armed_calls: gauge("tonewall_calls_armed", "Calls that are armed.")?,
            packets: counters(
                "tonewall_media_packets_total",
                "RTP and RTCP packets taken, by leg.",
                &["leg"],
            )?,
            refused: counters(
                "tonewall_media_refused_total",
                "Datagrams refused, by reason.",
                &["reason"],
            )?,
            unsent: counter(
                "tonewall_media_unsent_total",
                "Datagrams that the kernel did not take.",
            )?,
            panicked: counter(
                "tonewall_calls_failed_total",
                "Calls ended by an error in this program.",
            )?,
            armings: counters(
                "tonewall_armings_total",
                "Requests to arm a call, by result.",
                &["result"],
            )?,
            keys_heard: counter(
                "tonewall_keys_heard_total",
                "Keys heard on armed calls that have ended.",
            )?,
            packets_checked: counter(
                "tonewall_output_checked_packets_total",
                "Packets towards agents that the output check listened to, on calls that have ended.",
            )?,
            packets_masked: counter(
                "tonewall_output_masked_packets_total",
                "Packets towards agents that carried the replacement, on calls that have ended.",
            )?,
            incidents: counter(
                "tonewall_incidents_total",
                "Times the output check heard a tone. Any but 0 is an alarm (PCI DSS 10.7.2).",
            )?,
            tightened: counters(
                "tonewall_masking_tightened_total",
                "Times an armed call's line was too noisy for its profile, by what it was tightened to.",
                &["guard"],
            )?,
            contested: counter(
                "tonewall_sources_contested_total",
                "Calls whose set-up two sources competed in; no field is taken where it was the caller's.",
            )?,
            shadowed: counter(
                "tonewall_shadowed_calls_total",
                "Calls that have ended and that shadow mode listened to.",
            )?,
            captures: counters(
                "tonewall_captures_total",
                "Fields that ended, by field and result.",
                &["field", "result"],
            )?,
            payments: counters(
                "tonewall_payments_total",
                "Payments that ended, by state.",
                &["state"],
            )?,
            notifications: counters(
                "tonewall_notifications_total",
                "What the processor told by itself, by what became of it. Any `contradicts` needs a person.",
                &["processor", "result"],
            )?,
            unresolved: gauge(
                "tonewall_payments_unresolved",
                "Payments whose charge may stand and whose outcome is unknown. Above 0 for long needs a person.",
            )?,
            operations_open: gauge(
                "tonewall_operations_unresolved",
                "Settlements, voids and refunds that may have been done and are not decided.",
            )?,
            operations_oldest: gauge(
                "tonewall_operations_unresolved_oldest_seconds",
                "Age of the oldest of those; 0 where there is none. Above a day it needs a person.",
            )?,
            audit_healthy: gauge(
                "tonewall_audit_log_healthy",
                "1 while the compliance log can be written and has room.",
            )?,
            audit,
            control_refused: counters(
                "tonewall_control_refused_total",
                "Messages of the control protocol and requests to the API that were turned away, by reason.",
                &["door", "reason"],
            )?,
            refusals: Mutex::default(),
            sip_peers,
            peers: Mutex::default(),
            registry,
            media,
            scrape: Mutex::new(()),
        })
    }

    /// Counts what the media plane told.
    pub fn observe_media(&self, event: &MediaEvent) {
        match &event.kind {
            MediaEventKind::Armed(_) => self.armings.with_label_values(&["armed"]).inc(),
            MediaEventKind::ArmRefused(..) => self.armings.with_label_values(&["refused"]).inc(),
            MediaEventKind::Incident => self.incidents.inc(),
            MediaEventKind::Tightened(guard) => {
                self.tightened.with_label_values(&[guard.as_str()]).inc();
            }
            MediaEventKind::Ended(proof) => {
                self.keys_heard.inc_by(u64::from(proof.keys_heard));
                self.packets_checked.inc_by(proof.packets_checked);
                self.packets_masked.inc_by(proof.packets_masked);
            }
            MediaEventKind::Capture(capture) => {
                let result = match &capture.kind {
                    CaptureEventKind::Complete { .. } => "complete",
                    CaptureEventKind::Rejected { .. } => "rejected",
                    CaptureEventKind::TimedOut { .. } => "timed-out",
                    CaptureEventKind::Cancelled => "cancelled",
                    CaptureEventKind::Failed { .. } => "failed",
                    CaptureEventKind::Opened { .. }
                    | CaptureEventKind::Progress { .. }
                    | CaptureEventKind::Cleared => return,
                };
                self.captures
                    .with_label_values(&[field_label(capture.field), result])
                    .inc();
            }
            MediaEventKind::Shadowed(_, tally) => self.shadowed.inc_by(tally.calls),
            MediaEventKind::Contested(_) => self.contested.inc(),
            MediaEventKind::Dialled(_) | MediaEventKind::Disarmed => {}
        }
    }

    /// Counts what the processor told by itself.
    pub fn observe_notification(&self, processor: &str, result: &str) {
        self.notifications
            .with_label_values(&[processor, result])
            .inc();
    }

    /// Counts a payment that ended.
    pub fn observe_payment(&self, event: &PaymentEvent) {
        if event.name != "payment.ended" {
            return;
        }
        let state = match event.payment.as_ref().map(|(_, state)| *state) {
            Some(PaymentState::Approved) => "approved",
            Some(PaymentState::Declined) => "declined",
            Some(PaymentState::Failed) => "failed",
            Some(PaymentState::Unknown) => "unknown",
            Some(PaymentState::Cancelled) => "cancelled",
            Some(
                PaymentState::Arming
                | PaymentState::Open
                | PaymentState::Capturing
                | PaymentState::Submitting,
            )
            | None => return,
        };
        self.payments.with_label_values(&[state]).inc();
    }

    /// What of charges and operations waits to be found out.
    pub fn observe_open_outcomes(&self, open: &OpenOutcomes, now: Timestamp) {
        let age = open
            .oldest_operation
            .map_or(0, |oldest| now.duration_since(oldest).as_secs().max(0));
        self.unresolved.set(open.charges.cast_signed());
        self.operations_open.set(open.operations.cast_signed());
        self.operations_oldest.set(age);
    }

    /// Has a door's refusals told with every scrape: door, reason and total.
    pub fn watch_refusals(
        &self,
        totals: impl Fn() -> Vec<(&'static str, &'static str, u64)> + Send + Sync + 'static,
    ) {
        self.refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(totals));
    }

    /// Has it told with every scrape which SIP peers answer. Their names are of the configuration.
    pub fn watch_peers(&self, peers: impl Fn() -> Vec<(String, bool)> + Send + Sync + 'static) {
        *self.peers.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(peers));
    }

    /// Has it told with every scrape what became of callbacks. Endpoints' names are of the configuration.
    pub fn watch_callbacks(
        &self,
        totals: impl Fn() -> Vec<(EndpointName, Totals)> + Send + Sync + 'static,
    ) {
        let mut watched = self
            .callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *watched = Some(Box::new(totals));
    }

    /// Takes over what became of callbacks.
    fn count_callbacks(&self) {
        let told = self
            .callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let told = told.as_ref().map(|told| told()).unwrap_or_default();
        let now = jiff::Timestamp::now();
        for (endpoint, totals) in told {
            let name = endpoint.as_str();
            for (result, count) in [
                ("delivered", totals.delivered),
                ("failed", totals.failed),
                ("dead", totals.died),
            ] {
                let counter = self.callbacks_tried.with_label_values(&[name, result]);
                counter.inc_by(count.saturating_sub(counter.get()));
            }
            for (gauges, value) in [
                (&self.callbacks_waiting, totals.counts.waiting),
                (&self.callbacks_dead, totals.counts.dead),
                (&self.callbacks_oldest, totals.oldest_age(now).as_secs()),
            ] {
                let gauge = gauges.with_label_values(&[name]);
                gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
    }

    /// The text that Prometheus scrapes.
    #[must_use]
    pub fn render(&self) -> String {
        let _one_at_a_time = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = self.media.counted();
        let gauge = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(0));
        gauge(&self.calls, counted.calls);
        gauge(&self.armed_calls, counted.armed_calls);
        let total = |counter: &IntCounter, value: u64| {
            counter.inc_by(value.saturating_sub(counter.get()));
        };
        for (leg, count) in [
            (Leg::Caller, counted.caller_packets),
            (Leg::Agent, counted.agent_packets),
        ] {
            total(&self.packets.with_label_values(&[leg.as_str()]), count);
        }
        let refusals = counted.refusals;
        for (reason, count) in [
            ("source", refusals.source),
            ("not-media", refusals.not_media),
            ("malformed", refusals.malformed),
            ("not-answered", refusals.not_answered),
        ] {
            total(&self.refused.with_label_values(&[reason]), count);
        }
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, there) in peers.as_ref().map(|peers| peers()).unwrap_or_default() {
            let gauge = self.sip_peers.with_label_values(&[name.as_str()]);
            gauge.set(i64::from(there));
        }
        drop(peers);
        let doors = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        for (door, reason, count) in doors.iter().flat_map(|totals| totals()) {
            let counter = self.control_refused.with_label_values(&[door, reason]);
            total(&counter, count);
        }
        self.count_callbacks();
        total(&self.unsent, counted.unsent);
        total(&self.panicked, counted.panicked_calls);
        let healthy = self.audit.has_room() && !self.audit.is_broken();
        self.audit_healthy.set(i64::from(healthy));
        let mut text = Vec::new();
        // Writing into memory does not fail; what cannot be encoded is left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// `GET /metrics`.
pub fn router(metrics: Arc<Metrics>) -> Router {
    Router::new().route(
        "/metrics",
        get(move || {
            let text = metrics.render();
            std::future::ready(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
        }),
    )
}

const fn field_label(field: Field) -> &'static str {
    match field {
        Field::PaymentCardNumber => "payment-card-number",
        Field::ExpirationDate => "expiration-date",
        Field::SecurityCode => "security-code",
        Field::PostalCode => "postal-code",
        Field::BankRoutingNumber => "bank-routing-number",
        Field::BankAccountNumber => "bank-account-number",
    }
}
