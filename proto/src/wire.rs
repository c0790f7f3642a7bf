//! Generated protobuf messages. They stop here: what leaves this crate is checked.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]

/// `proto/link.proto`.
pub(crate) mod link {
    tonic::include_proto!("pigeon.link");
}

/// `proto/content.proto`.
pub(crate) mod content {
    tonic::include_proto!("pigeon.content");
}
