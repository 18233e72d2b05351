//! This is schemas as they are asked: rules with their arguments read, and references as numbers.

use crate::format::Format;
use crate::number::Decimal;
use crate::pattern;
use crate::value::Types;
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// The number of a schema among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) usize);

/// The number of a schema resource: what has an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResourceId(pub(crate) usize);

/// One schema, the subschemas left out.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) resource: ResourceId,
    pub(crate) rules: Vec<Rule>,
}

/// Schemas that refer to each other.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    pub(crate) all: Vec<Schema>,
    /// For each resource, the schemas that a dynamic reference may mean.
    pub(crate) dynamic: Vec<BTreeMap<String, Id>>,
    /// Whether any rule asks which properties and items others have looked at.
    pub(crate) asks_unevaluated: bool,
}

/// The least and the most of something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) least: Option<u64>,
    pub(crate) most: Option<u64>,
}

impl Bounds {
    pub(crate) fn is_none(self) -> bool {
        self.least.is_none() && self.most.is_none()
    }
}

/// Which side of a number is allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Least,
    Most,
    Above,
    Below,
}

/// One rule of a schema; one that is about other types than a value's holds.
#[derive(Debug)]
pub(crate) enum Rule {
    Never,
    Reference(Id),
    /// The schema with this name in the outermost resource that has one, or this one.
    Dynamic(Id, String),
    Types(Types),
    Values(Vec<Value>),
    MultipleOf(Number, Decimal),
    Number(Side, Number),
    Length(Bounds),
    Pattern(String, Box<pattern::Pattern>),
    Format(Format),
    ItemCount(Bounds),
    Unique,
    /// The first items, and all others.
    Items(Vec<Id>, Option<Id>),
    Contains(Id, Bounds),
    PropertyCount(Bounds),
    Required(Vec<String>),
    RequiredWith(String, Vec<String>),
    Names(Id),
    Properties(Properties),
    All(Vec<Id>),
    Any(Vec<Id>),
    One(Vec<Id>),
    Not(Id),
    Choice(Choice),
    With(String, Id),
    UnevaluatedItems(Id),
    UnevaluatedProperties(Id),
}

/// The schemas of properties.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    pub(crate) named: BTreeMap<String, Id>,
    pub(crate) patterns: Vec<(pattern::Pattern, Id)>,
    pub(crate) others: Option<Id>,
}

/// One schema or the other, as a third one says.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) condition: Id,
    pub(crate) then: Option<Id>,
    pub(crate) otherwise: Option<Id>,
}

impl Rule {
    /// The schemas that it asks about the very value it is asked about.
    pub(crate) fn in_place(&self) -> Vec<Id> {
        match self {
            Rule::Reference(id) | Rule::Dynamic(id, _) | Rule::Not(id) | Rule::With(_, id) => {
                vec![*id]
            }
            Rule::All(ids) | Rule::Any(ids) | Rule::One(ids) => ids.clone(),
            Rule::Choice(choice) => {
                let branches = [choice.then, choice.otherwise];
                std::iter::once(choice.condition)
                    .chain(branches.into_iter().flatten())
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}
