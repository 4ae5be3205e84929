//! `ModelStreamInfer`: one request after the other, each answered before the next is read.

use std::{sync::Arc, time::Duration};

use assay_proto::inference::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse, infer_parameter::ParameterChoice,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, codegen::BoxStream};

use super::{infer::infer, parameters};
use crate::{call::Call, core::Core, deadline, principals::Caller, status::CallError};

/// How long a reader has to take the news that the stream ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// Marks the last answer to a request, for who asks for the mark.
const FINAL: &str = "triton_final_response";

type Answers = mpsc::Sender<Result<ModelStreamInferResponse, Status>>;

/// The answers to a stream of requests. A request that fails is answered in its place. The stream ends with its client's, with an error when its deadline
/// passes or the server is cut off, and between two requests when the server drains.
pub(super) fn answers(
    core: &Arc<Core>,
    request: Request<Streaming<ModelInferRequest>>,
) -> Result<BoxStream<ModelStreamInferResponse>, CallError> {
    let call = Call::of(&request)?;
    let (answers, stream) = mpsc::channel(1);
    tokio::spawn(serve(Arc::clone(core), call, request.into_inner(), answers));
    Ok(Box::pin(ReceiverStream::new(stream)))
}

async fn serve(core: Arc<Core>, call: Arc<Call>, requests: Streaming<ModelInferRequest>, answers: Answers) {
    let caller = call.caller();
    let ended = tokio::select! {
        biased;
        () = call.stop().cancelled() => Err(call.why_stopped().into()),
        () = deadline::passed(call.deadline()) => Err(call.why_stopped().into()),
        ended = answer_all(&core, &caller, requests, &answers) => ended,
    };
    if let Err(status) = ended {
        // Where nobody takes it, nobody reads any more.
        let _ = tokio::time::timeout(FAREWELL, answers.send(Err(status))).await;
    }
}

/// Answers until the client has no more requests, or takes no more answers.
async fn answer_all(
    core: &Core,
    caller: &Caller,
    mut requests: Streaming<ModelInferRequest>,
    answers: &Answers,
) -> Result<(), Status> {
    loop {
        let request = tokio::select! {
            biased;
            () = core.lifecycle.draining().cancelled() => return Err(CallError::Draining.into()),
            () = answers.closed() => return Ok(()),
            request = requests.message() => request?,
        };
        let Some(request) = request else { return Ok(()) };
        if answers.send(Ok(answered(core, caller, &request).await)).await.is_err() {
            return Ok(());
        }
    }
}

/// The answer to one request, good or bad.
async fn answered(core: &Core, caller: &Caller, request: &ModelInferRequest) -> ModelStreamInferResponse {
    let (error_message, mut response) = match infer(core, caller, request, |_| {}).await {
        Ok(response) => (String::new(), response),
        Err(error) => {
            (error.to_string(), ModelInferResponse { id: request.id.clone(), ..ModelInferResponse::default() })
        }
    };
    if parameters::is_true(&request.parameters, parameters::MARK_FINAL) {
        let mark = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
        response.parameters.insert(FINAL.to_owned(), mark);
    }
    ModelStreamInferResponse { error_message, infer_response: Some(response) }
}
