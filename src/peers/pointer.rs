//! Pointer records (selection.md §9): where a node is, signed by its signing key, sealed to one reader,
//! and valid for a while.
//!
//! The outer form is STMF with one field per item and `meta.kind` = `pointer`. STMF does not show who
//! sealed, so the fields are signed inside, together with the reader's key: nobody can seal a pointer that
//! was meant for him to somebody else. The `bind` in it ties the signing key to the X25519 key.

use super::PEER_TEXT_MAX;
use crate::base::{Error, Refusal, Result, Rng, Timestamp, base64_decode_strict, base64_encode, is_plain_name};
use crate::formats::stmf::{self, Field, Form, FormKey};
use crate::identity::{PublicKey, SecretKey, SignKey, verify_bind, verify_signature};

/// The largest sealed pointer that is read, bytes.
pub const POINTER_BYTES_MAX: usize = 64 << 10;
/// The most addresses of a pointer.
pub const POINTER_ADDRESSES_MAX: usize = 16;

const LABEL: &[u8] = b"rigmesh-pointer-1\0";
const KIND: &str = "pointer";
const SIGNATURE: &str = "signature";

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointerRecord {
    /// What it is asked for by; the rule of peers' names, not empty.
    pub name: String,
    /// `host:port`, `ws://host:port`, `wss://host:port`, `wss://host:port#FINGERPRINT`; 1 to
    /// [`POINTER_ADDRESSES_MAX`], best first.
    pub addresses: Vec<String>,
    /// The key that answers there.
    pub key: PublicKey,
    /// Counts up with every change. 0 is never accepted.
    pub sequence: u64,
    /// When it ceases to count; whole seconds, the rest is cut off.
    pub expires: Timestamp,
}

/// What a reader knows before he looks.
#[derive(Clone, Debug)]
pub struct PointerExpected<'a> {
    /// The name asked for.
    pub name: &'a str,
    /// The signing key that is pinned to it.
    pub sign: &'a [u8; 32],
    /// The newest sequence seen under this name; 0 for none.
    pub sequence: u64,
}

/// Makes a pointer that only the owner of `recipient` can read. `sign` agrees thereby to belong to the
/// record's key.
///
/// # Errors
/// [`Error::Config`]: a bad name or address, too many of them, sequence 0, already expired at `wall`.
pub fn new_pointer(
    record: &PointerRecord,
    sign: &SignKey,
    recipient: &PublicKey,
    rng: &mut Rng,
    wall: Timestamp,
) -> Result<Vec<u8>> {
    check(record).map_err(Error::Config)?;
    if is_over(record, wall) {
        return Err(Error::Config("the pointer would be expired already".to_owned()));
    }
    let expires = Timestamp::from_unix(record.expires.unix_seconds(), 0);
    let mut form = Form::new().with_meta("kind", KIND).with_text("name", &record.name);
    for address in &record.addresses {
        form = form.with_text("address", address);
    }
    let form = form
        .with_text("key", &record.key.to_base64())
        .with_text("sequence", &record.sequence.to_string())
        .with_text("expires", &expires.to_string())
        .with_text("sign", &base64_encode(&sign.public()))
        .with_text("bind", &base64_encode(&sign.bind_signature(&record.key)));
    let signature = sign.sign(&signed_text(form.fields(), recipient));
    stmf::seal(&form.with_text(SIGNATURE, &base64_encode(&signature)), recipient.as_bytes(), rng)
}

/// Opens a pointer with the own private key and gives the record, if everything about it is as expected.
/// The caller keeps its sequence as the newest one seen.
///
/// # Errors
/// [`Error::WrongKey`]: signed by another key than the pinned one. [`Error::Malformed`]: not sealed to this
/// key, no pointer, broken fields, not validly signed for this reader, for another name.
/// [`Error::Rejected`]: too large, expired, or a sequence not above the newest.
pub fn resolve(
    bytes: &[u8],
    own: &SecretKey,
    expected: &PointerExpected<'_>,
    wall: Timestamp,
) -> Result<PointerRecord> {
    if bytes.len() > POINTER_BYTES_MAX {
        return Err(Refusal::Limit(format!("a pointer has at most {POINTER_BYTES_MAX} bytes")).into());
    }
    let form = stmf::open(bytes, &FormKey::from_bytes(*own.to_bytes()))?;
    if form.meta.get("kind").map(String::as_str) != Some(KIND) {
        return Err(wrong("it is another kind of form"));
    }
    let sign = decode::<32>(only(&form, "sign")?)?;
    let signature = decode::<64>(only(&form, SIGNATURE)?)?;
    let reader = own.public_key();
    if sign != *expected.sign {
        return Err(Error::WrongKey { expected: base64_encode(expected.sign), got: base64_encode(&sign) });
    }
    if !verify_signature(&sign, &signed_text(form.fields(), &reader), &signature) {
        return Err(wrong("its signature is not valid here: it was changed, or made for another reader"));
    }
    let record = PointerRecord {
        name: only(&form, "name")?.to_owned(),
        addresses: form.values("address").map(str::to_owned).collect(),
        key: PublicKey::from_base64(only(&form, "key")?)?,
        sequence: only(&form, "sequence")?.parse().map_err(|_| wrong("the sequence is no number"))?,
        expires: Timestamp::parse(only(&form, "expires")?).map_err(|_| wrong("the expiry is no time"))?,
    };
    check(&record).map_err(wrong)?;
    if !verify_bind(&record.key, &sign, &decode::<64>(only(&form, "bind")?)?) {
        return Err(wrong("the signing key is not bound to the key"));
    }
    if record.name != expected.name {
        return Err(wrong("it is for another name"));
    }
    if is_over(&record, wall) {
        return Err(Refusal::Stale(format!("the pointer expired at {}", record.expires)).into());
    }
    if record.sequence <= expected.sequence {
        let why = format!("the pointer has sequence {}, {} was seen", record.sequence, expected.sequence);
        return Err(Refusal::Stale(why).into());
    }
    Ok(record)
}

fn wrong(why: impl Into<String>) -> Error {
    Error::malformed("pointer", why)
}

/// The label, every field but the signature with its lengths, and for whom it is.
fn signed_text(fields: &[Field], reader: &PublicKey) -> Vec<u8> {
    let mut text = LABEL.to_vec();
    for field in fields.iter().filter(|f| f.name != SIGNATURE) {
        for part in [&field.name, &field.value] {
            // No text is longer than the form, which has a bound far below 2^32.
            text.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
    }
    text.extend_from_slice(reader.as_bytes());
    text
}

/// The one value of this name.
fn only<'a>(form: &'a Form, name: &'static str) -> Result<&'a str> {
    let mut values = form.fields().iter().filter(|f| f.name == name).map(|f| f.value.as_str());
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(wrong(format!("the field {name} must be there once"))),
    }
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N]> {
    let bytes = base64_decode_strict("pointer", text)?;
    <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| wrong(format!("{} bytes instead of {N}", bytes.len())))
}

fn is_over(record: &PointerRecord, wall: Timestamp) -> bool {
    wall.unix_seconds() >= record.expires.unix_seconds()
}

fn check(record: &PointerRecord) -> std::result::Result<(), String> {
    if record.name.is_empty() || !is_plain_name(&record.name) {
        return Err("the name of a pointer has 1 to 64 of A-Z a-z 0-9 space _ -".to_owned());
    }
    if record.sequence == 0 {
        return Err("the sequence of a pointer counts from 1".to_owned());
    }
    if record.addresses.is_empty() || record.addresses.len() > POINTER_ADDRESSES_MAX {
        return Err(format!("a pointer has 1 to {POINTER_ADDRESSES_MAX} addresses"));
    }
    match record.addresses.iter().find(|a| !is_address(a)) {
        Some(bad) => Err(format!("{:?} is no address", bad.chars().take(64).collect::<String>())),
        None => Ok(()),
    }
}

/// `[ws://|wss://]host:port[#64 hex digits]`, the last with TLS only.
fn is_address(text: &str) -> bool {
    let (place, pin) = match text.split_once('#') {
        Some((place, pin)) => (place, Some(pin)),
        None => (text, None),
    };
    let bare = place.strip_prefix("wss://");
    let pin_ok = pin.is_none_or(|pin| bare.is_some() && pin.len() == 64 && pin.bytes().all(|c| c.is_ascii_hexdigit()));
    let place = bare.or_else(|| place.strip_prefix("ws://")).unwrap_or(place);
    let Some((host, port)) = place.rsplit_once(':') else { return false };
    let host_ok = !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-_[]:%".contains(&c));
    let digits = port.bytes().all(|c| c.is_ascii_digit());
    pin_ok && host_ok && digits && text.len() <= PEER_TEXT_MAX && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Timestamp = Timestamp::ZERO;

    struct World {
        rng: Rng,
        sign: SignKey,
        reader: SecretKey,
        record: PointerRecord,
    }

    fn world() -> World {
        let mut rng = Rng::from_number(11);
        let (sign, reader) = (SignKey::generate(&mut rng), SecretKey::generate(&mut rng));
        let record = PointerRecord {
            name: "rig-7".into(),
            addresses: vec!["rig-7.lan:9091".into(), format!("wss://[::1]:9091#{}", "ab".repeat(32))],
            key: SecretKey::generate(&mut rng).public_key(),
            sequence: 5,
            expires: Timestamp::from_unix(1000, 0),
        };
        World { rng, sign, reader, record }
    }

    impl World {
        fn sealed(&mut self) -> Vec<u8> {
            new_pointer(&self.record, &self.sign, &self.reader.public_key(), &mut self.rng, WALL).unwrap()
        }

        fn resolve(&self, bytes: &[u8]) -> Result<PointerRecord> {
            self.resolve_at(bytes, "rig-7", 4, Timestamp::from_unix(999, 0))
        }

        fn resolve_at(&self, bytes: &[u8], name: &str, sequence: u64, wall: Timestamp) -> Result<PointerRecord> {
            let sign = self.sign.public();
            resolve(bytes, &self.reader, &PointerExpected { name, sign: &sign, sequence }, wall)
        }

        /// The same pointer with its form changed, signed anew or not.
        fn changed(&mut self, sign_again: bool, change: impl FnOnce(&mut Form)) -> Vec<u8> {
            let sealed = self.sealed();
            let mut form = stmf::open(&sealed, &FormKey::from_bytes(*self.reader.to_bytes())).unwrap();
            change(&mut form);
            if sign_again {
                let signature = self.sign.sign(&signed_text(form.fields(), &self.reader.public_key()));
                form.fields.as_mut().unwrap().retain(|f| f.name != SIGNATURE);
                form = form.with_text(SIGNATURE, &base64_encode(&signature));
            }
            stmf::seal(&form, self.reader.public_key().as_bytes(), &mut self.rng).unwrap()
        }
    }

    fn set(form: &mut Form, name: &str, value: &str) {
        form.fields.as_mut().unwrap().iter_mut().find(|f| f.name == name).unwrap().value = value.to_owned();
    }

    #[test]
    fn a_pointer_is_read_by_whom_it_is_for() {
        let mut w = world();
        let bytes = w.sealed();
        assert_eq!(w.resolve(&bytes).unwrap(), w.record);
        let other = SecretKey::generate(&mut w.rng);
        let expected = PointerExpected { name: "rig-7", sign: &w.sign.public(), sequence: 0 };
        assert!(resolve(&bytes, &other, &expected, WALL).is_err());
        let signer = SignKey::generate(&mut w.rng).public();
        let error = resolve(&bytes, &w.reader, &PointerExpected { sign: &signer, ..expected }, WALL).unwrap_err();
        assert!(matches!(error, Error::WrongKey { .. }), "{error}");
    }

    #[test]
    fn old_expired_and_misnamed_pointers_are_refused() {
        let mut w = world();
        let bytes = w.sealed();
        let at = |seconds| Timestamp::from_unix(seconds, 0);
        assert!(matches!(w.resolve_at(&bytes, "rig-7", 4, at(1000)), Err(Error::Rejected(Refusal::Stale(_)))));
        assert!(matches!(w.resolve_at(&bytes, "rig-7", 5, at(1)), Err(Error::Rejected(Refusal::Stale(_)))));
        assert!(matches!(w.resolve_at(&bytes, "rig-7", 9, at(1)), Err(Error::Rejected(Refusal::Stale(_)))));
        assert!(w.resolve_at(&bytes, "rig-8", 4, at(1)).is_err());
    }

    #[test]
    fn a_pointer_cannot_be_sealed_on_to_somebody_else() {
        let mut w = world();
        let bytes = w.sealed();
        let form = stmf::open(&bytes, &FormKey::from_bytes(*w.reader.to_bytes())).unwrap();
        let third = SecretKey::generate(&mut w.rng);
        let on = stmf::seal(&form, third.public_key().as_bytes(), &mut w.rng).unwrap();
        let expected = PointerExpected { name: "rig-7", sign: &w.sign.public(), sequence: 0 };
        assert!(resolve(&on, &third, &expected, WALL).unwrap_err().to_string().contains("another reader"));
    }

    #[test]
    fn whatever_is_changed_needs_a_new_signature_and_must_make_sense() {
        let mut w = world();
        let key = SecretKey::generate(&mut w.rng).public_key().to_base64();
        for (name, value) in [
            ("name", "rig-8"),
            ("address", "evil.example:1"),
            ("key", &key),
            ("sequence", "6"),
            ("expires", "2099-01-01T00:00:00Z"),
        ] {
            let bytes = w.changed(false, |form| set(form, name, value));
            assert!(w.resolve(&bytes).unwrap_err().to_string().contains("signature"), "{name}");
        }
        // Signed by the right key, and still nonsense.
        for (name, value) in [
            ("address", "no port"),
            ("key", key.as_str()),
            ("key", "AAAA"),
            ("sequence", "-1"),
            ("sequence", "0"),
            ("expires", "soon"),
            ("bind", "AAAA"),
            ("name", ""),
        ] {
            let bytes = w.changed(true, |form| set(form, name, value));
            assert!(w.resolve(&bytes).is_err(), "{name} {value}");
        }
        for name in ["name", "key", "sequence", "expires", "bind", "sign"] {
            let twice = w.changed(true, |form| {
                let again = form.field(name).unwrap().clone();
                form.fields.as_mut().unwrap().push(again);
            });
            assert!(w.resolve(&twice).is_err(), "{name} twice");
            let without = w.changed(true, |form| form.fields.as_mut().unwrap().retain(|f| f.name != name));
            assert!(w.resolve(&without).is_err(), "without {name}");
        }
        let other = w.changed(true, |form| drop(form.meta.insert("kind".into(), "registry".into())));
        assert!(w.resolve(&other).is_err());
        let more = w.changed(true, |form| form.fields.as_mut().unwrap().push(Field::default()));
        assert!(w.resolve(&more).is_ok(), "an unknown field that is signed is ignored");
    }

    #[test]
    fn only_pointers_that_can_be_resolved_are_made() {
        let mut w = world();
        let good = w.record.clone();
        let many = vec!["a:1".to_owned(); POINTER_ADDRESSES_MAX + 1];
        for bad in [
            PointerRecord { name: String::new(), ..good.clone() },
            PointerRecord { sequence: 0, ..good.clone() },
            PointerRecord { addresses: vec![], ..good.clone() },
            PointerRecord { addresses: many, ..good.clone() },
            PointerRecord { expires: WALL, ..good.clone() },
        ] {
            let made = new_pointer(&bad, &w.sign, &w.reader.public_key(), &mut w.rng, WALL);
            assert!(matches!(made, Err(Error::Config(_))), "{bad:?}");
        }
        for bad in ["", "a", "a:", "a:0", "a:65536", ":1", "a b:1", "http://a:1", "ws://a:1#00", "wss://a:1#xy", "a:+1"]
        {
            assert!(!is_address(bad), "{bad}");
        }
        for good in ["a:1", "ws://10.0.0.1:9091", "wss://[fe80::1%eth0]:65535", "[::1]:1"] {
            assert!(is_address(good), "{good}");
        }
    }
}
