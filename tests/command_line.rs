//! The commands beside `tonewall serve`, as operators and auditors meet them.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use common::{Gateway, Options, PATIENCE, pay::id, play};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

fn tonewall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tonewall"))
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_tells_what_there_is_and_check_explains_a_good_file() {
    let help = tonewall(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    for words in [
        "Takes card payments on live phone calls",
        "serve",
        "check",
        "demo",
        "keys",
        "audit",
    ] {
        assert!(help.contains(words), "{words}: {help}");
    }
    assert!(
        !help.contains("sandbox-processor") && !help.contains("demo-end"),
        "{help}"
    );
    assert!(
        help.lines().all(|line| line.chars().count() <= 100),
        "{help}"
    );
    let serve = text(&tonewall(&["serve", "--help"]).stdout);
    assert!(
        serve.contains("--config <FILE>") && serve.contains("TONEWALL_CONFIG"),
        "{serve}"
    );
    let level = tonewall(&["serve", "--config", "x", "--log-level", "loud"]);
    assert_eq!(level.status.code(), Some(2));
    assert!(text(&level.stderr).contains("[possible values: error, warn"));
    let nothing = tonewall(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("Usage: tonewall"));
    let unknown = tonewall(&["srve"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("'serve'"),
        "{}",
        text(&unknown.stderr)
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tonewall.toml");
    let named = file.to_str().unwrap();
    let absent = tonewall(&["check", "--config", named]);
    assert_eq!(absent.status.code(), Some(1));
    let absent = text(&absent.stderr);
    assert!(
        absent.contains("cannot read") && absent.contains(named) && absent.contains("--config"),
        "{absent}"
    );
    assert_eq!(absent.matches("No such file").count(), 1, "{absent}");
    fs::write(
        &file,
        "data_dir = \"/var/lib/tonewall\"\n[media]\nport_max = 30399\n",
    )
    .unwrap();
    let good = tonewall(&["check", "--config", named]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    let good = text(&good.stdout);
    for words in [
        "can be used",
        "/var/lib/tonewall",
        "loopback only",
        "room for 100 calls",
        "SANDBOX",
    ] {
        assert!(good.contains(words), "{words}: {good}");
    }
    fs::write(&file, "data_dir = \"/d\"\n[media]\nport_mox = 1\n").unwrap();
    let bad = tonewall(&["check", "--config", named]);
    assert_eq!(bad.status.code(), Some(1));
    let bad = text(&bad.stderr);
    assert!(
        bad.contains("line 3") && bad.contains("port_mox") && bad.contains("port_max"),
        "{bad}"
    );
    // Plain HTTP where others can listen is no way to start.
    let data = folder.path().join("data");
    fs::write(
        &file,
        format!("data_dir = {data:?}\n[api]\nlisten = \"0.0.0.0:0\"\n"),
    )
    .unwrap();
    let open = tonewall(&["serve", "--config", named]);
    assert_eq!(open.status.code(), Some(1));
    let open = text(&open.stderr);
    assert!(
        open.contains("plain HTTP is served on loopback addresses only"),
        "{open}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_panel_links_work_while_the_gateway_runs_and_stand_in_the_log() {
    let gateway = Gateway::start(Options::default()).await;
    let config = gateway.config();
    let config = config.to_str().unwrap();
    let keys = |args: &[&str]| gateway.command(&[&["keys"], args, &["--config", config]].concat());
    let (done, made) = keys(&[
        "create",
        "--role",
        "auditor",
        "--label",
        "Ms Ledger",
        "--json",
    ]);
    assert!(done, "{made}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let (key, secret) = (id(&made), made["secret"].as_str().unwrap());
    let session = || {
        gateway
            .http
            .get(format!("{}/v1/session", gateway.base))
            .bearer_auth(secret)
            .send()
    };
    let calls = || {
        gateway
            .http
            .get(format!("{}/v1/calls", gateway.base))
            .bearer_auth(secret)
            .send()
    };
    assert_eq!(session().await.unwrap().status(), 200);
    assert_eq!(
        calls().await.unwrap().status(),
        403,
        "an auditor takes no payments"
    );
    let (_, listed) = keys(&["list"]);
    assert!(
        listed.contains(key) && listed.contains("Ms Ledger") && listed.contains("auditor"),
        "{listed}"
    );
    assert!(!listed.contains(secret), "the list shows a secret");
    let (done, said) = keys(&["revoke", key]);
    assert!(done && said.contains("opens nothing any more"), "{said}");
    assert_eq!(
        session().await.unwrap().status(),
        401,
        "a revoked key works"
    );
    let (done, said) = keys(&["revoke", key]);
    assert!(
        !done && said.contains("no live key") && said.contains("tonewall keys list"),
        "{said}"
    );

    let straight = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let mut cookie = String::new();
    // As a command and as a flag: the same.
    let forms = ["panel", "--panel"];
    for form in forms {
        let (done, made) = keys(&[form, "--label", "Desk 4", "--json"]);
        assert!(done, "{made}");
        let made: Value = serde_json::from_str(&made).unwrap();
        let enter = || {
            straight
                .get(made["link"].as_str().unwrap())
                .header("Sec-Fetch-Site", "none")
                .send()
        };
        let entered = enter().await.unwrap();
        assert_eq!(entered.status(), 303);
        let set = entered.headers()["set-cookie"].to_str().unwrap();
        set.split(';').next().unwrap().clone_into(&mut cookie);
        let again = enter().await.unwrap();
        assert_eq!(again.status(), 401);
        let again = again.text().await.unwrap();
        assert!(
            again.contains("this link was used") && again.contains("`tonewall keys panel`"),
            "{again}"
        );
    }
    let (done, said) = keys(&["--panel"]);
    assert!(
        done && said.contains("/panel/enter?link=") && said.contains("within ten minutes"),
        "{said}"
    );
    let links = forms.len() + 1;
    let by_cookie = straight
        .get(format!("{}/v1/session", gateway.base))
        .header("Cookie", &cookie);
    let by_cookie = by_cookie
        .header("Sec-Fetch-Site", "same-origin")
        .send()
        .await
        .unwrap();
    assert_eq!(by_cookie.status(), 200);

    let data = gateway.data();
    let data = data.to_str().unwrap();
    let show = || gateway.command(&["audit", "show", "--data-dir", data, "--tenant", "default"]);
    // The gateway takes over what the command line left for it, in order: the links came last.
    let until = Instant::now() + PATIENCE;
    let shown = loop {
        let (done, shown) = show();
        assert!(done, "{shown}");
        if shown.matches("panel-link-created").count() == links {
            break shown;
        }
        assert!(Instant::now() < until, "not taken over:\n{shown}");
        sleep(Duration::from_millis(100)).await;
    };
    for event in ["api-key-created", "api-key-revoked"] {
        let line = shown
            .lines()
            .find(|line| line.contains(event) && line.contains(key));
        let line = line.unwrap_or_else(|| panic!("no {event} of {key}:\n{shown}"));
        assert!(
            line.contains("by console") && line.contains("uid="),
            "{line}"
        );
    }
    for event in ["panel-link-created", "sign-in"] {
        assert!(
            shown.lines().any(|line| line.contains(event)),
            "{event}:\n{shown}"
        );
    }
    assert!(!shown.contains(secret), "the log shows a secret");
    let (_, nodes) = gateway.command(&["audit", "show", "--data-dir", data]);
    assert!(
        nodes.contains("sign-in-refused") && nodes.contains("panel link"),
        "{nodes}"
    );
    assert!(nodes.contains("log-started"), "{nodes}");
}

#[test]
fn a_panel_link_names_the_address_that_browsers_see() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tonewall.toml");
    let link = |api: &str| {
        let data = folder.path().join("data");
        fs::write(&file, format!("data_dir = {data:?}\n[api]\n{api}\n")).unwrap();
        let output = tonewall(&["keys", "--panel", "--config", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (said, _) = link("");
    assert!(
        said.starts_with("http://127.0.0.1:8080/panel/enter?link="),
        "{said}"
    );
    let (said, _) = link("url = \"https://pay.example.com/\"");
    assert!(
        said.starts_with("https://pay.example.com/panel/enter?link="),
        "{said}"
    );
    let (_, note) =
        link("listen = \"0.0.0.0:8443\"\ntls_certificate = \"c.pem\"\ntls_key = \"k.pem\"");
    assert!(
        note.contains("no address that a browser can open") && note.contains("set api.url"),
        "{note}"
    );
}

#[test]
fn keys_refuse_what_would_harm_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (
        folder.path().join("tonewall.toml"),
        folder.path().join("data"),
    );
    fs::write(&file, format!("data_dir = {data:?}\n")).unwrap();
    let keys = |args: &[&str]| {
        let config = ["--config", file.to_str().unwrap()];
        let output = tonewall(&[&["keys"], args, &config].concat());
        (output.status.code(), text(&output.stderr))
    };
    for label in ["", "  ", "a\u{1b}[31m", &"x".repeat(101)] {
        let (code, error) = keys(&["create", "--role", "agent", "--label", label]);
        assert_eq!(code, Some(2), "{label:?}");
        assert!(error.contains("expected 1 to 100 printable"), "{error}");
    }
    let unknown = "key_default_node-1_01JD0000000000000000000000";
    let (code, error) = keys(&["revoke", unknown]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no live key"), "{error}");
    // Only root may give a folder away.
    if std::os::unix::fs::chown(&data, Some(12_345), None).is_ok() {
        let (code, error) = keys(&["list"]);
        assert_eq!(code, Some(1));
        assert!(
            error.contains("belongs to user 12345") && error.contains("sudo -u"),
            "{error}"
        );
    }
}

/// The file of a log's first entries.
fn segment(data: &Path, log: &str) -> PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "log")
                && path.to_str().unwrap().contains(log)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found.into_iter().next().expect("a log file")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_verify_finds_what_was_changed_and_passes_what_was_not() {
    let gateway = Gateway::start(Options::default()).await;
    let ends = play(&gateway, "audit-1").await;
    let payment = gateway.payment("audit-1").await;
    gateway
        .post(&format!("/v1/payments/{}/cancel", id(&payment)), json!({}))
        .await;
    ends.hang_up(&gateway).await;
    let verify = |data: &Path| {
        let output = tonewall(&["audit", "verify", "--data-dir", data.to_str().unwrap()]);
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    // Also while the gateway writes.
    let (code, report) = verify(&gateway.data());
    assert_eq!(code, Some(0), "{report}");
    let (folder, _) = gateway.stop();
    let data = folder.path().join("data");
    let (code, report) = verify(&data);
    assert_eq!(code, Some(0), "{report}");
    for words in [
        "no entry is changed, missing or reordered",
        "tenant default",
        "node",
        "not anchored",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }

    type Change = (&'static str, fn(Vec<u8>) -> Vec<u8>, &'static str);
    fn lines(bytes: Vec<u8>, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
        let mut lines: Vec<_> = bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        assert!(lines.len() > 3, "too few entries");
        change(&mut lines);
        lines.concat()
    }
    let changes: [Change; 4] = [
        (
            "a flipped bit",
            |mut bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                bytes
            },
            "changed",
        ),
        (
            "a missing entry",
            |bytes| lines(bytes, |lines| drop(lines.remove(1))),
            "missing or reordered",
        ),
        (
            "two entries in the wrong order",
            |bytes| lines(bytes, |lines| lines.swap(1, 2)),
            "reordered",
        ),
        (
            "the last entry missing",
            |bytes| lines(bytes, |lines| drop(lines.pop())),
            "missing",
        ),
    ];
    for log in ["default", "node"] {
        for (name, change, words) in &changes {
            let copy = tempfile::tempdir().unwrap();
            let status = Command::new("cp")
                .arg("-r")
                .arg(&data)
                .arg(copy.path())
                .status()
                .unwrap();
            assert!(status.success());
            let copied = copy.path().join("data");
            let file = segment(&copied.join("audit"), log);
            fs::write(&file, change(fs::read(&file).unwrap())).unwrap();
            let (code, report) = verify(&copied);
            assert_eq!(code, Some(1), "{name} of {log} is not found: {report}");
            assert!(
                report.contains("DAMAGED") && report.contains(words),
                "{name} of {log}: {report}"
            );
        }
    }
    let (code, report) = verify(&data);
    assert_eq!(code, Some(0), "{report}");
    let (code, report) = verify(folder.path());
    assert_eq!(code, Some(1));
    assert!(
        report.contains("no audit log at") && report.contains("data_dir"),
        "{report}"
    );
}
