//! The matrix as SVG: a line a row, a field a daemon.

use std::fmt::Write;

use crate::{Outcome, daemons::Kind, rows::Row, tables::word};

const LINE: usize = 18;
const LEFT: usize = 560;
const FIELD: usize = 150;
const TOP: usize = 80;

/// The whole file.
pub(crate) fn svg(rows: &[Row], outcomes: &[Outcome], kinds: &[Kind]) -> String {
    let groups = rows.chunk_by(|a, b| a.group == b.group).count();
    let height = TOP + (rows.len() + groups) * LINE + 30;
    let width = LEFT + kinds.len() * (FIELD + 6) + 20;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let mut text = |x: usize, y: usize, rest: &str, words: &str| {
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" {rest}>{words}</text>");
    };
    text(
        20,
        28,
        "font-size=\"17\" font-weight=\"bold\" fill=\"#111\"",
        "What the agent gets of the digits",
    );
    text(
        20,
        48,
        "fill=\"#555\"",
        "red: some listener gets more than chance (most digits that any got), or the daemon crashed",
    );
    for (n, kind) in kinds.iter().enumerate() {
        let x = LEFT + n * (FIELD + 6) + FIELD / 2;
        let rest = "text-anchor=\"middle\" font-weight=\"bold\" fill=\"#111\"";
        text(x, TOP - 10, rest, kind.name());
    }
    let mut y = TOP;
    let mut group = "";
    let mut fields = String::new();
    for (number, row) in rows.iter().enumerate() {
        if row.group != group {
            group = row.group;
            y += LINE;
            text(20, y - 5, "font-weight=\"bold\" fill=\"#111\"", group);
        }
        y += LINE;
        text(34, y - 5, "fill=\"#333\"", &row.name);
        for outcome in outcomes.iter().filter(|outcome| outcome.row == number) {
            let Some(n) = kinds.iter().position(|kind| *kind == outcome.kind) else {
                continue;
            };
            let x = LEFT + n * (FIELD + 6);
            let colour = match (row.block, outcome.is_red()) {
                (None, _) => "#7f8c8d",
                (Some(_), true) => "#c0392b",
                (Some(_), false) => "#1e8449",
            };
            let _ = writeln!(
                fields,
                "<rect x=\"{x}\" y=\"{}\" width=\"{FIELD}\" height=\"{}\" rx=\"3\" fill=\"{colour}\"/>",
                y - LINE + 1,
                LINE - 2
            );
            let words = match word(row, outcome) {
                "LEAKS" | "control" => {
                    format!("{} of {}", outcome.heard.most(), outcome.heard.digits)
                }
                other => other.to_owned(),
            };
            let _ = writeln!(
                fields,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#fff\">{words}</text>",
                x + FIELD / 2,
                y - 5
            );
        }
    }
    svg + &fields + "</svg>\n"
}
