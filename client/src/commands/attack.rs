//! `assay attack`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use assay_proto::v1::attack_response::Event;
use assay_proto::v1::{AttackRequest, AttackResult, Cost, Flag, InputSpec, Outcome, SampleOutcome};
use ndarray::{ArrayD, Axis, IxDyn};
use serde_json::json;

use super::Session;
use crate::args::{Attack, Output};
use crate::error::ClientError;
use crate::output::{Verdict, must_be_writable, print, print_json, rate, table};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::spec::{self, TargetArg};

/// Everything the server said about the data set, over all requests.
#[derive(Default)]
struct Attacked {
    outcomes: Vec<SampleOutcome>,
    /// Samples that were not sent, because they are labelled with the target.
    left_out: usize,
    adversarial: Vec<f32>,
    cost: Cost,
    seconds: f64,
    checks: Cost,
    worst_case: Cost,
    flags: Vec<Flag>,
    /// The part of the budget that ended some sample's attack.
    stopped: String,
}

pub(crate) async fn run(session: &mut Session, command: &Attack) -> Result<Verdict, ClientError> {
    let Some(path) = &command.data.data else {
        return Err(ClientError::Usage("--data PATH is required: an attack needs samples with their labels".into()));
    };
    if let Some(file) = &command.save {
        must_be_writable("--save", file)?;
    }
    let model = spec::model(&command.model);
    let (info, input) = session.model(&model).await?;
    let mut samples = Samples::open(path, &command.data)?;
    samples.fit(&info.name, &input)?;
    let all = samples;
    // A sample cannot be turned into what it is. The others keep their numbers: those key the randomness.
    let class = command.target.and_then(TargetArg::class);
    let kept: Vec<usize> = (0..all.len()).filter(|&i| class.is_none() || class != all.labels.get(i).copied()).collect();
    let selected = (kept.len() < all.len()).then(|| all.select(&kept));
    let samples = selected.as_ref().unwrap_or(&all);
    if kept.is_empty() {
        return Err(ClientError::Usage(format!("{}: every sample is labelled with the target", all.name)));
    }

    let started = Instant::now();
    let mut progress = Progress::new();
    let mut attacked = Attacked { left_out: all.len() - kept.len(), ..Attacked::default() };
    for range in samples.chunks(input.max_batch) {
        let request = AttackRequest {
            model: model.model.clone(),
            version: info.version.clone(),
            input: Some(samples.tensor(range.clone(), &input)),
            labels: samples.labels[range.clone()].to_vec(),
            threat: Some(command.threat.message()),
            attack: Some(command.attack.message()),
            seed: command.seed,
            sample_ids: kept[range.clone()].iter().map(|&id| id as u64).collect(),
            return_adversarial: command.save.is_some(),
            budget: Some(command.budget.message(started.elapsed())),
            quote: command.quote,
            skip_checks: command.skip_checks,
            target: command.target.map(|target| target.message(range.len())),
        };
        let stage = format!("{} {}", command.attack.name(), info.name);
        let result = one_request(session, request, &range, samples, &stage, &mut progress, &attacked).await?;
        attacked.add(result)?;
    }
    progress.finish();

    if command.quote {
        return attacked.print_quote(session.output, samples.len());
    }
    if let Some(file) = &command.save {
        save(file, &attacked, &all, &kept, &input)?;
    }
    match session.output {
        Output::Json => print_json(&attacked.as_json(&info.name, &info.version, &all.name))?,
        Output::Human => {
            attacked.print()?;
            all.say_where_from(&command.data)?;
        }
    }
    Ok(Verdict::Pass)
}

/// Sends one batch and shows its progress as part of the whole data set's.
async fn one_request(
    session: &mut Session,
    request: AttackRequest,
    range: &Range<usize>,
    samples: &Samples,
    stage: &str,
    progress: &mut Progress,
    before: &Attacked,
) -> Result<AttackResult, ClientError> {
    let broken_before = before.outcomes.iter().filter(|o| o.outcome() != Outcome::Robust).count() as u64;
    let expected = if request.quote { 0 } else { range.len() };
    let request = session.request(request);
    let mut stream = session.client.attack(request).await?.into_inner();
    while let Some(answer) = stream.message().await? {
        match answer.event {
            Some(Event::Progress(p)) => {
                // In thousandths of a sample, so that a data set in several requests is one bar.
                let share = 1000 * p.steps_done * range.len() as u64 / p.steps_total.max(1);
                let done = 1000 * range.start as u64 + share.max(1000 * p.finished);
                let gone = broken_before + p.broken;
                let left = (range.start + range.len()) as u64 - gone;
                progress.update(stage, done, 1000 * samples.len() as u64, &format!("{left} still correct"));
            }
            Some(Event::Result(result)) => {
                if result.outcomes.len() != expected {
                    return Err(ClientError::Protocol(format!(
                        "{} outcomes for {expected} samples",
                        result.outcomes.len()
                    )));
                }
                return Ok(result);
            }
            None => {}
        }
    }
    Err(ClientError::Protocol("the attack ended without a result".into()))
}

impl Attacked {
    fn add(&mut self, result: AttackResult) -> Result<(), ClientError> {
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

    fn print_quote(&self, output: Output, samples: usize) -> Result<Verdict, ClientError> {
        let Cost { queries, gradients } = self.worst_case;
        match output {
            Output::Json => print_json(&json!({ "samples": samples, "queries": queries, "gradients": gradients }))?,
            Output::Human => print(&format!(
                "at most {queries} queries and {gradients} gradients for {samples} samples, those that look for flags not counted"
            ))?,
        }
        Ok(Verdict::Pass)
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.iter().filter(|o| o.outcome() == outcome).count() as u64
    }

    fn print(&self) -> Result<(), ClientError> {
        let of = self.outcomes.len() as u64;
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

    fn as_json(&self, model: &str, version: &str, data: &str) -> serde_json::Value {
        json!({
            "model": model,
            "version": version,
            "data": data,
            "samples": self.outcomes.len(),
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

/// Writes a row for each sample of the data set: the clean one where it was left out.
fn save(file: &Path, attacked: &Attacked, all: &Samples, kept: &[usize], input: &InputSpec) -> Result<(), ClientError> {
    let sample_shape = input.shape.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX));
    let shape = |n: usize| IxDyn(&std::iter::once(n).chain(sample_shape.clone()).collect::<Vec<_>>());
    let adversarial = ArrayD::from_shape_vec(shape(kept.len()), attacked.adversarial.clone())
        .map_err(|error| ClientError::Protocol(format!("the adversarial batch: {error}")))?;
    let mut array = all
        .values
        .mapv(|value| input.low + (input.high - input.low) * value)
        .into_shape_with_order(shape(all.len()))
        .map_err(|error| ClientError::Protocol(format!("the clean batch: {error}")))?;
    for (row, &i) in adversarial.outer_iter().zip(kept) {
        array.index_axis_mut(Axis(0), i).assign(&row);
    }
    ndarray_npy::write_npy(file, &array)
        .map_err(|error| ClientError::Environment(format!("cannot write {}: {error}", file.display())))
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
