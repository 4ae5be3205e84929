//! `assay transfer`: what is found on one model, shown to others of this server and of another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value, missing_docs)]
#[allow(dead_code)]
mod endpoint;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assay_data::{DataSource, Dataset};
use ndarray::{Array1, Array2, ArrayD, ArrayView1, Axis};
use serde_json::Value;

use crate::endpoint::{Answer, Asked, Endpoint, Net, metadata, tensor};

const DATA: &str = "deploy/data/fashion-mnist";
const SAMPLES: usize = 60;
const COMMON: [&str; 8] = ["--embed", "deploy/models", "--data", DATA, "--samples", "60", "--threat", "Linf:0.05"];

fn assay(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Command::new(env!("CARGO_BIN_EXE_assay")).current_dir(root).args(arguments).output().unwrap()
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = assay(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeds(&[&["--output", "json"], arguments].concat())).unwrap()
}

#[track_caller]
fn fails(says: &str, arguments: &[&str]) {
    let output = assay(&[arguments, &COMMON].concat());
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(says), "expected \"{says}\" in: {message}");
}

/// Samples and misled ones of what was made on the first model and shown to the second.
fn shown(answer: &Value, on: usize, to: usize) -> [u64; 2] {
    let cell = &answer["made_on"][on]["shown_to"][to];
    ["samples", "misled"].map(|name| cell[name].as_u64().unwrap())
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(DATA)
}

/// The first samples of the data set, and their labels.
fn clean() -> (ArrayD<f32>, Vec<u32>) {
    let set = Dataset::open(&DataSource::new(data()), Some(SAMPLES)).unwrap();
    let images = set.samples().to_shape((SAMPLES, 1, 28, 28)).unwrap().into_owned().into_dyn();
    (images, set.labels().iter().map(|class| class.0).collect())
}

/// The classes that a model predicts for images in a file, by another command.
fn predicted(model: &str, images: &ArrayD<f32>, labels: &[u32], folder: &Path) -> Vec<u64> {
    let file = folder.join("images.npz");
    let mut archive = ndarray_npy::NpzWriter::new(std::fs::File::create(&file).unwrap());
    archive.add_array("images", images).unwrap();
    archive.add_array("labels", &Array1::from_vec(labels.to_vec())).unwrap();
    archive.finish().unwrap();
    let answer = json(&["--embed", "deploy/models", "predict", model, "--data", file.to_str().unwrap()]);
    answer["predictions"].as_array().unwrap().iter().map(|p| p["classes"][0]["class"].as_u64().unwrap()).collect()
}

#[test]
fn each_cell_is_what_the_commands_say_one_after_the_other() {
    let models = ["fashion-dense", "fashion-filter-pruned", "fashion-robust"];
    let answer = json(&[&["transfer"], &models[..], &COMMON].concat());
    assert_eq!((answer["samples"].as_u64(), answer["attack"].as_str()), (Some(60), Some("mi-fgsm:keep=best")));

    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("adversarial.npy");
    let attack = ["--attack", "mi-fgsm:keep=best", "--save", saved.to_str().unwrap()];
    let mut others = vec![vec![false; SAMPLES]; models.len()];
    let mut right = Vec::new();
    for (on, model) in models.iter().enumerate() {
        let made = json(&[&["attack", model], &COMMON[..], &attack].concat());
        let outcomes = made["outcomes"].as_array().unwrap();
        let labels: Vec<u32> = outcomes.iter().map(|o| o["label"].as_u64().unwrap() as u32).collect();
        if right.is_empty() {
            let (clean, _) = clean();
            let is_right = |(class, label): (&u64, &u32)| *class == u64::from(*label);
            right = models
                .map(|m| {
                    predicted(m, &clean, &labels, folder.path()).iter().zip(&labels).map(is_right).collect::<Vec<_>>()
                })
                .to_vec();
        }
        let images: ArrayD<f32> = ndarray_npy::read_npy(&saved).unwrap();
        for (to, judge) in models.iter().enumerate() {
            let mut expected = [0, 0];
            for (i, class) in predicted(judge, &images, &labels, folder.path()).into_iter().enumerate() {
                if outcomes[i]["outcome"] == "broken" && right[to][i] {
                    let misled = class != u64::from(labels[i]);
                    expected = [expected[0] + 1, expected[1] + u64::from(misled)];
                    others[to][i] |= misled && on != to;
                }
            }
            assert_eq!(shown(&answer, on, to), expected, "made on {model}, shown to {judge}");
        }
        let broken = answer["made_on"][on]["broken"].as_u64().unwrap();
        assert_eq!(shown(&answer, on, on), [broken, broken], "what misled {model} misleads it again");
    }
    for (i, model) in answer["models"].as_array().unwrap().iter().enumerate() {
        assert_eq!(model["right"].as_u64(), Some(right[i].iter().filter(|right| **right).count() as u64));
        let withstood = right[i].iter().zip(&others[i]).filter(|(right, misled)| **right && !**misled).count();
        assert_eq!(model["right_under_the_others"].as_u64(), Some(withstood as u64), "{model}");
    }
    let [samples, misled] = shown(&answer, 0, 1);
    assert!(samples > 30 && misled > 5, "a model and its pruned variant share weaknesses: {answer}");
}

#[test]
fn strong_adversarial_samples_mislead_others_more() {
    let misled = |attack: &str| {
        let models = ["transfer", "fashion-dense", "--to", "fashion-filter-pruned", "--attack", attack];
        shown(&json(&[&models, &COMMON[..]].concat()), 0, 1)
    };
    let ([samples, first], [same, best]) = (misled("mi-fgsm"), misled("mi-fgsm:keep=best"));
    assert!(samples > 30 && samples == same && best > first, "{first} and {best} of {samples}");
}

#[test]
fn a_target_counts_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("adversarial.npy");
    // What barely reaches a class on one model is another class on others.
    let order = ["--target", "6", "--threat", "Linf:0.1", "--attack", "mi-fgsm"];
    let save = ["attack", "fashion-dense", "--save", saved.to_str().unwrap()];
    let made = json(&[&save[..], &order, &COMMON[..6]].concat());
    let answer = json(&[&["transfer", "fashion-dense", "fashion-filter-pruned"][..], &order, &COMMON[..6]].concat());
    assert!(made["left_out"].as_u64().unwrap() > 0 && made["left_out"] == answer["made_on"][0]["left_out"]);
    assert_eq!(answer["samples"].as_u64().unwrap() + made["left_out"].as_u64().unwrap(), 60);

    let (clean, labels) = clean();
    let right = predicted("fashion-filter-pruned", &clean, &labels, folder.path());
    let classes = predicted("fashion-filter-pruned", &ndarray_npy::read_npy(&saved).unwrap(), &labels, folder.path());
    let (mut expected, mut elsewhere) = ([0, 0], 0);
    for outcome in made["outcomes"].as_array().unwrap() {
        let i = outcome["sample"].as_u64().unwrap() as usize;
        if outcome["outcome"] == "broken" && right[i] == u64::from(labels[i]) {
            expected = [expected[0] + 1, expected[1] + u64::from(classes[i] == 6)];
            elsewhere += u64::from(classes[i] != 6 && classes[i] != u64::from(labels[i]));
        }
    }
    assert_eq!(shown(&answer, 0, 1), expected);
    assert!(elsewhere > 0, "some are misled to another class, which does not count");
}

/// Logits of the class whose mean image is nearest.
fn nearest(means: &Array2<f32>, x: ArrayView1<'_, f32>) -> Vec<f32> {
    means.rows().into_iter().map(|mean| mean.dot(&x) - 0.5 * mean.dot(&mean)).collect()
}

#[test]
fn what_is_found_here_is_shown_to_a_model_elsewhere() {
    let set = Dataset::open(&DataSource::new(data()), Some(1000)).unwrap();
    let rows = |class: u32| (0..1000).filter(|&i| set.labels()[i].0 == class).collect::<Vec<_>>();
    let mut means = Array2::zeros((10, 784));
    for class in 0..10 {
        means.row_mut(class as usize).assign(&set.samples().select(Axis(0), &rows(class)).mean_axis(Axis(0)).unwrap());
    }
    let net = Net::random(&[1, 28, 28], 10, 1.0);
    let theirs = means.clone();
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), move |asked: Asked<'_>| {
        let logits: Vec<f32> = asked.rows.rows().into_iter().flat_map(|x| nearest(&theirs, x)).collect();
        Answer::Tensor(tensor("FP32", &[asked.rows.nrows(), 10]), logits.iter().flat_map(|v| v.to_le_bytes()).collect())
    });

    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("adversarial.npy");
    let threat = ["--threat", "Linf:0.2", "--attack", "bim:keep=best"];
    let made =
        json(&[&["attack", "fashion-robust", "--save", saved.to_str().unwrap()], &COMMON[..6], &threat].concat());
    let images: ArrayD<f32> = ndarray_npy::read_npy(&saved).unwrap();
    let images = images.to_shape((SAMPLES, 784)).unwrap();
    let class = |x| nearest(&means, x).iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as u32;
    let mut expected = [0, 0];
    for (i, outcome) in made["outcomes"].as_array().unwrap().iter().enumerate() {
        if outcome["outcome"] == "broken" && class(set.samples().row(i)) == set.labels()[i].0 {
            expected = [expected[0] + 1, expected[1] + u64::from(class(images.row(i)) != set.labels()[i].0)];
        }
    }
    let url = endpoint.url();
    let transfer = ["transfer", "fashion-robust", "--to", &url, "--batch", "7"];
    let answer = json(&[&transfer, &COMMON[..6], &threat].concat());
    assert_eq!(shown(&answer, 0, 1), expected);
    assert!(expected[1] > 0 && expected[1] < expected[0], "{expected:?}");
    assert_eq!(endpoint.seen().largest, 7);
    let table = succeeds(&[&transfer, &COMMON[..6], &threat].concat());
    let sent = endpoint.seen().samples / 2;
    assert!(table.contains("not attacked") && table.contains(&format!("{sent} samples sent to {url} in ")), "{table}");
}

#[test]
fn models_that_cannot_be_compared_are_refused() {
    fails("name another model beside fashion-dense", &["transfer", "fashion-dense"]);
    fails("fashion-dense is named twice", &["transfer", "fashion-dense", "--to", "fashion-dense"]);
    fails("--to oip://127.0.0.1:1/x", &["transfer", "oip://127.0.0.1:1/x", "fashion-dense"]);
    fails(
        "--rate is for models on other servers",
        &["transfer", "fashion-dense", "fashion-filter-pruned", "--rate", "7"],
    );
    fails("no model `nobody`", &["transfer", "fashion-dense", "--to", "nobody"]);
    let net = Net::random(&[1, 28, 28], 4, 1.0);
    let endpoint = Endpoint::start(&net, metadata(&net, "FP32"), endpoint::honest);
    fails("has 4 classes, counted from 0", &["transfer", "fashion-dense", "--to", &endpoint.url()]);
}
