//! `QuantizeLinear` and `DequantizeLinear` of later operator sets, and inputs of bytes.
//!
//! 16 bits and f16 came to the standard set with versions 19 and 21. ONNX Runtime's own set has had the same operators for
//! them all along, with kernels, so that is how they are said here.

use super::scope::{Scope, set_input};
use crate::names::Names;
use crate::order::rename_reads;
use crate::{Cause, DataType, Graph, Node, Rule, Tensor, Value};

/// The domain of ONNX Runtime's own operators.
pub(super) const RUNTIME: &str = "com.microsoft";

/// `QuantizeLinear` and `DequantizeLinear` at 19, 21 and 23: blocks, stated types, narrower and wider integers.
pub(super) fn linear(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if node.int("block_size", 0)? != 0 {
        return blocks(node, scope);
    }
    // Precision 1 is f32, which scales have.
    if !matches!(node.int("precision", 0)?, 0 | 1) {
        return Err(Cause::Unsupported("attribute \"precision\"; quantize in f32".into()));
    }
    let stated = i32::try_from(node.int("output_dtype", 0)?).map_err(|e| Cause::Malformed(e.to_string()))?;
    let scale = scope.of(node.input(1)).dtype;
    let quantizes = node.operator == "QuantizeLinear";
    if stated != 0 {
        let stated = DataType::from_number(stated);
        if quantizes && node.input(2).is_none() {
            let zero = zero_like(node, stated, scope)?;
            set_input(node, 2, zero);
        } else if !quantizes && scale != Some(stated) {
            return Err(Cause::Unsupported(format!("output_dtype {stated:?} with scales of another type")));
        }
    }
    for name in ["block_size", "precision", "output_dtype", "saturate"] {
        node.attributes.shift_remove(name);
    }
    let integers = scope.of(node.input(2)).dtype.or_else(|| scope.of(node.input(0)).dtype.filter(|_| !quantizes));
    match integers {
        None | Some(DataType::Uint8 | DataType::Int8 | DataType::Int32) => {}
        // 21 and 22 are ONNX's numbers of uint4 and int4.
        Some(DataType::Uint16 | DataType::Int16 | DataType::Other(21 | 22)) => node.domain = RUNTIME.into(),
        Some(other) => return Err(Cause::Unsupported(format!("quantization to {other:?}; use 8 or 16 bits"))),
    }
    if scale == Some(DataType::Float16) {
        node.domain = RUNTIME.into();
    }
    Ok(())
}

/// `DequantizeLinear` of constant weights with a scale for each block: the numbers that they stand for.
fn blocks(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let unsupported = || {
        Cause::Unsupported(
            "attribute \"block_size\" of other than constant 8-bit or 16-bit weights; quantize per axis".into(),
        )
    };
    let [q, scale] = [0, 1].map(|i| scope.tensor(node.input(i)));
    let (Some(q), Some(scale), "DequantizeLinear") = (q, scale, node.operator.as_str()) else {
        return Err(unsupported());
    };
    let scales = scale.to_f64().filter(|_| scale.dtype().is_float());
    let (Some(numbers), Some(scales)) = (q.to_f64(), scales) else { return Err(unsupported()) };
    let zeros = match node.input(2) {
        None => vec![0.0; scales.len()],
        Some(zeros) => scope.tensor(Some(zeros)).and_then(Tensor::to_f64).ok_or_else(unsupported)?,
    };
    let axis = crate::ops::axis(node.int("axis", 1)?, q.dims().len())?;
    let block = usize::try_from(node.int("block_size", 0)?).map_err(|e| Cause::Malformed(e.to_string()))?;
    let mut dims = q.dims().to_vec();
    dims[axis] = dims[axis].div_ceil(block);
    if scale.dims() != dims || zeros.len() != scales.len() || !matches!(node.int("output_dtype", 0)?, 0 | 1) {
        return Err(Cause::Malformed(format!(
            "blocks of {block} of {:?} have scales and zero points of shape {dims:?}, not {:?}",
            q.dims(),
            scale.dims()
        )));
    }
    let inner: usize = q.dims()[axis + 1..].iter().product();
    let length = q.dims()[axis];
    let of = |i: usize| (i / inner / length * dims[axis] + i / inner % length / block) * inner + i % inner;
    let values: Vec<f64> = numbers.iter().enumerate().map(|(i, q)| (q - zeros[of(i)]) * scales[of(i)]).collect();
    let numbers = Tensor::rounded(scale.dtype(), q.dims(), &values);
    let numbers = scope.constant(node, "numbers", numbers);
    node.operator = "Identity".into();
    node.inputs = vec![Some(numbers)];
    node.attributes.clear();
    Ok(())
}

/// Zero points of type `dtype`, one for each scale of `node`.
fn zero_like(node: &Node, dtype: DataType, scope: &mut Scope<'_>) -> Rule<Value> {
    let scale = scope.tensor(node.input(1));
    let dims = scale.map(|s| s.dims().to_vec()).ok_or_else(|| {
        Cause::Unsupported("attribute \"output_dtype\" with computed scales; state a zero point".into())
    })?;
    let bytes = dtype.size().map(|size| vec![0; size * dims.iter().product::<usize>()]);
    let zeros = bytes.and_then(|bytes| Tensor::new(dtype, dims, bytes.into()));
    let zeros = zeros.ok_or_else(|| Cause::Unsupported(format!("output_dtype {dtype:?}; use 8 or 16 bits")))?;
    Ok(scope.constant(node, "zero_point", zeros))
}

/// Lets an only input of 8-bit integers take f32, which is rounded to them: a quantization of scale 1. Pixels between two
/// integers are then what the file makes of the nearest one. The result is the type of the integers, if there were any.
pub(super) fn widen_input(graph: &mut Graph, names: &mut Names) -> Option<DataType> {
    let [input] = graph.inputs.as_mut_slice() else { return None };
    let dtype = input.dtype.filter(|dtype| matches!(dtype, DataType::Uint8 | DataType::Int8))?;
    let pixels = input.value.clone();
    input.dtype = Some(DataType::Float);
    let mut fresh = |role: &str| names.fresh(&format!("{pixels}/{role}"));
    let (one, zero, integers) = (fresh("step"), fresh("zero_point"), fresh("integers"));
    for node in &mut graph.nodes {
        rename_reads(node, &pixels, &integers);
    }
    graph.initializers.insert(one.clone(), Tensor::floats(&[], &[1.0]));
    graph.initializers.extend(Tensor::new(dtype, Vec::new(), vec![0].into()).map(|tensor| (zero.clone(), tensor)));
    let inputs = [&pixels, &one, &zero].map(|v| Some(v.clone())).to_vec();
    let round = Node::new("QuantizeLinear", inputs, vec![Some(integers.clone())]);
    graph.nodes.insert(0, Node { name: integers.to_string(), ..round });
    Some(dtype)
}
