//! Cleaning the log: the oldest segment goes, after what it holds alive was written again at the end.

use std::fs;
use std::ops::Range;
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::checkpoint::checkpoint;
use crate::error::StoreError;
use crate::layout::is_index;
use crate::live::Live;
use crate::log::group::{SEGMENT_HEAD, group_at, next_group, records};
use crate::log::place;
use crate::stored::Stored;
use crate::writer::Message;

/// Bytes that are asked to be written again at a time: others' writes go between.
const MOVE_BYTES: usize = 128 << 10;
/// Keys that are looked up at a time: what others have written becomes visible between.
const LOOK_UPS: usize = 16;
/// Bytes of the log whose keys are put in order: enough for neighbours, and little memory.
const STRETCH: usize = 1 << 20;

/// Lets go of the oldest segment. False if it cannot be now: it is the one being written.
pub(crate) fn oldest(live: &Live, queue: &SyncSender<Message>) -> Result<bool, StoreError> {
    let Some((number, _)) = live.log.segments().pop_first() else { return Ok(false) };
    let checkpointed =
        || live.beside(|parts| parts.index.as_ref().map_or(0, |index| index.state().position.segment));
    if number >= checkpointed() {
        checkpoint(live)?;
        if number >= checkpointed() {
            // Nothing was written into a later segment yet.
            return begin_next(queue, number)
                .and_then(|()| checkpoint(live))
                .map(|()| number < checkpointed());
        }
    }
    // Whatever was counted: only what has been looked up and is not the newest goes.
    move_all(live, queue, number)?;
    // Whoever has found a place in it has read it before this lock is given.
    let removed = live.change(|_| live.log.remove(number));
    removed.map_err(|error| StoreError::file("remove", live.log.path(number), error))?;
    Ok(true)
}

fn begin_next(queue: &SyncSender<Message>, behind: u64) -> Result<(), StoreError> {
    let (answer, done) = sync_channel(1);
    queue.send(Message::Roll { behind, answer }).map_err(|_| StoreError::Closed)?;
    done.recv().unwrap_or(Err(StoreError::Closed))
}

fn move_all(live: &Live, queue: &SyncSender<Message>, number: u64) -> Result<(), StoreError> {
    let path = live.log.path(number);
    let bytes = fs::read(&path).map_err(|error| StoreError::file("read", &path, error))?;
    let (mut at, mut moving, mut size) = (SEGMENT_HEAD, Vec::new(), 0);
    while at < bytes.len() {
        let values;
        (values, at) = last_values(&bytes, number, at);
        for values in values.chunks(LOOK_UPS) {
            for (key, stored) in alive(live, &bytes, number, values)? {
                size += key.len() + stored.length();
                moving.push((key, stored));
            }
            if size >= MOVE_BYTES {
                ask(queue, std::mem::take(&mut moving))?;
                size = 0;
            }
        }
    }
    ask(queue, moving)
}

/// A key, and where in a segment's bytes its value is.
type Value<'a> = (&'a [u8], Range<usize>);

/// The keys to which the groups from `at` on, [`STRETCH`] bytes of them, leave a value, in their order, and where in the
/// segment's bytes that is; and where the next groups begin. An earlier value of the same key cannot be alive.
fn last_values(bytes: &[u8], segment: u64, mut at: usize) -> (Vec<Value<'_>>, usize) {
    let (end, mut writes) = (at + STRETCH, Vec::new());
    while at < end {
        let group = next_group(bytes, segment, at).and_then(|start| group_at(bytes, segment, start));
        let Some(group) = group else {
            at = bytes.len();
            break;
        };
        at = group.records.end;
        writes.extend(records(bytes, &group).filter(|(key, _)| !is_index(key)));
    }
    // Stable, so that the last of each key is the newest.
    writes.sort_by_key(|(key, _)| *key);
    let lasts = writes.chunk_by(|one, other| one.0 == other.0).filter_map(|same| same.last().cloned());
    (lasts.filter_map(|(key, range)| Some((key, range?))).collect(), at)
}

/// Those that are the newest of their keys, with what is known of them.
fn alive(
    live: &Live,
    bytes: &[u8],
    segment: u64,
    values: &[Value<'_>],
) -> Result<Vec<(Vec<u8>, Stored)>, StoreError> {
    live.read("record", |view| {
        let mut newest = view.nearby();
        let mut alive = Vec::new();
        for (key, range) in values {
            let offset = u64::try_from(range.start).unwrap_or(u64::MAX);
            let stored = place(segment, key, bytes.get(range.clone()).unwrap_or_default(), offset);
            if newest.get(key)?.as_ref() == Some(&stored) {
                alive.push((key.to_vec(), stored));
            }
        }
        Ok(alive)
    })
}

fn ask(queue: &SyncSender<Message>, moving: Vec<(Vec<u8>, Stored)>) -> Result<(), StoreError> {
    if moving.is_empty() {
        return Ok(());
    }
    let (answer, done) = sync_channel(1);
    queue.send(Message::Move { moving, answer }).map_err(|_| StoreError::Closed)?;
    done.recv().unwrap_or(Err(StoreError::Closed))
}
