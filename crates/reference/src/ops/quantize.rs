//! Quantization, and the operators on quantized numbers: each is its namesake on the numbers that the integers stand for, then
//! rounded. Integers that do not round (see `run_unrounded`) are held as floating-point numbers.

use assay_graph::{DataType, Node};
use ndarray::{ArrayD, IxDyn};

use crate::array::{Array, Data};
use crate::interpret::{Call, Outputs, inputs_of};
use crate::ops;

/// The operators of ONNX Runtime's own set.
pub(super) fn contributed(name: &str) -> Option<fn(&Call<'_>) -> Outputs> {
    Some(match name {
        "QuantizeLinear" => quantize,
        "DequantizeLinear" => dequantize,
        "QGemm"
        | "QLinearAdd"
        | "QLinearAveragePool"
        | "QLinearConcat"
        | "QLinearConv"
        | "QLinearGlobalAveragePool"
        | "QLinearLeakyRelu"
        | "QLinearMul"
        | "QLinearReduceMean"
        | "QLinearSigmoid"
        | "QLinearSoftmax"
        | "QLinearWhere" => with_scales,
        _ => return None,
    })
}

/// `round(x / scale) + zero_point`, ties to even, cut off at the ends of the range.
pub(super) fn quantize(c: &Call<'_>) -> Outputs {
    let dtype = c.optional(2).map_or(DataType::Uint8, |z| z.dtype);
    let steps = |c: &Call<'_>| -> Result<ArrayD<f64>, String> {
        let x = c.numbers(0)?;
        Ok(x.clone() / &scales(c, 1, x.shape(), c.int("axis", 1)?)?)
    };
    let zero = zero_point(c, 2, c.input(0)?.dims(), c.int("axis", 1)?)?;
    finish(c, dtype, &steps, &zero)
}

/// The integers of `steps(c)`, or around the point of `c.at`: those there, moved as far as the steps move inside the range.
fn finish(
    c: &Call<'_>,
    dtype: DataType,
    steps: &dyn Fn(&Call<'_>) -> Result<ArrayD<f64>, String>,
    zero: &ArrayD<f64>,
) -> Outputs {
    let (low, high) = match dtype {
        DataType::Uint8 => (0.0, 255.0),
        DataType::Int8 => (-128.0, 127.0),
        DataType::Uint16 => (0.0, 65_535.0),
        DataType::Int16 => (-32_768.0, 32_767.0),
        other => return Err(format!("quantization to {other:?}")),
    };
    let Some(at) = c.at else {
        #[allow(clippy::cast_possible_truncation)]
        let integers = (steps(c)?.mapv(f64::round_ties_even) + zero).mapv(|v| v.clamp(low, high) as i64);
        return Ok(vec![Array::of(dtype, Data::Int(integers))]);
    };
    let there = Call { inputs: inputs_of(c.node, at)?, at: None, ..*c };
    let inside = |steps: ArrayD<f64>| (steps + zero).mapv(|v| v.clamp(low - 0.5, high + 0.5));
    let output = c.node.output(0).and_then(|value| at.get(value)).ok_or("no value to move around")?;
    let Data::Int(integers) = &output.data else { return Err("a value to move around must be rounded".into()) };
    #[allow(clippy::cast_precision_loss)]
    let moved = integers.mapv(|v| v as f64) + inside(steps(c)?) - inside(steps(&there)?);
    Ok(vec![Array::of(DataType::Float, Data::Float(moved))])
}

/// `(q - zero_point) scale`.
pub(super) fn dequantize(c: &Call<'_>) -> Outputs {
    let numbers = numbers(c, 0, c.int("axis", 1)?)?;
    Ok(vec![Array::of(c.input(1)?.dtype, Data::Float(numbers))])
}

/// The numbers that the integers of input `i` stand for; scale and zero point follow it.
fn numbers(c: &Call<'_>, i: usize, axis: i64) -> Result<ArrayD<f64>, String> {
    let q = c.numbers(i)?;
    let (scale, zero) = (scales(c, i + 1, q.shape(), axis)?, zero_point(c, i + 2, q.shape(), axis)?);
    Ok((q - &zero) * &scale)
}

/// Scales in a shape that broadcasts to `dims`.
fn scales(c: &Call<'_>, i: usize, dims: &[usize], axis: i64) -> Result<ArrayD<f64>, String> {
    spread(&c.numbers(i)?, dims, axis)
}

fn zero_point(c: &Call<'_>, i: usize, dims: &[usize], axis: i64) -> Result<ArrayD<f64>, String> {
    match c.optional(i) {
        None => Ok(ArrayD::zeros(IxDyn(&[]))),
        Some(_) => spread(&c.numbers(i)?, dims, axis),
    }
}

fn spread(values: &ArrayD<f64>, dims: &[usize], axis: i64) -> Result<ArrayD<f64>, String> {
    let mut shape = Vec::new();
    if values.len() != 1 {
        let axis = Call::axis(axis, dims.len())?;
        shape = vec![1; dims.len()];
        shape[axis] = values.len();
    }
    values.to_shape(shape).map(|a| a.to_owned()).map_err(|e| e.to_string())
}

/// 8 bits that cover the smallest and the largest number and 0. Scale and zero point stay as they are where nothing rounds.
pub(super) fn quantize_dynamically(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let at = |i: usize| c.at.and_then(|at| at.get(c.node.output(i)?));
    let (scale, zero) = match (at(1), at(2)) {
        (Some(scale), Some(zero)) => (scale.f64().sum(), zero.i64s()[0]),
        _ => {
            let low = x.iter().copied().fold(0.0, f64::min);
            let high = x.iter().copied().fold(0.0, f64::max);
            let scale = (high - low) / 255.0;
            #[allow(clippy::cast_possible_truncation)]
            let zero = if scale == 0.0 { 0 } else { (-low / scale).round_ties_even() as i64 };
            (scale, zero)
        }
    };
    #[allow(clippy::cast_precision_loss)]
    let zeros = ArrayD::from_elem(IxDyn(&[]), zero as f64);
    let mut outputs = finish(c, DataType::Uint8, &|c| Ok(c.floats(0)?.mapv(|x| x / scale)), &zeros)?;
    outputs.push(Array::floats(&[], vec![scale]));
    outputs.push(Array::of(DataType::Uint8, Data::Int(ArrayD::from_elem(IxDyn(&[]), zero))));
    Ok(outputs)
}

/// `ConvInteger` and `MatMulInteger`: products of what is left without the zero points.
pub(super) fn of_integers(c: &Call<'_>) -> Outputs {
    let conv = c.node.operator == "ConvInteger";
    let axes = if conv { [0, 0] } else { [-2, -1] };
    let mut operands = Vec::new();
    for (i, axis) in axes.into_iter().enumerate() {
        let q = c.numbers(i)?;
        let zero = zero_point(c, i + 2, q.shape(), axis)?;
        operands.push(Array::of(DataType::Float, Data::Float(q - &zero)));
    }
    let product =
        apply(c, if conv { "Conv" } else { "MatMul" }, &operands.iter().map(Some).collect::<Vec<_>>(), c.node)?;
    if c.at.is_some() {
        return Ok(vec![Array::of(DataType::Float, Data::Float(product))]);
    }
    #[allow(clippy::cast_possible_truncation)]
    let integers = product.mapv(|v| v as i64);
    Ok(vec![Array::of(DataType::Int32, Data::Int(integers))])
}

/// `operator` with the attributes of `node` on arrays that are at hand.
fn apply(c: &Call<'_>, operator: &str, inputs: &[Option<&Array>], node: &Node) -> Result<ArrayD<f64>, String> {
    let mut node = node.clone();
    (node.operator, node.domain) = (operator.to_owned(), String::new());
    let call = Call { node: &node, inputs: inputs.to_vec(), opset: c.opset.max(13), at: None };
    let outputs = ops::find("", operator).ok_or("this operator is not interpreted")?(&call)?;
    Ok(outputs[0].f64().clone())
}

/// The operators with a scale and a zero point for each operand and for the result.
pub(super) fn with_scales(c: &Call<'_>) -> Outputs {
    let concat: Vec<usize> = (2..c.inputs.len()).step_by(3).collect();
    let transposed = |name| c.int(name, 0).map(|t| t != 0);
    let (operator, operands, result): (_, Vec<(usize, i64)>, usize) = match c.node.operator.as_str() {
        "QLinearConv" => ("Conv", vec![(0, 0), (3, 0)], 6),
        "QLinearMatMul" => ("MatMul", vec![(0, -2), (3, -1)], 6),
        "QGemm" => {
            let axes = (i64::from(transposed("transA")?), i64::from(!transposed("transB")?));
            ("Gemm", vec![(0, axes.0), (3, axes.1)], 7)
        }
        "QLinearConcat" => ("Concat", concat.into_iter().map(|i| (i, 0)).collect(), 0),
        "QLinearWhere" => ("Where", vec![(1, 0), (4, 0)], 7),
        "QLinearAdd" | "QLinearMul" => (&c.node.operator[7..], vec![(0, 0), (3, 0)], 6),
        name => (&name[7..], vec![(0, 0)], 3),
    };
    let exact = |c: &Call<'_>| -> Result<ArrayD<f64>, String> {
        let mut arrays = Vec::new();
        for &(i, axis) in &operands {
            arrays.push(Array::of(DataType::Float, Data::Float(numbers(c, i, axis)?)));
        }
        let at = if operator == "Conv" { 8 } else { 6 };
        if matches!(operator, "Conv" | "Gemm") && c.optional(at).is_some() {
            let scale = c.numbers(1)?.sum() * c.numbers(4)? * c.float("alpha", 1.0)?;
            let bias = c.numbers(at)?;
            let scale = if scale.len() == 1 { spread(&scale, &[1], 0)? } else { scale };
            arrays.push(Array::of(DataType::Float, Data::Float(bias * &scale)));
        }
        let mut inputs: Vec<Option<&Array>> = arrays.iter().map(Some).collect();
        if operator == "Where" {
            inputs.insert(0, c.optional(0));
        }
        let mut node = c.node.clone();
        if operator == "Softmax" && c.int("opset", 13)? < 13 {
            let axis = c.int("axis", 1)?;
            node.attributes.insert("axis".into(), axis.into());
        }
        apply(c, operator, &inputs, &node)
    };
    let dtype = c.optional(result + 1).or(c.optional(0)).map_or(DataType::Uint8, |z| z.dtype);
    if c.optional(result).is_none() {
        return Ok(vec![Array::of(DataType::Float, Data::Float(exact(c)?))]);
    }
    let steps = |c: &Call<'_>| Ok(exact(c)? / c.numbers(result)?.sum());
    finish(c, dtype, &steps, &zero_point(c, result + 1, &[], 0)?)
}
