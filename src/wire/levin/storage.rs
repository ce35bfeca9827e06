//! Sections of portable storage: names and values, typed access, and the canonical bytes.

use super::value::{Array, FromValue, Value};
use super::{LevinError, encode_varint};

/// Most sections inside each other, the root counted.
pub const DEPTH_MAX: usize = 64;

/// What every storage begins with: two signatures and version 1.
pub const STORAGE_HEADER: [u8; 9] = [0x01, 0x11, 0x01, 0x01, 0x01, 0x01, 0x02, 0x01, 1];

/// The longest name, bytes.
const NAME_BYTES_MAX: usize = 255;

/// One entry: its name and its value.
pub(super) type Entry = (Box<[u8]>, Value);

/// Named values, each name once, in ascending byte order of the names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// Sorted by name, no name twice.
    entries: Vec<Entry>,
}

impl Section {
    /// One with nothing in it.
    pub fn new() -> Section {
        Section::default()
    }

    /// Of entries in any order. Of names that stand twice the last wins when `lenient`.
    pub(super) fn from_entries(mut entries: Vec<Entry>, lenient: bool) -> Result<Section, LevinError> {
        if !entries.is_sorted_by(|(a, _), (b, _)| a < b) {
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            let twice = entries.windows(2).find_map(|pair| match pair {
                [(a, _), (b, _)] if a == b => Some(String::from_utf8_lossy(a).into_owned()),
                _ => None,
            });
            match twice {
                Some(name) if !lenient => return Err(LevinError::DuplicateName(name)),
                Some(_) => {
                    // The sort is stable: of equal names the last one read stands last, and is kept.
                    entries.reverse();
                    entries.dedup_by(|(a, _), (b, _)| a == b);
                    entries.reverse();
                }
                None => {}
            }
        }
        entries.shrink_to_fit();
        Ok(Section { entries })
    }

    /// Puts a value in, in place of the one of that name.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Section {
        self.set_bytes(name.as_bytes(), value.into());
        self
    }

    /// The same for a name that need not be text.
    pub fn set_bytes(&mut self, name: &[u8], value: Value) {
        match self.place(name) {
            Ok(at) => {
                if let Some((_, old)) = self.entries.get_mut(at) {
                    *old = value;
                }
            }
            Err(at) => self.entries.insert(at, (name.into(), value)),
        }
    }

    /// The same, to build in one expression.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Section {
        self.set(name, value);
        self
    }

    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|(n, _)| n.as_ref().cmp(name))
    }

    /// The value of this name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.place(name.as_bytes()).ok().and_then(|at| self.entries.get(at)).map(|(_, value)| value)
    }

    /// The value of this name as `T`; `None` when there is no such entry.
    ///
    /// # Errors
    /// [`LevinError::TypeMismatch`]; nothing is converted.
    pub fn read<'a, T: FromValue<'a>>(&'a self, name: &str) -> Result<Option<T>, LevinError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        T::from_value(value).map(Some).ok_or_else(|| value.mismatch(name.as_bytes()))
    }

    /// The bytes of a string.
    ///
    /// # Errors
    /// [`LevinError::TypeMismatch`].
    pub fn string(&self, name: &str) -> Result<Option<&[u8]>, LevinError> {
        Ok(self.read::<&Vec<u8>>(name)?.map(Vec::as_slice))
    }

    /// A number of any width that fits into `T`, which is how CryptoNote nodes read them; 0 when it is absent.
    ///
    /// # Errors
    /// [`LevinError::TypeMismatch`] when it is no number, is negative, or does not fit.
    pub fn unsigned<T: TryFrom<u64> + Default>(&self, name: &str) -> Result<T, LevinError> {
        let Some(value) = self.value(name) else { return Ok(T::default()) };
        let number = value.unsigned().and_then(|n| T::try_from(n).ok());
        number.ok_or_else(|| value.mismatch(name.as_bytes()))
    }

    /// Names and values, in byte order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &Value)> {
        self.entries.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The canonical bytes: names in byte order, shortest varints, 1 for yes.
    ///
    /// # Errors
    /// [`LevinError::NameTooLong`], [`LevinError::TooDeep`].
    pub fn encode(&self) -> Result<Vec<u8>, LevinError> {
        let mut out = STORAGE_HEADER.to_vec();
        self.write(&mut out, 1)?;
        Ok(out)
    }

    /// Recurses at most [`DEPTH_MAX`] times.
    fn write(&self, out: &mut Vec<u8>, depth: usize) -> Result<(), LevinError> {
        if depth > DEPTH_MAX {
            return Err(LevinError::TooDeep);
        }
        write_count(self.entries.len(), out)?;
        for (name, value) in &self.entries {
            let length = u8::try_from(name.len()).map_err(|_| LevinError::NameTooLong(name.len()))?;
            debug_assert!(usize::from(length) <= NAME_BYTES_MAX);
            out.push(length);
            out.extend_from_slice(name);
            out.push(value.tag());
            write_value(value, out, depth)?;
        }
        Ok(())
    }

    /// Bytes that this section takes on the heap, capacities included.
    pub fn heap_bytes(&self) -> usize {
        let entries = self.entries.iter().map(|(name, value)| name.len() + value_heap_bytes(value));
        self.entries.capacity() * size_of::<Entry>() + entries.sum::<usize>()
    }
}

fn write_count(count: usize, out: &mut Vec<u8>) -> Result<(), LevinError> {
    encode_varint(u64::try_from(count).unwrap_or(u64::MAX), out)
}

fn write_string(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), LevinError> {
    write_count(bytes.len(), out)?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn write_value(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), LevinError> {
    match value {
        Value::I64(n) => out.extend(n.to_le_bytes()),
        Value::I32(n) => out.extend(n.to_le_bytes()),
        Value::I16(n) => out.extend(n.to_le_bytes()),
        Value::I8(n) => out.extend(n.to_le_bytes()),
        Value::U64(n) => out.extend(n.to_le_bytes()),
        Value::U32(n) => out.extend(n.to_le_bytes()),
        Value::U16(n) => out.extend(n.to_le_bytes()),
        Value::U8(n) => out.push(*n),
        Value::F64(n) => out.extend(n.to_bits().to_le_bytes()),
        Value::Bool(yes) => out.push(u8::from(*yes)),
        Value::String(bytes) => write_string(bytes, out)?,
        Value::Object(section) => section.write(out, depth + 1)?,
        Value::Array(array) => write_array(array, out, depth)?,
    }
    Ok(())
}

fn write_array(array: &Array, out: &mut Vec<u8>, depth: usize) -> Result<(), LevinError> {
    write_count(array.len(), out)?;
    match array {
        Array::I64(items) => out.extend(items.iter().flat_map(|n| n.to_le_bytes())),
        Array::I32(items) => out.extend(items.iter().flat_map(|n| n.to_le_bytes())),
        Array::I16(items) => out.extend(items.iter().flat_map(|n| n.to_le_bytes())),
        Array::I8(items) => out.extend(items.iter().flat_map(|n| n.to_le_bytes())),
        Array::U64(items) => out.extend(items.iter().flat_map(|n| n.to_le_bytes())),
        Array::U32(items) => out.extend(items.iter().flat_map(|n| n.to_le_bytes())),
        Array::U16(items) => out.extend(items.iter().flat_map(|n| n.to_le_bytes())),
        Array::U8(items) => out.extend_from_slice(items),
        Array::F64(items) => out.extend(items.iter().flat_map(|n| n.to_bits().to_le_bytes())),
        Array::Bool(items) => out.extend(items.iter().map(|yes| u8::from(*yes))),
        Array::String(items) => items.iter().try_for_each(|bytes| write_string(bytes, out))?,
        Array::Object(items) => items.iter().try_for_each(|section| section.write(out, depth + 1))?,
    }
    Ok(())
}

fn value_heap_bytes(value: &Value) -> usize {
    match value {
        Value::String(bytes) => bytes.capacity(),
        Value::Object(section) => section.heap_bytes(),
        Value::Array(array) => match array {
            Array::I64(items) => items.capacity() * 8,
            Array::U64(items) => items.capacity() * 8,
            Array::F64(items) => items.capacity() * 8,
            Array::I32(items) => items.capacity() * 4,
            Array::U32(items) => items.capacity() * 4,
            Array::I16(items) => items.capacity() * 2,
            Array::U16(items) => items.capacity() * 2,
            Array::I8(items) => items.capacity(),
            Array::U8(items) => items.capacity(),
            Array::Bool(items) => items.capacity(),
            Array::String(items) => {
                items.capacity() * size_of::<Vec<u8>>() + items.iter().map(Vec::capacity).sum::<usize>()
            }
            Array::Object(items) => {
                items.capacity() * size_of::<Section>() + items.iter().map(Section::heap_bytes).sum::<usize>()
            }
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_in_byte_order_whatever_the_order_of_setting() {
        let section = Section::new().with("b", 1u8).with("aa", 2u8).with("", 3u8).with("B", 4u8).with("b", 5u8);
        let names: Vec<_> = section.iter().map(|(name, _)| name.to_vec()).collect();
        assert_eq!(names, [&b""[..], b"B", b"aa", b"b"]);
        assert_eq!(section.read::<u8>("b"), Ok(Some(5)));
        assert_eq!(Section::decode(&section.encode().unwrap()), Ok(section));
    }

    #[test]
    fn typed_access_converts_nothing_and_names_what_it_found() {
        let list = Array::U16(vec![1, 2]);
        let section = Section::new().with("n", 7u32).with("s", "x").with("a", list).with("o", Section::new());
        assert_eq!(section.read::<u32>("n"), Ok(Some(7)));
        assert_eq!(section.read::<u64>("absent"), Ok(None));
        assert_eq!(section.read::<&[u16]>("a"), Ok(Some(&[1u16, 2][..])));
        assert_eq!(section.string("s"), Ok(Some(&b"x"[..])));
        assert!(section.read::<&Section>("o").unwrap().unwrap().is_empty());
        let error = section.read::<u64>("n").unwrap_err();
        assert_eq!(error, LevinError::TypeMismatch { name: "n".into(), has: "u32".into() });
        assert_eq!(section.unsigned::<u64>("n"), Ok(7));
        assert!(section.unsigned::<u64>("s").is_err());
        assert_eq!(section.value("a").map(Value::type_name).as_deref(), Some("array of u16"));
    }

    #[test]
    fn a_name_of_255_bytes_is_written_and_one_of_256_refused() {
        let named = |length: usize| Section::new().with(&"n".repeat(length), 1u8).encode();
        assert!(named(NAME_BYTES_MAX).is_ok());
        assert_eq!(named(256), Err(LevinError::NameTooLong(256)));
    }

    #[test]
    fn a_tree_deeper_than_the_bound_is_neither_written_nor_read() {
        let nested = |levels: usize| (1..levels).fold(Section::new(), |inner, _| Section::new().with("a", inner));
        let deepest = nested(DEPTH_MAX).encode().unwrap();
        assert_eq!(Section::decode(&deepest).unwrap().encode().unwrap(), deepest);
        assert_eq!(nested(DEPTH_MAX + 1).encode(), Err(LevinError::TooDeep));
    }
}
