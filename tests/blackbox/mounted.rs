//! Certificates and tokens in folders that are exchanged as a whole, as Kubernetes mounts a Secret.

use crate::harness::{Server, Store};
use crate::security::{Certificates, READ, client, serve, token, until};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Puts files as Kubernetes mounts a Secret: links to a folder that is exchanged as a whole, readable for the group alone.
#[expect(clippy::disallowed_methods, reason = "as Kubernetes does it")]
fn mount(at: &Path, version: &str, files: &[(&str, Vec<u8>)]) {
    let folder = at.join(version);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o440)).unwrap();
        let link = at.join(name);
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    std::os::unix::fs::symlink(version, at.join("..data_tmp")).unwrap();
    std::fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
}

#[test]
fn secrets_as_kubernetes_mounts_them_are_taken_and_renewed() {
    let store = Store::new(&[]);
    let (first, second) = (Certificates::new(), Certificates::new());
    let mounted = store.path().join("mounted");
    let put = |version: &str, certificates: &Certificates, name: &str| {
        let (made, file) = (store.path().join(name), |name: &str| std::fs::read(certificates.path(name)).unwrap());
        let token = token(&made, &["--name", name, "--role", "admin"]);
        let tokens = std::fs::read(&made).unwrap();
        let files = [("server.pem", file("server.pem")), ("server.key", file("server.key")), ("tokens", tokens)];
        mount(&mounted, version, &files);
        token
    };
    let asks = |url: &str, token: &str, certificates: &Certificates| {
        client(url, token, &[&READ[..], &["--tls-ca", &certificates.text("ca.pem")]].concat(), "")
    };
    let before = put("..2026_11_26", &first, "before");
    let at = |name: &str| mounted.join(name).to_string_lossy().into_owned();
    let (certificate, key, tokens) = (at("server.pem"), at("server.key"), at("tokens"));
    let options = ["--tls-cert", &certificate, "--tls-key", &key, "--token-file", &tokens];
    let server = Server::start_from(&mut serve(&store, &options));
    let url = server.url().replace("http://", "https://");
    let not_found = asks(&url, &before, &first);
    assert!(not_found.code == 1 && not_found.stderr.contains("not_found"), "{not_found:?}");
    let after = put("..2026_11_27", &second, "after");
    until("both are read again", || asks(&url, &after, &second).stderr.contains("not_found"));
    assert_eq!(asks(&url, &before, &first).code, 3, "the old certificate");
    assert!(asks(&url, &before, &second).stderr.contains("unauthenticated"), "the old token");
    server.stop();
}
