//! Compiles the contracts with protox, so that no `protoc` is needed.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // One at a time: the descriptors of each are what reflection tells of the service that hosts it.
    for (contract, descriptors) in [("assay/v1/assay.proto", "assay.bin"), ("inference/service.proto", "inference.bin")]
    {
        let compiled = protox::compile([contract], ["."])?;
        std::fs::write(out.join(descriptors), prost::Message::encode_to_vec(&compiled))?;
        // Few servers answer all of the Open Inference Protocol; of ours nothing is left out.
        let stubs = contract.starts_with("inference/");
        tonic_prost_build::configure().bytes(".").generate_default_stubs(stubs).compile_fds(compiled)?;
    }
    println!("cargo:rerun-if-changed=assay");
    println!("cargo:rerun-if-changed=inference");
    Ok(())
}
