//! `Einsum`: products of elements, summed over the labels that the output does not have.
//! <https://onnx.ai/onnx/operators/onnx__Einsum.html>
//!
//! It is linear in each operand, and its transpose is another `Einsum`: the cotangent takes the operand's place, and the
//! operand's labels are those of the output. A label that no other operand has is summed over alone, so that the product is
//! repeated along it.

use super::class::output;
use super::inputs::int;
use super::{Class, Operator};
use crate::{Cause, Channels, Dim, Emit, Node, Rule, Value};

pub(super) struct Einsum;

impl Operator for Einsum {
    fn name(&self) -> &'static str {
        "Einsum"
    }

    fn class(&self) -> Class {
        Class::Bilinear
    }

    fn refused(&self) -> &'static str {
        "a label twice in one term; an equation without an arrow whose labels mix upper and lower case"
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let equation = Equation::of(node, |value| e.dims(value))?;
        let x = node.required(input)?;
        let own = &equation.terms[input];
        // What is multiplied: the cotangent and the other operands. A term without labels is a number.
        let mut factors: Vec<(&str, &Value)> = vec![(&equation.output, y)];
        for (i, term) in equation.terms.iter().enumerate().filter(|(i, _)| *i != input) {
            factors.push((term, node.required(i)?));
        }
        let (labelled, numbers): (Vec<_>, Vec<_>) = factors.into_iter().partition(|(term, _)| !term.is_empty());
        let size = |label: char| {
            let mut dims = Vec::new();
            for (term, value) in &labelled {
                let of = if std::ptr::eq(*value, y) { e.dims(output(node)?)? } else { e.dims(value)? };
                dims.extend(term.chars().position(|c| c == label).map(|at| of[at]));
            }
            let one = Dim::Fixed(1);
            Ok(dims.iter().copied().find(|d| *d != one).unwrap_or(one))
        };
        let mut kept = String::new();
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for (axis, label) in own.chars().enumerate() {
            if labelled.iter().any(|(term, _)| term.contains(label)) {
                kept.push(label);
                found.push(size(label)?);
            } else {
                missing.push(int(axis));
                found.push(Dim::Fixed(1));
            }
        }
        let terms: Vec<&str> = labelled.iter().map(|(term, _)| *term).collect();
        let mut product = if labelled.is_empty() {
            None
        } else {
            let values: Vec<&Value> = labelled.iter().map(|(_, value)| *value).collect();
            let equation = format!("{}->{kept}", terms.join(","));
            Some(e.op_with("Einsum", &values, [("equation", equation.as_str().into())]))
        };
        for (_, number) in numbers {
            product = Some(product.map_or_else(|| number.clone(), |product| e.op("Mul", &[&product, number])));
        }
        let product = product.ok_or_else(|| Cause::Malformed("an equation without terms".into()))?;
        fit(product, &missing, found, x, e)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let Equation { terms, output: result } = Equation::of(node, |value| c.dims(value))?;
        let y = output(node)?;
        let all = terms.concat();
        for label in all.char_indices().filter(|&(i, label)| all.find(label) == Some(i)).map(|(_, label)| label) {
            let holders = terms.iter().enumerate().filter_map(|(i, term)| Some((i, term.find(label)?)));
            // One that is repeated along the label has no say.
            let repeated = |&(i, axis): &(usize, usize)| node.required(i).and_then(|x| c.size(x, axis)) == Ok(1);
            let holders: Vec<(usize, usize)> = holders.filter(|holder| !repeated(holder)).collect();
            let at = result.find(label);
            let of_input = |(i, _): &&(usize, usize)| node.input(*i).is_some_and(|x| c.is_computed(x));
            let computed = holders.iter().find(of_input).copied();
            for &(i, axis) in &holders {
                match at {
                    Some(at) => c.carry(node.required(i)?, axis, y, at),
                    None => c.carry(node.required(i)?, axis, node.required(holders[0].0)?, holders[0].1),
                }
                if at.is_some() && computed.is_none() {
                    c.makes(node, i, axis);
                }
            }
            if let Some((i, axis)) = computed.or(holders.first().copied()).filter(|_| at.is_none()) {
                c.sums_over(node, i, axis);
            }
        }
        Ok(())
    }
}

/// `product`, without the axes `missing`, in the shape of `x`; `found` is its shape with them. A dimension of size 1 may stand
/// for a larger one on either side.
fn fit(product: Value, missing: &[i64], mut found: Vec<Dim>, x: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let dims = e.dims(x)?;
    let mut product = product;
    if !missing.is_empty() {
        let axes = e.ints(missing);
        product = e.op("Unsqueeze", &[&product, &axes]);
    }
    let one = Dim::Fixed(1);
    let summed: Vec<i64> =
        (0..).zip(found.iter().zip(dims)).filter(|(_, (f, d))| f != d && **d == one).map(|p| p.0).collect();
    if !summed.is_empty() {
        let axes = e.ints(&summed);
        product = e.op("ReduceSum", &[&product, &axes]);
        for (found, dim) in found.iter_mut().zip(dims) {
            *found = if *dim == one { one } else { *found };
        }
    }
    e.expand(&product, &found, x)
}

/// An equation in which an ellipsis is written out, one letter for each dimension.
struct Equation {
    /// Labels of each operand.
    terms: Vec<String>,
    /// Labels of the output.
    output: String,
}

impl Equation {
    fn of<'m>(node: &Node, dims: impl Fn(&Value) -> Rule<&'m [Dim]>) -> Rule<Self> {
        let text: String = node.text("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
        let malformed = |what: &str| Cause::Malformed(format!("equation \"{text}\": {what}"));
        let (left, right) = text.split_once("->").map_or((text.as_str(), None), |(left, right)| (left, Some(right)));
        let stated: Vec<&str> = left.split(',').collect();
        if stated.len() != node.inputs.len() {
            return Err(malformed(&format!("{} terms for {} inputs", stated.len(), node.inputs.len())));
        }
        let ellipses: Vec<usize> = (stated.iter().enumerate())
            .map(|(i, term)| {
                let letters = term.replace("...", "").len();
                let rank = dims(node.required(i)?)?.len();
                let dots = rank.checked_sub(letters).filter(|&dots| dots == 0 || term.contains("..."));
                dots.ok_or_else(|| malformed(&format!("term {i} for {rank} dimensions")))
            })
            .collect::<Rule<_>>()?;
        let most = ellipses.iter().copied().max().unwrap_or(0);
        let free: String = ('a'..='z').chain('A'..='Z').filter(|c| !text.contains(*c)).take(most).collect();
        if free.len() < most {
            return Err(Cause::Unsupported(format!("equation \"{text}\": more than 52 labels")));
        }
        let terms: Vec<String> =
            stated.iter().zip(&ellipses).map(|(term, &dots)| term.replace("...", &free[most - dots..])).collect();
        for term in &terms {
            if let Some(label) = term.chars().find(|&c| !c.is_ascii_alphabetic()) {
                return Err(malformed(&format!("label '{label}'; labels are letters")));
            }
            if let Some(label) = term.chars().find(|&c| term.matches(c).count() > 1) {
                return Err(Cause::Unsupported(format!(
                    "equation \"{text}\": label '{label}' twice in one term, a diagonal; write it with other operators"
                )));
            }
        }
        let output = match right {
            Some(right) => right.replace("...", &free),
            None => implicit(&terms, &free, &text)?,
        };
        Ok(Self { terms, output })
    }
}

/// The output that an equation without an arrow means: the ellipsis, and the labels that are there once, in alphabetical order.
fn implicit(terms: &[String], free: &str, text: &str) -> Rule<String> {
    let all = terms.concat();
    let mut once: Vec<char> = all.chars().filter(|&c| !free.contains(c) && all.matches(c).count() == 1).collect();
    if once.iter().any(char::is_ascii_uppercase) && once.iter().any(char::is_ascii_lowercase) {
        return Err(Cause::Unsupported(format!(
            "equation \"{text}\": the order of upper- and lower-case labels without an arrow; write the output out"
        )));
    }
    once.sort_unstable();
    Ok(free.chars().chain(once).collect())
}
