//! STIM (tim-stim.md §3): a TIM sealed under a password.
//!
//! Both ways there is one buffer: the tar is written where it is then encrypted, and a container is opened
//! where it lies, its files being slices of it.

use super::archive::Tim;
use super::datanode::DataNode;
use super::tar::Limits;
use crate::base::{Alone, Crew, Error, Job, Result, Rng};
use crate::formats::sigil::{self, NONCE_BYTES, OVERHEAD_BYTES};
use crate::formats::smsg::LinkKey;
use crate::formats::{gojson, trix};
use serde_json::Value;

/// Magic of the container.
pub const MAGIC: &[u8; 4] = b"STIM";

/// The longest header accepted, bytes. It is parsed before anything is authenticated; honest ones have 120.
pub(super) const HEADER_BYTES_MAX: usize = 64 << 10;

/// The sizes of a container's two sealed parts, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedSizes {
    /// Prefix, header and the length in front of the parts.
    pub head: usize,
    /// The configuration, nonce and tag included.
    pub config: usize,
    /// The tar of the tree, nonce and tag included.
    pub root: usize,
}

fn malformed(detail: impl Into<String>) -> Error {
    Error::malformed("STIM", detail)
}

/// Looks at a container without a password.
///
/// # Errors
/// [`Error::Malformed`]: no container, another magic, a checksum that does not fit, parts that are not all
/// there, sizes in the header that are not the parts' own.
pub fn peek(container: &[u8]) -> Result<SealedSizes> {
    let (text, payload) = trix::split(MAGIC, container, HEADER_BYTES_MAX)?;
    let header = trix::decode_header(text)?;
    trix::verify_checksum(&header, payload)?;
    let invalid = || malformed("invalid stim payload");
    let (length, parts) = payload.split_first_chunk::<4>().ok_or_else(invalid)?;
    let config = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| invalid())?;
    let root = parts.len().checked_sub(config).ok_or_else(invalid)?;
    // The original ignores these; when they are there they must be true.
    for (key, size) in [("config_size", config), ("rootfs_size", root)] {
        let stated = header.get(key).map(Value::as_f64);
        // Sizes of parts in memory are far below 2^53, where doubles are exact.
        #[allow(clippy::cast_precision_loss)]
        if stated.is_some_and(|stated| stated != Some(size as f64)) {
            return Err(malformed(format!("{key} in the header is not the size of that part")));
        }
    }
    Ok(SealedSizes { head: container.len() - parts.len(), config, root })
}

/// Opens a container in place: what is returned lies in it. After an error its content is undefined.
///
/// # Errors
/// [`Error::Config`] for an empty password; [`Error::Malformed`] as [`peek`], for a wrong password or changed
/// bytes, and for a tree that is none; [`crate::base::Refusal::Limit`] when the tree exceeds `limits`.
pub fn open<'a>(password: &str, container: &'a mut [u8], limits: Limits) -> Result<Tim<'a>> {
    open_with(&Alone, password, container, limits)
}

/// [`open`] with a crew that helps with the obfuscation.
///
/// # Errors
/// As [`open`].
pub fn open_with<'a>(crew: &dyn Crew, password: &str, container: &'a mut [u8], limits: Limits) -> Result<Tim<'a>> {
    let key = key_of(password)?;
    let sizes = peek(container)?;
    let invalid = || malformed("invalid stim payload");
    let parts = container.get_mut(sizes.head..).ok_or_else(invalid)?;
    let (config, root) = parts.split_at_mut_checked(sizes.config).ok_or_else(invalid)?;
    let failed = |e: Error| match e {
        Error::Malformed { detail, .. } => malformed(format!("decryption failed (wrong password?): {detail}")),
        other => other,
    };
    let config: &[u8] = sigil::open_in_place_with(crew, key.as_bytes(), config).map_err(failed)?;
    let root: &[u8] = sigil::open_in_place_with(crew, key.as_bytes(), root).map_err(failed)?;
    Ok(Tim { config: config.into(), root: DataNode::from_tar(root, limits)? })
}

/// Seals a TIM.
///
/// # Errors
/// [`Error::Config`] for an empty password; as [`DataNode::push_tar`]; [`Error::Failed`] for a configuration of
/// 4 GiB.
pub fn seal(password: &str, tim: &Tim<'_>, rng: &mut Rng) -> Result<Vec<u8>> {
    seal_with(&Alone, password, tim, rng)
}

/// [`seal`] with a crew that helps with the obfuscation.
///
/// # Errors
/// As [`seal`].
pub fn seal_with(crew: &dyn Crew, password: &str, tim: &Tim<'_>, rng: &mut Rng) -> Result<Vec<u8>> {
    let tar_bytes = tim.root.tar_bytes();
    build(crew, password, &tim.config, [rng.array(), rng.array()], tar_bytes, |out| tim.root.push_tar(out))
}

/// Seals a configuration and the tar of a tree under given nonces, which must be random and never used twice: the
/// configuration's, the tar's. [`seal`] is for everybody else.
///
/// # Errors
/// As [`seal`].
pub fn seal_tar(password: &str, config: &[u8], tar: &[u8], nonces: [[u8; NONCE_BYTES]; 2]) -> Result<Vec<u8>> {
    build(&Alone, password, config, nonces, tar.len(), |out| {
        out.extend_from_slice(tar);
        Ok(())
    })
}

/// The size of a container that holds a configuration and a tar of these sizes, bytes.
pub fn sealed_bytes(config_bytes: usize, tar_bytes: usize) -> usize {
    let (config, root) = (config_bytes + OVERHEAD_BYTES, tar_bytes + OVERHEAD_BYTES);
    trix::PREFIX_BYTES + header_text(config, root).map_or(0, |text| text.len()) + 4 + config + root
}

fn key_of(password: &str) -> Result<LinkKey> {
    LinkKey::from_password(password)
}

fn header_text(config: usize, root: usize) -> Result<String> {
    gojson::to_string_html(&serde_json::json!({
        "config_size": config,
        "encryption_algorithm": "chacha20poly1305",
        "rootfs_size": root,
        "tim": true,
        "version": "1.0",
    }))
}

fn build(
    crew: &dyn Crew,
    password: &str,
    config: &[u8],
    [config_nonce, root_nonce]: [[u8; NONCE_BYTES]; 2],
    tar_bytes: usize,
    push_tar: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<Vec<u8>> {
    let key = key_of(password)?;
    let (config_sealed, root_sealed) = (config.len() + OVERHEAD_BYTES, tar_bytes + OVERHEAD_BYTES);
    let length = u32::try_from(config_sealed).map_err(|_| Error::Failed("the configuration is too long".to_owned()))?;
    let head = header_text(config_sealed, root_sealed)?;
    let head_length = u32::try_from(head.len()).unwrap_or(u32::MAX);
    let mut out = buffer(crew, sealed_bytes(config.len(), tar_bytes));
    out.extend_from_slice(MAGIC);
    out.push(trix::VERSION);
    out.extend_from_slice(&head_length.to_be_bytes());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    push_sealed(crew, &mut out, &key, config_nonce, |out| {
        out.extend_from_slice(config);
        Ok(())
    })?;
    push_sealed(crew, &mut out, &key, root_nonce, push_tar)?;
    Ok(out)
}

/// An empty buffer with room for `bytes`. The system hands out the pages of a large one at their first touch, which
/// costs as much as a copy: a crew shares that work.
fn buffer(crew: &dyn Crew, bytes: usize) -> Vec<u8> {
    const PAGE_BYTES: usize = 4096;
    if crew.hands() < 2 || bytes < sigil::SPLIT_BYTES_MIN {
        return Vec::with_capacity(bytes);
    }
    let mut out = vec![0u8; bytes];
    let touch = |piece: &mut [u8]| {
        for byte in piece.iter_mut().step_by(PAGE_BYTES) {
            *std::hint::black_box(byte) = 1;
        }
    };
    let pieces = out.chunks_mut(bytes.div_ceil(crew.hands()));
    crew.run(pieces.map(|piece| -> Job<'_> { Box::new(move || touch(piece)) }).collect());
    out.clear();
    out
}

/// Appends the sealed form of what `write` appends.
fn push_sealed(
    crew: &dyn Crew,
    out: &mut Vec<u8>,
    key: &LinkKey,
    nonce: [u8; NONCE_BYTES],
    write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    out.extend_from_slice(&nonce);
    let start = out.len();
    write(out)?;
    let tag = sigil::seal_in_place_with(crew, key.as_bytes(), &nonce, out.get_mut(start..).unwrap_or_default())?;
    out.extend_from_slice(&tag);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::DEFAULT_CONFIG;
    use super::*;

    fn sealed() -> Vec<u8> {
        let mut root = DataNode::new();
        root.add("bin/x", &b"program"[..]).unwrap();
        seal("pw", &Tim { config: DEFAULT_CONFIG.into(), root }, &mut Rng::from_number(1)).unwrap()
    }

    fn with_header(header: &str) -> Vec<u8> {
        let sealed = sealed();
        let (_, payload) = trix::split(MAGIC, &sealed, HEADER_BYTES_MAX).unwrap();
        let length = u32::try_from(header.len()).unwrap().to_be_bytes();
        [&MAGIC[..], &[2], &length, header.as_bytes(), payload].concat()
    }

    #[test]
    fn what_is_sealed_opens_again_and_has_the_size_foretold() {
        let mut sealed = sealed();
        let sizes = peek(&sealed).unwrap();
        assert_eq!(sizes.config, DEFAULT_CONFIG.len() + 40);
        assert_eq!(sealed.len(), sealed_bytes(sizes.config - 40, sizes.root - 40));
        let tim = open("pw", &mut sealed, Limits::default()).unwrap();
        assert_eq!(tim.root.file("bin/x").unwrap().data.as_ref(), b"program");
        assert_eq!(tim.own_config(), None);
        assert_eq!(open("", &mut [], Limits::default()).unwrap_err().kind(), "config");
    }

    #[test]
    fn nothing_cut_or_changed_opens() {
        let sealed = sealed();
        let header = 9..peek(&sealed).unwrap().head - 4;
        for at in (0..sealed.len()).filter(|at| !header.contains(at)) {
            assert!(open("pw", &mut sealed[..at].to_vec(), Limits::default()).is_err(), "cut at {at}");
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open("pw", &mut bad, Limits::default()).is_err(), "byte {at}");
        }
        assert!(open("other", &mut sealed.clone(), Limits::default()).is_err());
        assert!(open("pw", &mut [&sealed[..], b"x"].concat(), Limits::default()).is_err());
    }

    #[test]
    fn sizes_in_the_header_must_be_true_when_they_are_there() {
        let true_sizes = peek(&sealed()).unwrap();
        let opens = |header: String| open("pw", &mut with_header(&header), Limits::default()).is_ok();
        assert!(opens("{}".to_owned()) && opens("null".to_owned()));
        assert!(opens(format!("{{\"config_size\":{},\"rootfs_size\":{}}}", true_sizes.config, true_sizes.root)));
        for bad in ["{\"config_size\":1}", "{\"rootfs_size\":\"1064\"}", "{\"rootfs_size\":null}", "[]", ""] {
            assert!(!opens(bad.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_size_near_the_top_of_32_bits_is_only_too_large() {
        for size in [0u32, 39, 0x7fff_ffff, 0xffff_fffc, 0xffff_ffff] {
            let mut bytes = [&b"STIM\x02\0\0\0\x02{}"[..], &size.to_be_bytes(), &[0; 100]].concat();
            assert!(open("pw", &mut bytes, Limits::default()).is_err());
        }
    }
}
