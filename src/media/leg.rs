//! From where a leg takes media, and to where it sends.

use std::{net::SocketAddr, time::Instant};

use super::{LegStats, wire::To};
use crate::proto::{
    call::{Channel, LegMedia, SourcePolicy},
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

/// A leg's other end, as far as it is known.
pub(super) struct LegPeers {
    rtp_peer: Peer,
    rtcp_peer: Peer,
    rtcp_mux: bool,
    candidate: Option<Candidate>,
    media: Option<LegMedia>,
    pub(super) stats: LegStats,
    pub(super) last_packet: Option<Instant>,
}

impl Default for LegPeers {
    fn default() -> Self {
        Self {
            rtp_peer: Peer::Unknown,
            rtcp_peer: Peer::Unknown,
            rtcp_mux: false,
            candidate: None,
            media: None,
            stats: LegStats::default(),
            last_packet: None,
        }
    }
}

impl LegPeers {
    /// Takes over what signalling agreed: what the channels are to be connected to, where that is new.
    pub(super) fn set_media(&mut self, media: &LegMedia) -> [Option<(Channel, SocketAddr)>; 2] {
        if self.media.as_ref() == Some(media) {
            return [None; 2];
        }
        let moved = self.media.as_ref().is_none_or(|old| {
            (old.rtp, old.rtcp, old.source) != (media.rtp, media.rtcp, media.source)
        });
        self.rtcp_mux = media.rtp == media.rtcp;
        self.media = Some(media.clone());
        if !moved {
            return [None; 2];
        }
        self.candidate = None;
        let peer = |address| match media.source {
            SourcePolicy::Exact => Peer::Pinned(address),
            SourcePolicy::RestrictedLatch => Peer::Latching(address),
        };
        self.rtp_peer = peer(media.rtp);
        self.rtcp_peer = peer(media.rtcp);
        let channels = [
            (Channel::Rtp, self.rtp_peer),
            (Channel::Rtcp, self.rtcp_peer),
        ];
        channels.map(|(channel, peer)| match peer {
            Peer::Pinned(address) => Some((channel, address)),
            Peer::Unknown | Peer::Latched(_) | Peer::Latching(_) => None,
        })
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

    /// The way out for a channel's datagrams; none before signalling has named one.
    pub(super) const fn way_out(&self, channel: Channel) -> Option<(Channel, To)> {
        let (channel, peer) = match channel {
            Channel::Rtcp if !self.rtcp_mux => (Channel::Rtcp, self.rtcp_peer),
            Channel::Rtp | Channel::Rtcp => (Channel::Rtp, self.rtp_peer),
        };
        match peer {
            Peer::Pinned(_) => Some((channel, To::Peer)),
            // Before the latch the named address is the best that is known.
            Peer::Latched(address) | Peer::Latching(address) => {
                Some((channel, To::Address(address)))
            }
            Peer::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::{
        encoding::{AudioCodec, Encoding},
        rtp::write_header,
    };

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    impl LegPeers {
        fn latching(named: SocketAddr) -> Self {
            let mut peers = Self::default();
            peers.set_media(&media(named, SourcePolicy::RestrictedLatch));
            peers
        }

        fn takes_rtp(&mut self, from: SocketAddr, ssrc: u32, sequence: u16) -> bool {
            self.admits(
                Channel::Rtp,
                from,
                &write_header(0, false, sequence, 0, ssrc),
            )
        }

        /// Three packets in a row; whether the last was taken.
        fn latches(&mut self, from: SocketAddr, sequence: u16) -> bool {
            (0..3).fold(false, |_, n| self.takes_rtp(from, 7, sequence + n))
        }
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

    #[test]
    fn before_signalling_has_named_a_source_nothing_is_taken_or_sent() {
        let mut peers = LegPeers::default();
        assert!(!peers.takes_rtp(at("127.0.0.1:9"), 7, 1));
        assert_eq!(peers.way_out(Channel::Rtp), None);
    }

    #[test]
    fn exactly_the_named_source_is_taken_also_after_it_has_moved() {
        let (first, second) = (at("127.0.0.1:1000"), at("127.0.0.1:1002"));
        let mut peers = LegPeers::default();
        for (named, other) in [(first, second), (second, first)] {
            let connects = peers.set_media(&media(named, SourcePolicy::Exact));
            assert_eq!(connects[0], Some((Channel::Rtp, named)));
            assert!(peers.takes_rtp(named, 7, 1));
            assert!(!peers.takes_rtp(other, 7, 2));
            assert_eq!(peers.way_out(Channel::Rtp), Some((Channel::Rtp, To::Peer)));
        }
    }

    #[test]
    fn a_latch_asks_for_three_packets_in_a_row_of_one_source() {
        let caller = at("127.0.0.1:1000");
        let mut peers = LegPeers::latching(behind_nat());
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
        .map(|(ssrc, sequence)| peers.takes_rtp(caller, ssrc, sequence));
        assert_eq!(
            taken,
            [false, false, false, false, false, false, true, true]
        );
        let way_out = Some((Channel::Rtp, To::Address(caller)));
        assert_eq!(peers.way_out(Channel::Rtp), way_out);
    }

    #[test]
    fn a_competing_source_stops_the_latch_until_one_falls_silent() {
        let (caller, stranger) = (at("127.0.0.1:1000"), at("127.0.0.1:2000"));
        let mut peers = LegPeers::latching(behind_nat());
        for sequence in 0..10 {
            assert!(!peers.takes_rtp(caller, 7, sequence));
            assert!(!peers.takes_rtp(stranger, 8, sequence));
        }
        assert!(
            !peers.latches(caller, 10),
            "the first only parts it from the stranger's"
        );
        assert!(peers.takes_rtp(caller, 7, 13));
    }

    #[test]
    fn another_address_is_never_latched() {
        let mut peers = LegPeers::latching(behind_nat());
        assert!(!peers.latches(at("127.0.0.2:1000"), 1));
        assert!(peers.latches(at("127.0.0.1:1000"), 1));
    }

    #[test]
    fn what_is_latched_stays_pinned_until_signalling_names_another_place() {
        let (caller, stranger) = (at("127.0.0.1:1000"), at("127.0.0.1:2000"));
        let mut peers = LegPeers::latching(behind_nat());
        assert!(peers.latches(caller, 1));
        assert!(!peers.latches(stranger, 1));
        peers.set_media(&media(behind_nat(), SourcePolicy::RestrictedLatch));
        assert!(
            !peers.latches(stranger, 4),
            "a re-INVITE that moves nothing"
        );
        assert!(peers.takes_rtp(caller, 7, 4));
        let moved = media(at("127.0.0.2:9"), SourcePolicy::RestrictedLatch);
        peers.set_media(&moved);
        assert!(!peers.takes_rtp(caller, 7, 5));
        assert!(peers.latches(at("127.0.0.2:1000"), 1));
    }

    #[test]
    fn rtcp_follows_the_address_that_rtp_latched() {
        let (caller, reports) = (at("127.0.0.1:1000"), at("127.0.0.1:1001"));
        let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
        let mut peers = LegPeers::latching(behind_nat());
        peers.rtcp_mux = false;
        assert!(!peers.admits(Channel::Rtcp, reports, &report));
        assert!(peers.latches(caller, 1));
        assert!(!peers.admits(Channel::Rtcp, at("127.0.0.2:1001"), &report));
        assert!(peers.admits(Channel::Rtcp, reports, &report));
        assert!(!peers.admits(Channel::Rtcp, caller, &report));
        let way_out = Some((Channel::Rtcp, To::Address(reports)));
        assert_eq!(peers.way_out(Channel::Rtcp), way_out);
    }

    fn behind_nat() -> SocketAddr {
        at("127.0.0.1:9")
    }
}
