//! `Einsum`: the sum over all labels that are not in the output, one product after the other.

use std::collections::BTreeMap;

use ndarray::{ArrayD, IxDyn};

use super::window::grid;
use crate::interpret::{Call, Outputs, float_output};

/// Labels of a term for an array of rank `rank`; the dimensions of an ellipsis count from the end: `-1` is the last.
fn labels(term: &str, rank: usize) -> Result<Vec<i64>, String> {
    let letters = term.replace("...", "");
    let dots = match term.contains("...") {
        true => rank.checked_sub(letters.len()).ok_or("too many labels")?,
        false => 0,
    };
    let before = term.find("...").unwrap_or(letters.len());
    let letter = |c: char| i64::from(u32::from(c));
    let dots = i64::try_from(dots).map_err(|e| e.to_string())?;
    let (head, tail) = letters.split_at(before);
    Ok(head.chars().map(letter).chain(-dots..0).chain(tail.chars().map(letter)).collect())
}

/// `Einsum`.
pub(super) fn einsum(c: &Call<'_>) -> Outputs {
    let equation: String = c.text("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let arrays: Vec<&ArrayD<f64>> = (0..c.all()?.len()).map(|i| c.floats(i)).collect::<Result<_, _>>()?;
    let terms: Vec<Vec<i64>> =
        left.split(',').zip(&arrays).map(|(term, a)| labels(term, a.ndim())).collect::<Result<_, _>>()?;
    let mut sizes = BTreeMap::new();
    for (label, &size) in terms.iter().zip(&arrays).flat_map(|(t, a)| t.iter().zip(a.shape())) {
        let known = sizes.entry(*label).or_insert(size);
        *known = (*known).max(size);
    }
    let dots = sizes.keys().filter(|&&l| l < 0).count();
    let out = match right {
        Some(right) => labels(right, right.replace("...", "").len() + if right.contains("...") { dots } else { 0 })?,
        None => {
            let once = |l: &&i64| **l < 0 || terms.iter().flatten().filter(|m| m == l).count() == 1;
            sizes.keys().filter(once).copied().collect()
        }
    };
    let dims: Vec<usize> = out.iter().map(|l| sizes[l]).collect();
    let all: Vec<i64> = sizes.keys().copied().collect();
    let mut y = ArrayD::zeros(IxDyn(&dims));
    for at in grid(all.iter().map(|l| i64::try_from(sizes[l]).unwrap_or(0))) {
        let value = |label: &i64| usize::try_from(at[all.iter().position(|l| l == label).unwrap_or(0)]).unwrap_or(0);
        // A dimension of size 1 is repeated.
        let read = |(term, a): (&Vec<i64>, &&ArrayD<f64>)| {
            let position: Vec<usize> =
                term.iter().zip(a.shape()).map(|(l, &s)| if s == 1 { 0 } else { value(l) }).collect();
            a[IxDyn(&position)]
        };
        let to: Vec<usize> = out.iter().map(value).collect();
        y[IxDyn(&to)] += terms.iter().zip(&arrays).map(read).product::<f64>();
    }
    float_output(c.one_type(&(0..arrays.len()).collect::<Vec<_>>())?, y)
}
