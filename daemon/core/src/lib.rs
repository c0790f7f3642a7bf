//! The node as a deterministic state machine without IO.
