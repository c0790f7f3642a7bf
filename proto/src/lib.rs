//! What crosses a boundary: link frames, message content, bridge records and the local API.
