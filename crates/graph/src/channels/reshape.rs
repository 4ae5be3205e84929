//! Axes through a change of shape in row-major order.

use super::{Channels, Slot};
use crate::{Cause, Dim, Rule, Value};

/// An axis that is several axes in one, the last of them fastest.
#[derive(Debug)]
pub(super) struct Product {
    node: usize,
    whole: Slot,
    parts: Vec<Slot>,
}

impl Channels<'_> {
    /// `y` has the elements of `x` in their order, in another shape: as of `Reshape`, `Flatten`, `Squeeze`.
    ///
    /// # Errors
    /// The shapes do not have the same number of elements.
    pub fn reshaped(&mut self, x: &Value, y: &Value) -> Rule<()> {
        let (from, to) = (self.dims(x)?, self.dims(y)?);
        for block in blocks(from, to)? {
            let slots = |c: &mut Self, value: &Value, axes: std::ops::Range<usize>| -> Vec<Slot> {
                axes.filter_map(|axis| c.mention(value, axis)).collect()
            };
            let (before, behind) = (slots(self, x, block.from), slots(self, y, block.to));
            match (&before[..], &behind[..]) {
                ([], []) => {}
                ([one], [other]) if !block.batch => {
                    one.positions().zip(other.positions()).for_each(|(a, b)| self.positions.tie(a, b));
                }
                ([whole], parts) | (parts, [whole]) if !block.batch && !parts.is_empty() => {
                    self.products.push(Product { node: self.node, whole: *whole, parts: parts.to_vec() });
                }
                _ => {
                    let why =
                        self.because(&format!("{} becomes {}, in which its axes are mixed", shape(from), shape(to)));
                    for slot in before.into_iter().chain(behind) {
                        self.positions.fix(slot.positions(), why.clone());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Axes of both shapes with the same elements, as few as possible.
struct Block {
    from: std::ops::Range<usize>,
    to: std::ops::Range<usize>,
    /// Whether the batch is among them.
    batch: bool,
}

fn blocks(from: &[Dim], to: &[Dim]) -> Rule<Vec<Block>> {
    let mismatch = || Cause::Malformed(format!("{from:?} reshaped to {to:?}: other numbers of elements"));
    let size = |dim: Option<&Dim>| match dim {
        Some(&(Dim::Fixed(0) | Dim::Batch(0))) | None => Err(mismatch()),
        Some(&Dim::Fixed(size)) => Ok((size, 0)),
        Some(&Dim::Batch(size)) => Ok((size, 1)),
    };
    let one = |dims: &[Dim]| dims.iter().all(|dim| *dim == Dim::Fixed(1));
    let (mut i, mut j) = (0, 0);
    let mut blocks = Vec::new();
    while !one(&from[i..]) || !one(&to[j..]) {
        let (begin_i, begin_j) = (i, j);
        let ((mut a, mut in_a), (mut b, mut in_b)) = (size(from.get(i))?, size(to.get(j))?);
        (i, j) = (i + 1, j + 1);
        while (a, in_a) != (b, in_b) {
            // The side that lacks elements, or the batch, takes one more axis.
            if a < b || (a == b && in_a < in_b) {
                let (more, batch) = size(from.get(i))?;
                (a, in_a, i) = (a * more, in_a + batch, i + 1);
            } else {
                let (more, batch) = size(to.get(j))?;
                (b, in_b, j) = (b * more, in_b + batch, j + 1);
            }
        }
        blocks.push(Block { from: begin_i..i, to: begin_j..j, batch: in_a > 0 });
    }
    Ok(blocks)
}

fn shape(dims: &[Dim]) -> String {
    let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

/// Ties every product to one of its parts and fixes the others: of a flattened map of 8 channels, 5 high and 5 wide, blocks of
/// 25 positions are the channels. Where several parts could lose positions it is the outermost one.
///
/// Each choice fixes something that another product may depend on, so those that leave no choice come first.
pub(super) fn resolve(c: &mut Channels<'_>) {
    let mut products = std::mem::take(&mut c.products);
    while !products.is_empty() {
        let forced = products.iter().position(|product| open(c, product).len() < 2);
        let Product { node, whole, parts } = products.remove(forced.unwrap_or(0));
        let carrier = open(c, &Product { node, whole, parts: parts.clone() }).first().copied().unwrap_or(0);
        let why = c.because_of(node, "it makes one axis of this one and another that is followed");
        let mut stride = whole.size();
        for (i, part) in parts.iter().enumerate() {
            stride /= part.size();
            if i != carrier {
                c.positions.fix(part.positions(), why.clone());
                continue;
            }
            for (position, of_whole) in whole.positions().enumerate() {
                if let Some(of_part) = part.positions().nth(position / stride % part.size()) {
                    c.positions.tie(of_part, of_whole);
                }
            }
        }
    }
}

/// The parts that could lose positions.
fn open(c: &mut Channels<'_>, product: &Product) -> Vec<usize> {
    let mut is_open = |part: &Slot| part.positions().any(|position| c.positions.fixed(position).is_none());
    (0..product.parts.len()).filter(|&i| is_open(&product.parts[i])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(from: &[Dim], to: &[Dim]) -> String {
        let blocks = blocks(from, to).unwrap();
        blocks.iter().map(|b| format!("{:?}={:?}{} ", b.from, b.to, if b.batch { "*" } else { "" })).collect()
    }

    #[test]
    fn blocks_are_as_small_as_can_be() {
        use Dim::{Batch, Fixed};
        let image = [Batch(1), Fixed(8), Fixed(5), Fixed(5)];
        assert_eq!(text(&image, &[Batch(1), Fixed(200)]), "0..1=0..1* 1..4=1..2 ");
        assert_eq!(text(&image, &[Batch(8), Fixed(25)]), "0..2=0..1* 2..4=1..2 ");
        assert_eq!(text(&[Batch(1), Fixed(4), Fixed(1), Fixed(1)], &[Batch(1), Fixed(4)]), "0..1=0..1* 1..2=1..2 ");
        assert_eq!(text(&[Batch(1), Fixed(6), Fixed(4)], &[Batch(1), Fixed(3), Fixed(8)]), "0..1=0..1* 1..3=1..3 ");
        assert_eq!(text(&[Fixed(1), Batch(1)], &[Batch(1)]), "0..2=0..1* ");
        assert!(blocks(&[Batch(1), Fixed(3)], &[Batch(1), Fixed(4)]).is_err());
        assert!(blocks(&[Fixed(0)], &[Fixed(0)]).is_err());
    }
}
