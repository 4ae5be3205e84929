//! Maps of a convolution: as ONNX Runtime has them, and as [tiles](super::tile) read them.

use super::tile::LANES;

/// Maps of a batch: `[samples, channels, height, width]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps<'a> {
    pub(super) data: &'a [f32],
    pub(super) samples: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl<'a> Maps<'a> {
    pub(super) fn new(shape: &[usize], data: &'a [f32]) -> ort::Result<Self> {
        let &[samples, channels, height, width] = shape else {
            return Err(ort::Error::new(format!("maps [n, c, h, w] are needed, not of shape {shape:?}")));
        };
        Ok(Self { data, samples, channels, height, width })
    }

    /// Row `y` of one channel of a sample.
    pub(super) fn row(&self, sample: usize, channel: usize, y: usize) -> &'a [f32] {
        let start = ((sample * self.channels + channel) * self.height + y) * self.width;
        &self.data[start..start + self.width]
    }
}

/// How some channels of a sample are laid out for tiles: `[block, row, column, lane]`, sixteen channels a block. Lanes without a channel are
/// zero, and so are the columns that are added at both ends of each row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Channels.
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Columns that are added before and behind each row.
    pub(super) sides: [usize; 2],
}

impl Layout {
    pub(super) fn blocks(&self) -> usize {
        self.channels.div_ceil(LANES)
    }

    fn row_size(&self) -> usize {
        (self.sides[0] + self.width + self.sides[1]) * LANES
    }

    /// From a block to the next.
    pub(super) fn block_size(&self) -> usize {
        self.height * self.row_size()
    }

    pub(super) fn size(&self) -> usize {
        self.blocks() * self.block_size()
    }

    /// Where block 0 of the element at row `y` and column `x` is, which may be one of those that were added.
    pub(super) fn at(&self, y: usize, x: isize) -> usize {
        y * self.row_size() + self.sides[0].saturating_add_signed(x) * LANES
    }

    /// Channels of block `block`.
    pub(super) fn lanes(&self, block: usize) -> usize {
        LANES.min(self.channels - block * LANES)
    }

    /// Lays channels `first..` of a sample out.
    pub(super) fn fill(&self, maps: &Maps<'_>, sample: usize, first: usize, to: &mut [f32]) {
        let rows = to.chunks_exact_mut(self.row_size().max(1));
        for (at, row) in rows.enumerate().take(self.blocks() * self.height) {
            let (block, y) = (at / self.height, at % self.height);
            let (before, row) = row.split_at_mut(self.sides[0] * LANES);
            let (row, behind) = row.split_at_mut(self.width * LANES);
            before.fill(0.0);
            behind.fill(0.0);
            let lanes = self.lanes(block);
            if lanes < LANES {
                row.fill(0.0);
            }
            let channel = |lane: usize| maps.row(sample, first + block * LANES + lane, y);
            let mut lane = 0;
            // Four rows at a time: one store for four loads.
            while lane + 4 <= lanes {
                let (a, b, c, d) = (channel(lane), channel(lane + 1), channel(lane + 2), channel(lane + 3));
                for ((((to, a), b), c), d) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    (to[lane], to[lane + 1], to[lane + 2], to[lane + 3]) = (*a, *b, *c, *d);
                }
                lane += 4;
            }
            for lane in lane..lanes {
                row.iter_mut().skip(lane).step_by(LANES).zip(channel(lane)).for_each(|(to, from)| *to = *from);
            }
        }
    }
}
