//! The numbers of a net that is being trained.

use assay_graph::{BatchStatistics, Shaped, Tensor, Training, Value};
use assay_runtime::{Array, RunError, Tensors};
use indexmap::IndexMap;
use ndarray::ArrayD;

/// Weights and running statistics, under the names of the initializers they are in.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// What the optimizer moves, in the order of the graph's gradients.
    pub weights: IndexMap<Value, ArrayD<f32>>,
    /// Running means and variances, which follow the statistics of the batches.
    pub statistics: IndexMap<Value, ArrayD<f32>>,
}

impl Net {
    /// What `model` has in its initializers.
    pub(crate) fn of(model: &Shaped, step: &Training) -> Result<Self, String> {
        let read = |value: &Value| Ok::<_, String>((value.clone(), content(model, value)?));
        let running = step.statistics.iter().flat_map(|s| [&s.running_mean, &s.running_variance]);
        Ok(Self {
            weights: step.weights.iter().map(|w| read(&w.value)).collect::<Result<_, _>>()?,
            statistics: running.map(read).collect::<Result<_, _>>()?,
        })
    }

    /// Everything as initializers.
    pub fn tensors(&self) -> impl Iterator<Item = (Value, Tensor)> {
        self.weights.iter().chain(&self.statistics).map(|(value, array)| (value.clone(), tensor(array)))
    }

    /// Moves the running statistics by those of a batch of `samples`, as PyTorch does: the variance without bias.
    pub(crate) fn follow(
        &mut self,
        statistics: &[BatchStatistics],
        outputs: &Tensors,
        samples: usize,
    ) -> Result<(), RunError> {
        for of_batch in statistics {
            let count = (samples * of_batch.elements) as f32;
            let unbiased = if count > 1.0 { count / (count - 1.0) } else { 1.0 };
            let pairs = [
                (&of_batch.running_mean, &of_batch.mean, 1.0),
                (&of_batch.running_variance, &of_batch.variance, unbiased),
            ];
            for (running, batch, scale) in pairs {
                let batch = output(outputs, batch)?;
                let keep = of_batch.momentum;
                if let Some(running) = self.statistics.get_mut(running) {
                    running.zip_mut_with(batch, |r, &b| *r = keep * *r + (1.0 - keep) * (b * scale));
                }
            }
        }
        Ok(())
    }

    /// The first weight or statistic that holds something else than numbers.
    pub(crate) fn defect(&self) -> Option<&Value> {
        let broken = |array: &ArrayD<f32>| array.iter().any(|v| !v.is_finite());
        self.weights.iter().chain(&self.statistics).find(|(_, array)| broken(array)).map(|(value, _)| value)
    }
}

/// Floating-point output `value` of a run.
pub(crate) fn output<'t>(outputs: &'t Tensors, value: &Value) -> Result<&'t ArrayD<f32>, RunError> {
    match outputs.get(value.as_str()) {
        Some(Array::Float(array)) => Ok(array),
        _ => Err(RunError::Runtime(format!("the step has no output \"{value}\""))),
    }
}

fn content(model: &Shaped, value: &Value) -> Result<ArrayD<f32>, String> {
    let tensor = model.model().graph.initializers.get(value);
    let array = tensor.and_then(|tensor| {
        #[allow(clippy::cast_possible_truncation, reason = "the graph computes in binary32")]
        let values = tensor.to_f64()?.into_iter().map(|v| v as f32).collect();
        ArrayD::from_shape_vec(tensor.dims().to_vec(), values).ok()
    });
    array.ok_or_else(|| format!("\"{value}\" is no initializer of numbers"))
}

fn tensor(array: &ArrayD<f32>) -> Tensor {
    match array.as_slice() {
        Some(values) => Tensor::floats(array.shape(), values),
        None => Tensor::floats(array.shape(), &array.iter().copied().collect::<Vec<_>>()),
    }
}
