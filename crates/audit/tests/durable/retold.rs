//! What those who follow a job are told, and what it does not go on with.

use assay_audit::Progress;
use assay_audit::job::{AuditStore, Moment, Sqlite, Watcher};

use crate::fake::{Failing, Failure, Memory};
use crate::net::{asked, carried, data};

#[derive(Default)]
struct Told {
    stored: Vec<u64>,
    progress: Vec<Progress>,
}

impl Watcher for Told {
    fn stored(&mut self, events: u64) {
        self.stored.push(events);
    }

    fn progress(&mut self, progress: &Progress) {
        self.progress.push(progress.clone());
    }
}

#[test]
fn the_end_of_each_stage_is_stored_with_its_event() {
    let store = Memory::default();
    let job = store.create(&asked(None), Moment(1)).unwrap();
    let mut told = Told::default();
    let report = carried(&store, &job, ["one", "two"], &data(0.0), &mut told).unwrap();
    let events = store.count(job.id).unwrap();
    assert_eq!(told.stored, (0..=events).collect::<Vec<_>>());
    let stored = store.progress(job.id, 0).unwrap();
    let last = |stage| stored.iter().rfind(|(_, progress)| progress.stage_number == stage).unwrap();
    let stages: Vec<_> = (1..=10).map(|stage| last(stage).1.clone()).collect();
    assert!(stages.iter().all(|progress| progress.stages == 10 && progress.steps_done == progress.steps_total));
    let hits = report.models.iter().map(|model| model.clean.hits());
    assert_eq!([stages[0].correct, stages[5].correct].to_vec(), hits.collect::<Vec<_>>());
    let from = last(5).0;
    let later = store.progress(job.id, from).unwrap();
    assert_eq!(later, stored.iter().filter(|(seq, _)| *seq >= from).cloned().collect::<Vec<_>>());
}

#[test]
fn what_is_stored_already_is_not_told_as_news() {
    let store = Memory::default();
    let job = store.create(&asked(None), Moment(1)).unwrap();
    carried(&Failing::new(&store, 8, Failure::Lost), &job, ["one", "two"], &data(0.0), &mut ()).unwrap_err();
    let done = store.progress(job.id, 0).unwrap().pop().unwrap().1.stage_number;
    assert!(done > 1, "{done}");
    let mut told = Told::default();
    let report = carried(&store, &job, ["one", "two"], &data(0.0), &mut told).unwrap();
    assert_eq!((report.models.len(), told.stored[0]), (2, 7));
    assert!(told.progress.iter().all(|progress| progress.stage_number >= done), "{:?}", told.progress.first());
}

#[test]
fn a_job_does_not_go_on_with_other_models_or_data() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path()).unwrap();
    let job = store.create(&asked(None), Moment(1)).unwrap();
    let refused = |digests, shift| carried(&store, &job, digests, &data(shift), &mut ()).unwrap_err().to_string();
    assert!(refused(["one", "new"], 0.0).contains("model \"two\", version 1, had the SHA-256 0"));
    carried(&Failing::new(&store, 3, Failure::Lost), &job, ["one", "two"], &data(0.0), &mut ()).unwrap_err();
    assert!(refused(["one", "two"], 0.001).starts_with("the data set is not what it was when the audit began"));
}
