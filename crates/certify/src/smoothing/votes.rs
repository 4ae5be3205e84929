//! Noise, and how often the model answers with each class under it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use assay_attack::{SampleId, SampleRng, predicted};
use assay_runtime::{Cancel, Class, Classifier, RunError};
use ndarray::{Array2, Axis};

use super::Smoothing;
use crate::CertifyError;

/// What draws are for: each has noise of its own, so that the choice of a class says nothing about its proof.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draws {
    Selection,
    Proof,
}

impl Draws {
    fn stream(self) -> &'static str {
        match self {
            Self::Selection => "smoothing-selection",
            Self::Proof => "smoothing-proof",
        }
    }
}

/// How often each class was the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Votes {
    /// By class.
    counts: Vec<u64>,
    /// Draws on which the model gave numbers that are not finite: they vote for no class.
    void: u64,
}

impl Votes {
    pub(super) fn new(classes: usize) -> Self {
        Self { counts: vec![0; classes], void: 0 }
    }

    pub(super) fn add(&mut self, class: Option<Class>) {
        match class.and_then(|class| self.counts.get_mut(class.index())) {
            Some(count) => *count += 1,
            None => self.void += 1,
        }
    }

    /// All draws.
    pub(super) fn drawn(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.void
    }

    pub(super) fn of(&self, class: Class) -> u64 {
        self.counts.get(class.index()).copied().unwrap_or(0)
    }

    /// The two classes with the most votes, of equal ones the lower class first, with their votes.
    pub(super) fn top(&self) -> [Option<(Class, u64)>; 2] {
        let mut order: Vec<(Class, u64)> = (0..).map(Class).zip(self.counts.iter().copied()).collect();
        order.sort_by_key(|&(class, count)| (std::cmp::Reverse(count), class));
        let mut order = order.into_iter().filter(|(_, count)| *count > 0);
        [order.next(), order.next()]
    }

    /// The class with the most votes; none where all are void.
    pub(super) fn most(&self) -> Option<Class> {
        self.top()[0].map(|(class, _)| class)
    }
}

/// Draws around one sample.
pub(super) struct Poll<'a> {
    pub(super) classifier: &'a dyn Classifier,
    pub(super) smoothing: Smoothing,
    pub(super) image: Vec<f32>,
    pub(super) id: SampleId,
    pub(super) draws: Draws,
    /// How many.
    pub(super) most: u64,
    /// A class, and the votes that it needs: where they are out of reach, no more is drawn.
    pub(super) enough: Option<(Class, u64)>,
}

impl Poll<'_> {
    /// Counts the answers. The next noise is drawn while the model runs.
    pub(super) fn count(&self, cancel: &Cancel) -> Result<Votes, CertifyError> {
        let Smoothing { sigma, seed, batch, .. } = self.smoothing;
        let rng = SampleRng::new(seed, self.id, self.draws.stream(), 0);
        let (most, batch) = (self.most, batch.get() as u64);
        let sizes = (0..most.div_ceil(batch)).map(move |i| (most - i * batch).min(batch));
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            scope.spawn(move || send(&self.image, sigma, rng, sizes, &sender));
            // Owned, so that whoever draws notices when nobody listens any more.
            self.receive(receiver, cancel)
        })
    }

    #[allow(clippy::needless_pass_by_value)]
    fn receive(&self, receiver: Receiver<Array2<f32>>, cancel: &Cancel) -> Result<Votes, CertifyError> {
        let mut votes = Votes::new(self.classifier.spec().classes);
        while let Ok(points) = receiver.recv() {
            if cancel.is_cancelled() {
                return Err(RunError::Cancelled.into());
            }
            let logits = self.classifier.logits(points.view())?;
            for row in logits.axis_iter(Axis(0)) {
                votes.add(predicted(&row));
                // Looked at after every draw, so that where it stops does not depend on the batch.
                if out_of_reach(&votes, self.most, self.enough) {
                    return Ok(votes);
                }
            }
        }
        Ok(votes)
    }
}

/// Noisy copies of `image` in batches, until nobody wants them any more.
fn send(
    image: &[f32],
    sigma: f64,
    mut rng: SampleRng,
    sizes: impl Iterator<Item = u64>,
    sender: &SyncSender<Array2<f32>>,
) {
    let sigma = sigma as f32;
    for size in sizes {
        let mut points = Array2::zeros((usize::try_from(size).unwrap_or(usize::MAX), image.len()));
        for mut row in points.rows_mut() {
            let Some(row) = row.as_slice_mut() else { return };
            rng.fill_normal(row);
            row.iter_mut().zip(image).for_each(|(noise, x)| *noise = x + sigma * *noise);
        }
        if sender.send(points).is_err() {
            return;
        }
    }
}

/// Whether the class would not have its votes even if all that are left went to it.
fn out_of_reach(votes: &Votes, most: u64, enough: Option<(Class, u64)>) -> bool {
    enough.is_some_and(|(class, needed)| votes.of(class) + (most - votes.drawn()) < needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_classes_leads_and_void_draws_vote_for_none() {
        let mut votes = Votes::new(3);
        assert_eq!((votes.most(), votes.drawn()), (None, 0));
        for class in [Some(2), Some(1), None, Some(2), Some(1), Some(7)] {
            votes.add(class.map(Class));
        }
        assert_eq!((votes.top(), votes.drawn()), ([Some((Class(1), 2)), Some((Class(2), 2))], 6));
        assert_eq!((votes.of(Class(0)), votes.of(Class(2)), votes.of(Class(9))), (0, 2, 0));
    }

    #[test]
    fn a_class_is_out_of_reach_when_too_many_draws_missed_it() {
        let mut votes = Votes::new(2);
        for _ in 0..3 {
            votes.add(Some(Class(1)));
        }
        assert!(!out_of_reach(&votes, 10, Some((Class(0), 7))) && out_of_reach(&votes, 10, Some((Class(0), 8))));
        assert!(!out_of_reach(&votes, 10, None));
    }
}
