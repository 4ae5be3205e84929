//! Binary batches of CIFAR.

use super::*;

/// An image whose bytes are all the same, behind its label or labels.
fn record(labels: &[u8], value: u8) -> Vec<u8> {
    [labels, &[value; 3072]].concat()
}

fn write(dir: &TempDir, name: &str, records: &[Vec<u8>]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, records.concat()).unwrap();
    path
}

/// The first value of each image, as a byte.
fn firsts(data: &Dataset) -> Vec<f32> {
    data.samples().column(0).iter().map(|value| (value * 255.0).round()).collect()
}

#[test]
fn batches_follow_one_another_and_the_test_batch_is_apart() {
    let dir = folder();
    // Images that begin as an IDX file does.
    let test = write(&dir, "test_batch.bin", &[record(&[0], 0)]);
    write(&dir, "data_batch_2.bin", &[record(&[7], 30)]);
    let first = write(&dir, "data_batch_1.bin", &[record(&[3], 10), record(&[9], 20)]);
    let train = |limit| Dataset::open(&DataSource::new(dir.path()).with_split(Split::Train), limit).unwrap();
    let data = train(None);
    assert_eq!((firsts(&data), data.sample_shape()), (vec![10.0, 20.0, 30.0], &[3, 32, 32][..]));
    assert_eq!(data.labels(), [Class(3), Class(9), Class(7)]);
    assert!(data.class_names().is_empty());
    assert_eq!(train(Some(2)).digest(), open(&first).unwrap().digest(), "the second batch was not needed");
    assert_eq!(open(dir.path()).unwrap().labels(), [Class(0)]);
    assert_eq!(open(&test).unwrap().labels(), [Class(0)]);
}

#[test]
fn planes_are_red_then_green_then_blue() {
    let dir = folder();
    let mut image = record(&[1], 0);
    image[1 + 1024..1 + 2048].fill(255);
    let data = open(&write(&dir, "data_batch_1.bin", &[image])).unwrap();
    let row = data.samples().row(0).to_vec();
    assert!(row[..1024].iter().chain(&row[2048..]).all(|v| *v == 0.0) && row[1024..2048].iter().all(|v| *v == 1.0));
}

#[test]
fn of_cifar_100_the_fine_labels_are_read() {
    let dir = folder();
    let path = write(&dir, "train.bin", &[record(&[4, 99], 10), record(&[4, 12], 20)]);
    let data = open(&path).unwrap();
    assert_eq!((data.labels(), firsts(&data)), (&[Class(99), Class(12)][..], vec![10.0, 20.0]));
}

#[test]
fn classes_are_named_by_the_file_beside_them() {
    let dir = folder();
    let path = write(&dir, "test_batch.bin", &[record(&[3], 0)]);
    let names = dir.path().join("batches.meta.txt");
    fs::write(&names, "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n").unwrap();
    assert_eq!(open(&path).unwrap().class_names()[3], "cat");
    fs::write(&names, "airplane\n").unwrap();
    assert!(open(&path).unwrap_err().contains("batches.meta.txt: names 1 classes; CIFAR-10 has 10"));
}

#[test]
fn damaged_batches_are_refused() {
    let dir = folder();
    let good = [record(&[1], 0), record(&[2], 0)].concat();
    let with = |bytes: &[u8], words: &str| refused(&write(&dir, "data_batch_1.bin", &[bytes.to_vec()]), words);
    with(&good[..good.len() - 1], "has 6145 bytes; expected a multiple of 3073 (CIFAR-10) or 3074 (CIFAR-100)");
    with(&record(&[10], 0), "label 10 of image 0; the classes of CIFAR-10 are 0 to 9");
    with(&[record(&[0, 99], 0), record(&[0, 100], 0)].concat(), "label 100 of image 1");
    with(&[], "empty");
    write(&dir, "data_batch_1.bin", &[good]);
    write(&dir, "data_batch_2.bin", &[record(&[1, 2], 0)]);
    let error = Dataset::open(&DataSource::new(dir.path()).with_split(Split::Train), None).unwrap_err().to_string();
    assert!(error.contains("data_batch_2.bin: is not of CIFAR-10, as the file before it is"), "{error}");
}
