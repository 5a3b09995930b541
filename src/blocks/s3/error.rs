//! What an S3 error means to the caller.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};

use crate::StoreError;

/// Names the object or directory that the call was about.
pub(super) fn classify<E>(name: &str, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    let code = error.as_service_error().and_then(|error| error.code()).unwrap_or_default();
    let text = match status {
        Some(status) => {
            let error = error.as_service_error();
            let message = error.and_then(|error| error.message()).unwrap_or_default();
            format!("{name}: {status} {code} {message}").trim_end().to_owned()
        }
        None => format!("{name}: {}", DisplayErrorContext(error)),
    };
    match (status, code) {
        (_, "NoSuchKey") => StoreError::NotFound,
        (_, "NoSuchBucket") => StoreError::Refused(text),
        (Some(404), _) => StoreError::NotFound,
        (Some(507), _) | (_, "QuotaExceeded" | "XMinioStorageFull") => StoreError::Full(text),
        // The clock or the keys are out of date: the operator sets them right, and nothing is lost.
        (
            _,
            "RequestTimeTooSkewed" | "RequestExpired" | "ExpiredToken" | "TokenRefreshRequired",
        ) => StoreError::Unavailable(text),
        // The connection was cut or slow while the body was under way.
        (_, "RequestTimeout" | "IncompleteBody" | "BadDigest") => StoreError::Unavailable(text),
        (Some(408 | 409 | 425 | 429 | 500 | 502..=506 | 508..), _) => StoreError::Unavailable(text),
        (Some(300..), _) => StoreError::Refused(text),
        // An answer that cannot be read, or none.
        _ if matches!(error, SdkError::ConstructionFailure(_)) => StoreError::Refused(text),
        _ => StoreError::Unavailable(text),
    }
}

/// Whether the server answered with this HTTP status.
pub(super) fn is_status<E>(error: &SdkError<E, HttpResponse>, status: u16) -> bool {
    error.raw_response().is_some_and(|answer| answer.status().as_u16() == status)
}
