//! What an ideal listener on the agent's leg gets of the digits, beside spandsp and multimon-ng.
//!
//! Calls in G.711 go through the product in simulated time, armed; keys are pressed in noise under
//! many conditions. The listener is calibrated first, and on the same calls unmasked: where he does
//! not hear what an ideal one hears, the run is void.
//!
//! The same over every codec, in [`codecs`], is a report of its own.
//!
//! `cargo bench --bench attacker -- [--quick] [--check] [--allow-missing] [--seed N] [--codecs]`

#[path = "../common/mod.rs"]
mod common;

mod calibration;
mod cells;
mod codecs;
mod gate;
mod plot;
mod profiles;
mod statistics;

use std::process::ExitCode;

use clap::Parser;
use tonewall::proto::mask::Masking;

use cells::{CONDITIONS, Cell, KEYS_PER_CALL, OF_ROWS, Outcome};
use common::{
    chance::highest_of_chance,
    jobs,
    options::Options,
    peers::{Peer, Peers},
    presses::Noise,
    report::{Report, Table},
    signal::MS,
};
use plot::{Curve, Plot};
use statistics::{Sums, gate_bits};

/// Rows, from a silent line down.
const ROWS: [Option<f64>; 7] = [
    None,
    Some(30.0),
    Some(20.0),
    Some(15.0),
    Some(10.0),
    Some(5.0),
    Some(0.0),
];
/// From here up nothing may be heard of a burst either; below, the goals are those of whole tones,
/// and bursts are told beside them.
const BURSTS_FROM_DB: f64 = 15.0;
/// Chance with ten digits.
const CHANCE: f64 = 0.1;
/// What may be told above chance and its spread: nothing from 15 dB up, a little at 10 and 5 dB.
const fn allowance(snr_db: Option<f64>) -> Option<f64> {
    match snr_db {
        None => Some(0.0),
        Some(db) if db >= 15.0 => Some(0.0),
        Some(db) if db >= 10.0 => Some(0.004),
        Some(db) if db >= 5.0 => Some(0.014),
        Some(_) => None,
    }
}
/// Probability that all cells taken together fail by chance alone.
const FAMILY_WISE: f64 = 0.01;
/// Most that the gate alone may tell.
const MOST_GATE_BITS: f64 = 0.01;
/// Share of unmasked digits that he has to get.
const LEAST_UNMASKED: f64 = 0.99;
/// The same for the peers, from 15 dB up: what is deaf proves nothing.
const LEAST_OF_PEERS: f64 = 0.95;

/// What this bench is asked for.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Only the rows over each codec
    #[arg(long)]
    codecs: bool,
}

fn main() -> ExitCode {
    let Arguments { options, codecs } = Arguments::parse();
    let seed = options.seed();
    let peers = Peers::find();
    let g711 = (!codecs).then(|| over_g711(&options, seed, &peers));
    let each = codecs::judge(&options, seed, &peers);
    g711.filter(|code| *code != ExitCode::SUCCESS)
        .unwrap_or(each)
}

/// Says which peers are missing; that fails a run which does not allow it.
fn tell_missing(peers: &Peers, options: &Options, report: &mut Report) {
    for peer in peers.missing() {
        let what = format!("{} is there to listen", peer.name());
        if options.allow_missing {
            report.say(&format!("**{} was missing.**", peer.name()));
        } else {
            report.goal(false, what);
        }
    }
}

/// Every condition over G.711, the profiles and the gate.
fn over_g711(options: &Options, seed: u64, peers: &Peers) -> ExitCode {
    let keys_a_row = if options.quick { 2_000 } else { 10_000 };
    let mut report = Report::new("attacker", options.quick);
    report.say(&format!(
        "# The ideal listener\n\n{} run, seed {seed}, {keys_a_row} digits a row, look-ahead of 12 ms, G.711 of both laws.",
        if options.quick { "Quick" } else { "Full" }
    ));
    tell_missing(peers, options, &mut report);

    let sound = calibrate(options, seed, peers, &mut report);
    let calls = calls(keys_a_row, seed);
    let outcomes = jobs::run("armed calls", &calls, |cell| cell.run(peers));
    judge(&outcomes, peers, &mut report);
    profiles::judge(seed, options.quick, peers, &mut report);
    let presses = if options.quick { 10_000 } else { 100_000 };
    gate::judge(seed, presses, &mut report);
    let svg = curves(&outcomes, options);
    if !sound {
        report.say("**VOID**: the listener is not ideal, so nothing here says that nothing leaks.");
    }
    report.finish(&svg, options.check)
}

/// Every call of the run.
fn calls(keys_a_row: usize, seed: u64) -> Vec<Cell> {
    let mut calls = Vec::new();
    for (row, snr_db) in ROWS.into_iter().enumerate() {
        let noises: &[Option<(Noise, f64)>] = &match snr_db {
            None => vec![None],
            Some(db) => vec![Some((Noise::White, db)), Some((Noise::Babble, db))],
        };
        let counted = (0..OF_ROWS).filter(|condition| counts_at(*condition, snr_db));
        let cells = noises.len() * counted.count();
        let each = keys_a_row.div_ceil(cells * KEYS_PER_CALL);
        for (n, noise) in noises.iter().enumerate() {
            for condition in 0..OF_ROWS {
                for call in 0..each {
                    let number = ((row * 2 + n) * OF_ROWS + condition) * 100_000 + call;
                    calls.push(Cell {
                        condition,
                        noise: *noise,
                        masked: true,
                        masking: Masking::default(),
                        seed: jobs::seed_of(seed, number as u64),
                    });
                }
            }
        }
    }
    calls
}

/// Whether the listener is as good as an ideal one, with little left unmasked and with all.
fn calibrate(options: &Options, seed: u64, peers: &Peers, report: &mut Report) -> bool {
    let bursts = if options.quick { 800 } else { 4_000 };
    let calibration = calibration::calibrate(seed, bursts);
    report.say(&format!(
        "## Is the listener ideal?\n\nPercent of digits that he gets from bursts left unmasked (in \
         brackets: the reference), {bursts} bursts each:"
    ));
    report.say(&calibration.table.markdown());
    let reached = calibration.misses.is_empty();
    let what = if reached {
        "the listener reaches the reference's figures (less 5 points at most)".to_owned()
    } else {
        format!(
            "VOID: the listener does not reach the reference's figures less 5 points ({})",
            calibration.misses.join(", ")
        )
    };
    report.goal(reached, what);
    unmasked(options, seed, peers, report) && reached
}

/// The same calls, not armed: he and the peers have to get the digits.
fn unmasked(options: &Options, seed: u64, peers: &Peers, report: &mut Report) -> bool {
    let each = if options.quick { 3 } else { 12 };
    let mut calls = Vec::new();
    for row in ROWS {
        let noises = match row {
            None => vec![None; 2],
            Some(db) => vec![Some((Noise::White, db)), Some((Noise::Babble, db))],
        };
        for (noise, call) in noises
            .into_iter()
            .zip([0, 1])
            .flat_map(|(noise, n)| (0..each).map(move |call| (noise, n * each + call)))
        {
            let db = row.map_or(99.0, |db| db) as u64;
            calls.push(Cell {
                condition: 0,
                noise,
                masked: false,
                masking: Masking::default(),
                seed: jobs::seed_of(seed, (1 << 40) + (db << 20) + call),
            });
        }
    }
    let outcomes = jobs::run("masking off", &calls, |cell| cell.run(peers));
    let mut table = Table::new(&[
        "masking off, SNR",
        "ideal listener",
        "spandsp",
        "multimon-ng",
    ]);
    let mut least = 1.0_f64;
    let mut deaf = Vec::new();
    for row in ROWS {
        let sums = sum(outcomes.iter().filter(|o| snr_of(&o.cell) == row));
        least = least.min(sums.recovered());
        let [spandsp, multimon] = Peer::ALL.map(|peer| sums.of_peer(peer));
        let hears = |peer: Peer| sums.share(sums.told[peer as usize]) >= LEAST_OF_PEERS;
        if row.is_none_or(|db| db >= BURSTS_FROM_DB) {
            deaf.extend(
                Peer::ALL
                    .into_iter()
                    .filter(|peer| peers.has(*peer) && !hears(*peer)),
            );
        }
        let percent = format!("{:.1} %", 100.0 * sums.recovered());
        table.row(vec![name_of(row), percent, spandsp, multimon]);
    }
    report.say(&format!(
        "Masking off, condition \"{}\":",
        CONDITIONS[0].name
    ));
    report.say(&table.markdown());
    let reached = least >= LEAST_UNMASKED;
    let verdict = if reached { "" } else { "VOID: " };
    report.goal(
        reached,
        format!(
            "{verdict}with masking off the listener gets 99 % at every SNR (least: {:.1} %)",
            100.0 * least
        ),
    );
    if !deaf.is_empty() {
        let names: Vec<_> = deaf.iter().map(|peer| peer.name()).collect();
        let what = format!(
            "VOID: with masking off these do not hear: {}",
            names.join(", ")
        );
        report.goal(false, what);
    }
    reached && deaf.is_empty()
}

fn snr_of(cell: &Cell) -> Option<f64> {
    cell.noise.map(|(_, snr_db)| snr_db)
}

fn name_of(row: Option<f64>) -> String {
    row.map_or_else(|| "no noise".to_owned(), |db| format!("{db} dB"))
}

/// Whether a condition counts for the goals of a row.
fn counts_at(condition: usize, snr_db: Option<f64>) -> bool {
    !CONDITIONS[condition].is_burst() || snr_db.is_none_or(|db| db >= BURSTS_FROM_DB)
}

fn counts(cell: &Cell) -> bool {
    counts_at(cell.condition, snr_of(cell))
}

fn sum<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Sums {
    let mut sums = Sums::default();
    outcomes.into_iter().for_each(|outcome| sums.add(outcome));
    sums
}

fn judge(outcomes: &[Outcome], peers: &Peers, report: &mut Report) {
    report.say(
        "## What he gets, armed\n\nA digit of which nothing was heard counts as a tenth: chance is 10 %. \
         Below 15 dB bursts of 2 to 15 ms have a column of their own: the goals there are those of whole \
         tones.",
    );
    let goals = rows(outcomes, report);
    let beyond = cells(outcomes, report);
    for (reached, what) in goals {
        report.goal(reached, what);
    }
    let what = if beyond.is_empty() {
        "no single cell is beyond chance".to_owned()
    } else {
        format!(
            "{} single cells are beyond chance ({})",
            beyond.len(),
            beyond.join("; ")
        )
    };
    report.goal(beyond.is_empty(), what);
    let all = sum(outcomes);
    for peer in Peer::ALL.into_iter().filter(|peer| peers.has(*peer)) {
        let told = all.told[peer as usize];
        let what = format!(
            "{} gets {told} of {} digits, goal 0",
            peer.name(),
            all.digits
        );
        report.goal(told == 0, what);
    }
    let judged = outcomes
        .iter()
        .filter(|outcome| allowance(snr_of(&outcome.cell)).is_some());
    let bits = gate_bits(judged.filter(|outcome| counts(&outcome.cell)));
    report.goal(
        bits <= MOST_GATE_BITS,
        format!(
            "when the gate shuts and opens tells {bits:.4} bits a digit (5 dB and up, bias taken \
             off) of at most {MOST_GATE_BITS}"
        ),
    );
    report.goal(
        all.strange_frames == 0,
        format!(
            "{} frames left that are neither the caller's own nor a known replacement",
            all.strange_frames
        ),
    );
}

/// The table of rows, and the goals of each.
fn rows(outcomes: &[Outcome], report: &mut Report) -> Vec<(bool, String)> {
    let mut table = Table::new(&[
        "SNR",
        "digits",
        "he gets",
        "limit",
        "bits/digit",
        "of bursts",
        "heard at all",
        ">= 2 ms",
        "longest ms",
        "gate, bits",
        "spandsp",
        "multimon-ng",
        "incidents",
    ]);
    let mut goals = Vec::new();
    for row in ROWS {
        let of_row = || {
            outcomes
                .iter()
                .filter(move |outcome| snr_of(&outcome.cell) == row)
        };
        let sums = sum(of_row().filter(|outcome| counts(&outcome.cell)));
        let bursts = sum(of_row().filter(|o| CONDITIONS[o.cell.condition].is_burst()));
        let limit = allowance(row).map(|more| {
            let spread = (CHANCE * (1.0 - CHANCE) / sums.digits as f64).sqrt();
            CHANCE + more + 2.0 * spread
        });
        let [spandsp, multimon] = Peer::ALL.map(|peer| sums.of_peer(peer));
        table.row(vec![
            name_of(row),
            sums.digits.to_string(),
            percent(sums.recovered()),
            limit.map_or("-".to_owned(), percent),
            format!("{:.3}", sums.bits / sums.digits as f64),
            percent(bursts.recovered()),
            percent(sums.share(sums.leaked)),
            percent(sums.share(sums.leaked_2_ms)),
            format!("{:.1}", sums.longest as f64 / MS as f64),
            format!(
                "{:.4}",
                gate_bits(of_row().filter(|outcome| counts(&outcome.cell)))
            ),
            spandsp,
            multimon,
            sums.incidents.to_string(),
        ]);
        if let Some(limit) = limit {
            let got = percent(sums.recovered());
            let what = format!(
                "{}: the listener gets {got} of at most {}",
                name_of(row),
                percent(limit)
            );
            goals.push((sums.recovered() <= limit, what));
        }
    }
    report.say(&table.markdown());
    goals
}

/// The table of cells; those that are beyond chance.
fn cells(outcomes: &[Outcome], report: &mut Report) -> Vec<String> {
    let mut head = vec!["he gets, %".to_owned()];
    head.extend(ROWS.into_iter().map(name_of));
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let judged = |cell: &Cell| counts(cell) && allowance(snr_of(cell)).is_some();
    let mut families: Vec<_> = outcomes
        .iter()
        .filter(|outcome| judged(&outcome.cell))
        .map(|outcome| outcome.cell.key())
        .collect();
    families.sort_unstable();
    families.dedup();
    let probability = FAMILY_WISE / families.len() as f64;
    let mut beyond = Vec::new();
    for kind in [Noise::White, Noise::Babble] {
        for (at, condition) in CONDITIONS[..OF_ROWS].iter().enumerate() {
            let mut line = vec![format!("{}, {}", kind.name(), condition.name)];
            for row in ROWS {
                let wanted = Cell {
                    condition: at,
                    noise: row.map(|db| (kind, db)),
                    masked: true,
                    masking: Masking::default(),
                    seed: 0,
                };
                let sums = sum(outcomes.iter().filter(|o| o.cell.key() == wanted.key()));
                let most = allowance(row)
                    .filter(|_| counts(&wanted))
                    .map(|more| highest_of_chance(sums.digits, CHANCE + more, probability) as f64);
                let failed = most.is_some_and(|most| sums.right > most);
                let mark = if failed { " !" } else { "" };
                line.push(format!("{:.1}{mark}", 100.0 * sums.recovered()));
                if failed && (row.is_some() || kind == Noise::White) {
                    beyond.push(format!(
                        "{} {}, {}",
                        kind.name(),
                        name_of(row),
                        condition.name
                    ));
                }
            }
            table.row(line);
        }
    }
    report.say(
        "Cell by cell. `!`: beyond chance, where all cells together fail by chance once in a hundred \
         runs. Without noise there are no two kinds: the same calls stand twice.",
    );
    report.say(&table.markdown());
    beyond
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Recovery over SNR, by kind of noise and by listener.
fn curves(outcomes: &[Outcome], options: &Options) -> String {
    let over = |wanted: &dyn Fn(&Cell) -> bool, of: &dyn Fn(&Sums) -> f64| -> Vec<(f64, f64)> {
        let rows = ROWS.iter().enumerate();
        rows.filter_map(|(at, row)| {
            let of_row = outcomes.iter().filter(|o| snr_of(&o.cell) == *row);
            let sums = sum(of_row.filter(|outcome| wanted(&outcome.cell)));
            (sums.digits > 0).then(|| (at as f64, 100.0 * of(&sums)))
        })
        .collect()
    };
    let is = |kind: Noise| move |cell: &Cell| cell.noise.is_none_or(|(noise, _)| noise == kind);
    let peer = |peer: Peer| move |sums: &Sums| sums.told[peer as usize] as f64 / sums.digits as f64;
    let curve = |name: &str, colour, points| Curve {
        name: name.to_owned(),
        colour,
        dashed: false,
        points,
    };
    let last = (ROWS.len() - 1) as f64;
    let chance = Curve {
        name: "chance".to_owned(),
        colour: "#888",
        dashed: true,
        points: vec![(0.0, 10.0), (last, 10.0)],
    };
    let plot = Plot {
        title: "What leaves an armed call tells of the digits",
        subtitle: if options.quick {
            "quick run, all conditions, look-ahead of 12 ms"
        } else {
            "all conditions, look-ahead of 12 ms"
        },
        x_name: "tone over noise",
        y_name: "digits recovered, %",
        places: ROWS.into_iter().map(name_of).collect(),
        steps: [0, 10, 20, 40, 60, 80, 100]
            .map(|v| (f64::from(v), format!("{v} %")))
            .to_vec(),
        scale: |percent| percent / 100.0,
        curves: vec![
            curve(
                "ideal listener, white",
                "#c0392b",
                over(&is(Noise::White), &Sums::recovered),
            ),
            curve(
                "ideal listener, babble",
                "#e08e0b",
                over(&is(Noise::Babble), &Sums::recovered),
            ),
            curve("spandsp", "#2471a3", over(&|_| true, &peer(Peer::Spandsp))),
            curve(
                "multimon-ng",
                "#1e8449",
                over(&|_| true, &peer(Peer::MultimonNg)),
            ),
            chance,
        ],
    };
    plot.svg()
}
