//! PGD on images that resist it, in sample-steps per second, against the bare gradient steps it consists of.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::num::NonZeroUsize;

use assay_attack::{Bounds, Budget, Cancel, Goal, Job, Norm, SampleId, Threat};
use assay_benches::{classifier, images};
use assay_graph::Loss;
use assay_runtime::Classifier;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SAMPLES: usize = 64;
const STEPS: usize = 20;

fn pgd(c: &mut Criterion) {
    let model = classifier("fashion-robust", 2);
    let data = images(SAMPLES);
    let ids: Vec<SampleId> = (0..SAMPLES as u64).map(SampleId).collect();
    let steps = [("steps".to_owned(), STEPS.to_string())];
    let attack = assay_attack::parse("pgd", &steps).unwrap();
    // So small a radius breaks nothing: every correct sample takes every step.
    let threat = Threat { norm: Norm::Linf, eps: "1e-6".parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() };
    let job = Job {
        classifier: &model,
        attack: &*attack,
        threat: &threat,
        goal: &Goal::Untargeted,
        images: data.samples().view(),
        labels: data.labels(),
        ids: &ids,
        seed: 0,
        batch: NonZeroUsize::new(SAMPLES).unwrap(),
        budget: Budget::default(),
        eight_bit: false,
        checks: false,
    };

    let mut group = c.benchmark_group("pgd");
    group.sample_size(20);
    group.throughput(Throughput::Elements((SAMPLES * STEPS) as u64));
    group.bench_function("20 gradient steps", |b| {
        b.iter(|| {
            for _ in 0..STEPS {
                let step = model.gradient(data.samples().view(), Loss::CrossEntropy, data.labels(), None);
                black_box(step.unwrap());
            }
        });
    });
    group.bench_function("PGD-20", |b| {
        b.iter(|| black_box(assay_attack::run(&job, &mut |_| {}, &Cancel::default()).unwrap()));
    });
    group.finish();
}

criterion_group!(benches, pgd);
criterion_main!(benches);
