//! What an error of an object store means, and what its text says: bucket, key and what to look at, never a secret.
//!
//! Bodies of answers are not repeated as they are (a `SignatureDoesNotMatch` of S3 holds the session token): only the
//! `<Code>` and `<Message>` of S3's and Azure's error documents are.

use super::ObjectError;
#[cfg(feature = "cloud")]
use object_store::client::HttpError;
use std::error::Error as StdError;
use std::io;

/// What object_store says of a range that begins behind the end of an object, where no service says 416.
const ENDED: &str = "but object was only";

/// What a store says that does not know conditional requests.
pub(super) const NOT_IMPLEMENTED: &str = "not implemented";

/// What to look at where a kind of store says no, or nothing.
struct Checks {
    endpoint: &'static str,
    credentials: &'static str,
    bucket: &'static str,
    region: &'static str,
}

const S3: Checks = Checks {
    endpoint: "check the endpoint (AWS_ENDPOINT_URL), the network and whether the service is up",
    credentials: "check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or the \
                  role of this machine) and that they may get, put, delete and list here",
    bucket: "check the name of the bucket, the region (AWS_REGION) and the endpoint (AWS_ENDPOINT_URL); \
             the bucket must exist",
    region: "check the region (AWS_REGION), the endpoint (AWS_ENDPOINT_URL) and the credentials",
};
const GS: Checks = Checks {
    endpoint: "check the network, GOOGLE_BASE_URL if it is set, and whether the service is up",
    credentials: "check the credentials (GOOGLE_SERVICE_ACCOUNT, GOOGLE_SERVICE_ACCOUNT_KEY, GOOGLE_APPLICATION_CREDENTIALS, or \
                  the role of this machine) and that they may get, put, delete and list here",
    bucket: "check the name of the bucket, and GOOGLE_BASE_URL if it is set; the bucket must exist",
    region: "check the name of the bucket and the credentials",
};
const AZ: Checks = Checks {
    endpoint: "check the account (AZURE_STORAGE_ACCOUNT_NAME), AZURE_STORAGE_ENDPOINT if it is set, the network and whether the service is up",
    credentials: "check the credentials (AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_KEY, AZURE_STORAGE_CLIENT_ID with its secret, or \
                  the role of this machine) and that they may get, put, delete and list here",
    bucket: "check the account (AZURE_STORAGE_ACCOUNT_NAME) and the name of the container; it must exist",
    region: "check the account (AZURE_STORAGE_ACCOUNT_NAME), the container and the credentials",
};

impl Checks {
    /// Of the store that a place is in.
    fn of(place: &str) -> Self {
        match place.split_once("://") {
            Some(("gs", _)) => GS,
            Some(("az", _)) => AZ,
            _ => S3,
        }
    }
}

const CHECK_LATER: &str = "it is tried again; if it stays so, check the object store's own state";

/// Address of the services that give machines their credentials.
const METADATA_SERVICE: &str = "169.254.";

/// Whether the request was one that makes an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// A create: what is not certain must be called unclear.
    Create,
    /// Anything else: it can be repeated.
    Other,
}

/// Where an exchange went wrong that gave no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// No connection: nothing was sent.
    Connect,
    /// After something was sent: a time-out, a cut.
    Exchange,
    /// The credentials of this machine could not be had.
    Credentials,
    /// The endpoint sends us elsewhere without saying where: another region's bucket.
    Redirect,
    /// Nothing did: the object ends before the range that was asked for.
    Ended,
    /// Nothing that can be named.
    Other,
}

/// What can be known of an error.
struct Said {
    status: Option<u16>,
    /// Status, code and message; or the root of the matter.
    text: String,
    /// Code of the service's error document.
    code: String,
    broken: Broken,
}

/// Turns an error into ours. `place` names bucket and key.
pub(super) fn failure(place: &str, request: Request, error: object_store::Error) -> ObjectError {
    use object_store::Error;
    let (path, checks) = (place.to_owned(), Checks::of(place));
    let said = said(&error);
    if ["NoSuchBucket", "ContainerNotFound"].contains(&said.code.as_str()) {
        return ObjectError::Refused { path, said: said.text, check: checks.bucket };
    }
    match error {
        Error::NotFound { .. } if request == Request::Create => {
            ObjectError::Refused { path, said: said.text, check: checks.bucket }
        }
        Error::NotFound { .. } => ObjectError::NotFound { path },
        Error::AlreadyExists { .. } if said.status == Some(409) && said.code != "BlobAlreadyExists" => {
            ObjectError::Conflict { path, said: said.text }
        }
        Error::AlreadyExists { .. } | Error::Precondition { .. } => ObjectError::AlreadyExists { path },
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            ObjectError::Refused { path, said: said.text, check: checks.credentials }
        }
        Error::NotImplemented { .. } | Error::NotSupported { .. } => {
            let said = format!("{NOT_IMPLEMENTED}: {}", said.text);
            ObjectError::Refused { path, said, check: checks.endpoint }
        }
        _ => of_status(path, request, said, &checks),
    }
}

fn of_status(path: String, request: Request, said: Said, checks: &Checks) -> ObjectError {
    let Said { status, text: said, broken, .. } = said;
    let create = request == Request::Create;
    match (status, broken) {
        (_, Broken::Ended) => ObjectError::Io { path, source: io::ErrorKind::UnexpectedEof.into() },
        (Some(501), _) => {
            ObjectError::Refused { path, said: format!("{NOT_IMPLEMENTED}: {said}"), check: checks.endpoint }
        }
        (Some(408 | 429 | 500..), _) if create => ObjectError::Unclear { path, said, check: CHECK_LATER },
        (Some(408 | 429 | 500..), _) => ObjectError::Unreachable { path, said, check: CHECK_LATER },
        (Some(401 | 403), _) => ObjectError::Refused { path, said, check: checks.credentials },
        (Some(_), _) | (None, Broken::Redirect) => ObjectError::Refused { path, said, check: checks.region },
        (None, Broken::Credentials) => ObjectError::Unreachable { path, said, check: checks.credentials },
        (None, Broken::Connect) => ObjectError::Unreachable { path, said, check: checks.endpoint },
        (None, _) if create => ObjectError::Unclear { path, said, check: checks.endpoint },
        (None, _) => ObjectError::Unreachable { path, said, check: checks.endpoint },
    }
}

fn said(error: &object_store::Error) -> Said {
    let texts: Vec<String> = chain(error).map(ToString::to_string).collect();
    let status = texts.iter().find_map(|text| status_in(text));
    let body = texts.iter().find(|text| text.contains("<Code>")).map_or("", String::as_str);
    let code = element(body, "Code").unwrap_or_default();
    let last = texts.last().map_or("", String::as_str);
    let text = match (status, element(body, "Message")) {
        (Some(status), Some(message)) => format!("{status} {code}: {message}"),
        (Some(status), None) => format!("{status} {code}").trim_end().to_owned(),
        // the root of the matter; what stands above it repeats it with the URL
        (None, _) => first_line(last),
    };
    let broken = if status == Some(416) || texts.iter().any(|text| text.contains(ENDED)) {
        Broken::Ended
    } else if texts.iter().any(|text| text.contains(METADATA_SERVICE)) {
        Broken::Credentials
    } else if texts.iter().any(|text| text.contains("redirect without LOCATION")) {
        Broken::Redirect
    } else {
        transport(error)
    };
    Said { status, text, code, broken }
}

fn chain(error: &object_store::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |error: &&(dyn StdError + 'static)| (*error).source())
}

#[cfg(feature = "cloud")]
fn transport(error: &object_store::Error) -> Broken {
    let is_connect = |error: &reqwest::Error| error.is_connect();
    if chain(error).filter_map(|error| error.downcast_ref()).any(is_connect) {
        return Broken::Connect;
    }
    if chain(error).any(|error| error.is::<HttpError>()) { Broken::Exchange } else { Broken::Other }
}

#[cfg(not(feature = "cloud"))]
fn transport(_: &object_store::Error) -> Broken {
    Broken::Other
}

/// The status in a text of object_store's; a test over a real connection keeps this true.
fn status_in(text: &str) -> Option<u16> {
    text.split_once("status code: ")?.1.get(..3)?.parse().ok()
}

fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(first_line(text))
}

/// What a service says, without what it may repeat of a request behind that.
pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}
