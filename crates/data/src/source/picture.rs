//! Decoding of single images.

use std::io::Cursor;
use std::path::Path;

use image::{ColorType, DynamicImage, ImageError, ImageReader, Limits};

use super::array::Rows;
use super::npy;
use crate::DataError;
use crate::layout::squeezed;

/// Longest side of an image, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most memory that decoding one image may take.
const MAX_ALLOCATION: u64 = 1 << 30;

/// Pixels of an image with 8 bits a channel, channels first.
pub(super) struct Pixels {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    bytes: Vec<u8>,
}

/// Decodes one PNG, JPEG or NPY image to the values of one sample in `[0, 1]`, flattened in row-major order. `name` is what
/// errors call it.
///
/// `shape` is that of the model's samples: `[c, h, w]`, `[h, w, c]` with `c` 1 or 3, or `[h, w]`. A grey picture fills three
/// channels alike, and a coloured file whose channels are alike fits one; nothing is resized, cropped or mixed. NPY data
/// must have the shape itself (dimensions of size 1 aside), as bytes or as floats in `[0, 1]`.
///
/// # Errors
/// The bytes are no such image, its size or colours do not fit, or a float is outside `[0, 1]`.
pub fn decode_image(name: &str, bytes: &[u8], shape: &[usize]) -> Result<Vec<f32>, DataError> {
    if bytes.starts_with(npy::MAGIC) {
        return decode_npy(name, bytes, shape);
    }
    let fail = |reason: String| DataError::Image { what: name.to_owned(), reason };
    let (channels, height, width, last) = match *shape {
        [h, w] => (1, h, w, false),
        [c @ (1 | 3), h, w] => (c, h, w, false),
        [h, w, c @ (1 | 3)] => (c, h, w, true),
        _ => {
            return Err(fail(format!(
                "the model takes samples of shape {shape:?}, not images; give an .npy of that shape"
            )));
        }
    };
    let pixels = Pixels::decode(bytes).map_err(fail)?;
    if (pixels.height, pixels.width) != (height, width) {
        let (h, w) = (pixels.height, pixels.width);
        return Err(fail(format!("{w}x{h} pixels; the model takes {width}x{height}: resize it first")));
    }
    let planes = pixels.planes(channels).map_err(fail)?;
    if !last {
        return Ok(planes);
    }
    let area = height * width;
    Ok((0..area * channels).filter_map(|i| planes.get(i % channels * area + i / channels).copied()).collect())
}

fn decode_npy(name: &str, bytes: &[u8], shape: &[usize]) -> Result<Vec<f32>, DataError> {
    let path = Path::new(name);
    let mut array = npy::read(path, Cursor::new(bytes), Rows::First(usize::MAX))?;
    if squeezed(&array.shape) != squeezed(shape) {
        let reason = format!("shape {:?}; the model takes {shape:?}", array.shape);
        return Err(DataError::Image { what: name.to_owned(), reason });
    }
    array.shape = vec![1, shape.iter().product()];
    let (sample, _) = array.into_samples(path)?;
    if let Some(value) = sample.iter().find(|v| !(0.0..=1.0).contains(*v)) {
        let reason = format!("value {value} is outside [0, 1]; scale it to that range, or store bytes");
        return Err(DataError::Image { what: name.to_owned(), reason });
    }
    Ok(sample.into_raw_vec_and_offset().0)
}

impl Pixels {
    /// Decodes a PNG or a JPEG.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_ALLOCATION);
        reader.limits(limits);
        let image = reader.decode().map_err(|error| match error {
            ImageError::Unsupported(_) => "is not a PNG, JPEG or NPY file".to_owned(),
            error => format!("cannot be decoded: {error}; save it again"),
        })?;
        Self::of(image)
    }

    fn of(image: DynamicImage) -> Result<Self, String> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (channels, bytes) = match image.color() {
            ColorType::L8 => (1, image.into_bytes()),
            ColorType::Rgb8 => (3, image.into_bytes()),
            ColorType::La8 => (1, opaque::<2>(&image.into_bytes())?),
            ColorType::Rgba8 => (3, opaque::<4>(&image.into_bytes())?),
            other => return Err(format!("is stored as {other:?}; save it with 8 bits a channel")),
        };
        let area = width * height;
        let planes = (0..channels * area).filter_map(|i| bytes.get(i % area * channels + i / area).copied()).collect();
        Ok(Self { channels, height, width, bytes: planes })
    }

    /// Values in `[0, 1]` with as many channels as wanted.
    pub(super) fn planes(&self, channels: usize) -> Result<Vec<f32>, String> {
        let area = self.width * self.height;
        let values = self.bytes.iter().map(|&byte| f32::from(byte) / 255.0);
        match (self.channels, channels) {
            (have, want) if have == want => Ok(values.collect()),
            (1, want) => Ok(values.cycle().take(want * area).collect()),
            _ => {
                let (first, rest) = self.bytes.split_at(area);
                if rest.chunks(area.max(1)).any(|plane| plane != first) {
                    return Err("is coloured, but the model takes one channel; convert it to grey first".into());
                }
                Ok(values.take(area).collect())
            }
        }
    }
}

/// Drops the alpha channel, the last of `N`, if it hides nothing.
fn opaque<const N: usize>(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let pixels = bytes.as_chunks::<N>().0;
    if pixels.iter().any(|pixel| pixel.last() != Some(&u8::MAX)) {
        return Err("has transparent pixels; flatten it onto a background first".into());
    }
    Ok(pixels.iter().flat_map(|pixel| pixel.iter().take(N - 1)).copied().collect())
}
