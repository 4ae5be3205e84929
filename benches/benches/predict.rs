//! `Predict` over gRPC against a bare ONNX Runtime session, at batch 1, 8 and 64, on one thread each.
#![allow(clippy::unwrap_used, missing_docs)]

mod hosted;

use std::hint::black_box;

use assay_benches::{images, model_file, repository, runtime};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ort::session::Session;
use ort::value::TensorRef;

use hosted::{Hosted, request};

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
    let hosted = Hosted::new(&repository(), &[MODEL]);

    let mut group = c.benchmark_group("predict");
    for batch in [1, 8, 64] {
        let data = images(batch);
        let values: Vec<f32> = data.samples().iter().copied().collect();
        let shape = [batch as i64, 1, 28, 28];
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("bare session", batch), |b| {
            b.iter(|| {
                let input = TensorRef::from_array_view((shape, &*values)).unwrap();
                let outputs = bare.run(ort::inputs![input]).unwrap();
                black_box(outputs[0].try_extract_tensor::<f32>().unwrap().1[0])
            });
        });
        let request = request(MODEL, &[1, 28, 28], values.iter().copied());
        group.bench_function(BenchmarkId::new("gRPC", batch), |b| {
            b.to_async(&hosted.tokio).iter(|| {
                let (mut client, request) = (hosted.client.clone(), request.clone());
                async move { black_box(client.predict(request).await.unwrap()) }
            });
        });
    }
    group.finish();
    hosted.stop();
}

criterion_group!(benches, predict);
criterion_main!(benches);
