//! What derived graphs are written for.

/// Which kernels a derived graph is written for. Every form is right on every provider; they differ in speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lowering {
    /// ONNX Runtime's CPU provider: forms that keep its blocked convolution layout, and go around its slow kernels.
    #[default]
    Cpu,
    /// ONNX Runtime's CUDA provider: forms that it has kernels for, and whose kernels add in the same order in every run.
    Cuda,
}
