//! The messages of RFC 4475 and RFC 5118, each with its verdict.
//!
//! Rebuilt from what the RFCs describe. They name hosts that are not the trunk's, and most are
//! REGISTER or OPTIONS: what counts is whether they are read, and as what. A verdict that differs
//! from the RFC's advice says why.

use super::*;

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    /// An answer with this status.
    Status(u16),
    /// It went on to the PBX, which refused it.
    Passed,
    /// Nothing: it is a response, or holds nothing that an answer could be made of.
    Silence,
}

use Reply::{Passed, Silence, Status};

const VIA: &str = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKkdjuw\n";
const SDP: &str = "v=0\no=mhandley 29739 7272939 IN IP4 192.0.2.3\ns=-\nc=IN IP4 192.0.2.4\nt=0 0\n\
                   m=audio 49217 RTP/AVP 0\na=rtpmap:0 PCMU/8000\n";

/// `From`, `To`, `Call-ID`, `CSeq` and `Max-Forwards`, as most have them.
fn usual(method: &str) -> String {
    format!(
        "{VIA}From: <sip:caller@example.net>;tag=3\nTo: <sip:user@example.com>\nCall-ID: ID\n\
         CSeq: 8 {method}\nMax-Forwards: 70\nContact: <sip:caller@host5.example.net>\n"
    )
}

fn with(start: &str, fields: &str) -> String {
    format!("{start}\n{fields}Content-Length: 0\n\n")
}

fn described(start: &str, fields: &str, sdp: &str) -> String {
    let length = sdp.replace('\n', "\r\n").len();
    format!("{start}\n{fields}Content-Type: application/sdp\nContent-Length: {length}\n\n{sdp}")
}

/// RFC 4475, by the names of its sections.
fn rfc_4475() -> Vec<(&'static str, String, Reply)> {
    let invite = "INVITE sip:user@example.com SIP/2.0";
    let options = "OPTIONS sip:user@example.com SIP/2.0";
    let register = "REGISTER sip:example.com SIP/2.0";
    let really = "really".repeat(20);
    let vias: String = (1..34)
        .map(|n| format!("Via: SIP/2.0/TCP sip{n}.example.com\n"))
        .collect();
    vec![
        // Valid, but the stack reads no white space before the "=" of a tag.
        (
            "wsinv",
            described(
                "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0",
                "TO :\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\n\
             from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\n  ;\n  tag = 98asjd8\n\
             MaX-fOrWaRdS: 0068\nCall-ID: ID\ncseq: 0009\n  INVITE\n\
             Via  : SIP  /   2.0\n /UDP\n    192.0.2.2;branch=390skdjuw\ns :\n\
             NewFangledHeader:   newfangled value\n continued newfangled value\n\
             UnknownHeaderWithUnusualValue: ;;,,;;,;\n\
             Route:\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\n\
             v:  SIP  / 2.0  / TCP     spindle.example.com   ;\n  branch  =   z9hG4bK9ikj8  ,\n \
             SIP  /    2.0   / UDP  192.168.255.111   ; branch=\n z9hG4bK30239\n\
             m:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\n      newvalue ;\n  \
             secondparam ; q = 0.33\n",
                SDP,
            ),
            Status(400),
        ),
        (
            "intmeth",
            {
                let method = "!interesting-Method0123456789_*+`.%indeed'~";
                with(
                    &format!(
                        "{method} sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0"
                    ),
                    &usual(method),
                )
            },
            Status(405),
        ),
        (
            "esc01",
            described(
                "INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0",
                &usual("INVITE"),
                SDP,
            ),
            Passed,
        ),
        (
            "escnull",
            with(
                register,
                &usual("REGISTER").replace("<sip:user@", "<sip:null-%00-null@"),
            ),
            Status(405),
        ),
        (
            "esc02",
            with(
                "RE%47IST%45R sip:registrar.example.com SIP/2.0",
                &usual("RE%47IST%45R"),
            ),
            Status(405),
        ),
        (
            "lwsdisp",
            with(
                options,
                &usual("OPTIONS").replace("From: <", "From: caller<"),
            ),
            Status(200),
        ),
        (
            "longreq",
            described(
                invite,
                &format!(
                    "To: \"I have a user name of {really}extreme proportion\"\n \
             <sip:user@example.com:6000;unknownparam1=very{really}longvalue;longparam{really}name=shortvalue>\n\
             F: sip:{really}@host1.example.net;tag=12{really}424;unknownheaderparam{really}name=x\n\
             Call-ID: ID\nCSeq: 3882340 INVITE\n\
             Unknown-{really}-Name: unknown-{really}-value; unknown-{really}-parameter = x\n\
             Contact: <sip:amazinglylongcallername{really}@host5.example.net>\n{VIA}{vias}",
                ),
                SDP,
            ),
            Passed,
        ),
        (
            "dblreq",
            with(register, &usual("REGISTER")) + "INVITE sip:joe@example.com SIP/2.0\n\n",
            Status(405),
        ),
        (
            "semiuri",
            with(
                "OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0",
                &usual("OPTIONS"),
            ),
            Status(200),
        ),
        (
            "transports",
            with(
                options,
                &(usual("OPTIONS")
                    + "Via: SIP/2.0/SCTP t1.example.com;branch=z9hG4bKa\n\
             Via: SIP/2.0/TLS t2.example.com;branch=z9hG4bKb\nVia: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKc\n\
             Via: SIP/2.0/TCP t3.example.com;branch=z9hG4bKd\n"),
            ),
            Status(200),
        ),
        // Outside of a call no MESSAGE is taken.
        (
            "mpart01",
            format!(
                "MESSAGE sip:kumiko@example.org SIP/2.0\n{}Content-Type: multipart/mixed;boundary=7a9\nContent-Length: 19\n\n--7a9\n\nx\n--7a9--",
                usual("MESSAGE"),
            ),
            Status(405),
        ),
        (
            "unreason",
            with(
                "SIP/2.0 200 = 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e}",
                &usual("INVITE"),
            ),
            Silence,
        ),
        ("noreason", with("SIP/2.0 100 ", &usual("INVITE")), Silence),
        // Invalid ones.
        (
            "badinv01",
            described(
                invite,
                &usual("INVITE").replace(";branch", ";;,;,,;branch"),
                SDP,
            ),
            Status(400),
        ),
        (
            "clerr",
            format!(
                "{invite}\n{}Content-Type: application/sdp\nContent-Length: 9999\n\n{SDP}",
                usual("INVITE")
            ),
            Status(400),
        ),
        (
            "ncl",
            format!(
                "{invite}\n{}Content-Type: application/sdp\nContent-Length: -999\n\n{SDP}",
                usual("INVITE")
            ),
            Status(400),
        ),
        (
            "scalar02",
            with(
                register,
                &usual("REGISTER").replace("CSeq: 8", "CSeq: 36893488147419103232"),
            ),
            Status(400),
        ),
        (
            "scalar02, Max-Forwards",
            with(register, &usual("REGISTER").replace("70", "300")),
            Status(400),
        ),
        (
            "scalarlg",
            with(
                "SIP/2.0 503 Service Unavailable",
                &usual("OPTIONS").replace("CSeq: 8", "CSeq: 9292394834772304023312"),
            ),
            Silence,
        ),
        (
            "quotbal",
            described(
                invite,
                &usual("INVITE").replace("To: <", "To: \"Mr. J. User <"),
                SDP,
            ),
            Status(400),
        ),
        (
            "ltgtruri",
            described(
                "INVITE <sip:user@example.com> SIP/2.0",
                &usual("INVITE"),
                SDP,
            ),
            Status(400),
        ),
        (
            "lwsruri",
            described(
                "INVITE sip:user@example.com; lr SIP/2.0",
                &usual("INVITE"),
                SDP,
            ),
            Status(400),
        ),
        (
            "lwsstart",
            described(
                "INVITE  sip:user@example.com  SIP/2.0",
                &usual("INVITE"),
                SDP,
            ),
            Status(400),
        ),
        (
            "trws",
            with(
                "OPTIONS sip:remote-target@example.com SIP/2.0  ",
                &usual("OPTIONS"),
            ),
            Status(400),
        ),
        (
            "escruri",
            described(
                "INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0",
                &usual("INVITE"),
                SDP,
            ),
            Status(400),
        ),
        // The date has no use here, and stays here.
        (
            "baddate",
            described(
                invite,
                &(usual("INVITE") + "Date: Fri, 01 Jan 2010 16:00:00 EST\n"),
                SDP,
            ),
            Passed,
        ),
        (
            "regbadct",
            with(
                register,
                &usual("REGISTER").replace(
                    "<sip:caller@host5.example.net>",
                    "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
                ),
            ),
            Status(405),
        ),
        // Read as it was meant, as the RFC allows.
        (
            "badaspec",
            with(
                options,
                &usual("OPTIONS").replace(
                    "<sip:user@example.com>",
                    "\"Watson, Thomas\" < sip:t.watson@example.org >",
                ),
            ),
            Status(200),
        ),
        (
            "baddn",
            with(
                options,
                &usual("OPTIONS").replace("From: <", "From: Bell, Alexander <"),
            ),
            Status(200),
        ),
        (
            "badvers",
            with(
                "OPTIONS sip:t.watson@example.org SIP/7.0",
                &usual("OPTIONS").replace("SIP/2.0", "SIP/7.0"),
            ),
            Status(505),
        ),
        ("mismatch01", with(options, &usual("INVITE")), Status(400)),
        (
            "mismatch02",
            with("NEWMETHOD sip:user@example.com SIP/2.0", &usual("INVITE")),
            Status(400),
        ),
        (
            "bigcode",
            with(
                "SIP/2.0 4294967301 better not break the receiver",
                &usual("INVITE"),
            ),
            Silence,
        ),
        // Its source tells it apart well enough, as before RFC 3261.
        (
            "badbranch",
            with(
                options,
                &usual("OPTIONS").replace("z9hG4bKkdjuw", "z9hG4bK"),
            ),
            Status(200),
        ),
        // There is nothing to make an answer of.
        (
            "insuf",
            described(invite, &format!("CSeq: 193942 INVITE\n{VIA}"), SDP),
            Silence,
        ),
        (
            "unkscm",
            with(
                "OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0",
                &usual("OPTIONS"),
            ),
            Status(416),
        ),
        (
            "novelsc",
            with(
                "OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0",
                &usual("OPTIONS"),
            ),
            Status(416),
        ),
        (
            "unksm2",
            with(
                register,
                &usual("REGISTER").replace("<sip:user@example.com>", "isbn:2983792873"),
            ),
            Status(405),
        ),
        (
            "bext01",
            with(
                options,
                &(usual("OPTIONS")
                    + "Require: nothingSupportsThis, nothingSupportsThisEither\n\
             Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis\n"),
            ),
            Status(420),
        ),
        (
            "invut",
            format!(
                "{invite}\n{}Content-Type: application/unknownformat\nContent-Length: 9\n\n<audio />",
                usual("INVITE")
            ),
            Status(415),
        ),
        (
            "regaut01",
            with(
                register,
                &(usual("REGISTER") + "Authorization: NoOneKnowsThisScheme opaque-data=here\n"),
            ),
            Status(405),
        ),
        // Which of two is meant, and so whose answer it were, is not known.
        (
            "multi01",
            described(
                invite,
                &(usual("INVITE") + "CSeq: 59 INVITE\nMax-Forwards: 5\n"),
                SDP,
            ),
            Silence,
        ),
        (
            "multi01, From",
            described(
                invite,
                &(usual("INVITE") + "From: sip:other@example.net;tag=3413\n"),
                SDP,
            ),
            Silence,
        ),
        (
            "mcl01",
            with(options, &(usual("OPTIONS") + "l: 5\n")),
            Status(400),
        ),
        (
            "bcast",
            with(
                "SIP/2.0 200 OK",
                &(usual("INVITE") + "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23\n"),
            ),
            Silence,
        ),
        // For a server of its own there is no hop to come.
        (
            "zeromf",
            with(options, &usual("OPTIONS").replace("70", "0")),
            Status(200),
        ),
        (
            "cparam01",
            with(
                register,
                &(usual("REGISTER") + "m: <sip:+19725552222@gw1.example.net>;unknownparam\n"),
            ),
            Status(405),
        ),
        (
            "cparam02",
            with(
                register,
                &(usual("REGISTER") + "m: <sip:+19725552222@gw1.example.net;unknownparam>\n"),
            ),
            Status(405),
        ),
        (
            "regescrt",
            with(
                register,
                &(usual("REGISTER")
                    + "m: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>\n"),
            ),
            Status(405),
        ),
        // The far end says whether it has what is accepted.
        (
            "sdp01",
            described(
                invite,
                &(usual("INVITE") + "Accept: text/nobodyKnowsThis\n"),
                SDP,
            ),
            Passed,
        ),
        // RFC 2543, without a tag in From: not spoken here.
        (
            "inv2543",
            described(
                invite,
                &usual("INVITE")
                    .replace(";tag=3", "")
                    .replace(";branch=z9hG4bKkdjuw", ""),
                SDP,
            ),
            Status(400),
        ),
    ]
}

/// RFC 5118, by its sections. Where it asks for REGISTER, OPTIONS stands: REGISTER is not even read.
fn rfc_5118() -> Vec<(&'static str, String, Reply)> {
    let options = |uri: &str| format!("OPTIONS {uri} SIP/2.0");
    let via = |sent_by: &str| usual("OPTIONS").replace("192.0.2.1;", &format!("{sent_by};"));
    let six = SDP.replace("IN IP4 192.0.2.4", "IN IP6 2001:db8::20");
    let invite = "INVITE sip:user@[2001:db8::10] SIP/2.0";
    vec![
        (
            "4.1",
            with(&options("sip:[2001:db8::10]"), &via("[2001:db8::9:1]")),
            Status(200),
        ),
        (
            "4.2",
            with(&options("sip:2001:db8::10"), &via("[2001:db8::9:1]")),
            Status(400),
        ),
        (
            "4.3",
            with(&options("sip:[2001:db8::10:5070]"), &via("[2001:db8::9:1]")),
            Status(200),
        ),
        (
            "4.4",
            with(&options("sip:[2001:db8::10]:5070"), &via("[2001:db8::9:1]")),
            Status(200),
        ),
        (
            "4.5, bare",
            with(
                &options("sip:user@example.com"),
                &via("[2001:db8::9:1];received=2001:db8::9:255"),
            ),
            Status(200),
        ),
        (
            "4.5",
            with(
                &options("sip:user@example.com"),
                &via("[2001:db8::9:1];received=[2001:db8::9:255]"),
            ),
            Status(200),
        ),
        // Well read; but this gateway has ports of IPv4 only.
        (
            "4.6",
            described(invite, &usual("INVITE"), &six),
            Status(488),
        ),
        // A dialog that nobody knows.
        (
            "4.7",
            with(
                "BYE sip:user@host.example.net SIP/2.0",
                &(usual("BYE").replace("example.com>", "example.com>;tag=bd76ya")
                    + "Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111\nVia: SIP/2.0/TCP 192.0.2.200;branch=z9hG4bK1\n"),
            ),
            Status(481),
        ),
        (
            "4.8",
            described(
                invite,
                &usual("INVITE"),
                &(six.clone() + "c=IN IP4 192.0.2.5\n"),
            ),
            Passed,
        ),
        (
            "4.9",
            described(
                invite,
                &usual("INVITE"),
                &SDP.replace("IN IP4 192.0.2.4", "IN IP6 ::ffff:192.0.2.10"),
            ),
            Status(488),
        ),
        // Three colons, as a bug of the grammar allows: refused, as the RFC would have senders not do it.
        (
            "4.10",
            with(
                &options("sip:user@[2001:db8:::192.0.2.1]"),
                &via("[2001:db8::9:1]"),
            ),
            Status(400),
        ),
    ]
}

/// The PBX refuses all calls.
async fn refuse_all(pbx: Phone) {
    loop {
        if let Some(heard) = pbx.hear_within(PATIENCE).await
            && heard.starts_with("INVITE ")
        {
            pbx.answers(&heard, "603 Decline", "").await;
        }
    }
}

async fn verdict(trunk: &Phone, message: &str) -> Reply {
    let call_id = message
        .lines()
        .find_map(|line| line.strip_prefix("Call-ID: "))
        .unwrap_or("none");
    trunk.send(message).await;
    while let Some(heard) = trunk.hear_within(QUIET).await {
        let of_it = heard.contains(&format!("Call-ID: {call_id}\r\n"));
        let status: u16 = heard.split(' ').nth(1).unwrap().parse().unwrap();
        match status {
            603 if of_it => return Passed,
            101.. if of_it => return Status(status),
            _ => {}
        }
    }
    Silence
}

async fn judge(ports: std::ops::RangeInclusive<u16>, messages: Vec<(&'static str, String, Reply)>) {
    let world = World::new(ports).await;
    let World {
        house,
        server,
        trunk,
        pbx,
        ..
    } = world;
    let refuses = tokio::spawn(refuse_all(pbx));
    let mut wrong = Vec::new();
    for (place, (name, message, expected)) in messages.into_iter().enumerate() {
        let id = format!("{place}.torture@example.net");
        let text = message
            .replace('\n', "\r\n")
            .replace("Call-ID: ID", &format!("Call-ID: {id}"))
            .replace("z9hG4bKkdjuw", &format!("z9hG4bKkdjuw{place}"));
        let found = verdict(&trunk, &text).await;
        if found != expected {
            wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
    }
    refuses.abort();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for _ in 0..100 {
        if house.calls.count() == 0 && server.ua.dialogs.lock().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("calls are left");
}

#[tokio::test]
async fn torture_messages_of_rfc_4475_have_their_verdicts() {
    judge(25_940..=25_999, rfc_4475()).await;
}

#[tokio::test]
async fn torture_messages_of_rfc_5118_have_their_verdicts() {
    judge(26_000..=26_039, rfc_5118()).await;
}
