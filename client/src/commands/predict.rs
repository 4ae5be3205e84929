//! `assay predict`.

use assay_proto::v1::{GetModelResponse, InputSpec, PredictRequest, Prediction};
use serde_json::json;

use super::{ROWS, Session, class_name};
use crate::args::{Output, Predict};
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, rate, table};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::spec;

pub(crate) async fn run(session: &mut Session, command: &Predict) -> Result<Verdict, ClientError> {
    if command.data.data.is_none() && command.images.is_empty() {
        return Err(ClientError::Usage("name the samples: --image FILE, or --data PATH".into()));
    }
    let (info, input) = session.model(&spec::model(&command.model)).await?;
    let mut samples = match &command.data.data {
        Some(path) => Samples::open(path, &command.data)?,
        None => Samples::images(&command.images, &input)?,
    };
    samples.fit(&info.name, &input)?;

    let mut progress = Progress::new();
    let predictions = predictions(session, &info, &input, &samples, command.top_k, &mut progress).await?;
    progress.finish();

    let correct = predictions.iter().zip(&samples.labels).filter(|(p, label)| p.classes[0].class == **label).count();
    match session.output {
        Output::Json => print_json(&json!({
            "model": info.name,
            "version": info.version,
            "data": samples.name,
            "correct": (!samples.labels.is_empty()).then_some(correct),
            "predictions": predictions.iter().enumerate().map(|(i, p)| as_json(&samples, i, p)).collect::<Vec<_>>(),
        }))?,
        Output::Human => {
            let mut heads = vec!["sample"];
            if !samples.labels.is_empty() {
                heads.push("label");
            }
            heads.push("predictions");
            let mut rows = table(&heads, &[]);
            for (i, prediction) in predictions.iter().enumerate().take(ROWS) {
                let mut row = vec![samples.name_of(i)];
                row.extend(samples.labels.get(i).map(|&label| class_name(&info.labels, label)));
                row.push(in_words(&info.labels, prediction));
                rows.add_row(row);
            }
            print(&rows)?;
            if predictions.len() > ROWS {
                print(&format!("... and {} more (all of them with --output json)", predictions.len() - ROWS))?;
            }
            if !samples.labels.is_empty() {
                print(&format!("accuracy {}", rate(correct as u64, predictions.len() as u64)))?;
            }
            samples.say_where_from(&command.data)?;
        }
    }
    Ok(Verdict::Pass)
}

/// The `top_k` likeliest classes of each sample, in as many requests as it takes.
pub(super) async fn predictions(
    session: &mut Session,
    info: &GetModelResponse,
    input: &InputSpec,
    samples: &Samples,
    top_k: u32,
    progress: &mut Progress,
) -> Result<Vec<Prediction>, ClientError> {
    let mut predictions = Vec::with_capacity(samples.len());
    for range in samples.chunks(input.max_batch) {
        let request = session.request(PredictRequest {
            model: info.name.clone(),
            version: info.version.clone(),
            input: Some(samples.tensor(range.clone(), input)),
            top_k: top_k.min(info.classes),
        });
        let answer = session.client.predict(request).await?.into_inner();
        if answer.predictions.len() != range.len() || answer.predictions.iter().any(|p| p.classes.is_empty()) {
            return Err(ClientError::Protocol(format!(
                "{} predictions for {} samples",
                answer.predictions.len(),
                range.len()
            )));
        }
        predictions.extend(answer.predictions);
        let (done, total) = (predictions.len() as u64, samples.len() as u64);
        progress.update(&format!("predict {}", info.name), done, total, &format!("{done} samples"));
    }
    Ok(predictions)
}

fn in_words(labels: &[String], prediction: &Prediction) -> String {
    let classes: Vec<String> = prediction
        .classes
        .iter()
        .map(|c| format!("{} {:.1} %", class_name(labels, c.class), 100.0 * c.probability))
        .collect();
    classes.join(", ")
}

fn as_json(samples: &Samples, i: usize, prediction: &Prediction) -> serde_json::Value {
    json!({
        "sample": samples.name_of(i),
        "label": samples.labels.get(i),
        "classes": prediction.classes.iter().map(|c| {
            json!({ "class": c.class, "label": c.label, "probability": c.probability })
        }).collect::<Vec<_>>(),
    })
}
