//! Keys to a bucket from a file that somebody else renews: read for every request, so that new keys
//! count at once.

use std::{fmt, path::PathBuf};

use aws_credential_types::provider::{self, error::CredentialsError, future};
use aws_sdk_s3::config::{Credentials, ProvideCredentials};

/// A file such as `~/.aws/credentials`; its section `default` counts, or what stands before any.
pub(super) struct KeyFile(pub(super) PathBuf);

impl ProvideCredentials for KeyFile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.read())
    }
}

impl KeyFile {
    async fn read(&self) -> provider::Result {
        let shown = self.0.display();
        let text = tokio::fs::read_to_string(&self.0).await;
        let text =
            text.map_err(|error| CredentialsError::provider_error(format!("{shown}: {error}")))?;
        parse(&text).ok_or_else(|| {
            CredentialsError::provider_error(format!(
                "{shown}: no aws_access_key_id and aws_secret_access_key in its section default"
            ))
        })
    }
}

fn parse(text: &str) -> Option<Credentials> {
    let mut is_ours = true;
    let (mut id, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_ours = line == "[default]";
        } else if let Some((key, value)) = line.split_once('=').filter(|_| is_ours) {
            let place = match key.trim() {
                "aws_access_key_id" => &mut id,
                "aws_secret_access_key" => &mut secret,
                "aws_session_token" => &mut token,
                _ => continue,
            };
            *place = Some(value.trim().to_owned());
        }
    }
    Some(Credentials::new(id?, secret?, token, None, "file"))
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({})", self.0.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_section_counts() {
        let text = "# renewed hourly\n[other]\naws_access_key_id = no\n[default]\n\
                    aws_access_key_id=AKIA\naws_secret_access_key = a=b\naws_session_token = t\n";
        let keys = parse(text).unwrap();
        let got = (keys.access_key_id(), keys.secret_access_key(), keys.session_token());
        assert_eq!(got, ("AKIA", "a=b", Some("t")));
        assert!(parse("[other]\naws_access_key_id=x\naws_secret_access_key=y\n").is_none());
        assert!(parse("aws_access_key_id=x\n").is_none());
    }
}
