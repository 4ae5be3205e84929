//! Branch and bound: where bounds leave a sign open, both cases are looked at (β-CROWN: Wang et al., Beta-CROWN: Efficient Bound Propagation with
//! Per-neuron Split Constraints, NeurIPS 2021).
//!
//! A domain is a set of points of the box on which the signs of some elements are known. There a function that bends at 0 is a line in these elements, and
//! multipliers bring in that points with other signs do not count. Every step of the search for slopes and multipliers gives bounds that hold, so a
//! domain is done as soon as one of them is enough.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

use assay_graph::Value;
use assay_runtime::{Cancel, RunError};
use ndarray::{ArrayD, IxDyn, Zip};

use crate::CertifyError;
use crate::bounding::{Chunk, Graphs, Layers};
use crate::sloped::Sloped;

/// Steps of the search in each domain, the length of the first one for slopes and for multipliers, and the factor of the next.
const STEPS: usize = 12;
const RATES: [f32; 2] = [0.1, 0.1];
const DECAY: f32 = 0.97;
const MOMENTS: [f32; 2] = [0.9, 0.999];
const TINY: f32 = 1e-8;
/// Domains that are open at a time: what they keep fills the memory.
const MOST: usize = 20_000;

/// A sign that is taken as known: element of a value, and whether it is at least 0.
#[derive(Clone, Copy)]
struct Sign {
    value: usize,
    element: usize,
    positive: bool,
}

/// Points with known signs, of which nothing is proved yet.
struct Domain {
    signs: Vec<Sign>,
    /// Slopes and then multipliers.
    parameters: Vec<ArrayD<f32>>,
    /// How far the best row is below what it needs.
    missing: f64,
    /// The element to split next.
    next: Option<(usize, usize)>,
}

/// What is to be proved: that at every point of a box one of the rows is above its threshold.
pub(crate) struct Claim<'a> {
    pub(crate) chunk: &'a Chunk,
    /// Bounds of the layers that hold in the whole box.
    pub(crate) layers: &'a Layers,
    /// How far the lower bound of a row is above what it needs, given the size of other numbers that were added to it.
    pub(crate) above: &'a dyn Fn(usize, f32, f32) -> f64,
    pub(crate) deadline: Option<Instant>,
}

/// Whether the claim is proved; `false` says nothing.
pub(crate) fn proves(graphs: &mut Graphs, claim: &Claim<'_>, cancel: &Cancel) -> Result<bool, CertifyError> {
    let Some(sloped) = graphs.split(claim.chunk.specification.shape()[1])? else { return Ok(false) };
    let values = sloped.values();
    let slopes = sloped.adaptive(claim.layers, 1);
    let multipliers = slopes.iter().map(|slope| ArrayD::zeros(slope.raw_dim()));
    let parameters = slopes.iter().cloned().chain(multipliers).collect();
    let mut open = BinaryHeap::new();
    open.extend(bounded(sloped, claim, &values, Vec::new(), parameters, cancel)?);
    while let Some(Domain { signs, parameters, next, .. }) = open.pop() {
        let (Some((value, element)), true) = (next, open.len() < MOST) else { return Ok(false) };
        for positive in [true, false] {
            if claim.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
            let signs = signs.iter().copied().chain([Sign { value, element, positive }]).collect();
            open.extend(bounded(sloped, claim, &values, signs, parameters.clone(), cancel)?);
        }
    }
    Ok(true)
}

/// The domain with these signs, from the parameters of one around it; `None`: the claim holds there.
fn bounded(
    sloped: &mut Sloped,
    claim: &Claim<'_>,
    values: &[Value],
    signs: Vec<Sign>,
    mut parameters: Vec<ArrayD<f32>>,
    cancel: &Cancel,
) -> Result<Option<Domain>, CertifyError> {
    let layers = known(claim.layers, values, &signs);
    let mut moments: Vec<[ArrayD<f32>; 2]> =
        parameters.iter().map(|p| [ArrayD::zeros(p.raw_dim()), ArrayD::zeros(p.raw_dim())]).collect();
    let (mut missing, mut rate, mut powers) = (f64::INFINITY, 1.0, [1.0f32; 2]);
    let mut next = None;
    for step in 0..=STEPS {
        if cancel.is_cancelled() {
            return Err(RunError::Cancelled.into());
        }
        let (bounds, derivatives) = sloped.run(claim.chunk, &claim.chunk.specification, &layers, &parameters)?;
        let size = size(claim.layers, values, &parameters[values.len()..]);
        for (row, &bound) in bounds.row(0).iter().enumerate() {
            let above = if bound.is_finite() { (claim.above)(row, bound, size) } else { f64::NEG_INFINITY };
            if above > 0.0 {
                return Ok(None);
            }
            missing = missing.min(-above);
        }
        if step == STEPS {
            next = chosen(&layers, values, &parameters, &derivatives);
            break;
        }
        powers = [powers[0] * MOMENTS[0], powers[1] * MOMENTS[1]];
        for (at, ((parameter, d), [first, second])) in
            parameters.iter_mut().zip(&derivatives).zip(&mut moments).enumerate()
        {
            let length = rate * RATES[usize::from(at >= values.len())];
            Zip::from(parameter).and(d).and(first).and(second).for_each(|parameter, &d, m, v| {
                let d = if d.is_finite() { d } else { 0.0 };
                *m = MOMENTS[0] * *m + (1.0 - MOMENTS[0]) * d;
                *v = MOMENTS[1] * *v + (1.0 - MOMENTS[1]) * d * d;
                let (m, v) = (*m / (1.0 - powers[0]), *v / (1.0 - powers[1]));
                *parameter += length * m / (v.sqrt() + TINY);
            });
        }
        project(&mut parameters, values, &signs);
        rate *= DECAY;
    }
    Ok(Some(Domain { signs, parameters, missing, next }))
}

/// Slopes between 0 and 1; multipliers of elements whose signs are known on the side on which bounds hold, of others 0.
fn project(parameters: &mut [ArrayD<f32>], values: &[Value], signs: &[Sign]) {
    let (slopes, multipliers) = parameters.split_at_mut(values.len());
    slopes.iter_mut().for_each(|slope| slope.mapv_inplace(|x| x.clamp(0.0, 1.0)));
    for (value, multiplier) in multipliers.iter_mut().enumerate() {
        let mut kept = ArrayD::zeros(multiplier.raw_dim());
        for sign in signs.iter().filter(|sign| sign.value == value) {
            for row in 0..multiplier.shape()[1] {
                let own = multiplier[[0, row, sign.element]];
                kept[[0, row, sign.element]] = if sign.positive { own.min(0.0) } else { own.max(0.0) };
            }
        }
        *multiplier = kept;
    }
}

/// Bounds of the layers where these signs are known.
fn known(layers: &Layers, values: &[Value], signs: &[Sign]) -> Layers {
    let mut known = layers.clone();
    for sign in signs {
        let Some([lower, upper]) = known.get_mut(&values[sign.value]) else { continue };
        let end = if sign.positive { lower } else { upper };
        if let Some(end) = end.as_slice_mut().and_then(|end| end.get_mut(sign.element)) {
            *end = 0.0;
        }
    }
    known
}

/// The largest size that the products of multipliers and elements have in some row.
fn size(layers: &Layers, values: &[Value], multipliers: &[ArrayD<f32>]) -> f32 {
    let rows = multipliers.first().map_or(0, |multiplier| multiplier.shape()[1]);
    let of_row = |row: usize| {
        let of_value = |(value, multiplier): (&Value, &ArrayD<f32>)| {
            let Some([lower, upper]) = layers.get(value) else { return 0.0 };
            let ends = lower.iter().zip(upper).map(|(low, high)| low.abs().max(high.abs()));
            let own = multiplier.index_axis(ndarray::Axis(1), row);
            own.iter().zip(ends).map(|(m, end)| m.abs() * end).sum::<f32>()
        };
        values.iter().zip(multipliers).map(of_value).sum::<f32>()
    };
    (0..rows).map(of_row).fold(0.0, f32::max)
}

/// The element whose sign, once known, raises the bounds the most by their derivatives, in the worse of both cases; where the derivatives tell nothing, the
/// one with the widest gap between its lines. None where all signs are known.
fn chosen(
    layers: &Layers,
    values: &[Value],
    parameters: &[ArrayD<f32>],
    derivatives: &[ArrayD<f32>],
) -> Option<(usize, usize)> {
    let mut best: Option<((f32, f32), (usize, usize))> = None;
    for (at, value) in values.iter().enumerate() {
        let Some([lower, upper]) = layers.get(value) else { continue };
        let by_ends: Vec<Vec<f32>> = (0..2)
            .filter_map(|end| derivatives.get(2 * values.len() + 2 * at + end))
            .map(|d| d.iter().copied().collect())
            .collect();
        let [by_lower, by_upper] = &by_ends[..] else { continue };
        for (element, (&low, &high)) in lower.iter().zip(upper).enumerate() {
            if !(low < 0.0 && high > 0.0) {
                continue;
            }
            let (mut positive, mut negative) = (-low * by_lower[element], -high * by_upper[element]);
            for row in 0..parameters[at].shape()[1] {
                let (slope, by) =
                    (parameters[at][IxDyn(&[0, row, element])], derivatives[at][IxDyn(&[0, row, element])]);
                positive += by * (1.0 - slope);
                negative -= by * slope;
            }
            let score = positive.min(negative).max(0.0) + 1e-3 * positive.max(negative).max(0.0);
            let score = (if score.is_finite() { score } else { 0.0 }, -low * high / (high - low));
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, (at, element)));
            }
        }
    }
    best.map(|(_, element)| element)
}

/// The one that misses the most comes first.
impl Ord for Domain {
    fn cmp(&self, other: &Self) -> Ordering {
        self.missing.total_cmp(&other.missing)
    }
}

impl PartialOrd for Domain {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Domain {}
