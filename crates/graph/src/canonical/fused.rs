//! Operators that ONNX Runtime's graph optimiser writes, in files that were stored after optimisation: taken apart again.
//!
//! The runtime fuses them anew when it loads the graph, so nothing is lost, and every derivative is that of the parts.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>

use super::backwards;
use super::scope::{Scope, set_input};
use crate::{Attribute, Cause, Node, Rule, Tensor, Value};

/// Whether `operator`, of ONNX Runtime's own set, is taken apart here.
pub(super) fn knows(node: &Node) -> bool {
    // The runtime has this one in the standard domain.
    match node.domain.as_str() {
        "" => node.operator == "SimplifiedLayerNormalization",
        super::quantized::RUNTIME => PARTS.iter().any(|(name, _)| *name == node.operator),
        _ => false,
    }
}

type Rewrite = fn(&mut Node, &mut Scope<'_>) -> Rule<()>;

const PARTS: &[(&str, Rewrite)] = &[
    ("BiasGelu", |node, scope| with_bias(node, scope, "none")),
    ("FastGelu", |node, scope| with_bias(node, scope, "tanh")),
    ("FusedConv", conv),
    ("FusedGemm", gemm),
    ("FusedMatMul", mat_mul),
    ("Gelu", |node, scope| with_bias(node, scope, "none")),
    ("QuickGelu", quick_gelu),
    ("SimplifiedLayerNormalization", simplified),
    ("SkipLayerNormalization", skip),
    ("SkipSimplifiedLayerNormalization", skip),
    ("TransposeMatMul", mat_mul),
];

/// Takes `node` apart into operators of the standard set. The last of them keeps its name and outputs.
pub(super) fn take_apart(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let rewrite = PARTS.iter().find(|(name, _)| *name == node.operator);
    let (_, rewrite) = rewrite.ok_or(Cause::NoRule)?;
    rewrite(node, scope)?;
    node.domain = String::new();
    Ok(())
}

/// `FusedConv`: a convolution, a summand, and an activation with its parameters in order.
fn conv(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let parameters = match node.attributes.shift_remove("activation_params") {
        None => Vec::new(),
        Some(Attribute::Floats(parameters)) => parameters,
        Some(_) => return Err(Cause::Malformed("attribute \"activation_params\" must be a list of floats".into())),
    };
    let activation = activation(node, &parameters)?;
    let mut y = part(node, scope, "Conv", 3);
    if let Some(summand) = node.input(3) {
        y = scope.emit(node, "Add", &[&y, summand]);
    }
    activation.finish(node, scope, y)
}

/// `FusedGemm`: an activation behind `Gemm`.
fn gemm(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let mut parameters = Vec::new();
    for name in ["activation_alpha", "activation_beta", "activation_gamma"] {
        if node.attributes.contains_key(name) {
            parameters.push(node.float(name, 0.0)?);
            node.attributes.shift_remove(name);
        }
    }
    let activation = activation(node, &parameters)?;
    let y = part(node, scope, "Gemm", 3);
    activation.finish(node, scope, y)
}

/// The operator that `node` is without what was fused behind it, on its first `inputs` inputs.
fn part(node: &mut Node, scope: &mut Scope<'_>, operator: &str, inputs: usize) -> Value {
    let output = scope.fresh(node, operator);
    let inputs = node.inputs.iter().take(inputs).cloned().collect();
    let attributes = std::mem::take(&mut node.attributes);
    let name = output.to_string();
    scope.before.push(Node { name, attributes, ..Node::new(operator, inputs, vec![Some(output.clone())]) });
    output
}

/// An activation that was fused into the operator before it.
struct Activation {
    operator: String,
    attributes: Vec<(&'static str, f32)>,
    /// Bounds of a `Clip`.
    bounds: Vec<f32>,
}

fn activation(node: &mut Node, parameters: &[f32]) -> Rule<Activation> {
    let operator = node.text("activation", "")?.to_owned();
    node.attributes.shift_remove("activation");
    let names: &[&str] = match operator.as_str() {
        "" | "Relu" | "Sigmoid" | "Tanh" | "Softplus" | "Softsign" | "HardSwish" => &[],
        "LeakyRelu" | "Elu" | "ThresholdedRelu" => &["alpha"],
        "HardSigmoid" => &["alpha", "beta"],
        "Clip" => &["min", "max"],
        other => {
            return Err(Cause::Unsupported(format!("activation \"{other}\"; store the model without optimisation")));
        }
    };
    // Absent parameters have the activation's own defaults.
    if parameters.len() > names.len() || (operator == "Clip" && parameters.len() != 2) {
        return Err(Cause::Malformed(format!("{} parameters of activation \"{operator}\"", parameters.len())));
    }
    let clips = operator == "Clip";
    let attributes = names.iter().copied().zip(parameters.iter().copied()).filter(|_| !clips).collect();
    let bounds = if clips { parameters.to_vec() } else { Vec::new() };
    Ok(Activation { operator: if operator.is_empty() { "Identity".into() } else { operator }, attributes, bounds })
}

impl Activation {
    /// Makes `node` the activation of `x`.
    fn finish(self, node: &mut Node, scope: &mut Scope<'_>, x: Value) -> Rule<()> {
        let bounds = if self.bounds.is_empty() {
            Vec::new()
        } else {
            let dtype = scope.dtype(node)?;
            let name = |i: usize| ["min", "max"][i.min(1)];
            let bounds = self.bounds.iter().enumerate();
            bounds.map(|(i, &b)| scope.constant(node, name(i), Tensor::scalar(dtype, b.into()))).collect()
        };
        node.inputs = std::iter::once(x).chain(bounds).map(Some).collect();
        node.attributes = self.attributes.into_iter().map(|(name, v)| (name.to_owned(), v.into())).collect();
        node.operator = self.operator;
        Ok(())
    }
}

/// `FusedMatMul`: a factor, and operands whose last two dimensions are swapped.
fn mat_mul(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if node.int("transBatchA", 0)? != 0 || node.int("transBatchB", 0)? != 0 {
        return Err(Cause::Unsupported("transBatchA and transBatchB; store the model without optimisation".into()));
    }
    let mut operands = Vec::new();
    for (i, name) in [(0, "transA"), (1, "transB")] {
        let operand = node.required(i)?.clone();
        operands.push(if node.int(name, 0)? == 0 {
            operand
        } else {
            scope.emit_with(node, "Einsum", &[&operand], &[("equation", "...ij->...ji".into())])
        });
    }
    let alpha = node.float("alpha", 1.0)?;
    #[allow(clippy::float_cmp)]
    if alpha != 1.0 {
        let dtype = scope.dtype(node)?;
        let factor = scope.constant(node, "alpha", Tensor::scalar(dtype, alpha.into()));
        operands[0] = scope.emit(node, "Mul", &[&operands[0].clone(), &factor]);
    }
    node.operator = "MatMul".into();
    node.inputs = operands.into_iter().map(Some).collect();
    node.attributes.clear();
    Ok(())
}

/// `Gelu`, `BiasGelu` and `FastGelu`, exact or with `tanh`.
fn with_bias(node: &mut Node, scope: &mut Scope<'_>, approximate: &str) -> Rule<()> {
    if let Some(bias) = node.input(1).cloned() {
        let x = node.required(0)?.clone();
        // The element type is told from the first input, which the sum is not yet known to have.
        let dtype = scope.dtype(node)?;
        let sum = scope.emit(node, "Add", &[&x, &bias]);
        return backwards::written_out_gelu(node, scope, &sum, dtype, approximate);
    }
    let (x, dtype) = (node.required(0)?.clone(), scope.dtype(node)?);
    backwards::written_out_gelu(node, scope, &x, dtype, approximate)
}

/// `x sigmoid(alpha x)`.
fn quick_gelu(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let (x, dtype) = (node.required(0)?.clone(), scope.dtype(node)?);
    let alpha = Tensor::scalar(dtype, node.float("alpha", 1.702)?.into());
    let alpha = scope.constant(node, "alpha", alpha);
    let scaled = scope.emit(node, "Mul", &[&x, &alpha]);
    let gate = scope.emit(node, "Sigmoid", &[&scaled]);
    node.operator = "Mul".into();
    node.inputs = vec![Some(x), Some(gate)];
    node.attributes.clear();
    Ok(())
}

/// `SkipLayerNormalization` and its simplified form: of the sum of input, skip and bias, which is the fourth output.
fn skip(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let simplified_ = node.operator == "SkipSimplifiedLayerNormalization";
    let dtype = scope.dtype(node)?;
    let mut summands = vec![node.required(0)?.clone(), node.required(1)?.clone()];
    summands.extend(node.input(if simplified_ { 3 } else { 4 }).cloned());
    let sum = scope.emit(node, "Sum", &summands.iter().collect::<Vec<_>>());
    if let Some(Some(output)) = node.outputs.get(3).cloned() {
        let name = format!("{}/sum", node.name);
        scope.before.push(Node { name, ..Node::new("Identity", vec![Some(sum.clone())], vec![Some(output)]) });
    }
    let scale = node.required(2)?.clone();
    let epsilon = node.float("epsilon", 1e-12)?;
    node.attributes.clear();
    if simplified_ {
        refuse_statistics(node, scope, 2)?;
        return root_mean_square(node, scope, &sum, &scale, &[-1], Tensor::scalar(dtype, epsilon.into()));
    }
    node.outputs.truncate(3);
    node.inputs = vec![Some(sum), Some(scale), node.input(3).cloned()];
    node.operator = "LayerNormalization".into();
    node.attributes.insert("epsilon".into(), epsilon.into());
    Ok(())
}

/// `SimplifiedLayerNormalization`: without mean and bias.
fn simplified(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if node.int("axis", -1)? != -1 {
        return Err(Cause::Unsupported("an axis other than the last; store the model without optimisation".into()));
    }
    let (x, scale, dtype) = (node.required(0)?.clone(), node.required(1)?.clone(), scope.dtype(node)?);
    let epsilon = Tensor::scalar(dtype, node.float("epsilon", 1e-5)?.into());
    refuse_statistics(node, scope, 1)?;
    root_mean_square(node, scope, &x, &scale, &[-1], epsilon)
}

/// Drops the statistics, the outputs up to `last`.
fn refuse_statistics(node: &mut Node, scope: &Scope<'_>, last: usize) -> Rule<()> {
    if node.outputs.iter().take(last + 1).skip(1).flatten().any(|v| scope.read.contains(v)) {
        return Err(Cause::Unsupported("statistics that are read; store the model without optimisation".into()));
    }
    node.outputs.truncate(1);
    Ok(())
}

/// Makes `node` `x / √(mean(x²) + epsilon) scale`, with the mean over `axes`.
pub(super) fn root_mean_square(
    node: &mut Node,
    scope: &mut Scope<'_>,
    x: &Value,
    scale: &Value,
    axes: &[i64],
    epsilon: Tensor,
) -> Rule<()> {
    let epsilon = scope.constant(node, "epsilon", epsilon);
    let axes = scope.constant(node, "axes", Tensor::ints(axes));
    let squares = scope.emit(node, "Mul", &[x, x]);
    let mean = scope.emit(node, "ReduceMean", &[&squares, &axes]);
    let shifted = scope.emit(node, "Add", &[&mean, &epsilon]);
    let root = scope.emit(node, "Sqrt", &[&shifted]);
    let normal = scope.emit(node, "Div", &[x, &root]);
    node.operator = "Mul".into();
    node.attributes.clear();
    node.inputs.clear();
    set_input(node, 0, normal);
    set_input(node, 1, scale.clone());
    Ok(())
}
