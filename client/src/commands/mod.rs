//! One file a command. Each asks the server, shows progress, and prints one result.

pub(crate) mod attack;
pub(crate) mod attack_oip;
mod attacked;
pub(crate) mod attacks;
pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod certify;
pub(crate) mod errors;
pub(crate) mod gradient;
pub(crate) mod harden;
pub(crate) mod inspect;
pub(crate) mod lineage;
pub(crate) mod models;
pub(crate) mod plan;
pub(crate) mod predict;
pub(crate) mod report;
pub(crate) mod transfer;
pub(crate) mod weights;

use std::time::Duration;

use assay_proto::v1::{GetModelRequest, GetModelResponse, InputSpec, ModelRef};
use tonic::Request;

use crate::args::Output;
use crate::connection::Client;
use crate::error::ClientError;
use crate::tls::Trust;

/// Rows a table of samples shows before it only counts: a terminal is no place for a thousand lines.
const ROWS: usize = 20;

/// The outcome of `work`, unless Ctrl-C comes first.
pub(crate) async fn interruptible<T>(work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => Err(ClientError::Interrupted),
    }
}

/// What every command works with.
pub(crate) struct Session {
    pub(crate) client: Client,
    /// For the servers of other models.
    pub(crate) trust: Trust,
    pub(crate) output: Output,
    pub(crate) timeout: Option<Duration>,
}

impl Session {
    /// A request that carries the deadline.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }

    /// The model in full, with its input.
    pub(crate) async fn model(&mut self, model: &ModelRef) -> Result<(GetModelResponse, InputSpec), ClientError> {
        let request = self.request(GetModelRequest {
            model: model.model.clone(),
            version: model.version.clone(),
            structure: false,
        });
        let answer = self.client.get_model(request).await?.into_inner();
        let input = answer.input.clone().ok_or_else(|| ClientError::Protocol("a model without an input".into()))?;
        Ok((answer, input))
    }
}

/// Class `class` of a model with these labels, for people.
pub(crate) fn class_name(labels: &[String], class: u32) -> String {
    labels.get(class as usize).map_or_else(|| class.to_string(), |label| format!("{label} ({class})"))
}
