//! The token file: one JSON object a line, `#` begins a comment, empty lines are none.
//!
//! ```text
//!  {"name": "billing", "sha256": "<64 hex digits>", "roles": ["read"], "stores": ["calls"], "tenants": ["acme"]}
//! ```
//!
//! `roles`: one or more of append, read, admin; admin may do what the others may. Without `stores` all stores, without `tenants` all
//! events. What it does not know is refused, and a file with one wrong line as a whole: nobody may take a limit for set that is not.
//! So is one without a token, as a write that was cut short leaves it: it would let nobody in, operators included.
//! Streams keep their owners as hashes, and an append is judged by these alone: a file that names two tenants of one hash is refused too.
//! Errors name lines, never what stands in them.

use crate::access::principal::Principal;
use crate::access::token::PREFIX;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_engine::heads::tenant_hash;
use strandline_event::hex::from_hex;
use strandline_keys::secret_file::{self, TooOpen};
use subtle::ConstantTimeEq as _;

/// Tokens of one file.
const TOKENS_MAX: usize = 10_000;
/// A larger file is no token file.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 128;

/// What a token may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Append events.
    Append,
    /// Read and follow.
    Read,
    /// Everything, and what operators do.
    Admin,
}

/// A line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenLine {
    /// What the audit log calls its owner.
    pub name: String,
    /// SHA-256 of the token, 64 hex digits.
    pub sha256: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// The stores that exist for it; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stores: Option<Vec<String>>,
    /// The tenants whose events exist for it; absent: all events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<String>>,
}

/// Why a token file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("the token file {path}: {error}{}", make_one(.error), path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Others may read or change it.
    #[error("the token file {path}: {why}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Who.
        why: TooOpen,
    },
    /// Lines are wrong.
    #[error("the token file {path}: {lines}", path = path.display())]
    Lines {
        /// The file.
        path: PathBuf,
        /// What is wrong in which line.
        lines: String,
    },
}

/// What to do where there is none.
fn make_one(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; `strandline token new --token-file FILE` makes one in a folder that is there",
        _ => "",
    }
}

/// The tokens of a file.
#[derive(Debug, Default)]
pub struct TokenSet {
    all: Vec<Arc<Principal>>,
}

/// A line of a file that a node takes.
struct Taken {
    /// Which one it is, from 0.
    at: usize,
    line: TokenLine,
    digest: [u8; 32],
}

impl TokenLine {
    /// Whether it says something that can be held.
    ///
    /// # Errors
    /// What is wrong; never the hash.
    pub fn check(&self) -> Result<[u8; 32], String> {
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || self.name.chars().any(char::is_control) {
            return Err(format!("`name` has 1 to {NAME_BYTES_MAX} bytes and no control characters"));
        }
        if self.roles.is_empty() {
            return Err("`roles` names one or more of append, read, admin".to_owned());
        }
        for (key, list) in [("stores", &self.stores), ("tenants", &self.tenants)] {
            if list.as_ref().is_some_and(|list| list.is_empty() || list.iter().any(String::is_empty)) {
                return Err(format!("`{key}` names one or more; leave it out for all"));
            }
        }
        if self.tenants.is_some() && self.roles.contains(&Role::Admin) {
            return Err("role admin sees whole stores: it cannot be limited to tenants".to_owned());
        }
        if self.sha256.starts_with(PREFIX) {
            return Err("`sha256` holds a token: put its hash there, and make a new token".to_owned());
        }
        from_hex(&self.sha256)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| "`sha256` is not 64 hex digits".to_owned())
    }
}

impl TokenSet {
    /// Reads a file that nobody else may read.
    ///
    /// # Errors
    /// [`TokenFileError`]; also where it holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        let (lines, _) = read_whole(path)?;
        if lines.is_empty() {
            let lines = "it holds no token, and would let nobody in; \
                         `strandline token new --token-file FILE` puts one there";
            return Err(TokenFileError::Lines { path: path.to_owned(), lines: lines.to_owned() });
        }
        Ok(Self::of(lines))
    }

    /// From the text of a file.
    ///
    /// # Errors
    /// What is wrong, by line; never what stands in it.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        Ok(Self::of(judge(text, owner)?))
    }

    fn of(lines: Vec<Taken>) -> Self {
        let principal = |taken: Taken| Arc::new(Principal::of(taken.line, taken.digest));
        Self { all: lines.into_iter().map(principal).collect() }
    }

    /// Whose token has this hash. All are compared, each in constant time.
    pub(crate) fn find(&self, digest: &[u8; 32]) -> Option<Arc<Principal>> {
        let mut found = None;
        for principal in &self.all {
            if bool::from(principal.digest.ct_eq(digest)) {
                found = Some(principal);
            }
        }
        found.map(Arc::clone)
    }

    pub(crate) fn renewed(&self, known: &Arc<Principal>) -> Option<Arc<Principal>> {
        self.all.iter().find(|now| Arc::ptr_eq(now, known)).map(Arc::clone).or_else(|| self.find(&known.digest))
    }
}

/// What streams keep of the tenant that owns them.
fn owner(tenant: &str) -> u64 {
    tenant_hash(Some(tenant))
}

/// The lines of a file's text, where streams keep their owners as this hash. The only place that says what a line is.
fn judge(text: &str, hash: impl Fn(&str) -> u64) -> Result<Vec<Taken>, Vec<String>> {
    let (mut all, mut wrong): (Vec<Taken>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut names, mut digests) = (HashSet::<String>::new(), HashSet::<[u8; 32]>::new());
    let mut owners = HashMap::<u64, String>::new();
    for (at, text) in text.lines().map(str::trim).enumerate() {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let number = at + 1;
        match token_line(text) {
            Err(what) => wrong.push(format!("line {number}: {what}")),
            Ok((line, _)) if names.contains(&line.name) => {
                let what = "its name stands in a line before: give it another one, or take that line out";
                wrong.push(format!("line {number}: {what}"));
            }
            Ok((_, digest)) if digests.contains(&digest) => {
                wrong.push(format!("line {number}: its hash stands in a line before: one token has one line"));
            }
            Ok((line, _)) if !are_apart(&mut owners, &line, &hash) => {
                let what = "a tenant of it has the hash of another one that is named so far, and streams keep \
                            their owners as hashes: give it another name";
                wrong.push(format!("line {number}: {what}"));
            }
            Ok((line, digest)) => {
                names.insert(line.name.clone());
                digests.insert(digest);
                all.push(Taken { at, line, digest });
            }
        }
    }
    if all.len() > TOKENS_MAX {
        wrong.push(format!("{} tokens; at most {TOKENS_MAX} are held", all.len()));
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

/// Whether each tenant of a line has a hash that no other name has that is known by now; takes them in.
fn are_apart(owners: &mut HashMap<u64, String>, new: &TokenLine, hash: impl Fn(&str) -> u64) -> bool {
    let tenants = new.tenants.as_deref().unwrap_or_default();
    tenants.iter().all(|tenant| *owners.entry(hash(tenant)).or_insert_with(|| tenant.clone()) == *tenant)
}

fn token_line(text: &str) -> Result<(TokenLine, [u8; 32]), String> {
    let line: TokenLine = serde_json::from_str(text).map_err(|error| {
        // the sentence of the parser may quote what stands there
        let what = if error.is_data() { "a field is missing, unknown or of another type" } else { "it is no JSON" };
        format!("{what} (column {}): name, sha256, roles, stores, tenants", error.column())
    })?;
    let digest = line.check()?;
    Ok((line, digest))
}

/// The lines of a file that nobody else may read, and its text.
fn read_whole(path: &Path) -> Result<(Vec<Taken>, String), TokenFileError> {
    let failed = |error| TokenFileError::Io { path: path.to_owned(), error };
    let facts = fs::metadata(path).map_err(failed)?;
    secret_file::check(&facts).map_err(|why| TokenFileError::Open { path: path.to_owned(), why })?;
    if facts.len() > FILE_BYTES_MAX {
        let lines = "it is too large for a token file".to_owned();
        return Err(TokenFileError::Lines { path: path.to_owned(), lines });
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let lines = |lines: Vec<String>| TokenFileError::Lines { path: path.to_owned(), lines: lines.join("; ") };
    Ok((judge(&text, owner).map_err(lines)?, text))
}

/// Puts a line at the end of a token file, which is made if it is not there, for its owner alone.
///
/// # Errors
/// [`TokenFileError`], also where the file as it is would not be taken.
pub fn append_line(path: &Path, line: &str) -> Result<(), TokenFileError> {
    let failed = |error| TokenFileError::Io { path: path.to_owned(), error };
    let _alone = hold_folder(path);
    let before = match read_whole(path) {
        Ok((_, text)) => text,
        Err(TokenFileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let joint = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let whole = format!("{before}{joint}{line}\n");
    judge(&whole, owner).map_err(|lines| TokenFileError::Lines { path: path.to_owned(), lines: lines.join("; ") })?;
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(format!("{joint}{line}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// As long as it is held nobody else adds or takes out lines of the token files of this folder. `None`: the folder cannot be locked, as on
/// NFS, where only what is open to write can be, or may not be looked into. A token is revoked there all the same.
fn hold_folder(path: &Path) -> Option<File> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = real.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let held = File::open(folder).ok()?;
    loop {
        match held.lock() {
            Ok(()) => return Some(held),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// The lines of a token file, without what they know tokens by.
///
/// # Errors
/// [`TokenFileError`], where a node would not take the file.
pub fn list_lines(path: &Path) -> Result<Vec<TokenLine>, TokenFileError> {
    let (lines, _) = read_whole(path)?;
    Ok(lines.into_iter().map(|taken| TokenLine { sha256: String::new(), ..taken.line }).collect())
}

/// Takes the line of a name out of a token file. What is left is written aside and takes the place of the file, with its owner and mode: who reads it
/// has one or the other. `false`: there is no such line, and nothing changes.
///
/// # Errors
/// [`TokenFileError`], also where a node would not take the file as it is, or as it would be: it is the last line.
pub fn remove_line(path: &Path, name: &str) -> Result<bool, TokenFileError> {
    let failed = |error| TokenFileError::Io { path: path.to_owned(), error };
    let _alone = hold_folder(path);
    let (lines, before) = read_whole(path)?;
    let Some(out) = lines.iter().find(|taken| taken.line.name == name).map(|taken| taken.at) else {
        return Ok(false);
    };
    if lines.len() == 1 {
        let lines = "no other token stands in it, and a node that runs would not take a file without one: this token would stay in force; \
                     put another one there first (`strandline token new --token-file FILE`), or stop the node"
            .to_owned();
        return Err(TokenFileError::Lines { path: path.to_owned(), lines });
    }
    let rest = before.split_inclusive('\n').enumerate().filter(|(at, _)| *at != out);
    let left: String = rest.map(|(_, line)| line).collect();
    // a link to it stays one
    let real = fs::canonicalize(path).map_err(failed)?;
    let aside = real.with_added_extension("new");
    let replaced = write_aside(&aside, &real, &left).and_then(|()| put_in_place(&aside, &real, &before));
    if replaced.is_err() {
        // that it is left there is no harm: the next one takes it away
        let _ = fs::remove_file(&aside);
    }
    replaced.map(|()| true).map_err(failed)
}

/// Writes what takes the place of a file, for the same eyes.
fn write_aside(aside: &Path, of: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    file.write_all(text.as_bytes())?;
    let (facts, made) = (fs::metadata(of)?, file.metadata()?);
    if (facts.uid(), facts.gid()) != (made.uid(), made.gid()) {
        fchown(&file, Some(facts.uid()), Some(facts.gid()))?;
    }
    if facts.mode() != made.mode() {
        file.set_permissions(Permissions::from_mode(facts.mode() & 0o777))?;
    }
    file.sync_all()
}

#[expect(clippy::disallowed_methods, reason = "the file was synced, and its folder is synced here")]
fn put_in_place(aside: &Path, path: &Path, before: &str) -> io::Result<()> {
    if fs::read_to_string(path)? != before {
        return Err(io::Error::other("it was changed in this moment, and is left as it is: try again"));
    }
    fs::rename(aside, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::token::{digest, make};

    fn line(name: &str) -> TokenLine {
        TokenLine { name: name.to_owned(), sha256: String::new(), roles: vec![Role::Read], stores: None, tenants: None }
    }

    #[test]
    fn a_token_is_found_by_its_hash_and_only_then() {
        let (one, two) = (make(line("one")).unwrap(), make(line("two")).unwrap());
        let set = TokenSet::parse(&format!("# people\n\n{}\n{}\n", one.line, two.line)).unwrap();
        assert!(!one.line.contains(&one.token) && one.token.starts_with(PREFIX) && one.token.len() == 68);
        let who = |token: &str| set.find(&digest(token)).map(|principal| principal.name.clone());
        assert_eq!((who(&one.token).as_deref(), who(&two.token).as_deref()), (Some("one"), Some("two")));
        assert_eq!((who(""), who(&one.token[1..]), who(&two.line)), (None, None, None));
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        let good = make(line("good")).unwrap();
        let (secret, hash) = ("slt_planted", "ab".repeat(32));
        let with = |rest: &str| format!(r#"{{"name": "x", "sha256": "{hash}", {rest}}}"#);
        for wrong in [
            "{".to_owned(),
            secret.to_owned(),
            with(r#""roles": []"#),
            with(r#""roles": ["planted"]"#),
            with(r#""roles": ["read"], "planted": 1"#),
            with(r#""roles": ["read"], "stores": []"#),
            with(r#""roles": ["read"], "tenants": [""]"#),
            with(r#""roles": ["read", "admin"], "tenants": ["a"]"#),
            format!(r#"{{"name": "x", "sha256": "{secret}", "roles": ["read"]}}"#),
            r#"{"name": "x", "sha256": "planted", "roles": ["read"]}"#.to_owned(),
            format!(r#"{{"name": "", "sha256": "{hash}", "roles": ["read"]}}"#),
            good.line.clone(),
        ] {
            let errors = TokenSet::parse(&format!("{}\n{wrong}", good.line)).unwrap_err();
            assert!(errors.len() == 1 && errors[0].starts_with("line 2: "), "{wrong}: {errors:?}");
            assert!(!errors[0].contains("planted") && !errors[0].contains(&hash), "{errors:?}");
        }
    }

    #[test]
    fn no_two_tenants_of_a_file_have_one_hash() {
        let of = |name: &str, tenants: &[&str]| {
            let tenants = Some(tenants.iter().map(|tenant| (*tenant).to_owned()).collect());
            make(TokenLine { tenants, ..line(name) }).unwrap().line
        };
        let all = make(line("all")).unwrap().line;
        let file = |second: &[&str]| format!("{}\n{}\n{}\n", of("one", &["a1", "b"]), all, of("two", second));
        // one that tells names by their first letter
        let by_letter = |tenant: &str| tenant.bytes().next().map_or(0, u64::from);
        for met in [&["a2"][..], &["c", "b2"], &["c1", "c2"]] {
            let wrong = judge(&file(met), by_letter).err().unwrap();
            assert!(wrong.len() == 1 && wrong[0].starts_with("line 3: a tenant of it has the hash"), "{wrong:?}");
            assert!(TokenSet::parse(&file(met)).is_ok(), "by the hash that is kept: {met:?}");
        }
        // a tenant may have many tokens
        assert!(judge(&file(&["c", "a1"]), by_letter).is_ok());
    }

    #[test]
    fn nobody_else_may_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        append_line(&path, &make(line("one")).unwrap().line).unwrap();
        append_line(&path, &make(line("two")).unwrap().line).unwrap();
        assert_eq!(TokenSet::read(&path).unwrap().all.len(), 2);
        let taken = append_line(&path, &make(line("two")).unwrap().line).unwrap_err().to_string();
        assert!(taken.contains("line 3: its name stands in a line before: give it another one"), "{taken}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(TokenSet::read(&path), Err(TokenFileError::Open { .. })), "{mode:o}");
        }
    }

    #[test]
    fn a_file_without_a_token_is_none_and_takes_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let owned = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        for text in ["", "\n", "# nobody yet\n\n"] {
            owned(text);
            let none = TokenSet::read(&path).unwrap_err().to_string();
            assert!(none.contains("it holds no token") && none.contains("strandline token new"), "{none}");
            append_line(&path, &make(line("first")).unwrap().line).unwrap();
            assert_eq!(TokenSet::read(&path).unwrap().all.len(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_line_is_taken_out_and_all_else_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("tokens"), folder.path().join("link"));
        let made = ["one", "two", "three"].map(|name| make(line(name)).unwrap());
        let text = |lines: &[&str]| format!("# people\n\n{}", lines.join("\n"));
        fs::write(&path, text(&made.each_ref().map(|made| made.line.as_str()))).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let set = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        set(0o644);
        assert!(matches!(remove_line(&path, "one"), Err(TokenFileError::Open { .. })));
        for (mode, name, left) in [(0o600, "two", vec![0, 2]), (0o400, "one", vec![2])] {
            set(mode);
            // a crash left it
            fs::write(path.with_added_extension("new"), "half").unwrap();
            assert!(!remove_line(&link, "tw").unwrap());
            assert!(remove_line(&link, name).unwrap(), "{name}");
            let lines: Vec<&str> = left.iter().map(|n: &usize| made[*n].line.as_str()).collect();
            assert_eq!(fs::read_to_string(&path).unwrap().trim_end(), text(&lines).trim_end(), "{name}");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{name}");
            assert!(!path.with_added_extension("new").exists() && link.is_symlink());
            let names: Vec<String> = list_lines(&path).unwrap().into_iter().map(|line| line.name).collect();
            assert_eq!(names, left.iter().map(|n| ["one", "two", "three"][*n]).collect::<Vec<_>>());
        }
        let last = remove_line(&path, "three").unwrap_err().to_string();
        assert!(last.contains("no other token stands in it") && last.contains("strandline token new"), "{last}");
        assert_eq!(list_lines(&path).unwrap().len(), 1, "a node would go on with the token");
        set(0o600);
        fs::write(&path, format!("{}\n{{", made[0].line)).unwrap();
        assert!(matches!(remove_line(&path, "one"), Err(TokenFileError::Lines { .. })), "a node does not take it");
        assert!(matches!(remove_line(&folder.path().join("none"), "one"), Err(TokenFileError::Io { .. })));
    }

    #[test]
    fn lines_that_several_take_out_and_add_at_once_are_all_out_and_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        for round in 0..20 {
            let names: Vec<String> = (0..4).map(|n| format!("{round}-{n}")).collect();
            names.iter().for_each(|name| append_line(&path, &make(line(name)).unwrap().line).unwrap());
            append_line(&path, &make(line(&format!("{round}-stays"))).unwrap().line).unwrap();
            std::thread::scope(|scope| {
                for name in &names {
                    let path = &path;
                    scope.spawn(move || assert!(remove_line(path, name).unwrap(), "{name}"));
                }
                scope.spawn(|| append_line(&path, &make(line(&format!("{round}-new"))).unwrap().line).unwrap());
            });
            let left: HashSet<String> = list_lines(&path).unwrap().into_iter().map(|line| line.name).collect();
            assert!(names.iter().all(|name| !left.contains(name)), "{left:?}");
            assert_eq!(left.len(), 2 * (round + 1), "{left:?}");
        }
    }

    #[test]
    fn a_file_that_is_listed_shows_no_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        append_line(&path, &make(line("one")).unwrap().line).unwrap();
        assert!(list_lines(&path).unwrap().iter().all(|line| line.sha256.is_empty()));
    }

    #[test]
    fn a_file_has_so_many_tokens_and_bytes_and_names_so_many() {
        let token = |n: usize| format!("{{\"name\":\"n{n}\",\"sha256\":\"{n:064x}\",\"roles\":[\"read\"]}}\n");
        let most: String = (0..TOKENS_MAX).map(token).collect();
        assert_eq!(TokenSet::parse(&most).unwrap().all.len(), TOKENS_MAX);
        let wrong = TokenSet::parse(&format!("{most}{}", token(TOKENS_MAX))).unwrap_err();
        assert!(wrong.len() == 1 && wrong[0].contains("at most 10000"), "{wrong:?}");
        let hash = "ab".repeat(32);
        let named = |bytes| format!(r#"{{"name":"{}","sha256":"{hash}","roles":["read"]}}"#, "x".repeat(bytes));
        assert!(
            TokenSet::parse(&named(NAME_BYTES_MAX)).is_ok() && TokenSet::parse(&named(NAME_BYTES_MAX + 1)).is_err()
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        append_line(&path, &named(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        let rest = FILE_BYTES_MAX - file.metadata().unwrap().len();
        file.write_all(&vec![b'#'; rest as usize]).unwrap();
        assert_eq!(TokenSet::read(&path).unwrap().all.len(), 1);
        file.write_all(b"#").unwrap();
        let large = TokenSet::read(&path).unwrap_err().to_string();
        assert!(large.contains("too large"), "{large}");
    }
}
