//! `assay weights`.

use assay_proto::v1::weight_surface_response::Event;
use assay_proto::v1::{WeightSurfaceRequest, WeightSurfaceResult};
use serde_json::json;

use super::Session;
use crate::args::{Output, Weights};
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, rate, table};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::spec;

pub(crate) async fn run(session: &mut Session, command: &Weights) -> Result<Verdict, ClientError> {
    let mut samples = Samples::labelled(&command.data)?;
    let (info, input) = session.model(&spec::model(&command.model)).await?;
    samples.fit_labelled(&info.name, &input, info.classes as usize)?;
    let request = session.request(WeightSurfaceRequest {
        model: info.name.clone(),
        version: info.version.clone(),
        input: Some(samples.tensor(0..samples.len(), &input)),
        labels: samples.labels.clone(),
        norm: spec::norm(command.norm).into(),
        eps: command.eps.clone(),
        radii: command.radii.clone(),
        steps: command.steps,
        draws: command.draws,
        seed: command.seed,
        sample_ids: Vec::new(),
    });
    let mut progress = Progress::new();
    let mut stream = session.client.weight_surface(request).await?.into_inner();
    let mut result = None;
    while let Some(answer) = stream.message().await? {
        match answer.event {
            Some(Event::Progress(now)) => {
                let stage = format!("weights {}", info.name);
                progress.update(&stage, now.done, now.cells, &format!("{} of {} cells", now.done, now.cells));
            }
            Some(Event::Result(found)) => result = Some(found),
            None => {}
        }
    }
    progress.finish();
    let result = result.ok_or_else(|| ClientError::Protocol("the stream ended without a result".into()))?;
    if result.cells.len() != command.eps.len() * command.radii.len() || result.random.len() != command.radii.len() {
        return Err(ClientError::Protocol(format!("{} cells", result.cells.len())));
    }
    match session.output {
        Output::Json => print_json(&as_json(&info.name, &samples.name, command, &result))?,
        Output::Human => {
            show(command, &result)?;
            samples.say_where_from(&command.data)?;
        }
    }
    Ok(Verdict::Pass)
}

fn show(command: &Weights, result: &WeightSurfaceResult) -> Result<(), ClientError> {
    let heads: Vec<String> = std::iter::once(format!("{} of inputs", command.norm))
        .chain(command.radii.iter().map(|radius| format!("weights {radius}")))
        .collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let mut rows = table(&heads, &(1..heads.len()).collect::<Vec<_>>());
    for (eps, cells) in command.eps.iter().zip(result.cells.chunks(command.radii.len())) {
        let mut row = vec![eps.clone()];
        row.extend(cells.iter().map(|cell| rate(cell.correct, result.samples)));
        rows.add_row(row);
    }
    let mut row = vec!["0, weights by chance".to_owned()];
    row.extend(result.random.iter().map(|&correct| rate(correct, result.samples)));
    rows.add_row(row);
    print(&rows)?;
    print(
        "accuracy at the worst weights and inputs found; each weight tensor is changed by at most that share of its length",
    )?;
    let gradients = result.cost.unwrap_or_default().gradients;
    print(&format!("{} weight tensors, {gradients} gradients, {:.1} s", result.weights.len(), result.seconds))
}

fn as_json(model: &str, data: &str, command: &Weights, result: &WeightSurfaceResult) -> serde_json::Value {
    json!({
        "model": model,
        "version": result.version,
        "data": data,
        "samples": result.samples,
        "norm": command.norm.to_string(),
        "seed": command.seed,
        "cells": result.cells.iter().map(|cell| {
            json!({ "eps": cell.eps, "radius": cell.radius, "correct": cell.correct })
        }).collect::<Vec<_>>(),
        "random": command.radii.iter().zip(&result.random).map(|(radius, correct)| {
            json!({ "radius": radius, "correct": correct })
        }).collect::<Vec<_>>(),
        "weights": result.weights,
        "gradients": result.cost.unwrap_or_default().gradients,
        "seconds": result.seconds,
    })
}
