//! Reading portable storage: one pass with a stack of its own, every count checked before it is believed.

use super::storage::{DEPTH_MAX, Entry, STORAGE_HEADER, Section};
use super::value::{Array, Kind, Value};
use super::{LevinError, decode_varint};

/// Most values in one storage: entries of sections, strings and sections of arrays together. A handshake with 250 peers has
/// about 2,000.
pub const VALUES_MAX: usize = 1 << 18;

/// A decoded tree takes at most this many bytes for each byte it was read from: an empty section in an array is one byte there
/// and three words here.
pub const BYTES_PER_INPUT_BYTE: usize = 32;

/// The fewest bytes an entry can have: the length of an empty name, a type, one byte of value.
const ENTRY_BYTES_MIN: usize = 3;

/// What is let pass when a storage is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Bytes behind the root are ignored, and of names that stand twice the last wins, as the Go package reads.
    pub lenient: bool,
    /// Most values, as [`VALUES_MAX`].
    pub values_max: usize,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading { lenient: false, values_max: VALUES_MAX }
    }
}

/// A section that is being read.
struct Open {
    entries: Vec<Entry>,
    /// Entries to come.
    left: usize,
    /// The entry whose value is the section above this one on the stack.
    waiting: Option<Waiting>,
}

/// An entry that waits for a section, or for those of an array.
struct Waiting {
    name: Box<[u8]>,
    /// What was read of an array, and how many are still to come behind the one being read.
    array: Option<(Vec<Section>, usize)>,
}

impl Section {
    /// Reads a storage: its header, the root section, and nothing behind it.
    ///
    /// # Errors
    /// What is wrong with the bytes. See the bounds of [this module](super).
    pub fn decode(bytes: &[u8]) -> Result<Section, LevinError> {
        decode(bytes, &Reading::default())
    }

    /// Reads a storage by other rules.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode_with(bytes: &[u8], reading: &Reading) -> Result<Section, LevinError> {
        decode(bytes, reading)
    }
}

fn decode(bytes: &[u8], reading: &Reading) -> Result<Section, LevinError> {
    let rest = bytes.get(STORAGE_HEADER.len()..).ok_or(LevinError::Truncated("storage header"))?;
    let [signature @ .., version] = &STORAGE_HEADER;
    if !bytes.starts_with(signature) {
        return Err(LevinError::StorageSignature);
    }
    match bytes.get(signature.len()) {
        Some(found) if found != version => return Err(LevinError::StorageVersion(*found)),
        _ => {}
    }
    let mut input = Input { rest, values_left: reading.values_max };
    let root = tree(&mut input, reading.lenient)?;
    match input.rest.len() {
        0 => Ok(root),
        _ if reading.lenient => Ok(root),
        more => Err(LevinError::TrailingBytes(more)),
    }
}

fn tree(input: &mut Input<'_>, lenient: bool) -> Result<Section, LevinError> {
    let mut stack = vec![input.open()?];
    loop {
        let Some(top) = stack.last_mut() else { return Err(LevinError::Truncated("section")) };
        if top.left > 0 {
            top.left -= 1;
            let name = input.name()?;
            let [tag] = input.array("type")?;
            match Kind::from_tag(tag)? {
                (Kind::Object, false) => top.waiting = Some(Waiting { name, array: None }),
                (Kind::Object, true) => match input.count(1, "array of objects")? {
                    0 => {
                        top.entries.push((name, Array::empty(Kind::Object).into()));
                        continue;
                    }
                    count => top.waiting = Some(Waiting { name, array: Some((Vec::new(), count - 1)) }),
                },
                (kind, false) => {
                    top.entries.push((name, input.scalar(kind)?));
                    continue;
                }
                (kind, true) => {
                    top.entries.push((name, Value::Array(input.scalars(kind)?)));
                    continue;
                }
            }
            // The value is a section: it comes next.
            if stack.len() >= DEPTH_MAX {
                return Err(LevinError::TooDeep);
            }
            stack.push(input.open()?);
            continue;
        }
        let Some(done) = stack.pop() else { return Err(LevinError::Truncated("section")) };
        let section = Section::from_entries(done.entries, lenient)?;
        let Some(parent) = stack.last_mut() else { return Ok(section) };
        let Some(waiting) = parent.waiting.take() else { return Err(LevinError::Truncated("section")) };
        match waiting {
            Waiting { name, array: None } => parent.entries.push((name, Value::Object(section))),
            Waiting { name, array: Some((mut sections, left)) } => {
                input.spend(1)?;
                sections.push(section);
                if left > 0 {
                    parent.waiting = Some(Waiting { name, array: Some((sections, left - 1)) });
                    stack.push(input.open()?);
                } else {
                    sections.shrink_to_fit();
                    parent.entries.push((name, Array::Object(sections).into()));
                }
            }
        }
    }
}

/// The bytes left.
struct Input<'a> {
    rest: &'a [u8],
    values_left: usize,
}

macro_rules! numbers {
    ($input:ident, $array:ident, $number:ty) => {{
        const BYTES: usize = size_of::<$number>();
        let count = $input.count(BYTES, "array")?;
        let bytes = $input.take(count * BYTES, "array")?;
        Array::$array(bytes.as_chunks::<BYTES>().0.iter().map(|b| <$number>::from_le_bytes(*b)).collect())
    }};
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], LevinError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(LevinError::Truncated(what))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], LevinError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(LevinError::Truncated(what))?;
        self.rest = rest;
        Ok(*head)
    }

    /// A count of things that take `each` bytes at least: never more than the rest can hold.
    fn count(&mut self, each: usize, what: &'static str) -> Result<usize, LevinError> {
        let (count, width) = decode_varint(self.rest)?;
        self.take(width, what)?;
        let count = usize::try_from(count).map_err(|_| LevinError::Truncated(what))?;
        if count > self.rest.len() / each { Err(LevinError::Truncated(what)) } else { Ok(count) }
    }

    /// Takes from the number of values that may still come.
    fn spend(&mut self, values: usize) -> Result<(), LevinError> {
        self.values_left = self.values_left.checked_sub(values).ok_or(LevinError::TooManyValues)?;
        Ok(())
    }

    /// The beginning of a section.
    fn open(&mut self) -> Result<Open, LevinError> {
        let left = self.count(ENTRY_BYTES_MIN, "section")?;
        self.spend(left)?;
        // Grown as entries come: sections inside each other could all claim the same bytes.
        Ok(Open { entries: Vec::new(), left, waiting: None })
    }

    fn name(&mut self) -> Result<Box<[u8]>, LevinError> {
        let [length] = self.array("entry name")?;
        Ok(self.take(length.into(), "entry name")?.into())
    }

    fn string(&mut self) -> Result<Vec<u8>, LevinError> {
        let length = self.count(1, "string")?;
        Ok(self.take(length, "string")?.to_vec())
    }

    fn scalar(&mut self, kind: Kind) -> Result<Value, LevinError> {
        Ok(match kind {
            Kind::I64 => i64::from_le_bytes(self.array("i64")?).into(),
            Kind::I32 => i32::from_le_bytes(self.array("i32")?).into(),
            Kind::I16 => i16::from_le_bytes(self.array("i16")?).into(),
            Kind::I8 => i8::from_le_bytes(self.array("i8")?).into(),
            Kind::U64 => u64::from_le_bytes(self.array("u64")?).into(),
            Kind::U32 => u32::from_le_bytes(self.array("u32")?).into(),
            Kind::U16 => u16::from_le_bytes(self.array("u16")?).into(),
            Kind::U8 => u8::from_le_bytes(self.array("u8")?).into(),
            Kind::F64 => f64::from_bits(u64::from_le_bytes(self.array("f64")?)).into(),
            Kind::Bool => (self.array("bool")? != [0]).into(),
            Kind::String => self.string()?.into(),
            Kind::Object => return Err(LevinError::UnknownType(kind.tag())),
        })
    }

    fn scalars(&mut self, kind: Kind) -> Result<Array, LevinError> {
        Ok(match kind {
            Kind::I64 => numbers!(self, I64, i64),
            Kind::I32 => numbers!(self, I32, i32),
            Kind::I16 => numbers!(self, I16, i16),
            Kind::I8 => numbers!(self, I8, i8),
            Kind::U64 => numbers!(self, U64, u64),
            Kind::U32 => numbers!(self, U32, u32),
            Kind::U16 => numbers!(self, U16, u16),
            Kind::U8 => numbers!(self, U8, u8),
            Kind::F64 => {
                let count = self.count(8, "array")?;
                let bytes = self.take(count * 8, "array")?;
                Array::F64(bytes.as_chunks().0.iter().map(|b| f64::from_bits(u64::from_le_bytes(*b))).collect())
            }
            Kind::Bool => {
                let count = self.count(1, "array")?;
                Array::Bool(self.take(count, "array")?.iter().map(|b| *b != 0).collect())
            }
            Kind::String => {
                let count = self.count(1, "array of strings")?;
                self.spend(count)?;
                // Each takes one byte at least, which was checked: this is within the memory promised.
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.string()?);
                }
                Array::String(items)
            }
            Kind::Object => return Err(LevinError::UnknownType(kind.tag())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(hex: &str) -> Vec<u8> {
        [&STORAGE_HEADER[..], &hex::decode(hex).unwrap()].concat()
    }

    #[test]
    fn a_count_larger_than_the_bytes_is_refused_before_anything_is_allocated() {
        // mesh-weaknesses.md 29: 2^62-1 of each kind crashed the original, 10^9 took 8 GB.
        for (kind, count) in Kind::ALL.iter().flat_map(|k| [(k, "ffffffffffffffff"), (k, "02286bee"), (k, "feffffff")])
        {
            let bytes = storage(&format!("040161{:02x}{count}", kind.tag() | 0x80));
            assert!(matches!(Section::decode(&bytes), Err(LevinError::Truncated(_))), "{kind:?} {count}");
        }
        // 10^8 entries in 13 bytes.
        assert!(matches!(Section::decode(&storage("0284d717")), Err(LevinError::Truncated("section"))));
    }

    #[test]
    fn five_million_sections_inside_each_other_are_refused() {
        let deep = [&STORAGE_HEADER[..], &b"\x04\x01a\x0c".repeat(5_000_000)].concat();
        assert_eq!(Section::decode(&deep), Err(LevinError::TooDeep));
        let deep = [&STORAGE_HEADER[..], &b"\x04\x01a\x8c\x04".repeat(1_000_000)].concat();
        assert_eq!(Section::decode(&deep), Err(LevinError::TooDeep));
    }

    #[test]
    fn a_tree_takes_a_small_multiple_of_its_bytes_even_when_it_is_made_to_take_more() {
        let count = |n: u32| (n << 2 | 2).to_le_bytes().to_vec();
        let (n, small) = (100_000u32, 60_000u32);
        let mut cases = vec![
            [&b"\x04\x01a\x8c"[..], &count(n), &vec![0; n as usize]].concat(), // empty sections
            [&b"\x04\x01a\x8a"[..], &count(n), &vec![0; n as usize]].concat(), // empty strings
            [&b"\x04\x01a\x8c"[..], &count(small), &b"\x04\x00\x08\x01".repeat(small as usize)].concat(),
            [&b"\x04\x01a\x8b"[..], &count(n), &vec![2; n as usize]].concat(),
        ];
        let names: Vec<u8> = (0..small).flat_map(|i| [&[3][..], &i.to_le_bytes()[..3], &[8, 0]].concat()).collect();
        cases.push([&count(small)[..], &names].concat());
        for root in cases {
            let bytes = [&STORAGE_HEADER[..], &root].concat();
            let section = Section::decode(&bytes).unwrap();
            let (heap, max) = (section.heap_bytes(), bytes.len() * BYTES_PER_INPUT_BYTE);
            assert!(heap <= max, "{heap} bytes for {} of input", bytes.len());
        }
        let many = [&STORAGE_HEADER[..], b"\x04\x01a\x8c", &count(1 << 20), &vec![0; 1 << 20]].concat();
        assert_eq!(Section::decode(&many), Err(LevinError::TooManyValues));
    }

    #[test]
    fn names_twice_and_bytes_behind_the_root_need_a_lenient_reader() {
        let lenient = Reading { lenient: true, ..Reading::default() };
        let twice = storage("0c016108010162080901610802");
        assert_eq!(Section::decode(&twice), Err(LevinError::DuplicateName("a".into())));
        let section = Section::decode_with(&twice, &lenient).unwrap();
        assert_eq!((section.len(), section.read::<u8>("a")), (2, Ok(Some(2))));
        let more = storage("00ff");
        assert_eq!(Section::decode(&more), Err(LevinError::TrailingBytes(1)));
        assert!(Section::decode_with(&more, &lenient).unwrap().is_empty());
    }
}
