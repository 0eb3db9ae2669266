//! `tonewall keys`: works on the journal's file, also while the gateway runs.

use std::{
    io::{self, Write},
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
        keys::{KeySecret, NewKey, create},
    },
    proto::{
        audit::{Actor, Event, Record, Success},
        id::KeyId,
    },
};

/// How long a panel link is good for.
const LINK_TTL: Duration = Duration::from_secs(600);

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
        #[arg(long)]
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
        /// Whose session it becomes
        #[arg(long, default_value = "agent")]
        label: String,
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
    /// Revoke a key, a link or a session at once
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
            let (secret, row) = site.make(role.into(), label, KeyKind::Api, None)?;
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
            json,
        } => {
            let site = Site::open(&config)?;
            let (secret, row) =
                site.make(Role::Agent, label, KeyKind::PanelLink, Some(LINK_TTL))?;
            let event = Event::PanelLinkCreated {
                key: row.id.clone(),
            };
            site.store(row.clone(), event).await?;
            let scheme = match site.config.api.tls_certificate {
                Some(_) => "https",
                None => "http",
            };
            secret.expose(|secret| {
                let address = site.config.api.listen;
                let link = format!("{scheme}://{address}/panel/enter?link={secret}");
                if json {
                    writeln!(io::stdout(), "{}", json!({ "id": row.id, "link": link }))
                } else {
                    writeln!(
                        io::stdout(),
                        "{link}\n\nGood for one use within ten minutes."
                    )
                }
            })?;
        }
        KeysCommand::List { config, json } => {
            let site = Site::open(&config)?;
            let rows = site.journal.keys(site.config.tenant.clone()).await?;
            list(&rows, json)?;
        }
        KeysCommand::Revoke { config, id } => {
            let site = Site::open(&config)?;
            site.leave(Event::ApiKeyRevoked { key: id.clone() }).await?;
            let revoked = site
                .journal
                .revoke_key(id.clone(), read_clocks().utc)
                .await?;
            anyhow::ensure!(
                revoked,
                "no live key {id}; `tonewall keys list` shows those that there are"
            );
            writeln!(io::stdout(), "{id} opens nothing any more")?;
        }
    }
    Ok(())
}

/// A gateway's configuration and journal.
struct Site {
    config: Config,
    journal: Journal,
}

impl Site {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let config = Config::load(path)?;
        tonewall::gateway::make_data_dir(&config.data_dir)?;
        let file = config.data_dir.join("journal.db");
        let journal = Journal::open_for(&file, config.node.clone())
            .with_context(|| format!("cannot open {}", file.display()))?;
        Ok(Self { config, journal })
    }

    fn make(
        &self,
        role: Role,
        label: String,
        kind: KeyKind,
        ttl: Option<Duration>,
    ) -> anyhow::Result<(KeySecret, KeyRow)> {
        let new = NewKey {
            tenant: self.config.tenant.clone(),
            node: self.config.node.clone(),
            role,
            label,
            kind,
            ttl,
        };
        Ok(create(new, read_clocks().utc)?)
    }

    /// The record first: a key that works stands in the log, or waits to be written into it.
    async fn store(&self, row: KeyRow, event: Event) -> anyhow::Result<()> {
        self.leave(event).await?;
        self.journal.put_key(row).await?;
        Ok(())
    }

    /// The gateway holds the compliance log; it writes what is left for it, within a second while
    /// it runs and at its next start otherwise.
    async fn leave(&self, event: Event) -> anyhow::Result<()> {
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

/// The user who runs this command: the owner of its own entry under `/proc`.
fn effective_user() -> anyhow::Result<u32> {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::metadata("/proc/self").context("cannot tell which user runs this")?;
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
                    "created": row.created, "expires": row.expires, "revoked": row.revoked,
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
    }
    Ok(())
}

const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Agent => "agent",
        Role::Integration => "integration",
        Role::Auditor => "auditor",
        Role::Administrator => "administrator",
    }
}
