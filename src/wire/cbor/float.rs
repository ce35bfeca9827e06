//! Floats of 16 bits, which Rust does not have yet, and the shortest form of a float.

/// A float in the shortest form that keeps its value.
pub(super) enum Shortest {
    F16(u16),
    F32(f32),
    F64(f64),
}

/// The shortest of f16, f32 and f64 that preserves the value; every NaN becomes f97e00 (dht.md §2).
pub(super) fn shortest(value: f64) -> Shortest {
    if value.is_nan() {
        return Shortest::F16(0x7e00);
    }
    // Exact or not: that is what is asked next.
    #[allow(clippy::cast_possible_truncation)]
    let single = value as f32;
    if f64::from(single).to_bits() != value.to_bits() {
        return Shortest::F64(value);
    }
    match half(single) {
        Some(half) => Shortest::F16(half),
        None => Shortest::F32(single),
    }
}

/// The f16 of exactly this value, if there is one. Not for NaN.
fn half(value: f32) -> Option<u16> {
    let bits = value.to_bits();
    let (sign, exponent, fraction) = (bits >> 16 & 0x8000, bits >> 23 & 0xff, bits & 0x007f_ffff);
    let rest = match exponent {
        0 if fraction == 0 => 0,
        0xff if fraction == 0 => 0x7c00,
        // Normal in f16: exponents -14 to 15, ten bits of fraction.
        113..=142 if fraction & 0x1fff == 0 => (exponent - 112) << 10 | fraction >> 13,
        // Subnormal in f16: the leading one becomes a bit of the fraction.
        103..=112 => {
            let (whole, shift) = (fraction | 0x0080_0000, 126 - exponent);
            if whole & ((1 << shift) - 1) != 0 {
                return None;
            }
            whole >> shift
        }
        _ => return None,
    };
    u16::try_from(sign | rest).ok()
}

/// The value of an f16.
pub(super) fn widen(half: u16) -> f64 {
    let (exponent, fraction) = (i32::from(half >> 10 & 0x1f), f64::from(half & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    };
    if half & 0x8000 != 0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_float_comes_back_as_itself() {
        for bits in 0..=u16::MAX {
            let value = widen(bits);
            match shortest(value) {
                Shortest::F16(again) if value.is_nan() => assert_eq!(again, 0x7e00),
                Shortest::F16(again) => assert_eq!(again, bits, "{value}"),
                _ => panic!("{bits:#x} became longer"),
            }
        }
    }

    #[test]
    fn what_needs_more_bits_keeps_them() {
        assert!(matches!(shortest(100_000.0), Shortest::F32(_)));
        assert!(matches!(shortest(65_504.0), Shortest::F16(0x7bff)));
        assert!(matches!(shortest(65_505.0), Shortest::F32(_)));
        assert!(matches!(shortest(1.1), Shortest::F64(_)));
        assert!(matches!(shortest(2f64.powi(-25)), Shortest::F32(_)));
        assert!(matches!(shortest(1e300), Shortest::F64(_)));
        assert!(matches!(shortest(f64::NEG_INFINITY), Shortest::F16(0xfc00)));
        assert!(matches!(shortest(-0.0), Shortest::F16(0x8000)));
    }
}
