//! The same description with the gateway in its place.
//!
//! Lines stay in their order. Those of the audio line are followed by the attributes that nobody asked
//! to change, `rtpmap` and `fmtp` in the order of the payload types, the direction, `rtcp`, `rtcp-mux`
//! and `ptime`: what proxies and their tests expect.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    codecs::{Choice, CodecName, names, static_rtpmap},
    describe::{Audio, Description, Direction, address_of, payload_type_of},
    lines::{Line, Media, Origin, connection_of, value_of},
};
use crate::proto::encoding::CodecFilter;

/// Attributes that speak of what the gateway does not do (ICE, SRTP, DTLS, bundling) or says
/// itself. Those of ICE begin with `ice-`.
const REMOVED: [&str; 18] = [
    "candidate",
    "remote-candidates",
    "end-of-candidates",
    "crypto",
    "crypto-suite",
    "fingerprint",
    "setup",
    "connection",
    "tls-id",
    "dtls-id",
    "zrtp-hash",
    "key-mgmt",
    "group",
    "bundle-only",
    "msid-semantic",
    "rtcp",
    "rtcp-mux",
    "rtcp-mux-only",
];

/// What to put into a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// Where the gateway is reached.
    pub address: IpAddr,
    /// RTP port of the leg that will read the description; RTCP is the next.
    pub port: u16,
    /// Whether that leg is told `a=rtcp-mux`.
    pub mux: bool,
    /// Whether the description is an answer: then rtcp-mux is agreed and RTCP has no port of its own.
    pub answer: bool,
    /// Rewrite the address in `o=`.
    pub replace_origin: bool,
    /// Rewrite the session's `c=` even where all media have their own.
    pub replace_session_connection: bool,
    /// Rewrite a held `c=0.0.0.0`; otherwise it stays, for the other end shall know.
    pub replace_zero_address: bool,
    /// User name for `o=`, where another than its own.
    pub user: Option<String>,
    /// Version for `o=`, where another than its own.
    pub version: Option<u64>,
    /// Session name, where another than its own.
    pub session_name: Option<String>,
    /// Say `a=rtcp` (RFC 3605).
    pub rtcp_attribute: bool,
    /// Transport for the audio line, where another than its own.
    pub transport: Option<String>,
    /// What the client asks about codecs.
    pub codecs: CodecFilter,
    /// Strip what cannot be masked, unless nothing would be left.
    pub maskable_only: bool,
    /// The codecs that this answers, in an answer.
    pub offered: Option<Vec<CodecName>>,
}

impl Description {
    /// The description with the gateway in the place of the end that sent it, and the codecs that it
    /// names.
    #[must_use]
    pub fn rewrite(&self, to: &Rewrite) -> (String, Vec<CodecName>) {
        let audio = &self.session.medias[self.index];
        let kept = to.kept(audio, self.audio());
        let mut out = String::with_capacity(1024);
        to.write_session(&mut out, self);
        let own_address = connection_of(&self.session.lines).is_some();
        for (index, media) in self.session.medias.iter().enumerate() {
            if index == self.index && !self.audio().refused {
                to.write_audio(&mut out, media, self.audio(), kept.as_deref());
            } else {
                to.refuse(&mut out, media, !own_address);
            }
        }
        let told = kept.unwrap_or_else(|| self.audio().numbers().collect());
        (out, names(audio, told.into_iter()))
    }
}

impl Rewrite {
    fn kept(&self, media: &Media, audio: &Audio) -> Option<Vec<u8>> {
        let choice = Choice {
            filter: &self.codecs,
            maskable_only: self.maskable_only,
            offered: self.offered.as_deref(),
        };
        choice.kept(media, audio)
    }

    fn write_session(&self, out: &mut String, description: &Description) {
        let session = &description.session;
        let needed = session
            .medias
            .iter()
            .any(|media| media.connection().is_none());
        for line in &session.lines {
            match line.kind {
                b'o' => put(out, 'o', &self.origin(&line.value)),
                b's' => put(
                    out,
                    's',
                    self.session_name.as_deref().unwrap_or(&line.value),
                ),
                b'c' if needed || self.replace_session_connection => {
                    put(out, 'c', &self.connection(&line.value));
                }
                // Repeated at the audio line, for which alone it counts.
                b'a' if is_direction(line) || is_removed(line) => {}
                b'k' => {}
                kind => put(out, char::from(kind), &line.value),
            }
        }
    }

    fn origin(&self, found: &str) -> String {
        let Some(mut origin) = Origin::parse(found) else {
            return found.to_owned();
        };
        if let Some(user) = &self.user {
            origin.user.clone_from(user);
        }
        if let Some(version) = self.version {
            origin.version = version;
        }
        if self.replace_origin {
            origin.place = connection(self.address);
        }
        let Origin {
            user,
            id,
            version,
            place,
        } = origin;
        format!("{user} {id} {version} {place}")
    }

    fn write_audio(&self, out: &mut String, media: &Media, audio: &Audio, kept: Option<&[u8]>) {
        let transport = self.transport.as_ref().unwrap_or(&media.transport);
        let formats = match kept {
            Some(kept) => kept.iter().map(u8::to_string).collect::<Vec<_>>().join(" "),
            None => media.formats.join(" "),
        };
        let kind = &media.kind;
        put(
            out,
            'm',
            &format!("{kind} {} {transport} {formats}", self.port),
        );
        let mut connected = false;
        for line in media.lines.iter().filter(|line| line.kind != b'a') {
            match line.kind {
                b'c' if connected => {}
                b'c' => {
                    connected = true;
                    put(out, 'c', &self.connection(&line.value));
                }
                b'k' => {}
                kind => put(out, char::from(kind), &line.value),
            }
        }
        for line in media.lines.iter().filter(|line| stays(line)) {
            put(out, 'a', &line.value);
        }
        write_codecs(out, media, audio, kept);
        put(out, 'a', audio.direction.as_str());
        if self.rtcp_attribute {
            let port = if self.mux && self.answer {
                self.port
            } else {
                self.port + 1
            };
            put(out, 'a', &format!("rtcp:{port}"));
        }
        if self.mux {
            put(out, 'a', "rtcp-mux");
        }
        if let Some(packet_time) = value_of(&media.lines, "ptime") {
            put(out, 'a', &format!("ptime:{packet_time}"));
        }
    }

    /// A line that is not relayed: port 0, and nothing that could be taken for more.
    fn refuse(&self, out: &mut String, media: &Media, needs_address: bool) {
        put(out, 'm', &format!("{} 0 {}", media.kind, media.tail));
        if needs_address {
            put(out, 'c', &connection(self.address));
        }
        if let Some(name) = value_of(&media.lines, "mid") {
            put(out, 'a', &format!("mid:{name}"));
        }
    }

    fn connection(&self, found: &str) -> String {
        let held = address_of(found).is_ok_and(|ip| ip.is_unspecified());
        connection(match self.address {
            address if !held || self.replace_zero_address => address,
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        })
    }
}

fn connection(address: IpAddr) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    format!("IN {family} {address}")
}

fn put(out: &mut String, kind: char, value: &str) {
    // Writing into memory does not fail.
    let _ = write!(out, "{kind}={value}\r\n");
}

/// What is said of the payload types that stay, missing `rtpmap`s added.
fn write_codecs(out: &mut String, media: &Media, audio: &Audio, kept: Option<&[u8]>) {
    let numbers = kept.map_or_else(|| audio.numbers().collect(), <[u8]>::to_vec);
    for number in numbers {
        let named = |name| move |line: &&Line| payload_type_of(line, name) == Some(number);
        if !media.lines.iter().any(|line| named("rtpmap")(&line))
            && let Some(name) = static_rtpmap(number)
        {
            put(out, 'a', &format!("rtpmap:{number} {name}"));
        }
        for line in &media.lines {
            if codec_attribute(line) == Some(number) {
                put(out, 'a', &line.value);
            }
        }
    }
}

/// Whether an attribute of the audio line is handed on as it is, where it stands.
fn stays(line: &Line) -> bool {
    let Some((name, _)) = line.attribute() else {
        return false;
    };
    !(is_removed(line)
        || is_direction(line)
        || codec_attribute(line).is_some()
        || name.eq_ignore_ascii_case("ptime"))
}

fn is_removed(line: &Line) -> bool {
    let Some((name, _)) = line.attribute() else {
        return false;
    };
    let name = name.to_ascii_lowercase();
    name.starts_with("ice-") || REMOVED.contains(&name.as_str())
}

fn is_direction(line: &Line) -> bool {
    let Some((name, _)) = line.attribute() else {
        return false;
    };
    let named = |direction: &Direction| name.eq_ignore_ascii_case(direction.as_str());
    Direction::ALL.iter().any(named)
}

/// The payload type of an attribute that belongs to one. `rtcp-fb:*` belongs to none.
fn codec_attribute(line: &Line) -> Option<u8> {
    ["rtpmap", "fmtp", "rtcp-fb"]
        .into_iter()
        .find_map(|name| payload_type_of(line, name))
}
