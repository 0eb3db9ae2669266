//! The codecs against ffmpeg's: each decodes what the other encoded. `tests/peers/run codecs`
//! installs ffmpeg and runs it.

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
