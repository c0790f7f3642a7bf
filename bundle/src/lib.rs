//! Bundles, identities, contact cards and sealing: pure functions from bytes and keys to values.
