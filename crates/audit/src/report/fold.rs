//! Events to report: the only way a report is made.

use super::{AttackResult, ClassResult, Comparison, ModelResult, Report, SCHEMA, ThreatResult};
use crate::event::{Attacked, Clean, Cost, Event, Example, Fate, Finding, Setup};
use crate::judge::judge;
use crate::stats::{Estimate, Paired};

/// Events that do not make a report.
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

impl Report {
    /// Makes the report of the events of one audit, in order.
    ///
    /// # Errors
    /// The events are not those of one whole audit.
    pub fn fold<'e>(events: impl IntoIterator<Item = &'e Event>) -> Result<Self, Inconsistent> {
        let mut state: Option<State> = None;
        let mut position = 0;
        for event in events {
            let fail = |reason| Inconsistent { position, reason };
            match (state.as_mut(), event) {
                (None, Event::Started { setup, labels }) => state = Some(State::new(setup, labels).map_err(fail)?),
                (None, _) => return Err(fail("the first event must be the start")),
                (Some(state), event) => state.apply(event).map_err(fail)?,
            }
            position += 1;
        }
        let fail = |reason| Inconsistent { position, reason };
        state.ok_or_else(|| fail("there are no events"))?.report().map_err(fail)
    }
}

/// What is known after some events.
struct State {
    setup: Setup,
    labels: Vec<u32>,
    models: Vec<Model>,
    findings: Vec<Finding>,
    examples: Vec<Example>,
    finished: bool,
}

struct Model {
    /// Whether each sample is classified correctly, and whether it has a prediction at all; after the clean event.
    clean: Option<Vec<Sample>>,
    cost: Cost,
    threats: Vec<Threat>,
}

#[derive(Clone, Copy)]
struct Sample {
    correct: bool,
    predicted: bool,
}

#[derive(Default)]
struct Threat {
    /// One per sample, after the clean event.
    fates: Vec<Fate>,
    attacks: Vec<AttackResult>,
}

/// A number of samples, as counters of reports are.
fn count<T>(items: impl IntoIterator<Item = T>, holds: impl Fn(T) -> bool) -> u64 {
    items.into_iter().map(|item| u64::from(holds(item))).sum()
}

impl State {
    fn new(setup: &Setup, labels: &[u32]) -> Result<Self, &'static str> {
        if labels.is_empty() || setup.models.is_empty() || setup.data.samples != labels.len() as u64 {
            return Err("there are no samples or no models, or not one label per sample");
        }
        let threats = || setup.threats.iter().map(|_| Threat::default()).collect();
        let models =
            setup.models.iter().map(|_| Model { clean: None, cost: Cost::default(), threats: threats() }).collect();
        Ok(Self {
            setup: setup.clone(),
            labels: labels.to_vec(),
            models,
            findings: Vec::new(),
            examples: Vec::new(),
            finished: false,
        })
    }

    fn apply(&mut self, event: &Event) -> Result<(), &'static str> {
        if self.finished {
            return Err("the audit has ended");
        }
        match event {
            Event::Started { .. } => return Err("the audit has started already"),
            Event::Clean(clean) => self.clean(clean)?,
            Event::Attacked(attacked) => self.attacked(attacked)?,
            Event::Finding(finding) => self.findings.push(finding.clone()),
            Event::Example(example) => self.examples.push(example.as_ref().clone()),
            Event::Finished => self.finished = true,
        }
        Ok(())
    }

    fn clean(&mut self, event: &Clean) -> Result<(), &'static str> {
        let labels = &self.labels;
        let model = self.models.get_mut(event.model.0 as usize).ok_or("there is no such model")?;
        if model.clean.is_some() || event.predictions.len() != labels.len() {
            return Err("predictions are there already, or not one per sample");
        }
        let sample = |(prediction, label): (&Option<u32>, &u32)| Sample {
            correct: prediction.as_ref() == Some(label),
            predicted: prediction.is_some(),
        };
        let samples: Vec<_> = event.predictions.iter().zip(labels).map(sample).collect();
        for threat in &mut model.threats {
            threat.fates = samples.iter().map(|s| if s.predicted { Fate::Held } else { Fate::Error }).collect();
        }
        model.clean = Some(samples);
        model.cost += event.cost;
        Ok(())
    }

    fn attacked(&mut self, event: &Attacked) -> Result<(), &'static str> {
        let model = self.models.get_mut(event.model.0 as usize).ok_or("there is no such model")?;
        let facts = self.setup.threats.get(event.threat.0 as usize).ok_or("there is no such evaluation")?;
        let threat = model.threats.get_mut(event.threat.0 as usize).ok_or("there is no such evaluation")?;
        let clean = model.clean.as_ref().ok_or("the model has no predictions yet")?;
        let attack = facts.attacks.get(event.attack as usize).ok_or("there is no such attack")?;
        if event.attack as usize != threat.attacks.len() {
            return Err("the attacks are out of order");
        }
        let standing = threat.fates.iter().filter(|&&fate| fate == Fate::Held).count();
        if event.outcomes.len() != standing || !event.outcomes.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("the outcomes are not one for each sample that was left, in order");
        }
        let (mut tried, mut broken) = (0, 0);
        for (sample, fate) in &event.outcomes {
            let index = usize::try_from(*sample).map_err(|_| "there is no such sample")?;
            let slot = threat.fates.get_mut(index).ok_or("there is no such sample")?;
            if *slot != Fate::Held {
                return Err("the sample was not left by the attacks before");
            }
            *slot = *fate;
            if clean.get(index).is_some_and(|s| s.correct) {
                tried += 1;
                broken += u64::from(*fate == Fate::Changed);
            }
        }
        let robust = count(clean.iter().zip(&threat.fates), |(s, fate)| s.correct && *fate == Fate::Held);
        threat.attacks.push(AttackResult {
            name: attack.name.clone(),
            success: Estimate::new(broken, tried),
            robust: Estimate::new(robust, clean.len() as u64).ok_or("there are no samples")?,
            cost: event.cost,
        });
        model.cost += event.cost;
        Ok(())
    }

    fn report(self) -> Result<Report, &'static str> {
        if !self.finished {
            return Err("the audit did not end");
        }
        let models: Vec<_> = (0..).zip(&self.models).map(|(i, m)| self.model(i, m)).collect::<Result<_, _>>()?;
        let comparison = match self.models.as_slice() {
            [first, second] => Some(compare(first, second).ok_or("the models were not measured on the same samples")?),
            _ => None,
        };
        let (verdict, gates) = judge(&self.setup.plan, &models, comparison.as_ref(), &self.findings)?;
        let mut cost = Cost::default();
        models.iter().for_each(|m| cost += m.cost);
        let Self { setup, findings, examples, .. } = self;
        Ok(Report { schema: SCHEMA.to_owned(), verdict, gates, models, comparison, findings, examples, cost, setup })
    }

    fn model(&self, index: usize, model: &Model) -> Result<ModelResult, &'static str> {
        let clean = model.clean.as_ref().ok_or("a model has no predictions")?;
        let labels = &self.labels;
        let all = clean.len() as u64;
        let rate = |hits| Estimate::new(hits, all).ok_or("there are no samples");
        let mut threats = Vec::new();
        for (facts, threat) in self.setup.threats.iter().zip(&model.threats) {
            if threat.attacks.len() != facts.attacks.len() {
                return Err("an attack is missing");
            }
            let correct_and = |wanted| count(clean.iter().zip(&threat.fates), |(s, f)| s.correct && *f == wanted);
            threats.push(ThreatResult {
                title: facts.title(),
                robust: rate(correct_and(Fate::Held))?,
                stability: rate(count(&threat.fates, |f| *f == Fate::Held))?,
                success: Estimate::new(correct_and(Fate::Changed), count(clean, |s| s.correct)),
                unstable: correct_and(Fate::Unstable),
                errors: correct_and(Fate::Error),
                attacks: threat.attacks.clone(),
            });
        }
        let class = |class: u32| {
            let members: Vec<usize> = (0..).zip(labels).filter(|(_, l)| **l == class).map(|(i, _)| i).collect();
            let of = members.len() as u64;
            let correct = |i: &usize| clean.get(*i).is_some_and(|s| s.correct);
            let robust = |t: &Threat| count(&members, |i| correct(i) && t.fates.get(*i) == Some(&Fate::Held));
            Some(ClassResult {
                class,
                clean: Estimate::new(count(&members, correct), of)?,
                robust: model.threats.iter().map(|t| Estimate::new(robust(t), of)).collect::<Option<_>>()?,
            })
        };
        Ok(ModelResult {
            title: self.title(index),
            clean: rate(count(clean, |s| s.correct))?,
            errors: count(clean, |s| !s.predicted),
            classes: (0..self.setup.data.classes).filter_map(class).collect(),
            threats,
            cost: model.cost,
        })
    }

    /// The name, with the version where another model has the same name.
    fn title(&self, index: usize) -> String {
        let models = &self.setup.models;
        let Some(model) = models.get(index) else { return String::new() };
        if models.iter().filter(|m| m.name == model.name).count() > 1 {
            return format!("{}@{}", model.name, model.version);
        }
        model.name.clone()
    }
}

fn compare(first: &Model, second: &Model) -> Option<Comparison> {
    let correct = |m: &Model| {
        let known = |s: &Sample| s.predicted.then_some(s.correct);
        m.clean.as_ref().map(|samples| samples.iter().map(known).collect::<Vec<_>>())
    };
    let robust = |m: &Model, t: &Threat| -> Option<Vec<Option<bool>>> {
        let known = |(correct, fate): (Option<bool>, &Fate)| match (correct, fate) {
            (Some(true), Fate::Unstable | Fate::Error) => None,
            (correct, fate) => correct.map(|correct| correct && *fate == Fate::Held),
        };
        Some(correct(m)?.into_iter().zip(&t.fates).map(known).collect())
    };
    let pairs = first.threats.iter().zip(&second.threats);
    let threats = pairs.map(|(a, b)| Paired::new(&robust(first, a)?, &robust(second, b)?)).collect::<Option<_>>()?;
    Some(Comparison { clean: Paired::new(&correct(first)?, &correct(second)?)?, threats })
}
