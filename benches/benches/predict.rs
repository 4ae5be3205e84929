//! `Predict` over gRPC against a bare ONNX Runtime session, at batch 1, 8 and 64, on one thread each.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use assay_benches::{images, model_file, root, runtime};
use assay_proto::v1::assay_client::AssayClient;
use assay_proto::v1::{DataType, GetModelRequest, PredictRequest, Tensor};
use assay_server::{Config, Server};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ort::session::Session;
use ort::value::TensorRef;
use tokio_util::sync::CancellationToken;

const MODEL: &str = "fashion-robust";

fn bare_session() -> Session {
    Session::builder(runtime().environment())
        .unwrap()
        .with_intra_threads(1)
        .unwrap()
        .with_inter_threads(1)
        .unwrap()
        .commit_from_file(model_file(MODEL))
        .unwrap()
}

fn predict(c: &mut Criterion) {
    let mut bare = bare_session();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut config = Config { models: root().join("deploy/models"), ..Config::default() };
    config.grpc.listen = "127.0.0.1:0".parse().unwrap();
    config.admin.listen = "127.0.0.1:0".parse().unwrap();
    config.runtime.sessions = 1;
    config.runtime.threads = Some(1);
    let server = tokio.block_on(Server::bind(config)).unwrap();
    let address = format!("http://{}", server.addresses().grpc);
    let stop = CancellationToken::new();
    let served = tokio.spawn(server.run(stop.clone().cancelled_owned()));
    let mut client = tokio.block_on(AssayClient::connect(address)).unwrap();
    while tokio.block_on(client.get_model(GetModelRequest { model: MODEL.into(), ..Default::default() })).is_err() {
        assert!(!served.is_finished(), "the server stopped");
        std::thread::sleep(Duration::from_millis(50));
    }

    let mut group = c.benchmark_group("predict");
    for batch in [1, 8, 64] {
        let data = images(batch);
        let values: Vec<f32> = data.samples().iter().copied().collect();
        let shape = [batch as u64, 1, 28, 28];
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("bare session", batch), |b| {
            b.iter(|| {
                let input = TensorRef::from_array_view((shape.map(|d| d as i64), &*values)).unwrap();
                let outputs = bare.run(ort::inputs![input]).unwrap();
                black_box(outputs[0].try_extract_tensor::<f32>().unwrap().1[0])
            });
        });
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let input = Tensor { shape: shape.to_vec(), datatype: DataType::Fp32.into(), data: bytes.into() };
        let request = PredictRequest { model: MODEL.into(), input: Some(input), ..PredictRequest::default() };
        group.bench_function(BenchmarkId::new("gRPC", batch), |b| {
            b.to_async(&tokio).iter(|| {
                let (mut client, request) = (client.clone(), request.clone());
                async move { black_box(client.predict(request).await.unwrap()) }
            });
        });
    }
    group.finish();
    drop(client);
    stop.cancel();
    tokio.block_on(served).unwrap().unwrap();
}

criterion_group!(benches, predict);
criterion_main!(benches);
