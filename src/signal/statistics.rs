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
    },
};

/// Statistics of a call.
pub(super) fn body(call: &CallRecord, stats: &CallStats, ours: IpAddr, now: Timestamp) -> Dict {
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
            of_leg((record, call.started), other, counts, ours, last_packet),
        );
    }
    let started_us = call.started.as_microsecond();
    Dict::new()
        .with("created", call.started.as_second())
        .with("created_us", started_us.rem_euclid(1_000_000))
        .with("last signal", call.last_signal.as_second())
        .with("SSRC", Dict::new())
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
    ours: IpAddr,
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
            vec![media(record, counts, ours, last_packet).into()],
        )
}

fn media(record: &LegRecord, counts: &LegStats, ours: IpAddr, last_packet: i64) -> Dict {
    let mut dict = Dict::new()
        .with("index", 1_i64)
        .with("type", "audio")
        .with("protocol", "RTP/AVP");
    if let Some(name) = record.media.as_ref().and_then(codec_name) {
        dict.push("codec", name);
    }
    let port = record.port;
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
    dict.with("streams", vec![rtp.into(), rtcp.into()])
        .with("flags", words(&["initialized", "send", "recv"]))
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
