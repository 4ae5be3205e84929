//! `ModelReady`, `ServerMetadata`, `ModelMetadata` and `ModelConfig`.

use std::{collections::BTreeMap, iter::once};

use assay_harden::Origin;
use assay_proto::{
    Datatype,
    inference::{
        DataType, ModelConfig, ModelConfigRequest, ModelConfigResponse, ModelDynamicBatching, ModelInput,
        ModelInstanceGroup, ModelMetadataRequest, ModelMetadataResponse, ModelOutput, ModelParameter,
        ModelReadyRequest, ModelReadyResponse, ModelResponseCache, ModelTransactionPolicy, ModelVersionPolicy,
        ServerMetadataResponse,
        model_config::SchedulingChoice,
        model_instance_group::Kind,
        model_metadata_response::TensorMetadata,
        model_version_policy::{self as policy, PolicyChoice},
    },
};
use assay_runtime::{Gradients, OPTIMIZATION};
use tonic::Request;

use crate::{call::Call, core::Core, repository::Hosted, status::CallError};

/// Extensions of the protocol that work here.
const EXTENSIONS: [&str; 4] = ["classification", "model_configuration", "model_repository", "statistics"];
/// Framework and format of every model, as Triton calls them.
const PLATFORM: &str = "onnxruntime_onnx";

pub(super) fn server() -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

/// Whether a version serves; the server has to be ready, too.
pub(super) fn ready(core: &Core, request: &Request<ModelReadyRequest>) -> Result<ModelReadyResponse, CallError> {
    let call = Call::of(request)?;
    let ModelReadyRequest { name, version } = request.get_ref();
    let model = core.repository.model("name", name)?;
    call.about(name);
    let (_, version) = model.version(name, version)?;
    Ok(ModelReadyResponse { ready: version.hosted().is_some() && core.not_ready().is_empty() })
}

pub(super) fn model(core: &Core, request: &Request<ModelMetadataRequest>) -> Result<ModelMetadataResponse, CallError> {
    let call = Call::of(request)?;
    let ModelMetadataRequest { name, version } = request.get_ref();
    let hosted = core.find(&call, "name", name, version)?;
    let versions = core.repository.model("name", name)?.versions.keys().map(u32::to_string).collect();
    let tensor = |name: &str, datatype: Datatype, sizes: &[usize]| TensorMetadata {
        name: name.to_owned(),
        datatype: datatype.name().to_owned(),
        shape: once(-1).chain(dims(sizes)).collect(),
    };
    let (spec, info) = (hosted.spec(), hosted.info());
    Ok(ModelMetadataResponse {
        name: hosted.name.clone(),
        versions,
        platform: PLATFORM.to_owned(),
        inputs: vec![tensor(&info.input, input_type(&hosted), &spec.sample_shape)],
        outputs: vec![tensor(&info.output, Datatype::Fp32, &[spec.classes])],
        properties: properties(core, &hosted).into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    })
}

pub(super) fn config(core: &Core, request: &Request<ModelConfigRequest>) -> Result<ModelConfigResponse, CallError> {
    let call = Call::of(request)?;
    let ModelConfigRequest { name, version } = request.get_ref();
    let hosted = core.find(&call, "name", name, version)?;
    let (spec, info) = (hosted.spec(), hosted.info());
    let input = ModelInput {
        name: info.input.clone(),
        data_type: match input_type(&hosted) {
            Datatype::Uint8 => DataType::TypeUint8,
            Datatype::Int8 => DataType::TypeInt8,
            _ => DataType::TypeFp32,
        }
        .into(),
        dims: dims(&spec.sample_shape).collect(),
        ..ModelInput::default()
    };
    let output = ModelOutput {
        name: info.output.clone(),
        data_type: DataType::TypeFp32.into(),
        dims: dims(&[spec.classes]).collect(),
        ..ModelOutput::default()
    };
    let parameters = properties(core, &hosted).into_iter();
    let config = ModelConfig {
        name: hosted.name.clone(),
        platform: PLATFORM.to_owned(),
        backend: "onnxruntime".to_owned(),
        version_policy: Some(version_policy(&hosted)),
        max_batch_size: i32::try_from(core.config.limits.max_batch).unwrap_or(i32::MAX),
        input: vec![input],
        output: vec![output],
        scheduling_choice: Some(SchedulingChoice::DynamicBatching(batching(core))),
        instance_group: vec![instances(core, &hosted)],
        default_model_filename: "model.onnx".to_owned(),
        parameters: parameters.map(|(key, string_value)| (key.to_owned(), ModelParameter { string_value })).collect(),
        model_transaction_policy: Some(ModelTransactionPolicy { decoupled: false }),
        response_cache: Some(ModelResponseCache { enable: core.answers.is_some() }),
        ..ModelConfig::default()
    };
    Ok(ModelConfigResponse { config: Some(config) })
}

/// Which of its versions are served.
fn version_policy(hosted: &Hosted) -> ModelVersionPolicy {
    let versions = &hosted.manifest.versions;
    let choice = match versions.latest {
        Some(latest) => {
            PolicyChoice::Latest(policy::Latest { num_versions: u32::try_from(latest).unwrap_or(u32::MAX) })
        }
        None if versions.only.is_empty() => PolicyChoice::All(policy::All {}),
        None => PolicyChoice::Specific(policy::Specific {
            versions: versions.only.iter().copied().map(i64::from).collect(),
        }),
    };
    ModelVersionPolicy { policy_choice: Some(choice) }
}

/// How requests share runs.
fn batching(core: &Core) -> ModelDynamicBatching {
    let batching = &core.config.batching;
    let sizes = batching.buckets.iter().map(|&size| i32::try_from(size).unwrap_or(i32::MAX));
    ModelDynamicBatching {
        preferred_batch_size: sizes.collect(),
        max_queue_delay_microseconds: batching.delay_microseconds,
        ..ModelDynamicBatching::default()
    }
}

/// The sessions of a model.
fn instances(core: &Core, hosted: &Hosted) -> ModelInstanceGroup {
    let gpu = hosted.spec().provider.strip_prefix("cuda:").and_then(|device| device.parse().ok());
    ModelInstanceGroup {
        name: hosted.name.clone(),
        kind: if gpu.is_some() { Kind::Gpu } else { Kind::Cpu }.into(),
        count: i32::try_from(core.config.runtime.sessions).unwrap_or(i32::MAX),
        gpus: gpu.into_iter().collect(),
        ..ModelInstanceGroup::default()
    }
}

/// The type whose values are just the model's range, which is the file's own where it takes bytes; else FP32.
pub(super) fn input_type(hosted: &Hosted) -> Datatype {
    let bytes = hosted.info().whole_numbers.filter(|ends| ends.map(f32::from) == hosted.range());
    match bytes {
        Some([0, 255]) => Datatype::Uint8,
        Some([-128, 127]) => Datatype::Int8,
        _ => Datatype::Fp32,
    }
}

/// What the model is, where it comes from, and what it runs on: settings in force, not those asked for.
fn properties(core: &Core, hosted: &Hosted) -> BTreeMap<&'static str, String> {
    let (spec, info, manifest) = (hosted.spec(), hosted.info(), &hosted.manifest);
    let [low, high] = hosted.range();
    let gradients = match &spec.gradients {
        Gradients::Exact => "exact".to_owned(),
        Gradients::StraightThrough(nodes) => format!("straight-through at {} nodes", nodes.len()),
        Gradients::Unavailable(reason) => format!("unavailable: {reason}"),
    };
    let mut properties = BTreeMap::from([
        ("digest", spec.digest.clone()),
        ("provider", spec.provider.clone()),
        ("sessions", core.config.runtime.sessions.to_string()),
        ("threads", core.threads(&spec.provider).to_string()),
        ("optimization", OPTIMIZATION.to_owned()),
        ("onnxruntime", core.runtime.version().to_owned()),
        ("opset", info.opset.to_string()),
        ("parameters", info.parameters.to_string()),
        ("input_range", format!("{low},{high}")),
        ("gradients", gradients),
        ("description", manifest.description.clone()),
        ("kind", manifest.kind.clone()),
        ("parent", manifest.parent.clone()),
    ]);
    if let Some(Origin { lineage, sparsity, .. }) = Origin::read(&info.metadata) {
        properties.insert("parent_digest", lineage.parent);
        properties.insert("recipe", lineage.recipe);
        properties.insert("made_by", lineage.kind);
        properties.insert("sparsity", sparsity.to_string());
    }
    properties.retain(|_, value| !value.is_empty());
    properties
}

/// Sizes, as the protocol has them.
fn dims(sizes: &[usize]) -> impl Iterator<Item = i64> {
    sizes.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
}
