//! `tonewall payments`: works on the journal's file, also while the gateway runs.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use serde_json::json;
use tonewall::{
    gateway::read_clocks,
    journal::{AttemptRow, PaymentRow, Phase},
    processor::Outcome,
    proto::{audit::Event, id::PaymentId, payment::PaymentState},
};

use crate::keys::Site;

/// What stands where the processor's code would.
const BY_A_PERSON: &str = "found by a person";
/// Longest reference of a processor, in characters.
const LONGEST_REFERENCE: usize = 128;

#[derive(Subcommand)]
pub(crate) enum PaymentsCommand {
    /// List the attempts whose outcome is unknown, oldest first
    Unresolved {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write down what you found out at the processor of a payment whose outcome is unknown. It is
    /// believed: look carefully
    Resolve {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        /// The payment's id
        payment: PaymentId,
        #[command(flatten)]
        found: FoundOut,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct FoundOut {
    /// The charge stands; this is the processor's reference of it
    #[arg(long, value_name = "REFERENCE", value_parser = reference)]
    charged: Option<String>,
    /// There is no charge, and none can come any more
    #[arg(long)]
    not_charged: bool,
}

pub(crate) fn run(command: PaymentsCommand) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?
        .block_on(carry_out(command))
}

async fn carry_out(command: PaymentsCommand) -> anyhow::Result<()> {
    match command {
        PaymentsCommand::Unresolved { config, json } => {
            let site = Site::open(&config)?;
            let mut rows = site.journal.unresolved().await?;
            rows.retain(|row| open_outcome(row).is_some());
            list(&rows, json)
        }
        PaymentsCommand::Resolve {
            config,
            payment,
            found,
        } => {
            let site = Site::open(&config)?;
            // Who is told of payments is told of this, too; the gateway sends it.
            let endpoints = site.config.callbacks.endpoints();
            let tenant = &site.config.tenant;
            let routes = endpoints.iter().map(|one| one.route(tenant)).collect();
            site.journal.route_callbacks(routes).await?;
            resolve(&site, payment, found).await
        }
    }
}

async fn resolve(site: &Site, id: PaymentId, found: FoundOut) -> anyhow::Result<()> {
    let journal = &site.journal;
    let row = journal.payment(id.clone()).await?;
    let row = row.with_context(|| format!("the journal has no payment {id}"))?;
    let attempts = journal.attempts(id.clone()).await?;
    let attempt = attempts.last();
    let attempt = attempt.with_context(|| format!("payment {id} was never charged"))?;
    ensure!(
        open_outcome(attempt).is_some(),
        "the last attempt of payment {id} {}; only what is unknown can be resolved",
        match &attempt.phase {
            Phase::Intent | Phase::Sending =>
                "is on its way (or was, when the gateway stopped: start it, and it finds out)"
                    .to_owned(),
            Phase::Result(outcome) => format!("has ended: {}", outcome.as_str()),
        }
    );
    let (outcome, state) = match found.charged {
        Some(reference) => (
            Outcome::Approved {
                processor_reference: reference,
                code: BY_A_PERSON.to_owned(),
            },
            PaymentState::Approved,
        ),
        None => (
            Outcome::Failed {
                reason: format!("{BY_A_PERSON}: the processor has no such charge"),
                retryable: true,
            },
            PaymentState::Failed,
        ),
    };
    // The record first: what is believed stands in the log, or waits to be written into it.
    site.leave(Event::ChargeResult {
        payment: id.clone(),
        attempt: attempt.id.clone(),
        outcome: outcome.as_str().to_owned(),
        code: BY_A_PERSON.to_owned(),
    })
    .await?;
    let now = read_clocks().utc;
    journal.result(attempt.id.clone(), outcome, now).await?;
    journal
        .put_payment(PaymentRow {
            state: state.as_str().to_owned(),
            updated: now,
            ..row
        })
        .await?;
    writeln!(
        io::stdout(),
        "payment {id} is {} now; a gateway that runs takes it over at its next look-up, within five minutes",
        state.as_str()
    )?;
    Ok(())
}

/// What is open about an attempt, where anything is.
fn open_outcome(row: &AttemptRow) -> Option<&Outcome> {
    match &row.phase {
        Phase::Result(outcome) if outcome.is_open() => Some(outcome),
        Phase::Intent | Phase::Sending | Phase::Result(_) => None,
    }
}

fn list(rows: &[AttemptRow], json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "payment": row.payment, "attempt": row.id, "processor": row.processor,
                    "amount_minor": row.amount_minor, "currency": row.currency,
                    "reference": row.reference, "outcome": open_outcome(row),
                    "created": row.created,
                })
            })
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "every charge has its outcome")?;
    }
    for row in rows {
        let why = match open_outcome(row) {
            Some(Outcome::Pending { code, .. }) => format!("pending ({code})"),
            Some(Outcome::Unknown { reason }) => reason.clone(),
            _ => String::new(),
        };
        writeln!(
            out,
            "{}  {} {}  {} at {}, {:.0}\n    {}\n    {why}",
            row.payment,
            row.amount_minor,
            row.currency,
            row.reference,
            row.processor,
            row.created,
            row.id
        )?;
    }
    Ok(())
}

/// Of a processor, never of a card.
fn reference(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let fits = (1..=LONGEST_REFERENCE).contains(&text.len()) && text.bytes().all(plain);
    if !fits || tonewall::proto::card::may_hold_number(text) {
        return Err(format!(
            "expected the processor's reference: 1 to {LONGEST_REFERENCE} letters and digits, and no card number"
        ));
    }
    Ok(text.to_owned())
}
