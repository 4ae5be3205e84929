//! Certify streams progress, ends with one result, and refuses what it cannot prove.

use std::{fs, path::PathBuf};

use crate::harness::{MODEL, Running, attack_request, fp32, images, key, known, linf, violated};
use assay_graph::{DataType, Dimension, Graph, Model, Node, Tensor, Value, ValueInfo};
use assay_proto::v1::{
    AuditRequest, BoundMethod, Certificate, CertificateVerdict, CertifyProgress, CertifyRequest, CertifyResult, Norm,
    QuoteAuditRequest, SampleData, StartAuditRequest, Threat, UploadedData, WatchAuditRequest, certify_response::Event,
    start_audit_request::What, watch_audit_response,
};
use assay_server::{Quota, Role};
use tempfile::TempDir;
use tonic::{Code, Status};

use BoundMethod::{Crown, CrownIbp, Ibp};
use CertificateVerdict::{Certified, Misclassified, Unknown};

/// Class 1 where the mean of four values is above one half: `z = (-s, s)` with `s = mean - 0.5`.
///
/// It is computed as `2a - b - 1.5` of two hidden values that are the same, `a = b = relu(mean + 1)`. Lines know that, and certify within less than
/// `|s|`. Intervals do not: to them a threat is three times as large.
fn twins() -> Model {
    let value = |name: &str| Value::new(name);
    let node = |operator: &str, inputs: &[&str], output: &str| {
        let mut node = Node::new(operator, inputs.iter().map(|i| Some(value(i))).collect(), vec![Some(value(output))]);
        node.name = format!("the {output}");
        node
    };
    let shape = [Dimension::Symbol("batch".into()), Dimension::Known(1), Dimension::Known(2), Dimension::Known(2)];
    let mut graph = Graph::default();
    graph.inputs.push(ValueInfo::new("x", DataType::Float, shape.to_vec()));
    graph.outputs.push(ValueInfo::untyped("z".into()));
    for (name, dims, numbers) in [
        ("w", &[4, 2][..], &[0.25; 8][..]),
        ("b", &[2], &[1.0, 1.0]),
        ("v", &[2, 2], &[-2.0, 2.0, 1.0, -1.0]),
        ("c", &[2], &[1.5, -1.5]),
    ] {
        graph.initializers.insert(value(name), Tensor::floats(dims, numbers));
    }
    graph.nodes = vec![
        node("Flatten", &["x"], "flat"),
        node("Gemm", &["flat", "w", "b"], "hidden"),
        node("Relu", &["hidden"], "bent"),
        node("Gemm", &["bent", "v", "c"], "z"),
    ];
    Model::new(17, graph)
}

/// A repository of this model, as `twins`.
fn repository(model: &Model) -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("twins/1");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("model.onnx"), model.to_bytes()).unwrap();
    let models = root.path().to_owned();
    (root, models)
}

/// Samples of constant value, each labelled as the net classifies it.
fn request(values: &[f32]) -> CertifyRequest {
    let pixels: Vec<f32> = values.iter().flat_map(|value| [*value; 4]).collect();
    CertifyRequest {
        model: "twins".to_owned(),
        input: Some(fp32(&[values.len() as u64, 1, 2, 2], &pixels)),
        labels: values.iter().map(|value| u32::from(*value > 0.5)).collect(),
        threat: Some(linf("0.1")),
        ..CertifyRequest::default()
    }
}

async fn run(server: &Running, request: CertifyRequest) -> Result<(Vec<CertifyProgress>, CertifyResult), Status> {
    let mut events = server.client().await.certify(request).await?.into_inner();
    let mut progress = Vec::new();
    while let Some(response) = events.message().await? {
        match response.event.unwrap() {
            Event::Progress(event) => progress.push(event),
            Event::Result(result) => return Ok((progress, result)),
        }
    }
    panic!("no result")
}

fn verdicts(result: &CertifyResult) -> Vec<CertificateVerdict> {
    result.certificates.iter().map(Certificate::verdict).collect()
}

fn asked(methods: &[BoundMethod]) -> Vec<i32> {
    methods.iter().map(|method| (*method).into()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_those_of_the_net_by_the_cheapest_method_that_proves_them() {
    let (_root, models) = repository(&twins());
    let server = Running::with(move |config| config.models = models).await;
    // 0.4, 0.2 and 0.05 away from the other class: within reach of intervals, of lines, and of an attack.
    let all = CertifyRequest { methods: asked(&[Crown, Ibp]), return_bounds: true, ..request(&[0.9, 0.3, 0.55]) };
    let wrong = CertifyRequest { labels: vec![1, 1, 1], ..all.clone() };
    let (progress, result) = run(&server, all.clone()).await.unwrap();
    assert_eq!((verdicts(&result), result.version.as_str()), (vec![Certified, Certified, Unknown], "1"));
    assert_eq!((result.methods.clone(), result.stopped), (asked(&[Ibp, Crown]), false));
    let by: Vec<_> = result.certificates.iter().map(Certificate::certified_by).collect();
    assert_eq!(by, [Ibp, Crown, BoundMethod::Unspecified]);
    let asked_of: Vec<_> = result.certificates.iter().map(|certificate| certificate.bounds.len()).collect();
    assert_eq!(asked_of, [1, 2, 2], "the cheapest that proves it is enough");
    // Twice the distance from one half less the radius; by intervals less three radii.
    for (certificate, [intervals, best]) in result.certificates.iter().zip([[0.2, 0.2], [-0.2, 0.2], [-0.5, -0.1]]) {
        let [margin] = certificate.margins.as_slice() else { panic!("{certificate:?}") };
        assert!((margin - best).abs() < 1e-4, "{certificate:?}");
        let first = &certificate.bounds[0];
        assert!((first.margins[0] - intervals).abs() < 1e-4 && first.slack > 0.0, "{certificate:?}");
        assert_eq!(first.certifies, intervals > 0.0);
    }
    assert!(progress.iter().all(|now| now.samples == 3 && now.certified <= now.finished), "{progress:?}");
    assert!(progress.is_sorted_by(|a, b| a.finished <= b.finished && a.certified <= b.certified), "{progress:?}");

    let (_, every) = run(&server, CertifyRequest { all_methods: true, ..all.clone() }).await.unwrap();
    assert!(every.certificates.iter().all(|certificate| certificate.bounds.len() == 2));
    assert_eq!(every.certificates[0].certified_by(), Ibp);

    let (_, plain) = run(&server, request(&[0.9, 0.3, 0.55])).await.unwrap();
    assert_eq!((verdicts(&plain), plain.methods), (verdicts(&result), asked(&[Crown])));
    assert!(plain.certificates.iter().all(|certificate| certificate.bounds.is_empty()));

    let (_, missed) = run(&server, wrong).await.unwrap();
    assert_eq!(verdicts(&missed), [Certified, Misclassified, Unknown]);
    assert!(missed.certificates[1].margins.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn norms_have_regions_of_their_own_and_are_counted() {
    let (_root, models) = repository(&twins());
    let server = Running::with(move |config| config.models = models).await;
    // A step of length r in L2 moves the mean by r / 2, one in L1 by r / 4.
    for (norm, reach) in [(Norm::Linf, 0.25), (Norm::L2, 0.125), (Norm::L1, 0.0625), (Norm::Linf, 0.25)] {
        let threat = Some(Threat { norm: norm.into(), eps: "0.25".to_owned() });
        let values = [0.5 + reach - 0.02, 0.5 + reach + 0.02];
        let (_, result) = run(&server, CertifyRequest { threat, ..request(&values) }).await.unwrap();
        assert_eq!(verdicts(&result), [Unknown, Certified], "{norm:?}");
    }
    for (method, verdict, samples) in
        [("crown", "certified", 4.0), ("crown", "unknown", 4.0), ("ibp", "certified", 0.0)]
    {
        let series = format!(
            "assay_certify_samples_total{{rpc=\"Certify\",model=\"twins\",method=\"{method}\",verdict=\"{verdict}\"}}"
        );
        assert_eq!(server.metric(&series), Some(samples), "{series}");
    }
    let took = "assay_certify_duration_seconds_count{rpc=\"Certify\",model=\"twins\"}";
    server.eventually("timed", |server| server.metric(took) == Some(8.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_without_bounds_is_named_whatever_the_samples() {
    let mut model = twins();
    // Intervals go through it, lines do not.
    model.graph.nodes[2].operator = "Softplus".to_owned();
    let (_root, models) = repository(&model);
    let server = Running::with(move |config| config.models = models).await;
    let (_, result) = run(&server, CertifyRequest { methods: asked(&[Ibp]), ..request(&[0.9]) }).await.unwrap();
    assert_eq!(result.certificates.len(), 1);
    for methods in [asked(&[]), asked(&[Ibp, CrownIbp]), asked(&[BoundMethod::AlphaCrown])] {
        let status = run(&server, CertifyRequest { methods, ..request(&[0.9]) }).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        for part in ["twins", "the bent", "Softplus"] {
            assert!(status.message().contains(part), "{part} is not in {status}");
        }
    }
    let mut model = twins();
    model.graph.nodes[2].operator = "Sin".to_owned();
    let (_root, models) = repository(&model);
    let server = Running::with(move |config| config.models = models).await;
    let status = run(&server, CertifyRequest { methods: asked(&[Ibp]), ..request(&[0.9]) }).await.unwrap_err();
    assert!(status.code() == Code::Unimplemented && status.message().contains("(Sin)"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_with_its_field() {
    let (_root, models) = repository(&twins());
    let server = Running::with(move |config| {
        config.models = models;
        config.limits.max_batch = 3;
    })
    .await;
    let with = |change: fn(&mut CertifyRequest)| {
        let mut request = request(&[0.9, 0.3]);
        change(&mut request);
        request
    };
    let threat = |norm: Norm, eps: &str| Some(Threat { norm: norm.into(), eps: eps.to_owned() });
    for (request, field) in [
        (with(|r| r.model.clear()), "model"),
        (with(|r| r.input = None), "input"),
        (with(|r| r.labels.truncate(1)), "labels"),
        (with(|r| r.labels[1] = 2), "labels[1]"),
        (with(|r| r.threat = None), "threat"),
        (CertifyRequest { threat: threat(Norm::L0, "1"), ..request(&[0.9]) }, "threat.norm"),
        (CertifyRequest { threat: threat(Norm::L2, "inf"), ..request(&[0.9]) }, "threat.eps"),
        (CertifyRequest { threat: threat(Norm::L2, "x"), ..request(&[0.9]) }, "threat.eps"),
        (with(|r| r.methods = vec![1, 0]), "methods[1]"),
        (with(|r| r.methods = vec![99]), "methods[0]"),
        (with(|r| r.max_seconds = f64::NAN), "max_seconds"),
        (with(|r| r.max_seconds = -1.0), "max_seconds"),
    ] {
        let status = run(&server, request).await.unwrap_err();
        assert_eq!((status.code(), violated(&status)), (Code::InvalidArgument, field.to_owned()), "{status}");
    }
    let status = run(&server, request(&[0.9; 4])).await.unwrap_err();
    assert!(status.code() == Code::ResourceExhausted && status.message().contains("limits.max_batch"), "{status}");
    let status = run(&server, with(|r| r.model = "triplets".to_owned())).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_time_ends_is_unknown_and_says_so() {
    let (_root, models) = repository(&twins());
    let server = Running::with(move |config| config.models = models).await;
    let short = CertifyRequest { max_seconds: 1e-9, ..request(&[0.9, 0.3]) };
    let (_, result) = run(&server, short).await.unwrap();
    assert_eq!((verdicts(&result), result.stopped), (vec![Unknown, Unknown], true));
    assert!(result.certificates.iter().all(|late| late.reason.contains("max_seconds") && late.margins.is_empty()));
    let late = "assay_certify_samples_total{rpc=\"Certify\",model=\"twins\",method=\"none\",verdict=\"late\"}";
    assert_eq!(server.metric(late), Some(2.0));
    let long = CertifyRequest { max_seconds: 600.0, ..request(&[0.9, 0.3]) };
    let (_, result) = run(&server, long).await.unwrap();
    assert_eq!((verdicts(&result), result.stopped), (vec![Certified, Certified], false));
}

/// Work for hours: the search for slopes on a residual net, for many images.
fn endless() -> CertifyRequest {
    let (input, labels) = images(256);
    CertifyRequest {
        model: MODEL.to_owned(),
        input: Some(input),
        labels,
        threat: Some(linf("0.05")),
        methods: asked(&[BoundMethod::AlphaCrown]),
        ..CertifyRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_stream_stops_the_work_and_frees_the_place() {
    let server = Running::with(|config| config.concurrency.jobs = 1).await;
    let mut client = server.client().await;
    let mut events = client.certify(endless()).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    let busy = client.certify(endless()).await.unwrap_err();
    assert!(busy.code() == Code::ResourceExhausted && busy.message().contains("concurrency.jobs"), "{busy}");
    drop(events);
    let cancelled = "assay_requests_total{rpc=\"Certify\",model=\"fashion-robust\",code=\"CANCELLED\"}";
    server.eventually("recorded", |server| server.metric(cancelled) == Some(1.0)).await;
    let attack = attack_request(1, &[("steps", "1")]);
    loop {
        match client.attack(attack.clone()).await {
            Ok(_) => break,
            Err(busy) => assert_eq!(busy.code(), Code::ResourceExhausted, "{busy}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_count_for_the_quota_of_who_asks() {
    let (_root, models) = repository(&twins());
    let quota = Quota { evaluations_per_day: Some(10), ..Quota::default() };
    let server = Running::with(move |config| {
        config.models = models;
        config.auth.keys = vec![key("ci", &[Role::Attack])];
        config.auth.quotas.insert("ci".to_owned(), quota);
    })
    .await;
    let mut ci = known(&server, "ci").await;
    let status = ci.certify(request(&[0.9; 6])).await.unwrap_err();
    assert!(status.message().contains("asks for 12, and may have 10"), "{status}");
    let mut events = ci.certify(request(&[0.9; 2])).await.unwrap().into_inner();
    while events.message().await.unwrap().is_some() {}
    let used = "assay_quota_used_total{principal=\"ci\",quota=\"evaluations_per_day\"}";
    server.eventually("counted", |server| server.metric(used) == Some(4.0)).await;
}

/// An audit of the net on twenty samples, which are uploaded.
async fn audit(server: &Running, gates: &str) -> AuditRequest {
    let values: Vec<f32> = (0..20).map(|i| 0.025 + 0.05 * i as f32).collect();
    let CertifyRequest { input, labels, .. } = request(&values);
    let content = server.upload(&SampleData { input, labels }).await.unwrap();
    let plan = format!(
        "schema = 1\nmodels = [{{ name = \"twins\" }}]\ngates = [{gates}]\n\
         [[evaluations]]\nnorm = \"Linf\"\neps = \"0.1\"\nattacks = [{{ name = \"fgsm\" }}]\n\
         [certification]\nmethods = [\"ibp\", \"crown\"]\n"
    );
    let uploaded = Some(UploadedData { content, name: "ramp".to_owned(), ..UploadedData::default() });
    AuditRequest { plan, uploaded, ..AuditRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_certifies_beside_attacking() {
    let (_root, models) = repository(&twins());
    let server = Running::with(move |config| config.models = models).await;
    let audit = audit(&server, "{ min_certified = 0.5 }").await;
    let asked = QuoteAuditRequest { audit: Some(audit.clone()), ..QuoteAuditRequest::default() };
    let quote = server.client().await.quote_audit(asked).await.unwrap().into_inner();
    let told: Vec<_> = quote.stages.iter().map(|s| (s.stage.as_str(), s.certificates, s.seconds.is_some())).collect();
    assert_eq!(told, [("clean", 0, true), ("fgsm Linf 0.1", 0, true), ("certify Linf 0.1", 40, false)]);
    assert!(quote.seconds.is_none() && quote.untimed.contains("certificates"), "{quote:?}");

    let mut client = server.client().await;
    let start = StartAuditRequest { what: Some(What::Audit(audit)), ..StartAuditRequest::default() };
    let job = client.start_audit(start).await.unwrap().into_inner().id;
    let follow = WatchAuditRequest { job, ..WatchAuditRequest::default() };
    let mut events = client.watch_audit(follow).await.unwrap().into_inner();
    let mut stages = Vec::new();
    let report = loop {
        match events.message().await.unwrap().expect("no report").event {
            Some(watch_audit_response::Event::Report(report)) => break report,
            Some(watch_audit_response::Event::Progress(now)) => stages.push((now.stage, now.correct)),
            _ => {}
        }
    };
    assert!(stages.contains(&("certify Linf 0.1".to_owned(), 16)), "{stages:?}");
    let report: serde_json::Value = serde_json::from_str(&report.json).unwrap();
    assert_eq!(report["verdict"], "pass");
    let threat = &report["models"][0]["threats"][0];
    assert_eq!((&threat["robust"]["hits"], &threat["verified"]["vra"]["hits"]), (&16.into(), &16.into()));
    let by = |i: usize| threat["verified"]["methods"][i]["samples"].as_array().unwrap().len();
    assert_eq!((by(0), by(1), &threat["verified"]["unknown"]), (8, 8, &4.into()));
    let series = "assay_certify_samples_total{rpc=\"Audit\",model=\"twins\",method=\"crown\",verdict=\"certified\"}";
    assert_eq!(server.metric(series), Some(8.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_of_an_operator_without_bounds_is_refused_before_it_is_taken() {
    let mut model = twins();
    model.graph.nodes[2].operator = "Softplus".to_owned();
    let (_root, models) = repository(&model);
    let server = Running::with(move |config| config.models = models).await;
    let audit = audit(&server, "").await;
    let mut client = server.client().await;
    let quote = QuoteAuditRequest { audit: Some(audit.clone()), ..QuoteAuditRequest::default() };
    let start = StartAuditRequest { what: Some(What::Audit(audit)), ..StartAuditRequest::default() };
    for status in [client.quote_audit(quote).await.unwrap_err(), client.start_audit(start).await.unwrap_err()] {
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        assert!(status.message().contains("\"the bent\" (Softplus)"), "{status}");
    }
    let jobs = client.list_audits(assay_proto::v1::ListAuditsRequest {}).await.unwrap().into_inner().jobs;
    assert!(jobs.is_empty());
}
