//! `strandline certs dev`: an authority and certificates for development, as files.

use crate::cli::CertsDev;
use crate::exit::Failure;
use crate::out;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use strandline_tls::dev::{self, Pair};

pub(crate) fn dev(options: &CertsDev) -> Result<(), Failure> {
    let made = dev::make(options.nodes, &options.hosts).map_err(|error| Failure::Usage(error.to_string()))?;
    fs::create_dir_all(&options.dir).map_err(|e| Failure::file("make", &options.dir, &e))?;
    put(&options.dir, "ca", &made.authority)?;
    put(&options.dir, "server", &made.server)?;
    for (id, node) in (1..).zip(&made.nodes) {
        put(&options.dir, &format!("node-{id}"), node)?;
    }
    out::note("strandline: for development alone: the authority's key lies beside what it signs");
    let dir = options.dir.display();
    out::line(&format!("serve:   --tls-cert {dir}/server.pem --tls-key {dir}/server.key"))?;
    if options.nodes > 0 {
        let node = format!("--tls-cert {dir}/node-1.pem --tls-key {dir}/node-1.key --tls-ca {dir}/ca.pem");
        out::line(&format!("node 1:  {node}"))?;
    }
    out::line(&format!("clients: --url https://127.0.0.1:7070 --tls-ca {dir}/ca.pem"))
}

fn put(dir: &Path, name: &str, pair: &Pair) -> Result<(), Failure> {
    for (ending, text, mode) in [("pem", &pair.certificate, 0o644), ("key", &pair.key, 0o600)] {
        let path = dir.join(format!("{name}.{ending}"));
        // certificates that are in use are not replaced by accident
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let wrote = file.and_then(|mut file| file.write_all(text.as_bytes()));
        wrote.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => Failure::Usage(format!(
                "{} is there already, and is kept: name an empty folder with --dir",
                path.display()
            )),
            _ => Failure::file("make", &path, &e),
        })?;
    }
    Ok(())
}
