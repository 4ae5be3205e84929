//! ONNX models as values, and the transformations that derive new models from them.
//!
//! A model passes through three types, and each says what is known about it:
//! [`Model`] (as loaded, any opset) → [`Canonical`] (one form per operator) → [`Shaped`] (every value's shape is known).
//! A transformation such as `gradient` takes a [`Shaped`] and returns a new [`Model`].
//!
//! The crate is pure: it reads bytes and returns values, without a runtime, a network or a clock. Start with [`Model`],
//! [`Operator`] and `gradient`.

#![forbid(unsafe_code)]

mod adaptation;
mod attribute;
mod bounds;
mod canonical;
mod channels;
mod check;
mod criterion;
mod emit;
mod error;
mod external;
mod fold;
mod inspect;
mod load;
mod loss;
mod lowering;
mod model;
mod names;
mod ops;
mod order;
mod proto;
mod quantized;
mod rebatch;
mod rename;
mod shape;
mod tensor;
mod text;
mod transform;

pub use adaptation::Adaptation;
pub use attribute::Attribute;
pub use bounds::{Dependence, Interval, Line, Lines};
pub use canonical::{Canonical, CanonicalError};
pub use channels::{Channel, Channels, Consumer, Fixed, Group, GroupId, Producer, Pruned, Slice, groups};
pub use check::{Defect, check};
pub use criterion::{Criterion, Minimand};
pub use emit::{Emit, Estimator};
pub use error::{Cause, Kind, Rule, TransformError};
pub use fold::Folded;
pub use inspect::{Inspection, Layer, Weights, inspect};
pub use load::{Limits, LoadError, ModelFile};
pub use loss::Loss;
pub use lowering::{KERNELS, Lowering};
pub use model::{Dimension, Function, Graph, Model, Node, Value, ValueInfo};
pub use ops::{Class, OPERATORS, Operator, Pull, Rows, operator};
pub use rebatch::open_batch;
pub use shape::{Dim, Facts, Probe, Probed, ShapeError, Shaped, Shapes};
pub use tensor::{DataType, Tensor};
pub use transform::{
    BatchNorm, BatchStatistics, Block, Gradient, Intermediate, Interpolation, Intervals, LinearBounds, LinearOptions,
    Normalization, Observed, Region, Relaxed, Removal, Restride, Slopes, Specification, Stride, Target, Trainable,
    Training, UnitPool, Vjp, Weight, Wrt, blocks, channels_to_remove, compact, gradient, interval, linear_bounds,
    logits, observe, preprocess, prune, remove_blocks, restride, stride_string, strided, trainable, training, untied,
    upsample, vjp, weights, zeroed,
};
