//! The mailbox as one file: who this node is, its contacts, messages, attachments, and own mail on its way.
//!
//! ```text
//! the three lines of a vault of its own, under a passphrase (see `vault`)
//! frames: length (u32), sealed under that vault's key for its number and whether it is the last:
//!     kind (u8), length of the name (u32), name, content
//! ```
//!
//! | kind | name | content |
//! | --- | --- | --- |
//! | 0 | | the end |
//! | 1 | number of a table (u8), key | a record |
//! | 2 | `identity` | the secret of the identity |
//! | 3 | author (32), message id (16) | a file that arrived |
//! | 4 | B | a bundle of own mail, restored without copies: they may have been given away since |
//!
//! Other people's mail is not in it: that is what `stick` is for.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use pigeon_bundle::{Bundle, Identity, IdentityKey, MessageId};
use pigeon_core::{Catalog, CatalogError, Entry, Pool, StoreOp};
use pigeon_store::{RecordOp, Sealer, Store, StoreOptions, Table, Transaction};
use zeroize::Zeroizing;

use super::files::{Files, Owner};
use super::secret::{Passphrases, Secret};
use super::vault::{self, Vault};
use super::{Folder, FolderError, STORE};
use crate::config::{Config, KeyMethod};
use crate::random::OsRandom;

/// Written by a restore, taken away by the daemon's first start after it.
pub(crate) const RESTORED: &[u8] = b"restored";
/// Rows read in one go.
const PAGE: usize = 64;
/// More than the largest attachment with its frame.
const FRAME_MAX: usize = 20 << 20;
const PURPOSE: &str = "backup";
const END: u8 = 0;
const RECORD: u8 = 1;
const IDENTITY: u8 = 2;
const FILE: u8 = 3;
const BUNDLE: u8 = 4;

/// What is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    /// Records of contacts, messages and keys.
    pub records: u64,
    /// Files that arrived.
    pub files: u64,
    /// Bundles of own mail.
    pub bundles: u64,
}

/// Writes a backup to a new file of mode 0600, synced. Blocks.
///
/// # Errors
/// [`FolderError`]; a file that is there is left alone.
pub fn save(folder: &Folder, store: &Store, path: &Path, secret: &Secret) -> Result<Saved, FolderError> {
    let failed = |source| FolderError::file("writing", path, source);
    let file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let saved = write_all(folder, store, &file, path, secret);
    if saved.is_err() {
        let _ = std::fs::remove_file(path);
    }
    let saved = saved?;
    file.sync_all().map_err(failed)?;
    Ok(saved)
}

fn write_all(
    folder: &Folder,
    store: &Store,
    file: &File,
    path: &Path,
    secret: &Secret,
) -> Result<Saved, FolderError> {
    let failed = |source| FolderError::file("writing", path, source);
    let key = vault::fresh_key();
    let mut out = BufWriter::new(file);
    let vault = Vault::wrap(KeyMethod::Passphrase, secret, &key, &mut OsRandom)?;
    out.write_all(vault.to_text().as_bytes()).map_err(failed)?;
    let mut frames = Frames { io: out, sealer: key.sealer(PURPOSE), number: 0 };
    let mut saved = Saved::default();

    let identity = folder.keys().identity(&mut OsRandom)?;
    frames.write(IDENTITY, b"identity", identity.to_secret_bytes().as_ref()).map_err(failed)?;
    for table in Table::ALL.iter().filter(|table| **table != Table::Vault) {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = store.records(*table, after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, value) in page {
                let (name, value) = ([&[table.number()], key.as_slice()].concat(), Zeroizing::new(value));
                frames.write(RECORD, &name, &value).map_err(failed)?;
                saved.records += 1;
            }
        }
    }
    for (owner, content) in Files::new(folder.dir(), store.key()).all().map_err(failed)? {
        let name = [owner.author.0.as_slice(), &owner.id.0].concat();
        frames.write(FILE, &name, &content().map_err(failed)?).map_err(failed)?;
        saved.files += 1;
    }
    saved.bundles = own_bundles(store, |id, bytes| frames.write(BUNDLE, id, bytes).map_err(failed))?;
    frames.write(END, &[], &[]).map_err(failed)?;
    frames.io.flush().map_err(failed)?;
    Ok(saved)
}

fn own_bundles(
    store: &Store,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), FolderError>,
) -> Result<u64, FolderError> {
    let (mut after, mut written) = (None, 0);
    loop {
        let page = store.page(after, PAGE).map_err(unreadable)?;
        let Some((last, _)) = page.last() else { return Ok(written) };
        after = Some(*last);
        for (id, entry) in page.into_iter().filter(|(_, entry)| entry.pool == Pool::Own) {
            if !entry.at_bridge
                && let Some(bundle) = store.bundle(&id).map_err(unreadable)?
            {
                each(&id.0, bundle.as_bytes())?;
                written += 1;
            }
        }
    }
}

/// Makes the empty folder of `config` the node of a backup. Blocks.
///
/// # Errors
/// [`FolderError::NotEmpty`], a wrong passphrase, a file that is no whole backup: nothing is restored then.
pub fn restore(
    config: &Config,
    passphrases: &Passphrases,
    path: &Path,
    secret: &Secret,
) -> Result<Saved, FolderError> {
    let failed = |source| FolderError::file("reading", path, source);
    let mut input = BufReader::new(File::open(path).map_err(failed)?);
    let key = read_vault(&mut input, path)?.unwrap(secret, path)?;
    // First all of it is read: a damaged backup is found before anything is written.
    let mut frames = Frames { io: input, sealer: key.sealer(PURPOSE), number: 0 };
    while frames.read(path)?.is_some() {}

    let dir = &config.data_dir;
    if dir.join(STORE).exists() || dir.join("keys/identity.key").exists() {
        return Err(FolderError::NotEmpty { dir: dir.clone() });
    }
    let folder = Folder::open(config, passphrases)?;
    let (store, _) = folder.store(StoreOptions { quota_bytes: u64::MAX / 2, ..StoreOptions::default() })?;
    let mut input = BufReader::new(File::open(path).map_err(failed)?);
    read_vault(&mut input, path)?;
    let mut frames = Frames { io: input, sealer: key.sealer(PURPOSE), number: 0 };
    let mut saved = Saved::default();
    while let Some(item) = frames.read(path)? {
        put(&folder, &store, &item, &mut saved, path)?;
    }
    let restored = RecordOp::Put { table: Table::Meta, key: RESTORED.to_vec(), value: vec![1] };
    store.commit_blocking(Transaction::of_records(vec![restored]))?;
    store.close()?;
    Ok(saved)
}

fn put(
    folder: &Folder,
    store: &Store,
    item: &Item,
    saved: &mut Saved,
    path: &Path,
) -> Result<(), FolderError> {
    let what = |what| FolderError::Backup { path: path.to_owned(), what };
    match item.kind {
        RECORD => {
            let (number, key) = item.name.split_first().ok_or_else(|| what("a record"))?;
            let table = Table::ALL.iter().find(|table| table.number() == *number);
            // Of a newer program: nothing here would read it.
            let Some(table) = table.filter(|table| **table != Table::Vault) else { return Ok(()) };
            let op = RecordOp::Put { table: *table, key: key.to_vec(), value: item.content.to_vec() };
            store.commit_blocking(Transaction::of_records(vec![op]))?;
            saved.records += 1;
        }
        IDENTITY => {
            let secret = item.content.as_slice().try_into().map_err(|_| what("the identity"))?;
            folder.keys().set_identity(&Identity::from_secret_bytes(&Zeroizing::new(secret)))?;
        }
        FILE => {
            let (author, id) = item.name.split_first_chunk::<32>().ok_or_else(|| what("a file"))?;
            let id = MessageId(id.try_into().map_err(|_| what("a file"))?);
            let files = Files::new(folder.dir(), store.key());
            let written = files.write(&Owner { author: IdentityKey(*author), id }, &item.content);
            written.map_err(|source| FolderError::file("writing into", folder.dir(), source))?;
            saved.files += 1;
        }
        BUNDLE => {
            let bundle = Bundle::parse(item.content.to_vec().into()).map_err(|_| what("a bundle"))?;
            let entry = Entry { copies: 0, ..Entry::own(0, None) };
            store.commit_blocking(Transaction::of_ops(vec![StoreOp::Put { bundle, entry }]))?;
            saved.bundles += 1;
        }
        _ => {}
    }
    Ok(())
}

fn read_vault(input: &mut impl io::BufRead, path: &Path) -> Result<Vault, FolderError> {
    let mut text = String::new();
    for _ in 0..3 {
        let read = input.by_ref().take(1_024).read_line(&mut text);
        read.map_err(|_| FolderError::Backup { path: path.to_owned(), what: "its first lines" })?;
    }
    Vault::parse(&text).map_err(|what| FolderError::Backup { path: path.to_owned(), what })
}

/// One thing in a backup.
struct Item {
    kind: u8,
    name: Vec<u8>,
    content: Zeroizing<Vec<u8>>,
}

struct Frames<T> {
    io: T,
    sealer: Sealer,
    number: u64,
}

impl<T> Frames<T> {
    /// What the next frame is bound to: none can be left out, moved or taken from another backup.
    fn context(&mut self) -> [u8; 8] {
        let context = self.number.to_be_bytes();
        self.number += 1;
        context
    }
}

impl<T: Write> Frames<T> {
    fn write(&mut self, kind: u8, name: &[u8], content: &[u8]) -> io::Result<()> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut plain = Zeroizing::new(Vec::with_capacity(5 + name.len() + content.len()));
        plain.push(kind);
        plain.extend(length(name));
        plain.extend_from_slice(name);
        plain.extend_from_slice(content);
        let context = self.context();
        let sealed = self.sealer.seal(&context, &plain);
        self.io.write_all(&length(&sealed))?;
        self.io.write_all(&sealed)
    }
}

impl<T: Read> Frames<T> {
    /// The next thing; `None` at the end, which is a frame too: a file that was cut has none.
    fn read(&mut self, path: &Path) -> Result<Option<Item>, FolderError> {
        let what = |what| FolderError::Backup { path: path.to_owned(), what };
        let mut length = [0; 4];
        self.io.read_exact(&mut length).map_err(|_| what("it ends early"))?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_MAX {
            return Err(what("a frame's length"));
        }
        let mut sealed = Vec::new();
        let read = self.io.by_ref().take(length as u64).read_to_end(&mut sealed);
        if read.map_err(|_| what("it cannot be read"))? != length {
            return Err(what("it ends early"));
        }
        let context = self.context();
        let plain = self.sealer.open(&context, &sealed).ok_or_else(|| what("a frame is damaged"))?;
        let (kind, rest) = plain.split_first().ok_or_else(|| what("an empty frame"))?;
        let (length, rest) = rest.split_first_chunk().ok_or_else(|| what("a short frame"))?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (name, content) = rest.split_at_checked(length).ok_or_else(|| what("a short frame"))?;
        let item = Item { kind: *kind, name: name.to_vec(), content: Zeroizing::new(content.to_vec()) };
        Ok(Some(item).filter(|item| item.kind != END))
    }
}

fn unreadable(error: CatalogError) -> FolderError {
    FolderError::file("reading bundles from", "the store", io::Error::other(error))
}
