//! Runs of auto_LiRPA on networks of the verification competitions, with our certificates for the same instances.

use assay_attack::{Bounds, Norm, Threat};
use assay_certify::{Certificate, Certifier, CertifierOptions, Job, Method, Neighbourhood, Until, Verdict};
use assay_graph::Normalization;
use assay_reference::{Array, Material};
use assay_runtime::{Class, ClassifierOptions};
use ndarray::{Array2, Axis};
use serde_json::Value;

use super::{certify, margins, runtime};

/// auto_LiRPA's name of each method.
pub(crate) const NAMES: [(&str, Method); 3] =
    [("IBP", Method::Ibp), ("CROWN-IBP", Method::CrownIbp), ("CROWN", Method::Crown)];

/// Largest difference of margins, relative to the largest of the sample, at least 1: both are in binary32, and the stored ones have five digits.
pub(crate) const TOLERANCE: f64 = 1e-4;

pub(crate) fn flat(array: &Array) -> Array2<f32> {
    let rows = array.dims()[0];
    let numbers: Vec<f32> = array.f64().iter().map(|&x| x as f32).collect();
    let width = numbers.len() / rows.max(1);
    Array2::from_shape_vec((rows, width), numbers).unwrap()
}

/// Where the model of a run lies.
pub(crate) fn file(run: &Value) -> String {
    let model = run["model"].as_str().unwrap();
    match model.strip_prefix("exported/") {
        Some(name) => format!("certified-trained/{name}"),
        None => format!("vnncomp/{model}"),
    }
}

pub(crate) fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|i| usize::try_from(i.as_u64().unwrap()).unwrap()).collect()
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// The pixels in [0, 1] and labels of the first hundred images of CIFAR-10.
pub(crate) fn images(material: &Material) -> (Array2<f32>, Vec<Class>) {
    let all = material.npz("images/cifar10-first100.npz");
    let pixels: Vec<f32> = all.get("pixels_u8").i64s().into_iter().map(|p| p as f32 / 255.0).collect();
    let labels = all.get("label").i64s().into_iter().map(|label| Class(u32::try_from(label).unwrap())).collect();
    (Array2::from_shape_vec((100, 3072), pixels).unwrap(), labels)
}

/// A run of the reference, with our certificates for its first instances.
pub(crate) struct Compared {
    pub(crate) name: String,
    pub(crate) run: Value,
    pub(crate) rows: Vec<usize>,
    pub(crate) certificates: Vec<Certificate>,
}

impl Compared {
    pub(crate) fn new(material: &Material, name: &str, most: usize, methods: &[Method], until: Until) -> Option<Self> {
        let runtime = runtime()?;
        let run = material.json("bounds.json")["runs"][name].clone();
        let mut rows = indices(&run["instance_idx"]);
        rows.truncate(most);
        let mut model = ClassifierOptions::default();
        let pool = name.starts_with("pool");
        if pool {
            model.normalization =
                Some(Normalization { mean: vec![0.485, 0.456, 0.406], std: vec![0.225; 3], axis: None });
        }
        let file = material.path(&file(&run));
        let mut certifier = Certifier::load(&runtime, &file, &model, &CertifierOptions::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (x, labels, threat, boxes);
        let neighbourhood = if pool {
            let (pixels, classes) = images(material);
            x = pixels.select(Axis(0), &rows);
            labels = rows.iter().map(|&i| classes[i]).collect::<Vec<_>>();
            let eps = name.rsplit("eps").next().unwrap().parse().unwrap();
            threat = Threat { norm: Norm::Linf, eps, bounds: Bounds::new(0.0, 1.0).unwrap() };
            Neighbourhood::Threat(&threat)
        } else {
            let folder = run["model"].as_str().unwrap().split('/').next().unwrap().to_owned();
            let instances = material.npz(&format!("vnncomp/{folder}/instances.npz"));
            boxes = ["lower", "upper"].map(|end| flat(instances.get(end)).select(Axis(0), &rows));
            let stored = indices(&run["labels"]);
            labels = stored[..rows.len()].iter().map(|&l| Class(u32::try_from(l).unwrap())).collect();
            x = (&boxes[0] + &boxes[1]) * 0.5;
            Neighbourhood::Boxes { lower: boxes[0].view(), upper: boxes[1].view() }
        };
        let job = Job { images: x.view(), labels: &labels, neighbourhood, methods, until };
        let certificates = certify(&mut certifier, &job);
        Some(Self { name: name.to_owned(), run, rows, certificates })
    }

    /// Checks the margins of all instances, and that what the reference certifies clearly is certified.
    #[track_caller]
    pub(crate) fn check(&self, methods: &[(&str, Method)]) {
        for (reference, method) in methods {
            // This net ends in a MatMul and an Add. Here both are one layer with the specification.
            let merged = *method == Method::Ibp && self.name == MARABOU;
            // The reference bounds several samples at a time by CROWN, and then all elements that intervals leave open in any of them. CROWN may leave
            // more open than intervals do, so that a sample's bounds are looser in company; here they are what they are alone.
            let in_company = *method == Method::Crown && self.certificates.len() > 2;
            let tighter = merged || in_company;
            let expected = self.run["results"][reference]["margins"].as_array().unwrap();
            let (mut worst, mut certified) = (0.0f64, 0);
            for (i, (certificate, expected)) in self.certificates.iter().zip(expected).enumerate() {
                if certificate.verdict == Verdict::Misclassified {
                    continue;
                }
                let (found, expected) = (margins(certificate, *method), numbers(expected));
                let largest = expected.iter().fold(1.0f64, |most, x| most.max(x.abs()));
                for (found, expected) in found.iter().zip(&expected) {
                    let difference = (f64::from(*found) - expected) / largest;
                    worst = worst.max(difference.abs());
                    assert!(
                        difference.abs() <= TOLERANCE || (tighter && difference > 0.0),
                        "{}, {method}: a margin of instance {} is {found}, not {expected}",
                        self.name,
                        self.rows[i]
                    );
                }
                let bounds = certificate.bounds.iter().find(|b| b.method == *method).unwrap();
                let least = expected.iter().copied().fold(f64::INFINITY, f64::min);
                certified += usize::from(bounds.certify());
                if least > 2.0 * f64::from(bounds.slack) {
                    assert!(bounds.certify(), "{}, {method}: instance {} is not certified", self.name, self.rows[i]);
                }
                assert!(
                    !bounds.certify() || least > 0.0 || tighter,
                    "{}, {method}: instance {}",
                    self.name,
                    self.rows[i]
                );
            }
            println!(
                "{}, {method}: {certified}/{} certified, margins to {worst:.1e}",
                self.name,
                self.certificates.len()
            );
        }
    }

    /// Checks that no certified instance is known to have a counterexample.
    #[track_caller]
    pub(crate) fn check_truth(&self, material: &Material) {
        let folder = self.run["model"].as_str().unwrap().split('/').next().unwrap();
        let truth = std::fs::read_to_string(material.path(&format!("vnncomp/{folder}/truth.csv"))).unwrap();
        let truth: Vec<&str> = truth.lines().skip(1).map(|line| line.rsplit(',').next().unwrap()).collect();
        for (certificate, &row) in self.certificates.iter().zip(&self.rows) {
            let certified = certificate.verdict == Verdict::Certified;
            assert!(!(certified && truth[row].starts_with("sat")), "{}: instance {row} is {}", self.name, truth[row]);
        }
    }
}

pub(crate) const RUNS: [&str; 6] = [
    "oval21|cifar_base_kw|spec",
    "cifar10_resnet|resnet_2b|spec",
    "mnistfc_2022seed|mnist-net_256x2|spec",
    "verivital|avgpool|spec",
    "verivital|maxpool|spec",
    "sri_resnet_a|spec",
];
pub(crate) const MARABOU: &str = "marabou-cifar10|small|spec(untargeted)";
pub(crate) const POOLS: [&str; 3] = [
    "pool80|cifar_base_kw|eps2/255",
    "pool100|exported/convexadv_cifar_small_8px|eps8/255",
    "pool100|exported/convexadv_cifar_small_8px|eps2/255",
];

pub(crate) fn all_methods() -> Vec<Method> {
    NAMES.iter().map(|(_, method)| *method).collect()
}
