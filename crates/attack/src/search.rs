//! How attacks that change a picture by a few numbers go through these numbers.

use crate::param::{Choice, ParamKind};

/// Which changes are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Search {
    /// Those of a grid, the same for every sample.
    Grid,
    /// Random ones, each sample's own.
    Random,
}

impl Search {
    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Random => "random",
        }
    }

    /// The parameter, whose default is `self`.
    pub(crate) const fn param(self) -> Choice<Self> {
        Choice {
            name: "search",
            default: self,
            options: &[Self::Grid, Self::Random],
            word: Self::name,
            kind: ParamKind::Choice,
            doc: "Whether all changes of a grid are tried, or random ones, each sample's own.",
        }
    }
}

/// `count` numbers from `-most` to `most` at equal distances; one number is 0.
pub(crate) fn spread(most: f64, count: u32) -> impl Iterator<Item = f64> + Clone {
    let last = f64::from(count.max(2) - 1);
    (0..count).map(move |i| if count == 1 { 0.0 } else { most * (2.0 * f64::from(i) - last) / last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly_and_the_middle_is_zero() {
        let spread = |most, count| spread(most, count).collect::<Vec<f64>>();
        assert_eq!(spread(3.0, 5), [-3.0, -1.5, 0.0, 1.5, 3.0]);
        assert_eq!(spread(1.0, 2), [-1.0, 1.0]);
        assert_eq!(spread(9.0, 1), [0.0]);
    }
}
