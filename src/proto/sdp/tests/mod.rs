mod codecs;
mod damaged;

use std::time::Duration;

use super::*;
use crate::proto::encoding::{AudioCodec, CodecFilter, Encoding};

fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

fn audio(extra: &[&str]) -> String {
    let mut all = vec![
        "v=0",
        "o=- 1545997027 1 IN IP4 198.51.100.1",
        "s=tester",
        "t=0 0",
        "m=audio 2000 RTP/AVP 0 8 101",
        "c=IN IP4 198.51.100.1",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
    ];
    all.extend(extra);
    lines(&all)
}

fn gateway() -> Rewrite {
    Rewrite {
        address: "203.0.113.1".parse().unwrap(),
        port: 30000,
        mux: false,
        answer: false,
        replace_origin: false,
        replace_session_connection: false,
        replace_zero_address: false,
        user: None,
        version: None,
        session_name: None,
        transport: None,
        rtcp_attribute: true,
        codecs: CodecFilter::default(),
        maskable_only: true,
        offered: None,
    }
}

fn without(codecs: &[&str]) -> Rewrite {
    let strip = codecs.iter().map(|name| (*name).to_owned()).collect();
    Rewrite {
        codecs: CodecFilter {
            strip,
            ..CodecFilter::default()
        },
        ..gateway()
    }
}

fn parse(text: &str) -> Description {
    Description::parse(text).unwrap()
}

fn rewritten(text: &str) -> String {
    parse(text).rewrite(&gateway()).0
}

#[test]
fn an_audio_line_gets_our_address_port_rtcp_and_its_missing_rtpmaps() {
    let sdp = lines(&[
        "v=0",
        "o=- 1545997027 1 IN IP4 198.51.100.1",
        "s=tester",
        "t=0 0",
        "m=audio 2000 RTP/AVP 0 8",
        "c=IN IP4 198.51.100.1",
        "a=sendrecv",
        "a=ptime:20",
    ]);
    let expected = lines(&[
        "v=0",
        "o=- 1545997027 1 IN IP4 198.51.100.1",
        "s=tester",
        "t=0 0",
        "m=audio 30000 RTP/AVP 0 8",
        "c=IN IP4 203.0.113.1",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=sendrecv",
        "a=rtcp:30001",
        "a=ptime:20",
    ]);
    assert_eq!(rewritten(&sdp), expected);
}

#[test]
fn a_session_address_stays_where_it_was() {
    let sdp = lines(&[
        "v=0",
        "o=- 1 1 IN IP4 198.51.100.1",
        "s=-",
        "c=IN IP4 198.51.100.1",
        "t=0 0",
        "m=audio 2000 RTP/AVP 0",
    ]);
    let out = rewritten(&sdp);
    assert!(
        out.contains("s=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n"),
        "{out}"
    );
    assert_eq!(out.matches("c=").count(), 1);
    assert!(
        out.contains("o=- 1 1 IN IP4 198.51.100.1"),
        "o= is left alone unless told"
    );
    assert_eq!(
        parse(&sdp).audio().rtp,
        Some("198.51.100.1:2000".parse().unwrap())
    );
}

#[test]
fn origin_and_session_connection_are_replaced_when_told() {
    let sdp = audio(&[]).replace("t=0 0", "c=IN IP4 198.51.100.9\r\nt=0 0");
    assert!(rewritten(&sdp).contains("c=IN IP4 198.51.100.9"));
    let told = Rewrite {
        replace_origin: true,
        replace_session_connection: true,
        ..gateway()
    };
    let out = parse(&sdp).rewrite(&told).0;
    assert!(!out.contains("198.51.100."), "{out}");
    assert!(out.contains("o=- 1545997027 1 IN IP4 203.0.113.1\r\n"));
}

#[test]
fn only_the_first_audio_line_is_relayed() {
    let sdp = audio(&[
        "m=video 4000 RTP/AVP 96",
        "a=rtpmap:96 H264/90000",
        "a=sendrecv",
        "m=audio 5000 RTP/AVP 0",
        "m=image 6000 udptl t38",
        "m=text 7000 RTP/AVP 98 99",
        "a=rtpmap:98 t140/1000",
        "a=rtpmap:99 red/1000",
        "m=application 8000 UDP/BFCP *",
        "m=message 9000 TCP/MSRP *",
        "a=path:msrp://198.51.100.1:9000/s;tcp",
    ]);
    let out = rewritten(&sdp);
    assert!(out.contains("m=audio 30000 RTP/AVP 0 8 101\r\n"));
    assert!(out.contains("m=video 0 RTP/AVP 96\r\n"), "{out}");
    assert!(out.contains("m=audio 0 RTP/AVP 0\r\n"));
    assert!(out.contains("m=image 0 udptl t38\r\n"));
    assert!(out.contains("m=text 0 RTP/AVP 98 99\r\n"));
    assert!(out.contains("m=application 0 UDP/BFCP *\r\n"));
    assert!(out.contains("m=message 0 TCP/MSRP *\r\n"));
    for gone in ["H264", "t140", "red/1000", "msrp:"] {
        assert!(!out.contains(gone), "{gone} in {out}");
    }
}

#[test]
fn ice_and_keys_are_removed_everywhere() {
    let sdp = audio(&[
        "k=clear:secret",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789",
        "a=candidate:1 1 UDP 2130706431 198.51.100.1 2000 typ host",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0",
        "a=fingerprint:sha-256 00:11",
        "a=setup:actpass",
        "a=rtcp:2001",
    ])
    .replace("t=0 0", "t=0 0\r\na=ice-lite\r\na=group:BUNDLE 0");
    let out = rewritten(&sdp);
    for gone in [
        "ice-",
        "candidate",
        "crypto",
        "inline",
        "fingerprint",
        "setup",
        "BUNDLE",
        "k=",
        "a=rtcp:2001",
    ] {
        assert!(!out.contains(gone), "{gone} in {out}");
    }
}

#[test]
fn rtcp_mux_is_offered_on_and_answered_muxed() {
    let sdp = audio(&["a=rtcp-mux", "a=rtcp:2005 IN IP4 198.51.100.7"]);
    let description = parse(&sdp);
    assert!(description.audio().mux);
    assert_eq!(
        description.audio().rtcp,
        Some("198.51.100.7:2005".parse().unwrap())
    );
    let offer = Rewrite {
        mux: true,
        ..gateway()
    };
    assert!(
        description
            .rewrite(&offer)
            .0
            .ends_with("a=rtcp:30001\r\na=rtcp-mux\r\n")
    );
    let answer = Rewrite {
        answer: true,
        ..offer
    };
    assert!(
        description
            .rewrite(&answer)
            .0
            .ends_with("a=rtcp:30000\r\na=rtcp-mux\r\n")
    );
    assert!(!description.rewrite(&gateway()).0.contains("rtcp-mux"));
}

#[test]
fn the_rtcp_attribute_is_left_out_when_told() {
    let told = Rewrite {
        rtcp_attribute: false,
        ..gateway()
    };
    assert!(
        parse(&audio(&["a=rtcp:5"]))
            .rewrite(&told)
            .0
            .ends_with("a=sendrecv\r\n")
    );
}

#[test]
fn reports_for_an_address_of_zeros_go_where_the_media_goes() {
    let zeros = parse(&audio(&["a=rtcp:2005 IN IP4 0.0.0.0"]));
    let expected = "198.51.100.1:2005".parse().unwrap();
    assert_eq!(zeros.audio().rtcp, Some(expected));
}

#[test]
fn every_kind_of_hold_is_understood_and_handed_on() {
    let sendonly = parse(&audio(&["a=sendonly"]));
    assert_eq!(sendonly.audio().direction, Direction::SendOnly);
    assert!(sendonly.audio().rtp.is_some());
    assert!(
        sendonly
            .rewrite(&gateway())
            .0
            .contains("a=sendonly\r\na=rtcp:")
    );

    let of_session = parse(&audio(&[]).replace("t=0 0", "t=0 0\r\na=inactive"));
    assert_eq!(of_session.audio().direction, Direction::Inactive);
    let out = of_session.rewrite(&gateway()).0;
    assert_eq!(out.matches("a=inactive").count(), 1, "{out}");
    assert!(out.contains("a=inactive\r\na=rtcp:"));

    let zero = parse(&audio(&[]).replace("c=IN IP4 198.51.100.1", "c=IN IP4 0.0.0.0"));
    assert_eq!((zero.audio().rtp, zero.audio().rtcp), (None, None));
    assert!(zero.rewrite(&gateway()).0.contains("c=IN IP4 0.0.0.0\r\n"));
    let told = Rewrite {
        replace_zero_address: true,
        ..gateway()
    };
    assert!(zero.rewrite(&told).0.contains("c=IN IP4 203.0.113.1\r\n"));

    let refused = parse(&audio(&[]).replace("m=audio 2000", "m=audio 0"));
    assert!(refused.audio().refused && refused.audio().rtp.is_none());
    let out = refused.rewrite(&gateway()).0;
    assert!(
        out.contains("m=audio 0 ") && !out.contains("a=rtcp"),
        "{out}"
    );
}

#[test]
fn the_packet_time_is_that_of_the_description_within_bounds() {
    for (attribute, ms) in [
        ("a=ptime:30", 30),
        ("a=ptime:1", 10),
        ("a=ptime:200", 60),
        ("a=ptime:x", 20),
    ] {
        assert_eq!(
            parse(&audio(&[attribute])).audio().packet_time,
            Duration::from_millis(ms),
            "{attribute}"
        );
    }
}

#[test]
fn absurd_origin_lines_are_made_sane() {
    for (origin, expected) in [
        (
            "o=- 1 18446744073709551999 IN IP4 198.51.100.1",
            "o=- 1 446744073709551999 IN IP4",
        ),
        ("o=- 1 -5 IN IP4 198.51.100.1", "o=- 1 5 IN IP4"),
        ("o=- 1 v IN IP4 198.51.100.1", "o=- 1 1 IN IP4"),
        (
            "o=John Q Public 1 2 IN IP4 198.51.100.1",
            "o=John_Q_Public 1 2 IN IP4",
        ),
        ("o=1 2 IN IP4 198.51.100.1", "o=- 1 2 IN IP4"),
    ] {
        let sdp = audio(&[]).replace("o=- 1545997027 1 IN IP4 198.51.100.1", origin);
        let out = rewritten(&sdp);
        assert!(out.contains(expected), "{origin}: {out}");
    }
}

#[test]
fn lines_that_end_in_lf_alone_are_read() {
    assert!(Description::parse(&audio(&[]).replace("\r\n", "\n")).is_ok());
}

#[test]
fn a_transport_is_replaced_when_told() {
    let told = Rewrite {
        transport: Some("RTP/AVP".to_owned()),
        ..gateway()
    };
    let out = parse(&audio(&[]).replace("RTP/AVP", "RTP/AVPF"))
        .rewrite(&told)
        .0;
    assert!(out.contains("m=audio 30000 RTP/AVP 0"), "{out}");
}

#[test]
fn no_other_way_for_the_same_media_is_handed_on() {
    let text = rewritten(&audio(&[
        "a=alt:1 1 : AAAA BBBB 198.51.100.1 2000",
        "a=altc:1 IP4 198.51.100.1 2000",
        "a=source-filter: incl IN IP4 * 198.51.100.1",
        "a=tcap:1 RTP/SAVP",
        "a=acap:1 crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA",
        "a=pcfg:1 t=1 a=1",
        "a=ALT:2 1 : AAAA BBBB 198.51.100.1 2002",
        "a=x-kept:1",
    ]));
    assert!(text.contains("a=x-kept:1\r\n"), "{text}");
    for gone in ["alt", "ALT", "filter", "cap:", "pcfg", "SAVP", "inline"] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    let elsewhere = text.lines().filter(|line| !line.starts_with("o="));
    for line in elsewhere {
        assert!(!line.contains("198.51.100.1"), "{line}");
    }
}
