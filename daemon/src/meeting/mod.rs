//! Meetings in person: two people run `pigeon meet`, compare six digits, and have each other's card
//! (`docs/wire-format.md` section 2, `pigeon_bundle::introduction`).
//!
//! ```text
//!  api ─► run (deadlines, the mailbox) ─► Input::Meeting ─► shell ─► Desk (who is in reach) ─► stage (whose turn)
//!          ▲ steps                                                    │ frames of links, both ways
//!          └──────────────────────────────────────────────────────────┘
//! ```
//!
//! The desk does no IO and has no clock; the shell owns it as it owns the core, and carries out what it answers. One
//! meeting at a time, each shows one code at most. Nothing is written before both people have said that the codes are the
//! same: until then all of it is in memory, and a meeting that fails leaves nothing behind.

mod desk;
mod error;
mod flood;
mod run;
mod stage;
#[cfg(test)]
mod tests;

pub use desk::{Command, Desk, Output, Peer, Word};
pub use error::MeetError;
pub use run::{Progress, meet};
pub use stage::{Step, Steps};
