//! Data sets from files: what is read, and what is refused with which words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod cifar;
mod parquet;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use assay_data::{DataSource, Dataset, Severity, Split, decode_image};
use assay_runtime::Class;
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{ExtendedColorType, ImageFormat};
use ndarray::Array2;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(path: &Path) -> Result<Dataset, String> {
    Dataset::open(&DataSource::new(path), None).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(path: &Path, words: &str) {
    let error = open(path).unwrap_err();
    assert!(error.contains(words), "{error}");
    assert!(
        error.contains(&*path.file_name().unwrap().to_string_lossy()) || path.is_dir(),
        "{error} does not name the file"
    );
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, u8::try_from(dims.len()).unwrap()];
    dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_with_header(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"), data)
}

fn npy_with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len() + 1).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.push(b'\n');
    bytes.extend(data);
    bytes
}

fn npz(folder: &Path, arrays: &[(&str, Vec<u8>)]) -> PathBuf {
    let path = folder.join("data.npz");
    let mut zip = ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    path
}

fn png(path: &Path, width: u32, height: u32, color: ExtendedColorType, pixels: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::save_buffer_with_format(path, pixels, width, height, color, ImageFormat::Png).unwrap();
}

/// Two images of 1x2 pixels with labels, as an IDX pair of these bytes.
fn pair(folder: &Path, images: &[u8], labels: &[u8]) -> PathBuf {
    let path = folder.join("t10k-images-idx3-ubyte.gz");
    fs::write(&path, images).unwrap();
    fs::write(folder.join("t10k-labels-idx1-ubyte.gz"), labels).unwrap();
    path
}

const IMAGES: [u8; 4] = [0, 51, 102, 255];

#[test]
fn idx_pairs_are_found_from_the_folder_and_from_the_images() {
    let dir = folder();
    let images = pair(dir.path(), &gzip(&idx(&[2, 1, 2], &IMAGES)), &gzip(&idx(&[2], &[3, 9])));
    // The training split beside it is not the one that is audited.
    fs::write(dir.path().join("train-images-idx3-ubyte"), idx(&[1, 1, 2], &[7, 8])).unwrap();
    fs::write(dir.path().join("train-labels-idx1-ubyte"), idx(&[1], &[5])).unwrap();
    let data = open(dir.path()).unwrap();
    assert_eq!(data.samples().as_slice().unwrap(), [0.0, 0.2, 0.4, 1.0]);
    assert_eq!((data.labels(), data.sample_shape()), (&[Class(3), Class(9)][..], &[1, 1, 2][..]));
    assert_eq!(open(&images).unwrap().digest(), data.digest());
    let first = Dataset::open(&DataSource::new(&images), Some(1)).unwrap();
    assert_eq!((first.len(), first.labels()), (1, &[Class(3)][..]));
    let labels = Some(dir.path().join("t10k-labels-idx1-ubyte.gz"));
    assert_eq!(Dataset::open(&DataSource { labels, ..DataSource::new(&images) }, None).unwrap().len(), 2);
}

#[test]
fn of_a_folder_with_both_the_split_that_is_asked_for_is_read() {
    let dir = folder();
    let of = |split: Split| Dataset::open(&DataSource::new(dir.path()).with_split(split), None);
    pair(dir.path(), &idx(&[2, 1, 2], &IMAGES), &idx(&[2], &[3, 9]));
    let error = of(Split::Train).unwrap_err().to_string();
    assert!(error.contains("holds no training data, only t10k-images-idx3-ubyte.gz"), "{error}");
    fs::write(dir.path().join("train-images-idx3-ubyte"), idx(&[1, 1, 2], &[7, 8])).unwrap();
    fs::write(dir.path().join("train-labels-idx1-ubyte"), idx(&[1], &[5])).unwrap();
    assert_eq!(of(Split::Train).unwrap().labels(), [Class(5)]);
    assert_eq!(of(Split::Test).unwrap().labels(), [Class(3), Class(9)]);
}

#[test]
fn the_digest_is_that_of_the_listing_of_sha256sum() {
    let dir = folder();
    pair(dir.path(), &idx(&[2, 1, 2], &IMAGES), &idx(&[2], &[3, 9]));
    // sha256sum t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz | sha256sum
    assert_eq!(open(dir.path()).unwrap().digest(), "4fea69976f931d403edcc2bfe94780cb4f8d00f6daa58ab6c8697c2bf562bf3b");
}

#[test]
fn damaged_idx_files_are_refused() {
    let dir = folder();
    let (good, labels) = (idx(&[2, 1, 2], &IMAGES), idx(&[2], &[3, 9]));
    let with = |images: &[u8], labels: &[u8], words: &str| refused(&pair(dir.path(), images, labels), words);
    with(&good[..good.len() - 1], &labels, "promises 2 rows of 2 values (4 bytes), 3 bytes could be read");
    let zipped = gzip(&good);
    with(&zipped[..zipped.len() - 9], &labels, "t10k-images-idx3-ubyte.gz");
    with(&[good.as_slice(), &[7]].concat(), &labels, "more data than its header says");
    with(&good[..7], &labels, "ends within its header");
    with(&[], &labels, "not a data set");
    with(&idx(&[2, 1, 2], &IMAGES)[1..], &labels, "not a data set");
    with(&[0, 0, 13, 3, 0, 0, 0, 2], &labels, "IDX type 0x0d");
    with(&idx(&[u32::MAX, u32::MAX, u32::MAX], &[]), &labels, "more than 4 GiB; ask for fewer samples");
    with(&idx(&[u32::MAX, 1, 2], &[]), &labels, "more than 4 GiB");
    with(&idx(&[1 << 20, 28, 28], &IMAGES), &labels, "is truncated");
    with(&idx(&[0, 1, 2], &[]), &idx(&[0], &[]), "empty");
    let images = pair(dir.path(), &good, &idx(&[3], &[3, 9, 1]));
    assert!(open(&images).unwrap_err().contains("t10k-labels-idx1-ubyte.gz: 3 labels for 2 images"));
    let images = pair(dir.path(), &good, &idx(&[2, 10], &[0; 20]));
    assert!(open(&images).unwrap_err().contains("not one-hot rows"));
}

#[test]
fn missing_files_are_named() {
    let dir = folder();
    let images = pair(dir.path(), &idx(&[2, 1, 2], &IMAGES), &[]);
    fs::remove_file(dir.path().join("t10k-labels-idx1-ubyte.gz")).unwrap();
    refused(&images, "no labels found beside it");
    refused(&images, "t10k-labels-idx1-ubyte");
    refused(&dir.path().join("absent"), "check that the path exists");
    let empty = folder();
    refused(empty.path(), "neither an IDX pair nor CIFAR batches, Parquet files, subfolders of images or labels.csv");
    let text = dir.path().join("notes.txt");
    fs::write(&text, "hello").unwrap();
    refused(&text, "neither IDX, NPZ, NPY, Parquet nor a binary batch of CIFAR");
}

#[test]
fn npz_takes_bytes_and_floats_with_channels_first_or_last() {
    let dir = folder();
    let labels = || ("y", npy("<i8", "(1,)", &2_i64.to_le_bytes()));
    // Two pixels of three channels.
    let last = npz(dir.path(), &[("images", npy("|u1", "(1, 2, 1, 3)", &[0, 51, 102, 153, 204, 255])), labels()]);
    let data = open(&last).unwrap();
    assert_eq!(data.sample_shape(), [3, 2, 1]);
    assert_eq!(data.samples().as_slice().unwrap(), [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);
    let floats: Vec<u8> = [0.0_f32, 0.25, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let first = npz(dir.path(), &[("x_test", npy("<f4", "(1, 3, 1, 1)", &floats)), labels()]);
    assert_eq!(open(&first).unwrap().samples().as_slice().unwrap(), [0.0, 0.25, 1.0]);
    let doubles: Vec<u8> = [0.5_f64, 0.1].iter().flat_map(|v| v.to_le_bytes()).collect();
    let grey = npz(dir.path(), &[("x", npy("<f8", "(1, 1, 2)", &doubles)), labels()]);
    assert_eq!(open(&grey).unwrap().samples().as_slice().unwrap(), [0.5, 0.1]);
}

#[test]
fn npz_files_that_cannot_be_meant_are_refused() {
    let dir = folder();
    let images = || ("images", npy("|u1", "(1, 1, 2)", &[1, 2]));
    let labels = |label: i64| ("labels", npy("<i8", "(1,)", &label.to_le_bytes()));
    refused(
        &npz(dir.path(), &[("pictures", vec![])]),
        "holds pictures.npy; expected an array named images, x_test, x, input",
    );
    refused(&npz(dir.path(), &[images()]), "no labels found");
    refused(&npz(dir.path(), &[images(), labels(-1)]), "label -1 of sample 0 is no class");
    refused(&npz(dir.path(), &[images(), labels(1 << 40)]), "is no class");
    refused(&npz(dir.path(), &[images(), ("labels", npy("<f4", "(1,)", &[0; 4]))]), "store them as integers");
    let float = |value: f32| ("images", npy("<f4", "(1, 1, 1)", &value.to_le_bytes()));
    for (value, shown) in [(1.5, "1.5"), (-0.1, "-0.1"), (f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let path = npz(dir.path(), &[float(value), labels(0)]);
        refused(&path, &format!("sample 0: value {shown} is outside [0, 1]"));
    }
    let with_header = |header: &str| npz(dir.path(), &[("images", npy_with_header(header, &[1, 2])), labels(0)]);
    refused(&with_header("{'descr': '|u1', 'fortran_order': True, 'shape': (1, 1, 2), }"), "numpy.ascontiguousarray");
    refused(
        &with_header("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 1, 2), }"),
        "element type is not understood",
    );
    refused(&with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1, -1, 2), }"), "shape is not a tuple");
    refused(
        &with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 99999999999), }"),
        "more than 4 GiB",
    );
    refused(&with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 2, 5, 5), }"), "is truncated");
    refused(&with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (), }"), "single number");
    refused(&with_header("{'descr': '|u1', 'shape': (1, 2), }"), "header has no 'fortran_order'");
    let path = dir.path().join("data.npz");
    fs::write(&path, b"PK\x03\x04 nothing else").unwrap();
    refused(&path, "is not a readable NPZ file");
}

#[test]
fn npy_pairs_are_found_by_name() {
    let dir = folder();
    fs::write(dir.path().join("x_test.npy"), npy("|u1", "(2, 1, 2)", &IMAGES)).unwrap();
    fs::write(dir.path().join("y_test.npy"), npy("|u1", "(2,)", &[0, 1])).unwrap();
    let data = open(&dir.path().join("x_test.npy")).unwrap();
    assert_eq!((data.len(), data.labels()), (2, &[Class(0), Class(1)][..]));
}

/// A file of ten images of two pixels, whose values are 0, 1, 2, ..., and their labels.
fn corrupted(labels: &[u8], count: usize) -> TempDir {
    let dir = folder();
    let pixels: Vec<u8> = (0..20).collect();
    fs::write(dir.path().join("fog.npy"), npy("|u1", "(10, 2, 1, 1)", &pixels)).unwrap();
    fs::write(dir.path().join("labels.npy"), npy("|u1", &format!("({count},)"), labels)).unwrap();
    dir
}

fn severity(path: &Path, severity: &str, limit: Option<usize>) -> Result<Dataset, String> {
    let source = DataSource::new(path).with_severity(Some(severity.parse()?));
    Dataset::open(&source, limit).map_err(|e| e.to_string())
}

#[test]
fn a_severity_is_its_fifth_of_the_file_and_of_the_labels() {
    let all = corrupted(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 10);
    let path = all.path().join("fog.npy");
    let parent = all.path().file_name().unwrap().to_string_lossy().into_owned();
    for (name, first) in [("1", 0), ("3", 4), ("5", 8)] {
        let data = severity(&path, name, None).unwrap();
        let values: Vec<f32> = (2 * first..2 * first + 4).map(|k| f32::from(k as u8) / 255.0).collect();
        assert_eq!(data.samples(), &Array2::from_shape_vec((2, 2), values).unwrap());
        assert_eq!(data.labels(), [Class(first), Class(first + 1)]);
        assert_eq!(data.name(), format!("{parent}/fog.npy, severity {name}, supplied by the user"));
        assert_eq!(data.sample_shape(), [1, 2, 1]);
        assert_eq!(severity(&path, name, Some(1)).unwrap().labels(), [Class(first)]);
        assert_eq!(severity(&path, name, Some(9)).unwrap().len(), 2);
    }
    // The labels of one severity are those of each.
    let once = corrupted(&[7, 8], 2);
    for name in ["1", "4"] {
        let data = severity(&once.path().join("fog.npy"), name, None).unwrap();
        assert_eq!(data.labels(), [Class(7), Class(8)]);
    }
    assert_eq!(Severity::ALL.map(|s| s.to_string()), ["1", "2", "3", "4", "5"]);
}

#[test]
fn corrupted_files_that_cannot_be_meant_are_refused() {
    let refused = |path: &Path, name: &str, words: &str| {
        let error = severity(path, name, None).unwrap_err();
        assert!(error.contains(words), "{error}");
    };
    let good = corrupted(&[0; 10], 10);
    let path = good.path().join("fog.npy");
    for name in ["0", "6", "", "x", "1.5"] {
        assert_eq!(severity(&path, name, None).unwrap_err(), "expected a severity from 1 to 5");
    }
    assert!(
        open(&path).unwrap_err().contains("five severities one after the other; name one of them (--severity 1 to 5)")
    );
    refused(good.path(), "1", "a severity is one of five parts of an .npy file");
    refused(&good.path().join("rain.npy"), "1", "check that the path exists");
    fs::write(good.path().join("odd.npy"), npy("|u1", "(7, 1, 1)", &[0; 7])).unwrap();
    refused(&good.path().join("odd.npy"), "2", "holds 7 rows, which are not five parts of the same size");
    fs::write(good.path().join("short.npy"), npy("|u1", "(10, 1, 1)", &[0; 7])).unwrap();
    refused(&good.path().join("short.npy"), "4", "promises 2 rows of 1 values (2 bytes), 1 bytes could be read");
    refused(&good.path().join("short.npy"), "5", "promises 2 rows of 1 values (2 bytes), 0 bytes could be read");
    let few = corrupted(&[0; 5], 5);
    refused(&few.path().join("fog.npy"), "1", "5 labels for 10 images; there must be one label per image");
    fs::remove_file(few.path().join("labels.npy")).unwrap();
    refused(&few.path().join("fog.npy"), "1", "no labels found beside it (labels.npy)");
}

#[test]
fn folders_number_classes_by_name_and_let_them_take_turns() {
    let dir = folder();
    for (file, value) in [("cat/1.png", 10), ("cat/2.png", 20), ("dog/1.png", 30), ("ant/x.png", 40)] {
        png(&dir.path().join(file), 2, 1, ExtendedColorType::L8, &[value, value]);
    }
    fs::write(dir.path().join("cat/notes.txt"), "not an image").unwrap();
    let data = open(dir.path()).unwrap();
    assert_eq!(data.class_names(), ["ant", "cat", "dog"]);
    assert_eq!(data.labels(), [Class(0), Class(1), Class(2), Class(1)]);
    assert_eq!(data.sample_shape(), [1, 1, 2]);
    let values: Vec<_> = data.samples().column(0).iter().map(|v| (v * 255.0).round()).collect();
    assert_eq!(values, [40.0, 10.0, 30.0, 20.0]);
    let numbers = folder();
    for class in ["10", "9"] {
        png(&numbers.path().join(class).join("a.png"), 1, 1, ExtendedColorType::L8, &[0]);
    }
    assert_eq!(open(numbers.path()).unwrap().labels(), [Class(9), Class(10)]);
}

#[test]
fn one_coloured_file_makes_all_three_channels() {
    let dir = folder();
    png(&dir.path().join("a/1.png"), 1, 1, ExtendedColorType::L8, &[51]);
    png(&dir.path().join("a/2.png"), 1, 1, ExtendedColorType::Rgb8, &[0, 102, 255]);
    let data = open(dir.path()).unwrap();
    assert_eq!(data.sample_shape(), [3, 1, 1]);
    assert_eq!(data.samples().as_slice().unwrap(), [0.2, 0.2, 0.2, 0.0, 0.4, 1.0]);
}

#[test]
fn folders_that_cannot_be_meant_are_refused() {
    let dir = folder();
    png(&dir.path().join("a/1.png"), 2, 1, ExtendedColorType::L8, &[0, 0]);
    png(&dir.path().join("b/1.png"), 3, 1, ExtendedColorType::L8, &[0, 0, 0]);
    refused(dir.path(), "3x1 pixels, but the first image has 2x1");
    let broken = folder();
    fs::create_dir(broken.path().join("a")).unwrap();
    fs::write(broken.path().join("a/1.png"), b"\x89PNG\r\n\x1a\n cut").unwrap();
    refused(broken.path(), "cannot be decoded");
    fs::write(broken.path().join("a/1.png"), "text").unwrap();
    refused(broken.path(), "is not a PNG, JPEG or NPY file");
    let hollow = folder();
    fs::create_dir(hollow.path().join("a")).unwrap();
    refused(hollow.path(), "is empty");
}

#[test]
fn flat_folders_are_labelled_by_a_table() {
    let dir = folder();
    for file in ["one.png", "two, too.png"] {
        png(&dir.path().join(file), 1, 1, ExtendedColorType::L8, &[255]);
    }
    let table = |text: &str| fs::write(dir.path().join("labels.csv"), text).unwrap();
    table("file,label\ntwo, too.png,4\none.png, 2\n");
    assert_eq!(open(dir.path()).unwrap().labels(), [Class(4), Class(2)]);
    table("one.png,2\ntwo, too.png,cat\n");
    refused(dir.path(), "line 2: \"two, too.png,cat\" is not \"file,label\"");
    table("../one.png,2\n");
    refused(dir.path(), "leaves the folder");
    table("three.png,2\n");
    refused(dir.path(), "three.png");
}

#[test]
fn single_images_fit_the_shape_or_say_why_not() {
    let dir = folder();
    let bytes = |color, pixels: &[u8]| {
        let path = dir.path().join("image.png");
        png(&path, 2, 1, color, pixels);
        fs::read(path).unwrap()
    };
    let decode = |bytes: &[u8], shape: &[usize]| decode_image("image.png", bytes, shape).map_err(|e| e.to_string());
    let grey = bytes(ExtendedColorType::L8, &[0, 51]);
    assert_eq!(decode(&grey, &[1, 1, 2]).unwrap(), [0.0, 0.2]);
    assert_eq!(decode(&grey, &[1, 2]).unwrap(), [0.0, 0.2]);
    assert_eq!(decode(&grey, &[3, 1, 2]).unwrap(), [0.0, 0.2, 0.0, 0.2, 0.0, 0.2]);
    let color = bytes(ExtendedColorType::Rgb8, &[0, 51, 102, 153, 204, 255]);
    assert_eq!(decode(&color, &[3, 1, 2]).unwrap(), [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);
    assert_eq!(decode(&bytes(ExtendedColorType::Rgb8, &[51; 6]), &[1, 1, 2]).unwrap(), [0.2, 0.2]);
    assert_eq!(
        decode(&bytes(ExtendedColorType::Rgba8, &[51, 51, 51, 255, 51, 51, 51, 255]), &[1, 1, 2]).unwrap(),
        [0.2, 0.2]
    );
    let rgb = bytes(ExtendedColorType::Rgb8, &[0, 51, 102, 153, 204, 255]);
    for (found, words) in [
        (decode(&rgb, &[1, 1, 2]), "convert it to grey"),
        (decode(&rgb, &[3, 2, 2]), "2x1 pixels; the model takes 2x2: resize it first"),
        (decode(&rgb, &[784]), "the model takes samples of shape [784], not images"),
        (decode(&bytes(ExtendedColorType::Rgba8, &[0; 8]), &[3, 1, 2]), "transparent"),
        (decode(&bytes(ExtendedColorType::L16, &[0; 4]), &[1, 1, 2]), "save it with 8 bits a channel"),
        (decode(b"", &[1, 1, 2]), "not a PNG, JPEG or NPY"),
    ] {
        let error = found.unwrap_err();
        assert!(error.starts_with("image.png: ") && error.contains(words), "{error}");
    }
}

#[test]
fn channels_are_last_where_the_model_wants_them_last() {
    let dir = folder();
    let path = dir.path().join("image.png");
    png(&path, 4, 2, ExtendedColorType::Rgb8, &(0..24).collect::<Vec<u8>>());
    let values = decode_image("image.png", &fs::read(path).unwrap(), &[2, 4, 3]).unwrap();
    let expected: Vec<f32> = (0..24_u8).map(|v| f32::from(v) / 255.0).collect();
    assert_eq!(values, expected);
}

#[test]
fn single_arrays_have_the_shape_of_the_sample() {
    let array = npy("|u1", "(1, 2, 2)", &IMAGES);
    assert_eq!(decode_image("a.npy", &array, &[1, 2, 2]).unwrap(), [0.0, 0.2, 0.4, 1.0]);
    assert_eq!(decode_image("a.npy", &array, &[2, 2]).unwrap(), [0.0, 0.2, 0.4, 1.0]);
    assert!(
        decode_image("a.npy", &array, &[4]).unwrap_err().to_string().contains("shape [1, 2, 2]; the model takes [4]")
    );
    let float = npy("<f4", "(1, 1)", &2.0_f32.to_le_bytes());
    assert!(decode_image("a.npy", &float, &[1, 1]).unwrap_err().to_string().contains("value 2 is outside [0, 1]"));
}

#[test]
fn the_shipped_images_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/data/fashion-mnist");
    let data = open(&path).unwrap();
    assert_eq!((data.len(), data.sample_shape()), (1000, &[1, 28, 28][..]));
    // The first test image of Fashion-MNIST is an ankle boot.
    assert_eq!(data.labels()[0], Class(9));
}

#[test]
fn three_channels_move_to_where_a_model_has_them_and_nothing_else_moves() {
    let rows = Array2::from_shape_fn((2, 12), |(i, j)| (100 * i + j) as f32);
    let last = assay_data::laid_out(&rows.view(), &[3, 2, 2], &[2, 2, 3]).unwrap();
    assert_eq!(last.row(1).to_vec(), [100., 104., 108., 101., 105., 109., 102., 106., 110., 103., 107., 111.]);
    assert_eq!(assay_data::laid_out(&last.view(), &[2, 2, 3], &[3, 2, 2]).unwrap(), rows);
    for (from, to) in
        [(&[3, 2, 2][..], &[3, 2, 2][..]), (&[3, 2, 2], &[12]), (&[1, 3, 4], &[3, 4, 1]), (&[3, 4], &[3, 1, 4])]
    {
        assert_eq!(assay_data::laid_out(&rows.view(), from, to).unwrap(), rows, "{from:?} {to:?}");
    }
    for to in [&[2, 3, 2][..], &[2, 6], &[11], &[4, 1, 3]] {
        assert!(assay_data::laid_out(&rows.view(), &[3, 2, 2], to).is_none(), "{to:?}");
    }
}
