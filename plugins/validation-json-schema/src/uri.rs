//! This is how a reference becomes an address: RFC 3986, section 5.2.

/// The parts of a reference, its fragment left out.
struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

fn parts(text: &str) -> Parts<'_> {
    let (text, query) = match text.split_once('?') {
        Some((text, query)) => (text, Some(query)),
        None => (text, None),
    };
    let (scheme, text) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
        _ => (None, text),
    };
    let (authority, path) = match text.strip_prefix("//") {
        Some(text) => {
            let end = text.find('/').unwrap_or(text.len());
            (Some(&text[..end]), &text[end..])
        }
        None => (None, text),
    };
    Parts {
        scheme,
        authority,
        path,
        query,
    }
}

/// Whether `text` can be a scheme.
pub(crate) fn is_scheme(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(rest)
}

/// A reference and its fragment, which is empty where there is none.
pub(crate) fn split(reference: &str) -> (&str, &str) {
    reference.split_once('#').unwrap_or((reference, ""))
}

/// What `reference`, which has no fragment, means at `base`.
pub(crate) fn resolve(base: &str, reference: &str) -> String {
    if reference.is_empty() {
        return base.to_owned();
    }
    let (of_base, given) = (parts(base), parts(reference));
    let path = if given.scheme.is_some() || given.authority.is_some() {
        without_dots(given.path)
    } else if given.path.is_empty() {
        of_base.path.to_owned()
    } else if given.path.starts_with('/') {
        without_dots(given.path)
    } else {
        let folder = of_base
            .path
            .rfind('/')
            .map_or("", |at| &of_base.path[..=at]);
        let folder = match (folder, of_base.authority) {
            ("", Some(_)) => "/",
            (folder, _) => folder,
        };
        without_dots(&format!("{folder}{}", given.path))
    };
    let keeps_query = given.scheme.is_none() && given.authority.is_none() && given.path.is_empty();
    let query = given.query.or(of_base.query.filter(|_| keeps_query));
    let authority = match given.scheme {
        Some(_) => given.authority,
        None => given.authority.or(of_base.authority),
    };
    let mut address = String::new();
    if let Some(scheme) = given.scheme.or(of_base.scheme) {
        address = scheme.to_ascii_lowercase() + ":";
    }
    if let Some(authority) = authority {
        address.push_str("//");
        address.push_str(authority);
    }
    address += &path;
    if let Some(query) = query {
        address.push('?');
        address.push_str(query);
    }
    address
}

fn without_dots(path: &str) -> String {
    if !path.contains("./") && !path.ends_with("/.") && !path.ends_with("/..") {
        return path.to_owned();
    }
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        match *segment {
            "." | ".." => {
                let is_up = *segment == ".." && (1 < kept.len() || kept != [""]);
                if is_up {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    kept.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reference: &str, expected: &str) {
        assert_eq!(resolve("http://a/b/c/d;p?q", reference), expected);
    }

    #[test]
    fn resolves_as_the_rfc_shows() {
        check("g:h", "g:h");
        check("g", "http://a/b/c/g");
        check("./g", "http://a/b/c/g");
        check("g/", "http://a/b/c/g/");
        check("/g", "http://a/g");
        check("//g", "http://g");
        check("?y", "http://a/b/c/d;p?y");
        check("g?y", "http://a/b/c/g?y");
        check("", "http://a/b/c/d;p?q");
        check(".", "http://a/b/c/");
        check("..", "http://a/b/");
        check("../g", "http://a/b/g");
        check("../../g", "http://a/g");
        check("../../../g", "http://a/g");
        check("./g/.", "http://a/b/c/g/");
        check("g/../h", "http://a/b/c/h");
    }

    #[test]
    fn takes_names_for_bases() {
        assert_eq!(resolve("urn:example:a", ""), "urn:example:a");
        assert_eq!(resolve("http://a", "b"), "http://a/b");
    }
}
