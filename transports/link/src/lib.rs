//! The link abstraction: authenticated handshake, in-memory transport and the contract suite.
