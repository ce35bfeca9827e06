//! Writing structures: maps with small unsigned keys, in ascending order.

/// The kinds of CBOR items (RFC 8949 §3.1) that are written here.
#[derive(Clone, Copy)]
pub(super) enum Major {
    Unsigned = 0,
    Negative = 1,
    Bytes = 2,
    Text = 3,
    Array = 4,
    Map = 5,
}

/// Null, one byte.
pub(super) const NULL: u8 = 0xf6;

/// One byte, false or true.
pub(super) fn bool_byte(value: bool) -> u8 {
    0xf4 | u8::from(value)
}

/// The head of an item: its kind and a number, as short as it goes.
pub(super) fn push_head(out: &mut Vec<u8>, major: Major, number: u64) {
    let kind = (major as u8) << 5;
    match (u8::try_from(number), u16::try_from(number), u32::try_from(number)) {
        (Ok(n @ ..=23), ..) => out.push(kind | n),
        (Ok(n), ..) => out.extend_from_slice(&[kind | 24, n]),
        (_, Ok(n), _) => {
            out.push(kind | 25);
            out.extend_from_slice(&n.to_be_bytes());
        }
        (.., Ok(n)) => {
            out.push(kind | 26);
            out.extend_from_slice(&n.to_be_bytes());
        }
        _ => {
            out.push(kind | 27);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// A byte string or a text.
pub(super) fn push_string(out: &mut Vec<u8>, major: Major, bytes: &[u8]) {
    push_head(out, major, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The head of a map without pairs.
const EMPTY_MAP: u8 = 0xa0;

/// Room that a map takes at once: enough for most that are part of others.
const ROOM: usize = 96;

/// Builds one map, key by key. Keys are given in ascending order, 23 of them at most; the count is put in at the end.
#[derive(Clone, Debug)]
pub struct MapWriter {
    out: Vec<u8>,
    /// Where the map begins; it may stand in another one.
    start: usize,
    count: u8,
    room: usize,
}

impl Default for MapWriter {
    fn default() -> MapWriter {
        MapWriter::new()
    }
}

impl MapWriter {
    /// An empty map.
    pub fn new() -> MapWriter {
        MapWriter::with_room(ROOM)
    }

    /// An empty map with room for so many bytes; it grows if it is longer. A list that grows leaves blocks of all sizes
    /// behind, of which an allocator keeps many for each thread.
    pub fn with_room(room: usize) -> MapWriter {
        MapWriter { out: Vec::new(), start: 0, count: 0, room }
    }

    fn key(&mut self, key: u8) -> &mut Vec<u8> {
        debug_assert!(self.count < 23, "the count of a structure is one byte");
        self.count += 1;
        if self.out.len() == self.start {
            self.out.reserve_exact(self.room);
            self.out.push(EMPTY_MAP);
        }
        push_head(&mut self.out, Major::Unsigned, key.into());
        &mut self.out
    }

    /// An unsigned integer.
    pub fn uint(&mut self, key: u8, value: impl Into<u64>) -> &mut MapWriter {
        push_head(self.key(key), Major::Unsigned, value.into());
        self
    }

    /// A truth value.
    pub fn bool(&mut self, key: u8, value: bool) -> &mut MapWriter {
        self.key(key).push(bool_byte(value));
        self
    }

    /// A byte string.
    pub fn bytes(&mut self, key: u8, value: &[u8]) -> &mut MapWriter {
        push_string(self.key(key), Major::Bytes, value);
        self
    }

    /// A byte string, or null for none.
    pub fn optional_bytes(&mut self, key: u8, value: Option<&[u8]>) -> &mut MapWriter {
        match value {
            Some(value) => self.bytes(key, value),
            None => self.null(key),
        }
    }

    /// A text.
    pub fn text(&mut self, key: u8, value: &str) -> &mut MapWriter {
        push_string(self.key(key), Major::Text, value.as_bytes());
        self
    }

    /// A list of texts, or null for none.
    pub fn optional_texts(&mut self, key: u8, values: Option<&[String]>) -> &mut MapWriter {
        let Some(values) = values else { return self.null(key) };
        let out = self.key(key);
        push_head(out, Major::Array, values.len() as u64);
        for value in values {
            push_string(out, Major::Text, value.as_bytes());
        }
        self
    }

    /// Null.
    pub fn null(&mut self, key: u8) -> &mut MapWriter {
        self.key(key).push(NULL);
        self
    }

    /// A value that is encoded already.
    pub fn encoded(&mut self, key: u8, value: &[u8]) -> &mut MapWriter {
        self.key(key).extend_from_slice(value);
        self
    }

    /// A list of maps, or null for none. They are written where they stand; nothing is copied.
    pub fn optional_maps<T>(
        &mut self,
        key: u8,
        values: Option<&[T]>,
        write: impl Fn(&T, &mut MapWriter),
    ) -> &mut MapWriter {
        let Some(values) = values else { return self.null(key) };
        push_head(self.key(key), Major::Array, values.len() as u64);
        for value in values {
            let out = std::mem::take(&mut self.out);
            let mut inner = MapWriter { start: out.len(), out, count: 0, room: 0 };
            write(value, &mut inner);
            self.out = inner.finish();
        }
        self
    }

    /// A list of values that are encoded already, or null for none.
    pub fn optional_list(&mut self, key: u8, values: Option<&[Vec<u8>]>) -> &mut MapWriter {
        let Some(values) = values else { return self.null(key) };
        let out = self.key(key);
        push_head(out, Major::Array, values.len() as u64);
        for value in values {
            out.extend_from_slice(value);
        }
        self
    }

    /// The map's bytes.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        let (start, count) = (std::mem::take(&mut self.start), std::mem::take(&mut self.count));
        let mut bytes = std::mem::take(&mut self.out);
        match bytes.get_mut(start) {
            Some(first) => *first |= count.min(23),
            None => bytes.push(EMPTY_MAP),
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_stands_in_front_and_nothing_is_longer_than_needed() {
        assert_eq!(MapWriter::new().finish(), [0xa0]);
        let mut map = MapWriter::new();
        map.uint(1, 23u8).uint(2, 24u8).bool(3, true).optional_bytes(4, None).optional_texts(5, Some(&[]));
        map.bytes(6, b"").text(7, "é").optional_list(8, Some(&[vec![1], vec![2]])).encoded(24, &[0xa0]);
        assert_eq!(hex::encode(map.finish()), "a9011702181803f504f6058006400762c3a90882010218 18a0".replace(' ', ""));
        assert_eq!(map.finish(), [0xa0], "a writer starts anew");
        map.uint(1, 9u8).optional_maps(2, Some(&[5u8, 0]), |number, map| {
            if *number > 0 {
                map.uint(1, *number).uint(3, *number);
            }
        });
        assert_eq!(hex::encode(map.optional_maps(4, None::<&[u8]>, |_, _| {}).finish()), "a301090282a201050305a004f6");
    }
}
