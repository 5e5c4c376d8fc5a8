//! The OpenAPI document is what the node serves: a schema-driven fuzzer (schemathesis) asks every route.

use crate::harness::Store;
use crate::oracles::oracle;
use std::path::Path;

#[test]
fn a_fuzzer_finds_no_answer_that_the_description_does_not_name() {
    let store = Store::new(&[
        "partition.by = ('dt','stream_type')",
        "retention.enabled = true",
        "id.command_id.unique_scope = 'stream'",
    ]);
    let server = store.start();
    oracle("openapi_fuzz.py", &[Path::new(server.url())]);
    server.stop();
    store.assert_clean();
}
