//! Whom etcd's endpoints must be, and who we are to them, as the files say now.

use std::sync::Arc;

use etcd_client::{Identity, TlsOptions};

use crate::config::{EtcdAccess, Invalid, Password};
use crate::tls::{ClientConfig, Edition, Expiry, Reloaded, Strictness, expiries};

/// What endpoints are connected with.
pub(super) struct Access {
    given: EtcdAccess,
    key: Reloaded<Key>,
}

/// What opens etcd.
pub(super) struct Key {
    /// For endpoints over TLS; `None`: there is none such.
    pub(super) tls: Option<TlsOptions>,
    /// The same, to ask a member why it does not take us.
    pub(super) probe: Option<Arc<ClientConfig>>,
    pub(super) user: Option<(String, Password)>,
    /// When what it is made of ends.
    pub(super) expiries: Vec<Expiry>,
}

impl Access {
    pub(super) fn new(endpoints: &[String], given: &EtcdAccess) -> Result<Access, Invalid> {
        given.check(endpoints)?;
        let (tls, password_file, options) = (given.tls(), given.password_file(), given.clone());
        let secure = endpoints.iter().any(|endpoint| given.is_secure(endpoint));
        let files = tls.files().into_iter().chain(password_file.clone()).collect();
        let key = Reloaded::new("etcd", files, move |contents| {
            let user = match (&options.etcd_user, &password_file, &options.etcd_password) {
                (Some(user), Some(file), _) => Some((user.clone(), contents.secret(file)?.into())),
                (Some(user), None, Some(password)) => Some((user.clone(), password.clone())),
                _ => None,
            };
            if !secure {
                return Ok(Key { tls: None, probe: None, user, expiries: Vec::new() });
            }
            // First, for its errors: the client's own do not say which file is wrong.
            let mut probe = tls.config(contents, Strictness::Name)?;
            probe.alpn_protocols = vec![b"h2".to_vec()];
            let mut speaking = TlsOptions::new().trust_anchors(tls.authorities(contents)?.roots);
            if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
                speaking = speaking.identity(Identity::from_pem(contents.bytes(cert), contents.bytes(key)));
            }
            let expiries = expiries(contents, ("etcd_client", tls.cert.as_ref()), ("etcd_ca", tls.ca.as_ref()))?;
            Ok(Key { tls: Some(speaking), probe: Some(Arc::new(probe)), user, expiries })
        })?;
        Ok(Access { given: given.clone(), key })
    }

    /// Whether this endpoint is spoken to over TLS.
    pub(super) fn is_secure(&self, address: &str) -> bool {
        self.given.is_secure(address)
    }

    /// What opens etcd now.
    pub(super) fn present(&self) -> Edition<Key> {
        self.key.present()
    }

    /// Comes back once this is no longer what opens etcd.
    pub(super) async fn outdates(&self, number: u64) {
        self.key.outdates(number).await;
    }
}
