//! `Attention`, written out: `softmax(Q Kᵀ · scale + mask) V`, head by head.

use super::scope::Scope;
use crate::{Attribute, Cause, DataType, Node, Rule, Tensor, Value};

/// At 23, with what came until 25. Queries, keys and values are `[batch, heads, length, size]`, or `[batch, length, heads · size]`
/// with the number of heads as an attribute.
///
/// Without past keys and values, which classifiers do not have.
pub(super) fn attention(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if let Some(i) = (4..node.inputs.len()).find(|&i| node.input(i).is_some()) {
        return Err(Cause::Unsupported(format!("input {i}, past keys and values; export the model without a cache")));
    }
    if let Some(output) = node.outputs.iter().skip(1).flatten().find(|output| scope.read.contains(*output)) {
        return Err(Cause::Unsupported(format!("output \"{output}\" beside the first")));
    }
    for name in ["left_window_size", "right_window_size"] {
        if node.int(name, -1)? >= 0 {
            return Err(Cause::Unsupported(format!("attribute \"{name}\"; use a mask")));
        }
    }
    let dtype = scope.dtype(node)?;
    let heads = [node.int("q_num_heads", 0)?, node.int("kv_num_heads", 0)?];
    let flat = heads[0] != 0;
    let [q, k, v] = [0, 1, 2].map(|i| node.required(i).cloned());
    let [mut q, mut k, mut v] = [q?, k?, v?];
    if flat {
        q = split_heads(node, scope, &q, heads[0]);
        k = split_heads(node, scope, &k, heads[1]);
        v = split_heads(node, scope, &v, heads[1]);
    }
    if !flat || heads[0] != heads[1] {
        k = shared_heads(node, scope, &q, &k);
        v = shared_heads(node, scope, &q, &v);
    }
    let columns = scope.emit_with(node, "Transpose", &[&k], &[("perm", vec![0, 1, 3, 2].into())]);
    let scores = scope.emit(node, "MatMul", &[&q, &columns]);
    let mut scores = match node.float("scale", 0.0)? {
        0.0 => {
            let size = scope.emit_with(node, "Shape", &[&q], &[("start", (-1).into())]);
            let size = scope.emit_with(node, "Cast", &[&size], &[("to", i64::from(dtype.number()).into())]);
            let root = scope.emit(node, "Sqrt", &[&size]);
            scope.emit(node, "Div", &[&scores, &root])
        }
        scale => {
            let scale = number(node, scope, "scale", f64::from(scale))?;
            scope.emit(node, "Mul", &[&scores, &scale])
        }
    };
    let cap = f64::from(node.float("softcap", 0.0)?);
    if cap > 0.0 {
        let cap = number(node, scope, "softcap", cap)?;
        let scaled = scope.emit(node, "Div", &[&scores, &cap]);
        let bounded = scope.emit(node, "Tanh", &[&scaled]);
        scores = scope.emit(node, "Mul", &[&bounded, &cap]);
    }
    if node.int("is_causal", 0)? != 0 {
        let allowed = causal(node, scope, &q, &k);
        let bias = bias(node, scope, &allowed)?;
        scores = scope.emit(node, "Add", &[&scores, &bias]);
    }
    if let Some(mask) = node.input(3).cloned() {
        let bias = match scope.of(Some(&mask)).dtype {
            Some(DataType::Bool) => bias(node, scope, &mask)?,
            Some(other) if other == dtype => mask,
            _ => return Err(Cause::Unsupported("a mask whose type the file does not show, or of another type".into())),
        };
        scores = scope.emit(node, "Add", &[&scores, &bias]);
    }
    let precision = node.int("softmax_precision", 0)?;
    let stated =
        i32::try_from(precision).map(DataType::from_number).ok().filter(|stated| precision != 0 && *stated != dtype);
    let cast = |scope: &mut Scope<'_>, value: &Value, to: DataType| {
        scope.emit_with(node, "Cast", &[value], &[("to", i64::from(to.number()).into())])
    };
    if let Some(stated) = stated {
        scores = cast(scope, &scores, stated);
    }
    let mut weights = scope.emit_with(node, "Softmax", &[&scores], &[("axis", (-1).into())]);
    if stated.is_some() {
        weights = cast(scope, &weights, dtype);
    }
    node.outputs.truncate(1);
    if !flat {
        become_node(node, "MatMul", &[&weights, &v]);
        return Ok(());
    }
    let mixed = scope.emit(node, "MatMul", &[&weights, &v]);
    let rows = scope.emit_with(node, "Transpose", &[&mixed], &[("perm", vec![0, 2, 1, 3].into())]);
    let target = scope.constant(node, "flat", Tensor::ints(&[0, 0, -1]));
    become_node(node, "Reshape", &[&rows, &target]);
    Ok(())
}

/// `[batch, length, heads · size]` to `[batch, heads, length, size]`.
fn split_heads(node: &Node, scope: &mut Scope<'_>, value: &Value, heads: i64) -> Value {
    let target = scope.constant(node, "heads", Tensor::ints(&[0, 0, heads, -1]));
    let split = scope.emit(node, "Reshape", &[value, &target]);
    scope.emit_with(node, "Transpose", &[&split], &[("perm", vec![0, 2, 1, 3].into())])
}

/// Keys or values of fewer heads than the queries `q` have, each repeated for its group of queries.
fn shared_heads(node: &Node, scope: &mut Scope<'_>, q: &Value, value: &Value) -> Value {
    let axis = |a: i64, b: i64| [("start", Attribute::Int(a)), ("end", Attribute::Int(b))];
    let (of_q, of_value) =
        (scope.emit_with(node, "Shape", &[q], &axis(1, 2)), scope.emit_with(node, "Shape", &[value], &axis(1, 2)));
    let times = scope.emit(node, "Div", &[&of_q, &of_value]);
    let one = scope.constant(node, "once", Tensor::ints(&[1]));
    let target = scope.emit_with(node, "Concat", &[&one, &one, &times, &one, &one], &[("axis", 0.into())]);
    let two = scope.constant(node, "group", Tensor::ints(&[2]));
    let apart = scope.emit(node, "Unsqueeze", &[value, &two]);
    let repeated = scope.emit(node, "Expand", &[&apart, &target]);
    let rest = scope.emit_with(node, "Shape", &[value], &[("start", 2.into())]);
    let (batch, all) =
        (scope.constant(node, "batch", Tensor::ints(&[0])), scope.constant(node, "all", Tensor::ints(&[-1])));
    let target = scope.emit_with(node, "Concat", &[&batch, &all, &rest], &[("axis", 0.into())]);
    scope.emit(node, "Reshape", &[&repeated, &target])
}

/// Which keys each query may see: those up to its own place.
fn causal(node: &Node, scope: &mut Scope<'_>, q: &Value, k: &Value) -> Value {
    let length = [("start", Attribute::Int(2)), ("end", Attribute::Int(3))];
    let (queries, keys) =
        (scope.emit_with(node, "Shape", &[q], &length), scope.emit_with(node, "Shape", &[k], &length));
    let shape = scope.emit_with(node, "Concat", &[&queries, &keys], &[("axis", 0.into())]);
    let one = Attribute::Tensor(Tensor::floats(&[1], &[1.0]));
    let ones = scope.emit_with(node, "ConstantOfShape", &[&shape], &[("value", one)]);
    let lower = scope.emit_with(node, "Trilu", &[&ones], &[("upper", 0.into())]);
    scope.emit_with(node, "Cast", &[&lower], &[("to", i64::from(DataType::Bool.number()).into())])
}

/// Zero where `allowed`, and minus infinity elsewhere.
fn bias(node: &Node, scope: &mut Scope<'_>, allowed: &Value) -> Rule<Value> {
    let (zero, never) = (number(node, scope, "0", 0.0)?, number(node, scope, "-inf", f64::NEG_INFINITY)?);
    Ok(scope.emit(node, "Where", &[allowed, &zero, &never]))
}

/// A constant of the type of input 0.
fn number(node: &Node, scope: &mut Scope<'_>, role: &str, value: f64) -> Rule<Value> {
    let dtype = scope.dtype(node)?;
    Ok(scope.constant(node, role, Tensor::scalar(dtype, value)))
}

/// Makes `node` an application of `operator`, without attributes.
fn become_node(node: &mut Node, operator: &str, inputs: &[&Value]) {
    node.operator = operator.into();
    node.inputs = inputs.iter().map(|&value| Some(value.clone())).collect();
    node.attributes.clear();
}
