//! What derived graphs are written for.

/// Which kernels a derived graph is written for. Every form is right on every provider; they differ in speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lowering {
    /// ONNX Runtime's CPU provider: forms that keep its blocked convolution layout, and go around its slow kernels.
    #[default]
    Cpu,
    /// The CPU provider with assay's own kernels beside it, for what ONNX Runtime has no fast ones for: the gradients of
    /// training. Only assay's runtime runs such a graph; its operators are in the domain [`KERNELS`].
    CpuKernels,
    /// ONNX Runtime's CUDA provider: forms that it has kernels for, and whose kernels add in the same order in every run.
    Cuda,
}

/// Domain of the operators that assay's runtime brings along.
pub const KERNELS: &str = "assay";

impl Lowering {
    /// Whether the processor computes it.
    #[must_use]
    pub fn is_cpu(self) -> bool {
        matches!(self, Self::Cpu | Self::CpuKernels)
    }
}
