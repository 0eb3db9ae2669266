//! The same description with the gateway in its place.
//!
//! Order of an audio line's attributes: `rtpmap` and `fmtp` in the order of the payload types, the
//! rest as it came, then the direction, `rtcp` and `rtcp-mux`: what proxies and their tests expect.

use std::net::IpAddr;

use sdp_types::{Attribute, Connection, Media, Session};

use crate::proto::encoding::{AudioCodec, Encoding};

use super::describe::{Audio, Description, Direction, payload_type_of, rtpmap_of};

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
    /// Rewrite the session's `c=` even where the audio has its own.
    pub replace_session_connection: bool,
    /// Rewrite a held `c=0.0.0.0`; otherwise it stays, for the other end shall know.
    pub replace_zero_address: bool,
    /// Say `a=rtcp` (RFC 3605).
    pub rtcp_attribute: bool,
    /// Transport for the audio line, where another than its own.
    pub transport: Option<String>,
    /// Names of codecs to strip, lower case, besides those that cannot be masked.
    pub strip: Vec<String>,
}

impl Description {
    /// The description with the gateway in the place of the end that sent it.
    #[must_use]
    pub fn rewrite(&self, to: &Rewrite) -> String {
        let mut session = self.session.clone();
        let audio_has_address = !session.medias[self.index].connections.is_empty();
        if to.replace_origin {
            session.origin.set_unicast_ip_address(to.address);
        }
        if let Some(connection) = &mut session.connection
            && (to.replace_session_connection || !audio_has_address)
        {
            to.replace_address(connection);
        }
        let needs_address = session.connection.is_none();
        session.key = None;
        clean(&mut session.attributes);
        // Repeated at the audio line, for which alone it counts.
        session
            .attributes
            .retain(|attribute| !is_direction(attribute));
        for (index, media) in session.medias.iter_mut().enumerate() {
            if index == self.index {
                to.rewrite_audio(media, self.audio());
            } else {
                to.refuse(media, needs_address);
            }
        }
        write(&session)
    }
}

impl Rewrite {
    fn rewrite_audio(&self, media: &mut Media, audio: &Audio) {
        media.num_ports = None;
        media.key = None;
        media.connections.truncate(1);
        for connection in &mut media.connections {
            self.replace_address(connection);
        }
        if let Some(transport) = &self.transport {
            media.proto.clone_from(transport);
        }
        clean(&mut media.attributes);
        let kept = self.kept(media, audio);
        if let Some(kept) = &kept {
            let formats: Vec<String> = kept.iter().map(u8::to_string).collect();
            media.fmt = formats.join(" ");
        }
        self.order_attributes(media, audio, kept.as_deref());
        if audio.refused {
            media.port = 0;
            return;
        }
        media.port = self.port;
        let direction = audio.direction.as_str();
        media.attributes.push(Attribute::new(direction));
        let rtcp = if self.mux && self.answer {
            self.port
        } else {
            self.port + 1
        };
        if self.rtcp_attribute {
            media.attributes.push(Attribute::with_value("rtcp", rtcp));
        }
        if self.mux {
            media.attributes.push(Attribute::new("rtcp-mux"));
        }
    }

    /// Which payload types stay: `None` leaves all, because stripping would leave no speech.
    fn kept(&self, media: &Media, audio: &Audio) -> Option<Vec<u8>> {
        let stripped = |payload_type: u8, encoding: Encoding| {
            let name = match encoding {
                Encoding::Audio(codec) => codec.name(),
                Encoding::TelephoneEvent(_) => "telephone-event",
                Encoding::Tone(_) => "tone",
                Encoding::Red => "red",
                Encoding::Other => rtpmap_of(media, payload_type)
                    .and_then(|encoding| encoding.split('/').next())
                    .unwrap_or_default(),
            };
            self.strip
                .iter()
                .any(|word| word.eq_ignore_ascii_case(name))
        };
        let keep = |maskable_only: bool| -> Option<Vec<u8>> {
            let kept: Vec<(u8, Encoding)> = audio
                .payload_types
                .iter()
                .copied()
                .filter(|(_, encoding)| !maskable_only || passes(*encoding))
                .filter(|(payload_type, encoding)| !stripped(*payload_type, *encoding))
                .collect();
            let speech = |(_, encoding): &(u8, Encoding)| {
                encoding.audio().is_some() || (!maskable_only && *encoding == Encoding::Other)
            };
            kept.iter()
                .any(speech)
                .then(|| kept.iter().map(|(payload_type, _)| *payload_type).collect())
        };
        if audio.is_maskable() {
            keep(true).or_else(|| keep(false))
        } else {
            keep(false)
        }
    }

    /// Codecs first, missing `rtpmap`s of G.711 added, then the rest without directions.
    fn order_attributes(&self, media: &mut Media, audio: &Audio, kept: Option<&[u8]>) {
        let (codecs, mut rest): (Vec<Attribute>, Vec<Attribute>) =
            std::mem::take(&mut media.attributes)
                .into_iter()
                .partition(|attribute| codec_attribute(attribute).is_some());
        rest.retain(|attribute| !is_direction(attribute));
        for (payload_type, encoding) in &audio.payload_types {
            if kept.is_some_and(|kept| !kept.contains(payload_type)) {
                continue;
            }
            let own = |attribute: &&Attribute| codec_attribute(attribute) == Some(*payload_type);
            let mapped = |attribute: &Attribute| attribute.attribute.eq_ignore_ascii_case("rtpmap");
            if !codecs.iter().filter(own).any(mapped) {
                let name = encoding.audio().map(AudioCodec::rtpmap);
                media.attributes.extend(
                    name.map(|name| {
                        Attribute::with_value("rtpmap", format!("{payload_type} {name}"))
                    }),
                );
            }
            media.attributes.extend(codecs.iter().filter(own).cloned());
        }
        media.attributes.append(&mut rest);
    }

    /// A line that is not relayed: port 0, and nothing that could be taken for more.
    fn refuse(&self, media: &mut Media, needs_address: bool) {
        media.port = 0;
        media.num_ports = None;
        media.key = None;
        media.bandwidths.clear();
        media.attributes.clear();
        media.connections.clear();
        if needs_address {
            media
                .connections
                .push(Connection::from_ip_addr(self.address));
        }
    }

    fn replace_address(&self, connection: &mut Connection) {
        let held = connection
            .try_address()
            .is_ok_and(|address| address.ip.is_unspecified());
        if !held || self.replace_zero_address {
            connection.set_connection_ip_address(self.address);
        }
    }
}

/// What both ends are let agree on where there is speech that can be masked. Tones that are described
/// and redundancy are heard if they come all the same; neither is needed to talk.
const fn passes(encoding: Encoding) -> bool {
    match encoding {
        Encoding::Audio(_) | Encoding::TelephoneEvent(_) => true,
        Encoding::Tone(_) | Encoding::Red | Encoding::Other => false,
    }
}

fn clean(attributes: &mut Vec<Attribute>) {
    attributes.retain(|attribute| {
        let name = attribute.attribute.to_ascii_lowercase();
        !name.starts_with("ice-") && !REMOVED.contains(&name.as_str())
    });
}

fn is_direction(attribute: &Attribute) -> bool {
    Direction::ALL
        .iter()
        .any(|direction| attribute.attribute.eq_ignore_ascii_case(direction.as_str()))
}

/// The payload type of an attribute that belongs to one. `rtcp-fb:*` belongs to none.
fn codec_attribute(attribute: &Attribute) -> Option<u8> {
    ["rtpmap", "fmtp", "rtcp-fb"]
        .into_iter()
        .find_map(|name| payload_type_of(attribute, name))
}

fn write(session: &Session) -> String {
    let mut out = Vec::with_capacity(1024);
    // Writing into memory does not fail, and all parts are strings.
    let _ = session.write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}
