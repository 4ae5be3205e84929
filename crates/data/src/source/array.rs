//! An array as it was read from a file, on its way to samples or labels.

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use assay_runtime::Class;
use ndarray::{Array as Nd, Array2, Ix4};

use crate::DataError;
use crate::dataset::MAX_BYTES;

/// Which rows of an array are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// The first so many.
    First(usize),
    /// Of five parts of the same size one after the other, the first so many of one.
    Fifth {
        /// Number of the part, from 0.
        part: usize,
        limit: usize,
    },
}

impl Rows {
    /// Their numbers among `total`.
    fn among(self, total: usize) -> Result<Range<usize>, String> {
        match self {
            Self::First(limit) => Ok(0..total.min(limit)),
            Self::Fifth { part, limit } if total.is_multiple_of(5) => {
                let size = total / 5;
                Ok(part * size..part * size + size.min(limit))
            }
            Self::Fifth { .. } => Err(format!(
                "holds {total} rows, which are not five parts of the same size; expected one part for each severity, as in CIFAR-10-C"
            )),
        }
    }
}

/// Some rows of an array.
pub(super) struct Array {
    /// Shape of what was read; the first dimension counts rows.
    pub(super) shape: Vec<usize>,
    /// Rows in the file.
    pub(super) total: usize,
    /// Elements in row-major order, as stored.
    pub(super) bytes: Vec<u8>,
    pub(super) element: Element,
}

/// Type of the elements, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Element {
    pub(super) fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

impl Array {
    /// Reads rows of an array whose header said `shape`. Memory is taken as data arrives, and never more
    /// than the limit of a data set.
    pub(super) fn read(
        path: &Path,
        mut reader: impl Read,
        mut shape: Vec<usize>,
        element: Element,
        rows: Rows,
    ) -> Result<Self, DataError> {
        let Some(&total) = shape.first() else {
            return Err(DataError::malformed(path, "holds a single number; expected an array with one row per sample"));
        };
        let range = rows.among(total).map_err(|reason| DataError::malformed(path, reason))?;
        let rows = range.len();
        let width = shape.iter().skip(1).try_fold(1_usize, |product, &d| product.checked_mul(d)).unwrap_or(usize::MAX);
        let most = MAX_BYTES / size_of::<f32>() as u64;
        let wanted = (rows as u64).checked_mul(width as u64).filter(|&values| values <= most);
        let (Some(values), true) = (wanted, width as u64 <= most) else {
            let (samples, features) = (rows as u64, width as u64);
            return Err(DataError::TooLarge { path: path.to_owned(), samples, features, limit: MAX_BYTES });
        };
        let size = values * element.size() as u64;
        let before = (range.start as u64).saturating_mul(width as u64).saturating_mul(element.size() as u64);
        let mut bytes = Vec::new();
        let skipped = io::copy(&mut reader.by_ref().take(before), &mut io::sink());
        let read = skipped.and_then(|_| reader.by_ref().take(size).read_to_end(&mut bytes));
        let truncated = || {
            let reason = format!(
                "is truncated: the header promises {rows} rows of {width} values ({size} bytes), {} bytes could be read; \
                 fetch the file again",
                bytes.len()
            );
            DataError::malformed(path, reason)
        };
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(truncated()),
            Err(error) => return Err(DataError::io(path, error)),
            Ok(_) if (bytes.len() as u64) < size => return Err(truncated()),
            Ok(_) => {}
        }
        if range.end == total {
            // Reading past the end also makes decompressors verify their checksum.
            match reader.read(&mut [0]) {
                Ok(0) => {}
                Ok(_) => {
                    return Err(DataError::malformed(
                        path,
                        "holds more data than its header says; fetch the file again",
                    ));
                }
                Err(error) => return Err(DataError::io(path, error)),
            }
        }
        if let Some(first) = shape.first_mut() {
            *first = rows;
        }
        Ok(Self { shape, total, bytes, element })
    }

    /// As classes.
    pub(super) fn to_labels(&self, path: &Path) -> Result<Vec<Class>, DataError> {
        if self.shape.iter().skip(1).product::<usize>() != 1 {
            let reason =
                format!("labels have shape {:?}; expected one integer per sample, not one-hot rows", self.shape);
            return Err(DataError::malformed(path, reason));
        }
        let integers: Vec<i128> = match self.element {
            Element::U8 => self.elements(u8::from_le_bytes).map(i128::from).collect(),
            Element::I8 => self.elements(i8::from_le_bytes).map(i128::from).collect(),
            Element::U16 => self.elements(u16::from_le_bytes).map(i128::from).collect(),
            Element::I16 => self.elements(i16::from_le_bytes).map(i128::from).collect(),
            Element::U32 => self.elements(u32::from_le_bytes).map(i128::from).collect(),
            Element::I32 => self.elements(i32::from_le_bytes).map(i128::from).collect(),
            Element::U64 => self.elements(u64::from_le_bytes).map(i128::from).collect(),
            Element::I64 => self.elements(i64::from_le_bytes).map(i128::from).collect(),
            Element::F32 | Element::F64 => {
                return Err(DataError::malformed(path, "labels are floating-point numbers; store them as integers"));
            }
        };
        let class = |(sample, label): (usize, i128)| {
            u32::try_from(label).map(Class).map_err(|_| {
                DataError::malformed(
                    path,
                    format!("label {label} of sample {sample} is no class; classes count from 0"),
                )
            })
        };
        integers.into_iter().enumerate().map(class).collect()
    }

    /// As `[n, features]` in `[0, 1]`, channels first, and the shape of one sample.
    ///
    /// `[n, h, w]` is grey; of four dimensions the channels (1 or 3) are the second, or else the last.
    pub(super) fn into_samples(self, path: &Path) -> Result<(Array2<f32>, Vec<usize>), DataError> {
        let values: Vec<f32> = match self.element {
            Element::U8 => self.bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect(),
            Element::F32 => self.elements(f32::from_le_bytes).collect(),
            // Rounding to the nearest cannot leave [0, 1].
            Element::F64 => self.elements(f64::from_le_bytes).map(|value| value as f32).collect(),
            other => {
                let reason = format!("images are of type {other:?}; store them as bytes, or as floats in [0, 1]");
                return Err(DataError::malformed(path, reason));
            }
        };
        let malformed = |_| DataError::malformed(path, format!("shape {:?} does not fit its data", self.shape));
        let rows = |n: usize, values: Vec<f32>| {
            let features = values.len().checked_div(n).unwrap_or(0);
            Array2::from_shape_vec((n, features), values)
        };
        match self.shape.as_slice() {
            &[n, features] => Ok((rows(n, values).map_err(malformed)?, vec![features])),
            &[n, h, w] => Ok((rows(n, values).map_err(malformed)?, vec![1, h, w])),
            &[n, c @ (1 | 3), h, w] => Ok((rows(n, values).map_err(malformed)?, vec![c, h, w])),
            &[n, h, w, c @ (1 | 3)] => {
                let last: Nd<f32, Ix4> = Nd::from_shape_vec((n, h, w, c), values).map_err(malformed)?;
                let first = last.permuted_axes([0, 3, 1, 2]);
                Ok((rows(n, first.iter().copied().collect()).map_err(malformed)?, vec![c, h, w]))
            }
            shape => {
                let reason = format!(
                    "images have shape {shape:?}; expected [n, features], [n, h, w], or four dimensions with 1 or 3 channels"
                );
                Err(DataError::malformed(path, reason))
            }
        }
    }

    fn elements<T, const N: usize>(&self, from: impl Fn([u8; N]) -> T) -> impl Iterator<Item = T> {
        self.bytes.as_chunks::<N>().0.iter().map(move |&chunk| from(chunk))
    }
}
