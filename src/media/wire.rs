//! What stands between a worker and its sockets.
//!
//! A worker knows places (one a call), legs and channels; which sockets those are, and how they are
//! waited for, is the [`Wire`]'s part.

use std::{io, net::SocketAddr, time::Duration};

use super::LegSockets;
use crate::proto::{call::Channel, leg::Leg, mask::Cleared};

/// Where a datagram came to, or leaves from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Port {
    /// Which of the worker's calls.
    pub(super) place: usize,
    /// Which leg of it.
    pub(super) leg: Leg,
    /// RTP or RTCP.
    pub(super) channel: Channel,
}

/// Where a datagram goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The peer that [`Wire::connect`] named.
    Peer,
    /// An address.
    Address(SocketAddr),
}

/// A datagram that came; it stands at the beginning of the buffer that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) at: Port,
    pub(super) source: SocketAddr,
    pub(super) length: usize,
    /// How long the system had it before it was taken, where that is measured.
    pub(super) waited: Option<Duration>,
}

/// The sockets of a worker's calls.
pub(super) trait Wire {
    /// Takes the sockets of the call at `place`, which was empty.
    ///
    /// # Errors
    /// When one of them cannot be waited for; the call has no voice then.
    fn open(&mut self, place: usize, caller: LegSockets, agent: LegSockets) -> io::Result<()>;

    /// Closes the sockets of `place`. Their ports are free from the return on.
    fn close(&mut self, place: usize);

    /// Names the only peer that this port takes media from and sends it to: the system keeps
    /// others out, where it can. What they sent before may still be received.
    ///
    /// # Errors
    /// What the system says; the port has no peer then.
    fn connect(&mut self, at: Port, peer: SocketAddr) -> io::Result<()>;

    /// Takes the port's peer back: it hears everybody.
    ///
    /// # Errors
    /// What the system says.
    fn disconnect(&mut self, at: Port) -> io::Result<()>;

    /// Waits until there is something to read, until it is woken, or until `limit` has passed. Who
    /// wakes it later, if only a moment, ends the next wait.
    ///
    /// # Errors
    /// When nothing can be waited for any more.
    fn wait(&mut self, limit: Duration) -> io::Result<()>;

    /// One of the datagrams that this wake-up has found; none when there are no more. A datagram
    /// that is longer than `buffer` is cut. What is still left at a port is found by the next wait.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<Received>;

    /// Sends to the caller's side; any datagram will do.
    ///
    /// # Errors
    /// What the system says: the datagram is lost.
    fn send_to_caller(
        &self,
        place: usize,
        channel: Channel,
        to: To,
        datagram: &[u8],
    ) -> io::Result<()>;

    /// Sends to the agent's side, which takes nothing but what the masker cleared.
    ///
    /// # Errors
    /// As [`Wire::send_to_caller`].
    fn send_to_agent(
        &self,
        place: usize,
        channel: Channel,
        to: To,
        cleared: &Cleared<'_>,
    ) -> io::Result<()>;
}
