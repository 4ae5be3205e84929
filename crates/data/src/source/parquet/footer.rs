//! The footer of a Parquet file, as far as it must be checked before a library reads it: that takes memory on the word of its lists.
//!
//! A footer is a structure in Thrift's compact protocol, behind it its length in four bytes and `PAR1`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::MAGIC;

/// Length and `PAR1`.
const TAIL: u64 = 8;
/// Longest footer, in bytes: some ten thousand groups of rows.
const LONGEST: u64 = 16 << 20;
/// Deepest structure; a footer has less than ten.
const DEEPEST: u32 = 32;

/// Whether the footer is there, and everything in it as long as it says.
pub(super) fn is_sound(file: &mut File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let Some(end) = size.checked_sub(TAIL) else { return Ok(false) };
    let mut tail = [0; TAIL as usize];
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    if magic != MAGIC || length > LONGEST || length > end {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(end - length))?;
    let mut footer = Vec::new();
    file.take(length).read_to_end(&mut footer)?;
    Ok(Walk { rest: &footer }.structure(DEEPEST).is_some())
}

/// What is left to be walked over.
struct Walk<'a> {
    rest: &'a [u8],
}

impl Walk<'_> {
    fn structure(&mut self, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            if head >> 4 == 0 {
                // The number of the field, where it is not near that of the one before.
                self.number()?;
            }
            match head & 0xf {
                // A truth is in its type.
                1 | 2 => {}
                kind => self.value(kind, depth)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.number().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => self.list(depth),
            12 => self.structure(depth),
            _ => None,
        }
    }

    fn list(&mut self, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let head = self.byte()?;
        let size = if head >> 4 == 0xf { self.number()? } else { u64::from(head >> 4) };
        if size > self.rest.len() as u64 {
            return None;
        }
        (0..size).try_for_each(|_| self.value(head & 0xf, depth))
    }

    /// Seven bits of each byte, the lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(count).ok()?..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walks(bytes: &[u8]) -> bool {
        Walk { rest: bytes }.structure(DEEPEST).is_some()
    }

    #[test]
    fn everything_is_as_long_as_it_says() {
        // Field 1: the number 150; field 2: two bytes; field 3: a list of two numbers; field 20: a structure with a truth.
        let good = [0x16, 0x96, 0x01, 0x18, 2, 7, 7, 0x19, 0x25, 1, 2, 0x0c, 40, 0x11, 0, 0];
        assert!(walks(&good));
        assert!((0..good.len()).all(|length| !walks(&good[..length])));
    }

    #[test]
    fn what_promises_more_than_there_is_is_refused() {
        for bytes in [
            // A list, then bytes, of 2^35 - 1 elements.
            &[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x7f, 0][..],
            &[0x18, 0xff, 0xff, 0xff, 0xff, 0x7f, 0],
            // A number that does not end, a type that there is not.
            &[0x16, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
            &[0x1d, 0],
        ] {
            assert!(!walks(bytes), "{bytes:x?}");
        }
        // Structures in structures.
        assert!(!walks(&[0x1c; 1000]));
    }
}
