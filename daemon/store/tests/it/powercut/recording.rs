//! The recording that `record.c` makes of a process, and how one is taken.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::child;

/// Something that happened to a file or directory, named by its path below the recorded directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) path: String,
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Write {
        offset: u64,
        data: Vec<u8>,
    },
    Size(u64),
    Create,
    /// A sync was begun by a thread; it covers what was written before.
    SyncBegin {
        thread: u64,
    },
    /// It succeeded.
    SyncEnd {
        thread: u64,
    },
    Rename {
        to: String,
    },
    Unlink,
    MakeDir,
    RemoveDir,
}

/// Directories of a recorded process, and its recording.
pub(crate) struct Recorder {
    dir: TempDir,
    shim: PathBuf,
}

impl Recorder {
    /// Compiles the shim.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shim = dir.path().join("record.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/powercut/record.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&shim).arg(source).arg("-ldl");
        let compiled = compiler.status().expect("this test needs a C compiler: see tests/setup.sh");
        assert!(compiled.success(), "record.c does not compile");
        std::fs::create_dir(dir.path().join("root")).unwrap();
        Self { dir, shim }
    }

    /// The recorded directory.
    pub(crate) fn root(&self) -> PathBuf {
        // The shim compares with what the kernel calls a file.
        self.dir.path().join("root").canonicalize().unwrap()
    }

    /// Runs an ignored test of this program as a recorded child; it gets the root as its directory.
    pub(crate) fn run(&self, test: &str, seed: u64) {
        let arguments = child::arguments(test);
        let mut command = Command::new(&arguments[0]);
        command.args(&arguments[1..]).env(child::DIR, self.root());
        command.env("PIGEON_TEST_SEED", seed.to_string()).stdout(Stdio::null());
        command.env("LD_PRELOAD", &self.shim).env("PIGEON_RECORD_ROOT", self.root());
        command.env("PIGEON_RECORD_TO", self.dir.path().join("recording"));
        let status = command.status().unwrap();
        assert!(status.success(), "the recorded child ended with {status}");
    }

    /// Everything recorded so far, in order.
    pub(crate) fn events(&self) -> Vec<Event> {
        let bytes = std::fs::read(self.dir.path().join("recording")).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            events.push(event(&mut rest).expect("the recording is cut"));
        }
        events
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn event(rest: &mut &[u8]) -> Option<Event> {
    let kind = take(rest, 1)?[0];
    let _inode = take(rest, 8)?;
    let offset = u64::from_ne_bytes(take(rest, 8)?.try_into().ok()?);
    let path_length = u32::from_ne_bytes(take(rest, 4)?.try_into().ok()?);
    let data_length = u32::from_ne_bytes(take(rest, 4)?.try_into().ok()?);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let path = text(take(rest, path_length as usize)?)?;
    let data = take(rest, data_length as usize)?;
    let what = match kind {
        1 => What::Write { offset, data: data.to_vec() },
        2 => What::Size(offset),
        3 => What::Create,
        4 => What::SyncBegin { thread: offset },
        5 => What::SyncEnd { thread: offset },
        6 => What::Rename { to: text(data)? },
        7 => What::Unlink,
        8 => What::MakeDir,
        9 => What::RemoveDir,
        _ => return None,
    };
    Some(Event { path, what })
}
