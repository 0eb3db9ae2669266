//! The demonstration: a real call over real sockets, played by processes of this binary.
//!
//! The orchestrator here plays the telephony platform (NG) and the agent's desktop (HTTP API). The
//! two ends of the call are [`end`] processes: the card is known to the caller's alone, and the
//! orchestrator compares HMACs of it.

mod api;
mod call;
mod canvas;
mod children;
pub mod end;
mod keypad;
mod listen;
mod manual;
mod measure;
mod ng;
mod picture;
mod script;
mod story;
mod verdict;
mod wav;

use std::{path::PathBuf, process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use rand::RngExt;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use self::{
    api::Api,
    children::{Folder, Gateway, Setting},
    ng::NgClient,
    story::{Story, Who},
};

/// Longest that the played call with all around it may take.
const LIMIT: Duration = Duration::from_secs(75);

/// How to run the demonstration.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// End after the played call, with exit code 0 only if all was as promised.
    #[arg(long)]
    pub once: bool,
    /// Folder for the recordings and the picture.
    #[arg(long, value_name = "FOLDER", default_value = "demo-output")]
    pub out: PathBuf,
    /// Test card that the caller keys.
    #[arg(
        long,
        default_value = "approved",
        value_parser = clap::builder::PossibleValuesParser::new(end::card_names())
    )]
    pub card: String,
}

/// What the parts of the demo work with.
struct Stage {
    story: Story<std::io::Stdout>,
    api: Api,
    ng: NgClient,
    digest_key: String,
    card: String,
    out: PathBuf,
}

/// Runs the demonstration on a runtime of its own, so that it may be called from anywhere.
///
/// # Errors
/// When a part cannot be started or the call cannot be played. A call that was played and did not
/// keep its promises is no error but exit code 1.
pub fn run(args: DemoArgs) -> Result<ExitCode> {
    let stage = move || -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        // A reader of standard input cannot be interrupted: it is left behind.
        let result = runtime.block_on(present(args));
        runtime.shutdown_background();
        result
    };
    thread::Builder::new()
        .name("demo".into())
        .spawn(stage)?
        .join()
        .map_err(|_| anyhow!("the demo panicked; its message is above"))?
}

async fn present(args: DemoArgs) -> Result<ExitCode> {
    if !end::card_names().contains(&args.card.as_str()) {
        let names = end::card_names().join(", ");
        bail!(
            "found no test card {:?}; --card takes one of: {names}",
            args.card
        );
    }
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    // Already there when the binary has installed its own: then that one is used.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());

    let folder = Folder::create()?;
    match perform(&args, &folder).await {
        // What was not as promised is looked into by the gateway's log.
        Ok(Some((false, _))) => {
            eprintln!("the gateway's log is kept: {}", folder.log().display());
            Ok(ExitCode::FAILURE)
        }
        Ok(verdict) => {
            folder.remove();
            // As a shell reports a program that SIGINT ended.
            Ok(verdict.map_or(ExitCode::from(130), |_| ExitCode::SUCCESS))
        }
        Err(error) => {
            let tail = match folder.log_tail() {
                tail if tail.is_empty() => "(it is empty)".to_owned(),
                tail => tail,
            };
            let log = folder.log();
            Err(error.context(format!(
                "the demo failed; the gateway's log is {} and ends:\n{tail}",
                log.display()
            )))
        }
    }
}

/// Whether all was as promised, with the figures in a line; `None` when interrupted before the end.
async fn perform(args: &DemoArgs, folder: &Folder) -> Result<Option<(bool, String)>> {
    let mut story = Story::on_stdout();
    story.title(
        "tonewall: a card payment on a telephone call",
        "a real call on loopback: the caller, the gateway and the agent are processes of their own",
    );
    let digest_key = end::to_hex(&rand::rng().random::<[u8; 32]>());
    let setting = Setting::write(folder, &digest_key)?;
    let key = setting.make_key().await?;
    story.tell(Who::Gateway, "starts, with a sandbox in place of a bank");
    let mut gateway = Gateway::start(setting, folder)?;
    let mut stage = Stage {
        story,
        api: Api::new(gateway.setting.api, key)?,
        ng: NgClient::new(gateway.setting.ng).await?,
        digest_key,
        card: args.card.clone(),
        out: args.out.clone(),
    };
    let mut good = None;
    let told = tokio::select! {
        told = show(args, folder, &mut stage, &mut gateway, &mut good) => told,
        interrupted = told_to_stop() => interrupted.map_err(Into::into),
    };
    gateway.stop().await;
    told?;
    match (&good, args.once) {
        (Some((good, line)), true) => stage.story.verdict(*good, line),
        _ => stage
            .story
            .tell(Who::You, "ended the demo; all its processes have stopped"),
    }
    Ok(good)
}

/// Ctrl-C, or whatever else ends a program in a terminal: the gateway is a process of its own and
/// would stay.
async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

/// All that is shown; `verdict` is set as soon as the played call was judged.
async fn show(
    args: &DemoArgs,
    folder: &Folder,
    stage: &mut Stage,
    gateway: &mut Gateway,
    verdict: &mut Option<(bool, String)>,
) -> Result<()> {
    gateway.ready(&stage.api).await?;
    stage.story.tell(
        Who::Gateway,
        &format!("is ready; its log is {}", folder.log().display()),
    );
    let played = timeout(LIMIT, call::play(stage, gateway))
        .await
        .with_context(|| format!("the call was not over within {LIMIT:?}"))??;
    let (good, line) = verdict.insert(verdict::tell(stage, &played)?);
    if args.once {
        return Ok(());
    }
    stage.story.verdict(*good, line);
    manual::run(stage, gateway).await
}
