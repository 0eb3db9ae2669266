//! From where a leg takes media, and to where it sends.

use std::net::SocketAddr;

use super::wire::To;
use crate::proto::{
    call::{Channel, LegMedia, SourcePolicy},
    encoding::Encoding,
    rtp::{Kind, RtpHeader, kind_of},
};

/// Consecutive packets of one SSRC from one address that a latch asks for (RFC 3550 appendix A.1).
const LATCH_PACKETS: u32 = 3;

/// Times that two addresses have to take turns for a latch to be contested: a port that a NAT gives anew
/// changes once.
const CONTEST_TURNS: u8 = 4;

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
    /// Named by signalling, or latched. On a connected socket the system keeps strangers out; those
    /// that came before the connection, or that it cannot keep out, stop here.
    Known {
        address: SocketAddr,
        connected: bool,
    },
    /// NAT: the IP address is known, the port is not yet.
    Latching(SocketAddr),
}

impl Peer {
    const fn known(address: SocketAddr) -> Self {
        Self::Known {
            address,
            connected: false,
        }
    }
}

/// What is to be done with a channel's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rewire {
    pub(super) channel: Channel,
    /// It is connected to a peer that is none any more.
    pub(super) disconnect: bool,
    /// Its peer from here on. Without one it hears everybody, or a latch would learn nothing.
    pub(super) connect: Option<SocketAddr>,
}

/// Whether a datagram comes from where a leg's media is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Stranger,
    Peer,
    /// It does, and the channel's peer is known from here on: the socket can be connected to it.
    Latched,
}

/// A leg's other end, as far as it is known.
pub(super) struct LegPeers {
    rtp_peer: Peer,
    rtcp_peer: Peer,
    rtcp_mux: bool,
    /// Times that another address than before wanted to be latched.
    turns: u8,
    /// Whether what comes from here is kept from the other leg.
    pub(super) blocked: bool,
    /// Whether the other leg hears silence in its place.
    pub(super) silenced: bool,
    /// Apart: few legs ever have one.
    candidate: Option<Box<Candidate>>,
}

impl Default for LegPeers {
    fn default() -> Self {
        Self {
            rtp_peer: Peer::Unknown,
            rtcp_peer: Peer::Unknown,
            rtcp_mux: false,
            candidate: None,
            turns: 0,
            blocked: false,
            silenced: false,
        }
    }
}

impl LegPeers {
    /// Takes over what signalling agreed: what is to be done with the sockets, where that is new
    /// against what it agreed before. [`LegPeers::connected`] is to follow each connection.
    pub(super) fn set_media(
        &mut self,
        media: &LegMedia,
        before: Option<&LegMedia>,
    ) -> Option<[Rewire; 2]> {
        let named = |media: &LegMedia| (media.rtp, media.rtcp, media.source);
        if before.map(named) == Some(named(media)) {
            return None;
        }
        self.rtcp_mux = media.rtp == media.rtcp;
        self.candidate = None;
        self.turns = 0;
        let mut rewire = |channel, address| {
            let peer = self.peer_mut(channel);
            let disconnect = matches!(
                peer,
                Peer::Known {
                    connected: true,
                    ..
                }
            );
            let connect = match media.source {
                SourcePolicy::Exact => {
                    *peer = Peer::known(address);
                    Some(address)
                }
                SourcePolicy::RestrictedLatch => {
                    *peer = Peer::Latching(address);
                    None
                }
            };
            Rewire {
                channel,
                disconnect,
                connect,
            }
        };
        Some([
            rewire(Channel::Rtp, media.rtp),
            rewire(Channel::Rtcp, media.rtcp),
        ])
    }

    /// The channel's socket is connected to its peer.
    pub(super) const fn connected(&mut self, channel: Channel) {
        if let Peer::Known { connected, .. } = self.peer_mut(channel) {
            *connected = true;
        }
    }

    const fn peer_mut(&mut self, channel: Channel) -> &mut Peer {
        match channel {
            Channel::Rtp => &mut self.rtp_peer,
            Channel::Rtcp => &mut self.rtcp_peer,
        }
    }

    /// Whether a datagram comes from where this leg's media is taken from. Under a latch this is
    /// also where a source is learnt.
    pub(super) fn admits(
        &mut self,
        channel: Channel,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Admission {
        let latched = match (*self.peer_mut(channel), channel) {
            (Peer::Unknown, _) => false,
            (Peer::Known { address, .. }, _) if address == source => return Admission::Peer,
            (Peer::Known { .. }, _) => false,
            (Peer::Latching(named), Channel::Rtp) => self.latch(named, source, datagram),
            // RTCP follows the source that RTP latched, at whatever port its NAT gave it.
            (Peer::Latching(_), Channel::Rtcp) => {
                let follows = matches!(self.rtp_peer, Peer::Known { address, .. } if address.ip() == source.ip())
                    && kind_of(datagram) == Kind::Rtcp;
                if follows {
                    self.rtcp_peer = Peer::known(source);
                }
                follows
            }
        };
        if latched {
            Admission::Latched
        } else {
            Admission::Stranger
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
                self.turns = self.turns.saturating_add(1);
                0
            }
            Some(c) if c.ssrc == header.ssrc && c.sequence.wrapping_add(1) == header.sequence => {
                c.packets + 1
            }
            _ => 1,
        };
        let candidate = Candidate {
            source,
            ssrc: header.ssrc,
            sequence: header.sequence,
            packets,
        };
        match &mut self.candidate {
            Some(known) => **known = candidate,
            None => self.candidate = Some(Box::new(candidate)),
        }
        if packets < LATCH_PACKETS {
            return false;
        }
        self.candidate = None;
        self.rtp_peer = Peer::known(source);
        if self.rtcp_mux {
            self.rtcp_peer = self.rtp_peer;
        }
        true
    }

    /// Whether two addresses have competed for being latched: true once.
    pub(super) const fn take_contest(&mut self) -> bool {
        let contested = self.turns == CONTEST_TURNS;
        // So that it is not asked about again.
        self.turns += contested as u8;
        contested
    }

    /// The way out for a channel's datagrams; none before signalling has named one.
    pub(super) const fn way_out(&self, channel: Channel) -> Option<(Channel, To)> {
        let (channel, peer) = match channel {
            Channel::Rtcp if !self.rtcp_mux => (Channel::Rtcp, self.rtcp_peer),
            Channel::Rtp | Channel::Rtcp => (Channel::Rtp, self.rtp_peer),
        };
        match peer {
            Peer::Known {
                connected: true, ..
            } => Some((channel, To::Peer)),
            // Before the latch the named address is the best that is known.
            Peer::Known { address, .. } | Peer::Latching(address) => {
                Some((channel, To::Address(address)))
            }
            Peer::Unknown => None,
        }
    }
}

/// Makes silence of a packet whose payload types mean what `media` says; whether it may pass. Events do.
pub(super) fn silence(datagram: &mut [u8], media: &LegMedia) -> bool {
    let Ok(header) = RtpHeader::parse(datagram) else {
        return false;
    };
    let known = media
        .payload_types
        .iter()
        .find(|(number, _)| *number == header.payload_type);
    let law = match known {
        Some((_, Encoding::Audio(codec))) => codec.law(),
        Some((_, Encoding::TelephoneEvent(_))) => return true,
        Some((_, Encoding::Tone(_) | Encoding::Red | Encoding::Other)) | None => None,
    };
    let Some(law) = law else {
        return false;
    };
    datagram[header.payload].fill(law.silence());
    true
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
            peers.set_media(&media(named, SourcePolicy::RestrictedLatch), None);
            peers
        }

        fn takes_rtp(&mut self, from: SocketAddr, ssrc: u32, sequence: u16) -> bool {
            let datagram = write_header(0, false, sequence, 0, ssrc);
            self.admits(Channel::Rtp, from, &datagram) != Admission::Stranger
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
        for (named, other, moved) in [(first, second, false), (second, first, true)] {
            let [rtp, _] = peers
                .set_media(&media(named, SourcePolicy::Exact), None)
                .unwrap();
            let expected = Rewire {
                channel: Channel::Rtp,
                disconnect: moved,
                connect: Some(named),
            };
            assert_eq!(rtp, expected);
            let way_out = Some((Channel::Rtp, To::Address(named)));
            assert_eq!(peers.way_out(Channel::Rtp), way_out, "not connected yet");
            peers.connected(Channel::Rtp);
            assert!(peers.takes_rtp(named, 7, 1));
            assert!(!peers.takes_rtp(other, 7, 2));
            assert_eq!(peers.way_out(Channel::Rtp), Some((Channel::Rtp, To::Peer)));
        }
    }

    #[test]
    fn a_source_once_latched_is_connected_to_and_let_go_for_the_next_latch() {
        let caller = at("127.0.0.1:1000");
        let mut peers = LegPeers::latching(behind_nat());
        let told = [1, 2, 3, 4].map(|sequence| {
            let datagram = write_header(0, false, sequence, 0, 7);
            peers.admits(Channel::Rtp, caller, &datagram)
        });
        let expected = [
            Admission::Stranger,
            Admission::Stranger,
            Admission::Latched,
            Admission::Peer,
        ];
        assert_eq!(told, expected);
        peers.connected(Channel::Rtp);
        assert_eq!(peers.way_out(Channel::Rtp), Some((Channel::Rtp, To::Peer)));
        let moved = media(at("127.0.0.2:9"), SourcePolicy::RestrictedLatch);
        let [rtp, rtcp] = peers.set_media(&moved, None).unwrap();
        assert!(rtp.disconnect && rtp.connect.is_none());
        assert!(!rtcp.disconnect, "it never was connected");
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
    fn two_addresses_that_take_turns_contest_a_latch_once_and_a_port_that_changes_does_not() {
        let [first, second] = ["127.0.0.1:1000", "127.0.0.1:2000"].map(at);
        let mut peers = LegPeers::latching(behind_nat());
        for (source, sequence) in [
            (first, 1),
            (first, 2),
            (second, 9),
            (second, 10),
            (second, 11),
        ] {
            peers.takes_rtp(source, 7, sequence);
            assert!(!peers.take_contest());
        }
        let mut peers = LegPeers::latching(behind_nat());
        let mut told = 0;
        for sequence in 0..20 {
            for source in [first, second] {
                assert!(!peers.takes_rtp(source, 7, sequence));
                told += u32::from(peers.take_contest());
            }
        }
        assert_eq!(told, 1);
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
        let same = media(behind_nat(), SourcePolicy::RestrictedLatch);
        assert_eq!(peers.set_media(&same, Some(&same)), None);
        assert!(
            !peers.latches(stranger, 4),
            "a re-INVITE that moves nothing"
        );
        assert!(peers.takes_rtp(caller, 7, 4));
        let moved = media(at("127.0.0.2:9"), SourcePolicy::RestrictedLatch);
        peers.set_media(&moved, Some(&same));
        assert!(!peers.takes_rtp(caller, 7, 5));
        assert!(peers.latches(at("127.0.0.2:1000"), 1));
    }

    #[test]
    fn rtcp_follows_the_address_that_rtp_latched() {
        let (caller, reports) = (at("127.0.0.1:1000"), at("127.0.0.1:1001"));
        let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
        let takes = |peers: &mut LegPeers, from, report: &[u8]| {
            peers.admits(Channel::Rtcp, from, report) != Admission::Stranger
        };
        let mut peers = LegPeers::latching(behind_nat());
        peers.rtcp_mux = false;
        assert!(!takes(&mut peers, reports, &report));
        assert!(peers.latches(caller, 1));
        assert!(!takes(&mut peers, at("127.0.0.2:1001"), &report));
        assert!(takes(&mut peers, reports, &report));
        assert!(!takes(&mut peers, caller, &report));
        let way_out = Some((Channel::Rtcp, To::Address(reports)));
        assert_eq!(peers.way_out(Channel::Rtcp), way_out);
    }

    fn behind_nat() -> SocketAddr {
        at("127.0.0.1:9")
    }
}
