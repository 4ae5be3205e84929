//! A server with the demo's models, on one session of one thread each.

use std::net::SocketAddr;
use std::time::Duration;

use assay_benches::root;
use assay_data::Dataset;
use assay_proto::v1::assay_client::AssayClient;
use assay_proto::v1::{DataType, GetModelRequest, PredictRequest, Tensor};
use assay_server::{Config, Server, ServerError};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

pub(crate) struct Hosted {
    pub(crate) tokio: Runtime,
    pub(crate) client: AssayClient<Channel>,
    stop: CancellationToken,
    served: JoinHandle<Result<(), ServerError>>,
}

impl Hosted {
    /// Returns when `models` are served.
    pub(crate) fn new(models: &[&str]) -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config { models: root().join("deploy/models"), ..Config::default() };
        (config.grpc.listen, config.admin.listen) = (any, any);
        config.runtime.sessions = 1;
        config.runtime.threads = Some(1);
        let server = tokio.block_on(Server::bind(config)).unwrap();
        let address = format!("http://{}", server.addresses().grpc);
        let stop = CancellationToken::new();
        let served = tokio.spawn(server.run(stop.clone().cancelled_owned()));
        let mut client = tokio.block_on(AssayClient::connect(address)).unwrap();
        for model in models {
            let asked = GetModelRequest { model: (*model).into(), ..Default::default() };
            while tokio.block_on(client.get_model(asked.clone())).is_err() {
                assert!(!served.is_finished(), "the server stopped");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Self { tokio, client, stop, served }
    }

    pub(crate) fn stop(self) {
        drop(self.client);
        self.stop.cancel();
        self.tokio.block_on(self.served).unwrap().unwrap();
    }
}

/// All of `data` in one batch.
pub(crate) fn request(model: &str, data: &Dataset) -> PredictRequest {
    let shape = std::iter::once(data.len()).chain([1, 28, 28]).map(|size| size as u64).collect();
    let bytes: Vec<u8> = data.samples().iter().flat_map(|v| v.to_le_bytes()).collect();
    let input = Tensor { shape, datatype: DataType::Fp32.into(), data: bytes.into() };
    PredictRequest { model: model.into(), input: Some(input), ..PredictRequest::default() }
}
