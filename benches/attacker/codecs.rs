//! The same over every codec that can be masked. One with a memory smears a tone into what is before
//! and after it, so the listener hears all around a key, masked or not, and everything that leaves.

use std::{ops::Range, process::ExitCode};

use rand::{SeedableRng, rngs::StdRng};
use tonewall::proto::mask::Masking;

use crate::{
    CHANCE, LEAST_OF_PEERS, LEAST_UNMASKED, allowance,
    cells::{CONDITIONS, Cell, KEYS_PER_CALL, LEAD, OF_ROWS, Outcome, Scene, told},
    common::{
        chance::highest_of_chance,
        gateway::Route,
        jobs,
        listener::{Audio, Guess, listen_around, rounding},
        options::Options,
        peers::{Peer, Peers},
        presses::{Noise, Press},
        report::{Report, Table},
        signal::MS,
    },
    counts_at, name_of, percent,
    plot::{Curve, Plot},
    snr_of, sum,
    telephone::{Path, Paths, Telephone, correlation},
    tell_missing,
};

/// Rows of each codec.
const ROWS: [(&str, &[Option<f64>]); 2] = [
    ("15 dB and up", &[None, Some(30.0), Some(20.0), Some(15.0)]),
    ("10 dB", &[Some(10.0)]),
];
/// How far around a key he listens.
const AROUND: (usize, usize) = (40 * MS, 80 * MS);
/// Samples before a key that tell the noise.
const NOISE: usize = 200 * MS;
/// Samples that tell how loud what a codec adds to a sample is, each side.
const NEAR: usize = 20;
/// What a codec with a memory adds at least, as power, to what is near.
const LEAST_ADDED: f64 = 1e-3;
/// What leaves before the first key has to be as much like what was said, or the rest is not where
/// he listens.
const LEAST_ALIKE: f64 = 0.3;
/// Bursts through decoder and encoder of the gateway that he is tried with, ms.
const BURSTS_MS: [usize; 3] = [2, 3, 5];
/// Share of the last of them that he has to get at 20 dB.
const LEAST_OF_BURSTS: f64 = 0.9;
/// Gates exactly as long as a key and so many ms longer at each end.
const GATES_MS: [usize; 3] = [0, 10, 20];

/// A call over a codec.
struct Call {
    telephone: usize,
    row: usize,
    cell: Cell,
}

/// What came of it.
struct Result {
    telephone: usize,
    row: usize,
    outcome: Outcome,
    /// Digits that he would have got had he always guessed.
    blind: f64,
    /// What leaves before the first key, beside what was said there.
    alike: Option<f64>,
}

/// Every codec, as a report of its own.
pub(crate) fn judge(options: &Options, seed: u64, peers: &Peers) -> ExitCode {
    let mut report = Report::new("attacker_codecs", options.quick);
    let keys = if options.quick { 2_000 } else { 10_000 };
    report.say(&format!(
        "# The ideal listener over codecs\n\n{} run, seed {seed}, {keys} digits a row, look-ahead of 12 ms.\n\n\
         Caller and agent speak one codec; the gateway decodes, masks and encodes anew. The listener hears \
         all that leaves, from 40 ms before each key to 80 ms after it. He is told by how much the codec \
         delays it and what the noise alone is, and knows the neutral sound.",
        if options.quick { "Quick" } else { "Full" }
    ));
    tell_missing(peers, options, &mut report);
    let paths: Vec<Paths> = jobs::run("codecs", &Telephone::ALL, |telephone| {
        Paths::measure(telephone, seed)
    });
    let (unmasked, hears) = unmasked(seed, options.quick, &paths, peers, &mut report);
    let hears = remains(seed, options.quick, &paths, &mut report) && hears;
    let calls = calls(options.quick, keys, seed);
    let results = jobs::run("codecs, armed", &calls, |call| run(call, &paths, peers));
    let aligned = rows(&results, peers, &mut report);
    if !hears || !aligned {
        report.say("**VOID**: the listener is not ideal, so nothing here says that nothing leaks.");
    }
    report.finish(&curves(&results, &unmasked), options.check)
}

fn calls(quick: bool, keys: usize, seed: u64) -> Vec<Call> {
    // A quick run has the first row only.
    let rows = if quick { 1 } else { ROWS.len() };
    let mut calls = Vec::new();
    for telephone in 0..Telephone::ALL.len() {
        for (row, (_, snrs)) in ROWS.into_iter().enumerate().take(rows) {
            let mut cells = Vec::new();
            for snr_db in snrs {
                let noises: &[Option<(Noise, f64)>] = &match snr_db {
                    None => vec![None],
                    Some(db) => vec![Some((Noise::White, *db)), Some((Noise::Babble, *db))],
                };
                let conditions = (0..OF_ROWS).filter(|condition| {
                    !CONDITIONS[*condition].has_louder_pauses() && counts_at(*condition, *snr_db)
                });
                cells.extend(conditions.flat_map(|c| noises.iter().map(move |n| (c, *n))));
            }
            let each = keys.div_ceil(cells.len() * KEYS_PER_CALL);
            for n in 0..cells.len() * each {
                let (condition, noise) = cells[n % cells.len()];
                let serial = (1 << 56) + ((telephone * ROWS.len() + row) << 32) + n;
                calls.push(Call {
                    telephone,
                    row,
                    cell: Cell {
                        condition,
                        noise,
                        masked: true,
                        masking: Masking::default(),
                        seed: jobs::seed_of(seed, serial as u64),
                    },
                });
            }
        }
    }
    calls
}

/// One call: keys in noise through the product, and everybody listens.
fn run(call: &Call, paths: &[Paths], peers: &Peers) -> Result {
    let telephone = &Telephone::ALL[call.telephone];
    let mut rng = StdRng::seed_from_u64(call.cell.seed);
    let mut scene = call.cell.scene(&mut rng);
    scene.packet = telephone.codec.frame(scene.packet);
    let packet = scene.packet;
    let said = telephone.hear(&scene.quiet, &scene.presses, &mut rng);
    let payloads = telephone.encode(&said, packet);
    let route = Route {
        codec: telephone.codec,
        payloads: &payloads,
        packet,
        network: scene.network,
        masking: call.cell.masking,
        armed_from: call.cell.masked.then_some(LEAD),
        keys: &scene.keys(),
    };
    let trip = route.travel(&mut rng);
    let left = telephone.play(&trip.left, scene.quiet.len());
    let path = if call.cell.masked {
        paths[call.telephone].anew
    } else {
        paths[call.telephone].relayed
    };
    let guesses = guesses(telephone, path, &scene, &left);
    let settled = LEAD + 100 * MS..scene.presses[0].from - AROUND.0;
    let alike = call.cell.noise.map(|_| {
        let later = settled.start + path.delay + telephone.noise_delay();
        correlation(&scene.quiet[settled], &left[later.min(left.len())..])
    });
    Result {
        telephone: call.telephone,
        row: call.row,
        blind: guesses.iter().map(|(_, guess)| guess.blind).sum(),
        alike,
        outcome: Outcome {
            cell: call.cell,
            told: told(&scene.presses, &left, peers),
            strange_frames: 0,
            incidents: trip.incidents,
            guesses: guesses
                .into_iter()
                .map(|(digit, guess)| (digit, guess, None))
                .collect(),
        },
    }
}

/// What he makes of what the agent's telephone plays.
fn guesses(telephone: &Telephone, path: Path, scene: &Scene, played: &[i16]) -> Vec<(u8, Guess)> {
    let mut rng = StdRng::seed_from_u64(0);
    let quiet = telephone.narrowed(&telephone.hear(&scene.quiet, &[], &mut rng));
    let noise: Vec<f64> = quiet.into_iter().map(f64::from).collect();
    let mut samples: Vec<f64> = played[path.delay..].iter().map(|s| f64::from(*s)).collect();
    samples.resize(scene.quiet.len(), 0.0);
    let rounding = added(telephone, &samples);
    let audio = Audio {
        samples: &samples,
        rounding: &rounding,
        heard: &vec![true; samples.len()],
        noise: &noise,
    };
    let guess = |press: &Press| {
        let quiet = press.from.saturating_sub(NOISE)..press.from;
        (press.digit, listen_around(&audio, press, AROUND, quiet))
    };
    scene.presses.iter().map(guess).collect()
}

/// Mean square of what a codec adds to each sample, at least; the listener reckons with more.
fn added(telephone: &Telephone, samples: &[f64]) -> Vec<f64> {
    if let Some(law) = telephone.codec.law() {
        let steps = rounding(law);
        let code = |sample: &f64| usize::from(law.encode(*sample as i16));
        return samples.iter().map(|sample| steps[code(sample)]).collect();
    }
    let mut sums = vec![0.0; samples.len() + 1];
    for (at, sample) in samples.iter().enumerate() {
        sums[at + 1] = sums[at] + sample.powi(2);
    }
    let near = |at: usize| {
        let (from, until) = (at.saturating_sub(NEAR), (at + NEAR).min(samples.len()));
        (sums[until] - sums[from]) / (until - from) as f64
    };
    (0..samples.len())
        .map(|at| near(at) * LEAST_ADDED + 1.0 / 12.0)
        .collect()
}

/// The same calls, not armed; whether he hears their keys, and the peers too.
fn unmasked(
    seed: u64,
    quick: bool,
    paths: &[Paths],
    peers: &Peers,
    report: &mut Report,
) -> (Vec<Result>, bool) {
    let each = if quick { 1 } else { 6 };
    let mut calls = Vec::new();
    for telephone in 0..Telephone::ALL.len() {
        for (row, (_, snrs)) in ROWS.into_iter().enumerate() {
            for (at, snr_db) in snrs.iter().enumerate() {
                for (n, kind) in [Noise::White, Noise::Babble].into_iter().enumerate() {
                    for call in 0..each {
                        let place = ((telephone * ROWS.len() + row) * snrs.len() + at) * 2 + n;
                        calls.push(Call {
                            telephone,
                            row,
                            cell: Cell {
                                condition: 0,
                                noise: snr_db.map(|db| (kind, db)),
                                masked: false,
                                masking: Masking::default(),
                                seed: jobs::seed_of(seed, (1 << 57) + place as u64 * 100 + call),
                            },
                        });
                    }
                }
            }
        }
    }
    let results = jobs::run("codecs, masking off", &calls, |call| {
        run(call, paths, peers)
    });
    let mut table = Table::new(&[
        "masking off",
        "SNR",
        "digits",
        "ideal listener",
        "spandsp",
        "multimon-ng",
    ]);
    let mut deaf = Vec::new();
    for (at, telephone) in Telephone::ALL.iter().enumerate() {
        for (row, (name, _)) in ROWS.iter().enumerate() {
            let of_row = results.iter().filter(|r| r.telephone == at && r.row == row);
            let sums = sum(of_row.map(|result| &result.outcome));
            let [spandsp, multimon] = Peer::ALL.map(|peer| sums.of_peer(peer));
            table.row(vec![
                telephone.name.to_owned(),
                (*name).to_owned(),
                sums.digits.to_string(),
                percent(sums.recovered()),
                spandsp,
                multimon,
            ]);
            if sums.recovered() < LEAST_UNMASKED {
                deaf.push(format!("the listener over {}, {name}", telephone.name));
            }
            if row == 0 {
                let hears = |peer: Peer| sums.share(sums.told[peer as usize]) >= LEAST_OF_PEERS;
                let all = Peer::ALL.into_iter().filter(|peer| peers.has(*peer));
                deaf.extend(
                    all.filter(|peer| !hears(*peer))
                        .map(|peer| format!("{} over {}", peer.name(), telephone.name)),
                );
            }
        }
    }
    report.say(&table.markdown());
    let what = if deaf.is_empty() {
        "with masking off the listener gets 99 % over every codec, the peers 95 % from 15 dB up"
            .to_owned()
    } else {
        format!(
            "VOID: with masking off these do not hear: {}",
            deaf.join(", ")
        )
    };
    report.goal(deaf.is_empty(), what);
    (results, deaf.is_empty())
}

/// What he gets of little, decoded and encoded anew as an armed call is: of bursts, and of what a
/// gate leaves that shuts exactly with a key.
fn remains(seed: u64, quick: bool, paths: &[Paths], report: &mut Report) -> bool {
    const SNRS: [Option<f64>; 2] = [None, Some(20.0)];
    const TRIALS: usize = BURSTS_MS.len() + GATES_MS.len();
    let each = if quick { 1 } else { 10 };
    let jobs: Vec<(usize, usize, usize, usize)> = (0..Telephone::ALL.len())
        .flat_map(|telephone| (0..SNRS.len()).map(move |snr| (telephone, snr)))
        .flat_map(|(telephone, snr)| (0..TRIALS).map(move |trial| (telephone, snr, trial)))
        .flat_map(|(telephone, snr, trial)| (0..each).map(move |n| (telephone, snr, trial, n)))
        .collect();
    let got = jobs::run(
        "codecs, what remains",
        &jobs,
        |&(telephone, snr, trial, n)| {
            let cell = Cell {
                condition: 0,
                noise: SNRS[snr].map(|db| (Noise::White, db)),
                masked: false,
                masking: Masking::default(),
                seed: jobs::seed_of(seed, (1 << 58) + ((telephone * 2 + snr) * 100 + n) as u64),
            };
            let right = remaining(&cell, &Telephone::ALL[telephone], paths[telephone], trial);
            right / KEYS_PER_CALL as f64
        },
    );
    let mut head = vec!["he gets, %".to_owned(), "SNR".to_owned()];
    head.extend(BURSTS_MS.map(|ms| format!("burst of {ms} ms")));
    head.extend(GATES_MS.map(|ms| match ms {
        0 => "gate as the key".to_owned(),
        ms => format!("{ms} ms wider"),
    }));
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let mut deaf = Vec::new();
    let means: Vec<f64> = got
        .chunks(each)
        .map(|shares| shares.iter().sum::<f64>() / each as f64)
        .collect();
    for (row, shares) in means.chunks(TRIALS).enumerate() {
        let telephone = Telephone::ALL[row / SNRS.len()].name;
        let mut line = vec![telephone.to_owned(), name_of(SNRS[row % SNRS.len()])];
        line.extend(shares.iter().map(|share| format!("{:.0}", 100.0 * share)));
        table.row(line);
        if shares[BURSTS_MS.len() - 1] < LEAST_OF_BURSTS {
            deaf.push(telephone);
        }
    }
    report.say(
        "What he gets of little, decoded and encoded anew as in an armed call: of bursts that are not \
         masked, and of what is left beside a key where a gate would shut and open exactly with it, or \
         that much earlier and later:",
    );
    report.say(&table.markdown());
    let longest = BURSTS_MS[BURSTS_MS.len() - 1];
    let what = if deaf.is_empty() {
        format!("of bursts of {longest} ms he gets 90 % over every codec")
    } else {
        format!(
            "VOID: of bursts of {longest} ms he does not get 90 % over {}",
            deaf.join(", ")
        )
    };
    report.goal(deaf.is_empty(), what);
    deaf.is_empty()
}

/// Digits that he gets of one trial's keys.
fn remaining(cell: &Cell, telephone: &Telephone, paths: Paths, trial: usize) -> f64 {
    let mut rng = StdRng::seed_from_u64(cell.seed);
    let mut scene = cell.scene(&mut rng);
    if let Some(ms) = BURSTS_MS.get(trial) {
        for press in &mut scene.presses {
            press.until = press.from + ms * MS;
        }
    }
    let said = telephone.hear(&scene.quiet, &scene.presses, &mut rng);
    let gate = trial
        .checked_sub(BURSTS_MS.len())
        .map(|at| GATES_MS[at] * MS);
    let between = |samples: &mut [i16]| {
        let Some(wider) = gate else {
            return;
        };
        for Range { start, end } in scene.keys() {
            let later = paths.relayed.delay;
            let span = start + later - wider..end + later + wider;
            samples[span.start * telephone.times()..span.end * telephone.times()].fill(0);
        }
    };
    let played = telephone.through(&said, scene.packet, Some(&between));
    let guesses = guesses(telephone, paths.anew, &scene, &played);
    guesses.iter().map(|(_, guess)| guess.right).sum()
}

/// The table of codecs and its goals; whether he listened where the keys were.
fn rows(results: &[Result], peers: &Peers, report: &mut Report) -> bool {
    let mut table = Table::new(&[
        "armed",
        "SNR",
        "digits",
        "he gets",
        "limit",
        "always guessing",
        "bits/digit",
        "of bursts",
        "heard at all",
        "spandsp",
        "multimon-ng",
        "incidents",
    ]);
    let mut goals = Vec::new();
    let mut astray = Vec::new();
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
                format!("{:.3}", sums.bits / sums.digits as f64),
                percent(bursts.recovered()),
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
        if middle < LEAST_ALIKE {
            astray.push(telephone.name);
        }
    }
    report.say(&table.markdown());
    for (reached, what) in goals {
        report.goal(reached, what);
    }
    let what = if astray.is_empty() {
        "what left before the keys was where he listened, over every codec".to_owned()
    } else {
        format!(
            "VOID: he did not listen where it was over {}",
            astray.join(", ")
        )
    };
    report.goal(astray.is_empty(), what);
    astray.is_empty()
}

/// What he gets of each codec over SNR.
fn curves(armed: &[Result], unmasked: &[Result]) -> String {
    const COLOURS: [&str; 6] = [
        "#c0392b", "#e08e0b", "#2471a3", "#1e8449", "#7d3c98", "#117864",
    ];
    let places = ROWS.into_iter().flat_map(|(_, snrs)| snrs).copied();
    let places: Vec<Option<f64>> = places.collect();
    let over = |results: &[Result], wanted: &dyn Fn(&Result) -> bool| -> Vec<(f64, f64)> {
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
