//! The gateway as its users meet it: a process, a configuration file, NG, an API.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The HMAC key that the sandbox of these tests works with.
pub(crate) const DIGEST_KEY: &str =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Ports are looked for below those that the kernel gives to whoever asks for any (from 32768 on),
/// so that nobody's outgoing connection takes one while a gateway is down between two starts.
const CONTROL_PORTS: Range<u16> = 10_000..20_000;
/// Where a test's media ports begin; those that are held by others are passed over.
const MEDIA_PORTS: Range<u16> = 24_000..32_000;
/// Width of a test's range of media ports: 150 calls.
const MEDIA_RANGE: u16 = 600;

/// How long something may take on a host that is busy with other things; it usually takes far less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether it has come.
const LOOK: Duration = Duration::from_millis(20);

/// What differs from test to test.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    /// Lines of TOML before the first table.
    pub(crate) top: &'static str,
    /// Lines of `[ng]`.
    pub(crate) ng: &'static str,
    /// More tables.
    pub(crate) more: &'static str,
    pub(crate) level: Option<&'static str>,
    /// First media port; a random one where it is 0.
    pub(crate) ports: u16,
}

pub(crate) struct Gateway {
    child: Child,
    pub(crate) folder: TempDir,
    pub(crate) base: String,
    pub(crate) metrics: SocketAddr,
    pub(crate) ng: SocketAddr,
    pub(crate) ng_http: SocketAddr,
    pub(crate) secret: String,
    pub(crate) http: reqwest::Client,
    /// Of the log, whenever it is started.
    level: Option<&'static str>,
    /// Every body of the API, as it came, after the method and the path.
    pub(crate) answers: Mutex<Vec<(String, String)>>,
}

/// A port that is free for TCP and UDP now.
fn free() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(CONTROL_PORTS)));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

impl Gateway {
    /// Starts one, and again where another process took a port between its being found free and
    /// its being listened on.
    pub(crate) async fn start(options: Options) -> Self {
        for _ in 0..5 {
            let mut gateway = Self::spawn(options);
            if gateway.is_ready_soon().await {
                return gateway;
            }
        }
        panic!("no free ports");
    }

    fn spawn(options: Options) -> Self {
        let folder = TempDir::new().expect("a folder");
        let [api, metrics, ng, ng_http] = [free(), free(), free(), free()];
        let Options {
            top,
            ng: more_ng,
            more,
            level,
            ports,
        } = options;
        let first = match ports {
            0 => rand::random_range(MEDIA_PORTS) & !1,
            named => named,
        };
        let config = format!(
            "data_dir = {:?}\ndrain_timeout = \"2s\"\n{top}\n\
             [api]\nlisten = \"{api}\"\n[metrics]\nlisten = \"{metrics}\"\n\
             [ng]\nudp = \"{ng}\"\nhttp = \"{ng_http}\"\n{more_ng}\n\
             [media]\ncaller = \"offerer\"\nport_min = {first}\nport_max = {}\n\
             [processor]\nkind = \"sandbox\"\ndigest_key = \"{DIGEST_KEY}\"\n{more}\n",
            folder.path().join("data"),
            first + MEDIA_RANGE - 1,
        );
        let file = folder.path().join("tonewall.toml");
        fs::write(&file, config).expect("the configuration is written");
        let made = Command::new(env!("CARGO_BIN_EXE_tonewall"))
            .args([
                "keys",
                "create",
                "--role",
                "integration",
                "--label",
                "test",
                "--json",
            ])
            .arg("--config")
            .arg(&file)
            .output()
            .expect("the command runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let key: Value = serde_json::from_slice(&made.stdout).expect("JSON");
        // Whatever installed it first will do.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let child = Self::serve(&folder, level);
        Self {
            child,
            folder,
            base: format!("http://{api}"),
            metrics,
            ng,
            ng_http,
            secret: key["secret"].as_str().expect("a secret").to_owned(),
            http: reqwest::Client::new(),
            level,
            answers: Mutex::default(),
        }
    }

    fn serve(folder: &TempDir, level: Option<&str>) -> Child {
        let append = |name| {
            File::options()
                .create(true)
                .append(true)
                .open(folder.path().join(name))
                .expect("a file")
        };
        Command::new(env!("CARGO_BIN_EXE_tonewall"))
            .args([
                "serve",
                "--log-format",
                "json",
                "--log-level",
                level.unwrap_or("info"),
            ])
            .arg("--config")
            .arg(folder.path().join("tonewall.toml"))
            .stdin(Stdio::null())
            .stdout(append("stdout"))
            .stderr(append("log"))
            .spawn()
            .expect("the gateway starts")
    }

    /// Starts again, on the same files, what was killed.
    pub(crate) async fn restart(&mut self) {
        self.child = Self::serve(&self.folder, self.level);
        self.until_ready().await;
    }

    /// Sends a signal by its name, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let status = kill.args(["-s", name, &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Changes the configuration file; a restart or a SIGHUP takes it up.
    pub(crate) fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        let file = self.config();
        let text = fs::read_to_string(&file).expect("the configuration");
        fs::write(&file, edit(text)).expect("the configuration is written");
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("tonewall.toml")
    }

    /// Waits for the end of a process that was told to stop.
    pub(crate) async fn until_ended(&mut self) -> std::process::ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            assert!(
                Instant::now() < until,
                "does not end within {PATIENCE:?}:\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn until_ready(&mut self) {
        assert!(
            self.is_ready_soon().await,
            "ended at its start:\n{}",
            self.log()
        );
    }

    /// False when a port of it was taken.
    async fn is_ready_soon(&mut self) -> bool {
        let url = format!("{}/readyz", self.base);
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(answer) = self.http.get(&url).send().await
                && answer.status().is_success()
            {
                return true;
            }
            let has_ended = self.child.try_wait().expect("its status").is_some();
            if has_ended && self.log().contains("Address already in use") {
                return false;
            }
            assert!(
                !has_ended && Instant::now() < until,
                "not ready:\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until the log holds `words`.
    pub(crate) async fn until_log(&self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.log().contains(words) {
            assert!(
                Instant::now() < until,
                "{words:?} is not in the log:\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One request with the test's API key; status and JSON body.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let verb = method.parse().expect("a method");
        let mut request = self
            .http
            .request(verb, format!("{}{path}", self.base))
            .bearer_auth(&self.secret);
        let once = ["/v1/payments", "/settle", "/void", "/refund"];
        if once.iter().any(|end| path.ends_with(end)) {
            request = request.header(
                "Idempotency-Key",
                format!("{:032x}", rand::random::<u128>()),
            );
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        let mut answers = self.answers.lock().expect("no test panicked with it");
        answers.push((format!("{method} {path} {status}"), text.clone()));
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.request("POST", path, Some(body)).await;
        assert!(
            status < 300,
            "POST {path}: {status} {answer}\n{}",
            self.log()
        );
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.request("GET", path, None).await;
        assert!(status < 300, "GET {path}: {status} {answer}");
        answer
    }

    /// One NG command over UDP, as JSON.
    pub(crate) async fn ng(&self, command: &Value) -> Value {
        static COOKIE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = COOKIE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("a socket");
        let datagram = format!("t{number} {command}");
        let mut buffer = vec![0; 65_536];
        // Loopback loses a datagram only where a buffer is full: it is sent again, as a proxy does.
        for _ in 0..PATIENCE.as_secs() {
            socket
                .send_to(datagram.as_bytes(), self.ng)
                .await
                .expect("sent");
            let answer = socket.recv_from(&mut buffer);
            if let Ok(Ok((length, _))) = tokio::time::timeout(Duration::from_secs(1), answer).await
            {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let (_, dict) = text.split_once(' ').expect("a cookie");
                return serde_json::from_str(dict).expect("JSON");
            }
        }
        panic!("no answer to {command}:\n{}", self.log());
    }

    pub(crate) async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.metrics);
        let answer = self.http.get(url).send().await.expect("metrics");
        answer.text().await.expect("text")
    }

    /// A metric's value; 0 where it has not been counted yet.
    pub(crate) async fn counted(&self, series: &str) -> u64 {
        let metrics = self.metrics().await;
        let lines = metrics.lines();
        let value = lines
            .filter_map(|line| line.strip_prefix(series))
            .find_map(|rest| rest.strip_prefix(' '));
        value.map_or(0, |value| value.trim().parse().expect("a number"))
    }

    /// Waits until a metric has a value. What is counted is counted after it was done, and by
    /// another task: the answer to a request may be there first.
    pub(crate) async fn until_counted(&self, series: &str, expected: u64, what: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.counted(series).await;
            if found == expected {
                return;
            }
            assert!(
                Instant::now() < until,
                "{what}: {series} is {found}, expected {expected}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a call is armed by nobody any more. Asks the metrics, of which no log line tells.
    pub(crate) async fn until_disarmed(&self) {
        self.until_counted("tonewall_calls_armed", 0, "armed calls")
            .await;
    }

    /// What the sandbox received, as HMACs.
    pub(crate) async fn received(&self) -> Vec<Value> {
        let sandbox = fs::read_to_string(self.data().join("sandbox.json")).expect("sandbox.json");
        let sandbox: Value = serde_json::from_str(&sandbox).expect("JSON");
        let ca =
            reqwest::Certificate::from_pem(sandbox["ca_pem"].as_str().expect("PEM").as_bytes())
                .expect("a certificate");
        let client = reqwest::Client::builder()
            .tls_certs_only([ca])
            .build()
            .expect("a client");
        let url = format!("https://127.0.0.1:{}/v1/received", sandbox["port"]);
        let body = client
            .get(url)
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a body");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["received"].as_array().expect("a list").clone()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        let number = line.split_whitespace().nth(1).expect("a number");
        number.parse().expect("KiB")
    }

    /// Runs another command of the binary on this gateway's files.
    pub(crate) fn command(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tonewall"))
            .args(args)
            .output()
            .expect("the command runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(mut self) -> (TempDir, String) {
        let killed = Command::new("kill").arg(self.pid().to_string()).status();
        assert!(killed.expect("kill runs").success());
        let until = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().expect("its status") {
                Some(status) => {
                    let log = self.log();
                    assert!(status.success(), "{status}\n{log}");
                    let folder =
                        std::mem::replace(&mut self.folder, TempDir::new().expect("a folder"));
                    return (folder, log);
                }
                None => assert!(Instant::now() < until, "does not stop:\n{}", self.log()),
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Creates a payment of 12.50 EUR on a call.
    pub(crate) async fn payment(&self, call: &str) -> Value {
        self.post(
            "/v1/payments",
            json!({"call": call, "amount": 1250, "currency": "EUR", "reference": "T-1"}),
        )
        .await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Gone already when it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
