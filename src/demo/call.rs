//! The played call, from the first greeting to the goodbye.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    Stage,
    api::{self, Payment, SandboxCharge},
    children::{Gateway, Player},
    end::{Finding, Keys, Order, Report},
    ng::Dialog,
    script,
    story::Who,
};
use crate::proto::field::Field;

/// How long anything that is waited for may take: the longest field takes six seconds to key.
const PATIENCE: Duration = Duration::from_secs(15);

/// All that is known when the call is over.
pub(super) struct Played {
    /// The payment as it ended.
    pub(super) payment: Payment,
    /// HMACs of what the caller keyed: number, expiry, code.
    pub(super) keyed: Vec<(Field, String)>,
    /// What the sandbox received.
    pub(super) received: Vec<SandboxCharge>,
    /// Keys that the gateway counted.
    pub(super) counted: usize,
    /// What the caller's end found.
    pub(super) caller: Finding,
    /// What the agent's end found.
    pub(super) agent: Finding,
    /// When masking was in place, microseconds since 1970.
    pub(super) armed_us: (i64, i64),
    /// How long opening the payment took, until masking was confirmed.
    pub(super) arming: Duration,
}

/// A call with both its ends.
pub(super) struct Ends {
    pub(super) caller: Player,
    pub(super) agent: Player,
    pub(super) dialog: Dialog,
}

impl Ends {
    /// Sets a call up through the gateway.
    pub(super) async fn connect(stage: &mut Stage, call_id: &str, record: bool) -> Result<Self> {
        let path = |name: &str| record.then(|| stage.out.join(name));
        let (card, key) = (stage.card.as_str(), stage.digest_key.as_str());
        let mut caller = Player::start("caller", card, key, path("caller.wav").as_deref()).await?;
        let mut agent = Player::start("agent", card, key, path("agent.wav").as_deref()).await?;
        let dialog = Dialog {
            call_id: call_id.to_owned(),
        };
        let for_agent = stage.ng.offer(&dialog, caller.port).await?;
        let for_caller = stage.ng.answer(&dialog, agent.port).await?;
        agent.order(&Order::Connect { to: for_agent }).await?;
        caller.order(&Order::Connect { to: for_caller }).await?;
        let hears = |report| matches!(report, Report::Hears).then_some(());
        agent.wait(PATIENCE, "hear the caller", hears).await?;
        caller.wait(PATIENCE, "hear the agent", hears).await?;
        Ok(Self {
            caller,
            agent,
            dialog,
        })
    }
}

/// Plays the call.
pub(super) async fn play(stage: &mut Stage, gateway: &Gateway) -> Result<Played> {
    let mut ends = Ends::connect(stage, "first-call@demo.invalid", true).await?;
    let (caller_port, agent_port) = (ends.caller.port, ends.agent.port);
    stage.story.tell(
        Who::Gateway,
        &format!("connects caller (port {caller_port}) and agent (port {agent_port}): G.711, relayed bit for bit"),
    );
    ends.agent_says(stage, "agent-greeting").await?;
    ends.caller_says(stage, "caller-request").await?;

    let begun = Instant::now();
    let payment = stage.api.create(&ends.dialog.call_id, "DEMO-A").await?;
    let arming = begun.elapsed();
    let armed_from = now_us();
    stage
        .story
        .tell(Who::Agent, "opens a payment of 12.50 EUR through the API");
    stage.story.tell(
        Who::Gateway,
        &format!(
            "masking is in place, {:.0} ms after the request: keys no longer reach the agent",
            arming.as_secs_f64() * 1000.0
        ),
    );
    let mut events = stage.api.follow(Some(&payment.id)).await?;
    let mut keyed = Vec::new();
    let mut counted = 0;
    for (field, asks, before, after) in [
        (
            Field::PaymentCardNumber,
            "agent-card",
            "caller-ready",
            "caller-done",
        ),
        (Field::ExpirationDate, "agent-expiry", "", ""),
        (Field::SecurityCode, "agent-code", "", "caller-finished"),
    ] {
        ends.agent_says(stage, asks).await?;
        if !before.is_empty() {
            ends.caller_says(stage, before).await?;
        }
        let (hmac, count) = ends.take(stage, &payment.id, field, &mut events).await?;
        keyed.push((field, hmac));
        counted += count;
        if !after.is_empty() {
            ends.caller_says(stage, after).await?;
        }
    }

    ends.agent_says(stage, "agent-charging").await?;
    let payment = charge(stage, &payment.id, &mut events).await?;
    tell_outcome(stage, &payment);
    // A declined payment waits for another card; this agent lets it be.
    if payment.state == "declined" {
        stage.api.cancel(&payment.id).await?;
    }
    // Masking ends 300 ms after the last holder lets go.
    let armed_to = now_us() + 300_000;
    let received = api::sandbox_received(&gateway.setting.data_dir.join("sandbox.json")).await?;
    let answer = match payment.state.as_str() {
        "approved" => "agent-approved",
        _ => "agent-declined",
    };
    ends.agent_says(stage, answer).await?;
    ends.caller_says(stage, "caller-bye").await?;
    ends.agent_says(stage, "agent-bye").await?;
    sleep(Duration::from_millis(200)).await;

    stage.ng.delete(&ends.dialog).await?;
    stage.story.tell(Who::Gateway, "the call is over");
    stage.story.tell(
        Who::Caller,
        "reads back its own recording: can the keys be heard on it at all?",
    );
    let caller = ends.caller.finish().await?;
    stage.story.tell(
        Who::Agent,
        "listens to its recording, closer than any agent could",
    );
    let agent = ends.agent.finish().await?;
    Ok(Played {
        payment,
        keyed,
        received,
        counted,
        caller,
        agent,
        armed_us: (armed_from, armed_to),
        arming,
    })
}

impl Ends {
    async fn agent_says(&mut self, stage: &mut Stage, sentence: &str) -> Result<()> {
        say(stage, Who::Agent, &mut self.agent, sentence).await
    }

    async fn caller_says(&mut self, stage: &mut Stage, sentence: &str) -> Result<()> {
        say(stage, Who::Caller, &mut self.caller, sentence).await
    }

    /// Has a field captured; returns the HMAC of what was keyed and how many keys were counted.
    async fn take(
        &mut self,
        stage: &mut Stage,
        payment: &str,
        field: Field,
        events: &mut mpsc::Receiver<Payment>,
    ) -> Result<(String, usize)> {
        stage.api.capture(payment, field).await?;
        self.caller.order(&Order::Key { field }).await?;
        let following = async {
            while let Some(payment) = events.recv().await {
                let Some(state) = payment.fields.get(&field) else {
                    continue;
                };
                match state.status.as_str() {
                    "complete" => {
                        let shown = state.masked.clone().unwrap_or_else(|| dots(state.count));
                        return Ok((state.count, shown, state.brand.clone()));
                    }
                    "problem" => bail!(
                        "the gateway did not take {}: {}",
                        name_of(field),
                        state.problem.as_deref().unwrap_or("it does not say why")
                    ),
                    _ => {
                        let progress = format!("hears {}", dots(state.count));
                        stage.story.pass(Who::Gateway, &progress);
                    }
                }
            }
            bail!("the event stream ended")
        };
        let keying = self
            .caller
            .wait(PATIENCE, "key the field", |report| match report {
                Report::Keyed { keys, hmac, .. } => Some((keys, hmac)),
                _ => None,
            });
        let ((keys, hmac), (count, shown, brand)) =
            timeout(PATIENCE, async { tokio::try_join!(keying, following) })
                .await
                .with_context(|| {
                    format!("{} was not complete within {PATIENCE:?}", name_of(field))
                })??;
        stage.story.tell(
            Who::Caller,
            &format!("keys {}: {}", name_of(field), ways(keys)),
        );
        let brand = brand.map(|brand| format!(", {brand}")).unwrap_or_default();
        stage.story.tell(
            Who::Gateway,
            &format!("took {count} digits; the agent sees {shown}{brand}"),
        );
        Ok((hmac, usize::from(count)))
    }
}

async fn say(stage: &mut Stage, who: Who, player: &mut Player, sentence: &str) -> Result<()> {
    stage.story.say(who, script::words(sentence));
    let order = Order::Say {
        sentence: sentence.to_owned(),
    };
    player.order(&order).await?;
    let said = |report| matches!(report, Report::Said { .. }).then_some(());
    player.wait(PATIENCE, "say its sentence", said).await?;
    sleep(Duration::from_millis(150)).await;
    Ok(())
}

/// Charges the card and waits for how it ends.
async fn charge(
    stage: &mut Stage,
    payment: &str,
    events: &mut mpsc::Receiver<Payment>,
) -> Result<Payment> {
    stage.story.tell(
        Who::Gateway,
        "sends the card over TLS, straight from locked memory",
    );
    let mut now = stage.api.complete(payment).await?;
    // Events of the captures before may still be queued.
    while matches!(now.state.as_str(), "submitting" | "open" | "capturing") {
        now = timeout(PATIENCE * 3, events.recv())
            .await
            .context("the sandbox did not answer")?
            .context("the event stream ended")?;
    }
    Ok(now)
}

fn tell_outcome(stage: &mut Stage, payment: &Payment) {
    let reference = payment
        .outcome
        .as_ref()
        .and_then(|outcome| outcome["processor_reference"].as_str());
    let what = match reference {
        Some(reference) => format!("answers: {} ({reference})", payment.state),
        None => format!("answers: {}", payment.state),
    };
    stage.story.tell(Who::Bank, &what);
    if !payment.advice.is_empty() {
        stage
            .story
            .tell(Who::Agent, &format!("reads: {}", payment.advice));
    }
}

/// The words for a field.
pub(super) fn name_of(field: Field) -> &'static str {
    match field {
        Field::PaymentCardNumber => "the card number",
        Field::ExpirationDate => "the expiry date",
        Field::SecurityCode => "the security code",
        Field::PostalCode => "the postal code",
        Field::BankRoutingNumber => "the routing number",
        Field::BankAccountNumber => "the account number",
    }
}

/// `4 keys as tones, 4 as events, 8 as both`.
pub(super) fn ways(keys: Keys) -> String {
    let parts: Vec<String> = [
        (keys.tone, "as tones"),
        (keys.event, "as events"),
        (keys.both, "as both at once"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, way)| format!("{count} {way}"))
    .collect();
    format!("{} keys ({})", keys.total(), parts.join(", "))
}

/// One dot a digit, in groups of four.
pub(super) fn dots(count: u8) -> String {
    (0..count)
        .map(|n| if n > 0 && n % 4 == 0 { " •" } else { "•" })
        .collect()
}

fn now_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_by_their_way_and_never_by_their_digit() {
        let keys = Keys {
            tone: 8,
            event: 4,
            both: 0,
        };
        assert_eq!(ways(keys), "12 keys (8 as tones, 4 as events)");
        assert_eq!(dots(6), "•••• ••");
        assert_eq!(dots(0), "");
    }
}
