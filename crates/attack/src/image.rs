//! Samples as pictures.

use crate::Threat;

/// Channels, height and width of a sample, and where its elements lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Whether the channels of a pixel lie side by side.
    channels_last: bool,
}

impl Image {
    /// What a sample shape means. `[c, h, w]` unless only the last of three dimensions is one of 1 to 4, as channels are; `[h, w]` has one channel,
    /// anything else is one row.
    pub(crate) fn of(shape: &[usize]) -> Self {
        let few = |channels: usize| (1..=4).contains(&channels);
        match *shape {
            [height, width, channels] if few(channels) && !few(height) => {
                Self { channels, height, width, channels_last: true }
            }
            [channels, height, width] => Self { channels, height, width, channels_last: false },
            [height, width] => Self { channels: 1, height, width, channels_last: false },
            _ => Self { channels: 1, height: 1, width: shape.iter().product(), channels_last: false },
        }
    }

    /// [`Image::of`] a shape that is one of a picture.
    ///
    /// # Errors
    /// It has another number of dimensions than two or three.
    pub(crate) fn pictured(shape: &[usize]) -> Result<Self, String> {
        match shape.len() {
            2 | 3 => Ok(Self::of(shape)),
            _ => Err(format!(
                "it changes pictures, but the model takes samples of shape {shape:?}: expected [channels, height, width], \
                 [height, width, channels] or [height, width]"
            )),
        }
    }

    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Pixels that may change in a threat of [`Norm::L0`](crate::Norm::L0), which counts elements: one for each channel.
    pub(crate) fn pixels_within(&self, threat: &Threat) -> usize {
        (threat.eps.limit() / self.channels.max(1) as f64).min(self.pixels() as f64) as usize
    }

    /// Position of an element in the flat sample.
    pub(crate) fn at(&self, channel: usize, row: usize, column: usize) -> usize {
        if self.channels_last {
            (row * self.width + column) * self.channels + channel
        } else {
            (channel * self.height + row) * self.width + column
        }
    }
}

/// A square of pixels inside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) side: usize,
}

impl Window {
    /// Its elements of one channel: row and column within it, and position in the flat sample.
    pub(crate) fn elements(self, image: Image, channel: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let columns = move |row| (0..self.side).map(move |column| (row, column));
        (0..self.side)
            .flat_map(columns)
            .map(move |(row, column)| (row, column, image.at(channel, self.row + row, self.column + column)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_as_pictures() {
        let sizes = |shape: &[usize]| {
            let image = Image::of(shape);
            (image.channels, image.height, image.width)
        };
        assert_eq!(sizes(&[3, 5, 7]), (3, 5, 7));
        assert_eq!(sizes(&[5, 7, 3]), (3, 5, 7));
        assert_eq!(sizes(&[1, 28, 28]), (1, 28, 28));
        assert_eq!(sizes(&[64, 8, 8]), (64, 8, 8));
        assert_eq!(sizes(&[5, 7]), (1, 5, 7));
        assert_eq!(sizes(&[192]), (1, 1, 192));
        assert_eq!(sizes(&[1, 784, 1]), (1, 784, 1));
        assert_eq!((Image::of(&[3, 5, 7]).at(2, 1, 3), Image::of(&[5, 7, 3]).at(2, 1, 3)), (80, 32));
    }
}
