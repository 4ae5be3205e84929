//! Operators that behave differently while training. A classifier is served in inference mode, and nothing else is accepted.

use super::scope::Scope;
use crate::{Attribute, Cause, DataType, Node, Rule, Tensor};

/// `BatchNormalization` at 9: `spatial` went; it was 1 in all but the oldest models.
pub(super) fn spatial(node: &mut Node, _scope: &mut Scope<'_>) -> Rule<()> {
    if node.int("spatial", 1)? != 1 {
        return Err(Cause::Unsupported("spatial = 0, which later operator sets do not have".into()));
    }
    node.attributes.shift_remove("spatial");
    Ok(())
}

/// `BatchNormalization`, always: one output, no training attributes. But networks that standardize their weights write that as a
/// batch norm in training mode: of constants it is one itself, and has nothing to do with the batch.
pub(super) fn batch_norm(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let statistics = node.outputs.iter().skip(1).flatten().any(|v| scope.read.contains(v));
    let trains = node.int("training_mode", 0)? != 0;
    if statistics || (trains && !scope.of(node.input(0)).constant) {
        return Err(training());
    }
    if trains {
        // ONNX Runtime wants all three outputs in this mode.
        while node.outputs.len() < 3 {
            let unread = scope.fresh(node, "statistics");
            node.outputs.push(Some(unread));
        }
    } else {
        node.outputs.truncate(1);
        node.attributes.shift_remove("training_mode");
    }
    node.attributes.shift_remove("momentum");
    Ok(())
}

/// `Dropout` at 10: the mask became boolean. Before, it was undefined in inference.
pub(super) fn mask(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if node.output(1).is_some_and(|mask| scope.read.contains(mask)) {
        return Err(Cause::Unsupported(
            "its mask is read, which is undefined in inference before operator set 10".into(),
        ));
    }
    Ok(())
}

/// `Dropout`, always: it is `Identity`, and its mask is true everywhere.
pub(super) fn dropout(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if node.input(2).is_some() {
        let mode = scope.tensor(node.input(2)).and_then(Tensor::to_i64);
        if mode.is_none_or(|mode| mode != [0]) {
            return Err(training());
        }
    }
    let x = node.required(0)?.clone();
    if let Some(mask) = node.output(1).filter(|mask| scope.read.contains(*mask)).cloned() {
        let shape = scope.emit(node, "Shape", &[&x]);
        let mut fill = Node::new("ConstantOfShape", vec![Some(shape)], vec![Some(mask)]);
        let value = Tensor::new(DataType::Bool, vec![1], vec![1].into());
        fill.attributes.extend(value.map(|v| ("value".to_owned(), Attribute::Tensor(v))));
        fill.name = format!("{}/mask", node.name);
        scope.before.push(fill);
    }
    node.operator = "Identity".into();
    node.inputs.truncate(1);
    node.outputs.truncate(1);
    node.attributes.clear();
    Ok(())
}

fn training() -> Cause {
    Cause::Unsupported("it runs in training mode, or may do so; export the model for inference".into())
}
