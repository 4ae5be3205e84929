//! The wire contracts: the messages, the client and the server of `assay.v1`, and those of the Open Inference Protocol.
//!
//! The texts, with the unit, range and default of every field, are `proto/assay/v1/assay.proto` and those of
//! `proto/inference/`, `service.proto` first.

#[cfg(feature = "attack")]
mod attacked;
#[cfg(feature = "harden")]
mod hardened;
pub mod reason;
mod tensors;

pub use tensors::{Content, Datatype, Place, TensorError};

/// Package `assay.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("assay.v1");

    /// The contract as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/assay.bin"));
}

/// Package `inference`: the Open Inference Protocol, version 2, with the extensions of Triton.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod inference {
    tonic::include_proto!("inference");

    /// The contract as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
}
