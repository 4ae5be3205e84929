//! Waves of the discrete cosine transform.

use std::f64::consts::PI;

use crate::SampleRng;
use crate::image::Image;

/// The lowest waves of the two-dimensional discrete cosine transform of an image, each in one channel and of length 1 in the Euclidean norm.
pub(crate) struct Waves {
    image: Image,
    down: Line,
    across: Line,
}

impl Waves {
    /// Those of this share of the frequencies in height and in width; at least the constant one.
    pub(crate) fn lowest(share: f32, image: Image) -> Self {
        let line = |side: usize| Line::lowest(((f64::from(share) * side as f64).round() as usize).clamp(1, side), side);
        Self { image, down: line(image.height), across: line(image.width) }
    }

    pub(crate) fn count(&self) -> usize {
        self.image.channels * self.down.count * self.across.count
    }

    /// Adds `length` times a wave.
    pub(crate) fn add(&self, wave: usize, length: f32, point: &mut [f32]) {
        let (channel, wave) = (wave % self.image.channels, wave / self.image.channels);
        let across = self.across.wave(wave % self.across.count);
        for (row, vertical) in self.down.wave(wave / self.across.count).iter().enumerate() {
            for (column, horizontal) in across.iter().enumerate() {
                point[self.image.at(channel, row, column)] += length * vertical * horizontal;
            }
        }
    }

    /// Fills `point` with a sum of all waves, whose amplitudes are independent standard normal deviates. `work` is for numbers in between.
    pub(crate) fn fill_normal(&self, rng: &mut SampleRng, work: &mut Vec<f32>, point: &mut [f32]) {
        let Self { image, down, across } = self;
        work.resize(down.count * (across.count + image.width), 0.0);
        let (amplitudes, rows) = work.split_at_mut(down.count * across.count);
        for channel in 0..image.channels {
            rng.fill_normal(amplitudes);
            // One dimension after the other: for each frequency downwards a row of the picture.
            for (row, amplitudes) in rows.chunks_exact_mut(image.width).zip(amplitudes.chunks_exact(across.count)) {
                row.fill(0.0);
                for (frequency, amplitude) in amplitudes.iter().enumerate() {
                    for (sum, wave) in row.iter_mut().zip(across.wave(frequency)) {
                        *sum += amplitude * wave;
                    }
                }
            }
            for at in 0..image.height {
                for column in 0..image.width {
                    let frequencies = rows.chunks_exact(image.width).enumerate();
                    point[image.at(channel, at, column)] =
                        frequencies.map(|(frequency, row)| down.wave(frequency)[at] * row[column]).sum();
                }
            }
        }
    }
}

/// The lowest waves of one dimension.
struct Line {
    side: usize,
    count: usize,
    values: Vec<f32>,
}

impl Line {
    fn lowest(count: usize, side: usize) -> Self {
        let value = |frequency: usize, i: usize| {
            let weight = if frequency == 0 { 1.0 } else { 2.0 };
            (weight / side as f64).sqrt() * (PI * (i as f64 + 0.5) * frequency as f64 / side as f64).cos()
        };
        let values = (0..count).flat_map(|frequency| (0..side).map(move |i| value(frequency, i) as f32)).collect();
        Self { side, count, values }
    }

    fn wave(&self, frequency: usize) -> &[f32] {
        &self.values[frequency * self.side..][..self.side]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleId;

    #[test]
    fn waves_are_orthonormal() {
        for shape in [&[3, 5, 4][..], &[5, 6, 2], &[7]] {
            let waves = Waves::lowest(1.0, Image::of(shape));
            let features = shape.iter().product();
            assert_eq!(waves.count(), features);
            let vectors: Vec<Vec<f32>> = (0..features)
                .map(|wave| {
                    let mut vector = vec![0.0; features];
                    waves.add(wave, 1.0, &mut vector);
                    vector
                })
                .collect();
            for (i, a) in vectors.iter().enumerate() {
                for (j, b) in vectors.iter().enumerate() {
                    let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    assert!((product - f32::from(u8::from(i == j))).abs() < 1e-5, "{shape:?}: {i} {j} {product}");
                }
            }
        }
    }

    #[test]
    fn half_of_the_frequencies_are_the_lower_half() {
        let waves = Waves::lowest(0.5, Image::of(&[2, 6, 8]));
        assert_eq!(waves.count(), 2 * 3 * 4);
        // The constant wave is among them.
        let mut vector = vec![0.0; 96];
        (0..24).for_each(|wave| waves.add(wave, 1.0, &mut vector));
        assert!(vector.iter().sum::<f32>().abs() > 1.0);
    }

    #[test]
    fn a_random_sum_consists_of_the_waves() {
        let image = Image::of(&[6, 8, 2]);
        let (low, all) = (Waves::lowest(0.5, image), Waves::lowest(1.0, image));
        let mut rng = SampleRng::new(0, SampleId(0), "test", 0);
        let (mut inside, mut outside, mut work) = (0.0, 0.0, Vec::new());
        for _ in 0..200 {
            let mut sum = vec![0.0; 96];
            low.fill_normal(&mut rng, &mut work, &mut sum);
            for wave in 0..all.count() {
                let mut vector = vec![0.0; 96];
                all.add(wave, 1.0, &mut vector);
                let amplitude: f32 = vector.iter().zip(&sum).map(|(a, b)| a * b).sum();
                // Of 6 by 8 frequencies the lowest 3 by 4.
                let (down, across) = (wave / 2 / 8, wave / 2 % 8);
                *if down < 3 && across < 4 { &mut inside } else { &mut outside } += amplitude.powi(2);
            }
        }
        // 24 waves with amplitudes of variance 1.
        assert!((inside / 200.0 / 24.0 - 1.0_f32).abs() < 0.1 && outside < 1e-3, "{inside} {outside}");
    }
}
