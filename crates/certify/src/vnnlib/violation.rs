//! A property as a classifier, so that attacks find what violates it.
//!
//! Samples are the points of the unit cube, which stands for the box. Class 0 says that nothing is violated, with the logit 0; each case is a class whose
//! logit is how far the outputs are inside the constraint that they fulfil the least. Of the usual property, where some logit is at least that of the
//! label, these are the logits themselves but for a shift, and their losses are the same.

use assay_graph::Loss;
use assay_runtime::{Class, Classifier, ClassifierSpec, Evaluated, RunError};
use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::property::{Case, InputBox};

/// Cases with one box, against a network.
pub(super) struct Violation<'a> {
    network: &'a dyn Classifier,
    cases: Vec<&'a Case>,
    lower: Vec<f32>,
    upper: Vec<f32>,
    spec: ClassifierSpec,
}

impl<'a> Violation<'a> {
    pub(super) fn new(network: &'a dyn Classifier, region: &InputBox, cases: Vec<&'a Case>) -> Self {
        let [lower, upper] = region.inwards();
        let spec = ClassifierSpec { classes: cases.len() + 1, ..network.spec().clone() };
        Self { network, cases, lower, upper, spec }
    }

    /// The inputs that points of the cube stand for; all of them are in the box.
    pub(super) fn inputs(&self, points: &ArrayView2<'_, f32>) -> Array2<f32> {
        let mut inputs = points.to_owned();
        for mut row in inputs.rows_mut() {
            for ((x, &low), &high) in row.iter_mut().zip(&self.lower).zip(&self.upper) {
                // In binary64, so that both ends are reached.
                let (low, high) = (f64::from(low), f64::from(high));
                *x = (low + f64::from(*x) * (high - low)).clamp(low, high) as f32;
            }
        }
        inputs
    }

    fn scores(&self, outputs: &Array2<f32>) -> Array2<f32> {
        let mut scores = Array2::zeros((outputs.nrows(), self.spec.classes));
        for (mut row, outputs) in scores.rows_mut().into_iter().zip(outputs.rows()) {
            let outputs = outputs.to_vec();
            row.iter_mut().skip(1).zip(&self.cases).for_each(|(score, case)| *score = case.depth(&outputs) as f32);
        }
        scores
    }

    /// The product of derivatives by the scores, `[n, classes]`, with those of the scores by the points.
    fn pull_back(
        &self,
        points: &ArrayView2<'_, f32>,
        weights: impl Fn(&Array2<f32>) -> Result<(Vec<f32>, Array2<f32>), RunError>,
    ) -> Result<Evaluated, RunError> {
        let inputs = self.inputs(points);
        let outputs = self.network.logits(inputs.view())?;
        let scores = self.scores(&outputs);
        let (loss, weights) = weights(&scores)?;
        let mut cotangent: Array2<f32> = Array2::zeros(outputs.dim());
        for ((mut to, outputs), weights) in cotangent.rows_mut().into_iter().zip(outputs.rows()).zip(weights.rows()) {
            let outputs = outputs.to_vec();
            for (case, weight) in self.cases.iter().zip(weights.iter().skip(1)) {
                let terms = case.tightest(&outputs).map_or(&[][..], |constraint| &constraint.terms);
                terms.iter().for_each(|&(at, coefficient)| to[at] -= weight * coefficient as f32);
            }
            // Where an output is no number there is no direction either.
            to.mapv_inplace(|x| if x.is_finite() { x } else { 0.0 });
        }
        let mut gradient = self.network.vjp(inputs.view(), cotangent.view())?.gradient;
        let widths: Array1<f32> = self.lower.iter().zip(&self.upper).map(|(low, high)| high - low).collect();
        gradient *= &widths.insert_axis(Axis(0));
        Ok(Evaluated { logits: scores, loss, gradient })
    }
}

impl Classifier for Violation<'_> {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        Ok(self.scores(&self.network.logits(self.inputs(&x).view())?))
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        self.pull_back(&x, |scores| {
            let mut weights = Array2::zeros(scores.dim());
            let mut losses = Vec::with_capacity(scores.nrows());
            for (i, (scores, mut to)) in scores.rows().into_iter().zip(weights.rows_mut()).enumerate() {
                let scores: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
                let label = labels.get(i).map_or(0, |label| label.index());
                let target = targets.and_then(|targets| targets.get(i)).map(|target| target.index());
                let (value, own) = differentiated(loss, &scores, label, target)?;
                losses.push(value as f32);
                to.iter_mut().zip(own).for_each(|(to, own)| *to = own as f32);
            }
            Ok((losses, weights))
        })
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        self.pull_back(&x, |_| Ok((Vec::new(), cotangent.to_owned())))
    }
}

/// A loss of one sample and its derivative by the logits.
fn differentiated(
    loss: Loss,
    logits: &[f64],
    label: usize,
    target: Option<usize>,
) -> Result<(f64, Vec<f64>), RunError> {
    let mut by = vec![0.0; logits.len()];
    let best = |except: usize| {
        let others = logits.iter().enumerate().filter(|(class, _)| *class != except);
        others.fold(None, |best: Option<(usize, f64)>, (class, &logit)| match best {
            Some((_, most)) if logit <= most => best,
            _ => Some((class, logit)),
        })
    };
    let value = match (loss, target) {
        (Loss::CrossEntropy, _) => {
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
            by.iter_mut().zip(logits).for_each(|(by, logit)| *by = (logit - largest).exp() / sum);
            by[label] -= 1.0;
            largest + sum.ln() - logits[label]
        }
        (Loss::Margin, _) => {
            let (other, logit) = best(label).unwrap_or((label, logits[label]));
            by[other] += 1.0;
            by[label] -= 1.0;
            logit - logits[label]
        }
        (Loss::MarginTargeted, Some(target)) if target < logits.len() => {
            by[target] += 1.0;
            by[label] -= 1.0;
            logits[target] - logits[label]
        }
        (Loss::DlrTargeted, Some(target)) if target < logits.len() && logits.len() >= 4 => {
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            let [first, third, fourth] = [order[0], order[2], order[3]];
            let (above, below) =
                (logits[target] - logits[label], logits[first] - f64::midpoint(logits[third], logits[fourth]) + 1e-12);
            for (class, part) in [(target, 1.0 / below), (label, -1.0 / below)] {
                by[class] += part;
            }
            for (class, part) in [(first, 1.0), (third, -0.5), (fourth, -0.5)] {
                by[class] -= part * above / (below * below);
            }
            above / below
        }
        _ => return Err(RunError::Invalid(format!("the loss \"{loss}\" is not known for properties"))),
    };
    Ok((value, by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_have_their_derivatives() {
        let at = [0.0, 0.4, -1.0, 0.3];
        for (loss, target) in [(Loss::CrossEntropy, None), (Loss::Margin, None), (Loss::MarginTargeted, Some(2))] {
            let (_, by) = differentiated(loss, &at, 0, target).unwrap();
            for class in 0..4 {
                let moved = |by: f64| {
                    let mut at = at;
                    at[class] += by;
                    differentiated(loss, &at, 0, target).unwrap().0
                };
                let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((difference - by[class]).abs() < 1e-6, "{loss}, {class}: {difference}, {}", by[class]);
            }
        }
        assert!(differentiated(Loss::Dlr, &at, 0, None).is_err());
    }
}
