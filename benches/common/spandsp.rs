//! spandsp's receiver of tones, on the same samples. It runs as a process of its own, compiled here
//! and now against Debian's `libspandsp2`.

use std::{
    io::{BufRead, BufReader, Read, Write},
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
    answers: BufReader<ChildStdout>,
}

/// Where benches keep what they make.
pub(crate) fn scratch() -> &'static Path {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(folder).expect("target/ can be written");
    folder
}

/// Compiles the receiver; fails with what the compiler says.
pub(crate) fn compile() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/common/spandsp.c");
    let program = scratch().join("spandsp");
    // Another bench may be running the one that is there.
    let fresh = scratch().join(format!("spandsp-{}", std::process::id()));
    let output = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&fresh)
        .arg(&source)
        .arg("-l:libspandsp.so.2")
        .output()
        .map_err(|error| format!("cc: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    std::fs::rename(&fresh, &program).map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(program)
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
            answers: BufReader::new(child.stdout.take().expect("it is piped")),
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
                    bytes.extend((samples.len() as u32).to_ne_bytes());
                    bytes.extend(samples.iter().flat_map(|sample| sample.to_ne_bytes()));
                }
                Part::Lost(samples) => {
                    bytes.extend((*samples as u32 | 1 << 31).to_ne_bytes());
                }
            }
        }
        bytes.extend([0; 4]);
        self.ask(&bytes);
        let mut keys = String::new();
        self.answers.read_line(&mut keys).expect("keys are ASCII");
        assert_eq!(keys.pop(), Some('\n'), "spandsp ended within a clip");
        keys
    }

    /// Nanoseconds of each of `stretches` in one pass.
    pub(crate) fn pass(&mut self, stretches: usize) -> Vec<u64> {
        self.ask(b"t");
        let mut took = vec![0; 8 * stretches];
        self.answers.read_exact(&mut took).expect("it answers");
        took.chunks_exact(8)
            .map(|bytes| u64::from_ne_bytes(bytes.try_into().expect("eight bytes")))
            .collect()
    }
}

impl Drop for Spandsp {
    fn drop(&mut self) {
        self.questions = None;
        let _ = self.child.wait();
    }
}
