//! `pigeon`: the command line of a running `pigeond`.

use std::process::ExitCode;

fn main() -> ExitCode {
    carrier_pigeon::cli::main()
}
