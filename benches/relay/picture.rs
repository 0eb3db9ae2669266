//! CPU a packet and delay over the number of calls, as SVG.

use std::fmt::Write;

use crate::{daemons::Kind, figures::Figures, ng::Ways, rows::Row, tables::Results};

const WIDTH: f64 = 1_040.0;
const HEIGHT: f64 = 480.0;
const PANEL: f64 = 330.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 410.0;
const LEFTS: [f64; 2] = [70.0, 480.0];

/// A curve.
struct Curve<'a> {
    name: &'a str,
    colour: &'a str,
    dash: &'a str,
    points: Vec<(usize, f64)>,
}

/// The whole file.
pub(crate) fn svg(results: &Results<'_>, kinds: &[Kind]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    let cpu = curves(results, kinds, |figures| Some(figures.cpu_us));
    let delay = curves(results, kinds, |figures| {
        // Of armed calls what is masked; a daemon that does not keep up has queues, not a delay.
        let delay = figures.masked.or(figures.relayed);
        delay.map(|delay| delay.p99 / 1_000.0)
    });
    panel(&mut svg, LEFTS[0], "CPU of a packet, microseconds", &cpu);
    panel(&mut svg, LEFTS[1], "added delay, p99, milliseconds", &delay);
    for (n, curve) in cpu.iter().enumerate() {
        let y = TOP + 18.0 * n as f64;
        let _ = writeln!(
            svg,
            "<path d=\"M826 {:.0}h26\" stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\"/>\n\
             <text x=\"858\" y=\"{:.0}\" fill=\"#333\">{}</text>",
            y,
            curve.colour,
            curve.dash,
            y + 4.0,
            curve.name
        );
    }
    svg + "</svg>\n"
}

fn curves<'a>(
    results: &Results<'_>,
    kinds: &'a [Kind],
    value: impl Fn(&Figures) -> Option<f64>,
) -> Vec<Curve<'a>> {
    // Share that is armed, ways, dashes.
    let rows = [
        (0, Ways::One, "none"),
        (100, Ways::One, "6 3"),
        (100, Ways::Both, "2 3"),
    ];
    let mut curves = Vec::new();
    for kind in kinds {
        let (colour, names) = match kind {
            Kind::Floor(_) => ("#7f8c8d", ["floor", "", ""]),
            Kind::Tonewall => (
                "#1e8449",
                [
                    "tonewall",
                    "tonewall, all armed",
                    "tonewall, blocked both ways",
                ],
            ),
            Kind::Beside(_) => (
                "#8e44ad",
                ["beside", "beside, all armed", "beside, blocked both ways"],
            ),
            Kind::Rtpengine => (
                "#c0392b",
                ["rtpengine", "rtpengine, one way", "rtpengine, both ways"],
            ),
            Kind::RtpengineOneThread => (
                "#e67e22",
                [
                    "rtpengine, 1 thread",
                    "1 thread, one way",
                    "1 thread, both ways",
                ],
            ),
        };
        for ((armed, ways, dash), name) in rows.into_iter().zip(names) {
            let point = |calls: usize| {
                let figures = results.of(Row::armed(calls, armed, ways), |other| other == kind)?;
                let shown = figures.void.is_none() && !figures.is_overloaded();
                shown.then(|| value(figures)).flatten().map(|y| (calls, y))
            };
            let points: Vec<_> = results.calls().into_iter().filter_map(point).collect();
            if !points.is_empty() {
                curves.push(Curve {
                    name,
                    colour,
                    dash,
                    points,
                });
            }
        }
    }
    curves
}

/// Both axes in logarithms.
fn panel(svg: &mut String, left: f64, title: &str, curves: &[Curve<'_>]) {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    };
    let calls = range(&mut points().map(|(calls, _)| *calls as f64));
    let values = range(&mut points().map(|(_, value)| *value));
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"40\" font-size=\"16\" font-weight=\"bold\" fill=\"#111\">{title}</text>\n\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#111\">calls</text>",
        left + PANEL / 2.0,
        BOTTOM + 44.0
    );
    if points().next().is_none() {
        return;
    }
    let (bottom, top) = (values.0 / 1.3, values.1 * 1.3);
    let x = |value: f64| {
        let span = (calls.1 / calls.0).ln().max(1e-9);
        left + 12.0 + (PANEL - 24.0) * (value / calls.0).ln() / span
    };
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value / bottom).ln() / (top / bottom).ln();
    for power in -3..5 {
        for step in [1.0, 2.0, 5.0] {
            let line = step * 10_f64.powi(power);
            if line < bottom || line > top {
                continue;
            }
            let _ = writeln!(
                svg,
                "<path d=\"M{left} {0:.1}h{PANEL}\" stroke=\"#ddd\"/>\n\
                 <text x=\"{1:.0}\" y=\"{2:.1}\" text-anchor=\"end\" fill=\"#555\">{line}</text>",
                y(line),
                left - 6.0,
                y(line) + 4.0
            );
        }
    }
    let mut known: Vec<usize> = points().map(|(calls, _)| *calls).collect();
    known.sort_unstable();
    known.dedup();
    for calls in known {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">{calls}</text>",
            x(calls as f64),
            BOTTOM + 20.0
        );
    }
    for curve in curves {
        let places: Vec<String> = curve
            .points
            .iter()
            .map(|(calls, value)| format!("{:.1},{:.1}", x(*calls as f64), y(*value)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\"/>",
            places.join(" "),
            curve.colour,
            curve.dash
        );
        for place in places {
            let (x, y) = place.split_once(',').unwrap_or_default();
            let _ = writeln!(
                svg,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{}\"/>",
                curve.colour
            );
        }
    }
}
