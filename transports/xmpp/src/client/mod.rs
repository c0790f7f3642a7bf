//! The uplink's client session of one account.

mod config;
pub(crate) mod dial;
mod handle;
mod incoming;
mod iqs;
mod login;
mod online;
mod register;
mod scram;
mod session;
mod sm;
mod tls;

pub use config::{ClientConfig, ConfigError};
pub use handle::{ClientEvent, ClientHandle, Closed, IqError, Taken, spawn_client};
pub use register::{RegisterError, register_account};
