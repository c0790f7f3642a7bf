//! What the index says of itself: one value in sled, written with every change to the set of runs.

use std::collections::BTreeMap;

use crate::log::Position;
use crate::stored::{number, put_number};

/// 2 had the blocks in sled. An index of another version is made anew from the log.
const VERSION: u8 = 3;

/// One run: what is known of it without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RunMeta {
    /// Its number, never given again.
    pub(crate) number: u64,
    /// How many merges it has behind it, about.
    pub(crate) level: u64,
    /// Keys that have a value.
    pub(crate) values: u64,
    /// Keys that are gone.
    pub(crate) gone: u64,
    /// Blocks, which is as many as there are pointers.
    pub(crate) blocks: u64,
    /// Bytes of the file before the filter.
    pub(crate) data_bytes: u64,
    /// Bytes of the filter.
    pub(crate) filter_bytes: u64,
    /// CRC-32 of the filter.
    pub(crate) filter_checksum: u64,
    /// Sum of the mixed checksums of all pointers.
    pub(crate) pointers: u64,
}

impl RunMeta {
    const FIELDS: usize = 9;

    fn fields(self) -> [u64; Self::FIELDS] {
        let Self { number, level, values, gone, blocks, .. } = self;
        let Self { data_bytes, filter_bytes, filter_checksum, pointers, .. } = self;
        [number, level, values, gone, blocks, data_bytes, filter_bytes, filter_checksum, pointers]
    }

    fn of_fields(fields: [u64; Self::FIELDS]) -> Self {
        let [number, level, values, gone, blocks, data_bytes, filter_bytes, filter_checksum, pointers] =
            fields;
        Self { number, level, values, gone, blocks, data_bytes, filter_bytes, filter_checksum, pointers }
    }

    /// Length of its file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.data_bytes.saturating_add(self.filter_bytes)
    }
}

/// What the index says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// The log is to be read from here on top of it.
    pub(crate) position: Position,
    /// The runs, oldest first: the newest that knows a key is right.
    pub(crate) runs: Vec<RunMeta>,
    /// The number of the next run.
    pub(crate) next_run: u64,
    /// Bytes alive in each segment of the log at that position.
    pub(crate) live: BTreeMap<u64, u64>,
}

/// What an index begins with is not what this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAState {
    /// It was written by a program with another form of index.
    OtherVersion,
    /// Damaged.
    Damaged,
}

impl State {
    /// Blocks of all runs.
    pub(crate) fn blocks(&self) -> u64 {
        self.runs.iter().map(|run| run.blocks).sum()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_number(&mut out, self.position.segment);
        put_number(&mut out, self.position.offset);
        put_number(&mut out, self.next_run);
        put_number(&mut out, u64::try_from(self.runs.len()).unwrap_or(u64::MAX));
        for run in &self.runs {
            run.fields().into_iter().for_each(|field| put_number(&mut out, field));
        }
        for (segment, live) in &self.live {
            put_number(&mut out, *segment);
            put_number(&mut out, *live);
        }
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NotAState> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(NotAState::Damaged)?;
        if u32::from_be_bytes(*checksum) != crc32fast::hash(body) {
            return Err(NotAState::Damaged);
        }
        match body.split_first() {
            Some((&VERSION, rest)) => Self::decode_body(rest).ok_or(NotAState::Damaged),
            _ => Err(NotAState::OtherVersion),
        }
    }

    fn decode_body(mut rest: &[u8]) -> Option<Self> {
        let position = Position { segment: number(&mut rest)?, offset: number(&mut rest)? };
        let mut state = Self { position, next_run: number(&mut rest)?, ..Self::default() };
        for _ in 0..number(&mut rest)? {
            let mut fields = [0; RunMeta::FIELDS];
            for field in &mut fields {
                *field = number(&mut rest)?;
            }
            state.runs.push(RunMeta::of_fields(fields));
        }
        while !rest.is_empty() {
            state.live.insert(number(&mut rest)?, number(&mut rest)?);
        }
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_state_comes_back_and_damage_is_found() {
        let run = RunMeta::of_fields([1, 2, 300, 4, 5, 1 << 40, 7, u64::from(u32::MAX), u64::MAX]);
        let state = State {
            position: Position { segment: 7, offset: 9_000 },
            runs: vec![run, RunMeta::default()],
            next_run: 2,
            live: [(1, 5), (900, 0)].into(),
        };
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes).unwrap(), state);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            assert_eq!(State::decode(&wrong), Err(NotAState::Damaged));
            assert_eq!(State::decode(&bytes[..at]), Err(NotAState::Damaged));
        }
        let mut other = bytes[..bytes.len() - 4].to_vec();
        other[0] = 2;
        other.extend(crc32fast::hash(&other).to_be_bytes());
        assert_eq!(State::decode(&other), Err(NotAState::OtherVersion));
    }
}
