//! Varints of portable storage: the two low bits of the first byte give the width, the rest is the number.

use super::LevinError;

/// The largest number a varint can carry: 2^62 − 1.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// Appends `value` in the shortest form: 1, 2, 4 or 8 bytes.
///
/// # Errors
/// [`LevinError::VarintOverflow`] above [`VARINT_MAX`]; nothing is appended then.
pub fn encode_varint(value: u64, out: &mut Vec<u8>) -> Result<(), LevinError> {
    let (width, mark) = match value {
        0..=0x3F => (1, 0),
        0x40..=0x3FFF => (2, 1),
        0x4000..=0x3FFF_FFFF => (4, 2),
        0x4000_0000..=VARINT_MAX => (8, 3),
        _ => return Err(LevinError::VarintOverflow(value)),
    };
    out.extend((value << 2 | mark).to_le_bytes().into_iter().take(width));
    Ok(())
}

/// Reads a varint, of any width whatever its value, from the beginning of `bytes`, and says how many bytes it took.
///
/// # Errors
/// [`LevinError::Truncated`] when the bytes end inside it.
pub fn decode_varint(bytes: &[u8]) -> Result<(u64, usize), LevinError> {
    let short = LevinError::Truncated("varint");
    let Some(first) = bytes.first() else { return Err(short) };
    let width = 1usize << (first & 3);
    let taken = bytes.get(..width).ok_or(short)?;
    let mut wide = [0; 8];
    wide.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
    Ok((u64::from_le_bytes(wide) >> 2, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_comes_back_and_the_shortest_is_written() {
        for (value, width) in [(0, 1), (63, 1), (64, 2), (16_383, 2), (16_384, 4), (0x3FFF_FFFF, 4), (VARINT_MAX, 8)] {
            let mut out = Vec::new();
            encode_varint(value, &mut out).unwrap();
            assert_eq!((out.len(), decode_varint(&out)), (width, Ok((value, width))));
            assert!(decode_varint(&out[..width - 1]).is_err());
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused_and_never_truncated() {
        let mut out = Vec::new();
        assert_eq!(encode_varint(1 << 62, &mut out), Err(LevinError::VarintOverflow(1 << 62)));
        assert_eq!(encode_varint(u64::MAX, &mut out), Err(LevinError::VarintOverflow(u64::MAX)));
        assert!(out.is_empty());
    }
}
