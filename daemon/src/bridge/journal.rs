//! The acceptance log: what each of several instances has written into its ledger, for the others to write into theirs.
//!
//! A folder that all instances share has files `INSTANCE.NUMBER.log`, each written by one instance. A frame is u32 length
//! ‖ u32 CRC-32 ‖ a protobuf message with the operations of one transaction; numbers are big-endian. An instance says
//! nothing about a transaction before its frame is synced. It reads the others' files from where it stopped, and keeps
//! that place in the same transaction as what it read, so that nothing is lost or read twice whatever is killed when.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pigeon_store::{RecordOp, Table};
use prost::Message as _;
use tokio::sync::oneshot;

/// A file is followed by the next above this size, bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// A file stays this long after its last frame: longer than any record (30 days of life, and two of skew).
const KEEP: Duration = Duration::from_secs(36 * 86_400);
/// Largest frame, bytes: a bundle of 96 KiB with its record is far below.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most frames that are synced together.
const GROUP_MAX: usize = 256;
/// Most bytes read of one file in one step.
const STEP_BYTES_MAX: u64 = 4 << 20;
const HEAD: usize = 8;
const SUFFIX: &str = "log";

#[derive(Clone, PartialEq, prost::Message)]
struct FrameWire {
    #[prost(message, repeated, tag = "1")]
    ops: Vec<OpWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OpWire {
    #[prost(uint32, tag = "1")]
    table: u32,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    /// Absent: the key is deleted.
    #[prost(bytes = "vec", optional, tag = "3")]
    value: Option<Vec<u8>>,
}

/// Why the log cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the shared log {path}: {detail}\nhelp: all instances must be able to read and write shared.dir, with space left"
)]
pub struct JournalError {
    /// File or folder.
    pub path: String,
    /// What the system said.
    pub detail: String,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> JournalError {
    move |error| JournalError { path: path.display().to_string(), detail: error.to_string() }
}

type Entry = (Vec<u8>, oneshot::Sender<Result<(), JournalError>>);

/// The log as one instance writes and reads it. Clones share it.
#[derive(Clone)]
pub struct Journal {
    dir: PathBuf,
    instance: String,
    entries: mpsc::Sender<Entry>,
}

/// What another instance has written.
pub struct News {
    /// Its file's name.
    pub file: String,
    /// Where the next reading begins.
    pub offset: u64,
    /// The operations, in order.
    pub ops: Vec<RecordOp>,
}

impl Journal {
    /// Opens the own file of `instance` in `dir`, and cuts off what a crash has left at its end. Blocks.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(dir: &Path, instance: &str) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(failed(dir))?;
        let mut writer = Writer::open(dir, instance)?;
        let (entries, queue) = mpsc::channel::<Entry>();
        thread::spawn(move || {
            while let Ok(first) = queue.recv() {
                let group: Vec<Entry> =
                    std::iter::once(first).chain(queue.try_iter().take(GROUP_MAX - 1)).collect();
                let outcome = writer.append(group.iter().map(|(frame, _)| frame.as_slice()));
                for (_, written) in group {
                    // Whoever waited may have been stopped.
                    let _ = written.send(outcome.clone());
                }
            }
        });
        Ok(Self { dir: dir.to_owned(), instance: instance.to_owned(), entries })
    }

    /// Queues a transaction at once; the future ends when it is synced.
    pub fn append(
        &self,
        ops: &[RecordOp],
    ) -> impl Future<Output = Result<(), JournalError>> + Send + 'static + use<> {
        let (written, done) = oneshot::channel();
        let gone =
            JournalError { path: self.dir.display().to_string(), detail: "its writer has ended".to_owned() };
        let queued = self.entries.send((frame(ops), written));
        async move {
            queued.map_err(|_| gone.clone())?;
            done.await.map_err(|_| gone)?
        }
    }

    /// What the other instances have written after `offsets`, at most a few MiB of each file.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn news(&self, offsets: impl Fn(&str) -> u64) -> Result<Vec<News>, JournalError> {
        let mut news = Vec::new();
        for (path, name) in files(&self.dir)? {
            if instance_of(&name) == Some(self.instance.as_str()) {
                continue;
            }
            let start = offsets(&name);
            // A file that another instance removes meanwhile is too old to matter.
            let Ok(mut file) = File::open(&path) else { continue };
            if file.metadata().map_err(failed(&path))?.len() <= start {
                continue;
            }
            let (ops, read) = read(&mut file, start).map_err(failed(&path))?;
            if read > 0 {
                news.push(News { file: name, offset: start + read, ops });
            }
        }
        Ok(news)
    }
}

/// Complete frames from `start` on: their operations, and their bytes.
fn read(file: &mut File, start: u64) -> io::Result<(Vec<RecordOp>, u64)> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(STEP_BYTES_MAX).read_to_end(&mut bytes)?;
    let (mut ops, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((found, behind)) = unframe(rest) {
        ops.extend(found);
        rest = behind;
    }
    Ok((ops, (bytes.len() - rest.len()) as u64))
}

fn frame(ops: &[RecordOp]) -> Vec<u8> {
    let wire = |op: &RecordOp| match op {
        RecordOp::Put { table, key, value } => {
            OpWire { table: u32::from(*table as u8), key: key.clone(), value: Some(value.clone()) }
        }
        RecordOp::Delete { table, key } => {
            OpWire { table: u32::from(*table as u8), key: key.clone(), value: None }
        }
    };
    let body = FrameWire { ops: ops.iter().map(wire).collect() }.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length, &crc32fast::hash(&body).to_be_bytes(), body.as_slice()].concat()
}

/// The first frame's operations, and what is behind it. `None` at the end, or where a frame is not complete (yet).
fn unframe(bytes: &[u8]) -> Option<(Vec<RecordOp>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (length, crc) = head.split_at(4);
    let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    let (body, behind) = rest.split_at_checked(length).filter(|_| length <= FRAME_BYTES_MAX)?;
    if crc32fast::hash(body).to_be_bytes() != crc {
        return None;
    }
    let op = |wire: OpWire| {
        let table = *Table::ALL.iter().find(|table| u32::from(**table as u8) == wire.table)?;
        Some(match wire.value {
            Some(value) => RecordOp::Put { table, key: wire.key, value },
            None => RecordOp::Delete { table, key: wire.key },
        })
    };
    // A table of a newer version is none of this instance's business.
    Some((FrameWire::decode(body).ok()?.ops.into_iter().filter_map(op).collect(), behind))
}

/// The log's files by name, which is their order in time for each instance.
fn files(dir: &Path) -> Result<BTreeMap<PathBuf, String>, JournalError> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        if path.extension().is_some_and(|suffix| suffix == SUFFIX)
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            files.insert(path.clone(), name.to_owned());
        }
    }
    Ok(files)
}

/// `b0` of `b0.00000007.log`.
fn instance_of(name: &str) -> Option<&str> {
    name.rsplitn(3, '.').nth(2)
}

/// The own file.
struct Writer {
    dir: PathBuf,
    instance: String,
    number: u32,
    file: File,
    bytes: u64,
}

impl Writer {
    fn open(dir: &Path, instance: &str) -> Result<Self, JournalError> {
        let own = files(dir)?;
        let own = own.values().filter(|name| instance_of(name) == Some(instance));
        let number = own.filter_map(|name| name.rsplit('.').nth(1)?.parse().ok()).max().unwrap_or(0);
        let mut writer = Self::create(dir, instance, number)?;
        let path = writer.path();
        // What is behind the last complete frame was never said to anybody.
        let mut end = 0;
        loop {
            let (_, read) = read(&mut writer.file, end).map_err(failed(&path))?;
            if read == 0 {
                break;
            }
            end += read;
        }
        writer.file.set_len(end).map_err(failed(&path))?;
        writer.bytes = end;
        Ok(writer)
    }

    fn create(dir: &Path, instance: &str, number: u32) -> Result<Self, JournalError> {
        let path = dir.join(file_name(instance, number));
        let file =
            OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(failed(&path))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))?;
        Ok(Self { dir: dir.to_owned(), instance: instance.to_owned(), number, file, bytes: 0 })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(file_name(&self.instance, self.number))
    }

    fn append<'a>(&mut self, frames: impl Iterator<Item = &'a [u8]>) -> Result<(), JournalError> {
        let path = self.path();
        let frames: Vec<u8> = frames.flatten().copied().collect();
        self.file.write_all(&frames).and_then(|()| self.file.sync_data()).map_err(failed(&path))?;
        self.bytes += frames.len() as u64;
        if self.bytes > FILE_BYTES_MAX {
            *self = Self::create(&self.dir, &self.instance, self.number.saturating_add(1))?;
            self.forget_old();
        }
        Ok(())
    }

    /// Removes own files in which every record has expired.
    fn forget_old(&self) {
        let Ok(files) = files(&self.dir) else { return };
        for (path, name) in files {
            let age =
                fs::metadata(&path).and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
            if instance_of(&name) == Some(self.instance.as_str()) && age.is_some_and(|age| age > KEEP) {
                // It is looked at again with the next file.
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn file_name(instance: &str, number: u32) -> String {
    format!("{instance}.{number:08}.{SUFFIX}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn put(n: u8) -> RecordOp {
        RecordOp::Put { table: Table::BridgeSeen, key: vec![n], value: vec![n; 3] }
    }

    #[tokio::test]
    async fn others_read_what_one_wrote_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Journal::open(dir.path(), "a").unwrap(), Journal::open(dir.path(), "b").unwrap());
        let gone = RecordOp::Delete { table: Table::BridgeQueue, key: vec![9] };
        a.append(&[put(1), gone.clone()]).await.unwrap();
        a.append(&[put(2)]).await.unwrap();
        let news = b.news(|_| 0).unwrap();
        assert_eq!(news.len(), 1);
        assert_eq!(news[0].ops, [put(1), gone, put(2)]);
        assert!(b.news(|_| news[0].offset).unwrap().is_empty());
        assert!(a.news(|_| 0).unwrap().is_empty());
        a.append(&[put(3)]).await.unwrap();
        assert_eq!(b.news(|_| news[0].offset).unwrap()[0].ops, [put(3)]);
    }

    #[tokio::test]
    async fn a_torn_end_is_not_read_and_is_cut_off_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        Journal::open(dir.path(), "a").unwrap().append(&[put(1)]).await.unwrap();
        let path = dir.path().join("a.00000000.log");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [whole.as_slice(), &whole[..whole.len() - 1]].concat()).unwrap();
        let b = Journal::open(dir.path(), "b").unwrap();
        assert_eq!(b.news(|_| 0).unwrap()[0].offset, whole.len() as u64);
        Journal::open(dir.path(), "a").unwrap().append(&[put(2)]).await.unwrap();
        assert_eq!(b.news(|_| 0).unwrap()[0].ops, [put(1), put(2)]);
    }
}
