//! What convolutions of both directions share: how channels go through them, in groups or not, and how far their outputs move.
//!
//! The first axis of a kernel has the channels of all groups, one group after the other, and the second those of one group.
//! `read` says which of them counts the channels that are read: the second one of `Conv`, the first one of `ConvTranspose`. The other
//! one counts those that are made.

use super::class::output;
use super::conv::groups;
use super::inputs::int;
use crate::{Cause, Channels, Dependence, Emit, Node, Pruned, Rule, Value};

/// Linear in the data, with the bias as an offset.
pub(super) fn dependence(data: &[bool]) -> Dependence {
    match data {
        [true, false] => Dependence::Linear,
        [true, false, false] => Dependence::Affine,
        _ => Dependence::Other,
    }
}

/// The same with the sizes of the kernel's numbers, and without the bias.
pub(super) fn radius(node: &Node, r: &[Option<Value>], e: &mut Emit<'_>) -> Rule<Value> {
    let Some(Some(r)) = r.first() else { return Err(Cause::NoRule) };
    let size = e.op("Abs", &[node.required(1)?]);
    Ok(e.again(node, vec![Some(r.clone()), Some(size)]))
}

/// With several groups there are two ways to lose channels, and the one that takes fewer at a time is followed. Whole groups go
/// where there are at least as many of them as channels in one, so in depthwise convolutions: what a group reads and what it
/// makes go together. Else every group loses the same of its positions.
pub(super) fn channels(node: &Node, read: usize, c: &mut Channels<'_>) -> Rule<()> {
    let (x, w, y) = (node.required(0)?, node.required(1)?, output(node)?);
    let made = 1 - read;
    c.carry(x, 0, y, 0);
    for value in [x, w, y] {
        c.fix_from(value, 2, "the kernel slides along it");
    }
    if let Some(bias) = node.input(2) {
        c.carry(bias, 0, y, 1);
    }
    let groups = Groups::of(node, read, [c.size(w, 0)?, c.size(w, 1)?])?;
    let each =
        |size: usize| (0..groups.count).flat_map(move |group| (0..size).map(move |i| (group, group * size + i, i)));
    if groups.go_whole() {
        for (value, axis, size) in [(x, 1, groups.read), (w, 0, groups.first), (y, 1, groups.made)] {
            for (group, position, _) in each(size) {
                c.tie((x, 1, group * groups.read), (value, axis, position));
            }
        }
        c.fix(w, 1, "a convolution in groups loses whole groups");
        return Ok(());
    }
    for (value, of_kernel, size) in [(x, read, groups.read), (y, made, groups.made)] {
        for (_, position, i) in each(size) {
            c.tie((value, 1, position), (value, 1, i));
            c.tie((value, 1, position), (w, of_kernel, if of_kernel == 0 { position } else { i }));
        }
    }
    c.sums_products(node, [1, read]);
    c.makes(node, 1, made);
    Ok(())
}

/// The groups that are left.
pub(super) fn pruned(node: &mut Node, read: usize, p: &mut Pruned<'_>) -> Rule<()> {
    let w = node.required(1)?;
    let [first, second] = [0, 1].map(|axis| p.before(w, axis));
    let groups = Groups::of(node, read, [first?, second?])?;
    if let Some(kept) = p.kept(node.required(0)?, 1).filter(|_| groups.go_whole()) {
        let left = int(kept.len() / groups.read);
        node.attributes.insert("group".into(), left.into());
    }
    Ok(())
}

/// Groups, and the channels in each.
struct Groups {
    count: usize,
    read: usize,
    made: usize,
    /// Along the first axis of the kernel.
    first: usize,
}

impl Groups {
    fn of(node: &Node, read: usize, [first, second]: [usize; 2]) -> Rule<Self> {
        let count = groups(node)?;
        if first == 0 || second == 0 || !first.is_multiple_of(count) {
            return Err(Cause::Malformed(format!("a kernel [{first}, {second}, …] in {count} groups")));
        }
        let first = first / count;
        let (read, made) = if read == 0 { (first, second) } else { (second, first) };
        Ok(Self { count, read, made, first })
    }

    fn go_whole(&self) -> bool {
        self.count > 1 && self.count >= self.read
    }
}

/// A filter of zeros makes its bias.
pub(super) fn uniform(node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
    let bias = if node.input(2).is_some() { inputs[2] } else { Some(0.0) };
    bias.filter(|_| inputs.get(1) == Some(&Some(0.0)))
}
