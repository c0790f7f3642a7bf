//! Why there is no radio, in words that say what to do.

use std::fs;
use std::path::Path;

/// What keeps the transport from running. It goes on by itself when that has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No message bus.
    #[error("no D-Bus system bus ({0}): Bluetooth needs dbus and bluez, on Debian `apt install bluez`")]
    NoBus(String),
    /// Nobody answers on the bus.
    #[error("bluetoothd does not run: `systemctl start bluetooth`, on Debian after `apt install bluez`")]
    NoDaemon,
    /// No adapter, or not the one that is configured.
    #[error("no Bluetooth adapter{}: plug it in, or set ble.adapter to another", .0.as_ref().map(|name| format!(" {name}")).unwrap_or_default())]
    NoAdapter(Option<String>),
    /// rfkill keeps it off.
    #[error("Bluetooth adapter {0} is blocked by software: `rfkill unblock bluetooth`")]
    SoftBlocked(String),
    /// A switch keeps it off.
    #[error("Bluetooth adapter {0} is blocked by a switch of this machine: turn it")]
    HardBlocked(String),
    /// It is off.
    #[error("Bluetooth adapter {0} is off: `bluetoothctl power on`, or set ble.enabled = \"on\"")]
    Off(String),
    /// BlueZ refuses something that is needed.
    #[error("BlueZ refuses {what} on {adapter}: {error}; tried again")]
    Refused {
        /// The adapter.
        adapter: String,
        /// What was asked.
        what: &'static str,
        /// Its answer.
        error: String,
    },
    /// It was there and is gone.
    #[error("Bluetooth adapter {0} is gone; it is used again when it is back")]
    Gone(String),
}

/// Whether rfkill blocks this adapter.
pub(super) fn blocked(adapter: &str) -> Option<Trouble> {
    blocked_in(Path::new("/sys/class/rfkill"), adapter)
}

fn blocked_in(class: &Path, adapter: &str) -> Option<Trouble> {
    fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        if read("name").trim() != adapter {
            return None;
        }
        match (read("hard").trim(), read("soft").trim()) {
            ("1", _) => Some(Trouble::HardBlocked(adapter.to_owned())),
            (_, "1") => Some(Trouble::SoftBlocked(adapter.to_owned())),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn rfkill_is_read_for_the_adapter_at_hand() {
        let class = std::env::temp_dir().join(format!("pigeon-rfkill-{}", std::process::id()));
        for (number, name, soft, hard) in
            [(0, "phy0", "1", "1"), (1, "hci0", "1", "0"), (2, "hci1", "0", "1")]
        {
            let dir = class.join(format!("rfkill{number}"));
            fs::create_dir_all(&dir).unwrap();
            for (file, text) in [("name", name), ("soft", soft), ("hard", hard)] {
                fs::write(dir.join(file), format!("{text}\n")).unwrap();
            }
        }
        assert_eq!(blocked_in(&class, "hci0"), Some(Trouble::SoftBlocked("hci0".into())));
        assert_eq!(blocked_in(&class, "hci1"), Some(Trouble::HardBlocked("hci1".into())));
        assert_eq!(blocked_in(&class, "hci2"), None);
        assert_eq!(blocked_in(Path::new("/nonexistent"), "hci0"), None);
        fs::remove_dir_all(&class).unwrap();
    }

    #[test]
    fn every_trouble_says_what_to_do() {
        let troubles = [
            Trouble::NoBus("x".into()),
            Trouble::NoDaemon,
            Trouble::NoAdapter(Some("hci7".into())),
            Trouble::NoAdapter(None),
            Trouble::SoftBlocked("hci0".into()),
            Trouble::HardBlocked("hci0".into()),
            Trouble::Off("hci0".into()),
        ];
        for trouble in troubles {
            let text = trouble.to_string();
            assert!(text.contains(':'), "{text}");
        }
        assert!(
            Trouble::NoAdapter(Some("hci7".into())).to_string().starts_with("no Bluetooth adapter hci7:")
        );
    }
}
