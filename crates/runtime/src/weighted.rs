//! A classifier whose weights are given with each call.

use std::fmt;

use assay_graph::{BatchNorm, Loss, Shaped, Training, Value, Wrt, training};
use ndarray::{Array1, Array2, ArrayD, ArrayView2};

use crate::memory::Budget;
use crate::session::{Array, Source, Tensors};
use crate::{Cancel, Class, ClassifierSpec, Engine, EngineOptions, LoadCause, OnnxRuntime, RunError, batch};

/// A weight of a model, as its file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// The name of the initializer.
    pub name: String,
    /// Its values.
    pub values: ArrayD<f32>,
}

/// Logits, losses and gradients of a batch, at the weights that were given.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighed {
    /// `[n, classes]`.
    pub logits: Array2<f32>,
    /// Loss of each sample.
    pub loss: Vec<f32>,
    /// Derivative of each sample's loss with respect to that sample, `[n, features]`.
    pub gradient: Array2<f32>,
    /// Derivative of the *sum* of the losses with respect to each weight, in the order of [`Weighted::weights`].
    pub by_weights: Vec<ArrayD<f32>>,
}

/// A model whose weights are arguments. Batches are those of a [`Classifier`](crate::Classifier).
pub trait Weighted: Send + Sync {
    /// What the model is.
    fn spec(&self) -> &ClassifierSpec;

    /// Its weights, as the file has them.
    fn weights(&self) -> &[Weight];

    /// Cross-entropy at `labels`, and its gradients, with these weights: one for each of [`Weighted::weights`], of the same shape.
    ///
    /// # Errors
    /// The batch has the wrong width; labels or weights do not fit the model; the runtime failed; [`RunError::Cancelled`].
    fn step(
        &self,
        x: ArrayView2<'_, f32>,
        labels: &[Class],
        weights: &[ArrayD<f32>],
        cancel: &Cancel,
    ) -> Result<Weighed, RunError>;
}

/// A hosted model whose weights are arguments. Its batch norms are frozen, so that samples do not depend on each other.
pub struct OnnxWeighted {
    spec: ClassifierSpec,
    weights: Vec<Weight>,
    step: Training,
    engine: Engine,
    /// Most samples of one run.
    most: usize,
}

impl OnnxWeighted {
    pub(crate) fn new(
        spec: ClassifierSpec,
        model: &Shaped,
        runtime: &OnnxRuntime,
        options: &EngineOptions,
        budget: &Budget,
    ) -> Result<Self, RunError> {
        let wrt = Wrt { weights: None, input: true };
        let step = training(model, &Loss::CrossEntropy, &wrt, BatchNorm::Running)
            .map_err(|e| RunError::NoGradient(e.to_string()))?;
        let weights = step.weights.iter().map(|w| in_file(model, &w.value)).collect::<Result<_, _>>()?;
        let (engine, most) =
            Engine::start_and(runtime, Source::Model(&step.model), options, |s, provider| budget.most(s, provider))
                .map_err(|cause: LoadCause| RunError::Runtime(format!("the graph with weights as inputs: {cause}")))?;
        Ok(Self { spec, weights, step, engine, most })
    }

    fn check(&self, x: &ArrayView2<'_, f32>, labels: &[Class], weights: &[ArrayD<f32>]) -> Result<(), RunError> {
        if x.dim() != (labels.len(), self.spec.features()) {
            return Err(RunError::Invalid(format!(
                "the batch has shape {:?}: {} values for each of {} labels are needed",
                x.shape(),
                self.spec.features(),
                labels.len()
            )));
        }
        if let Some(label) = labels.iter().find(|label| label.index() >= self.spec.classes) {
            let text = format!("label {label} is out of range: the model has {} classes", self.spec.classes);
            return Err(RunError::Invalid(text));
        }
        let fit = weights.len() == self.weights.len()
            && weights.iter().zip(&self.weights).all(|(given, own)| given.shape() == own.values.shape());
        if !fit {
            return Err(RunError::Invalid(
                "the weights are not as many, or not of the shapes, as those of the model".into(),
            ));
        }
        Ok(())
    }

    fn inputs(&self, x: &ArrayView2<'_, f32>, labels: &[Class], weights: &[ArrayD<f32>]) -> Result<Tensors, RunError> {
        let shape = [&[x.nrows()], &self.spec.sample_shape[..]].concat();
        let rows = x.as_standard_layout().into_owned().into_shape_with_order(shape);
        let labels = labels.iter().map(|label| i64::from(label.0)).collect::<Array1<i64>>().into_dyn();
        let mut inputs = Tensors::new();
        inputs
            .insert(self.step.inputs[0].to_string(), Array::Float(rows.map_err(|e| RunError::Invalid(e.to_string()))?));
        inputs.insert(self.step.labels.to_string(), Array::Int(labels));
        for (weight, values) in self.step.weights.iter().zip(weights) {
            inputs.insert(weight.value.to_string(), Array::Float(values.clone()));
        }
        Ok(inputs)
    }
}

impl Weighted for OnnxWeighted {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn weights(&self) -> &[Weight] {
        &self.weights
    }

    fn step(
        &self,
        x: ArrayView2<'_, f32>,
        labels: &[Class],
        weights: &[ArrayD<f32>],
        cancel: &Cancel,
    ) -> Result<Weighed, RunError> {
        self.check(&x, labels, weights)?;
        let (n, classes, features) = (x.nrows(), self.spec.classes, self.spec.features());
        let mut by_weights: Vec<ArrayD<f32>> = weights.iter().map(|w| ArrayD::zeros(w.shape())).collect();
        let (mut logits, mut gradient) = (Array2::zeros((n, classes)), Array2::zeros((n, features)));
        let mut loss = Vec::with_capacity(n);
        for from in (0..n).step_by(self.most) {
            let range = from..n.min(from + self.most);
            let (rows, sizes) = (ndarray::s![range.clone(), ..], [range.len()]);
            let inputs = self.inputs(&x.slice(rows), &labels[range.clone()], weights)?;
            let mut parts = batch::run(&self.engine, vec![inputs], cancel)?;
            logits.slice_mut(rows).assign(&batch::rows(&mut parts, self.step.logits[0].as_str(), &sizes, classes)?);
            loss.extend(batch::rows(&mut parts, self.step.loss.as_str(), &sizes, 1)?);
            if let Some(name) = &self.step.gradient {
                gradient.slice_mut(rows).assign(&batch::rows(&mut parts, name.as_str(), &sizes, features)?);
            }
            for (sum, weight) in by_weights.iter_mut().zip(&self.step.weights) {
                let part = parts.iter_mut().find_map(|part| part.swap_remove(weight.gradient.as_str()));
                let Some(Array::Float(part)) =
                    part.filter(|part| matches!(part, Array::Float(a) if a.shape() == sum.shape()))
                else {
                    return Err(RunError::Runtime(format!("the gradient of \"{}\" has another shape", weight.value)));
                };
                *sum += &part;
            }
        }
        Ok(Weighed { logits, loss, gradient, by_weights })
    }
}

impl fmt::Debug for OnnxWeighted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxWeighted")
            .field("spec", &self.spec)
            .field("weights", &self.weights.len())
            .finish_non_exhaustive()
    }
}

/// A weight's values; of a copy of another one, those of the other.
fn in_file(model: &Shaped, value: &Value) -> Result<Weight, RunError> {
    let graph = &model.model().graph;
    let original = || graph.nodes.iter().find(|node| node.output(0) == Some(value)).and_then(|node| node.input(0));
    let tensor = graph.initializers.get(value).or_else(|| graph.initializers.get(original()?));
    let values = tensor.and_then(|tensor| {
        #[allow(clippy::cast_possible_truncation, reason = "the graph computes in binary32")]
        let values = tensor.to_f64()?.into_iter().map(|v| v as f32).collect();
        ArrayD::from_shape_vec(tensor.dims().to_vec(), values).ok()
    });
    let values = values.ok_or_else(|| RunError::Runtime(format!("\"{value}\" is no initializer of the model")))?;
    Ok(Weight { name: value.to_string(), values })
}
