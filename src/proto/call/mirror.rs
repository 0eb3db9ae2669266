//! The agent's stream of a call on which it is not known which leg is the caller's: masked towards the
//! other leg as the caller's is, with a history, an ear and a check of its own.

use crate::proto::{
    leg::Leg,
    mask::{Masking, Outbox},
    rtp::{RtpHeader, rtcp},
    time::Now,
};

use super::{
    Call, LegMedia, Rebuilt, Refused,
    field::field_of,
    source::Source,
    stream::{CallerStream, PayloadTypes},
};

/// The other way of a call in doubt.
#[derive(Default)]
pub(super) struct Mirror {
    types: Option<PayloadTypes>,
    pub(super) stream: CallerStream,
}

impl Mirror {
    /// The ends have agreed on media: `from` sends, `to` listens.
    pub(super) fn agree(&mut self, from: &LegMedia, to: &LegMedia) {
        self.types = Some(PayloadTypes::of(from, to));
        self.stream.agree(to);
    }

    /// Whether the listener takes a codec that can be masked.
    pub(super) fn can_be_masked(&self) -> bool {
        let types = self.types.as_ref();
        types.is_none_or(|types| types.preferred().is_some())
    }

    pub(super) fn arm(&mut self, masking: Masking, now: Now) {
        self.stream.arm(self.types.as_ref(), masking, now);
    }
}

impl Call {
    /// Both ways are masked from here on while the call is armed.
    #[must_use]
    pub const fn masks_both(&self) -> bool {
        self.mirror.is_some()
    }

    /// Which leg is the caller's is not known: whichever sends keys, the other gets none while the call
    /// is armed.
    pub(super) fn mask_both(&mut self, now: Now) {
        if self.mirror.is_some() {
            return;
        }
        let mirror = self.mirror.insert(Box::default());
        if let (Some(caller), Some(agent)) = (&self.caller, &self.agent) {
            mirror.agree(agent, caller);
        }
        if self.stream.is_armed() {
            mirror.arm(self.masking, now);
        }
    }

    /// A packet of the agent's leg. `taken`: it is of the source that is followed.
    pub(super) fn handle_mirrored_rtp(
        &mut self,
        datagram: &[u8],
        header: &RtpHeader,
        taken: bool,
        now: Now,
        out: &mut Outbox,
    ) -> Result<(), Refused> {
        let Some(Mirror { types, stream }) = self.mirror.as_deref_mut() else {
            return Ok(());
        };
        let types = types.as_ref().ok_or(Refused::NotAnswered)?;
        if !stream.is_armed() {
            if !taken {
                return Err(Refused::Source);
            }
            stream.relay(datagram, header, types, out);
            return Ok(());
        }
        stream.begin(header, types, self.masking, now);
        let mut none = None;
        let capture = field_of(&mut self.capture, self.keyed_by_agent, &mut none);
        if let Some(armed) = stream.armed_mut() {
            let heard = armed.handle(datagram, header, types, capture, now, out);
            self.note(&heard, Leg::Agent);
        }
        self.keep_cover(now);
        self.try_release(now);
        Ok(())
    }

    pub(super) fn clear_mirrored_rtcp(
        &self,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) -> Result<(), Refused> {
        match self.mirror.as_deref() {
            Some(mirror) if mirror.types.is_some() => {
                clear_rtcp(&mirror.stream, &self.sources.agent, datagram, out)
            }
            _ => Err(Refused::NotAnswered),
        }
    }

    /// What time releases on the agent's way to the caller. After [`Call::handle_timeout`], with what
    /// that put into `out` on its way.
    pub fn handle_mirror_timeout(&mut self, now: Now, out: &mut Outbox) {
        out.clear();
        let Some(Mirror { types, stream }) = self.mirror.as_deref_mut() else {
            return;
        };
        let mut none = None;
        let capture = field_of(&mut self.capture, self.keyed_by_agent, &mut none);
        if let (Some(armed), Some(types)) = (stream.armed_mut(), types) {
            let heard = armed.handle_timeout(types, capture, now, out);
            self.note(&heard, Leg::Agent);
        }
        self.keep_cover(now);
        self.try_release(now);
    }
}

/// Puts RTCP of whoever sends `stream` into `out`: as it is, in the numbers that left, or made anew
/// where the stream is masked.
pub(super) fn clear_rtcp(
    stream: &CallerStream,
    source: &Source,
    datagram: &mut [u8],
    out: &mut Outbox,
) -> Result<(), Refused> {
    let shifts = stream.shifts();
    if let Some(unarmed) = stream.unarmed() {
        if !source.takes_rtcp(rtcp::sender(datagram)) {
            return Err(Refused::Source);
        }
        let (packets, octets) = stream.reports_more();
        if shifts.timestamp != 0 || packets != 0 || octets != 0 {
            rtcp::translate_for_agent(datagram, shifts.timestamp, packets, octets);
        }
        out.relay_rtcp(datagram, unarmed);
    } else if !rtcp::is_whole(datagram) {
        return Err(Refused::Rtcp(datagram.len()));
    } else if let Some(outgoing) = stream.outgoing()
        && let Some(rebuilt) = Rebuilt::from_caller(datagram, outgoing)
    {
        out.rtcp(&rebuilt);
    }
    Ok(())
}

/// A listener's reports speak of numbers that the gateway made of `stream`; its sender knows its own.
pub(super) fn translate_reports(stream: &CallerStream, datagram: &mut [u8]) {
    let shifts = stream.shifts();
    if let (true, Some(ssrc)) = (shifts.sequence != 0, stream.ssrc()) {
        rtcp::translate_for_caller(datagram, ssrc, shifts.sequence);
    }
}
