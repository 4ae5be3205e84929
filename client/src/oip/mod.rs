//! Models that other servers host: those that speak the Open Inference Protocol, version 2, over gRPC.
//!
//! [`Address`] says where a model is, `Endpoint` calls it (in time, in pace, again where it was unavailable), `Signature` is what it
//! takes and gives, [`Opened`] is all of that for the user's options, and [`Remote`] is the [`Classifier`](assay_runtime::Classifier) that attacks see: logits, and no gradients.

mod address;
mod endpoint;
mod opened;
mod remote;
mod signature;
mod tensor;

pub(crate) use address::Address;
pub(crate) use endpoint::Sent;
use endpoint::{Endpoint, Patience};
pub(crate) use opened::Opened;
pub(crate) use remote::Remote;
use signature::{Hints, Signature};
