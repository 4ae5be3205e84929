//! One case, tried: the form that the rule chose, and how long each form takes.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::Write as _;

use assay_benches::runtime;
use assay_graph::{Canonical, Dimension, Model, Value, ValueInfo, vjp};
use assay_runtime::shapes;
use ndarray::ArrayD;

use crate::cases::{Case, Form, noise};
use crate::race::{Contender, Content, Settings, Tensors, quartiles, race};

/// Samples in a run.
const BATCH: usize = 16;

/// Largest difference between two forms, relative to the largest number.
const TOLERANCE: f32 = 1e-5;

/// A case whose forms were seen to be equal, and what was measured of them.
pub(crate) struct Trial {
    derivative: &'static str,
    shape: String,
    /// The form that the rule wrote comes first.
    forms: Vec<Form>,
    inputs: Tensors,
    /// Seconds: `[form][round]`.
    times: Vec<Vec<f64>>,
}

impl Trial {
    /// Derives the case's model and compares the forms with what the rule wrote.
    pub(crate) fn new(case: Case) -> Result<Self, Box<dyn Error>> {
        let Case { derivative, shape, source, mut forms } = case;
        let name = format!("{derivative}, {shape}");
        let (Some(wrt), [y]) = (source.graph.inputs.first(), &*source.graph.outputs) else {
            return Err(format!("{name}: a case has an input and one output").into());
        };
        let (wrt, y) = (wrt.value.clone(), y.value.clone());
        let mut inputs = Tensors::new();
        for (seed, input) in (21..).zip(&source.graph.inputs) {
            inputs.push((input.value.to_string(), numbers(input, seed)?));
        }
        let shaped = shapes(&runtime(), Canonical::new(source)?, None)?;
        let derived = vjp(&shaped, std::slice::from_ref(&y), std::slice::from_ref(&wrt))?;
        let (cotangent, product) = (&derived.cotangents[0], &derived.products[0]);
        let w = derived.model.graph.inputs.iter().find(|i| i.value == *cotangent).ok_or("no cotangent")?;
        inputs.push((cotangent.to_string(), numbers(w, 20)?));

        // What the forms read and should give: the source's inputs, its output as `y`, the cotangent as `w`.
        let mut outputs = Contender::open(&derived.model, Settings::default(), &inputs)?.outputs()?;
        let mut take = |value: &Value| {
            let position = outputs.iter().position(|(name, _)| name == value.as_str());
            position.map(|i| outputs.swap_remove(i).1).ok_or_else(|| format!("{name}: no output {value}"))
        };
        let expected = take(product)?;
        inputs.push(("y".into(), take(&y)?));
        if let Some((name, _)) = inputs.iter_mut().find(|(name, _)| name == cotangent.as_str()) {
            "w".clone_into(name);
        }

        let called = |value: &Value| match value {
            v if v == cotangent => "w".into(),
            v if *v == y => "y".into(),
            v => v.to_string(),
        };
        let writes = |form: &Form| {
            let reads: HashSet<String> = form.model.graph.inputs.iter().map(|i| i.value.to_string()).collect();
            let own = operators(&form.model, &form.model.graph.outputs[0].value, |v| reads.contains(v.as_str()));
            own == operators(&derived.model, product, |v| reads.contains(&called(v)))
        };
        let chosen = forms.iter().position(writes).ok_or_else(|| {
            let written = operators(&derived.model, product, |v| inputs.iter().any(|(name, _)| *name == called(v)));
            format!("{name}: the rule writes none of the forms, but {written:?}")
        })?;
        forms.swap(0, chosen);
        for form in &forms {
            let found = Contender::open(&form.model, Settings::default(), &inputs)?.outputs()?;
            let difference = difference(&found[0].1, &expected)?;
            if difference.is_nan() || difference > TOLERANCE {
                return Err(format!("{name}: {} differs from the derivative by {difference:e}", form.name).into());
            }
        }
        let times = vec![Vec::new(); forms.len()];
        Ok(Self { derivative, shape, forms, inputs, times })
    }

    /// Measures each form `rounds` times, with new sessions.
    pub(crate) fn turn(&mut self, rounds: usize) -> Result<(), Box<dyn Error>> {
        let open = |form: &Form| Contender::open(&form.model, Settings::default(), &self.inputs);
        let mut contenders = self.forms.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        for (times, new) in self.times.iter_mut().zip(race(&mut contenders, rounds)?) {
            times.extend(new);
        }
        Ok(())
    }
}

/// The trials as a table: a line for each form that the rule did not choose.
pub(crate) fn table(trials: &[Trial]) -> String {
    let mut text = String::from(
        "| derivative | shape | form, µs | instead of, µs | ratio | half of the ratios |\n|---|---|---|---|---|---|\n",
    );
    for trial in trials {
        let Trial { derivative, shape, forms, times, .. } = trial;
        let micros = |i: usize| {
            let time = 1e6 * quartiles(times[i].clone())[1];
            if time < 100.0 { format!("{time:.1}") } else { format!("{time:.0}") }
        };
        for (i, form) in forms.iter().enumerate().skip(1) {
            let [low, ratio, high] =
                quartiles(times[i].iter().zip(&times[0]).map(|(other, own)| other / own).collect());
            let (own, other) = (micros(0), micros(i));
            let _ = writeln!(
                text,
                "| {derivative} | {shape} | {}: {own} | {}: {other} | {ratio:.2} | {low:.2} to {high:.2} |",
                forms[0].name, form.name
            );
        }
    }
    text
}

/// Samples for an input.
fn numbers(input: &ValueInfo, seed: u32) -> Result<Content, Box<dyn Error>> {
    let size = |dimension: &Dimension| match dimension {
        Dimension::Known(size) => *size,
        _ => BATCH,
    };
    let dims: Vec<usize> = input.shape.iter().flatten().map(size).collect();
    Ok(Content::Floats(ArrayD::from_shape_vec(dims.clone(), noise(dims.iter().product(), seed))?))
}

/// What `value` is computed with, from values for which `given` is true: operators with the shapes of the constants that they
/// read, in an order that is always the same.
fn operators(model: &Model, value: &Value, given: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut needed = HashSet::from([value]);
    let mut found = Vec::new();
    for node in model.graph.nodes.iter().rev() {
        if !node.outputs.iter().flatten().any(|output| needed.contains(output)) {
            continue;
        }
        let inputs = || node.inputs.iter().flatten();
        needed.extend(inputs().filter(|input| !given(input)));
        let constants = inputs().filter_map(|input| model.graph.initializers.get(input)).map(|t| t.dims().to_vec());
        found.push(format!("{} {:?}", node.operator, constants.collect::<Vec<_>>()));
    }
    found.sort();
    found
}

/// Largest difference of two tensors, relative to the largest number of the second.
fn difference(found: &Content, expected: &Content) -> Result<f32, Box<dyn Error>> {
    let (Content::Floats(found), Content::Floats(expected)) = (found, expected) else {
        return Err("integers have no derivative".into());
    };
    if found.shape() != expected.shape() {
        return Err(format!("shapes {:?} and {:?}", found.shape(), expected.shape()).into());
    }
    let largest =
        |values: &mut dyn Iterator<Item = f32>| values.fold(0.0f32, |a, b| if b.is_nan() { b } else { a.max(b) });
    let apart = largest(&mut found.iter().zip(expected).map(|(a, b)| (a - b).abs()));
    Ok(apart / largest(&mut expected.iter().map(|v| v.abs())).max(f32::MIN_POSITIVE))
}
