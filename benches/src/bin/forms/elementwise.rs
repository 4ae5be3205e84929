//! The forms of element-wise derivatives.

use assay_graph::Tensor;

use crate::cases::{Case, Form, noise};
use crate::sketch::{Sketch, model};

/// A map: channels, and rows and columns.
type Map = (usize, usize);

/// Writes a value from two others.
type Write = fn(&mut Sketch, &str, &str) -> String;

/// A cotangent times the mask of a `Relu`'s output.
const MASKED: [(&str, Write); 3] =
    [("`HardSigmoid`, `Mul`", steep), ("`Greater`, `Cast`, `Mul`", compared), ("`Greater`, `Where`", selected)];

fn steep(e: &mut Sketch, y: &str, w: &str) -> String {
    let mask = positive(e, y);
    e.op("Mul", &[w, &mask], [])
}

/// 1 where `y > 0`, else 0.
fn positive(e: &mut Sketch, y: &str) -> String {
    e.op("HardSigmoid", &[y], [("alpha", f32::MAX.into()), ("beta", 0.0.into())])
}

fn compared(e: &mut Sketch, y: &str, w: &str) -> String {
    let zero = e.number(0.0, 0);
    let mask = e.op("Greater", &[y, &zero], []);
    let mask = e.op("Cast", &[&mask], [("to", 1.into())]);
    e.op("Mul", &[w, &mask], [])
}

fn selected(e: &mut Sketch, y: &str, w: &str) -> String {
    let zero = e.number(0.0, 0);
    let mask = e.op("Greater", &[y, &zero], []);
    e.op("Where", &[&mask, w, &zero], [])
}

/// The mask of a `Relu`, alone.
pub(crate) fn relu() -> Vec<Case> {
    let case = |(channels, side): Map| {
        let sample = [channels, side, side];
        let form =
            |(name, masked): (_, Write)| Form::new(name, &[("y", &sample), ("w", &sample)], |e| masked(e, "y", "w"));
        Case {
            derivative: "`Relu`",
            shape: format!("{channels} channels {side}²"),
            source: model(&[("x", &sample)], |e| e.op("Relu", &["x"], [])),
            forms: MASKED.map(form).into(),
        }
    };
    [(16, 32), (64, 16), (576, 1)].map(case).into()
}

/// The mask of a `Relu` between two convolutions, whose blocked layout some forms leave.
pub(crate) fn relu_between_convolutions() -> Vec<Case> {
    let case = |(channels, side): Map| {
        let sample = [channels, side, side];
        let convolved = |e: &mut Sketch, x: &str, kernel: Tensor| {
            let kernel = e.constant(kernel);
            e.op("Conv", &[x, &kernel], [("pads", vec![1; 4].into())])
        };
        let forward = |e: &mut Sketch| {
            let first = convolved(e, "x", kernel(channels, 1));
            e.op("Relu", &[&first], [])
        };
        let source = model(&[("x", &sample)], |e| {
            let between = forward(e);
            convolved(e, &between, kernel(channels, 2))
        });
        let form = |(name, masked): (_, Write)| {
            Form::new(name, &[("x", &sample), ("w", &sample)], |e| {
                let between = forward(e);
                let back = convolved(e, "w", flipped_kernel(channels, 2));
                let back = masked(e, &between, &back);
                convolved(e, &back, flipped_kernel(channels, 1))
            })
        };
        Case {
            derivative: "`Relu` between two `Conv`, forward and back",
            shape: format!("{channels} channels 3×3 on {side}²"),
            source,
            forms: MASKED.map(form).into(),
        }
    };
    [(16, 32), (64, 16)].map(case).into()
}

fn kernel(channels: usize, seed: u32) -> Tensor {
    Tensor::floats(&[channels, channels, 3, 3], &noise(channels * channels * 9, seed))
}

/// `kernel` with input and output channels exchanged and the taps reversed.
fn flipped_kernel(channels: usize, seed: u32) -> Tensor {
    let kernel = noise(channels * channels * 9, seed);
    let value = |i: usize| kernel[((i / 9 % channels) * channels + i / 9 / channels) * 9 + 8 - i % 9];
    Tensor::floats(&[channels, channels, 3, 3], &(0..kernel.len()).map(value).collect::<Vec<f32>>())
}

/// Numbers that combine with a map: of its rank, or scalars.
pub(crate) fn numbers() -> Vec<Case> {
    let case = |(channels, side): Map| {
        let sample = [channels, side, side];
        let attributes = [("alpha", (1.0f32 / 6.0).into()), ("beta", 0.5.into())];
        let form = |name, rank| {
            Form::new(name, &[("y", &sample), ("w", &sample)], |e| {
                let (one, slope) = (e.number(1.0, rank), e.number(1.0 / 6.0, rank));
                let rest = e.op("Sub", &[&one, "y"], []);
                let between = e.op("Mul", &["y", &rest], []);
                let mask = positive(e, &between);
                let derivative = e.op("Mul", &[&mask, &slope], []);
                e.op("Mul", &["w", &derivative], [])
            })
        };
        Case {
            derivative: "`HardSigmoid`, with two numbers",
            shape: format!("{channels} channels {side}²"),
            source: model(&[("x", &sample)], |e| e.op("HardSigmoid", &["x"], attributes)),
            forms: vec![form("numbers of the same rank", 4), form("scalars", 0)],
        }
    };
    [(576, 1), (64, 1), (64, 8)].map(case).into()
}

/// `HardSwish`: a mask from `HardSigmoid`, or from a comparison.
pub(crate) fn hard_swish() -> Vec<Case> {
    const SLOPE: f32 = (1u128 << 100) as f32;
    let within = |e: &mut Sketch, size: &str| {
        e.op("HardSigmoid", &[size], [("alpha", (-SLOPE).into()), ("beta", (3.0 * SLOPE).into())])
    };
    let less = |e: &mut Sketch, size: &str| {
        let three = e.number(3.0, 0);
        let within = e.op("Less", &[size, &three], []);
        e.op("Cast", &[&within], [("to", 1.into())])
    };
    let case = |(channels, side): Map| {
        let sample = [channels, side, side];
        let form = |name, mask: &dyn Fn(&mut Sketch, &str) -> String| {
            Form::new(name, &[("x", &sample), ("w", &sample)], |e| {
                let sixth = e.number(1.0 / 6.0, 0);
                let gate = e.op("HardSigmoid", &["x"], [("alpha", (1.0f32 / 6.0).into()), ("beta", 0.5.into())]);
                let size = e.op("Abs", &["x"], []);
                let mask = mask(e, &size);
                let scaled = e.op("Mul", &["x", &sixth], []);
                let bend = e.op("Mul", &[&scaled, &mask], []);
                let derivative = e.op("Add", &[&gate, &bend], []);
                e.op("Mul", &["w", &derivative], [])
            })
        };
        Case {
            derivative: "`HardSwish`",
            shape: format!("{channels} channels {side}²"),
            source: model(&[("x", &sample)], |e| e.op("HardSwish", &["x"], [])),
            forms: vec![form("mask from `HardSigmoid`", &within), form("mask from `Less`, `Cast`", &less)],
        }
    };
    [(16, 32), (96, 4)].map(case).into()
}

/// `Erf`: the factor 2/√π in the exponent, or behind it.
pub(crate) fn erf() -> Vec<Case> {
    const FACTOR: f32 = std::f32::consts::FRAC_2_SQRT_PI;
    let in_exponent = |e: &mut Sketch, square: &str| {
        let factor = e.number(FACTOR.ln(), 0);
        let exponent = e.op("Sub", &[&factor, square], []);
        e.op("Exp", &[&exponent], [])
    };
    let behind = |e: &mut Sketch, square: &str| {
        let factor = e.number(FACTOR, 0);
        let exponent = e.op("Neg", &[square], []);
        let bell = e.op("Exp", &[&exponent], []);
        e.op("Mul", &[&bell, &factor], [])
    };
    let case = |(tokens, width): (usize, usize)| {
        let sample = [tokens, width];
        let form = |name, bell: &dyn Fn(&mut Sketch, &str) -> String| {
            Form::new(name, &[("x", &sample), ("w", &sample)], |e| {
                let square = e.op("Mul", &["x", "x"], []);
                let derivative = bell(e, &square);
                e.op("Mul", &["w", &derivative], [])
            })
        };
        Case {
            derivative: "`Erf`",
            shape: format!("{tokens} × {width}"),
            source: model(&[("x", &sample)], |e| e.op("Erf", &["x"], [])),
            forms: vec![form("factor in the exponent", &in_exponent), form("factor behind", &behind)],
        }
    };
    [(65, 768), (17, 768)].map(case).into()
}
