//! What can be said about element types, ranks and constancy from the graph alone, as far as rewrites need it.

use std::collections::HashMap;

use super::fused;
use crate::order::reads;
use crate::{Attribute, DataType, Graph, Node, Tensor, Value, ValueInfo};

/// Element type and rank of a value, where they are certain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Type {
    pub(super) dtype: Option<DataType>,
    pub(super) rank: Option<usize>,
    /// Whether it is certain that it is computed from constants alone.
    pub(super) constant: bool,
}

/// Types of the values seen so far.
#[derive(Debug)]
pub(super) struct Types<'o> {
    own: HashMap<Value, Type>,
    outer: Option<&'o Types<'o>>,
}

impl<'o> Types<'o> {
    /// What `graph` starts from: its inputs, its initializers, the element types that the file declares, and what is known
    /// in the graph around it. Declared ranks of intermediate values are not trusted.
    pub(super) fn of_graph(graph: &Graph, outer: Option<&'o Self>) -> Self {
        let declared = graph.value_info.iter().map(|info| (&info.value, Type { dtype: info.dtype, ..Type::default() }));
        let rank = |info: &ValueInfo| info.shape.as_ref().map(Vec::len);
        let inputs = graph
            .inputs
            .iter()
            .map(|info| (&info.value, Type { dtype: info.dtype, rank: rank(info), constant: false }));
        let of =
            |tensor: &Tensor| Type { dtype: Some(tensor.dtype()), rank: Some(tensor.dims().len()), constant: true };
        let constants = graph.initializers.iter().map(|(value, tensor)| (value, of(tensor)));
        let own = declared.chain(inputs).chain(constants).map(|(value, known)| (value.clone(), known)).collect();
        Self { own, outer }
    }

    pub(super) fn of(&self, value: Option<&Value>) -> Type {
        let Some(value) = value else { return Type::default() };
        let known = self.own.get(value).copied();
        known.or_else(|| self.outer.map(|outer| outer.of(Some(value)))).unwrap_or_default()
    }

    /// Adds the outputs of `node`.
    pub(super) fn add(&mut self, node: &Node) {
        let constant =
            node.domain.is_empty() && !is_random(node) && reads(node).into_iter().all(|v| self.of(Some(v)).constant);
        for (i, value) in node.outputs.iter().enumerate() {
            let Some(value) = value else { continue };
            let declared = self.of(Some(value)).dtype;
            let dtype = declared.or_else(|| self.dtype(node, i));
            let rank = if i == 0 { self.rank(node) } else { None };
            self.own.insert(value.clone(), Type { dtype, rank, constant });
        }
    }

    fn dtype(&self, node: &Node, output: usize) -> Option<DataType> {
        if !node.domain.is_empty() && !fused::knows(node) {
            return None;
        }
        let of = |i: usize| self.of(node.input(i)).dtype;
        let stated = |name: &str| match node.attributes.get(name) {
            Some(Attribute::Int(number)) => i32::try_from(*number).ok().map(DataType::from_number),
            _ => None,
        };
        match (node.operator.as_str(), output) {
            ("Shape" | "Size" | "NonZero" | "ArgMax" | "ArgMin" | "NonMaxSuppression", _) | ("TopK" | "MaxPool", 1) => {
                Some(DataType::Int64)
            }
            (
                "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" | "Not"
                | "IsNaN" | "IsInf",
                _,
            ) => Some(DataType::Bool),
            ("Cast", _) => stated("to"),
            ("CastLike" | "Where" | "DequantizeLinear", _) => of(1),
            ("OneHot", _) => of(2),
            ("ConstantOfShape", _) => match node.attributes.get("value") {
                Some(Attribute::Tensor(tensor)) => Some(tensor.dtype()),
                _ => Some(DataType::Float),
            },
            (
                "If"
                | "Loop"
                | "Scan"
                | "QuantizeLinear"
                | "DynamicQuantizeLinear"
                | "QLinearConv"
                | "QLinearMatMul"
                | "ConvInteger"
                | "MatMulInteger"
                | "Constant"
                | "EyeLike"
                | "Multinomial"
                | "Bernoulli"
                | "RandomNormal"
                | "RandomUniform"
                | "RandomNormalLike"
                | "RandomUniformLike"
                | "TfIdfVectorizer"
                | "SequenceAt",
                _,
            ) => None,
            (_, 0) => of(0),
            // Further outputs of the operators that only split or select have the type of the first.
            ("Split", _) => of(0),
            _ => None,
        }
    }

    fn rank(&self, node: &Node) -> Option<usize> {
        if !node.domain.is_empty() {
            return None;
        }
        let of = |i: usize| self.of(node.input(i)).rank;
        match node.operator.as_str() {
            "Gemm" | "Flatten" => Some(2),
            "MatMul" => of(0).zip(of(1)).and_then(|(a, b)| (a >= 2 && b >= 2).then_some(a.max(b))),
            "Add" | "Sub" | "Mul" | "Div" => of(0).zip(of(1)).map(|(a, b)| a.max(b)),
            "Relu" | "LeakyRelu" | "Elu" | "Selu" | "Sigmoid" | "Tanh" | "Softplus" | "Clip" | "Dropout"
            | "Identity" | "Neg" | "Exp" | "Log" | "Sqrt" | "Abs" | "Cast" | "Softmax" | "LogSoftmax"
            | "BatchNormalization" | "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool" | "GlobalAveragePool"
            | "GlobalMaxPool" | "Transpose" | "Pad" => of(0),
            _ => None,
        }
    }
}

/// Whether the outputs of `node` differ from run to run.
fn is_random(node: &Node) -> bool {
    node.operator.starts_with("Random") || matches!(node.operator.as_str(), "Bernoulli" | "Multinomial" | "Dropout")
}
