//! A recipe carried out: epochs, validation, checkpoints, and the model that comes of it.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay_attack::{Cancel, SampleId};
use assay_data::{DataSource, Dataset, Epoch, Holdout, Last, Split};
use assay_graph::{Model, compact, inspect};
use assay_runtime::{Class, Classifier, ClassifierOptions, OnnxClassifier, OnnxRuntime};
use ndarray::{Array2, Axis};

use crate::checkpoint::{Best, Checkpoint, replace};
use crate::perturb::{Stream, predicted};
use crate::recipe::{Data, Keep, MISSING_DATA, ModelSpec, Training};
use crate::schedule::Moment;
use crate::{
    Batch, FreshSpec, Judged, Lineage, Optimizer, Perturbation, PruneSpec, Recipe, RecipeError, Removed, Structure,
    TrainError, Trainer, TrainerOptions,
};

/// Where and on what a recipe is carried out.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The folder that the recipe's paths are relative to.
    pub folder: &'a Path,
    /// The folder of the run: its checkpoint is there while it is not finished.
    pub state: &'a Path,
    /// What the run computes on.
    pub runtime: &'a OnnxRuntime,
    /// How the net is hosted: provider, threads, normalization.
    pub model: ClassifierOptions,
    /// The file of the model that the recipe names, where that is not a path relative to `folder`.
    pub parent: Option<&'a Path>,
    /// What is asked before each step, where other work comes first.
    pub gate: Option<&'a dyn Gate>,
}

/// Work that comes before training on the same machine.
pub trait Gate: Debug + Sync {
    /// Returns when a step may be made, or when `cancel` is thrown. Blocks.
    fn pass(&self, cancel: &Cancel);
}

/// What happens in a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RunEvent {
    /// It begins, or goes on.
    Began {
        /// Epochs that were done before.
        epochs_done: u32,
        /// Epochs of the run.
        epochs: u32,
        /// Samples that are learned from.
        training: usize,
        /// Samples that are set aside.
        validation: usize,
    },
    /// Some steps of an epoch are done.
    Steps {
        /// The epoch, counted from 1.
        epoch: u32,
        /// Steps that are done.
        done: u64,
        /// Steps of an epoch.
        of: u64,
        /// Mean loss of the epoch so far.
        loss: f64,
        /// Images that are learned from in a second.
        rate: f64,
        /// What is left of the run, at this rate.
        left: Duration,
    },
    /// The net was changed as a whole.
    Changed {
        /// How.
        change: Change,
        /// Multiply-accumulates of a sample, before and after.
        macs: [u64; 2],
        /// Elements of the weights, before and after.
        parameters: [u64; 2],
    },
    /// A part of the net was removed; training follows.
    Pruned {
        /// The iteration, counted from 1.
        iteration: usize,
        /// Iterations of the run.
        iterations: usize,
        /// What is gone.
        removed: Removed,
        /// Multiply-accumulates of a sample, before and after.
        macs: [u64; 2],
        /// Elements of the weights, before and after.
        parameters: [u64; 2],
        /// Those of them that are zero, after.
        zeros: u64,
    },
    /// An epoch is done, and the checkpoint is on the disk.
    Epoch(EpochResult),
}

/// What an epoch showed.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochResult {
    /// Counted from 1.
    pub epoch: u32,
    /// Epochs of the run.
    pub epochs: u32,
    /// Mean loss, each batch before its step.
    pub loss: f64,
    /// Share of the training samples, as the objective saw them, that were classified correctly before their step.
    pub accuracy: f64,
    /// What the validation samples showed.
    pub validation: Option<Validated>,
    /// Time of the epoch's steps.
    pub steps: Duration,
    /// Images that were learned from in a second.
    pub rate: f64,
}

/// How a net was changed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// It has other strides.
    Restrided,
    /// Its input is enlarged inside of it.
    Upsampled,
    /// Channels that did nothing are gone.
    Compacted,
}

impl Change {
    /// What the net is called then.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Restrided => "restrided",
            Self::Upsampled => "upsampled",
            Self::Compacted => "compacted",
        }
    }
}

/// Accuracy on validation samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validated {
    /// Samples.
    pub of: u64,
    /// Those that are classified correctly.
    pub clean: u64,
    /// Those that are under attack too, if there is one.
    pub robust: Option<u64>,
}

impl Validated {
    /// What the best epoch has most of.
    fn right(self) -> u64 {
        self.robust.unwrap_or(self.clean)
    }
}

/// What a run made.
#[derive(Clone, Debug)]
pub struct Hardened {
    /// The model, with its lineage in its metadata.
    pub model: Model,
    /// The epoch whose weights it has, counted from 1; 0 if it was not trained.
    pub epoch: u32,
    /// Whether its file has sparse tensors where they are smaller.
    pub sparse: bool,
}

impl Hardened {
    /// The content of its ONNX file. Sparse tensors are coordinates and values; ONNX Runtime reads them, but not every tool does.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.sparse { self.model.to_sparse_bytes().to_vec() } else { self.model.to_bytes().to_vec() }
    }
}

/// Carries out `recipe`. A run that was cut off goes on after the last epoch that it finished, to the same weights, bit for bit; its
/// checkpoint stays until [`finish`] removes it.
///
/// # Errors
/// The model, the data or the recipe make no sense together; a run of the net failed, or its loss is no number; the checkpoint cannot be
/// written, or is of another run; it was cancelled.
pub fn harden(
    recipe: &Recipe,
    place: &Place<'_>,
    observe: &mut dyn FnMut(&RunEvent),
    cancel: &Cancel,
) -> Result<Hardened, TrainError> {
    let open = |data: &Data| {
        let source = DataSource::new(place.folder.join(&data.path)).with_split(Split::Train);
        Dataset::open(&source, data.samples).map(Arc::new)
    };
    let data = recipe.data.as_ref().map(open).transpose()?;
    let parent = match &recipe.model {
        ModelSpec::File(file) => {
            let file = place.parent.map_or_else(|| place.folder.join(file), Path::to_owned);
            OnnxClassifier::load(place.runtime, &file, &place.model)?
        }
        ModelSpec::Fresh(spec) => fresh(spec, recipe, place, data.as_deref())?,
    };
    if let Some(data) = &data {
        fits(data, &parent)?;
    }
    let lineage = Lineage::new(recipe, &parent, data.as_deref())?;
    let holdout = match (&recipe.data, &data) {
        (Some(spec), Some(data)) => Holdout::stratified(data.labels(), spec.validation, recipe.seed)?,
        _ => Holdout { training: Vec::new(), validation: Vec::new() },
    };
    let mut job = Job { recipe, place, data, holdout, lineage, observe, cancel };
    let base = job.enlarged(parent)?;
    let made = match &recipe.prune {
        None => job.train(&base, CHECKPOINT)?,
        Some(spec) => job.prune(base, spec)?,
    };
    if recipe.compact { job.compacted(&made) } else { Ok(made) }
}

/// A net with fresh weights, for images like those of the data.
fn fresh(
    spec: &FreshSpec,
    recipe: &Recipe,
    place: &Place<'_>,
    data: Option<&Dataset>,
) -> Result<OnnxClassifier, TrainError> {
    let missing = || RecipeError::Value { field: "data".into(), expected: MISSING_DATA.into() };
    let model = spec.model(data.ok_or_else(missing)?, recipe.seed)?;
    Ok(OnnxClassifier::of_model(place.runtime, &model, &place.model)?)
}

/// Whether the data are such as `net` takes.
fn fits(data: &Dataset, net: &OnnxClassifier) -> Result<(), TrainError> {
    let spec = net.spec();
    if !data.fits(&spec.sample_shape) {
        return Err(TrainError::Unfit(format!(
            "its samples have the shape {:?}, those of the data {:?}",
            spec.sample_shape,
            data.sample_shape()
        )));
    }
    match data.labels().iter().find(|label| label.index() >= spec.classes) {
        Some(label) => Err(TrainError::Unfit(format!("the data has class {label}, the model only {}", spec.classes))),
        None => Ok(()),
    }
}

/// A recipe on its data.
struct Job<'a> {
    recipe: &'a Recipe,
    place: &'a Place<'a>,
    data: Option<Arc<Dataset>>,
    holdout: Holdout,
    lineage: Lineage,
    observe: &'a mut dyn FnMut(&RunEvent),
    cancel: &'a Cancel,
}

impl Job<'_> {
    /// `net` with the maps that the recipe asks for.
    fn enlarged(&mut self, mut net: OnnxClassifier) -> Result<OnnxClassifier, TrainError> {
        if let Some(spec) = &self.recipe.restride {
            net = match (&self.recipe.model, &spec.strides) {
                // The architecture knows what its slots are, also those that shrink nothing yet.
                (ModelSpec::Fresh(fresh_spec), Some(_)) => {
                    let with = FreshSpec { strides: spec.strides.clone(), ..fresh_spec.clone() };
                    let made = fresh(&with, self.recipe, self.place, self.data.as_deref())?;
                    self.tell(Change::Restrided, &net, &made);
                    made
                }
                _ => self.changed(Change::Restrided, &net, &spec.apply(net.model())?)?,
            };
        }
        if let Some(spec) = &self.recipe.upsample {
            net = self.changed(Change::Upsampled, &net, &spec.apply(net.model())?)?;
        }
        Ok(net)
    }

    /// `made` without channels that do nothing.
    fn compacted(&mut self, made: &Hardened) -> Result<Hardened, TrainError> {
        let net = self.hosted(&made.model)?;
        let small = self.changed(Change::Compacted, &net, &compact(net.model())?)?;
        let mut model = small.model().model().clone();
        self.lineage.write(&mut model, made.epoch);
        Ok(Hardened { model, ..*made })
    }

    /// `model`, which was made of `before`.
    fn changed(
        &mut self,
        change: Change,
        before: &OnnxClassifier,
        model: &Model,
    ) -> Result<OnnxClassifier, TrainError> {
        let after = self.hosted(model)?;
        self.tell(change, before, &after);
        Ok(after)
    }

    fn tell(&mut self, change: Change, before: &OnnxClassifier, after: &OnnxClassifier) {
        let [before, after] = [before, after].map(|net| inspect(net.model()));
        (self.observe)(&RunEvent::Changed {
            change,
            macs: [before.macs, after.macs],
            parameters: [before.weights.elements, after.weights.elements],
        });
    }

    /// A model that was made here: its normalisation is part of it.
    fn hosted(&self, model: &Model) -> Result<OnnxClassifier, TrainError> {
        Ok(OnnxClassifier::of_model(self.place.runtime, model, &self.options())?)
    }

    fn options(&self) -> ClassifierOptions {
        ClassifierOptions { normalization: None, ..self.place.model.clone() }
    }

    /// Trains `base` for the recipe's epochs, from the checkpoint on if there is one.
    fn train(&mut self, base: &OnnxClassifier, checkpoint: &str) -> Result<Hardened, TrainError> {
        let Some((training, data)) = self.recipe.training()?.zip(self.data.clone()) else {
            let mut model = base.model().model().clone();
            self.lineage.write(&mut model, 0);
            return Ok(Hardened { model, epoch: 0, sparse: self.recipe.sparse });
        };
        let (file, id) = (self.place.state.join(checkpoint), self.lineage.run(base));
        let mut run = Run::new(self.recipe, training, self.place, base, data, self.holdout.clone())?;
        if let Some(checkpoint) = Checkpoint::read(&file)? {
            run.resume(checkpoint, &id, &file)?;
        }
        (self.observe)(&RunEvent::Began {
            epochs_done: run.epochs_done,
            epochs: self.recipe.epochs,
            training: run.holdout.training.len(),
            validation: run.holdout.validation.len(),
        });
        while run.epochs_done < self.recipe.epochs {
            let result = run.epoch(self.observe, self.cancel)?;
            run.checkpoint(&id).write(&file)?;
            (self.observe)(&RunEvent::Epoch(result));
        }
        let mut made = run.model()?;
        self.lineage.write(&mut made.model, made.epoch);
        Ok(made)
    }

    /// Removes what matters least and trains, again and again. The net of each iteration is kept in the folder of the run, so that the next one
    /// begins there.
    fn prune(&mut self, mut net: OnnxClassifier, spec: &PruneSpec) -> Result<Hardened, TrainError> {
        let (samples, labels) = self.judges(&net, spec)?;
        for iteration in 0..spec.iterations {
            let file = self.place.state.join(format!("{:03}-{}.onnx", iteration + 1, self.lineage.start(8)));
            if !file.exists() {
                let judged = Judged {
                    model: net.model(),
                    runtime: self.place.runtime,
                    options: &self.place.model.engine,
                    samples: samples.view(),
                    labels: &labels,
                    seed: self.recipe.seed,
                };
                let before = inspect(net.model());
                let (smaller, removed) = spec.step(&judged, iteration)?;
                let smaller = self.hosted(&smaller)?;
                let after = inspect(smaller.model());
                (self.observe)(&RunEvent::Pruned {
                    iteration: iteration + 1,
                    iterations: spec.iterations,
                    removed,
                    macs: [before.macs, after.macs],
                    parameters: [before.weights.elements, after.weights.elements],
                    zeros: after.weights.zeros,
                });
                let hardened = self.train(&smaller, &format!("{:03}-{CHECKPOINT}", iteration + 1))?;
                replace(&file, &hardened.model.to_bytes()).map_err(|e| crate::CheckpointError::new(&file, e))?;
            }
            net = OnnxClassifier::load(self.place.runtime, &file, &self.options())?;
        }
        // As the file that the last iteration wrote says: also where all of them were done before.
        let said = net.info().metadata.get("assay.epoch").and_then(|epoch| epoch.parse().ok());
        let epoch = said.unwrap_or(self.recipe.epochs);
        Ok(Hardened { model: net.model().model().clone(), epoch, sparse: self.recipe.sparse })
    }

    /// The training samples that criteria judge by: none that is set aside, and none where the criterion needs none.
    fn judges(&self, net: &OnnxClassifier, spec: &PruneSpec) -> Result<(Array2<f32>, Vec<Class>), TrainError> {
        if !spec.needs_samples() {
            let features = net.spec().sample_shape.iter().product();
            return Ok((Array2::zeros((0, features)), Vec::new()));
        }
        let missing = || RecipeError::Value { field: "data".into(), expected: MISSING_DATA.into() };
        let data = self.data.as_ref().ok_or_else(missing)?;
        let drawn = match (spec.samples).cmp(&data.labels().len()) {
            Ordering::Less => {
                Holdout::stratified(data.labels(), spec.samples, self.recipe.seed.wrapping_add(1))?.validation
            }
            Ordering::Equal => (0..).map(SampleId).take(spec.samples).collect(),
            Ordering::Greater => {
                let expected = format!("at most {}, the samples that there are", data.labels().len());
                return Err(RecipeError::Value { field: "prune.samples".into(), expected }.into());
            }
        };
        let held: HashSet<SampleId> = self.holdout.validation.iter().copied().collect();
        let rows = drawn.iter().filter(|id| !held.contains(id));
        let rows: Vec<usize> = rows.map(|id| usize::try_from(id.0).unwrap_or(usize::MAX)).collect();
        let labels = rows.iter().map(|&row| data.labels()[row]).collect();
        Ok((data.samples().select(Axis(0), &rows), labels))
    }
}

/// Removes the checkpoints of a run whose model is kept, and the nets of its iterations.
///
/// # Errors
/// One cannot be removed.
pub fn finish(state: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(state)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let of_iteration = name.get(..4).is_some_and(|start| start.ends_with('-') && start[..3].parse::<u16>().is_ok());
        if name == CHECKPOINT || (of_iteration && (name.ends_with(CHECKPOINT) || name.ends_with(".onnx"))) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

const CHECKPOINT: &str = "checkpoint.safetensors";

/// How often the steps of an epoch are told of.
const TOLD: Duration = Duration::from_millis(500);

struct Run<'a> {
    recipe: &'a Recipe,
    training: Training<'a>,
    data: Arc<Dataset>,
    holdout: Holdout,
    trainer: Trainer,
    validation: Option<Perturbation>,
    gate: Option<&'a dyn Gate>,
    epochs_done: u32,
    best: Option<Best>,
}

impl<'a> Run<'a> {
    fn new(
        recipe: &'a Recipe,
        training: Training<'a>,
        place: &Place<'a>,
        base: &OnnxClassifier,
        data: Arc<Dataset>,
        holdout: Holdout,
    ) -> Result<Self, TrainError> {
        let by = training.optimizer;
        let optimizer = Optimizer::new(by.method(), by.decay(), by.clip());
        let options = TrainerOptions {
            seed: recipe.seed,
            weights: recipe.weights,
            average: recipe.average,
            model: place.model.clone(),
        };
        let objective = training.objective.objective(&data);
        let validation = recipe.validation.perturbation.as_ref().map(|spec| spec.perturbation(&data));
        let trainer = Trainer::new(place.runtime, base, objective, optimizer, options)?;
        let masked = recipe.prune.as_ref().is_some_and(|spec| spec.structure == Structure::Weights);
        let trainer = if masked { trainer.with_zeros_kept() } else { trainer };
        Ok(Self { recipe, training, data, holdout, trainer, validation, gate: place.gate, epochs_done: 0, best: None })
    }

    fn resume(&mut self, checkpoint: Checkpoint, id: &str, file: &Path) -> Result<(), TrainError> {
        let Checkpoint { run, epochs, state, best } = checkpoint;
        let odd = |reason: &str| crate::CheckpointError::new(file, reason);
        if run != id {
            return Err(odd("it is of another recipe, model or data set: choose another folder, or remove it").into());
        }
        self.trainer.restore(state).map_err(|reason| odd(&reason))?;
        (self.epochs_done, self.best) = (epochs, best);
        Ok(())
    }

    /// One pass over the training data, and a look at the validation data.
    fn epoch(&mut self, observe: &mut dyn FnMut(&RunEvent), cancel: &Cancel) -> Result<EpochResult, TrainError> {
        let (recipe, training, number) = (self.recipe, self.training, self.epochs_done);
        let batch = NonZeroUsize::new(recipe.batch).unwrap_or(NonZeroUsize::MIN);
        let epoch = Epoch { seed: recipe.seed, number, batch, last: Last::Drop, augment: training.data.augment };
        let steps = epoch.count(self.holdout.training.len()) as u64;
        if steps == 0 {
            let samples = self.holdout.training.len();
            return Err(TrainError::Unfit(format!("{samples} training samples make no batch of {batch}")));
        }
        let (schedule, began) = (recipe.schedule.schedule(), Instant::now());
        let (mut loss, mut correct, mut samples, mut told) = (0.0, 0, 0, Instant::now());
        self.trainer.begin_epoch();
        for (step, made) in (0..).zip(epoch.batches(&self.data, &self.holdout.training)?) {
            if let Some(gate) = self.gate {
                gate.pass(cancel);
            }
            if cancel.is_cancelled() {
                return Err(TrainError::Stopped { epochs: number });
            }
            let made = made?;
            let now = Moment { epoch: number, step, steps, epochs: recipe.epochs };
            #[allow(clippy::cast_possible_truncation, reason = "rates are small numbers")]
            let rate = (f64::from(training.optimizer.rate()) * schedule.factor(now)) as f32;
            let batch = Batch { ids: &made.ids, samples: made.samples.view(), labels: &made.labels };
            let stepped = self.trainer.learn(&batch, number, rate)?;
            loss += stepped.loss;
            correct += stepped.correct;
            samples += made.ids.len();
            if told.elapsed() >= TOLD || step + 1 == steps {
                told = Instant::now();
                let speed = samples as f64 / began.elapsed().as_secs_f64();
                let rest = steps * u64::from(recipe.epochs - number) - step - 1;
                let left = Duration::from_secs_f64(rest as f64 * recipe.batch as f64 / speed);
                let (epoch, done) = (number + 1, step + 1);
                observe(&RunEvent::Steps { epoch, done, of: steps, loss: loss / done as f64, rate: speed, left });
            }
        }
        let taken = began.elapsed();
        self.trainer.check()?;
        self.epochs_done += 1;
        let validation = self.validate()?;
        if recipe.validation.keep == Keep::Best
            && let Some(found) = validation
            && self.best.as_ref().is_none_or(|best| found.right() > best.right)
        {
            self.best = Some(Best { epoch: self.epochs_done, right: found.right(), net: self.trainer.result() });
        }
        Ok(EpochResult {
            epoch: self.epochs_done,
            epochs: recipe.epochs,
            loss: loss / steps as f64,
            accuracy: correct as f64 / samples.max(1) as f64,
            validation,
            steps: taken,
            rate: samples as f64 / taken.as_secs_f64(),
        })
    }

    /// What the net of now, or its average, makes of the validation samples.
    fn validate(&self) -> Result<Option<Validated>, TrainError> {
        let ids = &self.holdout.validation;
        if ids.is_empty() {
            return Ok(None);
        }
        let model = self.trainer.snapshot()?;
        let rows: Vec<usize> = ids.iter().map(|id| usize::try_from(id.0).unwrap_or(usize::MAX)).collect();
        let samples = self.data.samples().select(Axis(0), &rows);
        let labels: Vec<Class> = rows.iter().map(|&row| self.data.labels()[row]).collect();
        let clean = right(&model.logits(samples.view())?, &labels);
        let robust = self.validation.as_ref().map(|by| attacked(&model, by, &samples, &labels, ids, self.recipe.seed));
        Ok(Some(Validated {
            of: ids.len() as u64,
            clean: clean.iter().filter(|&&right| right).count() as u64,
            robust: robust
                .transpose()?
                .map(|robust| clean.iter().zip(&robust).filter(|&(&clean, &robust)| clean && robust).count() as u64),
        }))
    }

    fn checkpoint(&self, id: &str) -> Checkpoint {
        let state = self.trainer.state();
        Checkpoint { run: id.to_owned(), epochs: self.epochs_done, state, best: self.best.clone() }
    }

    fn model(self) -> Result<Hardened, TrainError> {
        let (epoch, net) = match self.best {
            Some(Best { epoch, net, .. }) => (epoch, net),
            None => (self.epochs_done, self.trainer.result()),
        };
        Ok(Hardened { model: self.trainer.model_of(&net)?, epoch, sparse: self.recipe.sparse })
    }
}

/// Which samples are classified as their label says.
fn right(logits: &Array2<f32>, labels: &[Class]) -> Vec<bool> {
    logits.outer_iter().zip(labels).map(|(row, label)| predicted(&row) == label.index()).collect()
}

/// Which samples withstand the perturbation.
fn attacked(
    model: &OnnxClassifier,
    by: &Perturbation,
    samples: &Array2<f32>,
    labels: &[Class],
    ids: &[SampleId],
    seed: u64,
) -> Result<Vec<bool>, TrainError> {
    // The same points in every epoch, so that epochs are compared and not draws.
    let stream = Stream { seed, epoch: u32::MAX };
    let points = by.run(model, &samples.view(), labels, ids, stream)?;
    Ok(right(&model.logits(points.view())?, labels))
}
