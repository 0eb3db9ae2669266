//! From `[triggers]` to what an agent may dial.

use std::{fs, path::Path};

use zeroize::Zeroizing;

use crate::{
    config::Triggers,
    proto::call::{AgentCode, Pin},
};

/// Whether the file that the section names can be used.
///
/// # Errors
/// A sentence that names the key, the file and what is wrong with it.
pub fn check_triggers(section: &Triggers) -> anyhow::Result<()> {
    agent_code(section).map(|_| ())
}

/// The code, with its PIN if there is one.
pub(super) fn agent_code(section: &Triggers) -> anyhow::Result<AgentCode> {
    let pin = section.pin_file.as_deref().map(read_pin).transpose();
    Ok(AgentCode {
        code: section.key_code.clone(),
        pin: pin.map_err(|problem| anyhow::anyhow!("triggers.pin_file: {problem}"))?,
    })
}

/// Never says what is in the file.
fn read_pin(path: &Path) -> Result<Pin, String> {
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    text.trim()
        .parse()
        .map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_one_line_and_no_error_repeats_what_a_file_holds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pin");
        let section = Triggers {
            pin_file: Some(file.clone()),
            ..Triggers::default()
        };
        let problem = || check_triggers(&section).err().unwrap().to_string();
        assert!(problem().contains("triggers.pin_file") && problem().contains("cannot be read"));
        fs::write(&file, "2846\n").unwrap();
        check_triggers(&section).unwrap();
        for text in ["", "284", "284612345", "2846\n1234", "2846x"] {
            fs::write(&file, text).unwrap();
            let problem = problem();
            assert!(problem.contains("4 to 8 digits"), "{problem}");
            assert!(!problem.contains("284"), "{problem}");
        }
        assert!(agent_code(&Triggers::default()).unwrap().pin.is_none());
    }
}
