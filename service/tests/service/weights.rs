//! WeightSurface streams progress and ends with one result.

use crate::harness::{MODEL, Running, images, violated};
use assay_proto::v1::{
    Norm, WeightSurfaceProgress, WeightSurfaceRequest, WeightSurfaceResult, weight_surface_response::Event,
};
use tonic::{Code, Status};

fn request(n: usize) -> WeightSurfaceRequest {
    let (input, labels) = images(n);
    WeightSurfaceRequest {
        model: MODEL.to_owned(),
        input: Some(input),
        labels,
        norm: Norm::Linf.into(),
        eps: vec!["0".to_owned(), "0.1".to_owned()],
        radii: vec![0.0, 0.01, 0.3],
        steps: 3,
        draws: 2,
        ..WeightSurfaceRequest::default()
    }
}

async fn run(
    server: &Running,
    request: WeightSurfaceRequest,
) -> Result<(Vec<WeightSurfaceProgress>, WeightSurfaceResult), Status> {
    let mut events = server.client().await.weight_surface(request).await?.into_inner();
    let mut progress = Vec::new();
    while let Some(response) = events.message().await? {
        match response.event.unwrap() {
            Event::Progress(event) => progress.push(event),
            Event::Result(result) => return Ok((progress, result)),
        }
    }
    panic!("no result")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accuracy_falls_with_the_radii_and_is_that_of_predict_at_none() {
    let server = Running::start().await;
    let (progress, result) = run(&server, request(40)).await.unwrap();
    assert!(progress.is_sorted_by(|a, b| a.done <= b.done) && progress.iter().all(|now| now.cells == 6));
    let correct: Vec<u64> = result.cells.iter().map(|cell| cell.correct).collect();
    let asked: Vec<_> = result.cells.iter().map(|cell| (cell.eps.as_str(), cell.radius)).collect();
    assert_eq!(asked, [("0", 0.0), ("0", 0.01), ("0", 0.3), ("0.1", 0.0), ("0.1", 0.01), ("0.1", 0.3)]);
    assert_eq!((result.samples, result.random.len(), result.version.as_str()), (40, 3, "1"));

    let (input, labels) = images(40);
    let asked = assay_proto::v1::PredictRequest { model: MODEL.to_owned(), input: Some(input), ..Default::default() };
    let predictions = server.client().await.predict(asked).await.unwrap().into_inner().predictions;
    let clean = predictions.iter().zip(&labels).filter(|(p, label)| p.classes[0].class == **label).count() as u64;
    assert_eq!((correct[0], result.random[0]), (clean, clean));
    assert!(correct[2] < correct[1] && correct[1] <= correct[0] && correct[3] < correct[0], "{correct:?}");
    assert!((0..3).all(|j| correct[3 + j] <= correct[j] && result.random[j] >= correct[j]), "{correct:?}");
    assert!(result.weights.len() > 2 && result.cost.unwrap().gradients > 40 * 6 && result.seconds > 0.0);
    assert_eq!(run(&server, request(40)).await.unwrap().1.cells, result.cells, "the same again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused() {
    let server = Running::start().await;
    let with = |change: fn(&mut WeightSurfaceRequest)| {
        let mut request = request(4);
        change(&mut request);
        request
    };
    for (request, field) in [
        (with(|r| r.norm = 0), "norm"),
        (with(|r| r.eps[1] = "x".to_owned()), "eps[1]"),
        (with(|r| r.labels.truncate(3)), "labels"),
        (with(|r| r.radii = vec![0.1; 33]), "radii"),
        (with(|r| r.sample_ids = vec![1]), "sample_ids"),
    ] {
        let status = run(&server, request).await.unwrap_err();
        assert_eq!((status.code(), violated(&status)), (Code::InvalidArgument, field.to_owned()), "{status}");
    }
    for (request, says) in [
        (with(|r| r.radii = vec![0.1, 0.1]), "each larger than the one before"),
        (with(|r| r.eps = vec!["inf".to_owned()]), "finite"),
        (with(|r| r.norm = Norm::L0.into()), "expected Linf, L2 or L1"),
    ] {
        let status = run(&server, request).await.unwrap_err();
        assert!(status.code() == Code::InvalidArgument && status.message().contains(says), "{status}");
    }
    let status = run(&server, with(|r| r.steps = 1_000_000)).await.unwrap_err();
    assert!(status.message().contains("limits.max_steps"), "{status}");
}
