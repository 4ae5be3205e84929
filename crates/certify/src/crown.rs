//! CROWN's intermediate bounds: linear bounds layer by layer, of the elements that interval bounds do not settle.

use assay_graph::{Region, Relaxed};
use assay_runtime::{Cancel, RunError};

use crate::CertifyError;
use crate::bounding::{Chunk, Graphs, Layers, ordered};

/// Bytes that the coefficients of one run may take for one layer. A run has a few such arrays at a time.
const BYTES: usize = 32 << 20;

/// Linear bounds of all values that lines stand on, in the neighbourhood of the one sample of `chunk`, from their interval bounds.
///
/// Elements whose functions are lines on their intervals keep these: nothing is gained by narrower ones. So do values whose intervals are exact. The output of a ReLU,
/// which a maximum may read, gets the ReLU of its input's bounds, which lines around the ReLU cannot better.
pub(crate) fn layers(
    graphs: &mut Graphs,
    chunk: &Chunk,
    intervals: &Layers,
    cancel: &Cancel,
) -> Result<Layers, CertifyError> {
    let relaxed = graphs.relaxed();
    let inputs: usize = graphs.sample_shape.iter().product();
    let largest = relaxed.iter().map(Relaxed::features).chain([inputs]).max().unwrap_or(1).max(1);
    // From below and from above.
    let most = (BYTES / (2 * size_of::<f32>() * largest)).max(1);
    let mut found = Layers::new();
    for layer in &relaxed {
        let Some(ends) = intervals.get(&layer.value) else { continue };
        if let Some(ends) = layer.relu_of.as_ref().and_then(|input| found.get(input)) {
            let ends = ends.clone().map(|end| end.mapv(|x| x.max(0.0)));
            found.insert(layer.value.clone(), ends);
            continue;
        }
        let mut ends = ends.clone();
        let exact = layer.exact_in_boxes && chunk.region == Region::Box;
        let unsettled = if exact { Vec::new() } else { unsettled(layer, &ends) };
        for chosen in unsettled.chunks(most) {
            if cancel.is_cancelled() {
                return Err(RunError::Cancelled.into());
            }
            let bounds = graphs.elements(chunk, &layer.value, chosen, &found)?;
            for (end, bounds) in ends.iter_mut().zip(&bounds) {
                if let Some(end) = end.as_slice_mut() {
                    chosen.iter().zip(bounds).for_each(|(&at, bound)| end[at] = *bound);
                }
            }
        }
        ordered(&mut ends);
        found.insert(layer.value.clone(), ends);
    }
    Ok(found)
}

/// The elements on whose intervals a function bends.
pub(crate) fn unsettled(layer: &Relaxed, [lower, upper]: &[ndarray::ArrayD<f32>; 2]) -> Vec<usize> {
    let bends = |low: f32, high: f32| match &layer.kinks {
        None => low < high,
        Some(kinks) => kinks.iter().any(|&kink| f64::from(low) < kink && kink < f64::from(high)),
    };
    lower.iter().zip(upper).enumerate().filter(|(_, (low, high))| bends(**low, **high)).map(|(i, _)| i).collect()
}
