//! What a file asks: whether an input in some box has outputs that fulfil some constraints.

use std::sync::Arc;

/// A property of a network, as VNN-LIB states it: by what violates it. It is fulfilled (`unsat`) if no case can happen.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Number of inputs, in row-major order of the model's input.
    pub inputs: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// What violates it: any of these.
    pub cases: Vec<Case>,
}

/// A way to violate a property: an input in a box whose outputs fulfil all constraints.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Where inputs lie: the cases of most files share one box.
    pub region: Arc<InputBox>,
    /// What their outputs fulfil; without any, all inputs of the box are a violation.
    pub constraints: Vec<Constraint>,
}

/// Ends of the interval of each input, both included, as the file has them.
#[derive(Clone, Debug, PartialEq)]
pub struct InputBox {
    /// Lower ends.
    pub lower: Vec<f64>,
    /// Upper ends, none below its lower end.
    pub upper: Vec<f64>,
}

/// `Σ coefficient · y <= bound`.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    /// Outputs with their coefficients, each output at most once, in order.
    pub terms: Vec<(usize, f64)>,
    /// The bound.
    pub bound: f64,
}

impl Constraint {
    /// How far `outputs` are beyond the constraint: it is fulfilled where this is not positive. NaN where an output is.
    #[must_use]
    pub fn excess(&self, outputs: &[f32]) -> f64 {
        self.terms.iter().map(|&(at, c)| c * outputs.get(at).map_or(f64::NAN, |y| f64::from(*y))).sum::<f64>()
            - self.bound
    }

    /// Whether it only says which of two outputs is larger.
    pub(super) fn compares(&self) -> bool {
        self.bound == 0.0 && matches!(self.terms[..], [(_, a), (_, b)] if a == -b)
    }
}

impl Case {
    /// Whether `outputs`, of an input in the box, are a violation. NaN is none.
    #[must_use]
    pub fn holds(&self, outputs: &[f32]) -> bool {
        self.constraints.iter().all(|constraint| constraint.excess(outputs) <= 0.0)
    }

    /// How far `outputs` are inside the constraint that they fulfil the least: a violation where it is not negative.
    pub(super) fn depth(&self, outputs: &[f32]) -> f64 {
        let least = |depth: f64, constraint: &Constraint| {
            let own = -constraint.excess(outputs);
            if own < depth || own.is_nan() { own } else { depth }
        };
        self.constraints.iter().fold(f64::INFINITY, least)
    }

    /// The constraint that `outputs` fulfil the least.
    pub(super) fn tightest(&self, outputs: &[f32]) -> Option<&Constraint> {
        self.constraints.iter().max_by(|a, b| a.excess(outputs).total_cmp(&b.excess(outputs)))
    }
}

impl InputBox {
    /// The box in binary32, rounded outwards: no input of it is lost.
    pub(super) fn outwards(&self) -> [Vec<f32>; 2] {
        [self.lower.iter().map(|&x| below(x)).collect(), self.upper.iter().map(|&x| -below(-x)).collect()]
    }

    /// The binary32 numbers in it. Where an interval has none, as that of a single decimal, the nearest to its middle stands for it.
    pub(super) fn inwards(&self) -> [Vec<f32>; 2] {
        let ends = self.lower.iter().zip(&self.upper).map(|(&low, &high)| {
            let (first, last) = (-below(-low), below(high));
            let middle = f64::midpoint(low, high) as f32;
            if first <= last { (first, last) } else { (middle, middle) }
        });
        let (lower, upper) = ends.unzip();
        [lower, upper]
    }
}

/// The largest binary32 that is not above `x`.
fn below(x: f64) -> f32 {
    let nearest = x as f32;
    if f64::from(nearest) > x { nearest.next_down() } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_rounded_outwards_for_proofs_and_inwards_for_points() {
        let single = f64::from(0.1f32);
        let region = InputBox { lower: vec![0.1, 0.1, single, 0.0], upper: vec![0.3, 0.1, single, 1.0] };
        let [lower, upper] = region.outwards();
        for i in 0..4 {
            assert!(f64::from(lower[i]) <= region.lower[i] && region.upper[i] <= f64::from(upper[i]), "{i}");
        }
        assert_eq!((lower[2], upper[2], lower[3], upper[3]), (0.1, 0.1, 0.0, 1.0), "what is exact stays");
        assert!(lower[1] < upper[1]);
        let [lower, upper] = region.inwards();
        assert!(f64::from(lower[0]) >= 0.1 && f64::from(upper[0]) <= 0.3);
        assert_eq!((lower[1], upper[1]), (0.1, 0.1));
    }

    #[test]
    fn a_case_holds_where_all_constraints_do_and_never_by_a_number_that_is_none() {
        let less = |a, b| Constraint { terms: vec![(a, 1.0), (b, -1.0)], bound: 0.0 };
        let region = Arc::new(InputBox { lower: vec![], upper: vec![] });
        let case = Case { region, constraints: vec![less(0, 1), less(0, 2)] };
        assert!(case.holds(&[1.0, 1.0, 2.0]) && !case.holds(&[1.0, 0.5, 2.0]));
        assert_eq!((case.depth(&[1.0, 4.0, 2.0]), case.depth(&[1.0, 0.5, 2.0])), (1.0, -0.5));
        assert_eq!(case.tightest(&[1.0, 4.0, 2.0]), Some(&less(0, 2)));
        assert!(!case.holds(&[f32::NAN, 1.0, 2.0]) && case.depth(&[1.0, f32::NAN, 2.0]).is_nan());
        assert!(!case.holds(&[1.0]), "an output that is missing");
        assert!(less(0, 1).compares() && !Constraint { terms: vec![(0, 1.0)], bound: 0.0 }.compares());
    }
}
