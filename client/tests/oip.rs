//! `assay attack oip://...`: the built client against a server that speaks the Open Inference Protocol and is right, wrong, slow or gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value, missing_docs)]

mod endpoint;

use std::num::NonZeroUsize;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use assay_attack::{Attacked, Bounds, Budget, Cancel, Goal, Job, Norm, SampleId, Threat};
use assay_proto::inference::ModelMetadataResponse;
use assay_runtime::{Class, Classifier};
use ndarray::{Array2, ArrayViewD};
use serde_json::Value;
use tonic::Status;

use crate::endpoint::{Answer, Asked, Data, Endpoint, Net, honest, metadata, tensor};

const SHAPE: [usize; 3] = [3, 4, 5];
const SQUARE: &str = "square:queries=150";

fn net() -> Net {
    Net::random(&SHAPE, 4, 1.0)
}

/// Pixels as numbers in [0, 1].
fn unit(bytes: ArrayViewD<'_, u8>) -> Array2<f32> {
    let (n, features) = (bytes.shape()[0], bytes.len() / bytes.shape()[0]);
    Array2::from_shape_vec((n, features), bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect()).unwrap()
}

fn command(endpoint: &Endpoint, data: &Data, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(["attack", &endpoint.url(), "--data"]).arg(data.path()).args(arguments);
    command
}

fn run(endpoint: &Endpoint, data: &Data, arguments: &[&str]) -> Output {
    command(endpoint, data, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn json(endpoint: &Endpoint, data: &Data, arguments: &[&str]) -> Value {
    let output = run(endpoint, data, &[&["--output", "json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs into an error with this exit code that says so; the result until then.
#[track_caller]
fn fails(code: i32, says: &str, endpoint: &Endpoint, data: &Data, arguments: &[&str]) -> String {
    let output = run(endpoint, data, arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.contains(says), "expected \"{says}\" in: {message}");
    text(&output.stdout)
}

/// The same attack in this process.
fn at_home(net: &dyn Classifier, data: &Data, attack: &str, threat: &Threat, seed: u64) -> Attacked {
    let (name, parameters) = attack.split_once(':').unwrap();
    let parameters: Vec<_> =
        parameters.split(',').map(|p| p.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let attack = assay_attack::parse(name, &parameters).unwrap();
    let labels: Vec<_> = data.labels.iter().copied().map(Class).collect();
    let ids: Vec<_> = (0..data.labels.len() as u64).map(SampleId).collect();
    let job = Job {
        classifier: net,
        attack: attack.as_ref(),
        threat,
        goal: &Goal::Untargeted,
        images: data.images.view(),
        labels: &labels,
        ids: &ids,
        seed,
        batch: NonZeroUsize::new(1000).unwrap(),
        budget: Budget::default(),
        eight_bit: false,
        checks: false,
    };
    assay_attack::run(&job, &mut |_| {}, &Cancel::default()).unwrap()
}

fn linf(eps: &str, high: f32) -> Threat {
    Threat { norm: Norm::Linf, eps: eps.parse().unwrap(), bounds: Bounds::new(0.0, high).unwrap() }
}

/// What the attack cost, and what looked for flags.
fn reported(answer: &Value) -> u64 {
    answer["queries"].as_u64().unwrap() + answer["checks"]["queries"].as_u64().unwrap()
}

#[track_caller]
fn assert_same(answer: &Value, home: &Attacked) {
    let outcomes = answer["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), home.outcomes.len());
    for (over_wire, home) in outcomes.iter().zip(&home.outcomes) {
        let expected = serde_json::to_value(home.outcome).unwrap();
        assert_eq!((&over_wire["outcome"], &over_wire["sample"]), (&expected, &home.id.0.into()));
        assert_eq!(over_wire["queries"], home.cost.queries);
        assert_eq!(over_wire["distance_linf"], home.distance.linf);
        assert_eq!(over_wire["distance_l2"], home.distance.l2);
    }
    assert_eq!(answer["queries"], home.cost.queries);
}

#[test]
fn an_attack_finds_what_the_closed_form_says_and_what_it_finds_at_home() {
    let net = net();
    let data = Data::random(40, &SHAPE, &net, unit);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), honest);
    let file = data.folder().join("adversarial.npy");
    let attack = "square:queries=600";
    let arguments = ["--threat", "Linf:0.1", "--attack", attack, "--seed", "7", "--batch", "7"];
    let answer = json(&endpoint, &data, &[&arguments[..], &["--save", file.to_str().unwrap()]].concat());
    assert_same(&answer, &at_home(&net, &data, attack, &linf("0.1", 1.0), 7));

    let (mut broken, mut clear) = (0, 0);
    let saved: ndarray::ArrayD<f32> = ndarray_npy::read_npy(&file).unwrap();
    assert_eq!(saved.shape(), [40, 3, 4, 5]);
    let saved = saved.into_shape_with_order((40, 60)).unwrap();
    for (i, outcome) in answer["outcomes"].as_array().unwrap().iter().enumerate() {
        let reach = net.reach(data.images.row(i), 0.1, 1.0);
        let found = outcome["outcome"] == "broken";
        assert!(!found || reach > -1e-4, "sample {i} cannot be broken, by {reach}");
        // Square does not find every optimum, but it comes near.
        assert!(found || reach < 1.0, "sample {i} can be broken, by {reach}");
        assert_eq!(found, net.class(saved.row(i)) as u32 != data.labels[i]);
        broken += u32::from(found);
        clear += u32::from(reach >= 1.0);
    }
    assert!(clear > 5 && broken < 40, "{clear} of 40 can be broken easily, {broken} were");
    assert_eq!(
        (&answer["model"], &answer["version"], &answer["target"]),
        (&"net".into(), &"3".into(), &endpoint.url().into())
    );
    assert!(answer["stopped"].is_null() && answer["incomplete"].is_null());
}

#[test]
fn the_server_sees_as_many_samples_as_are_reported() {
    let net = net();
    let data = Data::random(30, &SHAPE, &net, unit);
    for batch in ["1", "8", "64"] {
        let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), honest);
        let answer =
            json(&endpoint, &data, &["--threat", "Linf:0.05", "--attack", "square:queries=20", "--batch", batch]);
        let seen = endpoint.seen();
        assert_eq!(reported(&answer), seen.samples);
        assert_eq!((&answer["samples_sent"], &answer["requests"]), (&seen.samples.into(), &seen.requests.into()));
        assert!(seen.largest <= batch.parse().unwrap(), "{} in one request", seen.largest);
    }
}

#[test]
fn a_server_that_answers_at_random_gets_its_flag() {
    let net = net();
    let data = Data::random(12, &SHAPE, &net, unit);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), |mut asked: Asked<'_>| {
        asked.logits.column_mut(0).mapv_inplace(|z| z + 0.5 * (asked.number % 7) as f32);
        honest(asked)
    });
    let arguments = ["--threat", "Linf:0.1", "--attack", "square:queries=5"];
    let kinds = |answer: Value| {
        let flags = answer["flags"].as_array().unwrap().iter().map(|flag| flag["kind"].as_str().unwrap().to_owned());
        flags.collect::<Vec<_>>()
    };
    let flags = kinds(json(&endpoint, &data, &arguments));
    assert!(["randomized-output", "no-gradient"].iter().all(|kind| flags.iter().any(|flag| flag == kind)), "{flags:?}");
    let flags = kinds(json(&endpoint, &data, &[&arguments[..], &["--skip-checks"]].concat()));
    assert!(!flags.iter().any(|flag| flag == "randomized-output"), "{flags:?}");
}

#[test]
fn a_quote_asks_nothing() {
    let net = net();
    let data = Data::random(12, &SHAPE, &net, unit);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), honest);
    let answer = json(&endpoint, &data, &["--threat", "Linf:0.1", "--attack", "square:queries=50", "--quote"]);
    assert_eq!(endpoint.seen().requests, 0);
    let home = at_home(&net, &data, "square:queries=50", &linf("0.1", 1.0), 0);
    assert!(answer["queries"].as_u64() >= Some(home.cost.queries) && answer["samples"] == 12, "{answer}");
}

#[test]
fn an_attack_is_aimed_at_a_class() {
    let net = net();
    let data = Data::random(30, &SHAPE, &net, unit);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), honest);
    let answer = json(&endpoint, &data, &["--threat", "Linf:0.3", "--attack", SQUARE, "--target", "2"]);
    let outcomes = answer["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), data.labels.iter().filter(|label| **label != 2).count());
    assert!(answer["broken"].as_u64().unwrap() > 3, "{answer}");
    for outcome in outcomes {
        assert_eq!(
            (outcome["target"].as_u64(), &outcome["label"]),
            (Some(2), &data.labels[outcome["sample"].as_u64().unwrap() as usize].into())
        );
        assert!(outcome["outcome"] != "broken" || outcome["adversarial_prediction"] == 2);
    }
}

#[test]
fn a_fixed_batch_is_filled_and_its_filling_is_told() {
    let net = net();
    let data = Data::random(10, &SHAPE, &net, unit);
    let mut fixed = metadata(&net, "FP32");
    fixed.inputs[0].shape[0] = 4;
    let endpoint = Endpoint::start(&net, fixed, |asked: Asked<'_>| {
        assert_eq!(asked.rows.nrows(), 4);
        honest(asked)
    });
    let answer = json(&endpoint, &data, &["--threat", "Linf:0.1", "--attack", SQUARE]);
    assert_same(&answer, &at_home(&net, &data, SQUARE, &linf("0.1", 1.0), 0));
    assert_eq!(answer["samples_sent"], endpoint.seen().samples);
    assert!(answer["samples_sent"].as_u64() > Some(reported(&answer)));
    fails(
        2,
        "batches of 4 and no others",
        &endpoint,
        &data,
        &["--threat", "Linf:0.1", "--attack", SQUARE, "--batch", "2"],
    );
}

#[test]
fn bytes_with_channels_last_are_attacked_in_grey_levels() {
    // The file has channels first, the model takes them last.
    let net = Net::random(&[4, 5, 3], 4, 255.0);
    let last = |bytes: ArrayViewD<'_, u8>| {
        let n = bytes.shape()[0];
        let moved = bytes.permuted_axes(ndarray::IxDyn(&[0, 2, 3, 1]));
        Array2::from_shape_vec((n, 60), moved.iter().map(|byte| f32::from(*byte)).collect()).unwrap()
    };
    let data = Data::random(20, &SHAPE, &net, last);
    let endpoint = Endpoint::start(&net, metadata(&net, "UINT8"), honest);
    let answer = json(&endpoint, &data, &["--threat", "Linf:20", "--attack", SQUARE]);
    assert_eq!(answer["misclassified"], 0, "{answer}");
    assert!(answer["broken"].as_u64().unwrap() > 3, "{answer}");
    for (i, outcome) in answer["outcomes"].as_array().unwrap().iter().enumerate() {
        let possible = net.reach(data.images.row(i), 20.0, 255.0) > -1e-3;
        assert!(possible || outcome["outcome"] == "robust");
    }
}

#[test]
fn halves_are_what_the_model_sees() {
    let net = net();
    let half = |bytes: ArrayViewD<'_, u8>| unit(bytes).mapv(|v| half::f16::from_f32(v).to_f32());
    let data = Data::random(20, &SHAPE, &net, half);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP16"), |asked: Asked<'_>| {
        let bytes = asked.logits.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
        Answer::Tensor(tensor("FP16", asked.logits.shape()), bytes)
    });
    let answer = json(&endpoint, &data, &["--threat", "Linf:0.2", "--attack", SQUARE]);
    assert!(answer["broken"].as_u64().unwrap() > 3, "{answer}");
}

#[test]
fn a_model_that_only_names_a_class_is_attacked_by_its_decisions() {
    let net = net();
    let data = Data::random(20, &SHAPE, &net, unit);
    let mut labels = metadata(&net, "FP32");
    (labels.outputs[0].datatype, labels.outputs[0].shape) = ("INT64".into(), vec![-1]);
    let endpoint = Endpoint::start(&net, labels.clone(), |asked: Asked<'_>| {
        let largest = |z: ndarray::ArrayView1<'_, f32>| (0..4).fold(0, |best, i| if z[i] > z[best] { i } else { best });
        let classes: Vec<i64> = asked.logits.rows().into_iter().map(|z| largest(z) as i64).collect();
        Answer::Tensor(tensor("INT64", &[classes.len()]), classes.iter().flat_map(|c| c.to_le_bytes()).collect())
    });
    let arguments = ["--threat", "Linf:0.3", "--attack", SQUARE];
    let answer = json(&endpoint, &data, &[&arguments[..], &["--classes", "4"]].concat());
    assert_eq!(answer["misclassified"], 0);
    assert!(answer["broken"].as_u64().unwrap() > 3, "{answer}");
    assert_eq!(reported(&answer), endpoint.seen().samples);
    // The nearest adversarial point of a linear model is known, and never nearer than this.
    let decisions = ["--threat", "L2:inf", "--attack", "hopskipjump:queries=400", "--classes", "4"];
    let nearest = json(&endpoint, &data, &decisions);
    assert_eq!(nearest["broken"], 20, "{nearest}");
    for (outcome, x) in nearest["outcomes"].as_array().unwrap().iter().zip(data.images.rows()) {
        let (found, least) = (outcome["distance_l2"].as_f64().unwrap(), net.distance(x));
        assert!(found >= least - 1e-4 && found < 2.0 * least + 0.1, "{found}, where {least} is possible");
    }
    fails(2, "--classes K", &endpoint, &data, &arguments);
    let endpoint = Endpoint::start(&net, labels, |asked: Asked<'_>| {
        let n = asked.rows.nrows();
        Answer::Tensor(tensor("INT64", &[n]), 7_i64.to_le_bytes().repeat(n))
    });
    let told = "names class 7; expected 0 to 3: see --classes";
    fails(3, told, &endpoint, &data, &[&arguments[..], &["--classes", "4"]].concat());
}

#[test]
fn probabilities_of_one_output_of_several_will_do() {
    let net = net();
    let data = Data::random(20, &SHAPE, &net, unit);
    let mut several = metadata(&net, "FP32");
    several.outputs.insert(0, several.outputs[0].clone());
    several.outputs[0].name = "features".into();
    let endpoint = Endpoint::start(&net, several, |asked: Asked<'_>| {
        let mut odds = asked.logits.mapv(|z| f64::from(z).exp());
        odds.rows_mut().into_iter().for_each(|mut row| row /= row.sum());
        Answer::Tensor(tensor("FP64", odds.shape()), odds.iter().flat_map(|v| v.to_le_bytes()).collect())
    });
    let arguments = ["--threat", "Linf:0.2", "--attack", SQUARE];
    assert!(json(&endpoint, &data, &[&arguments[..], &["--logits", "y"]].concat())["broken"].as_u64().unwrap() > 3);
    fails(2, "2 outputs (features, y); say which", &endpoint, &data, &arguments);
    fails(2, "its outputs are features, y", &endpoint, &data, &[&arguments[..], &["--logits", "z"]].concat());
    fails(3, "no output \"features\"", &endpoint, &data, &[&arguments[..], &["--logits", "features"]].concat());
}

#[test]
fn what_metadata_leaves_open_is_said_by_the_user() {
    let net = Net::random(&SHAPE, 4, 2.0);
    let data = Data::random(20, &SHAPE, &net, |bytes| unit(bytes).mapv(|v| 2.0 * v));
    let mut open = metadata(&net, "FP32");
    (open.inputs[0].shape, open.outputs[0].shape) = (vec![-1, 3, -1, -1], vec![-1, -1]);
    let endpoint = Endpoint::start(&net, open, honest);
    let arguments = ["--threat", "Linf:0.2", "--attack", SQUARE];
    let hints = ["--shape", "3,4,5", "--classes", "4", "--range", "0,2"];
    let answer = json(&endpoint, &data, &[&arguments[..], &hints[..]].concat());
    assert_same(&answer, &at_home(&net, &data, SQUARE, &linf("0.2", 2.0), 0));
    fails(2, "--shape 3,224,224", &endpoint, &data, &[&arguments[..], &hints[2..]].concat());
    fails(2, "--classes K", &endpoint, &data, &[&arguments[..], &hints[..2]].concat());
    let other = ["--shape", "3,5,5", "--classes", "4"];
    fails(2, "samples have shape [3, 4, 5]", &endpoint, &data, &[&arguments[..], &other].concat());
}

#[test]
fn a_rate_is_kept() {
    let net = net();
    let data = Data::random(10, &SHAPE, &net, unit);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), honest);
    let answer = json(&endpoint, &data, &["--threat", "Linf:0.01", "--attack", "square:queries=10", "--rate", "50"]);
    let seen = endpoint.seen();
    assert_eq!(reported(&answer), seen.samples);
    // The last batch goes out when the time of all before it is over.
    let least = Duration::from_secs_f64((seen.samples as f64 - seen.largest as f64) / 50.0);
    let took = seen.last.unwrap() - seen.first.unwrap();
    assert!(took >= least.mul_f64(0.9) && seen.samples > 100, "{} samples in {took:?}", seen.samples);
}

#[test]
fn a_budget_of_queries_is_kept() {
    let net = net();
    let data = Data::random(20, &SHAPE, &net, unit);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), honest);
    let arguments = ["--threat", "Linf:0.1", "--attack", "square:queries=5000", "--max-queries", "25"];
    let answer = json(&endpoint, &data, &arguments);
    let queries = |outcome: &Value| outcome["queries"].as_u64().unwrap();
    for outcome in answer["outcomes"].as_array().unwrap() {
        let verified = if outcome["outcome"] == "broken" { 2 } else { 0 };
        assert!(queries(outcome) <= 25 + verified, "{outcome}");
        assert!(outcome["outcome"] != "robust" || queries(outcome) == 25, "{outcome}");
    }
    assert!(
        answer["robust"].as_u64().unwrap() > 0 && answer["stopped"] == "queries" && answer["incomplete"].is_null(),
        "{answer}"
    );
    assert_eq!(reported(&answer), endpoint.seen().samples);
}

#[test]
fn a_budget_of_time_ends_the_attack_with_what_was_found() {
    let net = net();
    let data = Data::random(30, &SHAPE, &net, unit);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), |asked: Asked<'_>| match honest(asked) {
        Answer::Tensor(output, raw) => Answer::Late(Duration::from_millis(20), output, raw),
        other => other,
    });
    let arguments = ["--threat", "Linf:0.1", "--attack", "square:queries=10000", "--max-seconds", "1", "--batch", "4"];
    let started = Instant::now();
    let answer = json(&endpoint, &data, &arguments);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert_eq!(
        (&answer["stopped"], &answer["incomplete"]),
        (&"seconds".into(), &"the time of --max-seconds is over".into())
    );
    // Robust is who was attacked to the end; nobody was.
    assert_eq!((&answer["robust"], &answer["samples"]), (&0.into(), &30.into()), "{answer}");
    assert!(answer["errors"].as_u64().unwrap() > 0 && answer["broken"].as_u64().unwrap() > 0, "{answer}");
    let table = run(&endpoint, &data, &arguments);
    assert!(text(&table.stdout).contains("samples are not measured, because the time of --max-seconds is over"));
}

#[test]
fn a_server_that_is_unavailable_for_a_while_is_asked_again() {
    let net = net();
    let data = Data::random(20, &SHAPE, &net, unit);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), |asked: Asked<'_>| match asked.number {
        3 | 4 | 9 => Answer::Refuse(Status::unavailable("loading")),
        _ => honest(asked),
    });
    let answer = json(&endpoint, &data, &["--threat", "Linf:0.1", "--attack", SQUARE, "--batch", "20"]);
    assert_same(&answer, &at_home(&net, &data, SQUARE, &linf("0.1", 1.0), 0));
    // What was sent again is told, and is not a query more.
    assert_eq!(
        (&answer["samples_sent"], &answer["requests"]),
        (&endpoint.seen().samples.into(), &endpoint.seen().requests.into())
    );
    assert!(answer["samples_sent"].as_u64() > Some(reported(&answer)));
}

/// A server that goes wrong with request `from`, when the first group of samples is done.
fn spoiled(net: &Net, from: u64, how: impl Fn(Asked<'_>) -> Answer + Send + Sync + 'static) -> Endpoint {
    Endpoint::start(
        net,
        metadata(net, "FP32"),
        move |asked: Asked<'_>| {
            if asked.number < from { honest(asked) } else { how(asked) }
        },
    )
}

#[test]
fn a_server_that_fails_on_the_way_leaves_a_result_that_says_so() {
    type Spoil = fn(Asked<'_>) -> Answer;
    let cases: [(&str, Spoil); 9] = [
        ("the connection was lost", |_| Answer::Die),
        ("Unavailable), also when it was asked 1 times more", |_| Answer::Refuse(Status::unavailable("gone"))),
        ("the server says \"broken\" (Internal)", |_| Answer::Refuse(Status::internal("broken"))),
        ("make requests smaller with --batch", |_| Answer::Refuse(Status::resource_exhausted("too large"))),
        ("no answer within 1 s", |asked| match honest(asked) {
            Answer::Tensor(output, raw) => Answer::Late(Duration::from_secs(600), output, raw),
            other => other,
        }),
        ("expected [4, 4]", |asked| {
            let n = asked.rows.nrows();
            Answer::Tensor(tensor("FP32", &[n + 1, 4]), vec![0; 16 * (n + 1)])
        }),
        ("has 15 elements in 60 bytes; expected 16", |asked| {
            Answer::Tensor(tensor("FP32", &[asked.rows.nrows(), 4]), vec![0; 60])
        }),
        ("is BOOL; expected numbers", |asked| Answer::Tensor(tensor("BOOL", &[asked.rows.nrows(), 4]), vec![0; 16])),
        ("no output \"y\", but 1 (z)", |asked| {
            let renamed = assay_proto::inference::model_infer_response::InferOutputTensor {
                name: "z".into(),
                ..tensor("FP32", &[4, 4])
            };
            Answer::Tensor(renamed, vec![0; 16 * asked.rows.nrows()])
        }),
    ];
    let net = net();
    let data = Data::random(24, &SHAPE, &net, unit);
    let arguments = [
        "--threat",
        "Linf:0.001",
        "--attack",
        "square:queries=4",
        "--batch",
        "4",
        "--retries",
        "1",
        "--timeout",
        "1",
        "--skip-checks",
    ];
    let home = at_home(&net, &data, "square:queries=4", &linf("0.001", 1.0), 0);
    for (says, how) in cases {
        // The first group of 16 samples is done with the 24th request: 4 batches are asked 6 times each.
        let endpoint = spoiled(&net, 25, how);
        let output = run(&endpoint, &data, &[&["--output", "json"], &arguments[..]].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert!(message.contains(says), "expected \"{says}\" in: {message}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(answer["incomplete"].as_str().unwrap().contains(says), "{answer}");
        let outcomes = answer["outcomes"].as_array().unwrap();
        assert_eq!(outcomes.len(), 24);
        for (outcome, home) in outcomes.iter().zip(&home.outcomes) {
            if home.id.0 < 16 {
                assert_eq!((&outcome["outcome"], &outcome["queries"]), (&"robust".into(), &home.cost.queries.into()));
            } else {
                assert_eq!((&outcome["outcome"], &outcome["queries"]), (&"error".into(), &0.into()));
                assert!(outcome["error"].as_str().unwrap().starts_with("not measured: "), "{outcome}");
            }
        }
        assert_eq!((&answer["errors"], &answer["robust"]), (&8.into(), &16.into()));
    }
}

#[test]
fn a_server_that_answers_nan_measures_nothing() {
    let net = net();
    let data = Data::random(8, &SHAPE, &net, unit);
    let nan = |asked: Asked<'_>| {
        Answer::Tensor(
            tensor("FP32", asked.logits.shape()),
            [f32::NAN.to_le_bytes(); 4].concat().repeat(asked.rows.nrows()),
        )
    };
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), nan);
    let arguments = ["--threat", "Linf:0.1", "--attack", SQUARE];
    let table = fails(
        3,
        "no sample could be measured; of the first: the logits of the model are not finite",
        &endpoint,
        &data,
        &arguments,
    );
    assert!(table.contains("100.0 % (8/8)"), "{table}");
    // One sample that it fails on does not spoil the others.
    let first = data.images.row(0).to_owned();
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), move |mut asked: Asked<'_>| {
        for (mut z, x) in asked.logits.rows_mut().into_iter().zip(asked.rows.rows()) {
            if x == first {
                z.fill(f32::NAN);
            }
        }
        honest(asked)
    });
    let answer = json(&endpoint, &data, &arguments);
    assert_eq!((&answer["errors"], &answer["outcomes"][0]["outcome"]), (&1.into(), &"error".into()));
}

#[test]
fn attacks_that_need_gradients_are_refused_before_anything_is_asked() {
    let net = net();
    let data = Data::random(4, &SHAPE, &net, unit);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), honest);
    for attack in ["pgd", "autoattack-standard"] {
        fails(2, "those that need none are", &endpoint, &data, &["--threat", "Linf:0.1", "--attack", attack]);
    }
    fails(2, "square", &endpoint, &data, &["--threat", "Linf:0.1"]);
    fails(2, "did you mean \"square\"", &endpoint, &data, &["--threat", "Linf:0.1", "--attack", "sqare"]);
    assert_eq!(endpoint.seen().requests, 0);
}

#[test]
fn what_cannot_be_attacked_is_said_before_anything_is_asked() {
    let net = net();
    let data = Data::random(4, &SHAPE, &net, unit);
    let square = ["--threat", "Linf:0.1", "--attack", SQUARE];
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), honest);
    let assay = |model: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.args(["attack", model, "--data"]).arg(data.path()).args(square).args(more).output().unwrap()
    };
    let says = |code: i32, part: &str, output: Output| {
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(part), "expected \"{part}\" in: {message}");
    };
    let host = endpoint.address;
    says(2, "unknown model 'nit'", assay(&format!("oip://{host}/nit"), &[]));
    says(3, "the model is not ready", assay(&format!("oip://{host}/sleepy"), &[]));
    says(3, "is this the server's gRPC port?", assay("oip://127.0.0.1:9/net", &[]));
    says(2, "oip://HOST:PORT/MODEL", assay(&format!("oip://{host}"), &[]));
    says(2, "oip://HOST:PORT/MODEL", assay(&format!("http://{host}/net"), &[]));
    says(2, "--embed hosts models in this process", assay(&endpoint.url(), &["--embed", "deploy/models"]));
    says(2, "no folder no/such", assay(&endpoint.url(), &["--save", "no/such/x.npy"]));
    says(2, "expected LOW,HIGH", assay(&endpoint.url(), &["--range", "1"]));
    let three = ModelMetadataResponse { outputs: vec![], ..metadata(&net, "FP32") };
    let silent = Endpoint::start(&net, three, honest);
    // Labels 0 to 3 do not fit 3 classes.
    fails(
        2,
        "has 3 classes, counted from 0",
        &silent,
        &Data::random(40, &SHAPE, &net, unit),
        &[&square[..], &["--classes", "3"]].concat(),
    );
    assert_eq!((endpoint.seen().requests, silent.seen().requests), (0, 0));
}

#[test]
fn a_port_that_speaks_something_else_is_told_as_such() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let net = net();
    let data = Data::random(4, &SHAPE, &net, unit);
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(["attack", &format!("oip://{address}/net"), "--threat", "Linf:0.1", "--attack", SQUARE, "--data"]);
    let output = command.arg(data.path()).output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("is this the server's gRPC port?"), "{message}");
}

fn interrupt(process: &Child) {
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
}

#[test]
fn an_interrupt_ends_the_attack_with_what_was_found() {
    let net = net();
    let data = Data::random(20, &SHAPE, &net, unit);
    // The 45th request is not answered at all: an interrupt does not wait for it.
    let endpoint = spoiled(&net, 45, |asked| match honest(asked) {
        Answer::Tensor(output, raw) => Answer::Late(Duration::from_secs(600), output, raw),
        other => other,
    });
    let arguments =
        ["--threat", "Linf:0.001", "--attack", "square:queries=8", "--batch", "2", "--skip-checks", "--output", "json"];
    let process = command(&endpoint, &data, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while endpoint.seen().requests < 45 {
        assert!(Instant::now() < deadline, "{:?}", endpoint.seen());
        std::thread::sleep(Duration::from_millis(10));
    }
    interrupt(&process);
    let output = process.wait_with_output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("interrupted"), "{message}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The first group of 8 samples is done with the 40th: 4 batches are asked 10 times each.
    assert_eq!((&answer["robust"], &answer["errors"]), (&8.into(), &12.into()), "{answer}");
    assert_eq!(answer["incomplete"], "the attack was interrupted");
    assert_eq!(endpoint.seen().requests, 45);
}

#[test]
fn its_options_are_refused_for_our_own_models() {
    let net = net();
    let data = Data::random(4, &SHAPE, &net, unit);
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(["attack", "net", "--threat", "Linf:0.1", "--rate", "5", "--data"]).arg(data.path());
    let folder = tempfile::tempdir().unwrap();
    let output = command.arg("--embed").arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--rate is for models on other servers"), "{}", text(&output.stderr));
}
