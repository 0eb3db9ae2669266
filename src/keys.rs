//! `tonewall keys`: works on the journal's file, also while the gateway runs.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use tonewall::{
    config::Config,
    gateway::read_clocks,
    journal::{
        Journal, KeyKind, KeyRow, Role,
        keys::{NewKey, create},
    },
    proto::{
        audit::{Actor, Event, Record, Success},
        id::KeyId,
        party::AgentAddress,
    },
};

/// How long a panel link is good for.
const LINK_TTL: Duration = Duration::from_secs(600);
/// Longest label of a key, in characters.
const LONGEST_LABEL: usize = 100;

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make an API key; it is shown once
    Create {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        /// What it may do
        #[arg(long, value_enum)]
        role: RoleName,
        /// What it is for, to tell it from others
        #[arg(long, value_parser = label)]
        label: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a link into the agent's panel: good for one use within ten minutes
    #[command(long_flag = "panel")]
    Panel {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        /// Whose session it becomes; the panel and the log name it
        #[arg(long, default_value = "agent", value_parser = label)]
        label: String,
        /// The agent's own address, as signalling names it (sip:4711@pbx.example): the panel then finds
        /// that agent's calls by itself
        #[arg(long, value_name = "ADDRESS")]
        agent: Option<AgentAddress>,
        /// The session may settle, void and refund, too
        #[arg(long)]
        supervisor: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List keys, links and sessions; never the secrets
    List {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key, a link or a session at once; event streams that it has open end within 15 s
    Revoke {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        /// Its id, as `keys list` shows it
        id: KeyId,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    /// Takes payments on calls
    Agent,
    /// Does so too, and settles, voids and refunds what was charged
    Supervisor,
    /// A program that does the same on behalf of agents
    Integration,
    /// Reads the compliance log
    Auditor,
    /// Keys and configuration; sees no captures
    Administrator,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Agent => Self::Agent,
            RoleName::Supervisor => Self::Supervisor,
            RoleName::Integration => Self::Integration,
            RoleName::Auditor => Self::Auditor,
            RoleName::Administrator => Self::Administrator,
        }
    }
}

pub(crate) fn run(command: KeysCommand) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?
        .block_on(carry_out(command))
}

async fn carry_out(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create {
            config,
            role,
            label,
            json,
        } => {
            let site = Site::open(&config)?;
            let (secret, row) = create(site.new_key(role.into(), label), read_clocks().utc)?;
            let event = Event::ApiKeyCreated {
                key: row.id.clone(),
                role: role_word(row.role).to_owned(),
            };
            site.store(row.clone(), event).await?;
            secret.expose(|secret| {
                if json {
                    let key = json!({ "id": row.id, "role": row.role, "label": row.label, "secret": secret });
                    writeln!(io::stdout(), "{key}")
                } else {
                    writeln!(
                        io::stdout(),
                        "{secret}\n\n{} for {:?}, role {}. It is not shown again.",
                        row.id,
                        row.label,
                        role_word(row.role)
                    )
                }
            })?;
        }
        KeysCommand::Panel {
            config,
            label,
            agent,
            supervisor,
            json,
        } => {
            let site = Site::open(&config)?;
            let role = if supervisor {
                Role::Supervisor
            } else {
                Role::Agent
            };
            let new = NewKey {
                agent,
                kind: KeyKind::PanelLink,
                ttl: Some(LINK_TTL),
                ..site.new_key(role, label)
            };
            let (secret, row) = create(new, read_clocks().utc)?;
            let event = Event::PanelLinkCreated {
                key: row.id.clone(),
            };
            site.store(row.clone(), event).await?;
            secret.expose(|secret| {
                let link = format!("{}/panel/enter?link={secret}", site.config.url());
                if json {
                    writeln!(io::stdout(), "{}", json!({ "id": row.id, "link": link }))
                } else {
                    writeln!(
                        io::stdout(),
                        "{link}\n\nGood for one use within ten minutes."
                    )
                }
            })?;
            if site.config.api.url.is_none() && site.config.api.listen.ip().is_unspecified() {
                writeln!(
                    io::stderr(),
                    "note: {} is no address that a browser can open; set api.url to the one by which agents reach the panel",
                    site.config.api.listen
                )?;
            }
        }
        KeysCommand::List { config, json } => {
            let site = Site::open(&config)?;
            let rows = site.journal.keys(site.config.tenant.clone()).await?;
            list(&rows, json)?;
        }
        KeysCommand::Revoke { config, id } => {
            let site = Site::open(&config)?;
            let rows = site.journal.keys(site.config.tenant.clone()).await?;
            let is_live = rows.iter().any(|row| row.id == id && row.revoked.is_none());
            anyhow::ensure!(
                is_live,
                "no live key {id}; `tonewall keys list` shows those that there are"
            );
            site.leave(Event::ApiKeyRevoked { key: id.clone() }).await?;
            // False where somebody else has just done it: it is revoked all the same.
            site.journal
                .revoke_key(id.clone(), read_clocks().utc)
                .await?;
            writeln!(io::stdout(), "{id} opens nothing any more")?;
        }
    }
    Ok(())
}

/// A gateway's configuration and journal.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) journal: Journal,
}

impl Site {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let config = Config::load(path)?;
        tonewall::gateway::make_data_dir(&config.data_dir)?;
        let owner = fs::metadata(&config.data_dir)?.uid();
        let me = effective_user()?;
        anyhow::ensure!(
            owner == me,
            "{} belongs to user {owner}, and this runs as user {me}, whose files the gateway could not read; run it as the owner, with `sudo -u`",
            config.data_dir.display()
        );
        let file = config.data_dir.join("journal.db");
        let journal = Journal::open_for(&file, config.node.clone())
            .with_context(|| format!("cannot open {}", file.display()))?;
        Ok(Self { config, journal })
    }

    /// An API key without an end.
    fn new_key(&self, role: Role, label: String) -> NewKey {
        NewKey {
            tenant: self.config.tenant.clone(),
            node: self.config.node.clone(),
            role,
            label,
            agent: None,
            kind: KeyKind::Api,
            ttl: None,
        }
    }

    /// The record first: a key that works stands in the log, or waits to be written into it.
    async fn store(&self, row: KeyRow, event: Event) -> anyhow::Result<()> {
        self.leave(event).await?;
        self.journal.put_key(row).await?;
        Ok(())
    }

    /// The gateway holds the compliance log; it writes what is left for it, within a second while
    /// it runs and at its next start otherwise.
    pub(crate) async fn leave(&self, event: Event) -> anyhow::Result<()> {
        let record = Record {
            actor: Actor::Console {
                uid: effective_user()?,
            },
            origin: "console".to_owned(),
            success: Success::Success,
            event,
        };
        let tenant = Some(self.config.tenant.clone());
        self.journal.leave_record(tenant, record).await?;
        Ok(())
    }
}

/// A label is shown in terminals and in the panel.
fn label(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > LONGEST_LABEL || text.chars().any(char::is_control)
    {
        return Err(format!(
            "expected 1 to {LONGEST_LABEL} printable characters"
        ));
    }
    Ok(text.to_owned())
}

/// The user who runs this command: the owner of its own entry under `/proc`.
fn effective_user() -> anyhow::Result<u32> {
    let own = fs::metadata("/proc/self").context("cannot tell which user runs this")?;
    Ok(own.uid())
}

fn list(rows: &[KeyRow], json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "id": row.id, "kind": row.kind, "role": row.role, "label": row.label,
                    "agent": row.agent, "created": row.created, "expires": row.expires, "revoked": row.revoked,
                })
            })
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "no keys; `tonewall keys create` makes one")?;
    }
    for row in rows {
        let end = match (row.revoked, row.expires) {
            (Some(at), _) => format!("revoked {at:.0}"),
            (None, Some(at)) => format!("until {at:.0}"),
            (None, None) => "until revoked".to_owned(),
        };
        writeln!(
            out,
            "{}  {:<13} {:<13} {end:<30} {}",
            row.id,
            row.kind.to_string(),
            role_word(row.role),
            row.label
        )?;
        if let Some(agent) = &row.agent {
            writeln!(out, "    for {agent}")?;
        }
    }
    Ok(())
}

const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Agent => "agent",
        Role::Supervisor => "supervisor",
        Role::Integration => "integration",
        Role::Auditor => "auditor",
        Role::Administrator => "administrator",
    }
}
