//! A model looked at from inside: other values as outputs, and channels that can be switched off from outside.

use super::checked;
use crate::names::Names;
use crate::order::rename_reads;
use crate::{Cause, DataType, Dim, Dimension, Emit, Model, Node, Shaped, Tensor, TransformError, Value, ValueInfo};

const PASS: &str = "observe";

/// A model with other outputs: see [`observe`].
#[derive(Clone, Debug)]
pub struct Observed {
    /// The derived model.
    pub model: Model,
    /// Outputs: the chosen values, in their order, each of its shape and type.
    pub outputs: Vec<Value>,
    /// Inputs: a factor for each channel of the gated values, in their order, f32 `[c]`.
    pub gates: Vec<Value>,
}

/// `source` with the values `outputs` as its outputs, and with each of the values `gated`, f32 `[n, c, …]`, multiplied by an input, a factor
/// for each channel: 0 is what a net makes of its samples without the channel. The outputs are after the gates.
///
/// # Errors
/// A value is not of the model, or a gated one is not computed or not of f32 with a fixed number of channels.
pub fn observe(source: &Shaped, outputs: &[Value], gated: &[Value]) -> Result<Observed, TransformError> {
    let of_model = |cause| TransformError::of_model(PASS, cause);
    let mut model = source.model().clone();
    let mut names = Names::of(&model.graph);
    let (mut gates, mut behind) = (Vec::new(), Vec::new());
    for value in gated {
        let (channels, rank) = channels(source, value).map_err(of_model)?;
        let graph = &mut model.graph;
        let at = graph.nodes.iter().position(|node| node.outputs.iter().flatten().any(|o| o == value));
        let at = at.ok_or_else(|| of_model(Cause::Unsupported(format!("\"{value}\" is not computed"))))?;
        let gate = names.fresh(&format!("gate/{value}"));
        let (shape, factors, scaled) = (
            names.fresh(&format!("gate/{value}/shape")),
            names.fresh(&format!("gate/{value}/factors")),
            names.fresh(&format!("gate/{value}/scaled")),
        );
        let broadcast: Vec<i64> = std::iter::once(-1).chain(std::iter::repeat_n(1, rank.saturating_sub(2))).collect();
        graph.initializers.insert(shape.clone(), Tensor::ints(&broadcast));
        graph.inputs.push(ValueInfo::new(gate.clone(), DataType::Float, vec![Dimension::Known(channels)]));
        graph.nodes.iter_mut().skip(at + 1).for_each(|node| rename_reads(node, value, &scaled));
        let node = |operator: &str, inputs: [&Value; 2], output: &Value| Node {
            name: output.to_string(),
            ..Node::new(operator, inputs.map(|i| Some(i.clone())).to_vec(), vec![Some(output.clone())])
        };
        graph.nodes.splice(
            at + 1..at + 1,
            [node("Reshape", [&gate, &shape], &factors), node("Mul", [value, &factors], &scaled)],
        );
        gates.push(gate);
        behind.push((value.clone(), scaled));
    }
    let mut gated_source = source.clone();
    gated_source.canonical.model = model;
    for (value, scaled) in &behind {
        let facts = gated_source.shapes.0.get(value).cloned();
        gated_source.shapes.0.extend(facts.map(|facts| (scaled.clone(), facts)));
    }
    let mut e = Emit::new(&gated_source);
    e.clear_outputs();
    let mut found = Vec::with_capacity(outputs.len());
    for value in outputs {
        let seen = behind.iter().find(|(from, _)| from == value).map_or(value, |(_, scaled)| scaled);
        let facts = e.facts(seen).map_err(of_model)?;
        found.push(e.output(seen, facts.dtype, &facts.dims));
    }
    Ok(Observed { model: checked(PASS, e.finish())?, outputs: found, gates })
}

/// Number of channels and rank of a value that can be gated.
fn channels(source: &Shaped, value: &Value) -> Result<(usize, usize), Cause> {
    let facts = source.facts(value).filter(|facts| facts.dtype == DataType::Float);
    match facts.map(|facts| &facts.dims[..]) {
        Some(dims @ [_, Dim::Fixed(channels), ..]) => Ok((*channels, dims.len())),
        _ => Err(Cause::Unsupported(format!("\"{value}\" is no f32 [n, c, …] with a fixed number of channels"))),
    }
}
