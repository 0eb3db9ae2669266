//! RTP packets (RFC 3550 §5.1): reads are `rtp-rs`'s, edits are made in place.

use std::ops::Range;

use rtp_rs::RtpReader;
use thiserror::Error;

use super::{HEADER_BYTES, MAX_DATAGRAM};

/// Why a datagram is not an RTP packet. Its variants double as metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RtpError {
    /// Too short for its own header, CSRC list, extension or padding; or a wrong version.
    #[error("malformed RTP: {0} bytes that do not hold the header they announce")]
    Malformed(usize),
    /// Longer than anything a telephone sends.
    #[error("{0} bytes; an RTP packet of a call has at most 1500")]
    TooLong(usize),
}

/// What a datagram on a media port is (RFC 5761 §4, RFC 7983 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An RTP packet.
    Rtp,
    /// An RTCP packet.
    Rtcp,
    /// STUN, DTLS or anything else.
    Other,
}

/// Tells RTP from RTCP by the second octet: RTCP packet types are 192 to 223, which as RTP would be
/// the payload types 64 to 95 with the marker set, and those are never assigned (RFC 5761 §4).
#[must_use]
pub fn kind_of(datagram: &[u8]) -> Kind {
    match datagram {
        [first, second, ..] if first >> 6 == 2 => match second {
            192..=223 => Kind::Rtcp,
            _ => Kind::Rtp,
        },
        _ => Kind::Other,
    }
}

/// The fields of an RTP header, and where its payload stands in the datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpHeader {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Marker: the beginning of a talkspurt or of an event.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Sampling instant, in units of the payload type's clock rate.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// The payload's place in the datagram, without padding.
    pub payload: Range<usize>,
}

impl RtpHeader {
    /// Reads a datagram; lengths of CSRC list, extension and padding are checked here once.
    ///
    /// # Errors
    /// [`RtpError`] when the datagram does not hold what its header announces.
    pub fn parse(datagram: &[u8]) -> Result<Self, RtpError> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(RtpError::TooLong(datagram.len()));
        }
        let malformed = |_| RtpError::Malformed(datagram.len());
        let reader = RtpReader::new(datagram).map_err(malformed)?;
        let start = reader.payload_offset();
        Ok(Self {
            payload_type: reader.payload_type(),
            marker: reader.mark(),
            sequence: reader.sequence_number().into(),
            timestamp: reader.timestamp(),
            ssrc: reader.ssrc(),
            payload: start..start + reader.payload().len(),
        })
    }
}

/// Adds constants to sequence number and timestamp, wrapping, and leaves every other bit alone.
/// A datagram shorter than a header is left as it is.
pub fn shift(datagram: &mut [u8], sequence: u16, timestamp: u32) {
    let Some(header) = datagram.first_chunk_mut::<HEADER_BYTES>() else {
        return;
    };
    let [_, _, s0, s1, t0, t1, t2, t3, ..] = header;
    [*s0, *s1] = u16::from_be_bytes([*s0, *s1])
        .wrapping_add(sequence)
        .to_be_bytes();
    [*t0, *t1, *t2, *t3] = u32::from_be_bytes([*t0, *t1, *t2, *t3])
        .wrapping_add(timestamp)
        .to_be_bytes();
}

/// The header of a packet of our own: version 2, no padding, extension or CSRC list.
#[must_use]
pub fn write_header(
    payload_type: u8,
    marker: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0] = 2 << 6;
    header[1] = (payload_type & 0x7f) | (u8::from(marker) << 7);
    header[2..4].copy_from_slice(&sequence.to_be_bytes());
    header[4..8].copy_from_slice(&timestamp.to_be_bytes());
    header[8..12].copy_from_slice(&ssrc.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_of_our_own_reads_back() {
        let mut datagram = write_header(101, true, 65_535, 0xdead_beef, 7).to_vec();
        datagram.extend([1, 2, 3, 4]);
        let header = RtpHeader::parse(&datagram).unwrap();
        assert_eq!(
            header,
            RtpHeader {
                payload_type: 101,
                marker: true,
                sequence: 65_535,
                timestamp: 0xdead_beef,
                ssrc: 7,
                payload: 12..16,
            }
        );
    }

    #[test]
    fn a_shift_wraps_and_touches_nothing_else() {
        let mut datagram = write_header(0, false, 65_535, u32::MAX, 7).to_vec();
        datagram.extend([9; 160]);
        shift(&mut datagram, 2, 3);
        let header = RtpHeader::parse(&datagram).unwrap();
        assert_eq!((header.sequence, header.timestamp), (1, 2));
        assert_eq!(&datagram[12..], [9; 160]);
    }

    #[test]
    fn padding_is_not_payload_and_a_lie_about_it_is_refused() {
        let mut datagram = write_header(0, false, 1, 1, 1).to_vec();
        datagram[0] |= 1 << 5;
        datagram.extend([5, 5, 0, 0, 3]);
        assert_eq!(RtpHeader::parse(&datagram).unwrap().payload, 12..14);
        *datagram.last_mut().unwrap() = 200;
        assert_eq!(
            RtpHeader::parse(&datagram),
            Err(RtpError::Malformed(datagram.len()))
        );
    }

    #[test]
    fn rtcp_is_told_from_rtp() {
        assert_eq!(kind_of(&[0x80, 200, 0, 0]), Kind::Rtcp);
        assert_eq!(kind_of(&[0x80, 0x80 | 101, 0, 0]), Kind::Rtp);
        assert_eq!(kind_of(&[0x00, 0x01, 0, 0]), Kind::Other);
        assert_eq!(kind_of(&[]), Kind::Other);
    }

    proptest! {
        #[test]
        fn no_datagram_panics(mut datagram in proptest::collection::vec(any::<u8>(), 0..1600)) {
            if let Ok(header) = RtpHeader::parse(&datagram) {
                prop_assert!(datagram.get(header.payload).is_some());
            }
            let _ = kind_of(&datagram);
            shift(&mut datagram, 1, 1);
        }
    }
}
