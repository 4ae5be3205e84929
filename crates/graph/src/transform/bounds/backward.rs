//! Rows of coefficients, from a target towards the samples.

use std::collections::HashMap;

use super::Subject;
use crate::ops::{Pull, Rows, as_column, features, only_data, output};
use crate::{Cause, DataType, Dependence, Dim, Emit, Interval, Node, Rule, Tensor, TransformError, Value, operator};

/// Rows on their way. What a node cannot pass on stays with its output.
pub(in crate::transform) struct Backward<'a, 'm> {
    pass: &'static str,
    subject: &'a Subject<'m>,
    /// `[n, rows]`.
    counts: Value,
    /// Contributions of the nodes that read a value, until they are summed.
    coefficients: HashMap<Value, Vec<Value>>,
    /// What was added on the way, each `[n, rows, 1]`.
    added: Vec<Value>,
}

/// What rows pass along at a function of one value that is not affine.
pub(in crate::transform) struct Along {
    /// The interval of the value.
    pub(in crate::transform) interval: Interval,
    /// The slopes of the lower lines, where they are given.
    pub(in crate::transform) slope: Option<Value>,
    /// What is added to the coefficients of the value, `[n, rows, features]`.
    pub(in crate::transform) multiplier: Option<Value>,
}

/// Rows that have come to an end.
pub(in crate::transform) struct Ended {
    /// The values where they ended, with their coefficients.
    pub(in crate::transform) coefficients: Vec<(Value, Rows)>,
    /// `[n, rows, 1]`; `None`: 0.
    pub(in crate::transform) added: Option<Value>,
}

impl<'a, 'm> Backward<'a, 'm> {
    /// Rows that begin as coefficients `matrix` of `target`, `[n, rows, features]`.
    pub(in crate::transform) fn new(
        pass: &'static str,
        subject: &'a Subject<'m>,
        target: &Value,
        matrix: &Value,
        e: &mut Emit<'_>,
    ) -> Result<Self, TransformError> {
        let of_model = |cause| TransformError::of_model(pass, cause);
        let counts = e.op_with("Shape", &[matrix], [("start", 0.into()), ("end", 2.into())]);
        let dims = e.dims(target).map_err(of_model)?;
        let rows = e.reshape(matrix, dims).map_err(of_model)?;
        let coefficients = HashMap::from([(target.clone(), vec![rows])]);
        Ok(Self { pass, subject, counts, coefficients, added: Vec::new() })
    }

    /// Walks through `nodes`, which are all that the target depends on, in their order. `lines` gives what rows pass along
    /// for a data input of a node that is not affine; where it gives none the rows end at the node's output.
    pub(in crate::transform) fn walk(
        mut self,
        nodes: &[&'m Node],
        e: &mut Emit<'_>,
        mut lines: impl FnMut(&Node, &Value, &mut Emit<'_>) -> Rule<Option<Along>>,
    ) -> Result<Ended, TransformError> {
        let mut ends = Vec::new();
        for node in nodes.iter().rev() {
            e.scope(self.pass, node.label());
            let Some(output) = node.output(0) else { continue };
            let Some(value) = self.total(output, e) else { continue };
            let rows = Rows { value, counts: self.counts.clone() };
            match self.pass_on(node, &rows, e, &mut lines) {
                Ok(true) => {}
                Ok(false) => ends.push((output.clone(), rows)),
                Err(cause) => return Err(TransformError::at(self.pass, node, cause)),
            }
        }
        e.scope(self.pass, "");
        if let Some(value) = self.total(&self.subject.input.clone(), e) {
            ends.push((self.subject.input.clone(), Rows { value, counts: self.counts.clone() }));
        }
        let added = sum(&self.added, e);
        Ok(Ended { coefficients: ends, added })
    }

    /// The sum of what was added for `value`, which nothing behind reads any more.
    fn total(&mut self, value: &Value, e: &mut Emit<'_>) -> Option<Value> {
        let parts = self.coefficients.remove(value)?;
        sum(&parts, e)
    }

    /// Takes the rows of the output of `node` to its inputs; `false` where they end here.
    fn pass_on(
        &mut self,
        node: &Node,
        rows: &Rows,
        e: &mut Emit<'_>,
        lines: &mut impl FnMut(&Node, &Value, &mut Emit<'_>) -> Rule<Option<Along>>,
    ) -> Rule<bool> {
        let data = self.subject.data(node, e)?;
        let operator = operator(&node.operator).ok_or(Cause::NoRule)?;
        let dependence = operator.dependence(node, &data, e)?;
        if dependence == Dependence::Other {
            let input = node.required(only_data(node, &data)?)?;
            let Some(Along { interval, slope, multiplier }) = lines(node, input, e)? else { return Ok(false) };
            let Pull { rows, added } = operator.pull(node, &interval, slope.as_ref(), rows, e)?;
            let parts = self.coefficients.entry(input.clone()).or_default();
            parts.push(rows);
            if let Some(multiplier) = multiplier {
                let dims = e.dims(input)?;
                parts.push(e.reshape(&multiplier, dims)?);
            }
            self.added.extend(added);
            return Ok(true);
        }
        for (i, _) in data.iter().enumerate().filter(|(_, data)| **data) {
            let part = operator.transpose(node, i, &rows.value, e)?;
            self.coefficients.entry(node.required(i)?.clone()).or_default().push(part);
        }
        if dependence == Dependence::Affine {
            let offset = at_zero(node, &data, e)?;
            let features = features(output(node)?, e)?;
            let flat = rows.flat(features, e);
            let column = e.ints(&[i64::try_from(features).unwrap_or(i64::MAX), 1]);
            let offset = e.op("Reshape", &[&offset, &column]);
            self.added.push(e.op("MatMul", &[&flat, &offset]));
        }
        Ok(true)
    }
}

impl Ended {
    /// Lower bounds `[n, rows]` for all points of the intervals of the values where the rows ended.
    pub(in crate::transform) fn bounds(
        &self,
        interval: impl Fn(&Value) -> Option<Interval>,
        ball: Option<&Ball>,
        e: &mut Emit<'_>,
    ) -> Rule<Value> {
        let mut sum: Vec<Value> = self.added.iter().cloned().collect();
        for (value, rows) in &self.coefficients {
            let x = interval(value).ok_or_else(|| Cause::Malformed(format!("\"{value}\" has no interval")))?;
            let features = features(value, e)?;
            let flat = rows.flat(features, e);
            let in_box = over_box(&flat, &x, features, e);
            sum.push(match ball {
                None => in_box,
                Some(ball) => {
                    let in_ball = ball.bound(&flat, features, e);
                    e.op("Max", &[&in_box, &in_ball])
                }
            });
        }
        let total =
            self::sum(&sum, e).ok_or_else(|| Cause::Malformed("the target does not depend on the samples".into()))?;
        let last = e.ints(&[2]);
        Ok(e.op("Squeeze", &[&total, &last]))
    }
}

/// The points within a distance of each sample.
pub(in crate::transform) struct Ball {
    /// The samples.
    pub(in crate::transform) centre: Value,
    /// `[n]`.
    pub(in crate::transform) radius: Value,
    /// The reduction to the dual norm of a row.
    pub(in crate::transform) dual: &'static str,
}

impl Ball {
    /// The least value of each row, `[n, rows, 1]`, by Hölder's inequality.
    fn bound(&self, rows: &Value, features: usize, e: &mut Emit<'_>) -> Value {
        let centre = as_column(&self.centre, features, e);
        let middle = e.op("MatMul", &[rows, &centre]);
        let last = e.ints(&[2]);
        let sizes = e.op("Abs", &[rows]);
        let length = e.op_with(self.dual, &[&sizes, &last], [("keepdims", 1.into())]);
        let radius = as_column(&self.radius, 1, e);
        let reach = e.op("Mul", &[&length, &radius]);
        e.op("Sub", &[&middle, &reach])
    }
}

/// The least value of each row in a box, `[n, rows, 1]`.
fn over_box(rows: &Value, x: &Interval, features: usize, e: &mut Emit<'_>) -> Value {
    let half = e.scalar(0.5, DataType::Float);
    let (sum, width) = (e.op("Add", &[&x.lower, &x.upper]), e.op("Sub", &[&x.upper, &x.lower]));
    let (middle, radius) = (e.op("Mul", &[&sum, &half]), e.op("Mul", &[&width, &half]));
    let (middle, radius) = (as_column(&middle, features, e), as_column(&radius, features, e));
    let sizes = e.op("Abs", &[rows]);
    let (at_middle, reach) = (e.op("MatMul", &[rows, &middle]), e.op("MatMul", &[&sizes, &radius]));
    e.op("Sub", &[&at_middle, &reach])
}

/// What `node` gives for one sample of zeros: the offset of an affine map.
fn at_zero(node: &Node, data: &[bool], e: &mut Emit<'_>) -> Rule<Value> {
    let mut inputs = node.inputs.clone();
    for (input, _) in inputs.iter_mut().zip(data).filter(|(_, data)| **data) {
        let Some(value) = input else { continue };
        let sizes = e.dims(value)?.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 });
        let shape: Vec<i64> = sizes.map(|size| i64::try_from(size).unwrap_or(i64::MAX)).collect();
        let shape = e.ints(&shape);
        *input = Some(e.op_with("ConstantOfShape", &[&shape], [("value", Tensor::floats(&[1], &[0.0]).into())]));
    }
    Ok(e.again(node, inputs))
}

fn sum(values: &[Value], e: &mut Emit<'_>) -> Option<Value> {
    match values {
        [] => None,
        [value] => Some(value.clone()),
        [a, b] => Some(e.op("Add", &[a, b])),
        _ => Some(e.op("Sum", &values.iter().collect::<Vec<_>>())),
    }
}
