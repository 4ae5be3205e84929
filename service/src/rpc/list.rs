//! `ListModels`, `GetModel` and `ListAttacks`.

use assay_attack::{Description, Norm, Param};
use assay_proto::v1::{
    self, AttackDescription, GetModelRequest, GetModelResponse, InputSpec, ListAttacksResponse, ListModelsResponse,
    ModelSummary, ParameterDescription,
};
use assay_runtime::Gradients;
use tonic::Request;

use crate::{
    call::Call,
    core::Core,
    repository::{Manifest, Model},
    status::CallError,
};

pub(super) fn models(core: &Core) -> ListModelsResponse {
    let models = core.repository.models().iter().map(|(name, model)| summary(name, model)).collect();
    ListModelsResponse { models }
}

fn summary(name: &str, model: &Model) -> ModelSummary {
    let newest = model.newest();
    let (kind, parent) = match &model.manifest {
        Ok(Manifest { kind, parent, .. }) => (kind.clone(), parent.clone()),
        Err(_) => Default::default(),
    };
    let reason = newest.and_then(|version| version.reason());
    ModelSummary {
        name: name.to_owned(),
        versions: model.versions.keys().rev().map(u32::to_string).collect(),
        kind,
        parent,
        ready: reason.is_none(),
        reason: reason.unwrap_or_default().to_owned(),
        parameters: newest.and_then(|version| version.hosted()).map_or(0, |hosted| hosted.info().parameters),
    }
}

pub(super) fn model(core: &Core, request: &Request<GetModelRequest>) -> Result<GetModelResponse, CallError> {
    let call = Call::of(request)?;
    let request = request.get_ref();
    let hosted = core.find(&call, "model", &request.model, &request.version)?;
    let (spec, info, manifest) = (hosted.spec(), hosted.info(), &hosted.manifest);
    let [low, high] = manifest.input.range;
    let (gradient_available, gradient_reason) = match &spec.gradients {
        Gradients::Exact | Gradients::StraightThrough(_) => (true, String::new()),
        Gradients::Unavailable(reason) => (false, reason.clone()),
    };
    Ok(GetModelResponse {
        name: hosted.name.clone(),
        version: hosted.version.to_string(),
        digest: spec.digest.clone(),
        kind: manifest.kind.clone(),
        parent: manifest.parent.clone(),
        description: manifest.description.clone(),
        input: Some(InputSpec {
            shape: spec.sample_shape.iter().map(|&size| size as u64).collect(),
            low,
            high,
            max_batch: core.config.limits.max_batch as u64,
        }),
        classes: u32::try_from(spec.classes).unwrap_or(u32::MAX),
        labels: manifest.labels.clone(),
        parameters: info.parameters,
        opset: u64::try_from(info.opset).unwrap_or_default(),
        provider: spec.provider.clone(),
        gradient_available,
        gradient_reason,
        metadata: info.metadata.clone().into_iter().collect(),
    })
}

pub(super) fn attacks() -> ListAttacksResponse {
    ListAttacksResponse { attacks: assay_attack::attacks().iter().map(|attack| described(attack)).collect() }
}

fn described(attack: &Description) -> AttackDescription {
    let norm = |norm: &Norm| match norm {
        Norm::Linf => v1::Norm::Linf.into(),
        Norm::L2 => v1::Norm::L2.into(),
    };
    AttackDescription {
        name: attack.name.to_owned(),
        summary: attack.summary.to_owned(),
        source: attack.source.to_owned(),
        norms: attack.norms.iter().map(norm).collect(),
        needs_gradient: attack.needs_gradient,
        parameters: attack.parameters.iter().map(parameter).collect(),
    }
}

fn parameter(parameter: &Param) -> ParameterDescription {
    ParameterDescription {
        name: parameter.name.to_owned(),
        kind: parameter.kind.to_string(),
        default: parameter.default.clone(),
        range: parameter.range.clone(),
        doc: parameter.doc.to_owned(),
    }
}
