//! `tonewall payments`: works on the journal's file, also while the gateway runs.

use std::{
    io::{self, Write},
    path::PathBuf,
};

mod books;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::json;
use tonewall::{
    gateway::read_clocks,
    journal::{AttemptRow, OperationRow, PaymentFilter, PaymentRow, Phase},
    processor::Outcome,
    proto::{
        audit::Event,
        id::{OperationId, PaymentId},
        payment::PaymentState,
    },
};

use crate::keys::Site;

/// What stands where the processor's code would.
const BY_A_PERSON: &str = "found by a person";
/// Longest reference of a processor, in characters.
const LONGEST_REFERENCE: usize = 128;

#[derive(Subcommand)]
pub(crate) enum PaymentsCommand {
    /// List payments, newest first
    List {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        which: Which,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one payment with its attempts and what was done with its charge
    Show {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        /// The payment's id
        payment: PaymentId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write payments as comma-separated values (RFC 4180), newest first, for a spreadsheet or an
    /// accountant
    Export {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        which: Which,
    },
    /// List the attempts and operations whose outcome is unknown, oldest first
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
        /// The settlement, void or refund that it is about; the charge where none is named
        #[arg(long, value_name = "ID")]
        operation: Option<OperationId>,
        #[command(flatten)]
        found: FoundOut,
    },
}

/// Which payments.
#[derive(Args)]
pub(crate) struct Which {
    /// Only those in this state (approved, declined, failed, unknown, cancelled, ...)
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<PaymentState>,
    /// Only those with exactly this reference of yours
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    /// Only those created then or later: a day (2026-11-23, UTC) or a time (2026-11-23T09:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<Timestamp>,
    /// Only those created before
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<Timestamp>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    limit: u32,
}

impl Which {
    fn filter(self) -> PaymentFilter {
        PaymentFilter {
            state: self.state,
            reference: self.reference,
            since: self.since,
            until: self.until,
            limit: self.limit,
            ..PaymentFilter::default()
        }
    }
}

fn state(word: &str) -> Result<PaymentState, String> {
    PaymentState::from_word(word).ok_or_else(|| {
        "expected arming, open, capturing, submitting, approved, declined, failed, unknown or cancelled"
            .to_owned()
    })
}

fn when(text: &str) -> Result<Timestamp, String> {
    let of_day = |day: Date| day.to_zoned(TimeZone::UTC).map(|at| at.timestamp());
    text.parse::<Timestamp>()
        .or_else(|_| text.parse::<Date>().and_then(of_day))
        .map_err(|_| "expected a day (2026-11-23, UTC) or a time (2026-11-23T09:00:00Z)".to_owned())
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct FoundOut {
    /// The charge stands (the operation was done); this is the processor's reference of it
    #[arg(long, alias = "done", value_name = "REFERENCE", value_parser = reference)]
    charged: Option<String>,
    /// There is no charge (the operation was not done), and none can come any more
    #[arg(long, alias = "not-done")]
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
        PaymentsCommand::List {
            config,
            which,
            json,
        } => {
            let site = Site::open(&config)?;
            let found = books::found(&site, which.filter()).await?;
            books::list(&found, json)
        }
        PaymentsCommand::Show {
            config,
            payment,
            json,
        } => {
            let site = Site::open(&config)?;
            books::show(&site, payment, json).await
        }
        PaymentsCommand::Export { config, which } => {
            let site = Site::open(&config)?;
            let found = books::found(&site, which.filter()).await?;
            books::export(&found)
        }
        PaymentsCommand::Unresolved { config, json } => {
            let site = Site::open(&config)?;
            let mut rows = site.journal.unresolved().await?;
            rows.retain(|row| open_outcome(&row.phase).is_some());
            let mut operations = site.journal.unresolved_operations().await?;
            operations.retain(|row| open_outcome(&row.phase).is_some());
            list(&rows, &operations, json)
        }
        PaymentsCommand::Resolve {
            config,
            payment,
            operation,
            found,
        } => {
            let site = Site::open(&config)?;
            // Who is told of payments is told of this, too; the gateway sends it.
            let endpoints = site.config.callbacks.endpoints();
            let tenant = &site.config.tenant;
            let routes = endpoints.iter().map(|one| one.route(tenant)).collect();
            site.journal.route_callbacks(routes).await?;
            match operation {
                Some(operation) => resolve_operation(&site, payment, operation, found).await,
                None => resolve(&site, payment, found).await,
            }
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
        open_outcome(&attempt.phase).is_some(),
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

async fn resolve_operation(
    site: &Site,
    payment: PaymentId,
    id: OperationId,
    found: FoundOut,
) -> anyhow::Result<()> {
    let journal = &site.journal;
    let begun = journal.operation(id.clone()).await?;
    let begun = begun.filter(|begun| begun.payment.id == payment);
    let begun = begun.with_context(|| format!("payment {payment} has no operation {id}"))?;
    let row = begun.operation;
    ensure!(
        open_outcome(&row.phase).is_some(),
        "operation {id} {}; only what is unknown can be resolved",
        match &row.phase {
            Phase::Intent | Phase::Sending =>
                "is on its way (or was, when the gateway stopped: start it, and it finds out)"
                    .to_owned(),
            Phase::Result(outcome) => format!("has ended: {}", outcome.as_str()),
        }
    );
    let (outcome, word) = match found.charged {
        Some(reference) => (
            Outcome::Approved {
                processor_reference: reference,
                code: BY_A_PERSON.to_owned(),
            },
            "done",
        ),
        None => (
            Outcome::Failed {
                reason: format!("{BY_A_PERSON}: the processor has no such operation"),
                retryable: true,
            },
            "not done",
        ),
    };
    site.leave(Event::OperationResult {
        payment,
        operation: id.clone(),
        kind: row.kind,
        outcome: outcome.as_str().to_owned(),
        code: BY_A_PERSON.to_owned(),
    })
    .await?;
    let now = read_clocks().utc;
    journal.operation_result(id.clone(), outcome, now).await?;
    writeln!(
        io::stdout(),
        "the {} {id} is {word}; a gateway that runs takes it over at its next look-up, within an hour",
        row.kind.as_str()
    )?;
    Ok(())
}

/// What is open about an attempt or an operation, where anything is.
fn open_outcome(phase: &Phase) -> Option<&Outcome> {
    match phase {
        Phase::Result(outcome) if outcome.is_open() => Some(outcome),
        Phase::Intent | Phase::Sending | Phase::Result(_) => None,
    }
}

fn list(rows: &[AttemptRow], operations: &[OperationRow], json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let attempts = rows.iter().map(|row| {
            json!({
                "payment": row.payment, "attempt": row.id, "processor": row.processor,
                "amount_minor": row.amount_minor, "currency": row.currency,
                "reference": row.reference, "outcome": open_outcome(&row.phase),
                "created": row.created,
            })
        });
        let operations = operations.iter().map(|row| {
            json!({
                "payment": row.payment, "operation": row.id, "kind": row.kind,
                "amount_minor": row.amount_minor, "currency": row.currency,
                "outcome": open_outcome(&row.phase), "created": row.created,
            })
        });
        let rows: Vec<_> = attempts.chain(operations).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    if rows.is_empty() && operations.is_empty() {
        writeln!(out, "every charge and every operation has its outcome")?;
    }
    let why = |phase| match open_outcome(phase) {
        Some(Outcome::Pending { code, .. }) => format!("pending ({code})"),
        Some(Outcome::Unknown { reason }) => reason.clone(),
        _ => String::new(),
    };
    for row in rows {
        writeln!(
            out,
            "{}  {} {}  {} at {}, {:.0}\n    {}\n    {}",
            row.payment,
            row.amount_minor,
            row.currency,
            row.reference,
            row.processor,
            row.created,
            row.id,
            why(&row.phase)
        )?;
    }
    for row in operations {
        writeln!(
            out,
            "{}  {} {}  {}, {:.0}\n    --operation {}\n    {}",
            row.payment,
            row.amount_minor,
            row.currency,
            row.kind.as_str(),
            row.created,
            row.id,
            why(&row.phase)
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
