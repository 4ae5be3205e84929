//! Larger feature maps by smaller strides (Xu et al., *Understanding Adversarial Robustness from Feature Maps of Convolutional
//! Layers*, arXiv 2202.12435).

use std::collections::HashSet;
use std::num::NonZeroUsize;

use super::checked;
use super::resolution::follow;
use crate::order::{drop_unused, reads, rename_reads};
use crate::{Attribute, Cause, Dim, Model, Node, Shaped, TransformError, Value};

const PASS: &str = "restride";

/// A node whose stride changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restride {
    /// The node's first output.
    pub output: Value,
    /// What becomes of it.
    pub to: Stride,
}

/// What becomes of a convolution or a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stride {
    /// It has this stride along every spatial axis.
    By(NonZeroUsize),
    /// It is left out: a pool only.
    Removed,
}

/// What becomes of a pool that gets a stride of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitPool {
    /// It is left out, as in the paper's VGG16.
    Removed,
    /// It stays, as in the paper's AlexNet: a map loses the width of the window but one.
    Kept,
}

/// The places where maps shrink, in the model's order: first outputs of convolutions and pools with a stride above 1. Those that shrink the
/// same map side by side, as a residual block's shortcut does, are one place.
#[must_use]
pub fn strided(source: &Shaped) -> Vec<Vec<Value>> {
    let dims =
        |value: &Value| source.facts(value).map(|facts| facts.dims.iter().skip(2).copied().collect::<Vec<Dim>>());
    let mut places: Vec<(Vec<Dim>, Vec<Value>)> = Vec::new();
    for node in
        source.model().graph.nodes.iter().filter(|node| strides(node).is_some_and(|all| all.iter().any(|&s| s > 1)))
    {
        let (Some(x), Some(y)) = (node.input(0).and_then(dims), node.output(0)) else { continue };
        match places.last_mut() {
            Some((size, outputs)) if *size == x => outputs.push(y.clone()),
            _ => places.push((x, vec![y.clone()])),
        }
    }
    places.into_iter().map(|(_, outputs)| outputs).collect()
}

/// The changes that a stride string stands for: a digit for each place of [`strided`]. It may have one more digit before them, 1, for the
/// first stage of a residual net, which shrinks nothing: `1122` makes the second of four stages keep its size.
///
/// # Errors
/// The string has other characters than digits from 1, or another number of them.
pub fn stride_string(source: &Shaped, text: &str, pools: UnitPool) -> Result<Vec<Restride>, TransformError> {
    let refuse = |text: String| TransformError::of_model(PASS, Cause::Unsupported(text));
    let places = strided(source);
    let digits: Option<Vec<NonZeroUsize>> =
        text.chars().map(|c| NonZeroUsize::new(usize::try_from(c.to_digit(10)?).ok()?)).collect();
    let digits =
        digits.ok_or_else(|| refuse(format!("stride string \"{text}\"; it has a digit from 1 for each stage")))?;
    let digits = match digits.split_first() {
        Some((first, rest)) if first.get() == 1 && rest.len() == places.len() => rest,
        _ => &digits[..],
    };
    if digits.len() != places.len() {
        let shown: Vec<String> = places.iter().map(|place| format!("{place:?}")).collect();
        let shown = shown.join(", ");
        return Err(refuse(format!(
            "stride string \"{text}\"; give a digit for each place where maps shrink: {shown}"
        )));
    }
    let graph = &source.model().graph;
    let is_pool = |output: &Value| graph.nodes.iter().any(|n| n.output(0) == Some(output) && n.operator != "Conv");
    let all =
        places.into_iter().zip(digits).flat_map(|(place, &digit)| place.into_iter().map(move |output| (output, digit)));
    let edit = |(output, digit): (Value, NonZeroUsize)| {
        let goes = digit.get() == 1 && pools == UnitPool::Removed && is_pool(&output);
        Restride { to: if goes { Stride::Removed } else { Stride::By(digit) }, output }
    };
    Ok(all.map(edit).collect())
}

/// `source` with other strides. Weights stay as they are, and padding too; the model should be trained with its new maps.
///
/// Maps behind the changed nodes have another size, so the result must be probed anew, which also shows where maps that meet do not
/// fit; [`inspect`](crate::inspect()) of it tells what it costs.
///
/// # Errors
/// A value is not the output of a convolution or a pool; a convolution is to be left out; or a node needs the size that its map had,
/// as a dense layer behind a flattened map does.
pub fn restride(source: &Shaped, edits: &[Restride]) -> Result<Model, TransformError> {
    let mut model = source.model().clone();
    let mut changed = Vec::new();
    for Restride { output, to } in edits {
        let unknown = || {
            let text = format!("\"{output}\" is not the output of a convolution or a pool");
            TransformError::of_model(PASS, Cause::Unsupported(text))
        };
        let graph = &mut model.graph;
        let at = graph.nodes.iter().position(|node| node.output(0) == Some(output)).ok_or_else(unknown)?;
        let before = strides(&graph.nodes[at]).ok_or_else(unknown)?;
        match to {
            Stride::By(stride) => {
                let stride = i64::try_from(stride.get()).unwrap_or(i64::MAX);
                if before.iter().all(|&before| before == stride) {
                    continue;
                }
                let rank = source.facts(output).map_or(0, |facts| facts.dims.len()).saturating_sub(2);
                graph.nodes[at].attributes.insert("strides".into(), Attribute::Ints(vec![stride; rank]));
            }
            Stride::Removed => {
                let node = &graph.nodes[at];
                let refuse = |text: &str| TransformError::at(PASS, node, Cause::Unsupported(text.into()));
                if node.operator == "Conv" {
                    return Err(refuse("a convolution cannot be left out; give it a stride"));
                }
                let indices = node.output(1).is_some_and(|v| graph.nodes.iter().any(|n| reads(n).contains(&v)));
                if indices || graph.outputs.iter().any(|info| info.value == *output) {
                    return Err(refuse("what it gives is an output of the model, or indices, and is needed"));
                }
                let input = node.required(0).map_err(|cause| TransformError::at(PASS, node, cause))?.clone();
                graph.nodes.iter_mut().for_each(|node| rename_reads(node, output, &input));
            }
        }
        changed.push(output.clone());
    }
    follow(PASS, source, &changed)?;
    let graph = &mut model.graph;
    drop_unused(graph);
    let stale: HashSet<&Value> = graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten()).collect();
    if !changed.is_empty() {
        graph.value_info.retain(|info| !stale.contains(&info.value));
    }
    checked(PASS, model)
}

/// The strides of a convolution or a pool along its spatial axes; `None` of other nodes. Without the attribute they are 1.
fn strides(node: &Node) -> Option<Vec<i64>> {
    let slides = matches!(node.operator.as_str(), "Conv" | "MaxPool" | "AveragePool");
    let stated = node.ints("strides").ok().filter(|_| slides && node.domain.is_empty())?;
    Some(stated.map_or_else(|| vec![1], <[i64]>::to_vec))
}
