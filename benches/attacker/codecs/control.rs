//! Whether the listener and the peers hear what is not masked, and how little of it.

use std::ops::Range;

use rand::{SeedableRng, rngs::StdRng};
use tonewall::proto::mask::Masking;

use super::{
    Call, Heard, ROWS, guesses, run,
    telephone::{Paths, Telephone},
};
use crate::{
    LEAST_OF_PEERS, LEAST_UNMASKED,
    cells::{Cell, KEYS_PER_CALL},
    common::{
        jobs,
        peers::{Peer, Peers},
        presses::Noise,
        report::{Report, Table},
        signal::MS,
    },
    name_of, percent, sum,
};

/// Bursts through decoder and encoder of the gateway that he is tried with, ms.
const BURSTS_MS: [usize; 5] = [2, 3, 5, 10, 20];
/// Share that he has to get of those of [`Telephone::sure_burst_ms`].
const LEAST_OF_BURSTS: f64 = 0.9;
/// Gates exactly as long as a key and so many ms longer at each end.
const GATES_MS: [usize; 3] = [0, 10, 20];

/// The same calls, not armed; whether he hears their keys, and the peers too.
pub(super) fn unmasked(
    seed: u64,
    quick: bool,
    paths: &[Paths],
    peers: &Peers,
    report: &mut Report,
) -> (Vec<Heard>, bool) {
    let each = if quick { 1 } else { 3 };
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
            // Of few digits at 10 dB a single one would be more than a hundredth.
            let least = if row == 0 {
                LEAST_UNMASKED
            } else {
                LEAST_OF_PEERS
            };
            if sums.recovered() < least {
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
        "with masking off the listener gets 99 % over every codec (95 % at 10 dB), the peers 95 % from 15 dB up"
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
pub(super) fn remains(seed: u64, quick: bool, paths: &[Paths], report: &mut Report) -> bool {
    const SNRS: [Option<f64>; 2] = [None, Some(20.0)];
    const TRIALS: usize = BURSTS_MS.len() + GATES_MS.len();
    let each = if quick { 1 } else { 5 };
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
        let telephone = Telephone::ALL[row / SNRS.len()];
        let mut line = vec![telephone.name.to_owned(), name_of(SNRS[row % SNRS.len()])];
        line.extend(shares.iter().map(|share| format!("{:.0}", 100.0 * share)));
        table.row(line);
        let sure = telephone.sure_burst_ms();
        let judged = BURSTS_MS.iter().zip(shares).find(|(ms, _)| **ms == sure);
        if judged.is_none_or(|(_, share)| *share < LEAST_OF_BURSTS) {
            deaf.push(format!("{sure} ms over {}", telephone.name));
        }
    }
    report.say(
        "What he gets of little, decoded and encoded anew as in an armed call: of bursts that are not \
         masked, and of what is left beside a key where a gate would shut and open exactly with it, or \
         that much earlier and later:",
    );
    report.say(&table.markdown());
    let what = if deaf.is_empty() {
        "of bursts of 5 ms (G.729: 20 ms) he gets 90 % over every codec".to_owned()
    } else {
        format!(
            "VOID: of these bursts he does not get 90 %: {}",
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
