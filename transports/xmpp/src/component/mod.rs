//! The bridge's component session.

mod handle;
mod handshake;
mod incoming;
mod knocking;
mod session;

pub use handle::{
    ComponentConfig, ComponentEvent, ComponentHandle, IqAnswer, IqToken, SendError, SyncError, Synced,
    spawn_component,
};
