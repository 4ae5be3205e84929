//! Losses that attacks maximise.

use std::fmt;
use std::str::FromStr;

use crate::{Cause, DataType, Emit, Rule, Value};

/// A loss on the logits `z` of one sample with label `y`; larger means further from the label.
///
/// Losses and gradients are per sample: a batch's gradient is that of the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// `logsumexp(z) - z_y`.
    CrossEntropy,
    /// `max_{j != y} z_j - z_y` (Carlini and Wagner, 2017). Ties: the lower class.
    Margin,
    /// `z_t - z_y` for a target class `t`.
    MarginTargeted,
    /// Difference of logits ratio (Croce and Hein, 2020): `-(z_y - max_{j != y} z_j) / (z_π1 - z_π3 + 1e-12)` with the
    /// logits sorted in falling order `π`. Needs 3 classes.
    Dlr,
    /// Its targeted form towards a class `t`: `-(z_y - z_t) / (z_π1 - (z_π3 + z_π4) / 2 + 1e-12)`. Needs 4 classes.
    DlrTargeted,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::CrossEntropy, Self::Margin, Self::MarginTargeted, Self::Dlr, Self::DlrTargeted];

    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross-entropy",
            Self::Margin => "margin",
            Self::MarginTargeted => "margin-targeted",
            Self::Dlr => "dlr",
            Self::DlrTargeted => "dlr-targeted",
        }
    }

    /// Fewest classes it is defined for.
    #[must_use]
    pub fn min_classes(self) -> usize {
        match self {
            Self::CrossEntropy | Self::Margin | Self::MarginTargeted => 2,
            Self::Dlr => 3,
            Self::DlrTargeted => 4,
        }
    }

    /// The loss of its kind that needs no target: it compares the label with whichever other class has the largest logit.
    #[must_use]
    pub fn of_label(self) -> Self {
        match self {
            Self::MarginTargeted => Self::Margin,
            Self::DlrTargeted => Self::Dlr,
            other => other,
        }
    }

    /// Whether it needs a target class for each sample.
    #[must_use]
    pub fn needs_target(self) -> bool {
        matches!(self, Self::MarginTargeted | Self::DlrTargeted)
    }
}

/// A loss and its derivative as values of a graph.
pub(crate) struct Seed {
    /// Loss of each sample, f32 `[n]`.
    pub(crate) loss: Value,
    /// Its derivative with respect to the logits, f32 `[n, classes]`.
    pub(crate) cotangent: Value,
}

/// The graphs, in closed form. They use only operators that ONNX Runtime has CPU and CUDA kernels for.
impl Loss {
    /// Emits the loss on `logits`, f32 `[n, classes]`, for `labels` and `targets`, i64 `[n]`.
    ///
    /// # Errors
    /// It needs more classes than there are.
    pub(crate) fn emit(
        self,
        logits: &Value,
        classes: usize,
        labels: &Value,
        targets: Option<&Value>,
        e: &mut Emit<'_>,
    ) -> Rule<Seed> {
        if classes < self.min_classes() {
            return Err(Cause::Unsupported(format!(
                "the loss \"{self}\" needs {} classes, this model has {classes}; use \"{}\" or \"{}\"",
                self.min_classes(),
                Self::CrossEntropy,
                Self::Margin
            )));
        }
        let mut z = Logits::new(logits, classes, e);
        let label = z.column(labels);
        Ok(match (self, targets) {
            (Self::CrossEntropy, _) => z.cross_entropy(&label),
            (Self::Margin, _) => z.margin(&label),
            (Self::Dlr, _) => z.dlr(&label),
            (Self::MarginTargeted, Some(targets)) => {
                let target = z.column(targets);
                z.difference(&target, &label)
            }
            (Self::DlrTargeted, Some(targets)) => {
                let target = z.column(targets);
                z.dlr_targeted(&label, &target)
            }
            (Self::MarginTargeted | Self::DlrTargeted, None) => {
                return Err(Cause::Malformed(format!("the loss \"{self}\" needs targets")));
            }
        })
    }
}

/// The logits `z` of a batch while a loss is emitted on them. Classes are i64 columns `[n, 1]`.
struct Logits<'a, 'm> {
    z: &'a Value,
    /// All classes in order, i64 `[classes]`.
    all: Value,
    /// The axis of the classes, i64 `[1]`.
    axis: Value,
    e: &'a mut Emit<'m>,
}

impl<'a, 'm> Logits<'a, 'm> {
    fn new(z: &'a Value, classes: usize, e: &'a mut Emit<'m>) -> Self {
        let all: Vec<i64> = (0..).take(classes).collect();
        let (all, axis) = (e.ints(&all), e.ints(&[1]));
        Self { z, all, axis, e }
    }

    /// The gradient is `softmax(z) - e_y`, where the entry of `y` is written as minus the sum of the others: `p_y - 1` would
    /// be rounded to zero for a confident model.
    fn cross_entropy(&mut self, label: &Value) -> Seed {
        let log_p = self.e.op_with("LogSoftmax", &[self.z], [("axis", 1.into())]);
        let log_p_label = self.at(&log_p, label);
        let loss = self.e.op("Neg", &[&log_p_label]);
        let p = self.e.op_with("Softmax", &[self.z], [("axis", 1.into())]);
        let is_label = self.e.op("Equal", &[&self.all, label]);
        let zero = self.e.scalar(0.0, DataType::Float);
        let others = self.e.op("Where", &[&is_label, &zero, &p]);
        let sum = self.e.op("ReduceSum", &[&others, &self.axis]);
        let minus_sum = self.e.op("Neg", &[&sum]);
        let cotangent = self.e.op("Where", &[&is_label, &minus_sum, &others]);
        self.seed(&loss, cotangent)
    }

    fn margin(&mut self, label: &Value) -> Seed {
        let is_label = self.e.op("Equal", &[&self.all, label]);
        let lowest = self.e.scalar(f64::from(f32::MIN), DataType::Float);
        let others = self.e.op("Where", &[&is_label, &lowest, self.z]);
        let best = self.e.op_with("ArgMax", &[&others], [("axis", 1.into())]);
        self.difference(&best, label)
    }

    /// `z_other - z_y`.
    fn difference(&mut self, other: &Value, label: &Value) -> Seed {
        let (z_other, z_label) = (self.at(self.z, other), self.at(self.z, label));
        let loss = self.e.op("Sub", &[&z_other, &z_label]);
        let (e_other, e_label) = (self.unit(other), self.unit(label));
        let cotangent = self.e.op("Sub", &[&e_other, &e_label]);
        self.seed(&loss, cotangent)
    }

    fn dlr(&mut self, label: &Value) -> Seed {
        let [first, second, third] = self.top();
        let first_is_label = self.e.op("Equal", &[&first.class, label]);
        let other = Ranked {
            class: self.e.op("Where", &[&first_is_label, &second.class, &first.class]),
            z: self.e.op("Where", &[&first_is_label, &second.z, &first.z]),
        };
        let spread = self.e.op("Sub", &[&first.z, &third.z]);
        let (e_first, e_third) = (self.unit(&first.class), self.unit(&third.class));
        let e_spread = self.e.op("Sub", &[&e_first, &e_third]);
        self.ratio(&other, label, &spread, &e_spread)
    }

    fn dlr_targeted(&mut self, label: &Value, target: &Value) -> Seed {
        let [first, _, third, fourth] = self.top();
        let half = self.e.scalar(0.5, DataType::Float);
        let pair = self.e.op("Add", &[&third.z, &fourth.z]);
        let mean = self.e.op("Mul", &[&pair, &half]);
        let spread = self.e.op("Sub", &[&first.z, &mean]);
        let (e_first, e_third, e_fourth) = (self.unit(&first.class), self.unit(&third.class), self.unit(&fourth.class));
        let e_pair = self.e.op("Add", &[&e_third, &e_fourth]);
        let e_mean = self.e.op("Mul", &[&e_pair, &half]);
        let e_spread = self.e.op("Sub", &[&e_first, &e_mean]);
        let other = Ranked { class: target.clone(), z: self.at(self.z, target) };
        self.ratio(&other, label, &spread, &e_spread)
    }

    /// `L = (z_o - z_y) / D` with `D = spread + 1e-12`, and its derivative `((e_o - e_y) D - (z_o - z_y) e_spread) / D²`,
    /// where `e_spread` is the derivative of the spread. Differences of logits cancel without loss, those of `L` would not.
    fn ratio(&mut self, other: &Ranked, label: &Value, spread: &Value, e_spread: &Value) -> Seed {
        let tiny = self.e.scalar(1e-12, DataType::Float);
        let d = self.e.op("Add", &[spread, &tiny]);
        let z_label = self.at(self.z, label);
        let difference = self.e.op("Sub", &[&other.z, &z_label]);
        let loss = self.e.op("Div", &[&difference, &d]);
        let (e_other, e_label) = (self.unit(&other.class), self.unit(label));
        let e_difference = self.e.op("Sub", &[&e_other, &e_label]);
        let (left, right) = (self.e.op("Mul", &[&e_difference, &d]), self.e.op("Mul", &[&difference, e_spread]));
        let numerator = self.e.op("Sub", &[&left, &right]);
        // Twice by `D`, because `D²` could leave the range of f32.
        let once = self.e.op("Div", &[&numerator, &d]);
        let cotangent = self.e.op("Div", &[&once, &d]);
        self.seed(&loss, cotangent)
    }

    /// The `N` largest logits in falling order; of equal ones the lower class first, as `TopK` promises.
    fn top<const N: usize>(&mut self) -> [Ranked; N] {
        let k = self.e.ints(&[i64::try_from(N).unwrap_or(i64::MAX)]);
        let inputs = vec![Some(self.z.clone()), Some(k)];
        let sorted = self.e.node("TopK", inputs, [("axis".to_owned(), 1.into())].into_iter().collect(), 2);
        let mut rank = 0;
        [(); N].map(|()| {
            let position = self.e.ints(&[rank]);
            rank += 1;
            let mut gather = |from: &Value| self.e.op_with("Gather", &[from, &position], [("axis", 1.into())]);
            Ranked { z: gather(&sorted[0]), class: gather(&sorted[1]) }
        })
    }

    /// Classes `[n]` as a column.
    fn column(&mut self, classes: &Value) -> Value {
        self.e.op("Unsqueeze", &[classes, &self.axis])
    }

    /// The entries of `values`, `[n, classes]`, at the classes of a column.
    fn at(&mut self, values: &Value, column: &Value) -> Value {
        self.e.op_with("GatherElements", &[values, column], [("axis", 1.into())])
    }

    /// The unit vectors `e_c` of a column of classes, f32 `[n, classes]`.
    fn unit(&mut self, column: &Value) -> Value {
        let mask = self.e.op("Equal", &[&self.all, column]);
        self.e.cast(&mask, DataType::Bool, DataType::Float)
    }

    fn seed(&mut self, loss: &Value, cotangent: Value) -> Seed {
        Seed { loss: self.e.op("Squeeze", &[loss, &self.axis]), cotangent }
    }
}

/// A class for each sample and its logit, both `[n, 1]`.
struct Ranked {
    class: Value,
    z: Value,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|l| l.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|l| l.name()).collect();
            format!("unknown loss \"{name}\": expected one of {}", names.join(", "))
        })
    }
}
