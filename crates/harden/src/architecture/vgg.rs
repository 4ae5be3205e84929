//! VGG with batch norms (Simonyan and Zisserman, 2015, configuration D), with the head of RCM.

use super::builder::{Builder, Conv, Feature};
use super::{ArchitectureError, Net};

/// Channels of the convolutions between the pools.
const GROUPS: [&[usize]; 5] = [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

/// VGG-16. A pool whose stride is 1 is left out; the layers behind it keep their names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vgg;

impl Net for Vgg {
    fn strides(&self) -> Vec<usize> {
        vec![2; GROUPS.len()]
    }

    fn build(&self, net: &mut Builder, mut x: Feature, strides: &[usize]) -> Result<(), ArchitectureError> {
        // PyTorch numbers convolutions, batch norms, activations and pools.
        let mut numbers = 0..;
        let mut next = || format!("features.{}", numbers.next().unwrap_or(0));
        for (widths, stride) in GROUPS.iter().zip(strides) {
            for width in *widths {
                x = net.conv(&next(), &x, Conv::new(*width, 3, 1))?;
                x = net.batch_norm(&next(), &x);
                x = net.relu(&next(), &x);
            }
            let pool = next();
            if *stride > 1 {
                x = net.max_pool(&pool, &x, *stride)?;
            }
        }
        let x = net.pooled(&x);
        let x = net.linear("classifier.0", &x, 256);
        let x = net.relu("classifier.1", &x);
        let x = net.linear("classifier.3", &x, 256);
        let x = net.relu("classifier.4", &x);
        net.logits("classifier.6", &x);
        Ok(())
    }
}
