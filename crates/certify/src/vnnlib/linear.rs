//! Linear expressions of the variables of a file.

use super::VnnlibError;
use super::expression::{Expression, Form};

/// An input or an output of the network, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Variable {
    Input(usize),
    Output(usize),
}

impl Variable {
    /// `X_3` or `Y_0`.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let (kind, number) = word.split_once('_')?;
        // As it is written in no other way: no sign, no leading zeros.
        let index: usize = number.parse().ok()?;
        if index.to_string() != number {
            return None;
        }
        match kind {
            "X" => Some(Self::Input(index)),
            "Y" => Some(Self::Output(index)),
            _ => None,
        }
    }
}

/// `Σ coefficient · variable + constant`, each variable at most once, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Linear {
    pub(super) terms: Vec<(Variable, f64)>,
    pub(super) constant: f64,
}

impl Linear {
    /// The value of `expression`; `known` says whether a variable is declared.
    pub(super) fn read(expression: &Expression<'_>, known: &impl Fn(Variable) -> bool) -> Result<Self, VnnlibError> {
        let at = |text: String| VnnlibError::at(expression.line, text);
        let read = |rest: &[Expression<'_>]| rest.iter().map(|e| Self::read(e, known)).collect::<Result<Vec<_>, _>>();
        match &expression.form {
            Form::Word(word) => match Variable::parse(word) {
                Some(variable) if known(variable) => Ok(Self { terms: vec![(variable, 1.0)], constant: 0.0 }),
                Some(_) => Err(at(format!("{word} is not declared"))),
                None => match word.parse::<f64>() {
                    Ok(number) if number.is_finite() && is_decimal(word) => {
                        Ok(Self { terms: Vec::new(), constant: number })
                    }
                    _ => Err(at(format!("\"{word}\" is neither a finite number nor a variable X_i or Y_i"))),
                },
            },
            Form::List(_) => match expression.call() {
                Some(("+", rest)) if !rest.is_empty() => {
                    Ok(read(rest)?.into_iter().fold(Self::default(), |sum, part| sum.plus(&part, 1.0)))
                }
                Some(("-", [one])) => Ok(Self::default().plus(&Self::read(one, known)?, -1.0)),
                Some(("-", [first, rest @ ..])) => {
                    Ok(read(rest)?.iter().fold(Self::read(first, known)?, |sum, part| sum.plus(part, -1.0)))
                }
                Some(("*", [a, b])) => {
                    let (a, b) = (Self::read(a, known)?, Self::read(b, known)?);
                    match (a.terms.is_empty(), b.terms.is_empty()) {
                        (true, _) => Ok(Self::default().plus(&b, a.constant)),
                        (false, true) => Ok(Self::default().plus(&a, b.constant)),
                        (false, false) => Err(at("a product of two variables: constraints must be linear".into())),
                    }
                }
                _ => Err(at(
                    "expected a number, a variable, or a sum (+), difference (-) or multiple (*) of these".into()
                )),
            },
        }
        .and_then(|linear: Self| {
            let numbers = linear.terms.iter().map(|(_, coefficient)| coefficient).chain([&linear.constant]);
            if numbers.into_iter().all(|x| x.is_finite()) {
                Ok(linear)
            } else {
                Err(at("a number beyond binary64".into()))
            }
        })
    }

    /// `self + factor · other`.
    pub(super) fn plus(mut self, other: &Self, factor: f64) -> Self {
        for (variable, coefficient) in &other.terms {
            match self.terms.binary_search_by_key(variable, |(own, _)| *own) {
                Ok(at) => self.terms[at].1 += factor * coefficient,
                Err(at) => self.terms.insert(at, (*variable, factor * coefficient)),
            }
        }
        self.terms.retain(|(_, coefficient)| *coefficient != 0.0);
        self.constant += factor * other.constant;
        self
    }
}

/// Whether a word is a number as files write it: Rust also reads `inf`, `nan` and their like.
fn is_decimal(word: &str) -> bool {
    word.bytes().all(|c| c.is_ascii_digit() || b"+-.eE".contains(&c))
}
