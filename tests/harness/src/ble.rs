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

/// Runs this program's ignored tests that `filter` chooses (arguments of the test runner) in a guest, and fails if they
/// do. Skipped, loudly, without root. The guest is built where it has not been yet, as `make test` has done before.
/// `root` is the workspace's folder.
///
/// # Panics
/// When a test fails in the guest, or the guest cannot be built.
pub fn run(root: &Path, guest: Guest, filter: &[&str]) {
    let shown = filter.join(" ");
    if !may_run(&format!("{shown} on BlueZ")) {
        return;
    }
    let rig = root.join("tests/rig/ble");
    let built = Command::new(rig.join("build.sh")).status();
    assert!(built.as_ref().is_ok_and(std::process::ExitStatus::success), "tests/rig/ble/build.sh: {built:?}");
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("this program's path: {error}"));
    let status = Command::new(rig.join("run.sh"))
        .args(["-t", &guest.limit.as_secs().to_string(), "-n", &guest.controllers.to_string()])
        .arg(program)
        .args(["--ignored", "--test-threads=1", "--nocapture"])
        .args(filter)
        .status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{shown} in the guest: {status:?}");
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
        let lines: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
        write_range(&lines)
    }

    /// Everybody hears everybody until so many ACL packets have been sent, by all adapters together; then nobody hears
    /// anybody, until [`Air::set_apart`]. [`Air::is_cut`] says when that has happened.
    ///
    /// # Errors
    /// As [`Air::set_apart`].
    pub fn cut_after(&self, packets: u32) -> Result<()> {
        write_range(&format!("after {packets}\n"))
    }

    /// Whether the packets of [`Air::cut_after`] have been sent.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        !control("blocked").exists()
    }

    /// Blocks an adapter by rfkill, or lets it on again. BlueZ switches it on by itself then.
    ///
    /// # Errors
    /// When the kernel has no switch for it.
    pub fn set_blocked(&self, adapter: u8, blocked: bool) -> Result<()> {
        let class = Path::new("/sys/class/rfkill");
        let name = format!("hci{adapter}\n");
        let switches = fs::read_dir(class).map_err(HarnessError::file("read", class))?;
        let found = switches
            .flatten()
            .map(|entry| entry.path())
            .find(|switch| fs::read_to_string(switch.join("name")).is_ok_and(|text| text == name));
        let Some(switch) = found else {
            return Err(HarnessError::Output {
                what: "the rfkill switches".to_owned(),
                detail: format!("none of {name}"),
            });
        };
        let soft = switch.join("soft");
        fs::write(&soft, if blocked { "1" } else { "0" }).map_err(HarnessError::file("write", &soft))
    }

    /// Resets an adapter's controller behind BlueZ's back: its connections, scan and advertisements are gone.
    ///
    /// # Errors
    /// When `hciconfig` cannot do it.
    pub fn reset(&self, adapter: u8) -> Result<()> {
        let done = Command::new("hciconfig").args([&format!("hci{adapter}"), "reset"]).output();
        match done {
            Ok(done) if done.status.success() => Ok(()),
            failed => Err(HarnessError::Output {
                what: format!("the reset of hci{adapter}"),
                detail: format!("{failed:?}"),
            }),
        }
    }

    /// Kills `bluetoothd`, or starts it again.
    ///
    /// # Errors
    /// When it does not run, or the guest's control file cannot be written.
    pub fn set_bluetoothd(&self, runs: bool) -> Result<()> {
        set_running("bluetoothd", runs)
    }

    /// Pulls all adapters out, or puts them in again.
    ///
    /// # Errors
    /// As [`Air::set_bluetoothd`].
    pub fn set_adapters(&self, there: bool) -> Result<()> {
        set_running("emulator", there)
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        // The next test begins in range; the guest itself ends with the last one.
        let _ = self.set_apart(&[]);
        for name in ["bluetoothd", "emulator"] {
            let _ = fs::remove_file(control(&format!("{name}.stay-down")));
        }
    }
}

fn write_range(lines: &str) -> Result<()> {
    let (file, fresh) = (control("blocked"), control("blocked.new"));
    // Written beside and renamed: the emulator reads it at any time.
    fs::write(&fresh, lines).map_err(HarnessError::file("write", &fresh))?;
    fs::rename(&fresh, &file).map_err(HarnessError::file("write", &file))
}

fn control(name: &str) -> PathBuf {
    Path::new(CONTROL).join(name)
}

fn set_running(name: &str, runs: bool) -> Result<()> {
    let stay_down = control(&format!("{name}.stay-down"));
    if runs {
        return fs::remove_file(&stay_down).map_err(HarnessError::file("remove", &stay_down));
    }
    fs::write(&stay_down, "").map_err(HarnessError::file("write", &stay_down))?;
    kill(name)
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
