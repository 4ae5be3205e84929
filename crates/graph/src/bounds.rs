//! What rules of bounds speak about: intervals, lines around a function, and how an operator depends on its inputs.

use crate::Value;

/// Lower and upper bounds of a value, element by element, as values of the graph that is being built; both of its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Lower bounds.
    pub lower: Value,
    /// Upper bounds.
    pub upper: Value,
}

/// The function `slope * x + offset` of each element `x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Broadcasts to `[n, rows, features]`.
    pub slope: Value,
    /// Shape `[n, 1, features]`; `None`: 0.
    pub offset: Option<Value>,
}

/// A line below a function and a line above it, for each element, on the element's interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// At most the function.
    pub lower: Line,
    /// At least the function.
    pub upper: Line,
}

/// How the output of a node depends on chosen inputs, the others held fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    /// `A x`.
    Linear,
    /// `A x + b`.
    Affine,
    /// Anything else.
    Other,
}
