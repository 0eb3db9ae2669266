use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 198.51.100.1\r\n";

fn request(bytes: &[u8]) -> Result<Request, RequestError> {
    Request::parse(&decode(bytes).unwrap().1)
}

fn error_of(bytes: &[u8]) -> String {
    request(bytes).unwrap_err().to_string()
}

/// An offer as Kamailio 5.6 sends it: unsorted, with words as flags, lists and dictionaries.
fn kamailio_offer() -> Vec<u8> {
    format!(
        "d8:supportsl10:load limite3:sdp{}:{SDP}3:ICE6:remove9:directionl3:pub4:prive7:replacel6:origin18:session-connectione5:codecd5:stripl4:opusee18:transport-protocol7:RTP/AVP7:call-id12:kamcall1@lab10:via-branch14:z9hG4bKINVITE113:received-froml3:IP49:127.0.0.1e8:from-tag4:uac17:command5:offere",
        SDP.len()
    )
    .into_bytes()
}

#[test]
fn an_offer_of_kamailio_is_understood() {
    let Ok(Request::Offer(offer)) = request(&kamailio_offer()) else {
        panic!("no offer");
    };
    assert_eq!(offer.call_id, "kamcall1@lab");
    assert_eq!(offer.from_tag, "uac1");
    assert_eq!(offer.via_branch.as_deref(), Some("z9hG4bKINVITE1"));
    assert_eq!(offer.sdp, SDP);
    assert!(offer.load_limit);
    assert!(offer.options.replace_origin && offer.options.replace_session_connection);
    assert_eq!(offer.options.codecs.strip, ["opus"]);
    assert_eq!(offer.options.transport.as_deref(), Some("RTP/AVP"));
    assert_eq!(
        offer.options.source_address, None,
        "the SDP's address is trusted unless told"
    );
}

#[test]
fn the_same_offer_in_json_is_the_same_request() {
    let (_, message) = decode(&kamailio_offer()).unwrap();
    let json = encode(&message, Encoding::Json);
    assert_eq!(decode(&json).unwrap().0, Encoding::Json);
    assert_eq!(request(&json), request(&kamailio_offer()));
}

#[test]
fn unparsed_flags_say_the_same_as_parsed_ones() {
    let sdp = SDP.replace("\r\n", "\\r\\n");
    let json = format!(
        r#"{{"command":"offer","call-id":"c","from-tag":"a","sdp":"{sdp}","rtpp-flags":"trust-address SIP-source-address replace=[origin session-connection] codec=[strip=[opus G729]] rtcp-mux=[demux] tonewall-caller=answerer block-DTMF","received-from":["IP4","192.0.2.9"]}}"#
    );
    let Ok(Request::Offer(offer)) = request(json.as_bytes()) else {
        panic!("no offer");
    };
    assert!(offer.options.replace_origin && offer.options.replace_session_connection);
    assert_eq!(offer.options.codecs.strip, ["opus", "g729"]);
    assert!(offer.options.mux.demux && !offer.options.mux.offer);
    assert_eq!(
        offer.options.source_address,
        Some("192.0.2.9".parse().unwrap())
    );
    assert_eq!(offer.caller, Some(CallerSide::Answerer));
    assert!(offer.block_dtmf);
}

#[test]
fn spaces_hyphens_underscores_and_case_are_one() {
    for command in ["block DTMF", "block-DTMF", "block_dtmf", "Block dtmf"] {
        for key in ["call-id", "call_id", "Call ID"] {
            let message = Dict::new().with("command", command).with(key, "c");
            let bytes = encode(&message, Encoding::Bencode);
            assert!(
                matches!(request(&bytes), Ok(Request::BlockDtmf(_))),
                "{command} {key}"
            );
        }
    }
}

#[test]
fn both_generations_of_a_directional_block_are_understood() {
    let old = b"d8:supportsl10:load limite7:call-id12:kamcall1@lab13:received-froml3:IP49:127.0.0.1e8:from-tag4:uac17:command10:block DTMFe";
    let Ok(Request::BlockDtmf(block)) = request(old) else {
        panic!("no block");
    };
    assert_eq!(
        (block.from_tag.as_deref(), block.directional),
        (Some("uac1"), false)
    );
    let new = br#"{"command":"block DTMF","call-id":"c","from-tag":"a","flags":["directional"],"DTMF-security":"silence","delay-buffer":100}"#;
    let Ok(Request::BlockDtmf(block)) = request(new) else {
        panic!("no block");
    };
    assert!(block.directional);
}

#[test]
fn integers_may_come_as_strings() {
    for bytes in [
        &b"d7:command4:list5:limiti7ee"[..],
        b"d7:command4:list5:limit1:7e",
        br#"{"command":"list","limit":"7"}"#,
    ] {
        assert_eq!(request(bytes), Ok(Request::List(ListRequest { limit: 7 })));
    }
}

#[test]
fn a_dictionary_without_its_end_and_trailing_garbage_are_tolerated() {
    for bytes in [
        &b"d7:command4:ping"[..],
        b"d7:command4:pingegarbage",
        b"d7:command4:ping5:flagsl3:one",
        b"{\"command\":\"ping\"} and more",
    ] {
        assert_eq!(request(bytes), Ok(Request::Ping));
    }
}

#[test]
fn bytes_that_are_not_utf8_are_read_as_latin1() {
    let (_, message) = decode(b"d1:k1:\xe9e").unwrap();
    assert_eq!(message.text("k").as_deref(), Some("\u{e9}"));
}

#[test]
fn bad_messages_each_give_their_own_error() {
    let deep_list = format!("d1:k{}", "l".repeat(40));
    let deep_json = format!("{{\"k\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    let wide = format!("d1:kl{}ee", "i1e".repeat(5000));
    let long = format!("d{}", "x".repeat(70_000));
    let corpus: [(&[u8], DecodeError); 19] = [
        (b"", DecodeError::Encoding),
        (b"hello", DecodeError::Encoding),
        (b"l4:pinge", DecodeError::Encoding),
        (b"di1ei2ee", DecodeError::Key(1)),
        (b"dl", DecodeError::Key(1)),
        (b"d7:command", DecodeError::NoValue),
        (b"d7:commande", DecodeError::NoValue),
        (b"d7:commandx", DecodeError::Value(10)),
        (b"d9999", DecodeError::Number(1)),
        (b"d99999999999999999999999:a", DecodeError::Number(1)),
        (b"d1:ki9223372036854775808ee", DecodeError::Number(5)),
        (b"d1:kiee", DecodeError::Number(5)),
        (b"d1:kie", DecodeError::Number(5)),
        (
            b"d3:sdp195:v=0",
            DecodeError::CutString {
                at: 6,
                promised: 195,
                left: 3,
            },
        ),
        (deep_list.as_bytes(), DecodeError::TooDeep),
        (deep_json.as_bytes(), DecodeError::TooDeep),
        (wide.as_bytes(), DecodeError::TooMany),
        (long.as_bytes(), DecodeError::TooLong(70_001)),
        (
            b"{\"command\":",
            DecodeError::Json {
                line: 1,
                column: 11,
            },
        ),
    ];
    for (bytes, expected) in corpus {
        let found = decode(bytes).expect_err("an error");
        assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(bytes));
        assert!(found.to_string().len() > 20);
    }
}

#[test]
fn bad_requests_get_the_strings_that_clients_know() {
    assert_eq!(error_of(b"de"), "Dictionary contains no key \"command\"");
    assert_eq!(
        error_of(b"d7:command0:e"),
        "Dictionary contains no key \"command\""
    );
    assert_eq!(error_of(b"d7:command5:dancee"), "Unrecognized command");
    assert_eq!(error_of(b"d7:command5:offere"), "No call-id in message");
    assert_eq!(
        error_of(b"d7:command5:offer7:call-id1:ce"),
        "No from-tag in message"
    );
    assert_eq!(
        error_of(b"d7:command5:offer7:call-id1:c8:from-tag1:ae"),
        "No SDP body in message"
    );
    assert_eq!(
        error_of(b"d7:command6:answer7:call-id1:c8:from-tag1:a3:sdp1:xe"),
        "No to-tag in message"
    );
    assert_eq!(error_of(b"d7:command6:deletee"), "No call-id in message");
    let Ok(Request::Refused(refused)) = request(b"d7:command15:start recordinge") else {
        panic!("a command of the protocol that is known and not done");
    };
    let told = RequestError::Unsupported(refused.command).to_string();
    assert!(told.contains("\"start recording\""));
    let long = format!("d7:command6:delete7:call-id600:{}e", "c".repeat(600));
    assert!(error_of(long.as_bytes()).contains("600 bytes"));
    assert!(
        error_of(b"d7:command5:offer7:call-id1:c8:from-tag1:a3:sdp1:x15:tonewall-caller4:bothe")
            .contains("\"offerer\"")
    );
}

#[test]
fn no_error_repeats_what_a_message_carried() {
    let play = br#"{"command":"play DTMF","call-id":"c","from-tag":"a","code":"5551234"}"#;
    let Ok(refused @ Request::Refused(_)) = request(play) else {
        panic!("a command of the protocol that is known and not done");
    };
    assert!(!format!("{refused:?}").contains("5551234"));
    assert!(!error_of(b"d7:command7:5551234e").contains("5551234"));
}

#[test]
fn replies_are_written_as_the_protocol_has_them() {
    assert_eq!(Reply::pong().encode(Encoding::Bencode), b"d6:result4:ponge");
    assert_eq!(
        Reply::ok_with(Dict::new().with("sdp", "v=0")).encode(Encoding::Bencode),
        b"d3:sdp3:v=06:result2:oke"
    );
    assert_eq!(
        Reply::error(reason::UNKNOWN_CALL_BLOCK).encode(Encoding::Json),
        br#"{"result":"error","error-reason":"Unknown call-ID"}"#
    );
    assert_eq!(
        Reply::load_limit(true, "draining").encode(Encoding::Json),
        br#"{"result":"load limit","message":"draining"}"#
    );
    assert_eq!(
        Reply::load_limit(false, "draining").encode(Encoding::Json),
        br#"{"result":"error","error-reason":"Parallel session limit reached"}"#
    );
}

#[test]
fn a_datagram_without_cookie_has_no_message() {
    assert_eq!(
        split_cookie(b"0_4214_0 d7:command4:pinge"),
        Some((&b"0_4214_0"[..], &b"d7:command4:pinge"[..]))
    );
    for bare in [
        &b"d7:command4:pinge"[..],
        b"{\"command\": \"ping\"}",
        b" d7:command4:pinge",
        b"",
        &[b'x'; 400],
    ] {
        assert_eq!(split_cookie(bare), None);
    }
}

#[test]
fn a_reply_is_kept_for_a_minute() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut cache = CookieCache::new(1000);
    cache.put(b"a"[..].into(), Arc::from(&b"first"[..]), at(1));
    assert_eq!(cache.get(b"a", at(29)).as_deref(), Some(&b"first"[..]));
    cache.put(b"b"[..].into(), Arc::from(&b"second"[..]), at(31));
    assert_eq!(cache.get(b"a", at(60)).as_deref(), Some(&b"first"[..]));
    assert_eq!(cache.get(b"a", at(61)), None);
    assert_eq!(cache.get(b"b", at(61)).as_deref(), Some(&b"second"[..]));
}

#[test]
fn a_reply_is_forgotten_after_a_long_silence() {
    let start = Instant::now();
    let mut cache = CookieCache::new(1000);
    cache.put(b"a"[..].into(), Arc::from(&b"first"[..]), start);
    assert_eq!(cache.get(b"a", start + Duration::from_secs(3600)), None);
}

#[test]
fn the_cookie_cache_is_bounded_in_bytes() {
    let start = Instant::now();
    let mut cache = CookieCache::new(4_000);
    for n in 0..100_u8 {
        cache.put([n][..].into(), Arc::from(&[0_u8; 100][..]), start);
        assert!(cache.bytes() <= 4_000);
    }
    let kept: Vec<u8> = (0..100)
        .filter(|n| cache.get(&[*n], start).is_some())
        .collect();
    // More than their own bytes counts.
    assert_eq!(kept, (89..100).collect::<Vec<u8>>(), "the newest");
    cache.put(b"huge"[..].into(), Arc::from(&[0_u8; 5_000][..]), start);
    assert!(cache.get(b"huge", start).is_none());
    assert_eq!(cache.get(&[99], start + Duration::from_secs(60)), None);
    assert_eq!(cache.bytes(), 0, "what is gone is not counted");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        ".{0,20}".prop_map(Value::Text)
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::vec(("[a-z]{1,8}", inner), 0..5).prop_map(|entries| {
                Value::Dict(
                    entries
                        .into_iter()
                        .fold(Dict::new(), |dict, (k, v)| dict.with(k, v)),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_panic_the_decoders(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = split_cookie(&bytes);
        for first in [None, Some(b'd'), Some(b'{')] {
            let mut bytes = bytes.clone();
            if let (Some(first), Some(slot)) = (first, bytes.first_mut()) {
                *slot = first;
            }
            if let Ok((_, message)) = decode(&bytes) {
                let _ = Request::parse(&message);
            }
        }
    }

    #[test]
    fn no_damage_to_a_real_offer_panics_the_decoders(at in 0_usize..600, byte in any::<u8>(), cut in 0_usize..600) {
        let mut bytes = kamailio_offer();
        if let Some(slot) = bytes.get_mut(at) {
            *slot = byte;
        }
        bytes.truncate(cut.max(1));
        if let Ok((_, message)) = decode(&bytes) {
            let _ = Request::parse(&message);
        }
    }

    #[test]
    fn no_words_panic_the_unparsed_flags(text in "[a-z=\\[\\] ]{0,80}|.{0,80}") {
        let message = Dict::new().with("command", "list").with("rtpp-flags", text);
        prop_assert!(Request::parse(&message).is_ok());
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same(v in value()) {
        let message = Dict::new().with("k", v);
        let bytes = encode(&message, Encoding::Bencode);
        prop_assert_eq!(decode(&bytes).unwrap(), (Encoding::Bencode, message));
    }
}

#[test]
fn networks_and_families_are_read_from_either_form() {
    let sdp = SDP.replace("\r\n", "\\r\\n");
    for keys in [
        r#""direction":["pub","priv"],"address-family":"IP6","flags":["strict-source"]"#,
        r#""rtpp-flags":"direction=pub direction=priv address-family=IP6 strict-source""#,
        r#""rtpp-flags":"direction=[pub priv] address-family=IP6 asymmetric""#,
    ] {
        let json =
            format!(r#"{{"command":"offer","call-id":"c","from-tag":"a","sdp":"{sdp}",{keys}}}"#);
        let Ok(Request::Offer(offer)) = request(json.as_bytes()) else {
            panic!("no offer: {keys}");
        };
        let networks = Some(("pub".to_owned(), "priv".to_owned()));
        assert_eq!(offer.options.networks, networks, "{keys}");
        assert_eq!(offer.options.ipv4, Some(false), "{keys}");
        assert!(offer.options.strict_source, "{keys}");
    }
}

#[test]
fn codec_lists_are_read_as_a_dictionary_or_as_flags() {
    let sdp = SDP.replace("\r\n", "\\r\\n");
    for keys in [
        r#""codec":{"strip":["all"],"except":["PCMA"],"offer":["G722"]}"#,
        r#""flags":["codec-strip-all","codec-except-PCMA","codec-offer-G722"]"#,
        r#""rtpp-flags":"codec=[strip=[all] except=[PCMA] offer=[G722]]""#,
    ] {
        let json =
            format!(r#"{{"command":"offer","call-id":"c","from-tag":"a","sdp":"{sdp}",{keys}}}"#);
        let Ok(Request::Offer(offer)) = request(json.as_bytes()) else {
            panic!("no offer: {keys}");
        };
        let codecs = offer.options.codecs;
        assert_eq!(codecs.strip, ["all"], "{keys}");
        assert_eq!(codecs.except, ["pcma"], "{keys}");
        assert_eq!(codecs.order, ["g722"], "{keys}");
    }
}
