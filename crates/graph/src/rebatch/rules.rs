//! How the batch goes through each operator.

use super::Step;
use super::edits::Edit;
use super::layout::{Layout, axis};
use crate::{Cause, Node, Rule};

/// Where the batch is in the outputs of `node`, at least one input of which has it.
pub(super) fn outputs(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    match (node.domain.as_str(), node.operator.as_str()) {
        ("", "Reshape") => reshape(node, step),
        ("", "Flatten") => flatten(node, step),
        ("", "Transpose") => transpose(node, step),
        ("", "Squeeze") => squeeze(node, step),
        ("", "Unsqueeze") => unsqueeze(node, step),
        ("", "Expand") => expand(node, step),
        ("", "Concat") => concat(node, step),
        ("", "Slice") => slice(node, step),
        ("", "Gather") => gather(node, step),
        ("", "MatMul") => mat_mul(node, step),
        ("", "Gemm") => gemm(node, step),
        ("", "Einsum") => einsum(node, step),
        ("", "Resize") => resize(node, step),
        ("", "GridSample") => together(node, step),
        ("", "If" | "Loop" | "Scan") => Err(Cause::Unsupported("the batch goes into its subgraphs".into())),
        ("", "Split" | "Softmax" | "LogSoftmax" | "Hardmax" | "CumSum" | "TopK" | "LpNormalization") => {
            along(node, step, 1)
        }
        ("", "LayerNormalization") => normalized(node, step),
        ("", operator) if operator.starts_with("Reduce") || operator.starts_with("Arg") => reduce(node, step),
        ("", "Tile" | "Pad") => whole(node, step),
        ("", operator) if FIRST.contains(&operator) => first(node, step),
        _ => aligned(node, step),
    }
}

/// Operators whose first input is `[batch, channels, …]`, and whose other inputs are weights.
const FIRST: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Col2Im",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DeformConv",
    "DepthToSpace",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "LRN",
    "LpPool",
    "MaxPool",
    "PRelu",
    "QLinearConv",
    "SpaceToDepth",
];

/// The batch of input 0, which is the only one that has it.
fn only(node: &Node, step: &Step<'_>) -> Rule<(Layout, Vec<usize>)> {
    let x = node.required(0)?;
    match step.layout(node, 0) {
        Some(layout) if (1..node.inputs.len()).all(|i| step.layout(node, i).is_none()) => Ok((layout, step.dims(x))),
        _ => Err(Cause::Unsupported("the batch reaches another input than the first".into())),
    }
}

fn mixes() -> Cause {
    Cause::Unsupported("it mixes the samples of a batch".into())
}

fn first(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, _) = only(node, step)?;
    if layout.axis == 0 { Ok(layout) } else { Err(mixes()) }
}

/// All inputs are `[batch, …]`; one that does not follow from the data is the same for every sample.
fn together(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let rank = rank(node, step)?;
    let layouts: Vec<Layout> = (0..node.inputs.len()).filter_map(|i| step.layout(node, i)).collect();
    let layout = *layouts.first().ok_or_else(mixes)?;
    if layout.axis != 0 || layouts.iter().any(|other| *other != layout) {
        return Err(mixes());
    }
    for i in 0..node.inputs.len() {
        join(node, step, i, layout, rank, false)?;
    }
    Ok(layout)
}

fn rank(node: &Node, step: &Step<'_>) -> Rule<usize> {
    let output = node.outputs.iter().flatten().next();
    output.map(|y| step.dims(y).len()).ok_or_else(|| Cause::Malformed("it has no output".into()))
}

/// The rule of broadcasting: dimensions correspond from the last one on.
fn aligned(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let rank = rank(node, step)?;
    let mut found: Option<Layout> = None;
    for i in 0..node.inputs.len() {
        if let (Some(layout), Some(value)) = (step.layout(node, i), node.input(i)) {
            let lead = rank.checked_sub(step.dims(value).len()).ok_or_else(mixes)?;
            let layout = layout.moved(layout.axis + lead);
            if *found.get_or_insert(layout) != layout {
                return Err(mixes());
            }
        }
    }
    let layout = found.ok_or_else(mixes)?;
    for i in 0..node.inputs.len() {
        join(node, step, i, layout, rank, true)?;
    }
    Ok(layout)
}

/// Makes a constant input fit the batch that it meets at `layout` of a tensor of rank `rank`.
fn join(node: &Node, step: &mut Step<'_>, i: usize, layout: Layout, rank: usize, broadcasts: bool) -> Rule<()> {
    let (None, Some(value)) = (step.layout(node, i), node.input(i)) else { return Ok(()) };
    let dims = step.dims(value);
    let Some(axis) = (layout.axis + dims.len()).checked_sub(rank).filter(|&axis| axis < dims.len()) else {
        return Ok(());
    };
    if broadcasts && dims[axis] == 1 {
        return Ok(());
    }
    if dims[axis] != layout.size(step.size) {
        return Err(mixes());
    }
    let (layout, size) = (layout.moved(axis), step.size);
    let plain = broadcasts && layout.before * layout.after == 1;
    step.edits.push(match plain {
        true => Edit::Single { input: i, dims, layout, size },
        false => Edit::Repeat { input: i, dims, layout, size },
    });
    Ok(())
}

fn reshape(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, from) = only(node, step)?;
    let to = step.dims(node.output(0).ok_or_else(mixes)?);
    let places = layout.reshaped(&from, &to, step.size);
    let place = step.choices.choose(&places).ok_or_else(mixes)?;
    let values = to.iter().enumerate().map(|(i, &dim)| if i == place.axis { -1 } else { int(dim) }).collect();
    step.edits.push(Edit::Without("allowzero"));
    step.edits.push(Edit::Ints { input: 1, values });
    Ok(place)
}

fn flatten(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, from) = only(node, step)?;
    let at = node.int("axis", 1)?;
    let at = if at == int(from.len()) { from.len() } else { axis(at, from.len())? };
    let place = usize::from(layout.axis >= at);
    let to = step.dims(node.output(0).ok_or_else(mixes)?);
    let places = layout.reshaped(&from, &to, step.size);
    places.into_iter().find(|found| found.axis == place).ok_or_else(mixes)
}

fn transpose(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, dims) = only(node, step)?;
    let to = match node.ints("perm")? {
        Some(perm) => perm.iter().position(|&from| from == int(layout.axis)).ok_or_else(mixes)?,
        None => dims.len() - 1 - layout.axis,
    };
    Ok(layout.moved(to))
}

fn squeeze(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, dims) = only(node, step)?;
    let axes: Vec<usize> = match step.ints(node, 1)? {
        Some(axes) => axes.iter().map(|&a| axis(a, dims.len())).collect::<Rule<_>>()?,
        None => {
            // All dimensions of size 1; stated, because the batch will not be one of them.
            let axes: Vec<usize> = (0..dims.len()).filter(|&i| dims[i] == 1 && i != layout.axis).collect();
            if dims[layout.axis] == 1 {
                return Err(mixes());
            }
            axes
        }
    };
    if axes.contains(&layout.axis) {
        return Err(Cause::Unsupported("it removes the batch dimension".into()));
    }
    Ok(layout.moved(layout.axis - axes.iter().filter(|&&a| a < layout.axis).count()))
}

fn unsqueeze(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, dims) = only(node, step)?;
    let axes = step.ints(node, 1)?.unwrap_or_default();
    let rank = dims.len() + axes.len();
    let axes: Vec<usize> = axes.iter().map(|&a| axis(a, rank)).collect::<Rule<_>>()?;
    let kept: Vec<usize> = (0..rank).filter(|i| !axes.contains(i)).collect();
    kept.get(layout.axis).map(|&to| layout.moved(to)).ok_or_else(mixes)
}

fn expand(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, from) = only(node, step)?;
    let to = step.dims(node.output(0).ok_or_else(mixes)?);
    let layout = layout.moved(layout.axis + to.len() - from.len());
    if to[layout.axis] != layout.size(step.size) {
        return Err(mixes());
    }
    // A target of 1 leaves the dimension alone.
    let values = to.iter().enumerate().map(|(i, &dim)| if i == layout.axis { 1 } else { int(dim) }).collect();
    step.edits.push(Edit::Ints { input: 1, values });
    Ok(layout)
}

fn concat(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let rank = rank(node, step)?;
    let joined = axis(node.int("axis", 0)?, rank)?;
    let mut found = (0..node.inputs.len()).filter_map(|i| step.layout(node, i));
    let layout = found.next().ok_or_else(mixes)?;
    if layout.axis == joined || found.any(|other| other != layout) {
        return Err(mixes());
    }
    for i in 0..node.inputs.len() {
        join(node, step, i, layout, rank, false)?;
    }
    Ok(layout)
}

fn slice(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, dims) = only(node, step)?;
    let to = step.dims(node.output(0).ok_or_else(mixes)?);
    let (starts, ends) = (step.ints(node, 1)?.ok_or_else(mixes)?, step.ints(node, 2)?.ok_or_else(mixes)?);
    let axes = step.ints(node, 3)?.unwrap_or_else(|| (0..).take(starts.len()).collect());
    let steps = step.ints(node, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    let mut values = ends;
    for (i, &a) in axes.iter().enumerate() {
        if axis(a, dims.len())? == layout.axis {
            if steps.get(i) != Some(&1) || to[layout.axis] != dims[layout.axis] {
                return Err(mixes());
            }
            // All of it, however much that is.
            *values.get_mut(i).ok_or_else(mixes)? = i64::MAX;
        }
    }
    step.edits.push(Edit::Ints { input: 2, values });
    Ok(layout)
}

fn gather(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, dims) = only(node, step)?;
    let at = axis(node.int("axis", 0)?, dims.len())?;
    let indices = step.dims(node.required(1)?).len();
    match layout.axis.cmp(&at) {
        std::cmp::Ordering::Less => Ok(layout),
        std::cmp::Ordering::Equal => Err(mixes()),
        std::cmp::Ordering::Greater => Ok(layout.moved(layout.axis + indices - 1)),
    }
}

fn mat_mul(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let rank = rank(node, step)?;
    let ranks = [step.dims(node.required(0)?).len(), step.dims(node.required(1)?).len()];
    if ranks.contains(&1) {
        return Err(Cause::Unsupported("the batch in a product with a vector".into()));
    }
    // The dimension that is summed over: the last of the first factor, the last but one of the second.
    let placed = |i: usize| -> Rule<Option<Layout>> {
        let Some(layout) = step.layout(node, i) else { return Ok(None) };
        if layout.axis == ranks[i] - 1 - i {
            return Err(mixes());
        }
        Ok(Some(layout.moved(layout.axis + rank - ranks[i])))
    };
    let layout = match (placed(0)?, placed(1)?) {
        (Some(a), Some(b)) if a == b && a.axis + 2 < rank => a,
        (Some(one), None) | (None, Some(one)) => one,
        _ => return Err(mixes()),
    };
    if layout.axis + 2 < rank {
        for i in 0..2 {
            join(node, step, i, layout, rank, true)?;
        }
    }
    Ok(layout)
}

fn gemm(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (transposed_a, transposed_b) = (node.int("transA", 0)? != 0, node.int("transB", 0)? != 0);
    let layout = match (step.layout(node, 0), step.layout(node, 1)) {
        (Some(a), None) if a.axis == usize::from(transposed_a) => a.moved(0),
        (None, Some(b)) if b.axis == usize::from(!transposed_b) => b.moved(1),
        _ => return Err(mixes()),
    };
    match step.layout(node, 2) {
        Some(c) if c != layout => return Err(mixes()),
        _ => join(node, step, 2, layout, 2, true)?,
    }
    Ok(layout)
}

fn einsum(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let equation: String = node.text("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (terms, output) = equation
        .split_once("->")
        .filter(|_| !equation.contains('.'))
        .ok_or_else(|| Cause::Unsupported("an equation with an ellipsis or without an output".into()))?;
    let terms: Vec<Vec<char>> = terms.split(',').map(|term| term.chars().collect()).collect();
    let mut found: Option<(char, Layout)> = None;
    for (i, term) in terms.iter().enumerate() {
        let Some(layout) = step.layout(node, i) else { continue };
        let letter = *term.get(layout.axis).ok_or_else(mixes)?;
        let (other, same) = *found.get_or_insert((letter, layout));
        if letter != other || layout.moved(0) != same.moved(0) {
            return Err(mixes());
        }
    }
    let (letter, layout) = found.ok_or_else(mixes)?;
    let constants = terms.iter().enumerate().filter(|(i, _)| step.layout(node, *i).is_none());
    if constants.into_iter().any(|(_, term)| term.contains(&letter)) {
        return Err(mixes());
    }
    output.chars().position(|c| c == letter).map(|axis| layout.moved(axis)).ok_or_else(mixes)
}

fn resize(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let layout = first(node, step)?;
    if let (Some(sizes), None) = (step.ints(node, 3)?, node.ints("axes")?) {
        // Stated for all dimensions but the first.
        step.edits.push(Edit::With("axes", (1_i64..).take(sizes.len().saturating_sub(1)).collect::<Vec<_>>().into()));
        step.edits.push(Edit::Ints { input: 3, values: sizes.get(1..).unwrap_or_default().to_vec() });
    }
    Ok(layout)
}

/// Operators that work along one dimension, which must not be the batch.
fn along(node: &Node, step: &mut Step<'_>, default: i64) -> Rule<Layout> {
    let (layout, dims) = only(node, step)?;
    let default = match node.operator.as_str() {
        "Split" => 0,
        "TopK" | "Softmax" | "LogSoftmax" | "Hardmax" | "LpNormalization" => -1,
        _ => default,
    };
    let at = match step.ints(node, 1)? {
        Some(axes) if node.operator == "CumSum" => axes.first().copied().unwrap_or(0),
        _ => node.int("axis", default)?,
    };
    if axis(at, dims.len())? == layout.axis { Err(mixes()) } else { Ok(layout) }
}

fn normalized(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, dims) = only(node, step)?;
    if layout.axis < axis(node.int("axis", -1)?, dims.len())? { Ok(layout) } else { Err(mixes()) }
}

fn reduce(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, dims) = only(node, step)?;
    let axes = if node.operator.starts_with("Arg") {
        Some(vec![node.int("axis", 0)?])
    } else {
        step.ints(node, 1)?.filter(|axes| !axes.is_empty())
    };
    let axes: Vec<usize> = match axes {
        Some(axes) => axes.iter().map(|&a| axis(a, dims.len())).collect::<Rule<_>>()?,
        None if node.int("noop_with_empty_axes", 0)? != 0 => return Ok(layout),
        None => return Err(mixes()),
    };
    if axes.contains(&layout.axis) {
        return Err(mixes());
    }
    let removed = if node.int("keepdims", 1)? != 0 { 0 } else { axes.iter().filter(|&&a| a < layout.axis).count() };
    Ok(layout.moved(layout.axis - removed))
}

/// Operators that must leave the batch dimension as it is.
fn whole(node: &Node, step: &mut Step<'_>) -> Rule<Layout> {
    let (layout, dims) = only(node, step)?;
    let to = step.dims(node.output(0).ok_or_else(mixes)?);
    if to.len() == dims.len() && to[layout.axis] == dims[layout.axis] { Ok(layout) } else { Err(mixes()) }
}

fn int(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
