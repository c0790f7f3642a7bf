//! The command line of `pigeond`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::folder::secret::Passphrases;
use crate::node;

/// The CarrierPigeon node daemon: seals, keeps, carries and delivers messages.
#[derive(Debug, Parser)]
#[command(name = "pigeond", version)]
struct Args {
    /// Configuration file; without it the default file if there is one, else the built-in defaults.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads the configuration, says what is wrong with it, and ends.
    CheckConfig,
}

/// Runs `pigeond` with the process's arguments.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let config = match Config::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    match args.command {
        Some(Command::CheckConfig) => {
            say(&format!(
                "configuration is valid; data in {}, socket {}",
                config.data_dir.display(),
                config.socket.display()
            ));
            ExitCode::SUCCESS
        }
        None => run(config),
    }
}

fn run(config: Config) -> ExitCode {
    if let Err(error) = start_log(&config.log.filter) {
        return fail(&error);
    }
    // Before anything runs: whoever types it must be able to interrupt.
    let passphrases = match Passphrases::ask(&config.encryption, &config.data_dir) {
        Ok(passphrases) => passphrases,
        Err(error) => return fail(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(async {
        let cancel = CancellationToken::new();
        stop_on_signals(&cancel)?;
        Box::pin(node::run(config, passphrases, cancel)).await
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// SIGTERM and SIGINT stop the daemon in order.
fn stop_on_signals(cancel: &CancellationToken) -> Result<(), node::NodeError> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancel = cancel.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::info!("stopping");
        cancel.cancel();
    });
    Ok(())
}

/// Logs go to standard error; `RUST_LOG` overrides the configured filter.
///
/// # Errors
/// A filter that cannot be read.
pub fn start_log(filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(filter)?,
        _ => EnvFilter::try_new(filter)?,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the answer to the person who started the program")]
fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("pigeond: {error}");
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "the answer to the person who started the program")]
fn say(text: &str) {
    println!("{text}");
}
