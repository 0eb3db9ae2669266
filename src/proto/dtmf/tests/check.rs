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
