//! The divergence of two predictions, and its derivatives, as a graph.

use assay_graph::{DataType, Emit, Value};

/// Of logits `z` and `z'` with `p = softmax(z)` and `q = softmax(z')`.
pub(super) struct Divergence {
    /// `p`, f32 `[n, classes]`.
    pub(super) p: Value,
    /// `q`, f32 `[n, classes]`.
    pub(super) q: Value,
    /// `KL(p ‖ q) = Σ p (log p - log q)`, f32 `[n, 1]`.
    pub(super) value: Value,
    /// Its derivative by `z`: `p (log p - log q - KL)`.
    pub(super) by_z: Value,
    /// Its derivative by `z'`: `q - p`.
    pub(super) by_q_logits: Value,
}

impl Divergence {
    pub(super) fn emit(z: &Value, perturbed: &Value, e: &mut Emit<'_>) -> Self {
        let [log_p, log_q] = [z, perturbed].map(|z| e.op_with("LogSoftmax", &[z], [("axis", 1.into())]));
        let [p, q] = [z, perturbed].map(|z| e.op_with("Softmax", &[z], [("axis", 1.into())]));
        let ratio = e.op("Sub", &[&log_p, &log_q]);
        let parts = e.op("Mul", &[&p, &ratio]);
        let value = sum(&parts, e);
        let centred = e.op("Sub", &[&ratio, &value]);
        let by_z = e.op("Mul", &[&p, &centred]);
        let by_q_logits = e.op("Sub", &[&q, &p]);
        Self { p, q, value, by_z, by_q_logits }
    }
}

/// Sums over the classes, `[n, 1]`.
pub(super) fn sum(value: &Value, e: &mut Emit<'_>) -> Value {
    let axis = e.ints(&[1]);
    e.op_with("ReduceSum", &[value, &axis], [("keepdims", 1.into())])
}

/// A column `[n, 1]` as `[n]`.
pub(super) fn flat(column: &Value, e: &mut Emit<'_>) -> Value {
    let axis = e.ints(&[1]);
    e.op("Squeeze", &[column, &axis])
}

/// `factor * value`.
pub(super) fn times(factor: f32, value: &Value, e: &mut Emit<'_>) -> Value {
    let factor = e.scalar(f64::from(factor), DataType::Float);
    e.op("Mul", &[value, &factor])
}
