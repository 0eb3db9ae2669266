//! WAV files and mu-law, as far as the demo needs them: 8000 Hz, one channel.
//!
//! Written apart from `proto::codec` on purpose: what examines the gateway shares no code with it.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// Samples per second of everything here.
pub(crate) const RATE: u32 = 8000;

/// Reads mu-law (format 7) or 16-bit PCM (format 1), 8000 Hz, one channel.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<i16>> {
    if bytes.len() < 12 || &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
        bail!("found no RIFF/WAVE header; expected a WAV file");
    }
    let mut rest = &bytes[12..];
    let mut format = None;
    while let [a, b, c, d, l0, l1, l2, l3, body @ ..] = rest {
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let body_here = body.get(..length).unwrap_or(body);
        match &[*a, *b, *c, *d] {
            b"fmt " => {
                let Some(fields) = body_here.first_chunk::<16>() else {
                    bail!("found a format of {} bytes; expected 16", body_here.len());
                };
                let rate = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
                if fields[2] != 1 || rate != RATE {
                    bail!(
                        "found {} channels at {rate} Hz; expected 1 at {RATE}",
                        fields[2]
                    );
                }
                format = Some((fields[0], fields[14]));
            }
            b"data" => {
                return match format {
                    Some((7, 8)) => Ok(body_here.iter().map(|code| mu_law_decode(*code)).collect()),
                    Some((1, 16)) => Ok(body_here
                        .chunks_exact(2)
                        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
                        .collect()),
                    other => bail!("found format {other:?}; expected 7 (mu-law) or 1 (PCM)"),
                };
            }
            _ => {}
        }
        rest = body.get(length + length % 2..).unwrap_or_default();
    }
    bail!("found no samples; expected a data chunk")
}

/// Writes 16-bit PCM, which every player takes.
pub(crate) fn write(path: &Path, samples: &[i16]) -> Result<()> {
    let data_bytes = u32::try_from(samples.len() * 2).context("a recording of over 2 GiB")?;
    let mut file = Vec::with_capacity(44 + samples.len() * 2);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + data_bytes).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16u32.to_le_bytes());
    file.extend_from_slice(&1u16.to_le_bytes());
    file.extend_from_slice(&1u16.to_le_bytes());
    file.extend_from_slice(&RATE.to_le_bytes());
    file.extend_from_slice(&(RATE * 2).to_le_bytes());
    file.extend_from_slice(&2u16.to_le_bytes());
    file.extend_from_slice(&16u16.to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&data_bytes.to_le_bytes());
    for sample in samples {
        file.extend_from_slice(&sample.to_le_bytes());
    }
    fs::write(path, file).with_context(|| format!("cannot write {}", path.display()))
}

/// One mu-law code as 16-bit PCM (ITU-T G.711).
pub(crate) fn mu_law_decode(code: u8) -> i16 {
    let code = !code;
    let exponent = (code >> 4) & 7;
    let magnitude = ((i16::from(code & 15) << 3) + 0x84) << exponent;
    if code & 0x80 == 0 {
        magnitude - 0x84
    } else {
        0x84 - magnitude
    }
}

/// 16-bit PCM as one mu-law code (ITU-T G.711).
pub(crate) fn mu_law_encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = sample.unsigned_abs().min(32_635) + 0x84;
    let exponent = magnitude.ilog2().saturating_sub(7);
    let mantissa = (magnitude >> (exponent + 3)) & 15;
    let code = sign | u8::try_from(exponent << 4).unwrap_or(0x70) | (mantissa as u8);
    !code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mu_law_code_but_minus_zero_survives_decoding_and_encoding() {
        for code in (0..=255u8).filter(|code| *code != 0x7f) {
            assert_eq!(mu_law_encode(mu_law_decode(code)), code, "{code:#x}");
        }
        assert_eq!((mu_law_decode(0), mu_law_decode(0x80)), (-32_124, 32_124));
    }

    #[test]
    fn a_written_file_reads_back_sample_for_sample() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let samples: Vec<i16> = (-500..500).map(|n| n * 60).collect();
        write(&path, &samples).unwrap();
        assert_eq!(read(&fs::read(path).unwrap()).unwrap(), samples);
    }

    #[test]
    fn a_broken_file_is_an_error_and_never_a_panic() {
        let whole = include_bytes!("../../fixtures/speech/agent-bye.wav");
        assert!(read(whole).unwrap().len() > 4000);
        for length in 0..60 {
            let _ = read(&whole[..length]);
        }
        assert!(read(b"RIFF____WAVEdata\x04\0\0\0abcd").is_err());
        assert!(read(b"not a wav file at all").is_err());
    }
}
