//! Maps computed from maps, each element a sum over taps and channels: a convolution, and its gradient by the input.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::Parallel;
use super::blocked::{Layout, Maps};
use super::tile::{LANES, ROWS, Run, Sides, Target};

/// Elements of a channel that a task computes at least, so that weights that were fetched are used often enough.
const ELEMENTS: usize = 64;

/// Which elements of the source an element of the result is computed of.
pub(super) struct Sweep<'a> {
    pub(super) source: Maps<'a>,
    /// Channels are computed of those of their group.
    pub(super) group: usize,
    /// Columns that are read before the first of the source, and behind the last.
    pub(super) sides: [usize; 2],
    /// Channels, height and width of the result.
    pub(super) result: [usize; 3],
    /// Columns `p`, `p + phases`, `p + 2 * phases`, … of the result are computed of the same taps,
    pub(super) phases: usize,
    /// each of columns this far behind those of the one before.
    pub(super) step: usize,
    pub(super) weights: Weights<'a>,
    /// Pushes what row `y` of the result is computed of in phase `p`.
    pub(super) reads: &'a (dyn Fn(usize, usize, &mut Vec<Read>) + Sync),
    /// What is added to each channel.
    pub(super) bias: Option<&'a [f32]>,
}

/// What is read for one tap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) tap: usize,
    /// Row of the source.
    pub(super) row: usize,
    /// Column of the source, for the first column of the phase.
    pub(super) column: isize,
}

/// Weights by group, channel of the result and of the source (both within the group), and tap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights<'a> {
    pub(super) data: &'a [f32],
    pub(super) taps: usize,
    /// From a channel of the result to the next.
    pub(super) result: usize,
    /// From a channel of the source to the next.
    pub(super) source: usize,
}

/// Memory of one thread, kept from call to call.
#[derive(Default)]
struct Scratch {
    source: Vec<f32>,
    row: Vec<f32>,
    reads: Vec<Read>,
    runs: Vec<Run>,
}

thread_local! {
    /// The weights of a call, laid out by whom it is made.
    static PANELS: RefCell<Vec<f32>> = RefCell::default();
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Sweep<'_> {
    /// Writes the result, `[samples, channels, height, width]`. A task has some samples, so that no two write the same element.
    pub(super) fn run(&self, to: &mut [f32], parallel: &Parallel<'_>) -> ort::Result<()> {
        if to.is_empty() {
            return Ok(());
        }
        let sample: usize = self.result.iter().product();
        let together = ELEMENTS.div_ceil(self.result[1] * self.result[2]);
        PANELS.with_borrow_mut(|panels| {
            self.lay_out_weights(panels, parallel)?;
            let parts: Vec<Mutex<&mut [f32]>> = to.chunks_mut(together * sample).map(Mutex::new).collect();
            let panels = &panels[..];
            parallel(parts.len(), &|part| {
                let mut to = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
                let first = part * together;
                SCRATCH.with_borrow_mut(|scratch| {
                    self.samples(first..first + to.len() / sample, panels, &mut to, scratch);
                });
            })
        })
    }

    /// Channels of a group, of the source and of the result.
    fn channels(&self) -> [usize; 2] {
        [self.source.channels / self.group, self.result[0] / self.group]
    }

    /// Size of a panel, which has the weights of a block of the result: `[tap, channel of the source, lane]`.
    fn panel(&self) -> usize {
        self.weights.taps * self.channels()[0] * LANES
    }

    fn lay_out_weights(&self, panels: &mut Vec<f32>, parallel: &Parallel<'_>) -> ort::Result<()> {
        let ([read, written], w) = (self.channels(), self.weights);
        let blocks = written.div_ceil(LANES);
        panels.resize(self.group * blocks * self.panel(), 0.0);
        let parts: Vec<Mutex<&mut [f32]>> = panels.chunks_exact_mut(self.panel().max(1)).map(Mutex::new).collect();
        parallel(parts.len(), &|part| {
            let mut to = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
            let (group, first) = (part / blocks, part % blocks * LANES);
            let lanes = LANES.min(written - first);
            let group = &w.data[group * read * written * w.taps..];
            for (at, to) in to.chunks_exact_mut(LANES).enumerate() {
                let start = first * w.result + at % read * w.source + at / read;
                to[lanes..].fill(0.0);
                to[..lanes].iter_mut().zip(group[start..].iter().step_by(w.result)).for_each(|(to, from)| *to = *from);
            }
        })
    }

    /// The samples `samples`, whose result is `to`.
    fn samples(&self, samples: Range<usize>, panels: &[f32], to: &mut [f32], scratch: &mut Scratch) {
        let ([read, written], [channels, height, width]) = (self.channels(), self.result);
        let layout = Layout { channels: read, height: self.source.height, width: self.source.width, sides: self.sides };
        let blocks = written.div_ceil(LANES);
        let Scratch { source, row, reads, runs } = scratch;
        source.resize(samples.len() * layout.size(), 0.0);
        row.resize(2 * width * LANES, 0.0);
        for group in 0..self.group {
            for (i, source) in source.chunks_exact_mut(layout.size().max(1)).enumerate() {
                layout.fill(&self.source, samples.start + i, group * read, source);
            }
            for block in (0..blocks).step_by(2) {
                let panels = &panels[(group * blocks + block) * self.panel()..];
                let first = group * written + block * LANES;
                let lanes = (written - block * LANES).min(2 * LANES);
                let samples =
                    source.chunks_exact(layout.size().max(1)).zip(to.chunks_exact_mut(channels * height * width));
                for (source, to) in samples {
                    let sides =
                        Sides { left: source, row: self.step * LANES, step: 1, right: panels, block: self.panel() };
                    for y in 0..height {
                        row.fill(0.0);
                        for phase in 0..self.phases.min(width) {
                            reads.clear();
                            (self.reads)(y, phase, reads);
                            runs.clear();
                            runs.extend(reads.iter().flat_map(|r| layout.runs(r, read)));
                            for tile in even((width - phase).div_ceil(self.phases)) {
                                let target = Target {
                                    sum: row,
                                    start: (phase + tile.start * self.phases) * LANES,
                                    rows: tile.len(),
                                    row: self.phases * LANES,
                                    blocks: lanes.div_ceil(LANES),
                                    block: width * LANES,
                                };
                                sides.add(runs, tile.start * self.step * LANES, 0, target);
                            }
                        }
                        for lane in 0..lanes {
                            let start = ((first + lane) * height + y) * width;
                            let from = row[lane / LANES * width * LANES + lane % LANES..].iter().step_by(LANES);
                            let bias = self.bias.map_or(0.0, |bias| bias[first + lane]);
                            to[start..start + width].iter_mut().zip(from).for_each(|(to, from)| *to = from + bias);
                        }
                    }
                }
            }
        }
    }
}

impl Layout {
    /// The products of a tap, block after block of the source's `channels`.
    fn runs(&self, read: &Read, channels: usize) -> impl Iterator<Item = Run> {
        let (left, right) = (self.at(read.row, read.column), read.tap * channels * LANES);
        (0..self.blocks()).map(move |block| Run {
            left: block * self.block_size() + left,
            right: right + block * LANES * LANES,
            len: self.lanes(block),
        })
    }
}

/// `0..count` in tiles as equal as can be.
pub(super) fn even(count: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = count.div_ceil(ROWS);
    (0..tiles).map(move |tile| tile * count / tiles..(tile + 1) * count / tiles)
}
