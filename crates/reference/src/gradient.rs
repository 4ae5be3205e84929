//! Checks of derived gradients against difference quotients of the interpreted model.

use assay_graph::{Canonical, Lowering, Model, Shaped, Value, Vjp, check, vjp};
use ndarray::ArrayD;

use crate::array::{Array, Data};
use crate::case::Case;
use crate::interpret::{run, run_unrounded};
use crate::probe::probe;
use crate::random::Random;
use crate::second::check_second;

/// Step of the difference quotients, relative to the size of the element.
pub(crate) const STEP: f64 = 1e-6;

/// Largest difference, relative to the largest derivative or 1. The quotients are right to about 1e-9; constants that a rule
/// writes are rounded to f32, to 6e-8 of their size.
pub(crate) const TOLERANCE: f64 = 1e-6;

/// Checks the vector–Jacobian product of every floating-point input of `case`, for random cotangents of all floating-point
/// outputs:
///
/// - quantized models are judged by what they compute without rounding (see [`run_unrounded`]);
/// - for a batch of 2, each element against the central difference quotient of the interpreted model as it was given;
/// - for a batch of 5, which is none of those that the shapes were learned from, the dot-product test `⟨w, J v⟩ = ⟨Jᵀ w, v⟩`
///   along a random direction `v`;
/// - the derived model passes [`check`], and still gives the outputs of the model;
/// - what is derived for CUDA, where that is another graph, gives the same;
/// - it has derivatives itself: every operator that the rules wrote has a rule, and the dot-product test holds for the
///   derivative of the products by inputs and cotangents.
///
/// # Panics
/// If a check fails; the message names the case, the input, and the worst element with both values.
#[track_caller]
pub fn check_vjp(case: &Case) {
    check_first(case);
    check_second(case);
}

/// [`check_vjp`] without second derivatives, for operators that have none.
///
/// # Panics
/// As [`check_vjp`].
#[track_caller]
pub fn check_first(case: &Case) {
    let model = case.model();
    for batch in [2, 5] {
        let inputs = case.inputs(batch);
        let outputs = case.values(&inputs);
        let mut random = Random::new(77);
        let cotangents: Vec<Array> = outputs
            .iter()
            .filter(|o| o.dtype.is_float())
            .map(|o| {
                let numbers = ArrayD::from_shape_simple_fn(o.f64().raw_dim(), || random.uniform(-1.0, 1.0));
                Array::of(o.dtype, Data::Float(numbers))
            })
            .collect();
        let products = products(case.name(), &model, &inputs, &cotangents, Some(&outputs));
        // ⟨w, f(x)⟩, whose derivative the products are. Quantization does not round, which changes nothing else.
        let here = run(&model, &inputs).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
        let objective = |inputs: &[(&str, Array)]| -> f64 {
            let values =
                run_unrounded(&model, inputs, &here).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
            let outputs = model.graph.outputs.iter().map(|info| &values[&info.value]);
            let floats = outputs.filter(|o| o.dtype.is_float());
            floats.zip(&cotangents).map(|(o, w)| (o.f64() * w.f64()).sum()).sum()
        };
        let mut shifted = inputs.clone();
        if batch == 2 {
            for (name, product) in &products {
                let expected = quotients(&mut shifted, name, &objective);
                compare(&format!("{}: derivative by \"{name}\"", case.name()), product, &expected, TOLERANCE);
            }
            continue;
        }
        let directions: Vec<ArrayD<f64>> = products
            .iter()
            .map(|(_, p)| ArrayD::from_shape_simple_fn(p.raw_dim(), || random.uniform(-1.0, 1.0)))
            .collect();
        let mut along = |step: f64| {
            for ((name, _), direction) in products.iter().zip(&directions) {
                let original = &inputs.iter().find(|(n, _)| n == name).unwrap_or_else(|| unreachable!()).1;
                let moved = original.f64() + &(direction * step);
                let slot = shifted.iter_mut().find(|(n, _)| n == name).unwrap_or_else(|| unreachable!());
                slot.1.data = Data::Float(moved);
            }
            objective(&shifted)
        };
        let forward = (along(STEP) - along(-STEP)) / (2.0 * STEP);
        let backward: f64 = products.iter().zip(&directions).map(|((_, p), v)| (p * v).sum()).sum();
        let scale = products.iter().map(|(_, p)| p.iter().map(|x| x.abs()).sum::<f64>()).sum::<f64>().max(1.0);
        assert!(
            (forward - backward).abs() <= TOLERANCE * scale,
            "{}: with a batch of {batch}, ⟨w, J v⟩ = {forward} but ⟨Jᵀ w, v⟩ = {backward}",
            case.name()
        );
    }
}

/// The vector–Jacobian products of `case` at its floating-point inputs, for one batch and given cotangents: for conventions
/// at kinks, where no difference quotient can judge.
///
/// # Panics
/// If the case has no gradient or does not run.
#[must_use]
#[track_caller]
pub fn vjp_at(case: &Case, inputs: &[(&str, Array)], cotangents: &[Array]) -> Vec<ArrayD<f64>> {
    let found = products(case.name(), &case.model(), inputs, cotangents, None);
    found.into_iter().map(|(_, product)| product).collect()
}

/// Checks that `case` has no gradient, and that the message contains each of `parts`.
///
/// # Panics
/// If it has one, or the message differs.
#[track_caller]
pub fn check_refused(case: &Case, parts: &[&str]) {
    let (source, outputs, inputs) = prepare(case.name(), &case.model(), &case.inputs(2));
    match vjp(&source, &outputs, &inputs) {
        Ok(_) => panic!("{}: expected an error with {parts:?}, but there is a gradient", case.name()),
        Err(error) => {
            let message = error.to_string();
            let missing: Vec<_> = parts.iter().filter(|part| !message.contains(**part)).collect();
            assert!(missing.is_empty(), "{}: \"{message}\" does not contain {missing:?}", case.name());
        }
    }
}

/// The shaped model, its floating-point outputs and its floating-point inputs.
#[track_caller]
pub(crate) fn prepare(
    name: &str,
    model: &Model,
    inputs: &[(&str, Array)],
) -> (assay_graph::Shaped, Vec<Value>, Vec<Value>) {
    let canonical = Canonical::new(model.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let source = probe(canonical, inputs);
    let is_float = |value: &Value| source.facts(value).is_some_and(|facts| facts.dtype.is_float());
    let graph = &model.graph;
    let outputs = graph.outputs.iter().map(|o| o.value.clone()).filter(is_float).collect();
    let inputs = graph.inputs.iter().map(|i| i.value.clone()).filter(is_float).collect();
    (source, outputs, inputs)
}

/// Input names and vector–Jacobian products. `primal` are the outputs that the derived model must still give.
#[track_caller]
fn products<'a>(
    name: &str,
    model: &Model,
    inputs: &[(&'a str, Array)],
    cotangents: &[Array],
    primal: Option<&[Array]>,
) -> Vec<(&'a str, ArrayD<f64>)> {
    let (source, outputs, wrt) = prepare(name, model, inputs);
    let derive = |source: &Shaped| {
        let derived = vjp(source, &outputs, &wrt).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&derived.model).unwrap_or_else(|defect| panic!("{name}: the derived model is malformed: {defect}"));
        derived
    };
    let evaluate = |derived: &Vjp| {
        let seeds = derived.cotangents.iter().map(Value::as_str).zip(cotangents.iter().cloned());
        let all: Vec<(&str, Array)> = inputs.iter().cloned().chain(seeds).collect();
        run(&derived.model, &all).unwrap_or_else(|error| panic!("{name}: derived model: {error}"))
    };
    let derived = derive(&source);
    let values = evaluate(&derived);
    let on_cuda = derive(&source.lowered_for(Lowering::Cuda));
    if on_cuda.model.graph.nodes != derived.model.graph.nodes {
        let found = evaluate(&on_cuda);
        for (a, b) in on_cuda.products.iter().zip(&derived.products) {
            compare(&format!("{name}: for CUDA, \"{a}\""), found[a].f64(), values[b].f64(), TOLERANCE);
        }
    }
    for (info, expected) in model.graph.outputs.iter().zip(primal.unwrap_or_default()) {
        let same = values.get(&info.value).is_some_and(|found| match (&found.data, &expected.data) {
            (Data::Float(a), Data::Float(b)) => a.shape() == b.shape() && a.iter().zip(b).all(|(a, b)| close(*a, *b)),
            (a, b) => a == b,
        });
        assert!(same, "{name}: the derived model changes output \"{}\"", info.value);
    }
    let given = |value: &Value| inputs.iter().find(|(n, _)| *n == value.as_str()).unwrap_or_else(|| unreachable!());
    wrt.iter()
        .zip(&derived.products)
        .map(|(input, product)| {
            let ((input, array), product) = (given(input), &values[product]);
            assert_eq!(product.dtype, array.dtype, "{name}: type of the derivative by \"{input}\"");
            assert_eq!(product.dims(), array.dims(), "{name}: shape of the derivative by \"{input}\"");
            (*input, product.f64().clone())
        })
        .collect()
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * (1.0 + a.abs().max(b.abs()))
}

/// A number that depends on the inputs.
type Objective<'a> = dyn Fn(&[(&str, Array)]) -> f64 + 'a;

/// Central difference quotients of `objective` by each element of the input `name`.
fn quotients(inputs: &mut [(&str, Array)], name: &str, objective: &Objective<'_>) -> ArrayD<f64> {
    let slot = inputs.iter().position(|(n, _)| *n == name).unwrap_or_else(|| unreachable!());
    let original = inputs[slot].1.f64().clone();
    let mut result = ArrayD::zeros(original.raw_dim());
    for (at, &x) in original.indexed_iter() {
        let step = STEP * x.abs().max(1.0);
        let mut value = |x: f64| {
            let mut moved = original.clone();
            moved[&at] = x;
            inputs[slot].1.data = Data::Float(moved);
            objective(inputs)
        };
        result[&at] = (value(x + step) - value(x - step)) / (2.0 * step);
    }
    inputs[slot].1.data = Data::Float(original);
    result
}

/// Checks that `found` is `expected` up to `tolerance`, relative to the largest expected number or 1.
///
/// # Panics
/// If it is not; the message names `what`, the worst element and both values.
#[track_caller]
pub fn compare(what: &str, found: &ArrayD<f64>, expected: &ArrayD<f64>, tolerance: f64) {
    assert_eq!(found.shape(), expected.shape(), "{what}: shape");
    let scale = expected.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    let error = |a: f64, b: f64| if a == b { 0.0 } else { (a - b).abs() / scale };
    // A NaN is the worst there is.
    let rank = |e: f64| if e.is_nan() { f64::INFINITY } else { e };
    let pairs = found.indexed_iter().zip(expected).map(|((at, &a), &b)| (at, a, b, rank(error(a, b))));
    if let Some((at, a, b, worst)) = pairs.max_by(|x, y| x.3.total_cmp(&y.3)) {
        assert!(
            worst <= tolerance,
            "{what}: element {:?} is {a} instead of {b}: {worst:.1e} of the largest, {tolerance:.1e} allowed",
            ndarray::Dimension::slice(&at)
        );
    }
}

/// `‖found - expected‖ / ‖expected‖`, both as Euclidean norms of all elements.
///
/// # Panics
/// If the shapes differ.
#[must_use]
#[track_caller]
pub fn relative_error(found: &ArrayD<f64>, expected: &ArrayD<f64>) -> f64 {
    assert_eq!(found.shape(), expected.shape(), "shapes");
    let norm = |a: &ArrayD<f64>| a.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (difference, size) = (norm(&(found - expected)), norm(expected));
    if size == 0.0 { difference } else { difference / size }
}
