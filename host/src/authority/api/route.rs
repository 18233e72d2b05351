//! This is which route a path is, and what its segments and its query say: percent-decoded once,
//! `+` a plus, anything unknown refused.

use super::refusal::Refusal;
use http::Method;
use soros_core::id::{BucketName, PlacementName};
use soros_core::key::Key;
use soros_core::map::plugin::{PluginName, PluginNameError, PluginVersion};
use std::collections::BTreeMap;

/// A route of this API, its segments as they are in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// All buckets.
    Buckets,
    /// A bucket.
    Bucket(&'a str),
    /// All placements.
    Placements,
    /// A placement.
    Placement(&'a str),
    /// The cluster.
    Cluster,
    /// The map.
    Map,
    /// The settings.
    Settings,
    /// Where a key lives.
    Locate {
        /// The bucket.
        bucket: &'a str,
        /// The key: all that follows.
        key: &'a str,
    },
    /// All plugins.
    Plugins,
    /// A plugin.
    Plugin(&'a str),
    /// A version of a plugin.
    Release {
        /// The plugin.
        name: &'a str,
        /// The version.
        version: &'a str,
    },
    /// The change to another version of a plugin.
    Activate(&'a str),
    /// The change to the version before.
    Rollback(&'a str),
    /// The version that runs beside the one in force.
    Shadow(&'a str),
    /// A route that is known and not built, and its methods.
    Unbuilt(&'static str, &'static [Method]),
}

static READ: [Method; 2] = [Method::GET, Method::HEAD];
static REPLACE: [Method; 3] = [Method::GET, Method::HEAD, Method::PUT];
static ALL: [Method; 4] = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE];
static POST: [Method; 1] = [Method::POST];

impl<'a> Route<'a> {
    /// The route of a path, when it is one of this API.
    pub(super) fn of(path: &'a str) -> Option<Route<'a>> {
        let rest = path.strip_prefix("/v1/")?;
        let (first, rest) = match rest.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (rest, None),
        };
        match (first, rest) {
            ("buckets", None) => Some(Route::Buckets),
            ("buckets", Some(name)) => one(name).map(Route::Bucket),
            ("placements", None) => Some(Route::Placements),
            ("placements", Some(name)) => one(name).map(Route::Placement),
            ("cluster", None) => Some(Route::Cluster),
            ("cluster", Some("map")) => Some(Route::Map),
            ("cluster", Some("settings")) => Some(Route::Settings),
            ("cluster", Some("plan")) => Some(Route::Unbuilt("`POST /v1/cluster/plan`", &POST)),
            ("cluster", Some("apply")) => Some(Route::Unbuilt("`POST /v1/cluster/apply`", &POST)),
            ("locate", Some(rest)) => {
                let (bucket, key) = rest.split_once('/')?;
                Some(Route::Locate { bucket, key })
            }
            ("plugins", None) => Some(Route::Plugins),
            ("plugins", Some(rest)) => of_plugin(rest),
            _ => None,
        }
    }

    /// The methods of the route.
    pub(super) fn methods(&self) -> &'static [Method] {
        match self {
            Route::Bucket(_) | Route::Placement(_) | Route::Release { .. } | Route::Shadow(_) => {
                &ALL
            }
            Route::Activate(_) | Route::Rollback(_) => &POST,
            Route::Settings => &REPLACE,
            Route::Buckets
            | Route::Placements
            | Route::Cluster
            | Route::Map
            | Route::Locate { .. }
            | Route::Plugins
            | Route::Plugin(_) => &READ,
            Route::Unbuilt(_, methods) => methods,
        }
    }

    /// The query parameters of the route.
    pub(super) fn parameters(&self, method: &Method) -> &'static [&'static str] {
        match self {
            Route::Bucket(_) if *method == Method::DELETE => &["purge"],
            Route::Map => &["newer_than", "timeout"],
            _ => &[],
        }
    }
}

/// The routes under `/v1/plugins/`.
fn of_plugin(rest: &str) -> Option<Route<'_>> {
    let Some((name, rest)) = rest.split_once('/') else {
        return Some(Route::Plugin(rest));
    };
    match rest {
        "activate" => Some(Route::Activate(name)),
        "rollback" => Some(Route::Rollback(name)),
        "shadow" => Some(Route::Shadow(name)),
        version => one(version).map(|version| Route::Release { name, version }),
    }
}

fn one(segment: &str) -> Option<&str> {
    (!segment.contains('/')).then_some(segment)
}

/// The bucket that a segment names.
pub(super) fn bucket(raw: &str) -> Result<BucketName, Refusal> {
    text(raw)?.parse().map_err(Refusal::BucketName)
}

/// The placement that a segment names.
pub(super) fn placement(raw: &str) -> Result<PlacementName, Refusal> {
    text(raw)?.parse().map_err(Refusal::PlacementName)
}

/// The plugin that a segment names.
pub(super) fn plugin(raw: &str) -> Result<PluginName, Refusal> {
    text(raw)?.parse().map_err(Refusal::Plugin)
}

/// The version that a segment names.
pub(super) fn version(raw: &str) -> Result<PluginVersion, Refusal> {
    let text = text(raw)?;
    if semver::Version::parse(&text).is_err() {
        return Err(Refusal::Plugin(PluginNameError::Version));
    }
    text.parse().map_err(Refusal::Plugin)
}

/// The key that the rest of a path names.
pub(super) fn key(raw: &str) -> Result<Key, Refusal> {
    let bytes = decode(raw).ok_or(Refusal::KeyEncoding)?;
    Key::try_from(bytes.as_slice()).map_err(Refusal::Key)
}

fn text(raw: &str) -> Result<String, Refusal> {
    let bytes = decode(raw).ok_or(Refusal::Encoding)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The parameters of a query.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(BTreeMap<&'static str, String>);

impl Query {
    /// Reads a query that may have the parameters `known`, each once.
    pub(super) fn of(raw: Option<&str>, known: &[&'static str]) -> Result<Query, Refusal> {
        let mut values = BTreeMap::new();
        let parameters = raw
            .unwrap_or_default()
            .split('&')
            .filter(|part| !part.is_empty());
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (name, value) = (text(name)?, text(value)?);
            let Some(known) = known.iter().find(|known| **known == name) else {
                return Err(Refusal::UnknownParameter(name.chars().take(80).collect()));
            };
            if values.insert(*known, value).is_some() {
                return Err(Refusal::Parameter(known, "is there twice"));
            }
        }
        Ok(Query(values))
    }

    /// A parameter that is a number from 0 to `max`.
    pub(super) fn number(&self, name: &'static str, max: u64) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.0.get(name) else {
            return Ok(None);
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && number <= max => Ok(Some(number)),
            _ => Err(Refusal::Parameter(name, "is not a number in its range")),
        }
    }

    /// A parameter that is `true` or `false`; false when it is not there.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Refusal> {
        match self.0.get(name).map(String::as_str) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::Parameter(name, "is neither `true` nor `false`")),
        }
    }
}

/// The bytes that percent-encoded text stands for; none where a `%` lacks its digits.
fn decode(raw: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next())? << 4 | digit(rest.next())?,
            literal => literal,
        });
    }
    Some(bytes)
}

fn digit(byte: Option<u8>) -> Option<u8> {
    let value = char::from(byte?).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_routes() {
        let routes = [
            ("/v1/buckets", Some(Route::Buckets)),
            ("/v1/buckets/", Some(Route::Bucket(""))),
            ("/v1/buckets/b", Some(Route::Bucket("b"))),
            ("/v1/buckets/b/c", None),
            ("/v1/placements/p", Some(Route::Placement("p"))),
            ("/v1/cluster", Some(Route::Cluster)),
            ("/v1/cluster/", None),
            ("/v1/cluster/map", Some(Route::Map)),
            ("/v1/cluster/maps", None),
            ("/v1/locate/b", None),
            (
                "/v1/locate/b/",
                Some(Route::Locate {
                    bucket: "b",
                    key: "",
                }),
            ),
            (
                "/v1/locate/b//k/",
                Some(Route::Locate {
                    bucket: "b",
                    key: "/k/",
                }),
            ),
            ("/v1/plugins", Some(Route::Plugins)),
            ("/v1/plugins/lww", Some(Route::Plugin("lww"))),
            ("/v1/plugins/lww/activate", Some(Route::Activate("lww"))),
            ("/v1/plugins/lww/rollback", Some(Route::Rollback("lww"))),
            ("/v1/plugins/lww/1.0.0/more", None),
            ("/v1/kv/b/k", None),
            ("/", None),
        ];
        for (path, route) in routes {
            assert_eq!(Route::of(path), route, "{path}");
        }
        let (name, version) = ("lww", "1.0.0");
        let release = Route::of("/v1/plugins/lww/1.0.0").unwrap();
        assert_eq!(release, Route::Release { name, version });
        assert!(release.methods().contains(&Method::PUT));
        assert_eq!(
            Route::of("/v1/cluster/plan").unwrap().methods(),
            [Method::POST]
        );
    }

    #[test]
    fn reads_queries_strictly() {
        let read = |raw| Query::of(Some(raw), &["newer_than", "timeout"]);
        let query = read("newer_than=%37&timeout=600&").unwrap();
        assert_eq!(query.number("newer_than", u64::MAX).unwrap(), Some(7));
        assert_eq!(query.number("timeout", 600).unwrap(), Some(600));
        assert_eq!(query.number("limit", 600).unwrap(), None);
        for raw in ["depth=1", "timeout=1&timeout=2", "timeout=%4", "%"] {
            assert!(read(raw).is_err(), "{raw}");
        }
        for raw in [
            "timeout=601",
            "timeout=",
            "timeout=+1",
            "timeout=-1",
            "timeout=x",
        ] {
            assert!(read(raw).unwrap().number("timeout", 600).is_err(), "{raw}");
        }
        let purge = |raw| Query::of(Some(raw), &["purge"]).unwrap().flag("purge");
        assert!(purge("purge=true").unwrap() && !purge("purge=false").unwrap());
        assert!(purge("purge").is_err());
        assert!(!Query::of(None, &[]).unwrap().flag("purge").unwrap());
    }

    #[test]
    fn decodes_names_and_keys() {
        assert_eq!(bucket("d%65f").unwrap().as_str(), "def");
        assert!(matches!(bucket("A"), Err(Refusal::BucketName(_))));
        assert!(matches!(bucket("a%"), Err(Refusal::Encoding)));
        assert!(matches!(placement("p/"), Err(Refusal::PlacementName(_))));
        assert_eq!(key("a+b/%00").unwrap().as_bytes(), b"a+b/\0");
        assert!(matches!(key(""), Err(Refusal::Key(_))));
        assert!(matches!(key("%f"), Err(Refusal::KeyEncoding)));
    }
}
