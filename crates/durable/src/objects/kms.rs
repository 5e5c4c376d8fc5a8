//! Provider `aws_kms`: wraps keys under a key of AWS KMS, which never leaves it. It speaks with what the object stores bring: their HTTP
//! client, their credentials, their signatures.
//!
//! Settings are those of S3: `AWS_REGION` and credentials as there; `AWS_ENDPOINT_URL_KMS` (or `AWS_ENDPOINT_URL`) names another endpoint.
//! `security.kms.key_id` is an id, an ARN, or an alias (`alias/...`). KMS rotates its key by itself and knows by which version something
//! was wrapped; where an alias is pointed at another key, `strandline keys rotate` wraps the keyring under that one.
//!
//! It is asked when a store is opened, when keys are rotated, and by the looks at the keyring: an outage stops nothing that is open.

use super::Settings;
use super::cloud::choose_tls;
use super::failure::first_line;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, ReqwestConnector};
use object_store::{ClientOptions, HeaderValue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_keys::{Entropy, KeyError, KeyInfo, KeyProvider, Secret, Wrapped, Zeroize, Zeroizing};

const PROVIDER: &str = "aws_kms";
/// The context that KMS binds a wrapped key to has one pair.
const CONTEXT_KEY: &str = "strandline";
const TIMEOUT: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;

/// Keys under a key of KMS.
pub(super) struct KmsKeys {
    key_id: String,
    region: String,
    url: String,
    client: HttpClient,
    credentials: AwsCredentialProvider,
    entropy: Arc<dyn Entropy>,
    runtime: Option<tokio::runtime::Runtime>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EncryptRequest<'a> {
    key_id: &'a str,
    plaintext: &'a str,
    encryption_context: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DecryptRequest<'a> {
    ciphertext_blob: &'a str,
    encryption_context: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeRequest<'a> {
    key_id: &'a str,
}

/// More than any request has: a key id, a wrapped or a plain key, a context.
const REQUEST_BYTES: usize = 8 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypted {
    ciphertext_blob: String,
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    plaintext: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    key_metadata: KeyMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyMetadata {
    arn: String,
}

impl KmsKeys {
    /// A key of KMS by its id or alias. Asks nobody.
    ///
    /// # Errors
    /// The settings make no sense; no thread.
    pub(super) fn open(key_id: &str, settings: &Settings, entropy: Arc<dyn Entropy>) -> Result<Self, KeyError> {
        choose_tls();
        let refused = |said: String| KeyError::Refused { key: name(key_id), said, advice: SETTINGS };
        let mut builder = AmazonS3Builder::new().with_bucket_name("none");
        for (name, value) in settings.starting_with("AWS_") {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let credentials = builder.build().map_err(|e| refused(e.to_string()))?;
        let credentials = Arc::clone(credentials.credentials());
        let region = settings.get("AWS_REGION").or_else(|| settings.get("AWS_DEFAULT_REGION")).unwrap_or("us-east-1");
        let endpoint = settings.get("AWS_ENDPOINT_URL_KMS").or_else(|| settings.get("AWS_ENDPOINT_URL"));
        let url = endpoint.map_or_else(|| format!("https://kms.{region}.amazonaws.com"), str::to_owned);
        let plain = url.starts_with("http://");
        if plain && !settings.aws_may_speak_plain() {
            let text =
                "the endpoint (AWS_ENDPOINT_URL_KMS) does not speak TLS: set AWS_ALLOW_HTTP=true if that is meant";
            return Err(refused(text.to_owned()));
        }
        let options =
            ClientOptions::new().with_timeout(TIMEOUT).with_allow_http(plain).with_no_system_certificates(plain);
        let client = ReqwestConnector::default().connect(&options).map_err(|e| refused(e.to_string()))?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("kms").enable_all().build();
        let runtime = runtime.map_err(|e| refused(e.to_string()))?;
        let (key_id, region) = (key_id.to_owned(), region.to_owned());
        Ok(Self { key_id, region, url, client, credentials, entropy, runtime: Some(runtime) })
    }

    /// Asks, again where no answer comes. Every request may be repeated.
    fn ask<Q: Serialize, A: for<'a> Deserialize<'a>>(&self, action: &'static str, request: &Q) -> Result<A, KeyError> {
        // of one piece: what grows leaves copies of a secret behind
        let mut body = Zeroizing::new(Vec::with_capacity(REQUEST_BYTES));
        serde_json::to_writer(&mut *body, request).map_err(|e| self.unreachable(&e))?;
        let mut outcome = self.ask_once(action, &body);
        for _ in 1..TRIES {
            if !matches!(outcome, Err(KeyError::Unreachable { .. })) {
                break;
            }
            outcome = self.ask_once(action, &body);
        }
        // the sentence of the parser may quote what stands there, a key
        serde_json::from_slice(&outcome?).map_err(|_| self.unreachable(&"its answer is none that KMS gives"))
    }

    fn ask_once(&self, action: &'static str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let runtime = self.runtime.as_ref().ok_or_else(|| self.unreachable(&"it is closed"))?;
        let mut request = HttpRequest::new(body.to_vec().into());
        *request.method_mut() = "POST".parse().map_err(|e| self.unreachable(&e))?;
        *request.uri_mut() =
            format!("{}/", self.url.trim_end_matches('/')).parse().map_err(|e| self.unreachable(&e))?;
        let headers = request.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.1"));
        headers.insert("x-amz-target", format!("TrentService.{action}").parse().map_err(|e| self.unreachable(&e))?);
        let (client, credentials, region) = (self.client.clone(), Arc::clone(&self.credentials), self.region.clone());
        let asking = async move {
            let credential = credentials.get_credential().await.map_err(|e| e.to_string())?;
            let signed = AwsAuthorizer::new(&credential, "kms", &region).try_authorize(&mut request, None);
            signed.map_err(|e| e.to_string())?;
            let answer = client.execute(request).await.map_err(|e| e.to_string())?;
            let status = answer.status().as_u16();
            let bytes = answer.into_body().bytes().await.map_err(|e| e.to_string())?;
            Ok::<_, String>((status, Zeroizing::new(bytes.to_vec())))
        };
        let (done, answer) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move {
            // whoever asked waits
            let _ = done.send(asking.await);
        });
        let answer = answer.recv().map_err(|e| self.unreachable(&e))?;
        match answer.map_err(|said| self.unreachable(&said))? {
            (200, bytes) => Ok(bytes),
            (status @ (429 | 500..), bytes) => Err(self.unreachable(&said(status, &bytes))),
            (status, bytes) => {
                let said = said(status, &bytes);
                let advice = advice_for(&said);
                Err(KeyError::Refused { key: name(&self.key_id), said, advice })
            }
        }
    }

    fn unreachable(&self, said: &dyn std::fmt::Display) -> KeyError {
        KeyError::Unreachable { key: name(&self.key_id), said: said.to_string(), advice: UNREACHABLE }
    }
}

const SETTINGS: &str = "see the AWS_* variables of the node, and security.kms.key_id";
const UNREACHABLE: &str = "see that this machine reaches the endpoint (AWS_ENDPOINT_URL_KMS where that is set, else that of AWS_REGION), and that \
                           credentials are set (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role)";

/// What to do where KMS says no, by the kind of its error.
fn advice_for(said: &str) -> &'static str {
    let table: &[(&[&str], &str)] = &[
        (
            &["AccessDenied"],
            "let the policy of these credentials, or that of the key, allow kms:Encrypt, kms:Decrypt and kms:DescribeKey on it",
        ),
        (
            &["NotFound", "InvalidArn"],
            "there is no such key for these credentials: see security.kms.key_id (an id, an ARN or alias/...), its account, and AWS_REGION",
        ),
        (
            &["Disabled", "InvalidState", "KeyUnavailable"],
            "enable the key, or cancel its deletion: without it nothing that it wrapped is ever read again",
        ),
        (
            &["InvalidSignature", "IncompleteSignature", "SignatureDoesNotMatch"],
            "see AWS_SECRET_ACCESS_KEY, AWS_REGION and the clock of this machine",
        ),
        (
            &["UnrecognizedClient", "InvalidClientTokenId", "ExpiredToken", "MissingAuthenticationToken"],
            "these credentials are not valid, or no more: see AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN",
        ),
    ];
    let found = table.iter().find(|(kinds, _)| kinds.iter().any(|kind| said.contains(kind)));
    found.map_or("see the policy of the key, and that it is enabled", |(_, advice)| *advice)
}

fn name(key_id: &str) -> String {
    format!("the key `{key_id}` of AWS KMS")
}

/// What an answer that says no says: the kind of the error and the first line of its message. Behind that, of a signature that is wrong, stands the
/// request as it was signed, with the session token.
fn said(status: u16, bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Fault {
        #[serde(rename = "__type", default)]
        kind: String,
        #[serde(alias = "Message", default)]
        message: String,
    }
    match serde_json::from_slice::<Fault>(bytes) {
        Ok(Fault { kind, message }) => {
            let kind = kind.rsplit('#').next().unwrap_or_default();
            format!("{status} {}: {}", first_line(kind), first_line(&message))
        }
        Err(_) => format!("status {status}"),
    }
}

impl KeyProvider for KmsKeys {
    fn describe(&self) -> Result<KeyInfo, KeyError> {
        let described: Described = self.ask("DescribeKey", &DescribeRequest { key_id: &self.key_id })?;
        Ok(KeyInfo { provider: PROVIDER, key_id: self.key_id.clone(), version: described.key_metadata.arn })
    }

    fn generate(&self) -> Secret {
        let mut bytes = Zeroizing::new([0; Secret::BYTES]);
        self.entropy.fill(&mut bytes[..]);
        Secret::new(*bytes)
    }

    fn wrap(&self, key: &Secret, context: &str) -> Result<Wrapped, KeyError> {
        let plaintext = Zeroizing::new(STANDARD.encode(key.expose()));
        let encryption_context = BTreeMap::from([(CONTEXT_KEY, context)]);
        let request = EncryptRequest { key_id: &self.key_id, plaintext: &plaintext, encryption_context };
        let answer: Encrypted = self.ask("Encrypt", &request)?;
        let bytes = STANDARD.decode(&answer.ciphertext_blob).map_err(|e| self.unreachable(&e))?;
        Ok(Wrapped { provider: PROVIDER.to_owned(), version: answer.key_id.replace(char::is_whitespace, ""), bytes })
    }

    fn unwrap(&self, wrapped: &Wrapped, context: &str) -> Result<Secret, KeyError> {
        let wanted = context.to_owned();
        if wrapped.provider != PROVIDER {
            return Err(KeyError::OtherProvider { wanted, found: wrapped.provider.clone(), provider: PROVIDER });
        }
        let ciphertext_blob = STANDARD.encode(&wrapped.bytes);
        let encryption_context = BTreeMap::from([(CONTEXT_KEY, context)]);
        let request = DecryptRequest { ciphertext_blob: &ciphertext_blob, encryption_context };
        let wrong = || KeyError::WrongKey { key: name(&self.key_id), wanted: wanted.clone() };
        let mut answer: Decrypted = match self.ask("Decrypt", &request) {
            Err(KeyError::Refused { said, .. }) if said.contains("InvalidCiphertext") => return Err(wrong()),
            answer => answer?,
        };
        let decoded = STANDARD.decode(&answer.plaintext).ok().map(Zeroizing::new);
        answer.plaintext.zeroize();
        let key = decoded.and_then(|bytes| Secret::from_slice(&bytes));
        key.ok_or_else(wrong)
    }
}

impl Drop for KmsKeys {
    fn drop(&mut self) {
        // a plain drop would block, which is forbidden on another runtime's thread
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Entropy for Nothing {
        fn fill(&self, _: &mut [u8]) {}
    }

    #[test]
    fn an_endpoint_is_not_quoted() {
        let settings = Settings::new(&[
            ("AWS_ENDPOINT_URL_KMS", "http://me:planted@127.0.0.1:1"),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "planted"),
        ]);
        let told = KmsKeys::open("alias/a", &settings, Arc::new(Nothing)).err().unwrap().to_string();
        assert!(told.contains("AWS_ALLOW_HTTP=true") && !told.contains("planted"), "{told}");
    }

    #[test]
    fn each_refusal_says_what_to_do_next() {
        let told = |kind: &str| {
            let answer = format!(r#"{{"__type": "com.amazonaws.kms#{kind}", "message": "no"}}"#);
            let said = said(400, answer.as_bytes());
            let advice = advice_for(&said);
            KeyError::Refused { key: name("alias/a"), said, advice }.to_string()
        };
        for (kind, words) in [
            ("AccessDeniedException", "kms:Decrypt"),
            ("NotFoundException", "AWS_REGION"),
            ("DisabledException", "enable the key"),
            ("KMSInvalidStateException", "cancel its deletion"),
            ("InvalidSignatureException", "the clock of this machine"),
            ("ExpiredTokenException", "AWS_SESSION_TOKEN"),
            ("SomethingElseException", "the policy of the key"),
        ] {
            let told = told(kind);
            assert!(told.contains(kind) && told.contains(words), "{told}");
        }
    }

    #[test]
    fn what_kms_repeats_of_a_request_is_not_told() {
        let answer = serde_json::json!({
            "__type": "com.amazon.coral.service#InvalidSignatureException",
            "message": "The signature does not match.\n\nThe Canonical String should have been\n'POST\n/\nx-amz-security-token:planted'",
        });
        assert_eq!(
            said(400, answer.to_string().as_bytes()),
            "400 InvalidSignatureException: The signature does not match."
        );
        assert_eq!(said(502, b"<html>planted</html>"), "status 502");
    }
}
