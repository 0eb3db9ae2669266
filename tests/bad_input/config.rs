//! Configuration files that cannot be used.

use std::{fs, process::Command};

/// Configuration files that cannot be used, and words of the error.
const BAD_CONFIG: [(&str, &[&str]); 31] = [
    ("", &["data_dir"]),
    ("data_dir = ", &["line 1"]),
    (
        "data_dir = \"D\"\ndata_dir = \"D\"",
        &["line 2", "data_dir"],
    ),
    (
        "data_dir = \"D\"\n[media]\nadress = \"127.0.0.1\"",
        &["line 3", "adress", "expected", "address"],
    ),
    (
        "data_dir = \"D\"\n[medai]",
        &["line 2", "medai", "expected", "media"],
    ),
    ("data_dir = 7", &["line 1", "integer `7`", "expected"]),
    (
        "data_dir = \"D\"\ndrain_timeout = \"20\"",
        &["line 2", "found \"20\"", "expected a length of time"],
    ),
    (
        "data_dir = \"D\"\ndrain_timeout = \"-5s\"",
        &["line 2", "found \"-5s\"", "expected a length of time"],
    ),
    (
        "data_dir = \"D\"\ntenant = \"A B\"",
        &["line 2", "found \"A B\"", "1 to 32 characters"],
    ),
    (
        "data_dir = \"D\"\n[api]\nlisten = \"localhost\"",
        &["line 3", "listen", "invalid socket address"],
    ),
    (
        "data_dir = \"D\"\n[api]\nlisten = \"0.0.0.0:443\"",
        &["api.listen", "found 0.0.0.0:443", "set api.tls_certificate"],
    ),
    (
        "data_dir = \"D\"\n[api]\nurl = \"pay.example.com/panel\"",
        &[
            "line 3",
            "url",
            "pay.example.com/panel",
            "expected https://",
        ],
    ),
    (
        "data_dir = \"D\"\n[api]\nlisten = \"127.0.0.1:9464\"",
        &["metrics.listen", "found 127.0.0.1:9464", "of their own"],
    ),
    (
        "data_dir = \"D\"\n[capture]\ninter_digit_timeout = \"0s\"",
        &[
            "capture.inter_digit_timeout",
            "no time at all",
            "expected a second",
        ],
    ),
    (
        "data_dir = \"D\"\n[api]\ntls_key = \"k.pem\"",
        &["api.tls_key", "found one of", "both are needed"],
    ),
    (
        "data_dir = \"D\"\n[api]\ntls_key = \"/nowhere/k.pem\"\ntls_certificate = \"/nowhere/c.pem\"",
        &[
            "api.tls_certificate",
            "/nowhere/c.pem",
            "expected a certificate chain",
        ],
    ),
    (
        "data_dir = \"D\"\n[ng]\nudp = \"10.0.0.1:2223\"",
        &["ng.allow", "10.0.0.1:2223", "name the addresses"],
    ),
    (
        "data_dir = \"D\"\n[ng]\ntcp = \"0.0.0.0:2224\"",
        &["ng.allow", "0.0.0.0:2224", "name the addresses"],
    ),
    (
        "data_dir = \"D\"\n[ng]\nhttps = \"127.0.0.1:2226\"\ntls_certificate = \"c.pem\"\ntls_key = \"k.pem\"",
        &["ng.https", "found 2 of", "client_ca", "all three"],
    ),
    (
        "data_dir = \"D\"\n[ng]\nclient_ca = \"ca.pem\"",
        &["ng.https", "found none", "leave"],
    ),
    (
        "data_dir = \"D\"\n[ng]\nhttps = \"127.0.0.1:2226\"\ntls_certificate = \"/nowhere/c.pem\"\ntls_key = \"/nowhere/k.pem\"\nclient_ca = \"/nowhere/ca.pem\"",
        &[
            "ng.tls_certificate",
            "/nowhere/c.pem",
            "expected a certificate chain",
        ],
    ),
    (
        "data_dir = \"D\"\n[ng]\nhttp = \"127.0.0.1:2225\"\ntcp = \"127.0.0.1:2225\"",
        &["ng.http", "found 127.0.0.1:2225", "ng.tcp listens too"],
    ),
    (
        "data_dir = \"D\"\n[media]\nport_min = 30001",
        &["media.port_min", "found 30001", "even ports"],
    ),
    (
        "data_dir = \"D\"\n[media]\nport_max = 70000",
        &["line 3", "port_max", "70000"],
    ),
    (
        "data_dir = \"D\"\n[media]\nport_max = 30001",
        &["media.port_max", "found 30001", "four ports"],
    ),
    (
        "data_dir = \"D\"\n[media]\nsource = \"anyone\"",
        &["line 3", "anyone", "expected", "exact"],
    ),
    (
        "data_dir = \"D\"\n[capture]\nattempts = 0",
        &["capture.attempts", "found 0", "expected 1 to 10"],
    ),
    (
        "data_dir = \"D\"\n[capture]\naccepted_brands = [\"vissa\"]",
        &["line 3", "vissa", "expected", "visa"],
    ),
    (
        "data_dir = \"D\"\n[processor]\nkind = \"paypal\"",
        &["line 3", "paypal", "sandbox", "stripe"],
    ),
    (
        "data_dir = \"D\"\n[processor]\nkind = \"stripe\"",
        &["processor", "mode", "stripe", "docs/processors.md"],
    ),
    (
        "data_dir = \"D\"\n[processor]\ndigest_key = \"abc\"",
        &["processor.digest_key", "expected 64 hexadecimal digits"],
    ),
];

#[test]
fn a_bad_configuration_is_refused_with_key_and_line_by_check_and_by_serve() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tonewall.toml");
    let data = folder.path().join("data");
    for (text, words) in BAD_CONFIG {
        let text = text.replace("\"D\"", &format!("{data:?}"));
        fs::write(&file, &text).unwrap();
        for command in ["check", "serve"] {
            let mut tonewall = Command::new(env!("CARGO_BIN_EXE_tonewall"));
            let output = tonewall
                .arg(command)
                .arg("--config")
                .arg(&file)
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{command} of:\n{text}\n{error}"
            );
            assert_eq!(output.stdout, b"", "{command} of:\n{text}");
            if command == "serve" && text.contains("nowhere") {
                // Told in the log's form, after its first lines.
                assert!(error.contains("/nowhere/c.pem"), "{error}");
                continue;
            }
            for word in words.iter().chain(&["tonewall.toml"]) {
                assert!(
                    error.contains(word),
                    "{command} of:\n{text}\nexpected {word:?}:\n{error}"
                );
            }
        }
    }
}
