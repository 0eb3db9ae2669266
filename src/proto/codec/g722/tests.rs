use super::*;

fn pseudo(seed: u32, count: usize) -> Vec<i16> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn silence_is_decoded_as_silence() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let (mut payload, mut samples) = ([0; 800], [1; 1_600]);
    assert_eq!(encoder.encode(&[0; 1_600], &mut payload), 800);
    decoder.decode(&payload, &mut samples);
    assert!(
        samples.iter().all(|sample| sample.abs() <= 4),
        "{samples:?}"
    );
}

#[test]
fn what_no_predictor_follows_stays_within_its_range() {
    for (seed, shift) in [(1, 0), (2, 4), (3, 12)] {
        let said: Vec<i16> = pseudo(seed, 32_000).iter().map(|s| s >> shift).collect();
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let (mut payload, mut heard) = (vec![0; 16_000], vec![0; 32_000]);
        encoder.encode(&said, &mut payload);
        decoder.decode(&payload, &mut heard);
        let power =
            |samples: &[i16]| -> f64 { samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() };
        let ratio = power(&heard) / power(&said);
        assert!((0.5..2.0).contains(&ratio), "seed {seed}: {ratio}");
    }
}
