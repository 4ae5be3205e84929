//! A crash at every operation of the store, in memory and on the disk.

use assay_audit::Verdict;
use assay_audit::job::{AuditStore, Moment, Record, Sqlite, State, report};

use crate::fake::{Failing, Failure, Memory};
use crate::net::{asked, carried, data, json, served};

/// The report of a job that nothing happened to.
fn undisturbed() -> String {
    let store = Memory::default();
    served(&store).unwrap();
    json(&report(&store, only(&store).id).unwrap())
}

/// The one job of a store.
#[track_caller]
fn only(store: &dyn AuditStore) -> Record {
    let records = store.records().unwrap();
    let [record] = records.as_slice() else { panic!("{} jobs", records.len()) };
    record.clone()
}

#[track_caller]
fn check(store: &dyn AuditStore, expected: &str) {
    let record = only(store);
    let report = report(store, record.id).unwrap();
    assert_eq!(record.state, State::Done(report.verdict));
    assert_eq!((record.created, record.ended), (Moment(1), Some(Moment(5))));
    assert_eq!(json(&report), expected);
}

#[test]
fn a_crash_at_any_operation_changes_nothing_of_the_report() {
    let expected = undisturbed();
    for how in [Failure::Lost, Failure::Untold, Failure::Full] {
        let mut crashes = 0;
        for at in 0.. {
            let memory = Memory::default();
            let failing = Failing::new(&memory, at, how);
            let result = served(&failing);
            if !failing.has_failed() {
                result.unwrap();
                break;
            }
            assert!(result.is_err(), "{how:?} at {at}");
            crashes += 1;
            served(&memory).unwrap();
            check(&memory, &expected);
        }
        // One for each event, and those around them.
        assert!(crashes > 12, "{crashes} operations");
    }
}

#[test]
fn crash_after_crash_still_ends() {
    let expected = undisturbed();
    let memory = Memory::default();
    let mut at = 0;
    while served(&Failing::new(&memory, at, Failure::Untold)).is_err() {
        at += 1;
    }
    assert!(at > 6, "{at} crashes");
    check(&memory, &expected);
}

#[test]
fn a_crash_at_any_operation_changes_nothing_on_the_disk_either() {
    let expected = undisturbed();
    for how in [Failure::Lost, Failure::Untold] {
        for at in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let has_failed = {
                let store = Sqlite::open(folder.path()).unwrap();
                let failing = Failing::new(&store, at, how);
                assert_eq!(served(&failing).is_err(), failing.has_failed(), "{how:?} at {at}");
                failing.has_failed()
            };
            let store = Sqlite::open(folder.path()).unwrap();
            served(&store).unwrap();
            check(&store, &expected);
            if !has_failed {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_is_told_and_the_job_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path()).unwrap();
    let job = store.create(&asked(None), Moment(1)).unwrap();
    let full = Failing::new(&store, 4, Failure::Full);
    let error = carried(&full, &job, ["one", "two"], &data(0.0), &mut ()).unwrap_err();
    assert!(error.to_string().contains("disk of audits.db is full; make room"), "{error}");
    assert_eq!(store.count(job.id).unwrap(), 3, "what was stored is still there");
    let report = carried(&store, &job, ["one", "two"], &data(0.0), &mut ()).unwrap();
    assert_eq!((report.verdict, json(&report)), (Verdict::Pass, undisturbed()));
}
