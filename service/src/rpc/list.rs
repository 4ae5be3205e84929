//! `ListModels` and `ListAttacks`.

use assay_attack::{Contents, Description, Norm, Param, Part, contents};
use assay_proto::v1::{
    self, AttackDescription, ListAttacksResponse, ListModelsResponse, ModelSummary, ParameterDescription,
};

use crate::{
    core::Core,
    repository::{Manifest, Model},
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

pub(super) fn attacks() -> ListAttacksResponse {
    ListAttacksResponse { attacks: assay_attack::attacks().iter().map(|attack| described(attack)).collect() }
}

fn described(attack: &Description) -> AttackDescription {
    AttackDescription {
        name: attack.name.to_owned(),
        summary: attack.summary.to_owned(),
        source: attack.source.to_owned(),
        norms: norms(attack.norms),
        needs_gradient: attack.needs_gradient,
        parameters: attack.parameters.iter().map(parameter).collect(),
        needs_eps: attack.needs_eps,
        suite: contents(attack.name).map(suite),
    }
}

fn suite(contents: &Contents) -> v1::Suite {
    let part = |part: &Part| {
        let own = part.parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let attack = v1::AttackSpec { name: part.attack.to_owned(), parameters: own.collect() };
        v1::SuitePart { attack: Some(attack), norms: norms(part.norms) }
    };
    v1::Suite { version: contents.version, parts: contents.parts.iter().map(part).collect() }
}

fn norms(norms: &[Norm]) -> Vec<i32> {
    let norm = |norm: &Norm| match norm {
        Norm::Linf => v1::Norm::Linf.into(),
        Norm::L2 => v1::Norm::L2.into(),
        Norm::L1 => v1::Norm::L1.into(),
        Norm::L0 => v1::Norm::L0.into(),
    };
    norms.iter().map(norm).collect()
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
