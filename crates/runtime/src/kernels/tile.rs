//! The innermost loop of convolutions: a small product of matrices whose rows may lie anywhere in memory.
//!
//! Sixteen numbers side by side are a *block*: one register of AVX-512, two of AVX2. A *tile* of the result, up to eight rows by one or two
//! blocks, stays in registers while both sides run by. (Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008; what
//! they copy side by side is here read where it is.)

/// Numbers of a block.
pub(super) const LANES: usize = 16;

/// Most rows of a tile.
pub(super) const ROWS: usize = 8;

/// Products that follow each other in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Where the left side begins.
    pub(super) left: usize,
    /// Where the right side begins.
    pub(super) right: usize,
    /// Products.
    pub(super) len: usize,
}

/// The two sides: single numbers `left[row * i + step * k]` and blocks `right[block * j + LANES * k..]`, counted from the beginning of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides<'a> {
    pub(super) left: &'a [f32],
    /// From a row of the tile to the next.
    pub(super) row: usize,
    /// From a product to the next.
    pub(super) step: usize,
    pub(super) right: &'a [f32],
    /// From the first block of the tile to the second.
    pub(super) block: usize,
}

/// A tile of the result: `sum[start + row * i + block * j..]`.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) sum: &'a mut [f32],
    pub(super) start: usize,
    /// Rows, at most [`ROWS`].
    pub(super) rows: usize,
    pub(super) row: usize,
    /// Blocks, one or two.
    pub(super) blocks: usize,
    pub(super) block: usize,
}

impl Sides<'_> {
    /// Adds the products of all `runs`, each begun `left` and `right` further on, to the target.
    ///
    /// # Panics
    /// Something lies outside of its slice.
    pub(super) fn add(&self, runs: &[Run], left: usize, right: usize, target: Target<'_>) {
        let Target { sum, start, rows, row, blocks, block } = target;
        assert!((1..=ROWS).contains(&rows) && (1..=2).contains(&blocks), "a tile of {rows} rows and {blocks} blocks");
        assert!(start + (rows - 1) * row + (blocks - 1) * block + LANES <= sum.len(), "a tile behind the result");
        for run in runs.iter().filter(|run| run.len > 0) {
            let last_left = run.left + left + (rows - 1) * self.row + (run.len - 1) * self.step;
            let end_right = run.right + right + (blocks - 1) * self.block + run.len * LANES;
            assert!(
                last_left < self.left.len() && end_right <= self.right.len(),
                "products behind {last_left}, {end_right}"
            );
        }
        let tile = Tile {
            left: self.left[left..].as_ptr(),
            left_row: self.row,
            step: self.step,
            right: self.right[right..].as_ptr(),
            right_block: self.block,
            sum: sum[start..].as_mut_ptr(),
            sum_row: row,
            sum_block: block,
        };
        // SAFETY: what is read and written furthest on was compared with the ends of the slices above.
        unsafe { tile.add(runs, rows, blocks) }
    }
}

/// [`Sides`] and a [`Target`] whose ends were checked.
#[derive(Clone, Copy)]
struct Tile {
    left: *const f32,
    left_row: usize,
    step: usize,
    right: *const f32,
    right_block: usize,
    sum: *mut f32,
    sum_row: usize,
    sum_block: usize,
}

impl Tile {
    /// With the widest registers that the processor has.
    ///
    /// # Safety
    /// `rows` by `blocks` and all runs lie within the memory that the pointers are of.
    unsafe fn add(&self, runs: &[Run], rows: usize, blocks: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected;
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has AVX-512; else as this function.
                return unsafe { x86::add_with_avx512(self, runs, rows, blocks) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor has AVX2 and FMA; else as this function.
                return unsafe { x86::add_with_avx2(self, runs, rows, blocks) };
            }
        }
        // SAFETY: as this function.
        unsafe { self.add_with::<[f32; LANES]>(runs, rows, blocks) }
    }

    /// In parts that registers have room for. (No function here calls itself, which could not be inlined: it would be compiled for any
    /// processor, and a call for each addition.)
    ///
    /// # Safety
    /// As [`Tile::add`], and the processor has what `B` needs.
    #[inline(always)]
    unsafe fn add_with<B: Block>(self, runs: &[Run], rows: usize, blocks: usize) {
        // SAFETY: each part is within the tile.
        unsafe {
            match blocks {
                1 => self.add_blocks::<B, 1>(runs, rows),
                _ if B::MANY => self.add_blocks::<B, 2>(runs, rows),
                _ => {
                    self.add_blocks::<B, 1>(runs, rows);
                    let (right, sum) = (self.right.add(self.right_block), self.sum.add(self.sum_block));
                    Self { right, sum, ..self }.add_blocks::<B, 1>(runs, rows);
                }
            }
        }
    }

    /// `N` blocks.
    ///
    /// # Safety
    /// As [`Tile::add_with`].
    #[inline(always)]
    unsafe fn add_blocks<B: Block, const N: usize>(self, runs: &[Run], rows: usize) {
        // SAFETY: each part is within the tile.
        unsafe {
            match rows {
                8 if B::MANY => self.add_rows::<B, 8, N>(runs),
                7 if B::MANY => self.add_rows::<B, 7, N>(runs),
                7 | 8 => {
                    self.add_rows::<B, 4, N>(runs);
                    let (left, sum) = (self.left.add(4 * self.left_row), self.sum.add(4 * self.sum_row));
                    let rest = Self { left, sum, ..self };
                    if rows == 8 { rest.add_rows::<B, 4, N>(runs) } else { rest.add_rows::<B, 3, N>(runs) }
                }
                6 => self.add_rows::<B, 6, N>(runs),
                5 => self.add_rows::<B, 5, N>(runs),
                4 => self.add_rows::<B, 4, N>(runs),
                3 => self.add_rows::<B, 3, N>(runs),
                2 => self.add_rows::<B, 2, N>(runs),
                _ => self.add_rows::<B, 1, N>(runs),
            }
        }
    }

    /// `R` rows by `N` blocks, in registers.
    ///
    /// # Safety
    /// As [`Tile::add_with`].
    #[allow(clippy::needless_range_loop, reason = "a row is a number on both sides of the product and in the sums")]
    #[inline(always)]
    unsafe fn add_rows<B: Block, const R: usize, const N: usize>(&self, runs: &[Run]) {
        // SAFETY: within the tile and the runs; the last steps of the pointers, which nothing is read at, wrap.
        unsafe {
            let mut sums = [[B::zero(); N]; R];
            for run in runs {
                let (mut left, mut right) = (self.left.add(run.left), self.right.add(run.right));
                for _ in 0..run.len {
                    let mut blocks = [B::zero(); N];
                    for n in 0..N {
                        blocks[n] = B::load(right.add(n * self.right_block));
                    }
                    for r in 0..R {
                        let factor = *left.add(r * self.left_row);
                        for n in 0..N {
                            sums[r][n] = sums[r][n].plus_product(factor, blocks[n]);
                        }
                    }
                    left = left.wrapping_add(self.step);
                    right = right.wrapping_add(LANES);
                }
            }
            for r in 0..R {
                for n in 0..N {
                    let to = self.sum.add(r * self.sum_row + n * self.sum_block);
                    B::load(to).plus(sums[r][n]).store(to);
                }
            }
        }
    }
}

/// [`LANES`] numbers in registers.
///
/// # Safety
/// Of all functions: the processor has what the type is of, and pointers are to [`LANES`] numbers.
trait Block: Copy {
    /// Whether there are registers for eight rows by two blocks, else for six rows of one.
    const MANY: bool;
    unsafe fn zero() -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn plus(self, other: Self) -> Self;
    unsafe fn plus_product(self, factor: f32, other: Self) -> Self;
}

/// For processors that nothing is known of: the compiler makes of it what it can.
impl Block for [f32; LANES] {
    const MANY: bool = false;

    #[inline(always)]
    unsafe fn zero() -> Self {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }

    #[inline(always)]
    unsafe fn plus(mut self, other: Self) -> Self {
        self.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        self
    }

    #[inline(always)]
    unsafe fn plus_product(mut self, factor: f32, other: Self) -> Self {
        self.iter_mut().zip(other).for_each(|(sum, other)| *sum += factor * other);
        self
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use super::{Block, Run, Tile};

    /// # Safety
    /// As [`Tile::add`].
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn add_with_avx512(tile: &Tile, runs: &[Run], rows: usize, blocks: usize) {
        // SAFETY: the caller's.
        unsafe { tile.add_with::<__m512>(runs, rows, blocks) }
    }

    /// # Safety
    /// As [`Tile::add`].
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn add_with_avx2(tile: &Tile, runs: &[Run], rows: usize, blocks: usize) {
        // SAFETY: the caller's.
        unsafe { tile.add_with::<[__m256; 2]>(runs, rows, blocks) }
    }

    // Each function is inlined into one of the two above, which enable what it needs.

    impl Block for __m512 {
        const MANY: bool = true;

        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller's, here and below.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn plus_product(self, factor: f32, other: Self) -> Self {
            unsafe { _mm512_fmadd_ps(_mm512_set1_ps(factor), other, self) }
        }
    }

    impl Block for [__m256; 2] {
        const MANY: bool = false;

        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller's, here and below.
            unsafe { [_mm256_setzero_ps(); 2] }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe {
                _mm256_storeu_ps(to, self[0]);
                _mm256_storeu_ps(to.add(8), self[1]);
            }
        }

        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            unsafe { [_mm256_add_ps(self[0], other[0]), _mm256_add_ps(self[1], other[1])] }
        }

        #[inline(always)]
        unsafe fn plus_product(self, factor: f32, other: Self) -> Self {
            unsafe {
                let factor = _mm256_set1_ps(factor);
                [_mm256_fmadd_ps(factor, other[0], self[0]), _mm256_fmadd_ps(factor, other[1], self[1])]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sizes of tiles, in each kind of register that this processor has, against sums in f64.
    #[test]
    fn every_tile_is_the_sum_of_its_products() {
        let numbers = |count: usize, seed: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * 37 + seed) % 101) as f32 / 101.0 - 0.5).collect()
        };
        let (left, right) = (numbers(700, 1), numbers(1500, 2));
        let runs = [
            Run { left: 3, right: 5, len: 7 },
            Run { left: 40, right: 200, len: 1 },
            Run { left: 0, right: 0, len: 0 },
        ];
        let sides = Sides { left: &left, row: 17, step: 3, right: &right, block: 600 };
        type Add = unsafe fn(&Tile, &[Run], usize, usize);
        let mut ways: Vec<(&str, Add)> = vec![("any", |t, r, m, n| unsafe { t.add_with::<[f32; LANES]>(r, m, n) })];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                ways.push(("AVX-512", x86::add_with_avx512));
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                ways.push(("AVX2", x86::add_with_avx2));
            }
        }
        for rows in 1..=ROWS {
            for blocks in 1..=2 {
                let at = |r: usize, n: usize, lane: usize| 11 + r * 20 + n * 300 + lane;
                let mut expected = numbers(700, 3);
                for r in 0..rows {
                    for n in 0..blocks {
                        for lane in 0..LANES {
                            let products = runs.iter().flat_map(|run| (0..run.len).map(move |k| (run, k)));
                            let sum: f64 = products
                                .map(|(run, k)| {
                                    f64::from(left[2 + run.left + r * 17 + k * 3])
                                        * f64::from(right[4 + run.right + n * 600 + k * LANES + lane])
                                })
                                .sum();
                            expected[at(r, n, lane)] += sum as f32;
                        }
                    }
                }
                let check = |found: &[f32], way: &str| {
                    let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(apart < 1e-6, "{rows} rows, {blocks} blocks, {way}: {apart:e}");
                };
                let mut found = numbers(700, 3);
                sides.add(&runs, 2, 4, Target { sum: &mut found, start: 11, rows, row: 20, blocks, block: 300 });
                check(&found, "chosen");
                for (way, add) in &ways {
                    let mut found = numbers(700, 3);
                    let tile = Tile {
                        left: left[2..].as_ptr(),
                        left_row: 17,
                        step: 3,
                        right: right[4..].as_ptr(),
                        right_block: 600,
                        sum: found[11..].as_mut_ptr(),
                        sum_row: 20,
                        sum_block: 300,
                    };
                    unsafe { add(&tile, &runs, rows, blocks) };
                    check(&found, way);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "products behind")]
    fn what_lies_outside_is_not_read() {
        let (left, right, mut sum) = ([0.0; 16], [0.0; 64], [0.0; 64]);
        let sides = Sides { left: &left, row: 1, step: 4, right: &right, block: 0 };
        let target = Target { sum: &mut sum, start: 0, rows: 4, row: 16, blocks: 1, block: 0 };
        // The third product of the last row would be at 4 + 3 + 2 * 4, and that is the last; a fourth is not there.
        sides.add(&[Run { left: 4, right: 0, len: 4 }], 0, 0, target);
    }
}
