//! The durable bundle store on sled.
