//! `assay attack`.

use std::time::Instant;

use assay_proto::v1::attack_response::Event;
use assay_proto::v1::{AttackProgress, AttackRequest, AttackResult, GetModelResponse, InputSpec, Outcome, Threat};

use super::Session;
use super::attacked::{Attacked, Chosen};
use crate::args::{Attack, Budget, Output};
use crate::error::ClientError;
use crate::output::{Verdict, must_be_writable, print_json};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::spec::{self, AttackArg, TargetArg};

/// What is asked of a server.
pub(super) struct Order<'a> {
    pub(super) threat: Threat,
    pub(super) attack: &'a AttackArg,
    pub(super) target: Option<TargetArg>,
    pub(super) seed: u64,
    pub(super) budget: &'a Budget,
    pub(super) quote: bool,
    pub(super) eight_bit: bool,
    pub(super) skip_checks: bool,
    pub(super) return_adversarial: bool,
}

pub(crate) async fn run(session: &mut Session, command: &Attack) -> Result<Verdict, ClientError> {
    if let Some(file) = &command.save {
        must_be_writable("--save", file)?;
    }
    let mut samples = Samples::labelled(&command.data)?;
    let (info, input) = session.model(&spec::model(&command.model)).await?;
    samples.fit(&info.name, &input)?;
    let chosen = Chosen::new(samples, command.target)?;
    let order = Order {
        threat: command.threat.message(),
        attack: &command.attack,
        target: command.target,
        seed: command.seed,
        budget: &command.budget,
        quote: command.quote,
        eight_bit: command.eight_bit,
        skip_checks: command.skip_checks,
        return_adversarial: command.save.is_some(),
    };
    let mut progress = Progress::new();
    let attacked = attack(session, &info, &input, &chosen, &order, &mut progress).await?;
    progress.finish();

    if command.quote {
        return attacked.print_quote(session.output, chosen.samples().len());
    }
    if let Some(file) = &command.save {
        chosen.save(file, &attacked, &input)?;
    }
    let samples = chosen.samples();
    match session.output {
        Output::Json => print_json(&attacked.as_json(&info.name, &info.version, &samples.name))?,
        Output::Human => {
            attacked.print()?;
            samples.say_where_from(&command.data)?;
        }
    }
    Ok(Verdict::Pass)
}

/// Attacks a model that the server hosts, in as many requests as it takes.
pub(super) async fn attack(
    session: &mut Session,
    info: &GetModelResponse,
    input: &InputSpec,
    chosen: &Chosen,
    order: &Order<'_>,
    progress: &mut Progress,
) -> Result<Attacked, ClientError> {
    let samples = chosen.samples();
    let stage = format!("{} {}", order.attack.name(), info.name);
    let started = Instant::now();
    let mut attacked = Attacked::none_of(chosen);
    for range in samples.chunks(input.max_batch) {
        let request = AttackRequest {
            model: info.name.clone(),
            version: info.version.clone(),
            input: Some(samples.tensor(range.clone(), input)),
            labels: samples.labels[range.clone()].to_vec(),
            threat: Some(order.threat.clone()),
            attack: Some(order.attack.message()),
            seed: order.seed,
            sample_ids: chosen.ids(range.clone()),
            return_adversarial: order.return_adversarial,
            budget: Some(order.budget.message(started.elapsed())),
            quote: order.quote,
            skip_checks: order.skip_checks,
            eight_bit: order.eight_bit,
            target: order.target.map(|target| target.message(range.len())),
        };
        let show = |now: &_| attacked.advance(progress, &stage, now, &range, samples.len());
        let result = one_request(session, request, show).await?;
        if range.len() < samples.len() && result.outcomes.iter().any(|o| o.outcome() == Outcome::Fitted) {
            return Err(ClientError::Usage(format!(
                "{} makes one perturbation from all samples of a request, and the server takes at most {} in one: choose no more with \
                 --samples, or raise the server's `limits.max_batch`",
                order.attack.name(),
                input.max_batch
            )));
        }
        attacked.add(result)?;
    }
    Ok(attacked)
}

/// Sends one batch, and shows its progress.
async fn one_request(
    session: &mut Session,
    request: AttackRequest,
    mut show: impl FnMut(&AttackProgress),
) -> Result<AttackResult, ClientError> {
    let expected = if request.quote { 0 } else { request.labels.len() };
    let request = session.request(request);
    let mut stream = session.client.attack(request).await?.into_inner();
    while let Some(answer) = stream.message().await? {
        match answer.event {
            Some(Event::Progress(now)) => show(&now),
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
