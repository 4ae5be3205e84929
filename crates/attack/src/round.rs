//! Points in binary32 that stay inside a ball.

/// How far inside the ball offsets end that rounding of sums led out of it.
const SHRINK: f64 = 1.0 - 1e-10;

/// Moves every element to `x` plus what is `wanted` for it, rounded towards `x`. If the distance, in binary64, is above `eps` then, by the rounding of sums,
/// all move a little nearer.
pub(crate) fn inside(
    x: &[f32],
    point: &mut [f32],
    eps: f64,
    wanted: impl Fn(f32, f32) -> f64,
    distance: impl Fn(&[f32], &[f32]) -> f64,
) {
    for (p, &x) in point.iter_mut().zip(x) {
        *p = towards(x, wanted(x, *p));
    }
    loop {
        let reached = distance(x, point);
        if reached <= eps {
            return;
        }
        let scale = SHRINK * eps / reached;
        for (p, &x) in point.iter_mut().zip(x) {
            *p = towards(x, scale * (f64::from(*p) - f64::from(x)));
        }
    }
}

/// `x + offset`, rounded towards `x`.
fn towards(x: f32, offset: f64) -> f32 {
    let value = (f64::from(x) + offset) as f32;
    if (f64::from(value) - f64::from(x)).abs() <= offset.abs() {
        value
    } else if value > x {
        value.next_down()
    } else {
        value.next_up()
    }
}
