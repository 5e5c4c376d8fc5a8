//! Every `fixtures/*.deql` is wrong, and `*.expected` is what the user sees. `STRANDLINE_GOLDEN=write` writes them anew.

use crate::parse_bytes;
use std::path::{Path, PathBuf};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "deql")).collect();
    files.sort();
    files
}

#[test]
fn diagnostics_are_as_written_down() {
    let write = std::env::var("STRANDLINE_GOLDEN").is_ok_and(|v| v == "write");
    let files = fixtures();
    assert!(files.len() >= 20);
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let errors = parse_bytes(&name, &std::fs::read(&path).unwrap()).expect_err(&name);
        let text = errors.to_string();
        let expected = path.with_extension("expected");
        if write {
            std::fs::write(&expected, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&expected).unwrap(), "{name}");
    }
}

#[test]
fn the_reference_is_as_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("REFERENCE.md");
    if std::env::var("STRANDLINE_GOLDEN").is_ok_and(|v| v == "write") {
        std::fs::write(&path, crate::reference()).unwrap();
    }
    assert_eq!(crate::reference(), std::fs::read_to_string(path).unwrap());
}

#[test]
fn every_mistake_has_a_place_and_json() {
    for path in fixtures() {
        let errors = parse_bytes("x.deql", &std::fs::read(&path).unwrap()).unwrap_err();
        let json = serde_json::to_value(&errors).unwrap();
        assert_eq!(json["errors"].as_array().unwrap().len(), errors.len());
        for error in json["errors"].as_array().unwrap() {
            assert!(error["line"].as_u64().unwrap() >= 1 && error["column"].as_u64().unwrap() >= 1);
            assert!(error["error"].as_str().unwrap().len() > 10);
        }
    }
}
