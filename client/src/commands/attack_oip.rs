//! `assay attack oip://HOST:PORT/MODEL`: a model on another server, attacked from this process.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::{Duration, Instant};

use assay_attack::{Attack as Algorithm, AttackError, Budget, Cancel, Goal, Job, Reason, SampleId, Threat};
use assay_proto::v1::{Cost, InputSpec, Outcome, SampleOutcome};
use assay_runtime::Class;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::attacked::{Attacked, Chosen};
use super::interruptible;
use crate::args::{Args, Attack, Output};
use crate::error::ClientError;
use crate::oip::{Address, Opened, Remote, Sent};
use crate::output::{Verdict, must_be_writable, print, print_json};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::spec::TargetArg;
use crate::tls::Trust;

/// How many batches are attacked together. Samples that are broken leave room for others, so more keep requests full; and what
/// ends an attack early takes with it the group that was under way.
const GROUP: usize = 4;

pub(crate) async fn run(args: &Args, command: &Attack) -> Result<Verdict, ClientError> {
    let address: Address = command.model.parse().map_err(ClientError::Usage)?;
    if args.target.embed.is_some() {
        return Err(ClientError::Usage(format!(
            "--embed hosts models in this process, and {address} is on another server"
        )));
    }
    if args.target.api_key_file.is_some() {
        return Err(ClientError::Usage(format!(
            "--api-key-file is for the server of --server: {address} is another one, and is not sent the key"
        )));
    }
    if let Some(file) = &command.save {
        must_be_writable("--save", file)?;
    }
    let algorithm = black_box(command)?;
    let mut samples = Samples::labelled(&command.data)?;
    let opened = interruptible(Opened::connect(&address, &command.oip, args.timeout, &Trust::of(&args.target))).await?;
    samples.fit_labelled(&address.to_string(), &opened.input(), opened.classes())?;
    let chosen = Chosen::new(samples, command.target)?;
    if command.quote {
        return quote(args.output, algorithm.as_ref(), &chosen);
    }

    let endpoint = opened.endpoint();
    let (stop, stopped) = watch::channel(false);
    let cancel = Cancel::default();
    let work = Work {
        stage: format!("{} {}", command.attack.name(), address.model),
        threat: command.threat.threat(opened.range()),
        target: command.target,
        input: opened.input(),
        remote: opened.remote(Handle::current(), stopped),
        seed: command.seed,
        budget: Budget { queries: command.budget.max_queries, gradients: command.budget.max_gradients, deadline: None },
        seconds: command.budget.max_seconds,
        eight_bit: command.eight_bit,
        checks: !command.skip_checks,
        cancel: cancel.clone(),
        algorithm,
        batch: opened.batch(),
        chosen,
    };
    let mut worker = tokio::task::spawn_blocking(move || work.run());
    let done = tokio::select! {
        done = &mut worker => done,
        _ = tokio::signal::ctrl_c() => {
            cancel.cancel();
            stop.send_replace(true);
            worker.await
        }
    };
    let (work, attacked, end) =
        done.map_err(|error| ClientError::Environment(format!("the attack ended early: {error}")))??;

    if let Some(file) = &command.save {
        work.chosen.save(file, &attacked, &work.input)?;
    }
    match args.output {
        Output::Json => {
            let mut answer = attacked.as_json(&address.model, opened.version(), &work.chosen.samples().name);
            answer["target"] = json!(address.to_string());
            answer["incomplete"] = json!(end.as_ref().map(End::why));
            answer["requests"] = json!(endpoint.sent().requests);
            answer["samples_sent"] = json!(endpoint.sent().samples);
            print_json(&answer)?;
        }
        Output::Human => {
            attacked.print()?;
            work.chosen.samples().say_where_from(&command.data)?;
            say(&address, endpoint.sent(), &attacked, end.as_ref())?;
        }
    }
    verdict(&attacked, end)
}

/// The attack that was asked for, if it needs no gradient.
fn black_box(command: &Attack) -> Result<Box<dyn Algorithm>, ClientError> {
    let attack = command.attack.attack().map_err(|error| ClientError::Usage(error.to_string()))?;
    if !attack.description().needs_gradient {
        return Ok(attack);
    }
    let blind = assay_attack::attacks().iter().filter(|attack| !attack.needs_gradient);
    Err(ClientError::Usage(format!(
        "attack \"{}\" needs the model's gradient, and an Open Inference endpoint gives none; those that need none are {}",
        command.attack.name(),
        blind.map(|attack| attack.name).collect::<Vec<_>>().join(", ")
    )))
}

/// An attack that is ready to run.
struct Work {
    remote: Remote,
    algorithm: Box<dyn Algorithm>,
    threat: Threat,
    target: Option<TargetArg>,
    chosen: Chosen,
    input: InputSpec,
    stage: String,
    seed: u64,
    batch: NonZeroUsize,
    budget: Budget,
    seconds: Option<Duration>,
    eight_bit: bool,
    checks: bool,
    cancel: Cancel,
}

/// Why not all samples were attacked to the end.
enum End {
    /// The user's time is over.
    Late,
    /// Ctrl-C.
    Interrupted,
    /// The server failed.
    Failed(String),
}

impl Work {
    /// Attacks group after group until all are done, or something ends it. Every sample has an outcome afterwards.
    fn run(mut self) -> Result<(Self, Attacked, Option<End>), ClientError> {
        let started = Instant::now();
        self.budget.deadline = self.seconds.and_then(|seconds| started.checked_add(seconds));
        let (mut attacked, mut end) = (Attacked::none_of(&self.chosen), None);
        let mut progress = Progress::new();
        for range in self.chosen.samples().chunks((GROUP * self.batch.get()) as u64) {
            if end.is_none() {
                end = self.group(range.clone(), &mut attacked, &mut progress)?;
            }
            if let Some(end) = &end {
                self.leave(attacked.outcomes.len()..range.end, end, &mut attacked);
            }
        }
        progress.finish();
        attacked.seconds = started.elapsed().as_secs_f64();
        Ok((self, attacked, end))
    }

    /// Attacks the samples `range`, and adds what became of them unless there was no end of it.
    fn group(
        &self,
        range: Range<usize>,
        attacked: &mut Attacked,
        progress: &mut Progress,
    ) -> Result<Option<End>, ClientError> {
        let samples = self.chosen.samples();
        let images = samples.scaled(range.clone(), &self.input);
        let labels: Vec<Class> = samples.labels[range.clone()].iter().copied().map(Class).collect();
        let ids: Vec<SampleId> = self.chosen.ids(range.clone()).into_iter().map(SampleId).collect();
        let job = Job {
            classifier: &self.remote,
            attack: self.algorithm.as_ref(),
            threat: &self.threat,
            goal: &self.target.map_or(Goal::Untargeted, |target| target.goal(range.len())),
            images: images.view(),
            labels: &labels,
            ids: &ids,
            seed: self.seed,
            batch: self.batch,
            budget: self.budget,
            eight_bit: self.eight_bit,
            // One look at the model is enough.
            checks: self.checks && range.start == 0,
        };
        let mut observer =
            |now: assay_attack::Progress| attacked.advance(progress, &self.stage, &now.into(), &range, samples.len());
        let result = match assay_attack::run(&job, &mut observer, &self.cancel) {
            Ok(result) => result,
            Err(AttackError::Model(_)) if self.cancel.is_cancelled() => return Ok(Some(End::Interrupted)),
            Err(AttackError::Model(error)) => return Ok(Some(End::Failed(error.to_string()))),
            Err(other) => return Err(ClientError::Usage(other.to_string())),
        };
        for (i, outcome) in result.outcomes.iter().enumerate() {
            let broken = outcome.outcome == assay_attack::Outcome::Broken;
            attacked.adversarial.extend(if broken { result.adversarial.row(i) } else { images.row(i) });
        }
        attacked.add((&result).into())?;
        Ok(match result.stopped {
            Some(Reason::Deadline) => Some(End::Late),
            Some(Reason::Cancelled) => Some(End::Interrupted),
            // Who has spent all queries withstood so many.
            Some(Reason::Queries | Reason::Gradients) | None => None,
        })
    }

    /// Notes that the samples `range` were not measured, and why.
    fn leave(&self, range: Range<usize>, end: &End, attacked: &mut Attacked) {
        let samples = self.chosen.samples();
        attacked.adversarial.extend(samples.scaled(range.clone(), &self.input));
        attacked.outcomes.extend(range.clone().zip(self.chosen.ids(range)).map(|(i, id)| SampleOutcome {
            sample_id: id,
            outcome: Outcome::Error.into(),
            label: samples.labels[i],
            error: format!("not measured: {}", end.why()),
            ..SampleOutcome::default()
        }));
    }
}

impl End {
    fn why(&self) -> &str {
        match self {
            Self::Late => "the time of --max-seconds is over",
            Self::Interrupted => "the attack was interrupted",
            Self::Failed(why) => why,
        }
    }
}

/// What there is to say beside the result.
fn say(address: &Address, sent: Sent, attacked: &Attacked, end: Option<&End>) -> Result<(), ClientError> {
    print(&format!("{} samples sent to {address} in {} requests", sent.samples, sent.requests))?;
    let Some(end) = end else { return Ok(()) };
    let (left, of) = (attacked.count(Outcome::Error), attacked.outcomes.len());
    print(&format!("incomplete: {left} of {of} samples are not measured, because {}", end.why()))
}

/// A result that is not the whole one is an error, unless the end is what the user asked for; one that says nothing is always one.
fn verdict(attacked: &Attacked, end: Option<End>) -> Result<Verdict, ClientError> {
    match end {
        Some(End::Failed(why)) => Err(ClientError::Endpoint(why)),
        Some(End::Interrupted) => Err(ClientError::Interrupted),
        Some(End::Late) | None if attacked.count(Outcome::Error) == attacked.outcomes.len() as u64 => {
            let first = attacked.outcomes.first().map_or("", |outcome| &outcome.error);
            Err(ClientError::Endpoint(format!("no sample could be measured; of the first: {first}")))
        }
        Some(End::Late) | None => Ok(Verdict::Pass),
    }
}

/// What the attack may cost at most.
fn quote(output: Output, algorithm: &dyn Algorithm, chosen: &Chosen) -> Result<Verdict, ClientError> {
    let (one, samples) = (algorithm.worst_case(), chosen.samples().len());
    let [queries, gradients] = [one.queries, one.gradients].map(|cost| cost * samples as u64);
    let worst_case = Cost { queries, gradients };
    Attacked { worst_case, ..Attacked::none_of(chosen) }.print_quote(output, samples)
}
