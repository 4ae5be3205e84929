//! An audit from its start to its report.

use crate::harness::{MODEL, PRUNED, Running, audit_request as request, changed, images, violated};
use assay_proto::v1::{
    AuditProgress, AuditReport, AuditRequest, ReportFormat, SampleData, StartAuditRequest, UploadedData, Verdict,
    WatchAuditRequest, start_audit_request::What, watch_audit_response::Event,
};
use tonic::{Code, Status};

async fn run(
    server: &Running,
    request: AuditRequest,
    formats: Vec<i32>,
) -> Result<(Vec<AuditProgress>, AuditReport), Status> {
    let mut client = server.client().await;
    let start = StartAuditRequest { what: Some(What::Audit(request)), ..Default::default() };
    let job = client.start_audit(start).await?.into_inner();
    let mut events = client.watch_audit(WatchAuditRequest { job: job.id, from_event: 0, formats }).await?.into_inner();
    let (mut progress, mut report) = (Vec::new(), None);
    while let Some(response) = events.message().await? {
        match response.event.unwrap() {
            Event::Job(_) => assert!(report.is_none()),
            Event::Progress(event) => progress.push(event),
            Event::Report(event) => report = Some(event),
        }
    }
    Ok((progress, report.expect("no report")))
}

/// The same with these gates.
fn gated(audit: AuditRequest, gates: &str) -> AuditRequest {
    changed(audit, "gates = []", &format!("gates = [{gates}]"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_models_are_compared_on_registered_data() {
    let server = Running::start().await;
    let wanted = gated(request(&[MODEL, PRUNED], 40), "{ min_clean_accuracy = 0.1 }");
    let formats = vec![ReportFormat::Markdown.into(), ReportFormat::Html.into(), ReportFormat::Record.into()];
    let (progress, report) = run(&server, wanted, formats).await.unwrap();
    assert!(progress.is_sorted_by_key(|event| event.stage_number), "{progress:?}");
    assert!(progress.iter().all(|event| event.samples == 40 && event.stages == 4), "{progress:?}");
    assert_eq!(report.verdict(), Verdict::Pass);
    let json: serde_json::Value = serde_json::from_str(&report.json).unwrap();
    assert_eq!(json["setup"]["data"]["samples"], 40);
    assert_eq!(json["models"].as_array().unwrap().len(), 2);
    // However quickly a stage is over, its end is told, with the number that the report has.
    let hits = |rate: &serde_json::Value| rate["hits"].as_u64().unwrap();
    let measured = json["models"].as_array().unwrap().iter();
    let measured: Vec<u64> =
        measured.flat_map(|model| [hits(&model["clean"]), hits(&model["threats"][0]["robust"])]).collect();
    let last = |stage| progress.iter().rfind(|event| event.stage_number == stage).expect("a stage without progress");
    assert_eq!((1..=4).map(|stage| last(stage).correct).collect::<Vec<_>>(), measured);
    assert!((1..=4).map(last).all(|event| event.steps_done == event.steps_total), "{progress:?}");
    assert!(json["run"]["date"].as_str().unwrap().ends_with('Z'));
    assert_eq!(report.rendered.len(), 3);
    let events: Vec<assay_audit::Event> =
        report.rendered[2].text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let again = assay_audit::Report::fold(&events).unwrap();
    assert_eq!(again, serde_json::from_str(&report.json).unwrap());
    assert!(report.rendered[0].text.contains(PRUNED));
    assert!(report.rendered[1].text.contains("<html"));
    assert_eq!(server.metric("assay_audits_total{verdict=\"pass\"}"), Some(1.0));
    assert_eq!(server.metric("assay_audit_duration_seconds_count"), Some(1.0));
    let steps = format!("assay_attack_step_duration_seconds_count{{rpc=\"Audit\",model=\"{MODEL}\"}}");
    assert!(server.metric(&steps) > Some(0.0));

    // People find it on the admin port.
    let (status, list) = server.admin("/audits");
    assert_eq!(status, 200);
    assert!(list.contains("<a href=\"audits/1\">1</a>") && list.contains(PRUNED) && list.contains(">pass<"), "{list}");
    assert!(!list.contains("data-live>"), "nothing changes any more");
    assert_eq!(server.admin("/audits/1"), (200, report.rendered[1].text.clone()));
    let (status, reason) = server.admin("/audits/7");
    assert!(status == 404 && reason.contains('7'), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_compared_with_the_one_of_an_accepted_report() {
    let server = Running::start().await;
    let report = async |audit| -> assay_audit::Report {
        let (_, report) = run(&server, audit, Vec::new()).await.unwrap();
        serde_json::from_str(&report.json).unwrap()
    };
    let together = report(request(&[MODEL, PRUNED], 40)).await;
    let accepted = report(request(&[MODEL], 40)).await;
    let baseline = serde_json::to_string(&assay_audit::Baseline::of(&accepted, MODEL).unwrap()).unwrap();
    let later = |audit| AuditRequest { baseline: baseline.clone(), ..audit };
    let compared = report(later(gated(request(&[PRUNED], 40), "{ max_drop = 1.0 }"))).await;
    assert_eq!(compared.comparison, together.comparison);
    assert_eq!(compared.verdict.name(), "pass");
    for (audit, code, words) in [
        (AuditRequest { baseline: "{}".to_owned(), ..request(&[PRUNED], 40) }, Code::InvalidArgument, "missing field"),
        (later(request(&[MODEL, PRUNED], 40)), Code::InvalidArgument, "names two"),
        (later(request(&[PRUNED], 30)), Code::FailedPrecondition, "other samples (40 there, 30 here)"),
    ] {
        let status = run(&server, audit, Vec::new()).await.unwrap_err();
        assert!(status.code() == code && status.message().contains(words), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_fails_makes_the_verdict_a_fail() {
    let server = Running::start().await;
    let wanted = gated(request(&[MODEL], 20), "{ min_robust_accuracy = 1.0 }");
    let (_, report) = run(&server, wanted, Vec::new()).await.unwrap();
    assert_eq!(report.verdict(), Verdict::Fail);
    assert_eq!(server.metric("assay_audits_total{verdict=\"fail\"}"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_that_few_samples_leave_open_are_inconclusive() {
    let server = Running::start().await;
    let gates = "{ forbid_flags = [\"zero-gradient\"] }, { max_drop = 0.02, threat = \"Linf 0.1\" }";
    let wanted = gated(request(&[MODEL, PRUNED], 20), gates);
    let (_, report) = run(&server, wanted, Vec::new()).await.unwrap();
    assert_eq!(report.verdict(), Verdict::Inconclusive);
    let json: serde_json::Value = serde_json::from_str(&report.json).unwrap();
    assert_eq!((&json["gates"][0]["verdict"], &json["gates"][1]["verdict"]), (&"pass".into(), &"inconclusive".into()));
    assert_eq!(json["gates"][1]["gate"]["threat"], "Linf 0.1");
    assert_eq!(server.metric("assay_audits_total{verdict=\"inconclusive\"}"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_may_be_uploaded() {
    let server = Running::start().await;
    let (input, labels) = images(10);
    let content = server.upload(&SampleData { input: Some(input), labels }).await.unwrap();
    let uploaded = Some(UploadedData { content, name: "mine".to_owned(), ..Default::default() });
    let (_, report) = run(&server, AuditRequest { uploaded, ..request(&[MODEL], 0) }, Vec::new()).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&report.json).unwrap();
    assert_eq!(json["setup"]["data"]["name"], "mine");
    assert_eq!(json["setup"]["data"]["samples"], 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_request_is_refused_by_its_field() {
    let server = Running::with(|config| config.limits.max_audit_samples = 50).await;
    let with = |from: &str, to: &str| changed(request(&[MODEL], 10), from, to);
    let gate = |gate: &str| gated(request(&[MODEL], 10), gate);
    let uploaded = Some(UploadedData { content: "ab".repeat(32), ..Default::default() });
    let model = format!("models = [{{ name = \"{MODEL}\" }}]");
    let cases = [
        ("plan", Code::InvalidArgument, AuditRequest::default(), "missing field"),
        ("plan", Code::InvalidArgument, with("seed = 0", "sead = 0"), "did you mean `seed`? (line 2 of the plan)"),
        ("models", Code::InvalidArgument, with(&model, "models = []"), "expected one, or a baseline and its variant"),
        ("models[0].name", Code::InvalidArgument, with(MODEL, ""), "is empty"),
        ("", Code::NotFound, with(MODEL, "none"), "no model `none`"),
        ("data", Code::InvalidArgument, with("dataset = \"fashion-mnist\"\n", ""), "says not where the samples are"),
        ("", Code::NotFound, with("\"fashion-mnist\"", "\"fashion\""), "no data set `fashion`; there is fashion-mnist"),
        ("plan", Code::InvalidArgument, with("dataset", "path"), "names no data set of the server"),
        ("plan", Code::InvalidArgument, with("\"0.1\"", "\"x\""), "\"x\" is not a radius"),
        ("evaluations[0].attacks[0]", Code::InvalidArgument, with("steps = 3", "steps = 0"), "1..=10000"),
        ("gates[0].max_drop", Code::InvalidArgument, gate("{ max_drop = 0.1 }"), "two models"),
        (
            "gates[0].threat",
            Code::InvalidArgument,
            gate("{ min_robust_accuracy = 0.1, threat = \"L2 1\" }"),
            "there is \"Linf 0.1\"",
        ),
        ("plan", Code::InvalidArgument, gate("{ forbid_flags = [\"masked\"] }"), "unknown variant `masked`"),
        ("plan", Code::InvalidArgument, gate("{}"), "no condition"),
        (
            "shard",
            Code::InvalidArgument,
            AuditRequest { shard: "2/2".to_owned(), ..request(&[MODEL], 10) },
            "INDEX/COUNT",
        ),
        ("", Code::NotFound, AuditRequest { uploaded, ..request(&[MODEL], 10) }, "upload them with UploadData"),
        ("", Code::ResourceExhausted, with("samples = 10", "samples = 51"), "limit of 50"),
        // How many there are is known when they are read.
        ("", Code::FailedPrecondition, with("samples = 10\n", ""), "limit of 50"),
    ];
    for (field, code, wanted, says) in cases {
        let status = run(&server, wanted, Vec::new()).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert_eq!(violated(&status), field, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
    let status = run(&server, request(&[MODEL], 1), vec![0]).await.unwrap_err();
    assert_eq!((status.code(), violated(&status).as_str()), (Code::InvalidArgument, "formats[0]"), "{status}");
}
