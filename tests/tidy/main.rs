//! The rules of `rules.rs`, checked: directions, walls, reasons of dependencies, unsafe, size, nothing left open.

#![allow(clippy::expect_used)]

mod limits;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use strandline_tests::{
    BELOW_CLUSTER_ONLY_IN, COMPARE, CONSOLE, FILE_LINES_MAX, FUNCTION_LINES_MAX, MAY_BE_UNSAFE, MAY_KNOW,
    NOT_BELOW_CLUSTER, NOT_IN_CONSOLE, RIVALS, WALLS,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new().current_dir(root()).no_deps().exec().expect("cargo metadata runs")
}

fn may_know(package: &str) -> Option<&'static [&'static str]> {
    MAY_KNOW.iter().find(|(name, _)| *name == package).map(|(_, known)| *known)
}

fn fail(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn imports_go_one_direction_only() {
    let metadata = metadata();
    let members: BTreeSet<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let name = package.name.to_string();
        let Some(known) = may_know(&name) else {
            findings.push(format!("{name} has no line in tests/tidy/rules.rs"));
            continue;
        };
        for dependency in ours(package, &members) {
            let short = dependency.strip_prefix("strandline-").unwrap_or(&dependency);
            if !known.contains(&short) {
                findings.push(format!("{name} must not know {dependency}"));
            }
        }
    }
    fail(&findings);
}

/// Members of the workspace that a package depends on, tests left out (they may use the testkit).
fn ours(package: &Package, members: &BTreeSet<String>) -> Vec<String> {
    let real = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
    real.map(|d| d.name.clone()).filter(|name| members.contains(name)).collect()
}

#[test]
fn walls_stand() {
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let below = !package.manifest_path.as_str().contains("/cluster/");
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            let wall = WALLS.iter().find(|(name, _)| *name == dependency.name);
            if wall.is_some_and(|(_, allowed)| !allowed.contains(&package.name.as_str())) {
                findings.push(format!("{} must not depend on {}", package.name, dependency.name));
            }
            let name = dependency.name.as_str();
            let excepted =
                BELOW_CLUSTER_ONLY_IN.iter().any(|(who, what, _)| *who == package.name.as_str() && *what == name);
            if below && !excepted && NOT_BELOW_CLUSTER.contains(&name) {
                findings
                    .push(format!("{} lies below cluster/ and must not depend on {}", package.name, dependency.name));
            }
        }
    }
    fail(&findings);
}

#[test]
fn exceptions_stay_in_their_folder() {
    let sources = sources();
    let mut findings = Vec::new();
    for (package, dependency, folder) in BELOW_CLUSTER_ONLY_IN {
        let home = folder.split("src/").next().unwrap_or(folder);
        let uses = |text: &str| {
            text.lines().any(|line| line.split("//").next().unwrap_or("").contains(&format!("{dependency}::")))
        };
        let mut used = sources.iter().filter(|(name, text)| name.starts_with(home) && uses(text)).peekable();
        if used.peek().is_none() {
            findings.push(format!("{package} uses {dependency} no more: take its exception away"));
        }
        // an example is a program of its own
        let examples = format!("{home}examples/");
        let elsewhere = used.filter(|(name, _)| !name.starts_with(folder) && !name.starts_with(&examples));
        findings.extend(elsewhere.map(|(name, _)| format!("{name} uses {dependency}, which is for {folder} alone")));
    }
    fail(&findings);
}

#[test]
fn nobody_but_the_comparison_knows_rivals() {
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let named = package.dependencies.iter().filter(|dependency| RIVALS.contains(&dependency.name.as_str()));
        findings
            .extend(named.map(|rival| format!("{} names {}, which is for {COMPARE} alone", package.name, rival.name)));
    }
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file is there");
    let locked = |rival: &&&str| lock.lines().any(|line| line == format!("name = \"{rival}\""));
    findings.extend(RIVALS.iter().filter(locked).map(|rival| format!("Cargo.lock holds {rival}")));
    fail(&findings);
}

#[test]
fn the_comparison_is_a_workspace_of_its_own() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap_or_default();
    let manifest = read(&format!("{COMPARE}/Cargo.toml"));
    let mut findings = Vec::new();
    let excluded = |line: &str| line.starts_with("exclude = ") && line.contains(&format!("\"{COMPARE}\""));
    if !read("Cargo.toml").lines().any(excluded) {
        findings.push(format!("Cargo.toml does not exclude {COMPARE}"));
    }
    if !manifest.lines().any(|line| line == "[workspace]") || read(&format!("{COMPARE}/Cargo.lock")).is_empty() {
        findings.push(format!("{COMPARE} needs [workspace] and a committed Cargo.lock"));
    }
    for package in &metadata().packages {
        let paths = package.dependencies.iter().filter_map(|dependency| dependency.path.as_ref());
        if paths.into_iter().any(|path| path.ends_with(COMPARE)) {
            findings.push(format!("{} depends on {COMPARE}", package.name));
        }
    }
    for script in ["scripts/test", "scripts/check", ".ci/run"] {
        let builds =
            |line: &&str| line.contains(COMPARE) && !line.trim_start().starts_with(['#']) && !line.contains("fmt");
        findings.extend(read(script).lines().filter(builds).map(|line| format!("{script} builds {COMPARE}: {line}")));
    }
    fail(&findings);
}

/// What is known against the crates below us, bytes that a fuzzer makes up for each of its targets, and a browser for the console are part of what a
/// change must pass.
#[test]
fn the_check_asks_for_advisories_and_a_browser_and_feeds_every_fuzz_target() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap_or_default();
    let runs = |script: &str, command: &str| {
        read(script).lines().any(|line| line.contains(command) && !line.trim_start().starts_with('#'))
    };
    let mut findings = Vec::new();
    for (script, command) in [
        ("scripts/check", "scripts/supply"),
        ("scripts/check", "scripts/fuzz"),
        ("scripts/check", "STRANDLINE_TEST_CONSOLE=${STRANDLINE_TEST_CONSOLE-1} scripts/test"),
        ("scripts/test", "tests/console/run"),
        ("tests/console/run", "[ -z \"${STRANDLINE_TEST_CONSOLE:-}\" ]"),
        ("scripts/supply", "cargo audit --deny warnings --file"),
        ("scripts/supply", "for lock in Cargo.lock tests/fuzz/Cargo.lock"),
        ("scripts/supply", "cargo audit --file benches/compare/Cargo.lock"),
        ("scripts/supply", "cargo deny "),
        ("scripts/fuzz", "cargo fuzz run"),
    ] {
        if !runs(script, command) {
            findings.push(format!("{script} does not run `{command}`"));
        }
    }
    let script = read("scripts/fuzz");
    let all = script.split("targets=(statement").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_default();
    let named: BTreeSet<&str> = all.split_whitespace().chain(["statement"]).collect();
    let targets = fs::read_dir(root().join("tests/fuzz/targets")).expect("there are fuzz targets").flatten();
    let targets: Vec<String> =
        targets.filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned())).collect();
    for target in &targets {
        if !named.contains(target.as_str()) {
            findings.push(format!("scripts/fuzz leaves the target {target} out"));
        }
        let corpus = root().join("tests/fuzz/corpus").join(target);
        if fs::read_dir(&corpus).map_or(0, Iterator::count) == 0 {
            findings.push(format!("the fuzz target {target} has no corpus"));
        }
    }
    if targets.len() < named.len() {
        findings.push("scripts/fuzz names a target that is not there".to_owned());
    }
    fail(&findings);
}

#[test]
fn every_dependency_states_its_reason() {
    let reasons = |manifest: &str, begin: &str| {
        let text = fs::read_to_string(root().join(manifest)).expect("the manifest is there");
        let section = text.split(begin).nth(1).and_then(|rest| rest.split("\n[").next());
        without_reason(section.expect("it has dependencies"), manifest)
    };
    let mut findings = reasons("Cargo.toml", "[workspace.dependencies]");
    findings.extend(reasons(&format!("{COMPARE}/Cargo.toml"), "\n[dependencies]"));
    fail(&findings);
}

fn without_reason(section: &str, manifest: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut last = "";
    for line in section.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let named = line.split(['=', ' ']).next().unwrap_or_default();
        let outside = !line.starts_with('#') && !named.starts_with("strandline");
        if outside && !last.starts_with("# ") && !shares_reason(last, named) {
            findings.push(format!("{named}: no line above it in {manifest} says why"));
        }
        last = line;
    }
    findings
}

/// `serde` and `serde_json`, `tracing` and `tracing-subscriber`: one reason for a family.
fn shares_reason(line_above: &str, name: &str) -> bool {
    let above = line_above.split(['=', ' ']).next().unwrap_or_default();
    !above.is_empty() && !above.starts_with('#') && name.starts_with(above)
}

#[test]
fn dependencies_are_named_once_in_the_workspace() {
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let text = fs::read_to_string(&package.manifest_path).expect("a manifest is there");
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            } else if inside && !line.is_empty() && !line.starts_with('#') && !line.contains("workspace") {
                findings.push(format!("{}: `{line}` has a version of its own", package.manifest_path));
            }
        }
    }
    fail(&findings);
}

/// All Rust sources of the workspace, by path from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["crates", "cluster", "benches", "tests"] {
        walk(&root().join(folder), &mut found);
    }
    assert!(found.len() > 30, "the walk has lost its way");
    found
}

fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            // the comparison has a target folder of its own; what is generated there is not ours
            if !path.ends_with("target") {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).expect("it lies below").to_string_lossy().replace('\\', "/");
            found.push((name, fs::read_to_string(&path).expect("sources are UTF-8")));
        }
    }
}

/// The files of the web console and of its tests, by path from the root.
fn console() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in [CONSOLE, "tests/console"] {
        for path in fs::read_dir(root().join(folder)).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_file() && path.extension().is_none_or(|e| e != "json") {
                let name = path.strip_prefix(root()).expect("it lies below").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("its files are UTF-8")));
            }
        }
    }
    assert!(found.len() > 20, "the console has moved");
    found
}

#[test]
fn the_console_makes_no_markup_of_texts_and_loads_nothing_from_elsewhere() {
    let mut findings = Vec::new();
    for (name, text) in console().into_iter().filter(|(name, _)| name.starts_with(CONSOLE)) {
        let named = NOT_IN_CONSOLE.iter().filter(|word| text.contains(**word));
        findings.extend(named.map(|word| format!("{name} names {word}")));
    }
    fail(&findings);
}

fn before_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn files_stay_small() {
    let long = |(name, text): &(String, String)| {
        let lines = before_tests(text).lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{name}: {lines} lines before its tests"))
    };
    fail(&sources().iter().chain(&console()).filter_map(long).collect::<Vec<_>>());
}

/// The line at which each function begins, and the lines of code of its body: as clippy counts them, and in macros too, where clippy does not look.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let mut code = line.trim_start();
        let indent = line.len() - code.len();
        let words = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe "];
        while let Some(rest) = words.iter().find_map(|word| code.strip_prefix(word)) {
            code = rest;
        }
        let opens = lines[at..].iter().position(|line| line.ends_with(['{', '}', ';'])).map(|n| at + n);
        // one without a body, or with all of it in one line, is no matter
        if let Some(opens) = opens.filter(|opens| code.starts_with("fn ") && lines[*opens].ends_with('{')) {
            let end = format!("{}}}", " ".repeat(indent));
            let body = lines[opens + 1..].iter().take_while(|line| **line != end).map(|line| line.trim());
            found.push((at + 1, body.filter(|line| !line.is_empty() && !line.starts_with("//")).count()));
        }
    }
    found
}

#[test]
fn functions_stay_small() {
    let text = "impl T {\n    fn none(&self);\n\n    pub(crate) async fn two(\n        of: u8,\n    ) {\n        // why\n        a;\n\n        b;\n    }\n}\nfn one() {\n    a;\n}\n";
    assert_eq!(functions(text), [(4, 2), (13, 1)]);
    let long = |(name, text): &(String, String)| {
        let over = functions(text).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        over.map(|(at, lines)| format!("{name}:{at}: a function of {lines} lines")).collect::<Vec<_>>()
    };
    fail(&sources().iter().flat_map(long).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_open() {
    // spelled in parts, so that this file does not find itself
    let open = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
    ];
    let mut findings = Vec::new();
    for (name, text) in sources().into_iter().chain(console()) {
        let lines = text.lines().enumerate().filter(|(_, line)| open.iter().any(|word| line.contains(word)));
        findings.extend(lines.map(|(i, line)| format!("{name}:{}: {}", i + 1, line.trim())));
    }
    fail(&findings);
}

#[test]
fn unsafe_stays_in_its_modules() {
    let word = concat!("uns", "afe");
    let mut findings = Vec::new();
    for (name, text) in sources() {
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let uses = code
            .filter(|line| [" {", " fn", " impl"].iter().any(|after| line.contains(&format!("{word}{after}"))))
            .count();
        let allowed = MAY_BE_UNSAFE.contains(&name.as_str());
        if uses > 0 && !allowed {
            findings.push(format!("{name} holds {word} code"));
        }
        if uses > 0 && text.matches("SAFETY").count() < uses {
            findings.push(format!("{name}: fewer SAFETY lines than {word} blocks"));
        }
    }
    fail(&findings);
}

#[test]
fn the_documents_name_files_that_are_there() {
    let sources = sources();
    let mut findings = Vec::new();
    for document in ["ARCHITECTURE.md", "README.md"] {
        let text = fs::read_to_string(root().join(document)).expect("the document is there");
        let quoted = text.split('`').skip(1).step_by(2).filter(|name| !name.contains(char::is_whitespace));
        for name in quoted.filter(|name| name.ends_with(".rs")) {
            // short names, such as `io.rs` after a longer one, are enough
            if !sources.iter().any(|(path, _)| path == name || path.ends_with(&format!("/{name}"))) {
                findings.push(format!("{document} names {name}"));
            }
        }
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        findings.extend(
            links
                .filter(|l| !l.contains("://") && !root().join(l).exists())
                .map(|l| format!("{document} links to {l}")),
        );
    }
    fail(&findings);
}
