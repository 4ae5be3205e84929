//! Databases that cannot be used are refused, and left as they are.

use std::fs;
use std::path::Path;

use assay_audit::job::{AuditStore, Moment, Sqlite, StoreError};

use crate::net::asked;

/// Why the database of a folder is refused; its file stays as it is.
#[track_caller]
fn refused(folder: &Path) -> StoreError {
    let file = folder.join("audits.db");
    let before = fs::read(&file).unwrap();
    let error = Sqlite::open(folder).unwrap_err();
    assert!(fs::read(&file).unwrap() == before, "{error}");
    error
}

/// A database with some jobs in it, closed.
fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path()).unwrap();
    for _ in 0..40 {
        store.create(&asked(None), Moment(1)).unwrap();
    }
    drop(store);
    folder
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("audits.db"), "this is no database, whatever its name says".repeat(100)).unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    for part in ["audits.db is damaged", "nothing was changed", "move it"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_damaged_page_is_found_when_the_database_is_opened() {
    let folder = filled();
    let file = folder.path().join("audits.db");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    fs::write(&file, bytes).unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_file_that_was_cut_off_is_found() {
    let folder = filled();
    let file = folder.path().join("audits.db");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(refused(folder.path()), StoreError::Damaged { .. }));
}

#[test]
fn another_format_is_refused_with_both_numbers() {
    let folder = filled();
    let file = folder.path().join("audits.db");
    let mut bytes = fs::read(&file).unwrap();
    // The user version, by the file format of SQLite.
    bytes[60..64].copy_from_slice(&7_u32.to_be_bytes());
    fs::write(&file, bytes).unwrap();
    let error = refused(folder.path());
    assert!(error.to_string().contains("has format 7, and this version of assay reads 3"), "{error}");
}

#[test]
fn a_folder_has_one_server_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = Sqlite::open(folder.path()).unwrap();
    let error = Sqlite::open(folder.path()).unwrap_err();
    assert!(error.to_string().starts_with("another server works in"), "{error}");
    first.release();
    Sqlite::open(folder.path()).unwrap();
}

#[test]
fn what_is_deleted_is_gone_and_its_number_is_not_given_again() {
    let folder = filled();
    let store = Sqlite::open(folder.path()).unwrap();
    let last = store.records().unwrap().pop().unwrap();
    store.delete(last.id).unwrap();
    assert_eq!(store.records().unwrap().len(), 39);
    let next = store.create(&asked(Some("k")), Moment(2)).unwrap();
    assert!(next.id > last.id);
    assert!(store.create(&asked(Some("k")), Moment(3)).is_err(), "a key is given once");
    assert_eq!(store.records().unwrap().pop(), Some(next));
}
