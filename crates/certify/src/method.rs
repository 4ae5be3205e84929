//! Methods by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A way to lower bounds of margins. None is the tightest on every sample; together they are as good as the best of them, because each bound holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Interval arithmetic: one forward pass. It proves next to nothing of a net that was not trained for it (Gowal et al., Scalable Verified
    /// Training for Provably Robust Image Classification, ICCV 2019).
    Ibp,
    /// Linear bounds on interval bounds: one forward and one backward pass (Zhang et al., Towards Stable and Efficient Training of Verifiably
    /// Robust Neural Networks, ICLR 2020).
    CrownIbp,
    /// Linear bounds on linear bounds: a backward pass for each element that is not settled, layer by layer (Zhang et al., Efficient Neural
    /// Network Robustness Certification with General Activation Functions, NeurIPS 2018).
    Crown,
    /// CROWN, with the lower slopes of the layers and of the last pass searched for by gradient ascent (Xu et al., Fast and Complete: Enabling Complete Neural Network
    /// Verification with Rapid and Massively Parallel Incomplete Verifiers, ICLR 2021).
    AlphaCrown,
}

impl Method {
    /// All of them, from the cheapest on.
    pub const ALL: [Self; 4] = [Self::Ibp, Self::CrownIbp, Self::Crown, Self::AlphaCrown];

    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ibp => "ibp",
            Self::CrownIbp => "crown-ibp",
            Self::Crown => "crown",
            Self::AlphaCrown => "alpha-crown",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| format!("unknown method \"{name}\": expected one of {}", all()))
    }
}
