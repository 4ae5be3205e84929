//! What an audit costs is said before it is made, and nothing is made.

use crate::{
    harness::{MODEL, PRUNED, Running, audit_request, changed, endless_attack, endless_audit, images, violated},
    opaque,
};
use assay_proto::v1::{
    AuditQuote, AuditReport, AuditRequest, CancelAuditRequest, Cost, ListAuditsRequest, ModelRef, QuoteAuditRequest,
    SampleData, StartAuditRequest, UploadedData, WatchAuditRequest, start_audit_request::What,
    watch_audit_response::Event,
};
use tonic::{Code, Status};

async fn ask(server: &Running, request: QuoteAuditRequest) -> Result<AuditQuote, Status> {
    Ok(server.client().await.quote_audit(request).await?.into_inner())
}

async fn quote(server: &Running, audit: AuditRequest) -> Result<AuditQuote, Status> {
    ask(server, QuoteAuditRequest { audit: Some(audit), ..Default::default() }).await
}

async fn jobs(server: &Running) -> usize {
    server.client().await.list_audits(ListAuditsRequest {}).await.unwrap().into_inner().jobs.len()
}

/// Samples that nobody has uploaded.
fn elsewhere() -> Option<UploadedData> {
    Some(UploadedData { content: "ab".repeat(32), name: "mine".to_owned(), ..Default::default() })
}

/// The report of an audit that is made.
async fn measured(server: &Running, audit: AuditRequest) -> AuditReport {
    let mut client = server.client().await;
    let start = StartAuditRequest { what: Some(What::Audit(audit)), ..Default::default() };
    let job = client.start_audit(start).await.unwrap().into_inner().id;
    let mut events = client.watch_audit(WatchAuditRequest { job, ..Default::default() }).await.unwrap().into_inner();
    loop {
        if let Some(Event::Report(report)) = events.message().await.unwrap().expect("no report").event {
            return report;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stage_has_its_worst_case_and_its_time() {
    let server = Running::start().await;
    let audit = changed(
        audit_request(&[MODEL, PRUNED], 70),
        "attacks = [",
        "attacks = [{ name = \"square\", parameters = { queries = 10 } }, ",
    );
    let quote = quote(&server, audit.clone()).await.unwrap();
    assert_eq!((quote.samples, quote.job.as_str(), quote.untimed.as_str()), (70, "", ""));
    let cost = |queries, gradients| Some(Cost { queries, gradients });
    let told: Vec<_> = quote
        .stages
        .iter()
        .map(|s| (s.model.as_ref().unwrap().model.as_str(), s.stage.as_str(), s.attack.as_str(), s.worst_case))
        .collect();
    let of = |model| {
        [
            (model, "clean", "", cost(70, 0)),
            // Beside its own evaluations, with those of its start, an attack costs a clean prediction and two that verify what it finds.
            (model, "square Linf 0.1", "square", cost(70 * (11 + 3), 0)),
            (model, "pgd Linf 0.1", "pgd", cost(70 * 3, 70 * 4)),
        ]
    };
    assert_eq!(told, [of(MODEL), of(PRUNED)].concat());
    assert!(quote.stages.iter().all(|stage| stage.threat == if stage.attack.is_empty() { "" } else { "Linf 0.1" }));

    // The times are those of the paces, and all of them together.
    let pace = |model: &Option<ModelRef>| quote.models.iter().find(|pace| pace.model == *model).unwrap();
    for stage in &quote.stages {
        let (pace, cost) = (pace(&stage.model), stage.worst_case.unwrap());
        let expected =
            cost.queries as f64 * pace.query_seconds + cost.gradients as f64 * pace.gradient_seconds.unwrap();
        assert!(expected > 0.0 && (stage.seconds.unwrap() - expected).abs() < 1e-9 * expected, "{stage:?}");
    }
    let sum: f64 = quote.stages.iter().map(|stage| stage.seconds.unwrap()).sum();
    assert!((quote.seconds.unwrap() - sum).abs() < 1e-9 * sum);
    assert_eq!(jobs(&server).await, 0, "nothing is made");
    for model in [MODEL, PRUNED] {
        let timed = format!("assay_attack_gradients_total{{rpc=\"QuoteAudit\",model=\"{model}\"}}");
        assert!(server.metric(&timed).unwrap() >= 2.0 * 64.0, "{timed}");
    }

    // What the audit costs then is within it.
    let report: assay_audit::Report = serde_json::from_str(&measured(&server, audit).await.json).unwrap();
    let worst = quote.worst_case.unwrap();
    assert!(report.cost.queries <= worst.queries && report.cost.gradients <= worst.gradients, "{:?}", report.cost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_are_counted_where_they_are_and_told_where_they_are_not() {
    let server = Running::with(|config| config.limits.max_audit_samples = 50).await;
    // Of a data set of the server all, unless the plan says how many.
    let whole = changed(audit_request(&[MODEL], 10), "samples = 10\n", "");
    let status = quote(&server, whole).await.unwrap_err();
    assert!(status.message().contains("limit of 50"), "{status}");
    assert_eq!(quote(&server, audit_request(&[MODEL], 10)).await.unwrap().samples, 10);
    let told = |samples, audit| QuoteAuditRequest { audit: Some(audit), samples, ..Default::default() };
    let status = ask(&server, told(7, audit_request(&[MODEL], 10))).await.unwrap_err();
    assert_eq!(violated(&status), "samples", "{status}");

    let uploaded = |uploaded| AuditRequest { uploaded, ..audit_request(&[MODEL], 0) };
    assert_eq!(ask(&server, told(7, uploaded(elsewhere()))).await.unwrap().samples, 7);
    let status = ask(&server, told(51, uploaded(elsewhere()))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let status = quote(&server, uploaded(elsewhere())).await.unwrap_err();
    assert!(status.code() == Code::NotFound && status.message().contains("UploadData"), "{status}");
    let (input, labels) = images(5);
    let content = server.upload(&SampleData { input: Some(input), labels }).await.unwrap();
    let there = Some(UploadedData { content, ..Default::default() });
    assert_eq!(quote(&server, uploaded(there)).await.unwrap().samples, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_costs_its_part() {
    let server = Running::start().await;
    let part = |shard: &str| AuditRequest { shard: shard.to_owned(), ..audit_request(&[MODEL], 100) };
    let samples =
        [quote(&server, part("0/2")).await.unwrap().samples, quote(&server, part("1/2")).await.unwrap().samples];
    assert_eq!(samples, [64, 36]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_started_has_no_quote() {
    let server = Running::start().await;
    let status = ask(&server, QuoteAuditRequest::default()).await.unwrap_err();
    assert_eq!(violated(&status), "audit", "{status}");
    let with = |from: &str, to: &str| changed(audit_request(&[MODEL], 10), from, to);
    for (field, code, audit, says) in [
        ("plan", Code::InvalidArgument, with("seed = 0", "sead = 0"), "did you mean `seed`? (line 2 of the plan)"),
        ("", Code::NotFound, with(MODEL, "none"), "no model `none`"),
        ("", Code::NotFound, with("\"fashion-mnist\"", "\"fashion\""), "no data set `fashion`"),
        ("evaluations[0].attacks[0]", Code::InvalidArgument, with("steps = 3", "steps = 0"), "1..=10000"),
    ] {
        let status = quote(&server, audit).await.unwrap_err();
        assert_eq!((status.code(), violated(&status).as_str()), (code, field), "{status}");
        assert!(status.message().contains(says), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_that_is_there_already_is_named_and_nothing_is_timed() {
    let server = Running::start().await;
    let mut client = server.client().await;
    let (what, key) = (Some(What::Audit(endless_audit())), "nightly".to_owned());
    let start = StartAuditRequest { what, idempotency_key: key.clone(), join: false };
    let job = client.start_audit(start).await.unwrap().into_inner().id;
    let alone = QuoteAuditRequest { audit: Some(endless_audit()), ..Default::default() };
    assert_eq!(ask(&server, alone.clone()).await.unwrap().job, "");
    for meant in
        [QuoteAuditRequest { join: true, ..alone.clone() }, QuoteAuditRequest { idempotency_key: key.clone(), ..alone }]
    {
        let quote = ask(&server, meant).await.unwrap();
        assert_eq!(quote.job, job);
        assert!(quote.seconds.is_none() && quote.models.is_empty() && quote.untimed.contains("already"), "{quote:?}");
        assert!(quote.worst_case.unwrap().gradients > 0);
    }
    let other = QuoteAuditRequest {
        audit: Some(audit_request(&[MODEL], 3)),
        idempotency_key: key,
        ..QuoteAuditRequest::default()
    };
    assert_eq!(ask(&server, other).await.unwrap_err().code(), Code::AlreadyExists);
    client.cancel_audit(CancelAuditRequest { job }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_place_or_a_gradient_the_counts_come_with_the_reason() {
    let server = Running::with(|config| config.concurrency.jobs = 1).await;
    let mut attack = server.client().await.attack(endless_attack()).await.unwrap().into_inner();
    attack.message().await.unwrap().unwrap();
    let busy = quote(&server, audit_request(&[MODEL], 10)).await.unwrap();
    assert!(busy.seconds.is_none() && busy.untimed.contains("concurrency.jobs"), "{busy:?}");
    assert_eq!(busy.worst_case, Some(Cost { queries: 10 + 30, gradients: 40 }));
    drop(attack);

    let (root, node) = opaque::repository();
    let models = root.path().to_owned();
    let server = Running::with(move |config| config.models = models).await;
    let blind = quote(&server, audit_request(&[opaque::NAME], 8)).await.unwrap();
    assert!(blind.stages[0].seconds.is_some() && blind.stages[1].seconds.is_none(), "{blind:?}");
    assert!(
        blind.seconds.is_none() && blind.untimed.contains(&node) && blind.untimed.contains(opaque::NAME),
        "{blind:?}"
    );
    let black_box = changed(audit_request(&[opaque::NAME], 8), "\"pgd\", parameters = { steps = 3 }", "\"square\"");
    let black_box = quote(&server, black_box).await.unwrap();
    assert!(black_box.seconds.is_some() && black_box.untimed.is_empty(), "{black_box:?}");
    assert!(black_box.models[0].gradient_seconds.is_none(), "{black_box:?}");
}
