//! AlexNet (Krizhevsky, *One weird trick*, 2014) for CIFAR, as RCM has it.

use super::builder::{Bias, Builder, Conv, Feature};
use super::{ArchitectureError, Net};

/// Five convolutions with biases and no batch norm, three pools, and a head of three layers. A pool whose stride is 1 stays.
#[derive(Clone, Copy, Debug)]
pub(super) struct AlexNet;

impl Net for AlexNet {
    fn strides(&self) -> Vec<usize> {
        vec![2; 4]
    }

    fn build(&self, net: &mut Builder, x: Feature, strides: &[usize]) -> Result<(), ArchitectureError> {
        let mut strides = strides.iter().copied();
        let mut next = || strides.next().unwrap_or(2);
        let conv = |channels, kernel, stride| Conv { bias: Bias::Zero, ..Conv::new(channels, kernel, stride) };
        let x = net.conv("features.0", &x, conv(64, 5, next()))?;
        let x = net.relu("features.1", &x);
        let x = net.max_pool("features.2", &x, next())?;
        let x = net.conv("features.3", &x, conv(192, 5, 1))?;
        let x = net.relu("features.4", &x);
        let x = net.max_pool("features.5", &x, next())?;
        let x = net.conv("features.6", &x, conv(384, 3, 1))?;
        let x = net.relu("features.7", &x);
        let x = net.conv("features.8", &x, conv(256, 3, 1))?;
        let x = net.relu("features.9", &x);
        let x = net.conv("features.10", &x, conv(256, 3, 1))?;
        let x = net.relu("features.11", &x);
        let x = net.max_pool("features.12", &x, next())?;
        let x = net.pooled(&x);
        let x = net.linear("classifier.1", &x, 512);
        let x = net.relu("classifier.2", &x);
        let x = net.linear("classifier.4", &x, 512);
        let x = net.relu("classifier.5", &x);
        net.logits("classifier.6", &x);
        Ok(())
    }
}
