//! A server on free ports, inside the test or as the built program, and real clients.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use assay_data::{DataSource, Dataset};
use assay_proto::v1::{
    AttackRequest, AttackSpec, AuditRequest, DataType, Norm, PredictRequest, SampleData, Tensor, Threat,
    UploadDataRequest, UploadHeader, assay_client::AssayClient, upload_data_request::Part,
};
use assay_server::{Addresses, ApiKey, Config, Role, Server, ServerError, hash_key};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_types::StatusExt;

/// Model that most tests use: the demo's, trained to be robust.
pub(crate) const MODEL: &str = "fashion-robust";
/// Its variant.
pub(crate) const PRUNED: &str = "fashion-layer-pruned";
/// Nothing in these tests takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder of the repository.
pub(crate) fn deploy(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(folder)
}

/// The demo's repository and data on free ports.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.models = deploy("models");
    config.grpc.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.admin.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.runtime.threads = Some(1);
    config.datasets.insert("fashion-mnist".to_owned(), deploy("data/fashion-mnist"));
    config
}

/// A server inside the test.
pub(crate) struct Running {
    pub(crate) addresses: Addresses,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    /// A server of the demo's repository that is ready.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// As [`Running::start`], with another configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let server = Server::bind(config).await.unwrap();
        let addresses = server.addresses();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let running = Self { addresses, stop: Some(stop), ended };
        running.eventually("ready", |server| get(server.addresses.admin, "/readyz").0 == 200).await;
        running
    }

    pub(crate) async fn client(&self) -> AssayClient<Channel> {
        connect(self.addresses.grpc).await
    }

    /// Uploads samples, in two parts; gives their digest.
    pub(crate) async fn upload(&self, data: &SampleData) -> Result<String, Status> {
        let bytes = data.encode_to_vec();
        let content = sha256(&bytes);
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let header = UploadHeader { content, size: bytes.len() as u64 };
        self.send(header, &[first, second]).await
    }

    /// Uploads these parts behind this header; gives the digest of what is stored.
    pub(crate) async fn send(&self, header: UploadHeader, parts: &[&[u8]]) -> Result<String, Status> {
        let chunks = parts.iter().map(|part| Part::Chunk(part.to_vec().into()));
        let parts: Vec<_> = std::iter::once(Part::Header(header)).chain(chunks).collect();
        let parts = parts.into_iter().map(|part| UploadDataRequest { part: Some(part) });
        let answer = self.client().await.upload_data(tokio_stream::iter(parts)).await?;
        Ok(answer.into_inner().content)
    }

    /// Status and body of a page of the admin port.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        get(self.addresses.admin, path)
    }

    /// The value of a metric with exactly these labels (in the order of the scrape); `None` if it is not there.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let (_, scraped) = self.admin("/metrics");
        let line = scraped.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits until something holds.
    pub(crate) async fn eventually(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "not {what} after {PATIENCE:?}: {:?}", self.admin("/readyz"));
    }

    /// The first signal.
    pub(crate) fn signal(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end of the server.
    pub(crate) async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.ended).await.expect("the server did not stop").unwrap().unwrap();
    }
}

pub(crate) async fn connect(address: SocketAddr) -> AssayClient<Channel> {
    let client = AssayClient::connect(format!("http://{address}")).await.unwrap();
    client.max_decoding_message_size(1 << 30).max_encoding_message_size(1 << 30)
}

/// A client that sends a key with each call.
pub(crate) type Known = AssayClient<InterceptedService<Channel, Sends>>;

/// Adds a key to each call.
#[derive(Clone)]
pub(crate) struct Sends(MetadataValue<Ascii>);

impl Interceptor for Sends {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The key that these tests have for a name.
pub(crate) fn secret(name: &str) -> String {
    format!("the-secret-of-{name}-0123456789")
}

/// That key, with its roles.
pub(crate) fn key(name: &str, roles: &[Role]) -> ApiKey {
    let sha256 = hash_key(&secret(name)).unwrap();
    ApiKey { name: name.to_owned(), sha256, roles: roles.to_vec(), not_after: None }
}

/// Who holds the key of this name.
pub(crate) async fn known(server: &Running, name: &str) -> Known {
    let channel = Channel::from_shared(format!("http://{}", server.addresses.grpc)).unwrap().connect().await.unwrap();
    AssayClient::with_interceptor(channel, Sends(format!("Bearer {}", secret(name)).parse().unwrap()))
}

/// Status and body of a page.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
    (status, body.to_owned())
}

/// The first `n` test images with their labels.
pub(crate) fn dataset(n: usize) -> Dataset {
    Dataset::open(&DataSource::new(deploy("data/fashion-mnist")), Some(n)).unwrap()
}

/// The first `n` test images as a batch `[n, 1, 28, 28]`, and their labels.
pub(crate) fn images(n: usize) -> (Tensor, Vec<u32>) {
    let dataset = dataset(n);
    let values: Vec<f32> = dataset.samples().iter().copied().collect();
    (fp32(&[n as u64, 1, 28, 28], &values), dataset.labels().iter().map(|label| label.0).collect())
}

pub(crate) fn fp32(shape: &[u64], values: &[f32]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { shape: shape.to_vec(), datatype: DataType::Fp32.into(), data: data.into() }
}

pub(crate) fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

pub(crate) fn predict_request(n: usize) -> PredictRequest {
    PredictRequest { model: MODEL.to_owned(), input: Some(images(n).0), ..Default::default() }
}

/// PGD under Linf 0.1 with these parameters.
pub(crate) fn attack_request(n: usize, parameters: &[(&str, &str)]) -> AttackRequest {
    let (input, labels) = images(n);
    AttackRequest {
        model: MODEL.to_owned(),
        input: Some(input),
        labels,
        threat: Some(linf("0.1")),
        attack: Some(pgd(parameters)),
        ..Default::default()
    }
}

/// PGD of three steps under Linf 0.1, on so many registered samples; 0: on all.
pub(crate) fn audit_request(models: &[&str], samples: u64) -> AuditRequest {
    let models: Vec<_> = models.iter().map(|model| format!("{{ name = \"{model}\" }}")).collect();
    let samples = if samples == 0 { String::new() } else { format!("samples = {samples}\n") };
    let plan = format!(
        "schema = 1\nseed = 0\nmodels = [{}]\ngates = []\n\
         [data]\ndataset = \"fashion-mnist\"\n{samples}draw = \"first\"\n\
         [[evaluations]]\nnorm = \"Linf\"\neps = \"0.1\"\nattacks = [{{ name = \"pgd\", parameters = {{ steps = 3 }} }}]\n",
        models.join(", ")
    );
    AuditRequest { plan, ..Default::default() }
}

/// The same with another piece of its plan.
#[track_caller]
pub(crate) fn changed(audit: AuditRequest, from: &str, to: &str) -> AuditRequest {
    assert!(audit.plan.contains(from), "{from} not in {}", audit.plan);
    AuditRequest { plan: audit.plan.replace(from, to), ..audit }
}

/// An audit that goes on until it is stopped.
pub(crate) fn endless_audit() -> AuditRequest {
    let audit = changed(audit_request(&[MODEL], 64), "steps = 3", "steps = 10000");
    changed(audit, "eps = \"0.1\"", "eps = \"0.01\"")
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attack that goes on until it is stopped.
pub(crate) fn endless_attack() -> AttackRequest {
    attack_request(64, &[("steps", "10000")])
}

pub(crate) fn linf(eps: &str) -> Threat {
    Threat { norm: Norm::Linf.into(), eps: eps.to_owned() }
}

pub(crate) fn pgd(parameters: &[(&str, &str)]) -> AttackSpec {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    AttackSpec { name: "pgd".to_owned(), parameters }
}

/// The field that a status blames.
pub(crate) fn violated(status: &Status) -> String {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
