//! Where the workspace's binaries are, and files that the harness writes for them.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{HarnessError, Result};

/// The path of a binary of this workspace.
///
/// `CARGO_BIN_EXE_<name>` wins; else it is looked for beside the running program and in the folders above it,
/// so that tests (`target/debug/deps`) and examples (`target/debug/examples`) find what cargo built with them.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(format!("CARGO_BIN_EXE_{name}")) {
        return Ok(path.into());
    }
    let exe = std::env::current_exe().map_err(HarnessError::file("find", Path::new("/proc/self/exe")))?;
    /// `deps` or `examples`, then the profile's folder.
    const FOLDERS_MAX: usize = 2;
    let found =
        exe.ancestors().skip(1).take(FOLDERS_MAX).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| HarnessError::NoBinary {
        name: name.to_owned(),
        searched: exe.parent().unwrap_or(Path::new("/")).to_path_buf(),
    })
}

/// A directory of its own in the system's place for temporary files, short enough for a socket's path.
///
/// # Errors
/// When it cannot be made.
pub fn temp_dir(prefix: &str) -> Result<tempfile::TempDir> {
    temp_dir_in(&std::env::temp_dir(), prefix)
}

/// [`temp_dir`] elsewhere. With `PIGEON_TEST_KEEP` in the environment it is not removed, for whoever looks for the cause
/// of a failure.
pub(crate) fn temp_dir_in(parent: &Path, prefix: &str) -> Result<tempfile::TempDir> {
    let keep = std::env::var_os("PIGEON_TEST_KEEP").is_some();
    let dir = tempfile::Builder::new().prefix(prefix).disable_cleanup(keep).tempdir_in(parent);
    dir.map_err(HarnessError::file("create a directory in", parent))
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(HarnessError::file("write", path))
}

/// A TOML basic string: JSON escapes the same characters the same way.
pub(crate) fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// [`toml_string`] of a path.
pub(crate) fn toml_path(path: &Path) -> String {
    toml_string(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_missing_binary_says_how_to_build_it() {
        let error = binary("pigeon-nonexistent").unwrap_err();
        assert!(error.to_string().contains("cargo build --bin pigeon-nonexistent"), "{error}");
    }

    #[test]
    fn private_files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = temp_dir("pigeon-files-").unwrap();
        let path = dir.path().join("secret");
        write_private(&path, "x").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
