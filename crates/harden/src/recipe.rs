//! A run of training as a file: everything that its result depends on.

use assay_attack::{Eps, Norm, Threat};
use assay_data::{Augment, Dataset};
use assay_graph::{Model, Normalization};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::objective::{Adversarial, Alp, Free, Mart, Objective, Standard, Trades};
use crate::{
    Begin, Climb, Method, Perturbation, PruneSpec, RecipeError, RestrideSpec, Schedule, Task, TrainError, UpsampleSpec,
    WeightPerturbation, architecture,
};

/// The version of the format.
pub const SCHEMA: u32 = 1;

/// How a net is made: from which, what is changed of it, and how it is trained. Written as TOML; what is absent takes its default, and what is
/// unknown is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The version of the format, 1.
    pub schema: u32,
    /// Name of the model that is made.
    pub name: String,
    /// What all random numbers are drawn from.
    #[serde(default)]
    pub seed: u64,
    /// The net that it is made from.
    pub model: ModelSpec,
    /// What it learns from, and what pruning judges by. It may be absent where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// What is minimised. Training needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<ObjectiveSpec>,
    /// How weights are moved. Training needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerSpec>,
    /// How the rate changes.
    #[serde(default)]
    pub schedule: ScheduleSpec,
    /// Passes over the training data. 0: it is not trained, only changed.
    pub epochs: u32,
    /// Samples of a step, at least 2: batch norms need several.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Decay of a moving average of the weights, in (0, 1): the result are the averages then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f32>,
    /// Adversarial perturbation of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightPerturbation>,
    /// How the net is looked at after each epoch.
    #[serde(default)]
    pub validation: Validation,
    /// Smaller strides, before training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restride: Option<RestrideSpec>,
    /// A larger input inside the net, before training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upsample: Option<UpsampleSpec>,
    /// How the net is made smaller: each iteration of it ends with `epochs` epochs. Absent: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneSpec>,
    /// Whether channels that do nothing are removed at the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compact: bool,
    /// Whether the model is stored with sparse tensors where they are smaller: see [`Hardened::to_bytes`](crate::Hardened::to_bytes).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sparse: bool,
}

/// What training needs besides the net.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Training<'a> {
    pub(crate) data: &'a Data,
    pub(crate) objective: &'a ObjectiveSpec,
    pub(crate) optimizer: &'a OptimizerSpec,
}

/// The net that a recipe begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModelSpec {
    /// An ONNX file; relative to the recipe's folder.
    File(String),
    /// A net with fresh weights, for the images and the classes of the data.
    Fresh(FreshSpec),
}

/// A net with fresh weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshSpec {
    /// A name of [`architecture()`](crate::architecture()).
    pub architecture: String,
    /// A digit for each of its slots; absent: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strides: Option<String>,
    /// What is subtracted from pixels inside the model, one number or one for each channel; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// By what they are divided then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
}

impl FreshSpec {
    /// The net for samples like those of `data`, with weights drawn from `seed`.
    pub(crate) fn model(&self, data: &Dataset, seed: u64) -> Result<Model, TrainError> {
        let &[channels, height, width] = data.sample_shape() else {
            return Err(TrainError::Unfit(format!(
                "samples of shape {:?} are no images [channels, height, width]",
                data.sample_shape()
            )));
        };
        let most = data.labels().iter().map(|label| label.index() + 1).max().unwrap_or(0);
        let one = |given: &Option<Vec<f32>>, absent: f32| given.clone().unwrap_or_else(|| vec![absent]);
        let normalization = (self.mean.is_some() || self.std.is_some()).then(|| Normalization {
            mean: one(&self.mean, 0.0),
            std: one(&self.std, 1.0),
            axis: Some(1),
        });
        let task = Task { channels, height, width, classes: most.max(data.class_names().len()), normalization };
        let net = architecture(&self.architecture)?;
        let net = match &self.strides {
            Some(strides) => net.with_strides(strides)?,
            None => net,
        };
        Ok(net.model(&task, seed)?)
    }
}

fn default_batch() -> usize {
    128
}

/// What a net learns from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The training data, as everywhere: see the command line's `--data`; relative to the recipe's folder.
    pub path: String,
    /// Samples at most, from the first on; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// Samples that are set aside for validation, of each class as large a share as of the others.
    #[serde(default)]
    pub validation: usize,
    /// What is changed at random in images.
    #[serde(default)]
    pub augment: Augment,
}

/// What is minimised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ObjectiveSpec {
    /// See [`Standard`].
    Standard,
    /// See [`Adversarial`].
    Adversarial {
        /// How samples are perturbed.
        perturbation: PerturbationSpec,
    },
    /// See [`Free`].
    Free {
        /// Norm of the perturbation.
        norm: Norm,
        /// Its largest length.
        eps: Eps,
        /// How often each batch is used.
        replays: u32,
    },
    /// See [`Trades`].
    Trades {
        /// How samples are perturbed.
        perturbation: PerturbationSpec,
        /// Weight of the divergence.
        beta: f32,
    },
    /// See [`Mart`].
    Mart {
        /// How samples are perturbed.
        perturbation: PerturbationSpec,
        /// Weight of the divergence.
        weight: f32,
    },
    /// See [`Alp`].
    Alp {
        /// How samples are perturbed.
        perturbation: PerturbationSpec,
        /// Weight of the pairing.
        weight: f32,
    },
}

/// How samples are perturbed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerturbationSpec {
    /// Norm of the perturbation.
    pub norm: Norm,
    /// Its largest length, as `8/255`.
    pub eps: Eps,
    /// Steps, at least 1.
    pub steps: u32,
    /// Length of a step, relative to eps.
    pub step: f32,
    /// Where steps begin.
    #[serde(default)]
    pub begin: BeginSpec,
    /// What they climb.
    #[serde(default)]
    pub climb: Climb,
}

/// Where steps begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BeginSpec {
    /// At the sample.
    Sample,
    /// At a random point of the threat.
    #[default]
    Uniform,
    /// At the sample plus normal noise of this deviation.
    Normal(f32),
}

/// How weights are moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerSpec {
    /// Stochastic gradient descent.
    Sgd {
        /// Learning rate.
        rate: f32,
        /// In `[0, 1)`.
        #[serde(default)]
        momentum: f32,
        /// Nesterov's rule.
        #[serde(default)]
        nesterov: bool,
        /// Weight decay.
        #[serde(default)]
        decay: f32,
        /// Largest length of the gradient.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clip: Option<f32>,
    },
    /// Adam, with weight decay through the gradient.
    Adam(AdamSpec),
    /// AdamW, whose weights decay by themselves.
    AdamW(AdamSpec),
}

/// Constants of Adam.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamSpec {
    /// Learning rate.
    pub rate: f32,
    /// Decay of the mean.
    #[serde(default = "beta1")]
    pub beta1: f32,
    /// Decay of the mean square.
    #[serde(default = "beta2")]
    pub beta2: f32,
    /// Weight decay.
    #[serde(default)]
    pub decay: f32,
    /// Largest length of the gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
}

fn beta1() -> f32 {
    0.9
}

fn beta2() -> f32 {
    0.999
}

/// How the rate changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleSpec {
    /// It does not.
    #[default]
    Constant,
    /// Times `factor` at each of these epochs.
    Steps {
        /// Counted from 0.
        epochs: Vec<u32>,
        /// In (0, 1].
        factor: f64,
    },
    /// Half a wave down to 0.
    Cosine,
    /// Up and down.
    OneCycle {
        /// Share of the run at which the rate is largest, in (0, 1).
        peak: f64,
    },
}

/// How the net is looked at after each epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// The attack on the validation samples; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perturbation: Option<PerturbationSpec>,
    /// Which weights are the result.
    #[serde(default)]
    pub keep: Keep,
}

/// Which weights are the result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Those after the last epoch.
    #[default]
    Last,
    /// Those of the epoch with the most validation samples right, under attack if there is one; of equal ones the first.
    Best,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// It is no TOML, or something in it is missing, unknown or out of range.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(|e| RecipeError::Form(e.to_string()))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// As TOML.
    ///
    /// # Errors
    /// A number is not one of TOML's.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|e| RecipeError::Form(e.to_string()))
    }

    /// Hexadecimal SHA-256 of what it says, whatever its layout.
    ///
    /// # Errors
    /// As [`Recipe::to_toml`].
    pub fn digest(&self) -> Result<String, RecipeError> {
        let digest = Sha256::digest(self.to_toml()?.as_bytes());
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What it is trained on and how; `None` if it is not trained.
    ///
    /// # Errors
    /// Something of that is absent.
    pub(crate) fn training(&self) -> Result<Option<Training<'_>>, RecipeError> {
        if self.epochs == 0 {
            return Ok(None);
        }
        let missing = |field: &str| RecipeError::Value {
            field: field.to_owned(),
            expected: format!("a part [{field}], because `epochs` is {}", self.epochs),
        };
        Ok(Some(Training {
            data: self.data.as_ref().ok_or_else(|| missing("data"))?,
            objective: self.objective.as_ref().ok_or_else(|| missing("objective"))?,
            optimizer: self.optimizer.as_ref().ok_or_else(|| missing("optimizer"))?,
        }))
    }

    fn check(&self) -> Result<(), RecipeError> {
        let wrong = |field: &str, expected: &str| {
            Err(RecipeError::Value { field: field.to_owned(), expected: expected.to_owned() })
        };
        if self.schema != SCHEMA {
            return wrong("schema", "1, the version of the format");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            return wrong("name", "letters, digits, '-', '_' and '.', the first none of these");
        }
        let changes = self.restride.is_some() || self.upsample.is_some() || self.prune.is_some() || self.compact;
        if self.epochs == 0 && !changes {
            return wrong(
                "epochs",
                "at least 1, because nothing else makes another model of it: restride, upsample, prune or compact",
            );
        }
        let training = self.training()?;
        let judged = self.prune.as_ref().is_some_and(PruneSpec::needs_samples);
        if self.data.is_none() && (judged || matches!(self.model, ModelSpec::Fresh(_))) {
            return wrong("data", MISSING_DATA);
        }
        if self.batch < 2 {
            return wrong("batch", "at least 2, because batch norms need several samples");
        }
        if self.average.is_some_and(|decay| !(decay > 0.0 && decay < 1.0)) {
            return wrong("average", "above 0 and below 1, for example 0.999");
        }
        if self.weights.is_some_and(|w| !(w.gamma > 0.0 && w.gamma.is_finite())) {
            return wrong("weights.gamma", "above 0, for example 0.01");
        }
        if self.validation.keep == Keep::Best && training.is_some_and(|training| training.data.validation == 0) {
            return wrong("data.validation", "some samples, because validation.keep is \"best\"");
        }
        self.optimizer.as_ref().map_or(Ok(()), OptimizerSpec::check)?;
        if let ScheduleSpec::OneCycle { peak } = self.schedule
            && !(peak > 0.0 && peak < 1.0)
        {
            return wrong("schedule.peak", "above 0 and below 1");
        }
        if let ScheduleSpec::Steps { factor, .. } = self.schedule
            && !(factor > 0.0 && factor <= 1.0)
        {
            return wrong("schedule.factor", "above 0, at most 1");
        }
        let specs =
            [self.objective.as_ref().and_then(ObjectiveSpec::perturbation), self.validation.perturbation.as_ref()];
        specs.into_iter().flatten().try_for_each(PerturbationSpec::check)?;
        self.restride.as_ref().map_or(Ok(()), |spec| spec.check(&self.model))?;
        self.upsample.as_ref().map_or(Ok(()), UpsampleSpec::check)?;
        self.prune.as_ref().map_or(Ok(()), PruneSpec::check)?;
        if let Some(ObjectiveSpec::Free { replays: 0, .. }) = self.objective {
            return wrong("objective.replays", "at least 1");
        }
        Ok(())
    }
}

/// Why a recipe without training may need data.
pub(crate) const MISSING_DATA: &str =
    "a part [data]: a net with fresh weights is made for its images, and the criterion of [prune] may judge by them";

impl ObjectiveSpec {
    fn perturbation(&self) -> Option<&PerturbationSpec> {
        match self {
            Self::Standard | Self::Free { .. } => None,
            Self::Adversarial { perturbation }
            | Self::Trades { perturbation, .. }
            | Self::Mart { perturbation, .. }
            | Self::Alp { perturbation, .. } => Some(perturbation),
        }
    }

    /// The objective on samples like those of `data`.
    pub(crate) fn objective(&self, data: &Dataset) -> Box<dyn Objective> {
        match self {
            Self::Standard => Box::new(Standard),
            Self::Adversarial { perturbation } => {
                Box::new(Adversarial { perturbation: perturbation.perturbation(data) })
            }
            Self::Free { norm, eps, replays } => {
                let threat = Threat { norm: *norm, eps: eps.clone(), bounds: data.bounds() };
                Box::new(Free::new(threat, *replays))
            }
            Self::Trades { perturbation, beta } => {
                Box::new(Trades { perturbation: perturbation.perturbation(data), beta: *beta })
            }
            Self::Mart { perturbation, weight } => {
                Box::new(Mart { perturbation: perturbation.perturbation(data), weight: *weight })
            }
            Self::Alp { perturbation, weight } => {
                Box::new(Alp { perturbation: perturbation.perturbation(data), weight: *weight })
            }
        }
    }
}

impl PerturbationSpec {
    fn check(&self) -> Result<(), RecipeError> {
        let wrong = |field: &str, expected: &str| {
            Err(RecipeError::Value { field: format!("perturbation.{field}"), expected: expected.to_owned() })
        };
        if self.steps == 0 {
            return wrong("steps", "at least 1");
        }
        if !(self.step > 0.0 && self.step.is_finite()) {
            return wrong("step", "above 0: the length of a step relative to eps");
        }
        if matches!(self.begin, BeginSpec::Normal(deviation) if !(deviation >= 0.0 && deviation.is_finite())) {
            return wrong("begin.normal", "a deviation of at least 0");
        }
        if !self.eps.limit().is_finite() {
            return wrong("eps", "a number: samples are perturbed within it");
        }
        Ok(())
    }

    pub(crate) fn perturbation(&self, data: &Dataset) -> Perturbation {
        let threat = Threat { norm: self.norm, eps: self.eps.clone(), bounds: data.bounds() };
        Perturbation {
            length: self.step * threat.eps.down(),
            threat,
            steps: self.steps,
            begin: match self.begin {
                BeginSpec::Sample => Begin::Sample,
                BeginSpec::Uniform => Begin::Uniform,
                BeginSpec::Normal(deviation) => Begin::Normal(deviation),
            },
            climb: self.climb,
        }
    }
}

impl OptimizerSpec {
    fn check(&self) -> Result<(), RecipeError> {
        let (rate, decay, clip) = (self.rate(), self.decay(), self.clip());
        let (betas, what) = match self {
            Self::Sgd { momentum, .. } => ([*momentum; 2], "momentum"),
            Self::Adam(adam) | Self::AdamW(adam) => ([adam.beta1, adam.beta2], "beta1 and beta2"),
        };
        let wrong = |field: &str, expected: &str| {
            Err(RecipeError::Value { field: format!("optimizer.{field}"), expected: expected.to_owned() })
        };
        if !(rate > 0.0 && rate.is_finite()) {
            return wrong("rate", "above 0");
        }
        if !(decay >= 0.0 && decay.is_finite()) {
            return wrong("decay", "at least 0");
        }
        if clip.is_some_and(|most| most.is_nan() || most <= 0.0) {
            return wrong("clip", "above 0");
        }
        if betas.iter().any(|beta| !(0.0..1.0).contains(beta)) {
            return wrong(what, "at least 0 and below 1");
        }
        Ok(())
    }

    /// Learning rate before the schedule.
    #[must_use]
    pub fn rate(&self) -> f32 {
        match self {
            Self::Sgd { rate, .. } => *rate,
            Self::Adam(adam) | Self::AdamW(adam) => adam.rate,
        }
    }

    pub(crate) fn decay(&self) -> f32 {
        match self {
            Self::Sgd { decay, .. } => *decay,
            Self::Adam(adam) | Self::AdamW(adam) => adam.decay,
        }
    }

    pub(crate) fn clip(&self) -> Option<f32> {
        match self {
            Self::Sgd { clip, .. } => *clip,
            Self::Adam(adam) | Self::AdamW(adam) => adam.clip,
        }
    }

    pub(crate) fn method(&self) -> Method {
        let adam = |adam: &AdamSpec, decoupled| Method::Adam {
            beta1: adam.beta1,
            beta2: adam.beta2,
            epsilon: 1e-8,
            decoupled,
        };
        match self {
            Self::Sgd { momentum, nesterov, .. } => Method::Sgd { momentum: *momentum, nesterov: *nesterov },
            Self::Adam(spec) => adam(spec, false),
            Self::AdamW(spec) => adam(spec, true),
        }
    }
}

impl ScheduleSpec {
    pub(crate) fn schedule(&self) -> Schedule {
        match self {
            Self::Constant => Schedule::Constant,
            Self::Steps { epochs, factor } => Schedule::Steps { epochs: epochs.clone(), factor: *factor },
            Self::Cosine => Schedule::Cosine,
            Self::OneCycle { peak } => Schedule::OneCycle { peak: *peak },
        }
    }
}
