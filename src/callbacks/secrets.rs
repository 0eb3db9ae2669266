//! The secrets that sign, from their files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use zeroize::Zeroizing;

use crate::proto::callback::SigningSecret;

/// Where an endpoint's secrets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFiles {
    /// The one that signs.
    pub current: PathBuf,
    /// The one that signs too for as long as this file is there: while a secret is being replaced.
    pub previous: Option<PathBuf>,
}

impl SecretFiles {
    /// The secrets, the current one first.
    ///
    /// # Errors
    /// A sentence that names the file and what is wrong with it, never what is in it.
    pub(super) fn read(&self) -> Result<Vec<SigningSecret>, String> {
        let mut secrets = Vec::with_capacity(2);
        let shown = self.current.display();
        match read(&self.current)? {
            Some(secret) => secrets.push(secret),
            None => return Err(format!("{shown}: cannot be read: there is no such file")),
        }
        if let Some(previous) = &self.previous {
            secrets.extend(read(previous)?);
        }
        Ok(secrets)
    }
}

fn read(path: &Path) -> Result<Option<SigningSecret>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: cannot be read: {error}", path.display())),
    };
    let secret = SigningSecret::parse(text.trim());
    secret
        .map(Some)
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// The secrets in force, which can be read anew while messages are signed.
pub(super) struct Keyring {
    files: SecretFiles,
    secrets: RwLock<Arc<Vec<SigningSecret>>>,
}

impl Keyring {
    pub(super) fn open(files: SecretFiles) -> Result<Self, String> {
        let secrets = RwLock::new(Arc::new(files.read()?));
        Ok(Self { files, secrets })
    }

    /// Those that were in force stay where the files cannot be used. How many there are.
    pub(super) fn reload(&self) -> Result<usize, String> {
        let secrets = self.files.read()?;
        let count = secrets.len();
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(secrets);
        Ok(count)
    }

    pub(super) fn secrets(&self) -> Arc<Vec<SigningSecret>> {
        Arc::clone(&self.secrets.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

    #[test]
    fn while_the_previous_file_is_there_two_sign_and_a_bad_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = SecretFiles {
            current: folder.path().join("current"),
            previous: Some(folder.path().join("previous")),
        };
        let error = Keyring::open(files.clone()).err().unwrap();
        assert!(error.contains("no such file"), "{error}");
        fs::write(&files.current, SECRET).unwrap();
        let ring = Keyring::open(files.clone()).ok().unwrap();
        assert_eq!(ring.secrets().len(), 1);
        let previous = files.previous.as_ref().unwrap();
        fs::write(previous, SECRET).unwrap();
        assert_eq!(ring.reload(), Ok(2));
        fs::write(&files.current, "hunter2").unwrap();
        let error = ring.reload().unwrap_err();
        assert!(
            error.contains("current") && !error.contains("hunter2"),
            "{error}"
        );
        assert_eq!(ring.secrets().len(), 2, "what was in force stays");
        fs::write(&files.current, SECRET).unwrap();
        fs::remove_file(previous).unwrap();
        assert_eq!(ring.reload(), Ok(1));
    }
}
