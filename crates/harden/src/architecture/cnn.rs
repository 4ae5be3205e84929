//! Small plain nets.

use super::builder::{Builder, Conv, Feature};
use super::{ArchitectureError, Net};

/// Most convolutions.
const DEEPEST: usize = 16;
/// Most channels.
const WIDEST: usize = 1024;

/// A 3 x 3 convolution with batch norm and activation for each number of channels, and a linear layer of their means.
#[derive(Clone, Debug)]
pub(super) struct Cnn {
    widths: Vec<usize>,
}

impl Cnn {
    /// The net with these numbers of channels, if they are not too many.
    pub(super) fn of_widths(widths: Vec<usize>) -> Option<Self> {
        let fits = (1..=DEEPEST).contains(&widths.len()) && widths.iter().all(|width| *width <= WIDEST);
        fits.then_some(Self { widths })
    }
}

impl Net for Cnn {
    fn strides(&self) -> Vec<usize> {
        (0..self.widths.len()).map(|layer| if layer == 0 { 1 } else { 2 }).collect()
    }

    fn build(&self, net: &mut Builder, mut x: Feature, strides: &[usize]) -> Result<(), ArchitectureError> {
        for (number, (width, stride)) in (1..).zip(self.widths.iter().zip(strides)) {
            x = net.conv(&format!("conv{number}"), &x, Conv::new(*width, 3, *stride))?;
            x = net.batch_norm(&format!("bn{number}"), &x);
            x = net.relu(&format!("relu{number}"), &x);
        }
        let x = net.pooled(&x);
        net.logits("fc", &x);
        Ok(())
    }
}
