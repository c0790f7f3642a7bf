//! The `pigeon` command line.
