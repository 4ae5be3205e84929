//! The samples of a job while they are attacked.

mod draws;
mod fitted;
mod probe;

use std::borrow::Cow;

use assay_graph::Loss;
use assay_runtime::{Class, RunError};
use ndarray::{Array2, ArrayView1, ArrayView2};

pub use self::probe::{Probe, Reading};
use crate::ascent::Ascent;
use crate::oracle::Oracle;
use crate::pixels::Pixels;
use crate::{Attack, Cancel, Goal, Halt, Job, Progress, Reason, SampleId, SampleRng, Threat};

/// Where a restart begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// At a random point of the threat.
    Random,
    /// At the image itself.
    Image,
}

/// Which adversarial sample is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keep {
    /// The first: the sample is not attacked any further.
    First,
    /// The one that exceeds what the goal demands of its logits most; the attack goes on to its end.
    Best,
    /// The one nearest to the clean sample, in the threat's norm; the attack goes on to its end.
    Nearest,
}

impl Keep {
    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Best => "best",
            Self::Nearest => "nearest",
        }
    }
}

/// One sample in one step of an attack with gradients.
#[derive(Debug)]
pub struct Step<'a> {
    /// Its position in the job.
    pub sample: usize,
    /// The clean sample.
    pub x: &'a [f32],
    /// The point the gradient was taken at; an attack moves it.
    pub point: &'a mut [f32],
    /// Loss at the point.
    pub loss: f32,
    /// Gradient of the loss. It is finite and not all zero: where the model's was zero, it is a random direction.
    pub gradient: &'a mut [f32],
    /// Whether the point is adversarial, and the attack goes on all the same.
    pub adversarial: bool,
}

/// One sample in one step of an attack without gradients.
#[derive(Debug)]
pub struct Answer<'a> {
    /// Its position in the job.
    pub sample: usize,
    /// The clean sample.
    pub x: &'a [f32],
    /// The point that was evaluated; an attack moves it.
    pub point: &'a mut [f32],
    /// By how much the label's logit exceeds the largest other one; with a target, by how much its logit is exceeded by the largest
    /// other one. Negative: the point is adversarial, and the attack goes on all the same.
    pub margin: f32,
    /// The sample's random stream.
    pub rng: &'a mut SampleRng,
}

impl Step<'_> {
    /// Moves the point by `length` times what is in `gradient`.
    pub fn advance(&mut self, length: f32) {
        for (p, g) in self.point.iter_mut().zip(&*self.gradient) {
            *p += length * g;
        }
    }
}

/// One sample between two evaluations.
#[derive(Debug)]
pub struct Spot<'a> {
    /// Its position in the job.
    pub sample: usize,
    /// The clean sample.
    pub x: &'a [f32],
    /// Its point; an attack moves it.
    pub point: &'a mut [f32],
    /// The sample's random stream.
    pub rng: &'a mut SampleRng,
}

/// The samples of a job: their points, what was found, and who is still under attack.
///
/// Every evaluation decides about success by the logits it returns. A sample leaves the attack when an adversarial point of
/// it is found (see [`Keep`]), when the model fails on it, or when its budget is spent; the others are gathered into full
/// batches. So the batch in which a sample is evaluated depends on the others, and results are independent of them exactly
/// as far as the classifier's arithmetic is.
pub struct Samples<'a> {
    threat: &'a Threat,
    attack: &'a dyn Attack,
    /// The attack that is under way: `attack`, or a part of it.
    part: &'static str,
    labels: &'a [Class],
    goal: &'a Goal,
    ids: &'a [SampleId],
    seed: u64,
    batch: usize,
    features: usize,
    pub(crate) oracle: Oracle<'a>,
    pub(crate) states: Vec<State>,
    pub(crate) progress: Progress,
    /// Why some sample's attack ended early.
    pub(crate) stopped: Option<Reason>,
    observer: &'a mut dyn FnMut(Progress),
    keep: Keep,
    /// The images of 8 bits, where only those count.
    pixels: Option<Pixels>,
    /// Whether points may leave the threat: there they are no finds.
    roams: bool,
    /// By how much a logit must exceed the label's for a find.
    demanded: f32,
    /// Evaluations of a point whose mean is taken.
    draws: u32,
    /// `[n, features]`, flat: clean samples, current points, and adversarial points where one was found.
    images: Cow<'a, [f32]>,
    points: Vec<f32>,
    found: Vec<f32>,
    /// `[rows, features]`, flat: the points of the call that is being made, or was made last.
    gathered: Vec<f32>,
}

/// What is known of a sample.
pub(crate) struct State {
    pub(crate) clean: Option<Class>,
    /// The classes other than the label by their logits for the clean sample, the largest first.
    pub(crate) rivals: Vec<Class>,
    /// The class that its prediction is to become, where the goal has one.
    pub(crate) target: Option<Class>,
    /// Whether the attack is made from it, and not judged on it.
    pub(crate) fitted: bool,
    pub(crate) active: bool,
    /// Left out until the next start.
    resting: bool,
    /// Class of the adversarial point that is kept, and what it was kept for.
    pub(crate) found: Option<(Class, f64)>,
    /// The attack that found it.
    pub(crate) found_by: Option<&'static str>,
    pub(crate) error: Option<String>,
    pub(crate) zero_gradients: u64,
    /// The losses that ascents have reached.
    pub(crate) ascent: Ascent,
    /// Whether some evaluation saw a point that is a find.
    pub(crate) seen: bool,
    /// Whether its budget ended its attack.
    pub(crate) spent: bool,
    evaluations: u64,
    /// Evaluations at which it rests.
    allotted: u64,
    rng: SampleRng,
}

impl State {
    /// Whether the part of the attack that is under way goes on with the sample.
    fn is_open(&self) -> bool {
        self.active && !self.resting && self.evaluations < self.allotted
    }
}

/// Which points of samples are evaluated.
#[derive(Clone, Copy)]
pub(crate) enum Points {
    Clean,
    Current,
    Found,
    /// What is found, exactly as whoever reads it from an image of 8 bits sees it, where only those count.
    Decoded,
}

impl<'a> Samples<'a> {
    pub(crate) fn new<'j: 'a>(job: &Job<'j>, cancel: &'a Cancel, observer: &'a mut dyn FnMut(Progress)) -> Self {
        let images =
            job.images.to_slice().map_or_else(|| Cow::Owned(job.images.iter().copied().collect()), Cow::Borrowed);
        let attack = job.attack.description().name;
        let fitted = fitted(job);
        let state = |(i, id): (usize, &_)| State {
            clean: None,
            rivals: Vec::new(),
            target: None,
            fitted: i < fitted,
            active: true,
            resting: false,
            found: None,
            found_by: None,
            error: None,
            zero_gradients: 0,
            ascent: Ascent::default(),
            seen: false,
            spent: false,
            evaluations: 0,
            allotted: u64::MAX,
            rng: SampleRng::new(job.seed, *id, attack, 0),
        };
        let samples = job.ids.len();
        let progress = Progress {
            samples: samples as u64,
            steps_total: samples as u64 * job.attack.evaluations(),
            ..Progress::default()
        };
        Self {
            threat: job.threat,
            attack: job.attack,
            part: attack,
            labels: job.labels,
            goal: job.goal,
            ids: job.ids,
            seed: job.seed,
            batch: job.batch.get(),
            features: job.images.ncols(),
            oracle: Oracle::new(job.classifier, job.budget, cancel, samples),
            states: job.ids.iter().enumerate().map(state).collect(),
            progress,
            stopped: None,
            observer,
            keep: Keep::First,
            pixels: job.eight_bit.then(|| Pixels::of(job.threat.bounds)),
            roams: false,
            demanded: 0.0,
            draws: 1,
            points: images.to_vec(),
            found: images.to_vec(),
            gathered: Vec::new(),
            images,
        }
    }

    /// What the adversary may do.
    #[must_use]
    pub fn threat(&self) -> &'a Threat {
        self.threat
    }

    /// Shape of one sample.
    #[must_use]
    pub fn sample_shape(&self) -> &'a [usize] {
        self.oracle.sample_shape()
    }

    /// Number of elements of one sample.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of samples of the job.
    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether the job has no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Whether no sample is under attack any more, or all that are rest.
    #[must_use]
    pub fn is_done(&self) -> bool {
        !self.states.iter().any(State::is_open)
    }

    /// Number of classes of the model.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.oracle.classes()
    }

    /// Number of classes that a sample's prediction may become: all but its label, or its target only.
    #[must_use]
    pub fn rivals(&self) -> u32 {
        if *self.goal != Goal::Untargeted {
            return 1;
        }
        u32::try_from(self.oracle.classes().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// For each sample of the job the class with the `rank`-th largest logit for the clean sample, from 0, among those that are
    /// not its label; with a target, that.
    #[must_use]
    pub fn targets(&self, rank: u32) -> Vec<Class> {
        let rival = |(state, label): (&State, &Class)| {
            state.target.or_else(|| state.rivals.get(rank as usize).copied()).unwrap_or(*label)
        };
        self.states.iter().zip(self.labels).map(rival).collect()
    }

    /// Begins `part` of an attack that consists of several: its name keys the random streams, and is noted with what it finds.
    pub fn begin(&mut self, part: &dyn Attack) {
        self.part = part.description().name;
        self.keep = Keep::First;
        self.roams = false;
        self.demanded = 0.0;
        self.draws = 1;
        self.states.iter_mut().for_each(|state| state.allotted = u64::MAX);
    }

    /// Gives every sample so many evaluations from here on: who has none left rests.
    pub fn allot(&mut self, evaluations: u32) {
        for state in &mut self.states {
            state.allotted = state.evaluations + u64::from(evaluations);
        }
    }

    /// Says which adversarial sample is kept; [`Keep::First`] if nothing is said.
    pub fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    /// Lets points leave the threat, for attacks that look for the nearest adversarial point: outside they are no finds.
    pub fn roam(&mut self) {
        self.roams = true;
    }

    /// Demands that the logit of another class exceeds the label's by at least `excess`, or that of the target all others: points where
    /// it does by less are no finds.
    pub fn demand(&mut self, excess: f32) {
        self.demanded = excess;
    }

    /// Takes the mean of so many evaluations of each point, at least one: of the loss, its gradient and the logits that decide about
    /// success. For models that answer at random, whose single answers say little (Athalye et al., Obfuscated Gradients Give a False
    /// Sense of Security, 2018). [`Samples::probe`] is not affected.
    pub fn draws(&mut self, evaluations: u32) {
        self.draws = evaluations.max(1);
    }

    /// Leaves a sample out until the next [`Samples::start`]: this part of the attack is done with it.
    pub fn rest(&mut self, sample: usize) {
        self.states[sample].resting = true;
    }

    /// Moves every sample under attack to where restart number `restart` begins, with that restart's random stream.
    pub fn start(&mut self, restart: u32, start: Start) {
        for i in self.active() {
            let row = self.row(i);
            let (x, point, rng) = (&self.images[row.clone()], &mut self.points[row], &mut self.states[i].rng);
            *rng = SampleRng::new(self.seed, self.ids[i], self.part, restart);
            match start {
                Start::Random => self.threat.start(x, rng, point),
                Start::Image => point.copy_from_slice(x),
            }
            self.states[i].resting = false;
            self.states[i].ascent.end();
        }
    }

    /// Moves every sample under attack to where `place` puts its point, with the random stream of restart number `restart`.
    pub fn start_at(&mut self, restart: u32, mut place: impl FnMut(&[f32], &mut SampleRng, &mut [f32])) {
        self.start(restart, Start::Image);
        for i in self.active() {
            let row = self.row(i);
            place(&self.images[row.clone()], &mut self.states[i].rng, &mut self.points[row]);
        }
    }

    /// Hands the samples under attack to `step`, which moves their points without an evaluation.
    pub fn each(&mut self, mut step: impl FnMut(Spot<'_>)) {
        for i in self.open() {
            let row = self.row(i);
            let (x, point) = (&self.images[row.clone()], &mut self.points[row]);
            step(Spot { sample: i, x, point, rng: &mut self.states[i].rng });
        }
    }

    /// Evaluates the points of all samples under attack with the gradient of `loss`, and hands those that stay under attack
    /// to `step`.
    ///
    /// With a target, what is handed over is the negated loss at the target: it rises as the target becomes likelier.
    ///
    /// # Errors
    /// The run is stopped, or the model failed.
    pub fn gradient(&mut self, loss: Loss, step: impl FnMut(Step<'_>)) -> Result<(), Halt> {
        self.differentiate(loss, None, step)
    }

    /// [`Samples::gradient`] of a loss towards a class for each sample of the job, as [`Samples::targets`] gives them.
    ///
    /// With a target, the class that it must pass is not the label but whichever has the largest logit: the loss is that of
    /// [`Samples::gradient`].
    ///
    /// # Errors
    /// As [`Samples::gradient`].
    pub fn gradient_towards(&mut self, loss: Loss, targets: &[Class], step: impl FnMut(Step<'_>)) -> Result<(), Halt> {
        self.differentiate(loss, Some(targets), step)
    }

    fn differentiate(
        &mut self,
        loss: Loss,
        targets: Option<&[Class]>,
        mut step: impl FnMut(Step<'_>),
    ) -> Result<(), Halt> {
        // The loss at the target falls as the target becomes likelier.
        let targeted = *self.goal != Goal::Untargeted;
        let (loss, targets) = if targeted { (loss.of_label(), None) } else { (loss, targets) };
        let (mut labels, mut aims) = (Vec::new(), Vec::new());
        let draws = self.draws;
        for who in self.affordable(|oracle, i| oracle.no_gradients(i, draws)).chunks(self.batch) {
            labels.clear();
            labels.extend(who.iter().map(|&i| self.states[i].target.unwrap_or(self.labels[i])));
            aims.clear();
            aims.extend(targets.iter().flat_map(|targets| who.iter().map(|&i| targets[i])));
            self.gather(Points::Current, who);
            let evaluated = self.mean_gradient(loss, &labels, targets.map(|_| &*aims), who)?;
            let (mut gradients, offset) = evaluated.gradient.into_raw_vec_and_offset();
            let rows = gradients[offset.unwrap_or(0)..].chunks_exact_mut(self.features);
            let answers = evaluated.logits.rows().into_iter().zip(evaluated.loss);
            for (slot, ((&i, (logits, loss)), gradient)) in who.iter().zip(answers).zip(rows).enumerate() {
                let Some(margin) = self.judge(i, slot, draws, &logits) else { continue };
                if gradient.iter().any(|g| !g.is_finite()) {
                    self.fail(i, GRADIENT_NOT_FINITE);
                    continue;
                }
                let loss = if targeted { -loss } else { loss };
                if targeted {
                    gradient.iter_mut().for_each(|g| *g = -*g);
                }
                let state = &mut self.states[i];
                if !self.roams {
                    state.ascent.observe(loss);
                }
                if gradient.iter().all(|g| *g == 0.0) {
                    state.zero_gradients += 1;
                    state.rng.fill_normal(gradient);
                }
                let row = self.row(i);
                let (x, point) = (&self.images[row.clone()], &mut self.points[row]);
                step(Step { sample: i, x, point, loss, gradient, adversarial: margin < 0.0 });
            }
            self.report();
        }
        Ok(())
    }

    /// Evaluates the points of all samples under attack, forward only.
    ///
    /// # Errors
    /// The run is stopped, or the model failed.
    pub fn query(&mut self) -> Result<(), Halt> {
        self.query_each(|_| {})
    }

    /// [`Samples::query`] that hands those that stay under attack to `next`.
    ///
    /// # Errors
    /// As [`Samples::query`].
    pub fn query_each(&mut self, mut next: impl FnMut(Answer<'_>)) -> Result<(), Halt> {
        let draws = self.draws;
        for who in self.affordable(|oracle, i| oracle.no_queries(i, draws)).chunks(self.batch) {
            self.gather(Points::Current, who);
            let logits = self.mean_logits(who)?;
            for (slot, (&i, logits)) in who.iter().zip(logits.rows()).enumerate() {
                let Some(margin) = self.judge(i, slot, draws, &logits) else { continue };
                let row = self.row(i);
                let (x, point) = (&self.images[row.clone()], &mut self.points[row]);
                next(Answer { sample: i, x, point, margin, rng: &mut self.states[i].rng });
            }
            self.report();
        }
        Ok(())
    }

    /// Logits of points of the samples `who`, at most a batch of them.
    pub(crate) fn logits(&mut self, points: Points, who: &[usize]) -> Result<Array2<f32>, Halt> {
        self.gather(points, who);
        self.evaluate(who)
    }

    /// Logits of what is found of a sample, in a call of its own.
    pub(crate) fn alone(&mut self, points: Points, i: usize) -> Result<Array2<f32>, Halt> {
        self.gather(points, &[i]);
        self.oracle.alone(&matrix(&self.gathered, self.features)?, i)
    }

    /// Logits of the gathered rows, which are evaluations of the samples `who`.
    fn evaluate(&mut self, who: &[usize]) -> Result<Array2<f32>, Halt> {
        self.oracle.logits(&matrix(&self.gathered, self.features)?, who)
    }

    /// [`Samples::logits`] that look at the model, and are no part of the attack: nobody's budget is spent.
    pub(crate) fn look(&mut self, points: Points, who: &[usize]) -> Result<Array2<f32>, Halt> {
        self.gather(points, who);
        self.oracle.look(&matrix(&self.gathered, self.features)?)
    }

    /// Ends a sample's attack because its budget is spent.
    fn exhaust(&mut self, i: usize, reason: Reason) {
        self.stopped = Some(reason);
        self.states[i].spent = true;
        self.retire(i);
    }

    /// Ends a sample's attack.
    pub(crate) fn retire(&mut self, i: usize) {
        let state = &mut self.states[i];
        if std::mem::replace(&mut state.active, false) {
            state.ascent.end();
            self.progress.finished += 1;
            self.progress.steps_done += self.attack.evaluations().saturating_sub(state.evaluations);
        }
    }

    /// Ends a sample's attack because the model failed on it.
    pub(crate) fn fail(&mut self, i: usize, why: &str) {
        self.states[i].error = Some(why.to_owned());
        self.retire(i);
    }

    /// Tells the observer how far the run is.
    pub(crate) fn report(&mut self) {
        (self.observer)(self.progress);
    }

    /// The samples that are still under attack.
    pub(crate) fn active(&self) -> Vec<usize> {
        (0..self.states.len()).filter(|&i| self.states[i].active).collect()
    }

    /// The samples with which the part of the attack that is under way goes on.
    fn open(&self) -> Vec<usize> {
        (0..self.states.len()).filter(|&i| self.states[i].is_open()).collect()
    }

    /// A clean sample and the adversarial one that is kept for it.
    pub(crate) fn pair(&self, i: usize) -> (&[f32], &[f32]) {
        (&self.images[self.row(i)], &self.found[self.row(i)])
    }

    /// The samples that are still under attack and may be evaluated once more; the others are retired.
    fn affordable(&mut self, refusal: impl Fn(&Oracle<'a>, usize) -> Option<Reason>) -> Vec<usize> {
        let mut open = self.open();
        open.retain(|&i| {
            let refused = refusal(&self.oracle, i);
            if let Some(reason) = refused {
                self.exhaust(i, reason);
            }
            refused.is_none()
        });
        open
    }

    /// Takes note of the logits at a point of a sample, the gathered row `slot`, a mean of so many draws. The margin of [`Answer`], negative iff the point is
    /// adversarial; nothing if the sample does not stay under attack.
    fn judge(&mut self, i: usize, slot: usize, draws: u32, logits: &ArrayView1<'_, f32>) -> Option<f32> {
        self.states[i].evaluations += u64::from(draws);
        self.progress.steps_done += u64::from(draws);
        let Some(predicted) = predicted(logits) else {
            self.fail(i, NOT_FINITE);
            return None;
        };
        let margin = match self.states[i].target {
            None => lead(logits, self.labels[i]),
            Some(target) => -lead(logits, target),
        };
        if !self.reached(i, predicted) {
            return Some(margin);
        }
        let excess = -margin;
        // Equal logits may be adversarial too, by the order of the classes.
        let margin = -excess.max(f32::MIN_POSITIVE);
        if self.states[i].fitted {
            return Some(margin);
        }
        let (row, point) = (self.row(i), self.row(slot));
        let (x, point) = (&self.images[row.clone()], &self.gathered[point]);
        if excess < self.demanded || (self.roams && !self.threat.allows(x, point)) {
            return Some(margin);
        }
        self.states[i].seen = true;
        let merit = match self.keep {
            Keep::First | Keep::Best => f64::from(excess),
            Keep::Nearest => -self.threat.distance(x, point),
        };
        let before = self.states[i].found;
        if before.is_none_or(|(_, best)| merit > best) {
            self.progress.broken += u64::from(before.is_none());
            self.states[i].found = Some((predicted, merit));
            self.states[i].found_by = Some(self.part);
            self.found[row].copy_from_slice(point);
        }
        if self.keep == Keep::First {
            self.retire(i);
        }
        self.states[i].active.then_some(margin)
    }

    /// Whether such a prediction is what the goal demands of the sample.
    fn reached(&self, i: usize, predicted: Class) -> bool {
        self.states[i].target.map_or(predicted != self.labels[i], |target| predicted == target)
    }

    fn gather(&mut self, points: Points, who: &[usize]) {
        let from: &[f32] = match points {
            Points::Clean => &self.images,
            Points::Current => &self.points,
            Points::Found | Points::Decoded => &self.found,
        };
        self.gathered.clear();
        for &i in who {
            self.gathered.extend_from_slice(&from[i * self.features..(i + 1) * self.features]);
        }
        for (slot, &i) in who.iter().enumerate() {
            match (points, self.pixels) {
                (Points::Current, Some(_)) => self.round(i, slot),
                (Points::Decoded, Some(pixels)) => {
                    let (x, point) = (self.row(i), self.row(slot));
                    pixels.round(&self.images[x], &mut self.gathered[point]);
                }
                _ => {}
            }
        }
    }

    /// Rounds the gathered row `slot`, a point of sample `i`, to an image of 8 bits, where only those count.
    fn round(&mut self, i: usize, slot: usize) {
        let Some(pixels) = self.pixels else { return };
        let (x, row) = (&self.images[self.row(i)], self.row(slot));
        let point = &mut self.gathered[row];
        let exact = point.to_vec();
        pixels.round(x, point);
        if !self.roams && !self.threat.allows(x, point) {
            point.copy_from_slice(&exact);
            pixels.round_towards(x, point);
            // By rounding of binary32 a whole number of levels may be longer than eps.
            self.threat.project(x, point);
        }
    }

    fn row(&self, i: usize) -> std::ops::Range<usize> {
        i * self.features..(i + 1) * self.features
    }
}

/// How many samples the attack of a job is made from, the first ones.
pub(crate) fn fitted(job: &Job<'_>) -> usize {
    let number = |share: f64| ((share * job.ids.len() as f64).round() as usize).max(1);
    job.attack.fitted_share().map_or(0, number)
}

/// Rows that lie one behind the other.
fn matrix(rows: &[f32], features: usize) -> Result<ArrayView2<'_, f32>, RunError> {
    let shape = (rows.len() / features.max(1), features);
    ArrayView2::from_shape(shape, rows).map_err(|error| RunError::Invalid(error.to_string()))
}

/// By how much the logit of a class exceeds the largest other one.
fn lead(logits: &ArrayView1<'_, f32>, class: Class) -> f32 {
    let others = logits.iter().enumerate().filter(|(other, _)| *other != class.index());
    logits[class.index()] - others.fold(f32::NEG_INFINITY, |largest, (_, logit)| largest.max(*logit))
}

/// Why a sample with such a gradient cannot be measured.
pub(crate) const GRADIENT_NOT_FINITE: &str = "the gradient of the model is not finite";

/// Why a sample with such logits cannot be measured.
pub(crate) const NOT_FINITE: &str = "the logits of the model are not finite";

/// The class with the largest logit; ties: the lowest class. `None` if a logit is not finite.
#[must_use]
pub fn predicted(logits: &ArrayView1<'_, f32>) -> Option<Class> {
    let mut best = 0;
    for (class, value) in logits.iter().enumerate() {
        if !value.is_finite() {
            return None;
        }
        if *value > logits[best] {
            best = class;
        }
    }
    u32::try_from(best).ok().map(Class)
}
