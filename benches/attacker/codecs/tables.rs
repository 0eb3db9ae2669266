//! What is told of the codecs: tables, goals and curves.

use super::{Heard, ROWS, telephone::Telephone};
use crate::{
    CHANCE, FAMILY_WISE, allowance,
    cells::{CONDITIONS, OF_ROWS},
    common::{
        chance::highest_of_chance,
        peers::{Peer, Peers},
        report::{Report, Table},
    },
    name_of, percent,
    plot::{Curve, Plot},
    snr_of, sum,
};

/// The table of codecs and its goals; whether he listened where the keys were.
pub(super) fn rows(results: &[Heard], peers: &Peers, report: &mut Report) -> bool {
    let mut table = Table::new(&[
        "armed",
        "SNR",
        "digits",
        "he gets",
        "limit",
        "always guessing",
        "of bursts",
        "heard at all",
        "spandsp",
        "multimon-ng",
        "incidents",
    ]);
    let mut goals = Vec::new();
    let (mut astray, mut likenesses) = (Vec::new(), Vec::new());
    for (at, telephone) in Telephone::ALL.iter().enumerate() {
        for (row, (name, snrs)) in ROWS.iter().enumerate() {
            let of_row = || results.iter().filter(|r| r.telephone == at && r.row == row);
            let sums = sum(of_row().map(|result| &result.outcome));
            if sums.digits == 0 {
                continue;
            }
            let bursts = sum(of_row()
                .map(|result| &result.outcome)
                .filter(|outcome| CONDITIONS[outcome.cell.condition].is_burst()));
            let blind: f64 = of_row().map(|result| result.blind).sum();
            let more = allowance(snrs[0]).unwrap_or(0.0);
            let spread = (CHANCE * (1.0 - CHANCE) / sums.digits as f64).sqrt();
            let limit = CHANCE + more + 2.0 * spread;
            let blind_limit = highest_of_chance(sums.digits, CHANCE + more, 0.001) as f64;
            let [spandsp, multimon] = Peer::ALL.map(|peer| sums.of_peer(peer));
            table.row(vec![
                telephone.name.to_owned(),
                (*name).to_owned(),
                sums.digits.to_string(),
                percent(sums.recovered()),
                percent(limit),
                percent(blind / sums.digits as f64),
                if bursts.digits > 0 {
                    percent(bursts.recovered())
                } else {
                    "-".to_owned()
                },
                percent(sums.share(sums.leaked)),
                spandsp,
                multimon,
                sums.incidents.to_string(),
            ]);
            goals.push((
                sums.recovered() <= limit && blind <= blind_limit,
                format!(
                    "{}, {name}: the listener gets {} of at most {}, always guessing {} of at most {}",
                    telephone.name,
                    percent(sums.recovered()),
                    percent(limit),
                    percent(blind / sums.digits as f64),
                    percent(blind_limit / sums.digits as f64),
                ),
            ));
            for peer in Peer::ALL.into_iter().filter(|peer| peers.has(*peer)) {
                let told = sums.told[peer as usize];
                goals.push((
                    told == 0,
                    format!(
                        "{}, {name}: {} gets {told} of {} digits, goal 0",
                        telephone.name,
                        peer.name(),
                        sums.digits
                    ),
                ));
            }
        }
        let mut alike: Vec<f64> = results
            .iter()
            .filter(|result| result.telephone == at)
            .filter_map(|result| result.alike)
            .collect();
        alike.sort_by(f64::total_cmp);
        let middle = alike[alike.len() / 2];
        likenesses.push(format!("{middle:.2} {}", telephone.name));
        if middle < telephone.least_alike() {
            astray.push(telephone.name);
        }
    }
    report.say(
        "What he gets. A digit of which he is not half sure counts as a tenth. `always guessing`: he says \
         the best one all the same, which chance spreads more; its limit is exceeded by chance once in a \
         thousand times.",
    );
    report.say(&table.markdown());
    let beyond = cells(results, report);
    for (reached, what) in goals {
        report.goal(reached, what);
    }
    let what = if beyond.is_empty() {
        "no single cell is beyond chance".to_owned()
    } else {
        format!("single cells are beyond chance: {}", beyond.join("; "))
    };
    report.goal(beyond.is_empty(), what);
    let what = if astray.is_empty() {
        format!(
            "what left before the keys was where he listened, over every codec (alike: {})",
            likenesses.join(", ")
        )
    } else {
        format!(
            "VOID: he did not listen where it was over {} (alike: {})",
            astray.join(", "),
            likenesses.join(", ")
        )
    };
    report.goal(astray.is_empty(), what);
    astray.is_empty()
}

/// The table of conditions; those that are beyond chance.
fn cells(results: &[Heard], report: &mut Report) -> Vec<String> {
    let mut head = vec!["he gets, %".to_owned()];
    head.extend(Telephone::ALL.map(|telephone| telephone.name.to_owned()));
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let conditions: Vec<usize> = (0..OF_ROWS)
        .filter(|at| !CONDITIONS[*at].has_louder_pauses())
        .collect();
    let probability = FAMILY_WISE / (conditions.len() * Telephone::ALL.len()) as f64;
    let mut beyond = Vec::new();
    for condition in conditions {
        let name = CONDITIONS[condition].name;
        let mut line = vec![name.to_owned()];
        for (at, telephone) in Telephone::ALL.iter().enumerate() {
            let of_cell = results.iter().filter(|result| {
                let cell = &result.outcome.cell;
                result.telephone == at && result.row == 0 && cell.condition == condition
            });
            let sums = sum(of_cell.map(|result| &result.outcome));
            let failed = sums.right > highest_of_chance(sums.digits, CHANCE, probability) as f64;
            let mark = if failed { " !" } else { "" };
            line.push(format!("{:.1}{mark}", 100.0 * sums.recovered()));
            if failed {
                beyond.push(format!("{}, {name}", telephone.name));
            }
        }
        table.row(line);
    }
    report.say(
        "Condition by condition, 15 dB and up. `!`: beyond chance, where all cells together fail by chance \
         once in a hundred runs.",
    );
    report.say(&table.markdown());
    beyond
}

/// What he gets of each codec over SNR.
pub(super) fn curves(armed: &[Heard], unmasked: &[Heard]) -> String {
    const COLOURS: [&str; 6] = [
        "#c0392b", "#e08e0b", "#2471a3", "#1e8449", "#7d3c98", "#117864",
    ];
    let places = ROWS.into_iter().flat_map(|(_, snrs)| snrs).copied();
    let places: Vec<Option<f64>> = places.collect();
    let over = |results: &[Heard], wanted: &dyn Fn(&Heard) -> bool| -> Vec<(f64, f64)> {
        let of_place = |(at, place): (usize, &Option<f64>)| {
            let of = results
                .iter()
                .filter(|result| wanted(result) && snr_of(&result.outcome.cell) == *place);
            let sums = sum(of.map(|result| &result.outcome));
            (sums.digits > 0).then(|| (at as f64, 100.0 * sums.recovered()))
        };
        places.iter().enumerate().filter_map(of_place).collect()
    };
    let mut curves: Vec<Curve> = Telephone::ALL
        .iter()
        .enumerate()
        .map(|(at, telephone)| Curve {
            name: format!("{}, armed", telephone.name),
            colour: COLOURS[at % COLOURS.len()],
            dashed: false,
            points: over(armed, &|result| result.telephone == at),
        })
        .collect();
    curves.push(Curve {
        name: "all, masking off".to_owned(),
        colour: "#333",
        dashed: false,
        points: over(unmasked, &|_| true),
    });
    curves.push(Curve {
        name: "chance".to_owned(),
        colour: "#888",
        dashed: true,
        points: vec![(0.0, 10.0), ((places.len() - 1) as f64, 10.0)],
    });
    let plot = Plot {
        title: "What leaves an armed call tells of the digits, by codec",
        subtitle: "the ideal listener, all around each key; look-ahead of 12 ms",
        x_name: "tone over noise",
        y_name: "digits recovered, %",
        places: places.iter().map(|place| name_of(*place)).collect(),
        steps: [0, 10, 20, 40, 60, 80, 100]
            .map(|v| (f64::from(v), format!("{v} %")))
            .to_vec(),
        scale: |percent| percent / 100.0,
        curves,
    };
    plot.svg()
}
