//! Descriptions as clients of rtpengine rely on them, from the protocol's own words.

use super::*;

fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

/// A description with these lines after its `t=`.
fn described(version: u64, rest: &[&str]) -> String {
    let origin = format!("o=pbx 77 {version} IN IP4 192.0.2.10");
    lines(&["v=0", &origin, "s=call", "t=0 0"]) + &lines(rest)
}

fn of(command: &str, sdp: String) -> Dict {
    let message = message(command, "c1")
        .with("from-tag", "a")
        .with("sdp", sdp);
    if command == "answer" {
        message.with("to-tag", "b")
    } else {
        message
    }
}

/// The reply's description, ports as PORT.
pub(super) async fn told(house: &House, message: Dict) -> String {
    let reply = house.ask(message).await;
    let Some(sdp) = reply.text("sdp") else {
        panic!("{reply:?}");
    };
    let mut out = String::new();
    for line in sdp.lines() {
        let line = match line.split_once(' ') {
            Some((kind, rest)) if kind.starts_with("m=") => {
                let (port, tail) = rest.split_once(' ').unwrap();
                let port = if port == "0" { "0" } else { "PORT" };
                format!("{kind} {port} {tail}")
            }
            _ if line.starts_with("a=rtcp:") => "a=rtcp:PORT".to_owned(),
            _ => line.to_owned(),
        };
        out += &line;
        out.push('\n');
    }
    out
}

/// The lines that begin so.
fn only<'a>(sdp: &'a str, start: &str) -> Vec<&'a str> {
    sdp.lines().filter(|line| line.starts_with(start)).collect()
}

pub(super) fn list(words: &[&str]) -> Value {
    Value::List(words.iter().map(|word| Value::from(*word)).collect())
}

fn codec(key: &'static str, names: &[&str]) -> Dict {
    Dict::new().with(key, list(names))
}

/// A house that also relays what cannot be masked.
fn open_house(ports: std::ops::RangeInclusive<u16>) -> House {
    let mut all = settings();
    all.maskable_only = false;
    House::with(all, ports)
}

#[tokio::test]
async fn lines_leave_in_the_order_in_which_they_came() {
    let house = House::new(26_000..=26_019);
    let sdp = described(
        5,
        &[
            "c=IN IP4 192.0.2.10",
            "m=audio 6000 RTP/AVP 8 0 96",
            "b=AS:64",
            "a=ptime:20",
            "a=maxptime:40",
            "a=rtpmap:96 telephone-event/8000",
            "a=extmap:3 urn:x",
        ],
    );
    let expected = "v=0\no=pbx 77 5 IN IP4 192.0.2.10\ns=call\nt=0 0\nc=IN IP4 203.0.113.1\n\
        m=audio PORT RTP/AVP 8 0 96\nb=AS:64\na=maxptime:40\na=extmap:3 urn:x\na=rtpmap:8 PCMA/8000\n\
        a=rtpmap:0 PCMU/8000\na=rtpmap:96 telephone-event/8000\na=sendrecv\na=rtcp:PORT\na=ptime:20\n";
    assert_eq!(told(&house, of("offer", sdp)).await, expected);
}

#[tokio::test]
async fn an_answer_names_nothing_that_was_not_offered() {
    let house = House::new(26_020..=26_039);
    let offer = described(1, &["m=audio 6000 RTP/AVP 0 8", "c=IN IP4 192.0.2.10"]);
    told(&house, of("offer", offer)).await;
    let answer = described(
        1,
        &[
            "m=audio 7000 RTP/AVP 9 8 101",
            "c=IN IP4 192.0.2.20",
            "a=rtpmap:101 telephone-event/8000",
        ],
    );
    let sdp = told(&house, of("answer", answer)).await;
    assert_eq!(only(&sdp, "m="), ["m=audio PORT RTP/AVP 8"]);
    assert_eq!(only(&sdp, "a=rtpmap"), ["a=rtpmap:8 PCMA/8000"]);
    // Named here and heard all the same: a detector is never turned off by a description.
    let agent = house.media.leg(Leg::Agent).unwrap();
    assert!(
        agent
            .payload_types
            .contains(&(101, Encoding::TelephoneEvent(8000)))
    );
}

#[tokio::test]
async fn codecs_are_kept_from_the_other_end_as_a_client_asks() {
    let formats = "m=audio 6000 RTP/AVP 0 8 9 96 97 98";
    let sdp = described(
        1,
        &[
            formats,
            "c=IN IP4 192.0.2.10",
            "a=rtpmap:96 opus/48000/2",
            "a=rtpmap:97 telephone-event/8000",
            "a=rtpmap:98 telephone-event/48000",
        ],
    );
    for (number, (asked, left)) in [
        (codec("strip", &["PCMA"]), "0 9 96 97 98"),
        (codec("mask", &["PCMU", "G722/8000"]), "8 96 97 98"),
        (codec("consume", &["opus/48000/2"]), "0 8 9 97"),
        (codec("strip", &["PCMU", "PCMA", "G722"]), "96 98"),
        (codec("strip", &["telephone-event"]), "0 8 9 96"),
        (
            codec("strip", &["all"]).with("except", list(&["PCMA", "telephone-event"])),
            "8 97",
        ),
        (
            codec("mask", &["full"]).with("offer", list(&["G722", "PCMU"])),
            "9 0",
        ),
        (codec("offer", &["opus"]), "96 0 8 9 97 98"),
        // Where no speech would be left nothing is taken away.
        (codec("strip", &["all"]), "0 8 9 96 97 98"),
    ]
    .into_iter()
    .enumerate()
    {
        let house = House::new(31_000..=31_079);
        let message = of("offer", sdp.clone()).with("codec", asked);
        let sdp = told(&house, message).await;
        let expected = format!("m=audio PORT RTP/AVP {left}");
        assert_eq!(only(&sdp, "m="), [expected], "{number}");
    }
}

#[tokio::test]
async fn codecs_that_cannot_be_masked_pass_where_the_operator_wants_them() {
    let sdp = described(
        1,
        &[
            "m=audio 6000 RTP/AVP 102 0 13",
            "c=IN IP4 192.0.2.10",
            "a=rtpmap:102 G7221/16000",
            "a=fmtp:102 bitrate=32000",
        ],
    );
    let house = House::new(26_060..=26_079);
    let strict = told(&house, of("offer", sdp.clone())).await;
    assert_eq!(only(&strict, "m="), ["m=audio PORT RTP/AVP 0"]);
    let house = open_house(26_080..=26_099);
    let open = told(&house, of("offer", sdp)).await;
    assert_eq!(only(&open, "m="), ["m=audio PORT RTP/AVP 102 0 13"]);
    assert!(open.contains("a=rtpmap:13 CN/8000"), "{open}");
}

#[tokio::test]
async fn an_address_of_zeros_is_a_hold_in_either_family() {
    for (connection, family, told_as, direction) in [
        ("IN IP4 0.0.0.0", None, "c=IN IP4 0.0.0.0", "a=sendonly"),
        ("IN IP6 ::", Some("IP4"), "c=IN IP4 0.0.0.0", "a=sendonly"),
        ("IN IP4 0.0.0.0", Some("IP6"), "c=IN IP6 ::", "a=sendonly"),
        (
            "IN IP4 192.0.2.10",
            Some("IP6"),
            "c=IN IP6 2001:db8::1",
            "a=sendrecv",
        ),
        (
            "IN IP6 2001:db8::9",
            Some("IP4"),
            "c=IN IP4 203.0.113.1",
            "a=sendrecv",
        ),
        (
            "IN IP6 2001:db8::9",
            None,
            "c=IN IP6 2001:db8::1",
            "a=sendrecv",
        ),
    ] {
        let v4 = interface(
            "net",
            "127.0.0.1".parse().unwrap(),
            "203.0.113.1",
            31_100..=31_179,
        );
        let v6 = interface(
            "net",
            "::1".parse().unwrap(),
            "2001:db8::1",
            31_100..=31_179,
        );
        let house = House::between(settings(), v4, vec![v6]);
        let connection = format!("c={connection}");
        let mut offer = of(
            "offer",
            described(1, &["m=audio 6000 RTP/AVP 8", &connection]),
        );
        if let Some(family) = family {
            offer.push("address-family", family);
        }
        let reply = house.ask(offer.clone()).await;
        if reply
            .text("error-reason")
            .is_some_and(|reason| reason.contains("::1"))
        {
            println!("SKIPPED: this host has no IPv6");
            continue;
        }
        let sdp = told(&house, offer).await;
        assert_eq!(only(&sdp, "c="), [told_as], "{connection} {family:?}");
        assert!(sdp.contains(direction), "{connection}: {sdp}");
    }
}

#[tokio::test]
async fn each_end_is_met_in_its_own_network() {
    let outside = interface(
        "outside",
        "127.0.0.1".parse().unwrap(),
        "203.0.113.1",
        26_120..=26_139,
    );
    let inside = interface(
        "inside",
        "127.0.0.2".parse().unwrap(),
        "10.0.0.1",
        26_140..=26_159,
    );
    let house = House::between(settings(), outside, vec![inside]);
    let offer = described(1, &["m=audio 6000 RTP/AVP 8", "c=IN IP4 192.0.2.10"]);
    let offer = of("offer", offer).with("direction", list(&["outside", "inside"]));
    let to_agent = told(&house, offer).await;
    assert_eq!(only(&to_agent, "c="), ["c=IN IP4 10.0.0.1"]);
    let answer = described(1, &["m=audio 7000 RTP/AVP 8", "c=IN IP4 10.0.0.9"]);
    let to_caller = told(&house, of("answer", answer)).await;
    assert_eq!(only(&to_caller, "c="), ["c=IN IP4 203.0.113.1"]);
    let sockets = house.media.sockets.lock().unwrap();
    let (caller, agent) = sockets.values().next().unwrap();
    assert_eq!(
        caller.rtp.local_addr().unwrap().ip().to_string(),
        "127.0.0.1"
    );
    assert_eq!(
        agent.rtp.local_addr().unwrap().ip().to_string(),
        "127.0.0.2"
    );
}

#[tokio::test]
async fn an_address_without_a_way_there_is_refused_by_name() {
    let house = House::new(26_160..=26_179);
    let offer = described(1, &["m=audio 6000 RTP/AVP 8", "c=IN IP6 2001:db8::9"]);
    let refused = house.ask(of("offer", offer)).await;
    assert!(reason(&refused).contains("IPv6"), "{refused:?}");
    assert_eq!(house.calls.count(), 0);
}

#[tokio::test]
async fn a_version_of_our_own_grows_when_something_has_changed_and_only_then() {
    let house = House::new(26_180..=26_199);
    let mut versions = Vec::new();
    for (version, port) in [(8, 6000), (8, 6000), (9, 6000), (8, 6002), (12, 6002)] {
        let media = format!("m=audio {port} RTP/AVP 8");
        let offer = described(version, &[&media, "c=IN IP4 192.0.2.10"]);
        let offer = of("offer", offer).with("replace", list(&["SDP version"]));
        let sdp = told(&house, offer).await;
        let origin = only(&sdp, "o=")[0].to_owned();
        versions.push(origin.split(' ').nth(2).unwrap().to_owned());
    }
    assert_eq!(versions, ["8", "8", "8", "9", "9"]);
}

#[tokio::test]
async fn user_and_session_name_stay_those_of_the_first_description() {
    let house = House::new(26_200..=26_219);
    let what = list(&["username", "session-name"]);
    let first = described(1, &["m=audio 6000 RTP/AVP 8", "c=IN IP4 192.0.2.10"]);
    told(
        &house,
        of("offer", first.clone()).with("replace", what.clone()),
    )
    .await;
    let second = first
        .replace("o=pbx", "o=other")
        .replace("s=call", "s=elsewhere");
    let sdp = told(&house, of("offer", second.clone()).with("replace", what)).await;
    assert!(
        sdp.contains("o=pbx 77 ") && sdp.contains("s=call\n"),
        "{sdp}"
    );
    let sdp = told(&house, of("offer", second)).await;
    assert!(sdp.contains("o=other 77 "), "unless asked: {sdp}");
}

#[tokio::test]
async fn rtcp_mux_is_answered_as_the_other_end_answers_unless_asked() {
    for (asked, other_accepts, muxed) in [
        (None, true, true),
        (None, false, false),
        (Some("offer"), false, false),
        (Some("accept"), false, true),
        (Some("demux"), false, true),
        (Some("reject"), true, false),
    ] {
        let house = House::new(31_200..=31_279);
        let offer = described(
            1,
            &[
                "m=audio 6000 RTP/AVP 8",
                "c=IN IP4 192.0.2.10",
                "a=rtcp-mux",
            ],
        );
        let mut offer = of("offer", offer);
        if let Some(word) = asked {
            offer.push("rtcp-mux", list(&[word]));
        }
        let sdp = told(&house, offer).await;
        assert_eq!(
            sdp.contains("a=rtcp-mux"),
            asked != Some("demux"),
            "{asked:?}"
        );
        let mut rest = vec!["m=audio 7000 RTP/AVP 8", "c=IN IP4 192.0.2.20"];
        rest.extend(other_accepts.then_some("a=rtcp-mux"));
        let sdp = told(&house, of("answer", described(1, &rest))).await;
        assert_eq!(
            sdp.contains("a=rtcp-mux"),
            muxed,
            "{asked:?} {other_accepts}"
        );
        let caller = house.media.leg(Leg::Caller).unwrap();
        assert_eq!(
            caller.rtcp == caller.rtp,
            muxed,
            "{asked:?} {other_accepts}"
        );
    }
}

#[tokio::test]
async fn each_branch_of_a_fork_is_answered_as_it_was_offered() {
    for (branch, muxed) in [("x1", true), ("x2", false)] {
        let house = House::new(26_240..=26_259);
        for (branch, word) in [("x1", "demux"), ("x2", "offer")] {
            let offer = described(
                1,
                &[
                    "m=audio 6000 RTP/AVP 8",
                    "c=IN IP4 192.0.2.10",
                    "a=rtcp-mux",
                ],
            );
            let offer = of("offer", offer)
                .with("via-branch", branch)
                .with("rtcp-mux", list(&[word]));
            told(&house, offer).await;
        }
        let answer = described(1, &["m=audio 7000 RTP/AVP 8", "c=IN IP4 192.0.2.20"]);
        let sdp = told(&house, of("answer", answer).with("via-branch", branch)).await;
        assert_eq!(sdp.contains("a=rtcp-mux"), muxed, "{branch}");
    }
}

#[tokio::test]
async fn a_refused_line_without_formats_is_read_and_stays_refused() {
    let house = House::new(26_260..=26_279);
    let sdp = described(
        1,
        &[
            "m=audio 6000 RTP/AVP 0",
            "c=IN IP4 192.0.2.10",
            "m=application 0 *",
            "m=video 9000 RTP/AVP 99",
            "a=mid:v",
        ],
    )
    .replace("t=0 0", "c=IN IP4 192.0.2.10\r\nt=0 0");
    let sdp = told(&house, of("offer", sdp)).await;
    assert_eq!(
        only(&sdp, "m="),
        [
            "m=audio PORT RTP/AVP 0",
            "m=application 0 *",
            "m=video 0 RTP/AVP 99"
        ]
    );
    assert!(sdp.ends_with("m=video 0 RTP/AVP 99\na=mid:v\n"), "{sdp}");
    assert_eq!(
        only(&sdp, "c="),
        ["c=IN IP4 203.0.113.1"; 2],
        "that of the session counts for the lines that have none"
    );
}

#[tokio::test]
async fn the_address_that_a_client_names_is_told_in_place_of_ours() {
    let house = House::new(26_280..=26_299);
    let offer = described(1, &["m=audio 6000 RTP/AVP 8", "c=IN IP4 192.0.2.10"]);
    let offer = of("offer", offer).with("media-address", "198.51.100.77");
    let sdp = told(&house, offer).await;
    assert_eq!(only(&sdp, "c="), ["c=IN IP4 198.51.100.77"]);
}
