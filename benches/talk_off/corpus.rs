//! The recordings.

use std::{
    fs, io,
    path::Path,
    process::{Command, ExitStatus},
};

/// Debian packages with speech, all of them; music last.
pub(crate) const FULL: &[&str] = &[
    "asterisk-core-sounds-en-wav",
    "codec2-examples",
    "asterisk-core-sounds-es-wav",
    "asterisk-core-sounds-fr-wav",
    "asterisk-core-sounds-it-wav",
    "asterisk-core-sounds-ru-wav",
    "asterisk-prompt-it-menardi-wav",
    "asterisk-prompt-fr-armelle",
    "asterisk-prompt-es-co",
    "fillets-ng-data-cs",
    "fillets-ng-data-nl",
    "klettres-data",
    "ktuberling-data",
    "pocketsphinx-testdata",
    "alsa-utils",
    MUSIC,
];
/// Half an hour of it.
pub(crate) const QUICK: &[&str] = &["asterisk-core-sounds-en-wav", "codec2-examples"];
/// The one package that is no speech.
pub(crate) const MUSIC: &str = "asterisk-moh-opsound-wav";

/// Why there is nothing to listen to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CorpusError {
    /// The script cannot be started.
    #[error("cannot run benches/talk_off/corpora.sh: {0}")]
    Script(io::Error),
    /// Not one package is there.
    #[error("no recordings; corpora.sh ended with {0}, read what it says above")]
    Nothing(ExitStatus),
}

/// One package.
pub(crate) struct Corpus {
    pub(crate) name: String,
    /// At 8 kHz.
    pub(crate) samples: Vec<i16>,
    /// First sample and name of each recording, in order.
    index: Vec<(usize, String)>,
}

impl Corpus {
    fn read(folder: &Path, name: &str) -> io::Result<Self> {
        let raw = fs::read(folder.join(name).with_extension("raw"))?;
        let index = fs::read_to_string(folder.join(name).with_extension("index"))?;
        let entry = |line: &str| {
            let (first, name) = line.split_once('\t')?;
            Some((first.parse().ok()?, name.to_owned()))
        };
        Ok(Self {
            name: name.to_owned(),
            samples: raw
                .chunks_exact(2)
                .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
                .collect(),
            index: index.lines().filter_map(entry).collect(),
        })
    }

    pub(crate) fn hours(&self) -> f64 {
        self.samples.len() as f64 / 8_000.0 / 3_600.0
    }

    /// Name of the recording that a sample is in, and seconds from its beginning.
    pub(crate) fn recording_at(&self, sample: usize) -> (String, f64) {
        let after = self.index.partition_point(|(first, _)| *first <= sample);
        let (first, name) = match after.checked_sub(1).and_then(|at| self.index.get(at)) {
            Some((first, name)) => (*first, name.as_str()),
            None => (0, "?"),
        };
        let seconds = sample.saturating_sub(first) as f64 / 8_000.0;
        (format!("{}: {name}", self.name), seconds)
    }
}

/// Fetches what is not there yet, and reads what is.
pub(crate) fn fetch(packages: &[&str]) -> Result<Vec<Corpus>, CorpusError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/corpora");
    let status = Command::new(root.join("benches/talk_off/corpora.sh"))
        .arg(&folder)
        .args(packages)
        .status()
        .map_err(CorpusError::Script)?;
    let corpora: Vec<Corpus> = packages
        .iter()
        .filter_map(|name| Corpus::read(&folder, name).ok())
        .collect();
    if corpora.is_empty() {
        return Err(CorpusError::Nothing(status));
    }
    Ok(corpora)
}
