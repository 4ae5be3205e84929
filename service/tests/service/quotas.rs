//! Quotas: what a name may use, whatever its keys.

use crate::harness::{
    Known, MODEL, Running, attack_request, audit_request, changed, endless_audit, key, known, predict_request,
};
use assay_proto::v1::{
    AuditRequest, CancelAuditRequest, GradientRequest, Loss, LossAt, StartAuditRequest, attack_response::Event,
    gradient_request::Objective, start_audit_request::What,
};
use assay_server::{ApiKey, Quota, Role, hash_key};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

const EVERYTHING: [Role; 4] = [Role::Predict, Role::Gradient, Role::Attack, Role::Audit];

/// A server where `ci` has a quota, and `free` has none.
async fn server(quota: Quota) -> Running {
    Running::with(|config| {
        let second = hash_key("the-second-key-of-ci-0123456789").unwrap();
        config.auth.keys =
            vec![key("ci", &EVERYTHING), key("free", &EVERYTHING), ApiKey { sha256: second, ..key("ci", &EVERYTHING) }];
        config.auth.quotas.insert("ci".to_owned(), quota);
    })
    .await
}

#[track_caller]
fn refused(status: &Status, quota: &str, waits: bool) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let subject = format!("auth.quotas.ci.{quota}");
    assert!(status.message().contains(&subject), "{status}");
    assert_eq!(status.get_details_quota_failure().unwrap().violations[0].subject, subject);
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert_eq!(wait.is_some_and(|wait| !wait.is_zero()), waits, "{wait:?}");
}

fn counted(server: &Running, what: &str, quota: &str) -> Option<f64> {
    server.metric(&format!("assay_quota_{what}_total{{principal=\"ci\",quota=\"{quota}\"}}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_are_taken_from_the_allowance_of_the_name() {
    let quota = Quota { predictions_per_minute: Some(10), gradients_per_minute: Some(4), ..Quota::default() };
    let server = server(quota).await;
    let (mut ci, mut free) = (known(&server, "ci").await, known(&server, "free").await);
    assert_eq!(counted(&server, "refused", "jobs"), Some(0.0), "it is there from the start");
    ci.predict(predict_request(8)).await.unwrap();
    let mut with_second = Request::new(predict_request(8));
    with_second.metadata_mut().insert("authorization", "Bearer the-second-key-of-ci-0123456789".parse().unwrap());
    let channel_of_anybody = &mut server.client().await;
    refused(&channel_of_anybody.predict(with_second).await.unwrap_err(), "predictions_per_minute", true);
    let never = ci.predict(predict_request(11)).await.unwrap_err();
    refused(&never, "predictions_per_minute", false);
    assert!(never.message().starts_with("`ci` asks for 11, and may have 10 "), "{never}");
    let (input, labels) = crate::harness::images(4);
    let at = LossAt { loss: Loss::CrossEntropy.into(), labels, ..Default::default() };
    let gradient = GradientRequest {
        model: MODEL.to_owned(),
        input: Some(input),
        objective: Some(Objective::Loss(at)),
        ..Default::default()
    };
    ci.gradient(gradient.clone()).await.unwrap();
    refused(&ci.gradient(gradient).await.unwrap_err(), "gradients_per_minute", true);
    for _ in 0..3 {
        free.predict(predict_request(16)).await.unwrap();
    }
    assert_eq!(counted(&server, "used", "predictions_per_minute"), Some(8.0));
    assert_eq!(counted(&server, "refused", "predictions_per_minute"), Some(2.0));
    assert_eq!(counted(&server, "used", "gradients_per_minute"), Some(4.0));
    assert!(!server.admin("/metrics").1.contains("principal=\"free\""));
}

/// What an attack spent.
async fn attack(client: &mut Known, samples: usize, steps: &str) -> Result<u64, Status> {
    let mut events = client.attack(attack_request(samples, &[("steps", steps)])).await?.into_inner();
    let mut spent = 0;
    while let Some(event) = events.message().await? {
        if let Some(Event::Result(result)) = event.event {
            let cost = result.cost.unwrap();
            spent = cost.queries + cost.gradients;
        }
    }
    Ok(spent)
}

fn audit(audit: AuditRequest) -> StartAuditRequest {
    StartAuditRequest { what: Some(What::Audit(audit)), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_needs_what_it_may_take_and_pays_what_it_took() {
    // Of 4 samples and 20 steps: at most 4 * (21 + 3) = 96.
    let server = server(Quota { evaluations_per_day: Some(300), ..Quota::default() }).await;
    let mut ci = known(&server, "ci").await;
    refused(&attack(&mut ci, 16, "20").await.unwrap_err(), "evaluations_per_day", false);
    let spent = attack(&mut ci, 4, "20").await.unwrap();
    server.eventually("paid", |server| counted(server, "used", "evaluations_per_day").unwrap() > 0.0).await;
    let paid = counted(&server, "used", "evaluations_per_day").unwrap();
    assert!(spent > 0 && paid >= spent as f64 && paid <= 300.0, "{paid} for {spent}");
    let mut left = 300.0 - paid;
    while left > 96.0 {
        attack(&mut ci, 4, "20").await.unwrap();
        server
            .eventually("paid", |server| 300.0 - counted(server, "used", "evaluations_per_day").unwrap() < left)
            .await;
        left = 300.0 - counted(&server, "used", "evaluations_per_day").unwrap();
    }
    refused(&attack(&mut ci, 4, "20").await.unwrap_err(), "evaluations_per_day", true);
    // An audit of 64 samples under 3 steps needs 64 * (1 + 4 + 3) and more.
    refused(&ci.start_audit(audit(audit_request(&[MODEL], 64))).await.unwrap_err(), "evaluations_per_day", false);
    known(&server, "free").await.start_audit(audit(audit_request(&[MODEL], 64))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_hold_their_places_until_they_have_ended() {
    let server = server(Quota { jobs: Some(2), ..Quota::default() }).await;
    let mut ci = known(&server, "ci").await;
    let first = ci.start_audit(audit(endless_audit())).await.unwrap().into_inner();
    let second = ci.start_audit(audit(changed(endless_audit(), "seed = 0", "seed = 1"))).await.unwrap().into_inner();
    let third = || audit(changed(endless_audit(), "seed = 0", "seed = 2"));
    refused(&ci.start_audit(third()).await.unwrap_err(), "jobs", false);
    refused(&attack(&mut ci, 1, "1").await.unwrap_err(), "jobs", false);
    ci.cancel_audit(CancelAuditRequest { job: first.id }).await.unwrap();
    attack(&mut ci, 1, "1").await.unwrap();
    server.eventually("free", |server| counted(server, "used", "jobs") == Some(3.0)).await;
    let third = ci.start_audit(third()).await.unwrap().into_inner();
    for job in [second.id, third.id] {
        ci.cancel_audit(CancelAuditRequest { job }).await.unwrap();
    }
    assert_eq!(counted(&server, "refused", "jobs"), Some(2.0));
}
