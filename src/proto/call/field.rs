//! The open field of a call: whose keys it takes, and what ends it.

use super::{Call, Holder, Output};
use crate::proto::{
    capture::{Capture, CaptureEventKind, CaptureFailure, CaptureOutput},
    field::Field,
    id::PaymentId,
    leg::Leg,
    time::Now,
};

/// The open field, for the leg that keys it; `none` for the other one.
pub(super) const fn field_of<'a>(
    open: &'a mut Option<Capture>,
    keys_it: bool,
    none: &'a mut Option<Capture>,
) -> &'a mut Option<Capture> {
    if keys_it { open } else { none }
}

impl Call {
    /// Whose keys an open field takes.
    pub(super) const fn keyed_by(&self) -> Leg {
        if self.keyed_by_agent {
            Leg::Agent
        } else {
            Leg::Caller
        }
    }

    pub(super) fn capture_refusal(&self, payment: &PaymentId) -> Option<CaptureFailure> {
        if self.incident {
            return Some(CaptureFailure::Incident);
        }
        // Only a leg that is listened to can key a field.
        if self.keyed_by_agent && self.mirror.is_none() {
            return Some(CaptureFailure::NotArmed);
        }
        let source = match self.keyed_by() {
            Leg::Caller => &self.sources.caller,
            Leg::Agent => &self.sources.agent,
        };
        if source.is_contested() {
            return Some(CaptureFailure::Contested);
        }
        let holds = self
            .holders
            .iter()
            .any(|holder| matches!(holder, Holder::Payment(held) if held == payment));
        (!holds).then_some(CaptureFailure::NotArmed)
    }

    pub(super) fn close_capture_of(&mut self, payment: &PaymentId, now: Now) {
        if self
            .capture
            .as_ref()
            .is_some_and(|c| c.payment() == payment)
        {
            self.close_capture(now);
        }
    }

    pub(super) fn close_capture(&mut self, now: Now) {
        if let Some(capture) = &mut self.capture {
            capture.close(now);
        }
        self.drain_capture();
    }

    pub(super) fn fail_capture(&mut self, reason: CaptureFailure) {
        if let Some(capture) = &mut self.capture {
            capture.fail(reason);
        }
    }

    pub(super) fn forget_brand_of(&mut self, payment: &PaymentId) {
        self.brand = self.brand.take().filter(|known| known.0 != *payment);
    }

    pub(super) fn drain_capture(&mut self) {
        let Some(capture) = &mut self.capture else {
            return;
        };
        while let Some(output) = capture.poll_output() {
            match output {
                CaptureOutput::Event(event) => {
                    if let (Field::PaymentCardNumber, CaptureEventKind::Complete { brand, .. }) =
                        (event.field, &event.kind)
                    {
                        self.brand = brand.map(|brand| Box::new((event.payment.clone(), brand)));
                    }
                    self.outputs.push_back(Output::Capture(event));
                }
                CaptureOutput::Field(payment, field) => {
                    self.outputs.push_back(Output::Captured(payment, field));
                }
            }
        }
        if !capture.is_open() {
            self.capture = None;
        }
    }
}
