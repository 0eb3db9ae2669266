//! Builds the parts in the order in which they need each other.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use anyhow::Context;
use rand::{SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{
    callbacks,
    dispatch::take_left_records,
    links::Links,
    payments::{self, Parts, Payments},
    processors::{self, Real},
    read_clocks,
    triggers::agent_code,
};
use crate::{
    audit_log::AuditLog,
    callbacks::Callbacks,
    config::{Codecs, Config},
    journal::Journal,
    media::{
        CardSink, MediaEvent, MediaPlane, MediaSettings, SlotSource,
        ports::{PortError, PortPool, SocketOptions},
    },
    metrics::Metrics,
    processor::{
        CardPlane, CardPlaneSettings, Deadlines, Processor,
        sandbox::{DigestKey, SandboxChild},
    },
    proto::audit::{Actor, Event, Record, Success},
    secret_memory::{Slab, forbid_dumps},
    shadow::Shadows,
    signal::{CallSettings, Calls, Interface, Interfaces},
};

/// The gateway's parts, connected.
pub(super) struct Gateway {
    pub(super) config: Config,
    pub(super) journal: Journal,
    pub(super) audit: AuditLog,
    pub(super) calls: Calls,
    pub(super) links: Links,
    pub(super) payments: Payments,
    pub(super) callbacks: Callbacks,
    pub(super) shadows: Option<Shadows>,
    pub(super) cards: CardPlane,
    pub(super) metrics: Arc<Metrics>,
    pub(super) media_events: mpsc::Receiver<MediaEvent>,
    /// The sandbox's process, where it is the processor.
    pub(super) sandbox: Option<SandboxChild>,
    /// Slots of secret memory, for keys that signalling tells.
    pub(super) slots: Arc<dyn SlotSource>,
}

/// What a start says of itself in the compliance log.
pub(super) fn own_record(event: Event) -> Record {
    Record {
        actor: Actor::Gateway,
        origin: "gateway".to_owned(),
        success: Success::Success,
        event,
    }
}

/// SHA-256 of a configuration file, in hexadecimal.
pub(super) fn hash_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Gateway {
    /// Builds everything; what cannot be had stops the start, with the reason.
    pub(super) async fn build(config: Config, text: &str) -> anyhow::Result<Self> {
        forbid_dumps().context("cannot forbid core dumps of this process")?;
        make_data_dir(&config.data_dir)?;
        let slab = Arc::new(Slab::map(
            config.secrets.slots,
            // One more: for what is remembered of cards that are barred.
            config.secrets.request_slots + 1,
            config.secrets.require_secret_memory,
        )?);
        let memory = slab.kind().to_string();
        tracing::info!(secret_memory = %memory, "card fields have a place");

        let journal = Journal::open_for(&config.data_dir.join("journal.db"), config.node.clone())?;
        let callbacks = callbacks::opened(&config)?;
        callbacks.prepare(&journal).await?;
        let audit = AuditLog::open(
            &config.data_dir,
            config.node.clone(),
            env!("CARGO_PKG_VERSION"),
            &hash_of(text),
            || read_clocks().utc,
        )?;
        take_left_records(&journal, &audit).await?;
        for event in [
            Event::Configuration {
                hash: hash_of(text),
                change: "start".to_owned(),
            },
            Event::SecretMemory {
                kind: memory.clone(),
            },
        ] {
            let _recorded = audit.record(None, own_record(event)).await?;
        }

        let shadows = config
            .shadow
            .enabled
            .then(|| {
                let rules = config.shadow.rules();
                Shadows::open(&config.data_dir, config.tenant.clone(), rules)
            })
            .transpose()
            .context("cannot go on with the reports of shadow mode")?;
        let (sandbox, cards) = start_processor(&config, &slab, &journal).await?;
        let slots: Arc<dyn SlotSource> = slab;
        let sink: Arc<dyn CardSink> = cards.sink();
        let settings = MediaSettings {
            workers: config.workers(),
            cpus: config.media.cpus.clone(),
            measure_wait: config.media.measure_wait,
            key_code: Some(Arc::new(agent_code(&config.triggers)?)),
            awaits_code: config.triggers.currency.is_some(),
            voice: config.links.voice().map_err(anyhow::Error::msg)?,
            nap: config.media.nap.0,
            masking: config.masking,
        };
        let (media, media_events) =
            MediaPlane::start(settings, &slots, &sink).context("cannot start the media workers")?;
        let metrics = Arc::new(Metrics::new(media.clone(), audit.clone(), &memory)?);
        let calls = registry(&config, &media, &journal, &audit)?;
        let links = Links::new(
            Arc::new((calls.clone(), media.clone())),
            config.node.clone(),
            StdRng::from_rng(&mut rand::rng()),
            Arc::new(read_clocks),
        );
        let payments = Payments::new(
            Parts {
                journal: journal.clone(),
                audit: audit.clone(),
                calls: calls.clone(),
                media,
                cards: cards.clone(),
            },
            payments::Settings {
                tenant: config.tenant.clone(),
                node: config.node.clone(),
                capture: config.capture.settings(),
                processor: cards.promises().name.to_owned(),
                key_code: payments::KeyCodeSettings {
                    code: config.triggers.key_code.clone(),
                    asks_pin: config.triggers.pin_file.is_some(),
                    currency: config.triggers.currency.clone(),
                },
                velocity: config.limits.velocity(),
            },
            StdRng::from_rng(&mut rand::rng()),
            Arc::new(read_clocks),
        );
        if config.ng.payments {
            calls.take_payments(Arc::new(payments.clone()));
        }
        Ok(Self {
            config,
            journal,
            audit,
            calls,
            links,
            payments,
            callbacks,
            shadows,
            cards,
            metrics,
            media_events,
            sandbox,
            slots,
        })
    }
}

fn registry(
    config: &Config,
    media: &MediaPlane,
    journal: &Journal,
    audit: &AuditLog,
) -> anyhow::Result<Calls> {
    let interface = |name: &str, address, advertise: Option<_>| {
        let options = SocketOptions {
            dscp: config.media.dscp,
            buffer_bytes: config.media.socket_buffer,
        };
        let range = config.media.port_min..=config.media.port_max;
        let rest = config.media.port_quarantine.0;
        Ok::<_, PortError>(Interface {
            name: name.to_owned(),
            ports: PortPool::new(address, range, rest, options)?,
            advertise: advertise.unwrap_or(address),
        })
    };
    let media_config = &config.media;
    let first = interface(
        &media_config.name,
        media_config.address,
        media_config.advertise,
    )?;
    let others = media_config
        .interfaces
        .iter()
        .map(|other| interface(&other.name, other.address, other.advertise))
        .collect::<Result<_, _>>()?;
    let settings = CallSettings {
        caller: config.media.caller,
        source: config.media.source,
        maskable_only: config.ng.codecs == Codecs::Maskable,
        idle_timeout: config.ng.idle_timeout.0,
        shadow: config.shadow.scope(),
        ..CallSettings::new(
            config.tenant.clone(),
            config.node.clone(),
            config.ng.max_calls,
        )
    };
    Ok(Calls::new(
        settings,
        Arc::new(media.clone()),
        Interfaces::new(first, others),
        Arc::new(journal.clone()),
        Arc::new(audit.clone()),
    ))
}

/// A real processor never falls back to the sandbox: it is there as configured, or there is no start.
async fn start_processor(
    config: &Config,
    slab: &Arc<Slab>,
    journal: &Journal,
) -> anyhow::Result<(Option<SandboxChild>, CardPlane)> {
    let plane = Plane { slab, journal };
    match processors::configured(&config.processor)? {
        None => {
            let child = start_sandbox(config).await?;
            let cards = plane.start(child.adapter(Deadlines::default())?)?;
            Ok((Some(child), cards))
        }
        Some(Real::Stripe(adapter)) => Ok((None, plane.start(adapter)?)),
        Some(Real::Checkout(adapter)) => Ok((None, plane.start(*adapter)?)),
        Some(Real::Braintree(adapter)) => Ok((None, plane.start(*adapter)?)),
        Some(Real::AuthorizeNet(adapter)) => Ok((None, plane.start(*adapter)?)),
        Some(Real::Adyen(adapter)) => Ok((None, plane.start(adapter)?)),
        Some(Real::Worldpay(adapter)) => Ok((None, plane.start(*adapter)?)),
        Some(Real::CyberSource(adapter)) => Ok((None, plane.start(*adapter)?)),
        Some(Real::PayConnector(adapter)) => Ok((None, plane.start(*adapter)?)),
    }
}

/// What the card plane stands on.
struct Plane<'a> {
    slab: &'a Arc<Slab>,
    journal: &'a Journal,
}

impl Plane<'_> {
    fn start(&self, adapter: impl Processor + Send + 'static) -> anyhow::Result<CardPlane> {
        CardPlane::start(
            CardPlaneSettings::default(),
            adapter,
            Arc::new(Slab::clone(self.slab)),
            Arc::new(self.journal.clone()),
        )
        .context("cannot start the card plane")
    }
}

async fn start_sandbox(config: &Config) -> anyhow::Result<SandboxChild> {
    let key = config
        .processor
        .digest_key
        .as_deref()
        .map(str::parse::<DigestKey>)
        .transpose()
        .context("processor.digest_key cannot be read")?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let child = SandboxChild::spawn(&program, key.as_ref())
        .await
        .context("cannot start the sandbox processor")?;
    write_private(
        &config.data_dir.join("sandbox.json"),
        &serde_json::to_string(child.address())?,
    )?;
    Ok(child)
}

/// The data directory is for this user only.
pub fn make_data_dir(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| {
            format!(
                "cannot make data_dir {}; make it, owned by the user that runs tonewall",
                path.display()
            )
        })
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
