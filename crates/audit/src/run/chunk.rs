//! One step of an audit: one model, one stage, one chunk of samples.

use std::time::Instant;

use assay_attack::{Budget, Cancel, Cost, Goal, Job, Outcome, SampleId, SampleOutcome, Threat};
use assay_certify::{Certificate, CertifyError, Neighbourhood, Until};
use assay_data::laid_out;
use assay_runtime::{Class, RunError};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, CowArray};

use super::{Audit, AuditError, Subject};
use crate::event::{
    Attacked, Certified, Clean, Event, Example, Fate, Found, Latency, Pictures, Proof, SampleProof, SampleResult,
    ThreatId,
};
use crate::plan::Attacks;
use crate::schedule::{Step, Work};
use crate::tally::Tally;

/// Rounds of predictions before those that are timed.
pub(crate) const WARM_UP: u64 = 3;

/// How far a step is: sample-steps done, and correct samples lost.
pub(super) struct Inside {
    pub(super) steps: u64,
    pub(super) lost: u64,
}

/// Measures a chunk, and calls `report` now and then.
pub(super) fn measure(
    audit: &Audit<'_>,
    attacks: &[Attacks],
    tally: &Tally,
    step: Step,
    report: &mut dyn FnMut(Inside),
    cancel: &Cancel,
) -> Result<Event, AuditError> {
    if cancel.is_cancelled() {
        return Err(AuditError::Stopped);
    }
    let missing = || AuditError::Inconsistent(tally.inconsistent("it is about what is not in the plan"));
    let subject = audit.subjects.get(step.model.0 as usize).ok_or_else(missing)?;
    let chunk = Chunk { audit, subject, tally, step };
    match step.work {
        Work::Clean => chunk.classified(cancel).map(Event::Clean),
        Work::Latency => {
            let first = audit.subjects.first().ok_or_else(missing)?;
            chunk.timed(first, cancel).map(Event::Timed)
        }
        Work::Certify { threat } => {
            let plan = attacks.get(threat.0 as usize).ok_or_else(missing)?;
            let spec = Threat { norm: plan.norm, eps: plan.eps.clone(), bounds: subject.bounds };
            chunk.certified(threat, &spec, report, cancel).map(Event::Certified)
        }
        Work::Attack { threat, attack } => {
            let plan = attacks.get(threat.0 as usize).ok_or_else(missing)?;
            let stage = Stage {
                threat,
                number: attack,
                spec: &Threat { norm: plan.norm, eps: plan.eps.clone(), bounds: subject.bounds },
                attack: plan.attacks.get(attack as usize).ok_or_else(missing)?.as_ref(),
            };
            chunk.attacked(&stage, report, cancel).map(Event::Attacked)
        }
    }
}

/// Class that a model predicts for each sample, laid out as it takes them; `None` where its logits are not finite.
fn classes(
    subject: &Subject<'_>,
    samples: &ArrayView2<'_, f32>,
    cancel: &Cancel,
) -> Result<Vec<Option<u32>>, AuditError> {
    let mut classes = Vec::with_capacity(samples.nrows());
    for batch in samples.axis_chunks_iter(Axis(0), subject.batch.get()) {
        if cancel.is_cancelled() {
            return Err(AuditError::Stopped);
        }
        let fail = |source| AuditError::Model { model: subject.name.clone(), source };
        let logits = subject.classifier.logits(batch).map_err(fail)?;
        classes.extend(logits.rows().into_iter().map(|row| assay_attack::predicted(&row).map(|class| class.0)));
    }
    Ok(classes)
}

/// Nobody certifies samples of a model.
pub(super) fn nobody(subject: &Subject<'_>) -> AuditError {
    let reason = "nothing here certifies its samples".to_owned();
    AuditError::NoBounds { model: subject.name.clone(), reason }
}

/// What a certificate says of a sample that was classified correctly before.
fn proof(found: &Certificate) -> Proof {
    match (&found.verdict, found.certified_by()) {
        (assay_certify::Verdict::Certified, Some(by)) => Proof::Certified { by },
        (assay_certify::Verdict::Failed(error), _) => Proof::Failed { error: error.clone() },
        (assay_certify::Verdict::Misclassified, _) => {
            Proof::Failed { error: "the prediction was another one when it was to be certified".to_owned() }
        }
        (assay_certify::Verdict::Certified | assay_certify::Verdict::Unknown, _) => Proof::Unknown,
    }
}

#[derive(Clone, Copy)]
struct Chunk<'a> {
    audit: &'a Audit<'a>,
    subject: &'a Subject<'a>,
    tally: &'a Tally,
    step: Step,
}

/// One attack of one evaluation.
struct Stage<'a> {
    threat: ThreatId,
    number: u32,
    spec: &'a Threat,
    attack: &'a dyn assay_attack::Attack,
}

impl Chunk<'_> {
    fn classified(&self, cancel: &Cancel) -> Result<Clean, AuditError> {
        let start = Instant::now();
        let rows: Vec<usize> = self.tally.setup().samples_of(self.step.chunk).collect();
        let samples = self.samples(&rows);
        let predictions = classes(self.subject, &samples.view(), cancel)?;
        let cost = Cost { queries: rows.len() as u64, gradients: 0 };
        let Step { model, chunk, .. } = self.step;
        Ok(Clean { model, chunk, predictions, cost, seconds: start.elapsed().as_secs_f64() })
    }

    /// Times predictions of the chunk's first sample by the first model and by this one, in turn.
    fn timed(&self, first: &Subject<'_>, cancel: &Cancel) -> Result<Latency, AuditError> {
        let start = Instant::now();
        let Step { model, chunk, .. } = self.step;
        let row = self.tally.setup().samples_of(chunk).start;
        let both = [Chunk { subject: first, ..*self }, *self];
        let samples = both.each_ref().map(|of| of.samples(&[row]));
        let timed = || -> Result<[f64; 2], AuditError> {
            let mut seconds = [0.0; 2];
            for ((of, sample), seconds) in both.iter().zip(&samples).zip(&mut seconds) {
                let start = Instant::now();
                classes(of.subject, &sample.view(), cancel)?;
                *seconds = start.elapsed().as_secs_f64();
            }
            Ok(seconds)
        };
        for _ in 0..WARM_UP {
            timed()?;
        }
        let rounds: Vec<_> = (0..self.tally.setup().rounds()).map(|_| timed()).collect::<Result<_, _>>()?;
        let cost = Cost { queries: 2 * (rounds.len() as u64 + WARM_UP), gradients: 0 };
        Ok(Latency { model, chunk, rounds, cost, seconds: start.elapsed().as_secs_f64() })
    }

    /// Certifies the samples that the model classifies correctly, whatever attacks did to them.
    fn certified(
        &self,
        threat: ThreatId,
        spec: &Threat,
        report: &mut dyn FnMut(Inside),
        cancel: &Cancel,
    ) -> Result<Certified, AuditError> {
        let start = Instant::now();
        let Step { model, chunk, .. } = self.step;
        let who = self.tally.correct(self.step);
        let missing = || AuditError::Inconsistent(self.tally.inconsistent("it is about what is not in the plan"));
        let methods = self.tally.setup().certified_by(threat).ok_or_else(missing)?;
        let mut proofs = Vec::with_capacity(who.len());
        if !who.is_empty() {
            let certifier = self.subject.certifier.ok_or_else(|| nobody(self.subject))?;
            let labels: Vec<Class> = who.iter().filter_map(|&i| self.tally.prediction(model, i)).map(Class).collect();
            let images = self.samples(&who);
            let job = assay_certify::Job {
                images: images.view(),
                labels: &labels,
                neighbourhood: Neighbourhood::Threat(spec),
                methods: &methods,
                until: Until::Certified,
            };
            let mut inside = |now: assay_certify::Progress| report(Inside { steps: now.done as u64, lost: 0 });
            let found = certifier.certify(&job, &mut inside, cancel).map_err(|error| match error {
                CertifyError::Run(RunError::Cancelled) => AuditError::Stopped,
                source => AuditError::Certify { model: self.subject.name.clone(), source },
            })?;
            let proof = |(i, found): (&usize, &Certificate)| SampleProof {
                sample: self.tally.position(*i),
                proof: proof(found),
            };
            proofs.extend(who.iter().zip(&found).map(proof));
        }
        Ok(Certified { model, threat, chunk, proofs, seconds: start.elapsed().as_secs_f64() })
    }

    /// Attacks what the attacks before it left, and shows some of the correct samples that it broke.
    fn attacked(
        &self,
        stage: &Stage<'_>,
        report: &mut dyn FnMut(Inside),
        cancel: &Cancel,
    ) -> Result<Attacked, AuditError> {
        let start = Instant::now();
        let Step { model, chunk, .. } = self.step;
        let (threat, attack) = (stage.threat, stage.number);
        let mut event = Attacked {
            model,
            threat,
            attack,
            chunk,
            outcomes: Vec::new(),
            flags: Vec::new(),
            examples: Vec::new(),
            cost: Cost::default(),
            checks: Cost::default(),
            seconds: 0.0,
        };
        let room = self.tally.room(model, threat);
        let (mut steps, mut lost) = (0, 0);
        // Apart, because what is said of the correct ones must not depend on the others.
        for (who, correct) in self.tally.standing(self.step, threat).iter().zip([true, false]) {
            if who.is_empty() {
                continue;
            }
            let images = self.samples(who);
            let mut inside = |p: assay_attack::Progress| {
                report(Inside { steps: steps + p.steps_done, lost: lost + if correct { p.broken } else { 0 } });
            };
            let attacked = self.job(stage, who, &images, cancel, &mut inside)?;
            steps += who.len() as u64 * stage.attack.evaluations();
            event.cost += attacked.cost;
            event.checks += attacked.checks;
            for flag in attacked.flags {
                match event.flags.iter_mut().find(|known| known.kind == flag.kind) {
                    Some(known) => known.samples += flag.samples,
                    None => event.flags.push(flag),
                }
            }
            let rows = images.rows().into_iter().zip(attacked.adversarial.rows());
            let mut results: Vec<SampleResult> =
                attacked.outcomes.iter().map(|outcome| self.settled(outcome)).collect();
            event.checks.queries += self.show(&attacked.adversarial, &mut results, cancel)?;
            for ((outcome, result), (clean, adversarial)) in attacked.outcomes.iter().zip(results).zip(rows) {
                lost += u64::from(correct && result.fate != Fate::Held);
                if result.fate == Fate::Changed && correct && event.examples.len() < room {
                    event.examples.push(self.example(stage, outcome, &clean, &adversarial));
                }
                event.outcomes.push(result);
            }
        }
        event.outcomes.sort_unstable_by_key(|outcome| outcome.sample);
        event.flags.sort_unstable_by_key(|flag| flag.kind);
        event.seconds = start.elapsed().as_secs_f64();
        let name = stage.attack.description().name;
        tracing::debug!(model = self.subject.name, attack = name, chunk, "a chunk of samples was attacked");
        Ok(event)
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
        let labels: Vec<Class> =
            who.iter().filter_map(|&i| self.tally.prediction(self.step.model, i)).map(Class).collect();
        let ids: Vec<SampleId> = who.iter().map(|&i| SampleId(self.tally.position(i))).collect();
        let job = Job {
            classifier: self.subject.classifier,
            attack: stage.attack,
            threat: stage.spec,
            goal: &Goal::Untargeted,
            images: images.view(),
            labels: &labels,
            ids: &ids,
            seed: self.audit.plan.seed,
            batch: self.subject.batch,
            budget: Budget::default(),
            eight_bit: false,
            checks: true,
        };
        let fail = |source| AuditError::Attack { model: self.subject.name.clone(), source };
        let attacked = assay_attack::run(&job, report, cancel).map_err(fail)?;
        if attacked.stopped.is_some() { Err(AuditError::Stopped) } else { Ok(attacked) }
    }

    /// Shows the adversarial samples, one for each result, that changed a prediction to the other model, if the plan says so, and gives their number.
    fn show(
        &self,
        adversarial: &Array2<f32>,
        results: &mut [SampleResult],
        cancel: &Cancel,
    ) -> Result<u64, AuditError> {
        let others = || (0..).zip(self.audit.subjects).filter(|(i, _)| *i != self.step.model.0);
        let Some((_, other)) = others().next().filter(|_| self.audit.plan.transfer) else { return Ok(0) };
        let found: Vec<usize> = (0..).zip(&*results).filter(|(_, r)| r.found.is_some()).map(|(i, _)| i).collect();
        if found.is_empty() {
            return Ok(0);
        }
        let chosen = adversarial.select(Axis(0), &found);
        // Both take values in the same range, which was checked before; a flat vector has the elements in the order of the other's.
        let (ours, theirs) = (&self.subject.classifier.spec().sample_shape, &other.classifier.spec().sample_shape);
        let shown = laid_out(&chosen.view(), ours, theirs).map_or_else(|| chosen.clone(), CowArray::into_owned);
        let classes = classes(other, &shown.view(), cancel)?;
        for (&i, class) in found.iter().zip(classes) {
            if let Some(found) = results.get_mut(i).and_then(|result| result.found.as_mut()) {
                found.elsewhere = class;
            }
        }
        Ok(found.len() as u64)
    }

    /// What became of a sample's prediction.
    fn settled(&self, outcome: &SampleOutcome) -> SampleResult {
        let fate = match outcome.outcome {
            Outcome::Robust => Fate::Held,
            Outcome::Broken => Fate::Changed,
            // Attacked away from its prediction, a sample is misclassified only if the prediction was another one this time.
            // A plan has no attack that is made from samples.
            Outcome::Unstable | Outcome::Misclassified | Outcome::Fitted => Fate::Unstable,
            Outcome::Error => Fate::Error,
        };
        if fate == Fate::Error {
            let (model, error) = (&self.subject.name, outcome.error.as_deref().unwrap_or_default());
            tracing::warn!(model, sample = outcome.id.0, error, "a sample could not be measured");
        }
        let found = (fate == Fate::Changed).then(|| Found {
            prediction: outcome.adversarial_prediction.map_or(outcome.label.0, |class| class.0),
            elsewhere: None,
            by: outcome.broken_by.clone().unwrap_or_default(),
            distance: outcome.distance,
        });
        SampleResult { sample: outcome.id.0, fate, found, error: outcome.error.clone() }
    }

    fn example(
        &self,
        stage: &Stage<'_>,
        outcome: &SampleOutcome,
        clean: &ArrayView1<'_, f32>,
        adversarial: &ArrayView1<'_, f32>,
    ) -> Example {
        let class = |class: Option<Class>| class.map_or(outcome.label.0, |class| class.0);
        Example {
            model: self.step.model,
            threat: stage.threat,
            attack: stage.number,
            sample: outcome.id.0,
            label: outcome.label.0,
            clean_prediction: class(outcome.clean_prediction),
            adversarial_prediction: class(outcome.adversarial_prediction),
            distance: outcome.distance,
            pictures: self.pictures(clean, adversarial),
        }
    }

    /// Drawn as the data has them, channels first.
    fn pictures(&self, clean: &ArrayView1<'_, f32>, adversarial: &ArrayView1<'_, f32>) -> Option<Pictures> {
        let (ours, theirs) = (self.audit.data.sample_shape(), &self.subject.classifier.spec().sample_shape);
        let drawn = |row: &ArrayView1<'_, f32>| {
            let row = row.insert_axis(Axis(0));
            // A flat vector has the elements in the data's order.
            laid_out(&row, theirs, ours).map_or_else(|| row.to_owned(), |row| row.into_owned())
        };
        let (clean, adversarial) = (drawn(clean), drawn(adversarial));
        Pictures::draw(ours, self.subject.bounds, &clean.row(0), &adversarial.row(0))
    }

    /// Samples in the model's layout, moved from the data's range to the model's. They fit: it was checked before.
    fn samples(&self, rows: &[usize]) -> Array2<f32> {
        let (data, subject) = (self.audit.data, self.subject);
        let chosen = data.samples().select(Axis(0), rows);
        let samples = laid_out(&chosen.view(), data.sample_shape(), &subject.classifier.spec().sample_shape)
            .map_or_else(|| chosen.clone(), |samples| samples.into_owned());
        let (from, bounds) = (data.bounds(), subject.bounds);
        if from == bounds {
            return samples;
        }
        let [low, high, from_low, from_high] = [bounds.low(), bounds.high(), from.low(), from.high()].map(f64::from);
        let scale = (high - low) / (from_high - from_low);
        samples.mapv_into(|value| {
            ((low + (f64::from(value) - from_low) * scale) as f32).clamp(bounds.low(), bounds.high())
        })
    }
}
