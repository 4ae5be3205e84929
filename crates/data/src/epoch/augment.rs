//! Random crops and flips.

use assay_attack::{SampleId, SampleRng};
use serde::{Deserialize, Serialize};

use crate::DataError;

/// What is changed at random in training images: a crop after padding, then a horizontal flip (He et al., 2016, section 4.2).
///
/// What is drawn for a sample depends on (seed, epoch, sample) only, not on its batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Pixels that are added on each side, before a part of the old size is cut out at a random place. 0: nothing is cut.
    pub pad: usize,
    /// What is added.
    pub border: Border,
    /// Whether every second image, at random, is mirrored left to right.
    pub flip: bool,
}

/// What an image is padded with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Border {
    /// Zeros, which are black.
    #[default]
    Zeros,
    /// The image mirrored at its outermost pixels, which are not repeated.
    Reflect,
}

/// An [`Augment`] for images of one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Augmenter {
    augment: Augment,
    height: usize,
    width: usize,
}

impl Augment {
    /// For samples of shape `[c, h, w]` or `[h, w]`, or of any other where nothing is changed.
    pub(super) fn on(self, shape: &[usize]) -> Result<Augmenter, DataError> {
        let (height, width) = match *shape {
            [_, h, w] | [h, w] => (h, w),
            _ if self == Self::default() => (1, shape.iter().product()),
            _ => return Err(DataError::Augment { shape: shape.to_vec() }),
        };
        if self.pad > 0 && self.pad >= height.min(width) {
            return Err(DataError::Pad { pad: self.pad, height, width });
        }
        Ok(Augmenter { augment: self, height, width })
    }
}

impl Augmenter {
    /// A sample as it is in an epoch.
    pub(super) fn augmented(&self, from: &[f32], seed: u64, epoch: u32, id: SampleId) -> Vec<f32> {
        let Augment { pad, border, flip } = self.augment;
        let mut rng = SampleRng::new(seed, id, "augment", epoch);
        // All are drawn, so that one does not depend on whether there are the others.
        let (down, right, mirrored) = (rng.below(2 * pad + 1), rng.below(2 * pad + 1), rng.sign() < 0.0);
        let rows: Vec<_> = (0..self.height).map(|y| border.source(y + down, pad, self.height)).collect();
        let mut columns: Vec<_> = (0..self.width).map(|x| border.source(x + right, pad, self.width)).collect();
        if flip && mirrored {
            columns.reverse();
        }
        let mut to = Vec::with_capacity(from.len());
        for plane in from.chunks_exact((self.height * self.width).max(1)) {
            for row in &rows {
                let row = row.and_then(|y| plane.get(y * self.width..(y + 1) * self.width));
                to.extend(columns.iter().map(|x| row.zip(*x).and_then(|(row, x)| row.get(x).copied()).unwrap_or(0.0)));
            }
        }
        to
    }
}

impl Border {
    /// Where in an image of `side` pixels the pixel `at` of the padded image comes from; `None`: it is zero.
    fn source(self, at: usize, pad: usize, side: usize) -> Option<usize> {
        match (at.checked_sub(pad), self) {
            (Some(inside), _) if inside < side => Some(inside),
            (_, Self::Zeros) => None,
            (None, Self::Reflect) => Some(pad - at),
            (Some(beyond), Self::Reflect) => (2 * (side - 1)).checked_sub(beyond),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [2, 5, 6];

    fn image() -> Vec<f32> {
        (1..=60_u8).map(f32::from).collect()
    }

    fn augmented(augment: Augment, seed: u64, epoch: u32, id: u64) -> Vec<f32> {
        augment.on(&SHAPE).unwrap().augmented(&image(), seed, epoch, SampleId(id))
    }

    /// Pads in full, cuts out at (down, right), mirrors.
    fn naive(pad: usize, border: Border, down: usize, right: usize, mirrored: bool) -> Vec<f32> {
        let (from, [c, h, w]) = (image(), SHAPE);
        let pixel = |plane: usize, y: isize, x: isize| {
            let fold = |at: isize, side: usize| {
                let last = side as isize - 1;
                if at < 0 {
                    -at
                } else if at > last {
                    2 * last - at
                } else {
                    at
                }
            };
            let outside = y < 0 || x < 0 || y >= h as isize || x >= w as isize;
            if outside && border == Border::Zeros {
                return 0.0;
            }
            from[plane * h * w + fold(y, h) as usize * w + fold(x, w) as usize]
        };
        let (ph, pw) = (h + 2 * pad, w + 2 * pad);
        let padded: Vec<f32> = (0..c * ph * pw)
            .map(|i| pixel(i / (ph * pw), (i / pw % ph) as isize - pad as isize, (i % pw) as isize - pad as isize))
            .collect();
        (0..c * h * w)
            .map(|i| {
                let (plane, y, x) = (i / (h * w), i / w % h, i % w);
                let x = if mirrored { w - 1 - x } else { x };
                padded[plane * ph * pw + (y + down) * pw + x + right]
            })
            .collect()
    }

    #[test]
    fn every_result_is_a_crop_of_the_padded_image_and_all_of_them_occur() {
        for (pad, border) in [(0, Border::Zeros), (1, Border::Zeros), (2, Border::Reflect), (4, Border::Reflect)] {
            for flip in [false, true] {
                let mut expected: Vec<_> = (0..=2 * pad)
                    .flat_map(|down| (0..=2 * pad).map(move |right| (down, right)))
                    .flat_map(|(down, right)| [false, true].map(|mirrored| (down, right, mirrored && flip)))
                    .map(|(down, right, mirrored)| naive(pad, border, down, right, mirrored))
                    .collect();
                let found: Vec<_> = (0..3000).map(|id| augmented(Augment { pad, border, flip }, 3, 1, id)).collect();
                assert!(found.iter().all(|image| expected.contains(image)), "{pad} {border:?} {flip}");
                expected.retain(|image| !found.contains(image));
                assert!(expected.is_empty(), "{pad} {border:?} {flip}: {} never occurred", expected.len());
            }
        }
    }

    #[test]
    fn seed_epoch_and_sample_decide_and_nothing_else() {
        let augment = Augment { pad: 2, border: Border::Zeros, flip: true };
        let many = |seed, epoch| (0..20).map(|id| augmented(augment, seed, epoch, id)).collect::<Vec<_>>();
        assert_eq!(many(1, 2), many(1, 2));
        assert_ne!(many(1, 2), many(2, 2));
        assert_ne!(many(1, 2), many(1, 3));
        assert!(many(1, 2).windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn without_flips_the_crops_are_the_same() {
        let crops = |flip| {
            (0..40).map(|id| augmented(Augment { pad: 2, flip, ..Augment::default() }, 1, 0, id)).collect::<Vec<_>>()
        };
        let same = crops(false).into_iter().zip(crops(true)).filter(|(a, b)| a == b).count();
        assert!((8..=32).contains(&same), "{same} of 40 were not mirrored");
    }

    #[test]
    fn what_is_no_image_is_not_augmented() {
        let flips = Augment { flip: true, ..Augment::default() };
        assert!(flips.on(&[784]).unwrap_err().to_string().contains("[784]"));
        assert!(Augment::default().on(&[784]).is_ok());
        assert!(flips.on(&[28, 28]).is_ok());
        let wide = Augment { pad: 5, ..Augment::default() };
        assert!(wide.on(&SHAPE).unwrap_err().to_string().contains("5 pixels around images of 6x5"));
    }
}
