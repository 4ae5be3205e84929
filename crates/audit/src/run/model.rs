//! Measuring one model.

use std::collections::BTreeSet;
use std::time::Instant;

use assay_attack::{Attack, Budget, Cancel, Goal, Job, Outcome, SampleId, SampleOutcome, Threat};
use assay_data::{Dataset, laid_out};
use assay_runtime::{Class, Gradients};
use ndarray::{Array2, ArrayView1, Axis, CowArray, Ix2};

use super::{AuditError, Log, Progress, Subject};
use crate::event::{Attacked, Clean, Cost, Event, Example, Fate, Finding, FindingKind, ModelId, Pictures, ThreatId};

/// Most elements of the samples that one job holds; it keeps a few copies of them.
const CHUNK: usize = 1 << 25;

/// A model under test and what is known of its predictions.
pub(super) struct Model<'a> {
    id: ModelId,
    subject: &'a Subject<'a>,
    data: &'a Dataset,
    seed: u64,
    /// The data in the model's layout and range.
    samples: CowArray<'a, f32, Ix2>,
    /// Class predicted without attack; `None` where the logits are not finite.
    predictions: Vec<Option<Class>>,
    /// What became of each prediction under the threat that is being evaluated.
    fates: Vec<Fate>,
    doubts: Doubts,
}

/// One attack of one evaluation.
pub(super) struct Stage<'a> {
    pub(super) threat: ThreatId,
    pub(super) number: u32,
    pub(super) spec: &'a Threat,
    pub(super) attack: &'a dyn Attack,
}

/// Samples that give reason to doubt a number.
#[derive(Default)]
struct Doubts {
    /// Withstood an attack that follows the gradient.
    withstood: BTreeSet<usize>,
    /// Did so with a gradient of zero.
    zero_gradients: BTreeSet<usize>,
    errors: BTreeSet<usize>,
    unstable: BTreeSet<usize>,
}

impl<'a> Model<'a> {
    /// Classifies all samples without attack.
    pub(super) fn classified(
        id: ModelId,
        subject: &'a Subject<'a>,
        data: &'a Dataset,
        seed: u64,
        cancel: &Cancel,
        log: &mut Log<'_>,
    ) -> Result<Self, AuditError> {
        let start = Instant::now();
        let samples = as_taken(data, subject);
        let mut predictions = Vec::with_capacity(data.len());
        let mut correct = 0;
        log.stage += 1;
        for batch in samples.axis_chunks_iter(Axis(0), subject.batch.get()) {
            if cancel.is_cancelled() {
                return Err(AuditError::Stopped);
            }
            let fail = |source| AuditError::Model { model: subject.name.clone(), source };
            let logits = subject.classifier.logits(batch).map_err(fail)?;
            predictions.extend(logits.rows().into_iter().map(|row| assay_attack::predicted(&row)));
            correct = predictions.iter().zip(data.labels()).filter(|(p, label)| **p == Some(**label)).count();
            log.observer.progress(&Progress {
                model: id,
                stage: "clean".to_owned(),
                stage_number: log.stage,
                stages: log.stages,
                samples: data.len() as u64,
                correct: correct as u64,
                steps_done: predictions.len() as u64,
                steps_total: data.len() as u64,
            });
        }
        tracing::debug!(model = subject.name, correct, samples = data.len(), "clean accuracy measured");
        let doubts = Doubts { errors: positions(&predictions, Option::is_none), ..Doubts::default() };
        log.event(Event::Clean(Clean {
            model: id,
            predictions: predictions.iter().map(|p| p.map(|class| class.0)).collect(),
            cost: Cost { queries: data.len() as u64, gradients: 0, seconds: start.elapsed().as_secs_f64() },
        }));
        Ok(Self { id, subject, data, seed, samples, predictions, fates: Vec::new(), doubts })
    }

    /// Begins the evaluation of a threat: every prediction stands.
    pub(super) fn begin(&mut self) {
        self.fates = self.predictions.iter().map(|p| if p.is_some() { Fate::Held } else { Fate::Error }).collect();
    }

    /// Attacks what the attacks before it left, and shows up to `room` of the correct samples it broke.
    pub(super) fn attack(
        &mut self,
        stage: &Stage<'_>,
        room: &mut usize,
        cancel: &Cancel,
        log: &mut Log<'_>,
    ) -> Result<(), AuditError> {
        let start = Instant::now();
        log.stage += 1;
        let labels = self.data.labels();
        let standing = positions(&self.fates, |fate| *fate == Fate::Held);
        let (correct, wrong): (Vec<usize>, Vec<usize>) =
            standing.iter().partition(|&&i| self.predictions.get(i).copied().flatten().as_ref() == labels.get(i));
        let mut progress = Progress {
            model: self.id,
            stage: format!("{} {}", stage.attack.description().name, stage.spec),
            stage_number: log.stage,
            stages: log.stages,
            samples: self.data.len() as u64,
            correct: correct.len() as u64,
            steps_done: 0,
            steps_total: standing.len() as u64 * stage.attack.evaluations(),
        };
        log.observer.progress(&progress);
        let mut cost = Cost::default();
        let mut outcomes = Vec::with_capacity(standing.len());
        let most = (CHUNK / self.samples.ncols().max(1)).max(1);
        for (group, is_correct) in [(&correct, true), (&wrong, false)] {
            for who in group.chunks(most) {
                let images = self.samples.select(Axis(0), who);
                let before = progress.clone();
                let mut report = |p: assay_attack::Progress| {
                    progress.steps_done = before.steps_done + p.steps_done;
                    progress.correct = before.correct - if is_correct { p.broken } else { 0 };
                    log.observer.progress(&progress);
                };
                let attacked = self.job(stage, who, &images, cancel, &mut report)?;
                cost.queries += attacked.cost.queries;
                cost.gradients += attacked.cost.gradients;
                let rows = images.rows().into_iter().zip(attacked.adversarial.rows());
                for ((&i, outcome), (clean, adversarial)) in who.iter().zip(&attacked.outcomes).zip(rows) {
                    let fate = self.settle(i, outcome, stage);
                    outcomes.push((i as u64, fate));
                    if fate == Fate::Changed && is_correct && *room > 0 {
                        *room -= 1;
                        log.event(Event::Example(Box::new(self.example(stage, i, outcome, &clean, &adversarial))));
                    }
                }
            }
        }
        // What was found is verified by now, and some samples may have failed: the last word on a stage is what the report says.
        progress.steps_done = progress.steps_total;
        progress.correct = correct.iter().filter(|&&i| self.fates.get(i) == Some(&Fate::Held)).count() as u64;
        log.observer.progress(&progress);
        outcomes.sort_unstable_by_key(|(sample, _)| *sample);
        cost.seconds = start.elapsed().as_secs_f64();
        tracing::debug!(model = self.subject.name, stage = progress.stage, correct = progress.correct, "attack ended");
        let (model, threat, attack) = (self.id, stage.threat, stage.number);
        log.event(Event::Attacked(Attacked { model, threat, attack, outcomes, cost }));
        Ok(())
    }

    /// Attacks the samples `who` away from their predicted classes.
    fn job(
        &self,
        stage: &Stage<'_>,
        who: &[usize],
        images: &Array2<f32>,
        cancel: &Cancel,
        report: &mut dyn FnMut(assay_attack::Progress),
    ) -> Result<assay_attack::Attacked, AuditError> {
        let labels: Vec<Class> = who.iter().filter_map(|&i| self.predictions.get(i).copied().flatten()).collect();
        let ids: Vec<SampleId> = who.iter().map(|&i| SampleId(i as u64)).collect();
        let job = Job {
            classifier: self.subject.classifier,
            attack: stage.attack,
            threat: stage.spec,
            goal: &Goal::Untargeted,
            images: images.view(),
            labels: &labels,
            ids: &ids,
            seed: self.seed,
            batch: self.subject.batch,
            budget: Budget::default(),
            eight_bit: false,
            checks: true,
        };
        let fail = |source| AuditError::Attack { model: self.subject.name.clone(), source };
        let attacked = assay_attack::run(&job, report, cancel).map_err(fail)?;
        if attacked.stopped.is_some() { Err(AuditError::Stopped) } else { Ok(attacked) }
    }

    /// Takes note of what became of a sample.
    fn settle(&mut self, i: usize, outcome: &SampleOutcome, stage: &Stage<'_>) -> Fate {
        let fate = match outcome.outcome {
            Outcome::Robust => Fate::Held,
            Outcome::Broken => Fate::Changed,
            // Attacked away from its prediction, a sample is misclassified only if the prediction was another one this time.
            // A plan has no attack that is made from samples.
            Outcome::Unstable | Outcome::Misclassified | Outcome::Fitted => Fate::Unstable,
            Outcome::Error => Fate::Error,
        };
        if let Some(slot) = self.fates.get_mut(i) {
            *slot = fate;
        }
        match fate {
            Fate::Held if stage.attack.description().needs_gradient => {
                self.doubts.withstood.insert(i);
                if outcome.zero_gradients > 0 {
                    self.doubts.zero_gradients.insert(i);
                }
            }
            Fate::Held | Fate::Changed => {}
            Fate::Unstable => drop(self.doubts.unstable.insert(i)),
            Fate::Error => {
                let (model, error) = (&self.subject.name, outcome.error.as_deref().unwrap_or_default());
                tracing::warn!(model, sample = i, error, "a sample could not be measured");
                self.doubts.errors.insert(i);
            }
        }
        fate
    }

    fn example(
        &self,
        stage: &Stage<'_>,
        i: usize,
        outcome: &SampleOutcome,
        clean: &ArrayView1<'_, f32>,
        adversarial: &ArrayView1<'_, f32>,
    ) -> Example {
        let class = |class: Option<Class>| class.map_or(outcome.label.0, |class| class.0);
        Example {
            model: self.id,
            threat: stage.threat,
            attack: stage.number,
            sample: i as u64,
            label: outcome.label.0,
            clean_prediction: class(outcome.clean_prediction),
            adversarial_prediction: class(outcome.adversarial_prediction),
            distance: outcome.distance,
            pictures: self.pictures(clean, adversarial),
        }
    }

    /// Drawn as the data has them, channels first.
    fn pictures(&self, clean: &ArrayView1<'_, f32>, adversarial: &ArrayView1<'_, f32>) -> Option<Pictures> {
        let (ours, theirs) = (self.data.sample_shape(), &self.subject.classifier.spec().sample_shape);
        let drawn = |row: &ArrayView1<'_, f32>| {
            let row = row.insert_axis(Axis(0));
            // A flat vector has the elements in the data's order.
            laid_out(&row, theirs, ours).map_or_else(|| row.into_owned(), CowArray::into_owned)
        };
        let (clean, adversarial) = (drawn(clean), drawn(adversarial));
        Pictures::draw(ours, self.subject.bounds, &clean.row(0), &adversarial.row(0))
    }

    /// What the reader must know.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let (doubts, all) = (&self.doubts, self.data.len());
        let none = BTreeSet::new();
        let estimated = match self.subject.classifier.spec().gradients {
            Gradients::StraightThrough(_) => &doubts.withstood,
            Gradients::Exact | Gradients::Unavailable(_) => &none,
        };
        let found = [
            (FindingKind::ZeroGradients, &doubts.zero_gradients, doubts.withstood.len()),
            (FindingKind::StraightThrough, estimated, all),
            (FindingKind::Errors, &doubts.errors, all),
            (FindingKind::Unstable, &doubts.unstable, all),
        ];
        let finding = |(kind, samples, of): (FindingKind, &BTreeSet<usize>, usize)| {
            let hits = samples.len() as u64;
            (hits > 0).then_some(Finding { model: self.id, kind, hits, of: of as u64 })
        };
        found.into_iter().filter_map(finding).collect()
    }
}

/// Positions of the items that satisfy a condition.
fn positions<T>(items: &[T], holds: impl Fn(&T) -> bool) -> BTreeSet<usize> {
    items.iter().enumerate().filter(|(_, item)| holds(item)).map(|(i, _)| i).collect()
}

/// The samples in the model's layout, moved from the data's range to the model's. They fit: it was checked before.
fn as_taken<'a>(data: &'a Dataset, subject: &Subject<'_>) -> CowArray<'a, f32, Ix2> {
    let (from, bounds) = (data.bounds(), subject.bounds);
    let samples = laid_out(&data.samples().view(), data.sample_shape(), &subject.classifier.spec().sample_shape)
        .unwrap_or_else(|| data.samples().view().into());
    if from == bounds {
        return samples;
    }
    let [low, high, from_low, from_high] = [bounds.low(), bounds.high(), from.low(), from.high()].map(f64::from);
    let scale = (high - low) / (from_high - from_low);
    let moved =
        |&value: &f32| ((low + (f64::from(value) - from_low) * scale) as f32).clamp(bounds.low(), bounds.high());
    samples.map(moved).into()
}
