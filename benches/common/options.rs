//! What a bench is asked for.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;

/// Arguments after `--`; `cargo bench` adds `--bench` by itself.
#[derive(Parser)]
pub(crate) struct Options {
    /// A small run: minutes on two cores
    #[arg(long)]
    pub(crate) quick: bool,
    /// End with status 1 when a figure misses its goal
    #[arg(long)]
    pub(crate) check: bool,
    /// With --check: a peer that is not installed does not fail the run
    #[arg(long)]
    pub(crate) allow_missing: bool,
    /// Repeats the run that printed this seed
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The seed that was asked for, or a fresh one.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            // Short enough to be typed again.
            since.map_or(1, |time| {
                (time.as_nanos() / 1_000 % 1_000_000_000_000) as u64
            })
        })
    }
}
