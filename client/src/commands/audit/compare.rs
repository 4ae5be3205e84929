//! `assay compare`: a model and its variants, audited on the same samples, beside what each costs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use assay_audit::{
    ALPHA, Baseline, Costs, Evaluation, Family, Member, ModelRef, Order as PlanOrder, PLAN_SCHEMA, Plan, PlanData,
    Report, median,
};
use assay_data::{DataSource, Dataset, Draw};
use assay_proto::v1::{self, DataType, GetModelRequest, InputSpec, PredictRequest, Tensor};

use super::{measured, open};
use crate::args::{Args, Compare, Output};
use crate::commands::{Session, interruptible, lineage};
use crate::error::ClientError;
use crate::output::{Verdict, must_be_writable, print, table};
use crate::samples::Samples;
use crate::spec;

/// How long a variant's predictions are timed, in turn with its parent's, and how often at least.
const TIMED: Duration = Duration::from_secs(2);
const FEWEST: usize = 30;

/// Writes a family in one format.
type Format = fn(&Family) -> String;

pub(crate) async fn run(args: &Args, command: &Compare) -> Result<Verdict, ClientError> {
    let targets = command.reports.iter().map(target).collect::<Result<Vec<_>, _>>()?;
    let data = data(command)?;
    let (connection, mut session) = open(args, None).await?;
    let compared = compared(&mut session, args, command, data.as_ref()).await;
    drop(session);
    connection.close().await;
    let family = compared?;
    for (file, format) in targets {
        std::fs::write(file, format(&family))
            .map_err(|error| ClientError::Environment(format!("cannot write {}: {error}", file.display())))?;
    }
    match args.output {
        Output::Json => print(family.json().trim_end())?,
        Output::Human => show(&family)?,
    }
    command.max_latency_ratio.map_or(Ok(Verdict::Pass), |most| gate(&family, most, args.output))
}

fn target(file: &PathBuf) -> Result<(&PathBuf, Format), ClientError> {
    must_be_writable("--report", file)?;
    let format: Format = match file.extension().and_then(|ending| ending.to_str()) {
        Some("json") => Family::json,
        Some("md") => Family::markdown,
        Some("html") => Family::page,
        _ => {
            let problem = format!("--report {}: the ending must be one of .json, .md, .html", file.display());
            return Err(ClientError::Usage(problem));
        }
    };
    Ok((file, format))
}

/// The samples with their labels; `None`: the server has them.
fn data(command: &Compare) -> Result<Option<Dataset>, ClientError> {
    let Some(path) = &command.data.data else {
        return match command.dataset {
            Some(_) => Ok(None),
            None => Err(ClientError::Usage(
                "models are compared on samples with their labels: --data PATH, or --dataset NAME on the server".into(),
            )),
        };
    };
    let limit = command.data.samples.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let source = DataSource::new(path).with_severity(command.data.severity);
    Dataset::open(&source, limit).map(Some).map_err(|error| ClientError::Usage(error.to_string()))
}

/// Audits the parent, then each variant beside its report, and times them.
async fn compared(
    session: &mut Session,
    args: &Args,
    command: &Compare,
    data: Option<&Dataset>,
) -> Result<Family, ClientError> {
    let parent = known(session, &spec::model(&command.parent)).await?;
    let named: Vec<v1::ModelRef> = match command.variants.as_slice() {
        [] => lineage::made_from(session, &parent.0).await?,
        named => named.iter().map(|name| spec::model(name)).collect(),
    };
    if named.is_empty() {
        return Err(ClientError::Usage(format!(
            "no hosted model was made from {}, as far as their files say; name the variants",
            command.parent
        )));
    }
    let mut models = vec![parent];
    for name in &named {
        models.push(known(session, name).await?);
    }
    let first = data.map(|data| data.subset(&[assay_attack::SampleId(0)])).transpose();
    let sample = first.map_err(|error| ClientError::Usage(error.to_string()))?.map(Samples::from);
    let mut members: Vec<(Report, Costs)> = Vec::new();
    let mut baseline: Option<Baseline> = None;
    for (model, costs) in &models {
        let report = measured(session, args, &plan(command, model)?, data.cloned(), baseline.as_ref()).await?;
        if baseline.is_none() {
            let of = Baseline::of(&report, &model.name);
            baseline = Some(of.map_err(|error| ClientError::Protocol(error.to_string()))?);
        }
        let level = ALPHA / (models.len() - 1).max(1) as f64;
        let rounds = interruptible(timed(session, &models[0].0, model, sample.as_ref())).await?;
        let costs = with_latency(*costs, &rounds, level, members.first().map(|(_, parent)| parent))?;
        members.push((report, costs));
    }
    Family::of(&members).map_err(|error| ClientError::Protocol(error.to_string()))
}

/// Costs with the latency that rounds of predictions by parent and model show. The parent's own is known before those of its variants.
fn with_latency(costs: Costs, rounds: &[[f64; 2]], level: f64, parent: Option<&Costs>) -> Result<Costs, ClientError> {
    let of = |time: fn(&[f64; 2]) -> f64| {
        let none = || ClientError::Protocol("times that are no numbers".to_owned());
        median(rounds.iter().map(time).collect(), level).ok_or_else(none)
    };
    let Some(parent) = parent else {
        let [_, milliseconds, _] = of(|[parent, _]| *parent)?;
        return Ok(Costs { milliseconds, latency_ratio: 1.0, latency_bounds: [1.0; 2], ..costs });
    };
    let [low, latency_ratio, high] = of(|[parent, model]| model / parent)?;
    // Times of now and of then may differ by what else the machine does; ratios of what was measured in turn do not.
    let milliseconds = parent.milliseconds * latency_ratio;
    Ok(Costs { milliseconds, latency_ratio, latency_bounds: [low, high], ..costs })
}

/// A hosted version, and what it costs but for the time.
async fn known(session: &mut Session, model: &v1::ModelRef) -> Result<(ModelRef, Costs), ClientError> {
    let (name, version) = (model.model.clone(), model.version.clone());
    let request = session.request(GetModelRequest { model: name, version, structure: true });
    let found = session.client.get_model(request).await?.into_inner();
    let macs = found.structure.map_or(0, |structure| structure.macs);
    let costs = Costs { macs, parameters: found.parameters, bytes: found.bytes, ..Costs::default() };
    Ok((ModelRef { name: found.name, version: found.version }, costs))
}

/// What each of the models is audited by.
fn plan(command: &Compare, model: &ModelRef) -> Result<Plan, ClientError> {
    let attacks: Vec<_> = command.attacks.iter().map(spec::AttackArg::planned).collect();
    let evaluation = |threat: &spec::ThreatArg| {
        let (norm, eps) = threat.parts();
        Evaluation { name: None, norm, eps: vec![eps], attacks: attacks.clone(), order: PlanOrder::Sequence }
    };
    let plan = Plan {
        schema: PLAN_SCHEMA,
        models: vec![model.clone()],
        data: command.dataset.clone().map(|name| PlanData {
            dataset: Some(name),
            path: None,
            samples: command.data.samples,
            draw: Draw::First,
        }),
        evaluations: command.threats.iter().map(evaluation).collect(),
        certification: command.certifying.planned(),
        gates: Vec::new(),
        transfer: false,
        seed: command.seed,
    };
    plan.check().map_err(|error| ClientError::Usage(error.to_string()))?;
    Ok(plan)
}

/// Milliseconds of predictions of one sample, by the parent and by the model in turn.
async fn timed(
    session: &mut Session,
    parent: &ModelRef,
    model: &ModelRef,
    sample: Option<&Samples>,
) -> Result<Vec<[f64; 2]>, ClientError> {
    let mut requests = Vec::new();
    for model in [parent, model] {
        let named = v1::ModelRef { model: model.name.clone(), version: model.version.clone() };
        let (_, input) = session.model(&named).await?;
        let input = Some(match sample.cloned() {
            Some(mut sample) => {
                sample.fit(&model.name, &input)?;
                sample.tensor(0..1, &input)
            }
            None => grey(&input),
        });
        requests.push(PredictRequest { model: named.model, version: named.version, input, top_k: 1 });
    }
    let mut rounds: Vec<[f64; 2]> = Vec::new();
    let start = Instant::now();
    // The first round is not counted: it may make sessions.
    for round in 0.. {
        let mut times = [0.0; 2];
        for (time, request) in times.iter_mut().zip(&requests) {
            let request = session.request(request.clone());
            let begun = Instant::now();
            session.client.predict(request).await?;
            *time = 1e3 * begun.elapsed().as_secs_f64();
        }
        if round > 0 {
            rounds.push(times);
        }
        if rounds.len() >= FEWEST && start.elapsed() >= TIMED {
            break;
        }
    }
    Ok(rounds)
}

/// One sample for a model, where only the server has real ones: how long it takes does not depend on what is in it.
fn grey(input: &InputSpec) -> Tensor {
    let shape = std::iter::once(1).chain(input.shape.iter().copied()).collect();
    let features = input.shape.iter().fold(1, |product: u64, &size| product.saturating_mul(size));
    let value = (input.low + 0.5 * (input.high - input.low)).to_le_bytes();
    let data = value.repeat(usize::try_from(features).unwrap_or(usize::MAX)).into();
    Tensor { shape, datatype: DataType::Fp32.into(), data }
}

/// Decides the gate on latency of every variant: a failure before what is open.
fn gate(family: &Family, most: f64, output: Output) -> Result<Verdict, ClientError> {
    let verdicts = family.latency_verdicts(most);
    for (member, verdict) in verdicts.iter().filter(|_| output == Output::Human) {
        let [low, high] = member.costs.latency_bounds;
        print(&format!(
            "{}: latency of {} is {low:.2} to {high:.2} of the first's; demanded at most {most}",
            verdict.name(),
            family.title(member)
        ))?;
    }
    let verdicts = || verdicts.iter().map(|(_, verdict)| Verdict::from(*verdict));
    let worst = [Verdict::Fail, Verdict::Open].into_iter().find(|wanted| verdicts().any(|verdict| verdict == *wanted));
    Ok(worst.unwrap_or(Verdict::Pass))
}

fn show(family: &Family) -> Result<(), ClientError> {
    let mut heads = vec!["model".to_owned(), "kind".to_owned(), "clean".to_owned()];
    for (i, threat) in family.threats.iter().enumerate() {
        heads.push(format!("robust, {threat}"));
        heads.extend(family.certifies(i).then(|| format!("verified, {threat}")));
    }
    heads.extend(["WRA", "NRR", "multiplications", "bytes", "latency"].map(str::to_owned));
    let mut rows = table(&heads.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let first = family.members.first().map(|first| first.costs).unwrap_or_default();
    let beside = |paired: &Option<assay_audit::Paired>| match paired {
        Some(paired) if paired.is_shown() => format!("\n{}", paired.difference),
        _ => String::new(),
    };
    let percent = |rate: f64| format!("{:.1} %", 100.0 * rate);
    for member in &family.members {
        let Member { costs, clean, clean_difference, threats, .. } = member;
        let mut row = vec![family.title(member), member.kind.clone()];
        row.push(percent(clean.rate()) + &beside(clean_difference));
        for (i, threat) in threats.iter().enumerate() {
            let front = if threat.on_front { " *" } else { "" };
            row.push(format!("{}{front}{}", percent(threat.robust.rate()), beside(&threat.difference)));
            let verified = || threat.verified.map(|verified| percent(verified.rate())).unwrap_or_default();
            row.extend(family.certifies(i).then(verified));
        }
        let each = |of: fn(&assay_audit::Withstood) -> f64| -> String {
            threats.iter().map(|threat| percent(of(threat))).collect::<Vec<_>>().join("\n")
        };
        row.extend([each(|threat| threat.wra), each(|threat| threat.nrr)]);
        row.push(format!("{}\n{:.2}", costs.macs, costs.macs as f64 / first.macs.max(1) as f64));
        row.push(format!("{}\n{:.2}", costs.bytes, costs.bytes as f64 / first.bytes.max(1) as f64));
        row.push(format!("{:.2} ms\n{:.2}", costs.milliseconds, costs.latency_ratio));
        rows.add_row(row);
    }
    print(&rows)?;
    for member in family.members.iter().filter(|member| !member.flags.is_empty()) {
        print(&format!(
            "{} raised {}: its robust accuracy may say less than it seems to",
            family.title(member),
            member.flags.join(", ")
        ))?;
    }
    print(&format!(
        "{} samples of {}. Below a number: the difference from {} where the samples show one, or the share of its costs. *: no other model is both as robust and as fast",
        family.samples,
        family.data,
        family.members.first().map(|first| family.title(first)).unwrap_or_default()
    ))
}
