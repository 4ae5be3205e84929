//! Steps of training, one batch after the other.

use assay_attack::SampleId;
use assay_graph::{Lowering, Model, Shaped, Value, untied};
use assay_runtime::{Class, Classifier, ClassifierOptions, OnnxClassifier, OnnxRuntime, Provider};
use indexmap::IndexMap;
use ndarray::{Array1, Array2, ArrayD, ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::mask::Mask;
use crate::net::Net;
use crate::objective::{Attacker, Objective};
use crate::optimizer::Moments;
use crate::perturb::{Stream, predicted};
use crate::step::{Found, Step};
use crate::{Average, Optimizer, TrainError};

/// Samples that a step learns from.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Who they are: random numbers are drawn for each by itself.
    pub ids: &'a [SampleId],
    /// `[n, features]`, in the model's input range.
    pub samples: ArrayView2<'a, f32>,
    /// Their classes.
    pub labels: &'a [Class],
}

/// Adversarial perturbation of the weights before each step (Wu, Xia and Wang, Adversarial Weight Perturbation Helps Robust
/// Generalization, NeurIPS 2020): every weight of two or more dimensions is moved along its gradient by `gamma` times its length, and
/// back after the step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightPerturbation {
    /// Relative length, for example 0.01.
    pub gamma: f32,
    /// Epochs without it at the beginning.
    #[serde(default)]
    pub warmup: u32,
}

/// How a [`Trainer`] works.
#[derive(Clone, Debug)]
pub struct TrainerOptions {
    /// What random numbers are drawn from.
    pub seed: u64,
    /// Perturbation of the weights on top of the objective.
    pub weights: Option<WeightPerturbation>,
    /// Decay of the moving average of the weights, if one is kept.
    pub average: Option<f32>,
    /// How the model is hosted; its `engine` says what the steps run on.
    pub model: ClassifierOptions,
}

/// What a step showed, of the net before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stepped {
    /// Mean loss of the batch.
    pub loss: f64,
    /// Samples whose first view was classified as their label says.
    pub correct: usize,
}

/// A net in training.
pub struct Trainer {
    base: OnnxClassifier,
    net: Net,
    step: Step,
    objective: Box<dyn Objective>,
    optimizer: Optimizer,
    average: Option<Average>,
    mask: Option<Mask>,
    options: TrainerOptions,
}

impl Trainer {
    /// A trainer of the classifier `base`.
    ///
    /// # Errors
    /// The model takes batches of one size, has no weights that a gradient reaches, or is refused by the runtime.
    pub fn new(
        runtime: &OnnxRuntime,
        base: &OnnxClassifier,
        objective: Box<dyn Objective>,
        optimizer: Optimizer,
        options: TrainerOptions,
    ) -> Result<Self, TrainError> {
        if let Some(size) = base.model().canonical().fixed_batch() {
            return Err(TrainError::Unfit(format!("it takes batches of {size} samples only")));
        }
        // A copy of a weight under another name would be a weight that no file has.
        let base = base.with_graph(untied(base.model()));
        let engine = options.model.engine.clone();
        let model = lowered(base.model(), engine.provider);
        let shape = base.spec().sample_shape.clone();
        let step = Step::new(runtime, &model, objective.criterion(), objective.wants_gradient(), &shape, &engine)?;
        let net = Net::of(&model, &step.graph).map_err(TrainError::Unfit)?;
        let average = options.average.map(|decay| Average::new(decay, &net.weights.values().collect::<Vec<_>>()));
        Ok(Self { base, net, step, objective, optimizer, average, mask: None, options })
    }

    /// Keeps the weights of layers that are zero now at zero, to the bit: the mask of unstructured pruning. Biases and norms move as ever.
    #[must_use]
    pub fn with_zeros_kept(self) -> Self {
        Self { mask: Some(Mask::of(self.base.model(), &self.net)), ..self }
    }

    /// The net as it is.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Begins an epoch: see [`Objective::begin_epoch`].
    pub fn begin_epoch(&mut self) {
        self.objective.begin_epoch();
    }

    /// Learns from a batch at the learning rate `rate`. `epoch`, counted from 0, is part of what random numbers are drawn from.
    ///
    /// # Errors
    /// A run failed; the loss or a weight is no number any more, and the weights are those before the step.
    pub fn learn(&mut self, batch: &Batch<'_>, epoch: u32, rate: f32) -> Result<Stepped, TrainError> {
        let labels: Array1<i64> = batch.labels.iter().map(|label| i64::from(label.0)).collect();
        let mut first = None;
        for _ in 0..self.objective.replays().max(1) {
            let stream = Stream { seed: self.options.seed, epoch };
            let mut attacker = Attacker::new(&self.base, &self.net, stream);
            let views = self.objective.views(batch, &mut attacker)?;
            let moved = self.perturb_weights(epoch, &views, &labels)?;
            let found = self.found(views, &labels)?;
            let stepped = summary(&found, batch.labels);
            self.apply(found, batch, rate, moved.as_deref().unwrap_or_default())?;
            first.get_or_insert(stepped);
        }
        first.ok_or_else(|| TrainError::Unfit("an objective that makes no step".into()))
    }

    /// A run of the step. Weights that are pruned have no gradient.
    fn found(&mut self, views: Vec<Array2<f32>>, labels: &Array1<i64>) -> Result<Found, TrainError> {
        let mut found = self.step.run(&self.net, views, labels)?;
        if let Some(mask) = &self.mask {
            mask.hold(&mut found.gradients);
        }
        Ok(found)
    }

    /// Moves the weights up the loss, and gives what undoes it: what was added to each.
    fn perturb_weights(
        &mut self,
        epoch: u32,
        views: &[Array2<f32>],
        labels: &Array1<i64>,
    ) -> Result<Option<Vec<ArrayD<f32>>>, TrainError> {
        let Some(by) = self.options.weights.filter(|by| epoch >= by.warmup) else { return Ok(None) };
        let Found { mut gradients, .. } = self.found(views.to_vec(), labels)?;
        for (weight, gradient) in self.net.weights.values_mut().zip(&mut gradients) {
            let length = |a: &ArrayD<f32>| a.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            let factor = match weight.ndim() {
                0 | 1 => 0.0,
                _ => f64::from(by.gamma) * length(weight) / (length(gradient) + 1e-20),
            };
            *gradient *= if factor.is_finite() { factor as f32 } else { 0.0 };
            *weight += &*gradient;
        }
        Ok(Some(gradients))
    }

    fn apply(&mut self, found: Found, batch: &Batch<'_>, rate: f32, moved: &[ArrayD<f32>]) -> Result<(), TrainError> {
        let Found { mut gradients, by_input, outputs, loss, .. } = found;
        let step = self.optimizer.steps();
        let n = batch.labels.len();
        let broken = |what: &str| TrainError::NotFinite { what: what.to_owned(), step };
        if loss.iter().any(|loss| !loss.is_finite()) {
            return Err(broken("the loss"));
        }
        if gradients.iter().flatten().any(|g| !g.is_finite()) {
            return Err(broken("the gradient"));
        }
        self.net.follow(&self.step.graph.statistics, &outputs, n)?;
        gradients.iter_mut().for_each(|g| *g /= n.max(1) as f32);
        let mut weights: Vec<&mut ArrayD<f32>> = self.net.weights.values_mut().collect();
        self.optimizer.step(rate, &mut weights, &mut gradients);
        for (weight, moved) in weights.into_iter().zip(moved) {
            *weight -= moved;
        }
        if let Some(average) = &mut self.average {
            average.add(&self.net.weights.values().collect::<Vec<_>>());
        }
        if let Some(gradient) = by_input {
            let shape = (n, gradient.len() / n.max(1));
            if let Ok(gradient) = gradient.into_shape_with_order(shape) {
                self.objective.observe(batch, gradient.view());
            }
        }
        Ok(())
    }

    /// The net with its present weights, or with their average if one is kept, as a classifier.
    ///
    /// # Errors
    /// The net is not of this model.
    pub fn snapshot(&self) -> Result<OnnxClassifier, TrainError> {
        Ok(self.base.with_weights(self.result().tensors())?)
    }

    /// Refuses a net of which a weight or a statistic is no number, though every loss and gradient was one: no checkpoint shall have it.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        match self.net.defect() {
            None => Ok(()),
            Some(value) => Err(TrainError::NotFinite { what: format!("\"{value}\""), step: self.optimizer.steps() }),
        }
    }

    /// The model with the numbers of `net`.
    ///
    /// # Errors
    /// `net` is not of this model.
    pub fn model_of(&self, net: &Net) -> Result<Model, TrainError> {
        let shaped = self.base.model().with_initializers(net.tensors());
        Ok(shaped.map_err(|e| TrainError::Unfit(e.to_string()))?.model().clone())
    }

    /// What a later trainer needs to go on.
    pub(crate) fn state(&self) -> State {
        let (steps, moments) = self.optimizer.memory();
        let average = self.average.as_ref().map(|average| average.values().to_vec());
        State { net: self.net.clone(), steps, moments: moments.to_vec(), average }
    }

    /// Goes on from what [`Trainer::state`] gave.
    pub(crate) fn restore(&mut self, state: State) -> Result<(), String> {
        let State { net, steps, moments, average } = state;
        let alike = |old: &IndexMap<Value, ArrayD<f32>>, new: &IndexMap<Value, ArrayD<f32>>| {
            old.len() == new.len() && old.iter().zip(new).all(|((a, x), (b, y))| a == b && x.shape() == y.shape())
        };
        let fits = alike(&self.net.weights, &net.weights)
            && alike(&self.net.statistics, &net.statistics)
            && (moments.is_empty() || moments.len() == net.weights.len())
            && average.as_ref().map(Vec::len) == self.average.as_ref().map(|_| net.weights.len());
        if !fits {
            return Err("its weights are not those of the model".into());
        }
        if let (Some(average), Some(values)) = (&mut self.average, average) {
            average.restore(values);
        }
        self.optimizer.restore(steps, moments);
        self.net = net;
        Ok(())
    }

    /// The net that is the result if training ends now: with the averages, if they are kept.
    pub(crate) fn result(&self) -> Net {
        let mut net = self.net.clone();
        for (weight, average) in net.weights.values_mut().zip(self.average.iter().flat_map(Average::values)) {
            weight.assign(average);
        }
        net
    }
}

/// A trainer between two steps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) net: Net,
    /// Steps of the optimizer.
    pub(crate) steps: u64,
    /// What it remembers of each weight; nothing before the first step.
    pub(crate) moments: Vec<Moments>,
    /// The moving averages, if they are kept.
    pub(crate) average: Option<Vec<ArrayD<f32>>>,
}

/// The model as its steps are derived from.
fn lowered(model: &Shaped, provider: Provider) -> Shaped {
    model.clone().lowered_for(match provider {
        Provider::Cpu => Lowering::CpuKernels,
        Provider::Cuda { .. } => Lowering::Cuda,
    })
}

fn summary(found: &Found, labels: &[Class]) -> Stepped {
    let rows = found.logits.outer_iter().zip(labels);
    let correct = rows.filter(|(row, label)| {
        let row: Vec<f32> = row.iter().copied().collect();
        predicted(&ArrayView1::from(&row)) == label.index()
    });
    let loss = found.loss.iter().map(|&l| f64::from(l)).sum::<f64>() / found.loss.len().max(1) as f64;
    Stepped { loss, correct: correct.count() }
}
