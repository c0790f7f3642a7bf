//! The command line as its users see it: what it prints, to which stream, with which exit code.
//!
//! The snapshots are in `tests/cmd`; after a change that is meant, `TRYCMD=overwrite cargo test --test cli`
//! writes them anew. `tests/cmd/daemon` runs against a real `pigeond`.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/qr.rs"]
mod camera;

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use pigeon_harness::spawn::{Process, tail, tethered};
use pigeon_harness::wait::poll_until;

const PIGEON: &str = env!("CARGO_BIN_EXE_pigeon");
const PIGEOND: &str = env!("CARGO_BIN_EXE_pigeond");
/// How long a daemon may take to start on a machine that is busy with other tests.
const START_MAX: Duration = Duration::from_secs(60);
/// A user that owns nothing.
const NOBODY: u32 = 65_534;

fn snapshots(pattern: &str, socket: &Path) -> trycmd::TestCases {
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("pigeon", Path::new(PIGEON))
        .env("COLUMNS", "100")
        .env("PIGEON_SOCKET", socket.to_str().unwrap())
        .case(pattern);
    cases
}

fn pigeon(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PIGEON);
    command.arg("--socket").arg(socket).args(args).stdin(Stdio::null());
    command
}

/// Standard error and exit code of a command that must print nothing to the standard output.
fn complaint(command: &mut Command) -> (String, Option<i32>) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!(String::from_utf8(stdout).unwrap(), "");
    (String::from_utf8(stderr).unwrap(), status.code())
}

#[test]
fn help_arguments_and_no_daemon() {
    snapshots("tests/cmd/*.trycmd", Path::new("/nonexistent/pigeond.sock")).case("docs/cli.md").run();
}

#[test]
fn a_socket_that_a_dead_daemon_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("pigeond.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let (stderr, code) = complaint(&mut pigeon(&socket, &["status"]));
    assert!(stderr.contains("no daemon answers at") && stderr.contains("nobody listens there"), "{stderr}");
    assert!(stderr.contains("help: start it with `pigeond`"), "{stderr}");
    assert_eq!(code, Some(3));
}

/// Something listens, but it is no daemon: it hangs up.
#[test]
fn a_listener_that_hangs_up_is_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("pigeond.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let child = pigeon(&socket, &["status"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(listener.accept().unwrap());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("ended the connection"), "{stderr}");
    assert_eq!(output.status.code(), Some(3), "{stderr}");
}

#[test]
fn a_socket_path_longer_than_the_system_allows() {
    let (stderr, code) = complaint(&mut pigeon(Path::new(&format!("/{}", "a".repeat(200))), &["id"]));
    assert!(stderr.contains("help: choose a shorter path"), "{stderr}");
    assert_eq!(code, Some(2));
}

/// Permission is checked as an ordinary user: root passes every mode.
struct OrdinaryUser {
    dir: tempfile::TempDir,
    pigeon: PathBuf,
    root: bool,
}

impl OrdinaryUser {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        // The checkout may be where nobody else can look.
        let pigeon = dir.path().join("pigeon");
        // By another process: while this one held the copy open for writing, a command that another test starts just
        // then would inherit it, and the copy could not be run ("text file busy").
        assert!(Command::new("cp").arg(PIGEON).arg(&pigeon).status().unwrap().success());
        let root = fs::metadata(dir.path()).unwrap().uid() == 0;
        Self { dir, pigeon, root }
    }

    fn complaint(&self, socket: &Path) -> (String, Option<i32>) {
        let mut command = Command::new(&self.pigeon);
        command.arg("--socket").arg(socket).arg("status").current_dir("/");
        if self.root {
            command.uid(NOBODY).gid(NOBODY);
        }
        complaint(&mut command)
    }
}

#[test]
fn a_socket_of_another_user() {
    let user = OrdinaryUser::new();
    let socket = user.dir.path().join("pigeond.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let mode = if user.root { 0o600 } else { 0o000 };
    fs::set_permissions(&socket, Permissions::from_mode(mode)).unwrap();
    let (stderr, code) = user.complaint(&socket);
    assert!(stderr.starts_with("error: permission denied at "), "{stderr}");
    assert!(stderr.contains(&format!("the socket is mode {mode:04o}, owner ")), "{stderr}");
    assert!(stderr.contains("\nhelp: run it as "), "{stderr}");
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert_eq!(code, Some(4));
}

#[test]
fn a_socket_in_a_directory_of_another_user() {
    let user = OrdinaryUser::new();
    let dir = user.dir.path().join("run");
    fs::create_dir(&dir).unwrap();
    let socket = dir.join("pigeond.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let mode = if user.root { 0o700 } else { 0o000 };
    fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
    let (stderr, code) = user.complaint(&socket);
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    assert!(stderr.contains(&format!("directory {} is mode {mode:04o}", dir.display())), "{stderr}");
    assert_eq!(code, Some(4));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(PIGEON)
        .args(["completions", "bash"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_full_disk_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(PIGEON).args(["completions", "bash"]).stdout(full).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: cannot write to the standard output"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn completions_name_the_commands_in_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = Command::new(PIGEON).args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["neighbours", "bundles", "outbox", "unread"] {
            assert!(script.contains(word), "no {word} for {shell}");
        }
    }
}

/// A real daemon without a network, killed when dropped.
struct Daemon {
    process: Process,
    dir: tempfile::TempDir,
}

impl Daemon {
    fn start(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("pigeond.toml");
        let text = format!(
            "name = \"{name}\"\ndata_dir = \"{0}/data\"\nsocket = \"{0}/pigeond.sock\"\n\
             clock = \"trusted\"\n[quic]\nenabled = false\n[ble]\nenabled = \"off\"\n",
            dir.path().display()
        );
        fs::write(&config, text).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = tethered(PIGEOND);
        command.arg("--config").arg(&config).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut daemon = Self { process: Process::spawn(name, "util-linux", command).unwrap(), dir };
        daemon.wait();
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("pigeond.sock")
    }

    /// Waits until the daemon answers, or has ended.
    fn wait(&mut self) {
        let socket = self.socket();
        let answers = || pigeon(&socket, &["status"]).output().unwrap().status.success();
        let up = poll_until(START_MAX, || (answers() || self.process.ended().is_some()).then_some(()));
        let log = tail(&self.dir.path().join("log"), 40);
        assert!(self.process.ended().is_none(), "pigeond ended with {:?}:\n{log}", self.process.ended());
        assert!(up.is_some(), "pigeond does not answer after {START_MAX:?}:\n{log}");
    }

    /// A field of a command's `--json` object.
    fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = pigeon(&self.socket(), &["--json"]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn text(value: &serde_json::Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no text {field} in {value}")).to_owned()
}

#[test]
fn a_daemon_that_has_just_started() {
    let daemon = Daemon::start("elaine");
    let id = daemon.json(&["id"]);
    let cases = snapshots("tests/cmd/daemon/*.trycmd", &daemon.socket());
    cases
        .insert_var("[CARD]", text(&id, "card"))
        .unwrap()
        .insert_var("[IDENTITY]", text(&id, "identity"))
        .unwrap()
        .insert_var("[SOCKET]", daemon.socket().to_str().unwrap().to_owned())
        .unwrap();
    cases.run();
}

#[test]
fn a_node_is_no_contact_of_its_own() {
    let daemon = Daemon::start("elaine");
    let file = daemon.dir.path().join("elaine.card");
    let shown = pigeon(&daemon.socket(), &["card", "show"]).output().unwrap();
    fs::write(&file, shown.stdout).unwrap();
    let (stderr, code) =
        complaint(&mut pigeon(&daemon.socket(), &["card", "import", file.to_str().unwrap()]));
    assert!(stderr.starts_with("error: this is the node's own card\nhelp: "), "{stderr}");
    assert_eq!(code, Some(1));
}

/// What is printed into a pipe, and what a terminal shows, with colours and without.
#[test]
fn a_camera_reads_the_cards_that_are_shown() {
    let daemon = Daemon::start("elaine");
    let card = text(&daemon.json(&["id"]), "card");
    let piped = |args: &[&str]| {
        let output = pigeon(&daemon.socket(), args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = piped(&["card", "show", "--qr"]);
    assert_eq!(camera::read(&shown).as_deref(), Some(card.as_str()), "{shown}");
    assert!(shown.ends_with(&format!("{card}\n")), "the text comes below: {shown}");
    let personal = piped(&["card", "issue", "--for", "jerry", "--qr"]);
    let issued = text(&daemon.json(&["card", "issue", "--for", "jerry"]), "card");
    assert_eq!(camera::read(&personal), Some(issued));
    assert_eq!(
        camera::read(&piped(&["card", "show"])),
        None,
        "a pipe wants no drawing unless it is asked for"
    );
    for colourless in [false, true] {
        let line = format!("stty cols 120; {PIGEON} --socket {} card show", daemon.socket().display());
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).env_remove("NO_COLOR");
        if colourless {
            terminal.env("NO_COLOR", "1");
        }
        let shown = String::from_utf8(terminal.output().unwrap().stdout).unwrap();
        assert_eq!(shown.contains('\x1b'), !colourless, "{shown}");
        assert_eq!(camera::read(&shown).as_deref(), Some(card.as_str()), "{shown}");
    }
}

/// Two daemons that know each other, and nobody to carry: what is sent waits.
#[test]
fn a_message_on_its_way() {
    let (elaine, jerry) = (Daemon::start("elaine"), Daemon::start("jerry"));
    let card = text(&jerry.json(&["id"]), "card");
    let contact = elaine.json(&["card", "import", &card]);
    assert_eq!(text(&contact, "name"), "jerry");
    assert_eq!(elaine.json(&["contact", "list"])["contacts"][0], contact);

    let sent = elaine.json(&["send", "jerry", "meet me at the coffee shop", "--lifetime", "24"]);
    let bundle = text(&sent, "bundle_id");
    let outbox = elaine.json(&["outbox"]);
    let message = &outbox["messages"][0];
    assert_eq!(text(message, "message_id"), text(&sent, "message_id"));
    assert_eq!(text(message, "state"), "waiting");
    assert_eq!((&message["hand_overs"], &message["receipts"]), (&0.into(), &0.into()));

    let detail = elaine.json(&["bundles", "show", &bundle[..12]]);
    assert_eq!(text(&detail["summary"], "bundle_id"), bundle);
    assert_eq!(detail["lifetime_ms"], 24 * 3_600_000);
    let shown = pigeon(&elaine.socket(), &["bundles", "show", "--hex", &bundle]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for part in [
        &bundle,
        &text(&detail, "tag"),
        &text(&detail, "commitment"),
        "sealed",
        &format!("//{}", &text(&detail, "tag")[..8]),
    ] {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
    assert!(!shown.contains("coffee") && !text(&detail, "hex").contains(&hex("coffee")), "{shown}");
}

/// Cards for everybody and for one person, and a message taken back.
#[test]
fn cards_are_issued_renewed_and_revoked_and_messages_cancelled() {
    let (elaine, jerry) = (Daemon::start("elaine"), Daemon::start("jerry"));
    let published = text(&elaine.json(&["id"]), "card");
    let issued = elaine.json(&["card", "issue", "--for", "the man upstairs"]);
    assert_ne!(text(&issued, "card"), published);
    assert_eq!(elaine.json(&["card", "issue", "--for", "the man upstairs"]), issued, "the same again");
    let shown = pigeon(&elaine.socket(), &["card", "list"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("the man upstairs  nobody yet"), "{shown}");
    let renewed = elaine.json(&["card", "renew"]);
    assert_ne!(text(&renewed, "card"), published);
    assert_eq!(renewed, elaine.json(&["card", "show"]));
    assert_eq!(elaine.json(&["card", "revoke"])["revoked"], 1);
    assert_eq!(elaine.json(&["card", "revoke", "--for", "the man upstairs"])["revoked"], 1);
    assert_eq!(elaine.json(&["card", "list"])["cards"][1]["revoked"], true);

    elaine.json(&["card", "import", &text(&jerry.json(&["id"]), "card")]);
    let sent = elaine.json(&["send", "jerry", "forget it"]);
    let cancelled = elaine.json(&["cancel", &text(&sent, "message_id")[..8]]);
    assert_eq!(text(&cancelled, "state"), "cancelled");
    assert_eq!(elaine.json(&["outbox"])["messages"][0]["state"], "cancelled");

    // With an attachment: its parts and all copies of its manifest too.
    let file = elaine.dir.path().join("picture");
    fs::write(&file, vec![7; 200_000]).unwrap();
    let sent = elaine.json(&["send", "jerry", "look", "--attach", file.to_str().unwrap()]);
    let own = || elaine.json(&["bundles", "stats"])["own"].as_u64().unwrap();
    assert!(own() > 3, "{} bundles", own());
    assert_eq!(elaine.json(&["cancel", &text(&sent, "message_id")])["state"], "cancelled");
    let gone = poll_until(START_MAX, || (own() == 0).then_some(()));
    assert!(gone.is_some(), "{} bundles are left", own());
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A line that cannot be sent costs no other line.
#[test]
fn lines_of_input_are_messages() {
    let (elaine, jerry) = (Daemon::start("elaine"), Daemon::start("jerry"));
    elaine.json(&["card", "import", &text(&jerry.json(&["id"]), "card")]);
    let mut child = pigeon(&elaine.socket(), &["--json", "send", "jerry", "--lines"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\n\n\xff\nfour\r\nfive").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let replies: Vec<serde_json::Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let lines: Vec<u64> = replies.iter().map(|reply| reply["tag"].as_u64().unwrap()).collect();
    assert_eq!(lines, [1, 4, 5]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("line 3: not UTF-8"), "{stderr}");
    assert!(stderr.contains("1 of 4 lines were not taken"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
    let outbox = elaine.json(&["outbox"]);
    let texts: Vec<String> =
        outbox["messages"].as_array().unwrap().iter().map(|message| text(message, "text")).collect();
    assert_eq!(texts, ["one", "four", "five"]);
}

/// Each event is a line of its own, there as soon as it happened; the end of the daemon ends the watch.
#[test]
fn watch_follows_until_the_daemon_ends() {
    let mut daemon = Daemon::start("elaine");
    let jerry = Daemon::start("jerry");
    let mut watch = pigeon(&daemon.socket(), &["--json", "watch", "--replay"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    daemon.json(&["card", "import", &text(&jerry.json(&["id"]), "card")]);
    let sent = daemon.json(&["send", "jerry", "hello"]);
    // Blocks until the line is there; a watch that ends without it gives an end of file instead.
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    let bundle = text(&sent, "bundle_id");
    let seen = events.find(|event| text(event, "bundle_id") == bundle).unwrap();
    assert!(seen["seq"].as_u64().unwrap() > 0, "{seen}");

    daemon.process.kill9();
    assert_eq!(events.count(), 0, "nothing happens after the end");
    let mut stderr = String::new();
    watch.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(stderr.contains("ended the connection"), "{stderr}");
    assert_eq!(watch.wait().unwrap().code(), Some(3));
}
