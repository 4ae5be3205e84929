//! The interpreter on networks whose logits PyTorch computed in f64.

use assay_reference::{material, relative_error, run};

/// Weights are f32 on both sides, so nothing but the order of sums differs; exporters write some constants (1/√2, averages of
/// folded batch norms) as f32 where PyTorch has f64.
const TOLERANCE: f64 = 1e-7;

#[test]
fn logits_are_those_of_pytorch() {
    let Some(material) = material() else { return };
    for name in material.names("gradients", "onnx") {
        let model = material.model(&format!("gradients/{name}.onnx"));
        let data = material.npz(&format!("gradients/{name}.npz"));
        let values = run(&model, &[("input", data.get("input").clone())]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let error = relative_error(values[&model.graph.outputs[0].value].f64(), data.get("logits").f64());
        println!("{name}: {error:.1e}");
        assert!(error <= TOLERANCE, "{name}: relative error {error:.1e}");
    }
}
