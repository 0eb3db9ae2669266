//! A daemon under a load that lasts.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    common::{jobs, tones::Dice},
    judge::{self, Sample},
    live::{
        calls::Calls,
        daemons::{Daemon, Kind},
        figures,
        load::{Length, Load, Slice},
        ng::{self, Ways},
        process::{self, Cores},
        speech::Speech,
    },
};

/// One call of so many is armed at a time, another one in each slice; they all have their turn.
pub(crate) const ARMED_ONE_OF: usize = 20;
/// Calls from whose cost the reachable load is reckoned.
const PROBE: usize = 500;
/// Share of the reachable load.
const SHARE: f64 = 0.6;
/// How busy a core may be with a load that is still carried.
const BUSY: f64 = 0.9;
/// Most calls: descriptors, ports and the load's buffers.
const MOST: usize = 4_000;
const LENGTH: Length = Length {
    warm: Duration::from_millis(500),
    measured: Duration::from_millis(1_500),
};

pub(crate) struct Long<'a> {
    pub(crate) cores: Cores,
    pub(crate) seed: u64,
    pub(crate) speech: &'a Speech,
    pub(crate) load: Load,
}

impl<'a> Long<'a> {
    /// 60 % of the calls that are carried without loss on a core, neither the daemon's nor the load's
    /// being full.
    pub(crate) fn share_of_reachable(&mut self) -> Result<usize, String> {
        let probe = self.once(PROBE)?;
        let seconds = probe.wall.as_secs_f64();
        let daemon = Duration::from_nanos(probe.cpu.ns).as_secs_f64() / seconds;
        let load = probe.own_cpu.as_secs_f64() / seconds;
        // What more calls cost each is less.
        let mut calls = ((PROBE as f64 * BUSY / daemon.max(load) * 1.5) as usize).min(MOST);
        loop {
            let slice = self.once(calls)?;
            let core = slice.cpu.ns as f64 / slice.wall.as_nanos() as f64;
            let carried = slice.arrivals.lost == 0 && core < BUSY;
            match figures::void(&slice) {
                None if carried => break,
                why => eprintln!(
                    "soak: {calls} calls are not carried ({} lost, {:.0} % of a core{})",
                    slice.arrivals.lost,
                    100.0 * core,
                    why.map_or_else(String::new, |why| format!(", {why}"))
                ),
            }
            calls = calls * 4 / 5;
            if calls < PROBE / 5 {
                return Err(format!("{calls} calls are not carried either"));
            }
        }
        let share = (calls as f64 * SHARE) as usize;
        eprintln!("soak: {calls} calls are carried; {share} it is");
        Ok(share)
    }

    fn once(&mut self, calls: usize) -> Result<Slice, String> {
        let daemon = Daemon::start(&Kind::Tonewall, self.cores.daemon);
        let mut calls = self.set_up(&daemon, calls, |_| false)?;
        let slice = self.load.play(&mut calls, &daemon, LENGTH, self.seed);
        slice.map_err(|error| error.to_string())
    }

    fn set_up(
        &self,
        daemon: &Daemon,
        calls: usize,
        masked: impl Fn(usize) -> bool,
    ) -> Result<Calls<'a>, String> {
        let ports = ng::set_up(daemon.ng(), self.load.ends(), calls, |_| None)?;
        let mut dice = Dice::new(self.seed);
        Ok(Calls::new(self.speech, &mut dice, &ports, |call| {
            masked(call).then_some(Ways::One)
        }))
    }

    /// Slices for so long, one after the other.
    pub(crate) fn soak(
        &mut self,
        kind: &Kind,
        calls: usize,
        time: Duration,
        length: Length,
    ) -> Result<Vec<Sample>, String> {
        let arms = *kind == Kind::Tonewall;
        let daemon = Daemon::start(kind, self.cores.daemon);
        // Whose caller is armed at some time is known by what it says, all the time: its numbers are
        // others once it was.
        let may_be_armed = |call: usize| arms && call % 2 == 1;
        let mut streams = self.set_up(&daemon, calls, may_be_armed)?;
        let began = Instant::now();
        let mut samples: Vec<Sample> = Vec::new();
        let mut turn = 0;
        while began.elapsed() < time {
            let seed = jobs::seed_of(self.seed, turn);
            let slice = thread::scope(|scope| {
                let commands = scope.spawn(|| {
                    if arms {
                        arm_others(&daemon, calls, turn)
                    } else {
                        Ok(())
                    }
                });
                let slice = self.load.play(&mut streams, &daemon, length, seed);
                let commanded = commands.join().expect("arming does not panic");
                commanded.and(slice.map_err(|error| error.to_string()))
            })?;
            turn += 1;
            let descriptors = process::descriptors(daemon.pid());
            let sample = Sample::of(&slice, began.elapsed(), descriptors);
            let minute = |sample: &Sample| sample.at.as_secs() / 60;
            let is_over = samples
                .last()
                .is_some_and(|last| minute(last) != minute(&sample));
            if arms && is_over {
                judge::progress(&samples);
            }
            samples.push(sample);
        }
        Ok(samples)
    }
}

/// Releases those that were armed in the slice before and arms others.
fn arm_others(daemon: &Daemon, calls: usize, turn: u64) -> Result<(), String> {
    // Odd calls only: see `may_be_armed`.
    let of = |turn: u64| {
        let first = (turn as usize % (ARMED_ONE_OF / 2)) * 2 + 1;
        (first..calls).step_by(ARMED_ONE_OF)
    };
    if let Some(before) = turn.checked_sub(1) {
        ng::set_blocked(daemon.ng(), of(before), false)?;
    }
    ng::set_blocked(daemon.ng(), of(turn), true)
}
