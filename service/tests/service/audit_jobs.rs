//! Audits are jobs: they are asked for once, followed from anywhere, cancelled, deleted, and go on with the next server.

use std::path::Path;

use crate::harness::{
    MODEL, PRUNED, Running, attack_request, audit_request, changed, endless_attack, endless_audit, violated,
};
use assay_proto::v1::{
    AuditJob, AuditReport, AuditRequest, AuditState, CancelAuditRequest, DeleteAuditRequest, GetAuditRequest,
    ListAuditsRequest, ReportFormat, StartAuditRequest, WatchAuditRequest, WatchAuditResponse,
    start_audit_request::What, watch_audit_response::Event,
};
use assay_server::Config;
use tonic::{Code, Status, Streaming};

async fn ask(server: &Running, audit: AuditRequest, key: &str, join: bool) -> Result<AuditJob, Status> {
    let what = Some(What::Audit(audit));
    let request = StartAuditRequest { what, idempotency_key: key.to_owned(), join };
    Ok(server.client().await.start_audit(request).await?.into_inner())
}

async fn start(server: &Running, audit: AuditRequest) -> AuditJob {
    ask(server, audit, "", false).await.unwrap()
}

async fn again(server: &Running, id: &str) -> AuditJob {
    let request = StartAuditRequest { what: Some(What::Job(id.to_owned())), ..Default::default() };
    server.client().await.start_audit(request).await.unwrap().into_inner()
}

async fn watch(server: &Running, id: &str, from_event: u64) -> Streaming<WatchAuditResponse> {
    let request = WatchAuditRequest { job: id.to_owned(), from_event, formats: Vec::new() };
    server.client().await.watch_audit(request).await.unwrap().into_inner()
}

/// Follows an audit to its end: every message, and the report or why there is none.
async fn to_the_end(server: &Running, id: &str, from: u64) -> (Vec<WatchAuditResponse>, Result<AuditReport, Status>) {
    let (mut events, mut told) = (watch(server, id, from).await, Vec::new());
    loop {
        match events.message().await {
            Ok(Some(WatchAuditResponse { event: Some(Event::Report(report)), .. })) => {
                assert_eq!(events.message().await.unwrap(), None, "the report is the last message");
                return (told, Ok(report));
            }
            Ok(message) => told.push(message.expect("no report")),
            Err(status) => return (told, Err(status)),
        }
    }
}

async fn get(server: &Running, id: &str) -> AuditJob {
    let request = GetAuditRequest { job: id.to_owned(), formats: vec![ReportFormat::Markdown.into()] };
    server.client().await.get_audit(request).await.unwrap().into_inner()
}

async fn list(server: &Running) -> Vec<AuditJob> {
    server.client().await.list_audits(ListAuditsRequest {}).await.unwrap().into_inner().jobs
}

async fn cancel(server: &Running, id: &str) -> Result<AuditJob, Status> {
    let request = CancelAuditRequest { job: id.to_owned() };
    Ok(server.client().await.cancel_audit(request).await?.into_inner())
}

async fn delete(server: &Running, id: &str) -> Result<(), Status> {
    server.client().await.delete_audit(DeleteAuditRequest { job: id.to_owned() }).await.map(drop)
}

/// Waits until an audit attacks.
async fn attacking(server: &Running, id: &str) {
    let mut events = watch(server, id, 0).await;
    loop {
        let message = events.message().await.unwrap().unwrap();
        if matches!(&message.event, Some(Event::Progress(p)) if p.stage != "clean" && p.steps_done > 0) {
            return;
        }
    }
}

/// The report without what measures time.
pub(crate) fn timeless(report: &AuditReport) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.retain(|name, _| name != "seconds" && name != "date");
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(&report.json).unwrap();
    strip(&mut value);
    value
}

fn kept_in(state: &Path) -> impl FnOnce(&mut Config) + use<> {
    let state = state.to_owned();
    move |config| {
        config.audits.state = Some(state);
        config.concurrency.jobs = 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_told_of_in_full_from_any_of_its_events() {
    let server = Running::start().await;
    let job = start(&server, audit_request(&[MODEL, PRUNED], 20)).await;
    assert!(!job.durable && job.created.ends_with('Z'), "{job:?}");
    assert_eq!(job.models[1].version, "1", "the version is chosen when the audit is taken");
    let (told, report) = to_the_end(&server, &job.id, 0).await;
    let report = report.unwrap();
    assert!(matches!(&told[0].event, Some(Event::Job(first)) if first.id == job.id));
    assert!(told.is_sorted_by_key(|message| message.next_event), "{told:?}");

    // Stored, it is told again the same, but for the progress that lay between events.
    let (again, _) = to_the_end(&server, &job.id, 0).await;
    assert!(again.len() <= told.len() && again.len() > 4, "{} of {}", again.len(), told.len());
    let half = &again[again.len() / 2];
    let (rest, last) = to_the_end(&server, &job.id, half.next_event).await;
    assert_eq!(rest[1..], again[again.len() / 2 + 1..]);
    assert_eq!(last.unwrap(), report);

    let done = get(&server, &job.id).await;
    assert_eq!(done.state(), AuditState::Done);
    let shown = done.report.unwrap();
    assert_eq!((&shown.json, shown.rendered.len()), (&report.json, 1));
    assert!(!done.started.is_empty() && !done.ended.is_empty() && done.events > 4);
    assert_eq!(list(&server).await[0].report, None);

    let beyond = WatchAuditRequest { job: job.id.clone(), from_event: done.events + 1, formats: Vec::new() };
    let status = server.client().await.watch_audit(beyond).await.unwrap_err();
    assert_eq!(violated(&status), "from_event", "{status}");
    let status = cancel(&server, &job.id).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    delete(&server, &job.id).await.unwrap();
    assert_eq!(delete(&server, &job.id).await.unwrap_err().code(), Code::NotFound);
    assert!(list(&server).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_a_watch_stops_nothing_and_who_cancels_does() {
    let server = Running::with(|config| config.concurrency.jobs = 1).await;
    let job = start(&server, endless_audit()).await;
    attacking(&server, &job.id).await;
    assert_eq!(get(&server, &job.id).await.state(), AuditState::Running);
    assert_eq!(delete(&server, &job.id).await.unwrap_err().code(), Code::FailedPrecondition);

    let waiting = start(&server, changed(endless_audit(), "seed = 0", &format!("seed = {}", 1))).await;
    assert_eq!((waiting.state(), waiting.position), (AuditState::Queued, 1));
    assert_eq!(server.metric("assay_audits{state=\"queued\"}"), Some(1.0));
    // An attack does not wait: it has no job.
    let busy = server.client().await.attack(attack_request(1, &[("steps", "1")])).await.unwrap_err();
    assert_eq!(busy.code(), Code::ResourceExhausted, "{busy}");
    assert_eq!(cancel(&server, &waiting.id).await.unwrap().state(), AuditState::Cancelled);

    let mut watching = watch(&server, &job.id, 0).await;
    assert_eq!(cancel(&server, &job.id).await.unwrap().state(), AuditState::Cancelled);
    let status = loop {
        if let Err(status) = watching.message().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    assert_eq!(again(&server, &job.id).await.state(), AuditState::Cancelled, "it never goes on");
    assert_eq!(server.metric("assay_audits{state=\"cancelled\"}"), Some(2.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_has_a_deadline_and_the_audit_has_none() {
    let server = Running::start().await;
    let job = start(&server, endless_audit()).await;
    let mut request = tonic::Request::new(WatchAuditRequest { job: job.id.clone(), ..Default::default() });
    request.set_timeout(std::time::Duration::from_millis(300));
    let mut events = server.client().await.watch_audit(request).await.unwrap().into_inner();
    let status = loop {
        if let Err(status) = events.message().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(!get(&server, &job.id).await.state().as_str_name().contains("FAILED"));
    cancel(&server, &job.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_names_one_audit() {
    let server = Running::start().await;
    let first = ask(&server, audit_request(&[MODEL], 8), "nightly", false).await.unwrap();
    let second = ask(&server, audit_request(&[MODEL], 8), "nightly", false).await.unwrap();
    assert_eq!((&second.id, second.idempotency_key.as_str()), (&first.id, "nightly"));
    for other in [
        changed(audit_request(&[MODEL], 8), "seed = 0", &format!("seed = {}", 1)),
        audit_request(&[MODEL], 9),
        audit_request(&[PRUNED], 8),
    ] {
        let status = ask(&server, other, "nightly", false).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    }
    let status = ask(&server, audit_request(&[MODEL], 8), &"k".repeat(257), false).await.unwrap_err();
    assert_eq!(violated(&status), "idempotency_key", "{status}");
    to_the_end(&server, &first.id, 0).await.1.unwrap();
    let done = ask(&server, audit_request(&[MODEL], 8), "nightly", false).await.unwrap();
    assert_eq!((&done.id, done.state()), (&first.id, AuditState::Done));
    // Without a key each request is an audit of its own, unless whoever asks would join one that has not ended.
    let endless = start(&server, endless_audit()).await;
    let joined = ask(&server, endless_audit(), "", true).await.unwrap();
    assert_eq!(joined.id, endless.id);
    let alone = ask(&server, endless_audit(), "", false).await.unwrap();
    assert_ne!(alone.id, endless.id);
    let anew = ask(&server, audit_request(&[MODEL], 8), "", true).await.unwrap();
    assert_ne!(anew.id, first.id, "what is done is not joined");
    cancel(&server, &endless.id).await.unwrap();
    cancel(&server, &alone.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_may_not_wait_than_the_configuration_says() {
    let server = Running::with(|config| {
        config.concurrency.jobs = 1;
        config.audits.queue = 1;
    })
    .await;
    let mut attack = server.client().await.attack(endless_attack()).await.unwrap().into_inner();
    attack.message().await.unwrap().unwrap();
    let waiting = start(&server, audit_request(&[MODEL], 4)).await;
    let status = ask(&server, changed(audit_request(&[MODEL], 4), "seed = 0", &format!("seed = {}", 1)), "", false)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("audits.queue"), "{status}");
    drop(attack);
    to_the_end(&server, &waiting.id, 0).await.1.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_leaves_off_the_next_one_ends() {
    let state = tempfile::tempdir().unwrap();
    let audit = || changed(audit_request(&[MODEL, PRUNED], 24), "steps = 3", "steps = 20");
    let undisturbed = Running::start().await;
    let job = start(&undisturbed, audit()).await;
    let expected = timeless(&to_the_end(&undisturbed, &job.id, 0).await.1.unwrap());
    drop(undisturbed);

    let mut server = Running::with(kept_in(state.path())).await;
    let job = start(&server, audit()).await;
    let waiting = start(&server, audit_request(&[MODEL], 4)).await;
    assert!(job.durable);
    attacking(&server, &job.id).await;
    let mut watching = watch(&server, &job.id, 0).await;
    server.signal();
    let status = loop {
        if let Err(status) = watching.message().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    server.ended().await;

    let server = Running::with(kept_in(state.path())).await;
    let report = to_the_end(&server, &job.id, 0).await.1.unwrap();
    assert_eq!(timeless(&report), expected);
    to_the_end(&server, &waiting.id, 0).await.1.unwrap();
    let states: Vec<_> = list(&server).await.iter().map(AuditJob::state).collect();
    assert_eq!(states, [AuditState::Done; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_model_is_gone_fails_and_goes_on_when_it_is_back() {
    let (state, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let host = |name: &str| {
        let to = models.path().join(name).join("1");
        std::fs::create_dir_all(&to).unwrap();
        let from = crate::harness::deploy("models").join(name).join("1/model.onnx");
        std::fs::copy(from, to.join("model.onnx")).unwrap();
    };
    host(MODEL);
    host(PRUNED);
    let begin = || {
        let (state, models) = (kept_in(state.path()), models.path().to_owned());
        Running::with(move |config| {
            state(config);
            config.models = models;
        })
    };
    let mut server = begin().await;
    let mut busy = server.client().await.attack(endless_attack()).await.unwrap().into_inner();
    busy.message().await.unwrap().unwrap();
    let job = start(&server, audit_request(&[PRUNED], 4)).await;
    server.signal();
    server.eventually("draining", |server| server.admin("/readyz").0 == 503).await;
    drop(busy);
    server.ended().await;
    let id = job.id;

    std::fs::remove_dir_all(models.path().join(PRUNED)).unwrap();
    let mut server = begin().await;
    let status = to_the_end(&server, &id, 0).await.1.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(status.message().contains("no model `fashion-layer-pruned`"), "{status}");
    assert_eq!(get(&server, &id).await.state(), AuditState::Failed);
    server.signal();
    server.ended().await;

    host(PRUNED);
    let server = begin().await;
    again(&server, &id).await;
    to_the_end(&server, &id, 0).await.1.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_jobs_are_forgotten() {
    let state = tempfile::tempdir().unwrap();
    let mut server = Running::with(kept_in(state.path())).await;
    for seed in 0..3 {
        let job = start(&server, changed(audit_request(&[MODEL], 2), "seed = 0", &format!("seed = {seed}"))).await;
        to_the_end(&server, &job.id, 0).await.1.unwrap();
    }
    server.signal();
    server.ended().await;
    let few = kept_in(state.path());
    let server = Running::with(|config| {
        few(config);
        config.audits.keep = 2;
    })
    .await;
    let ids = |jobs: &[AuditJob]| jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&list(&server).await), ["2", "3"]);
    let endless = start(&server, endless_audit()).await;
    let job = start(&server, audit_request(&[MODEL], 2)).await;
    cancel(&server, &job.id).await.unwrap();
    cancel(&server, &endless.id).await.unwrap();
    server.eventually("tidy", |server| server.metric("assay_audits{state=\"done\"}") == Some(0.0)).await;
    assert_eq!(ids(&list(&server).await), ["4", "5"], "numbers are not given again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_used_is_named_with_its_key() {
    let state = tempfile::tempdir().unwrap();
    let mut server = Running::with(kept_in(state.path())).await;
    let mut config = crate::harness::config();
    config.audits.state = Some(state.path().to_owned());
    let error = assay_server::embed(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("`audits.state`") && error.contains("another server works in"), "{error}");
    server.signal();
    server.ended().await;
    let damaged = tempfile::tempdir().unwrap();
    std::fs::write(damaged.path().join("audits.db"), [0xa5; 8192]).unwrap();
    config.audits.state = Some(damaged.path().to_owned());
    let error = assay_server::embed(config).await.unwrap_err().to_string();
    assert!(error.contains("audits.db is damaged") && error.contains("nothing was changed"), "{error}");
    assert_eq!(std::fs::read(damaged.path().join("audits.db")).unwrap(), [0xa5; 8192]);
}
