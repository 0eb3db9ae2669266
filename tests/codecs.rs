//! The codecs against ffmpeg's and libbcg729: each decodes what the other encoded. `tests/peers/run
//! codecs` installs both and runs it.

#![allow(clippy::unwrap_used, reason = "tests may")]

#[path = "codecs/call.rs"]
mod call;
#[path = "common/ogg.rs"]
mod ogg;

use std::{
    f64::consts::TAU,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tonewall::proto::{
    codec::{Decoder, Encoder, MAX_SAMPLES},
    encoding::AudioCodec,
};

/// Samples of 16 kHz in 20 ms.
const PACKET: usize = 320;

/// Words without a mouth: gliding harmonics under formants, syllables, pauses, and two keys.
fn speech(seconds: usize) -> Vec<i16> {
    let mut phase = 0.0;
    let sample = |n: usize| {
        let t = n as f64 / 16_000.0;
        let pitch = 130.0 + 40.0 * (TAU * 0.9 * t).sin();
        phase += TAU * pitch / 16_000.0;
        let mut sum = 0.0;
        for harmonic in 1..=40_u32 {
            let hz = pitch * f64::from(harmonic);
            let formant = |center: f64, width: f64| 1.0 / (1.0 + ((hz - center) / width).powi(2));
            let weight = formant(500.0, 110.0)
                + 0.5 * formant(1_500.0, 170.0)
                + 0.1 * formant(3_800.0, 500.0);
            sum += weight * (phase * f64::from(harmonic)).sin();
        }
        let syllable = (TAU * 2.2 * t).sin().max(0.0);
        let key = f64::from(u8::from((t % 1.5) > 1.4))
            * ((TAU * 852.0 * t).sin() + (TAU * 1_336.0 * t).sin());
        (3_500.0 * syllable * sum + 4_000.0 * key) as i16
    };
    (0..seconds * 16_000).map(sample).collect()
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("codecs");
    fs::create_dir_all(&folder).expect("the folder for tests can be written");
    folder
}

fn write_samples(path: &Path, samples: &[i16]) {
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    fs::write(path, bytes).expect("the folder for tests can be written");
}

fn read_samples(path: &Path) -> Vec<i16> {
    let bytes = fs::read(path).expect("ffmpeg wrote the file");
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|pair| i16::from_le_bytes(*pair))
        .collect()
}

/// Runs ffmpeg from one file to another.
fn ffmpeg(before: &str, from: &Path, between: &str, to: &Path) {
    let run = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-y"])
        .args(before.split_whitespace())
        .arg("-i")
        .arg(from)
        .args(between.split_whitespace())
        .arg(to)
        .output()
        .expect("ffmpeg runs; tests/peers/run codecs installs it");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(
        run.status.success(),
        "ffmpeg {before} -i {from:?} {between}: {said}"
    );
}

const RAW: &str = "-f s16le -ar 16000 -ac 1";

fn ours_encoded(codec: AudioCodec, said: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(codec);
    let packets = said.chunks_exact(PACKET);
    packets
        .map(|packet| {
            let mut payload = [0; 480];
            let bytes = encoder.encode(packet, &mut payload);
            payload[..bytes].to_vec()
        })
        .collect()
}

fn ours_decoded<'a>(codec: AudioCodec, packets: impl IntoIterator<Item = &'a [u8]>) -> Vec<i16> {
    let mut decoder = Decoder::new(codec);
    let mut heard = Vec::new();
    for packet in packets {
        let mut samples = [0; MAX_SAMPLES];
        let count = decoder
            .decode(packet, &mut samples)
            .expect("a packet of an encoder can be decoded");
        heard.extend_from_slice(&samples[..count]);
    }
    heard
}

/// The best ratio of what was said to what is otherwise, in dB, over all delays up to 60 ms.
fn snr_db(said: &[i16], heard: &[i16]) -> f64 {
    let at = |delay: usize| {
        let (mut signal, mut error) = (0.0, 1e-9);
        for (said, heard) in said.iter().zip(&heard[delay..]).skip(3_200) {
            signal += f64::from(*said).powi(2);
            error += (f64::from(*said) - f64::from(*heard)).powi(2);
        }
        10.0 * (signal / error).log10()
    };
    (0..960).map(at).fold(f64::NEG_INFINITY, f64::max)
}

#[test]
#[ignore = "needs ffmpeg: tests/peers/run codecs"]
fn g722_is_the_same_as_ffmpegs() {
    let (folder, said) = (folder(), speech(6));
    let raw = folder.join("said.s16");
    write_samples(&raw, &said);
    let theirs = folder.join("theirs.g722");
    ffmpeg(RAW, &raw, "-c:a g722 -f g722", &theirs);
    let theirs = fs::read(&theirs).unwrap();
    let ours = ours_encoded(AudioCodec::G722, &said).concat();
    let alike = ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
    println!("G.722: {alike} of {} bytes are ffmpeg's own", ours.len());
    assert!(
        alike * 1_000 >= ours.len() * 999,
        "{alike} of {}",
        ours.len()
    );

    let packets: Vec<&[u8]> = theirs.chunks(160).collect();
    let we_heard = snr_db(&said, &ours_decoded(AudioCodec::G722, packets));
    let file = folder.join("ours.g722");
    fs::write(&file, &ours).unwrap();
    let decoded = folder.join("ours.s16");
    ffmpeg("-f g722", &file, RAW, &decoded);
    let they_heard = snr_db(&said, &read_samples(&decoded));
    println!("G.722: we hear ffmpeg with {we_heard:.1} dB, it hears us with {they_heard:.1} dB");
    assert!(we_heard > 20.0 && they_heard > 20.0);
}

#[test]
#[ignore = "needs ffmpeg: tests/peers/run codecs"]
fn opus_is_understood_both_ways() {
    let (folder, said) = (folder(), speech(6));
    let raw = folder.join("said-opus.s16");
    write_samples(&raw, &said);

    let file = folder.join("ours.ogg");
    let ours = ours_encoded(AudioCodec::Opus, &said);
    fs::write(&file, ogg::written(&ours, 960)).unwrap();
    let decoded = folder.join("ours-opus.s16");
    ffmpeg("-c:a libopus", &file, RAW, &decoded);
    let they_heard = snr_db(&said, &read_samples(&decoded));
    println!("Opus: ffmpeg hears us with {they_heard:.1} dB");
    assert!(they_heard > 8.0);

    // SILK, CELT, hybrid and stereo; all lengths; with forward error correction and without.
    for (name, how) in [
        ("voip at 16 kHz", "-ar 16000 -b:a 24k -application voip"),
        (
            "voip in 60 ms",
            "-ar 16000 -b:a 24k -application voip -frame_duration 60",
        ),
        (
            "voip with FEC",
            "-ar 16000 -b:a 24k -application voip -fec 1 -packet_loss 20",
        ),
        ("hybrid", "-ar 48000 -b:a 32k -application voip"),
        (
            "audio in stereo",
            "-ar 48000 -ac 2 -b:a 96k -application audio",
        ),
        (
            "low delay in 5 ms",
            "-ar 48000 -b:a 96k -application lowdelay -frame_duration 5",
        ),
    ] {
        let theirs = folder.join("theirs.ogg");
        ffmpeg(RAW, &raw, &format!("{how} -c:a libopus -f ogg"), &theirs);
        let packets = ogg::read(&fs::read(&theirs).unwrap());
        let heard = ours_decoded(AudioCodec::Opus, packets.iter().map(Vec::as_slice));
        let reference = folder.join("theirs-opus.s16");
        ffmpeg("-c:a libopus", &theirs, RAW, &reference);
        let alike_db = snr_db(&read_samples(&reference), &heard);
        let we_heard = snr_db(&said, &heard);
        println!("Opus, {name}: {we_heard:.1} dB, {alike_db:.1} dB beside ffmpeg's own decoder");
        // Their resampler delays by parts of a sample, which is what most of it differs by.
        assert!(we_heard > 8.0 && alike_db > 14.0, "{name}");
    }
}

/// Samples of 8 kHz in a frame of G.729.
const FRAME: usize = 80;

/// Runs libbcg729 from one file to another.
fn bcg729(how: &str, from: &Path, to: &Path) {
    let run = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/g729/bcg729.py"))
        .arg(how)
        .args([from, to])
        .output()
        .expect("python3 runs; tests/peers/run codecs installs it");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "bcg729.py {how} {from:?}: {said}");
}

fn theirs_encoded(how: &str, said: &[i16], name: &str) -> Vec<Vec<u8>> {
    let raw = folder().join(format!("{name}.s16"));
    write_samples(&raw, said);
    let file = folder().join(format!("{name}.frames"));
    bcg729(how, &raw, &file);
    let bytes = fs::read(&file).unwrap();
    let mut rest = &bytes[..];
    let mut frames = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let (frame, after) = after.split_at(usize::from(*length));
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

fn theirs_decoded(frames: &[Vec<u8>], name: &str) -> Vec<i16> {
    let file = folder().join(format!("{name}.frames"));
    let tagged = frames.iter().flat_map(|frame| {
        let length = u8::try_from(frame.len()).expect("a frame is short");
        std::iter::once(length).chain(frame.iter().copied())
    });
    fs::write(&file, tagged.collect::<Vec<u8>>()).unwrap();
    let raw = folder().join(format!("{name}.s16"));
    bcg729("decode", &file, &raw);
    read_samples(&raw)
}

/// Words without a mouth at 8 kHz, without keys.
fn narrow_speech(seconds: usize) -> Vec<i16> {
    let wide = speech(seconds);
    let keyed = |n: usize| (n as f64 / 8_000.0) % 1.5 > 1.38;
    let thinned = wide
        .chunks_exact(2)
        .map(|pair| i16::midpoint(pair[0], pair[1]));
    thinned
        .enumerate()
        .map(|(n, sample)| if keyed(n) { 0 } else { sample })
        .collect()
}

/// The mean ratio of what was said to what is otherwise, in dB, over pieces of 20 ms that are not
/// silent, each within -10 to 35 dB; for the best delay up to 30 ms.
fn segmental_db(said: &[i16], heard: &[i16]) -> f64 {
    let at = |delay: usize| {
        let pieces = said.chunks_exact(160).zip(heard[delay..].chunks_exact(160));
        let ratios: Vec<f64> = pieces
            .filter_map(|(said, heard)| {
                let signal: f64 = said.iter().map(|s| f64::from(*s).powi(2)).sum();
                let pairs = said.iter().zip(heard);
                let error: f64 = pairs
                    .map(|(s, h)| (f64::from(*s) - f64::from(*h)).powi(2))
                    .sum();
                let ratio = 10.0 * (signal / (error + 1.0)).log10();
                (signal > 160.0 * 100.0_f64.powi(2)).then_some(ratio.clamp(-10.0, 35.0))
            })
            .collect();
        ratios.iter().sum::<f64>() / ratios.len() as f64
    };
    (0..240).map(at).fold(f64::NEG_INFINITY, f64::max)
}

#[test]
#[ignore = "needs ffmpeg and libbcg729: tests/peers/run codecs"]
fn g729_is_understood_both_ways_and_is_as_good_as_theirs() {
    let said = narrow_speech(12);
    let theirs = theirs_encoded("encode", &said, "theirs-g729");
    let they_alone = theirs_decoded(&theirs, "theirs-alone");
    let mut encoder = Encoder::new(AudioCodec::G729);
    let ours: Vec<Vec<u8>> = said
        .chunks_exact(FRAME)
        .map(|frame| {
            let mut payload = [0; 10];
            assert_eq!(encoder.encode(frame, &mut payload), 10);
            payload.to_vec()
        })
        .collect();
    let they_hear_us = theirs_decoded(&ours, "ours-g729");
    let we_hear_them = ours_decoded(AudioCodec::G729, theirs.iter().map(Vec::as_slice));
    let file = folder().join("ours.g729");
    fs::write(&file, ours.concat()).unwrap();
    let decoded = folder().join("ours-g729-ffmpeg.s16");
    ffmpeg("-f g729", &file, "-f s16le", &decoded);
    let ffmpeg_hears_us = read_samples(&decoded);

    let [alone, us, them, by_ffmpeg] =
        [&they_alone, &they_hear_us, &we_hear_them, &ffmpeg_hears_us]
            .map(|heard| segmental_db(&said, heard));
    let alike = segmental_db(&they_alone, &we_hear_them);
    println!(
        "G.729: libbcg729 alone {alone:.2} dB; it hears us with {us:.2} dB, ffmpeg with {by_ffmpeg:.2} dB; we hear it with {them:.2} dB, {alike:.1} dB beside its own decoder"
    );
    assert!(us > alone - 0.5 && by_ffmpeg > alone - 0.5);
    // Ours has no postfilter, which is most of what differs.
    assert!(them > alone - 1.0 && alike > 10.0);
}

#[test]
#[ignore = "needs libbcg729: tests/peers/run codecs"]
fn a_silence_that_libbcg729_describes_is_as_loud_here_as_there() {
    let mut state = 7_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from((state >> 16) as i16) / 32_768.0
    };
    let said: Vec<i16> = narrow_speech(12)
        .into_iter()
        .enumerate()
        .map(|(n, sample)| {
            let talks = n / 8_000 % 2 == 0;
            (f64::from(sample) * f64::from(u8::from(talks)) + 120.0 * noise()) as i16
        })
        .collect();
    let frames = theirs_encoded("encode-dtx", &said, "theirs-dtx");
    let theirs = theirs_decoded(&frames, "theirs-dtx-alone");
    let mut decoder = Decoder::new(AudioCodec::G729);
    let (mut described, mut resumed) = (Vec::new(), Vec::new());
    let mut since_silence = 100;
    for (frame, theirs) in frames.iter().zip(theirs.chunks_exact(FRAME)) {
        let mut samples = [0; MAX_SAMPLES];
        if frame.is_empty() {
            decoder.lose(FRAME);
            since_silence = 0;
            continue;
        }
        assert_eq!(decoder.decode(frame, &mut samples), Ok(FRAME));
        let power = |samples: &[i16]| -> f64 {
            samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / FRAME as f64
        };
        if frame.len() == 2 {
            described.push((power(&samples[..FRAME]), power(theirs)));
            since_silence = 0;
        } else {
            since_silence += 1;
            // The memories of both have to agree again after five frames.
            if (5..15).contains(&since_silence) && power(theirs) > 1e4 {
                let pairs = samples[..FRAME].iter().zip(theirs);
                let error: f64 = pairs
                    .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                    .sum();
                resumed.push(10.0 * (power(theirs) * FRAME as f64 / (error + 1.0)).log10());
            }
        }
    }
    let sum = described
        .iter()
        .fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
    let louder_db = 10.0 * (sum.0 / sum.1).log10();
    let resumed_db = resumed.iter().sum::<f64>() / resumed.len() as f64;
    println!(
        "G.729 B: {} descriptions, {louder_db:.1} dB louder than theirs; speech after silence {resumed_db:.1} dB beside theirs ({} frames)",
        described.len(),
        resumed.len()
    );
    assert!(described.len() > 10 && resumed.len() > 10);
    assert!(louder_db.abs() < 3.0);
    assert!(resumed_db > 10.0);
}

#[test]
#[ignore = "needs libbcg729: tests/peers/run codecs"]
fn a_caller_and_an_agent_on_libbcg729_talk_and_no_key_comes_through() {
    let keys = [
        (697.0, 1_209.0),
        (770.0, 1_477.0),
        (852.0, 1_336.0),
        (941.0, 1_633.0),
    ];
    let from = 5 * 8_000 + 77;
    let span = from - 400..from + 1_600;
    let calls = keys.map(|(row, column)| {
        let mut said = narrow_speech(9);
        said[from - 800..from + 2_000].fill(0);
        for (n, sample) in said[from..from + 800].iter_mut().enumerate() {
            let t = n as f64 / 8_000.0;
            *sample = (5_000.0 * ((TAU * row * t).sin() + (TAU * column * t).sin())) as i16;
        }
        let frames = theirs_encoded("encode", &said, "caller");
        let plain = theirs_decoded(&frames, "unmasked");
        let (left, keys_heard) = call::through_armed_call(&frames);
        let heard = theirs_decoded(&left, "agent");
        let voice_db = segmental_db(&said[16_000..38_000], &heard[16_000..]);
        println!("{row} + {column} Hz: heard {keys_heard} times; the voice has {voice_db:.1} dB");
        assert!(voice_db > 0.0);
        (plain, heard)
    });
    for (n, (row, column)) in keys.into_iter().enumerate() {
        for hz in [row, column] {
            let largest = |heard: &[i16]| call::largest(&heard[span.clone()], hz);
            let [unmasked, masked] = [&calls[n].0, &calls[n].1].map(|heard| largest(heard));
            // What the neutral sound has there by itself, in a call with another key.
            let other = largest(&calls[(n + 1) % 4].1);
            println!(
                "{hz} Hz: {unmasked:.0} unmasked, {masked:.0} masked, {other:.0} in another call"
            );
            assert!(unmasked > 3_000.0);
            assert!(masked < 200.0 && masked - other < 20.0);
        }
    }
}
