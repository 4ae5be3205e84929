//! Smooth functions of one number, each with its derivative as a formula in `x` and `y`.

use super::class::unary;
use super::relax::{around_sigmoid, around_tanh};
use super::{Class, Operator};
use crate::{Cause, Emit, Interval, Lines, Node, Rule, Value};

/// The operator that computes `y = f(x)` element by element.
pub(super) struct Function {
    name: &'static str,
    class: Class,
    product: Product,
}

/// `w f'(x)` from `x`, `y` and the cotangent `w` of `y`.
type Product = fn(&Value, &Value, &Value, &mut Emit<'_>) -> Rule<Value>;

impl Function {
    const fn any(name: &'static str, product: Product) -> Self {
        Self { name, class: Class::Elementwise, product }
    }

    const fn increasing(name: &'static str, product: Product) -> Self {
        Self { name, class: Class::Monotone, product }
    }
}

impl Operator for Function {
    fn name(&self) -> &'static str {
        self.name
    }

    fn class(&self) -> Class {
        self.class
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        unary(node, cotangents, wanted, |x, y, w| (self.product)(x, y, w, e))
    }

    fn lines(&self, _: &Node, x: &Interval, _: Option<&Value>, e: &mut Emit<'_>) -> Rule<Lines> {
        match self.name {
            "Sigmoid" => Ok(around_sigmoid(x, e)),
            "Tanh" => Ok(around_tanh(x, e)),
            _ => Err(Cause::NoRule),
        }
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let x = inputs.first().copied()??;
        match self.name {
            "Sigmoid" => Some(1.0 / (1.0 + (-x).exp())),
            "Tanh" => Some(x.tanh()),
            "Exp" => Some(x.exp()),
            "Softplus" => Some(x.exp().ln_1p()),
            // What pruning leaves is zero; other numbers are not worth a formula each.
            "Erf" | "Sin" | "Softsign" if x == 0.0 => Some(0.0),
            _ => None,
        }
    }
}

/// `arccos x`, whose derivative is `-1 / √(1 - x²)`: infinite at the ends.
pub(super) static ACOS: Function = Function::any("Acos", |x, _, w, e| {
    let rest = one_minus_square(x, e)?;
    let root = e.op("Sqrt", &[&rest]);
    let quotient = e.op("Div", &[w, &root]);
    Ok(e.op("Neg", &[&quotient]))
});

/// `arcosh x`, whose derivative is `1 / √(x² - 1)`: infinite at 1.
pub(super) static ACOSH: Function = Function::increasing("Acosh", |x, _, w, e| {
    let one = e.number(1.0, x)?;
    let square = e.op("Mul", &[x, x]);
    let rest = e.op("Sub", &[&square, &one]);
    let root = e.op("Sqrt", &[&rest]);
    Ok(e.op("Div", &[w, &root]))
});

/// `arcsin x`, whose derivative is `1 / √(1 - x²)`: infinite at the ends.
pub(super) static ASIN: Function = Function::increasing("Asin", |x, _, w, e| {
    let rest = one_minus_square(x, e)?;
    let root = e.op("Sqrt", &[&rest]);
    Ok(e.op("Div", &[w, &root]))
});

/// `arsinh x`, whose derivative is `1 / √(1 + x²)`.
pub(super) static ASINH: Function = Function::increasing("Asinh", |x, _, w, e| {
    let sum = one_plus_square(x, e)?;
    let root = e.op("Sqrt", &[&sum]);
    Ok(e.op("Div", &[w, &root]))
});

/// `arctan x`, whose derivative is `1 / (1 + x²)`.
pub(super) static ATAN: Function = Function::increasing("Atan", |x, _, w, e| {
    let sum = one_plus_square(x, e)?;
    Ok(e.op("Div", &[w, &sum]))
});

/// `artanh x`, whose derivative is `1 / (1 - x²)`: infinite at the ends.
pub(super) static ATANH: Function = Function::increasing("Atanh", |x, _, w, e| {
    let rest = one_minus_square(x, e)?;
    Ok(e.op("Div", &[w, &rest]))
});

/// `cos x`, whose derivative is `-sin x`.
pub(super) static COS: Function = Function::any("Cos", |x, _, w, e| {
    let sine = e.op("Sin", &[x]);
    let product = e.op("Mul", &[w, &sine]);
    Ok(e.op("Neg", &[&product]))
});

/// `cosh x`, whose derivative is `sinh x`.
pub(super) static COSH: Function = Function::any("Cosh", |x, _, w, e| {
    let sine = e.op("Sinh", &[x]);
    Ok(e.op("Mul", &[w, &sine]))
});

/// The error function, whose derivative is `2/√π exp(-x²)`.
pub(super) static ERF: Function = Function::increasing("Erf", |x, _, w, e| {
    // The factor as a summand of the exponent saves a pass over memory.
    let log_factor = e.number(std::f64::consts::FRAC_2_SQRT_PI.ln(), x)?;
    let square = e.op("Mul", &[x, x]);
    let exponent = e.op("Sub", &[&log_factor, &square]);
    let derivative = e.op("Exp", &[&exponent]);
    Ok(e.op("Mul", &[w, &derivative]))
});

/// `exp(x)`, its own derivative.
pub(super) static EXP: Function = Function::increasing("Exp", |_, y, w, e| Ok(e.op("Mul", &[w, y])));

/// `log(x)`, whose derivative is `1 / x`.
pub(super) static LOG: Function = Function::increasing("Log", |x, _, w, e| Ok(e.op("Div", &[w, x])));

/// `x t` with `t = tanh(softplus(x))`. The derivative is `t + x (1 - t²) sigmoid(x)`.
pub(super) static MISH: Function = Function::any("Mish", |x, _, w, e| {
    let one = e.number(1.0, x)?;
    let softplus = e.op("Softplus", &[x]);
    let t = e.op("Tanh", &[&softplus]);
    let square = e.op("Mul", &[&t, &t]);
    let rest = e.op("Sub", &[&one, &square]);
    let sigmoid = e.op("Sigmoid", &[x]);
    let inner = e.op("Mul", &[&rest, &sigmoid]);
    let second = e.op("Mul", &[x, &inner]);
    let derivative = e.op("Add", &[&t, &second]);
    Ok(e.op("Mul", &[w, &derivative]))
});

/// `1 / x`, whose derivative is `-y²`.
pub(super) static RECIPROCAL: Function = Function::any("Reciprocal", |_, y, w, e| {
    let square = e.op("Mul", &[y, y]);
    let minus = e.op("Neg", &[&square]);
    Ok(e.op("Mul", &[w, &minus]))
});

/// `1 / (1 + exp(-x))`, whose derivative is `y (1 - y)`.
pub(super) static SIGMOID: Function = Function::increasing("Sigmoid", |_, y, w, e| {
    let one = e.number(1.0, y)?;
    let rest = e.op("Sub", &[&one, y]);
    let derivative = e.op("Mul", &[y, &rest]);
    Ok(e.op("Mul", &[w, &derivative]))
});

/// `sin x`, whose derivative is `cos x`.
pub(super) static SIN: Function = Function::any("Sin", |x, _, w, e| {
    let cosine = e.op("Cos", &[x]);
    Ok(e.op("Mul", &[w, &cosine]))
});

/// `sinh x`, whose derivative is `cosh x`.
pub(super) static SINH: Function = Function::increasing("Sinh", |x, _, w, e| {
    let cosine = e.op("Cosh", &[x]);
    Ok(e.op("Mul", &[w, &cosine]))
});

/// `log(1 + exp(x))`, whose derivative is the sigmoid.
pub(super) static SOFTPLUS: Function = Function::increasing("Softplus", |x, _, w, e| {
    let derivative = e.op("Sigmoid", &[x]);
    Ok(e.op("Mul", &[w, &derivative]))
});

/// `x / (1 + |x|)`, whose derivative is `1 / (1 + |x|)²`.
pub(super) static SOFTSIGN: Function = Function::increasing("Softsign", |x, _, w, e| {
    let one = e.number(1.0, x)?;
    let size = e.op("Abs", &[x]);
    let divisor = e.op("Add", &[&size, &one]);
    let square = e.op("Mul", &[&divisor, &divisor]);
    Ok(e.op("Div", &[w, &square]))
});

/// `√x`, whose derivative is `1 / (2 y)`: infinite at 0.
pub(super) static SQRT: Function = Function::increasing("Sqrt", |_, y, w, e| {
    let half = e.number(0.5, y)?;
    let scaled = e.op("Mul", &[w, &half]);
    Ok(e.op("Div", &[&scaled, y]))
});

/// `tan x`, whose derivative is `1 + y²`.
pub(super) static TAN: Function = Function::any("Tan", |_, y, w, e| {
    let derivative = one_plus_square(y, e)?;
    Ok(e.op("Mul", &[w, &derivative]))
});

/// `tanh(x)`, whose derivative is `1 - y²`.
pub(super) static TANH: Function = Function::increasing("Tanh", |_, y, w, e| {
    let derivative = one_minus_square(y, e)?;
    Ok(e.op("Mul", &[w, &derivative]))
});

fn one_minus_square(x: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let one = e.number(1.0, x)?;
    let square = e.op("Mul", &[x, x]);
    Ok(e.op("Sub", &[&one, &square]))
}

fn one_plus_square(x: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let one = e.number(1.0, x)?;
    let square = e.op("Mul", &[x, x]);
    Ok(e.op("Add", &[&one, &square]))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    fn product(operator: &str) -> String {
        vjp_text(operator, "x[n,3] -> y[n,3]", &[])
    }

    #[test]
    fn those_that_need_only_the_output() {
        assert_snapshot!(product("Exp"), @"
        Mul.0 = Mul(w, y)
        x' = Mul.0
        ");
        assert_snapshot!(product("Reciprocal"), @"
        Mul.0 = Mul(y, y)
        Neg.1 = Neg(Mul.0)
        Mul.2 = Mul(w, Neg.1)
        x' = Mul.2
        ");
        assert_snapshot!(product("Sigmoid"), @"
        Sub.0 = Sub(1, y)
        Mul.1 = Mul(y, Sub.0)
        Mul.2 = Mul(w, Mul.1)
        x' = Mul.2
        ");
        assert_snapshot!(product("Sqrt"), @"
        Mul.0 = Mul(w, 0.5)
        Div.1 = Div(Mul.0, y)
        x' = Div.1
        ");
        assert_snapshot!(product("Tanh"), @"
        Mul.0 = Mul(y, y)
        Sub.1 = Sub(1, Mul.0)
        Mul.2 = Mul(w, Sub.1)
        x' = Mul.2
        ");
    }

    #[test]
    fn those_that_need_the_input() {
        assert_snapshot!(product("Erf"), @"
        Mul.0 = Mul(x, x)
        Sub.1 = Sub(0.12078224122524261, Mul.0)
        Exp.2 = Exp(Sub.1)
        Mul.3 = Mul(w, Exp.2)
        x' = Mul.3
        ");
        assert_snapshot!(product("Log"), @"
        Div.0 = Div(w, x)
        x' = Div.0
        ");
        assert_snapshot!(product("Mish"), @"
        Softplus.0 = Softplus(x)
        Tanh.1 = Tanh(Softplus.0)
        Mul.2 = Mul(Tanh.1, Tanh.1)
        Sub.3 = Sub(1, Mul.2)
        Sigmoid.4 = Sigmoid(x)
        Mul.5 = Mul(Sub.3, Sigmoid.4)
        Mul.6 = Mul(x, Mul.5)
        Add.7 = Add(Tanh.1, Mul.6)
        Mul.8 = Mul(w, Add.7)
        x' = Mul.8
        ");
        assert_snapshot!(product("Softplus"), @"
        Sigmoid.0 = Sigmoid(x)
        Mul.1 = Mul(w, Sigmoid.0)
        x' = Mul.1
        ");
        assert_snapshot!(product("Softsign"), @"
        Abs.0 = Abs(x)
        Add.1 = Add(Abs.0, 1)
        Mul.2 = Mul(Add.1, Add.1)
        Div.3 = Div(w, Mul.2)
        x' = Div.3
        ");
    }

    #[test]
    fn trigonometric_ones() {
        assert_snapshot!(product("Acos"), @"
        Mul.0 = Mul(x, x)
        Sub.1 = Sub(1, Mul.0)
        Sqrt.2 = Sqrt(Sub.1)
        Div.3 = Div(w, Sqrt.2)
        Neg.4 = Neg(Div.3)
        x' = Neg.4
        ");
        assert_snapshot!(product("Acosh"), @"
        Mul.0 = Mul(x, x)
        Sub.1 = Sub(Mul.0, 1)
        Sqrt.2 = Sqrt(Sub.1)
        Div.3 = Div(w, Sqrt.2)
        x' = Div.3
        ");
        assert_snapshot!(product("Tan"), @"
        Mul.0 = Mul(y, y)
        Add.1 = Add(1, Mul.0)
        Mul.2 = Mul(w, Add.1)
        x' = Mul.2
        ");
    }
}
