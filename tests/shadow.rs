//! Shadow mode as operators meet it: a trunk's worth of calls, the gateway, the command.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::{
    f64::consts::TAU,
    fs,
    path::Path,
    process::Command as Process,
    time::{Duration, Instant},
};

use common::{Gateway, How, Options, PATIENCE, play};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tonewall::{
    proto::{
        call::{Call, Channel, Command, LegMedia, Output, SourcePolicy},
        codec::Law,
        encoding::{AudioCodec, Encoding},
        leg::Leg,
        mask::Outbox,
        rtp::write_header,
        shadow::{PublishRules, Tally},
        time::Now,
    },
    shadow::Shadows,
};

const PACKET: usize = 160;
const EVENT: u8 = 101;
/// Peak of a sine of 0 dBm0.
const PEAK: f64 = 22_656.0;

/// What the callers of the demo say, and one that nobody answers.
fn sentences() -> Vec<Vec<i16>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/speech");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wav"))
        .collect();
    paths.sort();
    let decoded = paths.iter().map(|path| {
        let bytes = fs::read(path).unwrap();
        let data = bytes.windows(4).position(|chunk| chunk == b"data").unwrap();
        let codes = &bytes[data + 8..];
        codes.iter().map(|code| Law::Mu.decode(*code)).collect()
    });
    decoded.collect()
}

/// A caller on a line of the trunk.
struct Line {
    call: Call,
    out: Outbox,
    now: Now,
    random: StdRng,
    /// Linear.
    noise: f64,
    gain: f64,
    tones: [f64; 2],
    loss: f64,
    sequence: u16,
    timestamp: u32,
    phase: usize,
}

fn leg(port: u16) -> LegMedia {
    LegMedia {
        rtp: ([127, 0, 0, 1], port).into(),
        rtcp: ([127, 0, 0, 1], port + 1).into(),
        source: SourcePolicy::Exact,
        payload_types: vec![
            (0, Encoding::Audio(AudioCodec::Pcmu)),
            (EVENT, Encoding::TelephoneEvent(8_000)),
        ],
        packet_time: Duration::from_millis(20),
    }
}

impl Line {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let db = |db: f64| PEAK * 10f64.powf(db / 20.0);
        let (row, twist) = (
            random.random_range(-18.0..-8.0),
            random.random_range(-3.0..3.0),
        );
        let noise = random.random_range(-66.0..-34.0);
        let gain = random.random_range(-10.0..2.0f64);
        let mut line = Self {
            call: Call::default(),
            out: Outbox::default(),
            now: Now {
                instant: Instant::now(),
                utc: "2026-11-22T12:00:00Z".parse().unwrap(),
            },
            noise: db(noise) / 2f64.sqrt(),
            gain: 10f64.powf(gain / 20.0),
            tones: [db(row), db(row + twist)],
            loss: 0.004,
            sequence: 0,
            timestamp: 0,
            phase: 0,
            random,
        };
        for (leg_name, port) in [(Leg::Caller, 4_000), (Leg::Agent, 4_002)] {
            let command = Command::SetLeg(leg_name, leg(port));
            line.call.handle_command(command, line.now);
        }
        line.call.handle_command(Command::Shadow, line.now);
        line
    }

    fn send(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let header = write_header(payload_type, false, self.sequence, timestamp, 7);
        self.sequence = self.sequence.wrapping_add(1);
        if self.random.random_bool(self.loss) {
            return;
        }
        let mut datagram = [&header[..], payload].concat();
        let (call, now) = (&mut self.call, self.now);
        call.handle_media(Leg::Caller, Channel::Rtp, &mut datagram, now, &mut self.out)
            .unwrap();
    }

    fn audio(&mut self, speech: &[i16], key: Option<usize>) {
        const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
        const COLUMNS_HZ: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
        let mut payload = [0; PACKET];
        for (n, code) in payload.iter_mut().enumerate() {
            let spoken = speech.get(n).map_or(0.0, |s| f64::from(*s));
            let mut sample = spoken * self.gain;
            // Of a normal distribution, near enough.
            let noise: f64 = (0..6).map(|_| self.random.random_range(-1.0..1.0)).sum();
            sample += self.noise * noise / 2f64.sqrt();
            if let Some(place) = key {
                let t = TAU * (self.phase + n) as f64 / 8_000.0;
                sample += self.tones[0] * (ROWS_HZ[place / 4] * t).sin();
                sample += self.tones[1] * (COLUMNS_HZ[place % 4] * t).sin();
            }
            *code = Law::Mu.encode(sample.clamp(-32_768.0, 32_767.0) as i16);
        }
        self.phase += PACKET;
        self.send(0, self.timestamp, &payload);
    }

    fn tick(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(PACKET as u32);
        self.now = self.now.after(Duration::from_millis(20));
    }

    fn speak(&mut self, sentence: &[i16]) {
        for packet in sentence.chunks(PACKET) {
            self.audio(packet, None);
            self.tick();
        }
        self.pause(30);
    }

    fn pause(&mut self, packets: usize) {
        for _ in 0..packets {
            self.audio(&[], None);
            self.tick();
        }
    }

    /// 100 ms, and as much of a pause.
    fn press(&mut self, place: usize, (tone, event): (bool, bool)) {
        const CODES: [u8; 16] = [1, 2, 3, 12, 4, 5, 6, 13, 7, 8, 9, 14, 10, 0, 11, 15];
        let begin = self.timestamp;
        self.phase = 0;
        for packet in 0..5u16 {
            self.audio(&[], tone.then_some(place));
            if event && (!tone || packet >= 2) {
                let last = packet == 4;
                let [high, low] = ((packet + 1) * 160).to_be_bytes();
                let payload = [CODES[place], if last { 0x8a } else { 0x0a }, high, low];
                for _ in 0..if last { 3 } else { 1 } {
                    self.send(EVENT, begin, &payload);
                }
            }
            self.tick();
        }
        self.pause(5);
    }

    fn hang_up(mut self) -> Tally {
        self.call.handle_command(Command::HangUp, self.now);
        while let Some(output) = self.call.poll_output() {
            if let Output::Shadowed(tally) = output {
                return *tally;
            }
        }
        panic!("nothing was heard");
    }
}

/// A day on a trunk. Set TONEWALL_SHADOW_PICTURE to a path to look at its picture, which is the one
/// in `docs/shadow.md`.
#[test]
fn a_day_on_a_trunk_makes_a_report_that_is_true() {
    let seed = 20_261_122;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let sentences = sentences();
    let folder = tempfile::tempdir().unwrap();
    let rules = PublishRules {
        period: Duration::from_secs(3_600),
        least_calls: 20,
    };
    let tenant: tonewall::proto::id::Tenant = "default".parse().unwrap();
    let shadows = Shadows::open(folder.path(), tenant.clone(), rules).unwrap();
    let day: jiff::Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
    let at = |minute: u64| day + Duration::from_secs(60 * minute);
    let mut truth = [0u64; 3];
    for call in 0..150 {
        let mut line = Line::new(random.next_u64());
        let way = random.random_range(0..3);
        for _ in 0..12 {
            let sentence = &sentences[random.random_range(0..sentences.len())];
            line.speak(sentence);
        }
        let keys = [0, 1, 4, 8, 16, 20][random.random_range(0..6)];
        for _ in 0..keys {
            let place = random.random_range(0..16);
            line.press(place, [(false, true), (true, false), (true, true)][way]);
        }
        truth[way] += keys;
        line.pause(50);
        shadows.add(&"carrier-a".parse().unwrap(), &line.hang_up(), at(2 * call));
    }
    shadows.publish(at(2 * 150 + 60)).unwrap();
    let report = shadows.report(&tenant, "carrier-a").unwrap();
    if let Some(path) = std::env::var_os("TONEWALL_SHADOW_PICTURE") {
        fs::write(path, report.picture()).unwrap();
    }
    println!("{}", report.json());

    assert_eq!(report.calls, 150);
    let [event, tone, both] = truth;
    let presses = &report.presses;
    // A few may be told apart or missed where packets were lost.
    let near = |found: u64, known: u64| found.abs_diff(known) <= 2 + known / 100;
    assert!(
        near(presses.total, event + tone + both),
        "{truth:?} {presses:?}"
    );
    assert!(
        near(presses.by_event, event + both),
        "{truth:?} {presses:?}"
    );
    assert!(near(presses.by_tone, tone + both), "{truth:?} {presses:?}");
    assert!(near(presses.doubles, both), "{truth:?} {presses:?}");
    assert!((0.002..0.006).contains(&report.packets.lost_share));
    let speech: f64 = report.audio.speech_hours;
    assert!(
        (0.3..report.audio.hours).contains(&speech),
        "{speech} h of speech"
    );
    let twist = report.measures.twist_db.mean.unwrap();
    let level = report.measures.level_dbm0.mean.unwrap();
    assert!(
        twist.abs() < 1.0 && (-13.0..-7.0).contains(&level),
        "{twist} dB, {level} dBm0"
    );
    assert!(report.audio.speech_masked_share.unwrap() < 0.2);
    let tones = report.audio.tones_without_key_per_hour.unwrap();
    assert!(tones <= 1.0, "{tones} tones an hour that were no key");
}

async fn report_of(gateway: &Gateway, trunk: &str, calls: u64) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let path = format!("/v1/shadow/{trunk}");
        let (status, report) = gateway.request("GET", &path, None).await;
        if status == 200 && report["calls"].as_u64() >= Some(calls) {
            return report;
        }
        assert!(Instant::now() < until, "no report: {status} {report}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_tells_what_it_heard_on_a_trunk_and_goes_on_after_a_restart() {
    const KEYS: &str = "8305926147";
    let mut gateway = Gateway::start(Options {
        more: "[shadow]\nenabled = true\nperiod = \"1s\"\nleast_calls = 5\n",
        ..Options::default()
    })
    .await;
    let mut calls = Vec::new();
    for n in 0..5 {
        calls.push(play(&gateway, &format!("shadow-{n}")).await);
    }
    let heard = calls.iter().enumerate().map(|(n, ends)| {
        ends.key(
            KEYS,
            move |_| if n % 2 == 0 { How::Event } else { How::Tone },
        )
    });
    for keyed in heard.collect::<Vec<_>>() {
        keyed.await;
    }
    // Nothing is masked: the agent hears every key.
    for (n, ends) in calls.iter().enumerate() {
        let got = ends.agent_got.lock().await;
        let events = got.iter().filter(|packet| packet[1] & 0x7f == EVENT);
        assert_eq!(events.count(), if n % 2 == 0 { 60 } else { 0 });
    }
    let (_, list) = gateway.request("GET", "/v1/shadow", None).await;
    assert_eq!(list["trunks"], serde_json::json!([]), "no call has ended");
    for ends in calls {
        ends.hang_up(&gateway).await;
    }
    let report = report_of(&gateway, "127.0.0.1", 5).await;
    assert_eq!(report["schema"], "tonewall-shadow/1");
    assert_eq!(
        (
            &report["presses"]["by_event"],
            &report["presses"]["by_tone"]
        ),
        (&30.into(), &20.into()),
        "{report}"
    );
    assert_eq!(report["packets"]["unheard"], 0);
    let picture = gateway
        .http
        .get(format!("{}/v1/shadow/127.0.0.1/picture.svg", gateway.base))
        .bearer_auth(&gateway.secret)
        .send()
        .await
        .unwrap();
    assert_eq!(picture.headers()["content-type"], "image/svg+xml");
    let picture = picture.text().await.unwrap();

    let out = gateway.folder.path().join("out");
    let data = gateway.folder.path().join("data");
    let written = Process::new(env!("CARGO_BIN_EXE_tonewall"))
        .args(["shadow", "--data-dir"])
        .args([&data, Path::new("--out"), &out])
        .output()
        .unwrap();
    let said = String::from_utf8(written.stdout).unwrap();
    assert!(
        written.status.success() && said.contains("50 keys"),
        "{said}"
    );
    let file = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let json: Value = serde_json::from_str(&file("127.0.0.1.json")).unwrap();
    assert_eq!(json, report);
    assert_eq!(file("127.0.0.1.svg"), picture);
    // Nothing that was keyed is anywhere.
    let kept = fs::read_to_string(data.join("shadow.json")).unwrap();
    let log = gateway.log();
    for text in [&said, &kept, &log, &picture, &report.to_string()] {
        assert!(!text.contains(KEYS));
    }

    gateway.signal("TERM");
    gateway.until_ended().await;
    gateway.restart().await;
    assert_eq!(report_of(&gateway, "127.0.0.1", 5).await, report);
}
