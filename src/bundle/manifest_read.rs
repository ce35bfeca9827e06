//! A manifest's JSON, read strictly: no key twice, errors by field, nothing else held of what is not known.

use super::manifest_error::{FILES_MAX, ManifestError, bad};
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

/// The keys as they were found. Field order is that of the specification, and of the texts that are built.
#[derive(Default, Serialize)]
pub(super) struct Raw {
    pub(super) v: Option<u64>,
    #[serde(rename = "type")]
    pub(super) object_type: Option<String>,
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) main: Option<String>,
    pub(super) chunk: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) files: Option<Vec<RawFile>>,
    pub(super) chunks: Option<String>,
}

#[derive(Default, Serialize)]
pub(super) struct RawFile {
    pub(super) path: Option<String>,
    pub(super) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exec: Option<bool>,
    pub(super) sha256: Option<String>,
}

impl Raw {
    /// Reads the keys; the error names the field whose value is of the wrong kind.
    pub(super) fn read(text: &str) -> Result<Raw, ManifestError> {
        let field = Cell::new("text");
        let mut json = serde_json::Deserializer::from_str(text);
        let read = Object(&field, Raw::default()).deserialize(&mut json).and_then(|raw| json.end().map(|()| raw));
        read.map_err(|e| bad(field.get(), e.to_string()))
    }
}

/// A struct read from an object in which no key stands twice. The cell says which field is being read.
struct Object<'c, T>(&'c Cell<&'static str>, T);

/// What [`Object`] fills: takes the value of a key that it knows, or says that it does not.
trait Fields {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        at: &Cell<&'static str>,
        map: &mut A,
    ) -> Result<bool, A::Error>;
}

impl Fields for Raw {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        at: &Cell<&'static str>,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        match key {
            "v" => self.v = value(at, "v", map)?,
            "type" => self.object_type = value(at, "type", map)?,
            "name" => self.name = value(at, "name", map)?,
            "version" => self.version = value(at, "version", map)?,
            "main" => self.main = value(at, "main", map)?,
            "chunk" => self.chunk = value(at, "chunk", map)?,
            "size" => self.size = value(at, "size", map)?,
            "chunks" => self.chunks = value(at, "chunks", map)?,
            "files" => {
                at.set("files");
                self.files = Some(map.next_value_seed(Files(at))?);
                at.set("text");
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Fields for RawFile {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        at: &Cell<&'static str>,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        match key {
            "path" => self.path = value(at, "files.path", map)?,
            "size" => self.size = value(at, "files.size", map)?,
            "exec" => self.exec = value(at, "files.exec", map)?,
            "sha256" => self.sha256 = value(at, "files.sha256", map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn value<'de, T: serde::Deserialize<'de>, A: MapAccess<'de>>(
    at: &Cell<&'static str>,
    field: &'static str,
    map: &mut A,
) -> Result<Option<T>, A::Error> {
    let before = at.replace(field);
    let value = map.next_value::<T>()?;
    at.set(before);
    Ok(Some(value))
}

impl<'de, T: Fields> DeserializeSeed<'de> for Object<'_, T> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<T, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de, T: Fields> Visitor<'de> for Object<'_, T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<T, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !self.1.read(&key, self.0, &mut map)? {
                map.next_value_seed(Unique)?;
            }
            if let Some(key) = seen.replace(key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
        }
        Ok(self.1)
    }
}

struct Files<'c>(&'c Cell<&'static str>);

impl<'de> DeserializeSeed<'de> for Files<'_> {
    type Value = Vec<RawFile>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<RawFile>, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Files<'_> {
    type Value = Vec<RawFile>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<RawFile>, A::Error> {
        let mut files = Vec::new();
        while let Some(file) = seq.next_element_seed(Object(self.0, RawFile::default()))? {
            if files.len() == FILES_MAX {
                return Err(A::Error::custom(format!("more than {FILES_MAX}")));
            }
            files.push(file);
        }
        Ok(files)
    }
}

/// Any value, thrown away, in whose objects no key stands twice.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Unique)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Object(&Cell::new(""), Nothing).visit_map(map).map(|Nothing| ())
    }
}

/// Knows no key.
struct Nothing;

impl Fields for Nothing {
    fn read<'de, A: MapAccess<'de>>(&mut self, _: &str, _: &Cell<&'static str>, _: &mut A) -> Result<bool, A::Error> {
        Ok(false)
    }
}
