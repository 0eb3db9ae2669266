//! The table, on the terminal and as Markdown, and the plot.

use std::{fmt::Write, fs, path::Path};

use crate::trials::Right;

/// What a row is held to.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// At least this share of the trials right.
    AtLeast(f64),
    /// Nothing; it is shown.
    Shown,
}

struct Row {
    name: String,
    goal: String,
    ours: String,
    spandsp: String,
    reached: Option<bool>,
}

/// What was measured.
#[derive(Default)]
pub(crate) struct Report {
    /// Few trials: chance (two deviations) is allowed for.
    quick: bool,
    sections: Vec<(String, Vec<Row>)>,
    /// Digits at the corners over SNR.
    pub(crate) corners: Vec<(f64, Right)>,
    /// Tones taken over their length.
    pub(crate) lengths: Vec<(f64, Right)>,
}

impl Report {
    /// Empty.
    pub(crate) fn new(quick: bool) -> Self {
        Self {
            quick,
            ..Self::default()
        }
    }

    /// Begins a section.
    pub(crate) fn section(&mut self, title: &str) {
        println!("\n{title}");
        println!(
            "{:<62} {:>20} {:>20} {:>20}",
            "", "goal", "tonewall", "spandsp"
        );
        self.sections.push((title.into(), Vec::new()));
    }

    /// A row of trials.
    pub(crate) fn row(&mut self, name: &str, goal: Goal, right: Right) {
        let (goal, reached) = match goal {
            Goal::AtLeast(share) => {
                let expected = (1.0 - share) * right.trials as f64;
                let chance = if self.quick {
                    2.0 * expected.sqrt()
                } else {
                    0.0
                };
                let allowed = (expected + chance).round() as usize;
                let text = format!(">= {} %", trimmed(share * 100.0));
                (text, Some(right.trials - right.ours <= allowed))
            }
            Goal::Shown => (String::new(), None),
        };
        let ours = shown(right.ours, right.trials);
        let theirs = right.spandsp.map(|count| shown(count, right.trials));
        self.value(name, &goal, reached, [Some(ours), theirs]);
    }

    /// A row of its own measure.
    pub(crate) fn value(
        &mut self,
        name: &str,
        goal: &str,
        reached: Option<bool>,
        [ours, spandsp]: [Option<String>; 2],
    ) {
        let row = Row {
            name: name.into(),
            goal: goal.into(),
            ours: ours.unwrap_or_else(|| "-".into()),
            spandsp: spandsp.unwrap_or_else(|| "-".into()),
            reached,
        };
        println!(
            "{:<62} {:>20} {:>20} {:>20}  {}",
            row.name,
            row.goal,
            row.ours,
            row.spandsp,
            verdict(reached)
        );
        if let Some((_, rows)) = self.sections.last_mut() {
            rows.push(row);
        }
    }

    /// Names of the rows that missed their goals.
    pub(crate) fn missed(&self) -> Vec<&str> {
        let rows = self.sections.iter().flat_map(|(_, rows)| rows);
        rows.filter(|row| row.reached == Some(false))
            .map(|row| row.name.as_str())
            .collect()
    }

    /// Writes `decoder.md` and `decoder.svg` into `folder`.
    pub(crate) fn write(&self, folder: &Path, how: &str) -> std::io::Result<()> {
        let mut text = format!(
            "# Digits: Mitel CM7291 side 1 and the corners of Q.24\n\n{how}\n\n![](decoder.svg)\n"
        );
        for (title, rows) in &self.sections {
            let _ = write!(
                text,
                "\n## {title}\n\n| | goal | tonewall | spandsp | |\n|---|---|---|---|---|\n"
            );
            for row in rows {
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} |",
                    row.name,
                    row.goal,
                    row.ours,
                    row.spandsp,
                    verdict(row.reached)
                );
            }
        }
        fs::create_dir_all(folder)?;
        fs::write(folder.join("decoder.md"), text)?;
        fs::write(folder.join("decoder.svg"), self.svg())
    }

    fn svg(&self) -> String {
        let mut svg = String::from(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"960\" height=\"360\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"960\" height=\"360\" fill=\"white\"/>\n",
        );
        panel(
            &mut svg,
            0.0,
            "Digits of 40 ms at the corners of Q.24, right",
            "SNR, dB",
            &self.corners,
            2,
        );
        panel(
            &mut svg,
            480.0,
            "Tones taken for a digit, SNR 25 dB",
            "length, ms",
            &self.lengths,
            5,
        );
        svg.push_str("</svg>\n");
        svg
    }
}

fn shown(right: usize, trials: usize) -> String {
    let share = 100.0 * right as f64 / trials as f64;
    match trials - right {
        0 => format!("all of {trials}"),
        wrong if share > 99.0 => format!("{} % ({wrong} wrong)", trimmed(share)),
        _ => format!("{share:.1} %"),
    }
}

/// Three decimals at most, none that are zero; never rounded up to a hundred.
fn trimmed(percent: f64) -> String {
    let text = format!("{:.3}", (percent * 1000.0).floor() / 1000.0 + 1e-9);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn verdict(reached: Option<bool>) -> &'static str {
    match reached {
        Some(true) => "ok",
        Some(false) => "MISSED",
        None => "",
    }
}

const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const WIDTH: f64 = 390.0;
const HEIGHT: f64 = 260.0;

/// One plot: per cent of two receivers over `points`.
fn panel(
    svg: &mut String,
    shift: f64,
    title: &str,
    unit: &str,
    points: &[(f64, Right)],
    every: usize,
) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return;
    };
    let x = |at: f64| shift + LEFT + WIDTH * (at - first.0) / (last.0 - first.0);
    let y = |share: f64| TOP + HEIGHT * (1.0 - share);
    let text = |svg: &mut String, x: f64, y: f64, anchor: &str, text: &str| {
        let _ = writeln!(
            svg,
            "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    };
    text(svg, shift + LEFT + WIDTH / 2.0, 24.0, "middle", title);
    text(
        svg,
        shift + LEFT + WIDTH / 2.0,
        TOP + HEIGHT + 36.0,
        "middle",
        unit,
    );
    for percent in (0..=100).step_by(25) {
        let at = y(f64::from(percent) / 100.0);
        let (from, to) = (shift + LEFT, shift + LEFT + WIDTH);
        let _ = writeln!(
            svg,
            "<path d=\"M{from:.0} {at:.0}H{to:.0}\" stroke=\"#ddd\"/>"
        );
        text(svg, from - 6.0, at + 4.0, "end", &format!("{percent} %"));
    }
    for (at, _) in points.iter().step_by(every) {
        text(svg, x(*at), TOP + HEIGHT + 18.0, "middle", &format!("{at}"));
    }
    for (n, (name, colour)) in [("tonewall", "#0b6"), ("spandsp", "#c40")]
        .into_iter()
        .enumerate()
    {
        let line: Vec<String> = points
            .iter()
            .filter_map(|(at, right)| {
                let count = [Some(right.ours), right.spandsp][n]?;
                let share = count as f64 / right.trials as f64;
                Some(format!("{:.1},{:.1}", x(*at), y(share)))
            })
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        let at = TOP + HEIGHT - 30.0 + 18.0 * n as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{at:.0}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>",
            shift + LEFT + WIDTH - 8.0
        );
    }
}
