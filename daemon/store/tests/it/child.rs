//! Running a part of this test program as a process of its own, which may be killed or live under limits.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where a child finds its store. Absent in the ordinary run of its (ignored) test.
pub(crate) const DIR: &str = "PIGEON_STORE_CHILD_DIR";

/// The command line of this program that runs one ignored test only.
pub(crate) fn arguments(test: &str) -> Vec<String> {
    let exe = std::env::current_exe().unwrap();
    let exe = exe.to_str().unwrap().to_owned();
    vec![exe, "--exact".into(), test.into(), "--ignored".into(), "--nocapture".into()]
}

/// Starts one ignored test on a directory, with a seed.
pub(crate) fn start(test: &str, dir: &Path, seed: u64) -> Child {
    let arguments = arguments(test);
    let mut command = Command::new(&arguments[0]);
    command.args(&arguments[1..]).env(DIR, dir).env("PIGEON_TEST_SEED", seed.to_string());
    command.stdout(Stdio::piped()).spawn().unwrap()
}
