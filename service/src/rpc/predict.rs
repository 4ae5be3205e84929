//! `Predict`.

use std::{cmp::Ordering, time::Instant};

use assay_proto::v1::{PredictRequest, PredictResponse, Prediction, ScoredClass};
use ndarray::ArrayView1;
use tonic::Request;

use super::request::expected;
use crate::{call::Call, core::Core, prediction::Predicted, statistics::Served, status::CallError, tensor};

pub(super) async fn predict(core: &Core, request: &Request<PredictRequest>) -> Result<PredictResponse, CallError> {
    let call = Call::of(request)?;
    let request = request.get_ref();
    let hosted = core.find(&call, "model", &request.model, &request.version)?;
    let answer = hosted.statistics.request(async {
        let top = top_k(request.top_k, hosted.spec().classes)?;
        let asked = request.input.as_ref().and_then(|input| input.shape.first()).copied().unwrap_or(1);
        let _permit = core.admission.prediction(usize::try_from(asked).unwrap_or(usize::MAX))?;
        let began = Instant::now();
        let limits = &core.config.limits;
        let batch =
            tensor::decode("input", request.input.as_ref(), expected(&hosted, limits.max_batch, "limits.max_batch"))?;
        let (samples, input) = (batch.nrows(), began.elapsed());
        call.samples(samples);
        let Predicted { logits, evaluated } = core.predict(&call.caller(), &hosted, batch).await?;
        let began = Instant::now();
        let labels = &hosted.manifest.labels;
        let answer = PredictResponse {
            version: hosted.version.to_string(),
            predictions: logits.rows().into_iter().map(|row| most_probable(&row, top, labels)).collect(),
            logits: Some(tensor::encode(&logits.view(), &[logits.ncols()])),
        };
        let served = Served { samples: evaluated, input, output: began.elapsed() };
        core.metrics.served(&hosted.name, &served);
        Ok((answer, served))
    });
    answer.await
}

/// How many classes a prediction lists.
fn top_k(asked: u32, classes: usize) -> Result<usize, CallError> {
    match usize::try_from(asked) {
        Ok(0) => Ok(1),
        Ok(top) if top <= classes => Ok(top),
        _ => Err(CallError::field("top_k", format!("expected 0 to {classes} (the model's classes), got {asked}"))),
    }
}

/// The `top` most probable classes by softmax, computed in f64; ties: lower class first.
fn most_probable(logits: &ArrayView1<'_, f32>, top: usize, labels: &[String]) -> Prediction {
    let order = ranked(logits);
    let largest = order.first().map_or(0.0, |&class| f64::from(logits[class]));
    let weight = |logit: f32| (f64::from(logit) - largest).exp();
    let sum: f64 = logits.iter().copied().map(weight).sum();
    #[allow(clippy::cast_possible_truncation, reason = "classes fit u32, probabilities are rounded to f32")]
    let scored = |class: usize| ScoredClass {
        class: class as u32,
        label: labels.get(class).cloned().unwrap_or_default(),
        probability: (weight(logits[class]) / sum) as f32,
    };
    Prediction { classes: order.into_iter().take(top).map(scored).collect() }
}

/// The classes by their logits, which are finite, the largest first; ties: lower class first.
pub(super) fn ranked(logits: &ArrayView1<'_, f32>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Stable, so ties stay in order of class; logits are finite here, so they can be compared.
    order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap_or(Ordering::Equal));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_class_comes_first_and_ties_go_to_the_lower() {
        let prediction = most_probable(&ndarray::array![0.0, 1.0, 1.0, -1.0].view(), 3, &[]);
        let classes: Vec<u32> = prediction.classes.iter().map(|scored| scored.class).collect();
        assert_eq!(classes, [1, 2, 0]);
    }

    #[test]
    fn zeros_of_either_sign_tie() {
        let prediction = most_probable(&ndarray::array![-0.0, 0.0].view(), 1, &[]);
        assert_eq!(prediction.classes[0].class, 0);
    }

    #[test]
    fn probabilities_sum_to_one_even_for_large_logits() {
        let prediction = most_probable(&ndarray::array![1000.0, 999.0, 998.0].view(), 3, &[]);
        let sum: f32 = prediction.classes.iter().map(|scored| scored.probability).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn more_classes_than_there_are_is_an_error() {
        assert_eq!(top_k(0, 10), Ok(1));
        assert_eq!(top_k(10, 10), Ok(10));
        assert_eq!(top_k(11, 10).unwrap_err().to_string(), "top_k: expected 0 to 10 (the model's classes), got 11");
    }
}
