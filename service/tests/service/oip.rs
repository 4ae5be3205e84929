//! The Open Inference Protocol: what `Predict` gives, in its words, and clear refusals.

use std::collections::HashMap;

use assay_proto::{
    Datatype,
    inference::{
        self as oip, DataType, InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
        infer_parameter::ParameterChoice, model_infer_request::InferRequestedOutputTensor,
    },
    v1::{self, PredictRequest},
};
use tonic::{Code, Status};

use crate::harness::{
    INPUT, MODEL, OUTPUT, Running, attack_request, floats, fp32, images, infer_request, predict_request, violated,
};

/// The bits of the logits that `Predict` gives.
async fn predicted(server: &Running, input: v1::Tensor) -> Vec<u32> {
    let request = PredictRequest { model: MODEL.to_owned(), input: Some(input), ..Default::default() };
    let answer = server.client().await.predict(request).await.unwrap().into_inner();
    floats(&answer.logits.unwrap()).iter().map(|logit| logit.to_bits()).collect()
}

/// The bits of the logits in an answer, raw or not.
fn logits(answer: &ModelInferResponse) -> Vec<u32> {
    let [output] = answer.outputs.as_slice() else { panic!("{} outputs", answer.outputs.len()) };
    assert_eq!((output.name.as_str(), output.datatype.as_str()), (OUTPUT, "FP32"));
    let values = match answer.raw_output_contents.as_slice() {
        [] => output.contents.as_ref().unwrap().fp32_contents.clone(),
        [raw] => raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        more => panic!("{} raw outputs", more.len()),
    };
    values.iter().map(|value| value.to_bits()).collect()
}

async fn infer(server: &Running, request: ModelInferRequest) -> Result<ModelInferResponse, Status> {
    Ok(server.oip().await.model_infer(request).await?.into_inner())
}

fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

/// The request with its elements as another type, raw.
fn sent_as(request: &ModelInferRequest, datatype: Datatype, values: &[f32]) -> ModelInferRequest {
    let mut request = request.clone();
    request.inputs[0].datatype = datatype.name().to_owned();
    request.raw_input_contents = vec![datatype.encode(values.iter().copied()).into()];
    request
}

/// The request with these contents in the place of its raw ones.
fn typed(request: &ModelInferRequest, datatype: &str, contents: InferTensorContents) -> ModelInferRequest {
    let mut request = request.clone();
    request.inputs[0].datatype = datatype.to_owned();
    request.inputs[0].contents = Some(contents);
    request.raw_input_contents.clear();
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logits_are_those_of_predict_to_the_bit_in_every_form() {
    let server = Running::start().await;
    let (tensor, _) = images(5);
    let (values, request) = (floats(&tensor), infer_request(5));
    let expected = predicted(&server, tensor.clone()).await;
    let doubles = values.iter().copied().map(f64::from).collect();
    for request in [
        request.clone(),
        sent_as(&request, Datatype::Fp64, &values),
        typed(&request, "FP32", InferTensorContents { fp32_contents: values.clone(), ..Default::default() }),
        typed(&request, "FP64", InferTensorContents { fp64_contents: doubles, ..Default::default() }),
    ] {
        let raw = !request.raw_input_contents.is_empty();
        let answer = infer(&server, request).await.unwrap();
        assert_eq!(logits(&answer), expected);
        assert_eq!(answer.raw_output_contents.len(), usize::from(raw), "raw to who asks raw");
        assert_eq!(answer.outputs[0].contents.is_some(), !raw);
        assert_eq!(answer.outputs[0].shape, [5, 10]);
        assert_eq!([&*answer.model_name, &answer.model_version, &answer.id], [MODEL, "1", "seven"]);
    }
    for datatype in [Datatype::Fp16, Datatype::Bf16] {
        let sent = sent_as(&request, datatype, &values);
        let content = assay_proto::Content { raw: Some(&sent.raw_input_contents[0]), typed: None };
        let rounded = datatype.numbers(content, values.len()).unwrap();
        assert_ne!(rounded, values, "{datatype} changes nothing");
        let expected = predicted(&server, fp32(&tensor.shape, &rounded)).await;
        assert_eq!(logits(&infer(&server, sent).await.unwrap()), expected, "{datatype}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_grey_levels_as_predict_takes_them() {
    let server = Running::start().await;
    let (tensor, _) = images(3);
    let levels: Vec<f32> = floats(&tensor).iter().map(|value| (value * 255.0).round()).collect();
    let as_bytes = v1::Tensor {
        shape: tensor.shape.clone(),
        datatype: v1::DataType::Uint8.into(),
        data: Datatype::Uint8.encode(levels.iter().copied()).into(),
    };
    let expected = predicted(&server, as_bytes).await;
    let raw = sent_as(&infer_request(3), Datatype::Uint8, &levels);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let uint_contents = levels.iter().map(|level| *level as u32).collect();
    let contents = InferTensorContents { uint_contents, ..Default::default() };
    let typed = typed(&infer_request(3), "UINT8", contents);
    for request in [raw, typed] {
        assert_eq!(logits(&infer(&server, request).await.unwrap()), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classes_come_in_the_place_of_logits_where_they_are_asked_for() {
    let server = Running::start().await;
    let predicted = server.client().await.predict(predict_request(4)).await.unwrap().into_inner();
    let rows = floats(predicted.logits.as_ref().unwrap());
    let parameters = HashMap::from([("classification".to_owned(), parameter(ParameterChoice::Int64Param(3)))]);
    let mut request = infer_request(4);
    request.outputs = vec![InferRequestedOutputTensor { name: OUTPUT.to_owned(), parameters }];
    let answer = infer(&server, request.clone()).await.unwrap();
    assert_eq!((answer.outputs[0].datatype.as_str(), answer.outputs[0].shape.as_slice()), ("BYTES", &[4_i64, 3][..]));
    let mut rest = &answer.raw_output_contents[0][..];
    let mut texts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (text, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        texts.push(String::from_utf8(text.to_vec()).unwrap());
        rest = after;
    }
    for ((texts, row), prediction) in texts.chunks(3).zip(rows.chunks(10)).zip(&predicted.predictions) {
        let parts: Vec<Vec<&str>> = texts.iter().map(|text| text.splitn(3, ':').collect()).collect();
        let values: Vec<f32> = parts.iter().map(|part| part[0].parse().unwrap()).collect();
        assert!(values.is_sorted_by(|a, b| a >= b), "{texts:?}");
        for (part, value) in parts.iter().zip(&values) {
            assert_eq!(row[part[1].parse::<usize>().unwrap()].to_bits(), value.to_bits(), "{texts:?}");
        }
        let first = &prediction.classes[0];
        assert_eq!((parts[0][1], parts[0][2]), (&*first.class.to_string(), &*first.label));
    }
    let contents = InferTensorContents { fp32_contents: floats(&images(4).0), ..Default::default() };
    let answer = infer(&server, typed(&request, "FP32", contents)).await.unwrap();
    let contents = &answer.outputs[0].contents.as_ref().unwrap().bytes_contents;
    assert_eq!(contents.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect::<Vec<_>>(), texts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_does_not_fit_says_what_was_expected() {
    let server = Running::with(|config| config.limits.max_batch = 8).await;
    let good = infer_request(2);
    let changed = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let asked = |parameters| vec![InferRequestedOutputTensor { name: OUTPUT.to_owned(), parameters }];
    let classes = |k| asked(HashMap::from([("classification".to_owned(), parameter(ParameterChoice::Int64Param(k)))]));
    let two = InferTensorContents { fp32_contents: vec![0.5; 2], ..Default::default() };
    let cases: [(ModelInferRequest, &str, &str); 19] = [
        (changed(&|r| r.inputs.clear()), "inputs", "expected one, \"x\", the model's input, got 0"),
        (changed(&|r| r.inputs.push(r.inputs[0].clone())), "inputs", "got 2"),
        (changed(&|r| r.inputs[0].name = "y".into()), "inputs[0].name", "expected \"x\", the model's input, got \"y\""),
        (changed(&|r| r.inputs[0].datatype = "INT8".into()), "inputs[0].datatype", "expected FP32, as ModelMetadata"),
        (changed(&|r| r.inputs[0].datatype = "fp32".into()), "inputs[0].datatype", "got \"fp32\""),
        (changed(&|r| r.inputs[0].shape = vec![2, 28, 28]), "inputs[0].shape", "expected [n, 1, 28, 28] with n >= 1"),
        (changed(&|r| r.inputs[0].shape[0] = -1), "inputs[0].shape", "got [-1, 1, 28, 28]"),
        (changed(&|r| r.inputs[0].shape[0] = 0), "inputs[0].shape", "n >= 1"),
        (
            changed(&|r| r.inputs[0].shape[0] = 3),
            "raw_input_contents[0]",
            "FP32 of shape [3, 1, 28, 28], has 1568 elements in 6272 bytes; expected 2352",
        ),
        (changed(&|r| r.raw_input_contents.push(r.raw_input_contents[0].clone())), "raw_input_contents", "expected 1"),
        (changed(&|r| r.inputs[0].contents = Some(two.clone())), "inputs[0].contents", "one of the two"),
        (
            changed(&|r| r.raw_input_contents.clear()),
            "inputs[0].contents",
            "has 0 elements in `contents.fp32_contents`",
        ),
        (typed(&good, "FP32", two.clone()), "inputs[0].contents", "has 2 elements"),
        (typed(&good, "FP16", two.clone()), "inputs[0].contents", "is FP16, which has no field"),
        (
            changed(&|r| r.outputs = vec![InferRequestedOutputTensor { name: "z".into(), ..Default::default() }]),
            "outputs[0].name",
            "expected \"logits\"",
        ),
        (changed(&|r| r.outputs = classes(11)), "outputs[0].parameters.classification", "expected 1 to 10"),
        (
            changed(&|r| drop(r.parameters.insert("timeout".into(), parameter(ParameterChoice::BoolParam(true))))),
            "parameters.timeout",
            "expected a whole number",
        ),
        (sent_as(&good, Datatype::Fp32, &[f32::NAN; 1568]), "raw_input_contents[0]", "sample 0, element 0 is NaN"),
        (sent_as(&good, Datatype::Fp16, &[1.5; 1568]), "raw_input_contents[0]", "the model takes values in [0, 1]"),
    ];
    for (request, field, says) in cases {
        let status = infer(&server, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(violated(&status), field, "{status}");
        assert!(status.message().contains(says), "{status}, expected {says}");
    }
    let region =
        HashMap::from([("shared_memory_region".to_owned(), parameter(ParameterChoice::StringParam("r".into())))]);
    for (request, code, says) in [
        (infer_request(9), Code::ResourceExhausted, "9 is more than this server's limit of 8"),
        (changed(&|r| r.model_name = "fashion-rubust".into()), Code::NotFound, "did you mean `fashion-robust`?"),
        (changed(&|r| r.model_name.clear()), Code::InvalidArgument, "model_name: missing"),
        (changed(&|r| r.model_version = "7".into()), Code::NotFound, "no version `7`"),
        (changed(&|r| r.inputs[0].parameters = region.clone()), Code::Unimplemented, "send tensors in messages"),
        (changed(&|r| r.outputs = asked(region.clone())), Code::Unimplemented, "send tensors in messages"),
        (
            changed(&|r| drop(r.parameters.insert("sequence_id".into(), parameter(ParameterChoice::Int64Param(3))))),
            Code::Unimplemented,
            "keep nothing between requests",
        ),
    ] {
        let status = infer(&server, request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(says), "{status}, expected {says}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_timeout_of_a_request_is_obeyed() {
    let server = Running::start().await;
    let mut request = infer_request(1000);
    request.parameters.insert("timeout".to_owned(), parameter(ParameterChoice::Int64Param(1000)));
    let status = infer(&server, request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("0.001 s"), "{status}");
    let failed = "nv_inference_request_failure{model=\"fashion-robust\",version=\"1\",reason=\"CANCELED\"}";
    server.eventually("counted", |server| server.metric(failed) == Some(1.0)).await;
    request.parameters.insert("timeout".to_owned(), parameter(ParameterChoice::Int64Param(0)));
    request.parameters.insert("priority".to_owned(), parameter(ParameterChoice::Uint64Param(1)));
    assert_eq!(infer(&server, request).await.unwrap().outputs[0].shape, [1000, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_and_configuration_say_the_same() {
    let server = Running::with(|config| config.limits.max_batch = 99).await;
    let mut client = server.oip().await;
    let told = client.server_metadata(oip::ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!(told.name, "assay-server");
    assert_eq!(told.extensions, ["classification", "model_configuration", "model_repository", "statistics"]);
    let name = MODEL.to_owned();
    let request = oip::ModelMetadataRequest { name: name.clone(), version: String::new() };
    let metadata = client.model_metadata(request).await.unwrap().into_inner();
    let request = oip::ModelConfigRequest { name, version: String::new() };
    let config = client.model_config(request).await.unwrap().into_inner().config.unwrap();
    assert_eq!((&metadata.name, &config.name), (&MODEL.to_owned(), &MODEL.to_owned()));
    assert_eq!((metadata.versions.as_slice(), &*metadata.platform), (&["1".to_owned()][..], "onnxruntime_onnx"));
    assert_eq!((&*config.platform, &*config.backend), ("onnxruntime_onnx", "onnxruntime"));
    assert_eq!(config.max_batch_size, 99);
    // What load generators rely on: the batch is in the metadata's shapes and not in the configuration's.
    let [input, output] = [&metadata.inputs[0], &metadata.outputs[0]];
    assert_eq!((&*input.name, &*input.datatype, &input.shape[..]), (INPUT, "FP32", &[-1, 1, 28, 28][..]));
    assert_eq!((&*output.name, &*output.datatype, &output.shape[..]), (OUTPUT, "FP32", &[-1, 10][..]));
    let [input, output] = [config.input[0].dims.clone(), config.output[0].dims.clone()];
    assert_eq!((input, output), (vec![1, 28, 28], vec![10]));
    assert_eq!((config.input[0].data_type(), config.output[0].data_type()), (DataType::TypeFp32, DataType::TypeFp32));
    assert_eq!((config.instance_group[0].count, config.instance_group[0].kind().as_str_name()), (2, "KIND_CPU"));
    let request = v1::GetModelRequest { model: MODEL.to_owned(), ..Default::default() };
    let model = server.client().await.get_model(request).await.unwrap().into_inner();
    let lineage = model.lineage.unwrap();
    for (key, value) in [
        ("digest", &*model.digest),
        ("provider", "cpu"),
        ("threads", "1"),
        ("sessions", "2"),
        ("optimization", "all"),
        ("gradients", "exact"),
        ("input_range", "0,1"),
        ("kind", &*model.kind),
        ("parent_digest", &*lineage.parent),
        ("sparsity", &*lineage.sparsity.to_string()),
    ] {
        assert_eq!(metadata.properties[key], value, "{key}");
        assert_eq!(config.parameters[key].string_value, value, "{key}");
    }
    assert!(
        server
            .metric(&format!(
                "assay_build_info{{version=\"{}\",onnxruntime=\"{}\",provider=\"cpu\"}}",
                told.version, metadata.properties["onnxruntime"]
            ))
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_ready_is_told() {
    let server = Running::start().await;
    let mut client = server.oip().await;
    assert!(client.server_live(oip::ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(oip::ServerReadyRequest {}).await.unwrap().into_inner().ready);
    let mut model = async |name: &str, version: &str| {
        let request = oip::ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
        client.model_ready(request).await.map(|answer| answer.into_inner().ready)
    };
    assert!(model(MODEL, "").await.unwrap() && model(MODEL, "1").await.unwrap());
    assert_eq!(model(MODEL, "2").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(model("fashion", "").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(model("", "").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_count_what_was_inferred() {
    let server = Running::start().await;
    let mut client = server.oip().await;
    let mut statistics = async |name: &str, version: &str| {
        let request = oip::ModelStatisticsRequest { name: name.to_owned(), version: version.to_owned() };
        client.model_statistics(request).await.map(|answer| answer.into_inner().model_stats)
    };
    let zero = statistics(MODEL, "1").await.unwrap().remove(0);
    assert_eq!((zero.inference_count, zero.execution_count, zero.last_inference), (0, 0, 0));
    assert_eq!(statistics("", "").await.unwrap().len(), 6);
    infer(&server, infer_request(3)).await.unwrap();
    server.client().await.predict(predict_request(2)).await.unwrap();
    let mut bad = infer_request(1);
    bad.inputs.clear();
    infer(&server, bad).await.unwrap_err();
    let of = statistics(MODEL, "").await.unwrap().remove(0);
    assert_eq!((&*of.name, &*of.version, of.inference_count, of.execution_count), (MODEL, "1", 5, 2));
    assert!(of.last_inference > 1_700_000_000_000, "milliseconds since 1970: {}", of.last_inference);
    let times = of.inference_stats.unwrap();
    for (what, count) in [
        (times.success, 2),
        (times.fail, 1),
        (times.queue, 2),
        (times.compute_input, 2),
        (times.compute_infer, 2),
        (times.compute_output, 2),
    ] {
        let what = what.unwrap();
        assert!(what.count == count && what.ns > 0, "{what:?}, expected {count}");
    }
    let parts = [times.compute_input, times.compute_infer, times.compute_output].map(|part| part.unwrap().ns);
    assert!(times.success.unwrap().ns >= parts.iter().sum(), "{times:?}");
    assert_eq!(times.cache_hit.unwrap().count, 0);
    for (metric, value) in [
        ("nv_inference_request_success{model=\"fashion-robust\",version=\"1\"}", 2.0),
        ("nv_inference_request_failure{model=\"fashion-robust\",version=\"1\",reason=\"OTHER\"}", 1.0),
        ("nv_inference_count{model=\"fashion-robust\",version=\"1\"}", 5.0),
        ("nv_inference_exec_count{model=\"fashion-robust\",version=\"1\"}", 2.0),
        ("nv_inference_count{model=\"fashion-dense\",version=\"1\"}", 0.0),
    ] {
        assert_eq!(server.metric(metric), Some(value), "{metric}");
    }
    // Whatever else the model runs for.
    let mut attack = server.client().await.attack(attack_request(2, &[("steps", "2")])).await.unwrap().into_inner();
    while attack.message().await.unwrap().is_some() {}
    let later = statistics(MODEL, "").await.unwrap().remove(0).inference_stats.unwrap();
    assert_eq!(later.compute_infer.unwrap().count, 2);
    assert!(later.compute_infer.unwrap().ns > times.compute_infer.unwrap().ns);
    assert_eq!(statistics(MODEL, "3").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(statistics("", "1").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_offered_says_what_to_do_instead() {
    let server = Running::start().await;
    let mut client = server.oip().await;
    let refused = [
        client.system_shared_memory_status(oip::SystemSharedMemoryStatusRequest::default()).await.unwrap_err(),
        client.system_shared_memory_register(oip::SystemSharedMemoryRegisterRequest::default()).await.unwrap_err(),
        client.system_shared_memory_unregister(oip::SystemSharedMemoryUnregisterRequest::default()).await.unwrap_err(),
        client.cuda_shared_memory_status(oip::CudaSharedMemoryStatusRequest::default()).await.unwrap_err(),
        client.cuda_shared_memory_register(oip::CudaSharedMemoryRegisterRequest::default()).await.unwrap_err(),
        client.cuda_shared_memory_unregister(oip::CudaSharedMemoryUnregisterRequest::default()).await.unwrap_err(),
        client.trace_setting(oip::TraceSettingRequest::default()).await.unwrap_err(),
        client.log_settings(oip::LogSettingsRequest::default()).await.unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        assert!(status.message().contains("is not offered by this server; "), "{status}");
    }
}
