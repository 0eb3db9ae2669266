//! How well digits are heard: side 1 of Mitel's tape CM7291 and the corners of ITU-T Q.24, rebuilt from
//! their descriptions, with spandsp's receiver on the same samples beside ours.
//!
//! `cargo bench --bench decoder -- [--quick] [--check] [--allow-missing] [--seed N]`
//!
//! Without `--quick` it writes `docs/figures/decoder.md` and `decoder.svg`.

#[path = "../common/mod.rs"]
mod common;
mod mitel;
mod q24;
mod report;
mod trials;

use std::{path::Path, time::Instant};

use clap::Parser;

use common::{options::Options, peers};
use report::Report;
use trials::Bench;

fn main() {
    let options = Options::parse();
    let seed = options.seed();
    println!("seed {seed}");
    let since = Instant::now();
    let program = peers::find_spandsp();
    let missing = program.is_none() && !options.allow_missing;
    let bench = Bench {
        seed,
        quick: options.quick,
        program,
    };
    let mut report = Report::new(options.quick);
    mitel::run(&bench, &mut report);
    q24::run(&bench, &mut report);
    if !options.quick {
        eprintln!("\ncurves ...");
        q24::curve(&bench, &mut report);
        let how = format!(
            "`cargo bench --bench decoder -- --seed {seed}`: each row new tones, phases and noise; white \
             noise of 0 to 4 kHz, SNR of both components together, G.711. spandsp 0.0.6 with its \
             defaults heard the same samples."
        );
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/figures");
        if let Err(error) = report.write(&folder, &how) {
            eprintln!("{}: {error}", folder.display());
            std::process::exit(1);
        }
        println!("\nwritten to {}", folder.display());
    }
    println!("\n{:.0} s", since.elapsed().as_secs_f64());
    let mut missed = report.missed();
    if missing {
        missed.push("spandsp is missing");
    }
    if missed.is_empty() {
        println!("decoder: every goal reached");
        return;
    }
    println!("decoder: {} MISSED: {}", missed.len(), missed.join("; "));
    if options.check {
        std::process::exit(1);
    }
}
