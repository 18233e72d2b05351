//! This is how what a node found or did becomes an answer: status, headers, and the value in the
//! form the client welcomes.

use super::accept::{Accept, Form, MULTIPART_MIXED, SIBLINGS_JSON};
use super::conditions::Verdict;
use super::coordinates::{Choice, Resolved};
use super::etag::EntityTag;
use super::headers::{CONTENT_TYPE_DEFAULT, Operation, ReadHeaders, SOROS_CONTEXT};
use super::siblings::{SOROS_TIME, SOROS_WRITER, Siblings, fields_of, node_name, rfc3339};
use crate::network::{Body, Code, Problem, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use soros_core::dot::Dot;
use soros_core::dot_set::DotSet;
use soros_core::id::NodeId;
use soros_core::map::Map;
use soros_core::object::{Object, Value, Version};
use soros_core::operation::{Achieved, ReadAnswer, WriteAnswer};
use soros_core::place::Entry;
use soros_core::policy::Merged;

/// The epoch of the map that the answer was given under.
pub const SOROS_EPOCH: HeaderName = HeaderName::from_static("soros-epoch");
/// How many replicas were reached, of how many.
pub const SOROS_ACHIEVED: HeaderName = HeaderName::from_static("soros-achieved");
/// The node that answered from its copy.
pub const SOROS_SERVED_BY: HeaderName = HeaderName::from_static("soros-served-by");
/// How many versions the key has.
pub const SOROS_SIBLINGS: HeaderName = HeaderName::from_static("soros-siblings");
/// Which resolver's version made one of them.
pub const SOROS_RESOLVED_BY: HeaderName = HeaderName::from_static("soros-resolved-by");

/// The key that an answer is about, and the map it was found under.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The map.
    pub map: &'a Map,
    /// The bucket and the key.
    pub entry: &'a Entry,
}

/// What of a key a reader is shown.
enum View<'a> {
    /// A version as it was written: the only one, or a resolver's choice.
    Version {
        dot: Dot,
        version: &'a Version,
        value: &'a Value,
    },
    /// What a resolver made.
    Merged(&'a Merged),
    /// All versions.
    All(Form, Siblings<'a>),
}

/// Why a reader is shown nothing of a key that has versions.
enum Hidden {
    /// A resolver made a tombstone of them.
    Deleted,
    /// It refuses every form there is.
    NotAcceptable,
}

impl About<'_> {
    /// The token of what a client has seen of the key.
    ///
    /// # Panics
    /// Never: base64url is a header's value.
    #[must_use]
    pub fn token(&self, context: &DotSet) -> HeaderValue {
        let token = self.map.token_key().seal(self.entry, context);
        let token = URL_SAFE_NO_PAD.encode(token);
        HeaderValue::try_from(token).expect("base64url is a header's value")
    }

    /// What every answer about the key says.
    fn facts(
        &self,
        context: &DotSet,
        kind: char,
        achieved: Achieved,
        served_by: NodeId,
    ) -> HeaderMap {
        let mut facts = HeaderMap::with_capacity(16);
        facts.insert(SOROS_CONTEXT, self.token(context));
        let Achieved { reached, replicas } = achieved;
        insert_text(
            &mut facts,
            SOROS_ACHIEVED,
            &format!("{kind}={reached}/{replicas}"),
        );
        insert_text(&mut facts, SOROS_SERVED_BY, &node_name(self.map, served_by));
        facts
    }
}

/// The answer to a write or delete that is done.
#[must_use]
pub fn written(about: About<'_>, asked: Operation, answer: &WriteAnswer) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = match asked {
        Operation::Put if !answer.existed => StatusCode::CREATED,
        Operation::Put | Operation::Delete | Operation::Read => StatusCode::NO_CONTENT,
    };
    let facts = about.facts(&answer.context, 'w', answer.achieved, answer.served_by);
    response.headers_mut().extend(facts);
    if asked == Operation::Put && is_what_a_reader_gets(answer) {
        let tag = EntityTag::of_version(&answer.versions);
        response.headers_mut().insert(ETAG, tag.value().clone());
    }
    response
}

/// Whether the client's bytes are the key's only version: a tag would else name bytes that the
/// client did not send. A value that a resolver merged has a dot that is not in the context.
fn is_what_a_reader_gets(answer: &WriteAnswer) -> bool {
    let nothing = DotSet::default();
    let mut ranges = answer.versions.minus(&nothing);
    let only = ranges.next().filter(|(_, start, end)| start == end);
    ranges.next().is_none()
        && only.is_some_and(|(actor, counter, _)| answer.context.has(&actor.dot(counter)))
}

/// The answer to a read. `resolve` is asked for at most once, and only when there are several
/// versions and the client wants one value.
#[must_use]
pub fn read(
    about: About<'_>,
    asked: &ReadHeaders,
    answer: &ReadAnswer,
    resolve: impl FnOnce() -> Option<Resolved>,
) -> Response {
    let object = &answer.object;
    let mut facts = about.facts(&object.seen(), 'r', answer.achieved, answer.served_by);
    if !object.is_live() {
        return told(not_found(), facts);
    }
    let several = 1 < object.versions.len();
    let resolved = if several && !asked.accept.wants_all() {
        resolve()
    } else {
        None
    };
    let view = View::of(about, object, &asked.accept, resolved.as_ref());
    if several || matches!(view, Ok(View::All(..))) {
        facts.insert(SOROS_SIBLINGS, object.versions.len().into());
    }
    if let (Some(resolved), Ok(View::Version { .. } | View::Merged(_)) | Err(Hidden::Deleted)) =
        (&resolved, &view)
    {
        let by = format!("{}@{}", resolved.plugin, resolved.version);
        insert_text(&mut facts, SOROS_RESOLVED_BY, &by);
    }
    match view {
        Ok(view) => view.answer(about, asked, object, facts),
        Err(Hidden::Deleted) => told(not_found(), facts),
        Err(Hidden::NotAcceptable) => told(not_acceptable(), facts),
    }
}

impl<'a> View<'a> {
    fn of(
        about: About<'_>,
        object: &'a Object,
        accept: &Accept,
        resolved: Option<&'a Resolved>,
    ) -> Result<View<'a>, Hidden> {
        let all = |form| View::All(form, Siblings::of(object, about.map));
        match View::of_one(object, resolved) {
            Some(Ok(view)) => match accept.of_value(view.content_type()) {
                Some(Form::Value) => Ok(view),
                Some(form) => Ok(all(form)),
                None => Err(Hidden::NotAcceptable),
            },
            // Who would rather see all versions sees the tombstone among them.
            Some(Err(deleted)) => accept
                .named()
                .map_or(Err(deleted), |(_, form)| Ok(all(form))),
            None => accept.of_siblings().map(all).ok_or(Hidden::NotAcceptable),
        }
    }

    /// The one value to show, or that there is none; nothing when all versions are the answer.
    fn of_one(
        object: &'a Object,
        resolved: Option<&'a Resolved>,
    ) -> Option<Result<View<'a>, Hidden>> {
        let dot = match resolved.map(|resolved| &resolved.choice) {
            None if object.versions.len() == 1 => *object.versions.keys().next()?,
            None => return None,
            Some(Choice::Keep(dot)) => *dot,
            Some(Choice::Value(merged)) => return Some(Ok(View::Merged(merged))),
            Some(Choice::Tombstone) => return Some(Err(Hidden::Deleted)),
        };
        let version = object.versions.get(&dot)?;
        Some(match &version.value {
            Some(value) => Ok(View::Version {
                dot,
                version,
                value,
            }),
            None => Err(Hidden::Deleted),
        })
    }

    fn content_type(&self) -> &str {
        match self {
            View::Version { value, .. } => &value.content_type,
            View::Merged(merged) => &merged.content_type,
            View::All(..) => MULTIPART_MIXED,
        }
    }

    fn tag(&self, object: &Object) -> EntityTag {
        let dots = object.dots();
        match self {
            View::Version { .. } if object.versions.len() == 1 => EntityTag::of_version(&dots),
            View::Version { dot, .. } => EntityTag::of_chosen(&dots, *dot),
            View::Merged(merged) => EntityTag::of_merged(&dots, merged),
            View::All(form, all) => EntityTag::of_siblings(&dots, *form, &all.writers()),
        }
    }

    fn answer(
        self,
        about: About<'_>,
        asked: &ReadHeaders,
        object: &Object,
        mut facts: HeaderMap,
    ) -> Response {
        let tag = self.tag(object);
        facts.insert(ETAG, tag.value().clone());
        facts.insert(VARY, HeaderValue::from_static("accept"));
        // It may be kept, and must be asked for again each time: only the node knows what is new.
        facts.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        match asked.conditions.verdict(&tag) {
            Verdict::Wanted => self.shown(about, facts),
            Verdict::NotModified => bare(StatusCode::NOT_MODIFIED, facts),
            Verdict::Failed => told(condition_failed(), facts),
        }
    }

    fn shown(self, about: About<'_>, mut facts: HeaderMap) -> Response {
        guard(&mut facts);
        let status = match self {
            View::All(_, ref all) if all.are_several() => StatusCode::MULTIPLE_CHOICES,
            View::All(..) | View::Version { .. } | View::Merged(_) => StatusCode::OK,
        };
        let body = match self {
            View::Version {
                dot,
                version,
                value,
            } => {
                facts.extend(fields_of(value));
                insert_text(&mut facts, SOROS_TIME, &rfc3339(version.time));
                insert_text(
                    &mut facts,
                    SOROS_WRITER,
                    &node_name(about.map, dot.actor.node),
                );
                Bytes::from_owner(value.bytes.clone())
            }
            View::Merged(merged) => {
                insert_text(&mut facts, CONTENT_TYPE, &merged.content_type);
                Bytes::copy_from_slice(&merged.bytes)
            }
            View::All(Form::Json, all) => {
                facts.insert(CONTENT_TYPE, HeaderValue::from_static(SIBLINGS_JSON));
                all.json().into()
            }
            View::All(Form::Multipart | Form::Value, all) => {
                let parts = all.multipart();
                let content_type = format!("{MULTIPART_MIXED}; boundary={}", parts.boundary);
                insert_text(&mut facts, CONTENT_TYPE, &content_type);
                parts.bytes.into()
            }
        };
        let unsaid = HeaderValue::from_static(CONTENT_TYPE_DEFAULT);
        facts.entry(CONTENT_TYPE).or_insert(unsaid);
        let mut response = bare(status, facts);
        *response.body_mut() = Body::full(body);
        response
    }
}

/// A value is anybody's bytes on the origin of the operator's own pages: a browser must neither
/// guess that it is a page nor run it.
fn guard(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
}

fn bare(status: StatusCode, headers: HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn told(problem: Problem, facts: HeaderMap) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().extend(facts);
    response
}

fn not_found() -> Problem {
    Problem::new(
        Code::KeyNotFound,
        "The key was never written, or it was deleted.",
    )
}

fn not_acceptable() -> Problem {
    let detail = "`Accept` refuses, with `q=0`, every form that the value has.";
    Problem::new(Code::NotAcceptable, detail)
}

fn condition_failed() -> Problem {
    Problem::new(
        Code::PreconditionFailed,
        "The value has another `ETag` than `If-Match` names.",
    )
}

/// Text that cannot stand in a header (a resolver's plugin may have made it) is left out.
fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
