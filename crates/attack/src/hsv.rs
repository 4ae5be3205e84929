//! Hue, saturation and value of colours (Smith, 1978).

/// Hue in `[0, 1)`, saturation and value of a colour in `[0, 1]`; a shade of grey has hue and saturation 0.
pub(crate) fn from_rgb([red, green, blue]: [f32; 3]) -> [f32; 3] {
    let value = red.max(green).max(blue);
    let chroma = value - red.min(green).min(blue);
    if chroma <= 0.0 {
        return [0.0, 0.0, value];
    }
    let sector = if value == red {
        (green - blue) / chroma
    } else if value == green {
        2.0 + (blue - red) / chroma
    } else {
        4.0 + (red - green) / chroma
    };
    [(sector / 6.0).rem_euclid(1.0), chroma / value, value]
}

/// The colour of a hue, which is cyclic, a saturation and a value.
pub(crate) fn to_rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    [5.0, 3.0, 1.0].map(|n| {
        let k = (n + 6.0 * hue).rem_euclid(6.0);
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours() {
        for (rgb, hsv) in [
            ([1.0, 0.0, 0.0], [0.0, 1.0, 1.0]),
            ([0.0, 1.0, 0.0], [1.0 / 3.0, 1.0, 1.0]),
            ([0.0, 0.0, 1.0], [2.0 / 3.0, 1.0, 1.0]),
            ([1.0, 1.0, 0.0], [1.0 / 6.0, 1.0, 1.0]),
            ([0.5, 0.5, 0.5], [0.0, 0.0, 0.5]),
            ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
            ([0.75, 0.25, 0.5], [11.0 / 12.0, 2.0 / 3.0, 0.75]),
        ] {
            let close = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(close(from_rgb(rgb), hsv), "{rgb:?}: {:?}", from_rgb(rgb));
            assert!(close(to_rgb(hsv), rgb), "{hsv:?}: {:?}", to_rgb(hsv));
        }
    }

    #[test]
    fn every_colour_returns() {
        for i in 0..1000 {
            let rgb = [i % 10, i / 10 % 10, i / 100].map(|v| v as f32 / 9.0);
            let back = to_rgb(from_rgb(rgb));
            assert!(back.iter().zip(rgb).all(|(a, b)| (a - b).abs() < 1e-6), "{rgb:?} {back:?}");
        }
    }
}
