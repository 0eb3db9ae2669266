//! `tonewall callbacks`: works on the journal's file, also while the gateway runs.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use tonewall::{
    gateway::read_clocks,
    journal::{CallbackRow, CallbackState},
    proto::{
        audit::Event,
        id::{EndpointName, MessageId},
    },
};

use crate::keys::Site;

/// Messages that are listed or replayed at a time.
const LISTED: u32 = 10_000;

#[derive(Subcommand)]
pub(crate) enum CallbacksCommand {
    /// List callbacks, oldest first: dead letters unless told otherwise
    List {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        /// Which
        #[arg(long, value_enum, default_value = "dead")]
        state: StateName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one callback with its body
    Show {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        /// Its id, which is the header webhook-id
        id: MessageId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have dead letters sent again, under the same ids; a gateway that runs begins within seconds
    Replay {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        which: Which,
    },
    /// Give dead letters up
    Drop {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Their ids
    #[arg(value_name = "ID")]
    ids: Vec<MessageId>,
    /// All of one endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: Option<EndpointName>,
    /// All
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum StateName {
    /// Not sent any more unless a person says so
    Dead,
    /// To be sent, or sent again
    Waiting,
    /// Taken within the last week
    Delivered,
}

impl From<StateName> for CallbackState {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Dead => Self::Dead,
            StateName::Waiting => Self::Waiting,
            StateName::Delivered => Self::Delivered,
        }
    }
}

#[derive(Clone, Copy)]
enum Act {
    Replay,
    Drop,
}

pub(crate) fn run(command: CallbacksCommand) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?
        .block_on(carry_out(command))
}

async fn carry_out(command: CallbacksCommand) -> anyhow::Result<()> {
    match command {
        CallbacksCommand::List {
            config,
            state,
            json,
        } => {
            let site = Site::open(&config)?;
            let rows = in_state(&site, state.into()).await?;
            list(&rows, json)
        }
        CallbacksCommand::Show { config, id, json } => {
            let site = Site::open(&config)?;
            let row = site.journal.callback(id.clone()).await?;
            show(&row.with_context(|| unknown(&id))?, json)
        }
        CallbacksCommand::Replay { config, which } => {
            decide(&Site::open(&config)?, which, Act::Replay).await
        }
        CallbacksCommand::Drop { config, which } => {
            decide(&Site::open(&config)?, which, Act::Drop).await
        }
    }
}

async fn in_state(site: &Site, state: CallbackState) -> anyhow::Result<Vec<CallbackRow>> {
    let tenant = site.config.tenant.clone();
    Ok(site.journal.callbacks(tenant, state, LISTED).await?)
}

async fn decide(site: &Site, which: Which, act: Act) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    if which.ids.is_empty() {
        rows = in_state(site, CallbackState::Dead).await?;
        if let Some(endpoint) = &which.endpoint {
            rows.retain(|row| row.endpoint == *endpoint);
        }
    }
    for id in which.ids {
        let row = site.journal.callback(id.clone()).await?;
        let row = row.with_context(|| unknown(&id))?;
        ensure!(
            row.state == CallbackState::Dead,
            "callback {id} is {}; only dead letters are replayed or dropped",
            word(row.state)
        );
        rows.push(row);
    }
    if matches!(act, Act::Replay) {
        let endpoints = &site.config.callbacks.endpoints;
        let is_there = |name: &EndpointName| endpoints.iter().any(|one| one.name == *name);
        if let Some(row) = rows.iter().find(|row| !is_there(&row.endpoint)) {
            bail!(
                "callback {} is for the endpoint {}, which the configuration does not have; nothing is replayed",
                row.id,
                row.endpoint
            );
        }
    }
    let count = rows.len();
    for row in rows {
        let (message, payment, endpoint) = (row.id.clone(), row.payment, row.endpoint);
        // The record first: what was decided stands in the log, or waits to be written into it.
        let done = match act {
            Act::Replay => {
                site.leave(Event::CallbackReplayed {
                    message,
                    payment,
                    endpoint,
                })
                .await?;
                let now = read_clocks().utc;
                site.journal.replay_callback(row.id.clone(), now).await?
            }
            Act::Drop => {
                site.leave(Event::CallbackDropped {
                    message,
                    payment,
                    endpoint,
                })
                .await?;
                site.journal.drop_callback(row.id.clone()).await?
            }
        };
        ensure!(done, "callback {} is no dead letter any more", row.id);
    }
    match act {
        Act::Replay => writeln!(
            io::stdout(),
            "{count} to be sent again; a gateway that runs begins within seconds"
        )?,
        Act::Drop => writeln!(io::stdout(), "{count} dropped")?,
    }
    Ok(())
}

fn unknown(id: &MessageId) -> String {
    format!("the journal has no callback {id}; `tonewall callbacks list` shows dead letters")
}

const fn word(state: CallbackState) -> &'static str {
    match state {
        CallbackState::Waiting => "waiting",
        CallbackState::Delivered => "delivered",
        CallbackState::Dead => "dead",
    }
}

fn as_json(row: &CallbackRow) -> Value {
    json!({
        "id": row.id, "endpoint": row.endpoint, "payment": row.payment, "event": row.event,
        "state": row.state, "tries": row.tries, "due": row.due, "created": row.created,
        "updated": row.updated, "problem": row.problem,
    })
}

fn list(rows: &[CallbackRow], json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let rows: Vec<_> = rows.iter().map(as_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "none")?;
    }
    for row in rows {
        writeln!(
            out,
            "{}  {} to {}, {:.0}, {} tries\n    {}{}",
            row.id,
            row.event,
            row.endpoint,
            row.created,
            row.tries,
            row.payment,
            row.problem
                .as_ref()
                .map_or_else(String::new, |problem| format!("\n    {problem}")),
        )?;
    }
    Ok(())
}

fn show(row: &CallbackRow, json: bool) -> anyhow::Result<()> {
    let body: Value = serde_json::from_str(&row.body).context("its body is no JSON")?;
    let mut out = io::stdout().lock();
    if json {
        let mut all = as_json(row);
        all["body"] = body;
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    writeln!(
        out,
        "{}\n{} to {}: {}, {} tries\nwritten {:.0}, last change {:.0}",
        row.id,
        row.event,
        row.endpoint,
        word(row.state),
        row.tries,
        row.created,
        row.updated
    )?;
    if row.state == CallbackState::Waiting {
        writeln!(out, "sent again not before {:.0}", row.due)?;
    }
    if let Some(problem) = &row.problem {
        writeln!(out, "last problem: {problem}")?;
    }
    writeln!(out, "\n{}", serde_json::to_string_pretty(&body)?)?;
    Ok(())
}
