//! The independent check hears what must never leave, and not a voice.

use super::signal::{Dice, MS, Tone, add_babble, add_white, speech, through};
use crate::proto::{codec::Law, dtmf::OutputCheck};

#[test]
fn every_tone_of_40_ms_from_minus_40_dbm0_is_heard() {
    let mut dice = Dice::new(40);
    for n in 0..2000 {
        let law = if n % 2 == 0 { Law::Mu } else { Law::A };
        let tone = Tone {
            dbm0: dice.between(-40.0, -3.0),
            twist_db: dice.between(-8.0, 4.0),
            row_detune: dice.between(-0.01, 0.01),
            column_detune: dice.between(-0.01, 0.01),
            ..Tone::plain(n / 2 % 4, n / 8 % 4)
        };
        let onset = dice.below(300);
        let mut samples = vec![0.0; onset + 40 * MS + 200];
        add_white(&mut samples, tone.dbm0 - 25.0, &mut dice);
        tone.add(&mut samples[onset..onset + 40 * MS], &mut dice);
        let mut check = OutputCheck::default();
        let mut heard = false;
        for stretch in through(law, &samples).chunks(1 + dice.below(480)) {
            heard |= check.listen(stretch);
        }
        assert!(
            heard,
            "tone {n}: {}/{} of {:.1} dBm0, twist {:.1} dB",
            tone.row, tone.column, tone.dbm0, tone.twist_db
        );
    }
}

#[test]
fn no_voice_and_no_noise_is_taken_for_a_tone() {
    let mut dice = Dice::new(41);
    let mut check = OutputCheck::default();
    assert!(!check.listen(&through(Law::Mu, &speech(120, -16.0, &mut dice))));
    let mut noise = vec![0.0; 20 * 8000];
    add_babble(&mut noise, -20.0, &mut dice);
    assert!(!check.listen(&through(Law::A, &noise)));
    add_white(&mut noise, -20.0, &mut dice);
    assert!(!check.listen(&through(Law::A, &noise)));
}

#[test]
fn single_tones_and_silence_are_no_keys() {
    let mut dice = Dice::new(42);
    for hz in [350.0, 425.0, 440.0, 697.0, 941.0, 1000.0, 1209.0, 1633.0] {
        let mut samples = vec![0.0; 8000];
        add_white(&mut samples, -50.0, &mut dice);
        for (n, sample) in samples.iter_mut().enumerate() {
            *sample += 3000.0 * (std::f64::consts::TAU * hz * n as f64 / 8000.0).sin();
        }
        assert!(
            !OutputCheck::default().listen(&through(Law::Mu, &samples)),
            "{hz} Hz"
        );
    }
    assert!(!OutputCheck::default().listen(&[0; 8000]));
    assert!(!OutputCheck::default().listen(&[8; 8000]));
}

/// The check again, slow and plain: Goertzel's recursion over every block.
struct Slow {
    samples: Vec<f64>,
    judged: usize,
    told: Vec<Option<usize>>,
}

impl Slow {
    fn listen(&mut self, samples: &[i16]) -> bool {
        self.samples.extend(samples.iter().map(|&s| f64::from(s)));
        let mut heard = false;
        while self.judged + 102 <= self.samples.len() {
            self.told.push(pair_of(&self.samples[self.judged..][..102]));
            self.judged += 51;
            heard |= match self.told.as_slice() {
                [.., one, two, three] => one.is_some() && one == two && two == three,
                _ => false,
            };
        }
        heard
    }
}

fn pair_of(block: &[f64]) -> Option<usize> {
    let total: f64 = block.iter().map(|s| s * s).sum();
    let hz = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];
    let powers = hz.map(|hz| {
        let coefficient = 2.0 * (std::f64::consts::TAU * hz / 8000.0).cos();
        let (mut one, mut two) = (0.0, 0.0);
        for sample in block {
            (two, one) = (one, sample + coefficient * one - two);
        }
        one * one + two * two - coefficient * one * two
    });
    let peak = |group: &[f64]| {
        let best = (0..4).max_by(|a, b| group[*a].total_cmp(&group[*b]))?;
        let alone = (0..4).all(|t| t == best || group[t] * 3.98 < group[best]);
        alone.then_some((best, group[best]))
    };
    let ((row, low), (column, high)) = (peak(&powers[..4])?, peak(&powers[4..])?);
    let is_key = total >= 1.25e4 * 102.0
        && low <= 10.0 * high
        && high <= 10.0 * low
        && (low + high) * 2.0 / 102.0 >= 0.7 * total;
    is_key.then_some(4 * row + column)
}

#[test]
fn the_check_hears_what_a_slow_one_hears_and_when() {
    let mut dice = Dice::new(43);
    let (mut alarms, mut packets) = (0, 0);
    for n in 0..600 {
        let law = if n % 2 == 0 { Law::Mu } else { Law::A };
        let tone = Tone {
            dbm0: dice.between(-50.0, -3.0),
            twist_db: dice.between(-12.0, 12.0),
            row_detune: dice.between(-0.03, 0.03),
            column_detune: dice.between(-0.03, 0.03),
            ..Tone::any(&mut dice)
        };
        let onset = 60 * MS + dice.below(300);
        let length = dice.below(60 * MS);
        let mut samples = vec![0.0; onset + length + 60 * MS];
        if dice.below(4) == 0 {
            samples = speech(1, tone.dbm0, &mut dice);
        }
        let noise = tone.dbm0 - dice.between(0.0, 30.0);
        add_white(&mut samples, noise, &mut dice);
        tone.add(&mut samples[onset..onset + length], &mut dice);
        let mut check = OutputCheck::default();
        let mut slow = Slow {
            samples: Vec::new(),
            judged: 0,
            told: Vec::new(),
        };
        for stretch in through(law, &samples).chunks(1 + dice.below(480)) {
            let heard = check.listen(stretch);
            assert_eq!(heard, slow.listen(stretch), "line {n}, packet {packets}");
            alarms += usize::from(heard);
            packets += 1;
        }
    }
    println!("{alarms} alarms in {packets} packets");
    assert!(alarms > 100);
}
