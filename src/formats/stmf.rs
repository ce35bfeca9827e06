//! STMF (stmf.md): a form sealed to an X25519 public key. Only the key's owner can open it; who sealed it
//! is not shown by the format, so what must be trusted is signed inside.
//!
//! The sealing key is SHA-256 of the X25519 result of a fresh key pair and the recipient's key, and nothing
//! else. An all-zero result is refused. Left out: the HTTP middleware (RigMesh serves no forms).

use super::reading::{AtMost, TextsAtMost, go_base64_decode, go_record};
use super::{gojson, sigil, trix};
use crate::base::{Error, Refusal, Result, Rng, base64_encode, check_json};
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize as _, Zeroizing};

/// Magic of the container.
pub const MAGIC: &[u8; 4] = b"STMF";

/// The longest header that is read, bytes. Honest writers make 117.
pub const HEADER_BYTES_MAX: usize = 64 << 10;

/// The most fields of a form that is read or sealed.
pub const FIELDS_MAX: usize = 4096;

/// The most entries of `meta` that are read or sealed.
pub const META_MAX: usize = 4096;

const ALGORITHM: &str = "x25519-chacha20poly1305";
const VERSION: &str = "1.0";

/// A private key: 32 raw bytes, kept as they are and clamped only inside the multiplication. Wiped when
/// dropped, never shown.
#[derive(Clone)]
pub struct FormKey(StaticSecret);

impl FormKey {
    /// A new key.
    pub fn generate(rng: &mut Rng) -> FormKey {
        let bytes = Zeroizing::new(rng.array::<32>());
        FormKey::from_bytes(*bytes)
    }

    /// From the raw bytes. Any 32 bytes are a key.
    pub fn from_bytes(mut bytes: [u8; 32]) -> FormKey {
        let key = FormKey(StaticSecret::from(bytes));
        bytes.zeroize();
        key
    }

    /// From raw bytes of any number.
    ///
    /// # Errors
    /// [`Error::Malformed`]: not 32.
    pub fn from_slice(bytes: &[u8]) -> Result<FormKey> {
        let bytes = <[u8; 32]>::try_from(bytes);
        bytes.map(FormKey::from_bytes).map_err(|_| Error::malformed("private key", "invalid private key size"))
    }

    /// From its text form, base64 as Go reads it.
    ///
    /// # Errors
    /// [`Error::Malformed`]: no base64, or not of 32 bytes.
    pub fn from_base64(text: &str) -> Result<FormKey> {
        let bytes = go_base64_decode(text).map(Zeroizing::new);
        FormKey::from_slice(&bytes.ok_or_else(|| Error::malformed("private key", "invalid base64"))?)
    }

    /// The raw bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The text form: standard padded base64.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(base64_encode(&*self.to_bytes()))
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// The sealing key shared with the owner of `public`.
    ///
    /// # Errors
    /// [`Error::Malformed`]: the X25519 result is zero (a public key of low order).
    pub fn sealing_key(&self, public: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>> {
        let point = self.0.diffie_hellman(&PublicKey::from(*public));
        if !point.was_contributory() {
            return Err(Error::malformed("public key", "ECDH failed: low order point"));
        }
        Ok(Zeroizing::new(Sha256::digest(point.as_bytes()).into()))
    }
}

impl fmt::Debug for FormKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormKey(..)")
    }
}

/// A public key from raw bytes of any number. Any 32 load; those of low order fail when they are used.
///
/// # Errors
/// [`Error::Malformed`]: not 32.
pub fn public_from_slice(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::malformed("public key", "invalid public key"))
}

/// A public key from its text form, base64 as Go reads it.
///
/// # Errors
/// [`Error::Malformed`]: no base64, or not of 32 bytes.
pub fn public_from_base64(text: &str) -> Result<[u8; 32]> {
    public_from_slice(&go_base64_decode(text).ok_or_else(|| Error::malformed("public key", "invalid base64"))?)
}

/// One field of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name. May stand in a form more than once.
    pub name: String,
    /// Its value; of a file, by custom, base64.
    pub value: String,
    /// Such as `text` or `file`; empty: not stated.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Name of a file, as stated: never a path to write to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filename: String,
    /// Media type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mime: String,
}

go_record!(Field { "name" => name, "value" => value, "type" => kind, "filename" => filename, "mime" => mime });

/// A form: fields in their order, and texts about them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Form {
    /// The fields; `None` (`null`) when none was ever added.
    pub fields: Option<Vec<Field>>,
    /// Texts by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
}

impl Form {
    /// A form without fields.
    pub fn new() -> Form {
        Form::default()
    }

    /// The same with one more field.
    #[must_use]
    pub fn with_field(mut self, field: Field) -> Form {
        self.fields.get_or_insert_default().push(field);
        self
    }

    /// The same with one more field of type `text`.
    #[must_use]
    pub fn with_text(self, name: &str, value: &str) -> Form {
        self.with_typed(name, value, "text")
    }

    /// The same with one more field of any type.
    #[must_use]
    pub fn with_typed(self, name: &str, value: &str, kind: &str) -> Form {
        let (name, value, kind) = (name.to_owned(), value.to_owned(), kind.to_owned());
        self.with_field(Field { name, value, kind, ..Field::default() })
    }

    /// The same with one more file.
    #[must_use]
    pub fn with_file(self, name: &str, filename: &str, mime: &str, bytes: &[u8]) -> Form {
        self.with_field(Field {
            name: name.to_owned(),
            value: base64_encode(bytes),
            kind: "file".to_owned(),
            filename: filename.to_owned(),
            mime: mime.to_owned(),
        })
    }

    /// The same with a text in `meta`.
    #[must_use]
    pub fn with_meta(mut self, name: &str, value: &str) -> Form {
        self.meta.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The fields.
    pub fn fields(&self) -> &[Field] {
        self.fields.as_deref().unwrap_or_default()
    }

    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields().iter().find(|f| f.name == name)
    }

    /// The first value of this name; empty when there is none.
    pub fn value(&self, name: &str) -> &str {
        self.field(name).map_or("", |f| &f.value)
    }

    /// Every value of this name, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields().iter().filter(move |f| f.name == name).map(|f| f.value.as_str())
    }

    /// Values by name; of several the last.
    pub fn to_map(&self) -> BTreeMap<&str, &str> {
        self.fields().iter().map(|f| (f.name.as_str(), f.value.as_str())).collect()
    }

    fn decode(text: &str) -> Result<Form> {
        check_json("STMF payload", text.as_bytes())?;
        let over = Cell::new(false);
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = Inner { over: &over }.deserialize(&mut reader).and_then(|form| reader.end().map(|()| form));
        match (over.get(), read) {
            (true, _) => Err(too_many()),
            (false, Ok(form)) => Ok(form),
            (false, Err(e)) => Err(wrong(format!("invalid JSON payload: {e}"))),
        }
    }
}

fn wrong(detail: impl Into<String>) -> Error {
    Error::malformed("STMF payload", detail)
}

fn too_many() -> Error {
    Error::Rejected(Refusal::Limit(format!("a form has at most {FIELDS_MAX} fields and {META_MAX} meta texts")))
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Form, D::Error> {
        let over = Cell::new(false);
        let form = Inner { over: &over }.deserialize(d)?;
        if over.get() { Err(D::Error::custom(too_many())) } else { Ok(form) }
    }
}

/// The reader of a form; notes in `over` when there was too much of something.
struct Inner<'a> {
    over: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = Form;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Form, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = Form;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a form")
    }
    fn visit_unit<E>(self) -> std::result::Result<Form, E> {
        Ok(Form::default())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Form, A::Error> {
        let (mut form, over) = (Form::default(), self.over);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match key.to_ascii_lowercase().as_str() {
                "fields" => form.fields = map.next_value_seed(AtMost { max: FIELDS_MAX, over, of: PhantomData })?,
                "meta" => {
                    let meta = map.next_value_seed(TextsAtMost { max: META_MAX, over })?;
                    form.meta = meta.unwrap_or(form.meta);
                }
                _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        Ok(form)
    }
}

/// Header of a container, keys sorted as the original's map has them.
#[derive(Serialize)]
struct Head<'a> {
    algorithm: &'a str,
    ephemeral_pk: &'a str,
    version: &'a str,
}

/// Seals a form to the owner of `recipient`.
///
/// # Errors
/// [`Error::Malformed`]: a key of low order. [`Refusal::Limit`]: too many fields or meta texts.
pub fn seal(form: &Form, recipient: &[u8; 32], rng: &mut Rng) -> Result<Vec<u8>> {
    seal_with(form, recipient, &FormKey::generate(rng), rng.array())
}

/// [`seal`] with its randomness: a key pair and a nonce that must be random and never used twice.
///
/// # Errors
/// As [`seal`].
pub fn seal_with(
    form: &Form,
    recipient: &[u8; 32],
    ephemeral: &FormKey,
    nonce: [u8; sigil::NONCE_BYTES],
) -> Result<Vec<u8>> {
    if form.fields().len() > FIELDS_MAX || form.meta.len() > META_MAX {
        return Err(too_many());
    }
    let key = ephemeral.sealing_key(recipient)?;
    let public = base64_encode(&ephemeral.public());
    let head = gojson::to_string_html(&Head { algorithm: ALGORITHM, ephemeral_pk: &public, version: VERSION })?;
    let plain = Zeroizing::new(gojson::to_string_html(form)?);
    let mut out = trix::start(MAGIC, &head, plain.len() + sigil::OVERHEAD_BYTES)?;
    out.extend_from_slice(&nonce);
    let inner = out.len();
    out.extend_from_slice(plain.as_bytes());
    let tag = sigil::seal_in_place(&key, &nonce, out.get_mut(inner..).unwrap_or_default())?;
    out.extend_from_slice(&tag);
    Ok(out)
}

/// Opens a form. It is never longer than the container.
///
/// # Errors
/// [`Error::Malformed`]: no container, no or a bad ephemeral key, sealed to another key or changed, no form
/// inside. [`Refusal::Limit`]: too many fields or meta texts.
pub fn open(container: &[u8], key: &FormKey) -> Result<Form> {
    let (header, payload) = head(container)?;
    let Some(ephemeral) = header.get("ephemeral_pk").and_then(|v| v.as_str()) else {
        return Err(wrong("missing ephemeral_pk in header"));
    };
    let sealing = key.sealing_key(&public_from_base64(ephemeral)?)?;
    let mut sealed = payload.to_vec();
    let plain = sigil::open_in_place(&sealing, &mut sealed)
        .map_err(|_| Error::malformed("STMF container", "decryption failed (sealed to another key?)"))?;
    let form = Form::decode(std::str::from_utf8(plain).map_err(|_| wrong("invalid JSON payload: not UTF-8"))?);
    plain.zeroize();
    form
}

/// [`open`] for the text form.
///
/// # Errors
/// As [`open`] and [`decode_text`].
pub fn open_text(text: &str, key: &FormKey) -> Result<Form> {
    open(&decode_text(text)?, key)
}

/// A container as text: standard padded base64.
pub fn encode_text(container: &[u8]) -> String {
    base64_encode(container)
}

/// Reads the text form; CR and LF are skipped.
///
/// # Errors
/// [`Error::Malformed`].
pub fn decode_text(text: &str) -> Result<Vec<u8>> {
    go_base64_decode(text).ok_or_else(|| wrong("invalid base64"))
}

fn head(container: &[u8]) -> Result<(trix::Header, &[u8])> {
    let (text, payload) = trix::split(MAGIC, container, HEADER_BYTES_MAX)?;
    let header = trix::decode_header(text)?;
    trix::verify_checksum(&header, payload)?;
    Ok((header, payload))
}

/// What a container says in clear: anybody's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StmfInfo {
    /// `1.0`.
    pub version: String,
    /// Name of the construction.
    pub algorithm: String,
    /// The fresh public key, base64.
    pub ephemeral_pk: String,
    /// Never written; the nonce is the first 24 bytes of the payload.
    pub nonce: String,
}

/// Reads what a container says in clear. Values that are no texts count as missing.
///
/// # Errors
/// [`Error::Malformed`]: no container.
pub fn peek(container: &[u8]) -> Result<StmfInfo> {
    let (header, _) = head(container)?;
    let text = |name: &str| header.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    Ok(StmfInfo {
        version: text("version"),
        algorithm: text("algorithm"),
        ephemeral_pk: text("ephemeral_pk"),
        nonce: text("nonce"),
    })
}

/// Whether this is an STMF container whose header has a key and an algorithm. Looks into neither.
///
/// # Errors
/// [`Error::Malformed`].
pub fn validate(container: &[u8]) -> Result<()> {
    let (header, _) = head(container)?;
    match ["ephemeral_pk", "algorithm"].into_iter().find(|key| !header.get(*key).is_some_and(|v| v.is_string())) {
        Some(key) => Err(wrong(format!("missing {key}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_comes_back_with_its_fields_in_their_order() {
        let mut rng = Rng::from_number(4);
        let key = FormKey::generate(&mut rng);
        let form = Form::new()
            .with_text("b", "1 <>&")
            .with_typed("a", "2", "password")
            .with_file("f", "x.txt", "text/plain", b"hi")
            .with_text("b", "3")
            .with_meta("kind", "test");
        let container = seal(&form, &key.public(), &mut rng).unwrap();
        assert_eq!(container.len(), 126 + gojson::to_string_html(&form).unwrap().len() + sigil::OVERHEAD_BYTES);
        let opened = open_text(&encode_text(&container), &key).unwrap();
        assert_eq!(opened, form);
        assert_eq!((opened.value("b"), opened.value("x")), ("1 <>&", ""));
        assert_eq!(opened.values("b").collect::<Vec<_>>(), ["1 <>&", "3"]);
        assert_eq!(opened.to_map()["b"], "3");
        assert_eq!(opened.field("f").unwrap().value, "aGk=");
        assert!(validate(&container).is_ok() && peek(&container).unwrap().ephemeral_pk.len() == 44);
        assert!(open(&container, &FormKey::generate(&mut rng)).is_err());
        for at in 0..container.len() {
            let mut bad = container.clone();
            bad[at] ^= 0x10;
            // The words of the header are not authenticated, only the key in it.
            if let Ok(same) = open(&bad, &key) {
                assert_eq!(same, form, "byte {at}");
            }
            assert!(open(&container[..at], &key).is_err());
        }
        assert_eq!(seal(&Form::new(), &key.public(), &mut rng).map(|c| open(&c, &key).unwrap()).unwrap(), Form::new());
    }

    #[test]
    fn keys_of_low_order_seal_and_open_nothing() {
        let mut rng = Rng::from_number(4);
        let mut one = [0; 32];
        one[0] = 1;
        for low in [[0; 32], one] {
            assert!(seal(&Form::new(), &low, &mut rng).is_err());
        }
        assert!(FormKey::from_slice(&[1; 31]).is_err() && FormKey::from_base64("@@").is_err());
        assert!(FormKey::from_slice(&[0; 32]).is_ok() && public_from_base64("AAAA").is_err());
        let key = FormKey::from_bytes([7; 32]);
        assert_eq!(*FormKey::from_base64(&key.to_base64()).unwrap().to_bytes(), [7; 32]);
        assert_eq!(format!("{key:?}"), "FormKey(..)");
    }

    #[test]
    fn too_much_of_anything_is_a_limit() {
        let mut form = Form::new();
        form.fields = Some(vec![Field::default(); FIELDS_MAX + 1]);
        let limit = |e: Error| matches!(e, Error::Rejected(Refusal::Limit(_)));
        assert!(limit(seal(&form, &[9; 32], &mut Rng::from_number(1)).unwrap_err()));
        assert!(limit(Form::decode(&gojson::to_string(&form).unwrap()).unwrap_err()));
        assert_eq!(Form::decode(r#"{"FIELDS":[null,{"Value":"v"}],"x":1}"#).unwrap().fields()[1].value, "v");
        for bad in ["", "[]", r#"{"fields":5}"#, r#"{"fields":[[]]}"#, r#"{"meta":{"a":1}}"#, "{}{}"] {
            assert!(Form::decode(bad).is_err(), "{bad}");
        }
    }
}
