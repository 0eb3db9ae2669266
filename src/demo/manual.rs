//! After the played call: a second one stays up, and a person takes a payment in the panel.

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
    thread,
    time::Duration,
};

use anyhow::Result;
use tokio::{sync::mpsc, time::sleep};

use super::{
    Stage,
    api::Payment,
    call::{Ends, dots, name_of, ways},
    children::Gateway,
    end::{self, Order, Report},
    story::Who,
};
use crate::proto::field::Field;

/// Runs until it is dropped, which Ctrl-C does.
pub(super) async fn run(stage: &mut Stage, gateway: &Gateway) -> Result<()> {
    let mut ends = Ends::connect(stage, "second-call@demo.invalid", false).await?;
    let mut events = stage.api.follow(None).await?;
    let link = gateway.setting.panel_link().await?;
    stage.story.title(
        "Your turn",
        "a second caller is on the line; take a payment in the panel",
    );
    stage.story.plain(&format!(
        "    1. Open the panel (the link is good for one use):\n       {link}"
    ));
    stage
        .story
        .plain("    2. Take a payment on the call that is up, and ask for a field.");
    stage
        .story
        .plain("    3. Press Enter here: the caller keys it. Or type a card's name first:");
    stage
        .story
        .plain(&format!("       {}", end::card_names().join(", ")));
    stage
        .story
        .plain("    \"link\" makes a new link into the panel. Ctrl-C ends the demo.\n");

    let mut lines = typed_lines();
    let mut typing = true;
    let mut desk = Desk::default();
    loop {
        tokio::select! {
            Some(payment) = next(&mut events) => desk.follow(stage, payment),
            line = lines.recv(), if typing => match line {
                Some(line) if line.trim() == "link" => {
                    let link = gateway.setting.panel_link().await?;
                    stage.story.tell(Who::You, &format!("open {link}"));
                }
                Some(line) => desk.typed(stage, &mut ends, line.trim()).await?,
                // Standard input is closed: whoever runs it so only looks.
                None => typing = false,
            },
            report = ends.caller.report() => match report {
                Report::Keyed { field, keys, .. } => {
                    let what = format!("has keyed {}: {}", name_of(field), ways(keys));
                    stage.story.tell(Who::Caller, &what);
                }
                Report::Refused { reason } => stage.story.tell(Who::Caller, &reason),
                _ => {}
            },
            _ = ends.agent.report() => {}
        }
    }
}

/// What the person types, line by line. The thread ends with the process.
fn typed_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(4);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The next event; a stream that ended has none, and is asked only now and then.
async fn next(events: &mut mpsc::Receiver<Payment>) -> Option<Payment> {
    let event = events.recv().await;
    if event.is_none() {
        sleep(Duration::from_secs(1)).await;
    }
    event
}

/// What is going on in the panel.
#[derive(Default)]
struct Desk {
    asked: Option<Field>,
    told: BTreeMap<String, String>,
}

impl Desk {
    fn follow(&mut self, stage: &mut Stage, payment: Payment) {
        if payment.capturing.is_some() && payment.capturing != self.asked {
            let name = payment.capturing.map_or("", name_of);
            stage.story.tell(
                Who::Agent,
                &format!("asks for {name}: press Enter, and the caller keys it"),
            );
        }
        self.asked = payment.capturing;
        if let Some(field) = payment
            .capturing
            .and_then(|field| payment.fields.get(&field))
        {
            stage
                .story
                .pass(Who::Gateway, &format!("hears {}", dots(field.count)));
        }
        let told = self.told.insert(payment.id.clone(), payment.state.clone());
        let between_fields = told.is_some() && payment.state == "open";
        if told.as_ref() == Some(&payment.state) || payment.state == "capturing" || between_fields {
            return;
        }
        let what = match payment.state.as_str() {
            "open" => format!("masking is in place on {}", payment.call),
            state => format!("the payment is {state}. {}", payment.advice),
        };
        stage.story.tell(Who::Gateway, what.trim());
    }

    async fn typed(&mut self, stage: &mut Stage, ends: &mut Ends, line: &str) -> Result<()> {
        if !line.is_empty() {
            if !end::card_names().contains(&line) {
                let names = end::card_names().join(", ");
                // What was typed is not repeated: it might be a card number.
                stage.story.tell(
                    Who::You,
                    &format!("press Enter, or type \"link\" or one of: {names}"),
                );
                return Ok(());
            }
            let card = line.to_owned();
            stage
                .story
                .tell(Who::Caller, &format!("takes out the card {card:?}"));
            ends.caller.order(&Order::TakeCard { card }).await?;
        }
        match self.asked {
            Some(field) => {
                stage
                    .story
                    .tell(Who::Caller, &format!("keys {}", name_of(field)));
                ends.caller.order(&Order::Key { field }).await
            }
            None => {
                stage
                    .story
                    .tell(Who::You, "ask for a field in the panel first");
                Ok(())
            }
        }
    }
}
