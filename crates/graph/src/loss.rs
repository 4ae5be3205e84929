//! Losses that attacks maximise.

use std::fmt;
use std::str::FromStr;

/// A loss on the logits `z` of one sample with label `y`; larger means further from the label.
///
/// Losses and gradients are per sample: a batch's gradient is that of the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// `logsumexp(z) - z_y`.
    CrossEntropy,
    /// `max_{j != y} z_j - z_y` (Carlini and Wagner, 2017). Ties: the lower class.
    Margin,
    /// Difference of logits ratio (Croce and Hein, 2020): `-(z_y - max_{j != y} z_j) / (z_π1 - z_π3 + 1e-12)` with the
    /// logits sorted in falling order `π`. Needs 3 classes.
    Dlr,
    /// Its targeted form towards a class `t`: `-(z_y - z_t) / (z_π1 - (z_π3 + z_π4) / 2 + 1e-12)`. Needs 4 classes.
    DlrTargeted,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::CrossEntropy, Self::Margin, Self::Dlr, Self::DlrTargeted];

    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross-entropy",
            Self::Margin => "margin",
            Self::Dlr => "dlr",
            Self::DlrTargeted => "dlr-targeted",
        }
    }

    /// Fewest classes it is defined for.
    #[must_use]
    pub fn min_classes(self) -> usize {
        match self {
            Self::CrossEntropy | Self::Margin => 2,
            Self::Dlr => 3,
            Self::DlrTargeted => 4,
        }
    }

    /// Whether it needs a target class for each sample.
    #[must_use]
    pub fn needs_target(self) -> bool {
        self == Self::DlrTargeted
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|l| l.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|l| l.name()).collect();
            format!("unknown loss \"{name}\": expected one of {}", names.join(", "))
        })
    }
}
