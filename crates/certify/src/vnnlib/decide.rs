//! Attack, bounds, attack again: the search for an answer.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use assay_attack::{Apgd, ApgdTargeted, Attack, Bounds as Range, Budget, Goal, Job, Norm, SampleId, Threat, run};
use assay_graph::{Adaptation, Loss};
use assay_runtime::{Cancel, Class, Classifier, Gradients, RunError};
use ndarray::{Array2, ArrayD, ArrayView1, Axis, IxDyn};

use super::answer::{Answer, Counterexample};
use super::property::{Case, InputBox, Property};
use super::violation::Violation;
use crate::bounding::{Chunk, Layers, odd_layer};
use crate::branch::{self, Claim};
use crate::certificate::slack;
use crate::{Certifier, CertifyError, Method, alpha, crown};

/// How to look for an answer.
pub struct Deciding {
    /// The attacks. The first one comes before the bounds, which cost more, the others behind them.
    pub attacks: Vec<Box<dyn Attack>>,
    /// The bounds, which are asked from the cheapest on.
    pub methods: Vec<Method>,
    /// When to give up. With a deadline, branch and bound takes the time that the rest leaves.
    pub deadline: Option<Instant>,
    /// Seed of the attacks.
    pub seed: u64,
}

impl Default for Deciding {
    /// APGD, all bounds, and APGD with more starts and towards each case; without a deadline.
    fn default() -> Self {
        let apgd = Apgd { loss: Loss::CrossEntropy, ..Apgd::default() };
        let targeted = |loss| ApgdTargeted { loss, ..ApgdTargeted::default() };
        Self {
            attacks: vec![
                Box::new(Apgd { restarts: 1, ..apgd }),
                Box::new(targeted(Loss::DlrTargeted)),
                Box::new(targeted(Loss::MarginTargeted)),
                Box::new(Apgd { restarts: 20, ..apgd }),
                Box::new(Apgd { restarts: 20, loss: Loss::Margin, ..apgd }),
            ],
            methods: Method::ALL.to_vec(),
            deadline: None,
            seed: 0,
        }
    }
}

impl std::fmt::Debug for Deciding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deciding")
            .field("methods", &self.methods)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Deciding {
    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Cases with one box that are attacked together: more would make wide logits of few that matter.
const TOGETHER: usize = 256;

/// Cases of which nothing is known yet, with their numbers in the property.
type Open<'a> = Vec<(usize, &'a Case)>;

impl Certifier {
    /// Whether the network has a property, in units of the model's input: what the hosted model does to it is part of the network.
    ///
    /// A counterexample is a binary32 input inside the box whose outputs, by a run of the model with it alone, violate the property. Where an interval of the
    /// box holds no binary32 number, the nearest one is taken.
    ///
    /// # Errors
    /// The property does not fit the model; the model's final softmax, of which bounds know nothing, matters for it; a run failed, or `cancel` was
    /// thrown.
    pub fn decide(
        &mut self,
        property: &Property,
        deciding: &Deciding,
        cancel: &Cancel,
    ) -> Result<Answer, CertifyError> {
        self.check_property(property)?;
        let mut methods = deciding.methods.clone();
        methods.sort_unstable();
        methods.dedup();
        let mut groups = grouped(&property.cases);
        for (stage, attack) in deciding.attacks.iter().map(Some).chain([None]).enumerate() {
            if let Some(attack) = attack {
                for (region, open) in &groups {
                    if let Some(found) = self.attacked(region, open, attack.as_ref(), deciding, cancel)? {
                        return Ok(Answer::Violated(found));
                    }
                }
            }
            if stage == 0 {
                let mut left = Vec::new();
                for (region, open) in groups {
                    let open = self.refute(&region, open, &methods, deciding, cancel)?;
                    left.extend((!open.is_empty()).then_some((region, open)));
                }
                groups = left;
            }
            if groups.is_empty() {
                return Ok(Answer::Holds);
            }
            if deciding.is_late() {
                return Ok(Answer::Unknown("the deadline passed".into()));
            }
        }
        if deciding.deadline.is_some() {
            let mut left = Vec::new();
            for (region, open) in groups {
                let open = self.split(&region, open, deciding, cancel)?;
                left.extend((!open.is_empty()).then_some((region, open)));
            }
            groups = left;
        }
        let open: usize = groups.iter().map(|(_, open)| open.len()).sum();
        match open {
            0 => Ok(Answer::Holds),
            _ => Ok(Answer::Unknown(format!("bounds leave {open} of {} cases open", property.cases.len()))),
        }
    }

    fn check_property(&self, property: &Property) -> Result<(), CertifyError> {
        let spec = self.classifier.spec();
        let invalid = |text: String| Err(CertifyError::Invalid(text));
        if (property.inputs, property.outputs) != (spec.features(), spec.classes) {
            return invalid(format!(
                "the property is about {} inputs and {} outputs: the model has {} and {}",
                property.inputs,
                property.outputs,
                spec.features(),
                spec.classes
            ));
        }
        let fits = |case: &Case| {
            let ends = [&case.region.lower, &case.region.upper];
            ends.iter().all(|end| end.len() == property.inputs && end.iter().all(|x| x.is_finite()))
                && case.region.lower.iter().zip(&case.region.upper).all(|(low, high)| low <= high)
                && case.constraints.iter().flat_map(|c| &c.terms).all(|(at, _)| *at < property.outputs)
        };
        if let Some(at) = property.cases.iter().position(|case| !fits(case)) {
            return invalid(format!(
                "case {at} has no box of the inputs, with finite ends in order, or speaks of outputs that the property does not have"
            ));
        }
        let compares = property.cases.iter().flat_map(|case| &case.constraints).all(|c| c.compares());
        match self.softmax() {
            Some(node) if !compares => invalid(format!(
                "the model ends in a softmax (\"{node}\"), and the property says more than which output is larger: bounds are of what comes before it"
            )),
            _ => Ok(()),
        }
    }

    /// The softmax that was taken off the model.
    fn softmax(&self) -> Option<&str> {
        self.classifier.info().adaptations.iter().find_map(|adaptation| match adaptation {
            Adaptation::SoftmaxCut { node, .. } => Some(node.as_str()),
            _ => None,
        })
    }

    /// A counterexample that the middle of the box is, or that `attack` finds.
    fn attacked(
        &self,
        region: &InputBox,
        open: &Open<'_>,
        attack: &dyn Attack,
        deciding: &Deciding,
        cancel: &Cancel,
    ) -> Result<Option<Counterexample>, CertifyError> {
        let blind = matches!(self.classifier.spec().gradients, Gradients::Unavailable(_));
        for part in open.chunks(TOGETHER) {
            let violation =
                Violation::new(self.classifier.as_ref(), region, part.iter().map(|(_, case)| *case).collect());
            let middle = Array2::from_elem((1, self.classifier.spec().features()), 0.5);
            if let Some(found) = self.verified(&violation, &middle, part)? {
                return Ok(Some(found));
            }
            let blind = blind && attack.description().needs_gradient;
            if blind || attack.min_classes() > violation.spec().classes || deciding.is_late() {
                continue;
            }
            let (eps, bounds) = ("0.5".parse(), Range::new(0.0, 1.0));
            let (Ok(eps), Ok(bounds)) = (eps, bounds) else { continue };
            let job = Job {
                classifier: &violation,
                attack,
                threat: &Threat { norm: Norm::Linf, eps, bounds },
                goal: &Goal::Untargeted,
                images: middle.view(),
                labels: &[Class(0)],
                ids: &[SampleId(0)],
                seed: deciding.seed,
                batch: NonZeroUsize::MIN,
                budget: Budget { deadline: deciding.deadline, ..Budget::default() },
                eight_bit: false,
                checks: false,
            };
            let attacked = run(&job, &mut |_| {}, cancel)?;
            if cancel.is_cancelled() {
                return Err(RunError::Cancelled.into());
            }
            if let Some(found) = self.verified(&violation, &attacked.adversarial, part)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The counterexample that a point of the cube is, by a run of its own.
    fn verified(
        &self,
        violation: &Violation<'_>,
        point: &Array2<f32>,
        open: &[(usize, &Case)],
    ) -> Result<Option<Counterexample>, CertifyError> {
        let inputs = violation.inputs(&point.view());
        let outputs = self.classifier.logits(inputs.view())?;
        let outputs = outputs.index_axis(Axis(0), 0).to_vec();
        let finite = outputs.iter().all(|y| y.is_finite());
        let case = open.iter().find(|(_, case)| finite && case.holds(&outputs));
        Ok(case.map(|&(case, _)| Counterexample {
            case,
            inputs: inputs.index_axis(Axis(0), 0).to_vec(),
            outputs: self.probabilities(outputs),
        }))
    }

    /// Outputs as the file gives them: of a model whose softmax was taken off, with it.
    fn probabilities(&self, logits: Vec<f32>) -> Vec<f32> {
        let cut = self.classifier.info().adaptations.iter().find_map(|adaptation| match adaptation {
            Adaptation::SoftmaxCut { operator, .. } => Some(operator.as_str()),
            _ => None,
        });
        let Some(operator) = cut else { return logits };
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shifted: Vec<f64> = logits.iter().map(|&y| f64::from(y - largest)).collect();
        let sum: f64 = shifted.iter().map(|y| y.exp()).sum();
        let logarithms = shifted.into_iter().map(|y| y - sum.ln());
        logarithms.map(|y| if operator == "Softmax" { y.exp() } else { y } as f32).collect()
    }

    /// The cases that the methods do not prove to be impossible.
    fn refute<'a>(
        &mut self,
        region: &InputBox,
        mut open: Open<'a>,
        methods: &[Method],
        deciding: &Deciding,
        cancel: &Cancel,
    ) -> Result<Open<'a>, CertifyError> {
        let mut intervals = None;
        let mut layers: Option<Layers> = None;
        for method in methods {
            if open.is_empty() || deciding.is_late() {
                break;
            }
            if cancel.is_cancelled() {
                return Err(RunError::Cancelled.into());
            }
            let Some(rows) = Rows::new(&open, self.classifier.spec().classes) else { break };
            let chunk = self.box_chunk(region, &rows)?;
            let (by_intervals, found) = self.graphs.intervals(&chunk)?;
            if odd_layer(&found, 0).is_some() {
                break;
            }
            let on_intervals = &*intervals.insert(found);
            let bounds = match method {
                Method::Ibp => by_intervals,
                Method::CrownIbp => self.graphs.margins(&chunk, on_intervals)?,
                Method::Crown | Method::AlphaCrown => {
                    if layers.is_none() {
                        layers = Some(crown::layers(&mut self.graphs, &chunk, on_intervals, cancel)?);
                    }
                    let Some(crown) = layers.as_ref().filter(|layers| odd_layer(layers, 0).is_none()) else { break };
                    if *method == Method::Crown {
                        self.graphs.margins(&chunk, crown)?
                    } else {
                        let narrower = alpha::layers(&mut self.graphs, &chunk, crown, cancel)?;
                        let bounds = alpha::margins(&mut self.graphs, &chunk, &narrower, cancel)?;
                        layers = Some(narrower);
                        bounds
                    }
                }
            };
            let middle = self.middle(&chunk)?;
            open = rows.left(open, &bounds.row(0), &middle);
        }
        Ok(open)
    }

    /// The cases that branch and bound does not prove to be impossible before the deadline.
    fn split<'a>(
        &mut self,
        region: &InputBox,
        open: Open<'a>,
        deciding: &Deciding,
        cancel: &Cancel,
    ) -> Result<Open<'a>, CertifyError> {
        let classes = self.classifier.spec().classes;
        let mut layers: Option<Layers> = None;
        let mut left = Vec::new();
        for entry in open {
            let case = vec![entry];
            let Some(rows) = Rows::new(&case, classes).filter(|_| !deciding.is_late()) else {
                left.extend(case);
                continue;
            };
            let chunk = self.box_chunk(region, &rows)?;
            if layers.is_none() {
                let (_, intervals) = self.graphs.intervals(&chunk)?;
                let crown = crown::layers(&mut self.graphs, &chunk, &intervals, cancel)?;
                layers = Some(alpha::layers(&mut self.graphs, &chunk, &crown, cancel)?);
            }
            let Some(layers) = layers.as_ref().filter(|layers| odd_layer(layers, 0).is_none()) else {
                left.extend(case);
                continue;
            };
            let middle = self.middle(&chunk)?;
            let above = |row: usize, low: f32, size: f32| rows.above(row, low, size.max(rows.size(row, &middle)));
            let claim = Claim { chunk: &chunk, layers, above: &above, deadline: deciding.deadline };
            if !branch::proves(&mut self.graphs, &claim, cancel)? {
                left.extend(case);
            }
        }
        Ok(left)
    }

    /// A box and rows, as graphs take them.
    fn box_chunk(&self, region: &InputBox, rows: &Rows) -> Result<Chunk, CertifyError> {
        let [lower, upper] = region.outwards();
        let shape = [&[1], &self.graphs.sample_shape[..]].concat();
        let shaped = |ends: Vec<f32>| {
            ArrayD::from_shape_vec(IxDyn(&shape), ends).map_err(|e| CertifyError::Invalid(e.to_string()))
        };
        Ok(Chunk::of_box(shaped(lower)?, shaped(upper)?, rows.matrix.clone()))
    }

    /// Outputs at the middle of a box.
    fn middle(&self, chunk: &Chunk) -> Result<Vec<f32>, CertifyError> {
        let middle = (&chunk.lower + &chunk.upper) * 0.5;
        let flat = Array2::from_shape_vec((1, middle.len()), middle.iter().copied().collect());
        let flat = flat.map_err(|e| CertifyError::Invalid(e.to_string()))?;
        Ok(self.classifier.logits(flat.view())?.index_axis(Axis(0), 0).to_vec())
    }
}

/// Cases by their boxes, in order. A case without constraints is only attacked: its middle violates the property.
fn grouped(cases: &[Case]) -> Vec<(Arc<InputBox>, Open<'_>)> {
    let mut groups: Vec<(Arc<InputBox>, Open<'_>)> = Vec::new();
    for entry in cases.iter().enumerate() {
        let region = &entry.1.region;
        match groups.iter_mut().rfind(|(known, _)| Arc::ptr_eq(known, region)) {
            Some((_, open)) => open.push(entry),
            None => groups.push((region.clone(), vec![entry])),
        }
    }
    groups
}

/// The constraints of some cases as rows whose lower bounds are wanted: a case is impossible if one of its rows is above its bound everywhere.
struct Rows {
    /// `[1, rows, classes]`.
    matrix: ArrayD<f32>,
    /// By row: the case's position among the open ones, and the bound.
    of: Vec<(usize, f64)>,
}

impl Rows {
    /// None where there is no constraint at all.
    fn new(open: &Open<'_>, classes: usize) -> Option<Self> {
        let constraints: Vec<_> =
            open.iter().enumerate().flat_map(|(at, (_, case))| case.constraints.iter().map(move |c| (at, c))).collect();
        if constraints.is_empty() {
            return None;
        }
        let mut matrix = ArrayD::zeros(IxDyn(&[1, constraints.len(), classes]));
        for (row, (_, constraint)) in constraints.iter().enumerate() {
            constraint.terms.iter().for_each(|&(at, coefficient)| matrix[[0, row, at]] = coefficient as f32);
        }
        Some(Self { matrix, of: constraints.into_iter().map(|(at, constraint)| (at, constraint.bound)).collect() })
    }

    /// The cases that `bounds` of the rows leave possible; `middle` are outputs at some point of the box, which tell how large rows are.
    fn left<'a>(&self, open: Open<'a>, bounds: &ArrayView1<'_, f32>, middle: &[f32]) -> Open<'a> {
        let mut impossible = vec![false; open.len()];
        for (row, ((case, _), &low)) in self.of.iter().zip(bounds).enumerate() {
            impossible[*case] |= self.above(row, low, self.size(row, middle)) > 0.0;
        }
        open.into_iter().zip(impossible).filter(|(_, impossible)| !impossible).map(|(entry, _)| entry).collect()
    }

    /// How far a lower bound is above what a row needs, where numbers of this size were added. NaN is nowhere above.
    fn above(&self, row: usize, low: f32, size: f32) -> f64 {
        let bound = self.of[row].1;
        f64::from(low) - bound - f64::from(slack([low, size, bound as f32]))
    }

    /// The sum of the sizes that a row adds up at some outputs.
    fn size(&self, row: usize, outputs: &[f32]) -> f32 {
        let matrix = self.matrix.index_axis(Axis(0), 0);
        matrix.index_axis(Axis(0), row).iter().zip(outputs).map(|(c, y)| (c * y).abs()).sum()
    }
}
