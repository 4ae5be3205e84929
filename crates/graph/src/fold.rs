//! Shape arithmetic, folded: what the probe runs showed need not be computed.
//!
//! Exporters write `Reshape(x, Concat(Gather(Shape(x), 0), …))` where the size of everything but the batch is fixed. After
//! folding there is a constant. Where the batch size takes part, the target is a constant all the same, with `-1` in its
//! place.

use crate::canonical::branches;
use crate::names::Names;
use crate::order::drop_unused;
use crate::shape::Facts;
use crate::{Adaptation, Attribute, Canonical, CanonicalError, Dim, Graph, Node, Shaped, Shapes, Tensor, Value, check};

/// What came of folding.
#[derive(Clone, Debug)]
pub enum Folded {
    /// A model in which nothing is left to fold.
    Done(Shaped),
    /// A condition turned out to be constant. What the branch holds has not been seen: the model must be probed again.
    Again {
        /// The model with that branch.
        model: Canonical,
        /// What was done.
        taken: Adaptation,
    },
}

impl Shaped {
    /// The model with constants for what is the same for every input.
    ///
    /// # Errors
    /// A branch that a constant condition takes contradicts its `If`.
    pub fn folded(self) -> Result<Folded, CanonicalError> {
        let Self { canonical: Canonical { mut model, adaptations }, mut shapes, lowering } = self;
        let graph = &mut model.graph;
        let mut names = Names::of(graph);
        constants(graph, &shapes);
        let taken = branches::take(graph, &mut names, &|_| None);
        let taken = taken.map_err(|(node, cause)| CanonicalError::at(&node, cause))?;
        if !taken.is_empty() {
            drop_unused(graph);
            check(&model)?;
            let model = Canonical { model, adaptations };
            return Ok(Folded::Again { model, taken: Adaptation::BranchesTaken { nodes: taken } });
        }
        let mut nodes = std::mem::take(&mut graph.nodes);
        for node in nodes.iter_mut().filter(|node| node.domain.is_empty()) {
            if let Some((position, target)) = target(node, graph, &shapes) {
                let value = names.fresh(&format!("{}/target", node.label()));
                graph.initializers.insert(value.clone(), Tensor::ints(&target));
                node.inputs[position] = Some(value);
            }
        }
        graph.nodes = nodes;
        drop_unused(graph);
        shapes.0.extend(graph.initializers.iter().map(|(value, tensor)| (value.clone(), Facts::of(tensor))));
        check(&model)?;
        let mut folded = Self { canonical: Canonical { model, adaptations }, shapes, lowering };
        folded.forget_unused();
        Ok(Folded::Done(folded))
    }
}

/// Makes initializers of what nodes compute that is the same for every input. Quantized weights stay as they are, so that a
/// runtime that computes in integers still sees them.
fn constants(graph: &mut Graph, shapes: &Shapes) {
    let constant = |value: &Value| shapes.0.get(value).and_then(|facts| facts.constant.clone());
    let Graph { nodes, initializers, .. } = graph;
    nodes.retain(|node| {
        if matches!(node.operator.as_str(), "QuantizeLinear" | "DequantizeLinear") {
            return true;
        }
        let values: Option<Vec<_>> =
            node.outputs.iter().flatten().map(|value| Some((value.clone(), constant(value)?))).collect();
        match values.filter(|values| !values.is_empty()) {
            None => true,
            Some(values) => {
                initializers.extend(values);
                false
            }
        }
    });
}

/// A constant that says the same as the computed input at the position.
fn target(node: &mut Node, graph: &Graph, shapes: &Shapes) -> Option<(usize, Vec<i64>)> {
    let computed = |position: usize| node.input(position).is_some_and(|v| !graph.initializers.contains_key(v));
    let dims = |value: Option<&Value>| value.and_then(|v| shapes.0.get(v)).map(|facts| facts.dims.as_slice());
    let (from, to) = (dims(node.input(0))?, dims(node.output(0))?);
    match node.operator.as_str() {
        "Reshape" if computed(1) => {
            let target = reshape(to)?;
            // It has no zeros.
            node.attributes.shift_remove("allowzero");
            Some((1, target))
        }
        "Expand" if computed(1) => Some((1, expand(from, to)?)),
        "Resize" if computed(3) && !node.attributes.contains_key("axes") && from.first() == to.first() => {
            let sizes: Vec<i64> = to[1..].iter().map(|&dim| fixed(dim)).collect::<Option<_>>()?;
            let axes: Vec<i64> = (1_i64..).take(sizes.len()).collect();
            node.attributes.insert("axes".into(), Attribute::Ints(axes));
            Some((3, sizes))
        }
        _ => None,
    }
}

fn fixed(dim: Dim) -> Option<i64> {
    if let Dim::Fixed(size) = dim { i64::try_from(size).ok() } else { None }
}

/// At most one dimension is left to be found out.
fn reshape(to: &[Dim]) -> Option<Vec<i64>> {
    let open = to.iter().filter(|dim| matches!(dim, Dim::Batch(_))).count();
    let target = to.iter().map(|&dim| fixed(dim).or((dim != Dim::Fixed(0)).then_some(-1)));
    (open <= 1 && !to.contains(&Dim::Fixed(0))).then(|| target.collect())?
}

/// `Expand` leaves a dimension alone whose target is 1.
fn expand(from: &[Dim], to: &[Dim]) -> Option<Vec<i64>> {
    let lead = to.len().checked_sub(from.len())?;
    let from = |axis: usize| axis.checked_sub(lead).map(|axis| from[axis]);
    to.iter().enumerate().map(|(axis, &dim)| fixed(dim).or((from(axis) == Some(dim)).then_some(1))).collect()
}
