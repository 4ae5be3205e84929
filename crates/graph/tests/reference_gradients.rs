//! Losses and gradients of whole networks, interpreted in f64, against those that PyTorch computed in f64.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use assay_graph::{Canonical, Loss, check, gradient};
use assay_reference::{Array, material, probe, relative_error, run};

/// Where a file and its gradient hold no rounded constants, both sides agree to about 1e-15. What exporters and rules write
/// in f32 (folded batch norms, `1/√2`, the reciprocal of a pool's size) leaves at most 6e-8.
const TOLERANCE: f64 = 1e-7;

/// Here dividing by the features' norm cancels most of the gradient and so magnifies the rounding of the exported mean and
/// deviation. With the numbers of the file, the gradient is within 1e-10 of difference quotients.
const TOLERANCE_OF_NORM: f64 = 1e-6;

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let Some(material) = material() else { return };
    let mut failures = Vec::new();
    for name in material.names("gradients", "onnx") {
        let model = material.model(&format!("gradients/{name}.onnx"));
        let data = material.npz(&format!("gradients/{name}.npz"));
        let x = data.get("input");
        let input = model.graph.inputs[0].value.clone();
        let canonical = Canonical::new(model).unwrap_or_else(|error| panic!("{name}: {error}"));
        let source = probe(canonical, &[(input.as_str(), x.clone())]);
        let tolerance = if name == "globalmax_clip_norm" { TOLERANCE_OF_NORM } else { TOLERANCE };
        // The reference has no targeted margin; `losses.rs` compares it with its definition.
        for loss in Loss::ALL.into_iter().filter(|loss| *loss != Loss::MarginTargeted) {
            let key = loss.name().replace('-', "_");
            let derived = match gradient(&source, loss) {
                Ok(derived) => derived,
                Err(error) => {
                    failures.push(format!("{name}, {loss}: {error}"));
                    continue;
                }
            };
            check(&derived.model).unwrap_or_else(|defect| panic!("{name}, {loss}: {defect}"));
            let mut inputs =
                vec![(derived.input.as_str(), x.clone()), (derived.labels.as_str(), data.get("labels").clone())];
            if let Some(targets) = &derived.targets {
                inputs.push((targets.as_str(), data.get("targets").clone()));
            }
            let values = run(&derived.model, &inputs).unwrap_or_else(|error| panic!("{name}, {loss}: {error}"));
            let mut compare = |what: &str, found: &Array, expected: &str| {
                let error = relative_error(found.f64(), data.get(expected).f64());
                println!("{name}, {loss}, {what}: {error:.1e}");
                if error.is_nan() || error > tolerance {
                    failures.push(format!("{name}, {loss}, {what}: relative error {error:.1e}"));
                }
            };
            compare("logits", &values[&derived.logits], "logits");
            compare("loss", &values[&derived.loss], &key);
            compare("gradient", &values[&derived.gradient], &format!("{key}_grad"));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
