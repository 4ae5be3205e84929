//! Functions of one element, and arithmetic on two or more arrays of which each is repeated to the common shape.

use assay_graph::DataType;
use ndarray::{ArrayD, IxDyn, Zip};

use crate::array::{Array, Data};
use crate::interpret::{Call, Outputs, float_output};

/// The function of one element that an operator is, if it is one without attributes.
pub(super) fn unary(operator: &str) -> Option<fn(f64) -> f64> {
    Some(match operator {
        "Abs" => f64::abs,
        "Acos" => f64::acos,
        "Acosh" => f64::acosh,
        "Asin" => f64::asin,
        "Asinh" => f64::asinh,
        "Atan" => f64::atan,
        "Atanh" => f64::atanh,
        "Ceil" => f64::ceil,
        "Cos" => f64::cos,
        "Cosh" => f64::cosh,
        "Erf" => erf,
        "Exp" => f64::exp,
        "Floor" => f64::floor,
        "HardSwish" => |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        "Log" => f64::ln,
        "Mish" => |x| x * softplus(x).tanh(),
        "Neg" => |x| -x,
        "Reciprocal" => f64::recip,
        "Relu" => |x| if x < 0.0 { 0.0 } else { x },
        "Round" => f64::round_ties_even,
        "Sigmoid" => sigmoid,
        "Sign" => |x| if x == 0.0 { 0.0 } else { x.signum() },
        "Sin" => f64::sin,
        "Sinh" => f64::sinh,
        "Softplus" => softplus,
        "Softsign" => |x| x / (1.0 + x.abs()),
        "Sqrt" => f64::sqrt,
        "Tan" => f64::tan,
        "Tanh" => f64::tanh,
        _ => return None,
    })
}

/// Applies the function that [`unary`] finds.
pub(super) fn apply(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let data = match (&x.data, c.node.operator.as_str()) {
        (Data::Int(a), "Abs") => Data::Int(a.mapv(i64::abs)),
        (Data::Int(a), "Neg") => Data::Int(a.mapv(|v| -v)),
        (Data::Int(a), "Sign") => Data::Int(a.mapv(i64::signum)),
        (Data::Int(a), "Relu") => Data::Int(a.mapv(|v| v.max(0))),
        (_, operator) => Data::Float(c.floats(0)?.mapv(unary(operator).ok_or("not a function of one element")?)),
    };
    Ok(vec![Array::of(x.dtype, data)])
}

/// Functions of one element with attributes.
pub(super) fn with_attributes(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let y = match c.node.operator.as_str() {
        "Celu" => {
            let alpha = c.float("alpha", 1.0)?;
            x.mapv(|x| if x > 0.0 { x } else { alpha * (x / alpha).exp_m1() })
        }
        "Elu" => {
            let alpha = c.float("alpha", 1.0)?;
            x.mapv(|x| if x > 0.0 { x } else { alpha * x.exp_m1() })
        }
        "Gelu" => match c.text("approximate", "none")? {
            "none" => x.mapv(|x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()))),
            "tanh" => {
                let scale = (2.0 / std::f64::consts::PI).sqrt();
                x.mapv(|x| 0.5 * x * (1.0 + (scale * (x + 0.044715 * x.powi(3))).tanh()))
            }
            other => return Err(format!("approximation \"{other}\" is not known")),
        },
        "HardSigmoid" => {
            let (alpha, beta) = (c.float("alpha", 0.2)?, c.float("beta", 0.5)?);
            x.mapv(|x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "LeakyRelu" => {
            let alpha = c.float("alpha", 0.01)?;
            x.mapv(|x| if x < 0.0 { alpha * x } else { x })
        }
        "Selu" => {
            let (alpha, gamma) = (c.float("alpha", 1.673_263_2)?, c.float("gamma", 1.050_701)?);
            x.mapv(|x| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() })
        }
        "Shrink" => {
            let (bias, lambd) = (c.float("bias", 0.0)?, c.float("lambd", 0.5)?);
            x.mapv(|x| match x {
                x if x < -lambd => x + bias,
                x if x > lambd => x - bias,
                _ => 0.0,
            })
        }
        "Swish" => {
            let alpha = c.float("alpha", 1.0)?;
            x.mapv(|x| x * sigmoid(alpha * x))
        }
        "ThresholdedRelu" => {
            let alpha = c.float("alpha", 1.0)?;
            x.mapv(|x| if x > alpha { x } else { 0.0 })
        }
        other => return Err(format!("{other} is not a function of one element with attributes")),
    };
    float_output(c.input(0)?.dtype, y)
}

/// `Clip`: bounds are attributes before opset 11 and inputs from then on; the upper one wins where they cross.
pub(super) fn clip(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[0, 1, 2])?;
    let bound = |i: usize, name: &str, default: f64| match c.optional(i) {
        Some(_) => c.number(i),
        None if c.node.attributes.contains_key(name) => c.float(name, 0.0),
        None => Ok(default),
    };
    let (low, high) = (bound(1, "min", f64::NEG_INFINITY)?, bound(2, "max", f64::INFINITY)?);
    #[allow(clippy::cast_possible_truncation)] // Saturates, as it should.
    let data = match &c.input(0)?.data {
        Data::Float(x) => Data::Float(x.mapv(|x| minimum(maximum(x, low), high))),
        Data::Int(x) => Data::Int(x.mapv(|x| x.max(low as i64).min(high as i64))),
        Data::Bool(_) => return Err("booleans cannot be clipped".into()),
    };
    Ok(vec![Array::of(dtype, data)])
}

/// `PRelu`: the slope is repeated to the shape of the input.
pub(super) fn prelu(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[0, 1])?;
    let x = c.floats(0)?;
    let slope = broadcast(c.floats(1)?, x.shape())?;
    float_output(dtype, Zip::from(x).and(&slope).map_collect(|&x, &slope| if x < 0.0 { slope * x } else { x }))
}

/// Arithmetic on two arrays.
pub(super) fn binary(c: &Call<'_>) -> Outputs {
    // The exponent may have a type of its own.
    let dtype = if c.node.operator == "Pow" { c.input(0)?.dtype } else { c.one_type(&[0, 1])? };
    let fmod = c.flag("fmod", false)?;
    let floats: fn(f64, f64) -> f64 = match c.node.operator.as_str() {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Pow" => f64::powf,
        "Mod" if fmod => |a, b| a % b,
        "Mod" => {
            return ints(c, dtype, |a, b| {
                a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r })
            });
        }
        other => return Err(format!("{other} is not arithmetic on two arrays")),
    };
    match (&c.input(0)?.data, &c.input(1)?.data) {
        (Data::Float(a), Data::Float(b)) => float_output(dtype, pairwise(a, b, floats)?),
        #[allow(clippy::cast_precision_loss)]
        (Data::Float(a), Data::Int(b)) => float_output(dtype, pairwise(a, &b.mapv(|v| v as f64), floats)?),
        _ => ints(
            c,
            dtype,
            match c.node.operator.as_str() {
                "Add" => i64::checked_add,
                "Sub" => i64::checked_sub,
                "Mul" => i64::checked_mul,
                "Div" => i64::checked_div,
                "Pow" => |a, b| a.checked_pow(u32::try_from(b).ok()?),
                _ => i64::checked_rem,
            },
        ),
    }
}

fn ints(c: &Call<'_>, dtype: DataType, f: fn(i64, i64) -> Option<i64>) -> Outputs {
    let results = pairwise(c.int_array(0)?, c.int_array(1)?, f)?;
    if results.iter().any(Option::is_none) {
        return Err("integer overflow or division by zero".into());
    }
    Ok(vec![Array::of(dtype, Data::Int(results.mapv(Option::unwrap_or_default)))])
}

/// `Max`, `Min`, `Sum` and `Mean` of any number of arrays.
pub(super) fn variadic(c: &Call<'_>) -> Outputs {
    let inputs = c.all()?;
    let dtype = c.one_type(&(0..inputs.len()).collect::<Vec<_>>())?;
    let operator = c.node.operator.as_str();
    if let Data::Int(_) = inputs[0].data {
        let f: fn(i64, i64) -> i64 = match operator {
            "Max" => i64::max,
            "Min" => i64::min,
            _ => return Err("integers are not summed".into()),
        };
        let mut result = c.int_array(0)?.clone();
        for i in 1..inputs.len() {
            result = pairwise(&result, c.int_array(i)?, f)?;
        }
        return Ok(vec![Array::of(dtype, Data::Int(result))]);
    }
    let f: fn(f64, f64) -> f64 = match operator {
        "Max" => maximum,
        "Min" => minimum,
        _ => |a, b| a + b,
    };
    let mut result = c.floats(0)?.clone();
    for i in 1..inputs.len() {
        result = pairwise(&result, c.floats(i)?, f)?;
    }
    #[allow(clippy::cast_precision_loss)]
    let count = inputs.len() as f64;
    float_output(dtype, if operator == "Mean" { result / count } else { result })
}

/// `f` of each pair of elements, both arrays repeated to their common shape.
pub(super) fn pairwise<A, B, R>(a: &ArrayD<A>, b: &ArrayD<B>, f: impl Fn(A, B) -> R) -> Result<ArrayD<R>, String>
where
    A: Clone,
    B: Clone,
{
    let dims = common(a.shape(), b.shape())?;
    let (a, b) = (broadcast(a, &dims)?, broadcast(b, &dims)?);
    Ok(Zip::from(&a).and(&b).map_collect(|a, b| f(a.clone(), b.clone())))
}

/// The shape that both shapes are repeated to: aligned at the end, a 1 gives way.
pub(super) fn common(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(format!("shapes {a:?} and {b:?} cannot be repeated to one shape")),
        })
        .collect()
}

/// `a` repeated to the shape `dims`.
pub(super) fn broadcast<T: Clone>(a: &ArrayD<T>, dims: &[usize]) -> Result<ArrayD<T>, String> {
    let view = a.broadcast(IxDyn(dims));
    view.map(|v| v.to_owned()).ok_or_else(|| format!("shape {:?} cannot be repeated to {dims:?}", a.shape()))
}

fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// The error function by its series `2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1))`, whose terms have one sign, so that
/// nothing cancels.
pub(crate) fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}
