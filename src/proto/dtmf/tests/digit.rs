//! Digits after ITU-T Q.24, on seeded lines.

use super::{
    Listener,
    signal::{Dice, MS, Tone, add_babble, add_white, speech, through},
};
use crate::proto::codec::Law;

const PAD: usize = 60 * MS;

/// What is heard of parts: a tone or none, each for so many samples, with noise under all.
fn heard(parts: &[(Option<Tone>, usize)], noise_dbm0: f64, law: Law, dice: &mut Dice) -> Vec<u8> {
    let lead = PAD + dice.below(160);
    let length: usize = parts.iter().map(|part| part.1).sum();
    let mut samples = vec![0.0; lead + length + PAD];
    add_white(&mut samples, noise_dbm0, dice);
    let mut at = lead;
    for &(tone, length) in parts {
        if let Some(tone) = tone {
            tone.add(&mut samples[at..at + length], dice);
        }
        at += length;
    }
    let mut ear = Listener::default();
    let samples = through(law, &samples);
    let mut rest = &samples[..];
    while !rest.is_empty() {
        let step = (1 + dice.below(480)).min(rest.len());
        ear.audio(&rest[..step]);
        rest = &rest[step..];
    }
    ear.heard.codes
}

fn corner(dice: &mut Dice) -> Tone {
    let mut tone = Tone::any(dice);
    tone.twist_db = [-8.0, 0.0, 4.0][dice.below(3)];
    let share = [-1.0, 0.0, 1.0];
    // 1.5 % + 2 Hz.
    tone.row_detune = share[dice.below(3)] * (0.015 + 2.0 / 941.0);
    tone.column_detune = share[dice.below(3)] * (0.015 + 2.0 / 1633.0);
    tone.dbm0 = dice.between(-36.0, -3.0);
    tone
}

#[test]
fn every_key_of_40_ms_is_heard_at_the_corners_of_what_must_be_taken() {
    let mut dice = Dice::new(10);
    let mut wrong = 0;
    for n in 0..2000 {
        let law = if n % 2 == 0 { Law::Mu } else { Law::A };
        let tone = corner(&mut dice);
        let parts = [(Some(tone), 40 * MS)];
        wrong += usize::from(heard(&parts, tone.dbm0 - 30.0, law, &mut dice) != [tone.code()]);
    }
    assert!(wrong <= 1, "{wrong} of 2000");
}

#[test]
fn in_noise_of_15_db_999_of_1000_digits_of_40_ms_are_right() {
    for snr_db in [20.0, 15.0] {
        let mut dice = Dice::new(11);
        let mut wrong = 0;
        for _ in 0..2000 {
            let tone = Tone {
                twist_db: dice.between(-8.0, 4.0),
                ..Tone::any(&mut dice)
            };
            let parts = [(Some(tone), 40 * MS)];
            wrong +=
                usize::from(heard(&parts, tone.dbm0 - snr_db, Law::Mu, &mut dice) != [tone.code()]);
        }
        println!("SNR {snr_db} dB: {wrong} of 2000 wrong");
        assert!(wrong <= 2, "{wrong} of 2000 at {snr_db} dB");
    }
}

#[test]
fn at_the_corners_every_digit_of_40_ms_is_heard_in_noise_of_10_db_and_98_of_100_in_7_db() {
    for (snr_db, most) in [(10.0, 1), (7.0, 40)] {
        let mut dice = Dice::new(12);
        let mut wrong = 0;
        for n in 0..2000 {
            let law = if n % 2 == 0 { Law::Mu } else { Law::A };
            let tone = Tone {
                dbm0: dice.between(-25.0, -3.0),
                ..corner(&mut dice)
            };
            let parts = [(None, 40 * MS), (Some(tone), 40 * MS)];
            wrong +=
                usize::from(heard(&parts, tone.dbm0 - snr_db, law, &mut dice) != [tone.code()]);
        }
        println!("SNR {snr_db} dB: {wrong} of 2000 wrong");
        assert!(wrong <= most, "{wrong} of 2000 at {snr_db} dB");
    }
}

#[test]
fn over_babble_of_15_db_99_of_100_digits_of_60_ms_are_right() {
    let mut dice = Dice::new(13);
    let mut wrong = 0;
    for _ in 0..1000 {
        let tone = Tone::any(&mut dice);
        let mut samples = vec![0.0; 180 * MS];
        add_babble(&mut samples, tone.dbm0 - 15.0, &mut dice);
        let onset = PAD + dice.below(160);
        tone.add(&mut samples[onset..onset + 60 * MS], &mut dice);
        let mut ear = Listener::default();
        ear.packets(&through(Law::Mu, &samples));
        wrong += usize::from(ear.heard.codes != [tone.code()]);
    }
    println!("{wrong} of 1000 wrong");
    assert!(wrong <= 10, "{wrong} of 1000");
}

#[test]
fn bursts_of_23_ms_are_no_digits() {
    let mut dice = Dice::new(14);
    for n in 0..2000 {
        let tone = Tone {
            dbm0: dice.between(-40.0, -3.0),
            ..Tone::any(&mut dice)
        };
        let law = if n % 2 == 0 { Law::Mu } else { Law::A };
        let noise = tone.dbm0 - dice.between(15.0, 60.0);
        assert_eq!(
            heard(&[(Some(tone), 23 * MS)], noise, law, &mut dice),
            [0; 0]
        );
    }
}

#[test]
fn tones_beside_their_frequency_by_3_5_percent_are_no_digits() {
    let mut dice = Dice::new(15);
    for _ in 0..2000 {
        let off = [-0.035, 0.035][dice.below(2)];
        let mut tone = Tone::any(&mut dice);
        if dice.below(2) == 0 {
            tone.row_detune = off;
        } else {
            tone.column_detune = off;
        }
        assert_eq!(
            heard(&[(Some(tone), 100 * MS)], -45.0, Law::Mu, &mut dice),
            [0; 0]
        );
    }
}

#[test]
fn a_pause_of_30_ms_parts_two_presses_and_an_interruption_of_10_ms_does_not() {
    let mut dice = Dice::new(16);
    for _ in 0..1000 {
        let tone = Tone {
            dbm0: dice.between(-30.0, -3.0),
            ..Tone::any(&mut dice)
        };
        let noise = tone.dbm0 - dice.between(15.0, 40.0);
        let key = (Some(tone), 60 * MS);
        let apart = [key, (None, 31 * MS), key];
        assert_eq!(heard(&apart, noise, Law::Mu, &mut dice), [tone.code(); 2]);
        let together = [key, (None, 10 * MS), key];
        assert_eq!(heard(&together, noise, Law::Mu, &mut dice), [tone.code()]);
    }
}

#[test]
fn keys_that_roll_over_without_a_pause_are_each_heard() {
    let mut dice = Dice::new(17);
    for _ in 0..500 {
        let (one, two) = (Tone::plain(0, dice.below(4)), Tone::plain(2, dice.below(4)));
        let parts = [(Some(one), 60 * MS), (Some(two), 60 * MS)];
        assert_eq!(
            heard(&parts, -40.0, Law::A, &mut dice),
            [one.code(), two.code()]
        );
    }
}

#[test]
fn quiet_keys_are_heard_down_to_minus_42_dbm0() {
    let mut dice = Dice::new(18);
    let mut wrong = 0;
    for n in 0..1000 {
        let law = if n % 2 == 0 { Law::Mu } else { Law::A };
        let tone = Tone {
            dbm0: -39.0,
            ..Tone::any(&mut dice)
        }; // Each of the two at -42.
        wrong +=
            usize::from(heard(&[(Some(tone), 60 * MS)], -70.0, law, &mut dice) != [tone.code()]);
    }
    assert_eq!(wrong, 0);
}

#[test]
fn a_lost_packet_in_a_tone_neither_doubles_nor_loses_it() {
    let mut dice = Dice::new(19);
    for _ in 0..500 {
        let tone = Tone::any(&mut dice);
        let mut samples = vec![0.0; 8 * 160];
        let onset = 160 + dice.below(160);
        add_white(&mut samples, -40.0, &mut dice);
        tone.add(&mut samples[onset..onset + 100 * MS], &mut dice);
        let samples = through(Law::Mu, &samples);
        let lost = 2 + dice.below(4);
        let mut ear = Listener::default();
        for (n, packet) in samples.chunks(160).enumerate() {
            if n == lost {
                ear.gap(160);
            } else {
                ear.audio(packet);
            }
        }
        assert_eq!(
            ear.heard.codes,
            [tone.code()],
            "onset {onset}, packet {lost} lost"
        );
    }
}

#[test]
fn speech_holds_no_digits() {
    let mut dice = Dice::new(20);
    let samples = through(Law::Mu, &speech(120, -16.0, &mut dice));
    let mut ear = Listener::default();
    ear.packets(&samples);
    assert_eq!(ear.heard.codes.len(), 0);
}

#[test]
fn a_key_is_down_while_its_tone_sounds() {
    let mut dice = Dice::new(21);
    let mut samples = vec![0.0; 300 * MS];
    Tone::plain(1, 1).add(&mut samples[100 * MS..200 * MS], &mut dice);
    let samples = through(Law::Mu, &samples);
    let mut ear = Listener::default();
    ear.audio(&samples[..100 * MS]);
    assert!(!ear.state.digits.key_is_down());
    ear.audio(&samples[100 * MS..150 * MS]);
    assert!(ear.state.digits.key_is_down());
    ear.audio(&samples[150 * MS..240 * MS]);
    assert!(!ear.state.digits.key_is_down());
}

#[test]
fn what_is_told_of_a_press_is_how_it_sounded_and_not_which_key_it_was() {
    let mut dice = Dice::new(12);
    for law in [Law::Mu, Law::A] {
        for (dbm0, twist_db, noise_db) in
            [(-12.0, 0.0, 18.0), (-30.0, 3.0, 15.0), (-6.0, -6.0, 24.0)]
        {
            for place in 0..16 {
                let mut tone = Tone::plain(place / 4, place % 4);
                (tone.dbm0, tone.twist_db) = (dbm0, twist_db);
                let mut samples = vec![0.0; PAD + 60 * MS + PAD];
                add_white(&mut samples, dbm0 - noise_db, &mut dice);
                tone.add(&mut samples[PAD..PAD + 60 * MS], &mut dice);
                let mut ear = Listener::default();
                ear.packets(&through(law, &samples));
                let told = std::mem::take(&mut ear.state.told);
                assert_eq!((told.by_tone, told.by_event, told.doubles), (1, 0, 0));
                let measure = told.measure.unwrap();
                let near = |found: f32, known: f64, most: f64| {
                    assert!(
                        (f64::from(found) - known).abs() < most,
                        "{measure:?} {known}"
                    );
                };
                near(measure.level_dbm0, dbm0, 0.7);
                near(measure.twist_db, twist_db, 1.0);
                near(measure.snr_db, noise_db, 3.0);
            }
        }
    }
}
