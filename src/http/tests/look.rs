//! Serves the panel with the fake behind it, to be looked at by a person (or a headless browser).

use std::{future::pending, sync::Arc, time::Duration};

use super::{fake::Fake, *};
use crate::{
    gateway::payments::{FieldStatus, PaymentState},
    http::bind,
    processor::{Advice, Outcome},
    proto::{card::Brand, field::Field, id::PaymentId, payment::Balance},
};

/// `cargo test --lib http::tests::look -- --ignored --nocapture`, then open the printed links.
/// `LOOK` names the state that the first payment is shown in.
#[tokio::test]
#[ignore = "serves until it is stopped, for a person to look at"]
async fn the_panel_can_be_looked_at() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let fake = Arc::new(Fake::new());
    fake.add_call("acme", "3c26-7f1a@pbx.acme.example");
    fake.add_call("acme", "9b04-22d0@pbx.acme.example");
    let look = std::env::var("LOOK").unwrap_or_default();
    for link in 0..20 {
        fake.add_key(
            KeyKind::PanelLink,
            Role::Supervisor,
            "acme",
            &format!("look{link}"),
        );
    }
    fake.add_key(KeyKind::Api, Role::Agent, "acme", AGENT);
    let port = std::env::var("LOOK_PORT").unwrap_or_else(|_| "18080".into());
    let bound = bind(Settings::new(format!("127.0.0.1:{port}").parse().unwrap())).unwrap();
    let url = bound.url();
    let state = state(fake.clone(), Arc::default());
    tokio::spawn(bound.serve(state, pending()));
    println!("{url}/panel/enter?link=look0 … look19");
    if !look.is_empty() {
        let response = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(format!("{url}/v1/payments"))
            .bearer_auth(AGENT)
            .header("Idempotency-Key", "look")
            .json(
                &json!({"call": "9b04-22d0@pbx.acme.example", "amount": 129_900,
                "currency": "EUR", "reference": "INV-2041"}),
            )
            .send()
            .await
            .unwrap();
        let payment: Value = response.json().await.unwrap();
        show(
            &fake,
            &payment["id"].as_str().unwrap().parse().unwrap(),
            &look,
        );
    }
    let mut heard = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        type_on(&fake);
        let read = fake.lines.read.lock().unwrap().clone();
        for (call, code) in &read[heard..] {
            println!("read out on {call}: {}", String::from(*code));
        }
        heard = read.len();
    }
}

fn show(fake: &Fake, id: &PaymentId, look: &str) {
    let complete = |fake: &Fake, fields: &[Field]| {
        for field in fields {
            fill(fake, id, *field);
        }
    };
    match look {
        "keying" => fake.change("payment.capture", id, |p| {
            p.state = PaymentState::Capturing;
            p.capturing = Some(Field::PaymentCardNumber);
            p.advice = "Ask the customer to key the card number, then the hash key.".into();
            let view = p.fields.get_mut(&Field::PaymentCardNumber).unwrap();
            view.status = FieldStatus::Capturing;
            view.count = 9;
            view.brand = Some(Brand::Visa);
        }),
        "noisy" => fake.change("payment.updated", id, |p| p.caller_muted = true),
        "problem" => {
            complete(fake, &[Field::PaymentCardNumber]);
            fake.change("payment.capture", id, |p| {
                p.advice = "Ask for the expiry date again.".into();
                let view = p.fields.get_mut(&Field::ExpirationDate).unwrap();
                view.status = FieldStatus::Problem;
                view.attempts_left = Some(2);
                view.problem = Some("The date has passed. Ask for a card that is still valid, or for the date again.".into());
            });
        }
        "ready" => complete(
            fake,
            &[
                Field::PaymentCardNumber,
                Field::ExpirationDate,
                Field::SecurityCode,
            ],
        ),
        "declined" => {
            complete(fake, &[Field::PaymentCardNumber, Field::ExpirationDate]);
            fake.change("payment.updated", id, |p| {
                p.state = PaymentState::Declined;
                p.attempts = 1;
                p.advice = "The security code did not match. Ask for it once more.".into();
                p.outcome = Some(Outcome::Declined {
                    advice: Advice::ReEnter(Field::SecurityCode),
                    code: "incorrect_cvc".into(),
                });
            });
        }
        "submitting" => {
            show(fake, id, "ready");
            fake.change("payment.updated", id, |p| {
                p.state = PaymentState::Submitting;
                p.advice = "The bank is being asked. Stay on the line.".into();
            });
        }
        "unknown" => {
            show(fake, id, "ready");
            fake.change("payment.ended", id, |p| {
                p.state = PaymentState::Unknown;
                p.advice = "The bank did not answer, so the charge may stand. Do not charge again; the result will follow.".into();
                p.outcome = Some(Outcome::Unknown { reason: "connection reset".into() });
            });
        }
        "approved" => {
            show(fake, id, "ready");
            fake.change("payment.ended", id, |p| {
                p.state = PaymentState::Approved;
                p.armed = false;
                p.attempts = 1;
                p.advice = "Paid. Give the customer the receipt reference.".into();
                p.balance = Some(Balance::of(p.purpose, p.amount_minor, &[]));
                p.outcome = Some(Outcome::Approved {
                    processor_reference: "sbx_7Q2K9M4T".into(),
                    code: "approved".into(),
                });
            });
        }
        _ => {}
    }
}

fn fill(fake: &Fake, id: &PaymentId, field: Field) {
    fake.change("payment.updated", id, |p| {
        p.state = PaymentState::Open;
        p.capturing = None;
        p.advice = "Everything is there. Charge when the customer agrees.".into();
        let view = p.fields.get_mut(&field).unwrap();
        view.status = FieldStatus::Complete;
        (view.count, view.masked) = match field {
            Field::PaymentCardNumber => {
                view.brand = Some(Brand::Visa);
                view.last4 = "4242".to_owned().try_into().ok();
                (16, Some("•••• •••• •••• 4242".into()))
            }
            Field::ExpirationDate => (4, Some("••/••".into())),
            Field::SecurityCode
            | Field::PostalCode
            | Field::BankRoutingNumber
            | Field::BankAccountNumber => (3, Some("•••".into())),
        };
    });
}

/// The customer keys whatever is asked for, but in the state `keying`.
fn type_on(fake: &Fake) {
    if std::env::var("LOOK").is_ok_and(|look| look == "keying") {
        return;
    }
    let open: Vec<_> = fake
        .lock()
        .payments
        .values()
        .filter_map(|p| Some((p.id.clone(), p.capturing?, p.fields[&p.capturing?].count)))
        .collect();
    for (id, field, count) in open {
        let full = if field == Field::PaymentCardNumber {
            16
        } else {
            4
        };
        if count >= full {
            fill(fake, &id, field);
        } else {
            fake.change("payment.capture", &id, |p| {
                let view = p.fields.get_mut(&field).unwrap();
                view.count += 1;
                if field == Field::PaymentCardNumber && view.count >= 4 {
                    view.brand = Some(Brand::Visa);
                }
            });
        }
    }
}
