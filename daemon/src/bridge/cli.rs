//! The command line of `pigeon-bridge`.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::allocator::use_one_arena;
use super::config::Config;
use super::control;
use super::run::{BridgeError, run};

/// CarrierPigeon's bridge: takes what carriers bring and delivers it on an XMPP server as its authors' own.
#[derive(Debug, Parser)]
#[command(name = "pigeon-bridge", version)]
struct Args {
    /// The config file; docs/operators/bridge.md lists its keys.
    #[arg(long, global = true, default_value = "/etc/pigeon/bridge.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the config and the secret, say what is wrong with them, and stop.
    CheckConfig,
    /// Say how the running bridge is.
    Status,
    /// Print the running bridge's figures, as Prometheus reads them.
    Metrics,
    /// Forget the key that is registered for an account, so that its owner can register another one at once.
    Forget {
        /// The account: user@host
        account: String,
    },
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.command {
        Some(Command::CheckConfig) => check_config(&args),
        Some(Command::Status) => ask(&args, "GET", "/status"),
        Some(Command::Metrics) => ask(&args, "GET", "/metrics"),
        Some(Command::Forget { ref account }) => ask(&args, "POST", &format!("/forget?{account}")),
        None => start(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even this cannot be written, the exit code is left.
            let _ = writeln!(std::io::stderr(), "pigeon-bridge: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check_config(args: &Args) -> Result<(), BridgeError> {
    let config = Config::load(&args.config)?;
    config.secret()?;
    let mut out = std::io::stdout();
    if let Some(warning) = secret_warning(&config) {
        let _ = writeln!(out, "warning: {warning}");
    }
    let _ = writeln!(out, "{}: ok", args.config.display());
    Ok(())
}

fn ask(args: &Args, method: &str, what: &str) -> Result<(), BridgeError> {
    let config = Config::load(&args.config)?;
    let said = control::ask(&config.data_dir, method, what).map_err(BridgeError::Ask)?;
    // Where even this cannot be written, nobody reads.
    let _ = write!(std::io::stdout(), "{said}");
    Ok(())
}

fn start(args: &Args) -> Result<(), BridgeError> {
    // First, so that nothing else is done twice.
    let alone = use_one_arena();
    let config = Config::load(&args.config)?;
    log(&config.log.filter);
    if let Err(error) = alone {
        tracing::debug!(%error, "the allocator keeps an arena for each thread");
    }
    if let Some(warning) = secret_warning(&config) {
        tracing::warn!("{warning}");
    }
    // The server is what is slow: one thread has time to spare, and spares the waking of others for each bundle.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| BridgeError::Task { task: "the runtime", detail: error.to_string() })?;
    runtime.block_on(async {
        let cancel = CancellationToken::new();
        stop_on_signals(&cancel)?;
        run(config, cancel).await
    })
}

/// SIGTERM and SIGINT stop cleanly.
fn stop_on_signals(cancel: &CancellationToken) -> Result<(), BridgeError> {
    let failed =
        |error: std::io::Error| BridgeError::Task { task: "signal handling", detail: error.to_string() };
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let cancel = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        cancel.cancel();
    });
    Ok(())
}

fn log(filter: &str) {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::new(filter);
    // A second subscriber in the same process is a test's, and stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// The component secret lets its holder speak as any user of the hosts.
fn secret_warning(config: &Config) -> Option<String> {
    let mode = std::fs::metadata(&config.secret_file).ok()?.mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        let path = config.secret_file.display();
        format!("{path} can be read by everyone on this machine (mode {mode:o}); chmod 640 {path}")
    })
}
