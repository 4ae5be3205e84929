//! Parquet files as the Hugging Face hub has them.

use std::io::Cursor;
use std::sync::Arc;

use ::parquet::basic::{Compression as Codec, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;

/// The layout of CIFAR-10.
const NESTED: &str = "message schema { optional group img { optional binary bytes; optional binary path (UTF8); } optional int64 label; }";
const FLAT: &str = "message schema { required binary image; required int32 labels; }";

/// A column: values, and of a nullable one how deeply each row is defined.
enum Column<'a> {
    Bytes(&'a [Vec<u8>], Option<&'a [i16]>),
    Short(&'a [i32]),
    Long(&'a [i64], &'a [i16]),
}

fn parquet(schema: &str, codec: Codec, names: Option<&str>, groups: &[Vec<Column<'_>>]) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_key_value_metadata(names.map(|json| vec![KeyValue::new("huggingface".into(), json.to_owned())]));
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build())).unwrap();
    for columns in groups {
        let mut group = writer.next_row_group().unwrap();
        for column in columns {
            let mut writer = group.next_column().unwrap().unwrap();
            match column {
                Column::Bytes(values, levels) => {
                    let values: Vec<ByteArray> = values.iter().map(|bytes| bytes.clone().into()).collect();
                    writer.typed::<ByteArrayType>().write_batch(&values, *levels, None).unwrap();
                }
                Column::Short(values) => {
                    writer.typed::<Int32Type>().write_batch(values, None, None).unwrap();
                }
                Column::Long(values, levels) => {
                    writer.typed::<Int64Type>().write_batch(values, Some(levels), None).unwrap();
                }
            }
            writer.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

/// A PNG of two grey pixels.
fn picture(value: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = image::GrayImage::from_raw(2, 1, vec![value, 255]).unwrap();
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Rows in the layout of CIFAR-10, in groups of two.
fn nested(codec: Codec, names: Option<&str>, rows: &[(u8, i64)]) -> Vec<u8> {
    let groups: Vec<_> = rows
        .chunks(2)
        .map(|rows| {
            let pictures: Vec<_> = rows.iter().map(|(value, _)| picture(*value)).collect();
            let labels: Vec<_> = rows.iter().map(|(_, label)| *label).collect();
            (pictures, labels, vec![2; rows.len()], vec![0; rows.len()], vec![1; rows.len()])
        })
        .collect();
    let columns: Vec<_> = groups
        .iter()
        .map(|(pictures, labels, two, none, one)| {
            vec![Column::Bytes(pictures, Some(two)), Column::Bytes(&[], Some(none)), Column::Long(labels, one)]
        })
        .collect();
    parquet(NESTED, codec, names, &columns)
}

fn flat(pictures: &[Vec<u8>], labels: &[i32]) -> Vec<u8> {
    parquet(FLAT, Codec::UNCOMPRESSED, None, &[vec![Column::Bytes(pictures, None), Column::Short(labels)]])
}

fn write(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn firsts(data: &Dataset) -> Vec<f32> {
    data.samples().column(0).iter().map(|value| (value * 255.0).round()).collect()
}

#[test]
fn pictures_labels_and_names_of_classes_are_read_in_order() {
    let dir = folder();
    let names = r#"{"info": {"features": {"img": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
    for codec in [Codec::SNAPPY, Codec::ZSTD(ZstdLevel::default()), Codec::UNCOMPRESSED] {
        let path = write(&dir, "train.parquet", &nested(codec, Some(names), &[(10, 1), (20, 0), (30, 1)]));
        let data = open(&path).unwrap();
        assert_eq!((firsts(&data), data.sample_shape()), (vec![10.0, 20.0, 30.0], &[1, 1, 2][..]));
        assert_eq!(data.labels(), [Class(1), Class(0), Class(1)]);
        assert_eq!(data.class_names(), ["cat", "dog"]);
        let two = Dataset::open(&DataSource::new(&path), Some(2)).unwrap();
        assert_eq!((firsts(&two), two.len()), (vec![10.0, 20.0], 2));
    }
}

#[test]
fn plain_columns_under_their_other_names_are_read() {
    let dir = folder();
    // Without its extension, a file is known by its first bytes.
    let path = write(&dir, "digits", &flat(&[picture(5), picture(6)], &[3, 4]));
    let data = open(&path).unwrap();
    assert_eq!((firsts(&data), data.labels()), (vec![5.0, 6.0], &[Class(3), Class(4)][..]));
    assert!(data.class_names().is_empty());
}

#[test]
fn names_that_cannot_be_read_are_left_out() {
    let dir = folder();
    for names in ["{", "{}", r#"{"info": {"features": {"label": {"names": [1]}}}}"#] {
        let path = write(&dir, "a.parquet", &nested(Codec::SNAPPY, Some(names), &[(0, 0)]));
        assert!(open(&path).unwrap().class_names().is_empty(), "{names}");
    }
}

#[test]
fn the_files_of_a_split_follow_one_another_by_name() {
    let dir = folder();
    let file = |name: &str, rows: &[(u8, i64)]| write(&dir, name, &nested(Codec::SNAPPY, None, rows));
    file("train-00001-of-00002.parquet", &[(30, 2)]);
    file("train-00000-of-00002.parquet", &[(10, 0), (20, 1)]);
    file("test-00000-of-00001.parquet", &[(40, 3)]);
    file("validation-00000-of-00001.parquet", &[(50, 4)]);
    let of = |split| Dataset::open(&DataSource::new(dir.path()).with_split(split), None).unwrap();
    assert_eq!(firsts(&of(Split::Train)), [10.0, 20.0, 30.0]);
    assert_eq!(of(Split::Train).labels(), [Class(0), Class(1), Class(2)]);
    assert_eq!(firsts(&of(Split::Test)), [40.0]);
}

#[test]
fn tables_that_cannot_be_meant_are_refused() {
    let dir = folder();
    let with = |bytes: &[u8], words: &str| refused(&write(&dir, "a.parquet", bytes), words);
    with(&nested(Codec::SNAPPY, None, &[(1, 0), (2, -1)]), "row 1: label -1 is no class; classes count from 0");
    with(&flat(&[], &[]), "empty");
    with(&flat(&[b"text".to_vec()], &[0]), "row 0: is not a PNG, JPEG or NPY file");
    let of_width = |width| {
        let mut bytes = Cursor::new(Vec::new());
        image::GrayImage::new(width, 1).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    with(&flat(&[picture(0), of_width(3)], &[0, 0]), "row 1: 3x1 pixels, but the first image has 2x1");
    with(&flat(&[of_width(16_385)], &[0]), "row 0: cannot be decoded: Image size exceeds limit");
    let pictures = [picture(0)];
    let path_only =
        [Column::Bytes(&pictures, Some(&[2, 1])), Column::Bytes(&[], Some(&[0, 0])), Column::Long(&[0, 0], &[1, 1])];
    with(&parquet(NESTED, Codec::SNAPPY, None, &[path_only.into()]), "row 1 has nothing in \"img.bytes\"");
    let other = "message schema { required binary picture; required int32 label; }";
    let columns = vec![Column::Bytes(&pictures, None), Column::Short(&[0])];
    with(
        &parquet(other, Codec::SNAPPY, None, &[columns]),
        "expected bytes of pictures in img or image, and integers in label or labels or fine_label",
    );
}

/// Whatever a file says, the answer is a data set or an error.
#[test]
fn damaged_files_are_read_or_refused() {
    let dir = folder();
    let good = nested(Codec::SNAPPY, None, &[(10, 1), (20, 0), (20, 1)]);
    for length in 0..good.len() {
        assert!(open(&write(&dir, "a.parquet", &good[..length])).is_err(), "cut at {length}");
    }
    for at in 0..good.len() {
        for change in [1, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            let _ = open(&write(&dir, "a.parquet", &bytes));
        }
    }
}

#[test]
fn cifar_10_is_read() {
    let Some(sets) = assay_reference::data_sets() else { return };
    let folder = sets.join("cifar10");
    let data = Dataset::open(&DataSource::new(&folder), Some(300)).unwrap();
    assert_eq!((data.len(), data.sample_shape()), (300, &[3, 32, 32][..]));
    let classes: std::collections::BTreeSet<_> = data.labels().iter().map(|label| label.0).collect();
    assert_eq!(classes.into_iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    // Photographs are neither black nor white.
    let mean = data.samples().mean().unwrap();
    assert!((0.4..0.55).contains(&mean), "{mean}");
    let train = Dataset::open(&DataSource::new(&folder).with_split(Split::Train), Some(300)).unwrap();
    assert_ne!(train.samples(), data.samples());
}
