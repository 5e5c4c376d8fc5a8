//! A caller: what its token lets it do, and what exists for it.

use crate::access::file::{Role, TokenLine};
use std::fmt;
use std::sync::Arc;
use strandline_engine::tenants::TenantScope;

/// A caller. Its token is known by its hash, which nobody prints.
pub struct Principal {
    /// What the audit log calls it.
    pub name: String,
    pub(super) digest: [u8; 32],
    append: bool,
    read: bool,
    admin: bool,
    stores: Option<Vec<String>>,
    tenants: Option<Arc<TenantScope>>,
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Principal {
    pub(super) fn of(line: TokenLine, digest: [u8; 32]) -> Self {
        let admin = line.roles.contains(&Role::Admin);
        Self {
            name: line.name,
            digest,
            append: admin || line.roles.contains(&Role::Append),
            read: admin || line.roles.contains(&Role::Read),
            admin,
            stores: line.stores,
            tenants: line.tenants.map(|tenants| Arc::new(TenantScope::new(tenants))),
        }
    }

    /// Whoever comes, where there is no token file.
    pub(super) fn everybody() -> Self {
        let (append, read, admin) = (true, true, true);
        Self { name: "-".to_owned(), digest: [0; 32], append, read, admin, stores: None, tenants: None }
    }

    /// Who has shown no valid token.
    pub(super) fn nobody() -> Self {
        let none = Some(Vec::new());
        let (append, read, admin) = (false, false, false);
        Self { name: "?".to_owned(), digest: [0; 32], append, read, admin, stores: none, tenants: None }
    }

    /// Whether it has a role.
    pub(crate) const fn has(&self, role: Role) -> bool {
        match role {
            Role::Append => self.append,
            Role::Read => self.read,
            Role::Admin => self.admin,
        }
    }

    /// Whether a store exists for it.
    pub(crate) fn knows_store(&self, name: &str) -> bool {
        self.stores.as_ref().is_none_or(|stores| stores.iter().any(|known| known == name))
    }

    /// Whether all stores exist for it.
    pub(crate) const fn knows_all_stores(&self) -> bool {
        self.stores.is_none()
    }

    /// The tenants that it is limited to.
    pub(crate) const fn tenants(&self) -> Option<&Arc<TenantScope>> {
        self.tenants.as_ref()
    }

    /// Whether the same exists for both.
    pub(crate) fn has_limits_of(&self, other: &Self) -> bool {
        self.stores == other.stores && self.tenants == other.tenants
    }

    /// Whether it may hear how the node is.
    pub(crate) const fn sees_the_node(&self) -> bool {
        self.read && self.stores.is_none() && self.tenants.is_none()
    }
}
