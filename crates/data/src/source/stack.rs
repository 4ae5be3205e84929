//! Pictures of one size, on their way to samples.

use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::file_name;
use super::picture::Pixels;
use crate::DataError;
use crate::dataset::MAX_BYTES;

/// Decoded pictures. All have the same size; together they have one channel if each is grey, else three.
pub(super) struct Stack {
    /// File or folder that they come from.
    source: PathBuf,
    /// How many there will be.
    expected: usize,
    channels: usize,
    pictures: Vec<Pixels>,
}

impl Stack {
    pub(super) fn new(source: &Path, expected: usize) -> Self {
        Self { source: source.to_owned(), expected, channels: 1, pictures: Vec::new() }
    }

    /// Decodes one more PNG or JPEG; `malformed` tells where a reason applies.
    pub(super) fn push(&mut self, bytes: &[u8], malformed: impl Fn(String) -> DataError) -> Result<(), DataError> {
        let picture = Pixels::decode(bytes).map_err(&malformed)?;
        if let Some(first) = self.pictures.first()
            && (picture.height, picture.width) != (first.height, first.width)
        {
            return Err(malformed(format!(
                "{}x{} pixels, but the first image has {}x{}; all images must have the same size: resize them first",
                picture.width, picture.height, first.width, first.height
            )));
        }
        self.channels = self.channels.max(picture.channels);
        let features = (self.channels * picture.height * picture.width) as u64;
        // More may come than a file said.
        let samples = self.expected.max(self.pictures.len() + 1) as u64;
        if samples.saturating_mul(features) > MAX_BYTES / size_of::<f32>() as u64 {
            return Err(DataError::TooLarge { path: self.source.clone(), samples, features, limit: MAX_BYTES });
        }
        self.pictures.push(picture);
        Ok(())
    }

    /// As `[n, features]` in `[0, 1]`, channels first, and the shape of one sample.
    pub(super) fn into_samples(self) -> Result<(Array2<f32>, Vec<usize>), DataError> {
        let Some(first) = self.pictures.first() else {
            return Err(DataError::Empty { name: file_name(&self.source) });
        };
        let shape = vec![self.channels, first.height, first.width];
        let features = shape.iter().product();
        let mut values = Vec::with_capacity(self.pictures.len() * features);
        for picture in &self.pictures {
            let planes = picture.planes(self.channels);
            values.extend(planes.map_err(|reason| DataError::malformed(&self.source, reason))?);
        }
        let samples = Array2::from_shape_vec((self.pictures.len(), features), values);
        Ok((samples.map_err(|e| DataError::malformed(&self.source, e.to_string()))?, shape))
    }
}
