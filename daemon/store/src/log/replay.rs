//! Reading the log again, from a position to its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::group::{Group, GroupHead, SEGMENT_HEAD, group_at, next_group, records, segment_head};
use super::{Log, Position, place};
use crate::quarantine::free_name;
use crate::stored::Stored;

/// A write read from the log.
pub(crate) type Replayed = (Vec<u8>, Option<Stored>);

/// What reading the log found.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Of the last group; `None` where there was none.
    pub(crate) last: Option<GroupHead>,
    /// Bytes at the end that were written and never synced.
    pub(crate) torn: u64,
    /// Bytes with damage before the end: what they held is missing.
    pub(crate) damaged: u64,
    /// Copies of segments with damage.
    pub(crate) aside: Option<PathBuf>,
}

/// Reads every group from `from` on, in order, and gives the writes of each to `apply`. The end of the last segment that
/// is no whole group is cut off: it was never acknowledged. What is there is durable when this returns: a process that was
/// killed may have left a group that was written and not synced, and what is written from now on builds on it.
pub(crate) fn replay<E: From<io::Error>>(
    log: &Log,
    from: Position,
    mut apply: impl FnMut(Position, Vec<Replayed>) -> Result<(), E>,
) -> Result<Replay, E> {
    let mut found = Replay::default();
    let segments: Vec<u64> =
        log.segments().keys().copied().filter(|number| *number >= from.segment).collect();
    for (at, number) in segments.iter().enumerate() {
        // Of the first one only what comes behind `from`, as if the rest were not there.
        let base = if *number == from.segment { from.offset } else { 0 };
        let bytes = read_from(log, *number, base)?;
        let mut start = if base == 0 { SEGMENT_HEAD } else { 0 };
        let mut damaged = 0;
        // Of a segment without a group not even the head was synced.
        let head_is_wrong = base == 0 && bytes.get(..SEGMENT_HEAD) != Some(segment_head(*number).as_slice());
        if head_is_wrong && next_group(&bytes, *number, 0).is_some() {
            damaged += SEGMENT_HEAD;
        }
        while start < bytes.len() {
            if let Some(group) = group_at(&bytes, *number, start) {
                found.last = Some(group.head);
                start = group.records.end;
                let offset = base + u64::try_from(start).unwrap_or(u64::MAX);
                apply(Position { segment: *number, offset }, writes(&bytes, base, *number, &group))?;
                continue;
            }
            let next = next_group(&bytes, *number, start + 1);
            let is_end = next.is_none() && segments[at + 1..].iter().all(|later| is_empty(log, *later));
            let gap = next.unwrap_or(bytes.len()) - start;
            if is_end {
                found.torn += u64::try_from(gap).unwrap_or(u64::MAX);
                cut(log, *number, base + u64::try_from(start).unwrap_or(u64::MAX))?;
                break;
            }
            damaged += gap;
            start += gap;
        }
        if damaged > 0 {
            found.damaged += u64::try_from(damaged).unwrap_or(u64::MAX);
            found.aside = Some(keep_copy(log, *number)?);
        }
    }
    // What is said to be the end was written when all before it was durable.
    let is_closed = found.torn == 0 && found.last.is_some_and(|last| last.closed);
    if let Some(last) = segments.last().filter(|_| !is_closed) {
        File::open(log.path(*last))?.sync_all()?;
    }
    Ok(found)
}

/// The bytes of a segment from an offset on.
fn read_from(log: &Log, segment: u64, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(log.path(segment))?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn writes(bytes: &[u8], base: u64, segment: u64, group: &Group) -> Vec<Replayed> {
    let stored = |(key, value): (&[u8], Option<std::ops::Range<usize>>)| {
        let stored = value.and_then(|range| {
            let offset = base + u64::try_from(range.start).ok()?;
            Some(place(segment, key, bytes.get(range)?, offset))
        });
        (key.to_vec(), stored)
    };
    records(bytes, group).map(stored).collect()
}

/// A segment with no whole group: a cut came before its first sync.
fn is_empty(log: &Log, segment: u64) -> bool {
    fs::read(log.path(segment)).is_ok_and(|bytes| next_group(&bytes, segment, 0).is_none())
}

fn cut(log: &Log, segment: u64, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(log.path(segment))?;
    file.set_len(length)?;
    file.sync_all()?;
    if let Some(segment) = super::lock(&log.segments).get_mut(&segment) {
        segment.length = length;
    }
    Ok(())
}

fn keep_copy(log: &Log, segment: u64) -> io::Result<PathBuf> {
    let store = log.dir().parent().unwrap_or(log.dir());
    let aside = free_name(store, super::LOG_DIR);
    fs::copy(log.path(segment), &aside)?;
    Ok(aside)
}
