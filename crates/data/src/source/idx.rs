//! IDX, the format of MNIST: two zero bytes, a type, the number of dimensions, each size as big-endian u32, the elements.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::array::{Array, Element, Rows};
use super::file_name;
use crate::DataError;

/// Type code of unsigned bytes.
const UNSIGNED_BYTE: u8 = 8;

/// Whether a file is named as the images of a pair are.
pub(super) fn is_images(path: &Path) -> bool {
    let name = file_name(path);
    name.contains("images") && (name.ends_with("ubyte") || name.ends_with("ubyte.gz"))
}

/// Reads the rows; a file that begins as gzip is decompressed.
pub(super) fn read(path: &Path, rows: Rows) -> Result<Array, DataError> {
    let open = || File::open(path).map(BufReader::new).map_err(|e| DataError::io(path, e));
    let mut start = [0; 2];
    open()?.read_exact(&mut start).map_err(|e| header_error(path, e))?;
    if start == [0x1f, 0x8b] { array(path, MultiGzDecoder::new(open()?), rows) } else { array(path, open()?, rows) }
}

fn array(path: &Path, mut reader: impl Read, rows: Rows) -> Result<Array, DataError> {
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(|e| header_error(path, e))?;
    let [0, 0, kind, dimensions] = magic else {
        let reason =
            format!("does not begin as IDX: magic {magic:02x?}, expected 00 00 08 and the number of dimensions");
        return Err(DataError::malformed(path, reason));
    };
    if kind != UNSIGNED_BYTE || !(1..=4).contains(&dimensions) {
        let reason =
            format!("IDX type {kind:#04x} with {dimensions} dimensions; expected unsigned bytes (0x08) with 1 to 4");
        return Err(DataError::malformed(path, reason));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let mut size = [0; 4];
        reader.read_exact(&mut size).map_err(|e| header_error(path, e))?;
        shape.push(u32::from_be_bytes(size) as usize);
    }
    Array::read(path, reader, shape, Element::U8, rows)
}

fn header_error(path: &Path, error: io::Error) -> DataError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return DataError::malformed(path, "ends within its header; fetch the file again");
    }
    DataError::io(path, error)
}
