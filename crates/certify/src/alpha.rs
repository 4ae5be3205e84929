//! The search for better lower slopes: of the bounds of each layer, one layer after the other, and then of the margins.
//!
//! The reference implementation moves all slopes together, by the derivative of the margins alone. Here each bound has its own objective, itself: margins
//! only gain by narrower intervals of the layers, no derivative needs to pass from one graph of bounds to another, and a bound of a layer serves
//! all margins.

use assay_graph::{Relaxed, Value};
use assay_runtime::{Cancel, RunError};
use ndarray::{Array2, ArrayD, IxDyn, Zip};

use crate::CertifyError;
use crate::bounding::{Chunk, Graphs, Layers, ordered};
use crate::crown::unsettled;
use crate::sloped::Sloped;

/// Steps after the first bounds.
const STEPS: usize = 20;
/// Length of the first step; the others are shorter by `DECAY` each.
const RATE: f32 = 0.1;
const DECAY: f32 = 0.98;
/// Adam's (Kingma and Ba, ICLR 2015).
const MOMENTS: [f32; 2] = [0.9, 0.999];
const TINY: f32 = 1e-8;

/// Elements of a layer that are bounded in one run, from below and from above, and bytes that all slopes of such a run may take.
const ELEMENTS: usize = 32;
const BYTES: usize = 64 << 20;

/// Bounds of the rows of the chunk's specification, `[n, rows]`, from CROWN's own slopes on.
pub(crate) fn margins(
    graphs: &mut Graphs,
    chunk: &Chunk,
    layers: &Layers,
    cancel: &Cancel,
) -> Result<Array2<f32>, CertifyError> {
    match graphs.sloped(chunk.region, None, chunk.specification.shape()[1])? {
        Some(sloped) => search(sloped, chunk, &chunk.specification, layers, cancel),
        None => graphs.margins(chunk, layers),
    }
}

/// Bounds of all values that lines stand on, in the neighbourhood of the one sample of `chunk`, from those that CROWN found. Only elements that
/// these leave unsettled are looked at; none gets a wider interval.
pub(crate) fn layers(
    graphs: &mut Graphs,
    chunk: &Chunk,
    crown: &Layers,
    cancel: &Cancel,
) -> Result<Layers, CertifyError> {
    let relaxed = graphs.relaxed();
    let features: usize = relaxed.iter().map(Relaxed::features).sum();
    // Slopes, two moments and a derivative, for rows from below and from above.
    let most = (BYTES / (8 * size_of::<f32>() * features.max(1))).clamp(1, ELEMENTS);
    let mut found = Layers::new();
    let mut narrowed = false;
    for layer in &relaxed {
        let Some(ends) = crown.get(&layer.value) else { continue };
        if let Some(ends) = layer.relu_of.as_ref().and_then(|input| found.get(input)) {
            let ends = ends.clone().map(|end| end.mapv(|x| x.max(0.0)));
            found.insert(layer.value.clone(), ends);
            continue;
        }
        let mut ends = ends.clone();
        // Of functions that bend everywhere all elements are open, and narrower intervals gain little: they are left as CROWN found them.
        let open = if layer.kinks.is_some() { unsettled(layer, &ends) } else { Vec::new() };
        // The same number of rows for every sample, so that one graph serves all.
        let most = most.min(layer.features());
        let searched = !open.is_empty() && graphs.sloped(chunk.region, Some(&layer.value), 2 * most)?.is_some();
        if searched || narrowed {
            for chosen in open.chunks(most) {
                let bounds = if searched {
                    element_bounds(graphs, chunk, &layer.value, chosen, most, &found, cancel)?
                } else {
                    graphs.elements(chunk, &layer.value, chosen, &found)?
                };
                narrow(&mut ends, chosen, &bounds);
            }
            ordered(&mut ends);
            narrowed = true;
        }
        found.insert(layer.value.clone(), ends);
    }
    Ok(found)
}

/// Searched bounds of chosen elements of `value`, at most `most`: lower ones and upper ones.
fn element_bounds(
    graphs: &mut Graphs,
    chunk: &Chunk,
    value: &Value,
    chosen: &[usize],
    most: usize,
    layers: &Layers,
    cancel: &Cancel,
) -> Result<[Vec<f32>; 2], CertifyError> {
    let features = graphs.features(value);
    // Rows behind the chosen elements are 0, and their bounds are not read.
    let mut matrix = ArrayD::zeros(IxDyn(&[1, 2 * most, features]));
    for (row, &at) in chosen.iter().enumerate() {
        matrix[[0, row, at]] = 1.0;
        matrix[[0, most + row, at]] = -1.0;
    }
    let Some(sloped) = graphs.sloped(chunk.region, Some(value), 2 * most)? else {
        return graphs.elements(chunk, value, chosen, layers);
    };
    let found = search(sloped, chunk, &matrix, layers, cancel)?;
    let row = |at: usize| found.get((0, at)).copied().unwrap_or(f32::NEG_INFINITY);
    Ok([(0..chosen.len()).map(row).collect(), (0..chosen.len()).map(|i| -row(most + i)).collect()])
}

/// Takes the narrower of two intervals of each chosen element: both hold. A bound that is not finite is none.
fn narrow([lower, upper]: &mut [ArrayD<f32>; 2], chosen: &[usize], [below, above]: &[Vec<f32>; 2]) {
    let (Some(lower), Some(upper)) = (lower.as_slice_mut(), upper.as_slice_mut()) else { return };
    for ((&at, &low), &high) in chosen.iter().zip(below).zip(above) {
        if low.is_finite() && high.is_finite() {
            lower[at] = lower[at].max(low);
            upper[at] = upper[at].min(high);
        }
    }
}

/// The best bounds of the rows of `matrix`, `[n, rows]`, that some steps of Adam on the slopes found, from CROWN's own choice on. Each row has slopes
/// of its own, so the best of each may come from another step.
fn search(
    sloped: &mut Sloped,
    chunk: &Chunk,
    matrix: &ArrayD<f32>,
    layers: &Layers,
    cancel: &Cancel,
) -> Result<Array2<f32>, CertifyError> {
    let mut slopes = sloped.adaptive(layers, chunk.len());
    let zeros = || slopes.iter().map(|slope| ArrayD::<f32>::zeros(slope.raw_dim())).collect::<Vec<_>>();
    let (mut first, mut second) = (zeros(), zeros());
    let (mut best, mut derivatives) = sloped.run(chunk, matrix, layers, &slopes)?;
    let (mut rate, mut powers) = (RATE, [1.0f32; 2]);
    for _ in 0..STEPS {
        if cancel.is_cancelled() {
            return Err(RunError::Cancelled.into());
        }
        powers = [powers[0] * MOMENTS[0], powers[1] * MOMENTS[1]];
        for (((slope, d), m), v) in slopes.iter_mut().zip(&derivatives).zip(&mut first).zip(&mut second) {
            Zip::from(slope).and(d).and(m).and(v).for_each(|slope, &d, m, v| {
                *m = MOMENTS[0] * *m + (1.0 - MOMENTS[0]) * d;
                *v = MOMENTS[1] * *v + (1.0 - MOMENTS[1]) * d * d;
                let (m, v) = (*m / (1.0 - powers[0]), *v / (1.0 - powers[1]));
                *slope = (*slope + rate * m / (v.sqrt() + TINY)).clamp(0.0, 1.0);
            });
        }
        let (bounds, next) = sloped.run(chunk, matrix, layers, &slopes)?;
        derivatives = next;
        Zip::from(&mut best).and(&bounds).for_each(|best, &bound| *best = best.max(bound));
        rate *= DECAY;
    }
    Ok(best)
}
