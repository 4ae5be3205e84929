//! An audit of the models and the data that the repository ships.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use assay_attack::{Bounds, Cancel, FlagKind};
use assay_audit::{Audit, Circumstances, Environment, Plan, Subject, run};
use assay_data::{DataSource, Dataset};
use assay_reference::skip;
use assay_runtime::{ClassifierOptions, Library, OnnxClassifier, OnnxRuntime};

const MODELS: [&str; 2] = ["fashion-robust", "fashion-layer-pruned"];

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

#[test]
fn robust_and_pruned_models_are_measured_on_the_same_images() {
    let runtime = match OnnxRuntime::load(&Library::default()) {
        Ok(runtime) => runtime,
        Err(error) => return skip(&error.to_string()),
    };
    let load = |name: &str| {
        let file = deploy(&format!("models/{name}/1/model.onnx"));
        OnnxClassifier::load(&runtime, &file, &ClassifierOptions::default()).unwrap()
    };
    let models = MODELS.map(load);
    let subject = |(name, classifier): (&str, _)| Subject {
        name: name.into(),
        version: "1".into(),
        kind: String::new(),
        parameters: 0,
        bounds: Bounds::new(0.0, 1.0).unwrap(),
        labels: Vec::new(),
        batch: NonZeroUsize::new(64).unwrap(),
        classifier,
        certifier: None,
    };
    let subjects: Vec<Subject<'_>> = MODELS.into_iter().zip(&models).map(|(n, m)| subject((n, m as _))).collect();
    let plan = Plan::parse(
        "schema = 1\nmodels = [{ name = \"fashion-robust\" }, { name = \"fashion-layer-pruned\" }]\nseed = 1\n\
         [[evaluations]]\nnorm = \"Linf\"\neps = \"0.1\"\n\
         attacks = [{ name = \"fgsm\" }, { name = \"pgd\", parameters = { steps = 5 } }]\n\
         [[evaluations]]\nnorm = \"L2\"\neps = \"1\"\nattacks = [{ name = \"pgd\", parameters = { steps = 5 } }]",
    )
    .unwrap();
    let data = Dataset::open(&DataSource::new(deploy("data/fashion-mnist")), None).unwrap();
    let environment = Environment { assay: String::new(), onnxruntime: String::new(), optimization: String::new() };
    let circumstances = Circumstances::default();
    let audit = Audit {
        plan: &plan,
        subjects: &subjects,
        data: &data,
        shard: None,
        baseline: None,
        environment,
        circumstances,
    };
    let report = run(&audit, &[], &mut (), &Cancel::default()).unwrap();

    for (model, name) in report.models.iter().zip(MODELS) {
        assert!(model.clean.hits() > 700 && model.clean.of() == 1000, "{name}: {:?}", model.clean);
        for threat in &model.threats {
            // Correct and unchanged is robust: robust >= clean + stability - 1.
            let [clean, stable, robust] = [model.clean, threat.stability, threat.robust].map(|e| e.hits());
            assert!(robust + 1000 >= clean + stable && robust <= clean.min(stable), "{name}, {}", threat.title);
            assert!(robust > 0 && robust < clean, "{name}, {}: {robust} of {clean}", threat.title);
        }
        let pgd = &model.threats[0].attacks;
        assert!(pgd[1].robust.hits() < pgd[0].robust.hits(), "{name}: PGD finds more than FGSM");
    }
    // Five steps are few, and the report says so; it doubts nothing else.
    assert!(report.flags.iter().all(|raised| raised.kind == FlagKind::IncompleteOptimization), "{:?}", report.flags);
    assert_eq!(report.examples.len(), 12);
    assert_eq!(report.comparison.unwrap().threats.len(), 2);
}
