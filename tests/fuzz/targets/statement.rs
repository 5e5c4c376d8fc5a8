//! Any bytes into the parser of statements. No panic; what it takes can be printed, and the print says the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_deql::{Declared, parse_bytes, print_full};

fuzz_target!(|input: &[u8]| {
    match parse_bytes("fuzz.deql", input) {
        Err(diagnostics) => assert!(!diagnostics.to_string().is_empty(), "a refusal says why"),
        Ok(declarations) => declarations.stores.iter().for_each(read_back),
    }
});

fn read_back(store: &Declared) {
    let printed = print_full(&store.config);
    let again = parse_bytes("again.deql", printed.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(again.stores.len(), 1, "{printed}");
    assert_eq!(print_full(&again.stores[0].config), printed);
}
