//! Every operator that a rule or a loss can emit is one that ONNX Runtime's CUDA provider has a kernel for.
//!
//! An operator without one would run on the processor in the middle of a gradient, with a copy there and back at each step.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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
    ("Cosh", "only for Sinh, which CUDA has no kernel for either"),
    ("DynamicQuantizeLinear", "named among the roundings, never emitted"),
    ("Hardmax", "named among the roundings, never emitted"),
    ("Sinh", "only for Cosh, which CUDA has no kernel for either"),
];

#[test]
fn what_rules_emit_has_a_cuda_kernel() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<PathBuf> = ["emit.rs", "loss.rs"].map(|f| source.join(f)).into();
    for folder in ["ops", "transform"] {
        files.extend(fs::read_dir(source.join(folder)).unwrap().map(|e| e.unwrap().path()));
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
