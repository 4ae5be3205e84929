//! What identifies data from files.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::DataError;

/// SHA-256 of the listing that `sha256sum` prints for the files.
pub(super) fn of_listing(files: &[(PathBuf, String)]) -> Result<String, DataError> {
    let mut listing = Sha256::new();
    for (path, name) in files {
        let mut content = Sha256::new();
        let mut file = File::open(path).map_err(|e| DataError::io(path, e))?;
        io::copy(&mut file, &mut HashWriter(&mut content)).map_err(|e| DataError::io(path, e))?;
        listing.update(format!("{}  {name}\n", hex(&content.finalize())));
    }
    Ok(hex(&listing.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
