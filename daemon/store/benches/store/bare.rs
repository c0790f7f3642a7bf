//! The baseline: append and `fdatasync`, nothing else.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use pigeon_bundle::Bundle;

const TMPFS: rustix::fs::FsWord = 0x0102_1994;
/// File systems by the numbers that Linux gives them.
const NAMES: [(rustix::fs::FsWord, &str); 5] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0xf2f5_2010, "f2fs"),
    (0x794c_7630, "overlay"),
];
const SYNCS: u32 = 200;

/// A bare file.
pub(crate) struct Bare(File);

impl Bare {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(File::create(dir.join("bare")).unwrap())
    }

    /// Seconds to append bundles, synced after each `group`.
    pub(crate) fn append(&mut self, bundles: &[Bundle], group: usize) -> f64 {
        let start = Instant::now();
        for group in bundles.chunks(group) {
            let bytes: Vec<u8> = group.iter().flat_map(|bundle| bundle.as_bytes().to_vec()).collect();
            self.0.write_all(&bytes).unwrap();
            self.0.sync_data().unwrap();
        }
        start.elapsed().as_secs_f64()
    }
}

/// File system and sync rate of a directory. Refuses one where a sync costs nothing.
pub(crate) fn describe(dir: &Path) -> String {
    let kind = rustix::fs::statfs(dir).unwrap().f_type;
    assert_ne!(kind, TMPFS, "{} is a tmpfs, where a sync costs nothing: give --dir on a disk", dir.display());
    let name = NAMES.iter().find(|(number, _)| *number == kind);
    let name = name.map_or_else(|| format!("file system {kind:#x}"), |(_, name)| (*name).to_owned());
    let mut file = tempfile::tempfile_in(dir).unwrap();
    let start = Instant::now();
    for _ in 0..SYNCS {
        file.write_all(&[7; 4_096]).unwrap();
        file.sync_data().unwrap();
    }
    format!(
        "{name}, {:.0} appends of 4 KiB with fdatasync a second",
        f64::from(SYNCS) / start.elapsed().as_secs_f64()
    )
}
