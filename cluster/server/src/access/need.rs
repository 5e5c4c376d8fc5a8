//! What a request needs of its caller: one word a route in the table of routes, one a kind of frame.

use crate::access::file::Role;
use crate::access::principal::Principal;
use actix_web::http::Method;

/// What a route needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Nothing: it says nothing of a store. What more it could say, it says to those who may hear it.
    Open,
    /// Any token: it tells each caller of the stores that exist for it.
    Token,
    /// Role append; tenants see to their own events.
    Append,
    /// Role read; tenants see their own events.
    Read,
    /// Role read, of a whole store: no token that is limited to tenants.
    ReadStore,
    /// Role read, of all stores.
    ReadNode,
    /// Role admin, of one store.
    Admin,
    /// Role admin, of all stores.
    AdminNode,
}

impl Need {
    const fn role(self) -> Option<Role> {
        match self {
            Self::Open | Self::Token => None,
            Self::Append => Some(Role::Append),
            Self::Read | Self::ReadStore | Self::ReadNode => Some(Role::Read),
            Self::Admin | Self::AdminNode => Some(Role::Admin),
        }
    }

    /// As `/openapi.json` says it.
    #[cfg(test)]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Token => "any token",
            Self::Append => "append",
            Self::Read => "read",
            Self::ReadStore => "read, whole store",
            Self::ReadNode => "read, all stores",
            Self::Admin => "admin",
            Self::AdminNode => "admin, all stores",
        }
    }

    /// Whether a request by this method stands in the audit log: it changes what operators answer for, or deletes what others may rely on, as a named
    /// subscription with its position.
    pub(crate) fn is_audited(self, method: &Method) -> bool {
        let changes = matches!(self, Self::Admin | Self::AdminNode) && !method.is_safe();
        changes || *method == Method::DELETE
    }

    /// Why a caller may not.
    pub(crate) fn refusal(self, who: &Principal) -> Option<String> {
        if let Some(role) = self.role().filter(|role| !who.has(*role)) {
            let role = match role {
                Role::Append => "append",
                Role::Read => "read",
                Role::Admin => "admin",
            };
            return Some(format!("this token does not have the role {role}: use one that has"));
        }
        let whole = matches!(self, Self::ReadStore | Self::ReadNode | Self::Admin | Self::AdminNode);
        if whole && who.tenants().is_some() {
            return Some(
                "this is about a whole store, and this token is limited to tenants: use one that is not".to_owned(),
            );
        }
        if matches!(self, Self::ReadNode | Self::AdminNode) && !who.knows_all_stores() {
            return Some("this is about all stores, and this token is limited to some: use one that is not".to_owned());
        }
        None
    }
}
