//! Files of data sets, in every format, and single images.

#![no_main]

use std::{fs, sync::LazyLock};

use assay_data::{DataSource, Dataset, decode_image};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder for files"));

/// Names by which files are told apart, and those of files that stand beside them.
const NAMES: [&str; 7] = [
    "t10k-images-idx3-ubyte",
    "t10k-images-idx3-ubyte.gz",
    "test_batch.bin",
    "a.npz",
    "a.npy",
    "a.parquet",
    "image.png",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, content)) = bytes.split_first() else { return };
    let name = NAMES[usize::from(which) % NAMES.len()];
    if name == "image.png" {
        let _ = decode_image("image", content, &[3, 8, 8]);
        return;
    }
    // Images and labels share the bytes where both are files.
    let (images, labels) = content.split_at(content.len() * 3 / 4);
    let path = FOLDER.path().join(name);
    let whole = !name.contains("idx3");
    fs::write(&path, if whole { content } else { images }).expect("written");
    if !whole {
        fs::write(FOLDER.path().join(name.replace("images-idx3", "labels-idx1")), labels).expect("written");
    }
    if let Ok(data) = Dataset::open(&DataSource::new(&path), Some(16)) {
        assert_eq!(data.labels().len(), data.len());
        assert!(data.samples().iter().all(|value| value.is_finite()));
    }
    let _ = fs::remove_file(&path);
});
