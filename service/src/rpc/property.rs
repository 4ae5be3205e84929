//! `VerifyProperty`.

use std::time::{Duration, Instant};

use assay_certify::{Answer, CertifyError, Method, Property};
use assay_proto::v1::{PropertyAnswer, VerifyPropertyRequest, VerifyPropertyResponse};
use assay_runtime::{BACKGROUND, RunError};
use tokio_stream::StreamExt;
use tonic::{Request, Status};

use super::request::seconds;
use crate::{
    call::Call,
    certifying::{Certifying, decisions, refused, supported},
    core::Core,
    job,
    status::CallError,
};

/// RPC that the work is counted under.
const RPC: &str = "VerifyProperty";
/// How long is looked for an answer where the request does not say.
const USUAL: Duration = Duration::from_secs(60);

pub(super) async fn verify(
    core: &Core,
    request: &Request<VerifyPropertyRequest>,
) -> Result<VerifyPropertyResponse, Status> {
    let mut answer = begin(core, request)?;
    // The job publishes nothing before its end.
    answer.next().await.unwrap_or_else(|| Err(CallError::Internal("no answer".to_owned()).into()))
}

fn begin(
    core: &Core,
    request: &Request<VerifyPropertyRequest>,
) -> Result<job::Events<VerifyPropertyResponse>, CallError> {
    let call = Call::of(request)?;
    let request = request.get_ref();
    let hosted = core.find(&call, "model", &request.model, &request.version)?;
    let property =
        Property::parse(&request.property).map_err(|error| CallError::field("property", error.to_string()))?;
    let time = seconds("max_seconds", request.max_seconds)?.unwrap_or(USUAL);
    let reservation = core.quotas.reserve(&call.caller(), decisions(&property))?;
    let permit = core.admission.job()?;
    let certifying = Certifying::new(core, hosted, RPC, reservation.meter());
    let (stopped, seed) = (call.clone(), request.seed);
    Ok(job::start(call, permit, core.nice(BACKGROUND), move |_, cancel| {
        let _reservation = reservation;
        let started = Instant::now();
        supported(&certifying.hosted, &Method::ALL)?;
        let answer = certifying.decide(&property, time, seed, cancel).map_err(|error| match error {
            CertifyError::Run(RunError::Cancelled) => stopped.why_stopped(),
            CertifyError::Invalid(problem) => CallError::field("property", problem),
            other => refused(&certifying.hosted, other),
        })?;
        Ok(wire(answer, certifying.hosted.version.to_string(), started.elapsed()))
    }))
}

fn wire(answer: Answer, version: String, took: Duration) -> VerifyPropertyResponse {
    let of = |answer: PropertyAnswer| VerifyPropertyResponse {
        version,
        answer: answer.into(),
        seconds: took.as_secs_f64(),
        ..VerifyPropertyResponse::default()
    };
    match answer {
        Answer::Holds => of(PropertyAnswer::Holds),
        Answer::Violated(found) => {
            VerifyPropertyResponse { inputs: found.inputs, outputs: found.outputs, ..of(PropertyAnswer::Violated) }
        }
        Answer::Unknown(reason) => VerifyPropertyResponse { reason, ..of(PropertyAnswer::Unknown) },
    }
}
