//! Nodes that never meet: their carriers' bundles travel on a stick, and every other command for a stopped node.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pigeon_harness::files::temp_dir;
use pigeon_harness::node::text_of;
use pigeon_harness::place::Place;
use pigeon_harness::{Node, NodeSpec};
use raw::shows;
use serde_json::Value;
use support::{messages, send, soon};
use tempfile::TempDir;

const TEXT: &str = "these pretzels are making me thirsty";
const ANSWER: &str = "no soup for you, come back in one year";
const FILE: &[u8] = b"the contents of the marble rye recipe, line by line ";
const JID: &str = "elaine.benes@peterman.example";

/// A node without networks, with `tables` at the end of its config.
fn node(dir: &TempDir, name: &str, tables: &str) -> Node {
    let spec = NodeSpec { tables: tables.to_owned(), quic: false, ..NodeSpec::new(name) };
    Node::start(Place::Here, &spec, dir.path()).unwrap()
}

/// `pigeon store` on the node's folder.
fn store(node: &Node, args: &[&str]) -> Output {
    let config = node.dir().join("pigeond.toml");
    node.cli(&[&["store", "--config", config.to_str().unwrap()], args].concat()).unwrap()
}

fn json(node: &Node, args: &[&str]) -> Value {
    let config = node.dir().join("pigeond.toml");
    node.json(&[&["store", "--config", config.to_str().unwrap()], args].concat()).unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn data(node: &Node) -> PathBuf {
    node.dir().join("data")
}

fn stop(node: &mut Node) {
    assert!(node.terminate(soon()).unwrap().success());
}

/// Carries all bundles of one stopped node to another, and starts both again.
fn carry(from: &mut Node, to: &mut Node, stick: &Path) -> (Value, Value) {
    stop(from);
    stop(to);
    let exported = json(from, &["export", stick.to_str().unwrap()]);
    let imported = json(to, &["import", stick.to_str().unwrap()]);
    from.restart().unwrap();
    to.restart().unwrap();
    (exported, imported)
}

fn texts(node: &Node, which: &str) -> Vec<String> {
    messages(node, which).iter().map(|message| text_of(message, "text")).collect()
}

/// With an account, whose server nobody answers at: its JID is on the card.
fn with_account(dir: &TempDir, name: &str, more: &str) -> String {
    let password = dir.path().join(format!("{name}.password"));
    fs::write(&password, "hunter2-hunter2\n").unwrap();
    format!(
        "\n[account]\njid = \"{JID}\"\npassword_file = \"{}\"\nserver = \"127.0.0.1:9\"\nbridge = \"bridge.example\"\n{more}",
        password.display()
    )
}

/// Two people exchange messages and a file over a stick; the raw files of their folders are searched, at rest and after
/// `kill -9`.
fn exchange(tables: &str) -> Vec<(&'static str, Vec<String>)> {
    let dir = temp_dir("pigeon-stick-").unwrap();
    let mut elaine = node(&dir, "elaine-benes", &with_account(&dir, "elaine", tables));
    let mut jerry = node(&dir, "jerry-seinfeld", tables);
    elaine.give_card_to(&jerry).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    let file = dir.path().join("rye.txt");
    let content = FILE.repeat(3_000);
    fs::write(&file, &content).unwrap();
    let (message, _) = send(&elaine, "jerry-seinfeld", TEXT);
    elaine.say(&["send", "jerry-seinfeld", "a recipe", "--attach", file.to_str().unwrap()]).unwrap();

    let stick = dir.path().join("stick");
    let (exported, imported) = carry(&mut elaine, &mut jerry, &stick);
    assert!(exported["bundles"].as_u64().unwrap() > 4, "{exported}");
    assert_eq!(imported["taken"], exported["bundles"], "{imported}");
    support::until(&jerry, "the messages", || texts(&jerry, "inbox").len() == 2);
    let mut inbox = texts(&jerry, "inbox");
    inbox.sort();
    assert_eq!(inbox, ["a recipe", TEXT]);
    jerry
        .watch()
        .wait_for(support::PATIENCE, "the file", |event| event.kind == "attachment_complete")
        .unwrap();
    let with_file = messages(&jerry, "inbox").into_iter().find(|m| m["text"] == "a recipe").unwrap();
    let saved = dir.path().join("saved");
    jerry.say(&["attachment", "save", &text_of(&with_file, "message_id"), saved.to_str().unwrap()]).unwrap();
    assert!(fs::read(&saved).unwrap() == content);
    send(&jerry, "elaine-benes", ANSWER);

    // Receipts and the answer travel back; what is on the stick already is known.
    let (_, imported) = carry(&mut jerry, &mut elaine, &stick);
    assert!(imported["known"].as_u64().unwrap() > 0, "{imported}");
    support::until(&elaine, "the answer", || texts(&elaine, "inbox") == [ANSWER]);
    support::until(&elaine, "the receipts", || {
        messages(&elaine, "outbox").iter().all(|message| message["state"] == "delivered")
    });
    // A third time nothing is new: no copies came with it.
    let (_, imported) = carry(&mut elaine, &mut jerry, &stick);
    assert_eq!(imported["taken"].as_u64().unwrap(), imported["taken"].as_u64().unwrap().min(1), "{imported}");
    assert_eq!(texts(&jerry, "inbox").len(), 2, "delivered twice");

    jerry.kill9();
    let identity = text_of(&elaine.json(&["id"]).unwrap(), "identity");
    elaine.kill9();
    let identity_bytes = data_encoding::HEXLOWER.decode(identity.as_bytes()).unwrap();
    let secrets: Vec<(&str, Vec<u8>)> = vec![
        ("text", TEXT.into()),
        ("answer", ANSWER.into()),
        ("name", b"elaine-benes".to_vec()),
        ("other name", b"jerry-seinfeld".to_vec()),
        ("JID", JID.into()),
        ("file", FILE.to_vec()),
        ("file name", b"rye.txt".to_vec()),
        ("message id", message.into()),
        ("identity", identity_bytes),
        ("identity in hex", identity.into()),
        ("bridge", b"bridge.example".to_vec()),
    ];
    let found = |node: &Node| -> Vec<String> {
        let shown = secrets.iter().filter(|(_, bytes)| shows(&data(node), bytes));
        shown.map(|(what, _)| (*what).to_owned()).collect()
    };
    vec![("elaine", found(&elaine)), ("jerry", found(&jerry))]
}

#[test]
fn a_seized_disk_shows_no_author_recipient_or_text() {
    // The bridge's name travels in the clear on bundles with an uplink; there are none here.
    for (whose, found) in exchange("") {
        assert_eq!(found, Vec::<String>::new(), "{whose}");
    }
}

/// The control: the same search in folders that are not encrypted.
#[test]
fn the_search_finds_everything_in_a_plain_folder() {
    let found = exchange("\n[encryption]\nkey = \"none\"\n");
    for what in ["text", "answer", "name", "JID", "file name", "identity"] {
        assert!(found.iter().any(|(_, found)| found.iter().any(|f| f == what)), "{what} not in {found:?}");
    }
    assert!(found[1].1.iter().any(|f| f == "file"), "{found:?}");
}

#[test]
fn commands_for_a_stopped_node() {
    let dir = temp_dir("pigeon-store-").unwrap();
    let mut node = node(&dir, "kramer", "");
    let other = self::node(&dir, "newman", "");
    other.give_card_to(&node).unwrap();
    let sent: Vec<String> = (0..5).map(|n| send(&node, "newman", &format!("letter {n}")).0).collect();

    for command in [["stats"].as_slice(), &["check"], &["repair"], &["compact"], &["rekey"], &["export", "x"]]
    {
        let running = said(&store(&node, command));
        assert!(running.contains("is in use by another pigeon process"), "{command:?}: {running}");
        assert!(running.contains("help: stop that one first"), "{running}");
    }
    stop(&mut node);
    let stats = json(&node, &["stats"]);
    assert_eq!((&stats["own"], &stats["method"]), (&Value::from(5), &Value::from("file")), "{stats}");
    let check = json(&node, &["check"]);
    assert_eq!((&check["healthy"], &check["bundles"]), (&Value::from(true), &Value::from(5)), "{check}");
    assert!(said(&store(&node, &["check"])).contains("nothing is damaged"));
    let compacted = json(&node, &["compact"]);
    assert_eq!(compacted["bundles"], 5, "{compacted}");

    // A passphrase in place of the key file, without another start in between.
    let passphrase = dir.path().join("passphrase");
    fs::write(&passphrase, "giddy up\n").unwrap();
    let config = node.dir().join("pigeond.toml");
    let text = fs::read_to_string(&config).unwrap();
    let locked = format!(
        "{text}\n[encryption]\nkey = \"passphrase\"\npassphrase_file = \"{}\"\n",
        passphrase.display()
    );
    fs::write(&config, &locked).unwrap();
    assert!(said(&store(&node, &["stats"])).contains("`pigeon store rekey` goes from the one to the other"));
    assert_eq!(json(&node, &["rekey"])["done"], "wrapped");
    assert!(!data(&node).join("keys/store.key").exists());
    fs::write(&passphrase, "giddy down\n").unwrap();
    let wrong = said(&store(&node, &["stats"]));
    assert!(
        wrong.contains("this passphrase does not unlock") && wrong.contains("help: type it again"),
        "{wrong}"
    );
    assert!(node.restart().is_err(), "it started with a wrong passphrase");
    fs::write(&passphrase, "giddy up\n").unwrap();
    node.restart().unwrap();
    assert_eq!(messages(&node, "outbox").len(), 5);

    // The backup goes into an empty folder, and is the same person there.
    let identity = text_of(&node.json(&["id"]).unwrap(), "identity");
    let page = node.json(&["outbox", "--limit", "2"]).unwrap();
    assert_eq!((page["messages"].as_array().unwrap().len(), &page["more"]), (2, &Value::from(true)));
    let before = text_of(&page["messages"][0], "message_id");
    let page = node.json(&["outbox", "--limit", "9", "--before", &before]).unwrap();
    assert_eq!((page["messages"].as_array().unwrap().len(), &page["more"]), (3, &Value::from(false)));
    let on_its_way = node.cli(&["delete", &sent[0]]).unwrap();
    assert!(said(&on_its_way).contains("still on its way"), "{}", said(&on_its_way));
    node.say(&["cancel", &sent[0]]).unwrap();
    support::until(&node, "the cancelled bundle gone", || {
        node.cli(&["delete", &sent[0]]).unwrap().status.success()
    });
    assert_eq!(messages(&node, "outbox").len(), 4);
    stop(&mut node);
    let file = dir.path().join("backup");
    let backup = ["backup", file.to_str().unwrap(), "--passphrase-file", passphrase.to_str().unwrap()];
    assert_eq!(json(&node, &backup)["bundles"], 4);
    assert!(!shows(dir.path().join("backup").parent().unwrap(), b"letter 1"), "the backup is readable");
    let restore = ["restore", file.to_str().unwrap(), "--passphrase-file", passphrase.to_str().unwrap()];
    assert!(said(&store(&node, &restore)).contains("is a node's folder already"));
    fs::rename(data(&node), dir.path().join("lost")).unwrap();
    assert_eq!(json(&node, &restore)["bundles"], 4);
    node.restart().unwrap();
    assert_eq!(text_of(&node.json(&["id"]).unwrap(), "identity"), identity);
    assert_eq!(texts(&node, "outbox"), ["letter 1", "letter 2", "letter 3", "letter 4"]);
    assert_eq!(node.json(&["contact", "list"]).unwrap()["contacts"].as_array().unwrap().len(), 1);
    stop(&mut node);

    // A cut backup restores nothing.
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 60]).unwrap();
    fs::rename(data(&node), dir.path().join("lost too")).unwrap();
    assert!(said(&store(&node, &restore)).contains("no whole backup"));
    assert!(!data(&node).join("store").exists());
    assert!(said(&store(&node, &["stats"])).contains("holds no store"));
}

/// `pigeon store` with lines on its standard input.
fn store_with_input(node: &Node, args: &[&str], input: &str) -> Output {
    let config = node.dir().join("pigeond.toml");
    let mut command = node.command(&[&["store", "--config", config.to_str().unwrap()], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The account's password moves from a file of its own into the data folder, where it is sealed like everything else.
#[test]
fn the_password_of_the_account_is_kept_sealed() {
    const PASSWORD: &str = "serenity now, insanity later";
    let dir = temp_dir("pigeon-password-").unwrap();
    let tables = "\n[account]\njid = \"frank@costanza.example\"\nserver = \"127.0.0.1:9\"\nbridge = \"bridge.example\"\n";
    // With an account and no password there is nothing to log in with: the daemon says so, and how to give one.
    let mut node = node(&dir, "frank", "");
    stop(&mut node);
    let config = node.dir().join("pigeond.toml");
    let plain = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{plain}{tables}")).unwrap();

    let kept = store_with_input(&node, &["password"], &format!("{PASSWORD}\n"));
    assert!(kept.status.success() && said(&kept).contains("encrypted"), "{}", said(&kept));
    assert!(!said(&kept).contains(PASSWORD), "the password was shown");
    assert!(data(&node).join("keys/password.key").exists(), "{:?}", raw::files(&data(&node)));
    assert!(!shows(&data(&node), PASSWORD.as_bytes()), "the password can be read from the disk");
    // Now it starts with that account.
    node.restart().unwrap();
    stop(&mut node);
}

/// A node whose key systemd hands over, in a process that has the variable.
#[test]
#[ignore = "runs as a child of the test below"]
fn with_a_credential() {
    let Some(credentials) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return };
    let credential = Path::new(&credentials).join("pigeon-store");
    let dir = temp_dir("pigeon-credential-").unwrap();
    let tables = "\n[encryption]\nkey = \"credential\"\n";
    let mut node = node(&dir, "newman", tables);
    let other = self::node(&dir, "kramer", "");
    other.give_card_to(&node).unwrap();
    node.say(&["send", "kramer", TEXT]).unwrap();
    stop(&mut node);
    assert_eq!(json(&node, &["stats"])["method"], "credential");
    assert!(!shows(&data(&node), TEXT.as_bytes()), "a seized disk shows the text");

    // Without it, and with another one, nothing opens and nothing is touched.
    let config = node.dir().join("pigeond.toml");
    let mut without = node.command(&["store", "--config", config.to_str().unwrap(), "stats"]);
    let refused = without.env_remove("CREDENTIALS_DIRECTORY").output().unwrap();
    assert!(
        !refused.status.success() && said(&refused).contains("CREDENTIALS_DIRECTORY"),
        "{}",
        said(&refused)
    );
    let key = fs::read(&credential).unwrap();
    fs::write(&credential, [9; 32]).unwrap();
    let refused = store(&node, &["stats"]);
    assert!(!refused.status.success(), "{}", said(&refused));
    // 64 hex digits are the same key.
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&credential, digits).unwrap();
    node.restart().unwrap();
    assert_eq!(texts(&node, "outbox"), [TEXT]);
    stop(&mut node);
}

#[test]
fn a_key_from_a_systemd_credential_opens_the_store() {
    let credentials = temp_dir("pigeon-credentials-").unwrap();
    fs::write(credentials.path().join("pigeon-store"), [7; 32]).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "with_a_credential", "--ignored", "--nocapture"]);
    let output = child.env("CREDENTIALS_DIRECTORY", credentials.path()).output().unwrap();
    assert!(output.status.success() && said(&output).contains("1 passed"), "{}", said(&output));
}

/// Flips bytes in the middle of the largest file of the store.
fn damage(folder: &Path) {
    let largest =
        raw::files(folder).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2..used / 2 + 64].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(&largest, bytes).unwrap();
}

#[test]
fn damage_is_found_said_and_set_aside() {
    let dir = temp_dir("pigeon-damage-").unwrap();
    let mut node = node(&dir, "george", "");
    let other = self::node(&dir, "susan", "");
    other.give_card_to(&node).unwrap();
    let file = dir.path().join("envelopes");
    fs::write(&file, FILE.repeat(5_000)).unwrap();
    node.say(&["send", "susan", "envelopes", "--attach", file.to_str().unwrap()]).unwrap();
    stop(&mut node);
    damage(&data(&node).join("store"));
    let before = raw::files(&data(&node).join("store")).len();

    let check = store(&node, &["check"]);
    assert_eq!(check.status.code(), Some(1), "{}", said(&check));
    assert!(
        said(&check).contains("would be repaired") && said(&check).contains("`pigeon store repair`"),
        "{}",
        said(&check)
    );
    assert_eq!(raw::files(&data(&node).join("store")).len(), before, "a check changed something");
    assert!(!data(&node).join("store.check").exists());

    let repaired = said(&store(&node, &["repair"]));
    assert!(repaired.contains("repaired: "), "{repaired}");
    let aside =
        raw::files(&data(&node).join("store")).into_iter().any(|f| f.to_string_lossy().contains(".damaged-"));
    assert!(aside, "nothing was set aside: {repaired}");
    let check = json(&node, &["check"]);
    assert_eq!(check["healthy"], true, "{check}");
    node.restart().unwrap();
    assert_eq!(text_of(&node.json(&["id"]).unwrap(), "name"), "george");
}

/// A stick brings only what anybody may bring.
#[test]
fn files_on_a_stick_have_no_rights() {
    let dir = temp_dir("pigeon-rights-").unwrap();
    let mut elaine = node(&dir, "elaine", "");
    let mut puddy = node(&dir, "puddy", "");
    let jerry = node(&dir, "jerry", "");
    jerry.give_card_to(&elaine).unwrap();
    let (_, bundle) = send(&elaine, "jerry", TEXT);
    let stick = dir.path().join("stick");
    fs::create_dir(&stick).unwrap();
    fs::write(stick.join("junk.bundle"), b"not a bundle").unwrap();
    fs::write(stick.join("huge.bundle"), vec![0; 200_000]).unwrap();
    fs::write(stick.join("unrelated.txt"), b"a shopping list").unwrap();
    let (_, imported) = carry(&mut elaine, &mut puddy, &stick);
    assert_eq!(
        (&imported["taken"], imported["refused"].as_array().unwrap().len()),
        (&Value::from(1), 2),
        "{imported}"
    );
    let held = puddy.json(&["bundles", "show", &bundle]).unwrap();
    assert_eq!(
        (&held["summary"]["copies"], &held["summary"]["pool"]),
        (&Value::from(0), &Value::from("stranger"))
    );

    // A flipped bit, and a bundle that its author has made void.
    let file = stick.join(format!("{bundle}.bundle"));
    let whole = fs::read(&file).unwrap();
    let mut wrong = whole.clone();
    wrong[whole.len() / 2] ^= 1;
    fs::write(&file, wrong).unwrap();
    stop(&mut puddy);
    let imported = json(&puddy, &["import", file.to_str().unwrap()]);
    assert_eq!(imported["refused"].as_array().unwrap().len(), 1, "{imported}");
    fs::write(&file, whole).unwrap();
    let message = text_of(&messages(&elaine, "outbox")[0], "message_id");
    elaine.say(&["cancel", &message]).unwrap();
    support::until(&elaine, "the bundle gone", || !support::holds(&elaine, &bundle));
    stop(&mut elaine);
    assert_eq!(json(&elaine, &["import", file.to_str().unwrap()])["known"], 1);
}
