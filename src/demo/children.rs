//! The demo's child processes, all of the same binary: the gateway and the two ends of a call.

use std::{
    fs::{DirBuilder, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    api::Api,
    end::{self, Finding, Order, Report},
    ng::AGENT,
};

/// How long the gateway may take until it is ready.
const START: Duration = Duration::from_secs(15);
/// Lines of the gateway's log that a failure shows.
const LOG_TAIL: usize = 8;

/// The demo's own folder, made anew, readable by its owner only.
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    pub(super) fn create() -> Result<Self> {
        let name = format!("tonewall-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self { path })
    }

    /// The gateway's log.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("gateway.log")
    }

    /// The end of the gateway's log, for a failure's message.
    pub(super) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }

    /// Removes it with all that is in it.
    pub(super) fn remove(self) {
        // What stays in the folder for temporary files harms nobody.
        drop(std::fs::remove_dir_all(&self.path));
    }
}

/// Where the gateway is going to listen and keep its data: a configuration of its own.
pub(super) struct Setting {
    config: PathBuf,
    pub(super) data_dir: PathBuf,
    pub(super) api: SocketAddr,
    pub(super) ng: SocketAddr,
}

impl Setting {
    /// Writes the configuration.
    pub(super) fn write(folder: &Folder, digest_key: &str) -> Result<Self> {
        let (api, metrics) = free_tcp()?;
        let ng = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let data_dir = folder.path.join("data");
        let config = folder.path.join("tonewall.toml");
        let text = configuration(&data_dir, [api, metrics, ng], digest_key);
        std::fs::write(&config, text)
            .with_context(|| format!("cannot write {}", config.display()))?;
        Ok(Self {
            config,
            data_dir,
            api,
            ng,
        })
    }

    /// Makes an API key for the agent's desktop.
    pub(super) async fn make_key(&self) -> Result<String> {
        let arguments = ["create", "--role", "integration", "--label", "demo"];
        let answer = self.keys(&arguments).await?;
        let secret = answer["secret"].as_str();
        secret
            .map(str::to_owned)
            .context("`tonewall keys create` told no secret")
    }

    /// Makes a link into the panel, good for one use.
    pub(super) async fn panel_link(&self) -> Result<String> {
        let answer = self.keys(&["panel", "--agent", AGENT]).await?;
        let link = answer["link"].as_str();
        link.map(str::to_owned)
            .context("`tonewall keys panel` told no link")
    }

    async fn keys(&self, arguments: &[&str]) -> Result<Value> {
        let output = binary()?
            .arg("keys")
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .arg("--json")
            .stdin(Stdio::null())
            .output()
            .await?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!(
                "`tonewall keys {}` failed: {}",
                arguments.join(" "),
                error.trim()
            );
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`tonewall keys {}` answered no JSON", arguments.join(" ")))
    }
}

/// The gateway, running.
pub(super) struct Gateway {
    child: Child,
    pub(super) setting: Setting,
}

impl Gateway {
    /// Starts it with its configuration.
    pub(super) fn start(setting: Setting, folder: &Folder) -> Result<Self> {
        let log = File::create(folder.log())?;
        let child = binary()?
            .args(["serve", "--log-format", "json", "--config"])
            .arg(&setting.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the gateway")?;
        Ok(Self { child, setting })
    }

    /// Waits until the gateway takes calls.
    pub(super) async fn ready(&mut self, api: &Api) -> Result<()> {
        let until = Instant::now() + START;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                bail!("the gateway ended while starting ({status})");
            }
            if api.is_ready().await {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("the gateway was not ready within {START:?}")
    }

    /// Asks the gateway to drain and waits for its end.
    pub(super) async fn stop(mut self) {
        let Some(pid) = self.child.id() else { return };
        // The shell's own `kill`: present wherever there is a shell.
        let asked = Command::new("sh")
            .args(["-c", &format!("kill -TERM {pid}")])
            .status();
        drop(timeout(Duration::from_secs(2), asked).await);
        if timeout(Duration::from_secs(6), self.child.wait())
            .await
            .is_err()
        {
            drop(self.child.kill().await);
        }
    }
}

fn configuration(data_dir: &Path, [api, metrics, ng]: [SocketAddr; 3], digest_key: &str) -> String {
    let text = |value: &dyn ToString| toml::Value::String(value.to_string()).to_string();
    format!(
        "tenant = \"demo\"\nnode = \"loopback\"\ndata_dir = {}\ndrain_timeout = \"1s\"\n\n\
         [api]\nlisten = {}\n\n[metrics]\nlisten = {}\n\n[ng]\nudp = {}\n\n\
         [media]\naddress = \"127.0.0.1\"\nworkers = 1\ncaller = \"offerer\"\n\n\
         [processor]\nkind = \"sandbox\"\ndigest_key = {}\n",
        text(&data_dir.display()),
        text(&api),
        text(&metrics),
        text(&ng),
        text(&digest_key),
    )
}

/// Two free TCP ports, held open together so that they differ.
fn free_tcp() -> Result<(SocketAddr, SocketAddr)> {
    let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok((one.local_addr()?, other.local_addr()?))
}

/// This binary, in a process group of its own: Ctrl-C is for the orchestrator, which ends them.
fn binary() -> Result<Command> {
    let path = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = Command::new(path);
    command.process_group(0).kill_on_drop(true);
    Ok(command)
}

/// One end of a call.
pub(super) struct Player {
    name: &'static str,
    child: Child,
    orders: ChildStdin,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Its RTP port.
    pub(super) port: u16,
}

impl Player {
    /// Starts an end and waits for its sockets. `name` is `caller` or `agent`.
    pub(super) async fn start(
        name: &'static str,
        card: &str,
        digest_key: &str,
        record: Option<&Path>,
    ) -> Result<Self> {
        let mut command = binary()?;
        command
            .args([
                end::SUBCOMMAND,
                name,
                "--card",
                card,
                "--digest-key",
                digest_key,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(path) = record {
            command.arg("--record").arg(path);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start the {name}"))?;
        let orders = child.stdin.take().context("no pipe to a child")?;
        let output = child.stdout.take().context("no pipe from a child")?;
        let (sender, reports) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(report) = serde_json::from_str(&line) else {
                    continue;
                };
                if sender.send(report).is_err() {
                    return;
                }
            }
        });
        let mut player = Self {
            name,
            child,
            orders,
            reports,
            port: 0,
        };
        player.port = player
            .wait(
                Duration::from_secs(5),
                "open its sockets",
                |report| match report {
                    Report::Ready { rtp } => Some(rtp),
                    _ => None,
                },
            )
            .await?;
        Ok(player)
    }

    /// Gives an order.
    pub(super) async fn order(&mut self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders
            .write_all(&line)
            .await
            .with_context(|| format!("the {} has ended", self.name))
    }

    /// The next report; waits for ever when the end is gone.
    pub(super) async fn report(&mut self) -> Report {
        match self.reports.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }

    /// Waits for a report that `wanted` takes.
    pub(super) async fn wait<T>(
        &mut self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(Report) -> Option<T>,
    ) -> Result<T> {
        let found = async {
            loop {
                match self.reports.recv().await {
                    Some(Report::Refused { reason }) => bail!("the {} cannot: {reason}", self.name),
                    Some(report) => {
                        if let Some(found) = wanted(report) {
                            return Ok(found);
                        }
                    }
                    None => bail!("the {} ended before it could {what}", self.name),
                }
            }
        };
        timeout(limit, found)
            .await
            .with_context(|| format!("the {} did not {what} within {limit:?}", self.name))?
    }

    /// Ends it and takes what it found.
    pub(super) async fn finish(mut self) -> Result<Finding> {
        self.order(&Order::Finish).await?;
        let finding = self
            .wait(
                Duration::from_secs(30),
                "examine its recording",
                |report| match report {
                    Report::Finished(finding) => Some(*finding),
                    _ => None,
                },
            )
            .await?;
        drop(timeout(Duration::from_secs(2), self.child.wait()).await);
        Ok(finding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_and_holds_what_it_must() {
        let addresses = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"].map(|a| a.parse().unwrap());
        let text = configuration(Path::new("/tmp/it's \"odd\""), addresses, "00ff");
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["data_dir"].as_str(), Some("/tmp/it's \"odd\""));
        assert_eq!(table["ng"]["udp"].as_str(), Some("127.0.0.1:3"));
        assert_eq!(table["processor"]["digest_key"].as_str(), Some("00ff"));
    }
}
