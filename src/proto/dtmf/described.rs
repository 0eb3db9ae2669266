//! Keys in tones that are told by their frequencies (RFC 4733 §4).

use super::{
    bank::{COLUMNS_HZ, ROWS_HZ},
    digit::CODES,
};

/// Furthest that a frequency may be from a key's, in thousandths: 1.5 % + 2 Hz and 1.8 % are taken
/// (AT&T and NTT in ITU-T Q.24), 3 % are not. At these frequencies 1.8 % is the wider of both.
const MOST_DETUNE: f64 = 0.018;
/// A telephone-event code that is no key's.
const NO_KEY: u8 = 255;

/// The telephone-event code of a tone of these two frequencies in Hz, the lower first; 255 of one
/// that is no key.
#[must_use]
pub fn code_of_tone(pair_hz: Option<(u16, u16)>) -> u8 {
    let nearest = |hz: u16, of: [f64; 4]| {
        of.iter()
            .position(|nominal| (f64::from(hz) - nominal).abs() <= MOST_DETUNE * nominal)
    };
    pair_hz
        .and_then(|(row, column)| Some((nearest(row, ROWS_HZ)?, nearest(column, COLUMNS_HZ)?)))
        .map_or(NO_KEY, |(row, column)| CODES[row][column])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_frequencies_of_a_key_are_that_key_within_what_receivers_must_take() {
        let mut codes = Vec::new();
        for row in ROWS_HZ {
            for column in COLUMNS_HZ {
                let code = code_of_tone(Some((row as u16, column as u16)));
                for off in [-0.015, 0.015] {
                    let hz =
                        |nominal: f64| (nominal * (1.0 + off) + off.signum() * 1.5).round() as u16;
                    assert_eq!(
                        code_of_tone(Some((hz(row), hz(column)))),
                        code,
                        "{row}, {column}"
                    );
                }
                for off in [-0.03, 0.03] {
                    let off_hz = |nominal: f64| (nominal * (1.0 + off)).round() as u16;
                    let rejected = [(off_hz(row), column as u16), (row as u16, off_hz(column))];
                    for pair in rejected {
                        assert_eq!(code_of_tone(Some(pair)), NO_KEY, "{pair:?}");
                    }
                }
                codes.push(code);
            }
        }
        assert_eq!(
            codes,
            [1, 2, 3, 12, 4, 5, 6, 13, 7, 8, 9, 14, 10, 0, 11, 15]
        );
        // Dial tone, two rows, and none.
        for pair in [Some((350, 440)), Some((697, 770)), Some((0, 0)), None] {
            assert_eq!(code_of_tone(pair), NO_KEY);
        }
    }
}
