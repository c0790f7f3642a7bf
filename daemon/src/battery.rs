//! The battery, from the kernel: below a threshold the core looks for no neighbours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pigeon_core::{Battery, Event as CoreEvent};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::input::Input;

/// Where the kernel tells of power supplies.
pub const POWER_SUPPLIES: &str = "/sys/class/power_supply";
/// Between two looks. A battery that is nearly empty lasts for some of them.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Supplies that are looked at.
const SUPPLIES_MAX: usize = 32;

/// Tells the shell of the battery now, and again whenever it has changed, until `cancel`.
pub async fn watch(dir: PathBuf, inputs: mpsc::Sender<Input>, cancel: CancellationToken) {
    let mut told = None;
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! { () = cancel.cancelled() => return, _ = look.tick() => {} }
        let battery = read(&dir);
        if battery == told {
            continue;
        }
        told = battery;
        tracing::debug!(?battery, "battery");
        if inputs.send(Input::Core(CoreEvent::Battery(battery))).await.is_err() {
            return;
        }
    }
}

/// The mean of all batteries that run this machine; `None` without one, or where it does not tell.
pub fn read(dir: &Path) -> Option<Battery> {
    let supplies = std::fs::read_dir(dir).ok()?.flatten().take(SUPPLIES_MAX);
    let (mut sum, mut count, mut fed) = (0, 0, false);
    for supply in supplies.map(|entry| entry.path()) {
        let value = |name: &str| {
            std::fs::read_to_string(supply.join(name)).map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        // A mouse has a battery too.
        if value("scope") == "Device" {
            continue;
        }
        if value("type") != "Battery" {
            fed |= value("online") == "1";
            continue;
        }
        fed |= matches!(value("status").as_str(), "Charging" | "Full");
        if let Ok(percent) = value("capacity").parse::<u32>() {
            sum += percent.min(100);
            count += 1;
        }
    }
    let percent = u8::try_from(sum.checked_div(count)?).ok()?;
    Some(Battery { percent, charging: fed })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn supply(dir: &Path, name: &str, values: &[(&str, &str)]) {
        std::fs::create_dir(dir.join(name)).unwrap();
        for (file, text) in values {
            std::fs::write(dir.join(name).join(file), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn batteries_of_the_machine_are_read_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        assert_eq!(read(&dir.path().join("nothing")), None);
        supply(dir.path(), "hidpp_0", &[("type", "Battery"), ("scope", "Device"), ("capacity", "3")]);
        supply(dir.path(), "AC", &[("type", "Mains"), ("online", "0")]);
        assert_eq!(read(dir.path()), None);
        supply(dir.path(), "BAT0", &[("type", "Battery"), ("capacity", "40"), ("status", "Discharging")]);
        supply(dir.path(), "BAT1", &[("type", "Battery"), ("capacity", "9"), ("status", "Unknown")]);
        supply(dir.path(), "odd", &[("type", "Battery"), ("capacity", "many")]);
        assert_eq!(read(dir.path()), Some(Battery { percent: 24, charging: false }));
        std::fs::write(dir.path().join("AC/online"), "1\n").unwrap();
        assert_eq!(read(dir.path()), Some(Battery { percent: 24, charging: true }));
    }
}
