//! The report of one trunk as a picture.

use std::fmt::Write;

use super::report::{HistogramReport, ShadowReport};

const WIDTH: f64 = 980.0;
const HEIGHT: f64 = 700.0;
/// Left edges of the two columns, and their width.
const COLUMNS: [f64; 2] = [28.0, 510.0];
const COLUMN_WIDTH: f64 = 442.0;
/// Width of a bar's name.
const NAME: f64 = 122.0;
/// Between two rows of bars.
const ROW: f64 = 23.0;
/// Of the three histograms.
const PLOT_WIDTH: f64 = 282.0;
const PLOT_HEIGHT: f64 = 120.0;

const STYLE: &str = "\
.page{fill:#ffffff}.h{fill:#1d2430;font-weight:600}.t{fill:#1d2430}.s{fill:#57606f;font-size:12px}\
.big{fill:#1d2430;font-size:26px;font-weight:600}.bar{fill:#3f6fb5}.other{fill:#b8651b}\
.track{fill:#eceff3}.line{stroke:#c3cad4;fill:none}.limit{stroke:#b8651b;stroke-dasharray:4 3;fill:none}\
@media (prefers-color-scheme:dark){.page{fill:#12161d}.h,.t,.big{fill:#e8ecf2}.s{fill:#a9b3c1}\
.bar{fill:#6f9fe0}.other{fill:#e0964f}.track{fill:#232a36}.line{stroke:#3a4453}.limit{stroke:#e0964f}}";

pub(super) fn draw(report: &ShadowReport) -> String {
    let mut drawing = Drawing::new(report);
    drawing.head(report);
    if report.calls > 0 {
        drawing.figures(report);
        drawing.presses(report);
        drawing.masks(report);
        drawing.measures(report);
        drawing.packets(report);
    }
    drawing.finish()
}

struct Drawing {
    svg: String,
}

impl Drawing {
    fn new(report: &ShadowReport) -> Self {
        let title = format!("What would be heard on {}", report.trunk);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"title\" font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu \
             Sans', sans-serif\" font-size=\"14\">\n<title id=\"title\">{}</title>\n<style>{STYLE}</style>\n",
            escaped(&title)
        );
        svg += &format!("<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n");
        Self { svg }
    }

    fn finish(mut self) -> String {
        self.svg += "</svg>\n";
        self.svg
    }

    fn head(&mut self, report: &ShadowReport) {
        let [x, _] = COLUMNS;
        let title = format!("What would be heard on {}", report.trunk);
        self.text((x, 40.0), "h\" font-size=\"18", "start", &title);
        let told = match &report.until {
            Some(until) => format!(
                "shadow mode, {} to {}: everything runs, nothing is masked or captured",
                minute(&report.since),
                minute(until)
            ),
            None => format!(
                "nothing is told yet: a report begins with the first period of {} calls or more",
                report.least_calls
            ),
        };
        self.text((x, 62.0), "s", "start", &told);
    }

    /// The line of figures under the title.
    fn figures(&mut self, report: &ShadowReport) {
        let audio = &report.audio;
        let per_hour = audio.false_masks_per_hour.map_or_else(none, short);
        let figures = [
            (grouped(report.calls), "calls"),
            (short(audio.speech_hours), "hours of speech"),
            (grouped(report.presses.total), "keys pressed"),
            (
                audio.speech_masked_share.map_or_else(none, percent),
                "of speech masked",
            ),
            (per_hour, "false masks an hour"),
            (percent(report.packets.lost_share), "of packets lost"),
        ];
        let step = (WIDTH - 2.0 * COLUMNS[0]) / figures.len() as f64;
        for (n, (figure, name)) in figures.iter().enumerate() {
            let x = COLUMNS[0] + step * n as f64;
            self.text((x, 112.0), "big", "start", figure);
            self.text((x, 132.0), "s", "start", name);
        }
        self.rule(152.0);
    }

    fn presses(&mut self, report: &ShadowReport) {
        let presses = &report.presses;
        let (x, y) = (COLUMNS[0], 180.0);
        let heading = format!(
            "Keys, by what told them ({} of {} calls had any)",
            grouped(report.keyed_calls),
            grouped(report.calls)
        );
        self.text((x, y), "h", "start", &heading);
        let rows = [
            ("event", presses.by_event),
            ("tone", presses.by_tone),
            ("INFO", presses.by_info),
            ("two of them", presses.doubles),
        ];
        for (n, (name, count)) in rows.into_iter().enumerate() {
            let y = y + 26.0 + ROW * n as f64;
            let part = (count, presses.total);
            self.bar((x, y), name, part, &grouped(count), "bar");
        }
    }

    fn masks(&mut self, report: &ShadowReport) {
        let audio = &report.audio;
        let (x, y) = (COLUMNS[1], 180.0);
        self.text(
            (x, y),
            "h",
            "start",
            "What an armed call would have replaced",
        );
        let rows = [
            ("keys", &audio.keys, "bar"),
            ("losses", &audio.losses, "other"),
            ("false masks", &audio.false_masks, "other"),
        ];
        let most = rows
            .iter()
            .map(|(_, masked, _)| tenths(masked.seconds))
            .max();
        for (n, (name, masked, class)) in rows.iter().enumerate() {
            let y = y + 26.0 + ROW * n as f64;
            let told = format!("{} in {} s", grouped(masked.count), short(masked.seconds));
            let part = (tenths(masked.seconds), most.unwrap_or(0));
            self.bar((x, y), name, part, &told, class);
        }
        let y = y + 26.0 + ROW * rows.len() as f64;
        let per_hour = audio.tones_without_key_per_hour.map_or_else(none, short);
        let told = format!(
            "{} ({per_hour} an hour of speech): tones beyond doubt",
            grouped(audio.tones_without_key)
        );
        self.text((x, y), "t", "start", "tones, no key");
        self.text((x + NAME, y), "s", "start", &told);
    }

    fn measures(&mut self, report: &ShadowReport) {
        let measures = &report.measures;
        let y = 310.0;
        self.rule(y - 22.0);
        let heading = format!(
            "Tones: means of {} calls with {} tones or more",
            grouped(measures.calls),
            measures.least_tones
        );
        self.text((COLUMNS[0], y), "h", "start", &heading);
        let plots: [(&str, &HistogramReport, &[f64]); 3] = [
            ("level of both tones, dBm0", &measures.level_dbm0, &[]),
            (
                "twist, upper over lower, dB (Q.24: -8 to +4)",
                &measures.twist_db,
                &[-8.0, 4.0],
            ),
            ("signal to noise, dB", &measures.snr_db, &[]),
        ];
        let step = (WIDTH - 2.0 * COLUMNS[0] - PLOT_WIDTH) / 2.0;
        for (n, (name, histogram, limits)) in plots.into_iter().enumerate() {
            let x = COLUMNS[0] + step * n as f64;
            self.text((x, y + 24.0), "s", "start", name);
            self.histogram((x, y + 36.0), histogram, limits);
        }
    }

    fn histogram(&mut self, (x, y): (f64, f64), histogram: &HistogramReport, limits: &[f64]) {
        let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
        let width = PLOT_WIDTH / histogram.counts.len() as f64;
        let base = y + PLOT_HEIGHT;
        for (n, count) in histogram.counts.iter().enumerate() {
            let height = PLOT_HEIGHT * *count as f64 / most as f64;
            if *count > 0 {
                // What is there is seen, however little.
                let height = height.max(1.5);
                let x = x + width * n as f64;
                let _ = writeln!(
                    self.svg,
                    "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
                    x + 0.5,
                    base - height,
                    width - 1.0
                );
            }
        }
        let _ = writeln!(
            self.svg,
            "<path class=\"line\" d=\"M{x:.1} {base:.1}h{PLOT_WIDTH:.1}\"/>"
        );
        let place = |value: f64| {
            let buckets = (value - f64::from(histogram.first)) / f64::from(histogram.step) + 0.5;
            x + width * buckets
        };
        for limit in limits {
            let _ = writeln!(
                self.svg,
                "<path class=\"limit\" d=\"M{:.1} {y:.1}v{PLOT_HEIGHT:.1}\"/>",
                place(*limit)
            );
        }
        let labels = histogram.counts.len().div_ceil(6).max(1);
        for n in (0..histogram.counts.len()).step_by(labels) {
            let value = histogram.first + histogram.step * n as i32;
            self.text(
                (place(f64::from(value)), base + 16.0),
                "s",
                "middle",
                &value.to_string(),
            );
        }
        let mean = histogram
            .mean
            .map_or_else(none, |mean| format!("mean {mean:.1}"));
        self.text((x + PLOT_WIDTH, base + 34.0), "s", "end", &mean);
    }

    fn packets(&mut self, report: &ShadowReport) {
        let packets = &report.packets;
        let y = 550.0;
        self.rule(y - 22.0);
        let [x, right] = COLUMNS;
        self.text((x, y), "h", "start", "Packets, by what they carried");
        let mut carried: Vec<_> = packets.carried.iter().collect();
        carried.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        // The rest is in the JSON.
        for (n, (name, count)) in carried.into_iter().take(4).enumerate() {
            let y = y + 26.0 + ROW * n as f64;
            let class = if matches!(*name, "other" | "undeclared") {
                "other"
            } else {
                "bar"
            };
            self.bar(
                (x, y),
                name,
                (*count, packets.came),
                &grouped(*count),
                class,
            );
        }
        self.text((right, y), "h", "start", "The network");
        let sent = packets.came + packets.lost;
        let rows = [
            ("lost", packets.lost),
            ("late", packets.late),
            ("twice", packets.repeated),
            ("not listened to", packets.unheard),
        ];
        for (n, (name, count)) in rows.into_iter().enumerate() {
            let y = y + 26.0 + ROW * n as f64;
            let share = count as f64 / sent.max(1) as f64;
            let told = format!("{} ({})", grouped(count), percent(share));
            self.bar((right, y), name, (count, sent), &told, "other");
        }
    }

    /// A name, a bar that shows a part of a whole, and what to say of it.
    fn bar(&mut self, (x, y): (f64, f64), name: &str, part: (u64, u64), told: &str, class: &str) {
        const TOLD: f64 = 130.0;
        let room = COLUMN_WIDTH - NAME - TOLD;
        let share = part.0 as f64 / part.1.max(1) as f64;
        self.text((x, y), "t", "start", name);
        let (left, top) = (x + NAME, y - 11.0);
        let _ = writeln!(
            self.svg,
            "<rect class=\"track\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{room:.1}\" height=\"13\"/>\
             <rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"13\"/>",
            room * share.clamp(0.0, 1.0)
        );
        self.text((left + room + 10.0, y), "s", "start", told);
    }

    fn rule(&mut self, y: f64) {
        let _ = writeln!(
            self.svg,
            "<path class=\"line\" d=\"M{:.1} {y:.1}H{:.1}\"/>",
            COLUMNS[0],
            WIDTH - COLUMNS[0]
        );
    }

    fn text(&mut self, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
        let _ = writeln!(
            self.svg,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(text)
        );
    }
}

fn none() -> String {
    "-".to_owned()
}

/// Up to the minute, as people read it.
fn minute(timestamp: &str) -> String {
    let text = timestamp.get(..16).unwrap_or(timestamp);
    format!("{} UTC", text.replace('T', " "))
}

/// With spaces between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = if percent < 10.0 { 2 } else { 1 };
    format!("{percent:.decimals$} %")
}

fn short(number: f64) -> String {
    let decimals = match number {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}")
}

fn tenths(seconds: f64) -> u64 {
    (seconds * 10.0) as u64
}

/// For text and attributes of XML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            // Not characters of XML 1.0.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
