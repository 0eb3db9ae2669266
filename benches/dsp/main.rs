//! What hearing and masking cost: nanoseconds for each 20 ms frame of G.711 that an armed leg brings,
//! from its codewords to what leaves, with spandsp's receiver of tones (which hears digits and nothing
//! else) beside it on the same samples in the same run.
//!
//! `cargo bench --bench dsp -- [--quick] [--check] [--allow-missing] [--seed N]`

#[path = "../common/mod.rs"]
mod common;
mod whole;

use std::{hint::black_box, path::Path, time::Instant};

use clap::Parser;

use common::{
    options::Options,
    peers,
    signal::{MS, encode, speech},
    spandsp::{self, Spandsp},
    tones::{Dice, Tone, add_white},
};
use tonewall::{
    media::SlotSource,
    proto::{
        codec::{Audio, Form, Law},
        dtmf::{Ear, OutputCheck},
        encoding::AudioCodec,
        mask::{Masker, MaskerStart, Masking, Outbox, Unarmed},
        secret::KeySlot,
    },
    secret_memory::Slab,
};

const FRAME: usize = 160;
const HEADER: usize = 12;
/// Frames that are timed together: 1 s.
const STRETCH: usize = 50;
/// What one frame may cost.
const MOST_NANOSECONDS: f64 = 1000.0;
/// How many times what spandsp takes.
const MOST_TIMES_SPANDSP: f64 = 2.5;
/// The row that the goals speak of.
const JUDGED: &str = "a call";

/// What a worker does with each frame of an armed leg.
struct Leg {
    ear: Ear,
    masker: Masker,
    check: OutputCheck,
    outbox: Outbox,
    slot: KeySlot,
    presses: usize,
    alarms: usize,
}

impl Leg {
    fn new(slab: &Slab) -> Self {
        let start = MaskerStart {
            ssrc: 1,
            payload_type: 0,
            codec: AudioCodec::Pcmu,
            sequence: 0,
            timestamp: 0,
            frame: FRAME,
        };
        Self {
            ear: Ear::default(),
            masker: Masker::new(start, Masking::default(), Unarmed::from_the_start()),
            check: OutputCheck::default(),
            outbox: Outbox::default(),
            slot: slab.acquire().expect("a slot is free"),
            presses: 0,
            alarms: 0,
        }
    }

    fn frame(&mut self, codes: &[u8]) {
        let mut samples = [0; FRAME];
        decode(codes, &mut samples);
        let mut presses = 0;
        let verdict = self.ear.hear_audio(
            &of_codes(codes, &samples),
            Some(&mut self.slot),
            &mut |_| presses += 1,
        );
        self.masker.push(&of_codes(codes, &samples), &verdict);
        if presses > 0 {
            self.presses += presses;
            self.masker.note_press();
        }
        self.outbox.clear();
        self.masker.emit(&mut self.outbox);
        for cleared in self.outbox.cleared() {
            decode(&cleared.datagram()[HEADER..], &mut samples);
            self.alarms += usize::from(self.check.listen(&samples));
        }
    }
}

fn of_codes<'a>(codes: &'a [u8], samples: &'a [i16; FRAME]) -> Audio<'a> {
    Audio {
        samples: &samples[..codes.len()],
        form: Form::Codewords(Law::Mu, codes),
    }
}

fn decode(codes: &[u8], samples: &mut [i16; FRAME]) {
    for (sample, code) in samples.iter_mut().zip(codes) {
        *sample = Law::Mu.decode(*code);
    }
}

fn noise(seconds: usize, dice: &mut Dice) -> Vec<u8> {
    let mut samples = vec![0.0; seconds * 8000];
    add_white(&mut samples, -45.0, dice);
    encode(Law::Mu, &samples)
}

/// Keys of 100 ms, one each `every` ms, over noise.
fn keying(presses: usize, every: usize, dice: &mut Dice) -> Vec<u8> {
    let mut samples = vec![0.0; presses * every * MS];
    add_white(&mut samples, -45.0, dice);
    for press in samples.chunks_mut(every * MS) {
        let key = dice.one_of(&[0, 1, 2, 4, 5, 6, 8, 9, 10, 13]);
        Tone::plain(key).add(&mut press[..100 * MS], dice);
    }
    encode(Law::Mu, &samples)
}

/// What each stretch took in the pass that was disturbed least, added up: what the code takes when
/// the machine does nothing else.
#[derive(Default)]
struct Fastest(Vec<u64>);

impl Fastest {
    fn pass(&mut self, stretches: impl IntoIterator<Item = u64>) {
        for (n, took) in stretches.into_iter().enumerate() {
            match self.0.get_mut(n) {
                Some(fastest) => *fastest = took.min(*fastest),
                None => self.0.push(took),
            }
        }
    }

    fn per_frame(&self, frames: usize) -> f64 {
        self.0.iter().sum::<u64>() as f64 / frames as f64
    }
}

/// Nanoseconds of each stretch of a pass.
fn timed<'a>(frames: &'a [&'a [u8]], mut hear: impl FnMut(&[u8])) -> Vec<u64> {
    let one = |stretch: &[&[u8]]| {
        let since = Instant::now();
        for frame in stretch {
            hear(black_box(frame));
        }
        since.elapsed().as_nanos() as u64
    };
    frames.chunks(STRETCH).map(one).collect()
}

struct Row {
    name: &'static str,
    ours: f64,
    /// Decoding, ear, masker, check, each by itself.
    parts: [f64; 4],
    spandsp: Option<f64>,
}

fn measure(name: &'static str, codes: &[u8], passes: usize, program: Option<&Path>) -> Row {
    eprintln!("  {name} ...");
    let frames: Vec<&[u8]> = codes.chunks_exact(FRAME).collect();
    let stretches = frames.len().div_ceil(STRETCH);
    let slab = Slab::map(4, 0, false).expect("this host has lockable memory");
    let mut timer = program.map(|program| {
        let file = spandsp::scratch().join("dsp.raw");
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame.iter())
            .flat_map(|code| Law::Mu.decode(*code).to_le_bytes())
            .collect();
        std::fs::write(&file, bytes).expect("target/ can be written");
        Spandsp::timer(program, &file)
    });
    let mut leg = Leg::new(&slab);
    let mut alone = Leg::new(&slab);
    let quiet = Ear::default().hear_audio(&Audio::narrow(&[]), None, &mut |_| {});
    let (mut ours, mut theirs) = (Fastest::default(), Fastest::default());
    let mut parts: [Fastest; 4] = Default::default();
    for _ in 0..passes {
        leg.slot.clear();
        ours.pass(timed(&frames, |frame| leg.frame(frame)));
        if let Some(timer) = &mut timer {
            theirs.pass(timer.pass(stretches));
        }
        let mut samples = [0; FRAME];
        parts[0].pass(timed(&frames, |frame| {
            decode(frame, black_box(&mut samples));
        }));
        parts[1].pass(timed(&frames, |frame| {
            decode(frame, &mut samples);
            black_box(
                alone
                    .ear
                    .hear_audio(&of_codes(frame, &samples), None, &mut |_| {}),
            );
        }));
        parts[2].pass(timed(&frames, |frame| {
            alone.masker.push(&of_codes(frame, &samples), &quiet);
            alone.outbox.clear();
            alone.masker.emit(&mut alone.outbox);
        }));
        parts[3].pass(timed(&frames, |frame| {
            decode(frame, &mut samples);
            black_box(alone.check.listen(&samples));
        }));
    }
    assert_eq!(
        leg.alarms, 0,
        "{name}: the check heard a key behind the mask"
    );
    let [decoding, ear, masker, check] = parts.map(|part| part.per_frame(frames.len()));
    Row {
        name,
        ours: ours.per_frame(frames.len()),
        parts: [2.0 * decoding, ear - decoding, masker, check - decoding],
        spandsp: timer.map(|_| theirs.per_frame(frames.len())),
    }
}

fn main() {
    let options = Options::parse();
    let seed = options.seed();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let program = peers::find_spandsp();
    let passes = if options.quick { 100 } else { 1000 };
    let (speech, noise) = (speech("caller-"), noise(4, &mut dice));
    let hasty = keying(20, 200, &mut dice);
    // A card's number, its date and its code, as people key them: two a second.
    let card = keying(23, 500, &mut dice);
    let call: Vec<u8> = speech.iter().chain(&card).copied().collect();
    let silence = vec![Law::Mu.silence(); 8000];
    let rows = [
        ("silence", &silence),
        ("noise, -45 dBm0", &noise),
        ("speech", &speech),
        ("keys, 5 a second", &hasty),
        (JUDGED, &call),
    ]
    .map(|(name, codes)| measure(name, codes, passes, program.as_deref()));

    println!("\nns per frame of 20 ms, one thread, default target CPU");
    println!(
        "{:<16} {:>8} {:>9} {:>6}   of these: {:>8} {:>6} {:>6} {:>6}",
        "", "tonewall", "spandsp", "times", "decoding", "ear", "mask", "check"
    );
    for row in &rows {
        let [decoding, ear, masker, check] = row.parts;
        let (spandsp, times) = row.spandsp.map_or(("-".into(), "-".into()), |theirs| {
            (format!("{theirs:.0}"), format!("{:.2}", row.ours / theirs))
        });
        println!(
            "{:<16} {:>8.0} {spandsp:>9} {times:>6}             {decoding:>8.0} {ear:>6.0} {masker:>6.0} {check:>6.0}",
            row.name, row.ours
        );
    }
    whole::print(&call, passes);
    println!(
        "\n{JUDGED}: speech, then 23 keys, two a second; decoding counts twice, for ear and check"
    );
    let judged = rows.iter().find(|row| row.name == JUDGED);
    judge(judged.expect("it is measured"), &options);
}

fn judge(row: &Row, options: &Options) {
    let mut missed = Vec::new();
    if row.ours > MOST_NANOSECONDS {
        missed.push(format!("{:.0} ns; at most {MOST_NANOSECONDS:.0}", row.ours));
    }
    match row.spandsp {
        Some(theirs) if row.ours > MOST_TIMES_SPANDSP * theirs => missed.push(format!(
            "{:.2} times spandsp; at most {MOST_TIMES_SPANDSP}",
            row.ours / theirs
        )),
        None if !options.allow_missing => missed.push("spandsp is missing".into()),
        _ => {}
    }
    if missed.is_empty() {
        println!("dsp: every goal reached");
        return;
    }
    println!("dsp: MISSED: {}", missed.join("; "));
    if options.check {
        std::process::exit(1);
    }
}
