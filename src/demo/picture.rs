//! The picture: what the caller sent above what the agent got, as spectrograms.

use std::{f64::consts::TAU, path::Path};

use anyhow::Result;

use super::{
    canvas::{Canvas, Face, LETTER_WIDTH, Rgb},
    keypad::{COLUMNS_HZ, ROWS_HZ},
    wav::RATE,
};

const WIDTH: usize = 1720;
const LEFT: usize = 92;
const RIGHT: usize = 132;
const PLOT_WIDTH: usize = WIDTH - LEFT - RIGHT;
const PLOT_HEIGHT: usize = 196;
/// Between the two legs of a section: room for the strip that shows when masking was in place.
const GAP: usize = 40;
const SECTION_HEIGHT: usize = 56 + 2 * PLOT_HEIGHT + GAP + 44;
const HEAD_HEIGHT: usize = 84;
const TOP_HZ: f64 = 2000.0;
/// Samples a column looks at: 32 ms, short enough to part two keys.
const WINDOW: usize = 256;
/// Faintest and loudest that the colours tell apart, dB below full scale.
const DB: (f64, f64) = (-82.0, -22.0);

const GROUND: Rgb = [16, 18, 27];
const INK: Rgb = [232, 234, 240];
const FAINT: Rgb = [142, 149, 168];
const AMBER: Rgb = [255, 190, 92];
const TEAL: Rgb = [94, 214, 192];

/// What is drawn. Times are seconds since the caller's first packet.
pub(crate) struct Picture<'a> {
    /// What the caller sent, events rendered as tones.
    pub(crate) caller: &'a [i16],
    /// What the agent got.
    pub(crate) agent: &'a [i16],
    /// When the agent's recording begins.
    pub(crate) agent_starts: f64,
    /// When each key went down and came up.
    pub(crate) keys: &'a [(f64, f64)],
    /// When masking was in place.
    pub(crate) armed: Option<(f64, f64)>,
    /// What to show from nearby.
    pub(crate) closer: (f64, f64),
    /// One line under the title.
    pub(crate) subtitle: &'a str,
    /// What the agent's side found.
    pub(crate) finding: &'a str,
}

impl Picture<'_> {
    /// Draws it to a PNG file.
    pub(crate) fn draw(&self, path: &Path) -> Result<()> {
        let height = HEAD_HEIGHT + 2 * SECTION_HEIGHT + 16;
        let mut canvas = Canvas::new(WIDTH, height, GROUND);
        canvas.text(
            LEFT,
            24,
            "tonewall: one call, seen from both ends",
            Face::Bold,
            INK,
        );
        canvas.text(LEFT, 48, self.subtitle, Face::Regular, FAINT);

        let length = self.caller.len() as f64 / f64::from(RATE);
        let whole = (0.0, length.max(1.0));
        self.section(&mut canvas, HEAD_HEIGHT, "The whole call", whole);
        self.section(
            &mut canvas,
            HEAD_HEIGHT + SECTION_HEIGHT,
            "From nearby: the card number",
            self.closer,
        );
        canvas.save(path)
    }

    fn section(&self, canvas: &mut Canvas, y: usize, title: &str, span: (f64, f64)) {
        let axis = Axis::new(span);
        let caller_y = y + 56;
        let agent_y = caller_y + PLOT_HEIGHT + GAP;

        canvas.text(LEFT, y, title, Face::Bold, INK);
        canvas.text(LEFT, y + 32, "what the caller sent", Face::Regular, AMBER);
        spectrogram(canvas, caller_y, self.caller, 0.0, &axis);
        spectrogram(canvas, agent_y, self.agent, self.agent_starts, &axis);

        // When masking was in place: a strip between the legs.
        let label_y = agent_y - 22;
        canvas.text(LEFT, label_y, "what the agent got", Face::Regular, TEAL);
        let finding_x = LEFT + PLOT_WIDTH - self.finding.len() * LETTER_WIDTH;
        canvas.text(finding_x, label_y, self.finding, Face::Regular, TEAL);
        if let Some((from, to)) = self.armed {
            let (from, to) = (axis.x(from), axis.x(to));
            canvas.fill(
                from,
                agent_y - 32,
                (to.saturating_sub(from).max(1), 4),
                TEAL,
                1.0,
            );
            let words = "masking in place";
            let room = to.saturating_sub(from) > (words.len() + 4) * LETTER_WIDTH;
            if room {
                let x = from + (to - from - words.len() * LETTER_WIDTH) / 2;
                let width = (words.len() + 2) * LETTER_WIDTH;
                canvas.fill(x - LETTER_WIDTH, agent_y - 38, (width, 16), GROUND, 1.0);
                canvas.text(x, agent_y - 38, words, Face::Regular, TEAL);
            }
        }
        // Keys: a mark above the caller's leg, a bracket on the agent's.
        for (from, to) in self.keys.iter().copied().filter(|key| axis.shows(*key)) {
            let (from, to) = (axis.x(from), axis.x(to));
            let width = (to - from).max(2);
            canvas.fill(from, caller_y - 7, (width, 4), AMBER, 1.0);
            canvas.fill(from, agent_y + PLOT_HEIGHT + 3, (width, 4), TEAL, 0.8);
            if width > 12 {
                canvas.outline(from, agent_y, (width, PLOT_HEIGHT), TEAL, 0.45);
            }
        }
        axis.draw(canvas, agent_y + PLOT_HEIGHT + 12);
    }
}

/// The time axis of a section.
struct Axis {
    from: f64,
    seconds_per_pixel: f64,
}

impl Axis {
    fn new(span: (f64, f64)) -> Self {
        Self {
            from: span.0,
            seconds_per_pixel: (span.1 - span.0).max(0.1) / PLOT_WIDTH as f64,
        }
    }

    fn to(&self) -> f64 {
        self.from + self.seconds_per_pixel * PLOT_WIDTH as f64
    }

    fn shows(&self, span: (f64, f64)) -> bool {
        span.0 < self.to() && span.1 > self.from
    }

    /// The column of a time, at the edge when it is outside.
    fn x(&self, seconds: f64) -> usize {
        let x = ((seconds - self.from) / self.seconds_per_pixel).round();
        LEFT + x.clamp(0.0, PLOT_WIDTH as f64) as usize
    }

    fn draw(&self, canvas: &mut Canvas, y: usize) {
        let length = self.to() - self.from;
        let step = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0]
            .into_iter()
            .find(|step| length / step <= 16.0)
            .unwrap_or(300.0);
        let mut at = (self.from / step).ceil() * step;
        while at <= self.to() {
            let x = self.x(at);
            canvas.fill(x, y - 10, (1, 6), FAINT, 1.0);
            let label = if step < 1.0 {
                format!("{at:.1} s")
            } else {
                format!("{at:.0} s")
            };
            let x = (x - label.len() * LETTER_WIDTH / 2).min(WIDTH - label.len() * LETTER_WIDTH);
            canvas.text(x, y, &label, Face::Regular, FAINT);
            at += step;
        }
    }
}

fn spectrogram(canvas: &mut Canvas, y: usize, samples: &[i16], starts: f64, axis: &Axis) {
    canvas.fill(LEFT, y, (PLOT_WIDTH, PLOT_HEIGHT), [0, 0, 4], 1.0);
    let shape: Vec<f64> = (0..WINDOW)
        .map(|n| 0.5 - 0.5 * (TAU * n as f64 / WINDOW as f64).cos())
        .collect();
    let hz_of = |row: usize| TOP_HZ * (PLOT_HEIGHT - row) as f64 / PLOT_HEIGHT as f64;
    let mut window = [0.0; WINDOW];
    for column in 0..PLOT_WIDTH {
        let seconds = axis.from + (column as f64 + 0.5) * axis.seconds_per_pixel - starts;
        let centre = (seconds * f64::from(RATE)).round() as i64;
        let mut heard = false;
        for (n, slot) in window.iter_mut().enumerate() {
            let at = centre - (WINDOW / 2) as i64 + n as i64;
            let sample = usize::try_from(at).ok().and_then(|at| samples.get(at));
            heard |= sample.is_some();
            *slot = sample.map_or(0.0, |s| f64::from(*s)) * shape[n];
        }
        if !heard {
            continue;
        }
        for row in 0..PLOT_HEIGHT {
            let power = power_at(&window, hz_of(row));
            let db = 10.0 * (power + 1e-3).log10() - 20.0 * 32_768f64.log10();
            let share = ((db - DB.0) / (DB.1 - DB.0)).clamp(0.0, 1.0);
            canvas.dot(LEFT + column, y + row, colour_of(share), 1.0);
        }
    }
    let row_of = |hz: f64| y + ((1.0 - hz / TOP_HZ) * PLOT_HEIGHT as f64).round() as usize;
    for khz in [0.0, 0.5, 1.0, 1.5, 2.0] {
        let row = row_of(khz * 1000.0);
        canvas.fill(LEFT - 6, row, (5, 1), FAINT, 1.0);
        let label = format!("{khz:.1} kHz");
        canvas.text(
            LEFT - 10 - label.len() * LETTER_WIDTH,
            row - 7,
            &label,
            Face::Regular,
            FAINT,
        );
    }
    // The eight frequencies of the pad, dotted across and named at the right.
    for (n, hz) in ROWS_HZ.into_iter().chain(COLUMNS_HZ).enumerate() {
        let row = row_of(hz);
        for x in (LEFT..LEFT + PLOT_WIDTH).step_by(6) {
            canvas.fill(x, row, (2, 1), INK, 0.22);
        }
        canvas.fill(LEFT + PLOT_WIDTH + 2, row, (5, 1), FAINT, 1.0);
        // The rows are closer together than letters are high: two columns of names.
        let x = LEFT + PLOT_WIDTH + 10 + if n % 2 == 0 { 0 } else { 6 * LETTER_WIDTH };
        canvas.text(x, row - 7, &format!("{hz:.0}"), Face::Regular, FAINT);
    }
    canvas.outline(
        LEFT - 1,
        y - 1,
        (PLOT_WIDTH + 2, PLOT_HEIGHT + 2),
        FAINT,
        0.5,
    );
}

/// Mean power of the sine at `hz` under a Hann window.
fn power_at(window: &[f64; WINDOW], hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hz / f64::from(RATE)).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for sample in window {
        let next = sample + coefficient * one - two;
        (two, one) = (one, next);
    }
    let energy = one * one + two * two - coefficient * one * two;
    // A Hann window passes half of a sine's amplitude.
    8.0 * energy.max(0.0) / (WINDOW as f64).powi(2)
}

/// Black, violet, red, orange, pale yellow.
fn colour_of(share: f64) -> Rgb {
    const STOPS: [[f64; 3]; 7] = [
        [0.0, 0.0, 4.0],
        [31.0, 12.0, 72.0],
        [85.0, 15.0, 109.0],
        [158.0, 42.0, 99.0],
        [220.0, 81.0, 57.0],
        [249.0, 150.0, 37.0],
        [252.0, 245.0, 170.0],
    ];
    let at = share * (STOPS.len() - 1) as f64;
    let below = (at as usize).min(STOPS.len() - 2);
    let part = at - below as f64;
    [0, 1, 2].map(|c| (STOPS[below][c] * (1.0 - part) + STOPS[below + 1][c] * part) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{keypad, keypad::Code, script};

    /// Set TONEWALL_PICTURE to a path to look at it.
    #[test]
    fn a_picture_shows_tones_on_one_leg_only_and_is_a_readable_png() {
        let mut caller = script::samples("caller-ready").unwrap();
        let mut agent = caller.clone();
        let mut keys = Vec::new();
        for n in 0..16u8 {
            let from = caller.len() as f64 / 8000.0;
            caller.extend(keypad::tone(Code(n % 10), 720, -10.0));
            agent.extend((0..720).map(|t| ((f64::from(t) * 0.3).sin() * 300.0) as i16));
            keys.push((from, from + 0.09));
            caller.extend([0; 1280]);
            agent.extend([0; 1280]);
        }
        caller.extend(script::samples("caller-done").unwrap());
        agent.extend(script::samples("caller-done").unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = std::env::var_os("TONEWALL_PICTURE")
            .map_or(folder.path().join("call.png"), std::path::PathBuf::from);

        Picture {
            caller: &caller,
            agent: &agent,
            agent_starts: 0.012,
            keys: &keys,
            armed: Some((1.9, 6.2)),
            closer: (keys[0].0 - 0.5, keys[15].1 + 0.4),
            subtitle: "16 keys: 8 as tones, 4 as events, 4 as both",
            finding: "keys recovered: 0",
        }
        .draw(&path)
        .unwrap();

        let decoder =
            png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.width as usize, WIDTH);
    }
}
