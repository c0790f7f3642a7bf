//! Neighbours without any network: Bluetooth Low Energy through BlueZ (docs/wire-format.md section 6).
//!
//! [`BleTransport::start`] advertises, scans and serves on one adapter, for as long as there is one: `bluetoothd`
//! may restart, the adapter may vanish or be blocked, and the transport says what it waits for.
//!
//! From the radio up, each layer knows only the one below:
//!
//! | module | concern |
//! | --- | --- |
//! | `radio` | the adapter and its states; scanning, advertising, one connect at a time |
//! | `bearer` | ordered pieces both ways: an L2CAP channel, or GATT characteristics |
//! | `noise` | Noise NN: the handshake's hash is the channel binding |
//! | `seal` | every piece is sealed, and opened in its order |
//! | `driver` | frames cut into pieces, a window with acknowledgements, the end of a link |
//! | `sightings` | who is in sight, under which name, and who is linked already |
//! | `dial`, `accept` | getting to an authenticated link |
//! | `transport` | what the daemon sees |

mod accept;
mod advert;
mod bearer;
mod config;
mod dial;
mod driver;
mod noise;
mod piece;
mod quality;
mod radio;
mod seal;
mod sightings;
#[cfg(test)]
mod tests;
mod transport;

pub use advert::{COMPANY, INFO, RX, SERVICE, TX};
pub use config::{
    Bearers, BleConfig, CONNECT_TIMEOUT, EVENT_QUEUE_MAX, HANDSHAKES_MAX, LINKS_MAX, Roles, SIGHTINGS_MAX,
    WINDOW_BYTES,
};
pub use quality::LinkQuality;
pub use radio::Trouble;
pub use transport::BleTransport;
