//! Versions after the canonical operator set: what they added must not be used.

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

/// `Pad` at 19: the mode `wrap`.
pub(super) fn no_wrap(node: &mut Node, _scope: &mut Scope<'_>) -> Rule<()> {
    if node.text("mode", "constant")? == "wrap" {
        return Err(Cause::Unsupported("mode wrap; pad with a constant, the edge or a reflection".into()));
    }
    Ok(())
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
