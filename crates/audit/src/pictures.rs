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
        let largest = changes.iter().fold(0.0_f32, |largest, change| largest.max(change.abs()));
        let amplification = if largest > 0.0 { 0.5 / largest } else { 1.0 };
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
