//! What became of the samples that were attacked, for people and for machines.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use assay_proto::v1::{AttackProgress, AttackResult, Cost, Flag, InputSpec, Outcome, SampleOutcome};
use ndarray::{ArrayD, ArrayView2, IxDyn};
use serde_json::json;

use crate::args::Output;
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, rate, table};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::spec::TargetArg;

/// The samples that are attacked: all of a data set, but for those that are labelled with the target.
pub(super) struct Chosen {
    all: Samples,
    kept: Vec<usize>,
    /// Those in `kept`, where they are not all.
    some: Option<Samples>,
}

impl Chosen {
    pub(super) fn new(all: Samples, target: Option<TargetArg>) -> Result<Self, ClientError> {
        // A sample cannot be turned into what it is.
        let class = target.and_then(TargetArg::class);
        let is_aimed = |i: &usize| class.is_none() || class != all.labels.get(*i).copied();
        let kept: Vec<usize> = (0..all.len()).filter(is_aimed).collect();
        if kept.is_empty() {
            return Err(ClientError::Usage(format!("{}: every sample is labelled with the target", all.name)));
        }
        let some = (kept.len() < all.len()).then(|| all.select(&kept));
        Ok(Self { all, kept, some })
    }

    pub(super) fn samples(&self) -> &Samples {
        self.some.as_ref().unwrap_or(&self.all)
    }

    /// What identifies the samples `range`: their numbers in the data set, whichever were left out. Those key the randomness.
    pub(super) fn ids(&self, range: Range<usize>) -> Vec<u64> {
        self.kept[range].iter().map(|&id| id as u64).collect()
    }

    /// The adversarial samples that were found, and which of [`Chosen::samples`] each was made of.
    pub(super) fn broken(&self, attacked: &Attacked, input: &InputSpec) -> Result<(Vec<usize>, Samples), ClientError> {
        let samples = self.samples();
        let rows = ArrayView2::from_shape(samples.values.dim(), &attacked.adversarial)
            .map_err(|error| ClientError::Protocol(format!("the adversarial batch: {error}")))?;
        let is_broken = |i: &usize| attacked.outcomes[*i].outcome() == Outcome::Broken;
        let broken: Vec<usize> = (0..attacked.outcomes.len()).filter(is_broken).collect();
        let found = samples.with_values(&rows, input).select(&broken);
        Ok((broken, found))
    }

    /// Writes a row for each sample of the data set: the clean one where it was left out.
    pub(super) fn save(&self, file: &Path, attacked: &Attacked, input: &InputSpec) -> Result<(), ClientError> {
        let mut rows = self.all.scaled(0..self.all.len(), input);
        let adversarial = ArrayView2::from_shape((self.kept.len(), rows.ncols()), &attacked.adversarial)
            .map_err(|error| ClientError::Protocol(format!("the adversarial batch: {error}")))?;
        for (row, &i) in adversarial.outer_iter().zip(&self.kept) {
            rows.row_mut(i).assign(&row);
        }
        let sizes = input.shape.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX));
        let shape: Vec<usize> = std::iter::once(rows.nrows()).chain(sizes).collect();
        let array: ArrayD<f32> = rows
            .into_shape_with_order(IxDyn(&shape))
            .map_err(|error| ClientError::Protocol(format!("the adversarial batch: {error}")))?;
        ndarray_npy::write_npy(file, &array)
            .map_err(|error| ClientError::Environment(format!("cannot write {}: {error}", file.display())))
    }
}

/// What became of them, over all requests.
#[derive(Default)]
pub(super) struct Attacked {
    pub(super) outcomes: Vec<SampleOutcome>,
    /// Samples that were not attacked, because they are labelled with the target.
    pub(super) left_out: usize,
    /// The samples one behind the other: the adversarial one where it was broken, else the clean one.
    pub(super) adversarial: Vec<f32>,
    pub(super) cost: Cost,
    pub(super) seconds: f64,
    pub(super) checks: Cost,
    pub(super) worst_case: Cost,
    pub(super) flags: Vec<Flag>,
    /// The part of the budget that ended some sample's attack.
    pub(super) stopped: String,
}

impl Attacked {
    /// Of these samples, nothing is known yet.
    pub(super) fn none_of(chosen: &Chosen) -> Self {
        Self { left_out: chosen.all.len() - chosen.kept.len(), ..Self::default() }
    }

    /// Adds what a request found.
    pub(super) fn add(&mut self, result: AttackResult) -> Result<(), ClientError> {
        if let Some(tensor) = result.adversarial {
            let (elements, rest) = tensor.data.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(ClientError::Protocol("the adversarial batch is cut off".into()));
            }
            self.adversarial.extend(elements.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        add(&mut self.cost, result.cost);
        add(&mut self.checks, result.checks);
        add(&mut self.worst_case, result.worst_case);
        if self.stopped.is_empty() {
            self.stopped = result.stopped;
        }
        for flag in result.flags {
            self.raise(flag);
        }
        self.seconds += result.seconds;
        self.outcomes.extend(result.outcomes);
        Ok(())
    }

    /// Takes note of a flag of one request: of each kind the first is shown, with the samples of all.
    fn raise(&mut self, flag: Flag) {
        match self.flags.iter_mut().find(|known| known.kind == flag.kind) {
            Some(known) => known.samples += flag.samples,
            None => self.flags.push(flag),
        }
    }

    pub(super) fn print_quote(&self, output: Output, samples: usize) -> Result<Verdict, ClientError> {
        let Cost { queries, gradients } = self.worst_case;
        match output {
            Output::Json => print_json(&json!({ "samples": samples, "queries": queries, "gradients": gradients }))?,
            Output::Human => print(&format!(
                "at most {queries} queries and {gradients} gradients for {samples} samples, those that look for flags not counted"
            ))?,
        }
        Ok(Verdict::Pass)
    }

    /// Shows how far the samples `range` of `of` are, as a part of the whole.
    pub(super) fn advance(
        &self,
        progress: &mut Progress,
        stage: &str,
        now: &AttackProgress,
        range: &Range<usize>,
        of: usize,
    ) {
        // In thousandths of a sample, so that a data set in several requests is one bar.
        let share = 1000 * now.steps_done * range.len() as u64 / now.steps_total.max(1);
        let done = 1000 * range.start as u64 + share.max(1000 * now.finished);
        let gone = self.outcomes.len() as u64 - self.count(Outcome::Robust) + now.broken;
        let left = (range.start + range.len()) as u64 - gone;
        progress.update(stage, done, 1000 * of as u64, &format!("{left} still correct"));
    }

    /// Samples that the attack was judged on: all but those that it was made from.
    pub(super) fn judged(&self) -> u64 {
        self.outcomes.len() as u64 - self.count(Outcome::Fitted)
    }

    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.iter().filter(|o| o.outcome() == outcome).count() as u64
    }

    pub(super) fn print(&self) -> Result<(), ClientError> {
        let of = self.judged();
        let mut rows = table(&["outcome", "samples"], &[1]);
        for (name, outcome) in [
            ("misclassified without attack", Outcome::Misclassified),
            ("broken", Outcome::Broken),
            ("robust", Outcome::Robust),
            ("unstable", Outcome::Unstable),
            ("error", Outcome::Error),
        ] {
            rows.add_row([name.to_owned(), rate(self.count(outcome), of)]);
        }
        print(&rows)?;
        if self.left_out > 0 {
            print(&format!("{} samples are labelled with the target and left out", self.left_out))?;
        }
        if self.count(Outcome::Fitted) > 0 {
            print(&format!(
                "{} samples are what the attack was made from, and not counted",
                self.count(Outcome::Fitted)
            ))?;
        }
        let broken: Vec<&SampleOutcome> = self.outcomes.iter().filter(|o| o.outcome() == Outcome::Broken).collect();
        let mut makers = BTreeMap::new();
        for outcome in &broken {
            *makers.entry(outcome.broken_by.as_str()).or_insert(0_u64) += 1;
        }
        if makers.len() > 1 {
            let parts: Vec<String> = makers.iter().map(|(name, found)| format!("{name} {found}")).collect();
            print(&format!("broken by: {}", parts.join(", ")))?;
        }
        if !broken.is_empty() {
            print(&format!(
                "median distance of the {} adversarial samples: Linf {:.4}, L2 {:.4}, L1 {:.4}, elements that differ {}",
                broken.len(),
                median(broken.iter().map(|o| o.distance_linf)),
                median(broken.iter().map(|o| o.distance_l2)),
                median(broken.iter().map(|o| o.distance_l1)),
                median(broken.iter().map(|o| o.distance_l0 as f64)),
            ))?;
        }
        if !self.stopped.is_empty() {
            print(&format!("the budget ended the attack of some samples: no {} were left", self.stopped))?;
        }
        for flag in &self.flags {
            print(&format!("flag {}: {}\n  {}\n  {}", flag.kind, flag.detail, flag.meaning, flag.remedy))?;
        }
        print(&format!("{} queries, {} gradients, {:.1} s", self.cost.queries, self.cost.gradients, self.seconds))
    }

    pub(super) fn as_json(&self, model: &str, version: &str, data: &str) -> serde_json::Value {
        json!({
            "model": model,
            "version": version,
            "data": data,
            "samples": self.judged(),
            "fitted": self.count(Outcome::Fitted),
            "left_out": self.left_out,
            "misclassified": self.count(Outcome::Misclassified),
            "broken": self.count(Outcome::Broken),
            "robust": self.count(Outcome::Robust),
            "unstable": self.count(Outcome::Unstable),
            "errors": self.count(Outcome::Error),
            "queries": self.cost.queries,
            "gradients": self.cost.gradients,
            "seconds": self.seconds,
            "checks": { "queries": self.checks.queries, "gradients": self.checks.gradients },
            "stopped": (!self.stopped.is_empty()).then_some(&self.stopped),
            "flags": self.flags.iter().map(|flag| json!({
                "kind": flag.kind,
                "samples": flag.samples,
                "detail": flag.detail,
                "meaning": flag.meaning,
                "remedy": flag.remedy,
            })).collect::<Vec<_>>(),
            "outcomes": self.outcomes.iter().map(|o| json!({
                "sample": o.sample_id,
                "outcome": o.outcome().as_str_name().trim_start_matches("OUTCOME_").to_lowercase(),
                "label": o.label,
                "target": o.target,
                "clean_prediction": o.clean_prediction,
                "adversarial_prediction": o.adversarial_prediction,
                "broken_by": (!o.broken_by.is_empty()).then_some(&o.broken_by),
                "distance_linf": o.distance_linf,
                "distance_l2": o.distance_l2,
                "distance_l1": o.distance_l1,
                "distance_l0": o.distance_l0,
                "queries": o.cost.unwrap_or_default().queries,
                "gradients": o.cost.unwrap_or_default().gradients,
                "seconds": o.seconds,
                "error": (!o.error.is_empty()).then_some(&o.error),
            })).collect::<Vec<_>>(),
        })
    }
}

fn add(sum: &mut Cost, cost: Option<Cost>) {
    let cost = cost.unwrap_or_default();
    sum.queries += cost.queries;
    sum.gradients += cost.gradients;
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.get(values.len() / 2), values.len() % 2) {
        (Some(&upper), 1) => upper,
        (Some(&upper), _) => f64::midpoint(values[values.len() / 2 - 1], upper),
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median([3.0, 1.0, 2.0, 10.0].into_iter()), 2.5);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
    }
}
