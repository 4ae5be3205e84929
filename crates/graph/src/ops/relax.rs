//! Backward linear bounds: rows of coefficients, and lines around functions of one number.
//!
//! A row is a lower bound `Σ a x + b` of one specification of one sample. What is affine passes rows on by its transpose; at other
//! operators a positive coefficient takes the lower line and a negative one the upper line (Zhang et al., Efficient Neural Network
//! Robustness Certification with General Activation Functions, NeurIPS 2018).

use super::Operator;
use super::class::output;
use super::inputs::int;
use crate::{Cause, DataType, Dim, Emit, Interval, Line, Lines, Node, Rule, Value};

/// Coefficients of a value of the source model, in samples · rows of one batch: `[n · rows, …]` with the value's own dimensions.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The coefficients.
    pub value: Value,
    /// `[n, rows]`, a vector of i64.
    pub counts: Value,
}

/// Rows behind an operator, as coefficients of its data input.
#[derive(Debug)]
pub struct Pull {
    /// Coefficients of the input.
    pub rows: Value,
    /// What is added to each row: values of shape `[n, rows, 1]`.
    pub added: Vec<Value>,
}

impl Rows {
    /// The coefficients as `[n, rows, features]` of a value with so many features.
    pub(crate) fn flat(&self, features: usize, e: &mut Emit<'_>) -> Value {
        let features = e.ints(&[int(features)]);
        let shape = e.op_with("Concat", &[&self.counts, &features], [("axis", 0.into())]);
        e.op("Reshape", &[&self.value, &shape])
    }
}

/// Elements of one sample of `value`, whose first dimension must be the batch, and the only one that depends on it.
///
/// # Errors
/// It is not.
pub(crate) fn features(value: &Value, e: &Emit<'_>) -> Rule<usize> {
    if e.dims(value)?.first() != Some(&Dim::Batch(1)) {
        return Err(Cause::Unsupported(format!(
            "the first dimension of \"{value}\" is not the batch, so that its samples cannot be bounded one by one"
        )));
    }
    Ok(e.fixed(value, 1)?.iter().product())
}

/// `value`, `[n, …]` with so many features, as `[n, 1, features]`.
pub(crate) fn as_row(value: &Value, features: usize, e: &mut Emit<'_>) -> Value {
    let shape = e.ints(&[-1, 1, int(features)]);
    e.op("Reshape", &[value, &shape])
}

/// `value`, `[n, …]` with so many features, as `[n, features, 1]`.
pub(crate) fn as_column(value: &Value, features: usize, e: &mut Emit<'_>) -> Value {
    let shape = e.ints(&[-1, int(features), 1]);
    e.op("Reshape", &[value, &shape])
}

/// The positive and the negative part of `a`.
pub(crate) fn parts(a: &Value, e: &mut Emit<'_>) -> (Value, Value) {
    let positive = e.op("Relu", &[a]);
    let negative = e.op("Sub", &[a, &positive]);
    (positive, negative)
}

/// The data input of a node that has one.
///
/// # Errors
/// It has several, whose bounds would have to be related.
pub(crate) fn only_data(node: &Node, data: &[bool]) -> Rule<usize> {
    let mut positions = data.iter().enumerate().filter(|(_, data)| **data).map(|(i, _)| i);
    match (positions.next(), positions.next()) {
        (Some(input), None) => Ok(input),
        _ => Err(Cause::Unsupported(format!(
            "{} of two values that both depend on the sample; one of them must be constant",
            node.operator
        ))),
    }
}

/// Rows through an element-wise operator, along the lines around its function.
pub(super) fn along_lines<O: Operator + ?Sized>(
    operator: &O,
    node: &Node,
    x: &Interval,
    slope: Option<&Value>,
    y: &Rows,
    e: &mut Emit<'_>,
) -> Rule<Pull> {
    let value = output(node)?;
    let features = features(value, e)?;
    let x = Interval { lower: as_row(&x.lower, features, e), upper: as_row(&x.upper, features, e) };
    let Lines { lower, upper } = operator.lines(node, &x, slope, e)?;
    let flat = y.flat(features, e);
    let (positive, negative) = parts(&flat, e);
    let mut added = Vec::new();
    for (part, line) in [(&positive, &lower), (&negative, &upper)] {
        if let Some(offset) = &line.offset {
            let offset = as_column(offset, features, e);
            added.push(e.op("MatMul", &[part, &offset]));
        }
    }
    let (below, above) = (e.op("Mul", &[&positive, &lower.slope]), e.op("Mul", &[&negative, &upper.slope]));
    let sum = e.op("Add", &[&below, &above]);
    let dims = e.dims(value)?;
    Ok(Pull { rows: e.reshape(&sum, dims)?, added })
}

/// Below this a width counts as this: a quotient by it is finite. The smallest normal f32.
const NARROWEST: f64 = f32::MIN_POSITIVE as f64;

/// The line through the points `(x0, y0)` and `(x1, y1)`; through the first with slope 0 where `x1 <= x0`.
pub(super) fn chord([x0, y0]: [&Value; 2], [x1, y1]: [&Value; 2], e: &mut Emit<'_>) -> Line {
    let (rise, width) = (e.op("Sub", &[y1, y0]), e.op("Sub", &[x1, x0]));
    let narrowest = e.scalar(NARROWEST, DataType::Float);
    let wide = e.op("Max", &[&width, &narrowest]);
    let slope = e.op("Div", &[&rise, &wide]);
    through([x0, y0], slope, e)
}

/// The line with this slope through a point.
pub(super) fn through([x, y]: [&Value; 2], slope: Value, e: &mut Emit<'_>) -> Line {
    let there = e.op("Mul", &[&slope, x]);
    let offset = Some(e.op("Sub", &[y, &there]));
    Line { slope, offset }
}

/// One line where the mask holds, another one elsewhere.
pub(super) fn either(mask: &Value, a: &Line, b: &Line, e: &mut Emit<'_>) -> Line {
    let zero = e.scalar(0.0, DataType::Float);
    let slope = e.op("Where", &[mask, &a.slope, &b.slope]);
    let offset = match (&a.offset, &b.offset) {
        (None, None) => None,
        (a, b) => Some(e.op("Where", &[mask, a.as_ref().unwrap_or(&zero), b.as_ref().unwrap_or(&zero)])),
    };
    Line { slope, offset }
}

/// Lines around `max(x, below · x)`, with `below` in [0, 1): the chord above, and below any slope from `below` to 1 through the kink.
pub(super) fn kink_at_zero(x: &Interval, below: f64, slope: Option<&Value>, e: &mut Emit<'_>) -> Lines {
    let Interval { lower: l, upper: u } = x;
    let [zero, one, flat] = [0.0, 1.0, below].map(|number| e.scalar(number, DataType::Float));
    let narrowest = e.scalar(NARROWEST, DataType::Float);
    let active = e.op("GreaterOrEqual", &[l, &zero]);
    let dead = e.op("LessOrEqual", &[u, &zero]);
    // The share of the interval on the positive side: 0 and 1 where it lies on one side, so that the line is the function there.
    let (above, _) = parts(u, e);
    let (_, under) = parts(l, e);
    let width = e.op("Sub", &[&above, &under]);
    let wide = e.op("Max", &[&width, &narrowest]);
    let share = e.op("Div", &[&above, &wide]);
    let share = e.op("Where", &[&active, &one, &share]);
    let scaled = |share: &Value, e: &mut Emit<'_>| {
        if below == 0.0 {
            return share.clone();
        }
        let rest = e.scalar(1.0 - below, DataType::Float);
        let scaled = e.op("Mul", &[share, &rest]);
        e.op("Add", &[&scaled, &flat])
    };
    let steep = scaled(&share, e);
    // At `l` the chord is `below · l`.
    let drop = if below == 0.0 { steep.clone() } else { e.op("Sub", &[&steep, &flat]) };
    let fall = e.op("Mul", &[&drop, &under]);
    let rise = e.op("Neg", &[&fall]);
    let lower = match slope {
        Some(slope) => {
            let slope = e.op("Where", &[&dead, &zero, slope]);
            e.op("Where", &[&active, &one, &slope])
        }
        None => {
            let mirrored = e.op("Neg", &[l]);
            let larger = e.op("Greater", &[u, &mirrored]);
            e.cast(&larger, DataType::Bool, DataType::Float)
        }
    };
    let lower = Line { slope: scaled(&lower, e), offset: None };
    Lines { lower, upper: Line { slope: steep, offset: Some(rise) } }
}

/// Steps of the bisection for a tangent: it ends within a 4096th of the interval, on the sound side.
const BISECTIONS: usize = 12;

/// The line below `tanh`: the chord where that lies below the function, else a tangent on the convex side.
///
/// A tangent at `d <= 0` lies below all of the interval if it does at the upper end. Its point is the middle of the interval, which
/// leaves the smallest area, or where that is not sound the bisection's last point that is.
fn below_tanh(l: &Value, u: &Value, e: &mut Emit<'_>) -> Line {
    let [zero, half] = [0.0, 0.5].map(|number| e.scalar(number, DataType::Float));
    let (at_l, at_u) = (e.op("Tanh", &[l]), e.op("Tanh", &[u]));
    let chord = chord([l, &at_l], [u, &at_u], e);
    let steepness = derivative(&at_l, e);
    let chord_is_below = e.op("LessOrEqual", &[&chord.slope, &steepness]);

    let mut sound = l.clone();
    let mut beyond = e.op("Min", &[u, &zero]);
    let middle_of = |a: &Value, b: &Value, e: &mut Emit<'_>| {
        let sum = e.op("Add", &[a, b]);
        e.op("Mul", &[&sum, &half])
    };
    let middle = middle_of(l, u, e);
    for _ in 0..BISECTIONS {
        let d = middle_of(&sound, &beyond, e);
        let tangent = tangent(&d, e);
        let reached = at(&tangent, u, e);
        let is_sound = e.op("LessOrEqual", &[&reached, &at_u]);
        sound = e.op("Where", &[&is_sound, &d, &sound]);
        beyond = e.op("Where", &[&is_sound, &beyond, &d]);
    }
    let point = e.op("Min", &[&sound, &middle]);
    let tangent = tangent(&point, e);
    either(&chord_is_below, &chord, &tangent, e)
}

/// `1 - y²`.
fn derivative(y: &Value, e: &mut Emit<'_>) -> Value {
    let one = e.scalar(1.0, DataType::Float);
    let square = e.op("Mul", &[y, y]);
    e.op("Sub", &[&one, &square])
}

/// The tangent to `tanh` at `x`.
fn tangent(x: &Value, e: &mut Emit<'_>) -> Line {
    let y = e.op("Tanh", &[x]);
    let slope = derivative(&y, e);
    through([x, &y], slope, e)
}

/// The line at `x`.
fn at(line: &Line, x: &Value, e: &mut Emit<'_>) -> Value {
    let product = e.op("Mul", &[&line.slope, x]);
    match &line.offset {
        Some(offset) => e.op("Add", &[&product, offset]),
        None => product,
    }
}

/// Lines around `tanh`. It is odd, so the line above it is the one below it turned around.
pub(super) fn around_tanh(x: &Interval, e: &mut Emit<'_>) -> Lines {
    let lower = below_tanh(&x.lower, &x.upper, e);
    let turned = [&x.upper, &x.lower].map(|end| e.op("Neg", &[end]));
    let Line { slope, offset } = below_tanh(&turned[0], &turned[1], e);
    let offset = offset.map(|offset| e.op("Neg", &[&offset]));
    Lines { lower, upper: Line { slope, offset } }
}

/// Lines around the sigmoid, which is `1/2 + tanh(x / 2) / 2`.
pub(super) fn around_sigmoid(x: &Interval, e: &mut Emit<'_>) -> Lines {
    let [half, quarter] = [0.5, 0.25].map(|number| e.scalar(number, DataType::Float));
    let [lower, upper] = [&x.lower, &x.upper].map(|end| e.op("Mul", &[end, &half]));
    let Lines { lower, upper } = around_tanh(&Interval { lower, upper }, e);
    let [lower, upper] = [lower, upper].map(|line| Line {
        slope: e.op("Mul", &[&line.slope, &quarter]),
        offset: line.offset.map(|offset| {
            let scaled = e.op("Mul", &[&offset, &half]);
            e.op("Add", &[&scaled, &half])
        }),
    });
    Lines { lower, upper }
}
