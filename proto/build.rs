//! Turns `proto/` into Rust without `protoc`: protox parses, prost generates.

use std::error::Error;

const FILES: [&str; 8] = [
    "nomad/structs.proto",
    "nomad/hclspec.proto",
    "nomad/base.proto",
    "nomad/driver.proto",
    "goplugin/plugin.proto",
    "syncer.proto",
    "hints.proto",
    "real_server.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
