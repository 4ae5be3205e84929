//! How strong a corruption is.

/// The benchmark whose constants are used. Their pictures differ in size, and so do the constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Constants {
    /// Those of the benchmark whose pictures are nearest in size, as a ratio.
    Nearest,
    /// CIFAR-10-C: 32 pixels.
    Cifar,
    /// Tiny ImageNet-C: 64 pixels.
    TinyImagenet,
    /// ImageNet-C: 224 pixels.
    Imagenet,
}

impl Constants {
    pub(super) const ALL: [Self; 4] = [Self::Nearest, Self::Cifar, Self::TinyImagenet, Self::Imagenet];

    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Cifar => "cifar-c",
            Self::TinyImagenet => "tiny-imagenet-c",
            Self::Imagenet => "imagenet-c",
        }
    }

    /// The level of a severity from 1 to 5 for pictures of this size.
    pub(super) fn level(self, severity: u32, height: usize, width: usize) -> Level {
        let benchmark = match self {
            Self::Nearest => match height.min(width) {
                // The geometric means of 32 and 64, and of 64 and 224.
                ..=45 => 0,
                46..=119 => 1,
                _ => 2,
            },
            Self::Cifar => 0,
            Self::TinyImagenet => 1,
            Self::Imagenet => 2,
        };
        Level { benchmark, severity: severity.clamp(1, 5) as usize - 1 }
    }
}

/// Constants of the five severities, of CIFAR-10-C, Tiny ImageNet-C and ImageNet-C. Lengths are in pixels.
pub(super) type Table<T> = [[T; 5]; 3];

/// A column of such a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    benchmark: usize,
    severity: usize,
}

impl Level {
    pub(super) fn of<T: Copy>(self, table: &Table<T>) -> T {
        table[self.benchmark][self.severity]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_benchmark_is_that_of_the_most_similar_size() {
        let benchmark = |height, width| Constants::Nearest.level(3, height, width).benchmark;
        assert_eq!(
            [28, 32, 45, 46, 64, 96, 119, 120, 224, 600].map(|side| benchmark(side, side)),
            [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
        );
        assert_eq!((benchmark(32, 500), benchmark(300, 64)), (0, 1));
        assert_eq!(Constants::Cifar.level(5, 224, 224), Level { benchmark: 0, severity: 4 });
    }
}
