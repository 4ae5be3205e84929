//! Pictures while they are corrupted: planes of values that are light, from 0 (black) to 1.

use crate::Bounds;
use crate::image::Image;

/// One number for each pixel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plane {
    pub(super) height: usize,
    pub(super) width: usize,
    /// Row after row.
    pub(super) values: Vec<f32>,
}

/// A picture: three planes are red, green and blue; any other number are as many shades of grey.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picture {
    pub(super) planes: Vec<Plane>,
}

/// What lies beyond the edge of a plane `abcd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    /// `aaa|abcd|ddd`.
    Edge,
    /// `cba|abcd|dcb`.
    Reflect,
    /// `dcb|abcd|cba`.
    Mirror,
}

impl Border {
    /// Where the value of position `i` is found among `n`.
    pub(super) fn position(self, i: isize, n: usize) -> usize {
        let n = n as isize;
        let inside = match self {
            Self::Edge => i.clamp(0, n - 1),
            Self::Reflect => {
                let i = i.rem_euclid(2 * n);
                i.min(2 * n - 1 - i)
            }
            Self::Mirror => {
                let period = (2 * n - 2).max(1);
                let i = i.rem_euclid(period);
                i.min(period - i).min(n - 1)
            }
        };
        inside.unsigned_abs()
    }
}

impl Plane {
    /// The plane of a function of row and column.
    pub(super) fn from_fn(height: usize, width: usize, mut value: impl FnMut(usize, usize) -> f32) -> Self {
        let cells = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        Self { height, width, values: cells.map(|(row, column)| value(row, column)).collect() }
    }

    pub(super) fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.width + column]
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    pub(super) fn map(&self, value: impl Fn(f32) -> f32) -> Self {
        Self { values: self.values.iter().map(|v| value(*v)).collect(), ..*self }
    }

    pub(super) fn max(&self) -> f32 {
        self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The plane turned upside down.
    pub(super) fn turned(&self) -> Self {
        Self { values: self.values.iter().rev().copied().collect(), ..*self }
    }

    /// The value between pixels, by bilinear interpolation.
    pub(super) fn between(&self, row: f64, column: f64, border: Border) -> f32 {
        let (top, left) = (row.floor(), column.floor());
        let (down, right) = ((row - top) as f32, (column - left) as f32);
        let rows = [0, 1].map(|i| border.position(top as isize + i, self.height));
        let columns = [0, 1].map(|i| border.position(left as isize + i, self.width));
        let line = |row| (1.0 - right) * self.at(row, columns[0]) + right * self.at(row, columns[1]);
        (1.0 - down) * line(rows[0]) + down * line(rows[1])
    }
}

impl Picture {
    /// Reads a sample whose range is `bounds`.
    pub(super) fn read(x: &[f32], image: Image, bounds: Bounds) -> Self {
        let range = bounds.high() - bounds.low();
        let plane = |channel| {
            Plane::from_fn(image.height, image.width, |row, column| {
                (x[image.at(channel, row, column)] - bounds.low()) / range
            })
        };
        Self { planes: (0..image.channels).map(plane).collect() }
    }

    /// Writes the picture as a sample; what is darker than black or lighter than white becomes that.
    pub(super) fn write(&self, image: Image, bounds: Bounds, point: &mut [f32]) {
        let range = bounds.high() - bounds.low();
        for (channel, plane) in self.planes.iter().enumerate() {
            for (i, value) in plane.values.iter().enumerate() {
                let at = image.at(channel, i / image.width, i % image.width);
                point[at] = (bounds.low() + range * value).clamp(bounds.low(), bounds.high());
            }
        }
    }

    pub(super) fn height(&self) -> usize {
        self.planes[0].height
    }

    pub(super) fn width(&self) -> usize {
        self.planes[0].width
    }

    /// Every value of every plane.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut f32> {
        self.planes.iter_mut().flat_map(|plane| plane.values.iter_mut())
    }

    /// Changes every plane in the same way.
    pub(super) fn each(&mut self, mut change: impl FnMut(&Plane) -> Plane) {
        for plane in &mut self.planes {
            *plane = change(plane);
        }
    }

    /// Whether there are colours.
    pub(super) fn coloured(&self) -> bool {
        self.planes.len() == 3
    }

    /// Changes every pixel of a coloured picture.
    pub(super) fn recolour(&mut self, mut change: impl FnMut([f32; 3]) -> [f32; 3]) {
        let [red, green, blue] = &mut self.planes[..] else { return };
        for ((r, g), b) in red.values.iter_mut().zip(&mut green.values).zip(&mut blue.values) {
            [*r, *g, *b] = change([*r, *g, *b]);
        }
    }

    /// What a black-and-white photograph of it shows; of shades of grey, the first.
    pub(super) fn grey(&self) -> Plane {
        let [red, green, blue] = &self.planes[..] else { return self.planes[0].clone() };
        let values = red.values.iter().zip(&green.values).zip(&blue.values).map(|((r, g), b)| luma([*r, *g, *b]));
        Plane { values: values.collect(), ..*red }
    }
}

/// How light a colour is (ITU-R BT.601).
pub(super) fn luma([red, green, blue]: [f32; 3]) -> f32 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_continue_a_row_as_their_names_say() {
        let row = |border: Border| -> Vec<usize> { (-3..7).map(|i| border.position(i, 4)).collect() };
        assert_eq!(row(Border::Edge), [0, 0, 0, 0, 1, 2, 3, 3, 3, 3]);
        assert_eq!(row(Border::Reflect), [2, 1, 0, 0, 1, 2, 3, 3, 2, 1]);
        assert_eq!(row(Border::Mirror), [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        // Further away than the row is long, and with a single pixel.
        for border in [Border::Edge, Border::Reflect, Border::Mirror] {
            assert!((-50..50).all(|i| border.position(i, 3) < 3 && border.position(i, 1) == 0), "{border:?}");
        }
        assert_eq!(Border::Mirror.position(8, 4), 2);
    }

    #[test]
    fn a_sample_is_read_and_written_in_its_range_and_layout() {
        let bounds = Bounds::new(-1.0, 1.0).unwrap();
        for shape in [[3, 5, 7], [5, 7, 3]] {
            let image = Image::of(&shape);
            let x: Vec<f32> = (0..105).map(|i| i as f32 / 52.0 - 1.0).collect();
            let picture = Picture::read(&x, image, bounds);
            assert_eq!((picture.planes.len(), picture.height(), picture.width()), (3, 5, 7));
            assert_eq!(picture.planes[2].at(4, 6), (x[104] + 1.0) / 2.0);
            let mut point = vec![9.0; 105];
            picture.write(image, bounds, &mut point);
            assert!(point.iter().zip(&x).all(|(p, x)| (p - x).abs() < 1e-6));
        }
    }
}
