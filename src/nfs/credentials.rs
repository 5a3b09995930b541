//! The credentials of a connection's callers, decoded once each.

use std::{cell::RefCell, sync::Arc};

use vocab::Credentials;

use crate::wire::rpc::{AUTH_NULL, AUTH_SYS, Auth, AuthStat, auth_sys};

/// Callers remembered for each connection.
const CALLERS_MAX: usize = 8;
/// Bytes of `AUTH_SYS` before what identifies the caller: the stamp, which is arbitrary.
const STAMP_BYTES: usize = 4;

/// The last few callers, latest last.
#[derive(Debug, Default)]
pub(crate) struct Cache(RefCell<Vec<Known>>);

/// A credential as the wire had it, without the stamp, and what it says.
type Known = (Box<[u8]>, Arc<Credentials>);

impl Cache {
    /// Who calls; `None` is the anonymous caller of `AUTH_NULL`.
    pub(crate) fn caller(
        &self,
        credential: &Auth<'_>,
        verifier: &Auth<'_>,
    ) -> Result<Option<Arc<Credentials>>, AuthStat> {
        match credential.flavor {
            AUTH_NULL => return Ok(None),
            AUTH_SYS if verifier.flavor != AUTH_NULL => return Err(AuthStat::BadVerifier),
            AUTH_SYS => {}
            _ => return Err(AuthStat::TooWeak),
        }
        let identity = credential.body.get(STAMP_BYTES..).ok_or(AuthStat::BadCredential)?;
        let mut known = self.0.borrow_mut();
        if let Some((_, credentials)) = known.iter().rev().find(|(body, _)| **body == *identity) {
            return Ok(Some(credentials.clone()));
        }
        let credentials = auth_sys(credential.body).map_err(|_| AuthStat::BadCredential)?;
        let credentials = Arc::new(credentials);
        if known.len() == CALLERS_MAX {
            known.remove(0);
        }
        known.push((identity.into(), credentials.clone()));
        Ok(Some(credentials))
    }
}
