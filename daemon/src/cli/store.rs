//! `pigeon store`: the data folder of a daemon that is stopped.

use pigeon_store::{Stats, Store};
use serde_json::json;

use super::args::{StoreArgs, StoreCommand};
use super::error::CliError;
use super::output::Out;
use super::text::{count, one_line, size};
use crate::config::{Config, KeyMethod};
use crate::folder::inspect::Findings;
use crate::folder::rekey::{self, Rekeyed};
use crate::folder::secret::{Passphrases, Secret, ask, ask_twice, read_passphrase};
use crate::folder::{Folder, FolderError, backup, stick};
use crate::node::store_options;

/// Carries out a command at the folder that `args` name. Blocks.
///
/// # Errors
/// [`CliError::Folder`], and [`CliError::Damaged`] where a check found damage.
pub(super) fn run(args: StoreArgs, out: &mut Out) -> Result<(), CliError> {
    let mut config = Config::load(args.config.as_deref()).map_err(|error| CliError::folder(&error))?;
    if let Some(dir) = args.data_dir {
        config.data_dir = dir;
    }
    match args.command {
        StoreCommand::Stats => stats(&config, out),
        StoreCommand::Check => {
            let findings = open(&config)?.check(store_options(&config)).map_err(refused)?;
            report(out, &findings, "would be repaired")?;
            if findings.is_healthy() { Ok(()) } else { Err(CliError::Damaged) }
        }
        StoreCommand::Repair => {
            let findings = open(&config)?.repair(store_options(&config)).map_err(refused)?;
            report(out, &findings, "repaired")
        }
        StoreCommand::Compact => compact(&config, out),
        StoreCommand::Rekey { old_passphrase_file } => rekey(&config, old_passphrase_file.as_deref(), out),
        StoreCommand::Password => password(&config, out),
        StoreCommand::Export { dir } => {
            let done = with_store(&config, |_, store| stick::export(store, &dir))?;
            let people = format!(
                "{} in {}; {} left out (at the bridge already, or of unknown age)",
                count(done.bundles, "bundle", "bundles"),
                one_line(&dir.display().to_string()),
                done.left_out
            );
            say(out, &json!({"bundles": done.bundles, "left_out": done.left_out}), &people)
        }
        StoreCommand::Import { paths } => {
            let done = with_store(&config, |_, store| stick::import(store, &config, &paths))?;
            imported(out, &done)
        }
        StoreCommand::Backup { file, passphrase_file } => {
            let secret = match passphrase_file {
                Some(path) => read_passphrase(&path),
                None => ask_twice("Passphrase of the backup: "),
            };
            let secret = Secret::Passphrase(secret.map_err(refused)?);
            let saved = with_store(&config, |folder, store| backup::save(folder, store, &file, &secret))?;
            saved_or_restored(out, saved, "saved")
        }
        StoreCommand::Restore { file, passphrase_file } => {
            let secret = match passphrase_file {
                Some(path) => read_passphrase(&path),
                None => ask("Passphrase of the backup: "),
            };
            let secret = Secret::Passphrase(secret.map_err(refused)?);
            let passphrases = passphrases(&config)?;
            let saved = backup::restore(&config, &passphrases, &file, &secret).map_err(refused)?;
            saved_or_restored(out, saved, "restored")
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn refused(error: FolderError) -> CliError {
    CliError::folder(&error)
}

fn passphrases(config: &Config) -> Result<Passphrases, CliError> {
    Passphrases::ask(&config.encryption, &config.data_dir).map_err(refused)
}

/// An existing folder. Whatever is wrong with it is said before anybody is asked for a passphrase.
fn open(config: &Config) -> Result<Folder, CliError> {
    drop(Folder::take_existing(config).map_err(refused)?);
    Folder::open_existing(config, &passphrases(config)?).map_err(refused)
}

/// Does something with the store, then closes it.
fn with_store<T>(
    config: &Config,
    work: impl FnOnce(&Folder, &Store) -> Result<T, FolderError>,
) -> Result<T, CliError> {
    let folder = open(config)?;
    let (store, recovery) = folder.store(store_options(config)).map_err(refused)?;
    if !recovery.is_healthy() {
        super::error::complain("warning", "33", &format!("the store was repaired: {recovery}"));
    }
    let done = work(&folder, &store);
    store.close().map_err(|error| refused(error.into()))?;
    done.map_err(refused)
}

fn say(out: &mut Out, program: &serde_json::Value, people: &str) -> Result<(), CliError> {
    if out.is_json() { out.object(program) } else { out.line(people) }
}

fn stats(config: &Config, out: &mut Out) -> Result<(), CliError> {
    let figures = with_store(config, |folder, store| {
        Ok((store.stats()?, store.count_records(), folder.is_encrypted()))
    })?;
    let (stats, records, encrypted) = figures;
    let records = records.map_err(|error| refused(error.into()))?;
    let method = rekey::method(config).map_err(refused)?.unwrap_or(KeyMethod::None).as_str();
    let Stats { usage, record_bytes, live_bytes, quota_bytes, disk_bytes, .. } = stats;
    if out.is_json() {
        return out.object(&json!({
            "own": usage.own.bundles, "contact": usage.contacts.bundles, "stranger": usage.strangers.bundles,
            "bundle_bytes": usage.bytes(), "records": records, "record_bytes": record_bytes,
            "live_bytes": live_bytes, "quota_bytes": quota_bytes, "disk_bytes": disk_bytes,
            "encrypted": encrypted, "method": method,
        }));
    }
    out.pairs(&[
        ("own mail", count(usage.own.bundles, "bundle", "bundles")),
        ("contacts' mail", count(usage.contacts.bundles, "bundle", "bundles")),
        ("strangers' mail", count(usage.strangers.bundles, "bundle", "bundles")),
        ("bytes in bundles", size(usage.bytes())),
        ("mailbox", format!("{}, {}", count(records, "record", "records"), size(record_bytes))),
        ("bytes in all", format!("{} of {}", size(live_bytes), size(quota_bytes))),
        ("bytes on disk", size(disk_bytes)),
        ("encryption", method.to_owned()),
    ])
}

fn report(out: &mut Out, findings: &Findings, what: &str) -> Result<(), CliError> {
    let sentences = findings.sentences();
    if out.is_json() {
        return out.object(&json!({
            "healthy": findings.is_healthy(), "bundles": findings.read.bundles,
            "records": findings.read.records, "findings": sentences,
        }));
    }
    let (bundles, records) = (findings.read.bundles, findings.read.records);
    let read = format!("{} and {}", count(bundles, "bundle", "bundles"), count(records, "record", "records"));
    if findings.is_healthy() {
        return out.line(&format!("{read} read, nothing is damaged"));
    }
    for sentence in &sentences {
        out.line(&format!("{what}: {}", one_line(sentence)))?;
    }
    for path in
        [&findings.opened, &findings.repaired].into_iter().filter_map(|report| report.set_aside.as_ref())
    {
        out.line(&format!("set aside: {}", one_line(&path.display().to_string())))?;
    }
    out.line(&format!("whole: {read}"))
}

fn compact(config: &Config, out: &mut Out) -> Result<(), CliError> {
    let before = with_store(config, |_, store| Ok(store.stats()?.disk_bytes))?;
    let copied = open(config)?.compact().map_err(refused)?;
    let after = with_store(config, |_, store| Ok(store.stats()?.disk_bytes))?;
    let people = format!(
        "{} and {} written anew: {} on disk, {} before",
        count(copied.bundles, "bundle", "bundles"),
        count(copied.records, "record", "records"),
        size(after),
        size(before)
    );
    let program = json!({
        "bundles": copied.bundles, "records": copied.records, "disk_bytes": after, "disk_bytes_before": before,
    });
    say(out, &program, &people)
}

fn rekey(config: &Config, old: Option<&std::path::Path>, out: &mut Out) -> Result<(), CliError> {
    drop(Folder::take_existing(config).map_err(refused)?);
    let (settings, dir) = (&config.encryption, config.data_dir.display());
    let present = match (rekey::method(config).map_err(refused)?, old) {
        (Some(KeyMethod::Passphrase), Some(path)) => Some(read_passphrase(path)),
        // Nothing is to become of it: the one that the daemon uses.
        (Some(KeyMethod::Passphrase), None)
            if settings.key != KeyMethod::Passphrase && settings.passphrase_file.is_some() =>
        {
            None
        }
        (Some(KeyMethod::Passphrase), None) => Some(ask(&format!("Present passphrase of {dir}: "))),
        _ => None,
    };
    let present = present.transpose().map_err(refused)?;
    let wants_new = settings.key == KeyMethod::Passphrase && settings.passphrase_file.is_none();
    let new = wants_new.then(|| ask_twice(&format!("New passphrase of {dir}: ")));
    let new = new.transpose().map_err(refused)?;
    let passphrases = Passphrases { present, new };
    let done = rekey::rekey(config, &passphrases).map_err(refused)?;
    let method = settings.key.as_str();
    let (word, people) = match done {
        Rekeyed::Encrypted => ("encrypted", format!("encrypted; unlocked by method \"{method}\"")),
        Rekeyed::Decrypted => ("decrypted", "decrypted: everything is readable now".to_owned()),
        Rekeyed::Wrapped => ("wrapped", format!("unlocked by method \"{method}\" from now on")),
        Rekeyed::Nothing => {
            ("nothing", "not encrypted, and the configuration wants no encryption".to_owned())
        }
    };
    say(out, &json!({"done": word, "method": method}), &people)
}

fn password(config: &Config, out: &mut Out) -> Result<(), CliError> {
    let folder = open(config)?;
    let password = ask_twice("Password of the XMPP account: ").map_err(refused)?;
    folder.keys().set_password(&password).map_err(|error| refused(error.into()))?;
    let how = if folder.is_encrypted() { "encrypted" } else { "readable for this user" };
    let people = format!("kept, {how}; account.password_file is not needed any more");
    say(out, &json!({"encrypted": folder.is_encrypted()}), &people)
}

fn imported(out: &mut Out, done: &stick::Imported) -> Result<(), CliError> {
    let stick::Imported { taken, known, refused, no_room } = done;
    if out.is_json() {
        let refused: Vec<_> = refused
            .iter()
            .map(|(path, why)| json!({"file": path.display().to_string(), "why": why}))
            .collect();
        return out.object(&json!({"taken": taken, "known": known, "no_room": no_room, "refused": refused}));
    }
    for (path, why) in refused {
        out.line(&format!("refused: {}: {why}", one_line(&path.display().to_string())))?;
    }
    let refused = refused.len();
    out.line(&format!(
        "{} taken, {known} known already, {no_room} without room, {refused} refused",
        count(*taken, "bundle", "bundles")
    ))
}

fn saved_or_restored(out: &mut Out, saved: backup::Saved, what: &str) -> Result<(), CliError> {
    let backup::Saved { records, files, bundles } = saved;
    let people = format!(
        "{what}: {}, {}, {} of own mail",
        count(records, "record", "records"),
        count(files, "file", "files"),
        count(bundles, "bundle", "bundles")
    );
    say(out, &json!({"records": records, "files": files, "bundles": bundles}), &people)
}
