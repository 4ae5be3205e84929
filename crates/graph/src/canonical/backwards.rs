//! Versions after the canonical operator set: what they added is said with its operators, or must not be used.

use super::scope::Scope;
use crate::{Cause, DataType, Node, Rule, Tensor, Value};

/// `AveragePool` at 19: `dilations`.
pub(super) fn undilated(node: &mut Node, _scope: &mut Scope<'_>) -> Rule<()> {
    if node.ints("dilations")?.is_some_and(|d| d.iter().any(|&d| d != 1)) {
        return Err(Cause::Unsupported("dilations of an average; use an undilated window".into()));
    }
    node.attributes.shift_remove("dilations");
    Ok(())
}

/// `Cast` and `CastLike` at 19: `saturate`, which only concerns 8-bit floats.
pub(super) fn unsaturated(node: &mut Node, _scope: &mut Scope<'_>) -> Rule<()> {
    node.attributes.shift_remove("saturate");
    Ok(())
}

/// `Cast` and `CastLike` at 24: `round_mode`, which only concerns 8-bit floats.
pub(super) fn unrounded(node: &mut Node, _scope: &mut Scope<'_>) -> Rule<()> {
    node.attributes.shift_remove("round_mode");
    Ok(())
}

/// `GridSample` at 20: the modes have other names, and volumes came.
pub(super) fn grid_modes(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if scope.of(node.input(0)).rank.is_some_and(|rank| rank != 4) {
        return Err(Cause::Unsupported("a volume; images [batch, channels, height, width] are supported".into()));
    }
    let mode = match node.text("mode", "linear")? {
        "linear" => "bilinear",
        "cubic" => "bicubic",
        "nearest" => "nearest",
        other => return Err(Cause::Malformed(format!("mode = \"{other}\"; linear, nearest or cubic expected"))),
    };
    node.attributes.insert("mode".into(), mode.into());
    Ok(())
}

/// `Pad` at 19: the mode `wrap`. Along each axis it reads positions modulo the size, after negative pads have cropped it.
pub(super) fn wrap(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if node.text("mode", "constant")? != "wrap" {
        return Ok(());
    }
    let unknown = || Cause::Unsupported("mode wrap with computed pads; export the model with constant ones".into());
    let pads = scope.tensor(node.input(1)).and_then(Tensor::to_i64).ok_or_else(unknown)?;
    let axes = match node.input(3) {
        Some(axes) => scope.tensor(Some(axes)).and_then(Tensor::to_i64).ok_or_else(unknown)?,
        None => (0..).take(pads.len() / 2).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(Cause::Malformed(format!("{} pads for {} axes: two for each", pads.len(), axes.len())));
    }
    if let Some(pad) = pads.iter().find(|pad| pad.unsigned_abs() > u64::from(u32::MAX)) {
        return Err(Cause::Malformed(format!("a pad of {pad}")));
    }
    let (begins, ends) = pads.split_at(axes.len());
    let mut value = node.required(0)?.clone();
    for (&axis, (&begin, &end)) in axes.iter().zip(begins.iter().zip(ends)) {
        if (begin, end) != (0, 0) {
            value = wrapped(node, scope, &value, axis, (begin, end));
        }
    }
    node.operator = "Identity".into();
    node.inputs = vec![Some(value)];
    node.attributes.clear();
    Ok(())
}

/// `value` with its elements repeated before and behind along one axis.
fn wrapped(node: &Node, scope: &mut Scope<'_>, value: &Value, axis: i64, (begin, end): (i64, i64)) -> Value {
    let (cropped, cropped_end) = ((-begin).max(0), (-end).max(0));
    let [which, first, crop, all_crop, behind, one] = [
        ("axis", axis),
        ("first", -begin.max(0)),
        ("crop", cropped),
        ("crops", cropped.saturating_add(cropped_end)),
        ("behind", end.max(0)),
        ("one", 1),
    ]
    .map(|(role, v)| scope.integer(node, role, v));
    let shape = scope.emit(node, "Shape", &[value]);
    let size = scope.emit(node, "Gather", &[&shape, &which]);
    let left = scope.emit(node, "Sub", &[&size, &all_crop]);
    let last = scope.emit(node, "Add", &[&left, &behind]);
    let positions = scope.emit(node, "Range", &[&first, &last, &one]);
    let inside = scope.emit(node, "Mod", &[&positions, &left]);
    let reads = scope.emit(node, "Add", &[&inside, &crop]);
    scope.emit_with(node, "Gather", &[value, &reads], &[("axis", axis.into())])
}

/// `Gelu` at 20, written out.
pub(super) fn gelu(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let dtype = scope.dtype(node)?;
    let x = node.required(0)?.clone();
    let approximate = node.text("approximate", "none")?.to_owned();
    written_out_gelu(node, scope, &x, dtype, &approximate)
}

/// Makes `node` `x/2 (1 + erf(x/√2))`, or with `tanh(√(2/π) (x + 0.044715 x³))` in place of `erf`.
pub(super) fn written_out_gelu(
    node: &mut Node,
    scope: &mut Scope<'_>,
    x: &Value,
    dtype: DataType,
    approximate: &str,
) -> Rule<()> {
    let number = |scope: &mut Scope<'_>, role: &str, v: f64| scope.constant(node, role, Tensor::scalar(dtype, v));
    let inner = match approximate {
        "none" => {
            let factor = number(scope, "1/sqrt(2)", std::f64::consts::FRAC_1_SQRT_2);
            let scaled = scope.emit(node, "Mul", &[x, &factor]);
            scope.emit(node, "Erf", &[&scaled])
        }
        "tanh" => {
            let cubic = number(scope, "0.044715", 0.044_715);
            let one = number(scope, "1", 1.0);
            let factor = number(scope, "sqrt(2/pi)", (2.0 / std::f64::consts::PI).sqrt());
            let square = scope.emit(node, "Mul", &[x, x]);
            let square = scope.emit(node, "Mul", &[&square, &cubic]);
            let sum = scope.emit(node, "Add", &[&square, &one]);
            let scaled = scope.emit(node, "Mul", &[x, &factor]);
            let product = scope.emit(node, "Mul", &[&scaled, &sum]);
            scope.emit(node, "Tanh", &[&product])
        }
        other => return Err(Cause::Malformed(format!("approximate = \"{other}\"; none or tanh expected"))),
    };
    let one = number(scope, "1", 1.0);
    let half = number(scope, "1/2", 0.5);
    let gate = scope.emit(node, "Add", &[&inner, &one]);
    let gate = scope.emit(node, "Mul", &[&gate, &half]);
    node.operator = "Mul".into();
    node.inputs = vec![Some(x.clone()), Some(gate)];
    node.attributes.clear();
    Ok(())
}
