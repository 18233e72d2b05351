//! This is whether a value fits a schema, and where it does not.

use crate::number::{self, Decimal};
use crate::schema::{Bounds, Id, Properties, ResourceId, Rule, Schemas, Side};
use crate::value::{compare, type_of};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// How deep schemas may ask schemas: each takes some of the stack.
const DEPTH_MAX: u32 = 300;
/// How many characters of a value are shown.
const SHOWN_MAX: usize = 64;

/// Why a value does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Where in the value, as a JSON pointer.
    pub(crate) pointer: String,
    /// What is wrong there.
    pub(crate) message: String,
    /// Whether that is how deep it is nested.
    pub(crate) is_too_deep: bool,
}

/// The way to a value from the outermost one.
enum Path<'a> {
    Root,
    Item(&'a Path<'a>, usize),
    Property(&'a Path<'a>, &'a str),
}

impl Path<'_> {
    fn pointer(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Item(outer, at) => format!("{}/{at}", outer.pointer()),
            Path::Property(outer, name) => {
                let name = name.replace('~', "~0").replace('/', "~1");
                format!("{}/{name}", outer.pointer())
            }
        }
    }
}

/// The resources that were entered on the way.
struct Scope<'a> {
    outer: Option<&'a Scope<'a>>,
    resource: ResourceId,
}

/// Which properties or items were looked at, by their place; empty where nobody asks.
struct Seen(Vec<bool>);

impl Seen {
    fn mark(&mut self, at: usize) {
        if let Some(seen) = self.0.get_mut(at) {
            *seen = true;
        }
    }

    fn join(&mut self, other: &Seen) {
        for (seen, other) in self.0.iter_mut().zip(&other.0) {
            *seen |= other;
        }
    }
}

/// A value that is asked about.
#[derive(Clone, Copy)]
struct Spot<'a> {
    value: &'a Value,
    path: &'a Path<'a>,
    scope: Option<&'a Scope<'a>>,
    depth: u32,
    /// Whether nobody reads why it does not fit.
    is_quiet: bool,
}

impl<'a> Spot<'a> {
    fn inner(self, value: &'a Value, path: &'a Path<'a>) -> Spot<'a> {
        Spot {
            value,
            path,
            ..self
        }
    }

    fn quiet(self) -> Spot<'a> {
        let is_quiet = true;
        Spot { is_quiet, ..self }
    }

    fn fails<T>(&self, message: impl FnOnce() -> String) -> Result<T, Failure> {
        if self.is_quiet {
            return Err(Failure::default());
        }
        Err(Failure {
            pointer: self.path.pointer(),
            message: message(),
            is_too_deep: false,
        })
    }

    fn expect(&self, holds: bool, message: impl FnOnce() -> String) -> Result<(), Failure> {
        if holds { Ok(()) } else { self.fails(message) }
    }
}

impl Schemas {
    /// Whether `value` fits the schema `id`.
    ///
    /// # Errors
    /// The first thing found that does not.
    pub(crate) fn check(&self, id: Id, value: &Value) -> Result<(), Failure> {
        let spot = Spot {
            value,
            path: &Path::Root,
            scope: None,
            depth: 0,
            is_quiet: false,
        };
        self.ask(id, spot).map(|_| ())
    }

    fn ask(&self, id: Id, spot: Spot<'_>) -> Result<Seen, Failure> {
        if DEPTH_MAX < spot.depth {
            return Err(Failure {
                pointer: spot.path.pointer(),
                message: "value and schema are nested too deeply".to_owned(),
                is_too_deep: true,
            });
        }
        let schema = &self.all[id.0];
        let scope = Scope {
            outer: spot.scope,
            resource: schema.resource,
        };
        let is_entered = spot
            .scope
            .is_none_or(|outer| outer.resource != schema.resource);
        let inner = Spot {
            scope: if is_entered { Some(&scope) } else { spot.scope },
            depth: spot.depth + 1,
            ..spot
        };
        let places = match spot.value {
            Value::Array(items) if self.asks_unevaluated => items.len(),
            Value::Object(properties) if self.asks_unevaluated => properties.len(),
            _ => 0,
        };
        let mut seen = Seen(vec![false; places]);
        for rule in &schema.rules {
            self.keep(rule, &inner, &mut seen)?;
        }
        Ok(seen)
    }

    fn keep(&self, rule: &Rule, spot: &Spot<'_>, seen: &mut Seen) -> Result<(), Failure> {
        match (rule, spot.value) {
            (Rule::Never, _) => spot.fails(|| "nothing is allowed here".to_owned()),
            (Rule::Types(types), value) => spot.expect(types.has(value), || {
                format!("it is {} and not {types}", type_of(value))
            }),
            (Rule::Values(values), value) => {
                let is_one = values.iter().any(|one| compare(one, value).is_eq());
                spot.expect(is_one, || match &values[..] {
                    [one] => format!("it is {} and not {}", shown(value), shown(one)),
                    _ => format!("{} is none of the values allowed", shown(value)),
                })
            }
            (Rule::Reference(id), _) => self.join(*id, spot, seen),
            (Rule::Dynamic(id, name), _) => self.join(self.outermost(*id, name, spot), spot, seen),
            (Rule::All(ids), _) => ids.iter().try_for_each(|id| self.join(*id, spot, seen)),
            (Rule::Any(ids), _) => self.any(ids, spot, seen),
            (Rule::One(ids), _) => self.one(ids, spot, seen),
            (Rule::Not(id), _) => match self.holds(*id, spot)? {
                None => Ok(()),
                Some(_) => spot.fails(|| "it fits a schema that it must not fit".to_owned()),
            },
            (Rule::Choice(choice), _) => {
                let branch = match self.holds(choice.condition, spot)? {
                    Some(looked_at) => {
                        seen.join(&looked_at);
                        choice.then
                    }
                    None => choice.otherwise,
                };
                branch.map_or(Ok(()), |id| self.join(id, spot, seen))
            }
            (rule, Value::Number(number)) => of_number(rule, spot, number),
            (rule, Value::String(text)) => of_text(rule, spot, text),
            (rule, Value::Array(items)) => self.of_array(rule, spot, items, seen),
            (rule, Value::Object(properties)) => self.of_object(rule, spot, properties, seen),
            _ => Ok(()),
        }
    }

    /// Asks about the same value, which must fit.
    fn join(&self, id: Id, spot: &Spot<'_>, seen: &mut Seen) -> Result<(), Failure> {
        seen.join(&self.ask(id, *spot)?);
        Ok(())
    }

    /// Asks about the same value, which need not fit.
    fn holds(&self, id: Id, spot: &Spot<'_>) -> Result<Option<Seen>, Failure> {
        match self.ask(id, spot.quiet()) {
            Ok(seen) => Ok(Some(seen)),
            Err(failure) if failure.is_too_deep => Err(failure),
            Err(_) => Ok(None),
        }
    }

    fn any(&self, ids: &[Id], spot: &Spot<'_>, seen: &mut Seen) -> Result<(), Failure> {
        let mut fits = false;
        for id in ids {
            if let Some(looked_at) = self.holds(*id, spot)? {
                fits = true;
                seen.join(&looked_at);
                if !self.asks_unevaluated {
                    break;
                }
            }
        }
        spot.expect(fits, || format!("it fits none of {} schemas", ids.len()))
    }

    fn one(&self, ids: &[Id], spot: &Spot<'_>, seen: &mut Seen) -> Result<(), Failure> {
        let mut found = None;
        for id in ids {
            let Some(looked_at) = self.holds(*id, spot)? else {
                continue;
            };
            if found.is_some() {
                return spot.fails(|| "it fits more than one of the schemas".to_owned());
            }
            found = Some(looked_at);
        }
        match found {
            Some(looked_at) => {
                seen.join(&looked_at);
                Ok(())
            }
            None => spot.fails(|| format!("it fits none of {} schemas", ids.len())),
        }
    }

    fn outermost(&self, id: Id, name: &str, spot: &Spot<'_>) -> Id {
        let mut found = id;
        let mut scope = spot.scope;
        while let Some(Scope { outer, resource }) = scope {
            if let Some(id) = self.dynamic[resource.0].get(name) {
                found = *id;
            }
            scope = *outer;
        }
        found
    }

    fn of_array(
        &self,
        rule: &Rule,
        spot: &Spot<'_>,
        items: &[Value],
        seen: &mut Seen,
    ) -> Result<(), Failure> {
        let ask = |id: Id, at: usize, spot: &Spot<'_>| {
            let path = Path::Item(spot.path, at);
            self.ask(id, spot.inner(&items[at], &path))
        };
        match rule {
            Rule::ItemCount(bounds) => within(*bounds, items.len(), "items", spot),
            Rule::Unique => {
                let mut sorted: Vec<&Value> = items.iter().collect();
                sorted.sort_unstable_by(|one, other| compare(one, other));
                let twice = sorted
                    .windows(2)
                    .find(|pair| compare(pair[0], pair[1]).is_eq());
                spot.expect(twice.is_none(), || {
                    let twice = twice.map(|pair| shown(pair[0])).unwrap_or_default();
                    format!("{twice} is in it more than once")
                })
            }
            Rule::Items(first, others) => {
                for at in 0..items.len() {
                    if let Some(id) = first.get(at).or(others.as_ref()) {
                        ask(*id, at, spot)?;
                        seen.mark(at);
                    }
                }
                Ok(())
            }
            Rule::Contains(id, bounds) => {
                let mut count = 0;
                for at in 0..items.len() {
                    match ask(*id, at, &spot.quiet()) {
                        Ok(_) => {
                            count += 1;
                            seen.mark(at);
                        }
                        Err(failure) if failure.is_too_deep => return Err(failure),
                        Err(_) => {}
                    }
                }
                within(*bounds, count, "items that fit `contains`", spot)
            }
            Rule::UnevaluatedItems(id) => {
                for at in 0..items.len() {
                    if !seen.0[at] {
                        ask(*id, at, spot)?;
                        seen.mark(at);
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn of_object(
        &self,
        rule: &Rule,
        spot: &Spot<'_>,
        properties: &Map<String, Value>,
        seen: &mut Seen,
    ) -> Result<(), Failure> {
        match rule {
            Rule::PropertyCount(bounds) => within(*bounds, properties.len(), "properties", spot),
            Rule::Required(names) => has_all(properties, names, spot),
            Rule::RequiredWith(name, names) if properties.contains_key(name) => {
                has_all(properties, names, spot)
            }
            Rule::With(name, id) if properties.contains_key(name) => self.join(*id, spot, seen),
            Rule::Names(id) => properties.keys().try_for_each(|name| {
                let path = Path::Property(spot.path, name);
                let name = Value::String(name.clone());
                self.ask(*id, spot.inner(&name, &path)).map(|_| ())
            }),
            Rule::Properties(rule) => self.properties(rule, spot, properties, seen),
            Rule::UnevaluatedProperties(id) => {
                for (at, (name, value)) in properties.iter().enumerate() {
                    if !seen.0[at] {
                        let path = Path::Property(spot.path, name);
                        self.ask(*id, spot.inner(value, &path))?;
                        seen.mark(at);
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn properties(
        &self,
        rule: &Properties,
        spot: &Spot<'_>,
        properties: &Map<String, Value>,
        seen: &mut Seen,
    ) -> Result<(), Failure> {
        for (at, (name, value)) in properties.iter().enumerate() {
            let path = Path::Property(spot.path, name);
            let named = rule.named.get(name);
            let matching = rule
                .patterns
                .iter()
                .filter(|(pattern, _)| pattern.is_match(name));
            let mut is_known = false;
            for id in named.into_iter().chain(matching.map(|(_, id)| id)) {
                self.ask(*id, spot.inner(value, &path))?;
                is_known = true;
            }
            if !is_known && let Some(others) = rule.others {
                self.ask(others, spot.inner(value, &path))?;
                is_known = true;
            }
            if is_known {
                seen.mark(at);
            }
        }
        Ok(())
    }
}

fn has_all(
    properties: &Map<String, Value>,
    names: &[String],
    spot: &Spot<'_>,
) -> Result<(), Failure> {
    let missing = names.iter().find(|name| !properties.contains_key(*name));
    match missing {
        Some(name) => spot.fails(|| format!("the property `{name}` is missing")),
        None => Ok(()),
    }
}

fn within(bounds: Bounds, count: usize, what: &str, spot: &Spot<'_>) -> Result<(), Failure> {
    let count = count as u64;
    let Bounds { least, most } = bounds;
    spot.expect(least.is_none_or(|least| least <= count), || {
        let least = least.unwrap_or(0);
        format!("it has {count} {what}, less than {least}")
    })?;
    spot.expect(most.is_none_or(|most| count <= most), || {
        let most = most.unwrap_or(0);
        format!("it has {count} {what}, more than {most}")
    })
}

fn of_number(rule: &Rule, spot: &Spot<'_>, value: &serde_json::Number) -> Result<(), Failure> {
    match rule {
        Rule::MultipleOf(divisor, decimal) => {
            let is_multiple = Decimal::new(value).is_multiple_of(*decimal);
            spot.expect(is_multiple, || {
                format!("{value} is no multiple of {divisor}")
            })
        }
        Rule::Number(side, bound) => {
            let order = number::compare(value, bound);
            let (holds, words) = match side {
                Side::Least => (order.is_ge(), "less than"),
                Side::Most => (order.is_le(), "more than"),
                Side::Above => (order.is_gt(), "not more than"),
                Side::Below => (order.is_lt(), "not less than"),
            };
            spot.expect(holds, || format!("{value} is {words} {bound}"))
        }
        _ => Ok(()),
    }
}

fn of_text(rule: &Rule, spot: &Spot<'_>, text: &str) -> Result<(), Failure> {
    match rule {
        Rule::Length(bounds) => within(*bounds, text.chars().count(), "characters", spot),
        Rule::Pattern(written, pattern) => spot.expect(pattern.is_match(text), || {
            format!("{} does not match `{written}`", shown(spot.value))
        }),
        Rule::Format(format) => spot.expect(format.has(text), || {
            format!("{} is no {format}", shown(spot.value))
        }),
        _ => Ok(()),
    }
}

/// A value for people, shortened.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Array(_) | Value::Object(_) => return format!("this {}", type_of(value)),
        other => other.to_string(),
    };
    let Some((end, _)) = text.char_indices().nth(SHOWN_MAX) else {
        return text;
    };
    let mut short = text[..end].to_owned();
    let _ = write!(short, "…");
    short
}
