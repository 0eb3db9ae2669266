//! Bars as SVG.

use std::fmt::Write;

const WIDTH: f64 = 900.0;
const TOP: f64 = 80.0;
const LEFT: f64 = 270.0;
const STEP: f64 = 26.0;
const LONGEST: f64 = 540.0;

/// A bar for each value, and a line at the goal.
pub(crate) fn bars(title: &str, subtitle: &str, values: &[(String, f64)], goal: f64) -> String {
    let height = TOP + STEP * values.len() as f64 + 40.0;
    let top = values
        .iter()
        .fold(goal, |most, (_, value)| most.max(*value))
        * 1.1;
    let x = |value: f64| LEFT + LONGEST * value / top;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"28\" font-size=\"17\" font-weight=\"bold\" fill=\"#111\">{title}</text>\n\
         <text x=\"20\" y=\"50\" fill=\"#555\">{subtitle}</text>\n"
    );
    for (n, (name, value)) in values.iter().enumerate() {
        let y = TOP + STEP * n as f64;
        let colour = if *value > goal { "#c0392b" } else { "#2471a3" };
        let (base, end) = (y + 14.0, x(*value));
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\" fill=\"#111\">{name}</text>\n\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"18\" fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{base:.1}\" fill=\"#555\">{value:.2}</text>",
            LEFT - 10.0,
            end - LEFT,
            end + 6.0
        );
    }
    let (goal_x, bottom) = (x(goal), TOP + STEP * values.len() as f64);
    let _ = writeln!(
        svg,
        "<path d=\"M{goal_x:.1} {:.1}V{bottom:.1}\" stroke=\"#888\" stroke-dasharray=\"5 4\"/>\n\
         <text x=\"{goal_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">goal {goal}</text>\n</svg>",
        TOP - 8.0,
        bottom + 18.0
    );
    svg
}
