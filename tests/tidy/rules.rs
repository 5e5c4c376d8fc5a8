//! The rules of the workspace as data: who may know whom, and which crate is a wall around which dependency.
//!
//! It refuses to be a linter of style; rustfmt and clippy are that. `tidy/main.rs` checks these rules against
//! `cargo metadata` and the sources.

/// A package of the workspace and the packages of the workspace that it may depend on.
///
/// One direction: event <- {deql, keys} <- {hot, wal, durable} <- engine <- consensus <- workers <- server <- strandline, and event <- tls <- client <- consensus, server.
pub const MAY_KNOW: &[(&str, &[&str])] = &[
    ("strandline-event", &[]),
    ("strandline-deql", &["event"]),
    ("strandline-keys", &["event"]),
    ("strandline-hot", &["event", "deql", "keys"]),
    ("strandline-wal", &["event", "deql", "keys"]),
    ("strandline-durable", &["event", "deql", "keys"]),
    ("strandline-engine", &["event", "deql", "keys", "hot", "wal", "durable"]),
    ("strandline-sql", &["event", "deql", "durable", "engine"]),
    ("strandline-tls", &["event", "keys"]),
    ("strandline-client", &["event", "tls"]),
    ("strandline-workers", &["event", "deql", "keys", "hot", "wal", "durable", "engine", "consensus", "tls"]),
    ("strandline-consensus", &["event", "deql", "keys", "hot", "wal", "durable", "engine", "tls", "client"]),
    (
        "strandline-server",
        &["event", "deql", "keys", "durable", "engine", "sql", "tls", "client", "workers", "consensus"],
    ),
    (
        "strandline",
        &["event", "deql", "keys", "wal", "durable", "engine", "tls", "client", "workers", "consensus", "server"],
    ),
    ("strandline-testkit", &["event", "deql", "keys", "hot", "wal", "durable", "engine"]),
    ("strandline-benches", &["event", "deql", "durable", "engine", "workers", "testkit"]),
    ("strandline-load", &["event", "client"]),
    ("strandline-tests", &[]),
];

/// A dependency from outside, and the only packages that may name it.
pub const WALLS: &[(&str, &[&str])] = &[
    ("parquet", &["strandline-durable", "strandline-sql", "strandline-benches"]),
    ("arrow", &["strandline-durable", "strandline-sql", "strandline-benches"]),
    ("object_store", &["strandline-durable", "strandline-sql"]),
    ("memmap2", &["strandline-wal", "strandline-durable"]),
    ("actix", &["strandline-workers"]),
    ("actix-web", &["strandline-server"]),
    ("openraft", &["strandline-consensus"]),
    ("datafusion", &["strandline-sql"]),
    ("clap", &["strandline", "strandline-load"]),
    // payloads are bytes everywhere else: JSON is for statements, manifests, answers and printing
    ("serde_json", &["strandline-deql", "strandline-durable", "strandline-server", "strandline"]),
    (
        "tokio",
        &[
            "strandline-durable",
            "strandline-client",
            "strandline-consensus",
            "strandline-workers",
            "strandline-server",
            "strandline",
            "strandline-load",
        ],
    ),
    ("getrandom", &["strandline-workers"]),
    // one place for cryptography, and one for the hashes of tokens
    ("ring", &["strandline-keys", "strandline-server"]),
    ("zeroize", &["strandline-keys"]),
    ("tokio-rustls", &["strandline-client", "strandline-consensus", "strandline-server"]),
    ("rcgen", &["strandline-tls"]),
    ("subtle", &["strandline-server"]),
    // openraft's trait of random election times
    ("rand", &["strandline-consensus"]),
];

/// Packages below `cluster/` get time and randomness as arguments and run no runtime: they must not name these, but for
/// [`BELOW_CLUSTER_ONLY_IN`].
pub const NOT_BELOW_CLUSTER: &[&str] =
    &["actix", "actix-rt", "actix-web", "clap", "ureq", "indicatif", "tokio", "getrandom", "rand"];

/// The exceptions: who names what after all, and the only folder whose files may use it.
pub const BELOW_CLUSTER_ONLY_IN: &[(&str, &str, &str)] = &[
    // clients of object stores need a runtime; their blocking view hides it from everybody else
    ("strandline-durable", "tokio", "crates/durable/src/objects/"),
    // the client's sockets; the frames beside them know no runtime
    ("strandline-client", "tokio", "crates/client/src/net/"),
    // a load is a program with connections
    ("strandline-load", "tokio", "benches/load/src/"),
    ("strandline-load", "clap", "benches/load/src/"),
];

/// The one package that may name clients of rival engines. It is no member of the workspace: who builds or tests this one does not wait for them.
pub const COMPARE: &str = "benches/compare";

/// Crates that speak to rival engines, or are one.
pub const RIVALS: &[&str] = &[
    "redis",
    "fred",
    "tokio-postgres",
    "postgres",
    "sqlx",
    "async-nats",
    "nats",
    "umadb",
    "umadb-client",
    "umadb-dcb",
    "eventstore",
    "kurrentdb",
    "iggy",
    "rdkafka",
];

/// Files that may hold `unsafe`, each a module of its own with SAFETY lines.
pub const MAY_BE_UNSAFE: &[&str] = &[
    "crates/event/src/access.rs",     // rkyv access without a second validation
    "crates/wal/src/map.rs",          // read-only maps of sealed segments
    "crates/durable/src/runs/map.rs", // read-only maps of sorted runs
];

/// The folder of the web console, whose files are served as they are.
pub const CONSOLE: &str = "cluster/server/src/console";

/// What makes markup or code of a text, keeps what a reload must forget, or comes from elsewhere: no file of the console may name it.
pub const NOT_IN_CONSOLE: &[&str] = &[
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "DOMParser",
    "eval(",
    "new Function",
    "<style",
    " style=",
    "localStorage",
    "sessionStorage",
    "https://",
];

/// Lines of a file before its tests.
pub const FILE_LINES_MAX: usize = 600;
/// Lines of code of a function's body.
pub const FUNCTION_LINES_MAX: usize = 70;
