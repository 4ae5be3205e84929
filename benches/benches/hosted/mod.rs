//! A server on one session of one thread a model, and predictions by two models in turn.

#![allow(dead_code, reason = "each benchmark takes its part")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

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
    /// Returns when `models` of a repository are served.
    pub(crate) fn new(repository: &Path, models: &[&str]) -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config { models: repository.to_owned(), ..Config::default() };
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

    /// Seconds of each prediction, by two models in turn: as many rounds as `measured` has room for, and no fewer than `fewest`.
    pub(crate) fn in_turn(&self, requests: &[PredictRequest; 2], measured: Duration, fewest: usize) -> Vec<[f64; 2]> {
        let predict = |request: &PredictRequest| {
            let (mut client, request) = (self.client.clone(), request.clone());
            let start = Instant::now();
            self.tokio.block_on(client.predict(request)).unwrap();
            start.elapsed().as_secs_f64()
        };
        // The first one makes the session.
        requests.iter().for_each(|request| _ = predict(request));
        let (start, mut rounds) = (Instant::now(), Vec::new());
        while start.elapsed() < measured || rounds.len() < fewest {
            rounds.push([0, 1].map(|i| predict(&requests[i])));
        }
        rounds
    }

    pub(crate) fn stop(self) {
        drop(self.client);
        self.stop.cancel();
        self.tokio.block_on(self.served).unwrap().unwrap();
    }
}

/// One batch of samples of a shape.
pub(crate) fn request(model: &str, sample: &[usize], values: impl IntoIterator<Item = f32>) -> PredictRequest {
    let data: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    let n = data.len() / size_of::<f32>() / sample.iter().product::<usize>();
    let shape = std::iter::once(n).chain(sample.iter().copied()).map(|size| size as u64).collect();
    let input = Tensor { shape, datatype: DataType::Fp32.into(), data: data.into() };
    PredictRequest { model: model.into(), input: Some(input), ..PredictRequest::default() }
}

/// Quartiles, least first.
pub(crate) fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part: f64| values[(part * (values.len() - 1) as f64).round() as usize])
}
