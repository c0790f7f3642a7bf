//! What somebody finds who reads a disk byte by byte.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::path::{Path, PathBuf};

/// All files below `dir`.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found
}

/// Whether the bytes are in any file below `dir`, or in a name.
pub fn shows(dir: &Path, bytes: &[u8]) -> bool {
    files(dir).iter().any(|path| {
        let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
        contains(name.as_bytes(), bytes) || contains(&std::fs::read(path).unwrap(), bytes)
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((first, _)) = needle.split_first() else { return true };
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}
