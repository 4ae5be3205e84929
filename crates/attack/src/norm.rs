//! Norms by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Norm of a perturbation, over all elements of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Norm {
    /// Maximum norm.
    Linf,
    /// Euclidean norm.
    L2,
    /// Sum of the absolute changes.
    L1,
    /// Number of elements that change, by however much. Each channel of a pixel is an element.
    L0,
}

impl Norm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Linf, Self::L2, Self::L1, Self::L0];

    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Linf => "Linf",
            Self::L2 => "L2",
            Self::L1 => "L1",
            Self::L0 => "L0",
        }
    }
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Norm {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|n| n.name() == name)
            .ok_or_else(|| format!("unknown norm \"{name}\": expected one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}
