//! The log: an append-only sequence of segments that holds everything, and what of it is still needed.
//!
//! One thread appends. A group that was synced is never written again; a write that fails is cut off. Segments go in
//! their order, the oldest first: a removal recorded in a segment is needed as long as an older one may have what was
//! removed. What the oldest still holds alive is written again at the end before it goes.

pub(crate) mod group;
pub(crate) mod replay;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::layout::{LOG_DIR, SCHEMA_VERSION, is_index};
use crate::live::ReadError;
use crate::stored::{HERE_MAX, Place, Stored, checksum};
use group::{GroupHead, SEGMENT_HEAD, Write, encode, schema_of, segment_head};

/// Open segments kept for reading.
const FILES_MAX: usize = 32;
/// Unit of `st_blocks`.
const SECTOR: u64 = 512;
/// Bytes beyond its end that a segment may keep.
const ROOM_MAX: u64 = 64 << 10;

/// A place between two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// Bytes of one segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Use {
    /// Length of the file.
    pub(crate) length: u64,
    /// Keys and values that are still the newest.
    pub(crate) live: u64,
}

/// What all threads know of the log: which segments there are, how much of each is alive, and how to read them.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    /// A segment that has reached this many bytes takes no further group.
    pub(crate) segment_bytes: u64,
    segments: Mutex<BTreeMap<u64, Use>>,
    files: Mutex<BTreeMap<u64, Arc<File>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both hold plain numbers and handles that are whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Room that was taken beyond a segment's end goes back when its use has ended by a crash.
fn give_back_room(path: &Path, metadata: &fs::Metadata) {
    if metadata.blocks() * SECTOR < metadata.len() + ROOM_MAX {
        return;
    }
    let shortened = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(metadata.len()));
    if let Err(error) = shortened {
        tracing::debug!(%error, "giving back the room of an earlier segment");
    }
}

impl Log {
    /// Makes the log's directory if need be, and lists what is there. Nothing counts as alive yet.
    pub(crate) fn open(store: &Path, segment_bytes: u64) -> io::Result<Self> {
        let dir = store.join(LOG_DIR);
        if !dir.exists() {
            fs::create_dir(&dir)?;
        }
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().filter(|name| name.len() == 16);
            if let Some(number) = number.and_then(|name| u64::from_str_radix(name, 16).ok()) {
                let metadata = entry.metadata()?;
                segments.insert(number, Use { length: metadata.len(), live: 0 });
                give_back_room(&entry.path(), &metadata);
            }
        }
        Ok(Self { dir, segment_bytes, segments: Mutex::new(segments), files: Mutex::default() })
    }

    /// The version of the newest segment, if it is one that this program does not know.
    pub(crate) fn newer_schema(&self) -> io::Result<Option<u32>> {
        let mut head = [0; SEGMENT_HEAD];
        let Some((last, _)) = self.segments().pop_last() else { return Ok(None) };
        match File::open(self.path(last))?.read_exact_at(&mut head, 0) {
            Ok(()) => Ok(schema_of(&head).filter(|schema| *schema > SCHEMA_VERSION)),
            Err(_) => Ok(None),
        }
    }

    /// The log's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of a segment.
    pub(crate) fn path(&self, segment: u64) -> PathBuf {
        self.dir.join(format!("{segment:016x}"))
    }

    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> BTreeMap<u64, Use> {
        lock(&self.segments).clone()
    }

    /// Bytes of all segments.
    pub(crate) fn total(&self) -> Use {
        let segments = lock(&self.segments);
        let sum = |of: fn(&Use) -> u64| segments.values().map(of).sum();
        Use { length: sum(|segment| segment.length), live: sum(|segment| segment.live) }
    }

    /// A value became the newest of its key.
    pub(crate) fn came(&self, key: &[u8], stored: &Stored) {
        self.count(key, stored, |live, weight| live.saturating_add(weight));
    }

    /// A value is no longer the newest of its key.
    pub(crate) fn went(&self, key: &[u8], stored: &Stored) {
        self.count(key, stored, u64::saturating_sub);
    }

    fn count(&self, key: &[u8], stored: &Stored, change: impl Fn(u64, u64) -> u64) {
        let weight = stored.weight(key);
        if weight > 0
            && let Some(segment) = lock(&self.segments).get_mut(&stored.segment())
        {
            segment.live = change(segment.live, weight);
        }
    }

    /// Bytes alive in each segment.
    pub(crate) fn live_bytes(&self) -> BTreeMap<u64, u64> {
        lock(&self.segments).iter().map(|(number, used)| (*number, used.live)).collect()
    }

    /// Takes over what was counted before.
    pub(crate) fn set_live_bytes(&self, counted: &BTreeMap<u64, u64>) {
        for (number, used) in lock(&self.segments).iter_mut() {
            used.live = counted.get(number).copied().unwrap_or_default();
        }
    }

    /// Counts nothing as alive any more, to count anew.
    pub(crate) fn forget_live(&self) {
        lock(&self.segments).values_mut().for_each(|segment| segment.live = 0);
    }

    /// The value of a key, wherever it is.
    pub(crate) fn load(&self, key: &[u8], stored: &Stored) -> Result<Vec<u8>, ReadError> {
        let place = match stored {
            Stored::Here { bytes, .. } => return Ok(bytes.to_vec()),
            Stored::Far(place) => place,
        };
        let mut value = vec![0; stored.length()];
        let file = self.file(place.segment)?;
        match file.read_exact_at(&mut value, place.offset) {
            Ok(()) if checksum(key, &value) == place.checksum => Ok(value),
            Ok(()) => Err(ReadError::Damaged),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReadError::Damaged),
            Err(error) => Err(error.into()),
        }
    }

    fn file(&self, segment: u64) -> Result<Arc<File>, ReadError> {
        let mut files = lock(&self.files);
        if let Some(file) = files.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = match File::open(self.path(segment)) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReadError::Damaged),
            Err(error) => return Err(error.into()),
        };
        if files.len() >= FILES_MAX {
            files.clear();
        }
        files.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// Removes a segment's file.
    pub(crate) fn remove(&self, segment: u64) -> io::Result<()> {
        lock(&self.files).remove(&segment);
        fs::remove_file(self.path(segment))?;
        lock(&self.segments).remove(&segment);
        Ok(())
    }

    /// Makes the names of segments durable.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

/// The end of the log, held by whoever writes.
#[derive(Debug)]
pub(crate) struct Appender {
    log: Arc<Log>,
    file: File,
    segment: u64,
    end: u64,
}

impl Appender {
    /// Begins a segment behind all there are. Its name and head are durable when this returns: a group that a power cut
    /// leaves without the head before it would look like damage.
    pub(crate) fn begin(log: &Arc<Log>) -> io::Result<Self> {
        let segment = lock(&log.segments).keys().next_back().map_or(1, |last| last + 1);
        let path = log.path(segment);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let head = file.write_all_at(&segment_head(segment), 0).and_then(|()| file.sync_data());
        let begun = head.and_then(|()| log.sync_names());
        if let Err(error) = begun {
            // Nothing refers to it: a full disk had no room for its head.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let end = u64::try_from(SEGMENT_HEAD).unwrap_or(u64::MAX);
        lock(&log.segments).insert(segment, Use { length: end, live: 0 });
        Ok(Self { log: Arc::clone(log), file, segment, end })
    }

    /// The file that a commit syncs.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The file's path.
    pub(crate) fn path(&self) -> PathBuf {
        self.log.path(self.segment)
    }

    /// Behind the last group.
    pub(crate) fn position(&self) -> Position {
        Position { segment: self.segment, offset: self.end }
    }

    /// The segment has its size.
    pub(crate) fn is_full(&self) -> bool {
        self.end >= self.log.segment_bytes
    }

    /// Hands a group to the kernel; returns where each value is now. With an error the log ends where it ended before.
    pub(crate) fn append(&mut self, head: GroupHead, writes: &[Write]) -> io::Result<Vec<Option<Stored>>> {
        let (bytes, places) = encode(self.segment, head, writes);
        if let Err(error) = self.file.write_all_at(&bytes, self.end) {
            // If this fails too, the next group is written over what is there now.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        let place = |(key, value): &Write, offset: usize| {
            let offset = self.end + u64::try_from(offset).unwrap_or(u64::MAX);
            value.as_ref().map(|value| place(self.segment, key, value, offset))
        };
        let stored = writes.iter().zip(&places).map(|(write, range)| place(write, range.start)).collect();
        self.end += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if let Some(segment) = lock(&self.log.segments).get_mut(&self.segment) {
            segment.length = self.end;
        }
        Ok(stored)
    }
}

/// How a value that lies in the log at `offset` is kept.
pub(crate) fn place(segment: u64, key: &[u8], value: &[u8], offset: u64) -> Stored {
    if value.len() <= HERE_MAX {
        // Keys that follow from others keep no segment.
        let segment = if is_index(key) { 0 } else { segment };
        return Stored::Here { segment, bytes: value.into() };
    }
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    Stored::Far(Place { segment, offset, length, checksum: checksum(key, value) })
}
