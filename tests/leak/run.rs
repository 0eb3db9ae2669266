//! One call on which a card is taken, beside one on which the same keys are pressed unasked, and
//! everything that the gateway left behind.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::time::{Instant, sleep};

use super::{
    Card,
    common::{DIGEST_KEY, Ends, Gateway, How, Options, PATIENCE, play},
};

/// Where in the caller's stream the payment is opened and each field is keyed, in samples: late enough for a busy host to
/// have asked for it, and the same in every run.
const ARMED_AT: usize = 8_000;
pub(crate) const NUMBER_AT: usize = 4 * 8_000;
pub(crate) const EXPIRY_AT: usize = 10 * 8_000;
pub(crate) const CODE_AT: usize = 14 * 8_000;
/// A key and the pause after it, in samples.
pub(crate) const KEY: usize = 8 * 160;

/// Keys of the card number that travel as tones; all others are events.
pub(crate) const TONES: std::ops::Range<usize> = 7..11;

/// Fewest calls that a report of shadow mode goes on by.
const SHADOWED: u64 = 5;

/// Something that was left behind, and where.
pub(crate) struct Artefact {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// What a run left behind, whole and in the parts that two runs are compared by.
pub(crate) struct Run {
    pub(crate) card: Card,
    pub(crate) artefacts: Vec<Artefact>,
    pub(crate) log: String,
    pub(crate) metrics: String,
    pub(crate) audit: [String; 2],
    pub(crate) rows: Vec<String>,
    pub(crate) answers: Vec<(String, String)>,
    pub(crate) stream: String,
    /// What the agent of the paying call got.
    pub(crate) masked: Vec<Vec<u8>>,
    /// What the agent of the other call got, where the same was keyed.
    pub(crate) open: Vec<Vec<u8>>,
    /// Samples of the caller's stream between which masking was acknowledged.
    pub(crate) armed: std::ops::Range<usize>,
    /// What shadow mode told of the calls on which nothing was asked for.
    pub(crate) shadow: Value,
    /// Journal as it was while the gateway ran: main file and write-ahead log.
    pub(crate) journal: Vec<(String, Vec<u8>)>,
}

/// Follows the API's event stream.
struct Follower {
    text: Arc<Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    async fn start(gateway: &Gateway) -> Self {
        let mut answer = gateway
            .http
            .get(format!("{}/v1/events", gateway.base))
            .bearer_auth(&gateway.secret)
            .send()
            .await
            .expect("an event stream");
        assert!(answer.status().is_success(), "{}", answer.status());
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let into = Arc::clone(&text);
        let task = tokio::spawn(async move {
            while let Ok(Some(bytes)) = answer.chunk().await {
                into.lock()
                    .expect("no reader panics")
                    .extend_from_slice(&bytes);
            }
        });
        Self { text, task }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no reader panics")).into_owned()
    }

    /// Waits for an event of which `is` holds.
    async fn until(&self, what: &str, is: impl Fn(&str, &Value) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !events(&self.text())
            .iter()
            .any(|(name, data)| is(name, data))
        {
            assert!(Instant::now() < end, "no {what} in:\n{}", self.text());
            sleep(Duration::from_millis(30)).await;
        }
    }
}

/// Names and data of an event stream.
pub(crate) fn events(stream: &str) -> Vec<(String, Value)> {
    let of = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name));
        line.map(|text| text.trim().to_owned())
    };
    stream
        .split("\n\n")
        .filter_map(|block| {
            let data = serde_json::from_str(&of(block, "data:")?).ok()?;
            Some((of(block, "event:")?, data))
        })
        .collect()
}

/// Takes `card` on a gateway that logs all it can, and listens to what is not armed.
pub(crate) async fn capture(card: Card) -> Run {
    let gateway = Gateway::start(Options {
        level: Some("trace"),
        more: "[shadow]\nenabled = true\nperiod = \"1s\"\nleast_calls = 5\n",
        ..Options::default()
    })
    .await;
    let stream = Follower::start(&gateway).await;

    let (open, shadow) = key_unasked(&gateway, &card).await;

    let ends = play(&gateway, "leak-asked@test.invalid").await;
    while ends.position() < ARMED_AT {
        sleep(Duration::from_millis(20)).await;
    }
    let payment = gateway.payment(&ends.signalling_id).await;
    let from = ends.position();
    let path = format!("/v1/payments/{}", payment["id"].as_str().expect("an id"));
    let fields = [
        ("payment-card-number", NUMBER_AT, card.number),
        ("expiration-date", EXPIRY_AT, card.expiry),
        ("security-code", CODE_AT, card.code),
    ];
    for (field, start, digits) in fields {
        gateway
            .post(&format!("{path}/capture"), json!({"field": field}))
            .await;
        ends.key_at(start, digits, |place| way(field, place)).await;
        let complete =
            |_: &str, data: &Value| data["payment"]["fields"][field]["status"] == "complete";
        stream.until(field, complete).await;
        gateway.get(&path).await;
    }
    let until = ends.position();
    gateway.post(&format!("{path}/complete"), json!({})).await;
    let approved = |name: &str, data: &Value| {
        name == "payment.ended" && data["payment"]["state"] == "approved"
    };
    stream.until("approval", approved).await;
    assert_sandbox_got(&gateway, &card).await;
    for path in [
        path.as_str(),
        "/v1/payments",
        "/v1/calls",
        "/v1/calls/leak-asked@test.invalid",
        "/v1/payments/no-such-payment",
        "/openapi.json",
        "/livez",
        "/readyz",
        "/",
    ] {
        gateway.request("GET", path, None).await;
    }
    // Masking outlasts the payment by 300 ms of silence.
    gateway.until_disarmed().await;
    ends.settle().await;
    let masked = ends.agent_got.lock().await.clone();
    let heard_by_caller = ends.caller_got.lock().await.concat();
    ends.hang_up(&gateway).await;
    let ended = |name: &str, data: &Value| name == "call.ended" && data["call"] == payment["call"];
    stream.until("end of the call", ended).await;

    let metrics = gateway.metrics().await;
    let mut artefacts = processes(gateway.pid());
    files(gateway.folder.path(), "running", &mut artefacts);
    let journal = artefacts
        .iter()
        .filter(|file| file.name.contains("journal"))
        .map(|file| {
            let name = Path::new(&file.name).file_name().expect("a file");
            (name.to_string_lossy().into_owned(), file.bytes.clone())
        })
        .collect();
    let rows = rows(&gateway);
    let data = gateway.data();
    let show = |tenant: &[&str]| {
        let args = [
            &["audit", "show", "--data-dir", data.to_str().expect("UTF-8")],
            tenant,
        ]
        .concat();
        let (fine, text) = gateway.command(&args);
        assert!(fine, "{text}");
        text
    };
    let audit = [show(&[]), show(&["--tenant", "default"])];
    let answers = gateway
        .answers
        .lock()
        .expect("no test panicked with it")
        .clone();
    let text = stream.text();
    stream.task.abort();
    let (folder, log) = gateway.stop();
    files(folder.path(), "stopped", &mut artefacts);
    let mut add = |name: &str, bytes: Vec<u8>| {
        artefacts.push(Artefact {
            name: name.to_owned(),
            bytes,
        });
    };
    for (request, body) in &answers {
        add(&format!("answer to {request}"), body.clone().into_bytes());
    }
    add("shadow report", shadow.to_string().into_bytes());
    add("event stream", text.clone().into_bytes());
    add("metrics", metrics.clone().into_bytes());
    add("audit of the node", audit[0].clone().into_bytes());
    add("audit of the tenant", audit[1].clone().into_bytes());
    add("journal's rows", rows.join("\n").into_bytes());
    add("packets to the agent", masked.concat());
    add("packets to the caller", heard_by_caller);
    Run {
        card,
        artefacts,
        log,
        metrics,
        audit,
        rows,
        answers,
        stream: text,
        masked,
        open,
        armed: from..until,
        shadow,
        journal,
    }
}

fn way(field: &str, place: usize) -> How {
    match field {
        "payment-card-number" if TONES.contains(&place) => How::Tone,
        "security-code" if place > 0 => How::Tone,
        _ => How::Event,
    }
}

/// Keys the whole card on as many calls without a payment as a report of shadow mode needs: what the
/// agent of one of them got, and the report.
async fn key_unasked(gateway: &Gateway, card: &Card) -> (Vec<Vec<u8>>, Value) {
    let mut calls = Vec::new();
    for n in 0..SHADOWED {
        calls.push(play(gateway, &format!("leak-unasked-{n}@test.invalid")).await);
    }
    for ends in &calls {
        key_all(ends, card).await;
    }
    let open = calls[0].agent_got.lock().await.clone();
    for ends in calls {
        ends.hang_up(gateway).await;
    }
    let kept = gateway.data().join("shadow.json");
    let end = Instant::now() + PATIENCE;
    while !fs::read_to_string(&kept).is_ok_and(|kept| kept.contains("127.0.0.1")) {
        assert!(Instant::now() < end, "shadow mode tells nothing");
        sleep(Duration::from_millis(30)).await;
    }
    // Not among the answers that are compared: it tells of real time too.
    let report = gateway
        .http
        .get(format!("{}/v1/shadow/127.0.0.1", gateway.base))
        .bearer_auth(&gateway.secret)
        .send();
    let report = report.await.expect("an answer").text().await.expect("text");
    (open, serde_json::from_str(&report).expect("a report"))
}

/// Keys the whole card into a call without a payment.
async fn key_all(ends: &Ends, card: &Card) {
    ends.key(card.number, |place| way("payment-card-number", place))
        .await;
    ends.key(card.expiry, |_| How::Event).await;
    ends.key(card.code, |place| way("security-code", place))
        .await;
}

/// What was keyed is what was charged: else nothing below would prove a thing.
async fn assert_sandbox_got(gateway: &Gateway, card: &Card) {
    let key: Vec<u8> = (0..DIGEST_KEY.len() / 2)
        .map(|n| u8::from_str_radix(&DIGEST_KEY[2 * n..2 * n + 2], 16).expect("hex"))
        .collect();
    let received = gateway.received().await;
    let [charge] = received.as_slice() else {
        panic!("found {} charges, expected one", received.len());
    };
    for (name, digits) in [
        ("pan_hmac", card.number),
        ("expiry_hmac", card.expiry),
        ("code_hmac", card.code),
    ] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        mac.update(digits.as_bytes());
        let digest: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(charge[name], digest.as_str(), "{name}");
    }
}

/// Command lines and environments of the gateway and of its children.
fn processes(gateway: u32) -> Vec<Artefact> {
    let mut pids = vec![gateway];
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // One that has ended meanwhile is nobody's child.
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status
            .lines()
            .any(|line| line == format!("PPid:\t{gateway}"))
        {
            pids.push(pid);
        }
    }
    assert!(pids.len() > 1, "the gateway has no sandbox");
    pids.into_iter().flat_map(process).collect()
}

/// Command line and environment of a process.
pub(crate) fn process(pid: u32) -> Vec<Artefact> {
    ["cmdline", "environ"]
        .map(|file| {
            let name = format!("/proc/{pid}/{file}");
            let bytes = fs::read(&name).expect("it runs");
            Artefact { name, bytes }
        })
        .into()
}

/// Every file under `folder`.
fn files(folder: &Path, when: &str, into: &mut Vec<Artefact>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, when, into);
        } else if let Ok(bytes) = fs::read(&path) {
            let name = format!("{when}: {}", path.display());
            into.push(Artefact { name, bytes });
        }
    }
}

/// Every row of every table of the journal.
fn rows(gateway: &Gateway) -> Vec<String> {
    let path = gateway.data().join("journal.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let journal = Connection::open_with_flags(&path, flags)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut tables = journal
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .expect("the schema");
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .expect("names")
        .map(|name| name.expect("a name"))
        .collect();
    let mut found = Vec::new();
    for table in tables {
        let mut select = journal
            .prepare(&format!("SELECT * FROM {table}"))
            .expect("a table");
        let names: Vec<String> = select.column_names().map(str::to_owned).collect();
        let mut rows = select.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            let cells: Vec<String> = names
                .iter()
                .enumerate()
                .map(|(n, name)| match row.get_ref(n).expect("a cell") {
                    ValueRef::Text(text) => format!("{name}={}", String::from_utf8_lossy(text)),
                    ValueRef::Blob(blob) => format!("{name}={blob:02x?}"),
                    other => format!("{name}={other:?}"),
                })
                .collect();
            found.push(format!("{table}: {}", cells.join(" | ")));
        }
    }
    found
}
