//! What the journal has of payments, for a person, a program or a spreadsheet.

use std::io::{self, Write};

use anyhow::Context;
use serde_json::{Value, json};
use tonewall::{
    journal::{AttemptRow, OperationRow, PaymentFilter, PaymentRow, Phase},
    processor::Outcome,
    proto::{
        currency::decimal,
        id::PaymentId,
        payment::{Balance, OperationEntry},
    },
};

use crate::keys::Site;

/// A payment with all that became of it.
pub(super) struct Found {
    row: PaymentRow,
    attempts: Vec<AttemptRow>,
    operations: Vec<OperationRow>,
}

pub(super) async fn found(site: &Site, filter: PaymentFilter) -> anyhow::Result<Vec<Found>> {
    let rows = site
        .journal
        .payments(site.config.tenant.clone(), filter)
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        found.push(with_history(site, row).await?);
    }
    Ok(found)
}

async fn with_history(site: &Site, row: PaymentRow) -> anyhow::Result<Found> {
    let attempts = site.journal.attempts(row.id.clone()).await?;
    let operations = site.journal.operations(vec![row.id.clone()]).await?;
    Ok(Found {
        row,
        attempts,
        operations,
    })
}

impl Found {
    fn outcome(&self) -> Option<&Outcome> {
        self.attempts
            .iter()
            .rev()
            .find_map(|row| outcome(&row.phase))
    }

    fn balance(&self) -> Option<Balance> {
        let entries: Vec<_> = self.operations.iter().map(OperationRow::entry).collect();
        let entries: &[OperationEntry] = &entries;
        match self.outcome()? {
            Outcome::Approved { .. } => Some(Balance::of(
                self.row.purpose,
                self.row.amount_minor,
                entries,
            )),
            _ => None,
        }
    }

    /// State of the payment, and where the money is.
    fn standing(&self) -> String {
        match self.balance() {
            Some(balance) => word(&json!(balance.standing)),
            None => self.row.state.clone(),
        }
    }

    fn json(&self) -> Value {
        let row = &self.row;
        let attempts = self.attempts.iter().map(|one| {
            json!({
                "id": one.id, "processor": one.processor, "phase": phase(&one.phase),
                "outcome": outcome(&one.phase), "created": one.created, "updated": one.updated,
            })
        });
        let operations = self.operations.iter().map(|one| {
            json!({
                "id": one.id, "kind": one.kind, "amount_minor": one.amount_minor,
                "phase": phase(&one.phase), "outcome": outcome(&one.phase), "reason": one.reason,
                "by": one.actor, "created": one.created, "updated": one.updated,
            })
        });
        json!({
            "id": row.id, "call": row.call, "state": row.state, "purpose": row.purpose,
            "amount_minor": row.amount_minor, "currency": row.currency,
            "balance": self.balance(), "reference": row.reference,
            "description": row.description, "brand": row.brand, "last4": row.last4,
            "signalling_id": row.signalling_id, "sandbox": row.sandbox,
            "attempts": attempts.collect::<Vec<_>>(),
            "operations": operations.collect::<Vec<_>>(),
            "created": row.created, "updated": row.updated,
        })
    }
}

pub(super) fn list(found: &[Found], json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let all: Vec<_> = found.iter().map(Found::json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    if found.is_empty() {
        writeln!(out, "no such payment")?;
    }
    for one in found {
        let row = &one.row;
        writeln!(
            out,
            "{}  {:.0}  {:>12} {}  {:<13}  {}",
            row.id,
            row.created,
            decimal(row.amount_minor, &row.currency),
            row.currency,
            one.standing(),
            row.reference
        )?;
    }
    Ok(())
}

pub(super) async fn show(site: &Site, id: PaymentId, json: bool) -> anyhow::Result<()> {
    let row = site.journal.payment(id.clone()).await?;
    let row = row.filter(|row| *row.id.tenant() == site.config.tenant);
    let row = row.with_context(|| format!("the journal has no payment {id}"))?;
    let found = with_history(site, row).await?;
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&found.json())?)?;
        return Ok(());
    }
    let row = &found.row;
    let amount = |minor| format!("{} {}", decimal(minor, &row.currency), row.currency);
    writeln!(out, "{}  {}", row.id, found.standing())?;
    writeln!(out, "  {} for {}", amount(row.amount_minor), row.reference)?;
    if let Some(description) = &row.description {
        writeln!(out, "  {description}")?;
    }
    if let (Some(brand), Some(last4)) = (row.brand, row.last4) {
        writeln!(out, "  card  {} ending in {last4}", word(&json!(brand)))?;
    }
    writeln!(out, "  call  {}", row.call)?;
    if let Some(balance) = found.balance() {
        writeln!(
            out,
            "  settled {}, refunded {}, perhaps on its way back {}",
            amount(balance.settled_minor),
            amount(balance.refunded_minor),
            amount(balance.refunding_minor)
        )?;
    }
    for one in &found.attempts {
        writeln!(
            out,
            "  {:.0}  charge at {}  {}\n      {}",
            one.created,
            one.processor,
            told(&one.phase),
            one.id
        )?;
    }
    for one in &found.operations {
        writeln!(
            out,
            "  {:.0}  {} of {} by {}  {}\n      {}",
            one.created,
            one.kind.as_str(),
            amount(one.amount_minor),
            one.actor,
            told(&one.phase),
            one.id
        )?;
        if let Some(reason) = &one.reason {
            writeln!(out, "      {reason}")?;
        }
    }
    Ok(())
}

const COLUMNS: [&str; 15] = [
    "payment",
    "created",
    "state",
    "standing",
    "purpose",
    "amount",
    "currency",
    "settled",
    "refunded",
    "reference",
    "description",
    "brand",
    "last4",
    "processor",
    "processor_reference",
];

pub(super) fn export(found: &[Found]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{}\r\n", COLUMNS.join(","))?;
    for one in found {
        let row = &one.row;
        let balance = one.balance();
        let amount = |minor: Option<u64>| {
            minor.map_or_else(String::new, |minor| decimal(minor, &row.currency))
        };
        let reference = match one.outcome() {
            Some(Outcome::Approved {
                processor_reference,
                ..
            }) => processor_reference.clone(),
            _ => String::new(),
        };
        let standing = balance.map(|balance| word(&json!(balance.standing)));
        let fields = [
            row.id.to_string(),
            row.created.to_string(),
            row.state.clone(),
            standing.unwrap_or_default(),
            row.purpose.as_str().to_owned(),
            amount(Some(row.amount_minor)),
            row.currency.clone(),
            amount(balance.map(|balance| balance.settled_minor)),
            amount(balance.map(|balance| balance.refunded_minor)),
            row.reference.clone(),
            row.description.clone().unwrap_or_default(),
            row.brand
                .map(|brand| word(&json!(brand)))
                .unwrap_or_default(),
            row.last4.map(|last4| last4.to_string()).unwrap_or_default(),
            one.attempts
                .last()
                .map(|attempt| attempt.processor.clone())
                .unwrap_or_default(),
            reference,
        ];
        write!(out, "{}\r\n", fields.map(|field| cell(&field)).join(","))?;
    }
    Ok(())
}

/// A field of RFC 4180. What a spreadsheet would take for a formula is kept from it: references and
/// descriptions are other people's.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

const fn outcome(phase: &Phase) -> Option<&Outcome> {
    match phase {
        Phase::Intent | Phase::Sending => None,
        Phase::Result(outcome) => Some(outcome),
    }
}

const fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Intent => "intent",
        Phase::Sending => "sending",
        Phase::Result(outcome) if outcome.is_open() => "unknown",
        Phase::Result(_) => "ended",
    }
}

fn told(phase: &Phase) -> String {
    match phase {
        Phase::Intent => "is meant".to_owned(),
        Phase::Sending => "is on its way".to_owned(),
        Phase::Result(Outcome::Approved {
            processor_reference,
            code,
        }) => format!("approved ({code}), {processor_reference}"),
        Phase::Result(Outcome::Declined { code, .. }) => format!("declined ({code})"),
        Phase::Result(Outcome::Pending { code, .. }) => format!("pending ({code})"),
        Phase::Result(Outcome::Failed { reason, .. }) => format!("failed: {reason}"),
        Phase::Result(Outcome::Unknown { reason }) => format!("unknown: {reason}"),
    }
}

/// The word that a value without data is written as.
fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_cell_and_no_formula() {
        for (text, expected) in [
            ("INV-1", "INV-1"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1", "'+1"),
            ("@a", "'@a"),
            ("", ""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
