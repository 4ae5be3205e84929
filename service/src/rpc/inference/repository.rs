//! `RepositoryIndex`, `RepositoryModelLoad` and `RepositoryModelUnload`.
//!
//! A request names a model of the server's folder and brings nothing: a model that comes over the network is a program that anybody runs here.

use std::{collections::HashMap, sync::Arc};

use assay_proto::inference::{
    ModelRepositoryParameter, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelLoadResponse, RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
    model_repository_parameter::ParameterChoice, repository_index_response::ModelIndex,
};
use tonic::Request;

use super::infer::MODEL;
use crate::{
    call::Call,
    core::Core,
    repository::{State, Version, is_name},
    status::CallError,
};

/// Every version that the server knows.
pub(super) fn index(core: &Core, request: &RepositoryIndexRequest) -> Result<RepositoryIndexResponse, CallError> {
    only_repository(&request.repository_name)?;
    let models = core.repository.models();
    let versions = models.iter().flat_map(|(name, model)| model.versions.iter().map(move |v| (name, v)));
    let entries = versions.map(|(name, (number, version))| ModelIndex {
        name: name.clone(),
        version: number.to_string(),
        state: state(version).to_owned(),
        reason: version.reason().unwrap_or_default().to_owned(),
    });
    Ok(RepositoryIndexResponse { models: entries.filter(|entry| !request.ready || entry.state == READY).collect() })
}

pub(super) async fn load(
    core: &Arc<Core>,
    request: &Request<RepositoryModelLoadRequest>,
) -> Result<RepositoryModelLoadResponse, CallError> {
    let call = Call::of(request)?;
    let RepositoryModelLoadRequest { repository_name, model_name, parameters } = request.get_ref();
    only_repository(repository_name)?;
    nothing_brought(parameters)?;
    about(core, &call, model_name);
    core.reload(MODEL, model_name).await?;
    // It may be new.
    about(core, &call, model_name);
    Ok(RepositoryModelLoadResponse {})
}

pub(super) async fn unload(
    core: &Arc<Core>,
    request: &Request<RepositoryModelUnloadRequest>,
) -> Result<RepositoryModelUnloadResponse, CallError> {
    let call = Call::of(request)?;
    let RepositoryModelUnloadRequest { repository_name, model_name, parameters } = request.get_ref();
    only_repository(repository_name)?;
    let is_dependents = |(name, value): (&String, &ModelRepositoryParameter)| {
        name == "unload_dependents" && matches!(value.parameter_choice, Some(ParameterChoice::BoolParam(_)))
    };
    // Models here need no others, so either value means the same.
    if !parameters.iter().all(is_dependents) {
        return Err(CallError::field("parameters", "expected none, or `unload_dependents`, true or false"));
    }
    about(core, &call, model_name);
    core.unload(MODEL, model_name).await?;
    Ok(RepositoryModelUnloadResponse {})
}

const READY: &str = "READY";

fn state(version: &Version) -> &'static str {
    match version.state() {
        Some(State::Ready(_)) => READY,
        Some(State::Failed(_) | State::Unloaded) => "UNAVAILABLE",
        None => "LOADING",
    }
}

/// The call is about a model, if there is one of this name.
fn about(core: &Core, call: &Call, name: &str) {
    if is_name(name) && core.repository.models().contains_key(name) {
        call.about(name);
    }
}

fn only_repository(name: &str) -> Result<(), CallError> {
    if name.is_empty() {
        return Ok(());
    }
    Err(CallError::field("repository_name", format!("this server has one repository, without a name; got {name:?}")))
}

fn nothing_brought(parameters: &HashMap<String, ModelRepositoryParameter>) -> Result<(), CallError> {
    let Some(name) = parameters.keys().min() else { return Ok(()) };
    let why = match name.as_str() {
        "config" => {
            "configurations are not taken over the network; write the model's model.toml on the server".to_owned()
        }
        file if file.starts_with("file:") => {
            "files are not taken over the network; put them into the server's folder of models".to_owned()
        }
        _ => "is not known; leave it out".to_owned(),
    };
    Err(CallError::field(format!("parameters.{name}"), why))
}
