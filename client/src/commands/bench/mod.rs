//! `assay bench`: how fast a model answers, seen from the outside.

mod load;

use std::sync::Arc;

use assay_proto::inference::ModelInferRequest;
use assay_proto::v1::{InputSpec, PredictRequest};
use ndarray::Array2;
use serde_json::{Value, json};

use super::Session;
use crate::args::{Args, Bench, Oip, Output};
use crate::connection::{Client, Connection};
use crate::error::ClientError;
use crate::oip::{Address, Opened};
use crate::output::{Verdict, print, print_json, table};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::spec;
use crate::tls::Trust;
use load::{Load, Measured, Target};

/// Requests that differ; they are sent in turn.
const REQUESTS: usize = 64;
/// Percentiles that are shown.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

pub(crate) async fn run(args: &Args, command: &Bench) -> Result<Verdict, ClientError> {
    if Address::is_meant(&command.model) {
        let target = Arc::new(Elsewhere::connect(args, command).await?);
        return measured(args, command, &target).await;
    }
    let mut connections = Vec::new();
    for _ in 0..command.connections.get() {
        connections.push(Connection::open(&args.target, None).await?);
    }
    let target = Hosted::new(args, command, &connections).await?;
    let outcome = measured(args, command, &Arc::new(target)).await;
    for connection in connections {
        connection.close().await;
    }
    outcome
}

async fn measured(args: &Args, command: &Bench, target: &Arc<impl Target>) -> Result<Verdict, ClientError> {
    let mut progress = Progress::new();
    let mut all = Vec::new();
    let loads = loads(command);
    for (done, load) in loads.iter().enumerate() {
        let (done, of) = (done as u64, loads.len() as u64);
        progress.update(&format!("bench {}", command.model), done, of, &name(*load));
        all.push(load::measure(target, *load, command.warm_up, command.duration).await?);
    }
    progress.finish();
    match args.output {
        Output::Json => print_json(&json!({
            "model": command.model,
            "batch": command.batch,
            "connections": command.connections,
            "warm_up_seconds": command.warm_up.as_secs_f64(),
            "runs": all.iter().map(|run| as_json(run, command.batch.get())).collect::<Vec<_>>(),
        }))?,
        Output::Human => {
            let mut heads = vec!["load", "requests/s", "samples/s"];
            heads.extend(PERCENTILES.map(|(name, _)| name));
            heads.extend(["longest", "failed"]);
            let mut rows = table(&heads, &(1..heads.len()).collect::<Vec<_>>());
            all.iter().for_each(|run| _ = rows.add_row(row(run, command.batch.get())));
            print(&rows)?;
            for (what, times) in all.iter().flat_map(|run| &run.failed) {
                print(&format!("failed {times} times: {what}"))?;
            }
        }
    }
    Ok(Verdict::Pass)
}

fn loads(command: &Bench) -> Vec<Load> {
    if command.rate.is_empty() {
        return command.concurrency.iter().map(|callers| Load::Closed(callers.get())).collect();
    }
    command.rate.iter().map(|&rate| Load::Open(rate)).collect()
}

fn name(load: Load) -> String {
    match load {
        Load::Closed(1) => "1 caller".to_owned(),
        Load::Closed(callers) => format!("{callers} callers"),
        Load::Open(rate) => format!("{rate} a second"),
    }
}

#[allow(clippy::cast_precision_loss)]
fn per_second(run: &Measured) -> f64 {
    run.times.len() as f64 / run.seconds
}

#[allow(clippy::cast_precision_loss)]
fn row(run: &Measured, batch: usize) -> Vec<String> {
    let mut row =
        vec![name(run.load), format!("{:.0}", per_second(run)), format!("{:.0}", per_second(run) * batch as f64)];
    row.extend(PERCENTILES.map(|(_, quantile)| in_words(run.times.value_at_quantile(quantile))));
    row.push(in_words(run.times.max()));
    row.push(run.failed.values().sum::<u64>().to_string());
    row
}

#[allow(clippy::cast_precision_loss)]
fn as_json(run: &Measured, batch: usize) -> Value {
    let seconds = |nanoseconds: u64| nanoseconds as f64 * 1e-9;
    let mut times: serde_json::Map<String, Value> = PERCENTILES
        .iter()
        .map(|(name, quantile)| ((*name).to_owned(), json!(seconds(run.times.value_at_quantile(*quantile)))))
        .collect();
    times.insert("mean".into(), json!(run.times.mean() * 1e-9));
    times.insert("max".into(), json!(seconds(run.times.max())));
    let (concurrency, rate) = match run.load {
        Load::Closed(callers) => (Some(callers), None),
        Load::Open(rate) => (None, Some(rate)),
    };
    json!({
        "concurrency": concurrency,
        "rate": rate,
        "seconds": run.seconds,
        "answered": run.times.len(),
        "failed": run.failed,
        "requests_per_second": per_second(run),
        "samples_per_second": per_second(run) * batch as f64,
        "latency_seconds": times,
    })
}

/// Nanoseconds in a unit that leaves three digits or so.
#[allow(clippy::cast_precision_loss)]
fn in_words(nanoseconds: u64) -> String {
    let time = nanoseconds as f64;
    match nanoseconds {
        0..1_000_000 => format!("{:.0} µs", time / 1e3),
        1_000_000..100_000_000 => format!("{:.2} ms", time / 1e6),
        100_000_000..1_000_000_000 => format!("{:.0} ms", time / 1e6),
        _ => format!("{:.2} s", time / 1e9),
    }
}

/// A model of assay's.
struct Hosted {
    clients: Vec<Client>,
    requests: Vec<PredictRequest>,
}

impl Hosted {
    async fn new(args: &Args, command: &Bench, connections: &[Connection]) -> Result<Self, ClientError> {
        let mut sessions: Vec<Session> = connections.iter().map(|connection| connection.session(args)).collect();
        let Some(session) = sessions.first_mut() else {
            return Err(ClientError::Environment("there is no connection".into()));
        };
        let (info, input) = session.model(&spec::model(&command.model)).await?;
        let batch = command.batch.get();
        if batch as u64 > input.max_batch {
            return Err(ClientError::Usage(format!(
                "--batch {batch}: {} takes at most {} samples a request",
                info.name, input.max_batch
            )));
        }
        let samples = samples(command, &info.name, &input)?;
        let request = |start: usize| PredictRequest {
            model: info.name.clone(),
            version: info.version.clone(),
            input: Some(samples.tensor(start..start + batch, &input)),
            top_k: 1,
        };
        let requests = (0..samples.len() / batch).map(|i| request(i * batch)).collect();
        Ok(Self { clients: sessions.into_iter().map(|session| session.client).collect(), requests })
    }
}

impl Target for Hosted {
    async fn send(&self, n: usize) -> Result<(), String> {
        let mut client = self.clients[n % self.clients.len()].clone();
        let answer = client.predict(self.requests[n % self.requests.len()].clone()).await;
        answer.map(drop).map_err(|status| format!("{:?}: {}", status.code(), status.message()))
    }
}

/// A model of another server.
struct Elsewhere {
    connections: Vec<Opened>,
    requests: Vec<ModelInferRequest>,
    batch: usize,
}

impl Elsewhere {
    async fn connect(args: &Args, command: &Bench) -> Result<Self, ClientError> {
        let address: Address = command.model.parse().map_err(ClientError::Usage)?;
        // What fails is to be seen.
        let options = Oip { batch: Some(command.batch), retries: Some(0), ..Oip::default() };
        let mut connections = Vec::new();
        for _ in 0..command.connections.get() {
            connections.push(Opened::connect(&address, &options, args.timeout, &Trust::of(&args.target)).await?);
        }
        let Some(opened) = connections.first() else {
            return Err(ClientError::Environment("there is no connection".into()));
        };
        let (batch, input) = (command.batch.get(), opened.input());
        let samples = samples(command, &command.model, &input)?;
        let values = |start: usize| samples.scaled(start..start + batch, &input);
        let requests = (0..samples.len() / batch).map(|i| opened.request(&values(i * batch).view())).collect();
        Ok(Self { connections, requests, batch })
    }
}

impl Target for Elsewhere {
    async fn send(&self, n: usize) -> Result<(), String> {
        let opened = &self.connections[n % self.connections.len()];
        let request = self.requests[n % self.requests.len()].clone();
        opened.endpoint().infer(request, self.batch).await.map(drop)
    }
}

/// Samples for requests of `--batch` each: those of the data set, over and over, or noise.
fn samples(command: &Bench, model: &str, input: &InputSpec) -> Result<Samples, ClientError> {
    let batch = command.batch.get();
    let mut samples = match &command.data.data {
        Some(path) => Samples::open(path, &command.data)?,
        None => noise(batch * REQUESTS.div_ceil(batch).max(2), input),
    };
    samples.fit(model, input)?;
    if samples.len() < batch {
        let (name, n) = (&samples.name, samples.len());
        return Err(ClientError::Usage(format!("--batch {batch}: {name} has {n} samples")));
    }
    Ok(samples)
}

/// Numbers in [0, 1] that look like nothing, the same each time.
fn noise(n: usize, input: &InputSpec) -> Samples {
    let shape: Vec<usize> = input.shape.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX)).collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let values = Array2::from_shape_simple_fn((n, shape.iter().product()), || {
        // xorshift64 (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        #[allow(clippy::cast_precision_loss)]
        let unit = (state >> 40) as f32 / (1_u32 << 24) as f32;
        unit
    });
    Samples {
        name: "noise".to_owned(),
        names: Vec::new(),
        values,
        shape,
        labels: Vec::new(),
        digest: String::new(),
        positions: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_unit_that_it_is_read_in() {
        for (nanoseconds, expected) in [
            (61_234, "61 µs"),
            (999_499, "999 µs"),
            (2_345_678, "2.35 ms"),
            (123_456_789, "123 ms"),
            (2_345_678_901, "2.35 s"),
        ] {
            assert_eq!(in_words(nanoseconds), expected);
        }
    }

    #[test]
    fn noise_is_in_the_unit_interval_and_not_twice_the_same() {
        let input = InputSpec { shape: vec![1, 2, 2], low: 0.0, high: 1.0, max_batch: 9, max_gradient_batch: 9 };
        let samples = noise(3, &input);
        assert!(samples.values.iter().all(|value| (0.0..1.0).contains(value)));
        assert_ne!(samples.values.row(0), samples.values.row(1));
        assert_eq!(samples.values, noise(3, &input).values);
    }
}
