//! The `pigeon` command line: a client of the local API.
//!
//! [`args`] is what may be typed. A module in [`command`] asks the daemon through [`client`] and hands the
//! reply to a module in [`view`], for people, or to [`json`], for programs.
//! [`store`] alone works without a daemon, on its folder. Whatever goes wrong is a
//! [`error::CliError`]: one line of what happened, one of what helps, and an exit code.

mod access;
mod args;
mod client;
mod command;
mod error;
mod json;
mod output;
mod qr;
mod store;
mod text;
mod time;
mod view;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::Args;
use error::CliError;
use output::Out;

/// Runs the command line of this process and says with which code to exit (`docs/cli.md` lists them).
///
/// Ends the process itself, with code 2, where the arguments make no sense.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = Out::stdout(args.json);
    match run(args, &mut out).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn run(args: Args, out: &mut Out) -> Result<(), CliError> {
    if let args::Command::Store(args) = args.command {
        // At a folder without a daemon: no socket, and nothing to wait for.
        return store::run(args, out);
    }
    let socket = args.socket.unwrap_or_else(crate::paths::default_socket);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?
        .block_on(command::run(args.command, &socket, out))
}

/// clap writes to its own `Write`, and panics where that fails: it gets memory, stdout gets the result.
fn completions(shell: clap_complete::Shell, out: &mut Out) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "pigeon", &mut script);
    out.bytes(&script)
}
