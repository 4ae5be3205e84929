//! `assay transfer`: what is found on one model, shown to others.

use assay_attack::predicted;
use assay_proto::v1::{GetModelResponse, InputSpec, Outcome};
use assay_runtime::Classifier;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Session;
use super::attack::{Order, attack};
use super::attacked::{Attacked, Chosen};
use super::predict::predictions;
use crate::args::{Output, Transfer};
use crate::error::ClientError;
use crate::oip::{Address, Opened};
use crate::output::{Verdict, print, print_json, rate, table};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::spec;

pub(crate) async fn run(session: &mut Session, command: &Transfer) -> Result<Verdict, ClientError> {
    let names = names(command)?;
    let all = Samples::labelled(&command.data)?;
    let samples = Chosen::new(all.clone(), command.target)?.samples().clone();
    let mut progress = Progress::new();
    let mut models = Vec::with_capacity(names.len());
    for name in names {
        let mut model = Model::open(session, name, command).await?;
        let clean = model.fit(samples.clone())?;
        let classes = model.classes(session, &clean, &mut progress).await?;
        model.right = classes.iter().zip(&samples.labels).map(|(class, label)| class == label).collect();
        model.misled = vec![false; samples.len()];
        models.push(model);
    }

    let mut sources = Vec::with_capacity(command.models.len());
    for at in 0..command.models.len() {
        let made = craft(session, command, &models[at], all.clone(), &mut progress).await?;
        let mut shown = Vec::with_capacity(models.len());
        for (i, model) in models.iter_mut().enumerate() {
            shown.push(model.show(session, &made, i != at, &mut progress).await?);
        }
        sources.push(Source { attacked: made.attacked, shown });
    }
    progress.finish();

    let result = Matrix { samples, models, sources };
    match session.output {
        Output::Json => print_json(&result.as_json(command))?,
        Output::Human => {
            result.print()?;
            result.samples.say_where_from(&command.data)?;
        }
    }
    Ok(Verdict::Pass)
}

/// The models, those that are attacked first.
fn names(command: &Transfer) -> Result<Vec<&str>, ClientError> {
    let usage = |problem: String| Err(ClientError::Usage(problem));
    let names: Vec<&str> = command.models.iter().chain(&command.to).map(String::as_str).collect();
    if let [only] = names[..] {
        return usage(format!("name another model beside {only}: as MODEL to attack it too, or with --to"));
    }
    if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        return usage(format!("{} is named twice", twice.1));
    }
    if let Some(remote) = command.models.iter().find(|name| Address::is_meant(name)) {
        return usage(format!(
            "{remote}: a model on another server can be shown what is found elsewhere: --to {remote}"
        ));
    }
    match command.oip.given() {
        Some(option) if !command.to.iter().any(|name| Address::is_meant(name)) => {
            usage(format!("{option} is for models on other servers: name one, as --to oip://HOST:PORT/NAME"))
        }
        _ => Ok(names),
    }
}

/// A model that judges.
struct Model {
    name: String,
    version: String,
    host: Host,
    input: InputSpec,
    classes: usize,
    /// Whether it is right without attack, sample by sample.
    right: Vec<bool>,
    /// Whether something that was found on another model misleads it, where it was right.
    misled: Vec<bool>,
}

enum Host {
    /// The server.
    Here(Box<GetModelResponse>),
    /// Another one.
    Elsewhere(Box<Opened>),
}

impl Model {
    async fn open(session: &mut Session, name: &str, command: &Transfer) -> Result<Self, ClientError> {
        let (version, input, classes, host) = if Address::is_meant(name) {
            let address = name.parse().map_err(ClientError::Usage)?;
            let opened = Opened::connect(&address, &command.oip, session.timeout, &session.trust).await?;
            (opened.version().to_owned(), opened.input(), opened.classes(), Host::Elsewhere(Box::new(opened)))
        } else {
            let (info, input) = session.model(&spec::model(name)).await?;
            (info.version.clone(), input, info.classes as usize, Host::Here(Box::new(info)))
        };
        let (right, misled) = (Vec::new(), Vec::new());
        Ok(Self { name: name.to_owned(), version, host, input, classes, right, misled })
    }

    /// The samples as this model takes them.
    fn fit(&self, mut samples: Samples) -> Result<Samples, ClientError> {
        samples.fit_labelled(&self.name, &self.input, self.classes)?;
        Ok(samples)
    }

    /// The class that it predicts for each of these samples, which fit.
    async fn classes(
        &self,
        session: &mut Session,
        samples: &Samples,
        progress: &mut Progress,
    ) -> Result<Vec<u32>, ClientError> {
        if samples.len() == 0 {
            return Ok(Vec::new());
        }
        let opened = match &self.host {
            Host::Here(info) => {
                let predictions = predictions(session, info, &self.input, samples, 1, progress).await?;
                return Ok(predictions.iter().map(|prediction| prediction.classes[0].class).collect());
            }
            Host::Elsewhere(opened) => opened,
        };
        // Dropped where this call is given up, which ends the work.
        let (_stop, stopped) = watch::channel(false);
        let remote = opened.remote(Handle::current(), stopped);
        let rows = samples.scaled(0..samples.len(), &self.input);
        let done = samples.len() as u64;
        progress.update(&format!("predict {}", self.name), 0, done, &format!("{done} samples"));
        let logits = tokio::task::spawn_blocking(move || remote.logits(rows.view()))
            .await
            .map_err(|error| ClientError::Environment(format!("the request ended early: {error}")))?
            .map_err(|error| ClientError::Endpoint(error.to_string()))?;
        progress.update(&format!("predict {}", self.name), done, done, &format!("{done} samples"));
        let class = |(i, row)| {
            predicted(&row).map(|class| class.0).ok_or_else(|| {
                ClientError::Endpoint(format!("{} gave logits that are not finite for sample {i}", self.name))
            })
        };
        logits.rows().into_iter().enumerate().map(class).collect()
    }

    /// Shows it what was made; `elsewhere`: on another model.
    async fn show(
        &mut self,
        session: &mut Session,
        made: &Made,
        elsewhere: bool,
        progress: &mut Progress,
    ) -> Result<Shown, ClientError> {
        let samples = self.fit(made.samples.clone())?;
        let classes = self.classes(session, &samples, progress).await?;
        let mut shown = Shown::default();
        for (&i, class) in made.of.iter().zip(classes).filter(|(i, _)| self.right[**i]) {
            let outcome = &made.attacked.outcomes[i];
            let misled = outcome.target.map_or(class != outcome.label, |target| class == target);
            shown.samples += 1;
            shown.misled += u64::from(misled);
            self.misled[i] |= misled && elsewhere;
        }
        Ok(shown)
    }
}

/// What was found on one model.
struct Made {
    attacked: Attacked,
    /// The adversarial samples.
    samples: Samples,
    /// Which sample each was made of.
    of: Vec<usize>,
}

async fn craft(
    session: &mut Session,
    command: &Transfer,
    model: &Model,
    samples: Samples,
    progress: &mut Progress,
) -> Result<Made, ClientError> {
    let Host::Here(info) = &model.host else {
        return Err(ClientError::Usage(format!("{} is on another server", model.name)));
    };
    let chosen = Chosen::new(model.fit(samples)?, command.target)?;
    let order = Order {
        threat: command.threat.message(),
        attack: &command.attack,
        target: command.target,
        seed: command.seed,
        budget: &command.budget,
        quote: false,
        eight_bit: command.eight_bit,
        skip_checks: false,
        return_adversarial: true,
    };
    let attacked = attack(session, info, &model.input, &chosen, &order, progress).await?;
    let (of, samples) = chosen.broken(&attacked, &model.input)?;
    Ok(Made { attacked, samples, of })
}

/// Of the adversarial samples that a model was shown and is right about without attack.
#[derive(Default)]
struct Shown {
    samples: u64,
    misled: u64,
}

/// A model that was attacked, and what all models make of what was found.
struct Source {
    attacked: Attacked,
    shown: Vec<Shown>,
}

struct Matrix {
    samples: Samples,
    models: Vec<Model>,
    /// Of the first models.
    sources: Vec<Source>,
}

impl Matrix {
    fn print(&self) -> Result<(), ClientError> {
        let names = self.models.iter().map(|model| model.name.as_str());
        let heads: Vec<&str> = ["made on", "broken there"].into_iter().chain(names).collect();
        let mut rows = table(&heads, &(1..heads.len()).collect::<Vec<_>>());
        for (source, model) in self.sources.iter().zip(&self.models) {
            let attacked = &source.attacked;
            let attackable = attacked.judged() - attacked.count(Outcome::Misclassified);
            let mut row = vec![model.name.clone(), rate(attacked.count(Outcome::Broken), attackable)];
            row.extend(source.shown.iter().map(|shown| rate(shown.misled, shown.samples)));
            rows.add_row(row);
        }
        print(&rows)?;
        print(
            "each column: of the adversarial samples made on the row's model that the column's model is right about without attack, those that mislead it",
        )?;
        let mut rows =
            table(&["model", "right without attack", "under its own attack", "under those of the others"], &[1, 2, 3]);
        let of = self.samples.len() as u64;
        for (i, model) in self.models.iter().enumerate() {
            let own = self.sources.get(i).map(|source| &source.attacked);
            let own = own.map(|attacked| rate(attacked.count(Outcome::Robust), attacked.judged()));
            rows.add_row([
                model.name.clone(),
                rate(model.count_right(), of),
                own.unwrap_or_else(|| "not attacked".to_owned()),
                rate(model.count_withstood(), of),
            ]);
        }
        print(&rows)?;
        for (source, model) in self.sources.iter().zip(&self.models) {
            let attacked = &source.attacked;
            if !attacked.stopped.is_empty() {
                print(&format!(
                    "{}: the budget ended the attack of some samples: no {} were left",
                    model.name, attacked.stopped
                ))?;
            }
            for flag in &attacked.flags {
                print(&format!(
                    "{}: flag {}: {}\n  {}\n  {}",
                    model.name, flag.kind, flag.detail, flag.meaning, flag.remedy
                ))?;
            }
        }
        for model in &self.models {
            if let Host::Elsewhere(opened) = &model.host {
                let sent = opened.endpoint().sent();
                print(&format!("{} samples sent to {} in {} requests", sent.samples, model.name, sent.requests))?;
            }
        }
        Ok(())
    }

    fn as_json(&self, command: &Transfer) -> Value {
        let shown = |(shown, model): (&Shown, &Model)| json!({ "model": model.name, "version": model.version, "samples": shown.samples, "misled": shown.misled });
        let sources = self.sources.iter().zip(&self.models).map(|(source, model)| {
            let mut attack = source.attacked.as_json(&model.name, &model.version, &self.samples.name);
            attack["shown_to"] = source.shown.iter().zip(&self.models).map(shown).collect();
            attack
        });
        json!({
            "data": self.samples.name,
            "samples": self.samples.len(),
            "threat": command.threat.to_string(),
            "attack": command.attack.to_string(),
            "seed": command.seed,
            "made_on": sources.collect::<Vec<_>>(),
            "models": self.models.iter().map(|model| json!({
                "model": model.name,
                "version": model.version,
                "right": model.count_right(),
                "right_under_the_others": model.count_withstood(),
            })).collect::<Vec<_>>(),
        })
    }
}

impl Model {
    fn count_right(&self) -> u64 {
        self.right.iter().filter(|right| **right).count() as u64
    }

    /// Samples about which it is right, whatever was found on others.
    fn count_withstood(&self) -> u64 {
        self.right.iter().zip(&self.misled).filter(|(right, misled)| **right && !**misled).count() as u64
    }
}
