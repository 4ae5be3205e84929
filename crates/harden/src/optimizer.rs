//! Rules that move weights along their gradients: PyTorch's, number for number.

use ndarray::{ArrayD, Zip};

/// A rule and its constants, but for the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Stochastic gradient descent: `v' = momentum v + g + decay w`, `w' = w - rate v'`; with Nesterov's rule
    /// `w' = w - rate (g + decay w + momentum v')`.
    Sgd {
        /// In `[0, 1)`.
        momentum: f32,
        /// Whether Nesterov's rule is used.
        nesterov: bool,
    },
    /// Adam (Kingma and Ba, 2015).
    Adam {
        /// Decay of the mean, in `[0, 1)`.
        beta1: f32,
        /// Decay of the mean square, in `[0, 1)`.
        beta2: f32,
        /// Added to the root of the mean square, positive.
        epsilon: f32,
        /// Whether the weights decay by themselves (AdamW: Loshchilov and Hutter, 2019) and not through the gradient.
        decoupled: bool,
    },
}

/// What is remembered of the gradients of one weight: momentum and nothing, or mean and mean square.
pub(crate) type Moments = [ArrayD<f32>; 2];

/// An optimizer with what it remembers of the gradients before.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    method: Method,
    /// Weight decay, for all weights alike, as PyTorch has it.
    decay: f32,
    /// Largest Euclidean length of the whole gradient; longer ones are shortened.
    clip: Option<f32>,
    /// Steps made.
    steps: u64,
    memory: Vec<Moments>,
}

impl Optimizer {
    /// An optimizer at its first step.
    #[must_use]
    pub fn new(method: Method, decay: f32, clip: Option<f32>) -> Self {
        Self { method, decay, clip, steps: 0, memory: Vec::new() }
    }

    /// Steps made.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves each weight by one step. Gradients are those of the mean loss, one for each weight and of its shape, in the same order at every step.
    pub fn step(&mut self, rate: f32, weights: &mut [&mut ArrayD<f32>], gradients: &mut [ArrayD<f32>]) {
        if self.memory.is_empty() {
            let zeros = |w: &&mut ArrayD<f32>| [ArrayD::zeros(w.shape()), ArrayD::zeros(w.shape())];
            self.memory = weights.iter().map(zeros).collect();
        }
        if let Some(most) = self.clip {
            shorten(gradients, most);
        }
        self.steps += 1;
        let decay = self.decay;
        match self.method {
            Method::Sgd { momentum, nesterov } => {
                for ((w, g), [v, _]) in weights.iter_mut().zip(gradients).zip(&mut self.memory) {
                    Zip::from(&mut **w).and(g).and(v).for_each(|w, g, v| {
                        let g = *g + decay * *w;
                        *v = momentum * *v + g;
                        *w -= rate * if nesterov { g + momentum * *v } else { *v };
                    });
                }
            }
            Method::Adam { beta1, beta2, epsilon, decoupled } => {
                // In f64, as PyTorch computes these numbers.
                let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
                let correction = |beta: f32| 1.0 - f64::from(beta).powi(steps);
                let length = (f64::from(rate) / correction(beta1)) as f32;
                let root = correction(beta2).sqrt() as f32;
                for ((w, g), [m, v]) in weights.iter_mut().zip(gradients).zip(&mut self.memory) {
                    Zip::from(&mut **w).and(g).and(m).and(v).for_each(|w, g, m, v| {
                        let mut g = *g;
                        if decoupled {
                            *w *= 1.0 - rate * decay;
                        } else {
                            g += decay * *w;
                        }
                        *m += (1.0 - beta1) * (g - *m);
                        *v = beta2 * *v + (1.0 - beta2) * g * g;
                        *w -= length * *m / (v.sqrt() / root + epsilon);
                    });
                }
            }
        }
    }

    /// What it remembers, for a checkpoint: the steps, and two tensors for each weight.
    #[must_use]
    pub(crate) fn memory(&self) -> (u64, &[Moments]) {
        (self.steps, &self.memory)
    }

    /// Goes on from what [`Optimizer::memory`] gave.
    pub(crate) fn restore(&mut self, steps: u64, memory: Vec<Moments>) {
        (self.steps, self.memory) = (steps, memory);
    }
}

/// Scales all gradients so that their common length is at most `most`.
fn shorten(gradients: &mut [ArrayD<f32>], most: f32) {
    let square = |g: &ArrayD<f32>| g.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    let length = gradients.iter().map(square).sum::<f64>().sqrt();
    // PyTorch's constant, which keeps a gradient of zeros zero.
    let factor = (f64::from(most) / (length + 1e-6)) as f32;
    if factor < 1.0 {
        gradients.iter_mut().for_each(|g| *g *= factor);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr1;

    use super::*;

    /// Weights after each step on gradients that are those of `w²`, at the rate 0.1.
    fn path(method: Method, decay: f32, clip: Option<f32>) -> Vec<f32> {
        let (mut optimizer, mut w) = (Optimizer::new(method, decay, clip), arr1(&[1.0_f32]).into_dyn());
        (0..3)
            .map(|_| {
                let mut g = [w.mapv(|v| 2.0 * v)];
                optimizer.step(0.1, &mut [&mut w], &mut g);
                w[[0]]
            })
            .collect()
    }

    /// The expected numbers are worked out by hand.
    #[track_caller]
    fn check(method: Method, decay: f32, clip: Option<f32>, expected: [f32; 3]) {
        for (found, expected) in path(method, decay, clip).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        }
    }

    #[test]
    fn plain_descent_with_decay_and_clipping() {
        let plain = Method::Sgd { momentum: 0.0, nesterov: false };
        check(plain, 0.0, None, [0.8, 0.64, 0.512]);
        check(plain, 0.5, None, [0.75, 0.5625, 0.421_875]);
        // A gradient of 2 becomes one of 1: 0.9, then 1.8 becomes 1, and 1.6 becomes 1.
        check(plain, 0.0, Some(1.0), [0.9, 0.8, 0.7]);
    }

    #[test]
    fn momentum_carries_on() {
        // v = 2, 1.8 + 1.6 = 3.4, 3.06 + 0.92 = 3.98.
        check(Method::Sgd { momentum: 0.9, nesterov: false }, 0.0, None, [0.8, 0.46, 0.062]);
        // w = 1 - 0.1 (2 + 1.8) = 0.62; v = 3.04, w = 0.62 - 0.1 (1.24 + 2.736) = 0.2224; v = 3.1808, w = 0.2224 - 0.1 (0.4448 + 2.86272).
        check(Method::Sgd { momentum: 0.9, nesterov: true }, 0.0, None, [0.62, 0.2224, -0.108_352]);
    }

    #[test]
    fn adam_with_both_kinds_of_decay() {
        let adam = |decoupled| Method::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled };
        // The first step is the rate itself, whatever the gradient.
        assert!((path(adam(false), 0.0, None)[0] - 0.9).abs() < 1e-6);
        assert!((path(adam(true), 0.5, None)[0] - (1.0 * 0.95 - 0.1)).abs() < 1e-6);
        assert!((path(adam(false), 0.5, None)[0] - 0.9).abs() < 1e-6);
    }
}
