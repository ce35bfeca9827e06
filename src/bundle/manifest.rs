//! The manifest of an object that is deployed in chunks: what its files are, where they are cut, what
//! everything hashes to (chunked-deploy.md, *Manifest*).

use super::manifest_error::{ManifestError, bad};
use super::manifest_read::{Raw, RawFile};
use crate::base::{Error, base64_decode_strict, check_json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// Where an object is cut, in bytes.
pub const CHUNK_BYTES: u32 = 65_536;
/// The longest text of a manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 768 * 1024;
/// The largest object in a secure session, in bytes.
pub const OBJECT_BYTES_MAX: u64 = 1 << 30;
/// The largest object over a 1.0 link, in bytes.
pub const OBJECT_BYTES_MAX_V1: u64 = 512 << 20;
const COMPONENTS_MAX: usize = 4;
const COMPONENT_BYTES_MAX: usize = 64;
const VERSION_BYTES_MAX: usize = 32;
const ID_LABEL: &[u8] = b"rigmesh-object-1\0";

/// The name of an object: the SHA-256 of a label and the bytes of its manifest, as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 32]);

impl ObjectId {
    /// The id of a manifest's text, as it stands.
    pub fn of(text: &str) -> ObjectId {
        ObjectId(Sha256::new().chain_update(ID_LABEL).chain_update(text).finalize().into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

impl std::str::FromStr for ObjectId {
    type Err = Error;
    /// Reads the one spelling: 64 lower-case hex digits.
    fn from_str(text: &str) -> Result<ObjectId, Error> {
        let bytes = hash_of_hex(text).ok_or_else(|| Error::malformed("object id", "not 64 lower-case hex digits"))?;
        Ok(ObjectId(bytes))
    }
}

/// One file of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFile {
    /// 1 to 4 plain components joined by `/`.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Whether it gets mode 0755 instead of 0644; always so for the main file.
    pub executable: bool,
    /// Of the whole content.
    pub sha256: [u8; 32],
    /// Where it begins in the object, in bytes.
    pub start: u64,
}

/// A part of a file that lies in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPart {
    /// Which file, by its place in [`ObjectManifest::files`].
    pub file: usize,
    /// Where the part begins in the file, in bytes.
    pub offset: u64,
    /// How long it is, in bytes; never 0.
    pub length: u32,
}

/// A checked manifest with the text it was read from.
#[derive(Clone, PartialEq, Eq)]
pub struct ObjectManifest {
    text: String,
    id: ObjectId,
    name: String,
    version: String,
    main: String,
    size: u64,
    files: Vec<ObjectFile>,
    chunks: Vec<[u8; 32]>,
}

impl fmt::Debug for ObjectManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectManifest({} {} {}, {} bytes)", self.name, self.version, self.id, self.size)
    }
}

impl ObjectManifest {
    /// Reads and checks a manifest's text. `size_max`: [`OBJECT_BYTES_MAX`] or [`OBJECT_BYTES_MAX_V1`]. Unknown keys
    /// are ignored, but no key may stand twice in an object.
    ///
    /// # Errors
    /// [`ManifestError`], which names the field.
    pub fn parse(text: &str, size_max: u64) -> Result<ObjectManifest, ManifestError> {
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(bad("text", format!("longer than {MANIFEST_BYTES_MAX} bytes")));
        }
        if !text.is_ascii() {
            return Err(bad("text", "not ASCII"));
        }
        check_json("manifest", text.as_bytes()).map_err(|e| bad("text", e.to_string()))?;
        let raw = Raw::read(text)?;
        if raw.v != Some(1) {
            return Err(bad("v", "must be 1"));
        }
        if raw.object_type.as_deref() != Some("miner") {
            return Err(bad("type", "must be \"miner\""));
        }
        let name = raw.name.filter(|name| is_component(name)).ok_or_else(|| bad("name", NAME_RULE))?;
        let version = raw.version.filter(|v| is_version(v)).ok_or_else(|| bad("version", VERSION_RULE))?;
        if raw.chunk != Some(u64::from(CHUNK_BYTES)) {
            return Err(bad("chunk", format!("must be {CHUNK_BYTES}")));
        }
        let size = raw.size.ok_or_else(|| bad("size", "missing"))?;
        let max = size_max.min(OBJECT_BYTES_MAX);
        if size > max {
            return Err(ManifestError::TooLarge { size, max });
        }
        let main = raw.main.ok_or_else(|| bad("main", "missing"))?;
        let files = check_files(raw.files.ok_or_else(|| bad("files", "missing"))?, size, &main)?;
        let chunks = raw.chunks.ok_or_else(|| bad("chunks", "missing"))?;
        let chunks = base64_decode_strict("chunks", &chunks).map_err(|e| bad("chunks", e.to_string()))?;
        let (chunks, rest) = chunks.as_chunks::<32>();
        let count = size.div_ceil(u64::from(CHUNK_BYTES));
        if !rest.is_empty() || u64::try_from(chunks.len()) != Ok(count) {
            return Err(bad("chunks", format!("must be {count} hashes of 32 bytes")));
        }
        let (text, id, chunks) = (text.to_owned(), ObjectId::of(text), chunks.to_vec());
        Ok(ObjectManifest { text, id, name, version, main, size, files, chunks })
    }

    /// The text as it was read, which is what is sent and hashed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The object's id.
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// The name of the miner: also its slot's. 1 to 64 of `[A-Za-z0-9._-]`, not starting with a dot.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For people: 1 to 32 of `[A-Za-z0-9._+-]`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The path of the file that is run.
    pub fn main(&self) -> &str {
        &self.main
    }

    /// All bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The files in the order of their bytes; 1 to [`super::FILES_MAX`].
    pub fn files(&self) -> &[ObjectFile] {
        &self.files
    }

    /// How many chunks.
    pub fn chunk_count(&self) -> u32 {
        u32::try_from(self.chunks.len()).unwrap_or(u32::MAX)
    }

    /// Where a chunk begins in the object, and its length, both in bytes; `None` when there is no such chunk.
    pub fn chunk_place(&self, index: u32) -> Option<(u64, u32)> {
        let start = u64::from(index) * u64::from(CHUNK_BYTES);
        let left = self.size.checked_sub(start).filter(|left| *left > 0)?;
        Some((start, u32::try_from(left).unwrap_or(u32::MAX).min(CHUNK_BYTES)))
    }

    /// Whether these bytes are the chunk of that index.
    pub fn is_chunk(&self, index: u32, bytes: &[u8]) -> bool {
        let fits = self.chunk_place(index).is_some_and(|(_, length)| u32::try_from(bytes.len()) == Ok(length));
        let hash = usize::try_from(index).ok().and_then(|i| self.chunks.get(i));
        fits && hash.is_some_and(|hash| *hash == <[u8; 32]>::from(Sha256::digest(bytes)))
    }

    /// The parts of files that make up a chunk, in order; none when there is no such chunk.
    pub fn chunk_parts(&self, index: u32) -> impl Iterator<Item = ChunkPart> {
        let (start, length) = self.chunk_place(index).unwrap_or((0, 0));
        let end = start + u64::from(length);
        let first = self.files.partition_point(|file| file.start + file.size <= start);
        let files = self.files.iter().enumerate().skip(first).take_while(move |(_, file)| file.start < end);
        files.filter_map(move |(i, file)| {
            let (from, to) = (file.start.max(start), (file.start + file.size).min(end));
            let length = u32::try_from(to.checked_sub(from)?).ok().filter(|length| *length > 0)?;
            Some(ChunkPart { file: i, offset: from - file.start, length })
        })
    }
}

/// The name rule of miners and slots: 1 to 64 of `[A-Za-z0-9._-]`, not starting with a dot.
///
/// # Errors
/// [`Error::Malformed`].
pub fn check_object_name(name: &str) -> Result<(), Error> {
    if is_component(name) { Ok(()) } else { Err(Error::malformed("miner name", NAME_RULE)) }
}

pub(super) const NAME_RULE: &str = "must be 1 to 64 of A-Z a-z 0-9 . _ - and not start with a dot";
pub(super) const VERSION_RULE: &str = "must be 1 to 32 of A-Z a-z 0-9 . _ + -";

pub(super) fn is_component(text: &str) -> bool {
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    (1..=COMPONENT_BYTES_MAX).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(known)
}

pub(super) fn is_version(text: &str) -> bool {
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'+' | b'-');
    (1..=VERSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(known)
}

pub(super) fn is_path(path: &str) -> bool {
    path.split('/').count() <= COMPONENTS_MAX && path.split('/').all(is_component)
}

fn check_files(raw: Vec<RawFile>, size: u64, main: &str) -> Result<Vec<ObjectFile>, ManifestError> {
    if raw.is_empty() {
        return Err(bad("files", "none"));
    }
    let (mut files, mut start) = (Vec::with_capacity(raw.len()), 0u64);
    // By lower-cased path: whether it is a file. Folders are entered with every file in them.
    let mut taken: BTreeMap<String, bool> = BTreeMap::new();
    for file in raw {
        let path = file.path.filter(|path| is_path(path)).ok_or_else(|| {
            bad("files.path", "must be 1 to 4 components of 1 to 64 of A-Z a-z 0-9 . _ - not starting with a dot")
        })?;
        let lower = path.to_ascii_lowercase();
        let folder_is_file = lower
            .match_indices('/')
            .any(|(end, _)| lower.get(..end).is_some_and(|folder| taken.get(folder) == Some(&true)));
        if folder_is_file || taken.contains_key(&lower) {
            return Err(bad("files.path", format!("{path} clashes with another file")));
        }
        for (end, _) in lower.match_indices('/') {
            taken.insert(lower.get(..end).unwrap_or_default().to_owned(), false);
        }
        taken.insert(lower, true);
        let length = file.size.ok_or_else(|| bad("files.size", "missing"))?;
        let sha256 = file.sha256.as_deref().and_then(hash_of_hex);
        let sha256 = sha256.ok_or_else(|| bad("files.sha256", "not 64 lower-case hex digits"))?;
        let executable = file.exec.unwrap_or(false) || path == main;
        files.push(ObjectFile { path, size: length, executable, sha256, start });
        start = start
            .checked_add(length)
            .filter(|end| *end <= size)
            .ok_or_else(|| bad("size", "not the sum of the files'"))?;
    }
    if start != size {
        return Err(bad("size", "not the sum of the files'"));
    }
    if files.iter().all(|file| file.path != main) {
        return Err(bad("main", "not one of the files"));
    }
    Ok(files)
}

fn hash_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let lower = text.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'a'..=b'f'));
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, base64_encode};
    use crate::bundle::ManifestBuilder;
    use serde_json::{Value, json};

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn plain() -> Value {
        json!({"v": 1, "type": "miner", "name": "xmrig", "version": "6.22.2", "main": "bin/xmrig", "chunk": 65536,
            "size": 70000, "files": [{"path": "bin/xmrig", "size": 69999, "sha256": HASH}, {"path": "lib.so", "size": 1, "sha256": HASH}],
            "chunks": base64_encode(&[7; 64])})
    }

    fn parse(value: &Value) -> Result<ObjectManifest, ManifestError> {
        ObjectManifest::parse(&value.to_string(), OBJECT_BYTES_MAX)
    }

    fn reason(value: &Value) -> String {
        parse(value).unwrap_err().to_string()
    }

    #[test]
    fn a_manifest_is_read_and_its_id_is_that_of_its_text() {
        let text = plain().to_string();
        let manifest = ObjectManifest::parse(&text, OBJECT_BYTES_MAX).unwrap();
        assert_eq!((manifest.name(), manifest.version(), manifest.main()), ("xmrig", "6.22.2", "bin/xmrig"));
        assert!(manifest.files()[0].executable && !manifest.files()[1].executable, "the main file always is");
        assert_eq!(manifest.text(), text);
        let spaced = format!(" {text}\n");
        let other = ObjectManifest::parse(&spaced, OBJECT_BYTES_MAX).unwrap();
        assert_ne!(manifest.id(), other.id(), "no canonical form");
        let digest = Sha256::digest([b"rigmesh-object-1\0", text.as_bytes()].concat());
        assert_eq!(manifest.id().to_string(), hex::encode(digest));
        assert_eq!(manifest.id().to_string().parse(), Ok(manifest.id()));
        assert!(manifest.id().to_string().to_uppercase().parse::<ObjectId>().is_err());
    }

    #[test]
    fn every_fault_is_refused_with_its_field() {
        let deep = (0..5).map(|_| "a").collect::<Vec<_>>().join("/");
        let cases = [
            ("v", json!(2), "v"),
            ("v", json!(1.0), "v"),
            ("type", json!("bundle"), "type"),
            ("name", json!(".x"), "name"),
            ("name", json!("a/b"), "name"),
            ("name", json!("x".repeat(65)), "name"),
            ("name", json!(null), "name"),
            ("version", json!(""), "version"),
            ("version", json!("1 2"), "version"),
            ("version", json!("1".repeat(33)), "version"),
            ("main", json!("BIN/xmrig"), "main"),
            ("chunk", json!(65537), "chunk"),
            ("size", json!(69999), "size"),
            ("size", json!(70001), "size"),
            ("size", json!(-1), "size"),
            ("size", json!("1"), "size"),
            ("files", json!([]), "files"),
            ("files", json!({}), "files"),
            ("files", json!([["bin/xmrig", 1]]), "files"),
            ("chunks", json!(base64_encode(&[7; 32])), "chunks"),
            ("chunks", json!(base64_encode(&[7; 65])), "chunks"),
            ("chunks", json!(base64_encode(&[7; 64]).trim_end_matches('=')), "chunks"),
        ];
        for (key, value, field) in cases {
            let mut manifest = plain();
            manifest[key] = value.clone();
            assert_eq!(reason(&manifest), format!("bad manifest: {field}"), "{key} = {value}");
            manifest.as_object_mut().unwrap().remove(key);
            assert_eq!(reason(&manifest), format!("bad manifest: {key}"), "{key} missing");
        }
        let long = "a".repeat(65);
        for path in ["", "/a", "a/", "a//b", "../a", "a/..", ".a", "a/.b", "a\\b", "a b", "a\0", "\u{e9}", &long, &deep]
        {
            let mut manifest = plain();
            manifest["files"][1]["path"] = json!(path);
            let want = if path.is_ascii() { "files.path" } else { "text" };
            assert_eq!(reason(&manifest), format!("bad manifest: {want}"), "{path:?}");
        }
        for (key, value) in
            [("sha256", json!("ab")), ("sha256", json!(HASH.to_uppercase())), ("exec", json!(1)), ("size", json!(null))]
        {
            let mut manifest = plain();
            manifest["files"][1][key] = value.clone();
            assert_eq!(reason(&manifest), format!("bad manifest: files.{key}"), "{value}");
        }
    }

    #[test]
    fn clashing_paths_are_refused_in_either_order() {
        for (one, two) in [("a", "a"), ("a/B", "A/b"), ("a", "a/b"), ("A", "a/b"), ("a/b", "a/b/c"), ("a/b", "A")] {
            for (one, two) in [(one, two), (two, one)] {
                let mut manifest = plain();
                (manifest["files"][0]["path"], manifest["files"][1]["path"]) = (json!(one), json!(two));
                manifest["main"] = json!(one);
                assert_eq!(reason(&manifest), "bad manifest: files.path", "{one} and {two}");
            }
        }
        let mut manifest = plain();
        manifest["files"][1]["path"] = json!("BIN/other");
        parse(&manifest).unwrap();
    }

    #[test]
    fn unknown_keys_are_ignored_and_no_key_may_stand_twice() {
        let text = plain().to_string();
        let with = |more: &str| ObjectManifest::parse(&format!("{{{more},{}", &text[1..]), OBJECT_BYTES_MAX);
        with(r#""x":{"a":[1,2.5,null,true,"s"],"b":{"a":1}}"#).unwrap();
        for twice in [r#""v":1"#, r#""x":1,"x":2"#, r#""x":{"a":1,"a":2}"#, r#""x":[[{"\u0061":1,"a":2}]]"#] {
            assert_eq!(with(twice).unwrap_err().to_string(), "bad manifest: text", "{twice}");
        }
        let twice = text.replace("\"path\":\"lib.so\"", "\"path\":\"lib.so\",\"path\":\"lib.so\"");
        assert!(ObjectManifest::parse(&twice, OBJECT_BYTES_MAX).is_err());
        assert!(with(&format!(r#""x":{}{}"#, "[".repeat(40), "]".repeat(40))).is_err());
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let mut manifest = plain();
        manifest["size"] = json!(OBJECT_BYTES_MAX + 1);
        assert_eq!(reason(&manifest), "too large");
        let plain = plain().to_string();
        assert_eq!(
            ObjectManifest::parse(&plain, 69_999).unwrap_err(),
            ManifestError::TooLarge { size: 70_000, max: 69_999 }
        );
        let spaces = " ".repeat(MANIFEST_BYTES_MAX);
        assert_eq!(
            ObjectManifest::parse(&(plain + &spaces), OBJECT_BYTES_MAX).unwrap_err().to_string(),
            "bad manifest: text"
        );
        let mut builder = ManifestBuilder::new("a", "1").unwrap();
        (0..256).for_each(|i| builder.begin_file(&format!("f{i}"), false).unwrap());
        assert_eq!(builder.begin_file("f256", false).unwrap_err().to_string(), "bad manifest: files");
        assert_eq!(builder.finish("f0").unwrap().files().len(), 256);
        let mut manifest = self::plain();
        let file = manifest["files"][1].clone();
        manifest["files"] = json!(vec![file; 257]);
        assert_eq!(reason(&manifest), "bad manifest: files");
    }

    #[test]
    fn the_largest_object_fits_a_manifest_unless_its_paths_are_very_long() {
        let mut manifest = plain();
        manifest["size"] = json!(OBJECT_BYTES_MAX);
        manifest["chunks"] = json!(base64_encode(&vec![7; 16_384 * 32]));
        let mut with_folder = |folder: &str| {
            let file = |i| json!({"path": format!("{folder}{i:064}"), "size": OBJECT_BYTES_MAX / 256, "exec": true, "sha256": HASH});
            manifest["files"] = (0..256).map(file).collect();
            manifest["main"] = json!(format!("{folder}{:064}", 0));
            parse(&manifest)
        };
        assert_eq!(with_folder("bin/lib/").unwrap().chunk_count(), 16_384);
        let long = format!("{0}/{0}/{0}/", "a".repeat(64));
        assert_eq!(with_folder(&long).unwrap_err().to_string(), "bad manifest: text");
    }

    #[test]
    fn built_from_any_pieces_it_is_the_same_and_its_chunks_cover_the_files() {
        let seed = 7;
        let mut rng = Rng::from_number(seed);
        for round in 0..40 {
            let files: Vec<(String, Vec<u8>)> = (0..1 + rng.below(5))
                .map(|i| {
                    let mut bytes = vec![0; [0, 1, 65_535, 65_536, 65_537, 200_000, 131_072][rng.below(7) as usize]];
                    rng.fill(&mut bytes);
                    (format!("dir/f{i}"), bytes)
                })
                .collect();
            let build = |rng: &mut Rng| {
                let mut builder = ManifestBuilder::new("miner", "1.0+x").unwrap();
                for (path, bytes) in &files {
                    builder.begin_file(path, false).unwrap();
                    let mut rest = bytes.as_slice();
                    while !rest.is_empty() {
                        let (piece, tail) = rest.split_at(rest.len().min(1 + rng.below(100_000) as usize));
                        builder.push_bytes(piece).unwrap();
                        rest = tail;
                    }
                }
                builder.finish("dir/f0").unwrap()
            };
            let manifest = build(&mut rng);
            assert_eq!(manifest, build(&mut rng), "seed {seed}, round {round}");
            assert_eq!(manifest, ObjectManifest::parse(manifest.text(), OBJECT_BYTES_MAX).unwrap());
            let all: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let mut again = vec![Vec::<u8>::new(); files.len()];
            for index in 0..manifest.chunk_count() {
                let (start, length) = manifest.chunk_place(index).unwrap();
                let chunk = &all[start as usize..][..length as usize];
                assert!(manifest.is_chunk(index, chunk) && !manifest.is_chunk(index, &chunk[1..]));
                let mut at = 0;
                for part in manifest.chunk_parts(index) {
                    assert_eq!(again[part.file].len() as u64, part.offset);
                    again[part.file].extend(&chunk[at..at + part.length as usize]);
                    at += part.length as usize;
                }
                assert_eq!(at, chunk.len(), "seed {seed}, round {round}");
            }
            assert!(again.iter().zip(&files).all(|(again, (_, bytes))| again == bytes), "seed {seed}, round {round}");
            let count = manifest.chunk_count();
            assert!(manifest.chunk_place(count).is_none() && manifest.chunk_parts(count).count() == 0);
            assert!(manifest.chunk_place(u32::MAX).is_none() && !manifest.is_chunk(count, b""));
        }
    }
}
