//! The nets that the literature compares, as ONNX models with fresh weights.
//!
//! | name | net | slots of the strides | default |
//! |---|---|---|---|
//! | `resnet-N` | residual net for CIFAR, `N` = 8, 14, 20, ... (6n + 2) | the three stages | `122` |
//! | `resnet-18`, `resnet-34` | residual net of ImageNet, with the stem for CIFAR | the four stages | `1222` |
//! | `preactresnet-18` | the same with activations before convolutions | the four stages | `1222` |
//! | `wrn-D-K` | wide residual net of depth `D` = 10, 16, 22, ... (6n + 4) and width `K` | the three stages | `122` |
//! | `vgg-16-bn` | VGG with batch norms and a small head | the five max pools; 1: there is none | `22222` |
//! | `alexnet` | AlexNet for CIFAR | the first convolution and the three max pools | `2222` |
//! | `mobilenet-v2` | MobileNetV2 with the stem for CIFAR | the stem and the seven stages | `11122121` |
//! | `cnn-C-C-...` | a convolution for each number of channels | the convolutions | `122...` |
//!
//! Strides, heads and shortcuts are those of RCM (Xu et al., 2022), which trains nets with other strides: average pooling ends every net,
//! so that they fit any size of images. Weights are named as PyTorch names them. A convolution before a batch norm has no bias, and
//! dropout, which does nothing at inference, is left out.

mod alexnet;
mod builder;
mod cnn;
mod error;
mod initial;
mod mobilenet;
mod preactivation;
mod registry;
mod resnet;
mod vgg;

use std::fmt;

use assay_graph::{Canonical, Model, Normalization, preprocess};
use builder::{Builder, Feature};

pub use error::ArchitectureError;
pub use registry::architecture;

/// What a net is made for: the shape of images `[channels, height, width]`, the number of classes, and what becomes of pixels first.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Number of classes, at least 2.
    pub classes: usize,
    /// Done to pixels inside the model, in front of the net; its channels are dimension 1.
    pub normalization: Option<Normalization>,
}

/// A net, but for what it is made for.
#[derive(Debug)]
pub struct Architecture {
    name: String,
    strides: Vec<usize>,
    net: Box<dyn Net>,
}

/// How a net is put together.
trait Net: fmt::Debug + Send + Sync {
    /// Strides of the slots, where nobody says otherwise.
    fn strides(&self) -> Vec<usize>;

    /// Adds the layers behind `x` up to the logits. There are as many `strides` as [`Net::strides`] has.
    fn build(&self, builder: &mut Builder, x: Feature, strides: &[usize]) -> Result<(), ArchitectureError>;
}

impl Architecture {
    /// Its name in the registry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The strides, one digit for each slot.
    #[must_use]
    pub fn strides(&self) -> String {
        self.strides.iter().map(usize::to_string).collect()
    }

    /// The same net with other strides, one digit from 1 to 9 for each slot, for example `1122`.
    ///
    /// # Errors
    /// There are more or fewer digits than slots, or something else.
    pub fn with_strides(self, strides: &str) -> Result<Self, ArchitectureError> {
        let digit = |c: char| c.to_digit(10).filter(|digit| *digit > 0).map(|digit| digit as usize);
        match strides.chars().map(digit).collect::<Option<Vec<_>>>() {
            Some(found) if found.len() == self.strides.len() => Ok(Self { strides: found, ..self }),
            _ => Err(ArchitectureError::Strides {
                name: self.name.clone(),
                found: strides.to_owned(),
                default: self.strides(),
                slots: self.strides.len(),
            }),
        }
    }

    /// The net as a model from `x [batch, channels, height, width]` in `[0, 1]` to `logits [batch, classes]`, with fresh weights, which
    /// depend on `seed` and their own names only.
    ///
    /// # Errors
    /// Images are too small for the strides, there are too many weights, or the normalisation does not fit.
    pub fn model(&self, task: &Task, seed: u64) -> Result<Model, ArchitectureError> {
        let (mut builder, x) = Builder::new(&self.name, task, seed)?;
        self.net.build(&mut builder, x, &self.strides)?;
        let model = builder.finish()?;
        match &task.normalization {
            Some(normalization) => Ok(preprocess(&Canonical::new(model)?, normalization)?),
            None => Ok(model),
        }
    }
}
