//! Who etcd must be, and who we are to it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{Invalid, Password};
use crate::tls::{ClientConfig, ClientFiles, Contents, File, Strictness};

/// How etcd is reached: the same for every component and command.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct EtcdAccess {
    /// Authorities (PEM) one of which etcd's certificate must be of; without it those this system trusts. With it, or with
    /// ETCD_CERT_FILE, an endpoint without a scheme is https
    #[arg(long, env = "ETCD_CA_FILE")]
    pub etcd_ca_file: Option<PathBuf>,

    /// Our certificate (PEM, with those between it and the authority), where etcd wants one
    #[arg(long, env = "ETCD_CERT_FILE")]
    pub etcd_cert_file: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, env = "ETCD_KEY_FILE")]
    pub etcd_key_file: Option<PathBuf>,

    /// etcd user, where etcd asks for one
    #[arg(long, env = "ETCD_USER")]
    pub etcd_user: Option<String>,

    /// The user's password
    #[arg(long, env = "ETCD_PASSWORD", hide_env_values = true)]
    pub etcd_password: Option<Password>,

    /// A file with the password instead, read again when it changes
    #[arg(long, env = "ETCD_PASSWORD_FILE")]
    pub etcd_password_file: Option<PathBuf>,
}

impl EtcdAccess {
    /// The files of certificates and keys.
    pub fn tls(&self) -> ClientFiles {
        ClientFiles {
            ca: File::named("ETCD_CA_FILE", self.etcd_ca_file.as_deref()),
            cert: File::named("ETCD_CERT_FILE", self.etcd_cert_file.as_deref()),
            key: File::named("ETCD_KEY_FILE", self.etcd_key_file.as_deref()),
        }
    }

    /// The file of the password.
    pub fn password_file(&self) -> Option<File> {
        File::named("ETCD_PASSWORD_FILE", self.etcd_password_file.as_deref())
    }

    /// Whether anything here is about TLS.
    pub fn speaks_tls(&self) -> bool {
        self.etcd_ca_file.is_some() || self.etcd_cert_file.is_some()
    }

    /// Whether the parts go together.
    ///
    /// # Errors
    /// The part that is missing, or of no use.
    pub fn check(&self, endpoints: &[String]) -> Result<(), Invalid> {
        self.tls().paired("ETCD_CERT_FILE", "ETCD_KEY_FILE")?;
        let plain = endpoints.iter().find(|endpoint| endpoint.trim().starts_with("http://"));
        if let (true, Some(plain)) = (self.speaks_tls(), plain) {
            return Err(Invalid(format!(
                "ETCD_ENDPOINTS={plain} is spoken to without TLS, but ETCD_CA_FILE or ETCD_CERT_FILE is set: write https://, or \
                 unset them"
            )));
        }
        match (&self.etcd_user, self.etcd_password.is_some() || self.etcd_password_file.is_some()) {
            (Some(user), false) => {
                Err(Invalid(format!("ETCD_USER={user} has no password: set ETCD_PASSWORD or ETCD_PASSWORD_FILE")))
            }
            (None, true) => Err(Invalid("a password for etcd is set, but no user: set ETCD_USER".to_owned())),
            _ => Ok(()),
        }
    }

    /// Whether this endpoint is spoken to over TLS.
    pub fn is_secure(&self, endpoint: &str) -> bool {
        endpoint.starts_with("https://") || (self.speaks_tls() && !endpoint.starts_with("http://"))
    }

    /// For those that ask etcd's HTTP pages, as the files are now.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn https(&self) -> Result<Arc<ClientConfig>, Invalid> {
        let files = self.tls();
        Ok(Arc::new(files.config(&Contents::read(&files.files())?, Strictness::Name)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_do_not_go_together_are_one_line() {
        let plain = ["localhost:2379".to_owned(), "http://localhost:2380".to_owned()];
        let path = || Some(PathBuf::from("/a.pem"));
        let sound = EtcdAccess { etcd_ca_file: path(), ..EtcdAccess::default() };
        assert!(sound.check(&plain[..1]).is_ok() && sound.is_secure("localhost:2379"));
        assert!(!EtcdAccess::default().is_secure("localhost:2379"));
        for (access, word) in [
            (EtcdAccess { etcd_cert_file: path(), ..EtcdAccess::default() }, "set ETCD_KEY_FILE"),
            (EtcdAccess { etcd_key_file: path(), ..EtcdAccess::default() }, "set ETCD_CERT_FILE"),
            (sound, "ETCD_ENDPOINTS=http://localhost:2380"),
            (EtcdAccess { etcd_user: Some("nexus".to_owned()), ..EtcdAccess::default() }, "ETCD_PASSWORD_FILE"),
            (EtcdAccess { etcd_password: Some("s3cret".to_owned().into()), ..EtcdAccess::default() }, "set ETCD_USER"),
        ] {
            let said = access.check(&plain).unwrap_err().to_string();
            assert!(said.contains(word) && !said.contains("s3cret") && !said.contains('\n'), "{said}");
        }
    }
}
