//! What people say while a call is armed and nobody presses a key: how much of it is masked for
//! nothing, and whether anything in it is taken for a digit.
//!
//! Speech comes from Debian's packages (see `corpora.sh`): prompts and acted dialogue of many voices and
//! languages, no telephone conversations. It goes through the product in mu-law, and beside it to
//! spandsp and multimon-ng.
//!
//! `cargo bench --bench talk_off -- [--quick] [--check] [--allow-missing] [--seed N]`

#[path = "../common/mod.rs"]
mod common;

mod corpus;
mod hearing;

use std::process::ExitCode;

use clap::Parser;

use common::{
    bars::bars,
    jobs,
    options::Options,
    peers::{Peer, Peers},
    report::{Report, Table},
};
use corpus::{Corpus, FULL, MUSIC, QUICK};
use hearing::{Heard, Stretch};
use tonewall::proto::dtmf::Suspicion;

/// Most of the time that may be masked, percent.
const MOST_MASKED: f64 = 3.0;
/// Most false masks an hour with the profile of shadow mode.
const MOST_SHADOW_MASKS: f64 = 1.0;
/// Passes with other speeds and levels, each as long as the corpora.
const FULL_PASSES: usize = 8;

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed();
    let mut report = Report::new("talk_off", options.quick);
    let peers = Peers::find();
    let wanted = if options.quick { QUICK } else { FULL };
    println!("corpora: {} packages, below target/corpora", wanted.len());
    let corpora = match corpus::fetch(wanted) {
        Ok(corpora) => corpora,
        Err(error) => {
            eprintln!("talk_off: {error}");
            return ExitCode::FAILURE;
        }
    };
    let passes = if options.quick { 1 } else { FULL_PASSES };
    report.say(&format!(
        "# Talk-off\n\n{} run, seed {seed}: {:.2} h of recordings as they are, then {passes} times at \
         speeds of 0.8 to 1.25 and levels of -15 to +5 dB. Armed, look-ahead of 12 ms, G.711 mu-law.",
        if options.quick { "Quick" } else { "Full" },
        corpora.iter().map(Corpus::hours).sum::<f64>(),
    ));
    for peer in peers.missing() {
        if options.allow_missing {
            report.say(&format!("**{} was missing.**", peer.name()));
        } else {
            report.goal(false, format!("{} is there to listen", peer.name()));
        }
    }
    for name in wanted
        .iter()
        .filter(|name| corpora.iter().all(|c| c.name != **name))
    {
        report.goal(false, format!("{name} could be fetched"));
    }
    let stretches = hearing::stretches(&corpora, passes, seed);
    let heard = jobs::run("listening", &stretches, |stretch| stretch.hear(&peers));
    judge(&corpora, &stretches, &heard, &peers, &mut report);
    let shares: Vec<(String, f64)> = corpora
        .iter()
        .enumerate()
        .map(|(n, corpus)| {
            let sums = sum(&stretches, &heard, |stretch| {
                stretch.corpus == n && stretch.pass == 0
            });
            (corpus.name.clone(), 100.0 * sums.masked_share())
        })
        .collect();
    let svg = bars(
        "Speech masked for nothing while armed",
        "share of the time, percent; recordings as they are, frames of 20 ms",
        &shares,
        MOST_MASKED,
    );
    report.finish(&svg, options.check)
}

fn sum(stretches: &[Stretch], heard: &[Heard], wanted: impl Fn(&Stretch) -> bool) -> Heard {
    let mut sums = Heard::default();
    for (_, heard) in stretches.iter().zip(heard).filter(|(s, _)| wanted(s)) {
        sums.add(heard);
    }
    sums
}

fn judge(
    corpora: &[Corpus],
    stretches: &[Stretch],
    heard: &[Heard],
    peers: &Peers,
    report: &mut Report,
) {
    let mut table = Table::new(&[
        "recordings",
        "min",
        "masked",
        "of what sounds",
        "suspect",
        "false masks/h",
        "shadow: masks/h",
        "strict: suspect",
        "strictest: suspect",
        "false digits",
        "incidents",
        "tightened",
        "muted",
        "alarms unmasked",
        "spandsp",
        "multimon-ng",
    ]);
    let is_music = |stretch: &Stretch| corpora[stretch.corpus].name == MUSIC;
    for (n, corpus) in corpora.iter().enumerate() {
        let sums = sum(stretches, heard, |s| s.corpus == n && s.pass == 0);
        table.row(line(&corpus.name, &sums, peers, true));
    }
    let speech = sum(stretches, heard, |s| s.pass == 0 && !is_music(s));
    let all = sum(stretches, heard, |s| s.pass == 0);
    let augmented = sum(stretches, heard, |s| s.pass > 0);
    table.row(line("**all speech**", &speech, peers, true));
    table.row(line("**with music**", &all, peers, true));
    table.row(line(
        "**other speeds and levels**",
        &augmented,
        peers,
        false,
    ));
    report.say(
        "`masked`: share of the time in frames of 20 ms that the agent does not hear; `of what sounds`: \
         the same of frames above -45 dBm0; `suspect`: what the detector marks, before frames are \
         rounded up; `shadow`, `strict` and `strictest`: the same by the other profiles of suspicion; `incidents`: times the output check stopped the call; `tightened` and `muted`: armings of a minute whose \
         line was taken to be too noisy for a look-ahead of 12 ms, and for any; `alarms unmasked`: what it \
         would find if nothing were masked.",
    );
    report.say(&table.markdown());
    let mut false_digits = String::new();
    for (stretch, heard) in stretches.iter().zip(heard) {
        for at in &heard.digits {
            let (name, seconds) = corpora[stretch.corpus].recording_at(stretch.origin(*at));
            let pass = stretch.pass;
            false_digits += &format!("- {name}, {seconds:.2} s (pass {pass})\n");
        }
    }
    if !false_digits.is_empty() {
        report.say(&format!("False digits:\n\n{false_digits}"));
    }
    report.goal(
        100.0 * speech.masked_share() <= MOST_MASKED,
        format!(
            "{:.2} % of the speech is masked of at most {MOST_MASKED} %",
            100.0 * speech.masked_share()
        ),
    );
    let (shadow_masks, _) = speech.other(Suspicion::Shadow);
    report.goal(
        shadow_masks <= MOST_SHADOW_MASKS,
        format!(
            "{shadow_masks:.2} false masks an hour of speech by the profile of shadow mode, of at most {MOST_SHADOW_MASKS}"
        ),
    );
    report.goal(
        all.digits.is_empty(),
        format!(
            "{} false digits in {:.2} h as recorded, goal 0",
            all.digits.len(),
            all.hours()
        ),
    );
    report.goal(
        all.incidents + augmented.incidents == 0,
        format!(
            "{} calls stopped by the output check in {:.1} h, goal 0",
            all.incidents + augmented.incidents,
            all.hours() + augmented.hours()
        ),
    );
}

fn line(name: &str, sums: &Heard, peers: &Peers, with_peers: bool) -> Vec<String> {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let mut cells = vec![
        name.to_owned(),
        format!("{:.1}", sums.hours() * 60.0),
        percent(sums.masked_share()),
        percent(sums.sounding_masked_share()),
        percent(sums.suspect_share()),
        format!("{:.0}", sums.false_masks as f64 / sums.hours().max(1e-9)),
        format!("{:.2}", sums.other(Suspicion::Shadow).0),
        percent(sums.other(Suspicion::Strict).1),
        percent(sums.other(Suspicion::Strictest).1),
        sums.digits.len().to_string(),
        sums.incidents.to_string(),
        percent(sums.tightened_shares().0),
        percent(sums.tightened_shares().1),
        sums.alarms.to_string(),
    ];
    cells.extend(Peer::ALL.map(|peer| {
        if with_peers && peers.has(peer) {
            sums.told[peer as usize].to_string()
        } else {
            "-".to_owned()
        }
    }));
    cells
}
