//! Saliency maps: how much each pixel matters, as grey pictures.

use std::path::Path;

use image::{ColorType, ImageFormat};

use crate::error::ClientError;

/// Writes the map of one sample to `folder/NAME.png`: the largest absolute value of the gradient over the channels of a pixel
/// (Simonyan, Vedaldi and Zisserman, 2014), white where it is largest in the picture.
pub(crate) fn write(folder: &Path, name: &str, gradient: &[f32], layout: Layout) -> Result<(), ClientError> {
    let file = folder.join(format!("{name}.png"));
    let failed = |e: &dyn std::fmt::Display| ClientError::Environment(format!("cannot write {}: {e}", file.display()));
    let size = |n: usize| u32::try_from(n).map_err(|e| failed(&e));
    let (width, height) = (size(layout.width)?, size(layout.height)?);
    image::save_buffer_with_format(&file, &layout.grey(gradient), width, height, ColorType::L8, ImageFormat::Png)
        .map_err(|e| failed(&e))
}

/// Where the pixels of a sample are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    width: usize,
    height: usize,
    channels: usize,
    channels_last: bool,
}

impl Layout {
    /// That of samples of a shape; `None` if they are no pictures.
    pub(crate) fn of(shape: &[u64]) -> Option<Self> {
        let shape: Vec<usize> = shape.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<_>>()?;
        let (channels, height, width, channels_last) = match *shape {
            [h, w] => (1, h, w, false),
            [c @ (1 | 3), h, w] => (c, h, w, false),
            [h, w, c @ (1 | 3)] => (c, h, w, true),
            _ => return None,
        };
        Some(Self { width, height, channels, channels_last })
    }

    /// The map, row by row; a gradient that is not finite anywhere counts as zero there.
    fn grey(self, gradient: &[f32]) -> Vec<u8> {
        let area = self.width * self.height;
        let at = |pixel: usize, channel: usize| {
            let at = if self.channels_last { pixel * self.channels + channel } else { channel * area + pixel };
            gradient.get(at).map_or(0.0, |value| value.abs())
        };
        let largest_of = |values: &mut dyn Iterator<Item = f32>| values.filter(|v| v.is_finite()).fold(0.0, f32::max);
        let sizes: Vec<f32> =
            (0..area).map(|pixel| largest_of(&mut (0..self.channels).map(|channel| at(pixel, channel)))).collect();
        let largest = largest_of(&mut sizes.iter().copied());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 255")]
        let grey = |size: &f32| if largest > 0.0 { (size / largest * 255.0).round() as u8 } else { 0 };
        sizes.iter().map(grey).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_is_as_bright_as_its_largest_channel() {
        let first = Layout::of(&[3, 1, 2]).unwrap();
        assert_eq!(first.grey(&[1.0, 0.0, -4.0, 0.5, 2.0, f32::NAN]), [255, 32]);
        let last = Layout::of(&[2, 1, 3]).unwrap();
        assert_eq!(last.grey(&[1.0, -4.0, 2.0, 0.0, 0.5, f32::NAN]), [255, 32]);
        assert_eq!(Layout::of(&[2, 2]).unwrap().grey(&[0.0; 4]), [0; 4]);
        assert_eq!(Layout::of(&[4, 2, 2]), None);
    }
}
