use super::super::tests::{amplitude, delay_and_snr, sines, voice};
use super::*;

fn encoded(said: &[i16]) -> Vec<[u8; FRAME_BYTES]> {
    let mut encoder = Encoder::new();
    let frames = said.chunks_exact(FRAME);
    frames
        .map(|frame| {
            let mut bytes = [0; FRAME_BYTES];
            assert_eq!(encoder.encode(frame, &mut bytes), FRAME_BYTES);
            bytes
        })
        .collect()
}

fn decoded(decoder: &mut Decoder, packet: &[u8]) -> Vec<i16> {
    let mut samples = vec![0; length_of(packet).unwrap()];
    decoder.decode(packet, &mut samples);
    samples
}

fn loudness_db(samples: &[i16]) -> f64 {
    let power: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    10.0 * (power / samples.len() as f64 + 1e-3).log10()
}

#[test]
fn fields_stand_in_their_bits() {
    let fields: Fields = [1, 77, 30, 3, 200, 1, 5_000, 9, 5, 14, 27, 8_000, 6, 2, 11];
    let bytes = pack(&fields);
    assert_eq!(unpack(&bytes, WIDTHS), fields);
    // The first bit of the first byte is the first field.
    assert_eq!(bytes[0], 0x80 | 77);
    assert_eq!(
        unpack(&[0b1101_0110, 0b0110_1101], SILENCE_WIDTHS),
        [1, 21, 9, 22]
    );
}

#[test]
fn the_encoder_is_five_milliseconds_late() {
    let said = voice(8_000, 16_000);
    let mut decoder = Decoder::new();
    let frames = encoded(&said);
    let heard: Vec<i16> = frames
        .iter()
        .flat_map(|frame| decoded(&mut decoder, frame))
        .collect();
    let (delay, snr_db) = delay_and_snr(&said, &heard, 200);
    // The filters before and behind it take the rest.
    assert!((36..=44).contains(&delay), "{delay} samples, {snr_db} dB");
}

#[test]
fn the_same_samples_make_the_same_bits_however_they_are_cut() {
    let said = voice(8_000, 8_000);
    let mut encoder = Encoder::new();
    let mut long = Vec::new();
    for packet in said.chunks_exact(3 * FRAME) {
        let mut bytes = [0; 3 * FRAME_BYTES];
        encoder.encode(packet, &mut bytes);
        long.extend(bytes);
    }
    let short = encoded(&said).concat();
    assert_eq!(long, short[..long.len()]);
}

#[test]
fn what_is_described_as_silence_is_noise_of_its_level() {
    for (index, level) in [(10_u16, 127), (16, 505), (22, 2_010)] {
        let mut decoder = Decoder::new();
        // A flat spectrum has the excitation's level; this one is the codebook's own.
        let bits = 1 << 15 | 7 << 10 | 3 << 6 | index << 1;
        let mut heard = Vec::new();
        for _ in 0..50 {
            heard.extend(decoded(&mut decoder, &bits.to_be_bytes()));
        }
        let steady = loudness_db(&heard[2_000..]);
        let excitation = 20.0 * (2.0 * f64::from(level) / 8.0).log10();
        assert!(
            (excitation - 3.0..excitation + 25.0).contains(&steady),
            "{steady} dB for {excitation} dB"
        );
    }
}

#[test]
fn a_silence_ends_with_the_first_frame_of_speech() {
    let said = voice(8_000, 8_000);
    let frames = encoded(&said);
    let mut through = Decoder::new();
    let mut paused = Decoder::new();
    for frame in &frames[..40] {
        decoded(&mut through, frame);
        decoded(&mut paused, frame);
    }
    for _ in 0..10 {
        decoded(&mut paused, &[0x5A, 0x94]);
    }
    let (mut heard, mut wanted) = (Vec::new(), Vec::new());
    for frame in &frames[40..] {
        wanted.extend(decoded(&mut through, frame));
        heard.extend(decoded(&mut paused, frame));
    }
    let (_, snr_db) = delay_and_snr(&wanted[800..], &heard[800..], 1);
    assert!(snr_db > 8.0, "{snr_db} dB");
}

#[test]
fn a_loss_fades_and_does_not_shout() {
    for said in [
        voice(8_000, 4_000),
        sines(8_000, &[770.0, 1_336.0], 9_000.0, 4_000),
    ] {
        let mut decoder = Decoder::new();
        let mut before = Vec::new();
        for frame in encoded(&said) {
            before.extend(decoded(&mut decoder, &frame));
        }
        let loudest = loudness_db(&before);
        let mut last = f64::INFINITY;
        for _ in 0..10 {
            let mut samples = [0; FRAME];
            decoder.conceal(&mut samples);
            last = loudness_db(&samples);
            assert!(last < loudest + 6.0, "{last} dB after {loudest} dB");
        }
        assert!(last < loudest - 12.0, "{last} dB after {loudest} dB");
    }
}

#[test]
fn silence_of_an_encoder_that_takes_over_is_silence_after_40_ms() {
    let said = voice(8_000, 8_000);
    let loudest = said.iter().map(|s| s.unsigned_abs()).max().unwrap();
    for cut in (20..80).step_by(7) {
        let mut decoder = Decoder::new();
        for frame in &encoded(&said)[..cut] {
            decoded(&mut decoder, frame);
        }
        // As at an arming: silence from another encoder.
        for (number, frame) in encoded(&[0; 20 * FRAME]).iter().enumerate() {
            let heard = decoded(&mut decoder, frame);
            let most = heard.iter().map(|s| s.unsigned_abs()).max().unwrap();
            // What the decoder remembers rings off: it is the voice's own end.
            let limit = match number {
                0 => loudest,
                1..4 => loudest / 2,
                _ => loudest / 50,
            };
            assert!(
                most <= limit,
                "{most} of {loudest} in frame {number} after {cut}"
            );
        }
    }
}

#[test]
fn nothing_that_can_be_said_or_sent_leaves_its_range() {
    let square: Vec<i16> = (0..8_000)
        .map(|n| if n / 50 % 2 == 0 { i16::MAX } else { i16::MIN })
        .collect();
    let tone = sines(8_000, &[1_000.0], 32_000.0, 8_000);
    for said in [square, tone, vec![i16::MIN; 8_000]] {
        let mut decoder = Decoder::new();
        for frame in encoded(&said) {
            decoded(&mut decoder, &frame);
        }
    }
    // Bits at random, for a minute: an excitation that feeds on itself stays finite, and a voice is
    // understood right after it.
    let mut decoder = Decoder::new();
    let mut state = 1_u32;
    for _ in 0..6_000 {
        let frame: [u8; FRAME_BYTES] = std::array::from_fn(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        decoded(&mut decoder, &frame);
    }
    let said = sines(8_000, &[500.0], 8_000.0, 8_000);
    let mut heard = Vec::new();
    for frame in encoded(&said) {
        heard.extend(decoded(&mut decoder, &frame));
    }
    let there = amplitude(&heard[4_000..], 8_000, 500.0);
    assert!((6_000.0..10_000.0).contains(&there), "{there}");
}
