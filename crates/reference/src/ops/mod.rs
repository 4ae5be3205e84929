//! The operators, grouped by kind, each written down from its definition in the ONNX specification.

mod conv;
mod einsum;
mod elementwise;
mod index;
mod linear;
mod logic;
mod normalize;
mod pool;
mod quantize;
mod reduce;
mod resize;
mod sample;
mod shape;
mod window;

use crate::interpret::{Call, Outputs};

/// What the operator called `name` of a domain computes.
pub(crate) fn find(domain: &str, name: &str) -> Option<fn(&Call<'_>) -> Outputs> {
    if domain == "com.microsoft" {
        return quantize::contributed(name);
    }
    if !domain.is_empty() {
        return None;
    }
    if elementwise::unary(name).is_some() {
        return Some(elementwise::apply);
    }
    Some(match name {
        "Celu" | "Elu" | "Gelu" | "HardSigmoid" | "LeakyRelu" | "Selu" | "Shrink" | "Swish" | "ThresholdedRelu" => {
            elementwise::with_attributes
        }
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" => elementwise::binary,
        "Max" | "Min" | "Sum" | "Mean" => elementwise::variadic,
        "Clip" => elementwise::clip,
        "PRelu" => elementwise::prelu,
        "And" | "Or" | "Xor" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => logic::compare,
        "Not" => logic::not,
        "IsNaN" | "IsInf" => logic::is_special,
        "Where" => logic::choose,
        "Cast" | "CastLike" => logic::cast,
        "Constant" => logic::constant,
        "ConstantOfShape" => logic::constant_of_shape,
        "MatMul" => linear::matmul,
        "Gemm" => linear::gemm,
        "Einsum" => einsum::einsum,
        "Col2Im" => conv::col2im,
        "Conv" => conv::conv,
        "ConvTranspose" => conv::conv_transpose,
        "MaxPool" | "AveragePool" | "LpPool" => pool::pool,
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => pool::global,
        "GridSample" => sample::grid_sample,
        "MaxUnpool" => index::max_unpool,
        "BatchNormalization" => normalize::batch,
        "InstanceNormalization" => normalize::instance,
        "GroupNormalization" => normalize::group,
        "LayerNormalization" => normalize::layer,
        "LpNormalization" => normalize::lp,
        "LRN" => normalize::local_response,
        "MeanVarianceNormalization" => normalize::mean_variance,
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax" | "ReduceMean" | "ReduceMin"
        | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => reduce::reduce,
        "ArgMax" | "ArgMin" => reduce::arg,
        "Softmax" | "LogSoftmax" => reduce::softmax,
        "CumSum" => reduce::cumsum,
        "Identity" | "Dropout" => shape::identity,
        "Reshape" => shape::reshape,
        "Flatten" => shape::flatten,
        "Squeeze" => shape::squeeze,
        "Unsqueeze" => shape::unsqueeze,
        "Transpose" => shape::transpose,
        "Concat" => shape::concat,
        "Split" => shape::split,
        "Slice" => shape::slice,
        "Pad" => shape::pad,
        "Expand" => shape::expand,
        "Tile" => shape::tile,
        "DepthToSpace" => shape::depth_to_space,
        "SpaceToDepth" => shape::space_to_depth,
        "Trilu" => shape::trilu,
        "Shape" => shape::shape,
        "Size" => shape::size,
        "Range" => shape::range,
        "Resize" | "Upsample" => resize::resize,
        "Gather" => index::gather,
        "GatherElements" => index::gather_elements,
        "GatherND" => index::gather_nd,
        "ScatterElements" | "Scatter" => index::scatter_elements,
        "ScatterND" => index::scatter_nd,
        "OneHot" => index::one_hot,
        "TopK" => index::top_k,
        "NonZero" => index::non_zero,
        "QuantizeLinear" => quantize::quantize,
        "DequantizeLinear" => quantize::dequantize,
        "DynamicQuantizeLinear" => quantize::quantize_dynamically,
        "ConvInteger" | "MatMulInteger" => quantize::of_integers,
        "QLinearConv" | "QLinearMatMul" => quantize::with_scales,
        _ => return None,
    })
}
