//! Metrics start at zero, have bounded labels, and are what Prometheus expects.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::harness::{MODEL, Running, predict_request};
use assay_proto::v1::PredictRequest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_model_and_code_is_there_at_zero_from_the_start() {
    let server = Running::start().await;
    for model in ["fashion-dense", "fashion-filter-pruned", MODEL, crate::harness::PRUNED, "_unknown"] {
        for code in ["OK", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL"] {
            for rpc in ["Predict", "Gradient", "Attack", "Certify", "QuoteAudit", "StartAudit", "GetModel"] {
                let series = format!("assay_requests_total{{rpc=\"{rpc}\",model=\"{model}\",code=\"{code}\"}}");
                assert_eq!(server.metric(&series), Some(0.0), "{series}");
            }
        }
    }
    for series in [
        "assay_request_duration_seconds_count{rpc=\"Predict\",model=\"fashion-robust\"}",
        "assay_gradient_samples_total{model=\"fashion-robust\",objective=\"cotangent\"}",
        "assay_attack_gradients_total{rpc=\"Attack\",model=\"fashion-robust\"}",
        "assay_attack_queries_total{rpc=\"Audit\",model=\"fashion-robust\"}",
        "assay_certify_samples_total{rpc=\"Certify\",model=\"fashion-robust\",method=\"alpha-crown\",verdict=\"certified\"}",
        "assay_certify_samples_total{rpc=\"Audit\",model=\"fashion-robust\",method=\"none\",verdict=\"failed\"}",
        "assay_certify_duration_seconds_count{rpc=\"Certify\",model=\"fashion-robust\"}",
        "nv_inference_request_success{model=\"fashion-robust\",version=\"1\"}",
        "nv_inference_request_failure{model=\"fashion-robust\",version=\"1\",reason=\"REJECTED\"}",
        "nv_inference_count{model=\"fashion-robust\",version=\"1\"}",
        "nv_inference_exec_count{model=\"fashion-dense\",version=\"1\"}",
        "nv_inference_queue_duration_us{model=\"fashion-robust\",version=\"1\"}",
        "nv_inference_compute_output_duration_us{model=\"fashion-robust\",version=\"1\"}",
        "assay_decode_duration_seconds_count{model=\"fashion-robust\"}",
        "assay_attack_step_duration_seconds_count{rpc=\"Audit\",model=\"fashion-robust\"}",
        "assay_audit_duration_seconds_count",
        "assay_audits_total{verdict=\"fail\"}",
        "assay_audits_total{verdict=\"inconclusive\"}",
        "assay_audits_total{verdict=\"unreliable\"}",
        "assay_audits{state=\"queued\"}",
        "assay_requests_in_flight{rpc=\"Attack\"}",
        "assay_models_failed",
    ] {
        assert_eq!(server.metric(series), Some(0.0), "{series}");
    }
    assert_eq!(server.metric("assay_models_loaded"), Some(6.0));
    let (_, scraped) = server.admin("/metrics");
    for info in ["assay_build_info{version=", "assay_model_info{model=\"fashion-robust\",version=\"1\",kind=\"dense\""]
    {
        assert!(scraped.contains(info), "{info}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_counted_once_with_its_batch() {
    let server = Running::start().await;
    server.client().await.predict(predict_request(3)).await.unwrap();
    let ok = "assay_requests_total{rpc=\"Predict\",model=\"fashion-robust\",code=\"OK\"}";
    server.eventually("recorded", |server| server.metric(ok) == Some(1.0)).await;
    for (series, value) in [
        ("assay_request_duration_seconds_count{rpc=\"Predict\",model=\"fashion-robust\"}", 1.0),
        ("assay_queue_duration_seconds_bucket{model=\"fashion-robust\",le=\"+Inf\"}", 1.0),
        ("assay_compute_duration_seconds_count{model=\"fashion-robust\"}", 1.0),
        ("assay_decode_duration_seconds_count{model=\"fashion-robust\"}", 1.0),
        ("assay_encode_duration_seconds_count{model=\"fashion-robust\"}", 1.0),
        ("assay_batch_size_sum{model=\"fashion-robust\"}", 3.0),
        ("assay_batch_size_bucket{model=\"fashion-robust\",le=\"2\"}", 0.0),
        ("assay_batch_size_bucket{model=\"fashion-robust\",le=\"4\"}", 1.0),
        ("assay_requests_in_flight{rpc=\"Predict\"}", 0.0),
    ] {
        assert_eq!(server.metric(series), Some(value), "{series}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_clients_make_up_do_not_become_labels() {
    let server = Running::start().await;
    let mut client = server.client().await;
    for name in ["made-up", "another"] {
        let request = PredictRequest { model: name.to_owned(), ..predict_request(1) };
        client.predict(request).await.unwrap_err();
    }
    let unknown = "assay_requests_total{rpc=\"Predict\",model=\"_unknown\",code=\"NOT_FOUND\"}";
    server.eventually("recorded", |server| server.metric(unknown) == Some(2.0)).await;
    let (_, scraped) = server.admin("/metrics");
    assert!(!scraped.contains("made-up") && !scraped.contains("another"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_to_say() {
    let server = Running::start().await;
    server.client().await.predict(predict_request(1)).await.unwrap();
    let (_, scraped) = server.admin("/metrics");
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        eprintln!("skipped: promtool is not installed (Debian: apt-get install prometheus)");
        return;
    };
    // Triton's names are older than the rules for names.
    let ours: String = scraped.split_inclusive('\n').filter(|line| !line.contains("nv_")).collect();
    promtool.stdin.take().unwrap().write_all(ours.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboards_and_alerts_ask_for_metrics_that_there_are() {
    let server = Running::start().await;
    let (_, scraped) = server.admin("/metrics");
    let there: Vec<&str> = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for file in ["prometheus/alerts.yaml", "grafana/assay.json"] {
        let text = std::fs::read_to_string(crate::harness::deploy(file)).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let asked: Vec<&str> = words.filter(|word| word.starts_with("assay_")).collect();
        assert!(asked.len() > 5, "{file}: {asked:?}");
        for name in asked {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(there.contains(&family), "{file} asks for {name}");
        }
    }
}
