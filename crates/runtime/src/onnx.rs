//! A classifier from an ONNX file.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use assay_graph::{Gradient, Inspection, Loss, Lowering, Model, ShapeError, Shaped, Tensor, Value, gradient, inspect};
use ndarray::{Array2, ArrayView2, CowArray, Ix2, s};

use crate::derived::{Cache, Derived, Layout, Of};
use crate::memory::Budget;
use crate::native::Session;
use crate::prepare::{Prepared, prepare};
use crate::session::{Array, Source, Tensors};
use crate::{
    Cancel, Class, Classifier, ClassifierOptions, ClassifierSpec, Engine, EngineOptions, Evaluated, Gradients,
    LoadCause, LoadError, ModelInfo, Objective, OnnxRuntime, OnnxWeighted, Provider, RunError, Ticket, batch,
};

/// A model hosted on ONNX Runtime.
///
/// The forward pass has its own sessions; each loss, and the product with a cotangent, gets sessions of the derived gradient
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
    /// What gradients are derived from.
    model: Shaped,
    /// The forward pass. Its sessions for a file are there from the beginning, for it is not hosted unless they run. Those for other weights are made when they are first
    /// asked for, because a step of adversarial training needs a gradient only.
    forward: OnceLock<Result<Forwards, RunError>>,
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

/// Sessions of the forward pass.
struct Forwards {
    first: Forward,
    /// For fewer and fewer samples, where runs are steady.
    smaller: Vec<Forward>,
}

impl Forwards {
    /// `first` and, where runs are steady, those beside it that `start` makes for a number of samples.
    fn new(
        first: Forward,
        steady: bool,
        start: impl Fn(usize) -> Result<Forward, LoadCause>,
    ) -> Result<Self, LoadCause> {
        let rows: Vec<usize> = if steady { steps(first.most).skip(1).collect() } else { Vec::new() };
        let smaller = rows.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { first, smaller })
    }

    /// Those that take `n` samples with the least to spare.
    fn of(&self, n: usize) -> &Forward {
        self.smaller.iter().rev().find(|forward| n <= forward.most).unwrap_or(&self.first)
    }

    fn close(&self) {
        [&self.first].into_iter().chain(&self.smaller).for_each(|forward| forward.engine.close());
    }
}

/// Sessions of the forward pass for one size of runs.
struct Forward {
    engine: Engine,
    /// Most samples of one run.
    most: usize,
}

impl Forward {
    /// Sessions of `model` that take at most `rows` samples.
    fn start(
        runtime: &OnnxRuntime,
        model: &Shaped,
        budget: &Budget,
        rows: usize,
        options: &EngineOptions,
    ) -> Result<Self, LoadCause> {
        let budget = Budget { batch: rows, ..budget.clone() };
        let most = |session: &mut Session, provider| budget.most(session, provider);
        let (engine, most) = Engine::start_and(runtime, Source::Model(model.model()), options, most)?;
        Ok(Self { engine, most })
    }
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
        let start = |rows: usize, options: &EngineOptions| Forward::start(runtime, &model, &budget, rows, options);
        let forward = start(max_batch, &options.engine)?;
        // After a fallback the gradients run where the forward pass does.
        let provider = forward.engine.provider();
        let engine_options = EngineOptions { provider, ..options.engine.clone() };
        let derivable = derivable.lowered_for(match provider {
            Provider::Cpu => Lowering::Cpu,
            Provider::Cuda { .. } => Lowering::Cuda,
        });
        let inspection = OnceLock::new();
        let few = || inspection.get_or_init(|| inspect(&derivable)).weights.bytes <= STEADY_WEIGHTS;
        let steady = provider != Provider::Cpu && fixed_batch.is_none() && few();
        let forward = Forwards::new(forward, steady, |rows| start(rows, &engine_options))?;
        Ok(Self {
            spec: ClassifierSpec { digest, sample_shape, classes, provider: provider.to_string(), gradients },
            info,
            runtime: runtime.clone(),
            options: engine_options,
            budget,
            fixed_batch,
            steady,
            model: derivable,
            forward: OnceLock::from(Ok(forward)),
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
            model,
            forward: OnceLock::new(),
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
        let n = x.nrows();
        let forward = match self.forward(n) {
            Ok(forward) => forward,
            Err(e) => {
                reply(Err(e));
                return Ticket::new(Cancel::default());
            }
        };
        let (mut chunks, sizes) = match self.chunks(x.into(), &forward.engine, forward.most) {
            Ok((chunks, _)) if chunks.is_empty() => {
                reply(Ok(Array2::zeros((0, self.spec.classes))));
                return Ticket::done();
            }
            Ok(chunks) => chunks,
            Err(e) => {
                reply(Err(e));
                return Ticket::done();
            }
        };
        let (output, classes) = (self.info.output.clone(), self.spec.classes);
        self.fill(&mut chunks, forward.most);
        batch::submit(&forward.engine, chunks, move |result| {
            reply(result.and_then(|mut parts| Ok(head(batch::rows(&mut parts, &output, &sizes, classes)?, n))));
        })
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
        let one = EngineOptions { sessions: NonZeroUsize::MIN, ..self.options.clone() };
        let budget = Budget { batch: self.budget.batch.min(self.most_activations()), ..self.budget.clone() };
        OnnxWeighted::new(self.spec.clone(), &self.model, &self.runtime, &one, &budget)
    }

    /// Refuses the calls that wait and those that come, as [`RunError::Unloaded`]. Runs that have begun end normally.
    pub fn unload(&self) {
        if let Ok(forward) = self.forward.get_or_init(|| Err(RunError::Unloaded)) {
            forward.close();
        }
        self.derived.close();
    }

    /// [`Classifier::gradient`] or [`Classifier::vjp`] that can be stopped: what waits when `cancel` is thrown is not run.
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
        let mut parts = batch::run(&derived.engine, chunks, cancel)?;
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

    /// The sessions that take `n` samples with the least to spare.
    fn forward(&self, n: usize) -> Result<&Forward, RunError> {
        let start = |rows| Forward::start(&self.runtime, &self.model, &self.budget, rows, &self.options);
        let made = self.forward.get_or_init(|| {
            let first = start(self.budget.batch);
            first
                .and_then(|first| Forwards::new(first, self.steady, start))
                .map_err(|e| RunError::Runtime(e.to_string()))
        });
        made.as_ref().map(|forward| forward.of(n)).map_err(Clone::clone)
    }

    /// Whether it was unloaded.
    fn is_closed(&self) -> bool {
        match self.forward.get() {
            Some(Ok(forward)) => forward.first.engine.is_closed(),
            Some(Err(e)) => *e == RunError::Unloaded,
            None => false,
        }
    }

    /// The sessions of the gradient of `of` for `n` samples, made when they are first asked for.
    fn derived(&self, of: Of, n: usize) -> Result<Arc<Derived>, RunError> {
        let layout = self.layout(n);
        let options = match layout {
            Layout::Joint => self.options.clone(),
            Layout::Lanes => self.options.lanes(),
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
        let forward = self.forward(x.nrows())?;
        let (mut chunks, sizes) = self.chunks(x.into(), &forward.engine, forward.most)?;
        if chunks.is_empty() {
            return Ok(Array2::zeros((0, self.spec.classes)));
        }
        self.fill(&mut chunks, forward.most);
        let mut parts = batch::run(&forward.engine, chunks, &Cancel::default())?;
        Ok(head(batch::rows(&mut parts, &self.info.output, &sizes, self.spec.classes)?, x.nrows()))
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

/// Fewest rows that are given a run of their own, so that a second session works too. A run has a fixed cost, up to that of two
/// rows in nets of many small operators (docs/performance.md, "Size of a run").
const WORTH_A_RUN: usize = 2;

/// Bytes of weights up to which a gradient gets a session for each processor. Models with more have few operators that are too
/// small to be shared among threads, and copies that cost more memory than they gain time.
const LANE_WEIGHTS: u64 = 64 << 20;

/// Bytes of activations of the forward pass that one run of a gradient may have. A gradient reads them again in reverse order:
/// far beyond this, they come from main memory (docs/performance.md, "Size of a run").
const NEAR_ACTIVATIONS: u64 = 128 << 20;

/// Rows of a gradient's run however large their activations are: with fewer, the weights are read too often.
const FEWEST_ROWS: usize = 4;

/// Bytes of weights up to which each size of a run has sessions of its own on a GPU. There ONNX Runtime plans each convolution
/// anew whenever the size of its input differs from the last one's, which takes longer than many small runs. A large model's runs are
/// long, and its copies many.
const STEADY_WEIGHTS: u64 = 256 << 20;

/// How many times fewer samples the next smaller size of a run has. A GPU that is not full computes as fast for a few more.
const STEP: usize = 4;

/// The sizes of runs up to `most`, from the largest on.
fn steps(most: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(most), |&rows| (rows > 1).then(|| rows.div_ceil(STEP)))
}

/// Rows of the runs for `n` rows: as few as hold at most `most` each, but enough to give every session its share, and all of
/// about the same size.
fn ranges(n: usize, most: usize, sessions: usize) -> Vec<Range<usize>> {
    let needed = n.div_ceil(most);
    let runs = needed.next_multiple_of(sessions).min(n / WORTH_A_RUN).max(needed);
    (0..runs).map(|i| i * n / runs..(i + 1) * n / runs).collect()
}

/// The first `n` rows: without those that filled a run up.
fn head(rows: Array2<f32>, n: usize) -> Array2<f32> {
    if rows.nrows() == n { rows } else { rows.slice_move(s![..n, ..]) }
}

#[cfg(test)]
mod tests {
    use super::{ranges, steps};

    #[test]
    fn a_few_sizes_lead_down_to_one_sample() {
        assert_eq!(steps(64).collect::<Vec<_>>(), [64, 16, 4, 1]);
        assert_eq!(steps(100).collect::<Vec<_>>(), [100, 25, 7, 2, 1]);
        assert_eq!(steps(1).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn runs_cover_all_rows_in_order_and_keep_the_limit() {
        for n in [0, 1, 15, 16, 31, 32, 33, 64, 100, 1000] {
            for (most, sessions) in [(1, 1), (7, 2), (64, 1), (64, 2), (64, 8), (2000, 3)] {
                let runs = ranges(n, most, sessions);
                assert!(runs.iter().all(|r| !r.is_empty() && r.len() <= most), "{n} {most} {sessions}: {runs:?}");
                assert_eq!(runs.into_iter().flatten().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_large_batch_is_shared_between_the_sessions() {
        assert_eq!(ranges(64, 64, 2), [0..32, 32..64]);
        assert_eq!(ranges(100, 64, 2), [0..50, 50..100]);
        assert_eq!(ranges(16, 64, 2), [0..8, 8..16]);
        assert_eq!(ranges(7, 64, 2), [0..3, 3..7]);
        assert_eq!(ranges(3, 64, 2).len(), 1);
        assert_eq!(ranges(72, 32, 2).len(), 4, "the last run is not alone");
        assert_eq!(ranges(64, 64, 1).len(), 1);
    }
}
