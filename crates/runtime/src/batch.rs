//! Batches of any size on an engine: split into runs, and put together again.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{Array2, Axis, Ix2, concatenate};

use crate::session::{Array, Tensors};
use crate::{Cancel, Engine, RunError};

/// Runs `chunks`, spread over the engine's sessions. Blocks until all results are there, in the order of the chunks, or one
/// has failed. What waits when `cancel` is thrown is not run: [`RunError::Cancelled`].
pub(crate) fn run(engine: &Engine, chunks: Vec<Tensors>, cancel: &Cancel) -> Result<Vec<Tensors>, RunError> {
    let (answer, results) = channel();
    let gather = Gather::new(chunks.len(), cancel.child(), move |r| drop(answer.send(r)));
    for (index, chunk) in chunks.into_iter().enumerate() {
        engine.push(chunk, gather.cancel.clone(), gather.part(index));
    }
    results.recv().unwrap_or(Err(RunError::Unloaded))
}

/// Takes the tensor `name` out of the results and puts its chunks together, as rows of `columns` numbers. `rows` are those
/// of each chunk.
pub(crate) fn rows(parts: &mut [Tensors], name: &str, rows: &[usize], columns: usize) -> Result<Array2<f32>, RunError> {
    let odd = || RunError::Runtime(format!("output \"{name}\" is not {columns} numbers for each sample"));
    let mut tables = Vec::with_capacity(parts.len());
    for (part, &rows) in parts.iter_mut().zip(rows) {
        let Some(Array::Float(array)) = part.swap_remove(name) else { return Err(odd()) };
        let table = array.into_shape_with_order((rows, columns)).map_err(|_| odd())?;
        tables.push(table.into_dimensionality::<Ix2>().map_err(|_| odd())?);
    }
    if tables.len() == 1 {
        return tables.pop().ok_or_else(odd);
    }
    let views: Vec<_> = tables.iter().map(|table| table.view()).collect();
    concatenate(Axis(0), &views).map_err(|_| odd())
}

/// Gives every tensor `size` rows, for a model that takes no fewer: the last row is repeated.
pub(crate) fn fill(chunk: &mut Tensors, size: usize) {
    let rows = |n: usize| (0..size).map(|row| row.min(n.saturating_sub(1))).collect::<Vec<_>>();
    for array in chunk.values_mut() {
        match array {
            Array::Float(a) if a.len_of(Axis(0)) < size => *a = a.select(Axis(0), &rows(a.len_of(Axis(0)))),
            Array::Int(a) if a.len_of(Axis(0)) < size => *a = a.select(Axis(0), &rows(a.len_of(Axis(0)))),
            _ => {}
        }
    }
}

/// The results of one batch on their way back. The first failure is the batch's, and cancels what still waits.
struct Gather {
    cancel: Cancel,
    state: Mutex<State>,
}

struct State {
    parts: Vec<Option<Tensors>>,
    missing: usize,
    reply: Option<Reply>,
}

type Reply = Box<dyn FnOnce(Result<Vec<Tensors>, RunError>) + Send>;

impl Gather {
    fn new(
        parts: usize,
        cancel: Cancel,
        reply: impl FnOnce(Result<Vec<Tensors>, RunError>) + Send + 'static,
    ) -> Arc<Self> {
        let state = State { parts: vec![None; parts], missing: parts, reply: Some(Box::new(reply)) };
        Arc::new(Self { cancel, state: Mutex::new(state) })
    }

    /// What takes the result of chunk `index`.
    fn part(self: &Arc<Self>, index: usize) -> impl FnOnce(Result<Tensors, RunError>) + Send + 'static {
        let gather = Arc::clone(self);
        move |result| gather.receive(index, result)
    }

    fn receive(&self, index: usize, result: Result<Tensors, RunError>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match result {
            Ok(part) => {
                state.parts[index] = Some(part);
                state.missing -= 1;
                if state.missing > 0 {
                    return;
                }
                Ok(state.parts.drain(..).flatten().collect())
            }
            Err(e) => {
                self.cancel.cancel();
                Err(e)
            }
        };
        let reply = state.reply.take();
        drop(state);
        if let Some(reply) = reply {
            reply(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;

    use super::*;

    fn part(values: &[f32]) -> Tensors {
        let array = ArrayD::from_shape_vec(vec![values.len(), 1], values.to_vec()).unwrap();
        [("y".to_owned(), Array::Float(array))].into()
    }

    #[test]
    fn parts_come_together_in_order_whatever_the_order_they_arrive_in() {
        let (send, results) = channel();
        let gather = Gather::new(3, Cancel::default(), move |r| send.send(r).unwrap());
        for (index, values) in [(2, &[4.0_f32][..]), (0, &[0.0, 1.0]), (1, &[2.0, 3.0])] {
            assert!(results.try_recv().is_err());
            gather.part(index)(Ok(part(values)));
        }
        let mut parts = results.recv().unwrap().unwrap();
        let y = rows(&mut parts, "y", &[2, 2, 1], 1).unwrap();
        assert_eq!(y.into_raw_vec_and_offset().0, [0.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn the_first_failure_is_the_batchs_and_cancels_the_rest() {
        let (send, results) = channel();
        let gather = Gather::new(3, Cancel::default(), move |r| send.send(r).unwrap());
        gather.part(0)(Ok(part(&[0.0])));
        gather.part(1)(Err(RunError::Busy));
        assert!(gather.cancel.is_cancelled());
        gather.part(2)(Err(RunError::Cancelled));
        assert_eq!(results.iter().next(), Some(Err(RunError::Busy)));
    }

    #[test]
    fn an_output_of_another_size_is_an_error() {
        let error = rows(&mut [part(&[1.0, 2.0])], "y", &[2], 10).unwrap_err();
        assert!(error.to_string().contains("\"y\" is not 10 numbers for each sample"), "{error}");
        assert!(rows(&mut [part(&[1.0])], "z", &[1], 1).is_err());
    }
}
