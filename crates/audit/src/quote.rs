//! What an audit costs at most, before it is made: the evaluations of each of its stages, and how long they take models whose pace is known.

use assay_attack::Cost;

use crate::event::ModelId;
use crate::plan::{Plan, PlanError};
use crate::run::{chunk::WARM_UP, facts};
use crate::schedule::{self, Shard};

/// What an audit costs at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Samples that are measured: of a shard, its part.
    pub samples: u64,
    /// Most samples that a stage works on at a time, whatever the batch of whoever carries it out.
    pub chunk: u32,
    /// The stages in the order in which they are made: those of the first model, then those of the second.
    pub stages: Vec<StageQuote>,
}

/// What a stage costs at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageQuote {
    /// Model under test.
    pub model: ModelId,
    /// What is done, as [`Progress::stage`](crate::Progress::stage) says it.
    pub stage: String,
    /// Threat and attack; `None`: the samples are classified, or some of them to time it.
    pub attack: Option<(String, &'static str)>,
    /// Evaluations of all samples together, those that look for flags apart.
    pub cost: Cost,
    /// Certificates that are asked for at most: one by each method for each sample. How long they take is not known before.
    pub certificates: u64,
}

/// How long a model takes for one sample, as one of a batch, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Forward only.
    pub query: f64,
    /// Forward and backward; `None`: it has no gradient, or none was measured.
    pub gradient: Option<f64>,
}

impl Quote {
    /// Counts what `plan` costs on so many samples, of `features` elements each.
    ///
    /// In a sequence each attack sees what those before it left, and a sample that is broken costs no further evaluations; at most, nothing is broken before its
    /// last evaluation. What is found then is shown to the other model, where the plan says so.
    ///
    /// # Errors
    /// As [`Plan::check`].
    pub fn of(plan: &Plan, samples: u64, features: usize, shard: Option<Shard>) -> Result<Self, PlanError> {
        let chunk = schedule::chunk(features);
        let rounds = schedule::rounds(schedule::chunks(samples, chunk));
        let samples = own_samples(samples, chunk, shard);
        let attacks = plan.attacks()?;
        let shown = Cost { queries: plan.transfer.into(), gradients: 0 };
        let certified = plan.certified();
        let methods = plan.certification.as_ref().map_or(0, |certification| certification.methods().len() as u64);
        let mut stages = Vec::new();
        for (model, _) in (0..).map(ModelId).zip(&plan.models) {
            let clean = Cost { queries: samples, gradients: 0 };
            stages.push(StageQuote { model, stage: "clean".to_owned(), attack: None, cost: clean, certificates: 0 });
            for of in &attacks {
                for (attack, stage) in of.attacks.iter().zip(facts(of).stages()) {
                    let name = attack.description().name;
                    let mut each = attack.worst_case();
                    each += shown;
                    let cost = times(each, samples);
                    stages.push(StageQuote { model, stage, attack: Some((of.title(), name)), cost, certificates: 0 });
                }
                if certified.contains(&of.title()) {
                    let (stage, certificates) = (facts(of).certifying(), samples.saturating_mul(methods));
                    stages.push(StageQuote { model, stage, attack: None, cost: Cost::default(), certificates });
                }
            }
        }
        if let (Some(_), Some(second)) = (plan.latency_gate(), plan.models.len().checked_sub(1)) {
            // Both models; the second stands for the two.
            let of_a_chunk = Cost { queries: 2 * (u64::from(rounds) + WARM_UP), gradients: 0 };
            let cost = times(of_a_chunk, schedule::chunks(samples, chunk).into());
            stages.push(StageQuote {
                model: ModelId(second as u32),
                stage: "latency".to_owned(),
                attack: None,
                cost,
                certificates: 0,
            });
        }
        Ok(Self { samples, chunk, stages })
    }

    /// All of it.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let sum = |of: fn(&Cost) -> u64| self.stages.iter().map(|stage| of(&stage.cost)).fold(0, u64::saturating_add);
        Cost { queries: sum(|cost| cost.queries), gradients: sum(|cost| cost.gradients) }
    }

    /// Certificates that are asked for at most.
    #[must_use]
    pub fn certificates(&self) -> u64 {
        self.stages.iter().map(|stage| stage.certificates).fold(0, u64::saturating_add)
    }

    /// Whether a stage of this model needs its gradient.
    #[must_use]
    pub fn differentiates(&self, model: ModelId) -> bool {
        self.stages.iter().any(|stage| stage.model == model && stage.cost.gradients > 0)
    }
}

impl Pace {
    /// Seconds that these evaluations take; `None`: there are gradients among them, whose pace is not known.
    #[must_use]
    pub fn seconds(&self, cost: Cost) -> Option<f64> {
        let gradients = if cost.gradients == 0 { 0.0 } else { cost.gradients as f64 * self.gradient? };
        Some(cost.queries as f64 * self.query + gradients)
    }
}

fn times(cost: Cost, samples: u64) -> Cost {
    Cost { queries: cost.queries.saturating_mul(samples), gradients: cost.gradients.saturating_mul(samples) }
}

/// Samples of the chunks of a shard.
fn own_samples(samples: u64, chunk: u32, shard: Option<Shard>) -> u64 {
    let (shard, chunk) = (shard.unwrap_or(Shard::ALL), u64::from(chunk));
    let (whole, rest) = (samples / chunk, samples % chunk);
    let (index, of) = (u64::from(shard.index()), u64::from(shard.of()));
    let own = whole / of + u64::from(index < whole % of);
    own * chunk + if index == whole % of { rest } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    const PLAN: &str = "schema = 1\nmodels = [{ name = \"a\" }, { name = \"b\" }]\n\
        [[evaluations]]\nnorm = \"Linf\"\neps = \"0.1\"\nattacks = [{ name = \"fgsm\" }, { name = \"pgd\", parameters = { steps = 40 } }]\n\
        [[evaluations]]\nnorm = \"Linf\"\neps = \"0.2\"\nattacks = [{ name = \"square\", parameters = { queries = 100 } }]\n";

    fn quote(samples: u64, shard: Option<Shard>) -> Quote {
        Quote::of(&Plan::parse(PLAN).unwrap(), samples, 784, shard).unwrap()
    }

    #[test]
    fn stages_are_those_of_the_run_with_the_worst_case_of_all_samples() {
        let quote = quote(100, None);
        let read = |stage: &StageQuote| (stage.model.0, stage.stage.clone(), stage.cost);
        let cost = |queries, gradients| Cost { queries, gradients };
        let plan = Plan::parse(PLAN).unwrap();
        let attacks: Vec<Cost> = plan.quote().unwrap().iter().map(|stage| times(stage.cost, 100)).collect();
        let names = ["clean", "fgsm Linf 0.1", "pgd Linf 0.1", "square Linf 0.2"];
        let costs = [&[cost(100, 0)], attacks.as_slice()].concat();
        let expected: Vec<_> = [0, 1]
            .iter()
            .flat_map(|&model| names.iter().zip(&costs).map(move |(name, cost)| (model, (*name).to_owned(), *cost)))
            .collect();
        assert_eq!(quote.stages.iter().map(read).collect::<Vec<_>>(), expected);
        assert_eq!(quote.stages[2].attack, Some(("Linf 0.1".to_owned(), "pgd")));
        let total = |of: fn(&Cost) -> u64| expected.iter().map(|(_, _, cost)| of(cost)).sum::<u64>();
        assert_eq!(quote.cost(), cost(total(|cost| cost.queries), total(|cost| cost.gradients)));
        assert!(quote.differentiates(ModelId(1)) && !quote.differentiates(ModelId(2)));
    }

    #[test]
    fn what_is_shown_to_the_other_model_is_counted() {
        let with = Quote::of(&Plan::parse(&format!("transfer = true\n{PLAN}")).unwrap(), 100, 784, None).unwrap();
        let [with, without] = [with, quote(100, None)].map(|quote| quote.cost());
        // Three attacks on each of two models.
        assert_eq!((with.queries, with.gradients), (without.queries + 6 * 100, without.gradients));
    }

    #[test]
    fn a_gate_on_latency_costs_its_rounds() {
        let plan = Plan::parse(&format!("gates = [{{ max_latency_ratio = 1.2 }}]\n{PLAN}")).unwrap();
        let quote = |shard| Quote::of(&plan, 1000, 784, shard).unwrap();
        let last = quote(None).stages.pop().unwrap();
        // 16 chunks of 13 rounds, and 3 before them, by two models.
        assert_eq!((last.model, last.stage.as_str(), last.cost.queries), (ModelId(1), "latency", 16 * 2 * (13 + 3)));
        assert_eq!(quote(Shard::new(3, 8)).stages.pop().unwrap().cost.queries, 2 * 2 * (13 + 3));
    }

    #[test]
    fn certificates_are_a_stage_behind_the_attacks_of_their_threat() {
        let plan = format!("{PLAN}[certification]\nmethods = [\"ibp\", \"crown\"]\nthreats = [\"Linf 0.1\"]");
        let with = Quote::of(&Plan::parse(&plan).unwrap(), 100, 784, None).unwrap();
        let names: Vec<&str> = with.stages.iter().take(5).map(|stage| stage.stage.as_str()).collect();
        assert_eq!(names, ["clean", "fgsm Linf 0.1", "pgd Linf 0.1", "certify Linf 0.1", "square Linf 0.2"]);
        assert_eq!((with.stages[3].certificates, with.certificates()), (200, 400));
        assert_eq!(with.cost(), quote(100, None).cost());
    }

    #[test]
    fn a_shard_costs_its_part() {
        for (samples, of) in [(1, 1), (64, 3), (100, 1), (1000, 3), (1000, 16), (1024, 4), (1023, 4)] {
            let mut sum = 0;
            for index in 0..of {
                let shard = Shard::new(index, of);
                let mut setup = fixture::setup();
                (setup.data.samples, setup.chunk, setup.shard) = (samples, 64, shard);
                let own: usize = setup.own_chunks().map(|chunk| setup.samples_of(chunk).len()).sum();
                assert_eq!(quote(samples, shard).samples, own as u64, "{index}/{of} of {samples}");
                sum += own as u64;
            }
            assert_eq!(sum, samples);
        }
    }

    #[test]
    fn a_pace_makes_seconds_of_evaluations_and_says_where_it_cannot() {
        let pace = Pace { query: 0.5, gradient: Some(2.0) };
        assert_eq!(pace.seconds(Cost { queries: 4, gradients: 3 }), Some(8.0));
        let blind = Pace { gradient: None, ..pace };
        assert_eq!(blind.seconds(Cost { queries: 4, gradients: 0 }), Some(2.0));
        assert_eq!(blind.seconds(Cost { queries: 4, gradients: 1 }), None);
    }

    #[test]
    fn what_is_too_much_to_count_is_the_most_that_can_be_counted() {
        assert_eq!(quote(u64::MAX, None).cost().gradients, u64::MAX);
    }
}
