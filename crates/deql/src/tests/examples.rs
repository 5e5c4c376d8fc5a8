//! The example stores of the repository are right, and a node serves them.

use crate::{Declarations, KEY_COUNT, check_json, check_rows, parse_bytes, serve_refusals};
use std::path::Path;

fn example(name: &str) -> Declarations {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stores").join(name);
    match parse_bytes(name, &std::fs::read(path).unwrap()) {
        Ok(declarations) => declarations,
        Err(errors) => panic!("{errors}"),
    }
}

#[test]
fn all_examples_can_be_served() {
    for name in ["minimal.deql", "local_development.deql", "telecom.deql"] {
        let declarations = example(name);
        assert_eq!(declarations.stores.len(), 1, "{name}");
        let config = &declarations.stores[0].config;
        assert_eq!(format!("{}.deql", config.name), name);
        assert_eq!(serve_refusals(config), [], "{name}");
        assert_eq!(crate::replaceable_changes(config, config), Ok(()));
    }
}

#[test]
fn telecom_sets_every_key() {
    let declarations = example("telecom.deql");
    let config = &declarations.stores[0].config;
    assert_eq!(config.set.len(), KEY_COUNT);
    assert!(check_rows(config).iter().all(|row| row.set && row.value.is_some()));
    assert_eq!(declarations.aggregates.len(), 3);
    let json = check_json(&declarations);
    assert_eq!(json["stores"][0]["keys"].as_array().unwrap().len(), KEY_COUNT);
    assert_eq!(json["stores"][0]["keys"][83]["source"], "set");
    assert_eq!(json["stores"][0]["refused_by_serve"].as_array().unwrap().len(), 0);
}
