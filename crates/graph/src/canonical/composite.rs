//! Composite operators of the standard set, written out with the operators that their definitions use.
//!
//! ONNX Runtime has no kernels for most of them either and does the same.

use super::fused::root_mean_square;
use super::scope::Scope;
use crate::{Cause, Node, Rule, Tensor, Value};

/// `GroupNormalization` at 18: with a scale and a bias for each group.
pub(super) fn groups(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let x = node.required(0)?.clone();
    let (scale, bias) = (node.required(1)?.clone(), node.required(2)?.clone());
    let normal = normalized(node, scope, &scale, &bias)?;
    reshape_like(node, scope, normal, &x)
}

/// `GroupNormalization` at 21: with a scale and a bias for each channel.
pub(super) fn channels(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let x = node.required(0)?.clone();
    let (scale, bias) = (node.required(1)?.clone(), node.required(2)?.clone());
    let groups = usize::try_from(node.int("num_groups", 0)?).map_err(|_| missing())?;
    let dtype = scope.dtype(node)?;
    let [one, zero] = [("1", 1.0), ("0", 0.0)]
        .map(|(role, v)| scope.constant(node, role, Tensor::rounded(dtype, &[groups], &vec![v; groups])));
    let normal = normalized(node, scope, &one, &zero)?;

    // [n, channels, -1], with the number of channels from the scale.
    let [same, rest, column] =
        [("same", 0), ("rest", -1), ("column", 1)].map(|(role, v)| scope.constant(node, role, Tensor::ints(&[v])));
    let count = scope.emit(node, "Shape", &[&scale]);
    let shape = scope.emit_with(node, "Concat", &[&same, &count, &rest], &[("axis", 0.into())]);
    let normal = scope.emit(node, "Reshape", &[&normal, &shape]);
    let [scale, bias] = [scale, bias].map(|v| scope.emit(node, "Unsqueeze", &[&v, &column]));
    let scaled = scope.emit(node, "Mul", &[&normal, &scale]);
    let shifted = scope.emit(node, "Add", &[&scaled, &bias]);
    reshape_like(node, scope, shifted, &x)
}

/// Input 0 as `[n, groups, -1]`, each group normalised.
fn normalized(node: &Node, scope: &mut Scope<'_>, scale: &Value, bias: &Value) -> Rule<Value> {
    let groups = node.int("num_groups", 0)?;
    if groups < 1 {
        return Err(missing());
    }
    if node.int("stash_type", 1)? != 1 {
        return Err(Cause::Unsupported("attribute \"stash_type\" other than 1 (f32)".into()));
    }
    let shape = scope.constant(node, "groups", Tensor::ints(&[0, groups, -1]));
    let grouped = scope.emit(node, "Reshape", &[node.required(0)?, &shape]);
    let epsilon = node.float("epsilon", 1e-5)?;
    Ok(scope.emit_with(node, "InstanceNormalization", &[&grouped, scale, bias], &[("epsilon", epsilon.into())]))
}

fn missing() -> Cause {
    Cause::Malformed("attribute \"num_groups\" must be a positive number".into())
}

/// Makes `node` give `value` in the shape of `like`.
fn reshape_like(node: &mut Node, scope: &mut Scope<'_>, value: Value, like: &Value) -> Rule<()> {
    let shape = scope.emit(node, "Shape", &[like]);
    node.operator = "Reshape".into();
    node.inputs = vec![Some(value), Some(shape)];
    node.attributes.clear();
    Ok(())
}

/// `RMSNormalization` at 23: `x / √(mean(x²) + epsilon) scale` over the axes from one on.
pub(super) fn root_mean_squares(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let axis = node.int("axis", -1)?;
    let rank = scope.of(node.input(0)).rank.and_then(|rank| i64::try_from(rank).ok());
    let first = if axis < 0 { Some(axis) } else { rank.map(|rank| axis - rank) };
    let axes: Vec<i64> =
        first.map(|first| (first..0).collect()).filter(|axes: &Vec<i64>| !axes.is_empty()).ok_or_else(|| {
            Cause::Unsupported(format!(
                "axis {axis} of a tensor whose rank the file does not tell; count it from the end"
            ))
        })?;
    if node.int("stash_type", 1)? != 1 {
        return Err(Cause::Unsupported("attribute \"stash_type\" other than 1 (f32)".into()));
    }
    let (x, scale, dtype) = (node.required(0)?.clone(), node.required(1)?.clone(), scope.dtype(node)?);
    let epsilon = Tensor::scalar(dtype, node.float("epsilon", 1e-5)?.into());
    root_mean_square(node, scope, &x, &scale, &axes, epsilon)
}

/// `CastLike` at 15: a cast to the type of the second input, as exporters write it that were not told to optimise. It stays where the file
/// does not tell that type.
pub(super) fn cast_like(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if let Some(dtype) = scope.of(node.input(1)).dtype {
        node.operator = "Cast".into();
        node.inputs.truncate(1);
        node.attributes.insert("to".into(), i64::from(dtype.number()).into());
    }
    Ok(())
}

/// `Swish` at 24: `x · sigmoid(α x)`.
pub(super) fn swish(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let x = node.required(0)?.clone();
    let alpha = Tensor::scalar(scope.dtype(node)?, node.float("alpha", 1.0)?.into());
    let alpha = scope.constant(node, "alpha", alpha);
    let scaled = scope.emit(node, "Mul", &[&x, &alpha]);
    let gate = scope.emit(node, "Sigmoid", &[&scaled]);
    node.operator = "Mul".into();
    node.inputs = vec![Some(x), Some(gate)];
    node.attributes.clear();
    Ok(())
}

/// `AffineGrid` at 20, written out: `x θ₀ + y θ₁ + θ₂` at every place `(x, y)` of an image, with the columns of
/// `θ [n, 2, 3]`.
pub(super) fn affine_grid(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let (theta, size) = (node.required(0)?.clone(), node.required(1)?.clone());
    if scope.tensor(Some(&size)).is_some_and(|size| size.len() != 4) {
        return Err(Cause::Unsupported("a volume; images [batch, channels, height, width] are supported".into()));
    }
    let align = node.int("align_corners", 0)? != 0;
    let column = |node: &Node, scope: &mut Scope<'_>, i: i64| {
        let index = scope.constant(node, "column", Tensor::ints(&[i]));
        let column = scope.emit_with(node, "Gather", &[&theta, &index], &[("axis", 2.into())]);
        let shape = scope.constant(node, "each", Tensor::ints(&[0, 1, 1, 2]));
        scope.emit(node, "Reshape", &[&column, &shape])
    };
    let mut terms = Vec::new();
    for (i, axis, shape) in [(0, 3, vec![-1, 1]), (1, 2, vec![-1, 1, 1])] {
        let places = places(node, scope, &size, axis, align)?;
        let shape = scope.constant(node, "places", Tensor::ints(&shape));
        let places = scope.emit(node, "Reshape", &[&places, &shape]);
        let column = column(node, scope, i);
        terms.push(scope.emit(node, "Mul", &[&places, &column]));
    }
    let sum = scope.emit(node, "Add", &[&terms[0], &terms[1]]);
    let shift = column(node, scope, 2);
    node.operator = "Add".into();
    node.inputs = vec![Some(sum), Some(shift)];
    node.attributes.clear();
    Ok(())
}

/// The coordinates of the elements along one axis of an image of `size`: -1 and 1 are the centres of the first and the last if
/// `align`, else their outer edges.
fn places(node: &Node, scope: &mut Scope<'_>, size: &Value, axis: i64, align: bool) -> Rule<Value> {
    let dtype = scope.dtype(node)?;
    let [zero, one, axis] = [("zero", 0), ("one", 1), ("axis", axis)].map(|(role, v)| scope.integer(node, role, v));
    let count = scope.emit(node, "Gather", &[size, &axis]);
    let positions = scope.emit(node, "Range", &[&zero, &count, &one]);
    let to = [("to", i64::from(dtype.number()).into())];
    let [count, positions] = [count, positions].map(|v| scope.emit_with(node, "Cast", &[&v], &to));
    let [one, two] = [1.0, 2.0].map(|v| scope.constant(node, "number", Tensor::scalar(dtype, v)));
    let doubled = scope.emit(node, "Mul", &[&positions, &two]);
    let (above, over) = if align {
        (doubled, scope.emit(node, "Sub", &[&count, &one]))
    } else {
        (scope.emit(node, "Add", &[&doubled, &one]), count)
    };
    let share = scope.emit(node, "Div", &[&above, &over]);
    Ok(scope.emit(node, "Sub", &[&share, &one]))
}
