//! `assay certify --vnnlib FILE`: an answer as the verification competitions want it.

use std::path::Path;

use assay_certify::{Answer, Counterexample};
use assay_proto::v1::{PropertyAnswer, VerifyPropertyRequest, VerifyPropertyResponse};
use serde_json::json;

use crate::args::{Certify, Output};
use crate::commands::Session;
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json};
use crate::spec;

pub(super) async fn run(session: &mut Session, command: &Certify, file: &Path) -> Result<Verdict, ClientError> {
    let property =
        std::fs::read_to_string(file).map_err(|error| ClientError::Usage(format!("{}: {error}", file.display())))?;
    let model = spec::model(&command.model);
    let request = VerifyPropertyRequest {
        model: model.model.clone(),
        version: model.version,
        property,
        max_seconds: command.max_seconds.map_or(0.0, |most| most.as_secs_f64()),
        seed: command.seed,
    };
    let request = session.request(request);
    let found = session.client.verify_property(request).await?.into_inner();
    let answer = answer(&found)?;
    match session.output {
        Output::Json => print_json(&json!({
            "model": model.model,
            "version": found.version,
            "property": file.display().to_string(),
            "answer": answer.word(),
            "reason": (!found.reason.is_empty()).then_some(&found.reason),
            "inputs": (!found.inputs.is_empty()).then_some(&found.inputs),
            "outputs": (!found.outputs.is_empty()).then_some(&found.outputs),
            "seconds": found.seconds,
        }))?,
        Output::Human => print(&answer)?,
    }
    Ok(match answer {
        Answer::Holds => Verdict::Pass,
        Answer::Violated(_) => Verdict::Fail,
        Answer::Unknown(_) => Verdict::Open,
    })
}

fn answer(found: &VerifyPropertyResponse) -> Result<Answer, ClientError> {
    match found.answer() {
        PropertyAnswer::Holds => Ok(Answer::Holds),
        PropertyAnswer::Unknown => Ok(Answer::Unknown(found.reason.clone())),
        PropertyAnswer::Violated if found.inputs.is_empty() => {
            Err(ClientError::Protocol("a violation without an input".to_owned()))
        }
        PropertyAnswer::Violated => {
            let (inputs, outputs) = (found.inputs.clone(), found.outputs.clone());
            Ok(Answer::Violated(Counterexample { case: 0, inputs, outputs }))
        }
        PropertyAnswer::Unspecified => Err(ClientError::Protocol("a property without an answer".to_owned())),
    }
}
