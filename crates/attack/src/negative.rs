//! The negative of a picture.

use std::sync::LazyLock;

use crate::registry::{Description, Entry};
use crate::{Attack, Halt, Norm, Samples, Spot, Start};

/// The negative (Hosseini et al., 2017): dark becomes light. People recognise what it shows, and many nets do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negative;

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "negative",
    summary: "The negative of the sample, low + high - x; a single point, no search.",
    source: "Hosseini, Xiao, Jaiswal, Poovendran: On the Limitation of Convolutional Neural Networks in Recognizing Negative Images, ICMLA 2017",
    norms: &Norm::ALL,
    needs_gradient: false,
    needs_eps: false,
    parameters: Vec::new(),
});

impl Negative {
    pub(crate) const ENTRY: Entry = Entry { description: &DESCRIPTION, parse: |_| Ok(Box::new(Self)) };
}

impl Attack for Negative {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn evaluations(&self) -> u64 {
        1
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let (low, high) = (samples.threat().bounds.low(), samples.threat().bounds.high());
        samples.roam();
        samples.start(0, Start::Image);
        samples.each(|Spot { x, point, .. }| {
            point.iter_mut().zip(x).for_each(|(point, x)| *point = (low + (high - x)).clamp(low, high));
        });
        samples.query()
    }
}
