//! `[callbacks]`: where merchants are told what became of payments.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
};

use serde::Deserialize;

use crate::{
    callbacks::{Endpoint, SecretFiles, Target},
    processor::Trust,
    proto::{callback::CallbackEvent, id::EndpointName},
};

/// Most endpoints: each has connections and a task of its own.
const MOST_ENDPOINTS: usize = 16;

/// `[callbacks]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Callbacks {
    /// Who is told. Nobody where there is none.
    pub endpoints: Vec<CallbackEndpoint>,
}

/// `[[callbacks.endpoints]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackEndpoint {
    /// By which messages, metrics and the command line know it, whatever its address.
    pub name: EndpointName,
    /// Where messages are sent.
    pub url: Target,
    /// File with the secret that signs, `whsec_` and base64, and nothing else.
    pub secret_file: PathBuf,
    /// File with another one, which signs too while this file is there.
    #[serde(default)]
    pub previous_secret_file: Option<PathBuf>,
    /// What it is told of; all there is unless named.
    #[serde(default = "all_events")]
    pub events: BTreeSet<CallbackEvent>,
    /// Whether it may be in a network that is not public.
    #[serde(default)]
    pub allow_private: bool,
    /// Whether messages may go there in clear.
    #[serde(default)]
    pub allow_http: bool,
    /// PEM file with the only authorities that its certificate may come from.
    #[serde(default)]
    pub roots: Option<PathBuf>,
}

fn all_events() -> BTreeSet<CallbackEvent> {
    CallbackEvent::ALL.into()
}

/// The key that cannot stay as it is, with what was found, what was expected and what to do.
type Wrong = (&'static str, String);

impl Callbacks {
    /// Whether it can work.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        if self.endpoints.len() > MOST_ENDPOINTS {
            return Err((
                "callbacks.endpoints",
                format!(
                    "found {}; expected {MOST_ENDPOINTS} at most",
                    self.endpoints.len()
                ),
            ));
        }
        let mut names = HashSet::new();
        for endpoint in &self.endpoints {
            let name = &endpoint.name;
            if !names.insert(name) {
                return Err((
                    "callbacks.endpoints.name",
                    format!("found {name} twice; each endpoint has a name of its own"),
                ));
            }
            if endpoint.url.is_plain() && !endpoint.allow_http {
                return Err((
                    "callbacks.endpoints.url",
                    format!(
                        "found http:// for {name}; expected https://, or allow_http = true where everybody on the way may read what is told"
                    ),
                ));
            }
            if endpoint.events.is_empty() {
                return Err((
                    "callbacks.endpoints.events",
                    format!("found none for {name}; name some, or leave the key out for all"),
                ));
            }
            if endpoint.previous_secret_file.as_ref() == Some(&endpoint.secret_file) {
                return Err((
                    "callbacks.endpoints.previous_secret_file",
                    format!("found the file of secret_file for {name}; expected another one"),
                ));
            }
            endpoint.endpoint().admit().map_err(|refused| {
                (
                    "callbacks.endpoints.url",
                    format!("found an address for {name}: {refused}"),
                )
            })?;
        }
        Ok(())
    }

    /// As they are told.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints
            .iter()
            .map(CallbackEndpoint::endpoint)
            .collect()
    }
}

impl CallbackEndpoint {
    fn endpoint(&self) -> Endpoint {
        Endpoint {
            name: self.name.clone(),
            target: self.url.clone(),
            secrets: SecretFiles {
                current: self.secret_file.clone(),
                previous: self.previous_secret_file.clone(),
            },
            events: self.events.clone(),
            allow_private: self.allow_private,
            trust: Trust {
                roots: self.roots.clone(),
                identity: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::Config, *};

    fn parse(lines: &str) -> Result<Config, String> {
        let text = format!(
            "data_dir = \"/d\"\n[[callbacks.endpoints]]\nname = \"crm\"\nsecret_file = \"/s\"\n{lines}\n"
        );
        Config::parse(&text, Path::new("t.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_and_a_secret_are_enough_and_all_is_told() {
        let config = parse("url = \"https://crm.example.com/hooks\"").unwrap();
        let [endpoint] = &config.callbacks.endpoints()[..] else {
            panic!("one endpoint");
        };
        assert_eq!(endpoint.events.len(), CallbackEvent::ALL.len());
        assert!(!endpoint.allow_private);
        let said = config.to_string();
        assert!(
            said.contains("crm") && said.contains("public addresses only"),
            "{said}"
        );
        let few = "url = \"https://crm.example.com\"\nevents = [\"payment.approved\"]";
        let few = parse(few).unwrap().callbacks.endpoints();
        assert_eq!(few[0].events, [CallbackEvent::Approved].into());
    }

    #[test]
    fn what_would_leak_or_reach_inside_is_refused_until_it_is_asked_for() {
        for (url, word) in [
            ("http://crm.example.com/", "allow_http = true"),
            ("https://10.0.0.1/", "allow_private = true"),
            ("https://127.1/", "allow_private = true"),
            ("https://0x7f000001/", "allow_private = true"),
            ("https://[::1]/", "allow_private = true"),
            ("https://[::ffff:169.254.169.254]/", "allow_private = true"),
            ("https://[64:ff9b::a00:1]/", "allow_private = true"),
        ] {
            let line = format!("url = \"{url}\"");
            let error = parse(&line).unwrap_err();
            assert!(error.contains("callbacks.endpoints.url"), "{url}: {error}");
            let key = word.split(' ').next().unwrap();
            assert!(error.contains(key), "{url}: {error}");
            assert!(parse(&format!("{line}\n{word}")).is_ok(), "{url}");
        }
        // Nobody's stay nobody's.
        for url in ["https://0.0.0.0/", "https://[ff02::1]/"] {
            let line = format!("url = \"{url}\"\nallow_private = true");
            assert!(parse(&line).is_err(), "{url}");
        }
    }

    #[test]
    fn what_cannot_work_is_named() {
        let url = "url = \"https://crm.example.com\"";
        for (text, named) in [
            (
                "url = \"https://me:s3cret@crm.example.com\"".to_owned(),
                "a user name",
            ),
            (format!("{url}\nevents = []"), "events"),
            (
                format!("{url}\nevents = [\"payment.created\"]"),
                "payment.approved",
            ),
            (
                format!("{url}\nprevious_secret_file = \"/s\""),
                "another one",
            ),
            (
                format!(
                    "{url}\n[[callbacks.endpoints]]\nname = \"crm\"\nsecret_file = \"/t\"\n{url}"
                ),
                "twice",
            ),
            (format!("{url}\nsecret = \"whsec_x\""), "secret_file"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
