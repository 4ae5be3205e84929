//! A job carried out: from its recipe to a version in the repository.

use std::fs;

use assay_attack::Cancel;
use assay_data::{DataSource, Dataset, Split};
use assay_graph::Model;
use assay_harden::{Gate, Place, RunEvent, TrainError};
use assay_runtime::{ClassifierOptions, EngineOptions, LAST, behind};

use super::{Hardens, job::Job, store::Made};
use crate::{
    admission::{Admission, Rank},
    core::{Core, at_least_one},
    repository::{Hosted, Input, Manifest},
};

/// Why a job ended without a model.
pub(super) enum Ended {
    /// It was to stop.
    Stopped,
    /// What was wrong.
    Failed(String),
}

/// Trains, and adds what comes of it to the repository. Blocks.
pub(super) fn carry_out(core: &Core, hardens: &Hardens, job: &Job, cancel: &Cancel) -> Result<Made, Ended> {
    let failed = |reason: String| Ended::Failed(reason);
    let recipe = &job.recipe;
    let parent = job.parent.as_ref();
    let parent = parent.map(|p| core.repository.find("recipe.model", &p.name, &p.version.to_string()));
    let parent = parent.transpose().map_err(|e| failed(e.to_string()))?;
    let engine = EngineOptions { intra_threads: Some(at_least_one(core.config.harden.threads)), ..core.engine() };
    let options = ClassifierOptions { engine, ..ClassifierOptions::default() };
    let model = match &parent {
        None => options,
        Some(parent) => parent.manifest.options(parent.version, &options).map_err(failed)?,
    };
    let data = recipe.data.as_ref().map(|data| hardens.data.find(&data.path)).transpose().map_err(failed)?;
    let state = hardens.store.run(job.id);
    fs::create_dir_all(&state).map_err(|e| failed(format!("{}: {e}", state.display())))?;
    let gate = GiveWay { admission: &core.admission, job };
    let place = Place {
        folder: &hardens.data.root,
        state: &state,
        runtime: &core.runtime,
        model,
        parent: parent.as_ref().map(|parent| parent.file()),
        gate: Some(&gate),
    };
    let mut samples = 0;
    let mut observe = |event: &RunEvent| {
        match event {
            // An epoch leaves out the batch that is not full.
            RunEvent::Began { training, .. } => samples = (training / recipe.batch * recipe.batch) as u64,
            RunEvent::Epoch(_) => core.metrics.learned(samples),
            _ => {}
        }
        job.observe(event.clone());
    };
    // What is published is opened by this thread, which is as any other.
    let hardened = behind(core.nice(LAST), || assay_harden::harden(recipe, &place, &mut observe, cancel));
    let hardened = hardened.map_err(|error| match error {
        TrainError::Stopped { .. } => Ended::Stopped,
        other => failed(other.to_string()),
    })?;
    let labels = match (&parent, data) {
        (Some(parent), _) => parent.manifest.labels.clone(),
        (None, Some(data)) => {
            let source = DataSource::new(data).with_split(Split::Train);
            Dataset::open(&source, Some(1)).map(|data| data.class_names().to_vec()).unwrap_or_default()
        }
        (None, None) => Vec::new(),
    };
    let manifest = manifest(&hardened.model, parent.as_deref(), labels);
    let content = hardened.to_bytes();
    drop(hardened);
    let hosted = core.publish(&recipe.name, &content, &manifest).map_err(failed)?;
    Ok(Made { version: hosted.version, digest: hosted.spec().digest.clone() })
}

/// The `model.toml` of a model that is new.
fn manifest(model: &Model, parent: Option<&Hosted>, labels: Vec<String>) -> Manifest {
    Manifest {
        kind: model.metadata.get("assay.kind").cloned().unwrap_or_default(),
        parent: parent.map(|parent| parent.name.clone()).unwrap_or_default(),
        labels,
        // What data sets are read as; normalisation is part of the file.
        input: Input { range: Some([0.0, 1.0]), ..Input::default() },
        ..Manifest::default()
    }
}

/// Training comes after everything else.
#[derive(Debug)]
struct GiveWay<'a> {
    admission: &'a Admission,
    job: &'a Job,
}

impl Gate for GiveWay<'_> {
    fn pass(&self, cancel: &Cancel) {
        if !self.admission.is_clear(Rank::Training) {
            self.job.change(|status| status.waiting = true);
            self.admission.give_way(Rank::Training, cancel);
            self.job.change(|status| status.waiting = false);
        }
    }
}
