//! Routes of the interface that this version does not serve: they say so, and what to do instead.

use crate::error::{ApiError, ApiResult};
use crate::http::call::Call;
use actix_web::HttpResponse;
use strandline_event::ErrorKind;

/// SQL.
pub(crate) async fn query(_: Call) -> ApiResult<HttpResponse> {
    Err(ApiError::not_supported(
        "SQL is not served yet: read .../events or .../scan, or the Parquet files with any engine",
    ))
}

/// Redaction. Forbidden where the store is immutable, before anything else.
pub(crate) async fn redact(call: Call) -> ApiResult<HttpResponse> {
    let served = call.admin_store()?;
    if served.store.config().strict.immutable_events {
        let sentence = "events of this store are immutable (strict.immutable_events): nothing can be redacted";
        return Err(ApiError::new(ErrorKind::Forbidden, sentence));
    }
    Err(ApiError::not_supported("redaction is not served yet"))
}
