//! A caller whose request goes on for long, or whose connection has many: its token is looked at again.

use crate::access::Need;
use crate::access::principal::Principal;
use crate::access::{Access, audit::Asked};
use crate::error::ApiError;
use std::sync::Arc;
use strandline_event::ErrorKind;

/// A caller.
#[derive(Clone)]
pub(crate) struct Caller {
    access: Arc<Access>,
    who: Arc<Principal>,
}

impl Caller {
    /// As it was when its request or connection began.
    pub(crate) const fn new(access: Arc<Access>, who: Arc<Principal>) -> Self {
        Self { access, who }
    }

    /// Whether it may still do something.
    ///
    /// # Errors
    /// Its token was taken back, or allows other stores or tenants by now; or it never might.
    pub(crate) fn may(&self, need: Need) -> Result<(), ApiError> {
        let now = self.access.renewed(&self.who).filter(|now| now.has_limits_of(&self.who));
        let Some(now) = now else {
            let text = "this token was taken back, or its limits were changed: come again with one that is valid";
            return Err(ApiError::new(ErrorKind::Unauthenticated, text));
        };
        need.refusal(&now).map_or(Ok(()), |why| Err(ApiError::new(ErrorKind::Forbidden, why)))
    }

    /// For the audit log.
    pub(crate) fn refused(&self, asked: &Asked<'_>, code: &str, why: &str) {
        self.access.audit.refused(&self.who, asked, code, why);
    }
}
