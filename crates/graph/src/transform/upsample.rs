//! Larger feature maps by a larger input, inside the model (Xu et al., *Understanding Adversarial Robustness from Feature Maps of
//! Convolutional Layers*, arXiv 2202.12435): normalise, then upsample. Who attacks the model perturbs the image at the resolution
//! that it had.

use std::num::NonZeroUsize;

use super::checked;
use super::resolution::follow;
use crate::names::Names;
use crate::order::{reads, rename_reads};
use crate::{Attribute, Cause, Model, Node, Shaped, Tensor, TransformError, Value};

const PASS: &str = "upsample";

/// How positions between those of the image are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Each position becomes a block.
    Nearest,
    /// Linear between the centres of positions, as of PyTorch's `bilinear` without `align_corners`.
    Linear,
}

/// `source` with its input enlarged by `factor` along each spatial axis, behind the normalisation at its front: what
/// [`preprocess`](crate::preprocess) added, or additions of and multiplications with constants that the input goes through first.
///
/// All maps change their size, so the result must be probed anew; [`inspect`](crate::inspect()) of it tells what it costs. Weights
/// stay as they are; the model should be trained, or tuned, with its new maps.
///
/// # Errors
/// The input has no spatial axes; or a node needs the size that its map had, as a dense layer behind a flattened map does.
pub fn upsample(source: &Shaped, factor: NonZeroUsize, mode: Interpolation) -> Result<Model, TransformError> {
    let refuse = |text: String| TransformError::of_model(PASS, Cause::Unsupported(text));
    let input = source.input().map_err(|error| refuse(error.to_string()))?;
    let image = normalized(source, input);
    let rank = source.facts(image).map_or(0, |facts| facts.dims.len());
    if rank < 3 {
        return Err(refuse(format!("\"{image}\" has {rank} dimensions; an image is [batch, channels, height, width]")));
    }
    follow(PASS, source, std::slice::from_ref(image))?;

    let mut model = source.model().clone();
    let graph = &mut model.graph;
    let mut names = Names::of(graph);
    let (scales, large) = (names.fresh("upsample/scales"), names.fresh("upsample/Resize"));
    #[allow(clippy::cast_precision_loss)]
    let each: Vec<f32> = (0..rank).map(|axis| if axis < 2 { 1.0 } else { factor.get() as f32 }).collect();
    graph.initializers.insert(scales.clone(), Tensor::floats(&[rank], &each));
    graph.nodes.iter_mut().for_each(|node| rename_reads(node, image, &large));
    let inputs = vec![Some(image.clone()), None, Some(scales)];
    let mut resize = Node::new("Resize", inputs, vec![Some(large.clone())]);
    resize.name = large.to_string();
    let attributes: &[(&str, Attribute)] = match mode {
        Interpolation::Nearest => &[
            ("mode", "nearest".into()),
            ("coordinate_transformation_mode", "asymmetric".into()),
            ("nearest_mode", "floor".into()),
        ],
        Interpolation::Linear => &[("mode", "linear".into()), ("coordinate_transformation_mode", "half_pixel".into())],
    };
    resize.attributes.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let behind = graph.nodes.iter().position(|node| node.outputs.iter().flatten().any(|output| output == image));
    graph.nodes.insert(behind.map_or(0, |i| i + 1), resize);
    graph.value_info.clear();
    checked(PASS, model)
}

/// What the input is after its normalisation: the last value of a chain in which every node is the only one that reads what the one
/// before gave.
fn normalized<'m>(source: &'m Shaped, input: &'m Value) -> &'m Value {
    let graph = &source.model().graph;
    let mut image = input;
    loop {
        let mut readers = graph.nodes.iter().filter(|node| reads(node).contains(&image));
        let (Some(node), None) = (readers.next(), readers.next()) else { return image };
        let constant = |value: &Value| value == image || source.constant(value).is_some();
        let normalizes = match node.operator.as_str() {
            "Sub" | "Div" | "Mul" | "Add" => node.inputs.iter().flatten().all(constant),
            // Channels first, whatever the file takes.
            "Identity" | "Cast" | "Transpose" => true,
            _ => false,
        };
        match node.output(0).filter(|_| normalizes && node.domain.is_empty()) {
            Some(output) => image = output,
            None => return image,
        }
    }
}
