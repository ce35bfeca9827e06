//! Taking bundles apart, in memory. The disk is the runtime's.

use super::{
    Bundle, BundleManifest, BundleType, COMPONENTS_MAX, FILES_MAX, MANIFEST_NAME, check_profile, malformed, verified,
};
use crate::base::{Error, Refusal, Result};
use crate::formats::tim::{self, Limits, Tim};
use std::collections::BTreeSet;
use std::fmt;

/// Whether a profile may come as plain JSON, which anybody could have written who reaches the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainProfile {
    /// Only sealed ones: for bundles from files and from anybody whose channel is not proven.
    Refused,
    /// Also plain ones: the channel itself is sealed and its other end may deploy.
    Accepted,
}

/// A miner taken out of its bundle.
#[derive(Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Its files, by path.
    pub files: Vec<UnpackedFile>,
    /// The path of the one that is run; it is executable.
    pub main: String,
    /// The profile that came along.
    pub profile: Option<Vec<u8>>,
}

/// A file of an [`Unpacked`] miner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackedFile {
    /// Plain components, joined by `/`.
    pub path: String,
    /// Whether it may be executed.
    pub executable: bool,
    /// Its content.
    pub data: Vec<u8>,
}

impl fmt::Debug for Unpacked {
    /// Without the profile, which may hold a wallet, and without content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unpacked({} files, main {:?}, profile: {})", self.files.len(), self.main, self.profile.is_some())
    }
}

/// The profile of a bundle: the JSON as it was put in.
///
/// # Errors
/// [`Error::Malformed`]: a wrong checksum, another type, plain JSON where that is refused, no STIM container, a wrong
/// password, no profile inside, no JSON; [`Error::Config`] for an empty password.
pub fn extract_profile_bundle(bundle: &Bundle, password: &str, plain: PlainProfile) -> Result<Vec<u8>> {
    if bundle.kind != BundleType::Profile {
        return Err(malformed("it holds no profile by itself"));
    }
    verified(bundle)?;
    if bundle.is_plain() {
        if plain == PlainProfile::Refused {
            return Err(malformed("the profile is not sealed, which is not accepted here"));
        }
        check_profile(&bundle.data)?;
        return Ok(bundle.data.clone());
    }
    let mut container = bundle.data.clone();
    let tim = tim::open(password, &mut container, limits())?;
    profile_of(&tim)?.ok_or_else(|| malformed("there is no profile in it"))
}

/// The files and the profile of a miner's bundle. The bundle's own bytes are used up, so that no third copy is needed.
///
/// # Errors
/// As [`extract_profile_bundle`], and when the tree in it is refused ([`tim::tar::read`]), is empty, has no main file
/// that is known, or exceeds a limit ([`Refusal::Limit`]).
pub fn extract_miner_bundle(bundle: Bundle, password: &str) -> Result<Unpacked> {
    if !matches!(bundle.kind, BundleType::Miner | BundleType::Full) {
        return Err(malformed("it holds no miner"));
    }
    verified(&bundle)?;
    let Bundle { name, mut data, .. } = bundle;
    unpack(tim::open(password, &mut data, limits())?, &name)
}

/// The miner in an archive, for a bundle of that name.
///
/// # Errors
/// As [`extract_miner_bundle`].
pub fn unpack(mut tim: Tim<'_>, name: &str) -> Result<Unpacked> {
    let profile = profile_of(&tim)?;
    let manifest = tim.root.remove(MANIFEST_NAME).map(|file| BundleManifest::decode(&file.data)).transpose()?;
    if tim.root.len() > FILES_MAX {
        return Err(Refusal::Limit(format!("bundle: more than {FILES_MAX} files")).into());
    }
    let names: Vec<&str> = tim.root.files().map(|(name, _)| name).collect();
    let main = main_of(&names, name, manifest.as_ref().map(|m| m.main.as_str()))?;
    let mut folders = BTreeSet::new();
    for name in &names {
        if name.split('/').count() > COMPONENTS_MAX {
            return Err(Refusal::Limit(format!("bundle: {name:?} has more than {COMPONENTS_MAX} components")).into());
        }
        folders.extend(name.match_indices('/').filter_map(|(at, _)| name.get(..at)));
        if folders.len() > FILES_MAX {
            return Err(Refusal::Limit(format!("bundle: more than {FILES_MAX} folders")).into());
        }
    }
    drop(folders);
    let files = tim.root.into_files().map(|(path, file)| UnpackedFile {
        executable: file.executable || path == main,
        data: file.data.into_owned(),
        path,
    });
    Ok(Unpacked { files: files.collect(), main, profile })
}

/// The folders, PAX headers and the manifest count as entries too.
fn limits() -> Limits {
    Limits { entries_max: 4 * FILES_MAX, ..Limits::default() }
}

fn profile_of(tim: &Tim<'_>) -> Result<Option<Vec<u8>>> {
    let Some(profile) = tim.own_config() else { return Ok(None) };
    check_profile(profile)?;
    Ok(Some(profile.to_vec()))
}

/// Which of these files is run: the only one; else the one at the top named like the bundle; else the one that the
/// manifest names.
pub(super) fn main_of(names: &[&str], bundle_name: &str, by_manifest: Option<&str>) -> Result<String> {
    let there = |name: &&str| names.contains(name);
    let main = match names {
        [] => return Err(malformed("there are no files in it")),
        [only] => Some(*only),
        _ => Some(bundle_name).filter(there).or(by_manifest.filter(there)),
    };
    let listed = || {
        let more = if names.len() > 8 { ", …" } else { "" };
        format!("{}{more}", names.iter().take(8).copied().collect::<Vec<_>>().join(", "))
    };
    main.map(str::to_owned).ok_or_else(|| {
        let detail = format!("nothing says which of its {} files is run: {}", names.len(), listed());
        Error::malformed("bundle", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{
        MinerFile, create_full_bundle, create_miner_bundle, create_profile_bundle, create_profile_bundle_unencrypted,
    };
    use super::*;
    use crate::base::Rng;
    use crate::formats::tim::{DEFAULT_CONFIG, DataNode};

    fn rng() -> Rng {
        Rng::from_number(1)
    }

    fn file(path: &str) -> MinerFile<'_> {
        MinerFile { path, executable: false, data: path.as_bytes() }
    }

    fn miner(paths: &[&str], main: Option<&str>, name: &str) -> Result<Unpacked> {
        let files: Vec<_> = paths.iter().map(|path| file(path)).collect();
        extract_miner_bundle(create_miner_bundle(&files, main, None, name, "pw", &mut rng())?, "pw")
    }

    #[test]
    fn a_profile_comes_back_as_it_was_put_in() {
        let json = b" {\"id\":\"p\",\"pass\":\"x<y\"}";
        let bundle = create_profile_bundle(json, "Any name/é", "pw", &mut rng()).unwrap();
        assert_eq!(extract_profile_bundle(&bundle, "pw", PlainProfile::Refused).unwrap(), json);
        for (change, word) in [
            (Bundle { checksum: bundle.checksum.to_uppercase(), ..bundle.clone() }, "checksum"),
            (Bundle { kind: BundleType::Miner, ..bundle.clone() }, "no profile"),
        ] {
            let error = extract_profile_bundle(&change, "pw", PlainProfile::Accepted).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(extract_profile_bundle(&bundle, "other", PlainProfile::Accepted).is_err());
        assert!(extract_profile_bundle(&bundle, "", PlainProfile::Accepted).is_err());
    }

    #[test]
    fn plain_json_is_taken_only_where_it_is_allowed() {
        let bundle = create_profile_bundle_unencrypted(b"{\"id\":\"p\"}", "p").unwrap();
        assert_eq!(extract_profile_bundle(&bundle, "", PlainProfile::Accepted).unwrap(), b"{\"id\":\"p\"}");
        assert!(extract_profile_bundle(&bundle, "", PlainProfile::Refused).is_err());
        for bad in [&b""[..], b" {}", b"\"text\"", b"{", b"{}x", b"[\xff]"] {
            assert!(create_profile_bundle_unencrypted(bad, "p").is_err());
        }
        let lying = Bundle::new(BundleType::Profile, "p", b"{not json".to_vec()).unwrap();
        assert!(extract_profile_bundle(&lying, "", PlainProfile::Accepted).is_err());
    }

    #[test]
    fn a_bundle_without_a_profile_gives_none() {
        for config in [&b""[..], DEFAULT_CONFIG] {
            let tim = Tim { config: config.into(), root: DataNode::new() };
            let sealed = tim::seal("pw", &tim, &mut rng()).unwrap();
            let profile = Bundle::new(BundleType::Profile, "p", sealed).unwrap();
            assert!(extract_profile_bundle(&profile, "pw", PlainProfile::Accepted).is_err());
            let mut root = DataNode::new();
            root.add("x", &b"1"[..]).unwrap();
            assert_eq!(unpack(Tim { config: config.into(), root }, "x").unwrap().profile, None);
        }
        assert_eq!(miner(&["x"], None, "m").unwrap().profile, None);
    }

    #[test]
    fn the_main_file_is_the_only_one_or_named_like_the_bundle_or_by_the_manifest() {
        assert_eq!(miner(&["bin/x"], None, "m").unwrap().main, "bin/x");
        assert_eq!(miner(&["a", "m", "z"], None, "m").unwrap().main, "m");
        let named = miner(&["a", "bin/z"], Some("bin/z"), "m").unwrap();
        assert_eq!((named.main.as_str(), named.files.len()), ("bin/z", 2));
        let executable: Vec<_> = named.files.iter().map(|f| f.executable).collect();
        assert_eq!(executable, [false, true]);
        let error = miner(&["a", "b"], None, "m").unwrap_err().to_string();
        assert!(error.contains("2 files") && error.contains("a, b"), "{error}");
        assert!(miner(&["a", "m"], Some("a"), "m").is_err(), "the bundle's name would win");
        assert!(miner(&["a", "b"], Some("c"), "m").is_err());
        assert!(miner(&[], None, "m").unwrap_err().to_string().contains("no files"));
    }

    #[test]
    fn what_cannot_be_extracted_is_not_made() {
        let many: Vec<String> = (0..257).map(|i| format!("f{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(miner(&many, Some("f0"), "m").unwrap_err().kind(), "rejected");
        let deep = "d/".repeat(16) + "x";
        for bad in [&["a", "a"][..], &["A", "a"], &["a", "a/b"], &["../a"], &["/a"], &[MANIFEST_NAME], &[&deep]] {
            assert!(miner(bad, Some(bad[0]), "m").is_err(), "{bad:?}");
        }
        assert!(create_full_bundle(&[file("x")], None, b"{", "m", "pw", &mut rng()).is_err());
        assert!(create_full_bundle(&[file("x")], None, b"{}", "../m", "pw", &mut rng()).is_err());
        assert!(create_full_bundle(&[file("x")], None, b"{}", "m", "", &mut rng()).is_err());
    }

    #[test]
    fn an_archive_of_others_is_bounded_too() {
        let tree = |names: &mut dyn Iterator<Item = String>| {
            let mut root = DataNode::new();
            names.for_each(|name| root.add(&name, &b"1"[..]).unwrap());
            unpack(Tim { config: b"".as_slice().into(), root }, "f0").map(|u| u.main).map_err(|e| e.to_string())
        };
        assert!(tree(&mut (0..257).map(|i| format!("f{i}"))).unwrap_err().contains("more than 256 files"));
        assert!(tree(&mut ["f0".to_owned(), "d/".repeat(20) + "x"].into_iter()).unwrap_err().contains("components"));
        let folders = (0..20).map(|i| format!("{i}/{}x", "d/".repeat(14)));
        assert!(tree(&mut folders.chain(["f0".to_owned()])).unwrap_err().contains("more than 256 folders"));
        assert_eq!(tree(&mut ["a".to_owned(), "f0".to_owned()].into_iter()).unwrap(), "f0");
    }
}
