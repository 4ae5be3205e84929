//! `ModelInfer`, and each request of `ModelStreamInfer`.

use std::time::Instant;

use assay_proto::inference::{ModelInferRequest, ModelInferResponse};

use super::{
    parameters,
    tensors::{self, Wanted},
};
use crate::{core::Core, principals::Caller, repository::Hosted, rpc::expected, statistics::Served, status::CallError};

/// Field with the name of the model.
pub(super) const MODEL: &str = "model_name";
/// Configuration key of the largest batch.
const LIMIT: &str = "limits.max_batch";

/// The answer to one request of `caller`. `note` is told how many samples it has, once they are read.
pub(super) async fn infer(
    core: &Core,
    caller: &Caller,
    request: &ModelInferRequest,
    note: impl FnOnce(usize),
) -> Result<ModelInferResponse, CallError> {
    let hosted = core.repository.find(MODEL, &request.model_name, &request.model_version)?;
    let answer = hosted.statistics.request(async {
        match parameters::timeout(&request.parameters)? {
            None => answer(core, caller, &hosted, request, note).await,
            Some(time) => tokio::time::timeout(time, answer(core, caller, &hosted, request, note))
                .await
                .unwrap_or(Err(CallError::Deadline(time))),
        }
    });
    answer.await
}

async fn answer(
    core: &Core,
    caller: &Caller,
    hosted: &Hosted,
    request: &ModelInferRequest,
    note: impl FnOnce(usize),
) -> Result<(ModelInferResponse, Served), CallError> {
    let wanted = Wanted::read(request, &hosted.info().output, hosted.spec().classes)?;
    let asked = request.inputs.first().and_then(|input| input.shape.first()).copied().unwrap_or(1);
    // What is negative is refused when it is read.
    let _permit = core.admission.prediction(usize::try_from(asked).unwrap_or(1))?;
    let began = Instant::now();
    let batch = tensors::decode(request, hosted, expected(hosted, core.config.limits.max_batch, LIMIT))?;
    let (samples, input) = (batch.nrows(), began.elapsed());
    note(samples);
    let predicted = core.predict(caller, hosted, batch).await?;
    let began = Instant::now();
    let mut response = ModelInferResponse {
        model_name: hosted.name.clone(),
        model_version: hosted.version.to_string(),
        id: request.id.clone(),
        ..ModelInferResponse::default()
    };
    wanted.write(&predicted.logits, hosted, &mut response);
    let served = Served { samples: predicted.evaluated, input, output: began.elapsed() };
    core.metrics.served(&hosted.name, &served);
    Ok((response, served))
}
