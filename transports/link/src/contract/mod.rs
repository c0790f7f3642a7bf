//! What every transport promises ([`RawLink`](crate::RawLink)), as tests.
//!
//! A transport's crate implements [`Rig`] and calls [`contract_tests!`](crate::contract_tests), which makes a
//! test of every function here. A function panics when the promise is broken.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test suite: it panics to fail and prints its seeds"
)]

mod closing;
mod frames;
mod identity;

use std::future::Future;
use std::time::Duration;

use futures::future::BoxFuture;
use pigeon_bundle::NodeSecret;
use pigeon_proto::Hello;

pub use closing::{
    backpressure_is_bounded, close_is_seen_after_what_was_queued, drop_is_seen_after_what_was_queued,
    one_direction_may_end_first, reader_may_leave_first, silent_peer_is_noticed,
};
pub use frames::{
    both_directions_carry, empty_frame_ends_the_link, largest_frame_passes, many_frames_keep_their_order,
    oversize_frame_ends_the_link,
};
pub use identity::{
    bindings_are_shared_and_unique, peers_learn_each_others_key, wrong_auth_is_refused, wrong_key_is_refused,
};

use crate::RawLink;

/// A fresh connection and the node keys behind its ends.
#[derive(Debug)]
pub struct Pair {
    /// The end that dialled.
    pub dialler: RawLink,
    /// The end that was dialled.
    pub listener: RawLink,
    /// The dialler's node key.
    pub dialler_node: NodeSecret,
    /// The listener's node key.
    pub listener_node: NodeSecret,
}

/// A transport under test.
pub trait Rig: Send + Sync {
    /// A fresh connection.
    fn pair(&self) -> BoxFuture<'_, Pair>;

    /// From now on nothing crosses between the ends of any pair, in either direction, and nobody is told.
    fn cut(&self) -> BoxFuture<'_, ()>;
}

/// Long enough for any step that does happen; a step that does not makes the test fail.
pub const STEP_DEADLINE: Duration = Duration::from_secs(30);

/// Waits for a step of a test.
///
/// # Panics
/// When the step takes longer than [`STEP_DEADLINE`].
pub async fn step<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(STEP_DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("within {STEP_DEADLINE:?}: {what}"),
    }
}

/// A `Hello` for tests.
#[must_use]
pub fn hello(carriage_open: bool) -> Hello {
    let version = pigeon_proto::PROTOCOL_VERSION;
    Hello { version, carriage_open, clock_s: Some(1_800_000_000), bundle_size_max: 98_304 }
}

/// Makes a test of every function of the suite, with the attribute and the rig given:
///
/// `contract_tests! { #[tokio::test] rig = MyRig::new().await }`
#[macro_export]
macro_rules! contract_tests {
    ($(#[$attribute:meta])* rig = $rig:expr) => {
        $crate::contract_tests! { @each [$(#[$attribute])*] [$rig]
            both_directions_carry
            many_frames_keep_their_order
            largest_frame_passes
            oversize_frame_ends_the_link
            empty_frame_ends_the_link
            bindings_are_shared_and_unique
            peers_learn_each_others_key
            wrong_auth_is_refused
            wrong_key_is_refused
            close_is_seen_after_what_was_queued
            drop_is_seen_after_what_was_queued
            one_direction_may_end_first
            reader_may_leave_first
            silent_peer_is_noticed
            backpressure_is_bounded
        }
    };
    (@each $attributes:tt $rig:tt $($name:ident)*) => {
        $($crate::contract_tests! { @one $attributes $rig $name })*
    };
    (@one [$(#[$attribute:meta])*] [$rig:expr] $name:ident) => {
        $(#[$attribute])*
        async fn $name() {
            let rig = $rig;
            $crate::contract::$name(&rig).await;
        }
    };
}
