//! The search for better lower slopes, of the last pass only.

use assay_graph::Value;
use assay_runtime::{Cancel, RunError};
use ndarray::{Array2, ArrayD, IxDyn, Zip};

use crate::CertifyError;
use crate::bounding::{Chunk, Graphs, Layers};

/// Steps after the first bounds.
const STEPS: usize = 20;
/// Length of the first step; the others are shorter by `DECAY` each.
const RATE: f32 = 0.1;
const DECAY: f32 = 0.98;
/// Adam's (Kingma and Ba, ICLR 2015).
const MOMENTS: [f32; 2] = [0.9, 0.999];
const TINY: f32 = 1e-8;

/// The best bounds of the margins, `[n, rows]`, that 20 steps of Adam on the slopes found, from CROWN's own choice on. Each margin has slopes of
/// its own, so the best of each may come from another step.
pub(crate) fn margins(
    graphs: &mut Graphs,
    chunk: &Chunk,
    layers: &Layers,
    cancel: &Cancel,
) -> Result<Array2<f32>, CertifyError> {
    let sloped = graphs.sloped(chunk)?;
    let rows = chunk.specification.shape()[1];
    let mut slopes: Vec<ArrayD<f32>> =
        sloped.graph.slopes.iter().map(|(value, _)| adaptive(value, layers, chunk.len(), rows)).collect();
    let zeros = || slopes.iter().map(|slope| ArrayD::<f32>::zeros(slope.raw_dim())).collect::<Vec<_>>();
    let (mut first, mut second) = (zeros(), zeros());
    let (mut best, mut derivatives) = sloped.run(chunk, layers, &slopes)?;
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
        let (bounds, next) = sloped.run(chunk, layers, &slopes)?;
        derivatives = next;
        Zip::from(&mut best).and(&bounds).for_each(|best, &bound| *best = best.max(bound));
        rate *= DECAY;
    }
    Ok(best)
}

/// CROWN's choice: 1 where the larger part of the interval is positive, else 0; `[n, rows, features]`.
fn adaptive(value: &Value, layers: &Layers, n: usize, rows: usize) -> ArrayD<f32> {
    let Some([lower, upper]) = layers.get(value) else { return ArrayD::zeros(IxDyn(&[n, rows, 0])) };
    let chosen: Vec<f32> = lower.iter().zip(upper).map(|(low, high)| f32::from(u8::from(*high > -low))).collect();
    let features = chosen.len() / n.max(1);
    let one =
        ArrayD::from_shape_vec(IxDyn(&[n, 1, features]), chosen).unwrap_or_else(|_| ArrayD::zeros(IxDyn(&[n, 1, 0])));
    one.broadcast(IxDyn(&[n, rows, features])).map_or_else(|| one.clone(), |all| all.to_owned())
}
