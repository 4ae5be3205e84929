//! Events to report: the only way a report is made.

use assay_attack::{BLACK_BOX_SHARE, Cost, FlagKind};

use super::{
    AttackResult, ByMethod, ClassResult, Comparison, Failure, ModelResult, Raised, Report, Run, SCHEMA, Samples, Seen,
    ThreatResult, Timed, Transfer, Verified,
};
use crate::baseline::{Marks, Right, survived};
use crate::event::{Event, Fate, ModelId, Proof, SampleResult, Setup, ThreatFacts, ThreatId};
use crate::judge::judge;
use crate::plan::Order;
use crate::stats::{Estimate, Paired};
use crate::tally::{Inconsistent, OfModel, OfThreat, Tally};

impl Report {
    /// Makes the report of the events of one audit, in order.
    ///
    /// # Errors
    /// The events are not those of one whole audit.
    pub fn fold<'e>(events: impl IntoIterator<Item = &'e Event>) -> Result<Self, Inconsistent> {
        Self::of(&Tally::of(events)?)
    }

    /// Makes the report of a tally.
    ///
    /// # Errors
    /// The audit did not end.
    pub fn of(tally: &Tally) -> Result<Self, Inconsistent> {
        let fail = |reason| tally.inconsistent(reason);
        if !tally.is_finished() {
            return Err(fail("the audit did not end"));
        }
        let setup = tally.setup();
        // A shard measures some of the samples.
        let members: Vec<usize> = setup.own_chunks().flat_map(|chunk| setup.samples_of(chunk)).collect();
        let of = Measured { tally, members: &members };
        let models: Vec<_> = (0..)
            .zip(&tally.models)
            .map(|(i, model)| of.model(i, model))
            .collect::<Option<_>>()
            .ok_or_else(|| fail("a shard without samples has no rates; use fewer shards"))?;
        let comparison = match (&setup.baseline, tally.models.as_slice()) {
            (Some(accepted), [model]) => Comparison::of(&accepted.right.of(&members), &of.right(model)),
            (None, [first, second]) => Comparison::of(&of.right(first), &of.right(second)),
            _ => None,
        };
        let flags = of.flags();
        let (verdict, gates) = judge(&setup.plan, &models, comparison.as_ref(), &flags, &tally.rounds).map_err(fail)?;
        let mut cost = Cost::default();
        models.iter().for_each(|model| cost += model.cost);
        Ok(Self {
            schema: SCHEMA.to_owned(),
            verdict,
            gates,
            comparison,
            flags,
            examples: tally.models.iter().flat_map(|m| &m.threats).flat_map(|t| &t.examples).cloned().collect(),
            cost,
            setup: setup.clone(),
            samples: Samples {
                positions: members.iter().map(|&i| tally.position(i)).collect(),
                labels: members.iter().filter_map(|&i| tally.started.labels.get(i).copied()).collect(),
            },
            run: Some(of.run()),
            models,
        })
    }
}

impl Comparison {
    /// Compares two models on the same samples; `None` if there are none.
    pub(crate) fn of(first: &Right, second: &Right) -> Option<Self> {
        let pair = |(first, second): (&Marks, &Marks)| Paired::new(&first.0, &second.0);
        let threats = first.threats.iter().zip(&second.threats).map(pair).collect::<Option<_>>()?;
        Some(Self { clean: pair((&first.clean, &second.clean))?, threats })
    }
}

/// A tally with the samples that were measured.
struct Measured<'a> {
    tally: &'a Tally,
    members: &'a [usize],
}

impl Measured<'_> {
    fn setup(&self) -> &Setup {
        self.tally.setup()
    }

    fn label(&self, i: usize) -> Option<u32> {
        self.tally.started.labels.get(i).copied()
    }

    fn count(&self, holds: impl Fn(usize) -> bool) -> u64 {
        self.members.iter().filter(|&&i| holds(i)).count() as u64
    }

    fn is_correct(&self, model: &OfModel, i: usize) -> bool {
        let prediction = prediction(model, i);
        prediction.is_some() && prediction == self.label(i)
    }

    fn is_robust(&self, model: &OfModel, threat: &OfThreat, i: usize) -> bool {
        self.is_correct(model, i) && fate(threat, i) == Some(Fate::Held)
    }

    /// `None` if there are no samples.
    fn model(&self, index: usize, model: &OfModel) -> Option<ModelResult> {
        let all = self.members.len() as u64;
        let facts = self.setup().threats.iter().zip(&model.threats);
        Some(ModelResult {
            title: title(self.setup(), index),
            clean: Estimate::new(self.count(|i| self.is_correct(model, i)), all)?,
            errors: self.count(|i| prediction(model, i).is_none()),
            classes: (0..self.setup().data.classes).filter_map(|class| self.class(model, class)).collect(),
            threats: facts
                .enumerate()
                .map(|(t, (facts, threat))| self.threat(model, facts, threat, self.shown(index, t)))
                .collect::<Option<_>>()?,
            cost: model.cost,
            predictions: self.members.iter().map(|&i| prediction(model, i)).collect(),
        })
    }

    /// What else was seen of a model under a threat, beside what its own attacks did.
    fn shown(&self, model: usize, threat: usize) -> Beside {
        Beside { shown: self.transfer(model, threat), verified: self.verified(model, threat) }
    }

    /// What certificates prove of a model under a threat; `None` where none are made.
    fn verified(&self, model: usize, threat: usize) -> Option<Verified> {
        let methods = self.setup().certified_by(ThreatId(u32::try_from(threat).ok()?))?;
        let of = self.tally.models.get(model)?.threats.get(threat)?;
        let proofs = || self.members.iter().filter_map(|&i| Some((i, of.proofs.get(i)?.as_ref()?)));
        let by = |method| {
            let own = proofs().filter(|(_, proof)| matches!(proof, Proof::Certified { by } if *by == method));
            ByMethod { method, samples: own.map(|(i, _)| self.tally.position(i)).collect() }
        };
        let methods: Vec<ByMethod> = methods.into_iter().map(by).collect();
        let failed = proofs().filter_map(|(i, proof)| match proof {
            Proof::Failed { error } => Some(Failure { sample: self.tally.position(i), error: error.clone() }),
            Proof::Certified { .. } | Proof::Unknown => None,
        });
        let misled = self.transfer(model, threat).map(|shown| shown.misled).unwrap_or_default();
        let broken = |i: usize| fate(of, i) == Some(Fate::Changed) || misled.contains(&i);
        let violated = proofs().filter(|(i, proof)| matches!(proof, Proof::Certified { .. }) && broken(*i));
        let certified = methods.iter().map(|of| of.samples.len() as u64).sum();
        Some(Verified {
            vra: Estimate::new(certified, self.members.len() as u64)?,
            unknown: proofs().filter(|(_, proof)| **proof == Proof::Unknown).count() as u64,
            failures: failed.collect(),
            violated: violated.map(|(i, _)| self.tally.position(i)).collect(),
            methods,
        })
    }

    /// What was found on the other model under a threat, shown to this one; `None` where that is not planned.
    fn transfer(&self, model: usize, threat: usize) -> Option<Shown> {
        let other = (0..self.tally.models.len()).find(|&i| i != model && self.setup().plan.transfer)?;
        let target = self.tally.models.get(model)?;
        let results = &self.tally.models.get(other)?.threats.get(threat)?.results;
        let answer = |i: usize| results.get(i)?.found.as_ref()?.elsewhere.filter(|_| self.is_correct(target, i));
        let answers = self.members.iter().map(|&i| (i, answer(i)));
        let (shown, misled) = answers.fold((0, Vec::new()), |(shown, mut misled), (i, class)| {
            misled.extend((class.is_some() && class != self.label(i)).then_some(i));
            (shown + u64::from(class.is_some()), misled)
        });
        Some(Shown { from: title(self.setup(), other), shown, misled })
    }

    fn threat(&self, model: &OfModel, facts: &ThreatFacts, threat: &OfThreat, beside: Beside) -> Option<ThreatResult> {
        let all = self.members.len() as u64;
        let correct = self.count(|i| self.is_correct(model, i));
        let correct_and = |wanted| self.count(|i| self.is_correct(model, i) && fate(threat, i) == Some(wanted));
        let mut left = correct;
        let mut attacks = Vec::new();
        for (named, of) in facts.attacks.iter().zip(&threat.attacks) {
            left = left.saturating_sub(of.lost);
            let robust = match facts.order {
                Order::Sequence => left,
                Order::Separate => correct.saturating_sub(of.lost),
            };
            attacks.push(AttackResult {
                name: named.name.clone(),
                success: Estimate::new(of.broken, of.tried),
                robust: Estimate::new(robust, all)?,
                cost: of.cost,
            });
        }
        Some(ThreatResult {
            title: facts.title(),
            robust: Estimate::new(correct_and(Fate::Held), all)?,
            verified: beside.verified,
            stability: Estimate::new(self.count(|i| fate(threat, i) == Some(Fate::Held)), all)?,
            success: Estimate::new(correct_and(Fate::Changed), correct),
            unstable: correct_and(Fate::Unstable),
            errors: correct_and(Fate::Error),
            attacks,
            transfer: match beside.shown {
                Some(shown) => Some(Transfer {
                    misled: Estimate::new(shown.misled.len() as u64, shown.shown),
                    robust: Estimate::new(correct_and(Fate::Held) - self.overlooked(model, threat, &shown), all)?,
                    from: shown.from,
                }),
                None => None,
            },
            outcomes: self.members.iter().filter_map(|&i| self.outcome(model, threat, i)).collect(),
        })
    }

    /// Samples that withstood the attacks on a model, and not what was found on the other.
    fn overlooked(&self, model: &OfModel, threat: &OfThreat, shown: &Shown) -> u64 {
        shown.misled.iter().filter(|&&i| self.is_robust(model, threat, i)).count() as u64
    }

    /// What became of a sample that has a prediction which did not hold.
    fn outcome(&self, model: &OfModel, threat: &OfThreat, i: usize) -> Option<SampleResult> {
        let worst = threat.results.get(i)?;
        if worst.fate == Fate::Held || prediction(model, i).is_none() {
            return None;
        }
        let (found, error) = (worst.found.clone(), worst.error.clone());
        Some(SampleResult { sample: self.tally.position(i), fate: worst.fate, found, error })
    }

    /// `None` if there is no sample of the class.
    fn class(&self, model: &OfModel, class: u32) -> Option<ClassResult> {
        let is_member = |i| self.label(i) == Some(class);
        let of = self.count(is_member);
        let robust = |threat| self.count(|i| is_member(i) && self.is_robust(model, threat, i));
        Some(ClassResult {
            class,
            clean: Estimate::new(self.count(|i| is_member(i) && self.is_correct(model, i)), of)?,
            robust: model.threats.iter().map(|t| Estimate::new(robust(t), of)).collect::<Option<_>>()?,
        })
    }

    fn right(&self, model: &OfModel) -> Right {
        let clean = |i| prediction(model, i).map(|_| self.is_correct(model, i));
        let all = |known: &dyn Fn(usize) -> Option<bool>| Marks(self.members.iter().map(|&i| known(i)).collect());
        let under = |threat| all(&|i| fate(threat, i).and_then(|fate| survived(clean(i), fate)));
        Right { clean: all(&clean), threats: model.threats.iter().map(under).collect() }
    }

    fn flags(&self) -> Vec<Raised> {
        let mut all: Vec<Raised> = Vec::new();
        for (index, model) in self.tally.models.iter().enumerate() {
            let id = ModelId(index as u32);
            let mut raise = |kind: FlagKind, detail: &str, seen: Seen| match all
                .iter_mut()
                .find(|raised| raised.model == id && raised.kind == kind)
            {
                Some(raised) => raised.stages.push(seen),
                None => all.push(Raised { model: id, kind, detail: detail.to_owned(), stages: vec![seen] }),
            };
            let of = self.members.len() as u64;
            let samples = self.count(|i| prediction(model, i).is_none());
            if samples > 0 {
                let seen = Seen { stage: "clean".to_owned(), samples, of };
                raise(FlagKind::NotFinite, "logits without attack are not finite", seen);
            }
            for (t, (facts, threat)) in self.setup().threats.iter().zip(&model.threats).enumerate() {
                if let Some(shown) = self.transfer(index, t) {
                    let samples = self.overlooked(model, threat, &shown);
                    if samples as f64 > BLACK_BOX_SHARE * of as f64 {
                        let stage = format!("transfer from {} {}", shown.from, facts.title());
                        let detail = "samples withstood the attacks on this model, and not what was found on the other";
                        raise(FlagKind::TransferStronger, detail, Seen { stage, samples, of });
                    }
                }
                let verified = self.verified(index, t).filter(|verified| !verified.violated.is_empty());
                if let Some(Verified { vra, violated, .. }) = verified {
                    let detail = "samples are certified, and were broken";
                    let seen = Seen { stage: facts.certifying(), samples: violated.len() as u64, of: vra.hits() };
                    raise(FlagKind::CertificateViolated, detail, seen);
                }
                for (stage, attack) in facts.stages().into_iter().zip(&threat.attacks) {
                    for flag in attack.raised() {
                        let seen = Seen { stage: stage.clone(), samples: flag.samples, of: attack.samples };
                        raise(flag.kind, what(&flag.detail), seen);
                    }
                }
            }
        }
        all.sort_by_key(|raised| (raised.model, raised.kind));
        all
    }

    fn run(&self) -> Run {
        let mut checks = Cost::default();
        let mut stages = Vec::new();
        for (id, model) in (0..).map(ModelId).zip(&self.tally.models) {
            checks += model.checks;
            let attacks: f64 = model.threats.iter().flat_map(|t| &t.attacks).map(|attack| attack.seconds).sum();
            stages.push(Timed { model: id, stage: "clean".to_owned(), seconds: model.seconds - attacks });
            for (t, (facts, threat)) in (0..).map(ThreatId).zip(self.setup().threats.iter().zip(&model.threats)) {
                for (stage, attack) in facts.stages().into_iter().zip(&threat.attacks) {
                    stages.push(Timed { model: id, stage, seconds: attack.seconds });
                }
                if self.setup().certified_by(t).is_some() {
                    stages.push(Timed { model: id, stage: facts.certifying(), seconds: threat.proof_seconds });
                }
            }
        }
        for (id, model) in (0..).map(ModelId).zip(&self.tally.models).filter(|(_, model)| model.latency_seconds > 0.0) {
            stages.push(Timed { model: id, stage: "latency".to_owned(), seconds: model.latency_seconds });
        }
        Run {
            circumstances: self.tally.started.circumstances.clone(),
            seconds: stages.iter().map(|stage| stage.seconds).sum(),
            checks,
            stages,
        }
    }
}

/// What was seen of a model under a threat beside what its own attacks did.
struct Beside {
    shown: Option<Shown>,
    verified: Option<Verified>,
}

/// What was found on one model, shown to another.
struct Shown {
    /// Title of the model that it was found on.
    from: String,
    /// Of samples that the other is right about.
    shown: u64,
    /// Those samples that it was wrong about then, rising.
    misled: Vec<usize>,
}

/// What a flag tells without the numbers of its chunk: `samples are robust, ...` of `3 of 64 samples are robust, ...`.
fn what(detail: &str) -> &str {
    let counted = detail.starts_with(|c: char| c.is_ascii_digit());
    let from = detail.find("samples").filter(|_| counted).unwrap_or(0);
    detail.get(from..).unwrap_or(detail)
}

fn prediction(model: &OfModel, i: usize) -> Option<u32> {
    model.predictions.get(i).copied().flatten().flatten()
}

fn fate(threat: &OfThreat, i: usize) -> Option<Fate> {
    threat.results.get(i).map(|worst| worst.fate)
}

/// The name, with the version where another model has the same name.
fn title(setup: &Setup, index: usize) -> String {
    let Some(model) = setup.models.get(index) else { return String::new() };
    if setup.models.iter().filter(|m| m.name == model.name).count() > 1 {
        return format!("{}@{}", model.name, model.version);
    }
    model.name.clone()
}
