//! The reference material: networks, derivatives and bounds that other programs computed. It lies beside the checkout and
//! is not part of it, so tests that use it pass without it and say so.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use assay_graph::{DataType, Limits, Model};
use ndarray::{IxDyn, OwnedRepr};
use ndarray_npy::{NpzReader, ReadableElement};

use crate::array::{Array, Data};

/// The folder of the reference material.
#[derive(Clone, Debug)]
pub struct Material {
    root: PathBuf,
}

/// The reference material: the folder that `ASSAY_REFERENCE` names, else `../shared/reference` beside the checkout. Says on
/// standard error that the test skips where there is none.
///
/// # Panics
/// If `ASSAY_REFERENCE` names no folder.
#[must_use]
pub fn material() -> Option<Material> {
    if let Some(root) = std::env::var_os("ASSAY_REFERENCE").map(PathBuf::from) {
        assert!(root.is_dir(), "ASSAY_REFERENCE={}: no such folder", root.display());
        return Some(Material { root });
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference");
    if root.is_dir() {
        return Some(Material { root });
    }
    skip("no reference material: set ASSAY_REFERENCE to its folder");
    None
}

/// The folder of data sets that tests read in full: the one that `ASSAY_DATA` names, else `../shared/data` beside the checkout. Says
/// on standard error that the test skips where there is none.
///
/// # Panics
/// If `ASSAY_DATA` names no folder.
#[must_use]
pub fn data_sets() -> Option<PathBuf> {
    if let Some(root) = std::env::var_os("ASSAY_DATA").map(PathBuf::from) {
        assert!(root.is_dir(), "ASSAY_DATA={}: no such folder", root.display());
        return Some(root);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if root.is_dir() {
        return Some(root);
    }
    skip("no data sets: set ASSAY_DATA to their folder");
    None
}

/// Says on standard error why a test does nothing.
#[allow(clippy::print_stderr)]
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

impl Material {
    /// A file of it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Names of the files in `folder` that end in `.extension`, without it, sorted.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn names(&self, folder: &str, extension: &str) -> Vec<String> {
        let path = self.path(folder);
        let entries = std::fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let files = entries.flatten().map(|entry| entry.path());
        let mut names: Vec<String> = files
            .filter(|file| file.extension().is_some_and(|e| e == extension))
            .filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned()))
            .collect();
        names.sort();
        assert!(!names.is_empty(), "{}: no .{extension} files", path.display());
        names
    }

    /// A model of it.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn model(&self, name: &str) -> Model {
        Model::load(&self.path(name), &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A JSON file of it.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn json(&self, name: &str) -> serde_json::Value {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// All arrays of an `.npz` file of it.
    ///
    /// # Panics
    /// As [`Npz::read`].
    #[must_use]
    pub fn npz(&self, name: &str) -> Npz {
        Npz::read(&self.path(name))
    }
}

/// The arrays of an `.npz` file. Text is left out.
#[derive(Clone, Debug)]
pub struct Npz {
    arrays: BTreeMap<String, Array>,
}

impl Npz {
    /// The arrays of the file `path`.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut reader = NpzReader::new(file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let names = reader.names().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let arrays = names
            .iter()
            .filter_map(|name| Some((name.trim_end_matches(".npy").to_owned(), array(&mut reader, name)?)))
            .collect();
        Self { arrays }
    }

    /// The array called `name`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    #[track_caller]
    pub fn get(&self, name: &str) -> &Array {
        let found = self.arrays.get(name);
        found.unwrap_or_else(|| panic!("no array \"{name}\" among {:?}", self.arrays.keys().collect::<Vec<_>>()))
    }

    /// Names of the arrays, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.arrays.keys().map(String::as_str)
    }
}

/// One array, of whichever number type it is.
fn array(reader: &mut NpzReader<File>, name: &str) -> Option<Array> {
    if let Some(a) = read::<f32>(reader, name) {
        return Some(Array::of(DataType::Float, Data::Float(a.mapv(f64::from))));
    }
    if let Some(a) = read::<f64>(reader, name) {
        return Some(Array::of(DataType::Double, Data::Float(a)));
    }
    if let Some(a) = read::<i64>(reader, name) {
        return Some(Array::of(DataType::Int64, Data::Int(a)));
    }
    if let Some(a) = read::<i32>(reader, name) {
        return Some(Array::of(DataType::Int32, Data::Int(a.mapv(i64::from))));
    }
    read::<u8>(reader, name).map(|a| Array::of(DataType::Uint8, Data::Int(a.mapv(i64::from))))
}

fn read<T: ReadableElement>(reader: &mut NpzReader<File>, name: &str) -> Option<ndarray::ArrayD<T>> {
    reader.by_name::<OwnedRepr<T>, IxDyn>(name).ok()
}
