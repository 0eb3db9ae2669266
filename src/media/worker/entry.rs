//! One call of a worker: what is known of it, and the way of one datagram through it.

use std::{io, sync::Arc, time::Instant};

use crate::{
    media::{
        counters::Counters,
        counts::CallCounts,
        leg::LegPeers,
        wire::{Port, Wire},
    },
    proto::{
        call::{Call, Channel, Forward},
        id::{CallId, PaymentId},
        leg::Leg,
        mask::{Masking, Outbox},
        proof::MaskingProof,
        rtp::Reception,
        shadow::TrunkName,
        time::Now,
    },
};

pub(super) struct Entry {
    pub(super) id: CallId,
    pub(super) call: Call,
    pub(super) caller: LegPeers,
    pub(super) agent: LegPeers,
    pub(super) wakes: Option<Instant>,
    pub(super) armed: bool,
    pub(super) counts: Arc<CallCounts>,
    /// Payments whose fields this call gave to the card plane.
    pub(super) payments: Vec<PaymentId>,
    /// What the call proved, once it has hung up.
    pub(super) proof: MaskingProof,
    /// The trunk that what shadow mode hears is told for.
    pub(super) trunk: Option<TrunkName>,
    /// What the receiver of each leg's stream could tell.
    pub(super) receptions: Receptions,
}

#[derive(Default)]
pub(super) struct Receptions {
    caller: Reception,
    agent: Reception,
}

impl Receptions {
    pub(super) const fn of(&mut self, leg: Leg) -> &mut Reception {
        match leg {
            Leg::Caller => &mut self.caller,
            Leg::Agent => &mut self.agent,
        }
    }
}

impl Entry {
    /// Of a call that begins.
    pub(super) fn new(id: CallId, masking: Masking, counts: Arc<CallCounts>) -> Self {
        Self {
            id,
            call: Call::new(masking),
            caller: LegPeers::default(),
            agent: LegPeers::default(),
            wakes: None,
            armed: false,
            counts,
            payments: Vec::new(),
            proof: MaskingProof::default(),
            trunk: None,
            receptions: Receptions::default(),
        }
    }

    pub(super) const fn peers(&mut self, leg: Leg) -> &mut LegPeers {
        match leg {
            Leg::Caller => &mut self.caller,
            Leg::Agent => &mut self.agent,
        }
    }
}

/// What one input of a call works with.
pub(super) struct Desk<'a, W> {
    pub(super) entry: &'a mut Entry,
    pub(super) outbox: &'a mut Outbox,
    pub(super) way: Way<'a, W>,
}

/// The way out of one call.
pub(super) struct Way<'a, W> {
    pub(super) place: usize,
    pub(super) wire: &'a W,
    pub(super) counters: &'a Counters,
}

impl<W: Wire> Desk<'_, W> {
    pub(super) fn handle_media(self, at: Port, datagram: &mut [u8], now: Now) {
        let Self { entry, outbox, way } = self;
        let heard = entry.call.hides(at.leg);
        let peers = entry.peers(at.leg);
        let blocked = peers.blocked || (peers.silenced && heard);
        let call = &mut entry.call;
        let forward = call.handle_media(at.leg, at.channel, datagram, now, outbox);
        if matches!(
            forward,
            Ok(Forward::ToCallerRtp
                | Forward::ToCallerCut(_)
                | Forward::ToAgentRtp
                | Forward::MirroredRtp)
        ) {
            let reception = entry.receptions.of(at.leg);
            reception.packet(datagram, now.instant);
            entry.counts.receives(at.leg, reception);
        }
        match forward {
            Ok(Forward::Nothing) => {}
            // Heard and masked as ever, and kept here.
            Ok(_) if blocked => {}
            Ok(Forward::ToCallerRtp) => way.send_to_caller(&entry.caller, Channel::Rtp, datagram),
            Ok(Forward::ToCallerCut(length)) => {
                let cut = datagram.get(..length).unwrap_or(datagram);
                way.send_to_caller(&entry.caller, Channel::Rtp, cut);
            }
            Ok(Forward::ToCallerRtcp) => way.send_to_caller(&entry.caller, Channel::Rtcp, datagram),
            Ok(Forward::ToAgentRtp) => way.send_to_agent(&entry.agent, Channel::Rtp, outbox),
            Ok(Forward::ToAgentRtcp) => way.send_to_agent(&entry.agent, Channel::Rtcp, outbox),
            Ok(Forward::MirroredRtp) => {
                way.send_mirrored(&entry.caller, Channel::Rtp, outbox);
            }
            Ok(Forward::MirroredRtcp) => {
                way.send_mirrored(&entry.caller, Channel::Rtcp, outbox);
            }
            Err(refused) => {
                entry.counts.refused(at.leg);
                way.counters.refused(refused);
            }
        }
    }
}

impl<W: Wire> Way<'_, W> {
    fn send_to_caller(&self, peers: &LegPeers, channel: Channel, datagram: &[u8]) {
        if let Some((channel, to)) = peers.way_out(channel) {
            self.count(self.wire.send_to_caller(self.place, channel, to, datagram));
        }
    }

    pub(super) fn send_to_agent(&self, peers: &LegPeers, channel: Channel, outbox: &Outbox) {
        let Some((channel, to)) = peers.way_out(channel) else {
            return;
        };
        for cleared in outbox.cleared() {
            self.count(self.wire.send_to_agent(self.place, channel, to, &cleared));
        }
    }

    /// To the caller's leg what the outbox cleared.
    pub(super) fn send_mirrored(&self, peers: &LegPeers, channel: Channel, outbox: &Outbox) {
        for cleared in outbox.cleared() {
            self.send_to_caller(peers, channel, cleared.datagram());
        }
    }

    fn count(&self, sent: io::Result<()>) {
        if sent.is_err() {
            self.counters.unsent.add(1);
        }
    }
}
