//! Where something lives: a local folder, memory, or an object store.
//!
//! Local paths are absolute: a node that is started from another folder must not find an empty store.
//! A URL of an object store holds no secret: statements are shown, stored and sent to other nodes.
//! Invariant: a prefix has no slash at its ends, no empty part, no `.` and no `..`; Display reads back equal.

use crate::config::key::{Key, Kind};
use crate::config::settings::{Fault, Setting, text_of};
use crate::shown::without_keys;
use crate::syntax::ast::{Literal, Spanned};
use crate::value::Value;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use strandline_event::FieldNames;

const FORMS: &str = "/path, file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or memory://";

/// A place for files or objects.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Location {
    /// An absolute folder of this machine.
    Local(PathBuf),
    /// Memory of the process: gone at its end.
    Memory {
        /// Prefix of the object names; may be empty.
        prefix: String,
    },
    /// Amazon S3, or what speaks like it.
    S3 {
        /// The bucket.
        bucket: String,
        /// Prefix of the object names; may be empty.
        prefix: String,
    },
    /// Google Cloud Storage.
    Gs {
        /// The bucket.
        bucket: String,
        /// Prefix of the object names; may be empty.
        prefix: String,
    },
    /// Azure Blob Storage.
    Azure {
        /// The container.
        container: String,
        /// Prefix of the object names; may be empty.
        prefix: String,
    },
}

impl Location {
    /// Stands where a mandatory location is not read yet; never leaves this crate.
    pub(crate) const fn placeholder() -> Self {
        Self::Memory { prefix: String::new() }
    }

    /// Reads a path or URL; the error completes the sentence "<key>: ...".
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(at) = text.find(|c: char| c.is_control()) {
            return Err(format!("a control character at byte {at} of the path"));
        }
        if text.starts_with('/') {
            return local(text);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let shown = if may_be_url(text) { "it".to_owned() } else { format!("'{text}'") };
            return Err(format!("{shown} is not absolute; it must be {FORMS}"));
        };
        match scheme {
            "file" => local(rest.strip_prefix("localhost").unwrap_or(rest)),
            "memory" => Ok(Self::Memory { prefix: clean(rest)? }),
            "s3" | "gs" | "az" if secrets(rest) != Secrets::default() => Err(holds_a_secret(scheme)),
            "s3" => bucket_and_prefix(rest).map(|(bucket, prefix)| Self::S3 { bucket, prefix }),
            "gs" => bucket_and_prefix(rest).map(|(bucket, prefix)| Self::Gs { bucket, prefix }),
            "az" => bucket_and_prefix(rest).map(|(container, prefix)| Self::Azure { container, prefix }),
            _ if may_be_url(scheme) => Err(format!("what stands before :// is not known; it must be {FORMS}")),
            _ => Err(format!("{scheme}:// is not known; it must be {FORMS}")),
        }
    }

    /// The place `name` under this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let under = |prefix: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        match self {
            Self::Local(path) => Self::Local(path.join(name)),
            Self::Memory { prefix } => Self::Memory { prefix: under(prefix) },
            Self::S3 { bucket, prefix } => Self::S3 { bucket: bucket.clone(), prefix: under(prefix) },
            Self::Gs { bucket, prefix } => Self::Gs { bucket: bucket.clone(), prefix: under(prefix) },
            Self::Azure { container, prefix } => Self::Azure { container: container.clone(), prefix: under(prefix) },
        }
    }

    /// The folder, if it is one of this machine.
    #[must_use]
    pub fn as_local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            _ => None,
        }
    }

    /// Whether it is gone at the end of the process.
    #[must_use]
    pub const fn is_memory(&self) -> bool {
        matches!(self, Self::Memory { .. })
    }

    /// Whether it is an object store that is reached over the network.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        matches!(self, Self::S3 { .. } | Self::Gs { .. } | Self::Azure { .. })
    }

    /// Whether what is written to one could be seen under the other. Memory is each store's own.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let nested = |a: &str, b: &str| Path::new(a).starts_with(b) || Path::new(b).starts_with(a);
        match (self, other) {
            (Self::Local(a), Self::Local(b)) => a.starts_with(b) || b.starts_with(a),
            (Self::S3 { bucket: a, prefix: p }, Self::S3 { bucket: b, prefix: q })
            | (Self::Gs { bucket: a, prefix: p }, Self::Gs { bucket: b, prefix: q })
            | (Self::Azure { container: a, prefix: p }, Self::Azure { container: b, prefix: q }) => {
                a == b && nested(p, q)
            }
            _ => false,
        }
    }
}

fn local(path: &str) -> Result<Location, String> {
    if !path.starts_with('/') {
        return Err("after file:// an absolute path of this machine is needed, as in file:///var/lib/store".to_owned());
    }
    Ok(Location::Local(PathBuf::from(format!("/{}", clean(path)?))))
}

/// The path without slashes at its ends and without empty parts.
fn clean(path: &str) -> Result<String, String> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err("`..` is not allowed: what it means depends on links".to_owned());
    }
    Ok(parts.join("/"))
}

/// What should not stand behind the `://` of a URL.
#[derive(PartialEq, Eq, Default)]
struct Secrets {
    /// Before the place: `key:secret@`.
    user: Option<Range<usize>>,
    /// Behind it: what comes after `?`, as a signature does.
    query: Option<Range<usize>>,
}

fn secrets(rest: &str) -> Secrets {
    let query = rest.find('?').map(|at| at + 1..rest.len());
    let head = rest.split('?').next().unwrap_or(rest);
    let authority = head.split('/').next().unwrap_or(head);
    // a secret may hold a slash
    let user = authority.contains([':', '@']).then(|| 0..head.rfind('@').unwrap_or(authority.len()));
    Secrets { user, query }
}

/// Whether a text without `://` may be a URL that lacks it: then it may hold a secret, and is not shown.
fn may_be_url(text: &str) -> bool {
    text.contains([':', '@', '?'])
}

/// The same of a word that may be a URL whose `://` is missing, or comes too late: `key:secret@bucket`. What begins with a slash is a path.
fn misplaced(word: &str) -> Secrets {
    let head = word.split("://").next().unwrap_or(word);
    if head.starts_with('/') {
        return Secrets::default();
    }
    Secrets { user: head.rfind('@').map(|at| 0..at), query: head.find('?').map(|at| at + 1..head.len()) }
}

/// It names what is to be used, and shows nothing of what was written.
fn holds_a_secret(scheme: &str) -> String {
    let instead = match scheme {
        "s3" => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "gs" => "GOOGLE_SERVICE_ACCOUNT or GOOGLE_SERVICE_ACCOUNT_KEY",
        _ => "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY",
    };
    format!(
        "a key or a signature stands in the {scheme}:// URL, where everybody would see it who sees the statement; take it out (a bucket's name has no \
         `:` and no `@`, what follows no `?`), and give it to the node in its environment: {instead}"
    )
}

/// The text with stars in the place of what URLs in it should not hold; as long as before.
pub(crate) fn without_secrets(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    let mut hide = |from: usize, Secrets { user, query }: Secrets| {
        for secret in [user, query].into_iter().flatten() {
            out[from + secret.start..from + secret.end].fill(b'*');
        }
    };
    let is_end = |c: char| c.is_whitespace() || matches!(c, '\'' | '"');
    let mut start = 0;
    for word in text.split_inclusive(is_end) {
        hide(start, misplaced(word.trim_end_matches(is_end)));
        start += word.len();
    }
    let mut at = 0;
    while let Some(found) = text[at..].find("://") {
        let start = at + found + 3;
        let end = text[start..].find(['\'', '"', '\n']).map_or(text.len(), |bytes| start + bytes);
        hide(start, secrets(&text[start..end]));
        at = end;
    }
    // only whole characters were replaced
    String::from_utf8_lossy(&out).into_owned()
}

fn bucket_and_prefix(rest: &str) -> Result<(String, String), String> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if bucket.is_empty() || !bucket.chars().all(plain) {
        return Err(format!("'{bucket}' is no name of a bucket; it must be {FORMS}"));
    }
    Ok((bucket.to_owned(), clean(prefix)?))
}

/// The canonical text.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = |prefix: &str| if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Memory { prefix } => write!(f, "memory://{prefix}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}{}", slash(prefix)),
            Self::Gs { bucket, prefix } => write!(f, "gs://{bucket}{}", slash(prefix)),
            Self::Azure { container, prefix } => write!(f, "az://{container}{}", slash(prefix)),
        }
    }
}

impl Setting for Location {
    const KIND: Kind = Kind::Text("a path or URL: /path, file://, s3://, gs://, az:// or memory://");

    fn read(literal: &Spanned<Literal>, key: &Key, _: &FieldNames) -> Result<Self, Fault> {
        let text = text_of(literal, key)?;
        Self::parse(text).map_err(|why| {
            let relative = !text.is_empty() && !may_be_url(text) && !text.starts_with('/');
            let name = text.trim_start_matches("../").trim_start_matches("./");
            // a path is judged part by part, a key may hold slashes
            let name = if without_keys(name) == name { name } else { "store" };
            let hint = relative.then(|| {
                format!(
                    "for example '/var/lib/strandline/{name}', or what `realpath` prints of it: a node that is started in another folder must find \
                     the same store"
                )
            });
            Fault::value(literal.span, format!("`{}`: {why}", key.name)).hint(hint)
        })
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        Some(Value::Text(self.to_string()))
    }
}

/// `wal.path`: a folder of the node.
impl Setting for Option<Location> {
    const KIND: Kind = Kind::Text("a folder of this machine: /path or file:///path");

    fn read(literal: &Spanned<Literal>, key: &Key, names: &FieldNames) -> Result<Self, Fault> {
        let location = <Location as Setting>::read(literal, key, names)?;
        if location.as_local().is_none() {
            return Err(Fault::value(literal.span, format!("`{}` takes {}, not {location}", key.name, key.expects())));
        }
        Ok(Some(location))
    }

    fn write(&self, names: &FieldNames) -> Option<Value> {
        self.as_ref().and_then(|l| l.write(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_equal() {
        for (text, canonical) in [
            ("/a/b/", "/a/b"),
            ("/a//./b", "/a/b"),
            ("/", "/"),
            ("file:///a b", "/a b"),
            ("file://localhost/a", "/a"),
            ("s3://bucket/x/y/", "s3://bucket/x/y"),
            ("s3://bucket", "s3://bucket"),
            ("gs://b/p", "gs://b/p"),
            ("az://c/p", "az://c/p"),
            ("memory://", "memory://"),
            ("memory://x/", "memory://x"),
        ] {
            let location = Location::parse(text).unwrap();
            assert_eq!(location.to_string(), canonical);
            assert_eq!(Location::parse(canonical).unwrap(), location);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "a/b",
            "./a",
            "file://host/a",
            "file://a",
            "s3://",
            "s3:///x",
            "http://x/y",
            "/a/../b",
            "/a\0b",
            "s3://b u",
        ] {
            assert!(Location::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_url_that_holds_a_secret_is_refused_and_shown_nowhere() {
        for (url, instead) in [
            ("s3://AKIAKEY:hush@bucket/orders", "AWS_SECRET_ACCESS_KEY"),
            ("s3://AKIAKEY:hu/sh@bucket/orders", "AWS_SECRET_ACCESS_KEY"),
            ("s3://AKIAKEY@bucket", "AWS_SECRET_ACCESS_KEY"),
            ("gs://bucket/x?key=hush", "GOOGLE_SERVICE_ACCOUNT"),
            ("az://c/x?sv=1&sig=hush", "AZURE_STORAGE_SAS_KEY"),
        ] {
            let why = Location::parse(url).unwrap_err();
            assert!(why.contains(instead), "{why}");
            let text =
                format!("CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '{url}', bananas = 1)");
            let errors = crate::parse_file("s.deql", &text).unwrap_err();
            let shown = format!("{errors}{}{errors:?}", serde_json::to_string(&errors).unwrap());
            for secret in ["AKIAKEY", "hush", "hu/sh", "sig="] {
                assert!(!shown.contains(secret) && !why.contains(secret), "{secret}: {shown}");
            }
            assert!(shown.contains("durable.path"), "{shown}");
        }
        // an object may be called so
        assert!(Location::parse("s3://bucket/a@b:c").is_ok());
        for text in ["", "://", "a ://", "'s3://b/x' \u{e4}", "-- https://example.org/x\n"] {
            assert_eq!(without_secrets(text), text);
        }
        assert_eq!(without_secrets("'s3://\u{e4}:b@c/d?e' 'f'"), "'s3://****@c/d?*' 'f'");
    }

    #[test]
    fn a_url_that_lacks_its_beginning_is_shown_nowhere_either() {
        for url in [
            "AKIAKEY:hush@bucket/orders",
            "s3:/AKIAKEY:hush@bucket/orders",
            "s3:AKIAKEY:hu/sh@bucket",
            "AKIAKEY:hush@s3://bucket",
            "bucket/x?sig=hush",
        ] {
            let why = Location::parse(url).unwrap_err();
            let text =
                format!("CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '{url}', bananas = 1)");
            let errors = crate::parse_file("s.deql", &text).unwrap_err();
            let shown = format!("{errors}{}{errors:?}", serde_json::to_string(&errors).unwrap());
            for secret in ["AKIAKEY", "hush", "hu/sh", "sig="] {
                assert!(!shown.contains(secret) && !why.contains(secret), "{secret}: {shown}");
            }
            assert!(shown.contains("durable.path") && why.contains("s3://bucket/prefix"), "{shown}");
        }
        // a path is one, and what can hold no secret is shown
        assert!(Location::parse("./data").is_err_and(|why| why.contains("'./data'")));
        assert!(Location::parse("http://x/y").is_err_and(|why| why.contains("http://")));
        for text in ["'/data/a@b?c'", "'0 0 ? * *' -- why?\n", "a\tb 'c'"] {
            assert_eq!(without_secrets(text), text);
        }
        assert_eq!(without_secrets("'k:\u{e4}@b/c?d' e"), "'****@b/c?*' e");
    }

    #[test]
    fn overlap_is_by_whole_parts() {
        let at = |t: &str| Location::parse(t).unwrap();
        assert!(at("/a").overlaps(&at("/a/b")) && at("s3://b/x/y").overlaps(&at("s3://b/x")));
        assert!(!at("/a").overlaps(&at("/ab")) && !at("s3://b/x").overlaps(&at("gs://b/x")));
        assert!(!at("memory://").overlaps(&at("memory://")));
        assert_eq!(at("s3://b").join("_manifests"), at("s3://b/_manifests"));
    }
}
