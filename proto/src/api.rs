//! The local API of `pigeond`, generated from `proto/pigeon/v1/pigeon.proto`, which documents it.
//!
//! A local app calls [`pigeon_client::PigeonClient`]; the daemon implements [`pigeon_server::Pigeon`].

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "generated code: its documentation is in the .proto file"
)]

tonic::include_proto!("pigeon.v1");
