//! Curves as SVG.

use std::fmt::Write;

/// A curve: its name, its colour, its points.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) colour: &'static str,
    pub(crate) dashed: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot of curves over named places on the x axis.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) subtitle: &'a str,
    pub(crate) x_name: &'a str,
    pub(crate) y_name: &'a str,
    /// Names of x = 0, 1, 2 ...
    pub(crate) places: Vec<String>,
    /// Lines across, with their names, from the bottom up; the last one is the top.
    pub(crate) steps: Vec<(f64, String)>,
    /// Where a y stands, 0 (bottom) to 1 (top).
    pub(crate) scale: fn(f64) -> f64,
    pub(crate) curves: Vec<Curve>,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 500.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 70.0;
const RIGHT: f64 = 230.0;
const BOTTOM: f64 = 70.0;

impl Plot<'_> {
    /// The whole file.
    pub(crate) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
        );
        text(
            &mut svg,
            (LEFT, 28.0),
            "start",
            "#111",
            &format!(
                "<tspan font-size=\"17\" font-weight=\"bold\">{}</tspan>",
                self.title
            ),
        );
        text(&mut svg, (LEFT, 50.0), "start", "#555", self.subtitle);
        let right = WIDTH - RIGHT;
        for (value, name) in &self.steps {
            let y = self.y(*value);
            let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>");
            text(&mut svg, (LEFT - 8.0, y + 4.0), "end", "#555", name);
        }
        let bottom = HEIGHT - BOTTOM;
        for (n, name) in self.places.iter().enumerate() {
            text(
                &mut svg,
                (self.x(n as f64), bottom + 20.0),
                "middle",
                "#555",
                name,
            );
        }
        text(
            &mut svg,
            (f64::midpoint(LEFT, right), bottom + 46.0),
            "middle",
            "#111",
            self.x_name,
        );
        let y_name = format!("<tspan>{}</tspan>", self.y_name);
        let _ = writeln!(
            svg,
            "<text transform=\"translate(22 {:.1}) rotate(-90)\" text-anchor=\"middle\" fill=\"#111\">{y_name}</text>",
            f64::midpoint(TOP, bottom)
        );
        for (n, curve) in self.curves.iter().enumerate() {
            self.curve(&mut svg, n, curve);
        }
        svg += "</svg>\n";
        svg
    }

    fn curve(&self, svg: &mut String, n: usize, curve: &Curve) {
        let dash = if curve.dashed {
            " stroke-dasharray=\"5 4\""
        } else {
            ""
        };
        let colour = curve.colour;
        let mut path = String::new();
        for (at, (x, y)) in curve.points.iter().enumerate() {
            let command = if at == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.x(*x), self.y(*y));
            if !curve.dashed {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                    self.x(*x),
                    self.y(*y)
                );
            }
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>"
        );
        let (x, y) = (WIDTH - RIGHT + 18.0, TOP + 12.0 + 22.0 * n as f64);
        let _ = writeln!(
            svg,
            "<path d=\"M{x} {:.1}h24\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
            y - 4.0
        );
        text(svg, (x + 30.0, y), "start", "#111", &curve.name);
    }

    fn x(&self, place: f64) -> f64 {
        let last = (self.places.len().max(2) - 1) as f64;
        LEFT + 20.0 + (WIDTH - LEFT - RIGHT - 40.0) * place / last
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (self.scale)(value).clamp(0.0, 1.0)
    }
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>",
        at.0, at.1
    );
}
