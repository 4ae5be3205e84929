//! The batches of an epoch: their order, what is in them, and that nothing depends on their size.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::num::NonZeroUsize;
use std::sync::Arc;

use assay_attack::{Bounds, SampleId};
use assay_data::{Augment, Batch, Border, Dataset, Epoch, Last, Parts};
use assay_runtime::Class;
use ndarray::{Array2, Axis, concatenate};

/// `n` images of one channel, 4x5, of which no two pixels are alike.
fn data(n: usize) -> Arc<Dataset> {
    let samples = Array2::from_shape_fn((n, 20), |(i, j)| (20 * i + j) as f32 / (20 * n) as f32);
    let parts = Parts {
        name: "ramps".into(),
        samples,
        labels: (0..n as u32).map(|i| Class(i % 3)).collect(),
        sample_shape: vec![1, 4, 5],
        bounds: Bounds::new(0.0, 1.0).unwrap(),
        class_names: vec![],
        digest: String::new(),
    };
    Arc::new(Dataset::from_parts(parts).unwrap())
}

fn epoch(number: u32, batch: usize) -> Epoch {
    let batch = NonZeroUsize::new(batch).unwrap();
    Epoch { seed: 5, number, batch, last: Last::Keep, augment: Augment::default() }
}

fn rows(rows: std::ops::Range<u64>) -> Vec<SampleId> {
    rows.map(SampleId).collect()
}

fn batches(epoch: &Epoch, data: &Arc<Dataset>, ids: &[SampleId]) -> Vec<Batch> {
    epoch.batches(data, ids).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Batches one after the other.
fn joined(batches: &[Batch]) -> Batch {
    Batch {
        ids: batches.iter().flat_map(|b| b.ids.clone()).collect(),
        samples: concatenate(Axis(0), &batches.iter().map(|b| b.samples.view()).collect::<Vec<_>>()).unwrap(),
        labels: batches.iter().flat_map(|b| b.labels.clone()).collect(),
    }
}

#[test]
fn every_sample_comes_once_with_its_label_and_values() {
    let data = data(50);
    let ids = rows(0..50);
    let all = joined(&batches(&epoch(0, 8), &data, &ids));
    assert_ne!(all.ids, ids);
    let mut sorted = all.ids.clone();
    sorted.sort();
    assert_eq!(sorted, ids);
    for ((id, sample), label) in all.ids.iter().zip(all.samples.rows()).zip(&all.labels) {
        assert_eq!(sample, data.samples().row(id.0 as usize));
        assert_eq!(*label, data.labels()[id.0 as usize]);
    }
}

#[test]
fn nothing_depends_on_the_size_of_a_batch() {
    let data = data(50);
    let augment = Augment { pad: 2, border: Border::Reflect, flip: true };
    let of = |batch| joined(&batches(&Epoch { augment, ..epoch(3, batch) }, &data, &rows(10..50)));
    let expected = of(40);
    for batch in [1, 7, 39, 41, 1000] {
        assert_eq!(of(batch), expected, "batches of {batch}");
    }
}

#[test]
fn epochs_differ_and_can_be_had_again() {
    let order = |number| epoch(number, 8).order(&rows(0..100));
    assert_eq!(order(4), order(4));
    assert_ne!(order(4), order(5));
    assert_ne!(order(4), Epoch { seed: 6, ..epoch(4, 8) }.order(&rows(0..100)));
    let mut backwards = rows(0..100);
    backwards.reverse();
    assert_eq!(epoch(4, 8).order(&backwards), order(4));
}

#[test]
fn all_orders_are_as_likely() {
    let mut counts = std::collections::BTreeMap::new();
    for number in 0..6000 {
        *counts.entry(epoch(number, 1).order(&rows(0..3))).or_insert(0_u32) += 1;
    }
    // Six orders, each a thousand times but for five standard deviations.
    assert!(counts.len() == 6 && counts.values().all(|count| count.abs_diff(1000) < 145), "{counts:?}");
}

#[test]
fn a_last_batch_that_is_not_full_is_kept_or_left_out() {
    let data = data(10);
    let sizes = |last, samples| -> Vec<usize> {
        let epoch = Epoch { last, ..epoch(0, 4) };
        let sizes: Vec<_> = batches(&epoch, &data, &rows(0..samples)).iter().map(|batch| batch.ids.len()).collect();
        assert_eq!(epoch.count(samples as usize), sizes.len());
        sizes
    };
    assert_eq!(sizes(Last::Keep, 10), [4, 4, 2]);
    assert_eq!(sizes(Last::Drop, 10), [4, 4]);
    assert_eq!((sizes(Last::Keep, 8), sizes(Last::Drop, 8)), (vec![4, 4], vec![4, 4]));
    assert!(sizes(Last::Drop, 3).is_empty() && sizes(Last::Keep, 0).is_empty());
}

#[test]
fn batches_that_nobody_takes_are_given_up() {
    let data = data(1000);
    let mut batches = epoch(0, 1).batches(&data, &rows(0..1000)).unwrap();
    batches.next().unwrap().unwrap();
    drop(batches);
    assert_eq!(Arc::strong_count(&data), 1, "the thread still holds the data");
}

#[test]
fn rows_that_are_not_there_are_refused() {
    let data = data(10);
    let error = epoch(0, 4).batches(&data, &[SampleId(3), SampleId(10)]).err().unwrap().to_string();
    assert!(error.contains("\"ramps\" has no sample 10; its 10 samples count from 0"), "{error}");
    assert!(data.subset(&[SampleId(10)]).is_err() && data.subset(&[]).is_err());
    let wide = Epoch { augment: Augment { pad: 4, ..Augment::default() }, ..epoch(0, 4) };
    assert!(wide.batches(&data, &rows(0..10)).is_err());
}

#[test]
fn a_subset_has_the_rows_in_the_order_given() {
    let data = data(10);
    let subset = data.subset(&[SampleId(7), SampleId(2)]).unwrap();
    assert_eq!(subset.labels(), [Class(1), Class(2)]);
    assert_eq!(subset.samples().row(1), data.samples().row(2));
    assert_eq!((subset.sample_shape(), subset.digest()), (data.sample_shape(), ""));
}
