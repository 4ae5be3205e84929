//! Criteria of pruning against the interpreter: feature maps measured one by one, and nets whose channels and blocks are really gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use assay_graph::{Block, Group, Model, Removal, Shaped, Tensor, Value, blocks, groups, remove_blocks, zeroed};
use assay_harden::{Importance, Judged};
use assay_reference::{Array, Net, run};
use assay_runtime::{Class, EngineOptions, Library, OnnxRuntime};
use ndarray::{Array2, ArrayD, Axis};

const SAMPLES: usize = 70;

/// A stem, two residual blocks of which the first convolution can be pruned, a hidden layer behind a flattened map.
fn net() -> Net {
    let block = |net: Net, x: &str, name: &str| {
        net.conv(&format!("{x} -> {name}.a"), &[5, 4, 3, 3], &[])
            .norm(&format!("{name}.a -> {name}.an"), 5)
            .node("Relu", &format!("{name}.an -> {name}.ar"), &[])
            .conv(&format!("{name}.ar -> {name}.b"), &[4, 5, 3, 3], &[])
            .node("Add", &format!("{name}.b {x} -> {name}"), &[])
            .node("Relu", &format!("{name} -> {name}.r"), &[])
    };
    let net = Net::new(&[2, 4, 4]).conv("x -> stem", &[4, 2, 3, 3], &[]).node("Relu", "stem -> s", &[]);
    block(block(net, "s", "one"), "one.r", "two").head("two.r", 4)
}

struct Case {
    runtime: OnnxRuntime,
    model: Shaped,
    x: Array,
    labels: Vec<Class>,
    options: EngineOptions,
}

impl Case {
    fn new() -> Option<Self> {
        let runtime = OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")).ok()?;
        let mut net = net();
        // Small logits: sure predictions would hide what a channel does.
        let last = net.graph.initializers.get_mut(&Value::from("z.w")).unwrap();
        let small: Vec<f64> = last.to_f64().unwrap().iter().map(|v| 0.02 * v).collect();
        *last = Tensor::rounded(last.dtype(), last.dims(), &small);
        let labels = (0..SAMPLES).map(|i| Class(i as u32 % 3)).collect();
        Some(Self { runtime, model: net.shaped(), x: net.x(SAMPLES), labels, options: EngineOptions::default() })
    }

    /// Scores of the channels of groups that one layer makes.
    fn channels(&self, importance: Importance) -> Vec<(Group, Vec<f64>)> {
        let all = groups(&self.model);
        let chosen: Vec<&Group> = all.iter().filter(|g| g.fixed.is_none() && g.is_internal()).collect();
        assert_eq!(chosen.len(), 2, "the first convolutions of the blocks");
        let samples = self.samples();
        let scores = importance.of_channels(&self.judged(&samples), &chosen).unwrap();
        chosen.into_iter().cloned().zip(scores).collect()
    }

    fn blocks(&self, importance: Importance) -> Vec<(Block, f64)> {
        let all = blocks(&self.model);
        let chosen: Vec<&Block> = all.iter().filter(|block| block.fixed.is_none()).collect();
        let samples = self.samples();
        let scores = importance.of_blocks(&self.judged(&samples), &chosen).unwrap();
        chosen.into_iter().cloned().zip(scores).collect()
    }

    fn samples(&self) -> Array2<f32> {
        let numbers = self.x.f64().iter().map(|&v| v as f32).collect();
        Array2::from_shape_vec((SAMPLES, 2 * 4 * 4), numbers).unwrap()
    }

    fn judged<'a>(&'a self, samples: &'a Array2<f32>) -> Judged<'a> {
        Judged {
            model: &self.model,
            runtime: &self.runtime,
            options: &self.options,
            samples: samples.view(),
            labels: &self.labels,
            seed: 3,
        }
    }

    fn value(&self, model: &Model, value: &str) -> ArrayD<f64> {
        run(model, &[("x", self.x.clone())]).unwrap()[&Value::from(value)].f64().clone()
    }

    /// `KL(q ‖ p)` of the predictions of `model` from those of the net.
    fn divergence(&self, model: &Model) -> f64 {
        let softmax = |model: &Model| {
            let mut z = self.value(model, "z");
            for mut row in z.axis_iter_mut(Axis(0)) {
                row.mapv_inplace(f64::exp);
                let sum = row.sum();
                row /= sum;
            }
            z
        };
        let (p, q) = (softmax(self.model.model()), softmax(model));
        q.iter().zip(&p).map(|(q, p)| q * (q / p).ln()).sum::<f64>() / SAMPLES as f64
    }
}

#[track_caller]
fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-5 * expected.abs().max(0.1), "{what}: {found}, not {expected}");
}

#[test]
fn magnitudes_of_weights() {
    let Some(case) = Case::new() else { return };
    for (group, scores) in case.channels(Importance::L1) {
        let weight = &case.model.model().graph.initializers[&group.producers[0].weight];
        let filters = weight.to_f64().unwrap();
        let size = filters.len() / scores.len();
        for (filter, score) in filters.chunks(size).zip(&scores) {
            close(*score, filter.iter().map(|v| v.abs()).sum(), "a filter");
        }
    }
}

#[test]
fn magnitudes_and_ranks_of_feature_maps() {
    let Some(case) = Case::new() else { return };
    let (magnitudes, ranks) = (case.channels(Importance::ExpectedAbs), case.channels(Importance::HRank));
    for (name, (magnitudes, ranks)) in ["one.ar", "two.ar"].into_iter().zip(magnitudes.iter().zip(&ranks)) {
        let maps = case.value(case.model.model(), name);
        for channel in 0..5 {
            let of_channel = maps.index_axis(Axis(1), channel);
            close(magnitudes.1[channel], of_channel.mapv(f64::abs).mean().unwrap(), name);
            // A map without any positive number has rank 0, one with a number 1 at least.
            let dead = of_channel.outer_iter().filter(|map| map.iter().all(|v| *v == 0.0)).count();
            assert!(ranks.1[channel] <= 4.0 * (SAMPLES - dead) as f64 / SAMPLES as f64, "{name} {channel}");
            assert!(ranks.1[channel] >= (SAMPLES - dead) as f64 / SAMPLES as f64, "{name} {channel}");
        }
    }
}

/// The divergence that switching a channel off makes is that of the net whose channel is zeroed where it is read.
#[test]
fn predictions_without_a_channel() {
    let Some(case) = Case::new() else { return };
    for (group, scores) in case.channels(Importance::Kl) {
        for (channel, score) in scores.into_iter().enumerate() {
            let without = zeroed(&case.model, &[Removal { group: group.id, channels: vec![channel] }]).unwrap();
            close(score, case.divergence(&without), &format!("{} {channel}", group.producers[0].node));
        }
    }
}

#[test]
fn predictions_without_a_block() {
    let Some(case) = Case::new() else { return };
    for (block, score) in case.blocks(Importance::Kl) {
        let without = remove_blocks(&case.model, std::slice::from_ref(&block.output)).unwrap();
        close(score, case.divergence(&without), block.output.as_str());
    }
}

/// A channel that is zeroed anyway makes no difference to anything.
#[test]
fn a_dead_channel_matters_least() {
    let Some(mut case) = Case::new() else { return };
    let group = groups(&case.model).into_iter().find(|g| g.fixed.is_none() && g.is_internal()).unwrap();
    let dead = zeroed(&case.model, &[Removal { group: group.id, channels: vec![2] }]).unwrap();
    let example = [("x", case.x.clone())];
    case.model = assay_reference::probe(assay_graph::Canonical::new(dead).unwrap(), &example);
    for importance in [Importance::Kl, Importance::Cka] {
        let scores = &case.channels(importance)[0].1;
        assert!(scores[2].abs() < 1e-6, "{importance}: {scores:?}");
        assert!(scores.iter().enumerate().all(|(i, score)| i == 2 || *score > 1e-5), "{importance}: {scores:?}");
    }
}

#[test]
fn projection_and_chance() {
    let Some(case) = Case::new() else { return };
    let all: Vec<f64> = case.channels(Importance::Vip).into_iter().flat_map(|(_, scores)| scores).collect();
    let mean = all.iter().map(|v| v * v).sum::<f64>() / all.len() as f64;
    close(mean, 1.0, "the mean of the squares");
    let chance = case.channels(Importance::Random);
    assert_eq!(chance, case.channels(Importance::Random));
    assert!(chance.iter().flat_map(|(_, scores)| scores).all(|score| (0.0..1.0).contains(score)));
    assert_ne!(chance[0].1, chance[1].1);
}

#[test]
fn criteria_have_names() {
    for importance in Importance::ALL {
        assert_eq!(importance.name().parse::<Importance>().unwrap(), importance);
        let Some(case) = Case::new() else { return };
        if !matches!(importance, Importance::L1 | Importance::Magnitude) {
            assert!(
                case.blocks(importance).iter().all(|(_, score)| score.is_finite() && *score >= 0.0),
                "{importance}"
            );
        }
    }
    assert!("l2".parse::<Importance>().unwrap_err().contains("expected-abs"));
}
