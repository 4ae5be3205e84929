//! A classifier from an ONNX file.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use assay_graph::{Gradient, Inspection, Loss, Lowering, Model, ShapeError, Shaped, Tensor, Value, gradient, inspect};
use ndarray::{Array2, ArrayView2, CowArray, Ix2, s};

use crate::batcher::{Batcher, WORTH_A_RUN, ranges};
use crate::derived::{Cache, Derived, Layout, Of};
use crate::forward::{Forward, STEADY_WEIGHTS, steps};
use crate::memory::Budget;
use crate::prepare::{Prepared, prepare};
use crate::session::{Array, Source, Tensors};
use crate::{
    Batching, Cancel, Class, Classifier, ClassifierOptions, ClassifierSpec, Engine, EngineOptions, Evaluated,
    Gradients, LoadCause, LoadError, ModelInfo, Objective, OnnxRuntime, OnnxWeighted, Provider, RunError, Ticket,
    batch,
};

/// A model hosted on ONNX Runtime.
///
/// The forward pass has its own sessions, which join small batches of many callers into one run; where work in the background is to give way to predictions
/// ([`ClassifierOptions::background`]), there are others for [`Classifier::logits`]. Each loss, and the product with a cotangent, gets sessions of the derived gradient
/// graph when it is first asked for, and keeps them: as many as the forward pass for small batches, and for large ones, if the
/// weights are few, one for each processor. Each session has a copy of the weights. On a GPU each of a few sizes of a run has
/// sessions of its own, if the weights are few, and runs are filled up to them.
pub struct OnnxClassifier {
    spec: ClassifierSpec,
    info: ModelInfo,
    runtime: OnnxRuntime,
    options: EngineOptions,
    /// What one run of any graph may take.
    budget: Budget,
    /// The batch size of every run, if the model fixes it.
    fixed_batch: Option<usize>,
    /// Whether all runs of a session have the same size.
    steady: bool,
    /// How batches are joined.
    batching: Batching,
    /// Niceness of what is no prediction; `None`: predictions share their sessions with it.
    background: Option<i32>,
    /// The forward pass.
    forward: Shaped,
    /// What gradients are derived from.
    model: Shaped,
    /// Sessions for predictions. Those for a file are there from the beginning, for it is not hosted unless they run. Those for other weights are made when they are
    /// first asked for, because a step of adversarial training needs a gradient only.
    predictions: OnceLock<Result<Batcher, RunError>>,
    /// Sessions for what gives way to predictions, made when they are first asked for.
    others: OnceLock<Result<Batcher, RunError>>,
    derived: Cache,
    inspection: OnceLock<Inspection>,
    sizes: OnceLock<Sizes>,
}

/// What decides how sessions share the processors: the same for all weights of a model.
#[derive(Clone, Copy)]
struct Sizes {
    weight_bytes: u64,
    activation_bytes: u64,
}

impl OnnxClassifier {
    /// Hosts the model in `file`, with the tensors that it keeps in other files of the same folder.
    ///
    /// # Errors
    /// The file cannot be read, is no classifier that assay understands, or does not run; the provider is not available.
    pub fn load(runtime: &OnnxRuntime, file: &Path, options: &ClassifierOptions) -> Result<Self, LoadError> {
        Self::host(runtime, Source::File(file), options)
            .map_err(|cause| LoadError { model: file.display().to_string(), cause })
    }

    /// Hosts `model`.
    ///
    /// # Errors
    /// As [`OnnxClassifier::load`].
    pub fn of_model(runtime: &OnnxRuntime, model: &Model, options: &ClassifierOptions) -> Result<Self, LoadError> {
        Self::host(runtime, Source::Model(model), options)
            .map_err(|cause| LoadError { model: "the model".into(), cause })
    }

    /// Hosts the model in `bytes`, the content of an ONNX file.
    ///
    /// # Errors
    /// As [`OnnxClassifier::load`]; the model keeps tensors in other files.
    pub fn from_bytes(runtime: &OnnxRuntime, bytes: &[u8], options: &ClassifierOptions) -> Result<Self, LoadError> {
        Self::host(runtime, Source::Bytes(bytes), options)
            .map_err(|cause| LoadError { model: "the model".into(), cause })
    }

    fn host(runtime: &OnnxRuntime, source: Source<'_>, options: &ClassifierOptions) -> Result<Self, LoadCause> {
        let Prepared { digest, info, model, derivable, sample_shape, classes } = prepare(runtime, source, options)?;
        let gradients = match gradient(&derivable, Loss::CrossEntropy) {
            Ok(Gradient { straight_through, .. }) if straight_through.is_empty() => Gradients::Exact,
            Ok(Gradient { straight_through, .. }) => {
                Gradients::StraightThrough(straight_through.iter().map(ToString::to_string).collect())
            }
            Err(e) => Gradients::Unavailable(e.to_string()),
        };
        // Its scale is that of the whole batch: only alone does a sample's result not depend on the others.
        let mixes = model.model().graph.nodes.iter().any(|n| n.operator == "DynamicQuantizeLinear");
        let max_batch = if mixes { 1 } else { options.max_batch.get() };
        let fixed_batch = model.canonical().fixed_batch();
        let budget = Budget {
            bytes: options.memory,
            batch: max_batch,
            fixed: fixed_batch,
            input: info.input.clone(),
            sample_shape: sample_shape.clone(),
            classes,
        };
        let inspection = OnceLock::new();
        let weight_bytes = || inspection.get_or_init(|| inspect(&derivable)).weights.bytes;
        let forward = Forward {
            runtime,
            model: &model,
            budget: &budget,
            output: &info.output,
            batching: &options.batching,
            weight_bytes: &weight_bytes,
        };
        let (predictions, provider) = forward.start(&options.engine)?;
        // After a fallback the gradients run where the forward pass does.
        let engine_options = EngineOptions { provider, ..options.engine.clone() };
        let steady = provider != Provider::Cpu && fixed_batch.is_none() && weight_bytes() <= STEADY_WEIGHTS;
        let derivable = derivable.lowered_for(match provider {
            Provider::Cpu => Lowering::Cpu,
            Provider::Cuda { .. } => Lowering::Cuda,
        });
        Ok(Self {
            spec: ClassifierSpec { digest, sample_shape, classes, provider: provider.to_string(), gradients },
            info,
            runtime: runtime.clone(),
            options: engine_options,
            budget,
            fixed_batch,
            steady,
            batching: options.batching.clone(),
            background: options.background,
            forward: model,
            model: derivable,
            predictions: OnceLock::from(Ok(predictions)),
            others: OnceLock::new(),
            derived: Cache::default(),
            inspection,
            sizes: OnceLock::new(),
        })
    }

    /// The same model with other content in some of its initializers: a snapshot of weights that are being trained. Nothing is probed
    /// or compared again, and sessions are made when a result is first asked for. It has no file, so its digest is empty.
    ///
    /// # Errors
    /// There is no such initializer, or it has another type or shape.
    pub fn with_weights(&self, weights: impl IntoIterator<Item = (Value, Tensor)>) -> Result<Self, ShapeError> {
        Ok(self.with_graph(self.model.with_initializers(weights)?))
    }

    /// The same classifier computed by another graph that `model` was made to, in sessions of its own, made when a result is first asked
    /// for. It has no file, so its digest is empty.
    #[must_use]
    pub fn with_graph(&self, model: Shaped) -> Self {
        Self {
            spec: ClassifierSpec { digest: String::new(), ..self.spec.clone() },
            info: self.info.clone(),
            runtime: self.runtime.clone(),
            options: self.options.clone(),
            budget: self.budget.clone(),
            fixed_batch: self.fixed_batch,
            steady: self.steady,
            batching: self.batching.clone(),
            background: self.background,
            forward: model.clone(),
            model,
            predictions: OnceLock::new(),
            others: OnceLock::new(),
            derived: Cache::default(),
            inspection: OnceLock::new(),
            sizes: OnceLock::from(self.sizes()),
        }
    }

    /// The graph that its gradients are derived from: canonical, of known shapes, in f32, with its normalization.
    #[must_use]
    pub fn model(&self) -> &Shaped {
        &self.model
    }

    /// What its file says about it.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What the hosted model is made of, with its normalization. Counted when it is first asked for.
    #[must_use]
    pub fn inspection(&self) -> &Inspection {
        self.inspection.get_or_init(|| inspect(&self.model))
    }

    /// [`Classifier::logits`] without blocking: `reply` is called exactly once, on a session's thread or at once, and should
    /// be quick. Dropping the ticket cancels what has not begun.
    ///
    /// [`RunError::Busy`] means that the queue is full.
    pub fn submit_logits(
        &self,
        x: Array2<f32>,
        reply: impl FnOnce(Result<Array2<f32>, RunError>) + Send + 'static,
    ) -> Ticket {
        let refused = match self.check_width(x.ncols()) {
            Ok(()) if x.nrows() == 0 => Ok(Array2::zeros((0, self.spec.classes))),
            Ok(()) => match self.predictions() {
                Ok(batcher) => return batcher.submit(x, reply),
                Err(e) => Err(e),
            },
            Err(e) => Err(e),
        };
        reply(refused);
        Ticket::done()
    }

    /// This model with its weights as arguments, in sessions of its own that go when it is dropped.
    ///
    /// # Errors
    /// There is no differentiable path from a weight to the logits; the model takes batches of one size only, so that copies of samples would count as
    /// samples; the runtime refuses the graph.
    pub fn weighted(&self) -> Result<OnnxWeighted, RunError> {
        if let Some(size) = self.fixed_batch {
            return Err(RunError::NoGradient(format!("the model takes batches of {size} samples only")));
        }
        let one = EngineOptions { sessions: NonZeroUsize::MIN, ..self.behind() };
        let budget = Budget { batch: self.budget.batch.min(self.most_activations()), ..self.budget.clone() };
        OnnxWeighted::new(self.spec.clone(), &self.model, &self.runtime, &one, &budget)
    }

    /// Refuses the calls that wait and those that come, as [`RunError::Unloaded`]. Runs that have begun end normally.
    pub fn unload(&self) {
        for batcher in [&self.predictions, &self.others] {
            if let Ok(batcher) = batcher.get_or_init(|| Err(RunError::Unloaded)) {
                batcher.close();
            }
        }
        self.derived.close();
    }

    /// [`Classifier::logits`] that can be stopped: when `cancel` is thrown, what waits is not run, and what runs for nobody else ends between two operators.
    ///
    /// # Errors
    /// As there; [`RunError::Cancelled`].
    pub fn logits_until(&self, x: &ArrayView2<'_, f32>, cancel: &Cancel) -> Result<Array2<f32>, RunError> {
        self.check_width(x.ncols())?;
        if x.nrows() == 0 {
            return Ok(Array2::zeros((0, self.spec.classes)));
        }
        self.others()?.run(x.to_owned(), cancel)
    }

    /// [`Classifier::gradient`] or [`Classifier::vjp`] that can be stopped, as [`OnnxClassifier::logits_until`].
    ///
    /// # Errors
    /// As those; [`RunError::Cancelled`].
    pub fn differentiate(
        &self,
        x: &ArrayView2<'_, f32>,
        objective: Objective<'_>,
        cancel: &Cancel,
    ) -> Result<Evaluated, RunError> {
        if let Gradients::Unavailable(reason) = &self.spec.gradients {
            return Err(RunError::NoGradient(reason.clone()));
        }
        let (n, classes, features) = (x.nrows(), self.spec.classes, self.spec.features());
        self.check_width(x.ncols())?;
        let of = self.check_objective(objective, n)?;
        if n == 0 {
            let (logits, gradient) = (Array2::zeros((0, classes)), Array2::zeros((0, features)));
            return Ok(Evaluated { logits, loss: Vec::new(), gradient });
        }
        let derived = self.derived(of, n)?;
        let (mut chunks, sizes) = self.chunks(x.view().into(), &derived.engine, derived.most)?;
        for (chunk, range) in chunks.iter_mut().zip(self.ranges(n, &derived.engine, derived.most)) {
            chunk.extend(derived.inputs(objective, range));
        }
        self.fill(&mut chunks, derived.most);
        let mut parts = self.ran(&derived, chunks, cancel)?;
        let loss = match &derived.loss {
            Some(name) => head(batch::rows(&mut parts, name, &sizes, 1)?, n).into_iter().collect(),
            None => Vec::new(),
        };
        Ok(Evaluated {
            logits: head(batch::rows(&mut parts, &derived.logits, &sizes, classes)?, n),
            loss,
            gradient: head(batch::rows(&mut parts, &derived.gradient, &sizes, features)?, n),
        })
    }

    /// What runs of a gradient's sessions give. Those of which one failed are opened anew for who comes next.
    fn ran(&self, derived: &Arc<Derived>, chunks: Vec<Tensors>, cancel: &Cancel) -> Result<Vec<Tensors>, RunError> {
        batch::run(&derived.engine, chunks, cancel).inspect_err(|error| {
            if let RunError::Runtime(_) = error {
                tracing::warn!(%error, "a run failed: the sessions of the gradient are opened anew");
                self.derived.forget(derived);
            }
        })
    }

    /// Sessions for predictions.
    fn predictions(&self) -> Result<&Batcher, RunError> {
        self.predictions.get_or_init(|| self.start(&self.options)).as_ref().map_err(Clone::clone)
    }

    /// Sessions for what is no prediction.
    fn others(&self) -> Result<&Batcher, RunError> {
        if self.background.is_none() {
            return self.predictions();
        }
        self.others.get_or_init(|| self.start(&self.behind())).as_ref().map_err(Clone::clone)
    }

    fn start(&self, options: &EngineOptions) -> Result<Batcher, RunError> {
        let forward = Forward {
            runtime: &self.runtime,
            model: &self.forward,
            budget: &self.budget,
            output: &self.info.output,
            batching: &self.batching,
            weight_bytes: &|| self.sizes().weight_bytes,
        };
        forward.start(options).map(|(batcher, _)| batcher).map_err(|e| RunError::Runtime(e.to_string()))
    }

    /// How sessions run that give way to predictions.
    fn behind(&self) -> EngineOptions {
        EngineOptions { nice: self.background.unwrap_or(0), ..self.options.clone() }
    }

    /// Whether it was unloaded.
    fn is_closed(&self) -> bool {
        match self.predictions.get() {
            Some(Ok(batcher)) => batcher.is_closed(),
            Some(Err(e)) => *e == RunError::Unloaded,
            None => false,
        }
    }

    /// The sessions of the gradient of `of` for `n` samples, made when they are first asked for.
    fn derived(&self, of: Of, n: usize) -> Result<Arc<Derived>, RunError> {
        let layout = self.layout(n);
        let options = match layout {
            Layout::Joint => self.behind(),
            Layout::Lanes => self.behind().lanes(),
        };
        let most = self.budget.batch;
        let rows = match self.steady {
            true => steps(most).take_while(|&rows| n <= rows).last().unwrap_or(most),
            false => most.min(self.most_activations()),
        };
        let budget = Budget { batch: rows, ..self.budget.clone() };
        let make = || Derived::new(of, &self.model, &self.runtime, &options, &budget);
        self.derived.get((of, layout, rows), make, || !self.is_closed())
    }

    /// The sessions that compute a gradient of `n` samples fastest.
    fn layout(&self, n: usize) -> Layout {
        let lanes = self.options.lanes().sessions.get();
        let few = lanes == self.options.sessions.get() || n / WORTH_A_RUN.max(self.fixed_batch.unwrap_or(1)) < lanes;
        if few || self.options.provider != Provider::Cpu || self.sizes().weight_bytes > LANE_WEIGHTS {
            Layout::Joint
        } else {
            Layout::Lanes
        }
    }

    fn sizes(&self) -> Sizes {
        *self.sizes.get_or_init(|| {
            let Inspection { weights, activation_bytes, .. } = self.inspection();
            Sizes { weight_bytes: weights.bytes, activation_bytes: *activation_bytes }
        })
    }

    /// Samples whose activations stay near the processor while a gradient reads them again.
    fn most_activations(&self) -> usize {
        match self.options.provider {
            Provider::Cpu => {
                let most = NEAR_ACTIVATIONS / self.sizes().activation_bytes.max(1);
                usize::try_from(most).unwrap_or(usize::MAX).max(FEWEST_ROWS)
            }
            Provider::Cuda { .. } => usize::MAX,
        }
    }

    /// Whether the objective fits the model and `n` samples, and which graph it needs.
    fn check_objective(&self, objective: Objective<'_>, n: usize) -> Result<Of, RunError> {
        let classes = self.spec.classes;
        match objective {
            Objective::Loss { loss, labels, targets } => {
                self.check_classes("labels", labels, n)?;
                if classes < loss.min_classes() {
                    let text = format!("the loss {loss} needs {} classes: the model has {classes}", loss.min_classes());
                    return Err(RunError::Invalid(text));
                }
                match targets {
                    _ if !loss.needs_target() => {}
                    None => {
                        return Err(RunError::Invalid(format!("the loss {loss} needs a target class for each sample")));
                    }
                    Some(targets) => self.check_classes("targets", targets, n)?,
                }
                Ok(Of::Loss(loss))
            }
            Objective::Cotangent(w) if w.dim() != (n, classes) => Err(RunError::Invalid(format!(
                "the cotangent has shape {:?}: one value for each sample and class is needed, {:?}",
                w.shape(),
                [n, classes]
            ))),
            Objective::Cotangent(w) => match w.iter().position(|value| !value.is_finite()) {
                None => Ok(Of::Cotangent),
                Some(at) => Err(RunError::Invalid(format!(
                    "the cotangent of sample {} has a value that is not finite",
                    at / classes.max(1)
                ))),
            },
        }
    }

    fn check_width(&self, columns: usize) -> Result<(), RunError> {
        if columns == self.spec.features() {
            return Ok(());
        }
        Err(RunError::Invalid(format!(
            "a sample of this model has shape {:?}, which is {} values: the batch has {} values for each sample",
            self.spec.sample_shape,
            self.spec.features(),
            columns
        )))
    }

    fn check_classes(&self, what: &str, classes: &[Class], n: usize) -> Result<(), RunError> {
        if classes.len() != n {
            return Err(RunError::Invalid(format!("{} {what} for {n} samples: one for each is needed", classes.len())));
        }
        match classes.iter().position(|class| class.index() >= self.spec.classes) {
            None => Ok(()),
            Some(i) => Err(RunError::Invalid(format!(
                "{what}: class {} of sample {i} is out of range: the model has {} classes, counted from 0",
                classes[i], self.spec.classes
            ))),
        }
    }

    /// The size of every run of sessions that take at most `most` samples, where runs must not differ.
    fn size(&self, most: usize) -> Option<usize> {
        self.fixed_batch.or(self.steady.then_some(most))
    }

    fn ranges(&self, n: usize, engine: &Engine, most: usize) -> Vec<Range<usize>> {
        match self.size(most) {
            Some(size) => (0..n).step_by(size).map(|from| from..n.min(from + size)).collect(),
            None => ranges(n, most, engine.sessions()),
        }
    }

    /// Fills runs up to the size that they must have.
    fn fill(&self, chunks: &mut [Tensors], most: usize) {
        if let Some(size) = self.size(most) {
            chunks.iter_mut().for_each(|chunk| batch::fill(chunk, size));
        }
    }

    /// The batch as inputs of runs of `engine` with at most `most` samples each, and the number of rows that each run gives.
    fn chunks(
        &self,
        x: CowArray<'_, f32, Ix2>,
        engine: &Engine,
        most: usize,
    ) -> Result<(Vec<Tensors>, Vec<usize>), RunError> {
        self.check_width(x.ncols())?;
        let ranges = self.ranges(x.nrows(), engine, most);
        let sizes = ranges.iter().map(|range| self.size(most).unwrap_or(range.len())).collect();
        let chunks = match ranges.len() {
            1 => vec![self.inputs(x)?],
            _ => {
                ranges.into_iter().map(|range| self.inputs(x.slice(s![range, ..]).into())).collect::<Result<_, _>>()?
            }
        };
        Ok((chunks, sizes))
    }

    /// The input of one run. The numbers are copied unless they come owned and in order.
    fn inputs(&self, rows: CowArray<'_, f32, Ix2>) -> Result<Tensors, RunError> {
        let shape = [&[rows.nrows()], &self.spec.sample_shape[..]].concat();
        let rows = if rows.is_standard_layout() { rows.into_owned() } else { rows.as_standard_layout().into_owned() };
        let samples = rows.into_shape_with_order(shape).map_err(|e| RunError::Invalid(e.to_string()))?;
        Ok([(self.info.input.clone(), Array::Float(samples))].into())
    }
}

impl Classifier for OnnxClassifier {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        self.logits_until(&x, &Cancel::default())
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        self.differentiate(&x, Objective::Loss { loss, labels, targets }, &Cancel::default())
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        self.differentiate(&x, Objective::Cotangent(cotangent), &Cancel::default())
    }
}

impl fmt::Debug for OnnxClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxClassifier").field("spec", &self.spec).field("info", &self.info).finish_non_exhaustive()
    }
}

/// Bytes of weights up to which a gradient gets a session for each processor. Models with more have few operators that are too
/// small to be shared among threads, and copies that cost more memory than they gain time.
const LANE_WEIGHTS: u64 = 64 << 20;

/// Bytes of activations of the forward pass that one run of a gradient may have. A gradient reads them again in reverse order:
/// far beyond this, they come from main memory (docs/performance.md, "Size of a run").
const NEAR_ACTIVATIONS: u64 = 128 << 20;

/// Rows of a gradient's run however large their activations are: with fewer, the weights are read too often.
const FEWEST_ROWS: usize = 4;

/// The first `n` rows: without those that filled a run up.
fn head(rows: Array2<f32>, n: usize) -> Array2<f32> {
    if rows.nrows() == n { rows } else { rows.slice_move(s![..n, ..]) }
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
mod tests {
    use assay_graph::{DataType, Dimension, Graph, Model, Node, Tensor, ValueInfo};
    use ndarray::array;

    use super::*;
    use crate::Library;

    /// `x W` with `W` of two rows.
    fn linear() -> Model {
        let mut graph = Graph::default();
        graph.name = "linear".into();
        let inputs = ["x", "w"].iter().map(|&name| Some(name.into())).collect();
        graph.nodes.push(Node::new("MatMul", inputs, vec![Some("z".into())]));
        let value = |name: &str| {
            ValueInfo::new(name, DataType::Float, vec![Dimension::Symbol("n".into()), Dimension::Known(2)])
        };
        graph.inputs.push(value("x"));
        graph.outputs.push(value("z"));
        graph.initializers.insert("w".into(), Tensor::floats(&[2, 2], &[1.0, 2.0, 3.0, -1.0]));
        Model::new(17, graph)
    }

    #[test]
    fn sessions_of_a_gradient_that_failed_are_not_used_again() {
        let Ok(runtime) = OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")) else {
            return;
        };
        let model = OnnxClassifier::from_bytes(&runtime, &linear().to_bytes(), &ClassifierOptions::default()).unwrap();
        let of = Of::Loss(Loss::CrossEntropy);
        let x = array![[1.0, 2.0]];
        let gradient = || model.gradient(x.view(), Loss::CrossEntropy, &[Class(0)], None).unwrap().gradient;
        let expected = gradient();
        let used = model.derived(of, 1).unwrap();
        assert_eq!(gradient(), expected);
        assert!(Arc::ptr_eq(&used, &model.derived(of, 1).unwrap()));
        // Three values where the model takes two, which no caller can ask for.
        let wrong = Array::Float(Array2::zeros((1, 3)).into_dyn());
        let labels = Array::Int(ndarray::ArrayD::zeros(vec![1]));
        let named = [("x".to_owned(), wrong), (used.labels.clone().unwrap(), labels)];
        let failed = model.ran(&used, vec![Tensors::from_iter(named)], &Cancel::default());
        assert!(matches!(failed, Err(RunError::Runtime(_))), "{failed:?}");
        assert!(!Arc::ptr_eq(&used, &model.derived(of, 1).unwrap()));
        assert_eq!(gradient(), expected);
    }
}
