//! What the control plane orders, and how a worker obeys.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering, mpsc::TryRecvError},
};

use tokio::sync::oneshot;

use super::{Worker, entry::Entry};
use crate::{
    media::{
        LegSockets, MediaCommand, MediaEventKind,
        counts::CallCounts,
        leg::LegPeers,
        wire::{Port, Wire},
    },
    proto::{
        call::{AgentKey, ArmRefusal, Command, InfoForward, LegMedia},
        capture::{CaptureEvent, CaptureEventKind, CaptureFailure},
        encoding::AudioCodec,
        id::CallId,
        leg::Leg,
        secret::SealedPress,
        time::Now,
    },
};

/// An order of the control plane.
pub(in crate::media) enum Order {
    Add(Box<NewCall>),
    Command {
        call: CallId,
        command: MediaCommand,
    },
    /// A key that the caller's signalling told.
    Press {
        call: CallId,
        press: SealedPress,
        reply: oneshot::Sender<Option<InfoForward>>,
    },
    /// A key that the agent's signalling told.
    Dial {
        call: CallId,
        press: SealedPress,
        reply: oneshot::Sender<Option<AgentKey>>,
    },
}

/// A call that begins.
pub(in crate::media) struct NewCall {
    pub(in crate::media) call: CallId,
    pub(in crate::media) caller: LegSockets,
    pub(in crate::media) agent: LegSockets,
    /// The media of its first leg, where that is known.
    pub(in crate::media) media: Option<(Leg, LegMedia)>,
    /// Which leg is the caller's is not known.
    pub(in crate::media) mask_both: bool,
    pub(in crate::media) counts: Arc<CallCounts>,
}

impl<W: Wire> Worker<W> {
    /// False when the control plane is gone.
    pub(super) fn take_orders(&mut self, now: Now) -> bool {
        loop {
            let order = match self.found.take() {
                Some(order) => Ok(order),
                None => self.link.orders.try_recv(),
            };
            match order {
                Ok(order) => {
                    self.link.load.orders.fetch_sub(1, Ordering::Relaxed);
                    match order {
                        Order::Add(new) => self.add(*new, now),
                        Order::Command { call, command } => self.command(&call, command, now),
                        Order::Press { call, press, reply } => {
                            let forward = self.press(&call, press, now);
                            // Nobody may be waiting any more.
                            let _ = reply.send(forward);
                        }
                        Order::Dial { call, press, reply } => {
                            let told = self.dial(&call, press, now);
                            // Nor here.
                            let _ = reply.send(told);
                        }
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    pub(super) fn add(&mut self, new: NewCall, now: Now) {
        let NewCall {
            call: id,
            caller,
            agent,
            media,
            mask_both,
            counts,
        } = new;
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        let mut entry = Entry::new(id.clone(), self.shared.masking, counts);
        if self.shared.awaits_code {
            entry.call.listen_for(self.shared.key_code.clone());
        }
        if let Err(error) = self.wire.open(index, caller, agent) {
            tracing::error!(call = %id, %error, "cannot wait for a media socket; the call has no voice");
        }
        if let Some(place) = self.entries.get_mut(index) {
            *place = Some(entry);
        }
        self.by_id.insert(id.clone(), index);
        self.link.counters.calls.set(self.by_id.len() as u64);
        if mask_both {
            self.command_at(index, &id, MediaCommand::MaskBoth, now);
        }
        if let Some((leg, media)) = media {
            self.command_at(index, &id, MediaCommand::SetLeg(leg, media), now);
        }
    }

    pub(super) fn command(&mut self, id: &CallId, command: MediaCommand, now: Now) {
        let Some(&index) = self.by_id.get(id) else {
            if let MediaCommand::Arm(holder) = command {
                self.tell(
                    id.clone(),
                    MediaEventKind::ArmRefused(holder, ArmRefusal::Gone),
                );
            }
            return;
        };
        self.command_at(index, id, command, now);
    }

    fn command_at(&mut self, index: usize, id: &CallId, command: MediaCommand, now: Now) {
        let last = command == MediaCommand::HangUp;
        let command = match command {
            MediaCommand::Block(leg, blocked) => {
                if let Some(Some(entry)) = self.entries.get_mut(index) {
                    entry.peers(leg).blocked = blocked;
                }
                return;
            }
            MediaCommand::Silence(leg, silenced) => {
                if let Some(Some(entry)) = self.entries.get_mut(index) {
                    entry.peers(leg).silenced = silenced;
                }
                return;
            }
            MediaCommand::AwaitCode(awaits) => {
                if let Some(Some(entry)) = self.entries.get_mut(index) {
                    let code = self.shared.key_code.clone().filter(|_| awaits);
                    entry.call.listen_for(code);
                }
                return;
            }
            MediaCommand::ReadOut(code) => {
                if let Some(Some(entry)) = self.entries.get_mut(index) {
                    entry.call.read_out(Arc::clone(&self.shared.voice), code);
                }
                return;
            }
            MediaCommand::SetLeg(leg, media) => {
                self.set_media(index, leg, &media);
                Command::SetLeg(leg, media)
            }
            MediaCommand::MaskBoth => Command::MaskBoth,
            MediaCommand::Arm(holder) => Command::Arm(holder),
            MediaCommand::Release(holder) => Command::Release(holder),
            MediaCommand::CloseCapture(payment) => Command::CloseCapture(payment),
            MediaCommand::Shadow(trunk) => {
                if let Some(Some(entry)) = self.entries.get_mut(index) {
                    entry.trunk = Some(trunk);
                }
                Command::Shadow
            }
            MediaCommand::HangUp => Command::HangUp,
            MediaCommand::OpenCapture {
                payment,
                field,
                from,
                settings,
            } => match self.shared.slots.acquire() {
                Some(slot) => Command::OpenCapture {
                    payment,
                    field,
                    from,
                    settings,
                    slot,
                },
                None => {
                    self.tell(
                        id.clone(),
                        MediaEventKind::Capture(CaptureEvent {
                            payment,
                            field,
                            kind: CaptureEventKind::Failed {
                                reason: CaptureFailure::SecretMemoryFull,
                            },
                        }),
                    );
                    return;
                }
            },
        };
        self.guarded(index, now, |desk| {
            desk.entry.call.handle_command(command, now);
        });
        if last {
            self.end(index);
        }
    }

    /// Whether the key was kept; `None` when there is no such call.
    fn press(&mut self, id: &CallId, press: SealedPress, now: Now) -> Option<InfoForward> {
        let index = *self.by_id.get(id)?;
        // What could not be opened is no key, and is not told on either.
        let mut forward = InfoForward::Keep;
        if let Some(key) = press.open() {
            self.guarded(index, now, |desk| {
                forward = desk.entry.call.handle_press(key, now);
            });
        }
        Some(forward)
    }

    /// What becomes of a key of the agent's; `None` when there is no such call.
    fn dial(&mut self, id: &CallId, press: SealedPress, now: Now) -> Option<AgentKey> {
        let index = *self.by_id.get(id)?;
        let mut told = None;
        if let Some(key) = press.open() {
            self.guarded(index, now, |desk| {
                told = Some(desk.entry.call.handle_agents_press(key, now));
            });
        }
        told
    }

    fn set_media(&mut self, index: usize, leg: Leg, media: &LegMedia) {
        let Some(Some(entry)) = self.entries.get_mut(index) else {
            return;
        };
        let mut codecs = media.payload_types.iter();
        let codec = codecs.find_map(|(_, encoding)| encoding.audio());
        let clock_hz = codec.map_or(8_000, AudioCodec::clock_hz);
        entry.receptions.of(leg).set_clock(clock_hz);
        let peers = match leg {
            Leg::Caller => &mut entry.caller,
            Leg::Agent => &mut entry.agent,
        };
        for rewire in peers
            .set_media(media, entry.call.leg(leg))
            .into_iter()
            .flatten()
        {
            let at = Port {
                place: index,
                leg,
                channel: rewire.channel,
            };
            if rewire.disconnect
                && let Err(error) = self.wire.disconnect(at)
            {
                tracing::warn!(%error, "cannot take back a media socket's peer; its leg may stay silent");
            }
            if let Some(address) = rewire.connect {
                connect(&mut self.wire, peers, at, address);
            }
        }
    }
}

/// Names a port's peer to the system. Where that is refused the leg has its voice all the same, and
/// strangers are kept out here.
pub(super) fn connect(wire: &mut impl Wire, peers: &mut LegPeers, at: Port, address: SocketAddr) {
    match wire.connect(at, address) {
        Ok(()) => peers.connected(at.channel),
        Err(error) => {
            tracing::warn!(%address, %error, "cannot connect a media socket; its peer is filtered here");
        }
    }
}
