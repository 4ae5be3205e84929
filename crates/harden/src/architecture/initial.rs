//! The weights that a net begins with: those that torchvision gives its residual nets.

use assay_attack::{SampleId, SampleRng};
use assay_graph::Tensor;

/// How a weight begins.
#[derive(Clone, Debug)]
pub(super) enum Initial {
    /// Kernels `[out, in / groups, k, k]`, normal with a variance of `2 / (out k²)`, which keeps that of gradients (He et al., 2015,
    /// equation 14; PyTorch's `kaiming_normal_` with `fan_out`, which does not divide by groups either).
    Kernels([usize; 4]),
    /// Uniform within `±1 / √inputs`, as PyTorch's `Linear` has its weights and its bias.
    Uniform { dims: Vec<usize>, inputs: usize },
    /// A vector of one number.
    Constant { elements: usize, value: f32 },
}

impl Initial {
    /// Number of elements; as large as can be said where there are more.
    pub(super) fn elements(&self) -> usize {
        let product = |dims: &[usize]| dims.iter().fold(1_usize, |product, size| product.saturating_mul(*size));
        match self {
            Self::Kernels(dims) => product(dims),
            Self::Uniform { dims, .. } => product(dims),
            Self::Constant { elements, .. } => *elements,
        }
    }

    /// The weight called `name`. It has a stream of its own, so that it does not depend on the other layers.
    pub(super) fn draw(&self, name: &str, seed: u64) -> Tensor {
        let mut stream = SampleRng::new(seed, SampleId(0), name, 0);
        let mut values = vec![0.0_f32; self.elements()];
        match self {
            Self::Kernels(dims) => {
                let [out, _, height, width] = *dims;
                let deviation = (2.0 / (out * height * width) as f64).sqrt() as f32;
                stream.fill_normal(&mut values);
                values.iter_mut().for_each(|value| *value *= deviation);
                Tensor::floats(dims, &values)
            }
            Self::Uniform { dims, inputs } => {
                let bound = 1.0 / (*inputs as f64).sqrt();
                values.fill_with(|| ((2.0 * stream.uniform() - 1.0) * bound) as f32);
                Tensor::floats(dims, &values)
            }
            Self::Constant { elements, value } => {
                values.fill(*value);
                Tensor::floats(&[*elements], &values)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(tensor: &Tensor) -> (f64, f64, f64) {
        let values = tensor.to_f64().unwrap();
        let moment = |k: i32| values.iter().map(|v| v.powi(k)).sum::<f64>() / values.len() as f64;
        (moment(1), moment(2), values.iter().fold(0.0, |most, v| most.max(v.abs())))
    }

    #[test]
    fn kernels_are_normal_with_the_variance_of_their_outputs() {
        let (mean, variance, _) = moments(&Initial::Kernels([64, 32, 3, 3]).draw("conv1.weight", 1));
        let expected = 2.0 / (64.0 * 9.0);
        // Five standard errors of 18,432 numbers.
        assert!(mean.abs() < 5.0 * (expected / 18_432.0_f64).sqrt(), "{mean}");
        assert!((variance / expected - 1.0).abs() < 5.0 * (2.0 / 18_432.0_f64).sqrt(), "{variance}");
    }

    #[test]
    fn linear_weights_are_uniform_within_their_bound() {
        let (mean, variance, most) =
            moments(&Initial::Uniform { dims: vec![100, 64], inputs: 64 }.draw("fc.weight", 1));
        assert!(most <= 0.125 && most > 0.1249, "{most}");
        let expected = 0.125_f64.powi(2) / 3.0;
        assert!(mean.abs() < 5.0 * (expected / 6400.0).sqrt(), "{mean}");
        // The variance of a square of such a number is 4/5 of its mean, squared.
        assert!((variance / expected - 1.0).abs() < 5.0 * (0.8_f64 / 6400.0).sqrt(), "{variance}");
    }

    #[test]
    fn seed_and_name_decide() {
        let of = |seed, name: &str| Initial::Kernels([2, 2, 3, 3]).draw(name, seed);
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(2, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
    }
}
