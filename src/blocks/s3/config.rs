//! What an operator says about a bucket, and the SDK's client made of it.

use std::{env, path::PathBuf, time::Duration};

use aws_sdk_s3::{
    Config,
    config::{
        BehaviorVersion, Builder, Credentials, IdentityCache, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, StalledStreamProtectionConfig, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
};

use crate::{StoreError, s3::keys::KeyFile};

/// Which bucket, where, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// The bucket. It must exist.
    pub bucket: String,
    /// Before every key; slashes around it do not matter.
    pub prefix: String,
    /// The signing region; else `AWS_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// `http://host:port` or `https://…`; `None` for AWS itself.
    pub endpoint: Option<String>,
    /// The bucket in the path and not in the host's name: what most servers but AWS want.
    pub is_path_style: bool,
    /// Else `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    pub credentials: Option<S3Credentials>,
    /// Instead of them: a file that somebody renews, read for every request.
    pub credentials_file: Option<PathBuf>,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// For one request with its whole answer.
    pub attempt_timeout: Duration,
    /// For all attempts and the pauses between them.
    pub operation_timeout: Duration,
}

/// Keys to a bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// For temporary keys.
    pub session_token: Option<String>,
}

/// Never shows the secrets.
impl std::fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

impl S3Config {
    /// A bucket with the usual settings.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            is_path_style: true,
            credentials: None,
            credentials_file: None,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(20),
            operation_timeout: Duration::from_secs(60),
        }
    }

    pub(super) fn client(&self) -> Result<Config, StoreError> {
        if self.bucket.is_empty() {
            return Err(StoreError::Refused("no bucket is named".into()));
        }
        let region = self.region.clone().or_else(|| variable("AWS_REGION"));
        let region = region.unwrap_or_else(|| "us-east-1".into());
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(region));
        if let Some(path) = &self.credentials_file {
            let keys = KeyFile(path.clone());
            let config = config.identity_cache(IdentityCache::no_cache());
            return Ok(self.rest(config.credentials_provider(keys)));
        }
        let credentials = self.credentials.clone().or_else(S3Credentials::from_env);
        let S3Credentials { access_key, secret_key, session_token } =
            credentials.ok_or_else(|| {
                StoreError::Refused(
                    "no credentials: neither configured nor in AWS_ACCESS_KEY_ID and \
                     AWS_SECRET_ACCESS_KEY"
                        .into(),
                )
            })?;
        let keys = Credentials::new(access_key, secret_key, session_token, None, "dittofs");
        Ok(self.rest(config.credentials_provider(keys)))
    }

    fn rest(&self, config: Builder) -> Config {
        let mut config = config
            .force_path_style(self.is_path_style)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(self.connect_timeout).build())
            // An attempt's timeout covers its body: one opinion on slow bodies is enough.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Other vendors refuse the newer checksums. Frames carry their own.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        config.build()
    }
}

impl S3Credentials {
    fn from_env() -> Option<Self> {
        Some(Self {
            access_key: variable("AWS_ACCESS_KEY_ID")?,
            secret_key: variable("AWS_SECRET_ACCESS_KEY")?,
            session_token: variable("AWS_SESSION_TOKEN"),
        })
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let mut config = S3Config::new("bucket");
        config.credentials = Some(S3Credentials {
            access_key: "AKIA".into(),
            secret_key: "hush".into(),
            session_token: Some("whisper".into()),
        });
        let shown = format!("{config:?} {:?}", crate::S3::new(&config).unwrap());
        assert!(shown.contains("AKIA"));
        assert!(!shown.contains("hush") && !shown.contains("whisper"), "{shown}");
    }
}
