//! The command line.

mod callbacks_command;
mod keys;
mod payments_command;
mod shadow_command;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use tonewall::{
    audit_log::verify::{self, Form},
    config::Config,
    demo::{self, DemoArgs},
    gateway::{self, LogFormat, Logging},
    processor::sandbox,
    proto::{id::Tenant, shadow::TrunkName},
};

/// Takes card payments on live phone calls: the caller keys the card, the agent and every recorder
/// hear a neutral sound, and the card goes from locked memory straight to the payment processor.
#[derive(Parser)]
#[command(name = "tonewall", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Serve {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
        /// How to write the log: text for people, json for machines; text on a terminal by default
        #[arg(long, value_enum)]
        log_format: Option<Format>,
        /// What to log. No level logs a digit of a card
        #[arg(
            long,
            value_name = "LEVEL",
            // Anything else would be taken for the name of a module, and log nothing.
            value_parser = ["error", "warn", "info", "debug", "trace"],
            default_value = "info",
            env = "TONEWALL_LOG"
        )]
        log_level: String,
    },
    /// Read a configuration file, say what it means, and exit; 1 when it cannot be used
    Check {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE", env = "TONEWALL_CONFIG")]
        config: PathBuf,
    },
    /// Play a whole paying call on this machine: no configuration, no network, no money
    Demo(DemoArgs),
    /// Make, list and revoke API keys, and make links into the agent's panel
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// Find payments, list those whose outcome is unknown, and write down what a person has found out
    Payments {
        #[command(subcommand)]
        command: payments_command::PaymentsCommand,
    },
    /// List, show, replay and drop callbacks that could not be delivered
    Callbacks {
        #[command(subcommand)]
        command: callbacks_command::CallbacksCommand,
    },
    /// Write the reports of shadow mode: what would be heard on each trunk, as JSON and as a picture
    Shadow {
        /// The gateway's data directory
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// Where to write; nothing is written without it
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// One trunk only
        #[arg(long, value_name = "NAME")]
        trunk: Option<TrunkName>,
    },
    /// Read and verify the compliance log
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// The embedded sandbox processor (started by the gateway)
    #[command(hide = true)]
    SandboxProcessor(sandbox::ServeArgs),
    /// A simulated end of the demo's call (started by the demo)
    #[command(hide = true)]
    DemoEnd(demo::end::EndArgs),
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Check that no entry was changed, removed or reordered; 1 when one was
    Verify {
        /// The gateway's data directory
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// One tenant's log only; the node's and all tenants' by default
        #[arg(long)]
        tenant: Option<Tenant>,
    },
    /// Print entries, one a line, oldest first
    Show {
        /// The gateway's data directory
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// One tenant's log; the node's by default
        #[arg(long)]
        tenant: Option<Tenant>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

fn main() -> ExitCode {
    // Two TLS providers may be linked in; which one is used is decided before anything asks.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Args::parse().command) {
        Ok(code) => code,
        // Whoever reads has had enough, as `head` does: nothing to say, and nothing was proven.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tonewall: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve {
            config,
            log_format,
            log_level,
        } => {
            let logging = Logging {
                format: log_format.map(LogFormat::from),
                level: log_level,
            };
            gateway::serve(&config, &logging)?;
        }
        Command::Check { config } => check(&config)?,
        Command::Demo(args) => return demo::run(args),
        Command::Keys { command } => keys::run(command)?,
        Command::Payments { command } => payments_command::run(command)?,
        Command::Callbacks { command } => callbacks_command::run(command)?,
        Command::Audit { command } => return audit(&command),
        Command::Shadow {
            data_dir,
            out,
            trunk,
        } => shadow_command::run(&data_dir, out.as_deref(), trunk.as_ref())?,
        Command::SandboxProcessor(args) => sandbox::serve(args)?,
        Command::DemoEnd(args) => return demo::end::run(&args),
    }
    Ok(ExitCode::SUCCESS)
}

fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    for (keys, files) in [
        ("api.tls_certificate and api.tls_key", config.api_tls()),
        (
            "ng.tls_certificate, ng.tls_key and ng.client_ca",
            config.ng_tls(),
        ),
    ] {
        if let Some(files) = files {
            files
                .check()
                .with_context(|| format!("{}: {keys} cannot be used", path.display()))?;
        }
    }
    gateway::check_triggers(&config.triggers)
        .with_context(|| format!("{}: cannot be used", path.display()))?;
    gateway::check_processor(&config.processor)
        .with_context(|| format!("{}: cannot be used", path.display()))?;
    gateway::check_callbacks(&config)
        .with_context(|| format!("{}: cannot be used", path.display()))?;
    writeln!(io::stdout(), "{} can be used:\n{config}", path.display())?;
    Ok(())
}

fn audit(command: &AuditCommand) -> anyhow::Result<ExitCode> {
    let intact = match command {
        AuditCommand::Verify { data_dir, tenant } => {
            let report = verify::run(data_dir, tenant.as_ref())?;
            writeln!(io::stdout(), "{report}")?;
            report.is_intact()
        }
        AuditCommand::Show {
            data_dir,
            tenant,
            json,
        } => {
            let form = if *json { Form::Json } else { Form::Text };
            let damages = verify::show(data_dir, tenant.as_ref(), form, &mut io::stdout().lock())?;
            for damage in &damages {
                writeln!(io::stderr(), "{damage}")?;
            }
            damages.is_empty()
        }
    };
    Ok(if intact {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
