//! What of a node changes where channels of its values are gone.

use std::collections::HashMap;

use super::Analysis;
use crate::names::Names;
use crate::{Cause, DataType, Dim, Node, Rule, Shaped, Tensor, Value};

/// The positions that stay, and the constants that nodes get: see [`Operator::pruned`](crate::Operator::pruned).
#[derive(Debug)]
pub struct Pruned<'a> {
    source: &'a Shaped,
    /// By value: axes that lose positions, and the positions that stay.
    kept: HashMap<Value, Vec<(usize, Vec<usize>)>>,
    names: Names,
    constants: Vec<(Value, Tensor)>,
}

impl<'a> Pruned<'a> {
    /// `analysis.model` without the classes of positions for which `removed` says so.
    ///
    /// # Errors
    /// Nothing would be left of a value.
    pub(crate) fn of(analysis: &'a mut Analysis, removed: &dyn Fn(usize) -> bool) -> Rule<Self> {
        let Analysis { model, positions, .. } = analysis;
        let mut kept: HashMap<Value, Vec<(usize, Vec<usize>)>> = HashMap::new();
        let graph = &model.model().graph;
        let computed = graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten());
        for value in computed.chain(graph.initializers.keys()) {
            for (axis, slot) in positions.slots(value).collect::<Vec<_>>() {
                let stays = |(_, position): &(usize, usize)| !removed(positions.class(*position));
                let left: Vec<usize> = slot.positions().enumerate().filter(stays).map(|(i, _)| i).collect();
                if left.is_empty() {
                    return Err(Cause::Unsupported(format!(
                        "nothing would be left of \"{value}\"; keep a channel of it"
                    )));
                }
                if left.len() < slot.size() {
                    kept.entry(value.clone()).or_default().push((axis, left));
                }
            }
        }
        let names = Names::of(&model.model().graph);
        Ok(Self { source: model, kept, names, constants: Vec::new() })
    }

    /// Shape of a value before.
    ///
    /// # Errors
    /// It is not of the model: a defect of the rule.
    pub fn dims(&self, value: &Value) -> Rule<&'a [Dim]> {
        let facts = self.source.facts(value);
        facts.map(|f| &*f.dims).ok_or_else(|| Cause::Malformed(format!("value \"{value}\" has no known shape")))
    }

    /// The positions of axis `axis` that stay; `None` if all do.
    #[must_use]
    pub fn kept(&self, value: &Value, axis: usize) -> Option<&[usize]> {
        self.kept.get(value)?.iter().find(|(a, _)| *a == axis).map(|(_, kept)| kept.as_slice())
    }

    /// Size of axis `axis` before; for the batch that of one sample.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn before(&self, value: &Value, axis: usize) -> Rule<usize> {
        match self.dims(value)?.get(axis) {
            Some(Dim::Fixed(size) | Dim::Batch(size)) => Ok(*size),
            None => Err(Cause::Malformed(format!("axis {axis} of \"{value}\", which has fewer"))),
        }
    }

    /// Whether the value loses anything.
    #[must_use]
    pub fn changes(&self, value: &Value) -> bool {
        self.kept.contains_key(value)
    }

    /// Size of axis `axis` afterwards; `None` if it depends on the batch.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn size(&self, value: &Value, axis: usize) -> Rule<Option<usize>> {
        match (self.kept(value, axis), self.dims(value)?.get(axis)) {
            (Some(kept), _) => Ok(Some(kept.len())),
            (None, Some(Dim::Fixed(size))) => Ok(Some(*size)),
            (None, Some(Dim::Batch(_))) => Ok(None),
            (None, None) => Err(Cause::Malformed(format!("axis {axis} of \"{value}\", which has fewer"))),
        }
    }

    /// The constant integers of input `input`; `None` if it is absent or computed.
    #[must_use]
    pub fn ints(&self, node: &Node, input: usize) -> Option<Vec<i64>> {
        self.source.constant(node.input(input)?)?.to_i64()
    }

    /// Gives the node other integers as input `input`, of the type and rank that it has; i64 where it has none.
    ///
    /// # Errors
    /// The numbers do not fit.
    pub fn set_ints(&mut self, node: &mut Node, input: usize, values: &[i64]) -> Rule<()> {
        let before = node.input(input).and_then(|value| self.source.constant(value));
        let misfit = || Cause::Malformed(format!("integers {values:?} for input {input}"));
        let mut tensor = Tensor::ints(values);
        if let Some(before) = before {
            if before.dtype() == DataType::Int32 {
                let narrow: Vec<i32> =
                    values.iter().map(|&v| i32::try_from(v)).collect::<Result<_, _>>().map_err(|_| misfit())?;
                let bytes: Vec<u8> = narrow.iter().flat_map(|v| v.to_le_bytes()).collect();
                tensor = Tensor::new(DataType::Int32, vec![values.len()], bytes.into()).ok_or_else(misfit)?;
            }
            if before.len() == values.len() {
                tensor = tensor.reshaped(before.dims().to_vec()).ok_or_else(misfit)?;
            }
        }
        let value = self.names.fresh(&format!("{}/pruned", node.label()));
        if node.inputs.len() <= input {
            node.inputs.resize(input + 1, None);
        }
        node.inputs[input] = Some(value.clone());
        self.constants.push((value, tensor));
        Ok(())
    }

    /// The constants that were given.
    pub(crate) fn into_constants(self) -> Vec<(Value, Tensor)> {
        self.constants
    }

    /// `tensor`, the content of `value`, without what goes.
    pub(crate) fn slice(&self, value: &Value, tensor: &Tensor) -> Rule<Tensor> {
        let mut tensor = tensor.clone();
        for (axis, kept) in self.kept.get(value).into_iter().flatten() {
            tensor = select(&tensor, *axis, kept)?;
        }
        Ok(tensor)
    }
}

/// The positions `kept` along an axis of a tensor.
fn select(tensor: &Tensor, axis: usize, kept: &[usize]) -> Rule<Tensor> {
    let unread = || Cause::Unsupported(format!("a tensor of type {:?} loses channels", tensor.dtype()));
    let mut dims = tensor.dims().to_vec();
    let size = tensor.dtype().size().ok_or_else(unread)?;
    let row = dims[axis + 1..].iter().product::<usize>() * size;
    let block = row * dims[axis];
    let mut bytes = Vec::with_capacity(tensor.bytes().len());
    for block in tensor.bytes().chunks_exact(block.max(1)) {
        for &position in kept {
            bytes.extend_from_slice(&block[position * row..(position + 1) * row]);
        }
    }
    dims[axis] = kept.len();
    Tensor::new(tensor.dtype(), dims, bytes.into()).ok_or_else(unread)
}
