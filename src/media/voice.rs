//! The voice that reads codes out: one that is built in, or recordings of the operator's own.

use std::{array, fs::File, io::BufReader, path::Path};

use crate::proto::{call::Voice, codec::Law};

/// What `fixtures/make.sh` made; mu-law, 8 kHz, without a header.
const DIGITS: [&[u8]; 10] = [
    include_bytes!("../../fixtures/voice/0.ulaw"),
    include_bytes!("../../fixtures/voice/1.ulaw"),
    include_bytes!("../../fixtures/voice/2.ulaw"),
    include_bytes!("../../fixtures/voice/3.ulaw"),
    include_bytes!("../../fixtures/voice/4.ulaw"),
    include_bytes!("../../fixtures/voice/5.ulaw"),
    include_bytes!("../../fixtures/voice/6.ulaw"),
    include_bytes!("../../fixtures/voice/7.ulaw"),
    include_bytes!("../../fixtures/voice/8.ulaw"),
    include_bytes!("../../fixtures/voice/9.ulaw"),
];
/// Longest digit, in samples of 8 kHz: 2 s.
const LONGEST: u32 = 16_000;

/// English.
#[must_use]
pub fn built_in() -> Voice {
    Voice::new(DIGITS.map(|digit| digit.iter().map(|byte| Law::Mu.decode(*byte)).collect()))
}

/// Reads `0.wav` to `9.wav` of a folder: 8000 Hz, one channel, 16-bit PCM, 2 s at most.
///
/// # Errors
/// Which file, what was found in it and what was expected.
pub fn read(folder: &Path) -> Result<Voice, String> {
    let mut digits = array::from_fn(|_| Box::default());
    for (number, place) in digits.iter_mut().enumerate() {
        let path = folder.join(format!("{number}.wav"));
        *place = digit(&path).map_err(|problem| format!("{}: {problem}", path.display()))?;
    }
    Ok(Voice::new(digits))
}

fn digit(path: &Path) -> Result<Box<[i16]>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let reader = hound::WavReader::new(BufReader::new(file))
        .map_err(|error| format!("{error}; expected a WAV file of 16-bit PCM"))?;
    let hound::WavSpec {
        channels,
        sample_rate,
        bits_per_sample,
        sample_format,
    } = reader.spec();
    if (channels, sample_rate, bits_per_sample) != (1, 8_000, 16)
        || sample_format != hound::SampleFormat::Int
    {
        return Err(format!(
            "found {channels} channels of {bits_per_sample} bits at {sample_rate} Hz; expected 1 of 16 bits (integers) at 8000 Hz"
        ));
    }
    let length = reader.duration();
    if !(1..=LONGEST).contains(&length) {
        return Err(format!(
            "found {length} samples; expected 1 to {LONGEST} (2 s)"
        ));
    }
    let samples: Result<_, _> = reader.into_samples().collect();
    samples.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, sample_rate: u32, samples: u32) {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        for _ in 0..samples {
            writer.write_sample(1_000_i16).unwrap();
        }
        writer.finalize().unwrap();
    }

    #[test]
    fn a_voice_is_ten_files_and_what_is_wrong_with_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = |number: u8| folder.path().join(format!("{number}.wav"));
        for number in 0..10 {
            write(&file(number), 8_000, 800);
        }
        assert!(read(folder.path()).is_ok());
        let problem = || read(folder.path()).err().unwrap();
        write(&file(7), 16_000, 800);
        assert!(problem().contains("7.wav: found 1 channels of 16 bits at 16000 Hz"));
        write(&file(7), 8_000, LONGEST + 1);
        assert!(problem().contains("found 16001 samples"));
        std::fs::write(file(7), b"RIFF").unwrap();
        assert!(problem().contains("expected a WAV file"));
        std::fs::remove_file(file(7)).unwrap();
        assert!(problem().contains("7.wav"));
    }
}
