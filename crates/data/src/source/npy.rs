//! NPY and NPZ, the formats of NumPy (NEP 1). The header is read here, and not by a library, so that nothing is allocated on
//! a hostile header's word.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use super::array::{Array, Element, Rows};
use crate::DataError;

/// First bytes of every NPY file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// Names that an NPZ file may give its images, in order of preference.
const IMAGE_NAMES: [&str; 4] = ["images", "x_test", "x", "input"];
/// Names that an NPZ file may give its labels.
pub(super) const LABEL_NAMES: [&str; 3] = ["labels", "y_test", "y"];
/// NumPy writes less than 200 bytes.
const MAX_HEADER: usize = 4096;

/// What an NPZ file holds.
pub(super) struct Arrays {
    pub(super) images: Array,
    pub(super) labels: Option<Array>,
}

/// Reads the rows of an NPY file.
pub(super) fn read_npy(path: &Path, rows: Rows) -> Result<Array, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    read(path, BufReader::new(file), rows)
}

/// Reads images of an NPZ file, and their labels if they are wanted and there.
pub(super) fn read_npz(path: &Path, labels: bool, rows: Rows) -> Result<Arrays, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    let broken = |e: zip::result::ZipError| {
        DataError::malformed(path, format!("is not a readable NPZ file: {e}; write it again"))
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let find = |wanted: &[&str]| {
        wanted.iter().find_map(|name| names.iter().find(|found| found.strip_suffix(".npy").unwrap_or(found) == *name))
    };
    let mut entry = |name: &str| read(path, archive.by_name(name).map_err(broken)?, rows);
    let Some(images) = find(&IMAGE_NAMES) else {
        let reason = format!("holds {}; expected an array named {}", names.join(", "), IMAGE_NAMES.join(", "));
        return Err(DataError::malformed(path, reason));
    };
    let images = entry(images)?;
    let labels = find(&LABEL_NAMES).filter(|_| labels).map(|name| entry(name)).transpose()?;
    Ok(Arrays { images, labels })
}

/// Reads the rows of NPY data.
pub(super) fn read(path: &Path, mut reader: impl Read, rows: Rows) -> Result<Array, DataError> {
    let Header { element, shape } = header(&mut reader).map_err(|reason| DataError::malformed(path, reason))?;
    Array::read(path, reader, shape, element, rows)
}

struct Header {
    element: Element,
    shape: Vec<usize>,
}

fn header(reader: &mut impl Read) -> Result<Header, String> {
    let mut take = |count: usize| {
        let mut bytes = Vec::new();
        let read = reader.take(count as u64).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
        if read == count { Ok(bytes) } else { Err("ends within its header; write the file again".to_owned()) }
    };
    if take(MAGIC.len())? != MAGIC {
        return Err("does not begin as NPY".into());
    }
    let length_bytes = if take(2)?.first() == Some(&1) { 2 } else { 4 };
    let length = take(length_bytes)?.iter().rev().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
    if length > MAX_HEADER {
        return Err(format!("header of {length} bytes; expected at most {MAX_HEADER}"));
    }
    let text = String::from_utf8(take(length)?).map_err(|_| "header is not text".to_owned())?;
    let field = |name: &str| {
        let after = text.split_once(&format!("'{name}':")).map(|(_, after)| after.trim_start());
        after.ok_or_else(|| format!("header has no '{name}'"))
    };
    if field("fortran_order")?.starts_with("True") {
        return Err("is in Fortran order; save it with numpy.ascontiguousarray".into());
    }
    let descr = field("descr")?;
    let element = match descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(descr, _)| descr) {
        Some("|u1") => Element::U8,
        Some("|i1") => Element::I8,
        Some("<u2") => Element::U16,
        Some("<i2") => Element::I16,
        Some("<u4") => Element::U32,
        Some("<i4") => Element::I32,
        Some("<u8") => Element::U64,
        Some("<i8") => Element::I64,
        Some("<f4") => Element::F32,
        Some("<f8") => Element::F64,
        _ => {
            return Err("element type is not understood; save bytes, little-endian integers, float32 or float64".into());
        }
    };
    let tuple = field("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(tuple, _)| tuple);
    let sizes = tuple.into_iter().flat_map(|tuple| tuple.split(',')).map(str::trim).filter(|size| !size.is_empty());
    let shape: Result<Vec<usize>, _> = sizes.map(str::parse).collect();
    match shape {
        Ok(shape) if tuple.is_some() => Ok(Header { element, shape }),
        _ => Err("shape is not a tuple of sizes".into()),
    }
}
