//! Whether an attack was still getting on when it ended.

/// Steps at the end that are looked at, and the share of the loss's range by which it must have risen there.
const WINDOW: u32 = 10;
const RISING: f32 = 0.05;
/// Fewer steps than this are no ascent.
const FEWEST: u32 = 4;

/// The losses of one sample, since it was last started and before.
#[derive(Clone, Debug)]
pub(crate) struct Ascent {
    steps: u32,
    lowest: f32,
    best: f32,
    /// The largest loss after each of the last steps, a ring.
    recent: [f32; WINDOW as usize + 1],
    /// Ascents that ended, and those that were still rising then.
    ended: u32,
    rising: u32,
}

impl Default for Ascent {
    fn default() -> Self {
        Self { steps: 0, lowest: f32::INFINITY, best: f32::NEG_INFINITY, recent: [0.0; 11], ended: 0, rising: 0 }
    }
}

impl Ascent {
    /// Takes note of the loss at one more point.
    pub(crate) fn observe(&mut self, loss: f32) {
        self.lowest = self.lowest.min(loss);
        self.best = self.best.max(loss);
        self.recent[Self::slot(self.steps)] = self.best;
        self.steps += 1;
    }

    /// Ends an ascent: the next loss is the first of another.
    pub(crate) fn end(&mut self) {
        if self.steps >= FEWEST {
            let window = WINDOW.min(self.steps / 2);
            let before = self.recent[Self::slot(self.steps - 1 - window)];
            self.ended += 1;
            self.rising += u32::from(self.best - before > RISING * (self.best - self.lowest));
        }
        *self = Self { ended: self.ended, rising: self.rising, ..Self::default() };
    }

    /// Whether there were ascents, and none of them had come to rest.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.ended > 0 && self.rising == self.ended
    }

    fn slot(step: u32) -> usize {
        (step % (WINDOW + 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incomplete(ascents: &[&[f32]]) -> bool {
        let mut ascent = Ascent::default();
        for losses in ascents {
            losses.iter().for_each(|loss| ascent.observe(*loss));
            ascent.end();
        }
        ascent.is_incomplete()
    }

    #[test]
    fn an_ascent_is_incomplete_if_its_end_still_rises() {
        let linear: Vec<f32> = (0..40).map(|i| i as f32).collect();
        let settled: Vec<f32> = (0..40).map(|i| (i as f32).min(29.0)).collect();
        // 5 % of the range are crossed in the last ten steps, but not in nine of them.
        let late: Vec<f32> = (0..40).map(|i| if i < 30 { (i as f32).min(19.0) } else { 20.1 }).collect();
        assert!(incomplete(&[&linear]) && incomplete(&[&late]) && !incomplete(&[&settled]));
        assert!(!incomplete(&[&linear, &settled]), "one has come to rest");
        assert!(incomplete(&[&linear, &linear[..4]]), "the second half, if there are few");
        assert!(!incomplete(&[]) && !incomplete(&[&[1.0; 40]]) && !incomplete(&[&linear[..3]]));
        let falling: Vec<f32> = linear.iter().map(|v| -v).collect();
        assert!(!incomplete(&[&falling]), "the best loss counts");
    }
}
