//! `tonewall shadow`: works on the file that the gateway writes, also while it runs.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, bail};
use tonewall::{
    proto::shadow::TrunkName,
    shadow::{ShadowReport, read_reports},
};

/// Says what there is, a line a trunk, and writes two files each where `out` is given.
pub(crate) fn run(
    data_dir: &Path,
    out: Option<&Path>,
    trunk: Option<&TrunkName>,
) -> anyhow::Result<()> {
    let mut reports = read_reports(data_dir)?;
    if let Some(trunk) = trunk {
        reports.retain(|report| report.trunk == trunk.as_str());
    }
    if reports.is_empty() {
        bail!(
            "no report in {}; one begins when [shadow] is enabled and its period has ended with enough calls",
            data_dir.display()
        );
    }
    for report in &reports {
        writeln!(io::stdout(), "{}", line(report))?;
        if let Some(out) = out {
            write(out, report)?;
        }
    }
    Ok(())
}

fn line(report: &ShadowReport) -> String {
    let audio = &report.audio;
    let per_hour = audio
        .false_masks_per_hour
        .map_or_else(|| "-".to_owned(), |masks| format!("{masks:.2}"));
    let until = report.until.as_deref().unwrap_or("-");
    format!(
        "{}: until {until}: {} calls, {:.2} h of speech, {} keys ({} by event, {} by tone, {} by INFO, {} by two of them), {per_hour} false masks an hour, {:.2} % of packets lost",
        report.trunk,
        report.calls,
        audio.speech_hours,
        report.presses.total,
        report.presses.by_event,
        report.presses.by_tone,
        report.presses.by_info,
        report.presses.doubles,
        report.packets.lost_share * 100.0
    )
}

fn write(out: &Path, report: &ShadowReport) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let name = file_name(&report.trunk);
    for (extension, content) in [("json", report.json()), ("svg", report.picture())] {
        let path = out.join(format!("{name}.{extension}"));
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(io::stdout(), "written: {}", path.display())?;
    }
    Ok(())
}

/// A trunk's name as a file's: letters, digits, `-` and `_` stay, also a dot that does not begin it;
/// every other byte becomes `%` and two hexadecimal digits, so that no two names become one.
fn file_name(trunk: &str) -> String {
    let mut name = String::new();
    for byte in trunk.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_')
            || (byte == b'.' && !name.is_empty());
        if plain {
            name.push(char::from(byte));
        } else {
            name += &format!("%{byte:02x}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trunks_name_stays_within_its_folder() {
        for (trunk, name) in [
            ("carrier-a", "carrier-a"),
            ("203.0.113.9", "203.0.113.9"),
            ("../../etc/passwd", "%2e.%2f..%2fetc%2fpasswd"),
            ("..", "%2e."),
            ("a%2fb", "a%252fb"),
            ("Köln", "K%c3%b6ln"),
        ] {
            assert_eq!(file_name(trunk), name);
            assert!(!name.contains('/') && !name.starts_with('.'));
        }
    }
}
