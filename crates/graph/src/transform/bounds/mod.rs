//! What the transformations to bounds share: what depends on the samples, specifications, and the two walks.
//!
//! Forwards, each node takes the intervals of its inputs to that of its output. Backwards, rows of coefficients (lower bounds of one
//! specification each) go from the target towards the samples, through what is affine by its transpose and through everything else
//! along lines that are sound on the interval of its input. Where rows end, the interval there makes numbers of them.

mod backward;
mod forward;

use std::borrow::Cow;
use std::collections::HashSet;

use crate::ops::only_data;
use crate::order::reads;
use crate::{
    Cause, DataType, Dependence, Dim, Emit, Interval, Node, Rule, ShapeError, Shaped, Tensor, TransformError, Value,
    operator,
};

pub(super) use backward::{Along, Backward, Ball};
pub(super) use forward::forward;

/// Which margins are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specification {
    /// `C · logits` with `C` an input, f32 `[n, rows, classes]`: own rows for each sample.
    Matrix {
        /// Rows of each sample; `None`: as many as are given.
        rows: Option<usize>,
    },
    /// `logits[label] - logits[j]` for each class `j`, with the labels an input, i64 `[n]`. The row of the label itself is 0.
    Labels,
}

/// A value that a function which is not affine reads, with the bounds of it that its lines stand on.
#[derive(Clone, Debug, PartialEq)]
pub struct Relaxed {
    /// The value of the source model.
    pub value: Value,
    /// Shape of one sample of it.
    pub shape: Vec<usize>,
    /// Its bounds: inputs or outputs of the derived model, each of its shape.
    pub bounds: Interval,
    /// Where the functions that read it bend: on an interval without one of these numbers inside they are lines. `None`: everywhere.
    pub kinks: Option<Vec<f64>>,
    /// Whether interval arithmetic gives the exact range of each element in a box of samples: what lies before it is a chain with at most one node that adds
    /// elements up.
    pub exact_in_boxes: bool,
    /// The value whose `Relu` it is, if it is one: another one of these.
    pub relu_of: Option<Value>,
}

impl Relaxed {
    /// Elements of one sample.
    #[must_use]
    pub fn features(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A classifier, and which of its values depend on what its samples hold.
pub(super) struct Subject<'m> {
    pub(super) source: &'m Shaped,
    pub(super) input: Value,
    pub(super) logits: Value,
    data: HashSet<Value>,
}

impl<'m> Subject<'m> {
    /// The classifier that `opened` is.
    pub(super) fn new(opened: &'m Opened<'_>) -> Self {
        let Opened { source, input, logits } = opened;
        Self { source, input: input.clone(), logits: logits.clone(), data: dependents(source, input) }
    }

    /// The nodes that `target` depends on and that depend on the samples, in order.
    pub(super) fn nodes(&self, target: &Value) -> Vec<&'m Node> {
        let mut needed = HashSet::from([target]);
        let mut nodes = Vec::new();
        for node in self.source.model().graph.nodes.iter().rev() {
            if node.outputs.iter().flatten().any(|o| needed.contains(o)) {
                needed.extend(reads(node));
                if node.outputs.iter().flatten().any(|o| self.data.contains(o)) {
                    nodes.push(node);
                }
            }
        }
        nodes.reverse();
        nodes
    }

    /// Which inputs of `node` depend on the samples.
    ///
    /// # Errors
    /// The node is of a kind that has no bounds: its operator is not known, or what it reads or gives are not f32 samples.
    pub(super) fn data(&self, node: &Node, e: &Emit<'_>) -> Rule<Vec<bool>> {
        let own: HashSet<&Value> = node.inputs.iter().flatten().collect();
        if !node.domain.is_empty() || operator(&node.operator).is_none() || reads(node).iter().any(|v| !own.contains(v))
        {
            return Err(Cause::NoRule);
        }
        if node.outputs.iter().skip(1).any(Option::is_some) {
            return Err(Cause::Unsupported("more than one output".into()));
        }
        let data: Vec<bool> =
            node.inputs.iter().map(|i| i.as_ref().is_some_and(|value| self.data.contains(value))).collect();
        let values = node.inputs.iter().zip(&data).filter(|(_, data)| **data).filter_map(|(value, _)| value.as_ref());
        for value in values.chain(node.output(0)) {
            let dtype = e.dtype(value)?;
            if dtype != DataType::Float {
                return Err(Cause::Unsupported(format!(
                    "\"{value}\" depends on the sample and is of type {dtype:?}; bounds are of f32"
                )));
            }
            crate::ops::features(value, e)?;
        }
        Ok(data)
    }
}

/// The values that depend on what `input` holds, and not on its shape alone.
fn dependents(source: &Shaped, input: &Value) -> HashSet<Value> {
    let mut data = HashSet::from([input.clone()]);
    for node in &source.model().graph.nodes {
        let about_shape = node.domain.is_empty() && matches!(node.operator.as_str(), "Shape" | "Size");
        if !about_shape && reads(node).into_iter().any(|value| data.contains(value)) {
            data.extend(node.outputs.iter().flatten().cloned());
        }
    }
    data
}

/// A classifier whose samples are in the first dimension of all that depends on them.
pub(super) struct Opened<'m> {
    pub(super) source: Cow<'m, Shaped>,
    input: Value,
    logits: Value,
}

impl<'m> Opened<'m> {
    /// `source`, whose samples go to the only input that has a batch dimension; others may be weights.
    ///
    /// If the model takes one sample at a time, the first dimension of all that depends on it is taken as the batch. So rows of one sample go
    /// through the transposes of its operators like samples of a batch, of which the forward pass has one.
    pub(super) fn new(pass: &'static str, source: &'m Shaped) -> Result<Self, TransformError> {
        let not_a_classifier =
            |error: ShapeError| TransformError::of_model(pass, Cause::Unsupported(error.to_string()));
        let batched = |value: &Value| source.facts(value).is_some_and(|f| f.dims.first() == Some(&Dim::Batch(1)));
        let mut inputs = source.model().graph.inputs.iter().map(|i| &i.value).filter(|v| batched(v));
        let input = match (inputs.next(), inputs.next()) {
            (Some(input), None) => input.clone(),
            _ => source.input().map_err(not_a_classifier)?.clone(),
        };
        let logits = source.logits().map_err(not_a_classifier)?.clone();
        if source.canonical().fixed_batch() != Some(1) {
            return Ok(Self { source: Cow::Borrowed(source), input, logits });
        }
        let mut open = source.clone();
        for value in dependents(source, &input) {
            if let Some(first @ Dim::Fixed(1)) = open.shapes.0.get_mut(&value).and_then(|facts| facts.dims.first_mut())
            {
                *first = Dim::Batch(1);
            }
        }
        Ok(Self { source: Cow::Owned(open), input, logits })
    }
}

/// The margins that a specification asks for.
pub(super) struct Margins {
    /// The input: the matrix, or the labels.
    pub(super) input: Value,
    /// The matrix, `[n, rows, classes]`.
    pub(super) matrix: Value,
    /// Rows, as a dimension of an output.
    pub(super) rows: Dim,
}

impl Specification {
    /// The matrix, from a new input.
    pub(super) fn emit(self, logits: &Value, e: &mut Emit<'_>) -> Rule<Margins> {
        let classes = crate::ops::features(logits, e)?;
        let n = Dim::Batch(1);
        match self {
            Self::Matrix { rows } => {
                // Whatever number of rows is given, it has nothing to do with the batch; to say so there is no word.
                let rows = rows.map_or(n, Dim::Fixed);
                let input = e.input("specification", DataType::Float, &[n, rows, Dim::Fixed(classes)]);
                Ok(Margins { matrix: input.clone(), input, rows })
            }
            Self::Labels => {
                let input = e.input("labels", DataType::Int64, &[n]);
                let hot = one_hot(&input, classes, e);
                let axis = e.ints(&[1]);
                let hot = e.op("Unsqueeze", &[&hot, &axis]);
                let identity: Vec<f32> =
                    (0..classes * classes).map(|i| f32::from(u8::from(i % (classes + 1) == 0))).collect();
                let identity = e.tensor(Tensor::floats(&[classes, classes], &identity));
                Ok(Margins { input, matrix: e.op("Sub", &[&hot, &identity]), rows: Dim::Fixed(classes) })
            }
        }
    }
}

/// `indices` as rows of f32 with a one there and zeros elsewhere.
pub(super) fn one_hot(indices: &Value, size: usize, e: &mut Emit<'_>) -> Value {
    let depth = e.tensor(Tensor::ints(&[i64::try_from(size).unwrap_or(i64::MAX)]));
    let off_on = e.tensor(Tensor::floats(&[2], &[0.0, 1.0]));
    e.op("OneHot", &[indices, &depth, &off_on])
}

/// A value that functions which are not affine read, and where they bend; `None`: everywhere.
pub(super) type Read = (Value, Option<Vec<f64>>);

/// Affine operators each of whose output elements depends on one element of the data, and on another one each.
const ONE_BY_ONE: [&str; 13] = [
    "Add",
    "BatchNormalization",
    "Cast",
    "Div",
    "Flatten",
    "Identity",
    "Mul",
    "Neg",
    "Reshape",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
];
/// Affine operators each of whose output elements is a sum that has an element of the data at most once.
const SUMS: [&str; 5] = ["AveragePool", "Conv", "Gemm", "GlobalAveragePool", "MatMul"];

impl Relaxed {
    /// The value, whose bounds are these.
    pub(super) fn new((value, kinks): &Read, bounds: Interval, subject: &Subject<'_>, e: &Emit<'_>) -> Rule<Self> {
        Ok(Self {
            value: value.clone(),
            shape: e.fixed(value, 1)?,
            bounds,
            kinks: kinks.clone(),
            exact_in_boxes: exact_in_boxes(value, subject, e),
            relu_of: relu_of(value, subject),
        })
    }
}

/// See [`Relaxed::relu_of`].
fn relu_of(value: &Value, subject: &Subject<'_>) -> Option<Value> {
    let nodes = &subject.source.model().graph.nodes;
    let node = nodes.iter().find(|node| node.output(0) == Some(value))?;
    let input = (node.domain.is_empty() && node.operator == "Relu").then(|| node.input(0)).flatten()?;
    subject.data.contains(input).then(|| input.clone())
}

/// See [`Relaxed::exact_in_boxes`].
fn exact_in_boxes(value: &Value, subject: &Subject<'_>, e: &Emit<'_>) -> bool {
    let nodes = subject.nodes(value);
    // A broadcast would have an element twice.
    let features = |value: Option<&Value>| value.and_then(|value| crate::ops::features(value, e).ok());
    let keeps = |node: &Node, data: &[bool]| {
        let input = only_data(node, data).ok().and_then(|at| node.input(at));
        features(input).is_some() && features(input) == features(node.output(0))
    };
    let mut sums = 0;
    nodes.iter().all(|node| {
        let Ok(data) = subject.data(node, e) else { return false };
        let one = data.iter().filter(|data| **data).count() == 1;
        let operator = node.operator.as_str();
        sums += usize::from(SUMS.contains(&operator));
        one && sums <= 1 && (SUMS.contains(&operator) || (ONE_BY_ONE.contains(&operator) && keeps(node, &data)))
    })
}

/// The values that functions which are not affine read among `nodes`, in order, with where those functions bend.
///
/// # Errors
/// A node has no bounds.
pub(super) fn relaxed(
    pass: &'static str,
    subject: &Subject<'_>,
    nodes: &[&Node],
    e: &Emit<'_>,
) -> Result<Vec<Read>, TransformError> {
    let mut found: Vec<Read> = Vec::new();
    for node in nodes {
        let mut look = || -> Rule<()> {
            let data = subject.data(node, e)?;
            let operator = operator(&node.operator).ok_or(Cause::NoRule)?;
            if operator.dependence(node, &data, e)? != Dependence::Other {
                return Ok(());
            }
            let value = node.required(only_data(node, &data)?)?;
            let kinks = operator.kinks(node, e);
            match found.iter_mut().find(|(seen, _)| seen == value) {
                None => found.push((value.clone(), kinks)),
                Some((_, seen)) => *seen = seen.take().zip(kinks).map(|(a, b)| [a, b].concat()),
            }
            Ok(())
        };
        look().map_err(|cause| TransformError::at(pass, node, cause))?;
    }
    Ok(found)
}
