//! Parquet files, as the Hugging Face hub has them: a column of encoded pictures, bytes or a struct with a field `bytes`, and a column of
//! integer labels.

mod footer;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use assay_runtime::Class;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor};
use serde_json::Value;

use super::stack::Stack;
use super::{Loaded, has_extension, listed};
use crate::DataError;

/// First bytes of every Parquet file.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// Names that the column of pictures may have, in order of preference.
const IMAGE_NAMES: [&str; 2] = ["img", "image"];
/// Names that the column of labels may have; CIFAR-100 has coarse ones too.
const LABEL_NAMES: [&str; 3] = ["label", "labels", "fine_label"];
/// Rows that are decompressed before they are decoded.
const ROWS: usize = 256;

/// Whether a file is named as a Parquet file is.
pub(super) fn is_parquet(path: &Path) -> bool {
    has_extension(path, "parquet")
}

/// Reads the first `limit` rows of some files, one file after the other.
pub(super) fn load(files: &[PathBuf], limit: usize) -> Result<Loaded, DataError> {
    let tables: Vec<_> = files.iter().map(|path| guarded(path, || Table::open(path))).collect::<Result<_, _>>()?;
    let rows = tables.iter().fold(0_usize, |rows, table| rows.saturating_add(table.rows));
    let source = files.first().map_or(Path::new(""), PathBuf::as_path);
    let (mut stack, mut labels, mut read) = (Stack::new(source, rows.min(limit)), Vec::new(), Vec::new());
    for table in &tables {
        if !read.is_empty() && labels.len() >= limit {
            break;
        }
        guarded(table.path, || table.append(limit, &mut stack, &mut labels))?;
        read.push(listed(table.path));
    }
    let (samples, sample_shape) = stack.into_samples()?;
    let class_names = tables.first().and_then(Table::class_names).unwrap_or_default();
    Ok(Loaded { samples, sample_shape, labels, class_names, files: read })
}

/// An open file.
struct Table<'a> {
    path: &'a Path,
    reader: SerializedFileReader<File>,
    rows: usize,
    /// Position of the column with the pictures.
    images: usize,
    /// Position of the column with the labels, and its name.
    labels: (usize, &'static str),
}

impl<'a> Table<'a> {
    fn open(path: &'a Path) -> Result<Self, DataError> {
        let mut file = File::open(path).map_err(|e| DataError::io(path, e))?;
        if !footer::is_sound(&mut file).map_err(|e| DataError::io(path, e))? {
            let reason = "does not end as a Parquet file does, or its footer contradicts itself; fetch the file again";
            return Err(DataError::malformed(path, reason));
        }
        let reader = SerializedFileReader::new(file).map_err(|e| broken(path, &e))?;
        let facts = reader.metadata().file_metadata();
        let rows = usize::try_from(facts.num_rows()).map_err(|_| {
            DataError::malformed(path, format!("says that it has {} rows; fetch the file again", facts.num_rows()))
        })?;
        let columns = facts.schema_descr().columns();
        let position = |fits: &dyn Fn(&ColumnDescriptor) -> bool| columns.iter().position(|column| fits(column));
        let images = IMAGE_NAMES.iter().find_map(|name| position(&|column| holds_pictures(column, name)));
        let labels = LABEL_NAMES.iter().find_map(|name| Some((position(&|column| holds_labels(column, name))?, *name)));
        let (Some(images), Some(labels)) = (images, labels) else {
            let found: Vec<_> = columns.iter().map(|c| format!("{} ({})", c.path(), c.physical_type())).collect();
            let reason = format!(
                "holds the columns {}; expected bytes of pictures in {}, and integers in {}",
                found.join(", "),
                IMAGE_NAMES.join(" or "),
                LABEL_NAMES.join(" or ")
            );
            return Err(DataError::malformed(path, reason));
        };
        Ok(Self { path, rows, images, labels, reader })
    }

    /// Reads rows until there are `limit`.
    fn append(&self, limit: usize, stack: &mut Stack, labels: &mut Vec<Class>) -> Result<(), DataError> {
        let mut row = 0;
        for group in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(group).map_err(|e| broken(self.path, &e))?;
            let (mut images, mut classes) = (self.column(&*group, self.images)?, self.column(&*group, self.labels.0)?);
            while labels.len() < limit {
                let wanted = ROWS.min(limit - labels.len());
                let pictures = self.pictures(&mut images, row, wanted)?;
                let integers = self.integers(&mut classes, row, wanted)?;
                if pictures.len() != integers.len() {
                    let reason = "has columns of different lengths; fetch the file again";
                    return Err(DataError::malformed(self.path, reason));
                }
                if pictures.is_empty() {
                    break;
                }
                for (picture, label) in pictures.iter().zip(integers) {
                    let malformed = |reason| DataError::malformed(self.path, format!("row {row}: {reason}"));
                    stack.push(picture.data(), malformed)?;
                    let class = u32::try_from(label).map(Class);
                    labels.push(
                        class.map_err(|_| malformed(format!("label {label} is no class; classes count from 0")))?,
                    );
                    row += 1;
                }
            }
        }
        Ok(())
    }

    fn column(&self, group: &dyn RowGroupReader, at: usize) -> Result<ColumnReader, DataError> {
        let pages = group.get_column_page_reader(at).map_err(|e| broken(self.path, &e))?;
        Ok(get_column_reader(self.descriptor(at), Box::new(Checked(pages))))
    }

    fn descriptor(&self, at: usize) -> ColumnDescPtr {
        self.reader.metadata().file_metadata().schema_descr().column(at)
    }

    fn pictures(&self, column: &mut ColumnReader, row: usize, wanted: usize) -> Result<Vec<ByteArray>, DataError> {
        match column {
            ColumnReader::ByteArrayColumnReader(reader) => self.values(reader, self.images, row, wanted),
            _ => Ok(Vec::new()),
        }
    }

    fn integers(&self, column: &mut ColumnReader, row: usize, wanted: usize) -> Result<Vec<i64>, DataError> {
        match column {
            ColumnReader::Int32ColumnReader(reader) => {
                Ok(self.values(reader, self.labels.0, row, wanted)?.into_iter().map(i64::from).collect())
            }
            ColumnReader::Int64ColumnReader(reader) => self.values(reader, self.labels.0, row, wanted),
            _ => Ok(Vec::new()),
        }
    }

    /// The next values of the column `at`, the first of which is in `row`.
    fn values<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        at: usize,
        row: usize,
        wanted: usize,
    ) -> Result<Vec<T::T>, DataError> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let read = reader.read_records(wanted, Some(&mut levels), None, &mut values);
        let (rows, found, _) = read.map_err(|e| broken(self.path, &e))?;
        if found < rows {
            let column = self.descriptor(at);
            let row = row + levels.iter().position(|level| *level < column.max_def_level()).unwrap_or(0);
            let reason = format!(
                "row {row} has nothing in {}; every row must hold its picture, not the path of a file, and its label",
                column.path()
            );
            return Err(DataError::malformed(self.path, reason));
        }
        Ok(values)
    }

    /// Names of the classes, where the file was written by Hugging Face's `datasets`: they are decoration, so that what cannot be
    /// read is left out.
    fn class_names(&self) -> Option<Vec<String>> {
        let entries = self.reader.metadata().file_metadata().key_value_metadata()?;
        let text = entries.iter().find(|entry| entry.key == "huggingface")?.value.as_deref()?;
        let facts: Value = serde_json::from_str(text).ok()?;
        let names = facts.get("info")?.get("features")?.get(self.labels.1)?.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    }
}

fn holds_pictures(column: &ColumnDescriptor, name: &str) -> bool {
    let path = column.path().parts();
    let named = path == [name] || path == [name, "bytes"];
    named && column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 0
}

fn holds_labels(column: &ColumnDescriptor, name: &str) -> bool {
    let integer = matches!(column.physical_type(), Type::INT32 | Type::INT64);
    column.path().parts() == [name] && integer && column.max_rep_level() == 0
}

/// The library asserts what broken files contradict. After its panic nothing that it left is looked at.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(DataError::malformed(
            path,
            "cannot be read as Parquet: its pages contradict themselves; fetch the file again",
        ))
    })
}

fn broken(path: &Path, error: &ParquetError) -> DataError {
    let reason =
        format!("cannot be read as Parquet: {error}; fetch the file again, or write it with Snappy or Zstandard");
    DataError::malformed(path, reason)
}

/// Pages in the encodings that such files have, whose dictionaries have no more entries than their bytes can hold: decoders take memory
/// on the word of a page.
struct Checked(Box<dyn PageReader>);

impl PageReader for Checked {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.0.get_next_page()?;
        match &page {
            Some(Page::DataPage { encoding, .. } | Page::DataPageV2 { encoding, .. })
                if !matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY) =>
            {
                Err(ParquetError::General(format!("the encoding {encoding} is not understood")))
            }
            // Every entry has its length, or is itself a number, of at least four bytes.
            Some(Page::DictionaryPage { buf, num_values, .. }) if u64::from(*num_values) * 4 > buf.len() as u64 => {
                let length = buf.len();
                Err(ParquetError::General(format!("a dictionary promises {num_values} entries in {length} bytes")))
            }
            _ => Ok(page),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.0.skip_next_page()
    }
}

impl Iterator for Checked {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One dictionary of `entries` in eight bytes.
    struct Dictionary(u32);

    impl Iterator for Dictionary {
        type Item = Result<Page, ParquetError>;

        fn next(&mut self) -> Option<Self::Item> {
            self.get_next_page().transpose()
        }
    }

    impl PageReader for Dictionary {
        fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
            let (buf, encoding) = (vec![0; 8].into(), Encoding::PLAIN);
            Ok(Some(Page::DictionaryPage { buf, num_values: self.0, encoding, is_sorted: false }))
        }

        fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
            Ok(None)
        }

        fn skip_next_page(&mut self) -> Result<(), ParquetError> {
            Ok(())
        }
    }

    #[test]
    fn dictionaries_that_promise_more_than_they_hold_are_refused() {
        assert!(Checked(Box::new(Dictionary(2))).next().unwrap().is_ok());
        for entries in [3, u32::MAX] {
            let error = Checked(Box::new(Dictionary(entries))).next().unwrap().unwrap_err();
            assert!(error.to_string().contains(&format!("promises {entries} entries in 8 bytes")), "{error}");
        }
    }
}
