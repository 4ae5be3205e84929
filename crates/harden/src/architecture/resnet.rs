//! Residual nets (He et al., 2016): of CIFAR, with three stages, and of ImageNet, with four and the stem for CIFAR.

use super::builder::{Builder, Conv, Feature};
use super::{ArchitectureError, Net};

/// Deepest net of the paper.
const DEEPEST: usize = 1202;

/// A residual net of blocks of two 3 x 3 convolutions. Shortcuts between stages are 1 x 1 convolutions with a batch norm (the paper's
/// option B): option A pads channels with zeros, and such channels cannot be pruned.
#[derive(Clone, Debug)]
pub(super) struct ResNet {
    /// Channels of the first stage; each of the next has twice as many.
    width: usize,
    /// Blocks of each stage.
    blocks: Vec<usize>,
}

impl ResNet {
    /// The net with so many layers, if there is one.
    pub(super) fn of_depth(depth: usize) -> Option<Self> {
        match depth {
            18 => Some(Self { width: 64, blocks: vec![2, 2, 2, 2] }),
            34 => Some(Self { width: 64, blocks: vec![3, 4, 6, 3] }),
            8..=DEEPEST if (depth - 2).is_multiple_of(6) => Some(Self { width: 16, blocks: vec![(depth - 2) / 6; 3] }),
            _ => None,
        }
    }
}

impl Net for ResNet {
    fn strides(&self) -> Vec<usize> {
        (0..self.blocks.len()).map(|stage| if stage == 0 { 1 } else { 2 }).collect()
    }

    fn build(&self, net: &mut Builder, x: Feature, strides: &[usize]) -> Result<(), ArchitectureError> {
        let x = net.conv("conv1", &x, Conv::new(self.width, 3, 1))?;
        let x = net.batch_norm("bn1", &x);
        let mut x = net.relu("relu", &x);
        for (stage, (blocks, stride)) in self.blocks.iter().zip(strides).enumerate() {
            for number in 0..*blocks {
                let name = format!("layer{}.{number}", stage + 1);
                x = block(net, &name, &x, self.width << stage, if number == 0 { *stride } else { 1 })?;
            }
        }
        let x = net.pooled(&x);
        net.logits("fc", &x);
        Ok(())
    }
}

fn block(
    net: &mut Builder,
    name: &str,
    x: &Feature,
    channels: usize,
    stride: usize,
) -> Result<Feature, ArchitectureError> {
    let layer = |layer: &str| format!("{name}.{layer}");
    let y = net.conv(&layer("conv1"), x, Conv::new(channels, 3, stride))?;
    let y = net.batch_norm(&layer("bn1"), &y);
    let y = net.relu(&layer("relu1"), &y);
    let y = net.conv(&layer("conv2"), &y, Conv::new(channels, 3, 1))?;
    let y = net.batch_norm(&layer("bn2"), &y);
    let shortcut = if stride == 1 && x.channels() == channels {
        x.clone()
    } else {
        let shortcut = net.conv(&layer("downsample.0"), x, Conv::new(channels, 1, stride))?;
        net.batch_norm(&layer("downsample.1"), &shortcut)
    };
    let y = net.add(&layer("add"), &y, &shortcut);
    Ok(net.relu(&layer("relu2"), &y))
}
