//! The gradient of `BatchNormalization` with the statistics of the batch, in two passes over the memory.
//!
//! With `k` elements in a channel, `r = 1 / sqrt(v + epsilon)`, `s = Σ dy` and `t = Σ dy (x - μ)`: the bias gets `s`, the scale
//! `r t`, and `x` gets `scale r (dy - s / k - (x - μ) r² t / k)`.

use std::sync::{Mutex, PoisonError};

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;

/// Inputs `x [n, c, …]`, `dy` of its shape, `scale [c]`, and mean and variance of the batch, `[c]`; outputs the gradients by
/// `x`, by the scale and by the bias. All f32. Attribute: `epsilon`.
pub(super) struct BatchNormalizationGradient;

impl Operator for BatchNormalizationGradient {
    type Kernel<'attr> = Epsilon;

    fn name(&self) -> &'static str {
        "BatchNormalizationGradient"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [0; 5].map(|_| OperatorInput::required(Float32))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [0; 3].map(|_| OperatorOutput::required(Float32))
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<Epsilon> {
        node.get("epsilon").map(Epsilon).ok_or_else(|| ort::Error::new("attribute \"epsilon\" is missing"))
    }
}

/// What is added to a variance.
pub(super) struct Epsilon(f32);

/// What the gradient by `x` needs of a channel, in f64: `dx = factor (dy - mean - (x - centre) slope)`.
#[derive(Clone, Copy, Default)]
struct Channel {
    centre: f64,
    /// `Σ dy`.
    sum: f64,
    /// `Σ dy (x - μ)`.
    along: f64,
}

impl Kernel for Epsilon {
    fn compute(&mut self, ctx: &ComputeContext) -> ort::Result<()> {
        let epsilon = f64::from(self.0);
        super::input(ctx, 0, |shape, x| {
            super::input(ctx, 1, |_, dy| {
                super::input(ctx, 2, |_, scale| {
                    super::input(ctx, 3, |_, mean| {
                        super::input(ctx, 4, |_, variance| {
                            let &[samples, channels, ..] = shape else {
                                return Err(ort::Error::new(format!("[n, c, …] is needed, not the shape {shape:?}")));
                            };
                            let fits = dy.len() == x.len()
                                && [scale, mean, variance].iter().all(|vector| vector.len() == channels);
                            if !fits {
                                return Err(ort::Error::new("scale and statistics are one number for each channel"));
                            }
                            let batch = Batch { x, dy, scale, mean, variance, samples, channels };
                            batch.gradients(ctx, shape, epsilon)
                        })
                    })
                })
            })
        })
    }
}

struct Batch<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    scale: &'a [f32],
    mean: &'a [f32],
    variance: &'a [f32],
    samples: usize,
    channels: usize,
}

impl Batch<'_> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "numbers of f32, added in f64")]
    fn gradients(&self, ctx: &ComputeContext, shape: &[usize], epsilon: f64) -> ort::Result<()> {
        let (rows, size) = (self.samples * self.channels, self.size());
        let count = (self.samples * size).max(1) as f64;
        let sums: Vec<Mutex<Channel>> = (0..self.channels).map(|_| Mutex::default()).collect();
        ctx.par_for(self.channels, 0, |channel| {
            *sums[channel].lock().unwrap_or_else(PoisonError::into_inner) = self.sums(channel);
        })?;
        let sums: Vec<Channel> =
            sums.into_iter().map(|s| s.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
        let rates: Vec<f64> = self.variance.iter().map(|&v| 1.0 / (f64::from(v) + epsilon).sqrt()).collect();

        let vector = [self.channels as i64];
        let missing = || ort::Error::new("an output is missing");
        if let Some(mut by_scale) = ctx.output(1, vector)? {
            let (_, by_scale) = by_scale.try_extract_tensor_mut::<f32>()?;
            let values = sums.iter().zip(&rates).map(|(s, rate)| (s.along * rate) as f32);
            by_scale.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        }
        if let Some(mut by_bias) = ctx.output(2, vector)? {
            let (_, by_bias) = by_bias.try_extract_tensor_mut::<f32>()?;
            by_bias.iter_mut().zip(&sums).for_each(|(to, s)| *to = s.sum as f32);
        }
        let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let mut dx = ctx.output(0, dims)?.ok_or_else(missing)?;
        let (_, dx) = dx.try_extract_tensor_mut::<f32>()?;
        if rows == 0 || size == 0 {
            return Ok(());
        }
        let samples: Vec<Mutex<&mut [f32]>> = dx.chunks_exact_mut(self.channels * size).map(Mutex::new).collect();
        ctx.par_for(samples.len(), 0, |sample| {
            let mut dx = samples[sample].lock().unwrap_or_else(PoisonError::into_inner);
            for (channel, to) in dx.chunks_exact_mut(size).enumerate() {
                let (s, rate) = (&sums[channel], rates[channel]);
                let factor = (f64::from(self.scale[channel]) * rate) as f32;
                let (mean, centre) = ((s.sum / count) as f32, s.centre as f32);
                let slope = (s.along * rate * rate / count) as f32;
                let (x, dy) = self.rows(sample, channel);
                for (to, (x, dy)) in to.iter_mut().zip(x.iter().zip(dy)) {
                    *to = factor * (dy - mean - (x - centre) * slope);
                }
            }
        })
    }

    /// Elements of one channel of one sample.
    fn size(&self) -> usize {
        self.x.len().checked_div(self.samples * self.channels).unwrap_or(0)
    }

    fn rows(&self, sample: usize, channel: usize) -> (&[f32], &[f32]) {
        let start = (sample * self.channels + channel) * self.size();
        let range = start..start + self.size();
        (&self.x[range.clone()], &self.dy[range])
    }

    fn sums(&self, channel: usize) -> Channel {
        let centre = self.mean[channel];
        let mut total = Channel { centre: f64::from(centre), ..Channel::default() };
        for sample in 0..self.samples {
            let (x, dy) = self.rows(sample, channel);
            // Few enough numbers for f32; several sums side by side, so that no addition waits for the one before.
            for (x, dy) in x.chunks(CHUNK).zip(dy.chunks(CHUNK)) {
                let (mut sum, mut along) = ([0.0_f32; LANES], [0.0_f32; LANES]);
                for (x, dy) in x.chunks(LANES).zip(dy.chunks(LANES)) {
                    for (i, (x, dy)) in x.iter().zip(dy).enumerate() {
                        sum[i] += dy;
                        along[i] += dy * (x - centre);
                    }
                }
                total.sum += f64::from(sum.iter().sum::<f32>());
                total.along += f64::from(along.iter().sum::<f32>());
            }
        }
        total
    }
}

/// Numbers that are added in f32 before they are in f64.
const CHUNK: usize = 256;

/// Sums side by side.
const LANES: usize = 16;
