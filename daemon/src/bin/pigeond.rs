//! The node daemon. Everything it does is in the library: `carrier_pigeon::node`.

fn main() -> std::process::ExitCode {
    carrier_pigeon::daemon::main()
}
