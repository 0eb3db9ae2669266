//! Recordings that our own code did not make: every key in them is heard, once, and of an armed
//! call none of them leaves. `fixtures/README.md` says how they were made.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tonewall::{
    media::SlotSource,
    proto::{
        call::{Call, Channel, Command, Forward, Holder, LegMedia, SourcePolicy},
        codec::{Audio, Law},
        digit::KeyClass,
        dtmf::Ear,
        encoding::{AudioCodec, Encoding},
        leg::Leg,
        mask::Outbox,
        rtp::write_header,
        secret::Pressed,
        time::Now,
    },
    secret_memory::Slab,
};

const PACKET: usize = 160;
/// The keys of each recording, but for the one with speech, in their order.
const ALL: &str = "123A456B789C*0#D";
const HEARD: [(&str, &str); 10] = [
    ("plain", ALL),
    ("a-law", ALL),
    ("fast", ALL),
    ("quiet", ALL),
    ("twist-high", ALL),
    ("twist-low", ALL),
    ("sharp", ALL),
    ("flat", ALL),
    ("noisy", ALL),
    ("talking", "159037"),
];

fn codes(folder: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(folder)
        .join(format!("{name}.wav"));
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let data = bytes
        .windows(4)
        .position(|chunk| chunk == b"data")
        .expect("a WAV file has a data chunk");
    bytes[data + 8..].to_vec()
}

fn law(name: &str) -> Law {
    if name == "a-law" { Law::A } else { Law::Mu }
}

fn class(key: char) -> KeyClass {
    match key {
        '0'..='9' => KeyClass::Digit,
        '*' => KeyClass::Star,
        '#' => KeyClass::Hash,
        _ => KeyClass::Letter,
    }
}

/// What was pressed, and the digits that stand in the slot afterwards.
fn hear(name: &str, codes: &[u8]) -> (Vec<Pressed>, Vec<u8>) {
    let slab = Slab::map(1, 1, false).expect("this host has lockable memory");
    let mut slot = slab.acquire().expect("a slot");
    let mut ear = Ear::default();
    let mut pressed = Vec::new();
    for packet in codes.chunks(PACKET) {
        let samples: Vec<i16> = packet.iter().map(|code| law(name).decode(*code)).collect();
        ear.hear_audio(&Audio::narrow(&samples), Some(&mut slot), &mut |press| {
            pressed.push(press)
        });
    }
    let digits = slot.expose(<[u8]>::to_vec);
    (pressed, digits)
}

#[test]
fn every_key_of_every_recording_is_heard_once() {
    for (name, keys) in HEARD {
        let (pressed, digits) = hear(name, &codes("dtmf", name));
        let classes: Vec<KeyClass> = pressed.iter().map(|press| press.class).collect();
        let expected: Vec<KeyClass> = keys.chars().map(class).collect();
        assert_eq!(classes, expected, "{name}");
        let expected: Vec<u8> = keys
            .bytes()
            .filter(u8::is_ascii_digit)
            .map(|key| key - b'0')
            .collect();
        assert_eq!(digits, expected, "{name}");
    }
}

#[test]
fn speech_and_bursts_of_12_ms_are_no_keys() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/speech");
    let files = fs::read_dir(folder).expect("fixtures/speech is there");
    let mut sentences = 0;
    for file in files {
        let path = file.expect("a folder entry").path();
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let (pressed, _) = hear(&name, &codes("speech", &name));
        assert!(pressed.is_empty(), "{name}");
        sentences += 1;
    }
    assert!(sentences >= 10, "{sentences} sentences");
    assert!(hear("leak", &codes("dtmf", "leak")).0.is_empty());
}

fn leg(port: u16, law: Law) -> LegMedia {
    let address = ([127, 0, 0, 1], port).into();
    LegMedia {
        rtp: address,
        rtcp: address,
        source: SourcePolicy::Exact,
        payload_types: vec![match law {
            Law::Mu => (0, Encoding::Audio(AudioCodec::Pcmu)),
            Law::A => (8, Encoding::Audio(AudioCodec::Pcma)),
        }],
        packet_time: Duration::from_millis(20),
    }
}

/// What the agent gets of a recording, armed or not.
fn agent_gets(law: Law, codes: &[u8], armed: bool) -> Vec<u8> {
    let mut now = Now {
        instant: Instant::now(),
        utc: "2026-11-22T12:00:00Z".parse().expect("a constant time"),
    };
    let mut call = Call::default();
    call.handle_command(Command::SetLeg(Leg::Caller, leg(4_000, law)), now);
    call.handle_command(Command::SetLeg(Leg::Agent, leg(4_002, law)), now);
    if armed {
        call.handle_command(Command::Arm(Holder::Ng), now);
        assert!(call.is_armed());
    }
    let payload_type = match law {
        Law::Mu => 0,
        Law::A => 8,
    };
    let mut out = Outbox::default();
    let mut got = Vec::new();
    for (number, packet) in codes.chunks_exact(PACKET).enumerate() {
        let header = write_header(
            payload_type,
            false,
            number as u16,
            (number * PACKET) as u32,
            7,
        );
        let mut datagram = [&header[..], packet].concat();
        let forward = call.handle_media(Leg::Caller, Channel::Rtp, &mut datagram, now, &mut out);
        assert_eq!(forward, Ok(Forward::ToAgentRtp));
        for cleared in out.cleared() {
            got.extend_from_slice(&cleared.datagram()[12..]);
        }
        now = now.after(Duration::from_millis(20));
    }
    got
}

/// Stretches of 2 ms of the recording that are loud enough to be tone, and stand in what was got.
fn tone_in(law: Law, codes: &[u8], got: &[u8]) -> usize {
    let loudest = codes
        .iter()
        .map(|code| law.decode(*code).unsigned_abs())
        .max();
    let threshold = loudest.unwrap_or(0) / 4;
    let is_tone = |window: &[u8]| {
        window
            .iter()
            .filter(|code| law.decode(**code).unsigned_abs() > threshold)
            .count()
            >= 8
    };
    let got: std::collections::HashSet<&[u8]> = got.windows(16).collect();
    codes
        .windows(16)
        .filter(|window| is_tone(window) && got.contains(window))
        .count()
}

#[test]
fn of_an_armed_call_no_2_ms_of_any_recorded_tone_leave() {
    for (name, _) in HEARD.into_iter().chain([("leak", ALL)]) {
        let codes = codes("dtmf", name);
        let law = law(name);
        let control = tone_in(law, &codes, &agent_gets(law, &codes, false));
        assert!(
            control > 500,
            "{name}: the control finds only {control} stretches"
        );
        assert_eq!(
            tone_in(law, &codes, &agent_gets(law, &codes, true)),
            0,
            "{name}"
        );
    }
}

/// The UDP payloads of a capture of Ethernet frames with IPv4 (pcap, little-endian).
fn datagrams(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/calls")
        .join(name);
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut rest = &bytes[24..];
    let mut found = Vec::new();
    while let Some((header, more)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let (frame, more) = more.split_at(length);
        found.push(frame[14 + 20 + 8..].to_vec());
        rest = more;
    }
    found
}

/// What leaves of a capture towards the agent.
fn relayed(name: &str, armed: bool) -> Vec<Vec<u8>> {
    let mut now = Now {
        instant: Instant::now(),
        utc: "2026-11-22T12:00:00Z".parse().expect("a constant time"),
    };
    let mut call = Call::default();
    call.handle_command(Command::SetLeg(Leg::Caller, leg(4_000, Law::Mu)), now);
    call.handle_command(Command::SetLeg(Leg::Agent, leg(4_002, Law::Mu)), now);
    if armed {
        call.handle_command(Command::Arm(Holder::Ng), now);
    }
    let mut out = Outbox::default();
    let mut left = Vec::new();
    for mut datagram in datagrams(name) {
        // What is refused leaves nothing in the outbox.
        let _ = call.handle_media(Leg::Caller, Channel::Rtp, &mut datagram, now, &mut out);
        left.extend(out.cleared().map(|cleared| cleared.datagram().to_vec()));
        now = now.after(Duration::from_millis(20));
    }
    left
}

#[test]
fn events_that_no_sdp_named_leave_an_unarmed_call_only() {
    let events = |left: &[Vec<u8>]| {
        left.iter()
            .filter(|d| matches!(d[1] & 0x7f, 96 | 97))
            .count()
    };
    let unarmed = relayed("sipp-undeclared.pcap", false);
    assert!(
        events(&unarmed) > 200,
        "the control relays {} events",
        events(&unarmed)
    );
    let armed = relayed("sipp-undeclared.pcap", true);
    assert_eq!(events(&armed), 0);
    assert!(
        armed
            .iter()
            .all(|d| d[1] & 0x7f == 0 && d.len() == 12 + PACKET)
    );
}
