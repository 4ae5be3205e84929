//! A server that speaks the Open Inference Protocol and hosts one linear model, as well or as badly as a test asks for.
// Views of rows are as cheap as references.
#![allow(clippy::needless_pass_by_value)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assay_attack::SampleRng;
use assay_graph::Loss;
use assay_proto::inference::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use assay_proto::inference::model_infer_response::InferOutputTensor;
use assay_proto::inference::model_metadata_response::TensorMetadata;
use assay_proto::inference::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse,
};
use assay_runtime::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, RunError};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewD};
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// `W x + b`, in binary64, row by row: a batch changes nothing.
#[derive(Clone)]
pub(crate) struct Net {
    pub(crate) weights: Array2<f64>,
    bias: Vec<f64>,
    spec: ClassifierSpec,
}

impl Net {
    /// Random weights, and a bias that puts the middle of the range [0, `high`] near the boundaries.
    pub(crate) fn random(sample_shape: &[usize], classes: usize, high: f64) -> Self {
        let features = sample_shape.iter().product();
        let mut values = vec![0.0_f32; classes * features];
        SampleRng::new(11, assay_attack::SampleId(0), "weights", 0).fill_normal(&mut values);
        let weights = Array2::from_shape_vec((classes, features), values).unwrap().mapv(|w| f64::from(w) / high);
        let bias = weights.rows().into_iter().map(|w| -0.5 * high * w.sum()).collect();
        let spec = ClassifierSpec {
            digest: String::new(),
            sample_shape: sample_shape.to_vec(),
            classes,
            provider: "test".into(),
            gradients: Gradients::Unavailable("it has none".into()),
        };
        Self { weights, bias, spec }
    }

    pub(crate) fn row(&self, x: ArrayView1<'_, f32>) -> Vec<f64> {
        let dot = |w: ArrayView1<'_, f64>| w.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum::<f64>();
        self.weights.rows().into_iter().zip(&self.bias).map(|(w, b)| dot(w) + b).collect()
    }

    pub(crate) fn class(&self, x: ArrayView1<'_, f32>) -> usize {
        let z = self.row(x);
        (0..z.len()).fold(0, |best, i| if z[i] as f32 > z[best] as f32 { i } else { best })
    }

    /// Euclidean distance to the nearest boundary, wherever the range of inputs ends.
    pub(crate) fn distance(&self, x: ArrayView1<'_, f32>) -> f64 {
        let (z, label) = (self.row(x), self.class(x));
        let others = (0..z.len()).filter(|k| *k != label);
        others
            .map(|k| {
                let v = &self.weights.row(k) - &self.weights.row(label);
                (z[label] - z[k]) / v.iter().map(|v| v * v).sum::<f64>().sqrt()
            })
            .fold(f64::INFINITY, f64::min)
    }

    /// By how much a class can be made to exceed the label within `eps` in the maximum norm and the range [0, `high`].
    pub(crate) fn reach(&self, x: ArrayView1<'_, f32>, eps: f64, high: f64) -> f64 {
        let (z, label) = (self.row(x), self.class(x));
        let others = (0..z.len()).filter(|k| *k != label);
        others
            .map(|k| {
                let gain: f64 = (0..x.len())
                    .map(|i| {
                        let (v, x) = (self.weights[[k, i]] - self.weights[[label, i]], f64::from(x[i]));
                        v * if v > 0.0 { eps.min(high - x) } else { -eps.min(x) }
                    })
                    .sum();
                z[k] - z[label] + gain
            })
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

impl Classifier for Net {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        let rows = x.rows().into_iter().flat_map(|x| self.row(x)).map(|v| v as f32).collect();
        Ok(Array2::from_shape_vec((x.nrows(), self.spec.classes), rows).unwrap())
    }

    fn gradient(
        &self,
        _: ArrayView2<'_, f32>,
        _: Loss,
        _: &[Class],
        _: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        Err(RunError::NoGradient("it has none".into()))
    }

    fn vjp(&self, _: ArrayView2<'_, f32>, _: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        Err(RunError::NoGradient("it has none".into()))
    }
}

/// What a server is asked for the n-th time, from 1.
pub(crate) struct Asked<'a> {
    pub(crate) number: u64,
    /// `[n, features]`, as the model reads them.
    pub(crate) rows: &'a Array2<f32>,
    pub(crate) logits: Array2<f32>,
}

/// What it does then.
pub(crate) enum Answer {
    Tensor(InferOutputTensor, Vec<u8>),
    /// The same after a while.
    Late(Duration, InferOutputTensor, Vec<u8>),
    Refuse(Status),
    /// It is gone, with all its connections.
    Die,
}

type Behaviour = Box<dyn Fn(Asked<'_>) -> Answer + Send + Sync>;

/// A tensor named "y".
pub(crate) fn tensor(datatype: &str, shape: &[usize]) -> InferOutputTensor {
    let shape = shape.iter().map(|&size| size as i64).collect();
    InferOutputTensor { name: "y".into(), datatype: datatype.into(), shape, ..Default::default() }
}

/// The logits as FP32.
pub(crate) fn honest(asked: Asked<'_>) -> Answer {
    let bytes = asked.logits.iter().flat_map(|v| v.to_le_bytes()).collect();
    Answer::Tensor(tensor("FP32", asked.logits.shape()), bytes)
}

/// What a server has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) samples: u64,
    /// Samples in the largest request.
    pub(crate) largest: usize,
    pub(crate) first: Option<Instant>,
    pub(crate) last: Option<Instant>,
}

struct Hosted {
    net: Net,
    metadata: ModelMetadataResponse,
    behaviour: Behaviour,
    seen: Arc<Mutex<Seen>>,
    runtime: Arc<Mutex<Option<Runtime>>>,
}

/// A server, until it is dropped. It calls its model "net".
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    runtime: Arc<Mutex<Option<Runtime>>>,
}

/// Metadata of `net`: input "x" with any batch, output "y".
pub(crate) fn metadata(net: &Net, datatype: &str) -> ModelMetadataResponse {
    let tensor = |name: &str, datatype: &str, sizes: &[usize]| TensorMetadata {
        name: name.into(),
        datatype: datatype.into(),
        shape: std::iter::once(-1).chain(sizes.iter().map(|&size| size as i64)).collect(),
    };
    ModelMetadataResponse {
        name: "net".into(),
        versions: vec!["3".into()],
        platform: "test".into(),
        inputs: vec![tensor("x", datatype, &net.spec.sample_shape)],
        outputs: vec![tensor("y", "FP32", &[net.spec.classes])],
        ..Default::default()
    }
}

impl Endpoint {
    pub(crate) fn start(
        net: &Net,
        metadata: ModelMetadataResponse,
        behaviour: impl Fn(Asked<'_>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let server = Runtime::new().unwrap();
        let (seen, runtime) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Mutex::new(None)));
        let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let hosted = Hosted {
            net: net.clone(),
            metadata,
            behaviour: Box::new(behaviour),
            seen: Arc::clone(&seen),
            runtime: Arc::clone(&runtime),
        };
        let service = GrpcInferenceServiceServer::new(hosted);
        server.spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
        *runtime.lock().unwrap() = Some(server);
        Self { address, seen, runtime }
    }

    pub(crate) fn url(&self) -> String {
        format!("oip://{}/net", self.address)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        stop(&self.runtime);
    }
}

fn stop(runtime: &Mutex<Option<Runtime>>) {
    if let Some(runtime) = runtime.lock().unwrap().take() {
        runtime.shutdown_background();
    }
}

/// The numbers of the request's one input.
fn rows(request: &ModelInferRequest, features: usize) -> Array2<f32> {
    let (input, raw) = (&request.inputs[0], &request.raw_input_contents[0]);
    let values: Vec<f32> = match input.datatype.as_str() {
        "FP32" => raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        "FP16" => raw.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect(),
        "UINT8" => raw.iter().map(|byte| f32::from(*byte)).collect(),
        other => panic!("datatype {other}"),
    };
    assert_eq!(values.len() as i64, input.shape.iter().product::<i64>());
    Array2::from_shape_vec((input.shape[0] as usize, features), values).unwrap()
}

#[tonic::async_trait]
impl GrpcInferenceService for Hosted {
    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        let request = request.into_inner();
        assert_eq!((request.model_name.as_str(), request.inputs[0].name.as_str()), ("net", "x"));
        let rows = rows(&request, self.net.spec.features());
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.requests += 1;
            seen.samples += rows.nrows() as u64;
            seen.largest = seen.largest.max(rows.nrows());
            seen.first.get_or_insert_with(Instant::now);
            seen.last = Some(Instant::now());
            seen.requests
        };
        let logits = self.net.logits(rows.view()).unwrap();
        let (output, raw) = match (self.behaviour)(Asked { number, rows: &rows, logits }) {
            Answer::Tensor(output, raw) => (output, raw),
            Answer::Late(delay, output, raw) => {
                tokio::time::sleep(delay).await;
                (output, raw)
            }
            Answer::Refuse(status) => return Err(status),
            Answer::Die => {
                // Its own threads cannot end it.
                let runtime = Arc::clone(&self.runtime);
                std::thread::spawn(move || stop(&runtime));
                std::future::pending().await
            }
        };
        Ok(Response::new(ModelInferResponse {
            model_name: "net".into(),
            outputs: vec![output],
            raw_output_contents: vec![raw.into()],
            ..Default::default()
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        match request.get_ref().name.as_str() {
            "net" => Ok(Response::new(self.metadata.clone())),
            other => Err(Status::not_found(format!("unknown model '{other}'"))),
        }
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Result<Response<ModelReadyResponse>, Status> {
        Ok(Response::new(ModelReadyResponse { ready: request.get_ref().name != "sleepy" }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Result<Response<ServerReadyResponse>, Status> {
        Err(Status::unimplemented("as of some proxies"))
    }

    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse::default()))
    }
}

/// Samples with the classes that the net gives them, in a file.
pub(crate) struct Data {
    pub(crate) images: Array2<f32>,
    pub(crate) labels: Vec<u32>,
    folder: tempfile::TempDir,
}

impl Data {
    /// `n` random images of bytes; `file` is how they lie in the file, and `net` sees them as `view` shows them.
    pub(crate) fn random(
        n: usize,
        file: &[usize],
        net: &Net,
        view: impl Fn(ArrayViewD<'_, u8>) -> Array2<f32>,
    ) -> Self {
        let mut rng = SampleRng::new(5, assay_attack::SampleId(0), "images", 0);
        let count = n * file.iter().product::<usize>();
        // A third of them at the ends of the range.
        let byte = |uniform: f64| ((uniform * 1.5 - 0.25).clamp(0.0, 1.0) * 255.0).round() as u8;
        let bytes: Vec<u8> = (0..count).map(|_| byte(rng.uniform())).collect();
        let shape: Vec<usize> = std::iter::once(n).chain(file.iter().copied()).collect();
        let bytes = ndarray::ArrayD::from_shape_vec(shape, bytes).unwrap();
        let images = view(bytes.view());
        let labels: Vec<u32> = images.rows().into_iter().map(|x| net.class(x) as u32).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut archive = ndarray_npy::NpzWriter::new(std::fs::File::create(folder.path().join("data.npz")).unwrap());
        archive.add_array("images", &bytes).unwrap();
        archive.add_array("labels", &Array1::from_vec(labels.clone())).unwrap();
        archive.finish().unwrap();
        Self { images, labels, folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("data.npz")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
