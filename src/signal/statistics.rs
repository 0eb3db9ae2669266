//! The body of `query` and `delete`, as clients read it.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;

use super::record::{CallRecord, LegRecord};
use crate::{
    media::{CallStats, LegStats},
    proto::{
        call::LegMedia,
        encoding::AudioCodec,
        leg::Leg,
        ng::{Dict, Value},
        rtp::Reception,
    },
};

/// Statistics of a call.
pub(super) fn body(call: &CallRecord, stats: &CallStats, now: Timestamp) -> Dict {
    let last_packet = now.as_second() - i64::try_from(stats.idle_seconds).unwrap_or(0);
    let mut tags = Dict::new();
    for leg in [Leg::Caller, Leg::Agent] {
        let record = call.leg(leg);
        let Some(tag) = &record.tag else { continue };
        let other = call.leg(leg.other()).tag.as_deref();
        let counts = match leg {
            Leg::Caller => &stats.caller,
            Leg::Agent => &stats.agent,
        };
        tags.push(
            tag.to_string(),
            of_leg(
                (record, call.started),
                other,
                counts,
                call.keeps_back(leg),
                last_packet,
            ),
        );
    }
    let started_us = call.started.as_microsecond();
    Dict::new()
        .with("created", call.started.as_second())
        .with("created_us", started_us.rem_euclid(1_000_000))
        .with("last signal", call.last_signal.as_second())
        .with("SSRC", sources(stats))
        .with("tags", tags)
        .with("totals", totals(stats))
        .with(
            "tonewall",
            Dict::new()
                .with("call", call.id.to_string())
                .with("armed", i64::from(call.armed)),
        )
}

fn of_leg(
    (record, created): (&LegRecord, Timestamp),
    other: Option<&str>,
    counts: &LegStats,
    kept_back: bool,
    last_packet: i64,
) -> Dict {
    let mut dict = Dict::new().with("tag", record.tag.as_deref().unwrap_or_default());
    if let Some(branch) = &record.via_branch {
        dict.push("via-branch", branch.to_string());
    }
    if let Some(label) = &record.label {
        dict.push("label", label.to_string());
    }
    let subscription = |tag: &str| {
        Value::List(vec![
            Dict::new()
                .with("tag", tag)
                .with("type", "offer/answer")
                .into(),
        ])
    };
    let subscribed = other.map_or(Value::List(Vec::new()), subscription);
    dict.with("created", created.as_second())
        .with("subscriptions", subscribed.clone())
        .with("subscribers", subscribed)
        .with(
            "medias",
            vec![media(record, counts, kept_back, last_packet).into()],
        )
}

fn media(record: &LegRecord, counts: &LegStats, kept_back: bool, last_packet: i64) -> Dict {
    let mut dict = Dict::new()
        .with("index", 1_i64)
        .with("type", "audio")
        .with("protocol", "RTP/AVP");
    if let Some(name) = record.media.as_ref().and_then(codec_name) {
        dict.push("codec", name);
    }
    let (ours, port) = (record.address, record.port);
    let rtp = stream(
        "RTP",
        SocketAddr::new(ours, port),
        record.media.as_ref().map(|media| media.rtp),
        count(counts.packets, counts.bytes, counts.errors),
        last_packet,
    );
    let rtcp = stream(
        "RTCP",
        SocketAddr::new(ours, port + 1),
        record.media.as_ref().map(|media| media.rtcp),
        count(counts.rtcp_packets, counts.rtcp_bytes, 0),
        last_packet,
    );
    let mut rtp = rtp;
    if let Some(ssrc) = counts.reception.ssrc {
        rtp.push("SSRC", i64::from(ssrc));
        let source = Dict::new().with("SSRC", i64::from(ssrc));
        dict.push("ingress SSRCs", vec![source.into()]);
    }
    let mut flags = vec!["initialized", "send", "recv"];
    if record
        .media
        .as_ref()
        .is_some_and(|media| media.rtp == media.rtcp)
    {
        flags.push("rtcp-mux");
    }
    if kept_back {
        flags.push("blocked");
    }
    dict.with("streams", vec![rtp.into(), rtcp.into()])
        .with("flags", words(&flags))
}

fn stream(
    kind: &str,
    local: SocketAddr,
    endpoint: Option<SocketAddr>,
    stats: Dict,
    last_packet: i64,
) -> Dict {
    let family = |address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut dict = Dict::new()
        .with("local port", i64::from(local.port()))
        .with("local address", local.ip().to_string())
        .with("family", family(local.ip()));
    if let Some(endpoint) = endpoint {
        let address = Dict::new()
            .with("family", family(endpoint.ip()))
            .with("address", endpoint.ip().to_string())
            .with("port", i64::from(endpoint.port()));
        dict.push("endpoint", address);
    }
    dict.with("last packet", last_packet)
        .with("flags", words(&[kind, "filled"]))
        .with("stats", stats)
}

/// What was received of each source.
fn sources(stats: &CallStats) -> Dict {
    let mut all = Dict::new();
    for leg in [&stats.caller, &stats.agent] {
        let reception = &leg.reception;
        let Some(ssrc) = reception.ssrc else { continue };
        all.push(
            ssrc.to_string(),
            Dict::new()
                .with("bytes", leg.bytes)
                .with("packets", leg.packets)
                .with("last RTP timestamp", i64::from(reception.timestamp))
                .with("last RTP seq", i64::from(reception.sequence))
                .with("cumulative loss", reception.lost())
                .with("average MOS", quality(reception)),
        );
    }
    all
}

/// How the stream sounds to whoever receives it: by its losses and jitter over its whole time, for
/// what is said here is measured at the relay and not by the ends' reports. MOS in tenths.
fn quality(reception: &Reception) -> Dict {
    let jitter_ms = reception.jitter_ms();
    let expected = reception.expected.max(1);
    let loss_percent = reception.lost() * 100 / expected;
    Dict::new()
        .with("MOS", mos_tenths(reception.lost(), expected, jitter_ms))
        .with("jitter", jitter_ms)
        .with("packet loss", loss_percent)
        .with("samples", 1_i64)
}

/// The E-model (ITU-T G.107) as monitors shorten it: a base of 93.2, what delay (a jitter buffer of twice
/// the jitter and 10 ms) and loss (2.5 a percent) take from it, and its mapping to MOS (annex B).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a statistic between 10 and 45, of counts far below 2^52"
)]
fn mos_tenths(lost: u64, expected: u64, jitter_ms: u64) -> i64 {
    let delay_ms = jitter_ms.min(10_000) as f64 * 2.0 + 10.0;
    let by_delay = if delay_ms < 160.0 {
        delay_ms / 40.0
    } else {
        (delay_ms - 120.0) / 10.0
    };
    let by_loss = 2.5 * 100.0 * lost as f64 / expected as f64;
    let r = (93.2 - by_delay - by_loss).clamp(0.0, 100.0);
    let mos = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    (mos.clamp(1.0, 4.5) * 10.0).round() as i64
}

fn totals(stats: &CallStats) -> Dict {
    let (a, b) = (&stats.caller, &stats.agent);
    Dict::new()
        .with(
            "RTP",
            count(
                a.packets + b.packets,
                a.bytes + b.bytes,
                a.errors + b.errors,
            ),
        )
        .with(
            "RTCP",
            count(
                a.rtcp_packets + b.rtcp_packets,
                a.rtcp_bytes + b.rtcp_bytes,
                0,
            ),
        )
}

fn count(packets: u64, bytes: u64, errors: u64) -> Dict {
    Dict::new()
        .with("packets", packets)
        .with("bytes", bytes)
        .with("errors", errors)
}

fn words(words: &[&str]) -> Value {
    Value::List(words.iter().map(|word| Value::from(*word)).collect())
}

fn codec_name(media: &LegMedia) -> Option<&'static str> {
    media
        .payload_types
        .iter()
        .find_map(|(_, encoding)| encoding.audio())
        .map(AudioCodec::rtpmap)
}
