//! Compiles the contracts with protox, so that no `protoc` is needed.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // One at a time: the descriptors of each are what reflection tells of the service that hosts it.
    for (contract, descriptors) in
        [("assay/v1/assay.proto", "assay.bin"), ("inference/open_inference.proto", "inference.bin")]
    {
        let compiled = protox::compile([contract], ["."])?;
        std::fs::write(out.join(descriptors), prost::Message::encode_to_vec(&compiled))?;
        tonic_prost_build::configure().bytes(".").compile_fds(compiled)?;
    }
    println!("cargo:rerun-if-changed=assay");
    println!("cargo:rerun-if-changed=inference");
    Ok(())
}
