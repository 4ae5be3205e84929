//! MobileNetV2 (Sandler et al., 2018), with the stem for CIFAR.

use super::builder::{Builder, Conv, Feature};
use super::{ArchitectureError, Net};

/// Of each stage: by how much its blocks widen what they get, the channels that they give, and how many there are.
const STAGES: [(usize, usize, usize); 7] =
    [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)];

/// As torchvision has it, but that the stem and the second stage keep the size: images of CIFAR have 32 pixels, and not 224.
#[derive(Clone, Copy, Debug)]
pub(super) struct MobileNetV2;

impl Net for MobileNetV2 {
    fn strides(&self) -> Vec<usize> {
        vec![1, 1, 1, 2, 2, 1, 2, 1]
    }

    fn build(&self, net: &mut Builder, x: Feature, strides: &[usize]) -> Result<(), ArchitectureError> {
        let stem = strides.first().copied().unwrap_or(1);
        let mut x = activated(net, "features.0", &x, Conv::new(32, 3, stem))?;
        let mut numbers = 1..;
        let mut next = || format!("features.{}", numbers.next().unwrap_or(0));
        for ((widen, channels, blocks), stride) in STAGES.into_iter().zip(strides.iter().skip(1)) {
            for number in 0..blocks {
                x = block(net, &next(), &x, widen, channels, if number == 0 { *stride } else { 1 })?;
            }
        }
        let x = activated(net, &next(), &x, Conv::new(1280, 1, 1))?;
        let x = net.pooled(&x);
        net.logits("classifier.1", &x);
        Ok(())
    }
}

/// An inverted residual: widen, filter each channel, narrow.
fn block(
    net: &mut Builder,
    name: &str,
    x: &Feature,
    widen: usize,
    channels: usize,
    stride: usize,
) -> Result<Feature, ArchitectureError> {
    let mut numbers = 0..;
    let mut next = || format!("{name}.conv.{}", numbers.next().unwrap_or(0));
    let inner = x.channels() * widen;
    let wide = if widen == 1 { x.clone() } else { activated(net, &next(), x, Conv::new(inner, 1, 1))? };
    let each = Conv { groups: inner, ..Conv::new(inner, 3, stride) };
    let y = activated(net, &next(), &wide, each)?;
    let y = net.conv(&next(), &y, Conv::new(channels, 1, 1))?;
    let y = net.batch_norm(&next(), &y);
    let same = stride == 1 && x.channels() == channels;
    Ok(if same { net.add(&format!("{name}.add"), x, &y) } else { y })
}

/// Convolution, batch norm and activation.
fn activated(net: &mut Builder, name: &str, x: &Feature, conv: Conv) -> Result<Feature, ArchitectureError> {
    let y = net.conv(&format!("{name}.0"), x, conv)?;
    let y = net.batch_norm(&format!("{name}.1"), &y);
    Ok(net.relu6(&format!("{name}.2"), &y))
}
