//! Which codecs of an audio line go on to the other end, and by which name.

use super::{
    describe::{Audio, rtpmap_of},
    lines::Media,
};
use crate::proto::encoding::{CodecFilter, Encoding};

/// A codec as `a=rtpmap` names it: two ends may give it different payload types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecName {
    /// Lower case.
    name: String,
    /// Clock rate in Hz.
    clock_hz: u32,
    /// `1` where it is not named.
    channels: String,
}

impl CodecName {
    /// By the value of `a=rtpmap` after the payload type, or by the table of RFC 3551 section 6.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('/');
        let name = parts.next()?.to_ascii_lowercase();
        Some(Self {
            // Some phones name the annex, which sends the same bits.
            name: if name == "g729a" {
                "g729".to_owned()
            } else {
                name
            },
            clock_hz: parts.next()?.parse().ok()?,
            channels: parts.next().unwrap_or("1").to_owned(),
        })
    }

    fn of(media: &Media, payload_type: u8) -> Option<Self> {
        Self::parse(rtpmap_of(media, payload_type).or_else(|| static_rtpmap(payload_type))?)
    }

    fn is_event(&self) -> bool {
        self.name == "telephone-event"
    }

    /// Whether a word of a list means it: `NAME[/RATE[/CHANNELS]]` in lower case.
    fn is_meant_by(&self, word: &str) -> bool {
        let mut parts = word.split('/');
        let clock_hz = self.clock_hz.to_string();
        parts.next() == Some(self.name.as_str())
            && parts.next().is_none_or(|rate| rate == clock_hz)
            && parts
                .next()
                .is_none_or(|channels| channels == self.channels)
    }
}

/// Whether a client takes this codec out.
fn strips(filter: &CodecFilter, codec: &CodecName) -> bool {
    let listed = |list: &[String]| list.iter().any(|word| codec.is_meant_by(word));
    let means_all = |word: &String| word == "all" || word == "full";
    let all = filter.strip.iter().any(means_all);
    listed(&filter.strip) || (all && !listed(&filter.except) && !listed(&filter.order))
}

/// Place in the order that a client names; what it does not name comes behind.
fn place(filter: &CodecFilter, codec: Option<&CodecName>) -> usize {
    let order = &filter.order;
    codec
        .and_then(|codec| order.iter().position(|word| codec.is_meant_by(word)))
        .unwrap_or(order.len())
}

/// What decides over an audio line's payload types.
pub(super) struct Choice<'a> {
    pub(super) filter: &'a CodecFilter,
    /// Only what can be masked, and the events that go with it, where there is any.
    pub(super) maskable_only: bool,
    /// What this answers: an end may answer with what was offered and nothing else.
    pub(super) offered: Option<&'a [CodecName]>,
}

impl Choice<'_> {
    /// The payload types that stay, in their order. `None` leaves the line as it is, because nothing
    /// that carries speech would be left.
    pub(super) fn kept(&self, media: &Media, audio: &Audio) -> Option<Vec<u8>> {
        let attempts = [
            (self.maskable_only && audio.is_maskable(), true),
            (self.maskable_only && audio.is_maskable(), false),
            (false, false),
        ];
        attempts
            .into_iter()
            .find_map(|(maskable_only, as_offered)| {
                self.attempt(media, audio, maskable_only, as_offered)
            })
    }

    fn attempt(
        &self,
        media: &Media,
        audio: &Audio,
        maskable_only: bool,
        as_offered: bool,
    ) -> Option<Vec<u8>> {
        let mut kept: Vec<Candidate> = Vec::new();
        let mut stripped_hz = Vec::new();
        for &(number, encoding) in &audio.payload_types {
            let name = CodecName::of(media, number);
            let strips = |name: &CodecName| strips(self.filter, name);
            if name.as_ref().is_some_and(strips) {
                stripped_hz.extend(name.map(|name| name.clock_hz));
                continue;
            }
            let offered = self
                .offered
                .filter(|_| as_offered)
                .is_none_or(|offered| name.as_ref().is_none_or(|name| offered.contains(name)));
            if offered && (!maskable_only || passes(encoding)) {
                kept.push(Candidate {
                    number,
                    encoding,
                    name,
                });
            }
        }
        drop_lonely_events(&mut kept, &stripped_hz);
        kept.sort_by_key(|candidate| place(self.filter, candidate.name.as_ref()));
        kept.iter()
            .any(Candidate::is_speech)
            .then(|| kept.iter().map(|candidate| candidate.number).collect())
    }
}

struct Candidate {
    number: u8,
    encoding: Encoding,
    name: Option<CodecName>,
}

impl Candidate {
    fn is_speech(&self) -> bool {
        let noise = self.name.as_ref().is_some_and(|name| name.name == "cn");
        matches!(self.encoding, Encoding::Audio(_) | Encoding::Other) && !noise
    }
}

/// Events go with a codec of their clock (RFC 4733 section 2.1): where a client took that codec out,
/// they go too.
fn drop_lonely_events(kept: &mut Vec<Candidate>, stripped_hz: &[u32]) {
    let speech_hz: Vec<u32> = kept
        .iter()
        .filter(|candidate| candidate.is_speech())
        .filter_map(|candidate| candidate.name.as_ref())
        .map(|name| name.clock_hz)
        .collect();
    kept.retain(|candidate| {
        let event = candidate.name.as_ref().filter(|name| name.is_event());
        event.is_none_or(|event| {
            speech_hz.contains(&event.clock_hz) || !stripped_hz.contains(&event.clock_hz)
        })
    });
}

/// The codecs of these payload types.
pub(super) fn names(media: &Media, payload_types: impl Iterator<Item = u8>) -> Vec<CodecName> {
    payload_types
        .filter_map(|payload_type| CodecName::of(media, payload_type))
        .collect()
}

/// What both ends are let agree on where there is speech that can be masked. Tones that are described
/// and redundancy are heard if they come all the same; neither is needed to talk.
const fn passes(encoding: Encoding) -> bool {
    match encoding {
        Encoding::Audio(_) | Encoding::TelephoneEvent(_) => true,
        Encoding::Tone(_) | Encoding::Red | Encoding::Other => false,
    }
}

/// Payload types of audio that need no `a=rtpmap` (RFC 3551 section 6).
pub(super) const fn static_rtpmap(payload_type: u8) -> Option<&'static str> {
    Some(match payload_type {
        0 => "PCMU/8000",
        3 => "GSM/8000",
        4 => "G723/8000",
        5 => "DVI4/8000",
        6 => "DVI4/16000",
        7 => "LPC/8000",
        8 => "PCMA/8000",
        9 => "G722/8000",
        10 => "L16/44100/2",
        11 => "L16/44100",
        12 => "QCELP/8000",
        13 => "CN/8000",
        14 => "MPA/90000",
        15 => "G728/8000",
        16 => "DVI4/11025",
        17 => "DVI4/22050",
        18 => "G729/8000",
        _ => return None,
    })
}
