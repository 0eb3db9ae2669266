//! One leg's sockets, and from where they take media.

use std::{io, net::SocketAddr, time::Instant};

use mio::net::UdpSocket;

use super::{LegSockets, LegStats};
use crate::proto::{
    call::{Channel, LegMedia, SourcePolicy},
    mask::Cleared,
    rtp::{Kind, RtpHeader, kind_of},
};

/// Consecutive packets of one SSRC from one address that a latch asks for (RFC 3550 appendix A.1).
const LATCH_PACKETS: u32 = 3;

/// A source that may be latched.
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    sequence: u16,
    packets: u32,
}

/// Where one channel's peer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Signalling has not named it.
    Unknown,
    /// Named by signalling; the socket is connected, and the kernel keeps strangers out.
    Pinned(SocketAddr),
    /// Latched; strangers are kept out here. The socket stays unconnected, for signalling may send
    /// the leg back to latching, and a connected socket would never hear of the new source.
    Latched(SocketAddr),
    /// NAT: the IP address is known, the port is not yet.
    Latching(SocketAddr),
}

/// A leg's two sockets.
pub(super) struct LegIo {
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: UdpSocket,
    rtp_peer: Peer,
    rtcp_peer: Peer,
    rtcp_mux: bool,
    candidate: Option<Candidate>,
    media: Option<LegMedia>,
    pub(super) stats: LegStats,
    pub(super) last_packet: Option<Instant>,
}

impl LegIo {
    pub(super) fn new(sockets: LegSockets) -> Self {
        Self {
            rtp: UdpSocket::from_std(sockets.rtp),
            rtcp: UdpSocket::from_std(sockets.rtcp),
            rtp_peer: Peer::Unknown,
            rtcp_peer: Peer::Unknown,
            rtcp_mux: false,
            candidate: None,
            media: None,
            stats: LegStats::default(),
            last_packet: None,
        }
    }

    /// Takes over what signalling agreed.
    pub(super) fn set_media(&mut self, media: &LegMedia) {
        if self.media.as_ref() == Some(media) {
            return;
        }
        let moved = self.media.as_ref().is_none_or(|old| {
            (old.rtp, old.rtcp, old.source) != (media.rtp, media.rtcp, media.source)
        });
        self.rtcp_mux = media.rtp == media.rtcp;
        self.media = Some(media.clone());
        if !moved {
            return;
        }
        self.candidate = None;
        let peer = |address| match media.source {
            SourcePolicy::Exact => Peer::Pinned(address),
            SourcePolicy::RestrictedLatch => Peer::Latching(address),
        };
        self.rtp_peer = peer(media.rtp);
        self.rtcp_peer = peer(media.rtcp);
        for (socket, peer) in [(&self.rtp, self.rtp_peer), (&self.rtcp, self.rtcp_peer)] {
            connect(socket, peer);
        }
    }

    /// Reads a datagram of a channel, whoever sent it: [`LegIo::admits`] judges.
    pub(super) fn receive(
        &self,
        channel: Channel,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        match channel {
            Channel::Rtp => self.rtp.recv_from(buffer),
            Channel::Rtcp => self.rtcp.recv_from(buffer),
        }
    }

    /// Whether a datagram comes from where this leg's media is taken from. Under a latch this is
    /// also where a source is learnt.
    pub(super) fn admits(&mut self, channel: Channel, source: SocketAddr, datagram: &[u8]) -> bool {
        let peer = match channel {
            Channel::Rtp => self.rtp_peer,
            Channel::Rtcp => self.rtcp_peer,
        };
        match (peer, channel) {
            (Peer::Unknown, _) => false,
            (Peer::Pinned(address) | Peer::Latched(address), _) => address == source,
            (Peer::Latching(named), Channel::Rtp) => self.latch(named, source, datagram),
            // RTCP follows the source that RTP latched, at whatever port its NAT gave it.
            (Peer::Latching(_), Channel::Rtcp) => {
                let follows = matches!(self.rtp_peer, Peer::Latched(rtp) if rtp.ip() == source.ip())
                    && kind_of(datagram) == Kind::Rtcp;
                if follows {
                    self.rtcp_peer = Peer::Latched(source);
                }
                follows
            }
        }
    }

    /// The restricted latch: the signalled IP address, three consecutive packets of one SSRC, no
    /// competing source meanwhile. Then pinned until signalling names another.
    fn latch(&mut self, named: SocketAddr, source: SocketAddr, datagram: &[u8]) -> bool {
        if source.ip() != named.ip() {
            return false;
        }
        let Ok(header) = RtpHeader::parse(datagram) else {
            return false;
        };
        let packets = match &self.candidate {
            Some(c) if c.source != source => {
                // Two sources compete: nobody is believed until one of them falls silent.
                0
            }
            Some(c) if c.ssrc == header.ssrc && c.sequence.wrapping_add(1) == header.sequence => {
                c.packets + 1
            }
            _ => 1,
        };
        self.candidate = Some(Candidate {
            source,
            ssrc: header.ssrc,
            sequence: header.sequence,
            packets,
        });
        if packets < LATCH_PACKETS {
            return false;
        }
        self.candidate = None;
        self.rtp_peer = Peer::Latched(source);
        if self.rtcp_mux {
            self.rtcp_peer = self.rtp_peer;
        }
        true
    }

    /// Sends to the caller's side; any datagram will do.
    pub(super) fn send(&self, channel: Channel, datagram: &[u8]) -> io::Result<usize> {
        let (socket, peer) = match channel {
            Channel::Rtcp if !self.rtcp_mux => (&self.rtcp, self.rtcp_peer),
            Channel::Rtp | Channel::Rtcp => (&self.rtp, self.rtp_peer),
        };
        match peer {
            Peer::Pinned(_) => socket.send(datagram),
            // Before the latch the named address is the best that is known.
            Peer::Latched(address) | Peer::Latching(address) => socket.send_to(datagram, address),
            Peer::Unknown => Ok(0),
        }
    }

    /// Sends to the agent's side, which takes nothing but what the masker cleared.
    pub(super) fn send_cleared(
        &self,
        channel: Channel,
        cleared: &Cleared<'_>,
    ) -> io::Result<usize> {
        self.send(channel, cleared.datagram())
    }
}

fn connect(socket: &UdpSocket, peer: Peer) {
    if let Peer::Pinned(address) = peer
        && let Err(error) = socket.connect(address)
    {
        tracing::warn!(%address, %error, "cannot connect a media socket; its peer is filtered here");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, UdpSocket as StdSocket},
        time::Duration,
    };

    use super::*;
    use crate::proto::{
        encoding::{AudioCodec, Encoding},
        rtp::write_header,
    };

    struct World {
        leg: LegIo,
        rtp: SocketAddr,
        rtcp: SocketAddr,
    }

    impl World {
        fn new() -> Self {
            let (rtp, rtcp) = (peer("127.0.0.1"), peer("127.0.0.1"));
            for socket in [&rtp, &rtcp] {
                socket.set_nonblocking(true).unwrap();
            }
            let addresses = (rtp.local_addr().unwrap(), rtcp.local_addr().unwrap());
            Self {
                leg: LegIo::new(LegSockets { rtp, rtcp }),
                rtp: addresses.0,
                rtcp: addresses.1,
            }
        }

        fn latching(named: SocketAddr) -> Self {
            let mut world = Self::new();
            world
                .leg
                .set_media(&media(named, SourcePolicy::RestrictedLatch));
            world
        }

        /// Whether a packet that `from` sends is taken; false also where the kernel kept it out.
        fn takes(&mut self, from: &StdSocket, channel: Channel, datagram: &[u8]) -> bool {
            let to = match channel {
                Channel::Rtp => self.rtp,
                Channel::Rtcp => self.rtcp,
            };
            from.send_to(datagram, to).unwrap();
            let mut buffer = [0; 100];
            for _ in 0..20 {
                match self.leg.receive(channel, &mut buffer) {
                    Ok((length, source)) => {
                        return self.leg.admits(channel, source, &buffer[..length]);
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
            false
        }

        fn takes_rtp(&mut self, from: &StdSocket, ssrc: u32, sequence: u16) -> bool {
            let datagram = write_header(0, false, sequence, 0, ssrc);
            self.takes(from, Channel::Rtp, &datagram)
        }

        /// Three packets in a row; whether the last was taken.
        fn latches(&mut self, from: &StdSocket, sequence: u16) -> bool {
            (0..3).fold(false, |_, n| self.takes_rtp(from, 7, sequence + n))
        }
    }

    fn peer(ip: &str) -> StdSocket {
        let socket = StdSocket::bind((ip, 0)).unwrap();
        let wait = Some(Duration::from_secs(2));
        socket.set_read_timeout(wait).unwrap();
        socket
    }

    fn media(address: SocketAddr, source: SourcePolicy) -> LegMedia {
        LegMedia {
            rtp: address,
            rtcp: address,
            source,
            payload_types: vec![(0, Encoding::Audio(AudioCodec::Pcmu))],
            packet_time: Duration::from_millis(20),
        }
    }

    fn behind_nat() -> SocketAddr {
        ([127, 0, 0, 1], 9).into()
    }

    #[test]
    fn before_signalling_has_named_a_source_nothing_is_taken() {
        assert!(!World::new().takes_rtp(&peer("127.0.0.1"), 7, 1));
    }

    #[test]
    fn exactly_the_named_source_is_taken_also_after_it_has_moved() {
        let (first, second) = (peer("127.0.0.1"), peer("127.0.0.1"));
        let mut world = World::new();
        for (named, other) in [(&first, &second), (&second, &first)] {
            let address = named.local_addr().unwrap();
            world.leg.set_media(&media(address, SourcePolicy::Exact));
            assert!(world.takes_rtp(named, 7, 1));
            assert!(!world.takes_rtp(other, 7, 2));
            world.leg.send(Channel::Rtp, b"back").unwrap();
            assert_eq!(named.recv(&mut [0; 9]).unwrap(), 4);
        }
    }

    #[test]
    fn a_latch_asks_for_three_packets_in_a_row_of_one_source() {
        let caller = peer("127.0.0.1");
        let mut world = World::latching(behind_nat());
        let taken = [
            (7, 1),
            (7, 2),
            (7, 4),
            (7, 5),
            (8, 6),
            (8, 7),
            (8, 8),
            (8, 9),
        ]
        .map(|(ssrc, sequence)| world.takes_rtp(&caller, ssrc, sequence));
        assert_eq!(
            taken,
            [false, false, false, false, false, false, true, true]
        );
        world.leg.send(Channel::Rtp, b"back").unwrap();
        assert_eq!(caller.recv(&mut [0; 9]).unwrap(), 4);
    }

    #[test]
    fn a_competing_source_stops_the_latch_until_one_falls_silent() {
        let (caller, stranger) = (peer("127.0.0.1"), peer("127.0.0.1"));
        let mut world = World::latching(behind_nat());
        for sequence in 0..10 {
            assert!(!world.takes_rtp(&caller, 7, sequence));
            assert!(!world.takes_rtp(&stranger, 8, sequence));
        }
        assert!(
            !world.latches(&caller, 10),
            "the first only parts it from the stranger's"
        );
        assert!(world.takes_rtp(&caller, 7, 13));
    }

    #[test]
    fn another_address_is_never_latched() {
        let stranger = peer("127.0.0.2");
        let mut world = World::latching(behind_nat());
        assert!(!world.latches(&stranger, 1));
        assert!(world.latches(&peer("127.0.0.1"), 1));
    }

    #[test]
    fn what_is_latched_stays_pinned_until_signalling_names_another_place() {
        let (caller, stranger) = (peer("127.0.0.1"), peer("127.0.0.1"));
        let mut world = World::latching(behind_nat());
        assert!(world.latches(&caller, 1));
        assert!(!world.latches(&stranger, 1));
        world
            .leg
            .set_media(&media(behind_nat(), SourcePolicy::RestrictedLatch));
        assert!(
            !world.latches(&stranger, 4),
            "a re-INVITE that moves nothing"
        );
        assert!(world.takes_rtp(&caller, 7, 4));
        let elsewhere = peer("127.0.0.2");
        let moved = media(([127, 0, 0, 2], 9).into(), SourcePolicy::RestrictedLatch);
        world.leg.set_media(&moved);
        assert!(!world.takes_rtp(&caller, 7, 5));
        assert!(world.latches(&elsewhere, 1));
    }

    #[test]
    fn rtcp_follows_the_address_that_rtp_latched() {
        let (caller, reports) = (peer("127.0.0.1"), peer("127.0.0.1"));
        let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
        let mut world = World::latching(behind_nat());
        world.leg.rtcp_mux = false;
        assert!(!world.takes(&reports, Channel::Rtcp, &report));
        assert!(world.latches(&caller, 1));
        assert!(!world.takes(&peer("127.0.0.2"), Channel::Rtcp, &report));
        assert!(world.takes(&reports, Channel::Rtcp, &report));
        assert!(!world.takes(&caller, Channel::Rtcp, &report));
    }
}
