//! Second derivatives: the graph of a gradient is a model like any other, so the rules must apply to it in turn.

use assay_graph::{Canonical, DataType, Node, OPERATORS, Shaped, Value, Vjp, check, vjp};
use ndarray::ArrayD;

use crate::array::{Array, Data};
use crate::case::Case;
use crate::gradient::{STEP, TOLERANCE, prepare};
use crate::interpret::run;
use crate::probe::probe;
use crate::random::Random;

/// Checks the derivative of the vector–Jacobian products `p(x, w)` of `case`, by all inputs and cotangents at once:
/// `⟨u, D p [v]⟩`, as a difference quotient along a random direction `v`, against `⟨Dᵀ p u, v⟩`; and that every operator which
/// the rules wrote has a rule.
///
/// # Panics
/// If either does not hold.
#[track_caller]
pub(crate) fn check_second(case: &Case) {
    let name = format!("second derivative of {}", case.name());
    let model = case.model();
    let mut inputs: Vec<(String, Array)> = case.inputs(2).into_iter().map(|(n, a)| (n.to_owned(), a)).collect();
    let (source, outputs, wrt) = prepare(&name, &model, &case.inputs(2));
    let first = vjp(&source, &outputs, &wrt).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut random = Random::new(78);
    let mut noise = |like: &ArrayD<f64>| ArrayD::from_shape_simple_fn(like.raw_dim(), || random.uniform(-1.0, 1.0));
    let values = case.values(&case.inputs(2));
    for (seed, output) in first.cotangents.iter().zip(values.iter().filter(|o| o.dtype.is_float())) {
        inputs.push((seed.to_string(), Array::of(output.dtype, Data::Float(noise(output.f64())))));
    }

    let (source, points) = shaped_gradient(&name, &first, &inputs);
    has_rules(&name, &source);
    let second = derivative(&name, &source, &first.products, points);
    check(&second.vjp.model).unwrap_or_else(|defect| panic!("{name}: the derived model is malformed: {defect}"));

    let evaluate = |inputs: &[(String, Array)]| -> Vec<ArrayD<f64>> {
        let named: Vec<_> = inputs.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
        let values = run(source.model(), &named).unwrap_or_else(|error| panic!("{name}: {error}"));
        first.products.iter().map(|p| values[p].f64().clone()).collect()
    };
    let seeds: Vec<ArrayD<f64>> = evaluate(&inputs).iter().map(&mut noise).collect();
    let directions: Vec<(usize, ArrayD<f64>)> = inputs
        .iter()
        .enumerate()
        .filter(|(_, (_, array))| array.dtype.is_float())
        .map(|(i, (_, array))| (i, noise(array.f64())))
        .collect();
    let along = |step: f64| -> f64 {
        let mut moved = inputs.clone();
        for (i, direction) in &directions {
            moved[*i].1.data = Data::Float(inputs[*i].1.f64() + &(direction * step));
        }
        evaluate(&moved).iter().zip(&seeds).map(|(p, u)| (p * u).sum()).sum()
    };
    let forward = (along(STEP) - along(-STEP)) / (2.0 * STEP);

    let cotangents = second.vjp.cotangents.iter().zip(first.products.iter().zip(&seeds));
    let named: Vec<(&str, Array)> = inputs
        .iter()
        .map(|(n, a)| (n.as_str(), a.clone()))
        .chain(cotangents.map(|(c, (p, u))| {
            let dtype = source.facts(p).map_or(DataType::Float, |f| f.dtype);
            (c.as_str(), Array::of(dtype, Data::Float(u.clone())))
        }))
        .collect();
    let values = run(&second.vjp.model, &named).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (mut backward, mut scale) = (0.0, 1.0);
    for (input, product) in second.by.iter().zip(&second.vjp.products) {
        let product = values[product].f64();
        let direction = directions.iter().find(|(i, _)| inputs[*i].0 == input.as_str());
        backward += direction.map_or(0.0, |(_, v)| (product * v).sum());
        scale += product.iter().map(|x| x.abs()).sum::<f64>();
    }
    assert!((forward - backward).abs() <= TOLERANCE * scale, "{name}: ⟨u, D v⟩ = {forward} but ⟨Dᵀ u, v⟩ = {backward}");
}

/// The graph of the products with its shapes, and its floating-point inputs.
#[track_caller]
fn shaped_gradient(name: &str, first: &Vjp, inputs: &[(String, Array)]) -> (Shaped, Vec<Value>) {
    let mut model = first.model.clone();
    model.graph.outputs.retain(|info| first.products.contains(&info.value));
    let canonical = Canonical::new(model).unwrap_or_else(|error| panic!("{name}: {error}"));
    let named: Vec<_> = inputs.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
    let source = probe(canonical, &named);
    let points = inputs.iter().filter(|(_, a)| a.dtype.is_float()).map(|(n, _)| Value::new(n.clone())).collect();
    (source, points)
}

/// Every operator that the rules wrote is in the table, or gives what has no derivative: integers and booleans, shapes, and
/// constants.
#[track_caller]
fn has_rules(name: &str, source: &Shaped) {
    let is_float = |node: &Node| {
        node.outputs
            .iter()
            .flatten()
            .any(|o| source.facts(o).is_some_and(|f| f.dtype.is_float() && f.constant.is_none()))
    };
    let written = source.model().graph.nodes.iter().filter(|n| n.name.starts_with("vjp/"));
    for node in written.filter(|n| is_float(n) && n.operator != "ConstantOfShape") {
        let known = OPERATORS.iter().any(|o| o.name() == node.operator);
        assert!(known, "{name}: node \"{}\" ({}) is written by a rule and has none", node.name, node.operator);
    }
}

/// A derivative, and by which values; the others do not influence what is derived.
struct Derivative {
    vjp: Vjp,
    by: Vec<Value>,
}

#[track_caller]
fn derivative(name: &str, source: &Shaped, products: &[Value], mut by: Vec<Value>) -> Derivative {
    // A linear operator's product does not depend on the point, which is an error like any gradient of zeros.
    loop {
        match vjp(source, products, &by) {
            Ok(vjp) => return Derivative { vjp, by },
            Err(error) => {
                let message = error.to_string();
                let flat = by.iter().position(|v| message.contains(&format!("path leads from \"{v}\" to")));
                by.remove(flat.unwrap_or_else(|| panic!("{name}: {message}")));
            }
        }
    }
}
