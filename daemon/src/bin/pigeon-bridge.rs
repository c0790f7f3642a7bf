//! The XMPP bridge. Everything it does is in the library: `carrier_pigeon::bridge`.

fn main() -> std::process::ExitCode {
    carrier_pigeon::bridge::main()
}
