//! Google's and Azure's object stores on loopback (`clouds.py`): nothing but Python's own library is needed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Two running servers with one bucket each.
pub(crate) struct Clouds {
    process: Child,
    pub(crate) google: u16,
    pub(crate) azure: u16,
}

impl Clouds {
    /// The bucket, or container, that is there from the start.
    pub(crate) const BUCKET: &str = "strandline-test";
    /// A key as Azure gives them, in Base64.
    pub(crate) const KEY: &str = "dGhlLXNlY3JldC10aGF0LW5vYm9keS1tYXktcHJpbnQ=";
    /// What the servers know the client by.
    pub(crate) const TOKEN: &str = "the-token-of-the-test";
    const ACCOUNT: &str = "teststore";

    pub(crate) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/rigs/clouds.py");
        let mut command = Command::new("python3");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("python3 is on the path");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports: Vec<u16> = line.split_whitespace().map(|port| port.parse().unwrap()).collect();
        Self { process, google: ports[0], azure: ports[1] }
    }

    /// What the environment of a client of Google's says.
    pub(crate) fn google_env(port: u16) -> Vec<(&'static str, String)> {
        let url = format!("http://127.0.0.1:{port}");
        [
            ("GOOGLE_BASE_URL", url),
            ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
            ("GOOGLE_BEARER_TOKEN", Self::TOKEN.to_owned()),
        ]
        .into()
    }

    /// What the environment of a client of Azure's says.
    pub(crate) fn azure_env(port: u16) -> Vec<(&'static str, String)> {
        let url = format!("http://127.0.0.1:{port}/{}", Self::ACCOUNT);
        [
            ("AZURE_STORAGE_ENDPOINT", url),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_NAME", Self::ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", Self::KEY.to_owned()),
        ]
        .into()
    }
}

impl Drop for Clouds {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
