//! How far an audit is, for whoever waits for it.

use serde::{Deserialize, Serialize};

use crate::event::{Fate, ModelId, Proof};
use crate::plan::{Attacks, Order};
use crate::schedule::{Step, Work};
use crate::tally::{OfModel, Tally};

/// How far an audit is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Model under test.
    pub model: ModelId,
    /// What is being done: `clean`, an attack under a threat such as `pgd Linf 0.1`, or certificates, as `certify Linf 0.1`.
    pub stage: String,
    /// Number of the stage, from 1.
    pub stage_number: u32,
    /// How many stages there are over all models.
    pub stages: u32,
    /// Samples that are measured.
    pub samples: u64,
    /// Those still correct so far in this stage; where it makes certificates, those that are certified.
    pub correct: u64,
    /// Work of this stage done, in sample-steps.
    pub steps_done: u64,
    /// The most there can be.
    pub steps_total: u64,
}

impl Progress {
    /// What the samples are that it counts: `correct`, or `certified` where it makes certificates.
    #[must_use]
    pub fn counted(&self) -> &'static str {
        if self.stage.starts_with("certify ") { "certified" } else { "correct" }
    }
}

/// How far an audit is before or after a step.
pub(super) fn at(tally: &Tally, attacks: &[Attacks], step: Step, ended: bool) -> Progress {
    let setup = tally.setup();
    let own = || setup.own_chunks();
    let ahead = || own().filter(|&chunk| if ended { chunk > step.chunk } else { chunk >= step.chunk });
    let members = || own().flat_map(|chunk| setup.samples_of(chunk));
    let samples = members().count() as u64;
    let mut progress = Progress {
        model: step.model,
        stage: "clean".to_owned(),
        stage_number: 1 + (step.model.0 as usize * setup.stages_of_one() + setup.place(step.work)) as u32,
        stages: setup.stages(),
        samples,
        correct: 0,
        steps_done: 0,
        steps_total: samples,
    };
    let Some(model) = tally.models.get(step.model.0 as usize) else { return progress };
    let correct = |i: &usize| is_correct(tally, model, *i);
    match step.work {
        Work::Clean => {
            progress.correct = members().filter(correct).count() as u64;
            progress.steps_done = samples - ahead().map(|chunk| setup.samples_of(chunk).len() as u64).sum::<u64>();
        }
        Work::Latency => {
            progress.stage = "latency".to_owned();
            progress.stage_number = progress.stages;
            progress.correct = members().filter(correct).count() as u64;
            let chunks = |chunks: usize| chunks as u64 * u64::from(setup.rounds());
            progress.steps_total = chunks(own().count());
            progress.steps_done = progress.steps_total - chunks(ahead().count());
        }
        Work::Certify { threat } => {
            let Some(facts) = setup.threats.get(threat.0 as usize) else { return progress };
            progress.stage = facts.certifying();
            let proofs = model.threats.get(threat.0 as usize).map(|of| of.proofs.as_slice()).unwrap_or_default();
            let certified = |proof: &&Option<Proof>| matches!(proof, Some(Proof::Certified { .. }));
            progress.correct = proofs.iter().filter(certified).count() as u64;
            let correct_of = |chunk: u32| tally.correct(Step { chunk, ..step }).len() as u64;
            progress.steps_total = own().map(correct_of).sum();
            progress.steps_done = progress.steps_total - ahead().map(correct_of).sum::<u64>();
        }
        Work::Attack { threat, attack } => {
            let (Some(of), Some(plan)) = (model.threats.get(threat.0 as usize), attacks.get(threat.0 as usize)) else {
                return progress;
            };
            let (Some(so_far), Some(attacker)) = (of.attacks.get(attack as usize), plan.attacks.get(attack as usize))
            else {
                return progress;
            };
            let stages = setup.threats.get(threat.0 as usize).map(|facts| facts.stages()).unwrap_or_default();
            progress.stage = stages.into_iter().nth(attack as usize).unwrap_or_default();
            let held = |i: &usize| of.results.get(*i).is_some_and(|result| result.fate == Fate::Held);
            progress.correct = match plan.order {
                Order::Sequence => members().filter(|i| correct(i) && held(i)).count() as u64,
                Order::Separate => (members().filter(correct).count() as u64).saturating_sub(so_far.lost),
            };
            let left: usize = ahead()
                .map(|chunk| tally.standing(Step { chunk, ..step }, threat).iter().map(Vec::len).sum::<usize>())
                .sum();
            progress.steps_done = so_far.samples * attacker.evaluations();
            progress.steps_total = progress.steps_done + left as u64 * attacker.evaluations();
        }
    }
    progress
}

fn is_correct(tally: &Tally, model: &OfModel, sample: usize) -> bool {
    let prediction = model.predictions.get(sample).copied().flatten().flatten();
    prediction.is_some() && prediction.as_ref() == tally.started.labels.get(sample)
}
