//! The answer of `tonewall check`.

use std::fmt;

use super::{Codecs, Config, ProcessorKind, SipSide};
use crate::processor::Mode;
use crate::proto::{
    call::SourcePolicy,
    callback::CallbackEvent,
    mask::{Fill, Profile},
    ng::CallerSide,
    shadow::TrunkName,
};

/// What the configuration means, in words: the answer of `tonewall check`.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.api.tls_certificate {
            Some(_) => "https",
            None => "http, loopback only",
        };
        writeln!(f, "tenant {}, node {}", self.tenant, self.node)?;
        writeln!(f, "data            {}", self.data_dir.display())?;
        write!(f, "API and panel   {} ({scheme})", self.api.listen)?;
        match &self.api.url {
            Some(url) => writeln!(f, ", found at {url}")?,
            None => writeln!(f)?,
        }
        writeln!(f, "metrics         {}", self.metrics.listen)?;
        write!(f, "NG control      udp {}", self.ng.udp)?;
        if let Some(tcp) = self.ng.tcp {
            write!(f, ", tcp {tcp}")?;
        }
        if let Some(http) = self.ng.http {
            write!(f, ", http {http}")?;
        }
        if let Some(https) = self.ng.https {
            write!(f, ", https {https} (clients with a certificate)")?;
        }
        if self.ng.allow.is_empty() {
            writeln!(f, ", from loopback")?;
        } else {
            let allowed: Vec<_> = self.ng.allow.iter().map(ToString::to_string).collect();
            writeln!(f, ", from {}", allowed.join(", "))?;
        }
        if self.ng.payments {
            writeln!(f, "                its clients may begin payments")?;
        }
        for listen in &self.sip.listen {
            let transport = listen.transport;
            writeln!(f, "SIP             {transport} {}", listen.address)?;
        }
        if let Some(name) = &self.sip.payment_header {
            writeln!(f, "                agents' ends start payments by {name}")?;
        }
        if let Some(name) = &self.sip.link_header {
            writeln!(f, "                their desktops find calls by {name}")?;
        }
        for peer in &self.sip.peer {
            let side = match peer.side {
                SipSide::Trunk => "trunk, keys cards",
                SipSide::Pbx => "PBX, must not learn them",
            };
            writeln!(
                f,
                "SIP peer        {} at {} ({side}), calls go to {}",
                peer.name.as_str(),
                peer.address,
                peer.calls_go_to.as_str()
            )?;
        }
        writeln!(
            f,
            "media           {} ports {}-{}, {} worker threads, room for {} calls",
            self.media.address,
            self.media.port_min,
            self.media.port_max,
            self.workers(),
            self.call_capacity()
        )?;
        for other in &self.media.interfaces {
            writeln!(
                f,
                "                {} too, in the network {}",
                other.address, other.name
            )?;
        }
        if self.ng.codecs == Codecs::All {
            writeln!(
                f,
                "codecs          all; a call of one that cannot be masked cannot be armed"
            )?;
        }
        writeln!(
            f,
            "media source    {}",
            match self.media.source {
                SourcePolicy::Exact => "exactly the address and port that signalling named",
                SourcePolicy::RestrictedLatch =>
                    "the IP address that signalling named, its port learnt once (NAT)",
            }
        )?;
        writeln!(
            f,
            "card keyed by   {}",
            match self.media.caller {
                CallerSide::Offerer => "the sender of the first offer",
                CallerSide::Answerer => "the receiver of the first offer",
                CallerSide::Unknown =>
                    "the end that an offer (tonewall-caller) or a payment (leg) names; both are masked",
            }
        )?;
        writeln!(
            f,
            "masking         {}, filled with {}",
            match self.masking.profile {
                Profile::Fast => "12 ms behind the caller",
                Profile::Strict => "20 ms behind the caller",
                Profile::Strictest => "40 ms behind the caller",
                Profile::Continuous => "the whole of each field",
            },
            match self.masking.fill {
                Fill::Tone => "silence and a neutral sound for each key",
                Fill::Noise => "noise like the line's own and a neutral sound for each key",
                Fill::Silence => "silence",
            }
        )?;
        writeln!(
            f,
            "capture         {} tries, first key within {:?}, next within {:?}",
            self.capture.attempts,
            self.capture.first_digit_timeout.0,
            self.capture.inter_digit_timeout.0
        )?;
        self.write_triggers(f)?;
        match self.processor.kind {
            ProcessorKind::Sandbox => {
                writeln!(
                    f,
                    "processor       SANDBOX: test cards only, no money moves"
                )?;
            }
            kind @ (ProcessorKind::Stripe
            | ProcessorKind::Adyen
            | ProcessorKind::CheckoutCom
            | ProcessorKind::Worldpay
            | ProcessorKind::CyberSource
            | ProcessorKind::Braintree
            | ProcessorKind::AuthorizeNet
            | ProcessorKind::PayConnector) => {
                let mode = match self.processor.mode {
                    Some(Mode::Live) => "LIVE: money moves",
                    Some(Mode::Test) | None => "TEST: test cards only, no money moves",
                };
                writeln!(f, "processor       {kind}, {mode}")?;
            }
        }
        if self.links.always_code {
            writeln!(f, "links           each by the code that is read out")?;
        }
        if !self.operations.agents.is_empty() {
            let kinds = self.operations.agents.iter().map(|kind| kind.as_str());
            let kinds = kinds.collect::<Vec<_>>().join(", ");
            writeln!(f, "operations      agents may {kinds}")?;
        }
        for endpoint in &self.callbacks.endpoints {
            let reach = match endpoint.allow_private {
                true => "private addresses too",
                false => "public addresses only",
            };
            write!(
                f,
                "callbacks       {} at {}, {reach}",
                endpoint.name, endpoint.url
            )?;
            if endpoint.url.is_plain() {
                write!(f, ", IN CLEAR")?;
            }
            if endpoint.events.len() < CallbackEvent::ALL.len() {
                let events: Vec<_> = endpoint.events.iter().map(|one| one.as_str()).collect();
                write!(f, ", of {}", events.join(", "))?;
            }
            writeln!(f)?;
        }
        if self.shadow.enabled {
            let trunks: Vec<_> = self.shadow.trunks.iter().map(TrunkName::as_str).collect();
            let which = match trunks.as_slice() {
                [] => "all calls".to_owned(),
                named => named.join(", "),
            };
            writeln!(
                f,
                "shadow mode     {which}, reports go on every {:?} by {} calls or more",
                self.shadow.period.0, self.shadow.least_calls
            )?;
        }
        write!(
            f,
            "secret memory   {}",
            if self.secrets.require_secret_memory {
                "memfd_secret or no start"
            } else {
                "memfd_secret where the kernel has it, locked memory otherwise"
            }
        )
    }
}

impl Config {
    fn write_triggers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = &self.triggers.key_code;
        let pin: &[&str] = match self.triggers.pin_file {
            Some(_) => &["PIN"],
            None => &[],
        };
        writeln!(
            f,
            "agents dial     {} for the payment that waits",
            code.spelled(pin)
        )?;
        if let Some(currency) = &self.triggers.currency {
            writeln!(
                f,
                "                {} for any amount in {currency}; each agent's keys are listened to",
                code.spelled(&[&["AMOUNT"], pin].concat())
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_agents_dial_is_spelled_out_and_no_pin_with_it() {
        let meaning = |triggers: &str| {
            let text = format!("data_dir = \"/d\"\n[triggers]\n{triggers}");
            let config = Config::parse(&text, Path::new("t.toml")).unwrap();
            let text = config.to_string();
            let lines = text
                .lines()
                .skip_while(|line| !line.contains("agents dial"));
            let lines = lines.take_while(|line| !line.starts_with("processor"));
            let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
            words.join(" ")
        };
        assert_eq!(meaning(""), "agents dial *77# for the payment that waits");
        let pin = "pin_file = \"/etc/tonewall/agent.pin\"\n";
        assert_eq!(
            meaning(pin),
            "agents dial *77*PIN# for the payment that waits"
        );
        assert!(meaning("currency = \"EUR\"").contains(" *77*AMOUNT# for any amount in EUR;"));
        let both = format!("{pin}currency = \"EUR\"");
        assert!(meaning(&both).contains(" *77*AMOUNT*PIN# for any amount in EUR;"));
    }
}
