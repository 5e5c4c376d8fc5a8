//! Who may do what: bearer tokens with roles, limited to stores and to tenants.
//!
//! ```text
//!  token file ──> TokenSet ──> Access ──> Principal ──> guard (HTTP), session (native): role, limits, audit
//!      ^ read again: SIGHUP, or when it changed
//! ```
//!
//! Without a token file everybody is `Principal::everybody`, and only loopback addresses are served. Invariants: a token is known
//! by its SHA-256 alone, and compared in constant time; a secret stands in no log, no error and no answer; what a caller may not see
//! does not exist for it.

pub(crate) mod audit;
mod caller;
mod file;
pub(crate) mod guard;
mod need;
mod origin;
mod principal;
pub mod token;
mod unread;

pub(crate) use caller::Caller;
pub use file::{Role, TokenFileError, TokenLine, TokenSet, append_line, list_lines, remove_line};
pub(crate) use need::Need;
pub use principal::Principal;

use arc_swap::ArcSwap;
use audit::Audit;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Tokens that are in force.
pub struct Access {
    tokens: Option<Tokens>,
    everybody: Arc<Principal>,
    nobody: Arc<Principal>,
    pub(crate) audit: Audit,
}

struct Tokens {
    path: PathBuf,
    set: ArcSwap<TokenSet>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("token_file", &self.token_file()).finish_non_exhaustive()
    }
}

impl Access {
    /// Everybody may do everything.
    #[must_use]
    pub fn open_to_all() -> Arc<Self> {
        Arc::new(Self::new(None))
    }

    /// Who shows a token of this file.
    ///
    /// # Errors
    /// [`TokenFileError`].
    pub fn by_file(path: &Path) -> Result<Arc<Self>, TokenFileError> {
        let set = ArcSwap::from_pointee(TokenSet::read(path)?);
        Ok(Arc::new(Self::new(Some(Tokens { path: path.to_owned(), set }))))
    }

    fn new(tokens: Option<Tokens>) -> Self {
        let (everybody, nobody) = (Arc::new(Principal::everybody()), Arc::new(Principal::nobody()));
        Self { tokens, everybody, nobody, audit: Audit::default() }
    }

    /// The token file, if there is one.
    #[must_use]
    pub fn token_file(&self) -> Option<&Path> {
        self.tokens.as_ref().map(|tokens| tokens.path.as_path())
    }

    /// Reads the token file again.
    ///
    /// # Errors
    /// [`TokenFileError`]; the tokens that were read before stay in force.
    pub fn reload(&self) -> Result<(), TokenFileError> {
        if let Some(tokens) = &self.tokens {
            tokens.set.store(Arc::new(TokenSet::read(&tokens.path)?));
        }
        Ok(())
    }

    /// Whose token this is; `None`: nobody's. Without a token file whatever is shown is not looked at.
    pub(crate) fn who(&self, token: Option<&str>) -> Option<Arc<Principal>> {
        let Some(tokens) = &self.tokens else { return Some(Arc::clone(&self.everybody)) };
        tokens.set.load().find(&token::digest(token?))
    }

    /// Whether there is a token file; else whoever can connect may do everything.
    pub(crate) const fn asks_for_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Who has shown no token, or a wrong one.
    pub(crate) fn nobody(&self) -> Arc<Principal> {
        Arc::clone(&self.nobody)
    }

    /// The same caller by the tokens that are in force now; `None`: its token is there no more.
    pub(crate) fn renewed(&self, known: &Arc<Principal>) -> Option<Arc<Principal>> {
        let Some(tokens) = &self.tokens else { return Some(Arc::clone(known)) };
        tokens.set.load().renewed(known)
    }
}
