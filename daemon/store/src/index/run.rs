//! A run: what was written in some stretch of time, in the order of keys, in a file that is never changed.
//!
//! The file has 16 bytes (`CPrun001`, the run's number), then blocks, then the filter. It is written under another name and
//! has its own only when it is durable; it counts only when the [`State`](super::State) lists it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sled::{Batch, Tree};

use super::block::{BLOCK_BYTES_MAX, Change, Filling, decode, find};
use super::filter::{Filter, Hashed};
use super::pointers::{self, Pointer};
use super::state::RunMeta;
use crate::engine::EngineError;
use crate::layout::RUNS_DIR;
use crate::live::ReadError;
use crate::space::{self, Room};
use crate::stored::Stored;

const MAGIC: [u8; 8] = *b"CPrun001";
const HEAD: usize = 16;
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes read at once where all blocks are.
const PIECE_BYTES: usize = 64 << 10;
/// Pointers in one sled batch. Its memory grows fast with their number.
const BATCH: usize = 64;

/// What a checkpoint writes into: a file that has its room already.
pub(crate) const SPARE: &str = "spare";
/// What a merge writes into.
pub(crate) const MERGING: &str = "merging";

fn head(number: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MAGIC);
    head[8..].copy_from_slice(&number.to_be_bytes());
    head
}

/// The file of a run of the store in `dir`.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(RUNS_DIR).join(format!("{number:016x}"))
}

/// A run that can be read.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) meta: RunMeta,
    file: File,
    filter: Filter,
}

impl Run {
    /// Opens the run of the store in `dir` that is said to be there; `None` if the file is not that one.
    pub(crate) fn open(dir: &Path, meta: RunMeta) -> io::Result<Option<Self>> {
        let file = match File::open(path(dir, meta.number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() != meta.file_bytes() {
            return Ok(None);
        }
        let mut start = [0; HEAD];
        // Not more than the file has.
        let mut filter = vec![0; usize::try_from(meta.filter_bytes).unwrap_or_default()];
        file.read_exact_at(&mut start, 0)?;
        file.read_exact_at(&mut filter, meta.data_bytes)?;
        if start != head(meta.number) || u64::from(crc32fast::hash(&filter)) != meta.filter_checksum {
            return Ok(None);
        }
        Ok(Filter::from_bytes(&filter).map(|filter| Self { meta, file, filter }))
    }

    /// False only if the run certainly knows nothing of a key.
    pub(crate) fn may_have(&self, key: Hashed) -> bool {
        self.filter.may_have(key)
    }

    /// What the run knows of a key; `Some(None)` where it is gone.
    pub(crate) fn get(&self, tree: &Tree, key: &[u8]) -> Result<Option<Option<Stored>>, ReadError> {
        match pointers::find(tree, self.meta.number, key)? {
            Some(pointer) => Ok(find(&self.block(pointer)?, key)?),
            None => Ok(None),
        }
    }

    /// [`Run::get`] that looks into `block` first, and leaves there the entries of the block that it read, from `key` on.
    pub(crate) fn get_nearby<'a>(
        &self,
        tree: &Tree,
        key: &[u8],
        block: &'a mut Vec<Change>,
    ) -> Result<Option<Option<&'a Stored>>, ReadError> {
        let is_beside = match block.as_slice() {
            [(first, _), .., (last, _)] => first.as_slice() <= key && key <= last.as_slice(),
            _ => false,
        };
        if !is_beside {
            *block = match pointers::find(tree, self.meta.number, key)? {
                Some(pointer) => decode(&self.block(pointer)?, key)?,
                None => Vec::new(),
            };
        }
        let at = block.binary_search_by(|(there, _)| there.as_slice().cmp(key));
        Ok(at.ok().and_then(|at| block.get(at)).map(|(_, stored)| stored.as_ref()))
    }

    /// All it knows of keys from `from` on, in their order.
    pub(crate) fn scan(
        self: &Arc<Self>,
        tree: &Tree,
        from: &[u8],
    ) -> Result<impl Iterator<Item = Result<Change, ReadError>> + use<>, ReadError> {
        let pointers = pointers::from(tree, self.meta.number, from)?;
        let (run, from) = (Arc::clone(self), from.to_vec());
        let block = move |pointer: Result<Pointer, ReadError>| Ok(decode(&run.block(pointer?)?, &from)?);
        Ok(pointers.flat_map(move |pointer| match block(pointer) {
            Ok(entries) => Entries::These(entries.into_iter()),
            Err(error) => Entries::Error(Some(error)),
        }))
    }

    /// Reads a block and compares its checksum.
    fn block(&self, pointer: Pointer) -> Result<Vec<u8>, ReadError> {
        let length = usize::try_from(pointer.length).unwrap_or(usize::MAX);
        if length > BLOCK_BYTES_MAX {
            return Err(ReadError::Damaged);
        }
        let mut bytes = vec![0; length];
        match self.file.read_exact_at(&mut bytes, pointer.offset) {
            Ok(()) if crc32fast::hash(&bytes) == pointer.checksum => Ok(bytes),
            Ok(()) => Err(ReadError::Damaged),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReadError::Damaged),
            Err(error) => Err(error.into()),
        }
    }

    /// The pointers are those it was written with, and so is every block.
    pub(crate) fn is_whole(&self, tree: &Tree) -> Result<bool, ReadError> {
        let (mut blocks, mut sum) = (0_u64, 0_u64);
        let mut piece = Piece::default();
        for item in pointers::of_run(tree, self.meta.number) {
            let (key, value) = item?;
            blocks += 1;
            sum = sum.wrapping_add(pointers::share(&key, &value));
            let Ok(pointer) = pointers::decode(&value) else { return Ok(false) };
            let Some(block) = piece.block(&self.file, pointer)? else { return Ok(false) };
            if crc32fast::hash(block) != pointer.checksum {
                return Ok(false);
            }
        }
        Ok(blocks == self.meta.blocks && sum == self.meta.pointers)
    }
}

/// Some blocks in a row, read at once.
#[derive(Default)]
struct Piece {
    begin: u64,
    bytes: Vec<u8>,
}

impl Piece {
    /// A block's bytes; `None` where the file ends before.
    fn block(&mut self, file: &File, pointer: Pointer) -> io::Result<Option<&[u8]>> {
        let length = usize::try_from(pointer.length).unwrap_or(usize::MAX);
        if length > BLOCK_BYTES_MAX {
            return Ok(None);
        }
        let there = |piece: &Self| {
            let from = usize::try_from(pointer.offset.checked_sub(piece.begin)?).ok()?;
            from.checked_add(length).filter(|to| *to <= piece.bytes.len()).map(|to| from..to)
        };
        if there(self).is_none() {
            self.begin = pointer.offset;
            self.bytes.resize(PIECE_BYTES, 0);
            let read = read_up_to(file, &mut self.bytes, pointer.offset)?;
            self.bytes.truncate(read);
        }
        Ok(there(self).and_then(|range| self.bytes.get(range)))
    }
}

/// Fills as much of `into` as the file has.
fn read_up_to(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        match file.read_at(&mut into[done..], at) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The entries of one block, or why there are none.
enum Entries {
    These(std::vec::IntoIter<Change>),
    Error(Option<ReadError>),
}

impl Iterator for Entries {
    type Item = Result<Change, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::These(entries) => entries.next().map(Ok),
            Self::Error(error) => error.take().map(Err),
        }
    }
}

/// Where runs are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The store's directory.
    pub(crate) dir: &'a Path,
    pub(crate) tree: &'a Tree,
    /// sled's file, which gets room before each batch: a write that fails for want of it ends sled.
    pub(crate) sled: &'a File,
}

/// Writes a run. Its pointers go to sled meanwhile, where nobody looks for them until the run is listed.
pub(crate) struct RunWriter<'a> {
    place: Place<'a>,
    name: PathBuf,
    file: File,
    meta: RunMeta,
    filter: Filter,
    filling: Filling,
    buffer: Vec<u8>,
    batch: Batch,
    batched: usize,
}

impl<'a> RunWriter<'a> {
    /// Begins run `number` of at most `keys` keys in the file called `name`.
    pub(crate) fn begin(place: Place<'a>, name: &str, number: u64, keys: usize) -> Result<Self, EngineError> {
        let name = place.dir.join(RUNS_DIR).join(name);
        let file = open(&name).map_err(EngineError::Io)?;
        // An attempt that was given up may have left some.
        pointers::forget(place.tree, number)?;
        let meta = RunMeta { number, ..RunMeta::default() };
        let (filter, filling, batch) = (Filter::with_room(keys), Filling::default(), Batch::default());
        Ok(Self {
            place,
            name,
            file,
            meta,
            filter,
            filling,
            buffer: head(number).to_vec(),
            batch,
            batched: 0,
        })
    }

    /// Takes what became of a key, in the order of keys.
    pub(crate) fn push(&mut self, key: &[u8], stored: Option<&Stored>) -> Result<(), EngineError> {
        self.filling.push(key, stored);
        self.filter.add(key);
        match stored {
            Some(_) => self.meta.values += 1,
            None => self.meta.gone += 1,
        }
        if self.filling.is_full() { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), EngineError> {
        let (first, block) = self.filling.take();
        let pointer = Pointer {
            offset: self.meta.data_bytes + length(&self.buffer),
            length: length(&block),
            checksum: crc32fast::hash(&block),
        };
        self.buffer.extend_from_slice(&block);
        let (key, value) = pointer.encode(self.meta.number, &first);
        self.meta.blocks += 1;
        self.meta.pointers = self.meta.pointers.wrapping_add(pointers::share(&key, &value));
        self.batch.insert(key, value);
        self.batched += 1;
        if self.batched >= BATCH {
            self.write_pointers()?;
        }
        if self.buffer.len() >= BUFFER_BYTES { self.write_buffer() } else { Ok(()) }
    }

    fn write_pointers(&mut self) -> Result<(), EngineError> {
        match space::take(self.place.sled, space::INDEX).map_err(EngineError::Io)? {
            Room::Enough | Room::RemovalsOnly => {}
            Room::None => return Err(EngineError::Io(io::ErrorKind::StorageFull.into())),
        }
        self.batched = 0;
        Ok(self.place.tree.apply_batch(std::mem::take(&mut self.batch))?)
    }

    fn write_buffer(&mut self) -> Result<(), EngineError> {
        self.file.write_all_at(&self.buffer, self.meta.data_bytes).map_err(EngineError::Io)?;
        self.meta.data_bytes += length(&self.buffer);
        self.buffer.clear();
        Ok(())
    }

    /// Ends the run. It is durable under its own name when this returns; `None` if it would be empty.
    pub(crate) fn finish(mut self, level: u64) -> Result<Option<Run>, EngineError> {
        if !self.filling.is_empty() {
            self.end_block()?;
        }
        if self.meta.blocks == 0 {
            return Ok(None);
        }
        self.write_pointers()?;
        self.write_buffer()?;
        let filter = self.filter.to_bytes();
        self.meta.level = level;
        self.meta.filter_bytes = length(&filter);
        self.meta.filter_checksum = u64::from(crc32fast::hash(&filter));
        self.seal(&filter).map_err(EngineError::Io)?;
        let Self { meta, file, filter, .. } = self;
        Ok(Some(Run { meta, file, filter }))
    }

    fn seal(&self, filter: &[u8]) -> io::Result<()> {
        self.file.write_all_at(filter, self.meta.data_bytes)?;
        // Gives back the room that was not needed.
        self.file.set_len(self.meta.file_bytes())?;
        self.file.sync_all()?;
        fs::rename(&self.name, path(self.place.dir, self.meta.number))?;
        File::open(self.place.dir.join(RUNS_DIR))?.sync_all()
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Opens a file to be written from its beginning, with the room it may have beyond its end.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.len() > 0 {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Takes room for the next checkpoint, as far as there is: on a full disk it can still be made.
pub(crate) fn take_spare(dir: &Path, bytes: u64) {
    let taken = open(&dir.join(RUNS_DIR).join(SPARE)).and_then(|file| space::hold(&file, bytes));
    if let Err(error) = taken {
        tracing::debug!(%error, "no room is held for the index");
    }
}
