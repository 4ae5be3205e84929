//! An audit from its start to its report.

use crate::harness::{MODEL, PRUNED, Running, audit_request as request, images, linf, pgd, violated};
use assay_proto::v1::{
    AuditProgress, AuditReport, AuditRequest, Gate, RegisteredData, ReportFormat, SampleData, StartAuditRequest,
    UploadedData, Verdict, WatchAuditRequest, audit_request::Data, gate::Condition, start_audit_request::What,
    watch_audit_response::Event,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_models_are_compared_on_registered_data() {
    let server = Running::start().await;
    let mut wanted = request(&[MODEL, PRUNED], 40);
    wanted.gates = vec![Gate { condition: Some(Condition::MinCleanAccuracy(0.1)) }];
    let formats = vec![ReportFormat::Markdown.into(), ReportFormat::Html.into()];
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
    assert!(json["setup"]["environment"]["date"].as_str().unwrap().ends_with('Z'));
    assert_eq!(report.rendered.len(), 2);
    assert!(report.rendered[0].text.contains(PRUNED));
    assert!(report.rendered[1].text.contains("<html"));
    assert_eq!(server.metric("assay_audits_total{verdict=\"pass\"}"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_fails_makes_the_verdict_a_fail() {
    let server = Running::start().await;
    let mut wanted = request(&[MODEL], 20);
    wanted.gates = vec![Gate { condition: Some(Condition::MinRobustAccuracy(1.0)) }];
    let (_, report) = run(&server, wanted, Vec::new()).await.unwrap();
    assert_eq!(report.verdict(), Verdict::Fail);
    assert_eq!(server.metric("assay_audits_total{verdict=\"fail\"}"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_may_be_uploaded() {
    let server = Running::start().await;
    let (input, labels) = images(10);
    let content = server.upload(&SampleData { input: Some(input), labels }).await.unwrap();
    let data = Data::Uploaded(UploadedData { content, name: "mine".to_owned(), digest: String::new() });
    let (_, report) =
        run(&server, AuditRequest { data: Some(data), ..request(&[MODEL], 0) }, Vec::new()).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&report.json).unwrap();
    assert_eq!(json["setup"]["data"]["name"], "mine");
    assert_eq!(json["setup"]["data"]["samples"], 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_request_is_refused_by_its_field() {
    let server = Running::with(|config| config.limits.max_audit_samples = 50).await;
    let with = |change: fn(&mut AuditRequest)| {
        let mut wanted = request(&[MODEL], 10);
        change(&mut wanted);
        wanted
    };
    let cases = [
        ("models", Code::InvalidArgument, with(|r| r.models.clear()), "1 or 2 models, got 0"),
        ("models[0].model", Code::InvalidArgument, with(|r| r.models[0].model.clear()), "missing"),
        ("", Code::NotFound, with(|r| r.models[0].model = "none".to_owned()), "no model `none`"),
        ("data", Code::InvalidArgument, with(|r| r.data = None), "missing"),
        (
            "",
            Code::NotFound,
            with(|r| r.data = Some(Data::Registered(RegisteredData { name: "fashion".to_owned(), samples: 1 }))),
            "no data set `fashion`; there is fashion-mnist",
        ),
        ("evaluations", Code::InvalidArgument, with(|r| r.evaluations.clear()), "at least one"),
        (
            "evaluations[0].threat.eps",
            Code::InvalidArgument,
            with(|r| r.evaluations[0].threat = Some(linf("x"))),
            "\"x\"",
        ),
        (
            "evaluations[0].attacks[0].parameters",
            Code::InvalidArgument,
            with(|r| r.evaluations[0].attacks[0] = pgd(&[("steps", "0")])),
            "1..=10000",
        ),
        (
            "gates[0].max_drop",
            Code::InvalidArgument,
            with(|r| r.gates = vec![Gate { condition: Some(Condition::MaxDrop(0.1)) }]),
            "two models",
        ),
        ("gates[0]", Code::InvalidArgument, with(|r| r.gates = vec![Gate { condition: None }]), "missing"),
        (
            "",
            Code::NotFound,
            with(|r| r.data = Some(Data::Uploaded(UploadedData { content: "ab".repeat(32), ..Default::default() }))),
            "upload them with UploadData",
        ),
        (
            "",
            Code::ResourceExhausted,
            with(|r| r.data = Some(Data::Registered(RegisteredData { name: "fashion-mnist".to_owned(), samples: 51 }))),
            "limit of 50",
        ),
        // How many there are is known when they are read.
        (
            "",
            Code::FailedPrecondition,
            with(|r| r.data = Some(Data::Registered(RegisteredData { name: "fashion-mnist".to_owned(), samples: 0 }))),
            "limit of 50",
        ),
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
