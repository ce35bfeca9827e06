//! Reading CBOR: a bounded, strict layer over the decoder of `minicbor`.

use crate::base::Error;
use minicbor::data::Type;
use minicbor::decode::Decoder;
use std::fmt;

/// How many maps and arrays may stand inside each other, the outermost counted (dht.md §2).
pub const DEPTH_MAX: usize = 32;

/// Why bytes are not the CBOR they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CborError {
    /// Where: bytes from the start.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for CborError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for CborError {}

impl From<CborError> for Error {
    fn from(error: CborError) -> Error {
        Error::malformed("CBOR", error.to_string())
    }
}

type Result<T> = std::result::Result<T, CborError>;

/// Reads values one after another.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    decoder: Decoder<'a>,
    depth: usize,
}

/// A read of a number of one width.
macro_rules! number {
    ($($name:ident $what:literal)*) => { $(
        #[doc = concat!("An unsigned integer, in any width, that fits ", stringify!($name), ".")]
        ///
        /// # Errors
        /// What stands there is none, or is too large.
        pub fn $name(&mut self) -> Result<$name> {
            let at = self.decoder.position();
            self.decoder.$name().map_err(|_| CborError { at, what: $what })
        }
    )* };
}

impl<'a> Reader<'a> {
    /// Reads all of `bytes` with `read`.
    ///
    /// # Errors
    /// Those of `read`, and bytes that are left over.
    pub fn whole<T, E: From<CborError>>(
        bytes: &'a [u8],
        read: impl FnOnce(&mut Reader<'a>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut reader = Reader { decoder: Decoder::new(bytes), depth: 0 };
        let value = read(&mut reader)?;
        match reader.decoder.position() == bytes.len() {
            true => Ok(value),
            false => Err(reader.fault("bytes after the end").into()),
        }
    }

    /// An error at the place that is read next.
    pub fn fault(&self, what: &'static str) -> CborError {
        CborError { at: self.decoder.position(), what }
    }

    /// A map with unsigned keys. `field` is told each key and reads its value, or returns false to have it skipped.
    ///
    /// # Errors
    /// No such map, an indefinite length, a key below 64 that stands twice, too much nesting; those of `field`.
    pub fn map<E: From<CborError>>(
        &mut self,
        mut field: impl FnMut(u64, &mut Reader<'a>) -> std::result::Result<bool, E>,
    ) -> std::result::Result<(), E> {
        let mut seen = 0u64;
        self.container(Decoder::map, "no map of definite length", |reader| {
            let key = reader.u64()?;
            let bit = u32::try_from(key).ok().and_then(|key| 1u64.checked_shl(key)).unwrap_or(0);
            if seen & bit != 0 {
                return Err(reader.fault("a key that stands twice").into());
            }
            seen |= bit;
            if !field(key, reader)? {
                reader.skip()?;
            }
            Ok(())
        })
    }

    /// A map whose keys are read by `entry` like its values.
    ///
    /// # Errors
    /// No such map, an indefinite length, too much nesting; those of `entry`.
    pub fn entries<E: From<CborError>>(
        &mut self,
        entry: impl FnMut(&mut Reader<'a>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.container(Decoder::map, "no map of definite length", entry)
    }

    /// An array; `item` reads each of its elements.
    ///
    /// # Errors
    /// No array, an indefinite length, too much nesting; those of `item`.
    pub fn array<E: From<CborError>>(
        &mut self,
        item: impl FnMut(&mut Reader<'a>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.container(Decoder::array, "no array of definite length", item)
    }

    fn container<E: From<CborError>>(
        &mut self,
        open: impl FnOnce(&mut Decoder<'a>) -> std::result::Result<Option<u64>, minicbor::decode::Error>,
        what: &'static str,
        mut each: impl FnMut(&mut Reader<'a>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let at = self.decoder.position();
        let Ok(Some(count)) = open(&mut self.decoder) else { return Err(CborError { at, what }.into()) };
        if self.depth >= DEPTH_MAX {
            return Err(CborError { at, what: "nested too deep" }.into());
        }
        self.depth += 1;
        for _ in 0..count {
            each(self)?;
        }
        self.depth -= 1;
        Ok(())
    }

    number!(u8 "no integer up to 255" u16 "no integer up to 65535" u32 "no integer of 32 bits" u64 "no unsigned integer");

    /// A truth value.
    ///
    /// # Errors
    /// What stands there is none.
    pub fn bool(&mut self) -> Result<bool> {
        let at = self.decoder.position();
        self.decoder.bool().map_err(|_| CborError { at, what: "no bool" })
    }

    /// A byte string of definite length.
    ///
    /// # Errors
    /// What stands there is none.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let at = self.decoder.position();
        self.decoder.bytes().map_err(|_| CborError { at, what: "no byte string of definite length" })
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// What stands there is none, or of another length.
    pub fn array_of<const N: usize>(&mut self) -> Result<[u8; N]> {
        let at = self.decoder.position();
        self.bytes()?.try_into().map_err(|_| CborError { at, what: "a byte string of another length" })
    }

    /// A text of definite length, in UTF-8.
    ///
    /// # Errors
    /// What stands there is none.
    pub fn text(&mut self) -> Result<&'a str> {
        let at = self.decoder.position();
        self.decoder.str().map_err(|_| CborError { at, what: "no UTF-8 text of definite length" })
    }

    /// Takes a null if one stands there.
    pub fn take_null(&mut self) -> bool {
        self.decoder.datatype().is_ok_and(|kind| kind == Type::Null) && self.decoder.null().is_ok()
    }

    /// A value, or `None` for a null.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn optional<T, E>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> std::result::Result<T, E>,
    ) -> std::result::Result<Option<T>, E> {
        if self.take_null() { Ok(None) } else { read(self).map(Some) }
    }

    /// The kind of what stands there.
    pub(super) fn kind(&self) -> Result<Type> {
        self.decoder.datatype().map_err(|_| self.fault("the end, or no CBOR"))
    }

    /// The decoder itself, for scalars that structures do not have.
    pub(super) fn scalar<T>(
        &mut self,
        read: impl FnOnce(&mut Decoder<'a>) -> std::result::Result<T, minicbor::decode::Error>,
    ) -> Result<T> {
        let at = self.decoder.position();
        read(&mut self.decoder).map_err(|_| CborError { at, what: "no such value" })
    }

    /// The two bytes of a float of 16 bits.
    pub(super) fn half(&mut self) -> Result<u16> {
        let at = self.decoder.position();
        match self.decoder.input().get(at..).unwrap_or_default() {
            [0xf9, high, low, ..] => {
                self.decoder.set_position(at + 3);
                Ok(u16::from_be_bytes([*high, *low]))
            }
            _ => Err(CborError { at, what: "no float of 16 bits" }),
        }
    }

    /// Skips one value with all that is in it, and gives its bytes. Does not recurse.
    ///
    /// # Errors
    /// No value, an indefinite length, a tag, too much nesting.
    pub fn skip(&mut self) -> Result<&'a [u8]> {
        let start = self.decoder.position();
        // How many values are missing in each container that is open.
        let mut open = [0u64; DEPTH_MAX];
        let mut depth = self.depth;
        loop {
            let at = self.decoder.position();
            let count = match self.kind()? {
                Type::Map => self.decoder.map().ok().flatten().and_then(|pairs| pairs.checked_mul(2)),
                Type::Array => self.decoder.array().ok().flatten(),
                Type::Bytes => self.decoder.bytes().ok().map(|_| 0),
                Type::String => self.decoder.str().ok().map(|_| 0),
                Type::BytesIndef | Type::StringIndef | Type::ArrayIndef | Type::MapIndef | Type::Tag | Type::Break => {
                    None
                }
                _ => self.decoder.skip().ok().map(|()| 0),
            };
            let Some(count) = count else { return Err(CborError { at, what: "a value that is not deterministic" }) };
            if count > 0 || matches!(self.decoder.input().get(at).map(|b| b >> 5), Some(4 | 5)) {
                let Some(slot) = open.get_mut(depth) else { return Err(CborError { at, what: "nested too deep" }) };
                *slot = count;
                depth += 1;
            }
            while let Some(last) = depth.checked_sub(1).filter(|last| *last >= self.depth) {
                match open.get_mut(last) {
                    Some(left) if *left > 0 => {
                        *left -= 1;
                        break;
                    }
                    _ => depth = last,
                }
            }
            if depth == self.depth {
                let end = self.decoder.position();
                return self.decoder.input().get(start..end).ok_or(CborError { at: start, what: "the end" });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(bytes: &[u8]) -> Result<()> {
        Reader::whole(bytes, |r| r.skip().map(|_| ()))
    }

    #[test]
    fn what_is_skipped_is_checked_like_the_rest() {
        for good in
            ["00", "a0", "80", "8180", "a10102", "8201820203", "a2018101028101", "fb3ff8000000000000", "f6", "6161"]
        {
            assert_eq!(skip(&hex::decode(good).unwrap()), Ok(()), "{good}");
        }
        for bad in
            ["", "9f00ff", "5f4100ff", "bf0000ff", "c001", "81", "a101", "0000", "ff", "1c", "62ff00", "8181c000"]
        {
            assert!(skip(&hex::decode(bad).unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn nesting_ends_at_the_bound_whether_read_or_skipped() {
        let nested = |levels: usize| [&vec![0x81; levels - 1][..], &[0x80]].concat();
        assert_eq!(skip(&nested(32)), Ok(()));
        assert_eq!(skip(&nested(33)).unwrap_err().what, "nested too deep");
        fn read(r: &mut Reader<'_>) -> Result<()> {
            r.array(read)
        }
        assert_eq!(Reader::whole(&nested(32), read), Ok(()));
        assert_eq!(Reader::whole(&nested(33), read).unwrap_err().what, "nested too deep");
        let within = |levels| Reader::whole(&nested(levels), |r| r.array(|r| r.skip().map(|_| ())));
        assert_eq!((within(32).is_ok(), within(33).is_ok()), (true, false));
    }

    #[test]
    fn a_count_that_lies_allocates_nothing_and_ends() {
        assert!(skip(&hex::decode("9bffffffffffffffff").unwrap()).is_err());
        assert!(skip(&hex::decode("bbffffffffffffffff00").unwrap()).is_err());
        let items = Reader::whole(&hex::decode("9bffffffffffffffff00").unwrap(), |r| r.array(|r| r.u8().map(|_| ())));
        assert!(items.is_err());
    }

    #[test]
    fn a_key_stands_once_and_is_a_number() {
        let read = |text: &str| {
            let (bytes, mut keys) = (hex::decode(text).unwrap(), Vec::new());
            let all = Reader::whole(&bytes, |r| {
                r.map(|key, r| {
                    keys.push(key);
                    r.u8().map(|_| key < 64)
                })
            });
            all.map(|()| keys)
        };
        assert_eq!(read("a202000100"), Ok(vec![2, 1]));
        assert_eq!(read("a118180000").unwrap_err().what, "bytes after the end");
        assert_eq!(read("a201000100").unwrap_err().what, "a key that stands twice");
        assert_eq!(read("a20100180100").unwrap_err().what, "a key that stands twice");
        assert!(read("a1613100").is_err());
        assert!(read("a12000").is_err());
    }

    #[test]
    fn numbers_keep_their_range() {
        let read = |text: &str| Reader::whole(&hex::decode(text).unwrap(), |r| r.u16());
        assert_eq!(read("19ffff"), Ok(0xffff));
        assert_eq!(read("1a00000005"), Ok(5));
        for bad in ["1a00010000", "20", "f93c00", "f6", "c100"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
