//! Making bundles.

use super::extract::main_of;
use super::{
    Bundle, BundleManifest, BundleType, COMPONENTS_MAX, FILES_MAX, MANIFEST_NAME, check_name, check_profile, malformed,
};
use crate::base::{Refusal, Result, Rng};
use crate::formats::gojson;
use crate::formats::tim::{self, DataNode, File, Tim};

/// A file of a miner.
#[derive(Clone, Copy, Debug)]
pub struct MinerFile<'a> {
    /// Its path in the bundle, by the rule of [`tim::names::normalise`], at most [`COMPONENTS_MAX`] components.
    pub path: &'a str,
    /// Whether it may be executed. The main file may, whatever stands here.
    pub executable: bool,
    /// Its content.
    pub data: &'a [u8],
}

/// A sealed profile.
///
/// # Errors
/// [`crate::base::Error::Malformed`]: the profile is no JSON or too large, or the name is refused;
/// [`crate::base::Error::Config`] for an empty password.
pub fn create_profile_bundle(profile_json: &[u8], name: &str, password: &str, rng: &mut Rng) -> Result<Bundle> {
    check_name(&BundleType::Profile, name)?;
    check_profile(profile_json)?;
    let tim = Tim { config: profile_json.into(), root: DataNode::new() };
    Bundle::new(BundleType::Profile, name, tim::seal(password, &tim, rng)?)
}

/// A profile in plain JSON, for channels that are sealed themselves. RigMesh nodes refuse it by default.
///
/// # Errors
/// As [`create_profile_bundle`]; also for JSON that does not begin with `{` or `[`, by which plain JSON is known.
pub fn create_profile_bundle_unencrypted(profile_json: &[u8], name: &str) -> Result<Bundle> {
    check_profile(profile_json)?;
    let bundle = Bundle::new(BundleType::Profile, name, profile_json.to_vec())?;
    if bundle.is_plain() { Ok(bundle) } else { Err(malformed("a plain profile begins with `{` or `[`")) }
}

/// A sealed miner, with a profile if there is one.
///
/// The main file is the only one; else the one named like the bundle; else `main`, which is then written down in the
/// bundle.
///
/// # Errors
/// As [`create_profile_bundle`]; [`crate::base::Error::Malformed`] for a path that is refused or comes twice, no file,
/// or no main file; [`Refusal::Limit`] for more than [`FILES_MAX`].
pub fn create_miner_bundle(
    files: &[MinerFile<'_>],
    main: Option<&str>,
    profile_json: Option<&[u8]>,
    name: &str,
    password: &str,
    rng: &mut Rng,
) -> Result<Bundle> {
    let tim = miner_tim(BundleType::Miner, files, main, profile_json, name)?;
    Bundle::new(BundleType::Miner, name, tim::seal(password, &tim, rng)?)
}

/// A sealed miner with its profile. A Go node handles it as [`create_miner_bundle`]'s.
///
/// # Errors
/// As [`create_miner_bundle`].
pub fn create_full_bundle(
    files: &[MinerFile<'_>],
    main: Option<&str>,
    profile_json: &[u8],
    name: &str,
    password: &str,
    rng: &mut Rng,
) -> Result<Bundle> {
    let tim = miner_tim(BundleType::Full, files, main, Some(profile_json), name)?;
    Bundle::new(BundleType::Full, name, tim::seal(password, &tim, rng)?)
}

/// The archive inside a miner's bundle, not sealed yet.
///
/// # Errors
/// As [`create_miner_bundle`].
pub fn miner_tim<'a>(
    kind: BundleType,
    files: &[MinerFile<'a>],
    main: Option<&str>,
    profile_json: Option<&'a [u8]>,
    name: &str,
) -> Result<Tim<'a>> {
    check_name(&kind, name)?;
    if let Some(profile) = profile_json {
        check_profile(profile)?;
    }
    if files.len() > FILES_MAX {
        return Err(Refusal::Limit(format!("bundle: more than {FILES_MAX} files")).into());
    }
    let mut root = DataNode::new();
    for file in files {
        let path = tim::names::normalise(file.path)?;
        if path.split('/').count() > COMPONENTS_MAX {
            return Err(malformed(format!("{path:?} has more than {COMPONENTS_MAX} components")));
        }
        if path == MANIFEST_NAME || root.file(path).is_some() {
            return Err(malformed(format!("the file {path:?} comes twice, or is the manifest")));
        }
        root.add_file(path, File { data: file.data.into(), executable: file.executable })?;
    }
    let main = main.map(tim::names::normalise).transpose()?;
    if let Some(main) = main.filter(|main| root.file(main).is_none()) {
        return Err(malformed(format!("the main file {main:?} is not among the files")));
    }
    let names: Vec<&str> = root.files().map(|(name, _)| name).collect();
    let (known, wanted) = (main_of(&names, name, None), main.map(str::to_owned));
    let main = match (wanted, known) {
        (None, known) => known?,
        (Some(main), Ok(known)) if main == known => main,
        // Readers go by number and name first, so the wish must not be hidden by them.
        (Some(main), Ok(known)) => {
            return Err(malformed(format!("the main file would be {known:?}, by the bundle's name, and not {main:?}")));
        }
        (Some(main), Err(_)) => {
            let manifest = BundleManifest { kind, name: name.to_owned(), main: main.clone(), ..Default::default() };
            root.add(MANIFEST_NAME, gojson::to_string_html(&manifest)?.into_bytes())?;
            main
        }
    };
    if let Some(file) = root.remove(&main) {
        root.add_file(&main, File { executable: true, ..file })?;
    }
    Ok(Tim { config: profile_json.unwrap_or_default().into(), root })
}
