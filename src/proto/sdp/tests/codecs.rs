//! Which codecs are left, and what belongs to them.

use super::*;

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
