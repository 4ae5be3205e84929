//! Every operator that a rule or a loss can emit is one that ONNX Runtime's CUDA provider has a kernel for.
//!
//! An operator without one would run on the processor in the middle of a gradient, with a copy there and back at each step. That
//! whole gradients do run on a GPU is seen in `crates/runtime/tests/cuda.rs`, where there is one.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use assay_graph::{Canonical, Lowering, vjp};
use assay_reference::{Case, Values, probe};

/// Kernels for f32 (or what the operator takes) in operator set 18, from `docs/OperatorKernels.md` of ONNX Runtime 1.24.
#[rustfmt::skip]
const CUDA: &[&str] = &[
    "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat",
    "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "CumSum", "DepthToSpace", "DequantizeLinear", "Div",
    "Dropout", "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements",
    "GatherND", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid",
    "HardSwish", "Identity", "InstanceNormalization", "LRN", "LayerNormalization", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Min", "Mod", "Mul", "Neg", "Not", "OneHot",
    "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu",
    "Reshape", "Resize", "Round", "ScatterElements", "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign",
    "Sin", "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub",
    "Sum", "Tanh", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where",
];

/// Operators that are emitted although CUDA has no kernel for them, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("BatchNormalizationGradient", "assay's own, for the processor only"),
    ("ConvInputGradient", "assay's own, for the processor only"),
    ("ConvWeightGradient", "assay's own, for the processor only"),
    ("Cosh", "only for Sinh, which CUDA has no kernel for either"),
    ("DynamicQuantizeLinear", "named among the roundings, never emitted"),
    ("Hardmax", "named among the roundings, never emitted"),
    ("Sinh", "only for Cosh, which CUDA has no kernel for either"),
];

#[test]
fn what_rules_emit_has_a_cuda_kernel() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<PathBuf> = ["emit.rs", "loss.rs"].map(|f| source.join(f)).into();
    for folder in ["ops", "transform", "transform/bounds"] {
        files.extend(fs::read_dir(source.join(folder)).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()));
    }
    let emitted: BTreeSet<String> = files.iter().flat_map(|f| operators(&fs::read_to_string(f).unwrap())).collect();
    assert!(emitted.contains("Conv") && emitted.contains("TopK"), "the search finds what is there: {emitted:?}");
    let missing: Vec<&String> = emitted
        .iter()
        .filter(|o| !CUDA.contains(&o.as_str()) && !EXCEPTIONS.iter().any(|(name, _)| name == o))
        .collect();
    assert!(missing.is_empty(), "no CUDA kernel, and no reason in EXCEPTIONS: {missing:?}");
    for (operator, reason) in EXCEPTIONS {
        assert!(emitted.contains(*operator), "{operator} is not emitted any more ({reason})");
    }
}

/// CUDA has a kernel for transposed convolutions with the same padding on both sides only, and one that adds in another order in every
/// run. Constant kernels do without it.
#[test]
fn a_convolution_goes_back_through_kernels_that_cuda_has() {
    let data = || Values::uniform(-1.0, 1.0);
    for constant in [true, false] {
        for (kernel, stride, dilation) in [(1, 2, 1), (2, 2, 1), (3, 1, 1), (3, 2, 1), (3, 2, 2), (3, 3, 1), (2, 3, 1)]
        {
            for pads in [[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 2], [0, 2, 1, 0]] {
                let case = Case::op("Conv").batched(&[4, 8, 9], data());
                let dims = [3, 4, kernel, kernel];
                let case = if constant { case.weights(&dims, &data()) } else { case.fixed(&dims, data()) };
                let case =
                    case.set("strides", vec![stride; 2]).set("dilations", vec![dilation; 2]).set("pads", pads.to_vec());
                let source = probe(Canonical::new(case.model()).unwrap(), &case.inputs(2));
                let source = source.lowered_for(Lowering::Cuda);
                let derived = vjp(&source, &["y0".into()], &["x0".into()]).unwrap();
                let nodes = &derived.model.graph.nodes;
                for node in nodes.iter().filter(|n| n.operator == "ConvTranspose") {
                    let pads = node.ints("pads").unwrap().unwrap();
                    assert_eq!(pads[..2], pads[2..], "{}", case.name());
                    assert!(!constant || dilation > 1, "{}", case.name());
                }
            }
        }
    }
}

/// The words in quotes that are written like an operator's name, but for an operator's own name and what tests say.
fn operators(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap();
    let mut found = Vec::new();
    let mut naming = false;
    for line in code.lines() {
        let names_itself = naming || line.contains(": Function = ") || line.trim_start().starts_with("name: ");
        if !names_itself && !line.trim_start().starts_with("//") {
            found.extend(line.split('"').skip(1).step_by(2).filter(|w| is_operator(w)).map(str::to_owned));
        }
        naming = line.contains("fn name(&self)");
    }
    found
}

/// `Conv`, `LRN`: a capital, then letters, and more than one of them.
fn is_operator(word: &str) -> bool {
    let named = ["Add", "Sum"].contains(&word) || word.chars().any(char::is_lowercase);
    word.len() > 2 && named && word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphanumeric)
}
