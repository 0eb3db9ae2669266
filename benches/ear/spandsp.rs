//! spandsp's receiver of tones, on the same samples. It runs as a process of its own, compiled here
//! and now against Debian's `libspandsp2`.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A part of a clip.
pub(crate) enum Part<'a> {
    /// Samples that came.
    Audio(&'a [i16]),
    /// Samples that were lost.
    Lost(usize),
}

/// One running receiver.
pub(crate) struct Spandsp {
    child: Child,
    questions: Option<ChildStdin>,
    answers: ChildStdout,
}

/// Where benches keep what they make.
pub(crate) fn scratch() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ear");
    std::fs::create_dir_all(&folder).expect("target/ can be written");
    folder
}

/// Compiles the receiver; says what is missing.
pub(crate) fn compile() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/ear/spandsp.c");
    let program = scratch().join("spandsp");
    let output = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&program)
        .arg(&source)
        .arg("-l:libspandsp.so.2")
        .output()
        .map_err(|error| format!("cc: {error}; install gcc"))?;
    if output.status.success() {
        Ok(program)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "{said}install libspandsp2 (Debian, Ubuntu) and gcc"
        ))
    }
}

impl Spandsp {
    /// Starts a receiver of clips.
    pub(crate) fn decoder(program: &Path) -> Self {
        Self::start(Command::new(program).arg("decode"))
    }

    /// Starts one that measures itself over `file`.
    pub(crate) fn timer(program: &Path, file: &Path) -> Self {
        Self::start(Command::new(program).arg("time").arg(file))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("what was compiled runs");
        Self {
            questions: child.stdin.take(),
            answers: child.stdout.take().expect("it is piped"),
            child,
        }
    }

    fn ask(&mut self, bytes: &[u8]) {
        let questions = self.questions.as_mut().expect("open until dropped");
        questions.write_all(bytes).expect("spandsp listens");
    }

    /// The keys in a clip.
    pub(crate) fn keys(&mut self, parts: &[Part<'_>]) -> String {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Audio([]) | Part::Lost(0) => {}
                Part::Audio(samples) => {
                    bytes.extend((samples.len() as u32).to_le_bytes());
                    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
                }
                Part::Lost(samples) => {
                    bytes.extend((*samples as u32 | 1 << 31).to_le_bytes());
                }
            }
        }
        bytes.extend([0; 4]);
        self.ask(&bytes);
        let mut length = [0];
        self.answers.read_exact(&mut length).expect("it answers");
        let mut keys = vec![0; usize::from(length[0])];
        self.answers.read_exact(&mut keys).expect("it answers");
        String::from_utf8(keys).expect("keys are ASCII")
    }

    /// Nanoseconds of each of `stretches` in one pass.
    pub(crate) fn pass(&mut self, stretches: usize) -> Vec<u64> {
        self.ask(b"t");
        let mut took = vec![0; 8 * stretches];
        self.answers.read_exact(&mut took).expect("it answers");
        took.chunks_exact(8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
            .collect()
    }
}

impl Drop for Spandsp {
    fn drop(&mut self) {
        self.questions = None;
        let _ = self.child.wait();
    }
}
