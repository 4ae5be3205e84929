//! The operators: one file each with everything that is known about it, and the table that lists them. Smooth functions of
//! one number, which differ in a formula, share the file `functions.rs`, and reductions that are not linear `nonlinear_reductions.rs`.
//!
//! To add an operator, write its file and its line in [`OPERATORS`]; nothing else changes. An operator that is not in the
//! table, or an attribute that its file does not handle, is refused by name.
//!
//! # Where there is no derivative
//!
//! At a kink assay takes the element of the generalized gradient that PyTorch takes:
//!
//! | operator | where | derivative |
//! |---|---|---|
//! | `Relu` | 0 | 0 |
//! | `LeakyRelu`, `PRelu`, `Elu`, `Selu` | 0 | that of the negative side |
//! | `Abs` | 0 | 0 |
//! | `HardSigmoid` | both bends | 0 |
//! | `HardSwish` | both bends | that of the straight piece outside: 0 at -3, 1 at 3 |
//! | `Clip` | a bound | 1, as of `torch.clamp`; `torch.nn.ReLU6` has 0 there, but a file does not tell them apart |
//! | `ThresholdedRelu`, `Shrink` | a threshold | 0 |
//! | `Max`, `Min` | several inputs equal | shared evenly, as of `torch.maximum` |
//! | `MaxPool`, `GlobalMaxPool` | several elements equal | to the first in row-major order |
//! | `TopK` | several elements equal | to the one that was taken |
//! | `ReduceMax`, `ReduceMin` | several elements equal | shared evenly, as of `torch.amax` |
//! | `Pow` | exponent 0, or base 0 and exponent not negative | 0 for the base, or for the exponent |
//! | `ReduceL1`, `ReduceL2`, `LpPool`, `GlobalLpPool`, `LpNormalization` | all elements 0 | 0, as of `torch.norm` |
//! | `ScatterElements`, `ScatterND` | two updates for one place, without a reduction | undefined, as the output is |
//! | `Mod` | a multiple of the divisor | that of both sides |
//! | `GridSample` | an element's own position | that of the side behind it; 0 at the border of the image, unless zeros lie there |
//! | `Sqrt`, `Log`, `Reciprocal`, `Asin`, … | ends of the domain | infinite, as the limit is |
//!
//! An operator that is constant almost everywhere, such as `Round` or `Sign`, has no rule: its gradient of zeros would make
//! any model look robust. Quantization is the exception that deployed models need: `QuantizeLinear` and `DynamicQuantizeLinear`
//! have the clipped straight-through estimator, and results name the nodes it was used for.
//!
//! # Second derivatives
//!
//! Rules write only operators that have rules, so the graph of a gradient has a gradient itself. It is that of the formulas
//! that were written: at a kink the second derivative is that of the chosen branch.

mod batch_statistics;
mod class;
mod convolve;
mod grouped;
mod inputs;
mod phases;
mod reduction;
mod relax;
mod select;
#[cfg(test)]
mod sketch;
mod window;

mod abs;
mod add;
mod average_pool;
mod batch_normalization;
mod cast;
mod celu;
mod clip;
mod col2_im;
mod concat;
mod conv;
mod conv_transpose;
mod cum_sum;
mod depth_to_space;
mod dequantize_linear;
mod div;
mod dynamic_quantize_linear;
mod einsum;
mod elu;
mod expand;
mod flatten;
mod functions;
mod gather;
mod gather_elements;
mod gather_nd;
mod gemm;
mod global_average_pool;
mod global_lp_pool;
mod global_max_pool;
mod grid_sample;
mod hard_sigmoid;
mod hard_swish;
mod identity;
mod instance_normalization;
mod layer_normalization;
mod leaky_relu;
mod log_softmax;
mod lp_normalization;
mod lp_pool;
mod lrn;
mod mat_mul;
mod max;
mod max_pool;
mod mean;
mod mean_variance_normalization;
mod min;
mod modulo;
mod mul;
mod neg;
mod nonlinear_reductions;
mod one_hot;
mod pad;
mod pow;
mod prelu;
mod quantize_linear;
mod reduce_max;
mod reduce_mean;
mod reduce_min;
mod reduce_sum;
mod relu;
mod reshape;
mod resize;
mod scatter_elements;
mod scatter_nd;
mod selu;
mod shrink;
mod slice;
mod softmax;
mod space_to_depth;
mod split;
mod squeeze;
mod sub;
mod sum;
mod thresholded_relu;
mod tile;
mod top_k;
mod transpose;
mod trilu;
mod unsqueeze;
mod where_;

use crate::{Cause, Channels, Dependence, Emit, Interval, Lines, Node, Pruned, Rule, Value};

pub(crate) use class::output;
pub(crate) use inputs::axis;
pub use relax::{Pull, Rows};
pub(crate) use relax::{as_column, features, only_data};

/// What kind of function an operator is in its differentiable inputs. It decides which rules have provable defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Moves, copies or drops elements.
    ShapeOnly,
    /// Linear in each differentiable input, and in all of them together.
    Linear,
    /// Linear in each differentiable input while the others are fixed.
    Bilinear,
    /// Element-wise and non-decreasing.
    Monotone,
    /// Element-wise.
    Elementwise,
    /// Anything else.
    Opaque,
}

/// Everything assay knows about one operator of the canonical opset.
pub trait Operator: Sync {
    /// Its ONNX name, in the standard domain.
    fn name(&self) -> &'static str;

    /// What kind of function it is.
    fn class(&self) -> Class;

    /// What of it has no derivative and is refused by name, for the list of operators; empty if there is nothing.
    fn refused(&self) -> &'static str {
        ""
    }

    /// `Aᵀ y` for the linear map `A` from input `input` to the only output, the other inputs held fixed.
    ///
    /// `y` has the output's shape, the result has the input's. Operators of class [`Class::ShapeOnly`], [`Class::Linear`] and
    /// [`Class::Bilinear`] implement it; their gradient is this graph.
    ///
    /// # Errors
    /// An attribute without a rule.
    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let _ = (node, input, y, e);
        Err(Cause::NoRule)
    }

    /// The vector–Jacobian product: from the cotangents of the outputs (`None`: zero) those of the inputs.
    ///
    /// The result has one entry per input of the node; entries whose `wanted` is false are ignored, so a rule may return
    /// `None` there. `None` where `wanted` is true means that the derivative is zero.
    ///
    /// # Errors
    /// An attribute without a rule.
    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        class::vjp(self, node, cotangents, wanted, e)
    }

    /// How the output depends on the inputs for which `data` is true, while the others are held fixed.
    ///
    /// What is affine in them has its backward linear bound from [`Operator::transpose`]. The class tells it for most operators; the
    /// offset of an affine map is what the node gives for zeros.
    ///
    /// # Errors
    /// As [`Emit::facts`].
    fn dependence(&self, node: &Node, data: &[bool], e: &Emit<'_>) -> Rule<Dependence> {
        class::dependence(self.class(), node, data, e)
    }

    /// `|A| r` for the linear map `A` of the inputs that have an entry, the others held fixed: how far the output moves when its
    /// inputs move by at most `r`. With it, an operator that is affine has its interval rule from its class.
    ///
    /// # Errors
    /// An attribute without a rule.
    fn radius(&self, node: &Node, r: &[Option<Value>], e: &mut Emit<'_>) -> Rule<Value> {
        let _ = (node, r, e);
        Err(Cause::NoRule)
    }

    /// Bounds of the first output from those of the inputs; an input without an entry is fixed.
    ///
    /// # Errors
    /// An attribute without a rule.
    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        class::interval(self, node, x, e)
    }

    /// For an element-wise function of one input, lines around it on the interval `x`, whose ends have the shape `[n, 1, features]`.
    ///
    /// `slope`, numbers in [0, 1] of shape `[n, rows, features]`, chooses among the lower lines where several are as good: every
    /// choice is sound. Without it the one is taken that leaves the smaller area. Operators that have no such choice ignore it.
    ///
    /// # Errors
    /// An attribute without a rule.
    fn lines(&self, node: &Node, x: &Interval, slope: Option<&Value>, e: &mut Emit<'_>) -> Rule<Lines> {
        let _ = (node, x, slope, e);
        Err(Cause::NoRule)
    }

    /// Whether [`Operator::lines`] reads `slope`.
    fn has_slopes(&self) -> bool {
        false
    }

    /// Where the function of [`Operator::lines`] is linear: on every interval that has none of these numbers inside. `None`: nowhere.
    fn kinks(&self, node: &Node, e: &Emit<'_>) -> Option<Vec<f64>> {
        let _ = (node, e);
        None
    }

    /// For a node that is not affine, rows that bound `y · output` from below for every point of the interval `x` of its data
    /// input: coefficients of that input, and what is added.
    ///
    /// # Errors
    /// An attribute without a rule.
    fn pull(&self, node: &Node, x: &Interval, slope: Option<&Value>, y: &Rows, e: &mut Emit<'_>) -> Rule<Pull> {
        relax::along_lines(self, node, x, slope, y, e)
    }

    /// The node for one of assay's own kernels, for [`Lowering::CpuKernels`](crate::Lowering::CpuKernels), where there is one that
    /// is faster than ONNX Runtime's.
    fn own_kernel(&self, node: &Node, e: &Emit<'_>) -> Option<Node> {
        let _ = (node, e);
        None
    }

    /// Which positions along the axes of its inputs and outputs can only be removed together, for pruning.
    ///
    /// A rule ties, fixes or sums over every axis: see [`Channels`]. Element-wise operators have it from their class.
    ///
    /// # Errors
    /// Channels cannot be followed through the operator, or not with these attributes: nothing that it touches is removed.
    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        class::channels(self, node, c)
    }

    /// The number that the first output is everywhere in a channel in which every input is the number given for it; `None` for
    /// an input that is not one number there, or is absent. For finding channels that do not depend on the model's input;
    /// what only moves elements needs no rule.
    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let _ = (node, inputs);
        None
    }

    /// Corrects what `node` itself says about the number of channels, where some of them are gone: a group count, a target
    /// shape, positions.
    ///
    /// # Errors
    /// It cannot be corrected.
    fn pruned(&self, node: &mut Node, p: &mut Pruned<'_>) -> Rule<()> {
        let _ = (node, p);
        Ok(())
    }
}

/// The table, sorted by name.
pub static OPERATORS: &[&dyn Operator] = &[
    &abs::Abs,
    &functions::ACOS,
    &functions::ACOSH,
    &add::Add,
    &functions::ASIN,
    &functions::ASINH,
    &functions::ATAN,
    &functions::ATANH,
    &average_pool::AveragePool,
    &batch_normalization::BatchNormalization,
    &cast::Cast,
    &celu::Celu,
    &clip::Clip,
    &col2_im::Col2Im,
    &concat::Concat,
    &conv::Conv,
    &conv_transpose::ConvTranspose,
    &functions::COS,
    &functions::COSH,
    &cum_sum::CumSum,
    &depth_to_space::DepthToSpace,
    &dequantize_linear::DequantizeLinear,
    &div::Div,
    &dynamic_quantize_linear::DynamicQuantizeLinear,
    &einsum::Einsum,
    &elu::Elu,
    &functions::ERF,
    &functions::EXP,
    &expand::Expand,
    &flatten::Flatten,
    &gather::Gather,
    &gather_elements::GatherElements,
    &gather_nd::GatherNd,
    &gemm::Gemm,
    &global_average_pool::GlobalAveragePool,
    &global_lp_pool::GlobalLpPool,
    &global_max_pool::GlobalMaxPool,
    &grid_sample::GridSample,
    &hard_sigmoid::HardSigmoid,
    &hard_swish::HardSwish,
    &identity::Identity,
    &instance_normalization::InstanceNormalization,
    &lrn::Lrn,
    &layer_normalization::LayerNormalization,
    &leaky_relu::LeakyRelu,
    &functions::LOG,
    &log_softmax::LogSoftmax,
    &lp_normalization::LpNormalization,
    &lp_pool::LpPool,
    &mat_mul::MatMul,
    &max::Max,
    &max_pool::MaxPool,
    &mean::Mean,
    &mean_variance_normalization::MeanVarianceNormalization,
    &min::Min,
    &functions::MISH,
    &modulo::Mod,
    &mul::Mul,
    &neg::Neg,
    &one_hot::OneHot,
    &prelu::PRelu,
    &pad::Pad,
    &pow::Pow,
    &quantize_linear::QuantizeLinear,
    &functions::RECIPROCAL,
    &nonlinear_reductions::REDUCE_L1,
    &nonlinear_reductions::REDUCE_L2,
    &nonlinear_reductions::REDUCE_LOG_SUM,
    &nonlinear_reductions::REDUCE_LOG_SUM_EXP,
    &reduce_max::ReduceMax,
    &reduce_mean::ReduceMean,
    &reduce_min::ReduceMin,
    &nonlinear_reductions::REDUCE_PROD,
    &reduce_sum::ReduceSum,
    &nonlinear_reductions::REDUCE_SUM_SQUARE,
    &relu::Relu,
    &reshape::Reshape,
    &resize::Resize,
    &scatter_elements::ScatterElements,
    &scatter_nd::ScatterNd,
    &selu::Selu,
    &shrink::Shrink,
    &functions::SIGMOID,
    &functions::SIN,
    &functions::SINH,
    &slice::Slice,
    &softmax::Softmax,
    &functions::SOFTPLUS,
    &functions::SOFTSIGN,
    &space_to_depth::SpaceToDepth,
    &split::Split,
    &functions::SQRT,
    &squeeze::Squeeze,
    &sub::Sub,
    &sum::Sum,
    &functions::TAN,
    &functions::TANH,
    &thresholded_relu::ThresholdedRelu,
    &tile::Tile,
    &top_k::TopK,
    &transpose::Transpose,
    &trilu::Trilu,
    &unsqueeze::Unsqueeze,
    &where_::Where,
];

/// The operator called `name` in the standard domain.
#[must_use]
pub fn operator(name: &str) -> Option<&'static dyn Operator> {
    OPERATORS.binary_search_by(|o| o.name().cmp(name)).ok().map(|i| OPERATORS[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_operator_is_found() {
        assert!(OPERATORS.is_sorted_by(|a, b| a.name() < b.name()));
        for o in OPERATORS {
            assert_eq!(operator(o.name()).map(Operator::name), Some(o.name()));
        }
        assert!(operator("NonZero").is_none());
    }
}
