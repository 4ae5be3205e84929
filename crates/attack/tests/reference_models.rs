//! PGD on real networks, against the counts that PyTorch programs reached on the same images.
//!
//! Clean counts must be equal. Robust counts may be lower, and higher by one in a hundred samples at most.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::num::NonZeroUsize;

use assay_attack::{
    AdversarialPatch, Attack, Attacked, Bounds, Budget, Cancel, Goal, Job, Noise, Norm, Outcome, Pgd, SampleId, Start,
    StepSize, Suite, Threat, Universal, parse, run,
};
use assay_graph::{Canonical, Normalization, preprocess};
use assay_reference::{Material, fashion_mnist, material, skip};
use assay_runtime::{Class, Classifier, ClassifierOptions, Library, OnnxClassifier, OnnxRuntime};
use ndarray::Array2;

struct Data {
    images: Array2<f32>,
    labels: Vec<Class>,
}

impl Data {
    fn first(&self, n: usize) -> Self {
        Self { images: self.images.slice(ndarray::s![..n, ..]).to_owned(), labels: self.labels[..n].to_vec() }
    }

    fn attack(&self, classifier: &dyn Classifier, attack: &dyn Attack, norm: Norm, eps: &str) -> Attacked {
        let threat = Threat { norm, eps: eps.parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() };
        let ids: Vec<_> = (0..self.labels.len() as u64).map(SampleId).collect();
        let job = Job {
            classifier,
            attack,
            threat: &threat,
            goal: &Goal::Untargeted,
            images: self.images.view(),
            labels: &self.labels,
            ids: &ids,
            seed: 0,
            batch: NonZeroUsize::new(64).unwrap(),
            budget: Budget::default(),
            eight_bit: false,
            checks: false,
        };
        let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
        for (i, outcome) in attacked.outcomes.iter().enumerate().filter(|(_, o)| o.outcome == Outcome::Broken) {
            let (x, point) = (self.images.row(i), attacked.adversarial.row(i));
            assert!(threat.allows(x.as_slice().unwrap(), point.as_slice().unwrap()), "{outcome:?}");
        }
        assert_eq!(attacked.count(Outcome::Error), 0);
        attacked
    }
}

fn correct(attacked: &Attacked) -> usize {
    attacked.outcomes.iter().filter(|o| o.clean_prediction == Some(o.label)).count()
}

fn runtime() -> Option<OnnxRuntime> {
    OnnxRuntime::load(&Library::default()).inspect_err(|e| skip(&e.to_string())).ok()
}

/// The first 1,000 test images.
fn fashion() -> Data {
    let (images, labels) = fashion_mnist(1000);
    Data { images, labels: labels.into_iter().map(Class).collect() }
}

/// The first 100 test images.
fn cifar(material: &Material) -> Data {
    let npz = material.npz("images/cifar10-first100.npz");
    let pixels = npz.get("pixels_u8").i64s().into_iter().map(|v| v as f32 / 255.0).collect();
    let labels = npz.get("label").i64s().into_iter().map(|v| Class(v as u32)).collect();
    Data { images: Array2::from_shape_vec((100, 3072), pixels).unwrap(), labels }
}

/// Instances of a verification benchmark: clean images with their labels, and the boxes that the perturbed ones must lie in.
struct Instances {
    data: Data,
    lower: Array2<f32>,
    upper: Array2<f32>,
}

fn instances(material: &Material, benchmark: &str, rows: &[usize]) -> Instances {
    let npz = material.npz(&format!("vnncomp/{benchmark}/instances.npz"));
    let matrix = |name: &str, scale: f32, rows: &[usize]| {
        let numbers = npz.get(name).to_tensor().to_f64().unwrap();
        let features = numbers.len() / npz.get(name).dims()[0];
        let row = |&i: &usize| numbers[i * features..(i + 1) * features].iter().map(move |v| *v as f32 / scale);
        Array2::from_shape_vec((rows.len(), features), rows.iter().flat_map(row).collect()).unwrap()
    };
    let of = |name: &str| npz.get(name).i64s();
    let images: Vec<_> = rows.iter().map(|&i| of("image_index")[i] as usize).collect();
    let labels = rows.iter().map(|&i| Class(of("label")[i] as u32)).collect();
    Instances {
        data: Data { images: matrix("pixels_u8", 255.0, &images), labels },
        lower: matrix("lower", 1.0, rows),
        upper: matrix("upper", 1.0, rows),
    }
}

const FASHION: [&str; 4] = ["fashion-dense", "fashion-pruned", "fashion-robust", "fashion-robust-pruned"];

/// PGD-40 as the reference ran it: one random start and steps of eps / 10 for the maximum norm, from the image for the other.
fn reference_pgd(norm: Norm) -> Pgd {
    if norm == Norm::Linf {
        Pgd { step: StepSize::Fixed(0.01), ..Pgd::default() }
    } else {
        Pgd { step: StepSize::Fixed(0.1), start: Start::Image, ..Pgd::default() }
    }
}

/// All models, on 1,000 images, in both norms.
#[test]
#[ignore = "slow: make test-all"]
fn slow_fashion_models_are_as_robust_as_in_the_reference() {
    let (Some(runtime), Some(material)) = (runtime(), material()) else { return };
    let (data, reference) = (fashion(), material.json("models_results.json"));
    for name in FASHION {
        let file = material.path(&format!("models/{name}.onnx"));
        let model = OnnxClassifier::load(&runtime, &file, &ClassifierOptions::default()).unwrap();
        for (norm, eps, key) in [(Norm::Linf, "0.1", "pgd40_linf_0.1_robust"), (Norm::L2, "1", "pgd40_l2_1.0_robust")] {
            let expected = |key: &str| reference[name][key].as_u64().unwrap() as usize;
            let attacked = data.attack(&model, &reference_pgd(norm), norm, eps);
            let (robust, unstable) = (attacked.count(Outcome::Robust), attacked.count(Outcome::Unstable));
            println!("{name} {norm} {eps}: {robust} robust, {unstable} unstable; reference {}", expected(key));
            assert_eq!(correct(&attacked), expected("clean_correct"), "{name}");
            assert!(robust <= expected(key) + 10, "{name} {norm}");
            assert!(unstable <= 2, "{name} {norm}");
        }
    }
}

/// The first 200 images: AutoAttack, which is stronger, says of each whether it is robust.
#[test]
fn a_robust_model_is_as_robust_as_in_the_reference() {
    let (Some(runtime), Some(material)) = (runtime(), material()) else { return };
    let reference = &material.json("models_results.json")["fashion-robust"]["autoattack_standard_linf_0.1_first200"];
    let model =
        OnnxClassifier::load(&runtime, &material.path("models/fashion-robust.onnx"), &ClassifierOptions::default())
            .unwrap();
    let attacked = fashion().first(200).attack(&model, &reference_pgd(Norm::Linf), Norm::Linf, "0.1");
    let (robust, autoattack) = (attacked.count(Outcome::Robust), reference["robust"].as_u64().unwrap() as usize);
    println!("fashion-robust: PGD-40 leaves {robust} of 200, AutoAttack {autoattack}");
    let flags = reference["flags"].as_str().unwrap().bytes();
    // What PGD breaks, AutoAttack breaks: at most a borderline sample differs.
    let only_pgd =
        attacked.outcomes.iter().zip(flags).filter(|(o, f)| o.outcome == Outcome::Broken && *f == b'1').count();
    assert!(only_pgd <= 1 && robust >= autoattack - 1 && robust <= autoattack + 4, "{only_pgd} {robust} {autoattack}");
}

/// What was made from the first hundred images misleads on the second hundred, where a random perturbation of that length does not.
#[test]
fn one_perturbation_misleads_on_images_that_it_was_not_made_from() {
    let (Some(runtime), Some(material)) = (runtime(), material()) else { return };
    let model =
        OnnxClassifier::load(&runtime, &material.path("models/fashion-dense.onnx"), &ClassifierOptions::default())
            .unwrap();
    let data = fashion().first(200);
    let universal = data.attack(&model, &Universal::default(), Norm::Linf, "0.1");
    let noise = data.attack(&model, &Noise { queries: 1, ..Noise::default() }, Norm::Linf, "0.1");
    let (broken, by_noise) = (universal.count(Outcome::Broken), noise.count(Outcome::Broken));
    println!("fashion-dense: one perturbation breaks {broken} of 100, noise {by_noise} of 200");
    assert_eq!(universal.count(Outcome::Fitted), 100);
    assert!(broken > 70 && by_noise < 10, "{broken} {by_noise}");
}

/// Wherever it is put, turned and scaled: far more than a random picture at places drawn in the same way.
#[test]
#[ignore = "slow: make test-all"]
fn slow_one_patch_misleads_on_images_that_it_was_not_made_from() {
    let (Some(runtime), Some(material)) = (runtime(), material()) else { return };
    let model =
        OnnxClassifier::load(&runtime, &material.path("models/fashion-dense.onnx"), &ClassifierOptions::default())
            .unwrap();
    let data = fashion().first(200);
    let [made, drawn] = [200, 0].map(|steps| {
        let patch = AdversarialPatch { steps, ..AdversarialPatch::default() };
        data.attack(&model, &patch, Norm::L0, "inf").count(Outcome::Broken)
    });
    println!("fashion-dense: one patch breaks {made} of 100, a random picture {drawn}");
    assert!(made > 15 && made >= 2 * drawn, "{made} {drawn}");
}

/// Nets of the verification competition that take pixels: their files take normalised images, and the perturbation is one of pixels.
fn competition(runtime: &OnnxRuntime, material: &Material) -> Vec<(&'static str, OnnxClassifier)> {
    let half = ([0.485, 0.456, 0.406], [0.225; 3]);
    let files = [
        ("cifar_base_kw", "vnncomp/oval21/cifar_base_kw.onnx", half),
        ("resnet_2b", "vnncomp/cifar10_resnet/resnet_2b.onnx", ([0.4914, 0.4822, 0.4465], [0.2471, 0.2435, 0.2616])),
        ("convexadv_cifar_small_8px", "certified-trained/convexadv_cifar_small_8px.onnx", half),
    ];
    let host = |(name, file, (mean, std)): (_, &str, ([f32; 3], [f32; 3]))| {
        let normalization = Normalization { mean: mean.to_vec(), std: std.to_vec(), axis: Some(1) };
        let pixels = preprocess(&Canonical::new(material.model(file)).unwrap(), &normalization).unwrap();
        let model = OnnxClassifier::from_bytes(runtime, &pixels.to_bytes(), &ClassifierOptions::default()).unwrap();
        (name, model)
    };
    files.map(host).into()
}

#[test]
fn models_of_the_verification_competition_are_as_robust_as_in_the_reference() {
    let (Some(runtime), Some(material)) = (runtime(), material()) else { return };
    let (data, reference) = (cifar(&material), material.json("attacks.json"));
    for (name, model) in competition(&runtime, &material) {
        for eps in ["2/255", "8/255"] {
            let run = &reference["runs"][format!("{name}|eps{eps}|n100")];
            let expected = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
            let attacked = data.attack(&model, &Pgd::default(), Norm::Linf, eps);
            let robust = attacked.count(Outcome::Robust);
            let (pgd, autoattack) = (expected(&run["pgd40_ce"]["robust"]), expected(&run["autoattack"]["robust"]));
            println!("{name} {eps}: {robust} robust of 100; reference PGD-40 {pgd}, AutoAttack {autoattack}");
            assert_eq!(correct(&attacked), expected(&run["clean_correct"]), "{name}");
            assert!(robust <= pgd + 1 && robust >= autoattack, "{name} {eps}");
        }
    }
}

/// AutoAttack's robust samples, one by one, against the original's: of a hundred at most one may be robust only here, or only there.
#[allow(clippy::print_stdout, reason = "what was compared")]
fn compare_robust_sets(name: &str, attacked: &Attacked, robust_there: &[bool]) {
    let here = attacked.outcomes.iter().map(|o| o.outcome == Outcome::Robust);
    let (mut only_here, mut only_there) = (0, 0);
    for (here, &there) in here.zip(robust_there) {
        only_here += usize::from(here && !there);
        only_there += usize::from(there && !here);
    }
    let robust = attacked.count(Outcome::Robust);
    println!(
        "{name}: {robust} robust of {}, only here {only_here}, only there {only_there}, unstable {}; {} queries, {} gradients",
        robust_there.len(),
        attacked.count(Outcome::Unstable),
        attacked.cost.queries,
        attacked.cost.gradients
    );
    let hundreds = robust_there.len().div_ceil(100);
    assert!(only_here <= hundreds && only_there <= hundreds, "{name}: {only_here} only here, {only_there} only there");
}

#[test]
#[ignore = "slow: make test-all"]
fn slow_autoattack_leaves_the_fashion_samples_that_the_original_leaves() {
    let (Some(runtime), Some(material)) = (runtime(), material()) else { return };
    let (data, reference) = (fashion().first(100), material.json("models_results.json"));
    for name in FASHION {
        let file = material.path(&format!("models/{name}.onnx"));
        let model = OnnxClassifier::load(&runtime, &file, &ClassifierOptions::default()).unwrap();
        let flags = reference[name]["autoattack_standard_linf_0.1_first200"]["flags"].as_str().unwrap();
        let there: Vec<bool> = flags.bytes().take(100).map(|flag| flag == b'1').collect();
        let attacked = data.attack(&model, &Suite::named("autoattack-standard").unwrap(), Norm::Linf, "0.1");
        compare_robust_sets(name, &attacked, &there);
    }
}

/// Attacks that see gradients, logits, the predicted class, and nothing, each leave at least what the ones before leave. Not where gradients are masked, as those
/// of `fashion-robust` are in the Euclidean norm.
#[test]
#[ignore = "slow: make test-all"]
fn slow_attacks_that_see_less_leave_more() {
    let (Some(runtime), Some(material)) = (runtime(), material()) else { return };
    let data = fashion().first(25);
    let queries = [("queries".to_owned(), "1000".to_owned())];
    for (name, norm, eps) in
        [("fashion-dense", Norm::Linf, "0.1"), ("fashion-dense", Norm::L2, "1"), ("fashion-robust", Norm::Linf, "0.1")]
    {
        let file = material.path(&format!("models/{name}.onnx"));
        let model = OnnxClassifier::load(&runtime, &file, &ClassifierOptions::default()).unwrap();
        let left = |name: &str, parameters: &[(String, String)]| {
            let attack = parse(name, parameters).unwrap();
            let defined = attack.description().norms.contains(&norm);
            defined.then(|| data.attack(&model, &*attack, norm, eps).count(Outcome::Robust))
        };
        let (gradients, logits) = (left("apgd-t", &[]).unwrap(), left("square", &queries).unwrap());
        let class = ["hopskipjump", "geoda", "boundary"].map(|name| left(name, &queries));
        let nothing = left("noise", &queries).unwrap();
        println!("{name} {norm} {eps}: {gradients} {logits} {class:?} {nothing}");
        let of_class = class.into_iter().flatten().min().unwrap();
        assert!(gradients <= logits && logits <= of_class && of_class < nothing, "{name} {norm}");
    }
}

#[test]
#[ignore = "slow: make test-all"]
fn slow_autoattack_leaves_the_cifar_samples_that_the_original_leaves() {
    let (Some(runtime), Some(material)) = (runtime(), material()) else { return };
    let (data, reference) = (cifar(&material), material.json("attacks.json"));
    for (name, model) in competition(&runtime, &material) {
        for eps in ["8/255", "2/255"] {
            let run = &reference["runs"][format!("{name}|eps{eps}|n100")]["autoattack"];
            let there: Vec<bool> =
                run["flags"].as_array().unwrap().iter().map(|flag| flag.as_u64() == Some(1)).collect();
            let attacked = data.attack(&model, &Suite::named("autoattack-standard").unwrap(), Norm::Linf, eps);
            compare_robust_sets(&format!("{name} {eps}"), &attacked, &there);
        }
    }
}

/// What a complete verifier proved robust is never broken; of the rest, as much as the reference breaks.
#[test]
fn instances_of_the_verification_competition_are_broken_only_where_that_is_possible() {
    let (Some(runtime), Some(material)) = (runtime(), material()) else { return };
    let reference = material.json("attacks.json");
    for (benchmark, key, model, eps) in [
        ("mnistfc", "mnistfc_2022seed", "mnist-net_256x2.onnx", "0.03"),
        ("mnistfc", "mnistfc_2022seed", "mnist-net_256x2.onnx", "0.05"),
        ("verivital", "verivital", "Convnet_avgpool.onnx", "0.02"),
        ("verivital", "verivital", "Convnet_avgpool.onnx", "0.04"),
        ("verivital", "verivital", "Convnet_maxpool.onnx", "0.004"),
    ] {
        let run = &reference["runs"][format!("{benchmark}/{key}|{model}|eps{eps}")];
        let expected = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
        let rows: Vec<_> = run["instances"].as_array().unwrap().iter().map(expected).collect();
        let proved: Vec<_> = run["truth"].as_array().unwrap().iter().map(|truth| truth == "unsat").collect();
        let Instances { data, lower, upper } = instances(&material, benchmark, &rows);
        let file = material.path(&format!("vnncomp/{benchmark}/{model}"));
        let classifier = OnnxClassifier::load(&runtime, &file, &ClassifierOptions::default()).unwrap();
        let attacked = data.attack(&classifier, &Pgd::default(), Norm::Linf, eps);
        let robust = attacked.count(Outcome::Robust);
        let (pgd, least) = (expected(&run["pgd40_ce"]["robust"]), proved.iter().filter(|p| **p).count());
        println!("{model} {eps}: {robust} robust of {}; reference PGD-40 {pgd}, proved {least}", rows.len());
        assert_eq!(correct(&attacked), expected(&run["clean_correct"]), "{model} {eps}");
        assert!(robust <= pgd + 1 && attacked.count(Outcome::Unstable) == 0, "{model} {eps}");
        for (i, outcome) in attacked.outcomes.iter().enumerate().filter(|(_, o)| o.outcome == Outcome::Broken) {
            assert!(!proved[i], "{model} {eps}: instance {i} {outcome:?}");
            // The instances' files write the same box with fewer digits.
            let inside = |(&x, (&low, &high)): (&f32, (&f32, &f32))| x >= low - 1e-7 && x <= high + 1e-7;
            assert!(attacked.adversarial.row(i).iter().zip(lower.row(i).iter().zip(upper.row(i))).all(inside));
        }
    }
}
