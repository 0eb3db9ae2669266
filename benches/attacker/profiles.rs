//! The stricter profiles, where the usual one is not enough: in loud noise, and far below it.

use tonewall::proto::mask::{Masking, Profile};

use crate::{
    CHANCE, allowance,
    cells::{CONDITIONS, Cell, FAINTEST, KEYS_PER_CALL, OF_ROWS, Outcome},
    common::{
        jobs,
        peers::Peers,
        presses::Noise,
        report::{Report, Table},
    },
    name_of, percent, sum,
};

/// A profile in one noise.
struct Row {
    profile: Profile,
    snr_db: f64,
    /// One condition, or all whole tones of the rows.
    condition: Option<usize>,
    /// Share above chance that may be told; `None` where it is only shown.
    allowance: Option<f64>,
}

const ROWS: [Row; 8] = [
    Row::of(Profile::Strict, 10.0),
    Row::of(Profile::Strict, 5.0),
    Row::of(Profile::Strict, 0.0),
    Row::of(Profile::Strictest, 10.0),
    Row::of(Profile::Strictest, 5.0),
    Row::of(Profile::Strictest, 0.0),
    Row {
        profile: Profile::Fast,
        snr_db: 5.0,
        condition: Some(FAINTEST),
        allowance: None,
    },
    Row {
        profile: Profile::Strictest,
        snr_db: 5.0,
        condition: Some(FAINTEST),
        allowance: Some(0.014),
    },
];

impl Row {
    const fn of(profile: Profile, snr_db: f64) -> Self {
        Self {
            profile,
            snr_db,
            condition: None,
            allowance: allowance(Some(snr_db)),
        }
    }

    fn conditions(&self) -> Vec<usize> {
        match self.condition {
            Some(one) => vec![one],
            None => (0..OF_ROWS)
                .filter(|at| !CONDITIONS[*at].is_burst())
                .collect(),
        }
    }

    fn calls(&self, keys: usize, number: u64, seed: u64) -> Vec<Cell> {
        let conditions = self.conditions();
        // Residue is heard over a line's own noise.
        let noises: &[Noise] = match self.condition {
            Some(_) => &[Noise::White],
            None => &[Noise::White, Noise::Babble],
        };
        let each = keys.div_ceil(conditions.len() * noises.len() * KEYS_PER_CALL);
        let mut calls = Vec::new();
        for noise in noises {
            for condition in &conditions {
                for _ in 0..each {
                    let serial = (1 << 60) + (number << 40) + calls.len() as u64;
                    calls.push(Cell {
                        condition: *condition,
                        noise: Some((*noise, self.snr_db)),
                        masked: true,
                        masking: Masking {
                            profile: self.profile,
                            ..Masking::default()
                        },
                        seed: jobs::seed_of(seed, serial),
                    });
                }
            }
        }
        calls
    }
}

/// Every row, with its goal.
pub(crate) fn judge(seed: u64, quick: bool, peers: &Peers, report: &mut Report) {
    let keys = if quick { 1_200 } else { 10_000 };
    let rows: Vec<Vec<Cell>> = ROWS
        .iter()
        .zip(0..)
        .map(|(row, number)| row.calls(keys, number, seed))
        .collect();
    let outcomes = jobs::run("profiles", &rows.concat(), |cell| cell.run(peers));
    let mut table = Table::new(&[
        "profile",
        "SNR",
        "of",
        "digits",
        "he gets",
        "limit",
        "heard at all",
        ">= 2 ms",
        "longest ms",
        "incidents",
    ]);
    let mut goals = Vec::new();
    let mut rest = &outcomes[..];
    for (row, calls) in ROWS.iter().zip(&rows) {
        let (these, later): (&[Outcome], _) = rest.split_at(calls.len());
        rest = later;
        let sums = sum(these);
        let limit = row.allowance.map(|more| {
            let spread = (CHANCE * (1.0 - CHANCE) / sums.digits as f64).sqrt();
            CHANCE + more + 2.0 * spread
        });
        let name = format!("{:?}", row.profile).to_lowercase();
        let of = row
            .condition
            .map_or("whole tones", |at| CONDITIONS[at].name);
        table.row(vec![
            name.clone(),
            name_of(Some(row.snr_db)),
            of.to_owned(),
            sums.digits.to_string(),
            percent(sums.recovered()),
            limit.map_or("-".to_owned(), percent),
            percent(sums.share(sums.leaked)),
            percent(sums.share(sums.leaked_2_ms)),
            format!("{:.1}", sums.longest as f64 / 8.0),
            sums.incidents.to_string(),
        ]);
        if let Some(limit) = limit {
            let what = format!(
                "{name}, {}, {of}: the listener gets {} of at most {}",
                name_of(Some(row.snr_db)),
                percent(sums.recovered()),
                percent(limit)
            );
            goals.push((sums.recovered() <= limit, what));
        }
    }
    report.say(
        "## Stricter profiles\n\nWhole tones in white noise and babble, as in the rows above.",
    );
    report.say(&table.markdown());
    for (reached, what) in goals {
        report.goal(reached, what);
    }
}
