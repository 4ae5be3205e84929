//! The model in f32, where its file has numbers of 16 bits.
//!
//! Derivatives of small losses underflow in f16 (its smallest number is 6e-8), and providers lack kernels for f16 and bf16. The
//! weights are converted exactly; what is computed from them differs from the file's by the file's own rounding.

use crate::{Attribute, Canonical, DataType, Graph, Node, Shaped, Tensor, ValueInfo};

impl Canonical {
    /// The model with f32 in place of f16 and bf16, and the type that its weights have; `None` if it has no numbers of 16
    /// bits.
    #[must_use]
    pub fn widened(&self) -> Option<(Self, DataType)> {
        let mut found = None;
        let mut wide = self.clone();
        graph(&mut wide.model.graph, &mut found);
        found.map(|from| (wide, from))
    }
}

impl Shaped {
    /// As [`Canonical::widened`], with the shapes that are known.
    #[must_use]
    pub fn widened(&self) -> Option<(Self, DataType)> {
        let (canonical, from) = self.canonical.widened()?;
        let mut shapes = self.shapes.clone();
        for facts in shapes.0.values_mut() {
            facts.dtype = wide(facts.dtype);
            facts.constant = facts.constant.take().map(|tensor| widen(tensor, &mut None));
        }
        Some((Self { canonical, shapes, lowering: self.lowering }, from))
    }
}

fn is_half(dtype: DataType) -> bool {
    matches!(dtype, DataType::Float16 | DataType::BFloat16)
}

fn wide(dtype: DataType) -> DataType {
    if is_half(dtype) { DataType::Float } else { dtype }
}

/// `found`: the first such type that is met.
fn graph(graph: &mut Graph, found: &mut Option<DataType>) {
    for tensor in graph.initializers.values_mut() {
        if is_half(tensor.dtype()) {
            *tensor = widen(tensor.clone(), found);
        }
    }
    let Graph { inputs, outputs, value_info, nodes, .. } = graph;
    for ValueInfo { dtype, .. } in inputs.iter_mut().chain(outputs).chain(value_info) {
        if let Some(half) = dtype.filter(|dtype| is_half(*dtype)) {
            found.get_or_insert(half);
            *dtype = Some(DataType::Float);
        }
    }
    nodes.iter_mut().for_each(|inner| node(inner, found));
}

fn node(node: &mut Node, found: &mut Option<DataType>) {
    for (name, attribute) in &mut node.attributes {
        match attribute {
            Attribute::Tensor(tensor) if is_half(tensor.dtype()) => *tensor = widen(tensor.clone(), found),
            Attribute::Graph(inner) => graph(inner, found),
            // The attributes that state an element type.
            Attribute::Int(number) if matches!(name.as_str(), "to" | "dtype" | "output_dtype") => {
                let stated = i32::try_from(*number).map(DataType::from_number);
                if let Some(half) = stated.ok().filter(|stated| is_half(*stated)) {
                    found.get_or_insert(half);
                    *number = i64::from(DataType::Float.number());
                }
            }
            _ => {}
        }
    }
}

fn widen(tensor: Tensor, found: &mut Option<DataType>) -> Tensor {
    let dtype = tensor.dtype();
    match tensor.to_f64() {
        Some(values) if is_half(dtype) => {
            found.get_or_insert(dtype);
            Tensor::rounded(DataType::Float, tensor.dims(), &values)
        }
        _ => tensor,
    }
}
