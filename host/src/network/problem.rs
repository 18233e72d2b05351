//! This is how an error looks on the wire: a problem body (RFC 9457) with a stable code, written
//! by the handlers and read back by the client. One table gives each code its status and title.

use super::body::{Body, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// How long a client waits before it tries again what was refused, unless told otherwise.
const RETRY_AFTER_SECONDS: u32 = 1;
/// Where a problem's type is named; the code follows.
const TYPE_PREFIX: &str = "urn:soros:problem:";
/// What every problem has; the fields of a case have other names.
const MEMBERS: [&str; 5] = ["type", "title", "status", "detail", "code"];

macro_rules! codes {
    ($($name:ident $status:ident $text:literal $title:literal;)*) => {
        /// A stable name of what went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = concat!($title, ".")] $name,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The code as it is on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The status an answer with this code has.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Code::$name => StatusCode::$status,)* }
            }

            /// What the code means, the same in every answer.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    BadRequest BAD_REQUEST "bad-request" "The request is malformed";
    BadKey BAD_REQUEST "bad-key" "The key is malformed";
    BadBucketName BAD_REQUEST "bad-bucket-name" "The bucket name is malformed";
    BadContext BAD_REQUEST "bad-context" "The context token is not valid here";
    BadHeader BAD_REQUEST "bad-header" "A request header is not valid";
    BadSession BAD_REQUEST "bad-session" "The session token is not valid here";
    Unauthenticated UNAUTHORIZED "unauthenticated" "Credentials are needed";
    Forbidden FORBIDDEN "forbidden" "The credentials do not allow this";
    KeyNotFound NOT_FOUND "key-not-found" "The key has no value";
    BucketNotFound NOT_FOUND "bucket-not-found" "There is no such bucket";
    PlacementNotFound NOT_FOUND "placement-not-found" "There is no such placement";
    PluginNotFound NOT_FOUND "plugin-not-found" "There is no such plugin";
    NoSuchRoute NOT_FOUND "no-such-route" "There is no such route";
    MethodNotAllowed METHOD_NOT_ALLOWED "method-not-allowed" "The route has no such method";
    NotAcceptable NOT_ACCEPTABLE "not-acceptable" "No acceptable form of the answer exists";
    RequestTimeout REQUEST_TIMEOUT "request-timeout" "The request came too slowly";
    TooManySiblings CONFLICT "too-many-siblings" "The key has too many siblings";
    VersionExists CONFLICT "version-exists" "The version exists with other bytes";
    InUse CONFLICT "in-use" "The thing is in use";
    NotReady CONFLICT "not-ready" "A node is not ready for the change";
    Immutable CONFLICT "immutable" "The field cannot be changed";
    MovesNeeded CONFLICT "moves-needed" "The change needs data to move";
    ChangeUnderWay CONFLICT "change-under-way" "Another change is under way";
    IdempotencyMismatch CONFLICT "idempotency-mismatch"
        "The idempotency key was used for another request";
    CursorGone GONE "cursor-gone" "The cursor is too old";
    PreconditionFailed PRECONDITION_FAILED "precondition-failed" "A precondition does not hold";
    ValueTooLarge PAYLOAD_TOO_LARGE "value-too-large" "The body is too large";
    KeyTooLong URI_TOO_LONG "key-too-long" "The key is too long";
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported-media-type"
        "The media type is not supported";
    Rejected UNPROCESSABLE_ENTITY "rejected" "A validator rejected the write";
    BadPlugin UNPROCESSABLE_ENTITY "bad-plugin" "The plugin is not valid";
    BadConfig UNPROCESSABLE_ENTITY "bad-config" "The configuration is not valid";
    UnknownReference UNPROCESSABLE_ENTITY "unknown-reference"
        "The configuration names something unknown";
    ContextRequired PRECONDITION_REQUIRED "context-required" "The write needs a context";
    Overloaded TOO_MANY_REQUESTS "overloaded" "The node is overloaded";
    HeadersTooLarge REQUEST_HEADER_FIELDS_TOO_LARGE "headers-too-large"
        "The request headers are too large";
    Internal INTERNAL_SERVER_ERROR "internal" "The node failed";
    ConditionalNeedsStrong NOT_IMPLEMENTED "conditional-needs-strong"
        "Conditional writes need a strong bucket";
    NotImplemented NOT_IMPLEMENTED "not-implemented" "The feature is not built yet";
    QuorumUnavailable SERVICE_UNAVAILABLE "quorum-unavailable"
        "Too few replicas are reachable; nothing was applied";
    ClockSkew SERVICE_UNAVAILABLE "clock-skew" "The node's clock is off; nothing was applied";
    PolicyUnavailable SERVICE_UNAVAILABLE "policy-unavailable"
        "A policy could not be asked; nothing was applied";
    Starting SERVICE_UNAVAILABLE "starting" "The node is starting";
    ShuttingDown SERVICE_UNAVAILABLE "shutting-down" "The node is shutting down";
    OutcomeUnknown GATEWAY_TIMEOUT "outcome-unknown" "The outcome is not known";
    DiskFull INSUFFICIENT_STORAGE "disk-full" "The disk is full";
}

impl Code {
    /// The code called `text`.
    #[must_use]
    pub fn of(text: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// An error on its way to a client. One word wide, since most results have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem(Box<Case>);

#[derive(Clone, Debug, PartialEq)]
struct Case {
    code: Code,
    detail: String,
    fields: Map<String, Value>,
    headers: HeaderMap,
}

/// The members in the order a reader wants them.
#[derive(serde::Serialize)]
struct Rendered<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

impl Problem {
    /// A problem of this code; `detail` says what to do about this case of it.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        let (fields, headers) = (Map::new(), HeaderMap::new());
        let detail = detail.into();
        Problem(Box::new(Case {
            code,
            detail,
            fields,
            headers,
        }))
    }

    /// A failure of ours. The client learns an id; the log has the id and `error`.
    #[must_use]
    pub fn internal(error: &dyn std::fmt::Display) -> Problem {
        let id = format!("{:016x}", super::random_bits());
        tracing::error!(%id, %error, "a request failed by a fault of this node");
        Problem::new(
            Code::Internal,
            "The node's log has the cause under this id.",
        )
        .with("id", id)
    }

    /// The answer to a method that the route does not have.
    #[must_use]
    pub fn method_not_allowed(allowed: &[Method]) -> Problem {
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        let names = names.join(", ");
        let problem = Problem::new(Code::MethodNotAllowed, format!("Use one of: {names}."));
        match HeaderValue::try_from(names) {
            Ok(value) => problem.header(ALLOW, value),
            Err(_) => problem,
        }
    }

    /// The problem with one more field of its case.
    ///
    /// # Panics
    /// When the field has the name of one that every problem has.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Problem {
        assert!(
            !MEMBERS.contains(&field),
            "`{field}` is a member of every problem"
        );
        self.0.fields.insert(field.to_owned(), value.into());
        self
    }

    /// The problem with a header that its answer has.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.0.headers.insert(name, value);
        self
    }

    /// The problem with how many seconds to wait before trying again.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Problem {
        self.header(RETRY_AFTER, seconds.into())
    }

    /// The stable name of what went wrong.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What to do about this case.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// A field of the case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.0.fields.get(name)
    }

    /// The fields of the case.
    #[must_use]
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0.fields
    }

    /// The body of the answer.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let rendered = Rendered {
            r#type: format!("{TYPE_PREFIX}{}", self.0.code),
            title: self.0.code.title(),
            status: self.0.code.status().as_u16(),
            detail: &self.0.detail,
            code: self.0.code.as_str(),
            fields: &self.0.fields,
        };
        serde_json::to_vec(&rendered).unwrap_or_default()
    }

    /// The answer.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut response = Response::new(Body::full(self.to_json()));
        *response.status_mut() = self.0.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = self.0.code.standing_header() {
            headers.insert(name, value);
        }
        headers.extend(self.0.headers);
        response
    }

    /// The problem in an answer's body; `None` when it is none, or has a code unknown here.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Problem> {
        let mut fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let code = Code::of(fields.get("code")?.as_str()?)?;
        let detail = fields
            .get("detail")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        fields.retain(|name, _| !MEMBERS.contains(&name.as_str()));
        let headers = HeaderMap::new();
        Some(Problem(Box::new(Case {
            code,
            detail,
            fields,
            headers,
        })))
    }
}

impl Code {
    /// The header that every answer with this code has.
    fn standing_header(self) -> Option<(HeaderName, HeaderValue)> {
        if self == Code::OutcomeUnknown {
            let name = HeaderName::from_static("soros-outcome");
            return Some((name, HeaderValue::from_static("unknown")));
        }
        let passes = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        passes
            .contains(&self.status())
            .then(|| (RETRY_AFTER, RETRY_AFTER_SECONDS.into()))
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.0.code.title(), self.0.code)?;
        if self.0.detail.is_empty() {
            Ok(())
        } else {
            write!(formatter, ": {}", self.0.detail)
        }
    }
}

impl std::error::Error for Problem {}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Response {
        problem.into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_every_code_a_name_of_its_own_and_an_error_status() {
        for &code in Code::ALL {
            assert_eq!(Code::of(code.as_str()), Some(code));
            let status = code.status();
            assert!(
                status.is_client_error() || status.is_server_error(),
                "{code}"
            );
            let kebab = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(code.as_str().bytes().all(kebab), "{code}");
        }
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert_eq!(Code::of("teapot"), None);
    }

    #[test]
    fn reads_back_what_was_sent() {
        let problem = Problem::new(Code::Rejected, "No such currency.")
            .with("plugin", "json-schema")
            .with("pointer", "/currency");
        assert_eq!(Problem::parse(&problem.to_json()), Some(problem));
        assert_eq!(Problem::parse(b"<html>"), None);
        assert_eq!(Problem::parse(br#"{"code":"teapot"}"#), None);
    }

    #[test]
    fn has_the_members_a_reader_wants_in_their_order() {
        let problem = Problem::new(Code::ValueTooLarge, "Split it.").with("limit", 4);
        assert_eq!(
            String::from_utf8(problem.to_json()).unwrap(),
            "{\"type\":\"urn:soros:problem:value-too-large\",\"title\":\"The body is too large\",\
             \"status\":413,\"detail\":\"Split it.\",\"code\":\"value-too-large\",\"limit\":4}"
        );
    }

    #[test]
    fn says_when_to_come_back_and_what_is_unknown() {
        let header = |problem: Problem, name: &str| {
            let response = problem.into_response();
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let refused = Problem::new(Code::QuorumUnavailable, "");
        assert_eq!(header(refused.clone(), "retry-after").as_deref(), Some("1"));
        assert_eq!(
            header(refused.retry_after(7), "retry-after").as_deref(),
            Some("7")
        );
        assert_eq!(header(Problem::new(Code::BadKey, ""), "retry-after"), None);
        let unknown = Problem::new(Code::OutcomeUnknown, "");
        assert_eq!(header(unknown, "soros-outcome").as_deref(), Some("unknown"));
        let allowed = Problem::method_not_allowed(&[Method::GET, Method::HEAD]);
        assert_eq!(header(allowed, "allow").as_deref(), Some("GET, HEAD"));
    }

    #[test]
    fn hides_the_cause_of_a_fault_of_ours_behind_an_id() {
        let problem = Problem::internal(&"the engine caught fire");
        let body = String::from_utf8(problem.to_json()).unwrap();
        assert!(!body.contains("fire"), "{body}");
        assert_eq!(
            problem.field("id").and_then(Value::as_str).map(str::len),
            Some(16)
        );
    }

    #[test]
    #[should_panic(expected = "member of every problem")]
    fn refuses_a_field_that_would_hide_a_member() {
        let _ = Problem::new(Code::BadKey, "").with("status", 200);
    }
}
