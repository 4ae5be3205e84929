//! `assay models`.

use assay_proto::v1::{GetModelResponse, GradientKind, Gradients, InputSpec, ListModelsRequest, ModelSummary};
use serde_json::json;

use super::{Session, inspect, lineage};
use crate::args::{Models, ModelsCommand, Output};
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, table};
use crate::spec;

pub(crate) async fn run(session: &mut Session, command: &Models) -> Result<Verdict, ClientError> {
    match (&command.command, &command.model) {
        (Some(ModelsCommand::Inspect { model }), _) => inspect::run(session, model).await?,
        (Some(ModelsCommand::Lineage { model }), _) => lineage::run(session, model.as_deref()).await?,
        (None, None) => list(session).await?,
        (None, Some(name)) => {
            let (model, input) = session.model(&spec::model(name)).await?;
            match session.output {
                Output::Json => print_json(&one_as_json(&model, &input))?,
                Output::Human => print_one(&model, &input)?,
            }
        }
    }
    Ok(Verdict::Pass)
}

async fn list(session: &mut Session) -> Result<(), ClientError> {
    let request = session.request(ListModelsRequest {});
    let models = session.client.list_models(request).await?.into_inner().models;
    match session.output {
        Output::Json => print_json(&json!({ "models": models.iter().map(summary_as_json).collect::<Vec<_>>() })),
        Output::Human if models.is_empty() => {
            print("there are no models; a model is a file NAME/VERSION/model.onnx in the repository, VERSION a number")
        }
        Output::Human => {
            let mut rows = table(&["model", "versions", "kind", "parent", "parameters", "state"], &[4]);
            for m in &models {
                let state = if m.ready { "ready".to_owned() } else { format!("not ready: {}", m.reason) };
                let versions = m.versions.join(", ");
                rows.add_row([&m.name, &versions, &m.kind, &m.parent, &m.parameters.to_string(), &state]);
            }
            print(&rows)
        }
    }
}

fn summary_as_json(m: &ModelSummary) -> serde_json::Value {
    json!({
        "name": m.name,
        "versions": m.versions,
        "kind": m.kind,
        "parent": m.parent,
        "parameters": m.parameters,
        "ready": m.ready,
        "reason": m.reason,
    })
}

pub(super) fn print_one(m: &GetModelResponse, input: &InputSpec) -> Result<(), ClientError> {
    let mut rows = table(&["property", "value"], &[]);
    for (name, value) in [
        ("model", format!("{}/{}", m.name, m.version)),
        ("description", m.description.clone()),
        ("kind", m.kind.clone()),
        ("parent", m.parent.clone()),
        (
            "input",
            format!(
                "{:?} in [{}, {}], at most {} a request, {} of gradients",
                input.shape, input.low, input.high, input.max_batch, input.max_gradient_batch
            ),
        ),
        ("classes", m.classes.to_string()),
        ("labels", m.labels.join(", ")),
        ("parameters", m.parameters.to_string()),
        ("opset", m.opset.to_string()),
        ("provider", m.provider.clone()),
        ("gradient", gradient_in_words(m.gradients.as_ref())),
        ("sha-256", m.digest.clone()),
    ] {
        if !value.is_empty() {
            rows.add_row([name, &value]);
        }
    }
    if let Some(lineage) = &m.lineage {
        let parent = match &lineage.parent_model {
            Some(hosted) => format!("{}/{}", hosted.model, hosted.version),
            None => format!("{}, which is not hosted", lineage.parent),
        };
        rows.add_row(["made", &format!("{}, from {parent}", lineage.kind)]);
    }
    for adaptation in &m.adaptations {
        rows.add_row(["adapted", adaptation]);
    }
    let mut metadata: Vec<_> = m.metadata.iter().collect();
    metadata.sort();
    for (key, value) in metadata {
        rows.add_row([&format!("metadata: {key}"), value]);
    }
    print(&rows)
}

pub(super) fn one_as_json(m: &GetModelResponse, input: &InputSpec) -> serde_json::Value {
    json!({
        "name": m.name,
        "version": m.version,
        "digest": m.digest,
        "kind": m.kind,
        "parent": m.parent,
        "description": m.description,
        "input": { "shape": input.shape, "low": input.low, "high": input.high, "max_batch": input.max_batch,
                   "max_gradient_batch": input.max_gradient_batch },
        "classes": m.classes,
        "labels": m.labels,
        "parameters": m.parameters,
        "opset": m.opset,
        "provider": m.provider,
        "gradients": gradients_as_json(m.gradients.as_ref()),
        "adaptations": m.adaptations,
        "metadata": m.metadata,
        "lineage": m.lineage.as_ref().map(lineage::as_json),
    })
}

/// How a derivative is known, for people.
pub(super) fn gradient_in_words(gradients: Option<&Gradients>) -> String {
    let Some(gradients) = gradients else { return "unknown".to_owned() };
    match gradients.kind() {
        GradientKind::Exact => "exact".to_owned(),
        GradientKind::StraightThrough => {
            format!("estimated straight through {}", gradients.straight_through.join(", "))
        }
        GradientKind::Unavailable => format!("unavailable: {}", gradients.reason),
        GradientKind::Unspecified => "unknown".to_owned(),
    }
}

pub(super) fn gradients_as_json(gradients: Option<&Gradients>) -> serde_json::Value {
    let Some(gradients) = gradients else { return serde_json::Value::Null };
    let kind = gradients.kind().as_str_name().trim_start_matches("GRADIENT_KIND_").to_lowercase().replace('_', "-");
    json!({ "kind": kind, "straight_through": gradients.straight_through, "reason": gradients.reason })
}
