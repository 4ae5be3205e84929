//! Pruning of nets as PyTorch exports them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use assay_graph::{
    Canonical, Dimension, Folded, Model, Removal, Shaped, Tensor, blocks, check, compact, groups, prune, remove_blocks,
    zeroed,
};
use assay_reference::{Array, Material, Random, Values, compare, material, probe, run};

/// The net in `folder` of the reference material with its shapes, and a batch of inputs.
fn net(material: &Material, folder: &str, name: &str) -> (Shaped, String, Array) {
    let model = material.model(&format!("{folder}/{name}.onnx"));
    let input = model.graph.inputs[0].value.to_string();
    let size = |dim: &Dimension| if let Dimension::Known(size) = dim { *size } else { 2 };
    let dims: Vec<usize> = model.graph.inputs[0].shape.iter().flatten().map(size).collect();
    let x = Random::new(1).array(&dims, &Values::uniform(0.0, 1.0));
    let mut canonical = Canonical::new(model).unwrap_or_else(|error| panic!("{name}: {error}"));
    loop {
        match probe(canonical, &[(&input, x.clone())]).folded().unwrap() {
            Folded::Done(source) => return (source, input, x),
            Folded::Again { model, .. } => canonical = model,
        }
    }
}

/// `model` with nine of ten of each layer's smallest weights set to zero, filter by filter for every second filter.
fn sparse(model: &mut Model) {
    for tensor in model.graph.initializers.values_mut().filter(|t| t.dims().len() > 1 && t.dtype().is_float()) {
        let mut numbers = tensor.to_f64().unwrap();
        let row = numbers.len() / tensor.dims()[0].max(1);
        for (i, number) in numbers.iter_mut().enumerate() {
            if i / row.max(1) % 2 == 0 || number.abs() < 0.1 {
                *number = 0.0;
            }
        }
        *tensor = Tensor::rounded(tensor.dtype(), tensor.dims(), &numbers);
    }
}

#[test]
fn pruned_is_zeroed_and_compact_is_sparse() {
    let Some(material) = material() else { return };
    let mut prunable = 0;
    let of = |folder: &'static str| material.names(folder, "onnx").into_iter().map(move |name| (folder, name));
    // The other trained nets are these with other weights.
    let trained = of("models").filter(|(_, name)| name.ends_with("-dense"));
    for (folder, name) in of("gradients").chain(trained) {
        let (source, input, x) = net(&material, folder, &name);
        let output = source.model().graph.outputs[0].value.clone();
        let logits = |model: &Model| run(model, &[(&input, x.clone())]).unwrap()[&output].f64().clone();
        let groups = groups(&source);
        let free: Vec<_> = groups.iter().filter(|group| group.fixed.is_none() && group.channels.len() > 1).collect();
        println!("{name}: {} of {} groups can lose channels", free.len(), groups.len());
        prunable += usize::from(!free.is_empty());
        let seeds = if folder == "models" { 1 } else { 3 };
        for seed in 0..seeds {
            let mut random = Random::new(seed);
            let mut some = |channels: usize| (1..channels).filter(|_| random.below(3) == 0).collect();
            let removals: Vec<Removal> =
                free.iter().map(|g| Removal { group: g.id, channels: some(g.channels.len()) }).collect();
            let pruned = prune(&source, &removals).unwrap_or_else(|error| panic!("{name}: {error}"));
            check(&pruned).unwrap();
            compare(&name, &logits(&pruned), &logits(&zeroed(&source, &removals).unwrap()), 1e-10);
        }

        let mut zeros = source.model().clone();
        sparse(&mut zeros);
        let zeros = probe(Canonical::new(zeros).unwrap(), &[(&input, x.clone())]);
        compare(&name, &logits(&compact(&zeros).unwrap()), &logits(zeros.model()), 1e-6);

        let removable = blocks(&source).into_iter().filter(|block| block.fixed.is_none()).map(|block| block.output);
        let shallow = remove_blocks(&source, &removable.collect::<Vec<_>>()).unwrap();
        assert_eq!(logits(&shallow).shape(), logits(source.model()).shape(), "{name}");
    }
    assert!(prunable > 15, "{prunable}");
}
