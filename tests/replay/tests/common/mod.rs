//! The traces of the repository.

use std::path::{Path, PathBuf};

use pigeon_replay::Scenario;

pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces").join(name)
}

pub fn scenario(trace: &str, uplink: bool) -> Scenario {
    let windows = uplink.then(|| file(&format!("{trace}.uplink.gz")));
    let (contacts, messages) = (format!("{trace}.trace.gz"), format!("{trace}.workload.gz"));
    Scenario::read(&file(&contacts), &file(&messages), windows.as_deref()).unwrap()
}
