//! Replays a contact trace and a message workload through the node's real core, and prints what its routing delivers
//! at which cost:
//!
//! ```text
//! cargo run --release --example routing -- tests/traces/sfhh.trace.gz tests/traces/sfhh.workload.gz \
//!     --uplink tests/traces/sfhh.uplink.gz --ack --policy all
//! ```

fn main() -> std::process::ExitCode {
    pigeon_replay::main(std::env::args_os())
}
