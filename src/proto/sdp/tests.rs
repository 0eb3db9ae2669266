use std::time::Duration;

use proptest::prelude::*;

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
fn codecs_that_cannot_be_masked_are_stripped_with_their_attributes() {
    let sdp = lines(&[
        "v=0",
        "o=- 1 1 IN IP4 198.51.100.1",
        "s=-",
        "t=0 0",
        "m=audio 2000 RTP/AVP 103 3 0 110 126 13",
        "c=IN IP4 198.51.100.1",
        "a=rtpmap:103 ISAC/16000",
        "a=fmtp:103 minptime=10",
        "a=rtpmap:3 GSM/8000",
        "a=rtpmap:110 telephone-event/48000",
        "a=rtpmap:126 telephone-event/8000",
    ]);
    let description = parse(&sdp);
    assert_eq!(
        description.audio().payload_types,
        [
            (103, Encoding::Other),
            (3, Encoding::Other),
            (0, Encoding::Audio(AudioCodec::Pcmu)),
            (110, Encoding::TelephoneEvent(48_000)),
            (126, Encoding::TelephoneEvent(8000)),
            (13, Encoding::Other),
        ]
    );
    let out = description.rewrite(&gateway()).0;
    assert!(out.contains("m=audio 30000 RTP/AVP 0 110 126\r\n"), "{out}");
    assert!(!out.contains("ISAC") && !out.contains("minptime") && !out.contains("GSM"));
}

#[test]
fn opus_and_g722_stay_in_their_place_with_what_belongs_to_them() {
    let sdp = lines(&[
        "v=0",
        "o=- 1 1 IN IP4 198.51.100.1",
        "s=-",
        "t=0 0",
        "m=audio 2000 RTP/AVP 111 63 9 96 97 110",
        "c=IN IP4 198.51.100.1",
        "a=rtpmap:111 OPUS/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtpmap:96 opus/48000",
        "a=rtpmap:97 G722/16000",
        "a=rtpmap:110 telephone-event/48000",
    ]);
    let description = parse(&sdp);
    assert_eq!(
        description.audio().payload_types,
        [
            (111, Encoding::Audio(AudioCodec::Opus)),
            (63, Encoding::Other),
            (9, Encoding::Audio(AudioCodec::G722)),
            // No stream of these names has such a clock.
            (96, Encoding::Other),
            (97, Encoding::Other),
            (110, Encoding::TelephoneEvent(48_000)),
        ]
    );
    let out = description.rewrite(&gateway()).0;
    assert!(out.contains("m=audio 30000 RTP/AVP 111 9 110\r\n"), "{out}");
    assert!(out.contains("a=rtpmap:111 OPUS/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n"));
    assert!(out.contains("a=rtpmap:9 G722/8000\r\n"), "{out}");
    let told = without(&["opus"]);
    assert!(description.rewrite(&told).0.contains("RTP/AVP 9\r\n"));
}

#[test]
fn g729_stays_by_its_number_or_its_names_with_what_is_said_of_silence() {
    let sdp = lines(&[
        "v=0",
        "o=- 1 1 IN IP4 198.51.100.1",
        "s=-",
        "t=0 0",
        "m=audio 2000 RTP/AVP 18 96 97 0 101",
        "c=IN IP4 198.51.100.1",
        "a=fmtp:18 annexb=no",
        "a=rtpmap:96 G729a/8000",
        "a=rtpmap:97 G729D/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=ptime:30",
    ]);
    let description = parse(&sdp);
    assert_eq!(
        description.audio().payload_types,
        [
            (18, Encoding::Audio(AudioCodec::G729)),
            (96, Encoding::Audio(AudioCodec::G729)),
            // 6.4 kbit/s: other bits.
            (97, Encoding::Other),
            (0, Encoding::Audio(AudioCodec::Pcmu)),
            (101, Encoding::TelephoneEvent(8000)),
        ]
    );
    assert!(description.audio().is_maskable());
    let out = description.rewrite(&gateway()).0;
    assert!(
        out.contains("m=audio 30000 RTP/AVP 18 96 0 101\r\n"),
        "{out}"
    );
    assert!(out.contains("a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\n"));
    let told = without(&["g729"]);
    let out = description.rewrite(&told).0;
    assert!(
        out.contains("RTP/AVP 0 101\r\n") && !out.contains("G729"),
        "{out}"
    );
}

#[test]
fn where_nothing_can_be_masked_the_codecs_stay_and_it_is_reported() {
    let sdp = audio(&["a=rtpmap:103 ISAC/16000"]).replace("AVP 0 8 101", "AVP 103 101");
    let description = parse(&sdp);
    assert!(!description.audio().is_maskable());
    assert!(
        description
            .rewrite(&gateway())
            .0
            .contains("RTP/AVP 103 101\r\n")
    );
}

#[test]
fn a_named_codec_is_stripped_too() {
    let told = without(&["pcmu"]);
    let out = parse(&audio(&[])).rewrite(&told).0;
    assert!(
        out.contains("RTP/AVP 8 101\r\n") && !out.contains("PCMU"),
        "{out}"
    );
}

#[test]
fn a_payload_type_means_what_its_rtpmap_says() {
    let sdp = audio(&["a=rtpmap:96 PCMU/8000", "a=rtpmap:97 PCMA/16000"])
        .replace("AVP 0 8 101", "AVP 96 97 300 x");
    assert_eq!(
        parse(&sdp).audio().payload_types,
        [
            (96, Encoding::Audio(AudioCodec::Pcmu)),
            (97, Encoding::Other)
        ]
    );
}

#[test]
fn redundancy_and_described_tones_are_understood_and_not_agreed_on() {
    let sdp = audio(&[
        "a=rtpmap:121 RED/8000/1",
        "a=fmtp:121 0/101",
        "a=rtpmap:122 tone/8000",
        "a=rtpmap:63 red/48000/2",
        "a=rtpmap:124 rtx/8000",
        "a=fmtp:124 apt=0",
        "a=rtpmap:125 ulpfec/8000",
        "a=rtpmap:126 telephone-event/16000",
    ])
    .replace("AVP 0 8 101", "AVP 121 122 63 124 125 126 0 8 101 13");
    let description = parse(&sdp);
    let of = |number: u8| {
        let known = &description.audio().payload_types;
        known.iter().find(|(known, _)| *known == number).unwrap().1
    };
    assert_eq!(of(121), Encoding::Red);
    assert_eq!(of(63), Encoding::Red);
    assert_eq!(of(122), Encoding::Tone(8_000));
    assert_eq!(of(126), Encoding::TelephoneEvent(16_000));
    for opaque in [124, 125, 13] {
        assert_eq!(of(opaque), Encoding::Other);
    }
    let out = description.rewrite(&gateway()).0;
    assert!(out.contains("RTP/AVP 126 0 8 101\r\n"), "{out}");
    for gone in ["RED", "red", "tone/", "rtx", "ulpfec", "apt="] {
        assert!(!out.contains(gone), "{gone} in {out}");
    }
    let told = without(&["telephone-event"]);
    let out = description.rewrite(&told).0;
    assert!(out.contains("RTP/AVP 0 8\r\n"), "{out}");
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
fn bad_descriptions_each_give_their_own_error() {
    let error = |text: &str| Description::parse(text).unwrap_err();
    let syntax = |text: &str| matches!(error(text), SdpError::Syntax(_));
    assert!(syntax(""));
    assert!(syntax("hello"));
    assert!(syntax("v=1\r\n"));
    assert!(syntax("{\"sdp\":1}"));
    assert!(syntax(&audio(&["m=audio x RTP/AVP 0"])));
    assert!(syntax(&audio(&["m=audio 99999 RTP/AVP 0"])));
    assert!(syntax(&audio(&["m=audio"])));
    assert_eq!(error(&"v".repeat(40_000)), SdpError::TooLong(40_000));
    let many = ["m=audio 2 RTP/AVP 0"; 40];
    assert_eq!(error(&audio(&many)), SdpError::TooManyMedia(41));
    assert_eq!(
        error("v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n"),
        SdpError::NoAudio
    );
    let with = |from: &str, to: &str| error(&audio(&[]).replace(from, to));
    for transport in ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF"] {
        assert_eq!(with("RTP/AVP", transport), SdpError::Encrypted(transport));
    }
    assert_eq!(with("RTP/AVP", "TCP"), SdpError::Transport);
    assert_eq!(with("c=IN IP4 198.51.100.1\r\n", ""), SdpError::NoAddress);
    assert_eq!(
        with("c=IN IP4 198.51.100.1", "c=IN IP4 pbx.example"),
        SdpError::Address
    );
    assert_eq!(
        with("c=IN IP4 198.51.100.1", "c=IN IP4 224.2.1.1/127"),
        SdpError::Address
    );
    assert_eq!(with("audio 2000", "audio 65535"), SdpError::Port);
    assert_eq!(error(&audio(&["a=rtcp:x"])), SdpError::Rtcp);
    assert_eq!(error(&audio(&["a=rtcp:5 IN IP4 host"])), SdpError::Address);
    for many in ["239.0.0.1", "255.255.255.255"] {
        let rtcp = format!("a=rtcp:5 IN IP4 {many}");
        assert_eq!(error(&audio(&[&rtcp])), SdpError::Address);
        let rtp = audio(&[]).replace("c=IN IP4 198.51.100.1", &format!("c=IN IP4 {many}"));
        assert_eq!(error(&rtp), SdpError::Address, "{many}");
    }
}

#[test]
fn an_address_of_the_other_family_is_refused() {
    let sdp = audio(&[]).replace("c=IN IP4 198.51.100.1", "c=IN IP6 2001:db8::1");
    let description = parse(&sdp);
    assert!(
        description
            .audio()
            .check_family("203.0.113.1".parse().unwrap())
            .is_err()
    );
    assert_eq!(
        description
            .audio()
            .check_family("2001:db8::9".parse().unwrap()),
        Ok(())
    );
}

#[test]
fn no_error_repeats_a_line() {
    for text in [
        "v=4111111111111111",
        "v=0\r\no=4111111111111111",
        "4111111111111111",
    ] {
        let error = Description::parse(text).unwrap_err().to_string();
        assert!(!error.contains("4111"), "{error}");
    }
}

fn check(text: &str) {
    let Ok(description) = Description::parse(text) else {
        return;
    };
    for told in [
        gateway(),
        Rewrite {
            mux: true,
            answer: true,
            replace_origin: true,
            replace_session_connection: true,
            replace_zero_address: true,
            transport: Some("RTP/AVP".to_owned()),
            user: Some("-".to_owned()),
            version: Some(7),
            session_name: Some("-".to_owned()),
            ..without(&["pcmu"])
        },
    ] {
        let out = description.rewrite(&told).0;
        let again = Description::parse(&out);
        assert!(
            again.is_ok(),
            "what is written cannot be read: {again:?}\n{out}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_panics_the_parser(text in ".{0,300}") {
        check(&text);
    }

    #[test]
    fn what_is_written_can_be_read_however_the_offer_was_damaged(
        at in 0_usize..250,
        insert in "[ -~\r\n]{0,12}",
        remove in 0_usize..12,
    ) {
        let mut text: Vec<char> = audio(&["a=sendrecv", "a=rtcp-mux", "m=video 4 RTP/AVP 96"]).chars().collect();
        let at = at.min(text.len());
        let end = (at + remove).min(text.len());
        text.splice(at..end, insert.chars());
        check(&text.into_iter().collect::<String>());
    }
}
