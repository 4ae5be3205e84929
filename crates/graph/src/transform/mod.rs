//! Transformations: new models from a given one.
//!
//! Each is a function to a new [`Model`] in its own file, from a [`Shaped`](crate::Shaped) one, or from a canonical one where
//! no shapes are needed. The derivatives share the walk in `reverse`, which looks rules up in the table of operators.

mod blocks;
mod bounds;
mod compact;
mod gradient;
mod interval;
mod linear_bounds;
mod logits;
mod observe;
mod preprocess;
mod prune;
mod resolution;
mod restride;
mod reverse;
mod trainable;
mod training;
mod upsample;
mod views;
mod widen;

pub use blocks::{Block, blocks, remove_blocks};
pub use bounds::{Relaxed, Specification};
pub use compact::compact;
pub use gradient::{Gradient, Vjp, gradient, vjp};
pub use interval::{Intervals, interval};
pub use linear_bounds::{Intermediate, LinearBounds, LinearOptions, Region, Slopes, Target, linear_bounds};
pub use logits::logits;
pub use observe::{Observed, observe};
pub use preprocess::{Normalization, preprocess};
pub use prune::{Removal, channels_to_remove, prune, zeroed};
pub use restride::{Restride, Stride, UnitPool, restride, stride_string, strided};
pub use trainable::{BatchNorm, BatchStatistics, Trainable, trainable, untied, weights};
pub use training::{Training, Weight, Wrt, training};
pub use upsample::{Interpolation, upsample};

use crate::{Cause, Model, TransformError, check};

/// What transformation `pass` made, checked. A defect is one of a rule, or of the source model.
fn checked(pass: &'static str, model: Model) -> Result<Model, TransformError> {
    match check(&model) {
        Ok(()) => Ok(model),
        Err(defect) => Err(TransformError::of_model(pass, Cause::Malformed(defect.to_string()))),
    }
}
