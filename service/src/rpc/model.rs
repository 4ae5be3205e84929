//! `GetModel`.

use std::sync::Arc;

use assay_graph::{Inspection, Layer};
use assay_harden::{Lineage, Origin};
use assay_proto::v1::{self, GetModelRequest, GetModelResponse, GradientKind, InputSpec, OperatorCount, Structure};
use assay_runtime::Gradients;
use tonic::Request;

use super::request::gradient_limit;
use crate::{call::Call, core::Core, repository::Hosted, status::CallError};

pub(super) async fn model(core: &Core, request: &Request<GetModelRequest>) -> Result<GetModelResponse, CallError> {
    let call = Call::of(request)?;
    let request = request.get_ref();
    let hosted = core.find(&call, "model", &request.model, &request.version)?;
    let (spec, info, manifest) = (hosted.spec(), hosted.info(), &hosted.manifest);
    let [low, high] = hosted.range();
    let limits = &core.config.limits;
    let structure = if request.structure { Some(structure(Arc::clone(&hosted)).await?) } else { None };
    let max_gradient_batch = if core.config.gradient.enabled { gradient_limit(limits, spec).0 } else { 0 };
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
            max_batch: limits.max_batch as u64,
            max_gradient_batch: max_gradient_batch as u64,
        }),
        classes: u32::try_from(spec.classes).unwrap_or(u32::MAX),
        labels: manifest.labels.clone(),
        parameters: info.parameters,
        opset: u64::try_from(info.opset).unwrap_or_default(),
        provider: spec.provider.clone(),
        metadata: info.metadata.clone().into_iter().collect(),
        gradients: Some(gradients(&spec.gradients)),
        structure,
        adaptations: info.adaptations.iter().map(ToString::to_string).collect(),
        lineage: Origin::read(&info.metadata).map(|origin| lineage(core, origin)),
        bytes: info.bytes,
    })
}

/// Where a model comes from, with the version that is its parent.
fn lineage(core: &Core, origin: Origin) -> v1::Lineage {
    let Origin { lineage: Lineage { kind, recipe, parent, data, seed }, epoch, sparsity } = origin;
    let hosted = core.repository.hosted().into_iter().find(|hosted| hosted.spec().digest == parent);
    let parent_model =
        hosted.map(|hosted| v1::ModelRef { model: hosted.name.clone(), version: hosted.version.to_string() });
    v1::Lineage { kind, recipe, parent, parent_model, data: data.unwrap_or_default(), seed, epoch, sparsity }
}

/// The computation of a model. Reading all weights takes a while.
async fn structure(hosted: Arc<Hosted>) -> Result<Structure, CallError> {
    let structure = tokio::task::spawn_blocking(move || wire_structure(hosted.inspection())).await;
    structure.map_err(|e| CallError::Internal(format!("the model could not be inspected: {e}")))
}

fn wire_structure(found: &Inspection) -> Structure {
    let layer = |layer: &Layer| v1::Layer {
        name: layer.name.clone(),
        operator: layer.operator.clone(),
        output: layer.output.iter().map(|&size| size as u64).collect(),
        parameters: layer.weights.elements,
        zeros: layer.weights.zeros,
        macs: layer.macs,
    };
    let count = |(operator, &nodes): (&String, &u64)| OperatorCount { operator: operator.clone(), nodes };
    Structure {
        macs: found.macs,
        parameters: found.weights.elements,
        zeros: found.weights.zeros,
        weight_bytes: found.weights.bytes,
        activation_bytes: found.activation_bytes,
        operators: found.operators.iter().map(count).collect(),
        layers: found.layers.iter().map(layer).collect(),
    }
}

/// How a model's derivative is known, on the wire.
pub(super) fn gradients(gradients: &Gradients) -> v1::Gradients {
    let of = |kind: GradientKind| v1::Gradients { kind: kind.into(), ..Default::default() };
    match gradients {
        Gradients::Exact => of(GradientKind::Exact),
        Gradients::StraightThrough(nodes) => {
            v1::Gradients { straight_through: nodes.clone(), ..of(GradientKind::StraightThrough) }
        }
        Gradients::Unavailable(reason) => v1::Gradients { reason: reason.clone(), ..of(GradientKind::Unavailable) },
    }
}
