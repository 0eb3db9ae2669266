//! Descriptions that cannot be used, and damaged ones.

use proptest::prelude::*;

use super::*;

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
