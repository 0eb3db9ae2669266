//! What a session description says, parsed once.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::lines::{Line, Media, Origin, Session, connection_of, value_of};
use crate::proto::encoding::{AudioCodec, Encoding};

/// Longest description; real ones have 200 to 6000 bytes.
const MAX_BYTES: usize = 32 * 1024;
/// Most media lines; real ones have 1 to 4.
pub(super) const MAX_MEDIA: usize = 32;
/// Packet time where the description is silent (RFC 3551 §4.2).
const DEFAULT_PACKET_TIME_MS: u32 = 20;

/// Why a session description cannot be used. Repeats no line of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Larger than any real one.
    #[error("Failed to parse SDP: it has {0} bytes; expected at most {MAX_BYTES}")]
    TooLong(usize),
    /// Lines that are no session description.
    #[error("Failed to parse SDP: {0}")]
    Syntax(String),
    /// More media lines than any real one.
    #[error("Failed to parse SDP: it has {0} media lines; expected at most {MAX_MEDIA}")]
    TooManyMedia(usize),
    /// No audio.
    #[error("The SDP has no m=audio line; this gateway relays audio only")]
    NoAudio,
    /// SRTP or DTLS-SRTP.
    #[error(
        "The SDP asks for {0}; this gateway relays plain RTP on this interface: offer RTP/AVP (or have the proxy set transport-protocol to RTP/AVP and end the encryption before it)"
    )]
    Encrypted(&'static str),
    /// Something that is not RTP.
    #[error("The SDP's audio is not over RTP; expected RTP/AVP or RTP/AVPF")]
    Transport,
    /// The audio has no address at all.
    #[error("The SDP names no address (c=) for its audio")]
    NoAddress,
    /// A host name or something that is no address.
    #[error("The SDP's c= line names no IP address; a host name cannot be used here")]
    Address,
    /// IPv6 towards a gateway on IPv4, or the other way round.
    #[error("The SDP's address is {found}; this gateway's media address is {ours}")]
    Family {
        /// `IPv4` or `IPv6`.
        found: &'static str,
        /// `IPv4` or `IPv6`.
        ours: &'static str,
    },
    /// RTP on the last port has no port for RTCP after it.
    #[error("The SDP's audio port is 65535; RTCP needs the next one")]
    Port,
    /// An `a=rtcp:` without a port.
    #[error("The SDP's a=rtcp line names no port")]
    Rtcp,
}

/// By the value of `a=rtpmap` after the payload type: `PCMU/8000`, `PCMU/8000/1` or `opus/48000/2`.
fn of_rtpmap(encoding: &str) -> Encoding {
    let mut parts = encoding.trim().split('/');
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let clock_hz: u32 = parts.next().and_then(|rate| rate.parse().ok()).unwrap_or(0);
    let channels = parts.next().unwrap_or("1");
    match (name.as_str(), clock_hz, channels) {
        ("pcmu", 8000, "1") => Encoding::Audio(AudioCodec::Pcmu),
        ("pcma", 8000, "1") => Encoding::Audio(AudioCodec::Pcma),
        // 8000 stands for 16 kHz (RFC 3551 §4.5.2).
        ("g722", 8000, "1") => Encoding::Audio(AudioCodec::G722),
        // Some phones name the annex, which sends the same bits.
        ("g729" | "g729a", 8000, "1") => Encoding::Audio(AudioCodec::G729),
        // Always these two numbers, whatever is sent (RFC 7587 §7).
        ("opus", 48_000, "2") => Encoding::Audio(AudioCodec::Opus),
        ("telephone-event", 1.., "1") => Encoding::TelephoneEvent(clock_hz),
        ("tone", 1.., "1") => Encoding::Tone(clock_hz),
        // Of as many channels as its blocks have.
        ("red", 1.., _) => Encoding::Red,
        _ => Encoding::Other,
    }
}

/// Payload types that need no `a=rtpmap` (RFC 3551 §6).
const fn of_static(payload_type: u8) -> Encoding {
    match payload_type {
        0 => Encoding::Audio(AudioCodec::Pcmu),
        8 => Encoding::Audio(AudioCodec::Pcma),
        9 => Encoding::Audio(AudioCodec::G722),
        18 => Encoding::Audio(AudioCodec::G729),
        _ => Encoding::Other,
    }
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    SendRecv,
    /// This end sends only: it holds the other.
    SendOnly,
    /// This end receives only: it is held.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    pub(super) const ALL: [Self; 4] = [
        Self::SendRecv,
        Self::SendOnly,
        Self::RecvOnly,
        Self::Inactive,
    ];

    /// The attribute's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn of(lines: &[Line]) -> Option<Self> {
        let found = |direction: &Self| value_of(lines, direction.as_str()).is_some();
        Self::ALL.into_iter().find(found)
    }

    /// Without receiving: what an address of zeros says (RFC 3264 section 8.4).
    const fn held(self) -> Self {
        match self {
            Self::SendRecv | Self::SendOnly => Self::SendOnly,
            Self::RecvOnly | Self::Inactive => Self::Inactive,
        }
    }
}

/// What the audio line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// Where this end wants its RTP. `None` while it wants none: port 0, or held by `c=0.0.0.0`.
    pub rtp: Option<SocketAddr>,
    /// The address that it names, also where that is all zeros.
    pub address: Option<IpAddr>,
    /// Where this end wants its RTCP unless both agree on rtcp-mux.
    pub rtcp: Option<SocketAddr>,
    /// Whether it offers or accepts rtcp-mux (RFC 5761).
    pub mux: bool,
    /// The payload types of the `m=` line in its order, also those that are stripped.
    pub payload_types: Vec<(u8, Encoding)>,
    /// 10 to 60 ms; 20 where the description is silent.
    pub packet_time: Duration,
    /// Who sends; held where the address says so.
    pub direction: Direction,
    /// Whether the line is refused: port 0.
    pub refused: bool,
}

impl Audio {
    /// Whether at least one codec can be decoded and masked.
    #[must_use]
    pub fn is_maskable(&self) -> bool {
        self.payload_types
            .iter()
            .any(|(_, encoding)| encoding.audio().is_some())
    }

    /// The payload types' numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u8> + '_ {
        self.payload_types.iter().map(|(number, _)| *number)
    }

    /// Refuses an address that cannot be reached from ours.
    pub fn check_family(&self, ours: IpAddr) -> Result<(), SdpError> {
        let family = |ip: IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let foreign = [self.rtp, self.rtcp]
            .into_iter()
            .flatten()
            .find(|address| address.is_ipv4() != ours.is_ipv4());
        match foreign {
            Some(address) => Err(SdpError::Family {
                found: family(address.ip()),
                ours: family(ours),
            }),
            None => Ok(()),
        }
    }
}

/// A session description whose audio line was found and understood.
#[derive(Debug, Clone)]
pub struct Description {
    pub(super) session: Session,
    pub(super) index: usize,
    audio: Audio,
}

impl Description {
    /// Reads a description.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_BYTES {
            return Err(SdpError::TooLong(text.len()));
        }
        let session = Session::parse(text)?;
        let index = audio_index(&session)?;
        let audio = read_audio(&session, &session.medias[index])?;
        Ok(Self {
            session,
            index,
            audio,
        })
    }

    /// The audio.
    #[must_use]
    pub const fn audio(&self) -> &Audio {
        &self.audio
    }

    /// Who made the session, and its version.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        let line = self.session.lines.iter().find(|line| line.kind == b'o')?;
        Origin::parse(&line.value)
    }

    /// Feeds all lines but `o=` to a hasher, which tells whether anything but the version has changed.
    pub fn hash_without_origin(&self, hasher: &mut impl Hasher) {
        let session = self.session.lines.iter().filter(|line| line.kind != b'o');
        for line in session {
            line.hash(hasher);
        }
        self.session.medias.hash(hasher);
    }

    /// The session's name.
    #[must_use]
    pub fn session_name(&self) -> Option<&str> {
        let line = self.session.lines.iter().find(|line| line.kind == b's')?;
        Some(&line.value)
    }
}

/// The first audio line that is not refused; else the first.
fn audio_index(session: &Session) -> Result<usize, SdpError> {
    let live = |media: &Media| media.is_audio() && media.port != 0;
    let position = session.medias.iter().position(live);
    position
        .or_else(|| session.medias.iter().position(Media::is_audio))
        .ok_or(SdpError::NoAudio)
}

fn read_audio(session: &Session, media: &Media) -> Result<Audio, SdpError> {
    check_transport(&media.transport)?;
    let refused = media.port == 0;
    let connection = media.connection().or_else(|| connection_of(&session.lines));
    let direction = Direction::of(&media.lines)
        .or_else(|| Direction::of(&session.lines))
        .unwrap_or(Direction::SendRecv);
    let (mut address, mut rtp, mut rtcp, mut held) = (None, None, None, false);
    if !refused {
        let ip = address_of(connection.ok_or(SdpError::NoAddress)?)?;
        let reports = rtcp_of(media, ip)?;
        address = Some(ip);
        held = ip.is_unspecified();
        rtp = (!held).then_some(SocketAddr::new(ip, media.port));
        rtcp = (!held).then_some(reports);
    }
    Ok(Audio {
        rtp,
        address,
        rtcp,
        mux: value_of(&media.lines, "rtcp-mux").is_some(),
        payload_types: payload_types(media),
        packet_time: packet_time(media),
        direction: if held { direction.held() } else { direction },
        refused,
    })
}

fn check_transport(transport: &str) -> Result<(), SdpError> {
    const ENCRYPTED: [&str; 4] = [
        "RTP/SAVP",
        "RTP/SAVPF",
        "UDP/TLS/RTP/SAVP",
        "UDP/TLS/RTP/SAVPF",
    ];
    let transport = transport.to_ascii_uppercase();
    if matches!(transport.as_str(), "RTP/AVP" | "RTP/AVPF") {
        return Ok(());
    }
    match ENCRYPTED.into_iter().find(|name| *name == transport) {
        Some(name) => Err(SdpError::Encrypted(name)),
        None => Err(SdpError::Transport),
    }
}

/// Of `IN IP4 ADDRESS[/TTL]` or `IN IP6 ADDRESS`.
pub(super) fn address_of(connection: &str) -> Result<IpAddr, SdpError> {
    let mut words = connection.split_whitespace();
    let (Some("IN"), Some(family), Some(address)) = (words.next(), words.next(), words.next())
    else {
        return Err(SdpError::Address);
    };
    let address = address.split_once('/').map_or(address, |(ip, _)| ip);
    let ip: IpAddr = address.parse().map_err(|_| SdpError::Address)?;
    if (family == "IP4") != ip.is_ipv4() {
        return Err(SdpError::Address);
    }
    of_one_host(ip)
}

fn of_one_host(ip: IpAddr) -> Result<IpAddr, SdpError> {
    let many = ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    if many { Err(SdpError::Address) } else { Ok(ip) }
}

/// `a=rtcp:PORT [IN IP4 ADDRESS]` (RFC 3605), else the port after that of RTP. An address of zeros,
/// which to send to would mean this machine, says no more than none.
fn rtcp_of(media: &Media, rtp: IpAddr) -> Result<SocketAddr, SdpError> {
    let Some(value) = value_of(&media.lines, "rtcp") else {
        let port = media.port.checked_add(1).ok_or(SdpError::Port)?;
        return Ok(SocketAddr::new(rtp, port));
    };
    let mut words = value.split_whitespace();
    let port = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(SdpError::Rtcp)?;
    let ip = match words.nth(2) {
        Some(address) => of_one_host(address.parse().map_err(|_| SdpError::Address)?)?,
        None => rtp,
    };
    let ip = if ip.is_unspecified() { rtp } else { ip };
    Ok(SocketAddr::new(ip, port))
}

/// Formats that are no payload type are left out: they are stripped as what cannot be masked.
fn payload_types(media: &Media) -> Vec<(u8, Encoding)> {
    let mut found: Vec<(u8, Encoding)> = Vec::new();
    for format in &media.formats {
        let payload_type = format.parse().ok().filter(|number: &u8| *number < 128);
        let Some(payload_type) = payload_type else {
            continue;
        };
        if found.iter().any(|(known, _)| *known == payload_type) {
            continue;
        }
        let codec =
            rtpmap_of(media, payload_type).map_or_else(|| of_static(payload_type), of_rtpmap);
        found.push((payload_type, codec));
    }
    found
}

/// What `a=rtpmap` says of this payload type.
pub(super) fn rtpmap_of(media: &Media, payload_type: u8) -> Option<&str> {
    media.lines.iter().find_map(|line| {
        (payload_type_of(line, "rtpmap")? == payload_type)
            .then(|| line.attribute()?.1?.trim().split_once(' '))
            .flatten()
            .map(|(_, encoding)| encoding)
    })
}

/// The payload type that an attribute of this name speaks of.
pub(super) fn payload_type_of(line: &Line, name: &str) -> Option<u8> {
    let (found, value) = line.attribute()?;
    if !found.eq_ignore_ascii_case(name) {
        return None;
    }
    value?.split_whitespace().next()?.parse().ok()
}

fn packet_time(media: &Media) -> Duration {
    let ms = value_of(&media.lines, "ptime")
        .and_then(|value| value.trim().split('.').next()?.parse().ok())
        .unwrap_or(DEFAULT_PACKET_TIME_MS);
    Duration::from_millis(u64::from(ms.clamp(10, 60)))
}
