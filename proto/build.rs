//! Compiles the `.proto` files with protox, so that nobody has to install protoc.

use std::error::Error;

const FILES: [&str; 4] = ["pigeon/v1/pigeon.proto", "link.proto", "content.proto", "bridge.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        // Segments are most of the traffic: take their data out of the received frame without a copy.
        .bytes(".pigeon.link")
        // These two hold what people wrote; nothing may print them by accident.
        .skip_debug([".pigeon.content"])
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
