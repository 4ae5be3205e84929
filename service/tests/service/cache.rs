//! A batch that was asked before is answered without the model.

use assay_proto::{inference::ModelStatisticsRequest, v1::PredictRequest};

use crate::harness::{INPUT, MODEL, OUTPUT, PRUNED, Running, floats, infer_request, predict_request};

/// Runs of a model.
fn runs(server: &Running, model: &str) -> f64 {
    server.metric(&format!("assay_run_size_count{{model=\"{model}\"}}")).unwrap()
}

async fn logits(server: &Running, request: PredictRequest) -> Vec<f32> {
    floats(&server.client().await.predict(request).await.unwrap().into_inner().logits.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_batch_is_evaluated_once_over_both_services() {
    let server = Running::with(|config| config.cache.bytes = 1 << 20).await;
    let before = runs(&server, MODEL);
    let first = logits(&server, predict_request(3)).await;
    assert_eq!(logits(&server, predict_request(3)).await, first, "to the bit");
    let infer = infer_request(3);
    assert_eq!((infer.inputs[0].name.as_str(), OUTPUT), (INPUT, "logits"));
    let answer = server.oip().await.model_infer(infer).await.unwrap().into_inner();
    let raw: Vec<f32> =
        answer.raw_output_contents[0].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(raw, first);
    assert_eq!(runs(&server, MODEL) - before, 1.0);

    let other = logits(&server, PredictRequest { model: PRUNED.to_owned(), ..predict_request(3) }).await;
    assert_ne!(other, first, "it is another model");
    logits(&server, predict_request(2)).await;
    assert_eq!(runs(&server, MODEL) - before, 2.0, "it is another batch");

    let request = ModelStatisticsRequest { name: MODEL.to_owned(), version: String::new() };
    let statistics = server.oip().await.model_statistics(request).await.unwrap().into_inner().model_stats.remove(0);
    let of = statistics.inference_stats.unwrap();
    let counts = [of.success, of.cache_hit, of.cache_miss].map(|timed| timed.unwrap().count);
    assert_eq!((counts, statistics.inference_count), ([4, 2, 2], 5), "what was kept was not evaluated");
    let labels = format!("{{model=\"{MODEL}\",version=\"1\"}}");
    assert_eq!(server.metric(&format!("nv_cache_num_hits_per_model{labels}")), Some(2.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_unless_it_is_wanted() {
    let server = Running::start().await;
    let before = runs(&server, MODEL);
    logits(&server, predict_request(1)).await;
    logits(&server, predict_request(1)).await;
    assert_eq!(runs(&server, MODEL) - before, 2.0);
}
