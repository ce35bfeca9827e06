//! Laws of archives and bundles.

use rigmesh::base::Rng;
use rigmesh::bundle::{
    Bundle, BundleType, PlainProfile, extract_miner_bundle, extract_profile_bundle, read_bundle, stream_bundle,
};
use rigmesh::formats::tim::{self, DataNode, Limits, Tim, names};

/// Password of the sealed bundles in the corpus.
pub(super) const BUNDLE_PASSWORD: &str = "fq7f2ZzEMmF+6qsjoQxEsNRTCV4aCKKNWKCZ8SC8T9o=";

/// An archive with one file, made by another implementation.
pub(super) fn one_file(name: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, &b"1"[..]).unwrap();
    builder.into_inner().unwrap()
}

/// What is read is within the limits, has proper names only, and is written and read again as itself.
pub(super) fn archive(bytes: &[u8]) -> bool {
    let accepted = one_archive(bytes);
    one_archive(&mended(bytes)) || accepted
}

/// The archive with right checksums, which changes rarely leave.
fn mended(archive: &[u8]) -> Vec<u8> {
    let mut mended = archive.to_vec();
    mended.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar").for_each(|block| {
        block[148..156].fill(b' ');
        let sum = format!("{:06o}\0 ", block.iter().map(|b| u32::from(*b)).sum::<u32>());
        block[148..156].copy_from_slice(sum.as_bytes());
    });
    mended
}

fn one_archive(bytes: &[u8]) -> bool {
    let small = Limits { entries_max: 4, names_bytes_max: 64, file_bytes_max: 700, total_bytes_max: 1000 };
    if let Ok(root) = DataNode::from_tar(bytes, small) {
        assert!(root.len() <= 4 && root.files().all(|(_, file)| file.data.len() <= 700));
        assert!(root.files().map(|(_, file)| file.data.len()).sum::<usize>() <= 1000);
    }
    if let Ok(tim) = Tim::from_tar(bytes, Limits::default()) {
        let written = tim.to_tar().unwrap();
        assert_eq!(Tim::from_tar(&written, Limits::default()).unwrap(), tim);
    }
    let Ok(root) = DataNode::from_tar(bytes, Limits::default()) else { return false };
    for (name, file) in root.files() {
        assert_eq!(names::normalise(name).unwrap(), name);
        assert!(file.data.len() <= bytes.len());
    }
    let mut written = Vec::new();
    root.push_tar(&mut written).unwrap();
    assert_eq!(written.len(), root.tar_bytes());
    assert_eq!(DataNode::from_tar(&written, Limits::default()).unwrap(), root);
    true
}

/// Without the password nothing but sizes is known; what opens is sealed and opened again as itself.
pub(super) fn stim(bytes: &[u8]) -> bool {
    if let Ok(sizes) = tim::peek(bytes) {
        assert_eq!(sizes.head + sizes.config + sizes.root, bytes.len());
    }
    assert!(tim::open("another password", &mut bytes.to_vec(), Limits::default()).is_err());
    let mut copy = bytes.to_vec();
    let Ok(tim) = tim::open(BUNDLE_PASSWORD, &mut copy, Limits::default()) else { return false };
    let mut again = tim::seal("x", &tim, &mut Rng::from_number(1)).unwrap();
    assert_eq!(tim::open("x", &mut again, Limits::default()).unwrap(), tim);
    true
}

/// The bytes as the configuration (its length in front) and the tree (its checksums mended) of an authentic miner's bundle: what comes out is
/// no larger than what went in, and on the disk nothing is touched but the one folder, which is whole or absent.
pub(super) fn stim_parts(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return false };
    let Some((config, root)) = rest.split_at_checked(u16::from_le_bytes(*length).into()) else { return false };
    let sealed = tim::seal_tar(BUNDLE_PASSWORD, config, &mended(root), [[1; 24], [2; 24]]).unwrap();
    let bundle = Bundle::new(BundleType::Miner, "m", sealed).unwrap();
    let unpacked = extract_miner_bundle(bundle.clone(), BUNDLE_PASSWORD);
    if let Ok(unpacked) = &unpacked {
        assert!(unpacked.files.iter().map(|f| f.data.len()).sum::<usize>() <= root.len());
        assert!(unpacked.files.iter().any(|f| f.path == unpacked.main && f.executable));
        assert_ne!(unpacked.profile.as_deref(), Some(tim::DEFAULT_CONFIG));
    }
    // The disk is slow, so a sixteenth of what is tried.
    if bytes.iter().fold(0u8, |sum, b| sum.wrapping_mul(31).wrapping_add(*b)) % 16 == 0 {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("parent/dest");
        std::fs::create_dir(dir.path().join("parent")).unwrap();
        let extracted = rigmesh::extract_miner_bundle_to(bundle, BUNDLE_PASSWORD, &dest);
        assert_eq!(dest.exists(), extracted.is_ok());
        for folder in [dir.path(), &dir.path().join("parent")] {
            let entries = std::fs::read_dir(folder).unwrap().count();
            assert_eq!(entries, usize::from(extracted.is_ok() || folder == dir.path()));
        }
    }
    unpacked.is_ok()
}

/// A bundle that is read is streamed and read again as itself; taking it apart never panics.
pub(super) fn bundle_json(bytes: &[u8]) -> bool {
    let Ok(bundle) = read_bundle(bytes, 1 << 20) else { return false };
    assert!(bundle.data.len() <= bytes.len());
    let mut text = Vec::new();
    stream_bundle(&bundle, &mut text).unwrap();
    assert_eq!(read_bundle(&text[..], text.len()).unwrap(), bundle);
    for plain in [PlainProfile::Refused, PlainProfile::Accepted] {
        let _ = extract_profile_bundle(&bundle, BUNDLE_PASSWORD, plain);
    }
    let _ = extract_miner_bundle(bundle, BUNDLE_PASSWORD);
    true
}
