//! What is known after some events of an audit: what a run goes on from, and what a report is made of.

use std::iter::Peekable;

use assay_attack::{BLACK_BOX_SHARE, Cost, Distance, Flag, FlagKind, Norm};

use crate::event::{
    Attacked, Certified, Clean, Event, Example, Fate, Found, Latency, ModelId, Proof, SampleResult, Setup, Started,
    ThreatId,
};
use crate::plan::Order;
use crate::schedule::{Step, Work};

/// Most adversarial samples that a report shows.
const EXAMPLES: usize = 12;

/// Events that are not those of one audit, in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event {position} does not fit the ones before it: {reason}; the record of the audit is damaged or of another version"
)]
pub struct Inconsistent {
    /// Position of the event, from 0.
    pub position: usize,
    /// What does not fit.
    pub reason: &'static str,
}

/// An audit as far as its events tell.
#[derive(Debug)]
pub struct Tally {
    pub(crate) started: Started,
    pub(crate) models: Vec<OfModel>,
    /// Seconds of predictions by the first model and by the second, in turn.
    pub(crate) rounds: Vec<[f64; 2]>,
    steps: Peekable<Steps>,
    finished: bool,
    events: usize,
}

type Steps = std::vec::IntoIter<Step>;

/// What is known of a model.
#[derive(Debug)]
pub(crate) struct OfModel {
    /// Predicted class of each sample that was classified; the inner `None`: its logits are not finite.
    pub(crate) predictions: Vec<Option<Option<u32>>>,
    pub(crate) cost: Cost,
    pub(crate) checks: Cost,
    pub(crate) seconds: f64,
    /// Apart, for the stages are the attacks and what is left.
    pub(crate) latency_seconds: f64,
    pub(crate) threats: Vec<OfThreat>,
}

/// What is known of a model under a threat.
#[derive(Debug)]
pub(crate) struct OfThreat {
    /// One per sample: of those that were attacked, the worst that an attack did.
    pub(crate) results: Vec<Worst>,
    pub(crate) attacks: Vec<OfAttack>,
    pub(crate) examples: Vec<Example>,
    /// One per sample; `None` where none was asked for: it is not classified correctly, or not yet its turn.
    pub(crate) proofs: Vec<Option<Proof>>,
    /// What they took.
    pub(crate) proof_seconds: f64,
}

/// What became of a sample under a threat.
#[derive(Clone, Debug)]
pub(crate) struct Worst {
    pub(crate) fate: Fate,
    pub(crate) found: Option<Found>,
    pub(crate) error: Option<String>,
}

/// What is known of one attack of an evaluation.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfAttack {
    /// Samples that it attacked.
    pub(crate) samples: u64,
    /// Correct ones among them.
    pub(crate) tried: u64,
    /// Of those, the ones that it broke.
    pub(crate) broken: u64,
    /// Of those, the ones that were not held in whatever way.
    pub(crate) lost: u64,
    pub(crate) cost: Cost,
    pub(crate) seconds: f64,
    /// One of each kind, with the number of samples of all chunks.
    pub(crate) flags: Vec<Flag>,
}

impl Tally {
    /// What the first event tells.
    ///
    /// # Errors
    /// It is not the start of an audit.
    pub fn new(first: &Event) -> Result<Self, Inconsistent> {
        let fail = |reason| Err(Inconsistent { position: 0, reason });
        let Event::Started(started) = first else { return fail("the first event must be the start") };
        let Started { setup, labels, positions, .. } = started.as_ref();
        if labels.is_empty() || setup.models.is_empty() || setup.data.samples != labels.len() as u64 {
            return fail("there are no samples or no models, or not one label per sample");
        }
        if !positions.is_empty() && positions.len() != labels.len() {
            return fail("there is not one position per sample");
        }
        let held = Worst { fate: Fate::Held, found: None, error: None };
        let threat = |attacks: usize| OfThreat {
            results: vec![held.clone(); labels.len()],
            attacks: vec![OfAttack::default(); attacks],
            examples: Vec::new(),
            proofs: vec![None; labels.len()],
            proof_seconds: 0.0,
        };
        let model = || OfModel {
            predictions: vec![None; labels.len()],
            cost: Cost::default(),
            checks: Cost::default(),
            seconds: 0.0,
            latency_seconds: 0.0,
            threats: setup.threats.iter().map(|facts| threat(facts.attacks.len())).collect(),
        };
        let models = setup.models.iter().map(|_| model()).collect();
        let steps = setup.steps().collect::<Vec<_>>().into_iter().peekable();
        Ok(Self { started: started.as_ref().clone(), models, rounds: Vec::new(), steps, finished: false, events: 1 })
    }

    /// What some events tell.
    ///
    /// # Errors
    /// They are not the first events of one audit.
    pub fn of<'e>(events: impl IntoIterator<Item = &'e Event>) -> Result<Self, Inconsistent> {
        let mut events = events.into_iter();
        let first = events.next().ok_or(Inconsistent { position: 0, reason: "there are no events" })?;
        let mut tally = Self::new(first)?;
        events.try_for_each(|event| tally.add(event))?;
        Ok(tally)
    }

    /// Takes note of the next event.
    ///
    /// # Errors
    /// It is not what comes next. The tally is as it was before.
    pub fn add(&mut self, event: &Event) -> Result<(), Inconsistent> {
        self.apply(event).map_err(|reason| self.inconsistent(reason))?;
        self.events += 1;
        Ok(())
    }

    /// What is measured, on what, with what.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.started.setup
    }

    /// An error about the next event.
    pub(crate) fn inconsistent(&self, reason: &'static str) -> Inconsistent {
        Inconsistent { position: self.events, reason }
    }

    /// What the next event must tell of; `None`: everything was measured.
    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.peek().copied()
    }

    /// Whether the last event of the audit is there.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Positions of the samples that a model classified correctly, and of those it classified as something else, in a chunk: those that the next attack
    /// of a threat attacks. Rising.
    pub(crate) fn standing(&self, step: Step, threat: ThreatId) -> [Vec<usize>; 2] {
        let Some(model) = self.models.get(step.model.0 as usize) else { return Default::default() };
        let of = model.threats.get(threat.0 as usize);
        let sequence = self.order(threat) == Some(Order::Sequence);
        let mut groups: [Vec<usize>; 2] = Default::default();
        for i in self.started.setup.samples_of(step.chunk) {
            let Some(Some(prediction)) = model.predictions.get(i).copied().flatten() else { continue };
            let held = of.and_then(|of| of.results.get(i)).is_some_and(|result| result.fate == Fate::Held);
            if held || !sequence {
                let correct = self.started.labels.get(i) == Some(&prediction);
                groups[usize::from(!correct)].push(i);
            }
        }
        groups
    }

    /// Positions of the samples of a chunk that a model classifies correctly: those that are certified. Rising.
    pub(crate) fn correct(&self, step: Step) -> Vec<usize> {
        let is_correct = |i: &usize| {
            let prediction = self.prediction(step.model, *i);
            prediction.is_some() && prediction.as_ref() == self.started.labels.get(*i)
        };
        self.started.setup.samples_of(step.chunk).filter(is_correct).collect()
    }

    /// Class that a model predicts for a sample; `None` where it has none, or none yet.
    pub(crate) fn prediction(&self, model: ModelId, sample: usize) -> Option<u32> {
        self.models.get(model.0 as usize)?.predictions.get(sample).copied().flatten().flatten()
    }

    /// How many more adversarial samples of a threat are worth showing.
    pub(crate) fn room(&self, model: ModelId, threat: ThreatId) -> usize {
        let share = (EXAMPLES / (self.models.len() * self.setup().threats.len()).max(1)).max(1);
        let of = self.models.get(model.0 as usize).and_then(|model| model.threats.get(threat.0 as usize));
        share.saturating_sub(of.map_or(share, |of| of.examples.len()))
    }

    /// Position of a sample in the whole data set.
    pub(crate) fn position(&self, sample: usize) -> u64 {
        self.started.positions.get(sample).copied().unwrap_or(sample as u64)
    }

    fn order(&self, threat: ThreatId) -> Option<Order> {
        self.setup().threats.get(threat.0 as usize).map(|facts| facts.order)
    }

    fn apply(&mut self, event: &Event) -> Result<(), &'static str> {
        if self.finished {
            return Err("the audit has ended");
        }
        match event {
            Event::Started(_) => return Err("the audit has started already"),
            Event::Clean(clean) => self.clean(clean)?,
            Event::Attacked(attacked) => self.attacked(attacked)?,
            Event::Certified(certified) => self.certified(certified)?,
            Event::Timed(timed) => self.timed(timed)?,
            Event::Finished if self.steps.peek().is_some() => return Err("something was not measured"),
            Event::Finished => {
                self.finished = true;
                return Ok(());
            }
        }
        self.steps.next();
        Ok(())
    }

    /// Whether this is what comes next.
    fn expect(&mut self, step: Step) -> Result<(), &'static str> {
        if self.next_step() == Some(step) { Ok(()) } else { Err("it is not what comes next") }
    }

    fn clean(&mut self, event: &Clean) -> Result<(), &'static str> {
        self.expect(Step { model: event.model, work: Work::Clean, chunk: event.chunk })?;
        let samples = self.started.setup.samples_of(event.chunk);
        let model = self.models.get_mut(event.model.0 as usize).ok_or("there is no such model")?;
        let slots = model.predictions.get_mut(samples.clone()).ok_or("there are no such samples")?;
        if slots.len() != event.predictions.len() {
            return Err("the predictions are not one per sample");
        }
        for (slot, prediction) in slots.iter_mut().zip(&event.predictions) {
            *slot = Some(*prediction);
        }
        for (i, _) in samples.zip(&event.predictions).filter(|(_, prediction)| prediction.is_none()) {
            for result in model.threats.iter_mut().filter_map(|threat| threat.results.get_mut(i)) {
                result.fate = Fate::Error;
            }
        }
        model.cost += event.cost;
        model.seconds += event.seconds;
        Ok(())
    }

    fn timed(&mut self, event: &Latency) -> Result<(), &'static str> {
        self.expect(Step { model: event.model, work: Work::Latency, chunk: event.chunk })?;
        if event.rounds.len() != self.setup().rounds() as usize {
            return Err("there are not as many rounds as planned");
        }
        let model = self.models.get_mut(event.model.0 as usize).ok_or("there is no such model")?;
        model.checks += event.cost;
        model.latency_seconds += event.seconds;
        self.rounds.extend(&event.rounds);
        Ok(())
    }

    fn certified(&mut self, event: &Certified) -> Result<(), &'static str> {
        let step = Step { model: event.model, work: Work::Certify { threat: event.threat }, chunk: event.chunk };
        self.expect(step)?;
        let correct = self.correct(step);
        if !event.proofs.iter().map(|proof| proof.sample).eq(correct.iter().map(|&i| self.position(i))) {
            return Err("the proofs are not one for each sample that is classified correctly, in order");
        }
        let model = self.models.get_mut(event.model.0 as usize).ok_or("there is no such model")?;
        let threat = model.threats.get_mut(event.threat.0 as usize).ok_or("there is no such evaluation")?;
        for (i, of) in correct.into_iter().zip(&event.proofs) {
            if let Some(slot) = threat.proofs.get_mut(i) {
                *slot = Some(of.proof.clone());
            }
        }
        threat.proof_seconds += event.seconds;
        Ok(())
    }

    fn attacked(&mut self, event: &Attacked) -> Result<(), &'static str> {
        let work = Work::Attack { threat: event.threat, attack: event.attack };
        let step = Step { model: event.model, work, chunk: event.chunk };
        self.expect(step)?;
        let mut standing = self.standing(step, event.threat).concat();
        standing.sort_unstable();
        let positions = standing.iter().map(|&i| self.position(i));
        if !event.outcomes.iter().map(|outcome| outcome.sample).eq(positions) {
            return Err("the outcomes are not one for each sample that was left, in order");
        }
        let room = self.room(event.model, event.threat);
        let norm = self.setup().threats.get(event.threat.0 as usize).map(|facts| facts.norm);
        let labels = &self.started.labels;
        let model = self.models.get_mut(event.model.0 as usize).ok_or("there is no such model")?;
        let threat = model.threats.get_mut(event.threat.0 as usize).ok_or("there is no such evaluation")?;
        let attack = threat.attacks.get_mut(event.attack as usize).ok_or("there is no such attack")?;
        for (i, outcome) in standing.into_iter().zip(&event.outcomes) {
            let prediction = model.predictions.get(i).copied().flatten().flatten();
            if prediction.as_ref() == labels.get(i) {
                attack.tried += 1;
                attack.broken += u64::from(outcome.fate == Fate::Changed);
                attack.lost += u64::from(outcome.fate != Fate::Held);
            }
            if let (Some(result), Some(norm)) = (threat.results.get_mut(i), norm) {
                result.worse(outcome, norm);
            }
        }
        attack.samples += event.outcomes.len() as u64;
        attack.cost += event.cost;
        attack.seconds += event.seconds;
        event.flags.iter().for_each(|flag| attack.flag(flag));
        threat.examples.extend(event.examples.iter().take(room).cloned());
        model.cost += event.cost;
        model.checks += event.checks;
        model.seconds += event.seconds;
        Ok(())
    }
}

impl Worst {
    /// Takes note of what one more attack did. A change counts whatever else happened; of two, the nearer sample.
    fn worse(&mut self, outcome: &SampleResult, norm: Norm) {
        let rank = |fate| match fate {
            Fate::Held => 0,
            Fate::Error => 1,
            Fate::Unstable => 2,
            Fate::Changed => 3,
        };
        let length =
            |found: &Option<Found>| found.as_ref().map_or(f64::INFINITY, |found| length(&found.distance, norm));
        let nearer = || length(&outcome.found) < length(&self.found);
        if rank(outcome.fate) > rank(self.fate) || (outcome.fate == Fate::Changed && nearer()) {
            let SampleResult { fate, found, error, .. } = outcome.clone();
            *self = Self { fate, found, error };
        }
    }
}

/// A distance in one norm.
pub(crate) fn length(distance: &Distance, norm: Norm) -> f64 {
    match norm {
        Norm::Linf => distance.linf,
        Norm::L2 => distance.l2,
        Norm::L1 => distance.l1,
        Norm::L0 => distance.l0 as f64,
    }
}

impl OfAttack {
    /// Takes note of a flag of one more chunk.
    fn flag(&mut self, flag: &Flag) {
        match self.flags.iter_mut().find(|known| known.kind == flag.kind) {
            Some(known) => known.samples += flag.samples,
            None => {
                self.flags.push(flag.clone());
                self.flags.sort_by_key(|flag| flag.kind);
            }
        }
    }

    /// What is to be said of the whole attack.
    pub(crate) fn raised(&self) -> impl Iterator<Item = &Flag> {
        let few = |flag: &&Flag| {
            flag.kind == FlagKind::BlackBoxStronger && flag.samples as f64 <= BLACK_BOX_SHARE * self.samples as f64
        };
        self.flags.iter().filter(move |flag| !few(flag))
    }
}
