//! Drawing samples.

use std::io::Cursor;

use assay_attack::Bounds;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ColorType, ImageFormat};
use ndarray::ArrayView1;

use crate::event::Pictures;

impl Pictures {
    /// Draws a sample, its perturbation and the adversarial sample; `None` if `shape` is not `[1 or 3, h, w]`.
    pub(crate) fn draw(
        shape: &[usize],
        bounds: Bounds,
        original: &ArrayView1<'_, f32>,
        adversarial: &ArrayView1<'_, f32>,
    ) -> Option<Self> {
        let &[channels @ (1 | 3), height, width] = shape else { return None };
        let range = bounds.high() - bounds.low();
        let unit = |value: &f32| (value - bounds.low()) / range;
        let changes: Vec<f32> = original.iter().zip(adversarial).map(|(x, a)| (a - x) / range).collect();
        let amplification = amplification(&changes);
        let size = Size { channels, height, width };
        Some(Self {
            width: u32::try_from(width).ok()?,
            height: u32::try_from(height).ok()?,
            original: size.png(original.iter().map(unit))?,
            perturbation: size.png(changes.iter().map(|change| 0.5 + change * amplification))?,
            adversarial: size.png(adversarial.iter().map(unit))?,
            amplification: f64::from(amplification),
        })
    }
}

/// Makes all but the largest hundredth of the changes fit between black and white: a few large ones, as L2 attacks make
/// them, would hide the rest.
fn amplification(changes: &[f32]) -> f32 {
    let mut sizes: Vec<f32> = changes.iter().map(|change| change.abs()).collect();
    sizes.sort_by(f32::total_cmp);
    let typical = sizes.len().saturating_sub(1 + sizes.len() / 100);
    let largest = sizes.iter().skip(typical).copied().find(|size| *size > 0.0);
    largest.map_or(1.0, |size| 0.5 / size)
}

struct Size {
    channels: usize,
    height: usize,
    width: usize,
}

impl Size {
    /// Base64 PNG of values in `[0, 1]`, channels first.
    fn png(&self, values: impl Iterator<Item = f32>) -> Option<String> {
        let planes: Vec<u8> = values.map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
        let area = self.height * self.width;
        let pixels: Vec<u8> = (0..planes.len())
            .filter_map(|i| planes.get(i % self.channels * area + i / self.channels).copied())
            .collect();
        let color = if self.channels == 1 { ColorType::L8 } else { ColorType::Rgb8 };
        let (width, height) = (u32::try_from(self.width).ok()?, u32::try_from(self.height).ok()?);
        let mut png = Cursor::new(Vec::new());
        image::write_buffer_with_format(&mut png, &pixels, width, height, color, ImageFormat::Png).ok()?;
        Some(STANDARD.encode(png.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(png: &str) -> Vec<u8> {
        image::load_from_memory(&STANDARD.decode(png).unwrap()).unwrap().into_bytes()
    }

    #[test]
    fn pictures_show_bytes_of_the_range_with_channels_last() {
        let bounds = Bounds::new(-1.0, 1.0).unwrap();
        let original = ndarray::arr1(&[-1.0, 0.0, 1.0, -1.0, 0.0, 1.0]);
        let adversarial = ndarray::arr1(&[-0.9, 0.0, 1.0, -1.0, 0.0, 0.9]);
        let drawn = Pictures::draw(&[3, 1, 2], bounds, &original.view(), &adversarial.view()).unwrap();
        assert_eq!(pixels(&drawn.original), [0, 255, 128, 128, 0, 255]);
        assert_eq!(pixels(&drawn.adversarial), [13, 255, 128, 128, 0, 242]);
        // A change of 0.1 in a range of 2 is a twentieth; ten times as much reaches the end.
        assert!((drawn.amplification - 10.0).abs() < 1e-4);
        assert_eq!(pixels(&drawn.perturbation), [255, 128, 128, 128, 128, 0]);
        assert_eq!(Pictures::draw(&[6], bounds, &original.view(), &adversarial.view()), None);
    }

    #[test]
    fn one_large_change_does_not_hide_the_others() {
        let mut changes = vec![0.01; 200];
        changes[7] = 0.9;
        assert_eq!(amplification(&changes), 0.5 / 0.01);
        assert_eq!(amplification(&[0.0, 0.0]), 1.0);
    }
}
