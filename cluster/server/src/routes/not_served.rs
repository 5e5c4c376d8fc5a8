//! Routes of the interface that this version does not serve: they say so, and what to do instead.

use crate::error::{ApiError, ApiResult};
use crate::http::call::Call;
use actix_web::HttpResponse;

/// SQL.
pub(crate) async fn query(_: Call) -> ApiResult<HttpResponse> {
    Err(ApiError::not_supported(
        "SQL is not served yet: read .../events or .../scan, or the Parquet files with any engine",
    ))
}
