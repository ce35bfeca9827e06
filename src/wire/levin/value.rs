//! Values of portable storage: scalars, strings, sections, and arrays of each.

use super::{LevinError, Section};

/// The bit of a type tag that says it is an array.
pub(super) const ARRAY: u8 = 0x80;

macro_rules! kinds {
    ($($tag:literal $kind:ident $rust:ty, $words:literal, $doc:literal;)*) => {
        /// The type of a value, or of the elements of an array.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $(#[doc = $doc] $kind,)* }

        impl Kind {
            /// Every kind, by its tag.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// The tag on the wire, without the bit for arrays.
            pub fn tag(self) -> u8 {
                match self { $(Kind::$kind => $tag,)* }
            }

            /// The kind behind a tag on the wire, and whether it is an array of it.
            ///
            /// # Errors
            /// [`LevinError::UnknownType`]; an array of arrays is one, too.
            pub fn from_tag(tag: u8) -> Result<(Kind, bool), LevinError> {
                match tag & !ARRAY {
                    $($tag => Ok((Kind::$kind, tag & ARRAY != 0)),)*
                    _ => Err(LevinError::UnknownType(tag)),
                }
            }

            /// Its name, for people.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $words,)* }
            }
        }

        /// One value.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Value {
            $(#[doc = $doc] $kind($rust),)*
            /// Some of one kind.
            Array(Array),
        }

        /// Values of one kind, packed on the wire.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Array { $(#[doc = $doc] $kind(Vec<$rust>),)* }

        impl Array {
            /// An array of this kind with nothing in it.
            pub fn empty(kind: Kind) -> Array {
                match kind { $(Kind::$kind => Array::$kind(Vec::new()),)* }
            }

            /// The kind of its elements.
            pub fn kind(&self) -> Kind {
                match self { $(Array::$kind(_) => Kind::$kind,)* }
            }

            /// How many there are.
            pub fn len(&self) -> usize {
                match self { $(Array::$kind(items) => items.len(),)* }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        impl Value {
            /// The tag on the wire.
            pub fn tag(&self) -> u8 {
                match self {
                    $(Value::$kind(_) => $tag,)*
                    Value::Array(array) => array.kind().tag() | ARRAY,
                }
            }
        }

        $(
            impl From<$rust> for Value {
                fn from(value: $rust) -> Value { Value::$kind(value) }
            }

            impl<'a> FromValue<'a> for &'a $rust {
                fn from_value(value: &'a Value) -> Option<Self> {
                    match value { Value::$kind(value) => Some(value), _ => None }
                }
            }

            impl<'a> FromValue<'a> for &'a [$rust] {
                fn from_value(value: &'a Value) -> Option<Self> {
                    match value { Value::Array(Array::$kind(items)) => Some(items), _ => None }
                }
            }
        )*
    };
}

kinds! {
    1 I64 i64, "i64", "A signed number of 64 bits.";
    2 I32 i32, "i32", "A signed number of 32 bits.";
    3 I16 i16, "i16", "A signed number of 16 bits.";
    4 I8 i8, "i8", "A signed number of 8 bits.";
    5 U64 u64, "u64", "A number of 64 bits.";
    6 U32 u32, "u32", "A number of 32 bits.";
    7 U16 u16, "u16", "A number of 16 bits.";
    8 U8 u8, "u8", "A number of 8 bits.";
    9 F64 f64, "f64", "An IEEE 754 double; every bit pattern is kept.";
    10 String Vec<u8>, "string", "Bytes, text or not.";
    11 Bool bool, "bool", "Yes or no; any byte but 0 is yes on reading.";
    12 Object Section, "object", "A section.";
}

/// What a [`Value`] can be read as: every scalar by value, sections by reference, arrays as slices
/// (`&[u8]` is an array of `u8`; strings are read by [`Section::string`]).
pub trait FromValue<'a>: Sized {
    /// `None` when it has another type. Nothing is converted.
    fn from_value(value: &'a Value) -> Option<Self>;
}

macro_rules! by_value {
    ($($rust:ty),*) => { $(
        impl<'a> FromValue<'a> for $rust {
            fn from_value(value: &'a Value) -> Option<Self> { <&$rust>::from_value(value).copied() }
        }
    )* };
}

by_value!(i64, i32, i16, i8, u64, u32, u16, u8, f64, bool);

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.as_bytes().to_vec())
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Value {
        Value::Array(array)
    }
}

impl Value {
    /// The value as `T`.
    ///
    /// # Errors
    /// [`LevinError::TypeMismatch`].
    pub fn read<'a, T: FromValue<'a>>(&'a self) -> Result<T, LevinError> {
        T::from_value(self).ok_or_else(|| self.mismatch(b""))
    }

    /// The value as a number, whatever its width, when it is one and not negative.
    pub fn unsigned(&self) -> Option<u64> {
        match *self {
            Value::U64(n) => Some(n),
            Value::U32(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::U8(n) => Some(n.into()),
            Value::I64(n) => n.try_into().ok(),
            Value::I32(n) => n.try_into().ok(),
            Value::I16(n) => n.try_into().ok(),
            Value::I8(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// What it is, for people: `u64`, `array of string`.
    pub fn type_name(&self) -> String {
        match self {
            Value::Array(array) => format!("array of {}", array.kind().name()),
            _ => Kind::from_tag(self.tag()).map(|(kind, _)| kind.name()).unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn mismatch(&self, name: &[u8]) -> LevinError {
        LevinError::TypeMismatch { name: String::from_utf8_lossy(name).into_owned(), has: self.type_name() }
    }
}
