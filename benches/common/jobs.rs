//! Work on all cores, with progress.

use std::{
    io::{IsTerminal, Write},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

/// A seed of its own for job `number` of the run that `seed` began (Splitmix64): neighbours have
/// nothing in common.
pub(crate) fn seed_of(seed: u64, number: u64) -> u64 {
    let mut mixed = seed
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(number);
    for factor in [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    mixed ^ (mixed >> 31)
}

/// Does `work` for each of `jobs` on all cores; the results come in the order of the jobs.
pub(crate) fn run<J: Sync, R: Send>(
    name: &str,
    jobs: &[J],
    work: impl Fn(&J) -> R + Sync,
) -> Vec<R> {
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    let terminal = std::io::stderr().is_terminal();
    let mut told = 0;
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(at) else {
                return;
            };
            let result = work(job);
            done.lock().expect("no worker panicked").push((at, result));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::sleep(std::time::Duration::from_millis(100));
            let tenth = done
                .lock()
                .map_or(0, |done| done.len() * 10 / jobs.len().max(1));
            if terminal && tenth > told {
                eprint!("\r{name}: {} %", tenth * 10);
                let _ = std::io::stderr().flush();
                told = tenth;
            }
        }
    });
    if terminal {
        eprint!("\r");
    }
    eprintln!("{name}: done in {:.1} s", began.elapsed().as_secs_f64());
    let mut done = done.into_inner().expect("no worker panicked");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
