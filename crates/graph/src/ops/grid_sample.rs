//! `GridSample`: an image at the places that a grid names, as spatial transformers use it.
//! <https://onnx.ai/onnx/operators/onnx__GridSample.html>
//!
//! Along each axis a place becomes a position among the elements. The element before it and the one behind it share the
//! point by `1 - t` and `t`, where `t` is how far the position lies behind the first. So the derivative by the image adds up
//! shares, and the derivative by the grid is the difference of the two elements times the slope of the position. At an element `t`
//! is 0, and the difference that to the next element, as of `torch.nn.functional.grid_sample`.

use super::class::{output, positive, sign};
use super::inputs::{int, zeros_like};
use super::{Class, Operator};
use crate::{Cause, DataType, Dim, Emit, Node, Rule, Value};

/// Inputs: images `[n, channels, height, width]`, grid `[n, …, 2]` of places `(x, y)` in `[-1, 1]`.
pub(super) struct GridSample;

impl Operator for GridSample {
    fn name(&self) -> &'static str {
        "GridSample"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn refused(&self) -> &'static str {
        "`mode` bicubic; by the grid in `mode` nearest"
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let mut products = vec![None; wanted.len()];
        let Some(w) = cotangents.first().and_then(Option::as_ref) else { return Ok(products) };
        let sampling = Sampling::of(node)?;
        if sampling.nearest && wanted.get(1) == Some(&true) {
            return Err(Cause::Unsupported(
                "the derivative by the grid in mode nearest, which is zero almost everywhere; use mode bilinear".into(),
            ));
        }
        let points = Points::of(node, e)?;
        let corners = sampling.corners(&points, e)?;
        if wanted.first() == Some(&true) {
            products[0] = Some(corners.to_image(&points, w, e)?);
        }
        if wanted.get(1) == Some(&true) {
            products[1] = Some(corners.to_grid(&points, w, e)?);
        }
        Ok(products)
    }
}

/// Which elements a position reads.
struct Sampling {
    nearest: bool,
    /// Whether -1 and 1 are the centres of the first and the last element, and not their outer edges.
    align_corners: bool,
    padding: Padding,
}

/// What lies outside of the image.
#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

impl Sampling {
    fn of(node: &Node) -> Rule<Self> {
        let nearest = match node.text("mode", "bilinear")? {
            "bilinear" => false,
            "nearest" => true,
            "bicubic" => return Err(Cause::Unsupported("mode bicubic; bilinear and nearest are supported".into())),
            other => return Err(Cause::Malformed(format!("attribute \"mode\" is \"{other}\""))),
        };
        let padding = match node.text("padding_mode", "zeros")? {
            "zeros" => Padding::Zeros,
            "border" => Padding::Border,
            "reflection" => Padding::Reflection,
            other => return Err(Cause::Malformed(format!("attribute \"padding_mode\" is \"{other}\""))),
        };
        Ok(Self { nearest, align_corners: node.int("align_corners", 0)? != 0, padding })
    }

    /// What every point reads, corner by corner.
    fn corners(&self, points: &Points<'_>, e: &mut Emit<'_>) -> Rule<Corners> {
        let [along_x, along_y] = [(0, points.width), (1, points.height)].map(|(which, size)| {
            let place = points.coordinate(which, e)?;
            Ok::<_, Cause>(self.taps(&place, size, points.dtype, e))
        });
        let (along_x, along_y) = (along_x?, along_y?);
        let width = e.ints(&[int(points.width)]);
        let (mut elements, mut shares, mut slopes) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
        for y in &along_y {
            let row = e.op("Mul", &[&y.element, &width]);
            for x in &along_x {
                elements.push(e.op("Add", &[&row, &x.element]));
                shares.push(e.op("Mul", &[&y.share, &x.share]));
                slopes[0].push(e.op("Mul", &[&y.share, &x.slope]));
                slopes[1].push(e.op("Mul", &[&y.slope, &x.share]));
            }
        }
        let mut joined = |parts: &[Value]| {
            let parts: Vec<&Value> = parts.iter().collect();
            e.op_with("Concat", &parts, [("axis", 1.into())])
        };
        Ok(Corners {
            count: elements.len(),
            elements: joined(&elements),
            shares: joined(&shares),
            slopes: [joined(&slopes[0]), joined(&slopes[1])],
        })
    }

    /// What `place`, a coordinate of every point, reads of an axis of `size` elements.
    #[allow(clippy::cast_precision_loss)]
    fn taps(&self, place: &Value, size: usize, dtype: DataType, e: &mut Emit<'_>) -> Vec<Tap> {
        let size = size as f64;
        let last = size - 1.0;
        let [zero, one, half] = [0.0, 1.0, 0.5].map(|v| e.scalar(v, dtype));

        // In the order in which ONNX Runtime computes it: what is half-way between two elements must stay there.
        let from_zero = e.op("Add", &[place, &one]);
        let position = if self.align_corners {
            let (halves, last) = (e.op("Mul", &[&from_zero, &half]), e.scalar(last, dtype));
            e.op("Mul", &[&halves, &last])
        } else {
            let size = e.scalar(size, dtype);
            let edges = e.op("Mul", &[&from_zero, &size]);
            let centres = e.op("Sub", &[&edges, &one]);
            e.op("Mul", &[&centres, &half])
        };
        let slope = e.scalar(if self.align_corners { last / 2.0 } else { size / 2.0 }, dtype);
        let position = if self.nearest { rounded(&position, dtype, e) } else { position };
        let (position, slope) = self.inside(&position, slope, last, dtype, e);

        let Parts { whole, fraction } = parts(&position, dtype, e);
        let rest = e.op("Sub", &[&one, &fraction]);
        let falling = e.op("Neg", &[&slope]);
        let mut taps = vec![(whole.clone(), rest, falling)];
        if !self.nearest {
            taps.push((e.op("Add", &[&whole, &one]), fraction, slope));
        }
        let end = e.scalar(last, dtype);
        taps.into_iter()
            .map(|(element, mut share, mut slope)| {
                if self.padding == Padding::Zeros {
                    // Half an element before the first and behind the last: a whole number lies between or it does not.
                    let (low, high) = (e.op("Add", &[&element, &half]), e.scalar(last + 0.5, dtype));
                    let high = e.op("Sub", &[&high, &element]);
                    let between = e.op("Mul", &[&low, &high]);
                    let mask = positive(&between, dtype, e);
                    share = e.op("Mul", &[&share, &mask]);
                    slope = e.op("Mul", &[&slope, &mask]);
                }
                let element = e.op("Clip", &[&element, &zero, &end]);
                Tap { element: e.cast(&element, dtype, DataType::Int64), share, slope }
            })
            .collect()
    }

    /// `position`, brought back into the image as far as the padding says, and its slope by the grid's coordinate.
    fn inside(&self, position: &Value, slope: Value, last: f64, dtype: DataType, e: &mut Emit<'_>) -> (Value, Value) {
        let (mut position, mut slope) = (position.clone(), slope);
        let (low, span) = if self.align_corners { (0.0, last) } else { (-0.5, last + 1.0) };
        if self.padding == Padding::Reflection && span > 0.0 {
            // There and back in twice the span: `low + span - | |p - low| mod 2 span - span |`.
            let [low, span, period] = [low, span, 2.0 * span].map(|v| e.scalar(v, dtype));
            let from_low = e.op("Sub", &[&position, &low]);
            let distance = e.op("Abs", &[&from_low]);
            let way = e.op_with("Mod", &[&distance, &period], [("fmod", 1.into())]);
            let from_turn = e.op("Sub", &[&way, &span]);
            let back = e.op("Abs", &[&from_turn]);
            let high = e.op("Add", &[&low, &span]);
            position = e.op("Sub", &[&high, &back]);
            let [first, second] = [&from_low, &from_turn].map(|v| sign(v, dtype, e));
            let direction = e.op("Mul", &[&first, &second]);
            let direction = e.op("Neg", &[&direction]);
            slope = e.op("Mul", &[&slope, &direction]);
        }
        if self.padding != Padding::Zeros {
            let (zero, last) = (e.scalar(0.0, dtype), e.scalar(last, dtype));
            position = e.op("Clip", &[&position, &zero, &last]);
            let rest = e.op("Sub", &[&last, &position]);
            let between = e.op("Mul", &[&position, &rest]);
            let mask = positive(&between, dtype, e);
            slope = e.op("Mul", &[&slope, &mask]);
        }
        (position, slope)
    }
}

/// A number as a whole one and the rest, from 0 to below 1.
struct Parts {
    whole: Value,
    fraction: Value,
}

/// Of `x`, without `Floor`, whose derivative of zero would hide that the rest grows with `x`.
fn parts(x: &Value, dtype: DataType, e: &mut Emit<'_>) -> Parts {
    let (zero, one) = (e.scalar(0.0, dtype), e.scalar(1.0, dtype));
    let remainder = e.op_with("Mod", &[x, &one], [("fmod", 1.into())]);
    let negative = e.op("Less", &[&remainder, &zero]);
    let below = e.cast(&negative, DataType::Bool, dtype);
    let towards_zero = e.op("Sub", &[x, &remainder]);
    Parts { whole: e.op("Sub", &[&towards_zero, &below]), fraction: e.op("Add", &[&remainder, &below]) }
}

/// `x` rounded, half to even.
fn rounded(x: &Value, dtype: DataType, e: &mut Emit<'_>) -> Value {
    let [zero, half, two] = [0.0, 0.5, 2.0].map(|v| e.scalar(v, dtype));
    let Parts { whole, fraction } = parts(x, dtype, e);
    let parity = e.op_with("Mod", &[&whole, &two], [("fmod", 1.into())]);
    let even = e.op("Equal", &[&parity, &zero]);
    let odd = e.op("Not", &[&even]);
    let (beyond, half_way) = (e.op("Greater", &[&fraction, &half]), e.op("Equal", &[&fraction, &half]));
    let to_even = e.op("And", &[&half_way, &odd]);
    let up = e.op("Or", &[&beyond, &to_even]);
    let up = e.cast(&up, DataType::Bool, dtype);
    e.op("Add", &[&whole, &up])
}

/// One element along one axis that every point reads, each `[n, 1, points]`.
struct Tap {
    /// Its position, i64.
    element: Value,
    /// The factor that it is read with.
    share: Value,
    /// Derivative of the share by the grid's coordinate.
    slope: Value,
}

/// The elements that every point reads, each `[n, corners, points]`.
struct Corners {
    count: usize,
    /// Their positions in the image, row by row, i64.
    elements: Value,
    shares: Value,
    /// Derivatives of the shares by both coordinates.
    slopes: [Value; 2],
}

impl Corners {
    /// The derivative by the image: every share of a cotangent, where it was read.
    fn to_image(&self, points: &Points<'_>, w: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let elements = self.in_each_channel(points, e)?;
        let w = points.flat(w, e)?;
        let shares = e.reshape(&self.shares, &points.dims(1, self.count))?;
        let parts = e.op("Mul", &[&w, &shares]);
        let parts = e.reshape(&parts, &points.joined(points.channels, self.count))?;
        let zeros = zeros_like(points.image, e)?;
        let zeros = e.reshape(&zeros, &points.elements())?;
        let sums = e.op_with(
            "ScatterElements",
            &[&zeros, &elements, &parts],
            [("axis", 2.into()), ("reduction", "add".into())],
        );
        let dims = e.dims(points.image)?;
        e.reshape(&sums, dims)
    }

    /// The derivative by the grid: the cotangent times what was read, times the slopes of the shares.
    fn to_grid(&self, points: &Points<'_>, w: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let elements = self.in_each_channel(points, e)?;
        let image = e.reshape(points.image, &points.elements())?;
        let read = e.op_with("GatherElements", &[&image, &elements], [("axis", 2.into())]);
        let read = e.reshape(&read, &points.dims(points.channels, self.count))?;
        let w = points.flat(w, e)?;
        let terms = e.op("Mul", &[&read, &w]);
        let one = e.ints(&[1]);
        let terms = e.op_with("ReduceSum", &[&terms, &one], [("keepdims", 0.into())]);
        let mut coordinates = Vec::new();
        for slopes in &self.slopes {
            let product = e.op("Mul", &[&terms, slopes]);
            let sum = e.op_with("ReduceSum", &[&product, &one], [("keepdims", 0.into())]);
            let mut dims = e.dims(points.grid)?.to_vec();
            dims[3] = Dim::Fixed(1);
            coordinates.push(e.reshape(&sum, &dims)?);
        }
        Ok(e.op_with("Concat", &[&coordinates[0], &coordinates[1]], [("axis", 3.into())]))
    }

    /// The positions, repeated for every channel: `[n, channels, corners · points]`.
    fn in_each_channel(&self, points: &Points<'_>, e: &mut Emit<'_>) -> Rule<Value> {
        let once = e.reshape(&self.elements, &points.joined(1, self.count))?;
        let channels = e.ints(&[1, int(points.channels), 1]);
        Ok(e.op("Expand", &[&once, &channels]))
    }
}

/// The image, the grid and their sizes.
struct Points<'n> {
    image: &'n Value,
    grid: &'n Value,
    batch: Dim,
    channels: usize,
    height: usize,
    width: usize,
    /// Number of points.
    count: usize,
    dtype: DataType,
}

impl<'n> Points<'n> {
    fn of(node: &'n Node, e: &Emit<'_>) -> Rule<Self> {
        let (image, grid) = (node.required(0)?, node.required(1)?);
        let (&[channels, height, width], &[rows, columns, 2]) = (&*e.fixed(image, 1)?, &*e.fixed(grid, 1)?) else {
            return Err(Cause::Unsupported(
                "other than images [batch, channels, height, width] at places [batch, rows, columns, 2]".into(),
            ));
        };
        let dtype = e.dtype(grid)?;
        if dtype != e.dtype(image)? || dtype != e.dtype(output(node)?)? {
            return Err(Cause::Unsupported("an image and a grid of different types".into()));
        }
        let batch = e.dims(image)?[0];
        Ok(Self { image, grid, batch, channels, height, width, count: rows * columns, dtype })
    }

    /// One coordinate of every point: `[n, 1, points]`.
    fn coordinate(&self, which: i64, e: &mut Emit<'_>) -> Rule<Value> {
        let index = e.ints(&[which]);
        let coordinate = e.op_with("Gather", &[self.grid, &index], [("axis", 3.into())]);
        e.reshape(&coordinate, &self.joined(1, 1))
    }

    /// `value`, of the output's shape, as `[n, channels, 1, points]`.
    fn flat(&self, value: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        e.reshape(value, &self.dims(self.channels, 1))
    }

    /// `[n, channels, corners, points]`.
    fn dims(&self, channels: usize, corners: usize) -> [Dim; 4] {
        [self.batch, Dim::Fixed(channels), Dim::Fixed(corners), Dim::Fixed(self.count)]
    }

    /// `[n, channels, corners · points]`.
    fn joined(&self, channels: usize, corners: usize) -> [Dim; 3] {
        [self.batch, Dim::Fixed(channels), Dim::Fixed(corners * self.count)]
    }

    /// The image with one axis for its elements.
    fn elements(&self) -> [Dim; 3] {
        [self.batch, Dim::Fixed(self.channels), Dim::Fixed(self.height * self.width)]
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn refuses_bicubic_sampling() {
        let text = vjp_text("GridSample", "x[n,1,3,3] g[n,2,2,2] -> y[n,1,2,2]", &[("mode", "bicubic".into())]);
        assert_snapshot!(text, @r#"vjp: node "node" (GridSample): unsupported: mode bicubic; bilinear and nearest are supported"#);
    }

    #[test]
    fn refuses_volumes() {
        let text = vjp_text("GridSample", "x[n,1,3,3,3] g[n,2,2,2,3] -> y[n,1,2,2,2]", &[]);
        assert_snapshot!(text, @r#"vjp: node "node" (GridSample): unsupported: other than images [batch, channels, height, width] at places [batch, rows, columns, 2]"#);
    }
}
