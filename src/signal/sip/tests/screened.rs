//! Messages of an armed caller, changed at random: whatever the stack gets of them tells no key.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;

/// The keys: nothing else in a message has these letters.
const KEY: &str = "QJ";
const ROUNDS: u64 = 3_000;

fn pick<'a>(random: &mut StdRng, of: &[&'a str]) -> &'a str {
    of.choose(random).copied().unwrap_or_default()
}

/// A name or value with white space, folding and other letters that mean the same.
fn written(random: &mut StdRng, names: &[&str], value: &str) -> String {
    let name: String = pick(random, names)
        .chars()
        .map(|c| {
            if random.random() {
                c.to_ascii_uppercase()
            } else {
                c
            }
        })
        .collect();
    // These letters are the keys'.
    let name = name.replace(['Q', 'J'], "q");
    let (before, behind) = (
        pick(random, &["", " ", "\t"]),
        pick(random, &["", " ", "\r\n ", "\r\n\t"]),
    );
    format!("{name}{before}:{behind}{value}\r\n")
}

fn message(random: &mut StdRng, dialog: &Dialog2, number: u32) -> Vec<u8> {
    let parts = "--b\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=QJ\r\n\
                 --b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=QJ\r\na=key:QJ\r\n--b--\r\n";
    let body = pick(
        random,
        &[
            "Signal=QJ\r\nDuration=160\r\n",
            "QJ",
            "\r\n QJ \r\n",
            "v=0\r\no=QJ 1 1 IN IP4 127.0.0.9\r\ns=QJ\r\ni=QJ\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
            parts,
            "<kpml-response digits=\"QJ\"/>",
            "",
        ],
    );
    let kind = pick(
        random,
        &[
            "application/dtmf-relay",
            "Application/DTMF ;x=y",
            "application/sdp",
            "multipart/mixed;\r\n boundary=b",
            "multipart/mixed;boundary=\"b\"",
            "application/kpml-response+xml",
            "audio/telephone-event",
            "text/plain",
            "none",
        ],
    );
    let method = pick(
        random,
        &[
            "INFO",
            "INFO",
            "INFO",
            "NOTIFY",
            "MESSAGE",
            "UPDATE",
            "OPTIONS",
            "BYE",
            "INVITE",
            "ACK",
            "PRACK",
            "SUBSCRIBE",
            "REFER",
            "info",
        ],
    );
    let mut fields = vec![
        "Via: SIP/2.0/UDP 127.0.0.2:9;branch=z9hG4bKx\r\n".to_owned(),
        format!("Call-ID: {}\r\n", dialog.call_id),
        written(random, &["cseq"], &format!("{number} {method}")),
        written(random, &["max-forwards"], "70"),
        written(
            random,
            &["x-dtmf", "signal", "subject", "s", "info-package", "event"],
            KEY,
        ),
        written(
            random,
            &["p-x", "reason", "user-to-user", "authorization"],
            KEY,
        ),
    ];
    let ends = if random.random_ratio(1, 8) {
        [&dialog.remote, &dialog.local]
    } else {
        [&dialog.local, &dialog.remote]
    };
    fields.push(written(random, &["from", "f"], ends[0]));
    fields.push(written(random, &["to", "t"], ends[1]));
    if kind != "none" {
        fields.push(written(random, &["content-type", "c"], kind));
    }
    let length = match random.random_range(0..4) {
        0 => None,
        1 => Some(random.random_range(0..=body.len())),
        _ => Some(body.len()),
    };
    if let Some(length) = length {
        fields.push(written(
            random,
            &["content-length", "l"],
            &length.to_string(),
        ));
    }
    for place in (1..fields.len()).rev() {
        fields.swap(place, random.random_range(0..=place));
    }
    let start = if random.random_ratio(1, 6) {
        "SIP/2.0 200 OK".to_owned()
    } else {
        format!("{method} sip:1@127.0.0.1 SIP/2.0")
    };
    let mut bytes = format!("{start}\r\n{}\r\n{body}", fields.concat()).into_bytes();
    for _ in 0..pick(random, &["", "", "1", "12"]).len() {
        let place = random.random_range(0..bytes.len());
        let byte: u8 = random.random();
        if !KEY.as_bytes().contains(&byte) {
            bytes[place] = byte;
        }
    }
    bytes
}

#[tokio::test]
async fn nothing_that_the_stack_gets_of_an_armed_caller_tells_a_key() {
    let world = World::new(26_260..=26_279).await;
    let (caller, _) = world.call("screened").await;
    world.arm("screened").await;
    let ua = &world.server.ua;
    let screen = Screen::new(
        &SipSettings {
            requests_per_second: u32::MAX,
            burst: u32::MAX,
            ..ua.settings.clone()
        },
        ua.dialogs.clone(),
        Arc::clone(&ua.counts),
        ua.calls.clone(),
        Arc::new(PlainSlots),
    );
    let (mut passed, mut refused) = (0, 0);
    for seed in 0..ROUNDS {
        let mut random = StdRng::seed_from_u64(seed);
        // Now and then one that was taken long ago.
        let number = match seed % 8 {
            7 => 2,
            _ => u32::try_from(seed).unwrap() + 3,
        };
        let sent = message(&mut random, &caller, number);
        let mut got = sent.clone();
        let judged = screen
            .judge(&mut got, SipTransport::Udp, world.trunk.address)
            .await;
        let shown = String::from_utf8_lossy(&sent).into_owned();
        match judged {
            screen::Judgement::Pass => {
                // What names another call is of that call.
                let of_it = format!("\nCall-ID: {}\r\n", caller.call_id);
                if shown.contains(&of_it) {
                    passed += 1;
                    let left = got.iter().any(|byte| KEY.as_bytes().contains(byte));
                    assert!(
                        !left,
                        "seed {seed}: {shown}\n{}",
                        String::from_utf8_lossy(&got)
                    );
                }
            }
            screen::Judgement::Answer(answer) => {
                refused += 1;
                let told = String::from_utf8_lossy(&answer).into_owned();
                assert!(
                    told.starts_with("SIP/2.0 4") || told.starts_with("SIP/2.0 5"),
                    "{told}"
                );
            }
            screen::Judgement::Drop => refused += 1,
        }
    }
    assert!(
        passed > ROUNDS / 4 && refused > ROUNDS / 20,
        "{passed} passed, {refused} refused"
    );
    let pressed = world.house.media.pressed.lock().unwrap().len();
    assert_eq!(pressed, 0, "no key can be read of them");
}
