//! Operators whose operands and result are quantized, each with its own scale: `QLinearConv` and `QLinearMatMul` of the standard
//! set, and those of ONNX Runtime's own set that its static quantizer writes.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>

use indexmap::IndexMap;

use super::written::{Written, numbers_of, output};
use crate::{Attribute, Cause, DataType, Node, Rule, Tensor, Value};

/// How a quantized operator lists its inputs.
pub(super) struct Form {
    quantized: &'static str,
    /// The operator on numbers.
    operator: &'static str,
    /// Positions of the operands; scale and zero point follow each.
    operands: &'static [usize],
    /// Position of the result's scale; its zero point follows.
    result: usize,
}

const fn form(quantized: &'static str, operator: &'static str, operands: &'static [usize], result: usize) -> Form {
    Form { quantized, operator, operands, result }
}

/// `QLinearConcat` has any number of operands, from position 2 on.
const FORMS: &[Form] = &[
    form("QGemm", "Gemm", &[0, 3], 7),
    form("QLinearAdd", "Add", &[0, 3], 6),
    form("QLinearAveragePool", "AveragePool", &[0], 3),
    form("QLinearConcat", "Concat", &[], 0),
    form("QLinearConv", "Conv", &[0, 3], 6),
    form("QLinearGlobalAveragePool", "GlobalAveragePool", &[0], 3),
    form("QLinearLeakyRelu", "LeakyRelu", &[0], 3),
    form("QLinearMatMul", "MatMul", &[0, 3], 6),
    form("QLinearMul", "Mul", &[0, 3], 6),
    form("QLinearReduceMean", "ReduceMean", &[0], 3),
    form("QLinearSigmoid", "Sigmoid", &[0], 3),
    form("QLinearSoftmax", "Softmax", &[0], 3),
    form("QLinearWhere", "Where", &[1, 4], 7),
];

/// The form of `node`, if it is one of these operators.
pub(super) fn find(node: &Node) -> Option<&'static Form> {
    let standard = matches!(node.operator.as_str(), "QLinearConv" | "QLinearMatMul");
    FORMS.iter().find(|f| f.quantized == node.operator && (standard || node.domain == "com.microsoft"))
}

/// `QuantizeLinear(operator(DequantizeLinear(…), …))` in place of `node`.
pub(super) fn write_out(node: &Node, written: &mut Written) -> Rule<()> {
    let form = find(node).ok_or(Cause::NoRule)?;
    if node.int("channels_last", 0)? != 0 {
        return Err(Cause::Unsupported("channels_last = 1; quantize the model before it is optimized".into()));
    }
    let operands: Vec<usize> = match form.operator {
        "Concat" => (2..node.inputs.len()).step_by(3).collect(),
        _ => form.operands.to_vec(),
    };
    let mut inputs = Vec::with_capacity(operands.len() + 1);
    for (i, &at) in operands.iter().enumerate() {
        let operand = (node.required(at)?, node.required(at + 1)?, node.input(at + 2));
        inputs.push(Some(written.operand(node, operand, along(form, node, i)?)?));
    }
    let mut attributes = node.attributes.clone();
    attributes.shift_remove("channels_last");
    match form.operator {
        "Conv" => inputs.extend(bias(node, 8, written)?.map(Some)),
        "Gemm" => inputs.extend(bias(node, 6, written)?.map(Some)),
        "Where" => inputs.insert(0, Some(node.required(0)?.clone())),
        "ReduceMean" => {
            let axes = node.ints("axes")?.map(|axes| written.tensor(node, "axes", Tensor::ints(axes)));
            inputs.push(axes);
            attributes.shift_remove("axes");
        }
        "Softmax" => softmax(node, &mut attributes, written)?,
        _ => {}
    }
    let Some(scale) = node.input(form.result) else {
        return written.instead(node, form.operator, inputs, attributes);
    };
    let y = output(node)?;
    let (dtype, facts) = (written.dtype(y)?, (written.dtype(scale)?, written.dims(y)?));
    let zero_point = match node.input(form.result + 1) {
        Some(zero_point) => zero_point.clone(),
        None => written.tensor(node, "zero_point", zero(dtype)?),
    };
    let numbers = written.op(node, form.operator, inputs, attributes, facts);
    written.instead(node, "QuantizeLinear", vec![Some(numbers), Some(scale.clone()), Some(zero_point)], IndexMap::new())
}

/// The axis of operand `i` that several scales count.
fn along(form: &Form, node: &Node, i: usize) -> Rule<i64> {
    Ok(match (form.operator, i) {
        ("Conv", _) => 0,
        ("Gemm", 0) => i64::from(node.int("transA", 0)? != 0),
        ("Gemm", _) => i64::from(node.int("transB", 0)? == 0),
        ("MatMul", 0) => -2,
        _ => -1,
    })
}

/// The bias at position `at` as numbers: its scale is the product of the operands' scales, and of `alpha`.
fn bias(node: &Node, at: usize, written: &mut Written) -> Rule<Option<Value>> {
    let Some(value) = node.input(at) else { return Ok(None) };
    let constant = |value: &Value| {
        let computed = || Cause::Unsupported(format!("\"{value}\" is computed; bias and scales must be constants"));
        written.constant(value).ok_or_else(computed)
    };
    let tensor = constant(value)?;
    let [a, b] = [numbers_of(constant(node.required(1)?)?)?, numbers_of(constant(node.required(4)?)?)?];
    let [a] = a[..] else { return Err(Cause::Unsupported("a bias beside several scales of operand 0".into())) };
    let scales: Vec<f64> = b.iter().map(|b| a * b).collect();
    let alpha = f64::from(node.float("alpha", 1.0)?);
    let numbers: Vec<f64> = numbers_of(tensor)?.iter().zip(scales.iter().cycle()).map(|(q, s)| alpha * q * s).collect();
    let numbers = Tensor::rounded(DataType::Float, tensor.dims(), &numbers);
    Ok(Some(written.tensor(node, "bias", numbers)))
}

/// `QLinearSoftmax` states the operator set whose `Softmax` it means: before 13 over all axes from `axis` on.
fn softmax(node: &Node, attributes: &mut IndexMap<String, Attribute>, written: &Written) -> Rule<()> {
    let rank = written.dims(output(node)?)?.len();
    let (opset, last) = (node.int("opset", 13)?, i64::try_from(rank).unwrap_or(i64::MAX) - 1);
    let axis = node.int("axis", if opset < 13 { 1 } else { -1 })?;
    if opset < 13 && axis != last && axis != -1 {
        return Err(Cause::Unsupported(format!("the softmax of operator set {opset} over several axes; use set 13")));
    }
    attributes.shift_remove("opset");
    attributes.insert("axis".into(), axis.into());
    Ok(())
}

/// The zero point of integers of type `dtype` that none is stated for.
fn zero(dtype: DataType) -> Rule<Tensor> {
    let size = dtype.size().filter(|_| matches!(dtype, DataType::Int8 | DataType::Uint8));
    size.and_then(|size| Tensor::new(dtype, Vec::new(), vec![0; size].into()))
        .ok_or_else(|| Cause::Unsupported(format!("a quantized result of type {dtype:?}")))
}
