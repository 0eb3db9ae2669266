//! Every sample configuration in `deploy/` can be used as it stands, given the certificate that it
//! names.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

#[test]
fn every_sample_configuration_is_one_that_check_accepts() {
    let folder = TempDir::new().expect("a folder");
    let made =
        rcgen::generate_simple_self_signed(["gw-1.example".to_owned()]).expect("a certificate");
    let certificate = folder.path().join("fullchain.pem");
    let key = folder.path().join("privkey.pem");
    fs::write(&certificate, made.cert.pem()).expect("written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let mut samples = 0;
    for entry in fs::read_dir(&deploy).expect("deploy/ is there") {
        let path = entry.expect("a folder entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        samples += 1;
        let text: String = fs::read_to_string(&path)
            .expect("a sample can be read")
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some(("tls_certificate", _)) => format!("tls_certificate = {certificate:?}\n"),
                Some(("tls_key", _)) => format!("tls_key = {key:?}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let sample = folder.path().join("sample.toml");
        fs::write(&sample, text).expect("written");
        let checked = Command::new(env!("CARGO_BIN_EXE_tonewall"))
            .args(["check", "--config"])
            .arg(&sample)
            .output()
            .expect("the command runs");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{}: {said}", path.display());
    }
    assert!(samples > 0, "no sample in {}", deploy.display());
}
