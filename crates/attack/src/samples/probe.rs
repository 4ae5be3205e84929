//! Several points of a sample at once.

use crate::{Halt, Reason, SampleRng, Samples};

/// A point near a sample's that is about to be evaluated.
#[derive(Debug)]
pub struct Probe<'a> {
    /// The sample's position in the job.
    pub sample: usize,
    /// The number of the point among those of the sample in this call, from 0.
    pub index: u32,
    /// The clean sample.
    pub x: &'a [f32],
    /// The sample's point, which stays where it is.
    pub point: &'a [f32],
    /// The point to evaluate; at first the sample's point.
    pub probe: &'a mut [f32],
    /// The sample's random stream.
    pub rng: &'a mut SampleRng,
}

/// What the model says of such a point.
#[derive(Debug)]
pub struct Reading<'a> {
    /// The sample's position in the job.
    pub sample: usize,
    /// The number of the point among those of the sample in this call, from 0.
    pub index: u32,
    /// The clean sample.
    pub x: &'a [f32],
    /// The sample's point.
    pub point: &'a [f32],
    /// The point that was evaluated.
    pub probe: &'a [f32],
    /// As that of [`Answer`](crate::Answer); negative iff the point is adversarial.
    pub margin: f32,
}

impl Samples<'_> {
    /// Evaluates `count(sample)` points for each sample under attack, forward only: `place` puts them, and `read` gets those of a
    /// sample in order, as long as it stays under attack. Batches are filled across samples and points. Returns how many points
    /// were evaluated.
    ///
    /// All points of a sample are evaluated, and count as queries, also where an early one of them ends its attack. A sample
    /// whose budget or allotment has fewer left gets the first ones only.
    ///
    /// A point is placed when its batch is gathered, before or after earlier ones of its sample were read. So `place` must
    /// not use what `read` changes, or results would depend on the batch.
    ///
    /// # Errors
    /// The run is stopped, or the model failed.
    pub fn probe(
        &mut self,
        count: impl Fn(usize) -> u32,
        mut place: impl FnMut(Probe<'_>),
        mut read: impl FnMut(Reading<'_>),
    ) -> Result<u64, Halt> {
        let (mut plan, mut short) = (Vec::new(), Vec::new());
        for i in self.affordable(|oracle, i| oracle.no_queries(i, 1)) {
            let state = &self.states[i];
            let wanted = at_most(count(i), state.allotted - state.evaluations);
            let granted = at_most(wanted, self.oracle.queries_left(i));
            plan.push((i, granted));
            if granted < wanted {
                short.push(i);
            }
        }
        let evaluated = plan.iter().map(|(_, granted)| u64::from(*granted)).sum();
        let mut rows = plan.into_iter().flat_map(|(i, granted)| (0..granted).map(move |index| (i, index)));
        loop {
            let batch: Vec<(usize, u32)> = rows.by_ref().take(self.batch).collect();
            if batch.is_empty() {
                break;
            }
            self.gathered.clear();
            for &(i, index) in &batch {
                let (row, start) = (self.row(i), self.gathered.len());
                let (x, point) = (&self.images[row.clone()], &self.points[row]);
                self.gathered.extend_from_slice(point);
                let (probe, rng) = (&mut self.gathered[start..], &mut self.states[i].rng);
                place(Probe { sample: i, index, x, point, probe, rng });
                self.round(i, self.gathered.len() / self.features - 1);
            }
            let who: Vec<usize> = batch.iter().map(|(i, _)| *i).collect();
            let logits = self.evaluate(&who)?;
            for (slot, (&(i, index), logits)) in batch.iter().zip(logits.rows()).enumerate() {
                if !self.states[i].active {
                    continue;
                }
                let Some(margin) = self.judge(i, slot, 1, &logits) else { continue };
                let (row, probe) = (self.row(i), self.row(slot));
                let (x, point, probe) = (&self.images[row.clone()], &self.points[row], &self.gathered[probe]);
                read(Reading { sample: i, index, x, point, probe, margin });
            }
            self.report();
        }
        for i in short {
            if self.states[i].active {
                self.exhaust(i, Reason::Queries);
            }
        }
        Ok(evaluated)
    }
}

fn at_most(count: u32, left: u64) -> u32 {
    u32::try_from(left).map_or(count, |left| count.min(left))
}
