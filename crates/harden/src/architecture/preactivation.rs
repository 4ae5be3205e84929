//! Residual nets with activations before convolutions (He et al., *Identity Mappings*, 2016), and wide ones (Zagoruyko and Komodakis, 2016).

use super::builder::{Builder, Conv, Feature};
use super::{ArchitectureError, Net};

/// Deepest and widest of the paper's nets, and more.
const DEEPEST: usize = 100;
const WIDEST: usize = 24;

/// A residual net of blocks of batch norm, activation and convolution, twice. A shortcut that changes the shape is a 1 x 1 convolution of
/// what the block's first activation gives.
#[derive(Clone, Debug)]
pub(super) struct PreActivation {
    stem: usize,
    /// Channels of the first stage; each of the next has twice as many.
    width: usize,
    /// Blocks of each stage.
    blocks: Vec<usize>,
    names: Names,
}

/// What PyTorch's implementations call the layers.
#[derive(Clone, Copy, Debug)]
struct Names {
    /// Between the number of a stage and that of a block.
    stage: (&'static str, &'static str),
    shortcut: &'static str,
    last: &'static str,
}

impl PreActivation {
    /// With the stages of ResNet-18.
    pub(super) fn resnet_18() -> Self {
        let names = Names { stage: ("layer", "."), shortcut: "shortcut.0", last: "bn" };
        Self { stem: 64, width: 64, blocks: vec![2; 4], names }
    }

    /// The wide net of this depth and width, if there is one.
    pub(super) fn wide(depth: usize, width: usize) -> Option<Self> {
        let fits = (10..=DEEPEST).contains(&depth) && (depth - 4).is_multiple_of(6) && (1..=WIDEST).contains(&width);
        let names = Names { stage: ("block", ".layer."), shortcut: "convShortcut", last: "bn1" };
        fits.then(|| Self { stem: 16, width: 16 * width, blocks: vec![(depth - 4) / 6; 3], names })
    }

    fn block(
        &self,
        net: &mut Builder,
        name: &str,
        x: &Feature,
        channels: usize,
        stride: usize,
    ) -> Result<Feature, ArchitectureError> {
        let layer = |layer: &str| format!("{name}.{layer}");
        let y = net.batch_norm(&layer("bn1"), x);
        let y = net.relu(&layer("relu1"), &y);
        let shortcut = if stride == 1 && x.channels() == channels {
            x.clone()
        } else {
            net.conv(&layer(self.names.shortcut), &y, Conv::new(channels, 1, stride))?
        };
        let y = net.conv(&layer("conv1"), &y, Conv::new(channels, 3, stride))?;
        let y = net.batch_norm(&layer("bn2"), &y);
        let y = net.relu(&layer("relu2"), &y);
        let y = net.conv(&layer("conv2"), &y, Conv::new(channels, 3, 1))?;
        Ok(net.add(&layer("add"), &y, &shortcut))
    }
}

impl Net for PreActivation {
    fn strides(&self) -> Vec<usize> {
        (0..self.blocks.len()).map(|stage| if stage == 0 { 1 } else { 2 }).collect()
    }

    fn build(&self, net: &mut Builder, x: Feature, strides: &[usize]) -> Result<(), ArchitectureError> {
        let mut x = net.conv("conv1", &x, Conv::new(self.stem, 3, 1))?;
        let (stages, within) = self.names.stage;
        for (stage, (blocks, stride)) in self.blocks.iter().zip(strides).enumerate() {
            for number in 0..*blocks {
                let name = format!("{stages}{}{within}{number}", stage + 1);
                x = self.block(net, &name, &x, self.width << stage, if number == 0 { *stride } else { 1 })?;
            }
        }
        let x = net.batch_norm(self.names.last, &x);
        let x = net.relu("relu", &x);
        let x = net.pooled(&x);
        net.logits("fc", &x);
        Ok(())
    }
}
