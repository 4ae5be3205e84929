//! The names of the nets.

use super::alexnet::AlexNet;
use super::cnn::Cnn;
use super::mobilenet::MobileNetV2;
use super::preactivation::PreActivation;
use super::resnet::ResNet;
use super::vgg::Vgg;
use super::{Architecture, ArchitectureError, Net};

/// What names look like, as errors list them.
pub(super) const FORMS: [&str; 8] = [
    "resnet-N (8, 20, 32, 44, 56, 110 and other 6n + 2)",
    "resnet-18 and resnet-34",
    "preactresnet-18",
    "wrn-D-K (wrn-28-4, wrn-28-10, wrn-34-10 and others of depth 6n + 4)",
    "vgg-16-bn",
    "alexnet",
    "mobilenet-v2",
    "cnn-C-C-... (cnn-16-32-64: a convolution for each number of channels)",
];

/// The net called `name`: see the table at the top of the module, and [`Architecture::with_strides`].
///
/// # Errors
/// No net is called so. The message lists the names.
pub fn architecture(name: &str) -> Result<Architecture, ArchitectureError> {
    let net = net(name).ok_or_else(|| ArchitectureError::Unknown { name: name.to_owned() })?;
    Ok(Architecture { name: name.to_owned(), strides: net.strides(), net })
}

fn net(name: &str) -> Option<Box<dyn Net>> {
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
    Some(match name.split('-').collect::<Vec<_>>().as_slice() {
        ["resnet", depth] => Box::new(ResNet::of_depth(number(depth)?)?),
        ["preactresnet", "18"] => Box::new(PreActivation::resnet_18()),
        ["wrn", depth, width] => Box::new(PreActivation::wide(number(depth)?, number(width)?)?),
        ["vgg", "16", "bn"] => Box::new(Vgg),
        ["alexnet"] => Box::new(AlexNet),
        ["mobilenet", "v2"] => Box::new(MobileNetV2),
        ["cnn", widths @ ..] => {
            Box::new(Cnn::of_widths(widths.iter().map(|width| number(width)).collect::<Option<_>>()?)?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_nothing_are_answered_with_those_that_do() {
        let names = [
            "",
            "resnet",
            "resnet-",
            "resnet-21",
            "resnet-2",
            "resnet-18446744073709551615",
            "resnet-20-",
            "wrn-28",
            "wrn-27-4",
            "wrn-28-0",
            "vgg-16",
            "vgg-19-bn",
            "cnn",
            "cnn-",
            "cnn-0",
            "cnn-16-x",
            "cnn-99999",
            "ResNet-20",
        ];
        for name in names {
            let error = architecture(name).unwrap_err().to_string();
            assert!(error.starts_with(&format!("no architecture is called \"{name}\"; there are resnet-N")), "{error}");
            assert!(FORMS.iter().all(|form| error.contains(form)), "{error}");
        }
    }
}
