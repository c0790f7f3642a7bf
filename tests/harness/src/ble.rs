//! The Bluetooth guest: a kernel, a real BlueZ, and controllers that hear each other (`tests/rig/ble`).
//!
//! A test program runs itself in it: [`run`] in an ordinary test boots the guest and has it run this program's
//! ignored tests, which find their way around with [`Air`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{HarnessError, Result};
use crate::privilege::may_run;

/// Where the guest keeps what tests may change.
const CONTROL: &str = "/run/bluetooth";

/// What guest to boot.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// Adapters, `hci0` and up.
    pub controllers: u8,
    /// How long everything may take, boot included.
    pub limit: Duration,
}

/// Runs this program's ignored tests whose names contain `filter` in a guest, and fails if they do. Skipped, loudly,
/// without root. `root` is the workspace's folder.
///
/// # Panics
/// When a test fails in the guest, or the guest cannot be built.
pub fn run(root: &Path, guest: Guest, filter: &str) {
    if !may_run(&format!("{filter} on BlueZ")) {
        return;
    }
    let rig = root.join("tests/rig/ble");
    let built = Command::new(rig.join("build.sh")).status();
    assert!(built.as_ref().is_ok_and(std::process::ExitStatus::success), "tests/rig/ble/build.sh: {built:?}");
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("this program's path: {error}"));
    let status = Command::new(rig.join("run.sh"))
        .args(["-t", &guest.limit.as_secs().to_string(), "-n", &guest.controllers.to_string()])
        .arg(program)
        .args(["--ignored", "--test-threads=1", "--nocapture", filter])
        .status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{filter} in the guest: {status:?}"
    );
}

/// Whether this program runs in the guest.
#[must_use]
pub fn is_guest() -> bool {
    std::env::var_os("PIGEON_BLE_GUEST").is_some()
}

/// What lies between the guest's adapters.
#[derive(Debug, Default)]
pub struct Air(());

impl Air {
    /// Everybody hears everybody.
    ///
    /// # Errors
    /// When the guest's control file cannot be removed.
    pub fn clear() -> Result<Self> {
        let air = Self(());
        air.set_apart(&[])?;
        Ok(air)
    }

    /// From now on exactly these pairs of adapters do not hear each other. A link between them dies after BlueZ's
    /// supervision timeout.
    ///
    /// # Errors
    /// When the guest's control file cannot be written.
    pub fn set_apart(&self, pairs: &[(u8, u8)]) -> Result<()> {
        let file = control("blocked");
        let lines: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
        // Written beside and renamed: the emulator reads it at any time.
        let fresh = control("blocked.new");
        fs::write(&fresh, lines).map_err(HarnessError::file("write", &fresh))?;
        fs::rename(&fresh, &file).map_err(HarnessError::file("write", &file))
    }

    /// Kills `bluetoothd`, which comes back by itself after a second.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_bluetoothd(&self) -> Result<()> {
        kill("bluetoothd")
    }

    /// All adapters vanish, as if they were pulled out, and come back after a second.
    ///
    /// # Errors
    /// When they are not there.
    pub fn pull_adapters(&self) -> Result<()> {
        kill("emulator")
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        // The next test begins in range; the guest itself ends with the last one.
        let _ = self.set_apart(&[]);
    }
}

fn control(name: &str) -> PathBuf {
    Path::new(CONTROL).join(name)
}

fn kill(name: &str) -> Result<()> {
    let file = control(&format!("{name}.pid"));
    let text = fs::read_to_string(&file).map_err(HarnessError::file("read", &file))?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let killed = pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
    if killed {
        return Ok(());
    }
    Err(HarnessError::Output { what: format!("the process in {}", file.display()), detail: text })
}
