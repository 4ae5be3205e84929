//! The wire contract of assay: the messages, the client and the server of `assay.v1`.
//!
//! The contract's text, with the unit, range and default of every field, is `proto/assay/v1/assay.proto`.

/// Package `assay.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("assay.v1");

    /// The contract as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/assay.bin"));
}
