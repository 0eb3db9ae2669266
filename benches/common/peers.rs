//! Other people's decoders, as listeners: spandsp and multimon-ng, as the system has them installed.

use std::{
    f64::consts::PI,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    sync::LazyLock,
    thread,
};

use super::spandsp::{self, Part, Spandsp};

/// Samples per second that multimon-ng wants: 441/160 of 8 kHz.
const UP: usize = 441;
/// See [`UP`].
const DOWN: usize = 160;
/// Taps of the interpolation, each side.
const TAPS: usize = 20;

/// A decoder that listens beside the ideal one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Spandsp,
    MultimonNg,
}

impl Peer {
    pub(crate) const ALL: [Self; 2] = [Self::Spandsp, Self::MultimonNg];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Spandsp => "spandsp",
            Self::MultimonNg => "multimon-ng",
        }
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Spandsp => "libspandsp2 (and gcc)",
            Self::MultimonNg => "multimon-ng",
        }
    }

    fn say_missing(self) {
        println!(
            "!!! {} IS NOT THERE: nothing is said of it. Install {} and run again.",
            self.name(),
            self.package()
        );
    }
}

/// spandsp's program; says loudly when it is not there.
pub(crate) fn find_spandsp() -> Option<PathBuf> {
    let program = spandsp::compile();
    if let Err(said) = &program {
        eprintln!("{}", said.trim_end());
        Peer::Spandsp.say_missing();
    }
    program.ok()
}

/// The peers that are there.
pub(crate) struct Peers {
    spandsp: Option<PathBuf>,
    multimon: bool,
}

impl Peers {
    /// Looks for them, and says loudly which are missing.
    pub(crate) fn find() -> Self {
        let spandsp = find_spandsp();
        let multimon = Command::new("multimon-ng")
            .arg("-h")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok();
        if !multimon {
            Peer::MultimonNg.say_missing();
        }
        Self { spandsp, multimon }
    }

    pub(crate) fn has(&self, peer: Peer) -> bool {
        match peer {
            Peer::Spandsp => self.spandsp.is_some(),
            Peer::MultimonNg => self.multimon,
        }
    }

    pub(crate) fn missing(&self) -> Vec<Peer> {
        let all = Peer::ALL.into_iter();
        all.filter(|peer| !self.has(*peer)).collect()
    }

    /// The digits that a peer hears in `samples` (8 kHz); `None` when it is not there.
    pub(crate) fn decode(&self, peer: Peer, samples: &[i16]) -> Option<String> {
        match peer {
            Peer::Spandsp => {
                let mut spandsp = Spandsp::decoder(self.spandsp.as_ref()?);
                Some(spandsp.keys(&[Part::Audio(samples)]))
            }
            Peer::MultimonNg if !self.multimon => None,
            Peer::MultimonNg => {
                let mut command = Command::new("multimon-ng");
                command.args(["-q", "-a", "DTMF", "-t", "raw", "-"]);
                let told = run(command, bytes(upsampled(samples)));
                let digits = told.lines().filter_map(|line| line.strip_prefix("DTMF: "));
                Some(digits.collect())
            }
        }
    }
}

fn run(mut command: Command, input: Vec<u8>) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a program that ran before can be started");
    let mut stdin = child.stdin.take().expect("its input is piped");
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("its output can be read");
    let written = writer.join().expect("writing does not panic");
    assert!(
        output.status.success() && written.is_ok(),
        "a peer ended with {} and did not read to the end",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn bytes(samples: impl Iterator<Item = i16>) -> Vec<u8> {
    samples.flat_map(i16::to_ne_bytes).collect()
}

/// A windowed sinc for each of the phases between two samples.
static KERNEL: LazyLock<Vec<[f32; 2 * TAPS]>> = LazyLock::new(|| {
    let phase = |phase: usize| {
        std::array::from_fn(|tap| {
            let at = tap as f64 - (TAPS - 1) as f64 - phase as f64 / UP as f64;
            let sinc = if at.abs() < 1e-9 {
                1.0
            } else {
                (PI * at).sin() / (PI * at)
            };
            let window = 0.5 + 0.5 * (PI * at / TAPS as f64).cos();
            (sinc * window) as f32
        })
    };
    (0..UP).map(phase).collect()
});

/// From 8000 to 22,050 samples a second.
fn upsampled(samples: &[i16]) -> impl Iterator<Item = i16> {
    let mut padded = vec![0.0f32; samples.len() + 2 * TAPS];
    for (to, from) in padded[TAPS - 1..].iter_mut().zip(samples) {
        *to = f32::from(*from);
    }
    (0..samples.len() * UP / DOWN).map(move |n| {
        let (at, phase) = (n * DOWN / UP, n * DOWN % UP);
        let taps = padded[at..at + 2 * TAPS].iter().zip(&KERNEL[phase]);
        let sum: f32 = taps.map(|(sample, tap)| sample * tap).sum();
        sum.round().clamp(-32_768.0, 32_767.0) as i16
    })
}
