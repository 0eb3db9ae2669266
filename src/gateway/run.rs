//! Runs the gateway until it is told to stop, and lets running calls end.

use std::{
    fs,
    path::Path,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::{TcpListener, UdpSocket},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use super::{
    Logging,
    build::{Gateway, hash_of, own_record},
    dispatch,
    notifications::{Count, Notifications},
    processors,
};
use crate::{
    callbacks::Callbacks,
    config::Config,
    http,
    listen::Reload,
    media::SlotSource,
    metrics,
    processor::sandbox::SandboxChild,
    proto::audit::Event,
    secret_memory::give_back_freed_memory,
    signal::{
        Networks, PaymentPort,
        ng::NgServer,
        sip::{MayServe, SipServer},
    },
};

/// How often a draining gateway looks whether it may end.
const DRAIN_STEP: Duration = Duration::from_millis(200);

/// How many steps the ends of calls that did not end by themselves are waited for.
const LAST_WORDS: usize = 10;

/// How often freed memory is handed back. It takes some 100 us of a thread of the control plane.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// Runs the gateway with the configuration file at `path`; returns when it was told to stop and
/// its calls have ended or `drain_timeout` has passed.
///
/// # Errors
/// What kept it from starting, in words that say what to do.
pub fn serve(path: &Path, logging: &Logging) -> anyhow::Result<()> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = Config::parse(&text, path)?;
    logging.install()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control plane's threads")?;
    runtime.block_on(run(path, config, &text))
}

/// The signals that a gateway acts on, listened for from the start so that none is missed.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }
}

async fn run(path: &Path, config: Config, text: &str) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let reader = processors::notifications(&config.processor)?;
    let gateway = Gateway::build(config, text).await?;
    let Gateway {
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
        mut sandbox,
        slots,
    } = gateway;
    let mut tasks = JoinSet::new();
    tasks.spawn(dispatch::media_events(
        media_events,
        calls.clone(),
        payments.clone(),
        shadows.clone(),
        Arc::clone(&metrics),
    ));
    if let Some(shadows) = &shadows {
        tasks.spawn(shadows.clone().run());
    }
    tasks.spawn(dispatch::call_changes(calls.clone(), payments.clone()));
    tasks.spawn(dispatch::payment_events(
        payments.clone(),
        config.tenant.clone(),
        Arc::clone(&metrics),
    ));
    tasks.spawn(dispatch::open_outcomes(
        journal.clone(),
        Arc::clone(&metrics),
    ));
    tasks.spawn(dispatch::left_records(journal.clone(), audit.clone()));
    tasks.spawn(callbacks.clone().run(journal.clone()));
    let told = callbacks.clone();
    metrics.watch_callbacks(move || told.totals());
    tasks.spawn(calls.clone().run());
    tasks.spawn(give_back_memory());
    // What a crash left open is looked up before anything new is taken.
    payments.recover().await?;

    let ng_reload = serve_ng(&config, &calls, &metrics, &mut tasks).await?;
    let listener = listen(config.metrics.listen, "metrics").await?;
    let app = metrics::router(Arc::clone(&metrics));
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "metrics are served no more");
        }
    });

    let draining = Arc::new(AtomicBool::new(false));
    let ready = {
        let (audit, draining) = (audit.clone(), Arc::clone(&draining));
        move || {
            if draining.load(Ordering::Relaxed) {
                Err("draining: the gateway is stopping".to_owned())
            } else if audit.is_broken() {
                Err("the audit log cannot be written; restart on a healthy disk".to_owned())
            } else if audit.has_room() {
                Ok(())
            } else {
                Err("the disk is nearly full; free room for the audit log".to_owned())
            }
        }
    };
    let ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync> = Arc::new(ready);
    let port: Arc<dyn PaymentPort> = Arc::new(payments.clone());
    let serves = Arc::clone(&ready);
    serve_sip(&config, &calls, slots, port, &metrics, serves).await?;
    let refusals = Arc::new(http::Refusals::default());
    let counted = Arc::clone(&refusals);
    metrics.watch_refusals(move || {
        let counts = counted.counts();
        vec![
            ("api", "sign-in", counts.sign_in),
            ("api", "access", counts.access),
            ("api", "throttled", counts.throttled),
        ]
    });
    let metrics_of_notifications = Arc::clone(&metrics);
    let count: Count = Arc::new(move |processor, result| {
        metrics_of_notifications.observe_notification(processor, result);
    });
    let state = http::State {
        service: http::Gateway {
            payments: payments.clone(),
            notifications: Notifications::new(reader, payments.clone(), count),
            calls: calls.clone(),
            links,
            shadows,
            journal: journal.clone(),
            audit_log: audit.clone(),
        }
        .shared(),
        node: config.node.clone(),
        sandbox: cards.is_sandbox(),
        abilities: cards.promises().abilities,
        timeouts: http::Timeouts::from(&config.capture.settings()),
        always_code: config.links.always_code,
        operations: config.operations.rules(),
        ready,
        refusals: Arc::clone(&refusals),
    };
    let api = http::bind(http::Settings {
        tls: config.api_tls(),
        url: config.api.url.as_ref().map(ToString::to_string),
        ..http::Settings::new(config.api.listen)
    })?;
    let (url, reloads) = (api.url(), [("API", api.reload()), ("NG", ng_reload)]);
    let (stop, mut stopped) = watch::channel(false);
    let api = tokio::spawn(api.serve(state, async move {
        // The sender is gone only when this function has returned.
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    tracing::info!(
        api = %url,
        ng = %config.ng.udp,
        metrics = %config.metrics.listen,
        sandbox = cards.is_sandbox(),
        room = config.call_capacity(),
        "ready for calls"
    );

    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.reload.recv() => {
                let change = reload_what_can_be(path, &config, &reloads, &callbacks);
                let hash = fs::read_to_string(path).map_or_else(|_| "unreadable".to_owned(), |t| hash_of(&t));
                let event = Event::Configuration { hash, change: change.clone() };
                if let Err(error) = audit.record(None, own_record(event)).await {
                    tracing::error!(%error, "the reload is not recorded");
                }
                // Said last: whoever waits for this line finds the record.
                tracing::info!(%change, "SIGHUP");
            }
            status = sandbox_ended(&mut sandbox) => {
                tracing::error!(?status, "the sandbox processor has ended; charges will fail until a restart");
                break;
            }
        }
    }

    draining.store(true, Ordering::Relaxed);
    calls.drain();
    payments.drain();
    tracing::info!(
        calls = calls.count(),
        payments = payments.in_progress(),
        timeout = ?config.drain_timeout.0,
        "draining: no new calls; running calls go on"
    );
    let patience = tokio::time::sleep(config.drain_timeout.0);
    tokio::pin!(patience);
    while calls.count() > 0 || payments.in_progress() > 0 {
        tokio::select! {
            () = &mut patience => {
                tracing::warn!(calls = calls.count(), payments = payments.in_progress(), "drain_timeout has passed");
                break;
            }
            _ = signals.terminate.recv() => {
                tracing::warn!("told to stop twice: not waiting any longer");
                break;
            }
            _ = signals.interrupt.recv() => {
                tracing::warn!("told to stop twice: not waiting any longer");
                break;
            }
            () = tokio::time::sleep(DRAIN_STEP) => {}
        }
    }
    // What is still up ends now, and its proof goes into the log.
    calls.end_all().await;
    for _ in 0..LAST_WORDS {
        if calls.ending() == 0 && payments.in_progress() == 0 {
            break;
        }
        tokio::time::sleep(DRAIN_STEP).await;
    }
    // Nobody listens any more when the API has ended by itself.
    let _ = stop.send(true);
    match api.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the API ended with an error"),
        Err(error) => tracing::error!(%error, "the API's task ended with an error"),
    }
    tasks.shutdown().await;
    audit
        .close()
        .await
        .context("the last records were not written")?;
    if let Some(sandbox) = &mut sandbox {
        sandbox.let_go();
    }
    tracing::info!("stopped");
    Ok(())
}

/// Never, where another processor charges the cards.
async fn sandbox_ended(sandbox: &mut Option<SandboxChild>) -> std::io::Result<ExitStatus> {
    match sandbox {
        Some(sandbox) => sandbox.ended().await,
        None => std::future::pending().await,
    }
}

/// Until the process ends.
async fn give_back_memory() {
    let mut tick = tokio::time::interval(GIVE_BACK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        give_back_freed_memory();
    }
}

async fn serve_ng(
    config: &Config,
    calls: &crate::signal::Calls,
    metrics: &metrics::Metrics,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Option<Reload>> {
    let allowed: Vec<String> = config.ng.allow.iter().map(ToString::to_string).collect();
    let networks = if allowed.is_empty() {
        Networks::loopback()
    } else {
        Networks::parse(allowed.iter().map(String::as_str))?
    };
    let ng = NgServer::new(calls.clone(), networks);
    let counted = ng.clone();
    metrics.watch_refusals(move || {
        let refused = counted.refused().into_iter();
        refused
            .map(|(reason, count)| ("ng", reason, count))
            .collect()
    });
    let socket = UdpSocket::bind(config.ng.udp)
        .await
        .with_context(|| format!("cannot listen on {} for NG (ng.udp)", config.ng.udp))?;
    let udp = ng.clone();
    tasks.spawn(async move {
        if let Err(error) = udp.serve_udp(socket).await {
            tracing::error!(%error, "NG is served no more");
        }
    });
    if let Some(address) = config.ng.tcp {
        let listener = listen(address, "ng.tcp").await?;
        let tcp = ng.clone();
        tasks.spawn(async move { tcp.serve_tcp(listener).await });
    }
    let tls = config
        .ng_tls()
        .map(Reload::load)
        .transpose()
        .context("ng.tls_certificate, ng.tls_key and ng.client_ca cannot be used")?;
    for (address, key, tls) in [
        (config.ng.http, "ng.http", None),
        (config.ng.https, "ng.https", tls.clone()),
    ] {
        let Some(address) = address else { continue };
        let listener = listen(address, key).await?;
        let server = ng.clone();
        tasks.spawn(async move { server.serve_http(listener, tls).await });
    }
    Ok(tls)
}

async fn serve_sip(
    config: &Config,
    calls: &crate::signal::Calls,
    slots: Arc<dyn SlotSource>,
    payments: Arc<dyn PaymentPort>,
    metrics: &metrics::Metrics,
    ready: MayServe,
) -> anyhow::Result<()> {
    let settings = config.sip.settings();
    let settings = settings.map_err(|(key, problem)| anyhow::anyhow!("{key}: {problem}"))?;
    let Some(settings) = settings else {
        return Ok(());
    };
    let sip = SipServer::start(settings, calls.clone(), slots, Some(payments), ready).await?;
    let counted = sip.clone();
    metrics.watch_refusals(move || {
        let refused = counted.refused().into_iter();
        refused
            .map(|(reason, count)| ("sip", reason, count))
            .collect()
    });
    metrics.watch_peers(move || sip.peers());
    Ok(())
}

async fn listen(address: std::net::SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({what}); is another process there?"))
}

/// Takes over what can change while running, and says what cannot.
fn reload_what_can_be(
    path: &Path,
    running: &Config,
    tls: &[(&str, Option<Reload>)],
    callbacks: &Callbacks,
) -> String {
    let certificates: Vec<String> = tls
        .iter()
        .filter_map(|(of, reload)| {
            Some(match reload.as_ref()?.reload() {
                Ok(()) => format!("certificate of the {of} reloaded"),
                Err(error) => {
                    format!("certificate of the {of} not reloaded, the old one stays: {error}")
                }
            })
        })
        .collect();
    let certificate = if certificates.is_empty() {
        "no certificate to reload".to_owned()
    } else {
        certificates.join(", ")
    };
    let rest = match Config::load(path) {
        Ok(new) if new == *running => "nothing else has changed".to_owned(),
        Ok(new) => format!(
            "needs a restart: {}",
            changed_sections(running, &new).join(", ")
        ),
        Err(error) => format!("the file cannot be used: {error}"),
    };
    let told = [Some(certificate), callbacks.reload(), Some(rest)];
    told.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn changed_sections(old: &Config, new: &Config) -> Vec<&'static str> {
    // All of them: a new one does not compile until it is told here.
    let Config {
        tenant,
        node,
        data_dir,
        drain_timeout,
        api,
        metrics,
        ng,
        sip,
        media,
        masking,
        capture,
        processor,
        secrets,
        shadow,
        links,
        triggers,
        callbacks,
        operations,
        limits,
    } = new;
    [
        ("tenant", old.tenant != *tenant),
        ("node", old.node != *node),
        ("data_dir", old.data_dir != *data_dir),
        ("drain_timeout", old.drain_timeout != *drain_timeout),
        ("[api]", old.api != *api),
        ("[operations]", old.operations != *operations),
        ("[limits]", old.limits != *limits),
        ("[metrics]", old.metrics != *metrics),
        ("[ng]", old.ng != *ng),
        ("[sip]", old.sip != *sip),
        ("[media]", old.media != *media),
        ("[masking]", old.masking != *masking),
        ("[capture]", old.capture != *capture),
        ("[processor]", old.processor != *processor),
        ("[secrets]", old.secrets != *secrets),
        ("[shadow]", old.shadow != *shadow),
        ("[links]", old.links != *links),
        ("[triggers]", old.triggers != *triggers),
        ("[callbacks]", old.callbacks != *callbacks),
    ]
    .into_iter()
    .filter_map(|(name, changed)| changed.then_some(name))
    .collect()
}
