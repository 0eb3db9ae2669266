//! Who holds a call armed, and how it is given back.

use std::time::{Duration, Instant};

use super::{ArmRefusal, Call, Holder, Output};
use crate::proto::time::Now;

/// How long masking outlasts its last holder and the last key, so that a key still held down is not
/// heard.
pub(super) const HANGOVER: Duration = Duration::from_millis(300);
/// How often a release that waits for quiet is tried.
const RELEASE_STEP: Duration = Duration::from_millis(20);

/// The release of the last holder, under way.
#[derive(Clone, Copy)]
pub(super) struct Release {
    since: Instant,
    pub(super) next_try: Instant,
}

impl Call {
    pub(super) fn arm(&mut self, holder: Holder, now: Now) {
        let refusal = match &self.types {
            _ if self.incident => Some(ArmRefusal::Incident),
            // Armed before there is anything to relay: no packet comes between.
            None if holder == Holder::Recovered => None,
            None => Some(ArmRefusal::NotAnswered),
            Some(types) if types.preferred().is_none() => Some(ArmRefusal::Codec),
            Some(_) if self.mirror.as_ref().is_some_and(|one| !one.can_be_masked()) => {
                Some(ArmRefusal::Codec)
            }
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            self.outputs.push_back(Output::ArmRefused(holder, refusal));
            return;
        }
        if !self.stream.is_armed() {
            self.stream.arm(self.types.as_ref(), self.masking, now);
            if let Some(mirror) = &mut self.mirror {
                mirror.arm(self.masking, now);
            }
            if let Some(shadow) = &mut self.shadow {
                shadow.rest();
            }
            self.spoken = None;
            if let Some(dialling) = &mut self.dialling {
                dialling.arm();
            }
            self.armed_since = Some(now.instant);
            self.proof.armings += 1;
        }
        self.release = None;
        if !self.holders.contains(&holder) {
            // Hardly ever more than one.
            self.holders.reserve_exact(1);
            self.holders.push(holder.clone());
        }
        self.outputs.push_back(Output::Armed(holder));
    }

    pub(super) fn release_holder(&mut self, holder: &Holder, now: Now) {
        let before = self.holders.len();
        self.holders.retain(|held| held != holder);
        if let Holder::Payment(payment) = holder {
            self.close_capture_of(payment, now);
            self.forget_brand_of(payment);
        }
        if before > 0 && self.holders.is_empty() && self.stream.is_armed() {
            self.release = Some(Release {
                since: now.instant,
                next_try: now.instant + HANGOVER,
            });
        }
    }

    /// Gives the stream back when no holder is left, no key is down and 300 ms have passed.
    pub(super) fn try_release(&mut self, now: Now) {
        let Some(release) = self.release else {
            return;
        };
        if now.instant < release.next_try {
            return;
        }
        let waited = now.instant.duration_since(release.since + HANGOVER);
        // Both or none: half of it would be masked.
        let mirror = self.mirror.as_ref().map(|mirror| &mirror.stream);
        let both = [Some(&self.stream), mirror];
        if both
            .into_iter()
            .flatten()
            .all(|stream| stream.may_release(now, waited))
        {
            self.stream.release(&mut self.proof);
            if let Some(mirror) = &mut self.mirror {
                mirror.stream.release(&mut self.proof);
            }
            self.release = None;
            self.count_armed_time(now);
            self.outputs.push_back(Output::Disarmed);
        } else {
            self.release = Some(Release {
                next_try: now.instant + RELEASE_STEP,
                ..release
            });
        }
    }

    pub(super) fn count_armed_time(&mut self, now: Now) {
        if let Some(since) = self.armed_since.take() {
            let armed = now.instant.duration_since(since);
            self.proof.armed_ms += u64::try_from(armed.as_millis()).unwrap_or(u64::MAX);
        }
    }
}
