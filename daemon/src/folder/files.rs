//! The files of attachments that arrived: below `data_dir/attachments`, readable for the daemon alone.
//!
//! Plain: named `ID-AUTHOR`, with the content as it is. Sealed: named by a keyed hash of both, in chunks under the data
//! key, each bound to the file's name, its number, and whether it is the last: a chunk taken away, moved or from another
//! file is noticed. The first chunk says whose file it is.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use pigeon_bundle::{IdentityKey, MessageId};
use pigeon_store::{SEAL_OVERHEAD, Sealer, StoreKey};
use sha2::Sha256;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

/// Where attachments are, in the data directory.
const FOLDER: &str = "attachments";
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Files on their way to their name. There is one writer, so there is one of them.
const ASIDE: &str = "new";
/// Content of a chunk in bytes.
pub const CHUNK: usize = 65_536;
/// Bytes of a sealed file's name before its ending, as hex digits.
const NAME: usize = 32;
const ENDING: &str = ".sealed";
/// Author and message id, sealed.
const HEAD: usize = 32 + 16 + SEAL_OVERHEAD;
/// More than the largest attachment, sealed.
const SIZE_MAX: u64 = 32 << 20;

/// Whose attachment it is: two authors may choose the same message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Who sent it.
    pub author: IdentityKey,
    /// The author's id of the message.
    pub id: MessageId,
}

/// Reads the content of a file.
pub(crate) type Content = Box<dyn Fn() -> io::Result<Zeroizing<Vec<u8>>>>;

/// Where attachments are, and under which key.
#[derive(Clone)]
pub struct Files {
    folder: PathBuf,
    seal: Option<Seal>,
}

#[derive(Clone)]
struct Seal {
    chunks: Sealer,
    names: Hmac<Sha256>,
}

impl Files {
    /// The attachments of a data folder.
    #[must_use]
    pub fn new(data_dir: &Path, key: Option<&StoreKey>) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let seal = key.map(|key| Seal {
            chunks: key.sealer("attachments"),
            names: Hmac::new_from_slice(key.derive("attachment names").as_ref()).expect("any length"),
        });
        Self { folder: data_dir.join(FOLDER), seal }
    }

    /// The file of an attachment. Nothing that its author chose is in a plain name but the random id.
    #[must_use]
    pub fn path(&self, owner: &Owner) -> PathBuf {
        self.folder.join(match &self.seal {
            Some(seal) => {
                let names = seal.names.clone().chain_update(owner.author.0).chain_update(owner.id.0);
                let name = HEXLOWER.encode(&names.finalize().into_bytes());
                format!("{}{ENDING}", name.get(..NAME).unwrap_or_default())
            }
            None => format!("{}-{}", owner.id, owner.author),
        })
    }

    /// Bytes of all files in the folder.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn bytes(&self) -> io::Result<u64> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        entries.map(|entry| Ok(entry?.metadata()?.len())).sum()
    }

    /// Writes the file aside, syncs it, renames it, and syncs the folder: a crash leaves the whole of it or nothing.
    /// Makes the folder where it is missing. Blocks.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, owner: &Owner, content: &[u8]) -> io::Result<()> {
        if !self.folder.is_dir() {
            DirBuilder::new().mode(FOLDER_MODE).create(&self.folder)?;
            self.folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
        }
        let (path, aside) = (self.path(owner), self.folder.join(ASIDE));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&aside)?;
        match &self.seal {
            Some(seal) => seal.write(&mut file, &path, owner, content)?,
            None => file.write_all(content)?,
        }
        file.sync_all()?;
        std::fs::rename(&aside, path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes the file; nothing where there is none.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn remove(&self, owner: &Owner) -> io::Result<()> {
        match std::fs::remove_file(self.path(owner)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the system refuses, and a file that is not this owner's.
    pub async fn open(&self, owner: &Owner) -> io::Result<Reader> {
        let path = self.path(owner);
        let mut file = tokio::fs::File::open(&path).await?;
        let mut opener = None;
        if let Some(seal) = &self.seal {
            let mut head = [0; HEAD];
            file.read_exact(&mut head).await?;
            seal.owner(&path, &head).filter(|found| found == owner).ok_or_else(damaged)?;
            opener = Some(Opener { seal: seal.clone(), name: name_of(&path), number: 0 });
        }
        Ok(Reader { file, opener, ended: false })
    }

    /// Where the files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whose files there are under this key. What cannot be read is left alone. Blocks.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn owners(&self) -> io::Result<Vec<Owner>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(entries.iter().filter_map(|entry| self.owner(&entry.path()).ok().flatten()).collect())
    }

    /// All files under this key, each to be read when it is asked for. Blocks.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn all(&self) -> io::Result<Vec<(Owner, Content)>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for path in entries.iter().map(std::fs::DirEntry::path) {
            let seal = self.seal.clone();
            let Some(owner) = self.owner(&path)? else { continue };
            let content: Content = Box::new(move || match &seal {
                None => Ok(Zeroizing::new(read_small(&path)?)),
                Some(seal) => seal.read(&path, &read_small(&path)?).map(|read| read.1).ok_or_else(damaged),
            });
            found.push((owner, content));
        }
        Ok(found)
    }

    /// Whose file this is; `None`: nobody's under this key.
    fn owner(&self, path: &Path) -> io::Result<Option<Owner>> {
        let Some(seal) = &self.seal else { return Ok(plain_owner(path)) };
        if !name_of(path).ends_with(ENDING) {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        io::Read::read_exact(&mut File::open(path)?, &mut head)?;
        Ok(seal.owner(path, &head))
    }

    /// Seals what is plain in the folder, and drops what a crash left aside. Blocks.
    ///
    /// # Errors
    /// What the system refuses; it may be called again.
    pub(crate) fn seal_all(&self) -> io::Result<()> {
        self.rewrite(|path| {
            let owner = plain_owner(path);
            owner.map(|owner| Ok((owner, Zeroizing::new(read_small(path)?)))).transpose()
        })
    }

    /// Writes what `sealed` has sealed in the folder as it is. Blocks.
    ///
    /// # Errors
    /// What the system refuses, and damaged files; it may be called again.
    pub(crate) fn open_all(&self, sealed: &Self) -> io::Result<()> {
        let Some(seal) = &sealed.seal else { return Ok(()) };
        self.rewrite(|path| {
            if !name_of(path).ends_with(ENDING) {
                return Ok(None);
            }
            seal.read(path, &read_small(path)?).map(Some).ok_or_else(damaged)
        })
    }

    /// Writes anew, under this key, what `read` takes up, and removes the former file.
    fn rewrite(
        &self,
        read: impl Fn(&Path) -> io::Result<Option<(Owner, Zeroizing<Vec<u8>>)>>,
    ) -> io::Result<()> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        match std::fs::remove_file(self.folder.join(ASIDE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for path in entries.iter().map(std::fs::DirEntry::path).filter(|path| !path.ends_with(ASIDE)) {
            if let Some((owner, content)) = read(&path)? {
                self.write(&owner, &content)?;
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

impl Seal {
    fn write(&self, file: &mut File, path: &Path, owner: &Owner, content: &[u8]) -> io::Result<()> {
        let name = name_of(path);
        let head = [owner.author.0.as_slice(), &owner.id.0].concat();
        file.write_all(&self.chunks.seal(&context(&name, None, false), &head))?;
        let chunks = content.chunks(CHUNK);
        let last = chunks.len().saturating_sub(1);
        for (number, chunk) in chunks.enumerate() {
            file.write_all(&self.chunks.seal(&context(&name, Some(number), number == last), chunk))?;
        }
        Ok(())
    }

    fn owner(&self, path: &Path, head: &[u8]) -> Option<Owner> {
        let head = self.chunks.open(&context(&name_of(path), None, false), head)?;
        let (author, id) = head.split_first_chunk::<32>()?;
        Some(Owner { author: IdentityKey(*author), id: MessageId(id.try_into().ok()?) })
    }

    fn read(&self, path: &Path, bytes: &[u8]) -> Option<(Owner, Zeroizing<Vec<u8>>)> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let owner = self.owner(path, head)?;
        let mut content = Zeroizing::new(Vec::with_capacity(rest.len()));
        let chunks = rest.chunks(CHUNK + SEAL_OVERHEAD);
        let last = chunks.len().checked_sub(1)?;
        for (number, chunk) in chunks.enumerate() {
            let context = context(&name_of(path), Some(number), number == last);
            content.extend_from_slice(&self.chunks.open(&context, chunk)?);
        }
        Some((owner, content))
    }
}

/// What a chunk is bound to.
fn context(name: &str, number: Option<usize>, last: bool) -> Vec<u8> {
    let number = number.and_then(|number| u32::try_from(number).ok()).unwrap_or(u32::MAX);
    [name.as_bytes(), &number.to_be_bytes(), &[u8::from(last)]].concat()
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn plain_owner(path: &Path) -> Option<Owner> {
    let name = name_of(path);
    let (id, author) = name.split_once('-')?;
    Some(Owner { id: id.parse().ok()?, author: author.parse().ok()? })
}

fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > SIZE_MAX {
        return Err(damaged());
    }
    std::fs::read(path)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file is damaged, or sealed under another key")
}

/// Reads an attachment, a chunk at a time.
pub struct Reader {
    file: tokio::fs::File,
    opener: Option<Opener>,
    ended: bool,
}

struct Opener {
    seal: Seal,
    name: String,
    number: usize,
}

impl Reader {
    /// The next bytes, at most [`CHUNK`]; `None` at the end.
    ///
    /// # Errors
    /// What the system refuses, and a damaged or shortened file.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let size = CHUNK + self.opener.as_ref().map_or(0, |_| SEAL_OVERHEAD);
        let mut bytes = Vec::with_capacity(size);
        (&mut self.file).take(size as u64).read_to_end(&mut bytes).await?;
        let Some(opener) = &mut self.opener else {
            return Ok(if bytes.is_empty() { None } else { Some(bytes) });
        };
        let context = |last| context(&opener.name, Some(opener.number), last);
        let opened = match opener.seal.chunks.open(&context(false), &bytes) {
            Some(chunk) => chunk,
            None => {
                self.ended = true;
                opener.seal.chunks.open(&context(true), &bytes).ok_or_else(damaged)?
            }
        };
        opener.number += 1;
        Ok(Some(opened.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const OWNER: Owner = Owner { author: IdentityKey([1; 32]), id: MessageId([2; 16]) };

    fn key(byte: u8) -> StoreKey {
        StoreKey::new(Zeroizing::new([byte; 32]))
    }

    async fn content(files: &Files, owner: &Owner) -> io::Result<Vec<u8>> {
        let (mut reader, mut content) = (files.open(owner).await?, Vec::new());
        while let Some(chunk) = reader.chunk().await? {
            content.extend(chunk);
        }
        Ok(content)
    }

    #[tokio::test]
    async fn a_file_is_private_whole_and_counted() {
        for key in [None, Some(key(1))] {
            let dir = tempfile::tempdir().unwrap();
            let files = Files::new(dir.path(), key.as_ref());
            assert_eq!(files.bytes().unwrap(), 0);
            for size in [1, 4, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
                let bytes: Vec<u8> = (0..=255).cycle().take(size).collect();
                files.write(&OWNER, &bytes).unwrap();
                assert_eq!(content(&files, &OWNER).await.unwrap(), bytes, "{size}");
            }
            let path = files.path(&OWNER);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let folder = path.parent().unwrap();
            assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "nothing is left aside");
            assert!(files.bytes().unwrap() >= 3 * CHUNK as u64);
            files.remove(&OWNER).unwrap();
            files.remove(&OWNER).unwrap();
            assert_eq!(files.bytes().unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_cut_changed_or_exchanged_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), Some(&key(1)));
        let other = Owner { id: MessageId([3; 16]), ..OWNER };
        files.write(&OWNER, &vec![7; 2 * CHUNK]).unwrap();
        let path = files.path(&OWNER);
        let whole = std::fs::read(&path).unwrap();
        assert!(!path.to_string_lossy().contains("0101") && !whole.windows(8).any(|w| w == [7; 8]));
        for wrong in [
            whole[..HEAD + CHUNK + SEAL_OVERHEAD].to_vec(),
            whole[..whole.len() - 1].to_vec(),
            whole[..HEAD].to_vec(),
            [&whole[..HEAD], &whole[HEAD + CHUNK + SEAL_OVERHEAD..]].concat(),
        ] {
            std::fs::write(&path, wrong).unwrap();
            content(&files, &OWNER).await.unwrap_err();
        }
        std::fs::write(files.path(&other), &whole).unwrap();
        content(&files, &other).await.unwrap_err();
        std::fs::write(&path, &whole).unwrap();
        content(&Files::new(dir.path(), Some(&key(2))), &OWNER).await.unwrap_err();
        content(&files, &OWNER).await.unwrap();
    }

    #[tokio::test]
    async fn plain_files_are_sealed_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, sealed) = (Files::new(dir.path(), None), Files::new(dir.path(), Some(&key(1))));
        plain.write(&OWNER, b"soup").unwrap();
        std::fs::write(dir.path().join(FOLDER).join(ASIDE), b"so").unwrap();
        sealed.seal_all().unwrap();
        sealed.seal_all().unwrap();
        assert!(!plain.path(&OWNER).exists() && !dir.path().join(FOLDER).join(ASIDE).exists());
        assert_eq!(content(&sealed, &OWNER).await.unwrap(), b"soup");
        plain.open_all(&sealed).unwrap();
        assert!(!sealed.path(&OWNER).exists());
        assert_eq!(content(&plain, &OWNER).await.unwrap(), b"soup");
    }
}
