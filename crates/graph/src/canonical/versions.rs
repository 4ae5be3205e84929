//! The history of the standard operator set, as far as it changes what a node means.

use super::scope::Scope;
use super::{attention, backwards, composite, inputs, quantized, resize, rotary, softmax, training};
use crate::{Node, Rule};

/// A change of one node.
pub(super) type Rewrite = fn(&mut Node, &mut Scope<'_>) -> Rule<()>;

/// The newest version of the standard operator set whose changes are known here.
///
/// ONNX Runtime 1.31 reads models up to it.
pub(super) const NEWEST: i64 = 26;

/// What a version of an operator changed.
pub(super) enum Change {
    /// This brings a node to the other side of the change.
    Rewrite(Rewrite),
    /// Nothing does, for the reason given.
    Refuse(&'static str),
}

use Change::{Refuse, Rewrite as Apply};

/// Every change of meaning after operator set 7: operator, version that changed it, and how to cross it *towards* the
/// canonical set — forwards for versions up to 18, backwards for later ones. Versions that only admit more element types,
/// add an attribute whose default is the old behaviour, or clarify the text are crossed without a change; for later
/// versions than 18 a new attribute must be at that default.
const CHANGES: &[(&str, i64, Change)] = &[
    ("BatchNormalization", 9, Apply(training::spatial)),
    ("Clip", 11, Apply(inputs::clip)),
    ("Dropout", 10, Apply(training::mask)),
    ("Hardmax", 13, Apply(softmax::one_axis)),
    ("LogSoftmax", 13, Apply(softmax::one_axis)),
    ("Pad", 11, Apply(inputs::pad)),
    ("ReduceL1", 18, Apply(inputs::axes)),
    ("ReduceL2", 18, Apply(inputs::axes)),
    ("ReduceLogSum", 18, Apply(inputs::axes)),
    ("ReduceLogSumExp", 18, Apply(inputs::axes)),
    ("ReduceMax", 18, Apply(inputs::axes)),
    ("ReduceMean", 18, Apply(inputs::axes)),
    ("ReduceMin", 18, Apply(inputs::axes)),
    ("ReduceProd", 18, Apply(inputs::axes)),
    ("ReduceSum", 13, Apply(inputs::axes)),
    ("ReduceSumSquare", 18, Apply(inputs::axes)),
    ("Resize", 11, Apply(resize::coordinates)),
    ("Resize", 13, Apply(resize::modes)),
    ("RoiAlign", 16, Refuse("its pixel coordinates and its maximum changed in operator set 16")),
    ("Scan", 9, Refuse("operator set 9 changed its inputs")),
    ("Scatter", 11, Apply(inputs::scatter)),
    ("Slice", 10, Apply(inputs::slice)),
    ("Softmax", 13, Apply(softmax::one_axis)),
    ("Split", 13, Apply(inputs::split)),
    ("Split", 18, Apply(inputs::parts)),
    ("Squeeze", 13, Apply(inputs::axes)),
    ("TopK", 10, Apply(inputs::top_k)),
    ("Unsqueeze", 13, Apply(inputs::axes)),
    ("Upsample", 9, Apply(inputs::scales)),
    ("Upsample", 10, Apply(resize::upsample)),
    // Backwards.
    ("AveragePool", 19, Apply(backwards::undilated)),
    ("Cast", 19, Apply(backwards::unsaturated)),
    ("CastLike", 19, Apply(backwards::unsaturated)),
    ("DFT", 20, Refuse("operator set 20 changed how it takes its axis")),
    ("DequantizeLinear", 19, Apply(quantized::linear)),
    ("DequantizeLinear", 21, Apply(quantized::linear)),
    ("DequantizeLinear", 23, Apply(quantized::linear)),
    ("AffineGrid", 20, Apply(composite::affine_grid)),
    ("Attention", 23, Apply(attention::attention)),
    ("Cast", 24, Apply(backwards::unrounded)),
    ("CastLike", 24, Apply(backwards::unrounded)),
    ("Gelu", 20, Apply(backwards::gelu)),
    ("GridSample", 20, Apply(backwards::grid_modes)),
    ("GroupNormalization", 21, Apply(composite::channels)),
    ("Pad", 19, Apply(backwards::wrap)),
    ("QuantizeLinear", 19, Apply(quantized::linear)),
    ("QuantizeLinear", 21, Apply(quantized::linear)),
    ("QuantizeLinear", 23, Apply(quantized::linear)),
    ("RMSNormalization", 23, Apply(composite::root_mean_squares)),
    ("RotaryEmbedding", 23, Apply(rotary::embedding)),
    ("Swish", 24, Apply(composite::swish)),
    ("Resize", 19, Apply(resize::symmetric)),
];

/// Applied to every node of the operator, whatever its version: where one version has several forms for the same thing.
const ALWAYS: &[(&str, Rewrite)] = &[
    ("BatchNormalization", training::batch_norm),
    ("CastLike", composite::cast_like),
    ("Dropout", training::dropout),
    ("GroupNormalization", composite::groups),
    ("Hardmax", softmax::normal),
    ("LogSoftmax", softmax::normal),
    ("Resize", resize::normal),
    ("Softmax", softmax::normal),
];

/// Every operator of the standard set by the version that brought it (7: that or an earlier one).
const INTRODUCED: &[(i64, &str)] = &[
    (
        7,
        "Abs Acos Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast Ceil Clip Concat Constant \
         Conv ConvTranspose Cos DepthToSpace Div Dropout Elu Equal Exp Flatten Floor GRU Gather Gemm \
         GlobalAveragePool GlobalLpPool GlobalMaxPool Greater HardSigmoid Hardmax Identity If \
         InstanceNormalization LRN LSTM LeakyRelu Less Log LogSoftmax Loop LpNormalization LpPool MatMul Max \
         MaxPool MaxRoiPool Mean Min Mul Multinomial Neg Not Or PRelu Pad Pow RNN RandomNormal RandomNormalLike \
         RandomUniform RandomUniformLike Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax \
         ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Selu Shape Sigmoid Sin Size Slice \
         Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh Tile TopK Transpose Unsqueeze \
         Upsample Xor",
    ),
    (8, "Expand Scan"),
    (
        9,
        "Acosh Asinh Atanh Compress ConstantOfShape Cosh Erf EyeLike IsNaN MaxUnpool MeanVarianceNormalization \
         NonZero OneHot Scatter Shrink Sign Sinh TfIdfVectorizer Where",
    ),
    (
        10,
        "ConvInteger DequantizeLinear IsInf MatMulInteger Mod NonMaxSuppression QLinearConv QLinearMatMul \
         QuantizeLinear Resize ReverseSequence RoiAlign StringNormalizer ThresholdedRelu",
    ),
    (
        11,
        "BitShift ConcatFromSequence CumSum Det DynamicQuantizeLinear GatherElements GatherND Range Round \
         ScatterElements ScatterND SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert \
         SequenceLength SplitToSequence Unique",
    ),
    (12, "Celu Einsum GreaterOrEqual LessOrEqual NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss"),
    (14, "HardSwish Trilu"),
    (15, "Bernoulli CastLike Optional OptionalGetElement OptionalHasElement"),
    (16, "GridSample"),
    (17, "BlackmanWindow DFT HammingWindow HannWindow LayerNormalization MelWeightMatrix STFT SequenceMap"),
    (18, "BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im GroupNormalization Mish"),
    (19, "DeformConv"),
    (20, "AffineGrid Gelu ImageDecoder RegexFullMatch StringConcat StringSplit"),
    (23, "Attention RMSNormalization RotaryEmbedding"),
    (24, "Swish TensorScatter"),
    (26, "BitCast CumProd"),
];

/// The version that brought `operator`; `None` if there is no such operator up to [`NEWEST`].
pub(super) fn introduced(operator: &str) -> Option<i64> {
    let brought = |(_, names): &&(i64, &str)| names.split(' ').any(|name| name == operator);
    INTRODUCED.iter().find(brought).map(|(version, _)| *version)
}

/// What version `version` changed about `operator`.
pub(super) fn change(operator: &str, version: i64) -> Option<&'static Change> {
    CHANGES.iter().find(|(name, at, _)| *name == operator && *at == version).map(|(_, _, change)| change)
}

/// What is done to every `operator`.
pub(super) fn always(operator: &str) -> Option<Rewrite> {
    ALWAYS.iter().find(|(name, _)| *name == operator).map(|(_, rewrite)| *rewrite)
}
