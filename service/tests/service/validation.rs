//! Bad requests are refused with the field, what was expected, and what to do.

use crate::harness::{MODEL, Running, attack_request, fp32, linf, pgd, predict_request, violated};
use assay_proto::v1::{
    AttackRequest, DataType, GetModelRequest, Norm, PredictRequest, Target, TargetChoice, Tensor, Threat,
};
use tonic::{Code, Status};

/// What a refusal must be.
struct Refusal {
    code: Code,
    field: &'static str,
    says: &'static [&'static str],
}

#[track_caller]
fn check(case: &str, status: &Status, expected: &Refusal) {
    assert_eq!(status.code(), expected.code, "{case}: {status}");
    assert_eq!(violated(status), expected.field, "{case}: {status}");
    for part in expected.says {
        assert!(status.message().contains(part), "{case}: {part:?} is not in {:?}", status.message());
    }
}

fn invalid(field: &'static str, says: &'static [&'static str]) -> Refusal {
    Refusal { code: Code::InvalidArgument, field, says }
}

fn not_found(says: &'static [&'static str]) -> Refusal {
    Refusal { code: Code::NotFound, field: "", says }
}

fn exhausted(says: &'static [&'static str]) -> Refusal {
    Refusal { code: Code::ResourceExhausted, field: "", says }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn predict_refuses() {
    fn with(change: impl FnOnce(&mut PredictRequest)) -> PredictRequest {
        let mut request = predict_request(2);
        change(&mut request);
        request
    }
    fn value(value: f32) -> PredictRequest {
        let mut values = vec![0.5; 2 * 784];
        values[784 + 3] = value;
        with(|r| r.input = Some(fp32(&[2, 1, 28, 28], &values)))
    }
    let bytes =
        |datatype: i32, len: usize| Some(Tensor { shape: vec![2, 1, 28, 28], datatype, data: vec![0; len].into() });
    let cases = [
        ("no model", with(|r| r.model.clear()), invalid("model", &["missing", "ListModels"])),
        (
            "unknown model",
            with(|r| r.model = "fashion-rubust".to_owned()),
            not_found(&["fashion-rubust", "fashion-dense, fashion-filter-pruned", "did you mean `fashion-robust`?"]),
        ),
        ("unknown version", with(|r| r.version = "7".to_owned()), not_found(&["version `7`", "has 1"])),
        ("a word for a version", with(|r| r.version = "new".to_owned()), not_found(&["version `new`", "has 1"])),
        ("no input", with(|r| r.input = None), invalid("input", &["missing"])),
        (
            "flat batch",
            with(|r| r.input = Some(fp32(&[4, 784], &vec![0.0; 4 * 784]))),
            invalid("input.shape", &["expected [n, 1, 28, 28]", "got [4, 784]"]),
        ),
        (
            "no samples",
            with(|r| r.input = Some(fp32(&[0, 1, 28, 28], &[]))),
            invalid("input.shape", &["n >= 1", "got [0, 1, 28, 28]"]),
        ),
        (
            "no datatype",
            with(|r| r.input = bytes(DataType::Unspecified.into(), 0)),
            invalid("input.datatype", &["DATA_TYPE_FP32 or DATA_TYPE_UINT8", "got 0"]),
        ),
        ("unknown datatype", with(|r| r.input = bytes(99, 0)), invalid("input.datatype", &["got 99"])),
        (
            "short data",
            with(|r| r.input = bytes(DataType::Fp32.into(), 100)),
            invalid("input.data", &["expected 6272 bytes", "got 100"]),
        ),
        ("NaN", value(f32::NAN), invalid("input.data", &["sample 1, element 3 is NaN", "finite"])),
        ("infinity", value(f32::INFINITY), invalid("input.data", &["sample 1, element 3 is inf", "finite"])),
        ("out of range", value(1.5), invalid("input.data", &["sample 1, element 3 is 1.5", "[0, 1]"])),
        ("top_k", with(|r| r.top_k = 11), invalid("top_k", &["0 to 10", "got 11"])),
        (
            "batch",
            with(|r| r.input = Some(fp32(&[5, 1, 28, 28], &vec![0.0; 5 * 784]))),
            exhausted(&["input.shape: batch: 5", "limit of 4", "smaller batches", "limits.max_batch"]),
        ),
    ];
    let server = Running::with(|config| config.limits.max_batch = 4).await;
    let mut client = server.client().await;
    for (case, request, refusal) in cases {
        check(case, &client.predict(request).await.unwrap_err(), &refusal);
    }
    // The server is none the worse for it.
    client.predict(predict_request(4)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_refuses() {
    fn with(change: impl FnOnce(&mut AttackRequest)) -> AttackRequest {
        let mut request = attack_request(3, &[("steps", "1")]);
        change(&mut request);
        request
    }
    fn target(choice: TargetChoice, classes: &[u32], rank: u32) -> Target {
        Target { choice: choice.into(), classes: classes.to_vec(), rank }
    }
    fn spec(parameters: &[(&str, &str)]) -> AttackRequest {
        with(|r| r.attack = Some(pgd(parameters)))
    }
    let cases = [
        ("labels missing", with(|r| r.labels.clear()), invalid("labels", &["expected 3 classes", "got 0"])),
        ("too many labels", with(|r| r.labels.push(0)), invalid("labels", &["expected 3 classes", "got 4"])),
        ("label out of range", with(|r| r.labels[1] = 10), invalid("labels[1]", &["0 to 9", "got 10"])),
        ("no threat", with(|r| r.threat = None), invalid("threat", &["missing"])),
        (
            "no norm",
            with(|r| r.threat = Some(Threat { norm: Norm::Unspecified.into(), eps: "0.1".to_owned() })),
            invalid("threat.norm", &["NORM_LINF, NORM_L2, NORM_L1 or NORM_L0"]),
        ),
        ("negative eps", with(|r| r.threat = Some(linf("-0.1"))), invalid("threat.eps", &["\"-0.1\"", "8/255"])),
        ("eps in words", with(|r| r.threat = Some(linf("small"))), invalid("threat.eps", &["\"small\""])),
        ("no attack", with(|r| r.attack = None), invalid("attack.name", &["missing", "ListAttacks"])),
        (
            "unknown attack",
            with(|r| r.attack.as_mut().unwrap().name = "pgdd".to_owned()),
            not_found(&["attack `pgdd`", "fgsm, fmn", "did you mean `pgd`?"]),
        ),
        (
            "parameter out of range",
            spec(&[("steps", "0")]),
            invalid("attack.parameters", &["steps = \"0\"", "1..=10000"]),
        ),
        ("unknown parameter", spec(&[("setps", "3")]), invalid("attack.parameters", &["setps", "steps"])),
        (
            "too many steps",
            spec(&[("steps", "10000"), ("restarts", "100")]),
            exhausted(&["limit of 100000", "fewer steps", "limits.max_steps"]),
        ),
        (
            "no choice of a target",
            with(|r| r.target = Some(Target::default())),
            invalid("target.choice", &["TARGET_CHOICE_LEAST_LIKELY", "got 0"]),
        ),
        (
            "too few targets",
            with(|r| r.target = Some(target(TargetChoice::Classes, &[1, 2], 0))),
            invalid("target.classes", &["expected 3 classes", "got 2"]),
        ),
        (
            "target out of range",
            with(|r| r.target = Some(target(TargetChoice::Classes, &[1, 2, 10], 0))),
            invalid("target.classes[2]", &["0 to 9", "got 10"]),
        ),
        (
            "classes that are not read",
            with(|r| r.target = Some(target(TargetChoice::Random, &[1, 2, 3], 0))),
            invalid("target.classes", &["TARGET_CHOICE_CLASSES only", "got TARGET_CHOICE_RANDOM"]),
        ),
        (
            "rank that is not read",
            with(|r| r.target = Some(target(TargetChoice::LeastLikely, &[], 2))),
            invalid("target.rank", &["leave it out"]),
        ),
        ("sample ids", with(|r| r.sample_ids = vec![1, 2]), invalid("sample_ids", &["expected none, or 3", "got 2"])),
    ];
    let server = Running::start().await;
    let mut client = server.client().await;
    for (case, request, refusal) in cases {
        check(case, &client.attack(request).await.unwrap_err(), &refusal);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_sample_id_twice_is_refused() {
    let server = Running::start().await;
    let request = AttackRequest { sample_ids: vec![7, 7], ..attack_request(2, &[("steps", "1")]) };
    let mut events = server.client().await.attack(request).await.unwrap().into_inner();
    let status = events.message().await.unwrap_err();
    check("same id", &status, &invalid("attack", &["same id 7"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_model_is_not_found_by_get_model() {
    let server = Running::start().await;
    let request = GetModelRequest { model: "nothing".to_owned(), ..Default::default() };
    let status = server.client().await.get_model(request).await.unwrap_err();
    check("nothing", &status, &not_found(&["`nothing`", MODEL]));
}
