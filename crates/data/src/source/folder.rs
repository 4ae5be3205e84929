//! A folder of images: one subfolder per class, or files and a `labels.csv`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assay_runtime::Class;

use super::stack::Stack;
use super::{Loaded, entries, file_name, has_extension};
use crate::DataError;

/// Name of the file that labels the images of a flat folder.
const LABELS: &str = "labels.csv";

/// Images to read, before they are opened.
struct Listing {
    /// Files with their class, in the order of the samples.
    images: Vec<(PathBuf, Class)>,
    class_names: Vec<String>,
    labels: Option<PathBuf>,
}

/// Reads the first `limit` images. All must have the same size; they have one channel if every file is grey, else three.
pub(super) fn load(folder: &Path, labels: Option<&Path>, limit: usize) -> Result<Loaded, DataError> {
    let beside = folder.join(LABELS);
    let labels = labels.map(Path::to_owned).or_else(|| beside.is_file().then_some(beside));
    let mut listing = match labels {
        Some(labels) => by_table(folder, labels)?,
        None => by_class(folder)?,
    };
    listing.images.truncate(limit);
    let mut stack = Stack::new(folder, listing.images.len());
    for (path, _) in &listing.images {
        let bytes = fs::read(path).map_err(|e| DataError::io(path, e))?;
        stack.push(&bytes, |reason| DataError::malformed(path, reason))?;
    }
    let (samples, sample_shape) = stack.into_samples()?;
    let mut files: Vec<_> = listing.images.iter().map(|(path, _)| (path.clone(), relative(folder, path))).collect();
    files.extend(listing.labels.map(|path| (path.clone(), file_name(&path))));
    let labels = listing.images.into_iter().map(|(_, class)| class).collect();
    Ok(Loaded { samples, sample_shape, labels, class_names: listing.class_names, files })
}

/// One subfolder per class. Classes are numbered in order of name, or by the names themselves if all are numbers. Samples
/// take turns between the classes, so that the first few are a fair sample.
fn by_class(folder: &Path) -> Result<Listing, DataError> {
    let folders: Vec<_> = entries(folder)?.into_iter().filter(|path| path.is_dir()).collect();
    if folders.is_empty() {
        let reason =
            format!("it holds neither an IDX pair nor CIFAR batches, Parquet files, subfolders of images or {LABELS}");
        return Err(DataError::Unrecognised { path: folder.to_owned(), reason });
    }
    let names: Vec<_> = folders.iter().map(|path| file_name(path)).collect();
    let numbers: Option<Vec<u32>> = names.iter().map(|name| name.parse().ok()).collect();
    let classes: Vec<u32> = numbers.clone().unwrap_or_else(|| (0..).take(names.len()).collect());
    let mut turns = BTreeMap::new();
    for (subfolder, class) in folders.iter().zip(classes) {
        let images = entries(subfolder)?.into_iter().filter(|path| is_image(path));
        turns.extend(images.enumerate().map(|(turn, path)| ((turn, class), path)));
    }
    let images = turns.into_iter().map(|((_, class), path)| (path, Class(class))).collect();
    Ok(Listing { images, class_names: if numbers.is_some() { Vec::new() } else { names }, labels: None })
}

/// Files named in a table of `file,label` lines, in its order; a first line without a number is its heading.
fn by_table(folder: &Path, labels: PathBuf) -> Result<Listing, DataError> {
    let text = fs::read_to_string(&labels).map_err(|e| DataError::io(&labels, e))?;
    let mut images = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row = line.rsplit_once(',').and_then(|(file, label)| Some((file.trim(), label.trim().parse().ok()?)));
        match row {
            Some((file, label)) => {
                let inside = Path::new(file).components().all(|c| matches!(c, std::path::Component::Normal(_)));
                if !inside {
                    let reason = format!("line {}: \"{file}\" leaves the folder; name files inside it", number + 1);
                    return Err(DataError::malformed(labels, reason));
                }
                images.push((folder.join(file), Class(label)));
            }
            None if number == 0 => {}
            None => {
                let reason =
                    format!("line {}: \"{line}\" is not \"file,label\" with a class counted from 0", number + 1);
                return Err(DataError::malformed(labels, reason));
            }
        }
    }
    Ok(Listing { images, class_names: Vec::new(), labels: Some(labels) })
}

fn is_image(path: &Path) -> bool {
    ["png", "jpg", "jpeg"].iter().any(|extension| has_extension(path, extension))
}

/// Path inside the folder, with forward slashes.
fn relative(folder: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(folder).unwrap_or(path);
    inside.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
