//! One bank of tones for both decisions: per hop complex partial sums, added up to windows, and the
//! exact least-squares fit of a pair of tones to a window.
//!
//! What every hop costs is small: a window's sums slide along (a hop comes in, one goes out), and
//! pairs are fitted only to a window whose strongest row and column could explain enough between
//! them. Which row and which column these are plays no part in that.

mod four;
mod pairs;
mod sums;
mod wave;

use std::hint::black_box;

use zeroize::{Zeroize, ZeroizeOnDrop};

use self::{
    four::Four,
    pairs::Pairs,
    sums::{Comb, Folded, Sums, Turns, to_middle},
};

/// Samples per second that all of this listens at.
pub(super) const RATE_HZ: f64 = 8000.0;
/// Samples of one hop: 2 ms.
pub(super) const HOP: usize = 16;
/// Rows and columns of the keypad (ITU-T Q.23), Hz.
pub(super) const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
/// See [`ROWS_HZ`].
pub(super) const COLUMNS_HZ: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

/// Fours of rows and of columns on the fine grid: any row ±4 % lies within 20 Hz of one, any column
/// within 18 Hz.
const FINE: (usize, usize) = (2, 4);
/// The same on the coarse grid, for windows of one hop: within 40 and 35 Hz.
const COARSE: (usize, usize) = (1, 2);

/// Hops of the longest window: 32 ms.
const LONGEST: usize = 16;
/// Hops whose energies are kept: those of the longest window, and 32 ms before it.
const KEPT: usize = 2 * LONGEST;
/// Hops that tell how quiet it was before a window: 10 ms of the 32 ms before.
const QUIET_HOPS: usize = 5;
/// Hops before a burst that have to be quieter: 16 ms, longer than a voice takes from pulse to pulse.
const BURST_HOPS: usize = 8;
/// Samples kept for the fine grid (6 ms), for windows of one hop and for what went before them.
const RECENT: usize = 3 * HOP;
/// Hops after which the phases of all nominal tones have come round (a second).
const ROUND: usize = 500;
/// Added and taken away again, this rounds to halves. Sums of hops are below 2^20 and sums of
/// windows below 2^23, so whatever is added of them is exact in an `f32`: a sliding sum is the same
/// as one made anew, and however loud it was, nothing of what has left remains.
const TO_HALVES: f32 = 1.5 * (1 << 22) as f32;

/// Least share of 6 ms that the strongest nominal row and column come to where the fine grid is asked.
const FINE_GATE: f32 = 0.40;

const NOMINAL_HZ: [[f64; 4]; 2] = [ROWS_HZ, COLUMNS_HZ];
const FINE_ROWS_HZ: [[f64; 4]; FINE.0] = grid(684.0, 40.0);
const FINE_COLUMNS_HZ: [[f64; 4]; FINE.1] = grid(1176.0, 35.0);
const COARSE_ROWS_HZ: [[f64; 4]; COARSE.0] = grid(700.0, 80.0);
const COARSE_COLUMNS_HZ: [[f64; 4]; COARSE.1] = grid(1190.0, 70.0);

static HOP_COMB: Comb<2, { HOP / 8 }> = Comb::new(&NOMINAL_HZ);
static TURNS: Turns<2, ROUND> = Turns::new(&NOMINAL_HZ);
static TO_MIDDLE: [Sums<2>; 4] = [
    to_middle(&NOMINAL_HZ, Window::W6.hops()),
    to_middle(&NOMINAL_HZ, Window::W10.hops()),
    to_middle(&NOMINAL_HZ, Window::W16.hops()),
    to_middle(&NOMINAL_HZ, Window::W32.hops()),
];
static PAIRS: [Pairs<1, 1>; 4] = [
    nominal_pairs(Window::W6),
    nominal_pairs(Window::W10),
    nominal_pairs(Window::W16),
    nominal_pairs(Window::W32),
];
static FINE_COMB: Comb<{ FINE.0 + FINE.1 }, { RECENT / 8 }> =
    Comb::new(&joined(&FINE_ROWS_HZ, &FINE_COLUMNS_HZ));
static FINE_PAIRS: Pairs<{ FINE.0 }, { FINE.1 }> =
    Pairs::new(&FINE_ROWS_HZ, &FINE_COLUMNS_HZ, RECENT);
static COARSE_COMB: Comb<{ COARSE.0 + COARSE.1 }, { HOP / 8 }> =
    Comb::new(&joined(&COARSE_ROWS_HZ, &COARSE_COLUMNS_HZ));
static COARSE_PAIRS: Pairs<{ COARSE.0 }, { COARSE.1 }> =
    Pairs::new(&COARSE_ROWS_HZ, &COARSE_COLUMNS_HZ, HOP);

/// [`Pairs::bound`] of each.
static BOUNDS: Four = Four([
    PAIRS[0].bound,
    PAIRS[1].bound,
    PAIRS[2].bound,
    PAIRS[3].bound,
]);

const fn nominal_pairs(window: Window) -> Pairs<1, 1> {
    Pairs::new(&[ROWS_HZ], &[COLUMNS_HZ], window.samples())
}

const fn joined<const V: usize>(rows: &[[f64; 4]], columns: &[[f64; 4]]) -> [[f64; 4]; V] {
    let mut all = [[0.0; 4]; V];
    let mut four = 0;
    while four < V {
        all[four] = if four < rows.len() {
            rows[four]
        } else {
            columns[four - rows.len()]
        };
        four += 1;
    }
    all
}

const fn grid<const V: usize>(from: f64, step: f64) -> [[f64; 4]; V] {
    let mut grid = [[0.0; 4]; V];
    let mut n = 0;
    while n < 4 * V {
        grid[n / 4][n % 4] = from + step * n as f64;
        n += 1;
    }
    grid
}

/// A window on the nominal frequencies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// 6 ms.
    W6,
    /// 10 ms.
    W10,
    /// 16 ms.
    W16,
    /// 32 ms.
    W32,
}

impl Window {
    pub(super) const ALL: [Self; 4] = [Self::W6, Self::W10, Self::W16, Self::W32];

    /// How many hops it spans.
    pub(super) const fn hops(self) -> usize {
        match self {
            Self::W6 => 3,
            Self::W10 => 5,
            Self::W16 => 8,
            Self::W32 => LONGEST,
        }
    }

    /// How many samples it spans.
    pub(super) const fn samples(self) -> usize {
        self.hops() * HOP
    }
}

/// Limits of the twist (column over row) as a ratio of powers.
#[derive(Clone, Copy)]
pub(super) struct Twist {
    /// Least.
    pub(super) least: f32,
    /// Most.
    pub(super) most: f32,
}

/// How a window is best explained by one row and one column at their nominal frequencies.
#[derive(Zeroize)]
pub(super) struct Fit {
    /// Row, 0 to 3.
    pub(super) row: usize,
    /// Column, 0 to 3.
    pub(super) column: usize,
    /// Explained energy over energy, 0 to 1.
    pub(super) explained: f32,
    /// Energy of the window.
    pub(super) energy: f32,
    /// Cosine and sine amplitude of the row, phase counted from the window's middle.
    pub(super) row_wave: [f32; 2],
    /// The same of the column.
    pub(super) column_wave: [f32; 2],
}

/// The bank: what the last 32 ms sounded like. Tells keys, hence wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Bank {
    /// Sums of each hop, phase counted from the first of all hops.
    hops: [Sums<2>; LONGEST],
    /// Of the longest window and of what was before it.
    hop_energies: [f64; KEPT],
    /// Sums of each window, phase counted from the first of all hops.
    windows: [Sums<2>; 4],
    /// Whole numbers, so that they slide exactly, too.
    energies: [f64; 4],
    /// The same, rounded, in one piece: what was written in pieces is slow to be read as one.
    rounded: Four,
    /// What the strongest row and column of each window come to.
    strongest: Four,
    recent: [i16; RECENT],
    /// Energies of each 1 ms of the latest hops.
    halves: [[f32; 2]; 4],
    /// Place of the newest hop in `hop_energies`; its place in `hops` is the remainder by [`LONGEST`].
    #[zeroize(skip)]
    newest: usize,
    /// Hops so far, modulo [`ROUND`].
    #[zeroize(skip)]
    turn: usize,
}

impl Default for Bank {
    fn default() -> Self {
        Self {
            hops: [Sums::ZERO; LONGEST],
            hop_energies: [0.0; KEPT],
            windows: [Sums::ZERO; 4],
            energies: [0.0; 4],
            rounded: Four::ZERO,
            strongest: Four::ZERO,
            recent: [0; RECENT],
            halves: [[0.0; 2]; 4],
            newest: 0,
            turn: 0,
        }
    }
}

impl Bank {
    /// Takes the next hop; every window then ends with it.
    pub(super) fn push(&mut self, hop: &[i16; HOP]) {
        let mut samples = [Four::ZERO; HOP / 4];
        for n in 0..HOP {
            samples[n / 4].0[n % 4] = f32::from(hop[n]);
        }
        let [a, b, c, d] = samples;
        // Seen through, these sums would be made of shuffles all the way.
        let [first, second] = black_box([a * a + b * b, c * c + d * d]).map(Four::sum);
        self.recent.copy_within(HOP.., 0);
        self.recent[RECENT - HOP..].copy_from_slice(hop);

        self.turn = if self.turn + 1 < ROUND {
            self.turn + 1
        } else {
            0
        };
        // Seen through, the table would be taken apart into shuffles that cost more than it.
        let mut sums = black_box(&HOP_COMB)
            .sums(&Folded::new(&samples))
            .later(TURNS.by(self.turn));
        let to_halves = Four::all(TO_HALVES);
        for four in 0..2 {
            sums.cos[four] = (sums.cos[four] + to_halves) - to_halves;
            sums.sin[four] = (sums.sin[four] + to_halves) - to_halves;
        }
        self.slide(&sums, f64::from(first + second));
        self.halves[self.newest % 4] = [first, second];
    }

    /// Energies of each 1 ms of the latest three hops.
    #[inline(always)]
    fn halves(&self) -> [f32; 6] {
        let [[a, b], [c, d], [e, f]] =
            [2, 1, 0].map(|age| self.halves[self.newest.wrapping_sub(age) % 4]);
        [a, b, c, d, e, f]
    }

    #[inline(always)]
    fn slide(&mut self, sums: &Sums<2>, energy: f64) {
        const HOPS: [usize; 4] = [
            Window::W6.hops(),
            Window::W10.hops(),
            Window::W16.hops(),
            Window::W32.hops(),
        ];
        let newest = self.newest.wrapping_add(1) % KEPT;
        let gone = HOPS.map(|hops| self.hop_energies[newest.wrapping_sub(hops) % KEPT]);
        let (mut rows, mut columns) = ([Four::ZERO; 4], [Four::ZERO; 4]);
        for window in 0..4 {
            let gone = &self.hops[newest.wrapping_sub(HOPS[window]) % LONGEST];
            let slid = &mut self.windows[window];
            for four in 0..2 {
                slid.cos[four] += sums.cos[four] - gone.cos[four];
                slid.sin[four] += sums.sin[four] - gone.sin[four];
            }
            rows[window] = slid.power(0);
            columns[window] = slid.power(1);
        }
        self.strongest = Four::largest_of(rows) + Four::largest_of(columns);
        self.hops[newest % LONGEST] = *sums;
        let mut energies = self.energies;
        for window in 0..4 {
            energies[window] += energy - gone[window];
        }
        self.energies = energies;
        self.rounded = Four(energies.map(|energy| energy as f32));
        self.hop_energies[newest] = energy;
        self.newest = newest;
    }

    /// Whether some pair within the twist explains at least this share of a window's energy.
    pub(super) fn nominal(&self, window: Window, twist: Twist, least: f32) -> bool {
        self.might_explain(window, least)
            && PAIRS[window as usize].explain_a_tone(
                &self.middle(window),
                twist,
                least * self.energy(window),
            )
    }

    /// Whether in any of [`Window::ALL`] a pair might explain its share of `least`: most of speech,
    /// and all of silence, is told apart by this at a fraction of the cost.
    #[inline(always)]
    pub(super) fn is_suspicious(&self, least: [f32; 4]) -> bool {
        let over = BOUNDS * self.strongest - Four(least) * self.rounded;
        over.largest() >= 0.0 && self.rounded.0[Window::W32 as usize] > 0.0
    }

    /// The same for one window.
    #[inline(always)]
    fn might_explain(&self, window: Window, least: f32) -> bool {
        let (energy, window) = (self.energy(window), window as usize);
        energy > 0.0 && BOUNDS.0[window] * self.strongest.0[window] >= least * energy
    }

    /// Energy of a window.
    #[inline(always)]
    pub(super) fn energy(&self, window: Window) -> f32 {
        self.rounded.0[window as usize]
    }

    /// Energy of the newest hop.
    #[inline(always)]
    pub(super) fn newest(&self) -> f64 {
        self.hop_energy(0)
    }

    /// Energy of the hop `age` hops before the newest.
    #[inline(always)]
    fn hop_energy(&self, age: usize) -> f64 {
        self.hop_energies[self.newest.wrapping_sub(age) % KEPT]
    }

    /// Whether a window is louder by `factor` than the quietest 10 ms of the 32 ms before it.
    #[inline(never)]
    pub(super) fn rises(&self, window: Window, factor: f32) -> bool {
        let hops = window.hops();
        let now = self.energies[window as usize] / hops as f64;
        // Whole numbers, so that this sum slides exactly, too.
        let mut before: f64 = (hops..hops + QUIET_HOPS)
            .map(|age| self.hop_energy(age))
            .sum();
        let last = hops + LONGEST - QUIET_HOPS;
        for first in hops..=last {
            if now >= f64::from(factor) * before / QUIET_HOPS as f64 {
                return true;
            }
            if first < last {
                before += self.hop_energy(first + QUIET_HOPS) - self.hop_energy(first);
            }
        }
        false
    }

    /// Sums of a window with time counted from its middle.
    fn middle(&self, window: Window) -> Sums<2> {
        self.windows[window as usize]
            .earlier(TURNS.by(self.turn))
            .later(&TO_MIDDLE[window as usize])
    }

    /// The same for 6 ms on the fine grid, for tones beside their nominal frequency.
    #[inline(always)]
    pub(super) fn fine(&self, twist: Twist, least: f32) -> bool {
        let energy = self.energy(Window::W6);
        let strongest = self.strongest.0[Window::W6 as usize] * (2.0 / RECENT as f32);
        if energy == 0.0 || strongest < FINE_GATE * energy {
            return false;
        }
        self.finely(energy, twist, least)
    }

    #[inline(never)]
    fn finely(&self, energy: f32, twist: Twist, least: f32) -> bool {
        let mut folded = Folded::of(&self.recent);
        let mut sums = FINE_COMB.sums(&folded);
        folded.zeroize();
        let least = least * energy;
        let explains = FINE_PAIRS.explain(&sums, twist, least);
        sums.zeroize();
        explains
    }

    /// The same for 2 ms on the coarse grid, at half-hop steps, but only where the energy rises by
    /// `jump` over the 2 ms that ended 1 ms before, and over each 2 ms of the 16 ms before.
    #[inline(always)]
    pub(super) fn onset(&self, twist: Twist, jump: f32, least: f32) -> bool {
        let [a, b, c, d, e, f] = self.halves();
        (d + e > jump * (a + b)
            && self.stands_out(d + e, jump)
            && self.rises_to_a_pair(3, d + e, twist, least))
            || (e + f > jump * (b + c)
                && self.stands_out(e + f, jump)
                && self.rises_to_a_pair(4, e + f, twist, least))
    }

    fn stands_out(&self, energy: f32, jump: f32) -> bool {
        (2..=BURST_HOPS).all(|age| f64::from(energy) > f64::from(jump) * self.hop_energy(age))
    }

    /// The same where suspicion lasts, for bursts that follow each other sooner than they could stand
    /// out: the energy rises over the quietest of the 3 ms before.
    #[inline(always)]
    pub(super) fn burst(&self, twist: Twist, jump: f32, least: f32) -> bool {
        let [a, b, c, d, e, f] = self.halves();
        let quietest = |one: f32, two: f32, three: f32| one.min(two).min(three);
        (d + e > 2.0 * jump * quietest(a, b, c) && self.rises_to_a_pair(3, d + e, twist, least))
            || (e + f > 2.0 * jump * quietest(b, c, d)
                && self.rises_to_a_pair(4, e + f, twist, least))
    }

    #[inline(never)]
    fn rises_to_a_pair(&self, half: usize, energy: f32, twist: Twist, least: f32) -> bool {
        let mut folded = Folded::of(&self.recent[half * HOP / 2..][..HOP]);
        let mut sums = COARSE_COMB.sums(&folded);
        folded.zeroize();
        let least = least * energy;
        let explains = COARSE_PAIRS.explain(&sums, twist, least);
        sums.zeroize();
        explains
    }

    /// The best pair of the 10 ms window, where one might explain at least this share of it.
    #[inline(always)]
    pub(super) fn fit(&self, least: f32) -> Option<Fit> {
        self.might_explain(Window::W10, least).then(|| self.best())
    }

    #[inline(never)]
    fn best(&self) -> Fit {
        let best = PAIRS[Window::W10 as usize].best(&self.middle(Window::W10));
        let [row_wave, column_wave] = best.waves;
        Fit {
            row: best.row,
            column: best.column,
            explained: best.explained / self.energy(Window::W10),
            energy: self.energy(Window::W10),
            row_wave,
            column_wave,
        }
    }
}
