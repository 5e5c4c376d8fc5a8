//! moto's S3 server (from PyPI, in `.venv` by `scripts/prepare`): conditional creates, multipart uploads, in memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The server ends when its stdin does: also where a test is killed.
const PROGRAM: &str = "
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
import logging
logging.getLogger('werkzeug').setLevel(logging.ERROR)
from moto.server import main
main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";
/// On a machine that is busy with other tests.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const STARTS: u32 = 5;
/// Who may see objects; no signature is asked for.
const AS_OWNER: &str = "Authorization: AWS4-HMAC-SHA256 Credential=AKIATESTTESTTEST/20260101/us-east-1/s3/aws4_request, \
                        SignedHeaders=host, Signature=0\r\n";

/// A running server with one bucket.
pub(crate) struct Moto {
    process: Child,
    pub(crate) port: u16,
}

impl Moto {
    /// The bucket that is there from the start.
    pub(crate) const BUCKET: &str = "strandline-test";

    /// Starts a server on a free port of this machine and waits until it answers.
    pub(crate) fn start() -> Self {
        for _ in 0..STARTS {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(started) = Self::start_on(port) {
                return started;
            }
            // somebody else took the port in between
        }
        panic!("moto's server does not start: run scripts/prepare, then try .venv/bin/moto_server by hand");
    }

    fn start_on(port: u16) -> Option<Self> {
        let given = std::env::var_os("STRANDLINE_TEST_PYTHON").map(std::path::PathBuf::from);
        let python = given.unwrap_or_else(|| root().join(".venv/bin/python"));
        assert!(python.exists(), "{} is not there: run scripts/prepare", python.display());
        let mut command = Command::new(python);
        command.args(["-c", PROGRAM, &port.to_string()]).stdin(Stdio::piped()).stdout(Stdio::null());
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        let mut this = Self { process, port };
        let began = Instant::now();
        while began.elapsed() < START_TIMEOUT {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                let (status, body) = this.request("PUT", &format!("/{}", Self::BUCKET), b"");
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                return Some(this);
            }
            if this.process.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Its address for clients.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What the environment of a client must say.
    pub(crate) fn env(url: &str) -> Vec<(&'static str, String)> {
        let pairs = [
            ("AWS_ENDPOINT_URL", url),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST"),
            ("AWS_SECRET_ACCESS_KEY", "the-secret-that-nobody-may-print"),
            ("NO_PROXY", "127.0.0.1"),
        ];
        pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
    }

    /// One request; status and body.
    pub(crate) fn request(&self, method: &str, target: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.request_with(method, target, "", body)
    }

    /// The bytes of an object, by its encoded key.
    #[allow(dead_code, reason = "not every test that starts it looks at bytes")]
    pub(crate) fn object(&self, key: &str) -> Vec<u8> {
        let (status, bytes) = self.request_with("GET", &format!("/{}/{key}", Self::BUCKET), AS_OWNER, b"");
        assert_eq!(status, 200, "{key}");
        bytes
    }

    /// Puts an object in the place of whatever has its encoded key; without bytes there is none any more.
    #[allow(dead_code, reason = "not every test that starts it changes objects")]
    pub(crate) fn put(&self, key: &str, bytes: Option<&[u8]>) {
        let method = if bytes.is_some() { "PUT" } else { "DELETE" };
        let target = format!("/{}/{key}", Self::BUCKET);
        let (status, answer) = self.request_with(method, &target, AS_OWNER, bytes.unwrap_or_default());
        assert!(matches!(status, 200 | 204), "{method} {key}: {status} {}", String::from_utf8_lossy(&answer));
    }

    /// A request to its KMS; the answer.
    #[allow(dead_code, reason = "not every test that starts it asks for keys")]
    pub(crate) fn kms(&self, action: &str, body: &str) -> String {
        let headers = format!(
            "X-Amz-Target: TrentService.{action}\r\nContent-Type: application/x-amz-json-1.1\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=AKIATESTTESTTEST/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0\r\n"
        );
        let (status, body) = self.request_with("POST", "/", &headers, body.as_bytes());
        let text = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{text}");
        text
    }

    /// Makes a key of its KMS with an alias.
    #[allow(dead_code, reason = "not every test that starts it asks for keys")]
    pub(crate) fn make_key(&self, alias: &str) -> String {
        let made = self.kms("CreateKey", "{}");
        let id = made.split("\"KeyId\":").nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap().to_owned();
        self.kms("CreateAlias", &format!("{{\"AliasName\": \"{alias}\", \"TargetKeyId\": \"{id}\"}}"));
        id
    }

    /// What is said of an object, in small letters, by its encoded key.
    #[allow(dead_code, reason = "not every test that starts it asks for more than bytes")]
    pub(crate) fn head(&self, key: &str) -> String {
        let (head, _) = self.exchange("HEAD", &format!("/{}/{key}", Self::BUCKET), AS_OWNER, b"");
        head.to_ascii_lowercase()
    }

    fn request_with(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let (head, body) = self.exchange(method, target, headers, body);
        (head.split_whitespace().nth(1).unwrap().parse().unwrap(), body)
    }

    /// The head of the answer, and its body.
    fn exchange(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        (head, answer.split_off(end + 4))
    }

    /// Names of all objects below a prefix.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let (mut keys, mut after) = (Vec::new(), String::new());
        loop {
            let target = format!("/{}?list-type=2&prefix={prefix}&start-after={after}", Self::BUCKET);
            let (status, body) = self.request("GET", &target, b"");
            let text = String::from_utf8(body).unwrap();
            assert_eq!(status, 200, "{text}");
            keys.extend(texts(&text, "Key"));
            if !text.contains("<IsTruncated>true</IsTruncated>") {
                return keys;
            }
            after = keys.last().unwrap().replace('=', "%3D");
        }
    }

    /// Uploads that were begun and neither completed nor aborted.
    pub(crate) fn open_uploads(&self) -> usize {
        let (status, body) = self.request("GET", &format!("/{}?uploads", Self::BUCKET), b"");
        assert_eq!(status, 200);
        texts(&String::from_utf8(body).unwrap(), "UploadId").len()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn texts(xml: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap().to_owned()).collect()
}

/// The root of the repository: where `.venv` is.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("scripts/prepare").exists()).unwrap()
}
