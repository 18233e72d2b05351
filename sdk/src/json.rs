//! This is how a policy reads values that are JSON at little cost: nothing is copied that need not
//! be, and more than its fuel is enough for is not read.

use crate::resolution::Sibling;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Formatter};
use std::marker::PhantomData;

/// How much JSON a policy reads in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many bytes all values may have together.
    pub bytes_max: usize,
    /// How many fields, elements of lists and escaped characters there may be in them.
    pub items_max: usize,
}

impl Bounds {
    /// The values among `siblings`, which are JSON, as long as they are within these bounds. A
    /// policy that works for the longer the more it is shown gives up on more than its fuel is
    /// enough for: then all siblings are kept, and that is no fault of it.
    ///
    /// # Errors
    /// How much there is, for a policy to give up with.
    pub fn values(self, siblings: &[Sibling]) -> Result<Vec<&[u8]>, String> {
        let Bounds {
            bytes_max,
            items_max,
        } = self;
        let values = siblings.iter().filter_map(|one| one.value.as_deref());
        let values: Vec<&[u8]> = values.collect();
        let bytes: usize = values.iter().map(|value| value.len()).sum();
        if bytes_max < bytes {
            return Err(format!(
                "the values have {bytes} bytes together, more than {bytes_max}"
            ));
        }
        // A text may have these bytes, too: there are at most as many items as are counted.
        let begins = |byte: &&u8| matches!(byte, b',' | b'[' | b'{' | b'\\');
        let items = |value: &&[u8]| value.iter().filter(begins).count();
        let items: usize = values.iter().map(items).sum();
        if items_max < items {
            return Err(format!(
                "the values have {items} fields, elements and escapes together, more than \
                 {items_max}"
            ));
        }
        Ok(values)
    }
}

/// A text of the value that it is read from; it is copied only where it was escaped there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Text<'de>, D::Error> {
        source.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.serialize_str(&self.0)
    }
}

/// The fields of an object in the order in which they stand there, one that is there twice twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields<'a, V>(pub Vec<(Text<'a>, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Fields<'de, V> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Fields<'de, V>, D::Error> {
        source.deserialize_map(FieldsVisitor(PhantomData))
    }
}

struct FieldsVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for FieldsVisitor<V> {
    type Value = Fields<'de, V>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de, V>, M::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

impl<V: Serialize> Serialize for Fields<'_, V> {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'a, V> Fields<'a, V> {
    /// One field for each name, in the order of names; `join` puts the value of another field of
    /// the name into the first one's. Fields that are in order already cost little.
    #[must_use]
    pub fn united(self, mut join: impl FnMut(&mut V, V)) -> Fields<'a, V> {
        let Fields(mut fields) = self;
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut united: Vec<(Text<'a>, V)> = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            match united.last_mut() {
                Some((last, known)) if *last == name => join(known, value),
                _ => united.push((name, value)),
            }
        }
        Fields(united)
    }
}
