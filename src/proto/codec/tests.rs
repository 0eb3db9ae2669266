use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

const ALL: [AudioCodec; 5] = [
    AudioCodec::Pcmu,
    AudioCodec::Pcma,
    AudioCodec::G722,
    AudioCodec::Opus,
    AudioCodec::G729,
];
const WITH_MEMORY: [AudioCodec; 3] = [AudioCodec::G722, AudioCodec::Opus, AudioCodec::G729];
const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS_HZ: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

/// A sum of sines of this peak each.
pub(super) fn sines(rate_hz: u32, hz: &[f64], peak: f64, samples: usize) -> Vec<i16> {
    let at = |n: usize| -> f64 {
        let time = n as f64 / f64::from(rate_hz);
        hz.iter().map(|hz| peak * (TAU * hz * time).sin()).sum()
    };
    (0..samples).map(|n| at(n).round() as i16).collect()
}

/// Amplitude of a sine in the samples, by least squares.
pub(super) fn amplitude(samples: &[i16], rate_hz: u32, hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        // A Hann window, so that a neighbour of 70 Hz and more does not count.
        let window = 1.0 - (TAU * n as f64 / samples.len() as f64).cos();
        let (sin, cos) = (TAU * hz * n as f64 / f64::from(rate_hz)).sin_cos();
        re += f64::from(*sample) * window * cos;
        im += f64::from(*sample) * window * sin;
    }
    2.0 * re.hypot(im) / samples.len() as f64
}

/// Something like a voice: harmonics of a gliding pitch with formants, and breath.
pub(super) fn voice(rate_hz: u32, samples: usize) -> Vec<i16> {
    let mut phase = 0.0;
    let mut noise = 1_u32;
    let at = |n: usize| {
        let time = n as f64 / f64::from(rate_hz);
        let pitch = 120.0 + 30.0 * (TAU * 1.3 * time).sin();
        phase += TAU * pitch / f64::from(rate_hz);
        let mut sum = 0.0;
        for harmonic in 1..=24_u32 {
            let hz = pitch * f64::from(harmonic);
            let formant = |center: f64, width: f64| 1.0 / (1.0 + ((hz - center) / width).powi(2));
            let weight = formant(550.0, 120.0)
                + 0.5 * formant(1_500.0, 180.0)
                + 0.2 * formant(2_500.0, 250.0);
            sum += weight * (phase * f64::from(harmonic)).sin();
        }
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let breath = f64::from(noise >> 16) / 65_536.0 - 0.5;
        let syllable = 0.55 + 0.45 * (TAU * 3.1 * time).sin();
        (3_000.0 * syllable * sum + 60.0 * breath) as i16
    };
    (0..samples).map(at).collect()
}

/// How many samples later `heard` is than `said`, and its ratio to what differs, in dB.
pub(super) fn delay_and_snr(said: &[i16], heard: &[i16], most: usize) -> (usize, f64) {
    let snr = |delay: usize| {
        let pairs = said.iter().zip(&heard[delay..]).skip(2 * most);
        let (mut signal, mut error) = (0.0, 1e-9);
        for (said, heard) in pairs {
            signal += f64::from(*said).powi(2);
            error += (f64::from(*said) - f64::from(*heard)).powi(2);
        }
        10.0 * (signal / error).log10()
    };
    let all = (0..most).map(|delay| (delay, snr(delay)));
    all.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

fn through(codec: AudioCodec, samples: &[i16], frame: usize) -> Vec<i16> {
    let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
    let mut out = Vec::new();
    for packet in samples.chunks_exact(frame) {
        let (mut payload, mut heard) = ([0; 480], [0; MAX_SAMPLES]);
        let bytes = encoder.encode(packet, &mut payload);
        let decoded = decoder.decode(&payload[..bytes], &mut heard).unwrap();
        assert_eq!(decoded, packet.len());
        out.extend_from_slice(&heard[..decoded]);
    }
    out
}

#[test]
fn a_voice_comes_back_through_every_codec() {
    for (codec, least_db) in ALL.into_iter().zip([28.0, 28.0, 20.0, 12.0, 8.0]) {
        let rate_hz = codec.rate_hz();
        let said = voice(rate_hz, rate_hz as usize * 4 / 5 * 5);
        let heard = through(codec, &said, rate_hz as usize / 50);
        let (delay, snr_db) = delay_and_snr(&said, &heard, 200);
        println!("{codec:?}: {delay} samples later, {snr_db:.1} dB");
        assert!(snr_db > least_db, "{codec:?}: {snr_db} dB");
    }
}

#[test]
fn every_packet_of_a_codec_and_length_has_one_size_and_one_first_byte_in_opus() {
    for codec in ALL {
        let rate_hz = codec.rate_hz() as usize;
        for ms in [10, 20, 30, 40, 60] {
            let frame = codec.frame(8 * ms);
            let samples = frame * rate_hz / 8_000;
            let mut encoder = Encoder::new(codec);
            let mut first = None;
            let mut said = voice(rate_hz as u32, rate_hz / 2);
            said.extend(vec![0; rate_hz]);
            said.extend(sines(
                rate_hz as u32,
                &[770.0, 1_336.0],
                9_000.0,
                rate_hz / 2,
            ));
            said.extend(vec![i16::MAX; rate_hz / 4]);
            for packet in said.chunks_exact(samples) {
                let mut payload = [0; 480];
                let bytes = encoder.encode(packet, &mut payload);
                assert_eq!(bytes, codec.bytes_of(frame), "{codec:?}, {ms} ms");
                assert_eq!(codec.length_of(&payload[..bytes]), Ok(frame));
                if codec == AudioCodec::Opus {
                    assert_eq!(*first.get_or_insert(payload[0]), payload[0], "{ms} ms");
                }
            }
        }
    }
}

#[test]
fn the_two_tones_of_every_key_survive_decoding_and_stand_alone() {
    for codec in ALL {
        let rate_hz = codec.rate_hz();
        let frame = rate_hz as usize / 50;
        for (row, column) in ROWS_HZ
            .into_iter()
            .flat_map(|row| COLUMNS_HZ.map(|column| (row, column)))
        {
            let said = sines(rate_hz, &[row, column], 3_000.0, rate_hz as usize / 2);
            let heard = through(codec, &said, frame);
            let steady = &heard[heard.len() / 2..];
            for hz in ROWS_HZ.into_iter().chain(COLUMNS_HZ) {
                let there = amplitude(steady, rate_hz, hz);
                let expected = hz == row || hz == column;
                // 8 kbit/s are for speech: the tones wobble, and their neighbours are not clean.
                let (levels, most) = match codec {
                    AudioCodec::G729 => (1_500.0..4_500.0, 900.0),
                    _ => (2_500.0..3_500.0, 150.0),
                };
                let fits = if expected {
                    levels.contains(&there)
                } else {
                    there < most
                };
                assert!(fits, "{codec:?}, {row} + {column}: {there} at {hz} Hz");
            }
        }
    }
}

#[test]
fn a_decoder_finds_back_after_a_loss() {
    for (codec, least_db) in WITH_MEMORY.into_iter().zip([10.0, 10.0, 6.0]) {
        let rate_hz = codec.rate_hz();
        let second = rate_hz as usize;
        let said = voice(rate_hz, second);
        let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
        let mut heard = Vec::new();
        for (number, packet) in said.chunks_exact(second / 50).enumerate() {
            let (mut payload, mut samples) = ([0; 480], [0; MAX_SAMPLES]);
            let bytes = encoder.encode(packet, &mut payload);
            if (10..15).contains(&number) {
                decoder.lose(160);
            } else {
                decoder.decode(&payload[..bytes], &mut samples).unwrap();
            }
            heard.extend_from_slice(&samples[..second / 50]);
        }
        let (_, snr_db) = delay_and_snr(&said[second / 2..], &heard[second / 2..], 200);
        assert!(snr_db > least_db, "{codec:?}: {snr_db} dB");
    }
}

#[test]
fn what_opus_sends_instead_of_silence_lasts_as_long_as_it_says() {
    let mut decoder = Decoder::new(AudioCodec::Opus);
    let mut samples = [1; MAX_SAMPLES];
    // Discontinuous transmission: the table of contents alone, of 20 ms in SILK, hybrid and CELT.
    for packet in [&[0x48_u8][..], &[0x78], &[0xB8], &[0x48, 0]] {
        assert_eq!(decoder.decode(packet, &mut samples), Ok(320));
        assert!(samples[..320].iter().all(|sample| sample.abs() < 100));
    }
}

#[test]
fn what_is_no_packet_is_refused_and_leaves_nothing() {
    let mut samples = [7; MAX_SAMPLES];
    for codec in ALL {
        let mut decoder = Decoder::new(codec);
        assert_eq!(decoder.decode(&[], &mut samples), Err(Undecodable::Empty));
        let long = decoder.decode(&[0xFF; 4_000], &mut samples);
        assert!(
            matches!(long, Err(Undecodable::TooLong(_))),
            "{codec:?}: {long:?}"
        );
    }
    let mut opus = Decoder::new(AudioCodec::Opus);
    for packet in [&[0x4B_u8][..], &[0x4B, 0], &[0x4A, 200], &[0x49, 1]] {
        assert_eq!(opus.decode(packet, &mut samples), Err(Undecodable::Corrupt));
    }
    let mut g729 = Decoder::new(AudioCodec::G729);
    for length in (0..=120).filter(|length| !matches!(length % 10, 0 | 2)) {
        let payload = vec![0x55; length];
        let refused = g729.decode(&payload, &mut samples);
        assert_eq!(refused, Err(Undecodable::Corrupt), "{length} bytes");
    }
    let mut wide = Decoder::new(AudioCodec::G722);
    let refused = wide.decode(&[0; 160], &mut samples[..319]);
    assert_eq!(
        refused,
        Err(Undecodable::NoRoom {
            length: 320,
            room: 319
        })
    );
}

#[test]
fn a_stereo_stream_is_heard_as_the_mean_of_its_channels() {
    let mut encoder = ropus::OpusEncoder::new(48_000, 2, ropus::OPUS_APPLICATION_AUDIO).unwrap();
    encoder.set_bitrate(96_000);
    let mut decoder = Decoder::new(AudioCodec::Opus);
    let tones = [
        sines(48_000, &[770.0], 6_000.0, 48_000),
        sines(48_000, &[1_336.0], 6_000.0, 48_000),
    ];
    let both: Vec<i16> = tones[0]
        .iter()
        .zip(&tones[1])
        .flat_map(|(l, r)| [*l, *r])
        .collect();
    let mut heard = Vec::new();
    for packet in both.chunks_exact(1_920) {
        let (mut payload, mut samples) = ([0; 1_000], [0; MAX_SAMPLES]);
        let bytes = encoder.encode(packet, 960, &mut payload, 1_000).unwrap() as usize;
        let length = decoder.decode(&payload[..bytes], &mut samples).unwrap();
        assert_eq!(length, 320);
        heard.extend_from_slice(&samples[..length]);
    }
    for hz in [770.0, 1_336.0] {
        let there = amplitude(&heard[8_000..], 16_000, hz);
        assert!((2_500.0..3_500.0).contains(&there), "{there} at {hz} Hz");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_payload_makes_a_decoder_panic(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6), codec in 0..ALL.len()) {
        let codec = ALL[codec];
        let mut decoder = Decoder::new(codec);
        let mut samples = [0; MAX_SAMPLES];
        for payload in payloads {
            match decoder.decode(&payload, &mut samples) {
                Ok(samples) => {
                    let length = samples * 8_000 / codec.rate_hz() as usize;
                    prop_assert_eq!(codec.length_of(&payload), Ok(length));
                }
                Err(_) => decoder.lose(160),
            }
        }
    }

    #[test]
    fn no_damaged_or_truncated_packet_makes_a_decoder_panic(
        seed in any::<u32>(),
        damage in prop::collection::vec((0..120_usize, any::<u8>(), 0..=80_usize), 12),
    ) {
        for codec in WITH_MEMORY {
            let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
            let frame = codec.rate_hz() as usize / 50;
            let said = voice(codec.rate_hz(), frame * 12 + seed as usize % 7);
            for (packet, (place, byte, length)) in said.chunks_exact(frame).zip(&damage) {
                let (mut payload, mut samples) = ([0; 480], [0; MAX_SAMPLES]);
                let bytes = encoder.encode(packet, &mut payload);
                payload[*place] ^= byte;
                let _ = decoder.decode(&payload[..bytes.min(*length)], &mut samples);
                let _ = decoder.decode(&payload[..bytes], &mut samples);
            }
        }
    }
}

#[test]
fn a_rate_is_halved_and_doubled_without_loss_below_3400_hz() {
    for hz in [300.0, 697.0, 1_633.0, 2_500.0, 3_400.0] {
        let said = sines(16_000, &[hz], 10_000.0, 16_000);
        let (mut narrow, mut wide) = (vec![0; 8_000], vec![0; 16_000]);
        let mut decimator = Decimator::default();
        let mut interpolator = Interpolator::default();
        // In pieces of any even length.
        let (mut at, mut length) = (0, 2);
        while at < said.len() {
            let end = (at + length).min(said.len());
            decimator.decimate(&said[at..end], &mut narrow[at / 2..end / 2]);
            interpolator.interpolate(&narrow[at / 2..end / 2], &mut wide[at..end]);
            (at, length) = (end, (length * 7 + 12) % 900 / 2 * 2 + 2);
        }
        let level = amplitude(&narrow[1_000..], 8_000, hz);
        assert!(
            (level / 10_000.0).log10().abs() * 20.0 < 0.05,
            "{level} at {hz} Hz"
        );
        let (delay, snr_db) = delay_and_snr(&said, &wide, 100);
        // At the edge of the band the image is what differs.
        assert!(snr_db > 45.0, "{snr_db} dB at {hz} Hz");
        if hz == 300.0 {
            assert_eq!(delay, 2 * RESAMPLING_DELAY);
        }
    }
}

#[test]
fn what_lies_above_4200_hz_does_not_fold_into_the_ear() {
    for hz in (4_200..8_000).step_by(95) {
        let said = sines(16_000, &[f64::from(hz)], 10_000.0, 8_000);
        let mut narrow = vec![0; 4_000];
        Decimator::default().decimate(&said, &mut narrow);
        let folded = amplitude(&narrow[500..], 8_000, f64::from(8_000 - hz));
        assert!(
            folded < 10_000.0 * 10_f64.powf(-50.0 / 20.0),
            "{folded} of {hz} Hz"
        );
    }
}

#[test]
fn an_impulse_comes_out_after_the_delay_that_is_named() {
    let mut said = vec![0; 200];
    said[50] = 16_000;
    let mut narrow = vec![0; 100];
    Decimator::default().decimate(&said, &mut narrow);
    let peak = (0..100).max_by_key(|at| narrow[*at]).unwrap();
    assert_eq!(2 * peak, 50 + RESAMPLING_DELAY);
}

#[test]
fn both_forms_of_a_wide_piece_are_of_the_same_instants() {
    let said = voice(16_000, 16_000);
    let mut encoder = Encoder::new(AudioCodec::G722);
    let mut wideband = StreamDecoder::new(AudioCodec::G722).unwrap();
    let (mut narrow, mut wide) = (Vec::new(), Vec::new());
    for packet in said.chunks_exact(320) {
        let mut payload = [0; 160];
        encoder.encode(packet, &mut payload);
        assert_eq!(wideband.decode(&payload), Ok(160));
        for from in (0..160).step_by(70) {
            let piece = wideband.piece(from, from + 70);
            narrow.extend_from_slice(piece.samples);
            let Form::Wide(samples) = piece.form else {
                panic!("a form of 16 kHz was expected")
            };
            wide.extend_from_slice(samples);
        }
        wideband.finish();
    }
    assert_eq!((narrow.len(), wide.len()), (8_000, 16_000));
    // Every second wide sample is the narrow one, but for what lies above 3.4 kHz.
    let thinned: Vec<i16> = wide.iter().step_by(2).copied().collect();
    let (delay, snr_db) = delay_and_snr(&thinned, &narrow, 40);
    assert_eq!(delay, 0);
    assert!(snr_db > 20.0, "{snr_db} dB");
}
