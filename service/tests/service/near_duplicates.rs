//! Whoever asks about many variants of one sample is counted, and refused where a quota says so.

use assay_proto::v1::PredictRequest;
use assay_server::{Config, Quota, Role};
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{MODEL, Running, floats, fp32, images, key, known};

const PIXELS: usize = 28 * 28;
/// Different images that are sent.
const IMAGES: usize = 200;

fn predict(image: &[f32]) -> PredictRequest {
    PredictRequest { model: MODEL.to_owned(), input: Some(fp32(&[1, 1, 28, 28], image)), ..Default::default() }
}

/// A variant as a random search within 8/255 tries it (Andriushchenko et al., Square Attack): stripes of the largest changes, and a square where they have another sign.
fn variant(image: &[f32], seed: usize) -> Vec<f32> {
    let (row, column) = (seed * 7 % 23, seed * 11 % 23);
    let value = |(i, &value): (usize, &f32)| {
        let (r, c) = (i / 28, i % 28);
        let square = (row..row + 5).contains(&r) && (column..column + 5).contains(&c);
        let up = c.is_multiple_of(2) != (square && seed.is_multiple_of(2)) || (square && seed.is_multiple_of(3));
        (value + if up { 8.0 / 255.0 } else { -8.0 / 255.0 }).clamp(0.0, 1.0)
    };
    image.iter().enumerate().map(value).collect()
}

fn counted(server: &Running, principal: &str) -> f64 {
    let labels = format!("{{principal=\"{principal}\",model=\"{MODEL}\"}}");
    server.metric(&format!("assay_near_duplicates_total{labels}")).unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_are_counted_and_what_others_send_is_not() {
    let server = Running::with(|config| config.near_duplicates.window = 1000).await;
    let (mut client, values) = (server.client().await, floats(&images(IMAGES).0));
    for image in values.chunks(PIXELS) {
        client.predict(predict(image)).await.unwrap();
        client.predict(predict(image)).await.unwrap();
    }
    let usual = counted(&server, "_anybody");
    assert!(usual <= IMAGES as f64 * 0.02, "{usual} of {IMAGES} different images, each sent twice");
    for seed in 0..50 {
        client.predict(predict(&variant(&values[..PIXELS], seed))).await.unwrap();
    }
    let found = counted(&server, "_anybody") - usual;
    assert!(found >= 45.0, "{found} of 50 variants");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_stops_whoever_goes_on() {
    let server = Running::with(|config: &mut Config| {
        config.near_duplicates.window = 100;
        config.auth.keys = vec![key("stranger", &[Role::Predict]), key("app", &[Role::Predict])];
        let quota = Quota { near_duplicates_per_minute: Some(10), ..Quota::default() };
        config.auth.quotas.insert("stranger".to_owned(), quota);
    })
    .await;
    let image = images(1).0;
    let image = floats(&image);
    let mut stranger = known(&server, "stranger").await;
    let mut refused = None;
    for seed in 0..60 {
        if let Err(status) = stranger.predict(predict(&variant(&image, seed))).await {
            refused = Some((seed, status));
            break;
        }
    }
    let (after, status) = refused.expect("refused at some time");
    assert!((10..40).contains(&after), "{after}");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("auth.quotas.stranger.near_duplicates_per_minute"), "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "QUOTA_USED_UP");
    // Others, and other images, go on.
    known(&server, "app").await.predict(predict(&image)).await.unwrap();
}
