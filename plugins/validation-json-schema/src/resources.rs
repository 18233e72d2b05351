//! This is where schemas are: the documents of a config, the addresses and anchors in them, and
//! what a reference leads to.

use crate::schema::{Id, ResourceId};
use crate::uri;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The address of a schema that has none of its own.
const NAMELESS: &str = "soros:/";

/// Keywords whose values are a schema, a list of schemas, and schemas by name.
const ONE: [&str; 11] = [
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: [&str; 5] = [
    "$defs",
    "definitions",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

/// A place in a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) document: usize,
    /// From the document's root, as a JSON pointer.
    pub(crate) pointer: String,
}

impl Location {
    pub(crate) fn inner(&self, step: &str) -> Location {
        let step = step.replace('~', "~0").replace('/', "~1");
        Location {
            document: self.document,
            pointer: format!("{}/{step}", self.pointer),
        }
    }
}

/// A schema that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) value: &'a Value,
    pub(crate) location: Location,
    pub(crate) resource: ResourceId,
}

struct Resource {
    address: String,
    location: Location,
}

/// Something wrong at a place.
pub(crate) type Complaint = (Location, String);

/// All that references may lead to.
#[derive(Default)]
pub(crate) struct Resources<'a> {
    documents: Vec<&'a Value>,
    entered: Vec<Resource>,
    by_address: BTreeMap<String, ResourceId>,
    anchors: BTreeMap<(usize, String), Id>,
    /// For each resource, its dynamic anchors.
    pub(crate) dynamic: Vec<BTreeMap<String, Id>>,
    ids: BTreeMap<Location, Id>,
    /// All schemas, by their number.
    pub(crate) found: Vec<Found<'a>>,
    pub(crate) complaints: Vec<Complaint>,
}

impl<'a> Resources<'a> {
    /// Adds a document, and finds all schemas in it.
    pub(crate) fn add(&mut self, document: &'a Value) -> Location {
        let location = Location {
            document: self.documents.len(),
            pointer: String::new(),
        };
        self.documents.push(document);
        let address = format!("{NAMELESS}{}", location.document);
        let resource = self.enter(address, &location);
        self.find(document, location.clone(), resource);
        location
    }

    fn enter(&mut self, address: String, location: &Location) -> ResourceId {
        let id = ResourceId(self.entered.len());
        if self.by_address.insert(address.clone(), id).is_some() {
            let complaint = format!("`{address}` is the address of two schemas");
            self.complaints.push((location.inner("$id"), complaint));
        }
        let location = location.clone();
        self.entered.push(Resource { address, location });
        self.dynamic.push(BTreeMap::new());
        id
    }

    /// Finds the schema at `location` and those in it.
    fn find(&mut self, value: &'a Value, location: Location, resource: ResourceId) {
        let mut waiting = vec![(value, location, resource)];
        while let Some((value, location, mut resource)) = waiting.pop() {
            if self.ids.contains_key(&location) {
                continue;
            }
            let id = Id(self.found.len());
            self.ids.insert(location.clone(), id);
            if let Some(object) = value.as_object() {
                resource = self.name(object, id, &location, resource);
                let inner = subschemas(object, &location);
                waiting.extend(
                    inner
                        .into_iter()
                        .rev()
                        .map(|(value, location)| (value, location, resource)),
                );
            }
            self.found.push(Found {
                value,
                location,
                resource,
            });
        }
    }

    /// Takes note of the names that a schema gives itself.
    fn name(
        &mut self,
        object: &Map<String, Value>,
        id: Id,
        location: &Location,
        outer: ResourceId,
    ) -> ResourceId {
        let text = |keyword: &str| object.get(keyword).and_then(Value::as_str);
        let mut resource = outer;
        if let Some(name) = text("$id") {
            let (name, fragment) = uri::split(name);
            if !fragment.is_empty() {
                let complaint = "an address has no fragment: `$anchor` names a place".to_owned();
                self.complaints.push((location.inner("$id"), complaint));
            }
            let address = uri::resolve(&self.entered[outer.0].address, name);
            resource = self.enter(address, location);
        }
        if let Some(name) = text("$anchor") {
            self.anchors.insert((resource.0, name.to_owned()), id);
        }
        if let Some(name) = text("$dynamicAnchor") {
            self.anchors.insert((resource.0, name.to_owned()), id);
            self.dynamic[resource.0].insert(name.to_owned(), id);
        }
        resource
    }

    /// The number of the schema at a place that was found to have one.
    pub(crate) fn id(&self, location: &Location) -> Option<Id> {
        self.ids.get(location).copied()
    }

    /// The root of the resource at this address.
    pub(crate) fn root(&self, address: &str) -> Option<&'a Value> {
        let id = self.by_address.get(uri::split(address).0)?;
        self.value(&self.entered[id.0].location)
    }

    /// The root of this resource, and that of its document.
    pub(crate) fn roots(&self, id: ResourceId) -> [Option<&'a Value>; 2] {
        let location = &self.entered[id.0].location;
        let document = self.documents.get(location.document).copied();
        [self.value(location), document]
    }

    fn value(&self, location: &Location) -> Option<&'a Value> {
        let document: &'a Value = self.documents.get(location.document)?;
        document.pointer(&location.pointer)
    }

    /// What `reference` leads to from a resource; and the name, where that is a dynamic anchor.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub(crate) fn follow(
        &mut self,
        from: ResourceId,
        reference: &str,
    ) -> Result<(Id, Option<String>), String> {
        let (address, fragment) = uri::split(reference);
        let address = uri::resolve(&self.entered[from.0].address, address);
        let Some(&resource) = self.by_address.get(&address) else {
            return Err(format!(
                "`{address}` is not in this config, and nothing is fetched: add that schema, with \
                 its `$id`, to `schemas`"
            ));
        };
        let fragment = decoded(fragment);
        if fragment.is_empty() || fragment.starts_with('/') {
            let mut location = self.entered[resource.0].location.clone();
            location.pointer.push_str(&fragment);
            let id = self.at(&location, resource);
            return Ok((
                id.ok_or_else(|| format!("`{reference}` leads nowhere"))?,
                None,
            ));
        }
        let is_dynamic = self.dynamic[resource.0].contains_key(&fragment);
        let anchor = (resource.0, fragment);
        let Some(id) = self.anchors.get(&anchor) else {
            return Err(format!("there is no anchor `{}`", anchor.1));
        };
        Ok((*id, is_dynamic.then_some(anchor.1)))
    }

    /// The schema at a place; also one where no keyword has one.
    fn at(&mut self, location: &Location, resource: ResourceId) -> Option<Id> {
        if let Some(id) = self.id(location) {
            return Some(id);
        }
        let value = self.value(location)?;
        let mut outer = location.pointer.as_str();
        let mut base = resource;
        while let Some(at) = outer.rfind('/') {
            outer = &outer[..at];
            let (document, pointer) = (location.document, outer.to_owned());
            if let Some(id) = self.id(&Location { document, pointer }) {
                base = self.found[id.0].resource;
                break;
            }
        }
        self.find(value, location.clone(), base);
        self.id(location)
    }
}

/// The schemas right in a schema, in the order of its text.
fn subschemas<'a>(
    object: &'a Map<String, Value>,
    location: &Location,
) -> Vec<(&'a Value, Location)> {
    let mut inner = Vec::new();
    for (keyword, value) in object {
        let keyword = keyword.as_str();
        match value {
            Value::Array(list) if LIST.contains(&keyword) => {
                let list_at = location.inner(keyword);
                let item = |(at, value)| (value, list_at.inner(&usize::to_string(&at)));
                inner.extend(list.iter().enumerate().map(item));
            }
            Value::Object(named) if NAMED.contains(&keyword) => {
                let named_at = location.inner(keyword);
                inner.extend(
                    named
                        .iter()
                        .map(|(name, value)| (value, named_at.inner(name))),
                );
            }
            value if ONE.contains(&keyword) && !is_old(keyword, value) => {
                inner.push((value, location.inner(keyword)));
            }
            _ => {}
        }
    }
    inner
}

/// Whether a list stands where older drafts had the schemas of the first items.
fn is_old(keyword: &str, value: &Value) -> bool {
    keyword == "items" && value.is_array()
}

/// A fragment, its `%XX` decoded.
fn decoded(fragment: &str) -> String {
    if !fragment.contains('%') {
        return fragment.to_owned();
    }
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (byte, behind) = match code {
            Some(code) if first == b'%' => (code, &behind[2..]),
            _ => (first, behind),
        };
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
