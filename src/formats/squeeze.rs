//! gzip and zstd with a bound on what comes out (trix.md §3, smsg.md §4), both in pure Rust.
//!
//! What is written is what a Go node writes, up to the choices of the compressor: gzip without name and
//! time, "unknown" as its system; zstd as one frame with a checksum. What is read is every valid file:
//! members and frames one after the other are joined, checksums and lengths are verified, and anything
//! behind the last one is an error.

use crate::base::{Error, Refusal, Result};
use flate2::bufread::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::{Read as _, Write as _};

/// The largest window of a zstd frame that is read, bytes. Go's encoder takes 8 MiB, the C library up to
/// 8 MiB except at its "ultra" levels.
pub const ZSTD_WINDOW_BYTES_MAX: u64 = 32 << 20;

/// How much of a zstd frame is decoded between two looks at the bound, bytes.
const ZSTD_STEP: usize = 256 << 10;

/// What a gzip header says of the system that wrote it: nothing.
const GZIP_SYSTEM_UNKNOWN: u8 = 255;

/// One gzip member at the usual level.
///
/// # Errors
/// None in practice: memory is the only thing written to.
pub fn gzip(data: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().operating_system(GZIP_SYSTEM_UNKNOWN).write(Vec::new(), Compression::default());
    let written = encoder.write_all(data).and_then(|()| encoder.finish());
    written.map_err(|e| Error::Failed(format!("gzip compression failed: {e}")))
}

/// Reads gzip members one after the other, as long as they give no more than `bytes_max` bytes.
///
/// # Errors
/// [`Error::Malformed`]: no gzip (empty input too), cut short, a wrong checksum or length, anything behind
/// the last member. [`Refusal::Limit`]: more than `bytes_max`.
pub fn gunzip(data: &[u8], bytes_max: usize) -> Result<Vec<u8>> {
    let failed = |e: &dyn std::fmt::Display| Error::malformed("gzip", format!("gzip decompression failed: {e}"));
    if data.is_empty() {
        return Err(failed(&"unexpected end"));
    }
    let mut out = Vec::new();
    let one_more = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(data).take(one_more).read_to_end(&mut out).map_err(|e| failed(&e))?;
    if out.len() > bytes_max { Err(too_much(bytes_max)) } else { Ok(out) }
}

fn too_much(bytes_max: usize) -> Error {
    Error::Rejected(Refusal::Limit(format!("the content inflates to more than {bytes_max} bytes")))
}

/// One zstd frame with a checksum.
///
/// The crate's encoder is young, so what it wrote is read back; should that ever give anything else than
/// `data`, the frame is written with uncompressed blocks instead.
pub fn zstd(data: &[u8]) -> Vec<u8> {
    let frame = compress_to_vec(data, CompressionLevel::Fastest);
    match unzstd(&frame, data.len()) {
        Ok(again) if again == data => frame,
        _ => compress_to_vec(data, CompressionLevel::Uncompressed),
    }
}

/// Reads zstd frames one after the other, as long as they give no more than `bytes_max` bytes; frames
/// that are to be skipped are. Empty input gives empty output, as in Go.
///
/// # Errors
/// [`Error::Malformed`]: no zstd, cut short, a wrong checksum or content size, a dictionary.
/// [`Refusal::Limit`]: more than `bytes_max`, or a window above [`ZSTD_WINDOW_BYTES_MAX`].
pub fn unzstd(data: &[u8], bytes_max: usize) -> Result<Vec<u8>> {
    let (mut rest, mut out) = (data, Vec::new());
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
    while !rest.is_empty() {
        match decoder.reset(&mut rest) {
            Ok(()) => unzstd_frame(&mut decoder, &mut rest, &mut out, bytes_max)?,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                rest = rest.get(length..).ok_or_else(|| zstd_failed(&"a frame to be skipped is cut short"))?;
            }
            Err(FrameDecoderError::WindowSizeTooBig { requested, max }) => {
                let why = format!("a zstd window of {requested} bytes, more than {max}");
                return Err(Error::Rejected(Refusal::Limit(why)));
            }
            Err(e) => return Err(zstd_failed(&e)),
        }
    }
    Ok(out)
}

fn zstd_failed(e: &dyn std::fmt::Display) -> Error {
    Error::malformed("zstd", format!("zstd decompression failed: {e}"))
}

fn unzstd_frame(decoder: &mut FrameDecoder, rest: &mut &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<()> {
    let start = out.len();
    let stated = decoder.content_size();
    while !decoder.is_finished() {
        decoder.decode_blocks(&mut *rest, BlockDecodingStrategy::UptoBytes(ZSTD_STEP)).map_err(|e| zstd_failed(&e))?;
        // A block is at most 128 KiB, so no more than a step and a window lies in the decoder.
        if decoder.can_collect() > bytes_max.saturating_sub(out.len()) {
            return Err(too_much(bytes_max));
        }
        decoder.collect_to_writer(&mut *out).map_err(|e| zstd_failed(&e))?;
    }
    if decoder.can_collect() > bytes_max.saturating_sub(out.len()) {
        return Err(too_much(bytes_max));
    }
    decoder.collect_to_writer(&mut *out).map_err(|e| zstd_failed(&e))?;
    let got = u64::try_from(out.len() - start).unwrap_or(u64::MAX);
    if stated != 0 && stated != got {
        return Err(zstd_failed(&format_args!("{got} bytes instead of {stated}")));
    }
    let checksum = decoder.get_checksum_from_data();
    if checksum.is_some() && checksum != decoder.get_calculated_checksum() {
        return Err(zstd_failed(&"invalid checksum"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    /// Texts that compress, bytes that do not, and mixtures, up to three blocks long.
    fn samples() -> Vec<Vec<u8>> {
        let mut rng = Rng::from_number(9);
        let mut found = vec![Vec::new(), vec![0], vec![7; 300_000]];
        for length in [1, 10, 100, 1000, 131_072, 131_073, 300_001] {
            let mut noise = vec![0; length];
            rng.fill(&mut noise);
            let text = noise.iter().map(|b| b"abcdefgh hash rate "[usize::from(b % 19)]).collect();
            let runs = noise.iter().enumerate().map(|(i, b)| if i / 97 % 3 == 0 { *b } else { 5 }).collect();
            found.extend([noise, text, runs]);
        }
        found
    }

    #[test]
    fn what_is_squeezed_comes_back_up_to_the_bound() {
        for data in samples() {
            let (gz, zs) = (gzip(&data).unwrap(), zstd(&data));
            assert!(zs.len() < data.len() + data.len() / 1000 + 64);
            assert!(gunzip(&gz, data.len()).unwrap() == data);
            assert!(unzstd(&zs, data.len()).unwrap() == data);
            if let Some(less) = data.len().checked_sub(1) {
                for error in [gunzip(&gz, less).unwrap_err(), unzstd(&zs, less).unwrap_err()] {
                    assert!(matches!(error, Error::Rejected(Refusal::Limit(_))), "{error}");
                }
            }
            // One after the other they are joined; cut or followed by something else they are refused.
            assert!(gunzip(&[&gz[..], &gz].concat(), 2 * data.len()).unwrap() == [&data[..], &data].concat());
            assert!(unzstd(&[&zs[..], &zs].concat(), 2 * data.len()).unwrap() == [&data[..], &data].concat());
            for cut in [1, gz.len() / 2, gz.len() - 1] {
                assert!(gunzip(&gz[..cut], 1 << 20).is_err(), "{cut}");
            }
            for cut in [1, zs.len() / 2, zs.len() - 1] {
                assert!(unzstd(&zs[..cut], 1 << 20).is_err(), "{cut}");
            }
            assert!(gunzip(&[&gz[..], b"x"].concat(), 1 << 20).is_err());
            assert!(unzstd(&[&zs[..], b"x"].concat(), 1 << 20).is_err());
        }
    }

    #[test]
    fn checksums_are_verified() {
        let (mut gz, mut zs) = (gzip(b"hello hello").unwrap(), zstd(b"hello hello"));
        let at = gz.len() - 6;
        gz[at] ^= 1;
        *zs.last_mut().unwrap() ^= 1;
        assert!(gunzip(&gz, 99).is_err());
        assert!(unzstd(&zs, 99).unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_bound() {
        let zeros = vec![0; 16 << 20];
        for limit in [0, 1000, 1 << 20] {
            assert!(gunzip(&gzip(&zeros).unwrap(), limit).is_err());
            assert!(unzstd(&zstd(&zeros), limit).is_err());
        }
    }

    #[test]
    fn a_huge_window_and_frames_to_skip_are_known() {
        // A window of 64 MiB, stated in the one byte behind the descriptor.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x80, 0x01, 0x00, 0x00];
        assert!(matches!(unzstd(&frame, 99).unwrap_err(), Error::Rejected(Refusal::Limit(_))));
        let skip = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert_eq!(unzstd(&[&skip[..], &zstd(b"x"), &skip].concat(), 9).unwrap(), b"x");
        assert!(unzstd(&skip[..10], 9).is_err());
        assert_eq!(unzstd(b"", 9).unwrap(), b"");
    }
}
