//! Audit streams progress and ends with one report.

use crate::harness::{MODEL, PRUNED, Running, images, linf, pgd, violated};
use assay_proto::v1::{
    AuditProgress, AuditReport, AuditRequest, Evaluation, ForbiddenFlags, Gate, InlineData, ModelRef, RegisteredData,
    ReportFormat, Verdict, audit_request::Data, audit_response::Event, gate::Condition,
};
use tonic::{Code, Status};

fn request(models: &[&str], samples: u64) -> AuditRequest {
    AuditRequest {
        models: models.iter().map(|model| ModelRef { model: (*model).to_owned(), version: String::new() }).collect(),
        data: Some(Data::Registered(RegisteredData { name: "fashion-mnist".to_owned(), samples })),
        evaluations: vec![Evaluation { threat: Some(linf("0.1")), attacks: vec![pgd(&[("steps", "3")])] }],
        ..Default::default()
    }
}

async fn run(server: &Running, request: AuditRequest) -> Result<(Vec<AuditProgress>, AuditReport), Status> {
    let mut events = server.client().await.audit(request).await?.into_inner();
    let (mut progress, mut report) = (Vec::new(), None);
    while let Some(response) = events.message().await? {
        match response.event.unwrap() {
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
    wanted.formats = vec![ReportFormat::Markdown.into(), ReportFormat::Html.into()];
    wanted.gates = vec![Gate { condition: Some(Condition::MinCleanAccuracy(0.1)), ..Default::default() }];
    let (progress, report) = run(&server, wanted).await.unwrap();
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
    assert_eq!(report.rendered.len(), 2);
    assert!(report.rendered[0].text.contains(PRUNED));
    assert!(report.rendered[1].text.contains("<html"));
    assert_eq!(server.metric("assay_audits_total{verdict=\"pass\"}"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_fails_makes_the_verdict_a_fail() {
    let server = Running::start().await;
    let mut wanted = request(&[MODEL], 20);
    wanted.gates = vec![Gate { condition: Some(Condition::MinRobustAccuracy(1.0)), ..Default::default() }];
    let (_, report) = run(&server, wanted).await.unwrap();
    assert_eq!(report.verdict(), Verdict::Fail);
    assert_eq!(server.metric("assay_audits_total{verdict=\"fail\"}"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_that_few_samples_leave_open_are_inconclusive() {
    let server = Running::start().await;
    let mut wanted = request(&[MODEL, PRUNED], 20);
    let flags = ForbiddenFlags { kinds: vec!["zero-gradients".to_owned()] };
    wanted.gates = vec![
        Gate { condition: Some(Condition::ForbidFlags(flags)), ..Default::default() },
        Gate { condition: Some(Condition::MaxDrop(0.02)), threat: "Linf 0.1".to_owned() },
    ];
    let (_, report) = run(&server, wanted).await.unwrap();
    assert_eq!(report.verdict(), Verdict::Inconclusive);
    let json: serde_json::Value = serde_json::from_str(&report.json).unwrap();
    assert_eq!((&json["gates"][0]["verdict"], &json["gates"][1]["verdict"]), (&"pass".into(), &"inconclusive".into()));
    assert_eq!(json["gates"][1]["gate"]["threat"], "Linf 0.1");
    assert_eq!(server.metric("assay_audits_total{verdict=\"inconclusive\"}"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_may_come_with_the_request() {
    let server = Running::start().await;
    let (input, labels) = images(10);
    let inline = InlineData { name: "mine".to_owned(), input: Some(input), labels, digest: String::new() };
    let (_, report) =
        run(&server, AuditRequest { data: Some(Data::Inline(inline)), ..request(&[MODEL], 0) }).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&report.json).unwrap();
    assert_eq!(json["setup"]["data"]["name"], "mine");
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
            with(|r| r.gates = vec![Gate { condition: Some(Condition::MaxDrop(0.1)), ..Default::default() }]),
            "two models",
        ),
        (
            "gates[0].threat",
            Code::InvalidArgument,
            with(|r| {
                let condition = Some(Condition::MinRobustAccuracy(0.1));
                r.gates = vec![Gate { condition, threat: "L2 1".to_owned() }];
            }),
            "there is \"Linf 0.1\"",
        ),
        (
            "gates[0].forbid_flags",
            Code::InvalidArgument,
            with(|r| {
                let flags = ForbiddenFlags { kinds: vec!["masked".to_owned()] };
                r.gates = vec![Gate { condition: Some(Condition::ForbidFlags(flags)), ..Default::default() }];
            }),
            "unknown variant `masked`",
        ),
        (
            "gates[0]",
            Code::InvalidArgument,
            with(|r| r.gates = vec![Gate { condition: None, ..Default::default() }]),
            "missing",
        ),
        ("formats[0]", Code::InvalidArgument, with(|r| r.formats = vec![0]), "REPORT_FORMAT_MARKDOWN"),
        (
            "",
            Code::ResourceExhausted,
            with(|r| r.data = Some(Data::Registered(RegisteredData { name: "fashion-mnist".to_owned(), samples: 51 }))),
            "limit of 50",
        ),
        (
            "",
            Code::ResourceExhausted,
            with(|r| r.data = Some(Data::Registered(RegisteredData { name: "fashion-mnist".to_owned(), samples: 0 }))),
            "limit of 50",
        ),
    ];
    for (field, code, wanted, says) in cases {
        let status = run(&server, wanted).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert_eq!(violated(&status), field, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
}
