//! `pigeon account`: the XMPP accounts of the node. Passwords come from a file, the terminal or the standard input, never
//! from the command line, where every process on the machine could read them.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use pigeon_proto::api;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::super::args::{AccountArgs, AccountCommand, PasswordArgs};
use super::super::client::{About, Daemon};
use super::super::error::CliError;
use super::super::output::Out;
use super::super::view;
use super::show;

/// A line longer than this is no password.
const PASSWORD_INPUT_MAX: u64 = 4_096;
/// Registering goes over the network, and a server may take its time.
const REGISTER_MAX: Duration = Duration::from_secs(90);

/// Carries out one of the commands.
pub(super) async fn run(command: AccountCommand, socket: &Path, out: &mut Out) -> Result<(), CliError> {
    // What is wrong with the arguments is said whether or not a daemon answers.
    let connect = || Daemon::connect(socket);
    let reply = match command {
        AccountCommand::List => {
            let daemon = connect().await?;
            daemon.answer(About::Node, daemon.client().accounts(api::AccountsRequest {})).await?
        }
        AccountCommand::Add(args) => add(args, false, socket).await?,
        AccountCommand::Register(args) => add(args, true, socket).await?,
        AccountCommand::Login { jid, new_password, password } => {
            let password = if new_password || password.password_file.is_some() {
                read_password(&password, &format!("Password of {jid}"))?
            } else {
                Zeroizing::new(String::new())
            };
            let request = api::AccountRequest { jid, password: password.to_string() };
            let daemon = connect().await?;
            daemon.answer(About::Node, daemon.client().login_account(request)).await?
        }
        AccountCommand::Logout { jid } => {
            let request = api::AccountRequest { jid, password: String::new() };
            let daemon = connect().await?;
            daemon.answer(About::Node, daemon.client().logout_account(request)).await?
        }
        AccountCommand::Passwd { jid, password } => {
            let password = read_password(&password, &format!("New password of {jid}"))?;
            let request = api::AccountRequest { jid, password: password.to_string() };
            let daemon = connect().await?;
            daemon.answer(About::Node, daemon.client().change_password(request)).await?
        }
        AccountCommand::Remove { jid } => {
            let request = api::AccountRequest { jid, password: String::new() };
            let daemon = connect().await?;
            daemon.answer(About::Node, daemon.client().remove_account(request)).await?
        }
    };
    show(out, &reply, view::node::accounts)
}

async fn add(args: AccountArgs, register: bool, socket: &Path) -> Result<api::AccountsReply, CliError> {
    let password = read_password(&args.password, &format!("Password of {}", args.jid))?;
    let ca_file = args.ca_file.map(|path| std::path::absolute(&path).unwrap_or(path));
    let request = api::AddAccountRequest {
        jid: args.jid,
        password: password.to_string(),
        bridge: args.bridge.unwrap_or_default(),
        server: args.server.unwrap_or_default(),
        direct_tls: args.direct_tls,
        ca_file: ca_file.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        bridge_key: args.bridge_key.unwrap_or_default(),
        allow_plain: args.allow_plain,
        register,
    };
    let daemon = Daemon::connect(socket).await?;
    daemon.answer_within(REGISTER_MAX, About::Node, daemon.client().add_account(request)).await
}

/// The first line of the file, of what is typed without being shown, or of the standard input.
fn read_password(args: &PasswordArgs, prompt: &str) -> Result<Zeroizing<String>, CliError> {
    let read = match &args.password_file {
        Some(path) => File::open(path).and_then(|file| first_line(BufReader::new(file))),
        None if io::stdin().is_terminal() => typed(prompt),
        None => first_line(io::stdin().lock()),
    };
    let usage = |what: String| CliError::Usage {
        what,
        help: "give a password on the first line of --password-file FILE or of the standard input".into(),
    };
    let password = read.map_err(|error| usage(format!("cannot read a password: {error}")))?;
    if password.is_empty() { Err(usage("the password is empty".to_owned())) } else { Ok(password) }
}

fn first_line(input: impl io::BufRead) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    input.take(PASSWORD_INPUT_MAX).read_line(&mut line)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Reads a line from the terminal, which does not show it.
fn typed(prompt: &str) -> io::Result<Zeroizing<String>> {
    let mut screen = io::stderr();
    write!(screen, "{prompt}: ")?;
    screen.flush()?;
    let shown = tcgetattr(io::stdin())?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
    let line = first_line(io::stdin().lock());
    tcsetattr(io::stdin(), OptionalActions::Flush, &shown)?;
    writeln!(screen)?;
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let args = PasswordArgs { password_file: Some(file.path().to_owned()) };
        std::fs::write(&file, " no soup \r\nfor you\n").unwrap();
        assert_eq!(read_password(&args, "").unwrap().as_str(), " no soup ");
        std::fs::write(&file, "\nno").unwrap();
        assert!(matches!(read_password(&args, ""), Err(CliError::Usage { .. })));
        let missing = PasswordArgs { password_file: Some("/nonexistent".into()) };
        assert!(matches!(read_password(&missing, ""), Err(CliError::Usage { .. })));
    }
}
