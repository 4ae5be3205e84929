//! Nets made smaller by recipes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::fs;
use std::path::Path;

use assay_attack::Cancel;
use assay_graph::{Model, Value};
use assay_harden::{Hardened, Place, Recipe, RecipeError, RunEvent, TrainError, finish, harden};
use assay_reference::{Random, Values};
use assay_runtime::{ClassifierOptions, Library, OnnxRuntime};
use image::{GrayImage, Luma};

const SIZE: u32 = 8;

fn runtime() -> Option<OnnxRuntime> {
    OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")).ok()
}

/// Pictures of two classes: one brighter at the top, one at the bottom.
fn write_data(folder: &Path) {
    let mut random = Random::new(2);
    for class in 0..2 {
        let to = folder.join("data").join(class.to_string());
        fs::create_dir_all(&to).unwrap();
        for i in 0..24 {
            let noise = random.array(&[64], &Values::uniform(0.0, 100.0));
            let picture = GrayImage::from_fn(SIZE, SIZE, |x, y| {
                let bright = if (y < SIZE / 2) == (class == 0) { 100 } else { 0 };
                Luma([noise.f64()[[(y * SIZE + x) as usize]] as u8 + bright])
            });
            picture.save(to.join(format!("{i:02}.png"))).unwrap();
        }
    }
}

fn recipe(architecture: &str, prune: &str) -> Result<Recipe, RecipeError> {
    Recipe::parse(&format!(
        r#"
        schema = 1
        name = "small"
        model = {{ architecture = "{architecture}" }}
        epochs = 1
        batch = 12
        data = {{ path = "data" }}
        objective = {{ kind = "standard" }}
        optimizer = {{ kind = "sgd", rate = 0.01 }}
        [prune]
        samples = 8
        {prune}
        "#
    ))
}

fn run(
    runtime: &OnnxRuntime,
    folder: &Path,
    recipe: &Recipe,
    mut stop: impl FnMut(&RunEvent) -> bool,
) -> (Result<Hardened, TrainError>, Vec<RunEvent>) {
    let (cancel, mut events) = (Cancel::default(), Vec::new());
    let place = Place { folder, state: folder, runtime, model: ClassifierOptions::default(), parent: None, gate: None };
    let mut observe = |event: &RunEvent| {
        if stop(event) {
            cancel.cancel();
        }
        events.push(event.clone());
    };
    (harden(recipe, &place, &mut observe, &cancel), events)
}

/// Filters of each convolution.
fn filters(model: &Model) -> Vec<usize> {
    let convolutions = model.graph.nodes.iter().filter(|node| node.operator == "Conv");
    convolutions.map(|node| model.graph.initializers[node.input(1).unwrap_or(&Value::from(""))].dims()[0]).collect()
}

#[test]
fn filters_go_where_no_shortcut_reads_them() {
    let Some(runtime) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    for (importance, scope) in [("l1", "layer"), ("hrank", "layer"), ("vip", "global"), ("kl", "layer")] {
        let prune = format!(
            "structure = \"filters\"\nimportance = \"{importance}\"\nscope = \"{scope}\"\nrate = 0.25\niterations = 2"
        );
        let (result, events) = run(&runtime, folder.path(), &recipe("resnet-8", &prune).unwrap(), |_| false);
        let model = result.unwrap_or_else(|e| panic!("{importance}: {e}")).model;
        if scope == "layer" {
            // A quarter of 16, 32 and 64, twice: 16 - 4 - 3, 32 - 8 - 6, 64 - 16 - 12; shortcuts keep theirs.
            let mut found = filters(&model);
            found.sort_unstable();
            assert_eq!(found, [9, 16, 16, 18, 32, 32, 36, 64, 64], "{importance}");
        }
        let pruned: Vec<_> = events.iter().filter(|event| matches!(event, RunEvent::Pruned { .. })).collect();
        assert_eq!(pruned.len(), 2);
        for event in pruned {
            let RunEvent::Pruned { removed, macs, parameters, .. } = event else { unreachable!() };
            assert!(removed.channels > 0 && macs[1] < macs[0] && parameters[1] < parameters[0], "{event:?}");
        }
        assert_eq!(model.metadata["assay.kind"], "filter-pruned");
        finish(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the data is left");
    }
}

#[test]
fn blocks_go_and_stages_keep_two() {
    let Some(runtime) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let prune = "structure = \"layers\"\nimportance = \"expected-abs\"\nblocks = 2\niterations = 1";
    let (result, _) = run(&runtime, folder.path(), &recipe("resnet-20", prune).unwrap(), |_| false);
    assert_eq!(filters(&result.unwrap().model).len(), 21 - 4);
    finish(folder.path()).unwrap();
    // Three stages of three blocks: three can go, and in a fourth iteration nothing is left to remove.
    let prune = "structure = \"layers\"\nimportance = \"random\"\niterations = 4";
    let (result, events) = run(&runtime, folder.path(), &recipe("resnet-20", prune).unwrap(), |_| false);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("each stage keeps 2"), "{error}");
    assert_eq!(events.iter().filter(|event| matches!(event, RunEvent::Pruned { .. })).count(), 3);
    finish(folder.path()).unwrap();
    // Of two blocks in each stage the second can go where one is enough.
    let prune = "structure = \"layers\"\nimportance = \"random\"\nblocks = 9\nkeep = 1";
    let (result, _) = run(&runtime, folder.path(), &recipe("resnet-14", prune).unwrap(), |_| false);
    assert_eq!(filters(&result.unwrap().model).len(), 15 - 6);
}

/// Cut off in the second iteration, it goes on there, to the same bytes.
#[test]
fn a_run_that_was_cut_off_begins_with_its_last_net() {
    let Some(runtime) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let prune = "structure = \"both\"\nimportance = \"random\"\niterations = 3";
    let recipe = recipe("resnet-20", prune).unwrap();
    let whole = run(&runtime, folder.path(), &recipe, |_| false).0.unwrap();
    finish(folder.path()).unwrap();
    let second = |event: &RunEvent| matches!(event, RunEvent::Pruned { iteration: 2, .. });
    let (stopped, _) = run(&runtime, folder.path(), &recipe, second);
    assert!(matches!(stopped, Err(TrainError::Stopped { .. })), "{stopped:?}");
    let (gone_on, events) = run(&runtime, folder.path(), &recipe, |_| false);
    assert_eq!(events.iter().filter(|event| matches!(event, RunEvent::Pruned { .. })).count(), 2);
    assert!(gone_on.unwrap().model.to_bytes() == whole.model.to_bytes());
}

#[test]
fn what_cannot_be_pruned_so_is_refused() {
    for (prune, expected) in [
        ("structure = \"layers\"\nimportance = \"l1\"", "l1"),
        ("structure = \"filters\"\nimportance = \"l2\"", "l2"),
        ("structure = \"filters\"\nimportance = \"l1\"\nrate = 1.0", "prune.rate"),
        ("structure = \"filters\"\nimportance = \"l1\"\niterations = 0", "prune.iterations"),
        ("structure = \"layers\"\nimportance = \"cka\"\nkeep = 0", "prune.keep"),
    ] {
        let error = recipe("resnet-8", prune).unwrap_err().to_string();
        assert!(error.contains(expected), "{prune}: {error}");
    }
    let Some(runtime) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let few = recipe("cnn-4-4", "structure = \"filters\"\nimportance = \"l1\"\nrate = 0.1").unwrap();
    let error = run(&runtime, folder.path(), &few, |_| false).0.unwrap_err().to_string();
    assert!(error.contains("removes no filter"), "{error}");
}

#[test]
fn all_samples_may_judge_and_no_more() {
    let Some(runtime) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let judged = |samples| {
        let prune = "structure = \"filters\"\nimportance = \"expected-abs\"\nrate = 0.25";
        let mut recipe = recipe("cnn-4-4", prune).unwrap();
        recipe.prune.as_mut().unwrap().samples = samples;
        run(&runtime, folder.path(), &recipe, |_| false).0
    };
    assert_eq!(filters(&judged(48).unwrap().model), [3, 3]);
    finish(folder.path()).unwrap();
    let error = judged(49).unwrap_err().to_string();
    assert!(error.contains("prune.samples") && error.contains("at most 48"), "{error}");
}
