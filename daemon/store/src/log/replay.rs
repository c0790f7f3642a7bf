//! Reading the log again, from a position to its end.

use std::fs::{self, File, OpenOptions};
use std::io;
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
        let bytes = fs::read(log.path(*number))?;
        let start =
            if *number == from.segment { usize::try_from(from.offset).unwrap_or(usize::MAX) } else { 0 };
        let mut start = start.max(SEGMENT_HEAD);
        let mut damaged = 0;
        // Of a segment without a group not even the head was synced.
        let head_is_wrong = bytes.get(..SEGMENT_HEAD) != Some(segment_head(*number).as_slice());
        if head_is_wrong && next_group(&bytes, *number, 0).is_some() {
            damaged += SEGMENT_HEAD;
        }
        while start < bytes.len() {
            if let Some(group) = group_at(&bytes, *number, start) {
                found.last = Some(group.head);
                start = group.records.end;
                let offset = u64::try_from(start).unwrap_or(u64::MAX);
                apply(Position { segment: *number, offset }, writes(&bytes, *number, &group))?;
                continue;
            }
            let next = next_group(&bytes, *number, start + 1);
            let is_end = next.is_none() && segments[at + 1..].iter().all(|later| is_empty(log, *later));
            let gap = next.unwrap_or(bytes.len()) - start;
            if is_end {
                found.torn += u64::try_from(gap).unwrap_or(u64::MAX);
                cut(log, *number, start)?;
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
    if let Some(last) = segments.last() {
        File::open(log.path(*last))?.sync_all()?;
    }
    Ok(found)
}

fn writes(bytes: &[u8], segment: u64, group: &Group) -> Vec<Replayed> {
    let stored = |(key, value): (&[u8], Option<std::ops::Range<usize>>)| {
        let stored = value.and_then(|range| {
            let offset = u64::try_from(range.start).ok()?;
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

fn cut(log: &Log, segment: u64, at: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(log.path(segment))?;
    let length = u64::try_from(at).unwrap_or(u64::MAX);
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
