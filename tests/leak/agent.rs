//! What an agent, or a recorder behind one, could read from the packets: keys from events and from
//! tones. Shares no code with the gateway's detectors.

use std::f64::consts::TAU;

use tonewall::proto::{codec::Law, rtp::RtpHeader};

const KEYS: &str = "0123456789*#";
const PAD: &str = "123456789*0#";
const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS_HZ: [f64; 3] = [1209.0, 1336.0, 1477.0];
/// 20 ms: a quarter of a key.
const WINDOW: usize = 160;
/// Of the power in a window, what both tones of a key must make up.
const SHARE: f64 = 0.7;
/// Mean power above which it is looked at: far below any key, above the noise of these callers.
const LEAST_POWER: f64 = 200.0 * 200.0;

/// Keys by the timestamp at which they begin.
pub(crate) fn keys(packets: &[Vec<u8>]) -> String {
    let mut keys: Vec<(u32, char)> = Vec::new();
    let mut audio: Vec<(u32, Vec<f64>)> = Vec::new();
    for packet in packets {
        let header = RtpHeader::parse(packet).expect("RTP");
        let payload = &packet[header.payload.clone()];
        if header.payload_type == 0 {
            let samples = payload
                .iter()
                .map(|code| f64::from(Law::Mu.decode(*code)))
                .collect();
            audio.push((header.timestamp, samples));
        } else {
            // Anything but audio is read as an event, whatever it is said to be.
            let key = KEYS.chars().nth(usize::from(payload[0])).unwrap_or('?');
            keys.push((header.timestamp, key));
        }
    }
    keys.dedup();
    keys.extend(tones(&audio));
    keys.sort_unstable();
    keys.into_iter().map(|(_, key)| key).collect()
}

fn tones(audio: &[(u32, Vec<f64>)]) -> Vec<(u32, char)> {
    let mut found: Vec<(u32, char)> = Vec::new();
    let mut last = None;
    for (at, samples) in audio {
        for window in samples.chunks_exact(WINDOW) {
            let key = tone(window);
            if key.is_some() && key != last {
                found.extend(key.map(|key| (*at, key)));
            }
            last = key;
        }
    }
    found
}

fn tone(window: &[f64]) -> Option<char> {
    let power = window.iter().map(|s| s * s).sum::<f64>() / window.len() as f64;
    let rows = ROWS_HZ.map(|hz| power_at(window, hz));
    let columns = COLUMNS_HZ.map(|hz| power_at(window, hz));
    let strongest =
        |powers: &[f64]| (0..powers.len()).max_by(|a, b| powers[*a].total_cmp(&powers[*b]));
    let (row, column) = (strongest(&rows)?, strongest(&columns)?);
    let is_key = power > LEAST_POWER && rows[row] + columns[column] > SHARE * power;
    let balanced = rows[row] < 30.0 * columns[column] && columns[column] < 30.0 * rows[row];
    (is_key && balanced)
        .then(|| PAD.chars().nth(3 * row + column))
        .flatten()
}

fn power_at(window: &[f64], hz: f64) -> f64 {
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (n, sample) in window.iter().enumerate() {
        let angle = TAU * hz * n as f64 / 8_000.0;
        sine += sample * angle.sin();
        cosine += sample * angle.cos();
    }
    2.0 * (sine * sine + cosine * cosine) / (window.len() * window.len()) as f64
}
