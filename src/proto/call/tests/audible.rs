//! Codes that the caller may hear: in tones, or as events that cannot be kept back.

use crate::proto::{
    codec::Encoder,
    dtmf::tests::signal::{Dice, speech},
    rtp::write_red,
};

use super::{trigger::Line, *};

/// Of each sine of a tone, in samples of 16 bits: -8.5 dBm0 together.
const LOUD: f64 = 6_000.0;

/// A telephone that sends tones in a codec.
struct Phone {
    line: Line,
    payload_type: u8,
    codec: AudioCodec,
    encoder: Encoder,
}

impl Phone {
    fn new(codec: AudioCodec) -> Self {
        let mut line = Line::new("*77#");
        for (of, port) in [(Leg::Caller, 4_000), (Leg::Agent, 4_002)] {
            let mut media = leg(port);
            media.payload_types.insert(0, (96, Encoding::Audio(codec)));
            line.world.command(Command::SetLeg(of, media));
        }
        Self {
            line,
            payload_type: 96,
            codec,
            encoder: Encoder::new(codec),
        }
    }

    /// A packet of 20 ms.
    fn packet(&mut self, sample: impl Fn(f64) -> f64) {
        let rate_hz = self.codec.rate_hz();
        let samples: Vec<i16> = (0..rate_hz / 50)
            .map(|n| sample(f64::from(n) / f64::from(rate_hz)) as i16)
            .collect();
        let mut payload = [0; 480];
        let bytes = self.encoder.encode(&samples, &mut payload);
        let line = &mut self.line;
        let before = line.left.len();
        line.send(self.payload_type, line.timestamp, &payload[..bytes]);
        assert_eq!(line.left.len(), before + 1, "nothing is kept back");
        assert_eq!(line.left[before][12..], payload[..bytes], "nor masked");
        line.timestamp = line.timestamp.wrapping_add(self.codec.clock_hz() / 50);
        line.pass(20);
    }

    fn hum(&mut self, packets: usize) {
        for _ in 0..packets {
            self.packet(|t| 300.0 * (TAU * 180.0 * t).sin());
        }
    }

    /// Presses of so many packets each, with pauses of three.
    fn dial(&mut self, keys: &str, amplitude: f64, packets: usize) {
        for key in keys.chars() {
            let (row, column) = frequencies_of(key);
            for number in 0..packets {
                let began = number as f64 / 50.0;
                self.packet(|t| {
                    let t = t + began;
                    amplitude * ((TAU * row * t).sin() + (TAU * column * t).sin())
                });
            }
            self.hum(3);
        }
    }
}

fn frequencies_of(key: char) -> (f64, f64) {
    let place = "123A456B789C*0#D".find(key).unwrap();
    (ROWS_HZ[place / 4], COLUMNS_HZ[place % 4])
}

/// A packet of PCMU of a tone that began so many packets ago.
fn tone_of(key: char, number: usize) -> Vec<u8> {
    let (row, column) = frequencies_of(key);
    tone(row, column, LOUD, 160 * number, 160)
}

const CODECS: [AudioCodec; 5] = [
    AudioCodec::Pcmu,
    AudioCodec::Pcma,
    AudioCodec::G722,
    AudioCodec::Opus,
    AudioCodec::G729,
];

#[test]
fn a_code_in_tones_starts_a_payment_once_in_every_codec_and_the_audio_leaves_as_it_came() {
    for codec in CODECS {
        let mut phone = Phone::new(codec);
        phone.hum(5);
        phone.dial("*77#", LOUD, 5);
        assert_eq!(phone.line.dialled(), [Dialled::Code], "{codec:?}");
        phone.dial("*77*1999#", LOUD, 5);
        phone.hum(50);
        let both = [Dialled::Code, Dialled::Amount(1_999)];
        assert_eq!(phone.line.dialled(), both, "{codec:?}");
        phone.line.assert_one_stream();
    }
}

#[test]
fn tones_that_are_no_code_start_nothing() {
    for keys in ["*7#", "77#", "*78#", "*77*#", "*77*123456789#", "*77"] {
        let mut phone = Phone::new(AudioCodec::Pcmu);
        phone.dial(keys, LOUD, 4);
        phone.hum(50);
        assert_eq!(phone.line.dialled(), [], "{keys}");
    }
    let mut phone = Phone::new(AudioCodec::Pcmu);
    phone.dial("9**77#", LOUD, 4);
    assert_eq!(
        phone.line.dialled(),
        [Dialled::Code],
        "it may follow others"
    );
}

#[test]
fn who_waits_too_long_between_two_tones_has_dialled_no_code() {
    for (pause, dialled) in [(140, vec![Dialled::Code]), (160, vec![])] {
        let mut phone = Phone::new(AudioCodec::Pcmu);
        phone.dial("*77", LOUD, 4);
        phone.hum(pause);
        phone.dial("#", LOUD, 4);
        assert_eq!(phone.line.dialled(), dialled, "{pause} packets");
    }
}

#[test]
fn what_comes_back_of_the_callers_own_keys_starts_nothing() {
    // -10 dB less than a telephone dials, and -20.
    for (amplitude, dialled) in [(1_900.0, vec![Dialled::Code]), (600.0, vec![])] {
        let mut phone = Phone::new(AudioCodec::Pcmu);
        phone.hum(10);
        phone.dial("*77#", amplitude, 5);
        assert_eq!(phone.line.dialled(), dialled, "{amplitude}");
    }
    let mut phone = Phone::new(AudioCodec::Pcmu);
    for key in "*77#".chars() {
        for number in 0..5 {
            phone.line.world.audio(0, &tone_of(key, number));
        }
        phone.line.world.speak(3);
    }
    assert_eq!(phone.line.dialled(), [], "the caller dialled");
}

#[test]
fn speech_starts_nothing_and_a_code_is_heard_after_it() {
    let mut dice = Dice::new(11);
    let mut phone = Phone::new(AudioCodec::Pcmu);
    for packet in speech(120, -16.0, &mut dice).chunks(160) {
        phone.packet(|t| packet[(t * 8_000.0).round() as usize]);
    }
    assert_eq!(phone.line.dialled(), []);
    phone.dial("*77#", LOUD, 4);
    assert_eq!(phone.line.dialled(), [Dialled::Code]);
}

#[test]
fn sounds_too_short_to_be_keys_start_nothing() {
    let mut phone = Phone::new(AudioCodec::Pcmu);
    phone.hum(5);
    phone.dial("*77#*77#", LOUD, 1);
    assert_eq!(phone.line.dialled(), []);
}

#[test]
fn a_telephone_that_sends_tone_and_event_of_each_press_has_dialled_once() {
    // The event comes with the tone, or some packets behind it, also when it is over.
    for behind in [0, 2, 4, 6] {
        for payload_type in [EVENT, FOREIGN_EVENT] {
            let ticks = if payload_type == EVENT { 160 } else { 960 };
            let mut line = Line::new("*77#");
            for key in "*77#".chars() {
                let code = "0123456789*#".find(key).unwrap() as u8;
                let began = line.timestamp.wrapping_mul(ticks / 160);
                for number in 0..12 {
                    let audio = match number {
                        0..5 => tone_of(key, number),
                        _ => voice(160),
                    };
                    line.send(0, line.timestamp, &audio);
                    if (behind..behind + 5).contains(&number) {
                        let lasted = (number - behind + 1) as u16 * ticks as u16;
                        let told = event(code, number == behind + 4, lasted);
                        line.send(payload_type, began, &told);
                    }
                    line.timestamp = line.timestamp.wrapping_add(160);
                    line.pass(20);
                }
            }
            line.speak(100);
            assert_eq!(line.dialled(), [Dialled::Code], "{behind}, {payload_type}");
        }
    }
}

#[test]
fn a_telephone_that_sends_tones_and_messages_has_dialled_once() {
    for behind in [0, 100, 400] {
        let mut line = Line::new("*77#");
        let mut messages: Vec<(u64, char)> = Vec::new();
        let mut at = 0;
        for number in 0..100_usize {
            let key = "*77#".chars().nth(number / 10);
            let audio = match key {
                Some(key) if number % 10 < 5 => tone_of(key, number % 10),
                _ => voice(160),
            };
            if let Some(key) = key.filter(|_| number % 10 == 2) {
                messages.push((at + behind, key));
            }
            if messages.first().is_some_and(|(due, _)| *due <= at) {
                let (_, key) = messages.remove(0);
                let key = crate::proto::secret::plain::key(key);
                let _ = line.world.call.handle_agents_press(key, line.world.now);
            }
            line.send(0, line.timestamp, &audio);
            line.timestamp = line.timestamp.wrapping_add(160);
            line.pass(20);
            at += 20;
        }
        assert_eq!(line.dialled(), [Dialled::Code], "{behind} ms behind");
    }
}

#[test]
fn events_that_cannot_be_kept_back_start_a_payment_and_pass_as_they_are() {
    let mut line = Line::new("*77#");
    let before = line.left.len();
    let mut began = 7_u32;
    for key in [10, 7, 7, 11] {
        for n in 1..=4_u16 {
            line.send(FOREIGN_EVENT, began, &event(key, n == 4, n * 960));
            line.speak(1);
        }
        line.speak(2);
        began = began.wrapping_add(6 * 960);
    }
    assert_eq!(line.dialled(), [Dialled::Code]);
    assert_eq!(line.left.len() - before, 4 * (4 + 4 + 2), "all of them");
    line.assert_one_stream();
}

#[test]
fn redundant_events_start_a_payment_and_pass_as_they_are() {
    let mut line = Line::new("*77#");
    for (of, port) in [(Leg::Caller, 4_000), (Leg::Agent, 4_002)] {
        let mut media = leg(port);
        media.payload_types.push((RED, Encoding::Red));
        line.world.command(Command::SetLeg(of, media));
    }
    line.speak(3);
    let before = line.left.len();
    for key in [10, 7, 7, 11] {
        let began = line.timestamp;
        for n in 1..=4_u16 {
            let payload = write_red(&[], (EVENT, &event(key, n == 4, n * 160)));
            line.send(RED, began, &payload);
            line.timestamp = line.timestamp.wrapping_add(160);
            line.pass(20);
        }
        line.speak(3);
    }
    assert_eq!(line.dialled(), [Dialled::Code]);
    assert_eq!(line.left.len() - before, 4 * (4 + 3));
}

#[test]
fn tones_are_heard_only_while_a_code_is_awaited_and_the_call_is_not_armed() {
    let mut phone = Phone::new(AudioCodec::Pcmu);
    assert!(!phone.line.world.call.hears_agent(), "nothing came");
    phone.hum(1);
    assert!(phone.line.world.call.hears_agent());
    phone.line.world.call.listen_for(None);
    assert!(!phone.line.world.call.hears_agent());
    phone.dial("*77#", LOUD, 4);
    assert!(!phone.line.world.call.hears_agent());
    assert_eq!(phone.line.dialled(), []);

    phone.line.world.call.listen_for(code_of("*77#", None));
    phone.dial("*77", LOUD, 4);
    phone.line.world.command(Command::Arm(Holder::Ng));
    assert!(!phone.line.world.call.hears_agent());
    phone.dial("#", LOUD, 4);
    assert!(!phone.line.world.call.hears_agent());
    phone.line.world.command(Command::Release(Holder::Ng));
    phone.line.world.wait(2_000);
    assert!(!phone.line.world.call.is_armed());
    phone.dial("#", LOUD, 4);
    assert_eq!(phone.line.dialled(), [], "half a code from before");
    phone.dial("*77#", LOUD, 4);
    assert_eq!(phone.line.dialled(), [Dialled::Code]);
}

#[test]
fn packets_that_overtake_each_other_or_are_lost_make_no_code_of_other_keys() {
    let mut phone = Phone::new(AudioCodec::Pcmu);
    phone.hum(5);
    // Of every press one packet of five is lost.
    for key in "*77#".chars() {
        for number in 0..5 {
            if number != 4 {
                let line = &mut phone.line;
                line.send(0, line.timestamp, &tone_of(key, number));
            }
            let line = &mut phone.line;
            line.timestamp = line.timestamp.wrapping_add(160);
            line.pass(20);
        }
        phone.hum(3);
    }
    assert_eq!(phone.line.dialled(), [Dialled::Code]);
}
