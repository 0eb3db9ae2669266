//! Claims of the whole ear, in simulated samples. Every random test prints its seed.

mod bank;
mod check;
mod digit;
mod event;
mod late;
mod reference;
pub(in crate::proto) mod signal;
mod suspect;

use proptest::prelude::*;

use super::*;

/// What an ear heard: telephone-event codes in order.
#[derive(Default)]
struct Heard {
    codes: Vec<u8>,
}

/// An ear whose keys the test may look at.
#[derive(Default)]
struct Listener {
    state: State,
    heard: Heard,
}

impl Listener {
    fn audio(&mut self, samples: &[i16]) -> Verdict {
        let mut codes = Vec::new();
        let verdict = self
            .state
            .hear_audio(&Audio::narrow(samples), &mut |key| codes.push(key.code()));
        self.heard.codes.extend(codes);
        verdict
    }

    /// In packets of 20 ms.
    fn packets(&mut self, samples: &[i16]) {
        for packet in samples.chunks(160) {
            self.audio(packet);
        }
    }

    fn gap(&mut self, samples: usize) -> Verdict {
        self.state.hear_gap(samples as u64)
    }

    fn info(&mut self, code: u8) {
        let key = Key::from_event(code).unwrap();
        let codes = &mut self.heard.codes;
        self.state.hear_info(key, &mut |key| codes.push(key.code()));
    }

    fn event(&mut self, code: u8, start: i64, until: i64, end: bool, timestamp: u32) -> Verdict {
        let event = EventPacket {
            code,
            start,
            until,
            end,
            timestamp,
        };
        let mut codes = Vec::new();
        let verdict = self
            .state
            .hear_event(&event, false, &mut |key| codes.push(key.code()));
        self.heard.codes.extend(codes);
        verdict.0
    }

    /// An event packet that others have overtaken.
    fn late_event(&mut self, code: u8, start: i64, until: i64, timestamp: u32) -> Order {
        let event = EventPacket {
            code,
            start,
            until,
            end: false,
            timestamp,
        };
        let mut codes = Vec::new();
        let (_, order) = self
            .state
            .hear_event(&event, true, &mut |key| codes.push(key.code()));
        self.heard.codes.extend(codes);
        order
    }

    /// Audio that was taken for lost.
    fn late(&mut self, samples: &[i16], start: usize) -> Order {
        let Some(filled) = self
            .state
            .history
            .fill(start as i64, &Audio::narrow(samples))
        else {
            return Order::Kept;
        };
        let mut codes = Vec::new();
        let order = self
            .state
            .hear_again(&filled, &mut |key| codes.push(key.code()));
        self.heard.codes.extend(codes);
        order
    }
}

/// Anything that may happen to an ear.
#[derive(Debug, Clone)]
enum Input {
    Audio(Vec<i16>),
    Gap(usize),
    Event(u8, i64, i64, bool, u32),
    Late(Vec<i16>, i64),
    Better(Vec<i16>, i64),
    LateEvent(u8, i64, i64, u32),
    Jump(usize),
    Info(u8, u64),
}

fn loud() -> impl Strategy<Value = i16> {
    prop_oneof![any::<i16>(), Just(i16::MIN), Just(i16::MAX), Just(0)]
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => prop::collection::vec(loud(), 0..480).prop_map(Input::Audio),
        2 => prop_oneof![0..700_usize, any::<usize>()].prop_map(Input::Gap),
        2 => (prop::collection::vec(loud(), 0..480), prop_oneof![0..9_000_i64, any::<i64>()])
            .prop_map(|(samples, start)| Input::Late(samples, start)),
        1 => (prop::collection::vec(loud(), 0..480), prop_oneof![0..9_000_i64, any::<i64>()])
            .prop_map(|(samples, start)| Input::Better(samples, start)),
        1 => (any::<u8>(), -9_000..9_000_i64, any::<i64>(), 0..4_u32)
            .prop_map(|(code, start, until, at)| Input::LateEvent(code, start, until, at)),
        1 => prop_oneof![0..700_usize, any::<usize>()].prop_map(Input::Jump),
        2 => (any::<u8>(), -9_000..9_000_i64, -9_000..9_000_i64, any::<bool>(), 0..4_u32)
            .prop_map(|(code, start, until, end, at)| Input::Event(code, start, until, end, at)),
        1 => (any::<u8>(), any::<i64>(), any::<i64>(), any::<bool>(), any::<u32>())
            .prop_map(|(code, start, until, end, at)| Input::Event(code, start, until, end, at)),
        1 => (0..16_u8, any::<u64>()).prop_map(|(code, at)| Input::Info(code, at)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_panics_and_no_verdict_is_empty(inputs in prop::collection::vec(input(), 0..40)) {
        let mut ear = Ear::default();
        let mut check = OutputCheck::default();
        let mut pressed = 0;
        for input in inputs {
            let mut press = |_: Pressed| pressed += 1;
            let verdict = match input {
                Input::Audio(samples) => {
                    check.listen(&samples);
                    ear.hear_audio(&Audio::narrow(&samples), None, &mut press)
                }
                Input::Gap(samples) => ear.hear_gap(samples),
                Input::Late(samples, start) => {
                    let filled = ear.fill(&Audio::narrow(&samples), start);
                    assert!(!ear.lacks(start, samples.len()));
                    if let Some(filled) = filled {
                        let _ = ear.hear_again(filled, None, &mut press);
                    }
                    continue;
                }
                Input::Better(samples, start) => {
                    ear.put(&Audio::narrow(&samples), start);
                    assert!(!ear.lacks(start, samples.len()));
                    let changed = start..start.saturating_add(samples.len() as i64);
                    let _ = ear.hear_again(changed, None, &mut press);
                    continue;
                }
                Input::LateEvent(code, start, until, timestamp) => {
                    let event = EventPacket { code, start, until, end: false, timestamp };
                    ear.hear_late_event(event, None, &mut press).0
                }
                Input::Jump(samples) => {
                    ear.hear_jump(samples);
                    continue;
                }
                Input::Event(code, start, until, end, timestamp) => {
                    let event = EventPacket { code, start, until, end, timestamp };
                    ear.hear_event(event, None, &mut press)
                }
                Input::Info(code, at) => {
                    ear.set_clock(at);
                    ear.hear_info(Key::from_event(code).unwrap(), None, &mut press);
                    continue;
                }
            };
            prop_assert!(verdict.suspect().is_none_or(|s| s.start < s.end));
            let _ = ear.key_is_down();
        }
    }

    #[test]
    fn what_is_heard_does_not_depend_on_how_audio_is_cut(cuts in prop::collection::vec(1..480_usize, 1..30)) {
        let mut dice = signal::Dice::new(50);
        let mut samples = vec![0.0; 4800];
        signal::add_white(&mut samples, -40.0, &mut dice);
        signal::Tone::plain(1, 2).add(&mut samples[1000..1500], &mut dice);
        signal::Tone::plain(3, 1).add(&mut samples[2000..2500], &mut dice);
        let samples = signal::through(crate::proto::codec::Law::Mu, &samples);
        let (mut ear, mut rest, mut suspect) = (Listener::default(), &samples[..], vec![false; 6000]);
        for cut in cuts.into_iter().chain(std::iter::repeat(160)) {
            if rest.is_empty() {
                break;
            }
            let (stretch, after) = rest.split_at(cut.min(rest.len()));
            if let Some(range) = ear.audio(stretch).suspect() {
                suspect[range.start as usize..range.end as usize].fill(true);
            }
            rest = after;
        }
        prop_assert_eq!(ear.heard.codes, [6, 0]);
        prop_assert!(suspect[1000..1500].iter().chain(&suspect[2000..2500]).all(|&s| s));
    }
}
