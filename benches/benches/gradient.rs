//! A gradient step (logits, loss and gradient in one run) against a forward pass, two threads each.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use assay_benches::{classifier, images};
use assay_graph::Loss;
use assay_runtime::Classifier;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn gradient(c: &mut Criterion) {
    let model = classifier("fashion-robust", 2);
    let mut group = c.benchmark_group("gradient");
    for batch in [1, 16, 64] {
        let data = images(batch);
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("forward", batch), |b| {
            b.iter(|| black_box(model.logits(data.samples().view()).unwrap()));
        });
        group.bench_function(BenchmarkId::new("step", batch), |b| {
            b.iter(|| {
                let step = model.gradient(data.samples().view(), Loss::CrossEntropy, data.labels(), None);
                black_box(step.unwrap())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, gradient);
criterion_main!(benches);
