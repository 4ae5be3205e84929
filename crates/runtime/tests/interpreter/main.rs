//! The interpreter that derived graphs are tested with, against ONNX Runtime, for every operator and combination of
//! attributes: if both agree, tests in f64 say something about what runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod canonical;
mod derived;
mod elementwise;
mod fused;
mod indexing;
mod products;
mod quantized;
mod reductions;
mod resizing;
mod shapes;
#[path = "../support/mod.rs"]
mod support;
mod windows;

use assay_graph::{DataType, Model, Node, Value, ValueInfo};
use assay_reference::{Case, Data, compare, run};
use assay_runtime::{Array, Engine, EngineOptions, Tensors};

/// f32 against f64: sums of a few hundred products.
const TOLERANCE: f64 = 1e-5;

/// Checks that the interpreter and ONNX Runtime agree on `case`, for batches of 1 and 3, and that its canonical form
/// computes the same.
#[track_caller]
fn agree(case: &Case) {
    agree_on_runtime(case);
    canonical::computes_the_same(case);
}

/// The same for a case that has no canonical form, for a reason that contains `reason`.
#[track_caller]
fn agree_and_refuse(case: &Case, reason: &str) {
    agree_on_runtime(case);
    canonical::is_refused(case, reason);
}

#[track_caller]
fn agree_on_runtime(case: &Case) {
    let mut model = case.model();
    // Booleans come out as integers.
    for info in &mut model.graph.outputs {
        if info.dtype == Some(DataType::Bool) {
            let cast = Value::new(format!("{}/int", info.value));
            let mut node = Node::new("Cast", vec![Some(info.value.clone())], vec![Some(cast.clone())]);
            node.attributes.insert("to".into(), i64::from(DataType::Int64.number()).into());
            model.graph.nodes.push(node);
            *info = ValueInfo::new(cast, DataType::Int64, Vec::new());
            info.shape = None;
        }
    }
    agree_on(case.name(), &model, |batch| case.inputs(batch).into_iter().map(|(n, a)| (n.to_owned(), a)).collect());
}

/// Checks that the interpreter and ONNX Runtime agree on the outputs of `model`, for batches of 1 and 3.
#[track_caller]
fn agree_on(name: &str, model: &Model, inputs: impl Fn(usize) -> Vec<(String, assay_reference::Array)>) {
    let Some(runtime) = support::runtime() else { return };
    let engine = Engine::start(&runtime, &model.to_bytes(), &EngineOptions::default())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    for batch in [1, 3] {
        // Both get the same f32 numbers.
        let inputs: Vec<_> = inputs(batch)
            .into_iter()
            .map(|(name, array)| (name, assay_reference::Array::from_tensor(&array.to_tensor()).unwrap()))
            .collect();
        let named: Vec<_> = inputs.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
        let expected = run(model, &named).unwrap_or_else(|error| panic!("{name}: {error}"));
        let tensors: Tensors = inputs.iter().map(|(name, array)| (name.clone(), to_runtime(array))).collect();
        let found = engine.run(tensors).unwrap_or_else(|error| panic!("{name}: {error}"));
        for info in &model.graph.outputs {
            let what = format!("{name} with a batch of {batch}: output \"{}\"", info.value);
            match (&expected[&info.value].data, &found[info.value.as_str()]) {
                (Data::Float(a), Array::Float(b)) => compare(&what, a, &b.mapv(f64::from), TOLERANCE),
                (Data::Int(a), Array::Int(b)) => assert_eq!(a, b, "{what}"),
                (a, b) => panic!("{what}: types of {a:?} and {b:?}"),
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn to_runtime(array: &assay_reference::Array) -> Array {
    match &array.data {
        Data::Float(a) => Array::Float(a.mapv(|v| v as f32)),
        Data::Int(a) => Array::Int(a.clone()),
        Data::Bool(_) => panic!("boolean inputs are written as constants"),
    }
}
