//! Buckets: from what the environment says to a client, with bounds so that an endpoint that hangs gives an error.
//!
//! | | bound | changed by |
//! |---|---|---|
//! | a connection | 5 s | `AWS_CONNECT_TIMEOUT` (also `GOOGLE_`, `AZURE_`) |
//! | a request with its answer | 30 s | `AWS_TIMEOUT` |
//! | tries of a request that can be repeated | 6, with pauses from 0.1 s to 5 s, none after 60 s | `AWS_MAX_ATTEMPTS` (also `GOOGLE_`, `AZURE_`) |
//! | tries of a create | decided in `create.rs`, each one sent once | |
//!
//! So no call waits longer than a minute and a half, a create not longer than twice that. TLS is rustls with ring and the
//! certificates of the system (`SSL_CERT_FILE` names others). Credentials come from the variables, a web identity token, the
//! container's or the machine's role; files below `~/.aws` are not read.

use super::{ObjectError, Settings, StoreObjects};
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use std::sync::Arc;
use std::time::Duration;
use strandline_deql::Location;

const TRIES: usize = 6;
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A client that repeats what can be repeated, and one that does not.
struct Clients {
    store: Arc<dyn ObjectStore>,
    once: Arc<dyn ObjectStore>,
}

fn retries(tries: usize) -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: PAUSE_MAX, ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: tries.saturating_sub(1), retry_timeout: RETRY_TIMEOUT }
}

fn repeated(location: &Location, settings: &Settings) -> Result<RetryConfig, ObjectError> {
    let name = match location {
        Location::Gs { .. } => "GOOGLE_MAX_ATTEMPTS",
        Location::Azure { .. } => "AZURE_MAX_ATTEMPTS",
        _ => "AWS_MAX_ATTEMPTS",
    };
    let Some(text) = settings.get(name) else { return Ok(retries(TRIES)) };
    let tries = text.parse().ok().filter(|tries| (1..=100).contains(tries));
    let tries = tries.ok_or_else(|| wrong(location, format!("{name} is `{text}`: it must be 1 to 100")))?;
    Ok(retries(tries))
}

fn wrong(location: &Location, what: String) -> ObjectError {
    ObjectError::Settings { location: location.to_string(), what }
}

/// What the client's builder says of the settings; its texts hold names of settings, and values of none that is a secret.
fn refused(location: &Location) -> impl Fn(object_store::Error) -> ObjectError {
    let location = location.clone();
    move |error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text = match inner.downcast_ref::<serde_json::Error>() {
                // the sentence of the parser may quote what stands there, a key
                Some(json) => format!("credentials are no such JSON (line {}, column {})", json.line(), json.column()),
                None => inner.to_string(),
            };
            source = inner.source();
        }
        wrong(&location, format!("the settings in the environment cannot be used: {text}"))
    }
}

pub(super) fn choose_tls() {
    // the first provider stays; whoever set one before has chosen
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn objects(location: &Location, clients: Clients, prefix: &str) -> Result<StoreObjects, ObjectError> {
    let bucket = match location {
        Location::S3 { bucket, .. } => format!("s3://{bucket}"),
        Location::Gs { bucket, .. } => format!("gs://{bucket}"),
        Location::Azure { container, .. } => format!("az://{container}"),
        Location::Local(_) | Location::Memory { .. } => String::new(),
    };
    StoreObjects::in_bucket(clients.store, clients.once, &bucket, prefix)
}

/// What the client of S3 can ask for.
#[cfg(feature = "s3")]
const SERVER_SIDE_ENCRYPTIONS: [&str; 4] = ["AES256", "aws:kms", "aws:kms:dsse", "sse-c"];

/// Amazon S3, and what speaks like it.
#[cfg(feature = "s3")]
pub(super) fn s3(
    location: &Location,
    bucket: &str,
    prefix: &str,
    settings: &Settings,
) -> Result<StoreObjects, ObjectError> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    choose_tls();
    let endpoint = settings.get("AWS_ENDPOINT_URL_S3").or_else(|| settings.get("AWS_ENDPOINT_URL"));
    let endpoint = endpoint.or_else(|| settings.get("AWS_ENDPOINT"));
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    if plain && !settings.aws_may_speak_plain() {
        // not the endpoint itself: somebody may have put a name and a password into it
        let what = "the endpoint (AWS_ENDPOINT_URL) does not speak TLS: set AWS_ALLOW_HTTP=true if that is meant, or an endpoint that begins \
                    with https://";
        return Err(wrong(location, what.to_owned()));
    }
    if settings.get("AWS_SERVER_SIDE_ENCRYPTION").is_some_and(|word| !SERVER_SIDE_ENCRYPTIONS.contains(&word)) {
        // the client's own sentence names words that it does not take
        let what = format!("AWS_SERVER_SIDE_ENCRYPTION must be one of {}", SERVER_SIDE_ENCRYPTIONS.join(", "));
        return Err(wrong(location, what));
    }
    let mut options = object_store::ClientOptions::new();
    if plain && settings.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_none() {
        // no certificate is ever asked for: a machine without any may use it
        options = options.with_no_system_certificates(true);
    }
    let mut builder = AmazonS3Builder::new().with_client_options(options).with_disable_bulk_delete(true);
    for (name, value) in settings.starting_with("AWS_") {
        // names that only other programs know are theirs
        if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let builder = builder.with_bucket_name(bucket);
    let store = builder.clone().with_retry(repeated(location, settings)?).build().map_err(refused(location))?;
    let credentials = Arc::clone(store.credentials());
    let once = builder.with_retry(retries(1)).with_credentials(credentials).build().map_err(refused(location))?;
    objects(location, Clients { store: Arc::new(store), once: Arc::new(once) }, prefix)
}

/// Google Cloud Storage.
#[cfg(feature = "gs")]
pub(super) fn gs(
    location: &Location,
    bucket: &str,
    prefix: &str,
    settings: &Settings,
) -> Result<StoreObjects, ObjectError> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
    choose_tls();
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in settings.starting_with("GOOGLE_") {
        if let Ok(key) = name.to_ascii_lowercase().parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let builder = builder.with_bucket_name(bucket);
    let store = builder.clone().with_retry(repeated(location, settings)?).build().map_err(refused(location))?;
    let credentials = Arc::clone(store.credentials());
    let once = builder.with_retry(retries(1)).with_credentials(credentials).build().map_err(refused(location))?;
    objects(location, Clients { store: Arc::new(store), once: Arc::new(once) }, prefix)
}

/// Azure Blob Storage.
#[cfg(feature = "az")]
pub(super) fn az(
    location: &Location,
    container: &str,
    prefix: &str,
    settings: &Settings,
) -> Result<StoreObjects, ObjectError> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    choose_tls();
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in settings.starting_with("AZURE_") {
        if let Ok(key) = name.to_ascii_lowercase().parse::<AzureConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let builder = builder.with_container_name(container);
    let store = builder.clone().with_retry(repeated(location, settings)?).build().map_err(refused(location))?;
    let credentials = Arc::clone(store.credentials());
    let once = builder.with_retry(retries(1)).with_credentials(credentials).build().map_err(refused(location))?;
    objects(location, Clients { store: Arc::new(store), once: Arc::new(once) }, prefix)
}

#[cfg(all(test, any(feature = "s3", feature = "gs")))]
mod tests {
    use super::*;

    fn told(opened: Result<StoreObjects, ObjectError>) -> String {
        opened.err().map(|error| format!("{error} {error:?}")).unwrap_or_default()
    }

    #[cfg(feature = "s3")]
    #[test]
    fn an_endpoint_is_not_quoted() {
        let location = Location::S3 { bucket: "b".to_owned(), prefix: String::new() };
        let settings = Settings::new(&[("AWS_ENDPOINT_URL", "http://me:planted@127.0.0.1:1")]);
        let told = told(s3(&location, "b", "", &settings));
        assert!(told.contains("AWS_ALLOW_HTTP=true") && !told.contains("planted"), "{told}");
    }

    #[cfg(feature = "gs")]
    #[test]
    fn credentials_that_are_none_are_not_quoted() {
        let location = Location::Gs { bucket: "b".to_owned(), prefix: String::new() };
        for key in [r#""planted""#, r#"{"private_key": ["planted"]}"#, r#"["planted"]"#, "planted"] {
            let told = told(gs(&location, "b", "", &Settings::new(&[("GOOGLE_SERVICE_ACCOUNT_KEY", key)])));
            assert!(told.contains("cannot be used") && !told.contains("planted"), "{key}: {told}");
        }
    }
}
