//! The three linear maps of a convolution, between the side that its windows slide over (*wide*) and the side with one
//! element per window (*narrow*): `gather` is a convolution, `spread` its transpose, `correlate` the gradient of its kernel.
//!
//! Kernels have the layout `[narrow channels, wide channels / group, k…]` in all three, which is ONNX's for `Conv` and for
//! `ConvTranspose` alike. Padding is always written out: `ConvTranspose` with `output_shape` recomputes it.

use bytes::Bytes;
use indexmap::IndexMap;

use super::inputs::{int, pad, product};
use super::phases;
use super::window::Window;
use crate::{Attribute, Cause, DataType, Dim, Emit, Lowering, Rule, Tensor, Value};

/// A kernel, with its content where that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel<'a> {
    pub value: &'a Value,
    pub content: Option<&'a Tensor>,
}

/// From the narrow side to the wide one: `wide[n * stride + k * dilation - begin] += kernel[k] narrow[n]`.
pub(super) fn spread(y: &Value, kernel: Kernel<'_>, windows: &[Window], group: usize, e: &mut Emit<'_>) -> Rule<Value> {
    let flips = |k: &&Tensor| match e.lowering() {
        Lowering::Cpu | Lowering::CpuKernels => flipping_pays(k.dims(), windows, group),
        // As fast, and it adds in the same order in every run, which ConvTranspose does not.
        Lowering::Cuda => windows.iter().all(|w| w.stride == 1),
    };
    if let Some(content) = kernel.content.filter(flips) {
        let flipped = e.tensor(flip(content, group)?);
        return Ok(spread_unit_stride(y, &flipped, windows, group, e));
    }
    if let Some(attributes) = for_own_kernel(kernel, windows, group, e) {
        let map: Vec<i64> = windows.iter().map(|w| w.wide).collect();
        let attributes = attributes.into_iter().chain([("map".to_owned(), map.into())]).collect();
        return Ok(e.kernel("ConvInputGradient", &[y, kernel.value], attributes, 1).remove(0));
    }
    if let Some(wide) = phases::spread(y, kernel, windows, group, e)? {
        return Ok(wide);
    }
    // What remains of the wide side behind the last window is shorter than the stride, as ONNX Runtime demands of
    // `output_padding`: otherwise there would be one more window.
    let output_padding: Vec<i64> = windows.iter().map(|w| (-w.overhang()).max(0)).collect();
    let needed = windows.iter().map(|w| (w.begin, w.overhang().max(0)));
    // CUDA has a kernel for pads that are the same on both sides only: what they leave is cropped.
    let pads: Vec<(i64, i64)> = match e.lowering() {
        Lowering::Cpu | Lowering::CpuKernels => needed.clone().collect(),
        Lowering::Cuda => needed.clone().map(|(begin, end)| (begin.min(end), begin.min(end))).collect(),
    };
    let crop = needed.zip(&pads).map(|(needed, pads)| (pads.0 - needed.0, pads.1 - needed.1));
    let crop: Vec<(i64, i64)> = [(0, 0); 2].into_iter().chain(crop).collect();
    let padded: Vec<Window> = windows.iter().zip(&pads).map(|(w, p)| Window { begin: p.0, ..*w }).collect();
    let ends: Vec<i64> = pads.iter().map(|p| p.1).collect();
    let mut attributes = attributes(&padded, &ends, group, |w| (w.stride, w.dilation));
    attributes.insert("output_padding".into(), output_padding.into());
    let wide = one(e, "ConvTranspose", y, kernel.value, attributes);
    Ok(pad(&wide, &crop, e))
}

/// Channels of a block of ONNX Runtime's blocked layout on processors with AVX-512; others have 8.
const BLOCK: usize = 16;

/// Whether a Conv with the flipped kernel, of shape `dims`, is faster than the ConvTranspose on ONNX Runtime's CPU kernels.
///
/// It is where its blocks of channels are at least half full: it computes the rest of a block for nothing, 13 of 16 channels
/// onto an image. Less than a block to read is not filled up, and depthwise kernels are of another kind. With strides it would
/// work on zeros. (`make bench-forms`; `docs/performance.md` has the times.)
fn flipping_pays(dims: &[usize], windows: &[Window], group: usize) -> bool {
    let &[narrow, wide, ..] = dims else { return false };
    let narrow = narrow / group.max(1);
    let filled_up = wide.next_multiple_of(BLOCK) * if narrow < BLOCK { narrow } else { narrow.next_multiple_of(BLOCK) };
    let depthwise = group > 1 && narrow == 1 && wide == 1;
    let full = depthwise || 2 * narrow.saturating_mul(wide) >= filled_up;
    full && windows.iter().all(|w| w.stride == 1)
}

/// `spread` as a convolution with the flipped kernel: both sides of `y` get the zeros that windows at the edges reach.
fn spread_unit_stride(y: &Value, flipped: &Value, windows: &[Window], group: usize, e: &mut Emit<'_>) -> Value {
    let begins = windows.iter().map(|w| w.reach() - 1 - w.begin);
    let ends = windows.iter().map(|w| w.wide - w.narrow + w.begin);
    let sides: Vec<(i64, i64)> = begins.zip(ends).collect();
    // Windows that lie in the padding altogether: nothing of the wide side depends on them.
    let crop: Vec<(i64, i64)> = [(0, 0); 2].into_iter().chain(sides.iter().map(|s| (s.0.min(0), s.1.min(0)))).collect();
    let y = pad(y, &crop, e);
    let padded: Vec<Window> = windows.iter().zip(&sides).map(|(w, s)| Window { begin: s.0.max(0), ..*w }).collect();
    let ends: Vec<i64> = sides.iter().map(|s| s.1.max(0)).collect();
    let attributes = attributes(&padded, &ends, group, |w| (w.stride, w.dilation));
    one(e, "Conv", &y, flipped, attributes)
}

/// From the wide side to the narrow one: `narrow[n] = Σ kernel[k] wide[n * stride + k * dilation - begin]`.
pub(super) fn gather(y: &Value, kernel: &Value, windows: &[Window], group: usize, e: &mut Emit<'_>) -> Value {
    let (y, ends) = fit_end(y, windows, e);
    let attributes = attributes(windows, &ends, group, |w| (w.stride, w.dilation));
    one(e, "Conv", &y, kernel, attributes)
}

/// From both sides to the kernel: `kernel[k] = Σ narrow[n] wide[n * stride + k * dilation - begin]`, summed over the batch.
///
/// A convolution in which the batch takes the place of the channels, and strides and dilations change places; ONNX Runtime
/// computes it slowly, since its kernels are as large as a map, so there is a kernel of our own for it. `dims` is the shape of
/// the wide side; where it is such a convolution itself, its channels depend on the batch and its batch does not.
///
/// # Errors
/// Several dimensions depend on the batch, or the channels do not fit the groups.
pub(super) fn correlate(
    wide: &Value,
    narrow: &Value,
    dims: &[Dim],
    windows: &[Window],
    group: usize,
    e: &mut Emit<'_>,
) -> Rule<Value> {
    let (&[batch, channels], spatial) =
        dims.split_first_chunk().ok_or_else(|| Cause::Malformed("the data has at least two dimensions".into()))?;
    let grouped_batch = product(&[batch, Dim::Fixed(group)])?;
    let per_group = match channels {
        Dim::Fixed(c) if c % group == 0 => Dim::Fixed(c / group),
        Dim::Batch(k) if k % group == 0 => Dim::Batch(k / group),
        other => return Err(Cause::Malformed(format!("{other:?} channels in {group} groups"))),
    };
    if let (Lowering::CpuKernels, Dim::Fixed(_), [_, _]) = (e.lowering(), channels, windows) {
        return Ok(e.kernel("ConvWeightGradient", &[wide, narrow], own_attributes(windows, group), 1).remove(0));
    }
    // [n, g·c, …] → [c, g·n, …]: each group keeps its own channels, the batch becomes the channels to sum over.
    let split: Vec<Dim> = [batch, Dim::Fixed(group), per_group].iter().chain(spatial).copied().collect();
    let merged: Vec<Dim> = [per_group, grouped_batch].iter().chain(spatial).copied().collect();
    let wide = e.reshape(wide, &split)?;
    let rest = |from: i64| (0..int(windows.len())).map(move |a| a + from);
    let wide =
        e.op_with("Transpose", &[&wide], [("perm", [2, 1, 0].into_iter().chain(rest(3)).collect::<Vec<i64>>().into())]);
    let wide = e.reshape(&wide, &merged)?;
    let swap: Vec<i64> = [1, 0].into_iter().chain(rest(2)).collect();
    let narrow = e.op_with("Transpose", &[narrow], [("perm", swap.clone().into())]);
    let (wide, ends) = fit_end(&wide, windows, e);
    let attributes = attributes(windows, &ends, group, |w| (w.dilation, w.stride));
    let kernel = one(e, "Conv", &wide, &narrow, attributes);
    Ok(e.op_with("Transpose", &[&kernel], [("perm", swap.into())]))
}

/// The wide side without the elements behind the last window, and the padding that the last window needs behind it.
fn fit_end(wide: &Value, windows: &[Window], e: &mut Emit<'_>) -> (Value, Vec<i64>) {
    let crop: Vec<(i64, i64)> =
        [(0, 0); 2].into_iter().chain(windows.iter().map(|w| (0, w.overhang().min(0)))).collect();
    (pad(wide, &crop, e), windows.iter().map(|w| w.overhang().max(0)).collect())
}

/// The attributes of one of assay's own kernels, if it is faster: with two spatial axes, a kernel that is not known beforehand,
/// and groups of more than a few channels.
pub(super) fn for_own_kernel(
    kernel: Kernel<'_>,
    windows: &[Window],
    group: usize,
    e: &Emit<'_>,
) -> Option<IndexMap<String, Attribute>> {
    let facts = e.facts(kernel.value).ok()?;
    let &[Dim::Fixed(narrow), Dim::Fixed(wide), _, _] = &facts.dims[..] else { return None };
    let several = narrow / group.max(1) * wide > FEW;
    let fits = e.lowering() == Lowering::CpuKernels && kernel.content.is_none() && facts.dtype == DataType::Float;
    (fits && several && windows.len() == 2).then(|| own_attributes(windows, group))
}

/// Products of the channels of a group up to which ONNX Runtime's kernels, made for depthwise convolutions, are faster.
const FEW: usize = 4;

/// The attributes that assay's own kernels have in common. What lies behind the last window is not read, so the sizes say all
/// about the padding there.
fn own_attributes(windows: &[Window], group: usize) -> IndexMap<String, Attribute> {
    let mut attributes = attributes(windows, &[0, 0], group, |w| (w.stride, w.dilation));
    let shape: Vec<i64> = windows.iter().map(|w| w.kernel).collect();
    attributes.insert("kernel_shape".to_owned(), shape.into());
    attributes
}

pub(super) fn attributes(
    windows: &[Window],
    ends: &[i64],
    group: usize,
    steps: impl Fn(&Window) -> (i64, i64),
) -> IndexMap<String, Attribute> {
    let pads: Vec<i64> = windows.iter().map(|w| w.begin).chain(ends.iter().copied()).collect();
    let strides: Vec<i64> = windows.iter().map(|w| steps(w).0).collect();
    let dilations: Vec<i64> = windows.iter().map(|w| steps(w).1).collect();
    IndexMap::from([
        ("pads".to_owned(), pads.into()),
        ("strides".to_owned(), strides.into()),
        ("dilations".to_owned(), dilations.into()),
        ("group".to_owned(), int(group).into()),
    ])
}

pub(super) fn one(
    e: &mut Emit<'_>,
    operator: &str,
    x: &Value,
    kernel: &Value,
    attributes: IndexMap<String, Attribute>,
) -> Value {
    e.node(operator, vec![Some(x.clone()), Some(kernel.clone())], attributes, 1).remove(0)
}

/// `[g·n, w, k…]` as `[g·w, n, reversed k…]`: the kernel of the transposed map at unit stride.
///
/// # Errors
/// The kernel's shape does not fit the groups.
pub(super) fn flip(kernel: &Tensor, group: usize) -> Rule<Tensor> {
    let defect = || Cause::Malformed(format!("a kernel of shape {:?} in {group} groups", kernel.dims()));
    let size = kernel.dtype().size().ok_or_else(defect)?;
    let (&[out, wide], taps) = kernel.dims().split_first_chunk().ok_or_else(defect)?;
    let narrow = out.checked_div(group).filter(|n| n * group == out).ok_or_else(defect)?;
    let volume: usize = taps.iter().product();
    let layout = Layout { group, narrow, wide, volume };
    let mut data = vec![0; kernel.bytes().len()];
    match size {
        4 => layout.flip::<4>(kernel.bytes(), &mut data),
        8 => layout.flip::<8>(kernel.bytes(), &mut data),
        2 => layout.flip::<2>(kernel.bytes(), &mut data),
        1 => layout.flip::<1>(kernel.bytes(), &mut data),
        _ => return Err(defect()),
    }
    let dims = [group * wide, narrow].into_iter().chain(taps.iter().copied()).collect();
    Tensor::new(kernel.dtype(), dims, Bytes::from(data)).ok_or_else(defect)
}

/// A kernel `[g·n, w, k…]` with `volume` taps in a row.
struct Layout {
    group: usize,
    narrow: usize,
    wide: usize,
    volume: usize,
}

impl Layout {
    /// Channels on either side of a square that is flipped before the next: both what is read and what is written stay in the cache.
    const TILE: usize = 16;

    /// `kernel`, of elements of `N` bytes, flipped.
    fn flip<const N: usize>(&self, kernel: &[u8], flipped: &mut [u8]) {
        let &Self { group, narrow, wide, volume } = self;
        let (from, to) = (kernel.as_chunks::<N>().0, flipped.as_chunks_mut::<N>().0);
        let tiles = |of: usize| (0..of).step_by(Self::TILE).map(move |at| at..of.min(at + Self::TILE));
        for g in 0..group {
            for (ws, ns) in tiles(wide).flat_map(|ws| tiles(narrow).map(move |ns| (ws.clone(), ns))) {
                for w in ws {
                    for n in ns.clone() {
                        let read = ((g * narrow + n) * wide + w) * volume;
                        let written = ((g * wide + w) * narrow + n) * volume;
                        let taps = from[read..read + volume].iter().rev();
                        to[written..written + volume].iter_mut().zip(taps).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_where_blocks_of_channels_are_at_least_half_full() {
        let window = Window { wide: 8, narrow: 8, kernel: 3, stride: 1, dilation: 1, begin: 1 };
        let pays = |dims: [usize; 2], group| flipping_pays(&[dims[0], dims[1], 3], &[window], group);
        assert!(pays([16, 16], 1) && pays([8, 8], 1) && pays([64, 64], 1) && pays([24, 24], 1));
        assert!(!pays([64, 3], 1) && !pays([32, 7], 1), "an image has few channels");
        assert!(!pays([17, 17], 1), "one channel more than a block, on both sides");
        assert!(pays([72, 1], 72), "depthwise");
        assert!(pays([64, 32], 2) && !pays([128, 4], 32), "channels of a group count");
        assert!(!flipping_pays(&[16, 16, 3], &[Window { stride: 2, ..window }], 1));
    }

    #[test]
    fn flip_swaps_channels_within_groups_and_reverses_taps() {
        // Two groups, two narrow channels and one wide channel in each, two taps.
        let kernel = Tensor::floats(&[4, 1, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]);
        let flipped = flip(&kernel, 2).unwrap();
        assert_eq!(flipped, Tensor::floats(&[2, 2, 2], &[2., 1., 4., 3., 6., 5., 8., 7.]));
        assert_eq!(flip(&flipped, 2).unwrap(), kernel);
        assert!(flip(&kernel, 3).is_err());
    }

    #[test]
    fn flip_goes_over_channels_that_do_not_fill_its_squares() {
        let (narrow, wide, volume) = (19, 35, 3);
        let at = |n: usize, w: usize, k: usize| ((n * wide + w) * volume + k) as f64;
        let values: Vec<f64> = (0..narrow * wide * volume).map(|i| i as f64).collect();
        for dtype in [DataType::Float, DataType::Double] {
            let flipped = flip(&Tensor::rounded(dtype, &[narrow, wide, volume], &values), 1).unwrap();
            let expected: Vec<f64> = (0..wide)
                .flat_map(|w| (0..narrow).flat_map(move |n| (0..volume).rev().map(move |k| at(n, w, k))))
                .collect();
            assert_eq!(flipped, Tensor::rounded(dtype, &[wide, narrow, volume], &expected));
        }
    }
}
