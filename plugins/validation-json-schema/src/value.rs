//! This is when JSON values are the same: numbers by their value, objects whatever their order.

use crate::number;
use serde_json::Value;
use std::cmp::Ordering;

/// An order of all values; those that are the same are equal in it.
pub(crate) fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => number::compare(one, other),
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Array(one), Value::Array(other)) => first_difference(
            one.iter()
                .zip(other)
                .map(|(one, other)| compare(one, other)),
            one.len().cmp(&other.len()),
        ),
        (Value::Object(one), Value::Object(other)) => first_difference(
            one.iter()
                .zip(other)
                .map(|((name, one), (other_name, other))| {
                    name.cmp(other_name).then_with(|| compare(one, other))
                }),
            one.len().cmp(&other.len()),
        ),
        _ => rank(one).cmp(&rank(other)),
    }
}

fn first_difference(mut pairs: impl Iterator<Item = Ordering>, lengths: Ordering) -> Ordering {
    pairs.find(|order| order.is_ne()).unwrap_or(lengths)
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// What a value is, in JSON Schema's words, as the bits of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Types(u8);

const NAMES: [&str; 7] = [
    "null", "boolean", "number", "string", "array", "object", "integer",
];
const NUMBER: u8 = 1 << 2;
const INTEGER: u8 = 1 << 6;

impl Types {
    /// The type with this name.
    pub(crate) fn named(name: &str) -> Option<Types> {
        let at = NAMES.iter().position(|known| *known == name)?;
        Some(Types(1 << at))
    }

    pub(crate) fn with(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    pub(crate) fn has(self, value: &Value) -> bool {
        let bit = 1 << rank(value);
        let is_integer = |number: &_| self.0 & INTEGER != 0 && number::is_whole(number);
        self.0 & bit != 0 || bit == NUMBER && value.as_number().is_some_and(is_integer)
    }
}

/// How people are told of a value's type.
pub(crate) fn type_of(value: &Value) -> &'static str {
    NAMES[usize::from(rank(value))]
}

impl std::fmt::Display for Types {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = (0..).zip(NAMES).filter(|(at, _)| self.0 & (1 << at) != 0);
        let names: Vec<&str> = names.map(|(_, name)| name).collect();
        formatter.write_str(&names.join(" or "))
    }
}
