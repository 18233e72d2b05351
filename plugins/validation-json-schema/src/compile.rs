//! This is how schemas become rules: every keyword's value is looked at once, and what is wrong is
//! told with its place.

use crate::format::Format;
use crate::metaschema;
use crate::number::{self, Decimal};
use crate::pattern;
use crate::resources::{Complaint, Found, Location, Resources};
use crate::schema::{Bounds, Choice, Id, Properties, Rule, Schema, Schemas, Side};
use crate::value::Types;
use serde_json::{Map, Number, Value};
use soros_sdk::Problem;

/// How many problems are told at once.
const PROBLEMS_MAX: usize = 16;

/// What a config gives.
pub(crate) struct Source<'a> {
    /// The schema that values must fit.
    pub(crate) schema: &'a Value,
    /// Schemas that it may refer to.
    pub(crate) more: &'a [Value],
    /// Whether formats are asserted, whatever `$schema` says.
    pub(crate) formats: bool,
}

/// The rules, and which schema to begin with.
///
/// # Errors
/// All that is wrong.
pub(crate) fn compile(source: &Source<'_>) -> Result<(Schemas, Id), Vec<Problem>> {
    let known = metaschema::referred_to(std::iter::once(source.schema).chain(source.more));
    let mut compiler = Compiler {
        resources: Resources::default(),
        schemas: Schemas::default(),
        formats: source.formats,
    };
    let root = compiler.resources.add(source.schema);
    for document in source.more.iter().chain(&known) {
        compiler.resources.add(document);
    }
    // Following references finds more schemas.
    while let Some(found) = compiler.next() {
        let rules = compiler.rules(&found);
        let resource = found.resource;
        compiler.schemas.all.push(Schema { resource, rules });
    }
    compiler.forbid_loops();
    let Compiler {
        resources,
        mut schemas,
        ..
    } = compiler;
    if !resources.complaints.is_empty() {
        return Err(problems(resources.complaints, source.more.len()));
    }
    let root = resources.id(&root).unwrap_or(Id(0));
    schemas.dynamic = resources.dynamic;
    Ok((schemas, root))
}

/// Complaints, with their places in the config.
fn problems(complaints: Vec<Complaint>, more: usize) -> Vec<Problem> {
    let problem = |(location, message): Complaint| {
        let Location { document, pointer } = location;
        let place = match document {
            0 => "/schema".to_owned(),
            at if at <= more => format!("/schemas/{}", at - 1),
            _ => String::new(),
        };
        let path = format!("{place}{pointer}");
        Problem { path, message }
    };
    complaints
        .into_iter()
        .take(PROBLEMS_MAX)
        .map(problem)
        .collect()
}

/// Which keywords count.
#[derive(Clone, Copy)]
struct Dialect {
    validation: bool,
    formats: bool,
}

struct Compiler<'a> {
    resources: Resources<'a>,
    schemas: Schemas,
    formats: bool,
}

/// A schema that is being read.
struct Reading<'a> {
    object: &'a Map<String, Value>,
    location: Location,
    rules: Vec<Rule>,
}

impl<'a> Compiler<'a> {
    fn next(&self) -> Option<Found<'a>> {
        self.resources.found.get(self.schemas.all.len()).cloned()
    }

    fn complain(&mut self, location: Location, message: impl Into<String>) {
        self.resources.complaints.push((location, message.into()));
    }

    fn rules(&mut self, found: &Found<'a>) -> Vec<Rule> {
        let location = found.location.clone();
        match found.value {
            Value::Bool(true) => Vec::new(),
            Value::Bool(false) => vec![Rule::Never],
            Value::Object(object) => {
                let dialect = self.dialect(found, object);
                let rules = Vec::new();
                let mut reading = Reading {
                    object,
                    location,
                    rules,
                };
                self.references(&mut reading, found);
                if dialect.validation {
                    self.of_any_type(&mut reading);
                    self.of_numbers(&mut reading);
                    self.of_sizes(&mut reading);
                }
                if dialect.formats {
                    let name = self.text(&reading, "format");
                    reading
                        .rules
                        .extend(name.and_then(Format::named).map(Rule::Format));
                }
                self.of_items(&mut reading, dialect);
                self.of_properties(&mut reading);
                self.in_place(&mut reading);
                self.unevaluated(&mut reading);
                reading.rules
            }
            _ => {
                self.complain(location, "a schema is an object, `true` or `false`");
                Vec::new()
            }
        }
    }

    fn dialect(&mut self, found: &Found<'a>, object: &Map<String, Value>) -> Dialect {
        let roots = self.resources.roots(found.resource);
        let dialect_of = |root: &Value| root.get("$schema").cloned();
        let name = roots.into_iter().flatten().find_map(dialect_of);
        let standard = Dialect {
            validation: true,
            formats: self.formats,
        };
        let Some(name) = name else {
            return standard;
        };
        let name = name.as_str().unwrap_or_default();
        if name.trim_end_matches('#') == metaschema::ADDRESS {
            return standard;
        }
        let vocabulary = self
            .resources
            .root(name)
            .map(|root| root.get("$vocabulary").and_then(Value::as_object));
        let Some(vocabulary) = vocabulary else {
            if object.contains_key("$schema") {
                let message = format!("only `{}` is known", metaschema::ADDRESS);
                self.complain(found.location.inner("$schema"), message);
            }
            return standard;
        };
        let has = |name: &str| {
            let address = format!("{}{name}", metaschema::VOCABULARIES);
            vocabulary.is_none_or(|vocabulary| vocabulary.contains_key(&address))
        };
        Dialect {
            validation: has("validation"),
            formats: self.formats || vocabulary.is_some() && has("format-assertion"),
        }
    }

    /// A keyword's value, where it is what it must be.
    fn read<T>(
        &mut self,
        reading: &Reading<'a>,
        keyword: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = read(reading.object.get(keyword)?);
        if value.is_none() {
            self.complain(
                reading.location.inner(keyword),
                format!("it is no {expected}"),
            );
        }
        value
    }

    fn text(&mut self, reading: &Reading<'a>, keyword: &str) -> Option<&'a str> {
        self.read(reading, keyword, "text", Value::as_str)
    }

    fn number(&mut self, reading: &Reading<'a>, keyword: &str) -> Option<&'a Number> {
        self.read(reading, keyword, "number", Value::as_number)
    }

    fn bounds(&mut self, reading: &Reading<'a>, least: &str, most: &str) -> Bounds {
        let size = |value: &Value| value.as_number().and_then(number::size);
        let expected = "whole number from 0 on";
        Bounds {
            least: self.read(reading, least, expected, size),
            most: self.read(reading, most, expected, size),
        }
    }

    fn schema(&self, reading: &Reading<'a>, keyword: &str) -> Option<Id> {
        reading.object.get(keyword)?;
        self.resources.id(&reading.location.inner(keyword))
    }

    fn list(&mut self, reading: &Reading<'a>, keyword: &str) -> Option<Vec<Id>> {
        let some = |value: &'a Value| value.as_array().filter(|list| !list.is_empty());
        let list = self.read(reading, keyword, "list of schemas", some)?;
        let at = reading.location.inner(keyword);
        let id = |place: usize| self.resources.id(&at.inner(&place.to_string()));
        Some((0..list.len()).filter_map(id).collect())
    }

    fn named(&mut self, reading: &Reading<'a>, keyword: &str) -> Vec<(&'a str, Id)> {
        let named = self.read(reading, keyword, "object of schemas", Value::as_object);
        let Some(named) = named else {
            return Vec::new();
        };
        let at = reading.location.inner(keyword);
        let pair = |name: &'a String| Some((name.as_str(), self.resources.id(&at.inner(name))?));
        named.keys().filter_map(pair).collect()
    }

    fn references(&mut self, reading: &mut Reading<'a>, found: &Found<'a>) {
        for keyword in ["$id", "$schema", "$anchor", "$dynamicAnchor", "$comment"] {
            self.text(reading, keyword);
        }
        for keyword in ["$defs", "definitions"] {
            self.named(reading, keyword);
        }
        for keyword in ["$ref", "$dynamicRef"] {
            let Some(reference) = self.text(reading, keyword) else {
                continue;
            };
            match self.resources.follow(found.resource, reference) {
                Ok((id, Some(name))) if keyword == "$dynamicRef" => {
                    reading.rules.push(Rule::Dynamic(id, name));
                }
                Ok((id, _)) => reading.rules.push(Rule::Reference(id)),
                Err(message) => self.complain(reading.location.inner(keyword), message),
            }
        }
    }

    fn of_any_type(&mut self, reading: &mut Reading<'a>) {
        let types = |value: &Value| match value {
            Value::String(name) => Types::named(name),
            Value::Array(names) => names.iter().try_fold(Types::default(), |types, name| {
                Some(types.with(Types::named(name.as_str()?)?))
            }),
            _ => None,
        };
        let types = self.read(reading, "type", "type, or list of types", types);
        reading.rules.extend(types.map(Rule::Types));
        let values = self.read(reading, "enum", "list of values", Value::as_array);
        reading.rules.extend(values.cloned().map(Rule::Values));
        let value = reading.object.get("const");
        let value = value.map(|value| Rule::Values(vec![value.clone()]));
        reading.rules.extend(value);
    }

    fn of_numbers(&mut self, reading: &mut Reading<'a>) {
        let zero = Number::from(0);
        let divisor = |value: &'a Value| {
            let number = value.as_number();
            number.filter(|number| number::compare(number, &zero).is_gt())
        };
        let divisor = self.read(reading, "multipleOf", "number above 0", divisor);
        let rule = |divisor: &Number| Rule::MultipleOf(divisor.clone(), Decimal::new(divisor));
        reading.rules.extend(divisor.map(rule));
        for (keyword, side) in [
            ("minimum", Side::Least),
            ("maximum", Side::Most),
            ("exclusiveMinimum", Side::Above),
            ("exclusiveMaximum", Side::Below),
        ] {
            let bound = self.number(reading, keyword);
            let rule = bound.map(|bound| Rule::Number(side, bound.clone()));
            reading.rules.extend(rule);
        }
    }

    fn of_sizes(&mut self, reading: &mut Reading<'a>) {
        for (least, most, rule) in [
            ("minLength", "maxLength", Rule::Length as fn(Bounds) -> Rule),
            ("minItems", "maxItems", Rule::ItemCount),
            ("minProperties", "maxProperties", Rule::PropertyCount),
        ] {
            let bounds = self.bounds(reading, least, most);
            if !bounds.is_none() {
                reading.rules.push(rule(bounds));
            }
        }
        if let Some(text) = self.text(reading, "pattern") {
            match pattern::compile(text) {
                Ok(pattern) => reading
                    .rules
                    .push(Rule::Pattern(text.to_owned(), Box::new(pattern))),
                Err(message) => self.complain(reading.location.inner("pattern"), message),
            }
        }
        let is_unique = self.read(reading, "uniqueItems", "boolean", Value::as_bool);
        if is_unique == Some(true) {
            reading.rules.push(Rule::Unique);
        }
        let required = self.read(reading, "required", "list of texts", texts);
        reading.rules.extend(required.map(Rule::Required));
        let expected = "object of lists of texts";
        let pairs = |value: &Value| {
            let pair = |(name, names): (&String, &Value)| Some((name.clone(), texts(names)?));
            value
                .as_object()?
                .iter()
                .map(pair)
                .collect::<Option<Vec<_>>>()
        };
        let pairs = self.read(reading, "dependentRequired", expected, pairs);
        let rule = |(name, names)| Rule::RequiredWith(name, names);
        reading.rules.extend(pairs.into_iter().flatten().map(rule));
    }

    fn of_items(&mut self, reading: &mut Reading<'a>, dialect: Dialect) {
        if reading.object.get("items").is_some_and(Value::is_array) {
            let message = "the schemas of the first items belong into `prefixItems`";
            self.complain(reading.location.inner("items"), message);
            return;
        }
        let first = self.list(reading, "prefixItems");
        let others = self.schema(reading, "items");
        if first.is_some() || others.is_some() {
            let rule = Rule::Items(first.unwrap_or_default(), others);
            reading.rules.push(rule);
        }
        if let Some(id) = self.schema(reading, "contains") {
            let mut bounds = Bounds::default();
            if dialect.validation {
                bounds = self.bounds(reading, "minContains", "maxContains");
            }
            bounds.least = bounds.least.or(Some(1));
            reading.rules.push(Rule::Contains(id, bounds));
        }
    }

    fn of_properties(&mut self, reading: &mut Reading<'a>) {
        let mut properties = Properties::default();
        for (name, id) in self.named(reading, "properties") {
            properties.named.insert(name.to_owned(), id);
        }
        for (text, id) in self.named(reading, "patternProperties") {
            match pattern::compile(text) {
                Ok(pattern) => properties.patterns.push((pattern, id)),
                Err(message) => {
                    let at = reading.location.inner("patternProperties").inner(text);
                    self.complain(at, message);
                }
            }
        }
        properties.others = self.schema(reading, "additionalProperties");
        let is_any = !properties.named.is_empty()
            || !properties.patterns.is_empty()
            || properties.others.is_some();
        if is_any {
            reading.rules.push(Rule::Properties(properties));
        }
        let names = self.schema(reading, "propertyNames");
        reading.rules.extend(names.map(Rule::Names));
    }

    fn in_place(&mut self, reading: &mut Reading<'a>) {
        for (keyword, rule) in [
            ("allOf", Rule::All as fn(Vec<Id>) -> Rule),
            ("anyOf", Rule::Any),
            ("oneOf", Rule::One),
        ] {
            let ids = self.list(reading, keyword);
            reading.rules.extend(ids.map(rule));
        }
        let not = self.schema(reading, "not");
        reading.rules.extend(not.map(Rule::Not));
        if let Some(condition) = self.schema(reading, "if") {
            reading.rules.push(Rule::Choice(Choice {
                condition,
                then: self.schema(reading, "then"),
                otherwise: self.schema(reading, "else"),
            }));
        }
        let named = self.named(reading, "dependentSchemas");
        let rule = |(name, id): (&str, Id)| Rule::With(name.to_owned(), id);
        reading.rules.extend(named.into_iter().map(rule));
    }

    /// These come last: they ask what all others have looked at.
    fn unevaluated(&mut self, reading: &mut Reading<'a>) {
        let items = self.schema(reading, "unevaluatedItems");
        let properties = self.schema(reading, "unevaluatedProperties");
        self.schemas.asks_unevaluated |= items.is_some() || properties.is_some();
        reading.rules.extend(items.map(Rule::UnevaluatedItems));
        reading
            .rules
            .extend(properties.map(Rule::UnevaluatedProperties));
    }

    /// Complains of a schema that asks itself about the very value it is asked about.
    fn forbid_loops(&mut self) {
        let all = &self.schemas.all;
        let asks: Vec<Vec<Id>> = all
            .iter()
            .map(|schema| schema.rules.iter().flat_map(Rule::in_place).collect())
            .collect();
        let mut asked_by: Vec<Vec<usize>> = vec![Vec::new(); all.len()];
        let mut open: Vec<usize> = asks.iter().map(Vec::len).collect();
        for (at, ids) in asks.iter().enumerate() {
            for id in ids {
                asked_by[id.0].push(at);
            }
        }
        let mut ends: Vec<usize> = (0..all.len()).filter(|at| open[*at] == 0).collect();
        while let Some(end) = ends.pop() {
            for &at in &asked_by[end] {
                open[at] -= 1;
                if open[at] == 0 {
                    ends.push(at);
                }
            }
        }
        // What is still open leads into a loop: whoever is led that far is in it.
        let Some(mut at) = open.iter().position(|open| *open != 0) else {
            return;
        };
        for _ in 0..open.len() {
            let next = asks[at].iter().find(|id| open[id.0] != 0);
            at = next.map_or(at, |id| id.0);
        }
        let location = self.resources.found[at].location.clone();
        self.complain(
            location,
            "it refers to itself without looking into the value",
        );
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    value.as_array()?.iter().map(text).collect()
}
