//! What every signal is made of: the keypad, levels, laws and voices, at 8 kHz.

use std::{fs, path::Path};

use tonewall::proto::codec::Law;

/// Samples of a millisecond.
pub(crate) const MS: usize = 8;
/// Samples per second.
pub(crate) const RATE_HZ: f64 = 8_000.0;
/// Rows of the keypad (ITU-T Q.23), Hz.
pub(crate) const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
/// Its columns, the letters' last.
pub(crate) const COLUMNS_HZ: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

/// Mean square of a level in dBm0.
pub(crate) fn power_of(dbm0: f64) -> f64 {
    (Law::Mu.peak_of_0_dbm0().powi(2) / 2.0) * 10_f64.powf(dbm0 / 10.0)
}

/// As a telephone encodes it.
pub(crate) fn encode(law: Law, samples: &[f64]) -> Vec<u8> {
    let linear = |sample: &f64| sample.round().clamp(-32_768.0, 32_767.0) as i16;
    let codes = samples.iter().map(|sample| law.encode(linear(sample)));
    codes.collect()
}

/// Through a law and back.
pub(crate) fn through(law: Law, samples: &[f64]) -> Vec<i16> {
    let codes = encode(law, samples);
    codes.into_iter().map(|code| law.decode(code)).collect()
}

/// The sentences of `fixtures/speech` whose file names begin so, one after another, in mu-law.
pub(crate) fn speech(beginning: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/speech");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("fixtures/speech is there")
        .map(|entry| entry.expect("a folder entry").file_name())
        .filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with(beginning) && name.ends_with(".wav")
        })
        .collect();
    names.sort();
    let mut codes = Vec::new();
    for name in names {
        let bytes = fs::read(folder.join(name)).expect("a fixture can be read");
        let data = bytes.windows(4).position(|chunk| chunk == b"data");
        codes.extend(&bytes[data.expect("a WAV file has a data chunk") + 8..]);
    }
    codes
}
