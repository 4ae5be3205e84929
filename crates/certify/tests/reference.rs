//! Bounds against those of auto_LiRPA, an independent IBP in binary64, and what is known of the instances, on networks of the verification
//! competitions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use assay_attack::{Bounds, Norm, Threat};
use assay_certify::{Certifier, CertifierOptions, Job, Method, Neighbourhood, Until, Verdict};
use assay_graph::Normalization;
use assay_reference::material;
use assay_runtime::ClassifierOptions;
use ndarray::Axis;
use support::compared::{Compared, MARABOU, NAMES, POOLS, RUNS, TOLERANCE, all_methods, flat, images, numbers};
use support::{certify, margins, runtime};

#[test]
fn margins_are_those_of_the_reference() {
    let Some(material) = material() else { return };
    for name in RUNS.into_iter().chain([MARABOU]).chain(POOLS) {
        let most = if name.contains("resnet") { 1 } else { 2 };
        let Some(compared) = Compared::new(&material, name, most, &all_methods(), Until::All) else { return };
        compared.check(&NAMES);
    }
}

#[test]
fn intervals_are_those_of_binary64() {
    let Some(material) = material() else { return };
    let reference = material.json("ibp_float64.json");
    for (name, expected) in reference.as_object().unwrap() {
        let Some(compared) = Compared::new(&material, name, usize::MAX, &[Method::Ibp], Until::All) else { return };
        let expected = numbers(&expected["merged_min_margin"]);
        for (i, (certificate, expected)) in compared.certificates.iter().zip(expected).enumerate() {
            let found = margins(certificate, Method::Ibp).iter().copied().fold(f32::INFINITY, f32::min);
            let difference = (f64::from(found) - expected).abs() / expected.abs().max(1.0);
            assert!(difference <= TOLERANCE, "{name}: instance {i} has a least margin of {found}, not {expected}");
        }
    }
}

#[test]
fn intermediate_bounds_are_those_of_the_reference() {
    let (Some(material), Some(runtime)) = (material(), runtime()) else { return };
    let reference = material.npz("intermediate_bounds.npz");
    for (net, file, fast) in [
        ("cifar_base_kw", "oval21/cifar_base_kw", true),
        ("resnet_2b", "cifar10_resnet/resnet_2b", false),
        ("convnet_avgpool", "verivital/Convnet_avgpool", true),
        ("convnet_maxpool", "verivital/Convnet_maxpool", true),
    ] {
        let folder = file.split('/').next().unwrap();
        let instances = material.npz(&format!("vnncomp/{folder}/instances.npz"));
        let rows = reference.get(&format!("{net}|instances")).i64s();
        let file = material.path(&format!("vnncomp/{file}.onnx"));
        let options = ClassifierOptions::default();
        let mut certifier = Certifier::load(&runtime, &file, &options, &CertifierOptions::default()).unwrap();
        for (name, method) in NAMES {
            let prefix = format!("{net}|{name}|");
            let mut tensors: Vec<&str> =
                reference.names().filter(|n| n.starts_with(&prefix) && !n.ends_with("margins_f64")).collect();
            // In the order of the model: "/input", "/input-8", "/input-12".
            tensors.sort_by_key(|n| n.rsplit_once('-').and_then(|(_, i)| i.parse::<u32>().ok()).unwrap_or(0));
            let samples = if fast { rows.len() } else { 1 };
            for (sample, &row) in rows.iter().enumerate().take(samples) {
                let row = usize::try_from(row).unwrap();
                let [lower, upper] = ["lower", "upper"].map(|end| flat(instances.get(end)).select(Axis(0), &[row]));
                let middle = (&lower + &upper) * 0.5;
                let around = Neighbourhood::Boxes { lower: lower.view(), upper: upper.view() };
                let found = certifier.intermediate(&around, &middle.view(), method).unwrap();
                let mut found = found.into_iter();
                for tensor in &tensors {
                    let expected = reference.get(tensor).f64();
                    let elements = expected.len() / expected.shape()[0] / expected.shape()[1];
                    let (value, ends) =
                        found.find(|(_, ends)| ends[0].len() == elements).unwrap_or_else(|| panic!("{tensor}"));
                    let of = |end| expected.index_axis(Axis(0), end).index_axis(Axis(0), sample).to_owned();
                    let (lower, upper) = (of(0), of(1));
                    let largest = lower.iter().chain(&upper).fold(1.0f64, |most, x| most.max(x.abs()));
                    for (at, (low, high)) in lower.iter().zip(&upper).enumerate() {
                        let found = [0, 1].map(|end: usize| f64::from(ends[end].as_slice().unwrap()[at]));
                        let close = (found[0] - low).abs().max((found[1] - high).abs()) <= TOLERANCE * largest;
                        // Where intervals settle the sign nothing else is computed: either interval may be the narrower one.
                        let settled = found[0] >= 0.0 || found[1] <= 0.0;
                        let slack = TOLERANCE * largest;
                        let overlap = found[0] <= high + slack && *low <= found[1] + slack;
                        assert!(
                            close || (method == Method::Crown && settled && overlap),
                            "{tensor} (\"{value}\"), instance {row}, element {at}: {found:?}, not {:?}",
                            [low, high]
                        );
                    }
                }
            }
        }
    }
}

/// On these images the best attack leaves as many as can be certified: one more certificate would be wrong, one fewer loose.
#[test]
fn certificates_and_attacks_meet_on_a_net_that_was_trained_for_it() {
    let (Some(material), Some(runtime)) = (material(), runtime()) else { return };
    let (x, labels) = images(&material);
    let normalization = Some(Normalization { mean: vec![0.485, 0.456, 0.406], std: vec![0.225; 3], axis: None });
    let model = ClassifierOptions { normalization, ..ClassifierOptions::default() };
    let file = material.path("certified-trained/convexadv_cifar_small_8px.onnx");
    let mut certifier = Certifier::load(&runtime, &file, &model, &CertifierOptions::default()).unwrap();
    for (eps, expected) in [("8/255", 33), ("2/255", 39)] {
        let threat = Threat { norm: Norm::Linf, eps: eps.parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() };
        let job = Job {
            images: x.view(),
            labels: &labels,
            neighbourhood: Neighbourhood::Threat(&threat),
            methods: &[Method::Ibp, Method::CrownIbp, Method::Crown],
            until: Until::Certified,
        };
        let found = certify(&mut certifier, &job);
        let count = |verdict: Verdict| found.iter().filter(|c| c.verdict == verdict).count();
        assert_eq!((count(Verdict::Certified), count(Verdict::Misclassified)), (expected, 60), "{eps}");
        assert!(found.iter().all(|c| !matches!(c.verdict, Verdict::Failed(_))));
        // Four of them have no gradient at all, because the net is constant there: this is proved, and no masking.
        for constant in [29, 30, 41, 49] {
            assert_eq!(found[constant].verdict, Verdict::Certified, "image {constant} at {eps}");
        }
    }
}
