use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use super::{Access, Shared};
use crate::config::{Invalid, Password, duration, switch};
use crate::tls::{ClientFiles, File, Strictness};

const PASSWORD_FILE: &str = "DB_PASSWORD_FILE";

/// Where PostgreSQL is and how long to wait for it.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Config {
    /// PostgreSQL host, or the folder of its Unix socket
    #[arg(id = "db_host", value_name = "DB_HOST", long = "db-host", env = "DB_HOST", default_value = "localhost")]
    pub host: String,

    /// PostgreSQL port
    #[arg(id = "db_port", value_name = "DB_PORT", long = "db-port", env = "DB_PORT", default_value_t = 5433)]
    pub port: u16,

    /// Database name
    #[arg(id = "db_name", value_name = "DB_NAME", long = "db-name", env = "DB_NAME", default_value = "telemetry")]
    pub name: String,

    /// Database user
    #[arg(id = "db_user", value_name = "DB_USER", long = "db-user", env = "DB_USER", default_value = "telemetry")]
    pub user: String,

    /// Database password
    #[arg(
        id = "db_password",
        value_name = "DB_PASSWORD",
        long = "db-password",
        env = "DB_PASSWORD",
        default_value = "password",
        hide_env_values = true
    )]
    pub password: Password,

    /// A file with the password instead, read again when it changes
    #[arg(
        id = "db_password_file",
        value_name = "DB_PASSWORD_FILE",
        long = "db-password-file",
        env = "DB_PASSWORD_FILE"
    )]
    pub password_file: Option<PathBuf>,

    /// The variable that named this file, for what is said of it
    #[arg(skip = PASSWORD_FILE)]
    pub password_file_variable: &'static str,

    /// TLS, as psql knows it: disable, prefer (where the server has it), require (encrypted, whoever answers), verify-ca (an
    /// authority of DB_CA_FILE vouches for the server), verify-full (and it is the host that was asked for)
    #[arg(
        id = "db_sslmode",
        value_name = "DB_SSLMODE",
        long = "db-sslmode",
        env = "DB_SSLMODE",
        default_value = "prefer",
        value_enum
    )]
    pub ssl_mode: SslMode,

    /// Authorities (PEM) one of which PostgreSQL's certificate must be of; without it those this system trusts
    #[arg(id = "db_ca_file", value_name = "DB_CA_FILE", long = "db-ca-file", env = "DB_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// Our certificate (PEM, with those between it and the authority), where PostgreSQL wants one
    #[arg(id = "db_cert_file", value_name = "DB_CERT_FILE", long = "db-cert-file", env = "DB_CERT_FILE")]
    pub cert_file: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(id = "db_key_file", value_name = "DB_KEY_FILE", long = "db-key-file", env = "DB_KEY_FILE")]
    pub key_file: Option<PathBuf>,

    /// How long one connection attempt may take
    #[arg(id = "db_connect_timeout", value_name = "DB_CONNECT_TIMEOUT", long = "db-connect-timeout", env = "DB_CONNECT_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub connect_timeout: Duration,

    /// How long a start waits for a database that is not up yet
    #[arg(id = "db_startup_timeout", value_name = "DB_STARTUP_TIMEOUT", long = "db-startup-timeout", env = "DB_STARTUP_TIMEOUT", default_value = "1m", value_parser = duration)]
    pub startup_timeout: Duration,

    /// Bring the database to this version's schema at start; off where the user may not change it
    #[arg(id = "db_migrate", value_name = "DB_MIGRATE", long = "db-migrate", env = "DB_MIGRATE", default_value = "true", value_parser = switch, action = ArgAction::Set)]
    pub migrate: bool,

    #[allow(missing_docs)]
    #[arg(skip)]
    pub shared: Shared,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            host: "localhost".to_owned(),
            port: 5433,
            name: "telemetry".to_owned(),
            user: "telemetry".to_owned(),
            password: "password".to_owned().into(),
            password_file: None,
            password_file_variable: PASSWORD_FILE,
            ssl_mode: SslMode::Prefer,
            ca_file: None,
            cert_file: None,
            key_file: None,
            connect_timeout: Duration::from_secs(5),
            startup_timeout: Duration::from_secs(60),
            migrate: true,
            shared: Shared::default(),
        }
    }
}

impl Config {
    /// How each connection is made: with TLS as far as asked for, and with the password and the certificates of the files.
    ///
    /// # Errors
    /// A file that cannot be used, parts that do not go together: what a person has to change.
    pub fn access(&self) -> Result<Access, Invalid> {
        self.tls().paired("DB_CERT_FILE", "DB_KEY_FILE")?;
        let unused = match (self.ssl_mode, &self.ca_file, &self.cert_file) {
            (SslMode::Disable, _, Some(_)) => {
                Some(("DB_CERT_FILE is never shown", "require, verify-ca or verify-full"))
            }
            (SslMode::Disable | SslMode::Prefer | SslMode::Require, Some(_), _) => {
                Some(("DB_CA_FILE is not looked at", "verify-full, or verify-ca"))
            }
            _ => None,
        };
        if let Some((what, better)) = unused {
            return Err(Invalid(format!("with DB_SSLMODE={} {what}: write {better}", self.ssl_mode.as_str())));
        }
        self.shared.access(self)
    }

    /// The file that the password is in.
    pub(super) fn password_file(&self) -> Option<File> {
        File::named(self.password_file_variable, self.password_file.as_deref())
    }

    /// The files of certificates and keys.
    pub(super) fn tls(&self) -> ClientFiles {
        ClientFiles {
            ca: File::named("DB_CA_FILE", self.ca_file.as_deref()),
            cert: File::named("DB_CERT_FILE", self.cert_file.as_deref()),
            key: File::named("DB_KEY_FILE", self.key_file.as_deref()),
        }
    }

    /// For the driver: address, user, and the timeouts of the socket, without password and session settings.
    pub(super) fn driver(&self, application: &str) -> tokio_postgres::Config {
        let mut driver = tokio_postgres::Config::new();
        driver
            .host(&self.host)
            .port(self.port)
            .dbname(&self.name)
            .user(&self.user)
            .ssl_mode(self.ssl_mode.for_driver())
            .application_name(application)
            .connect_timeout(self.connect_timeout)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(20));
        driver
    }

    /// `user@host:port/name`: which database, for people.
    pub fn place(&self) -> String {
        format!("{}@{}:{}/{}", self.user, self.host, self.port, self.name)
    }
}

/// How far TLS goes: the words of psql, with their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }

    pub(super) fn strictness(self) -> Strictness {
        match self {
            SslMode::Disable | SslMode::Prefer | SslMode::Require => Strictness::None,
            SslMode::VerifyCa => Strictness::Authority,
            SslMode::VerifyFull => Strictness::Name,
        }
    }

    /// The driver knows whether to speak TLS; whom to trust is the connector's affair.
    fn for_driver(self) -> tokio_postgres::config::SslMode {
        match self {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => tokio_postgres::config::SslMode::Require,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        db: Config,
    }

    #[test]
    fn the_password_is_not_shown() {
        let db = Program::parse_from(["program", "--db-password", "s3cret", "--db-port", "1"]).db;
        assert_eq!(db.password.reveal(), "s3cret");
        let shown = format!("{db:?} {:?} {}", db.driver("test"), db.place());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("telemetry@localhost:1/telemetry"), "{shown}");
    }

    #[test]
    fn flags_and_default_agree() {
        let (parsed, default) = (Program::parse_from(["program"]).db, Config::default());
        assert_eq!(format!("{parsed:?}"), format!("{default:?}"));
        assert_eq!(parsed.password, default.password);
    }

    #[test]
    fn a_certificate_that_nobody_looks_at_is_refused() {
        for (arguments, word) in [
            (&["--db-ca-file", "/ca.pem"][..], "with DB_SSLMODE=prefer DB_CA_FILE is not looked at: write verify-full"),
            (
                &["--db-sslmode", "disable", "--db-cert-file", "/c.pem", "--db-key-file", "/k.pem"],
                "DB_CERT_FILE is never",
            ),
            (&["--db-cert-file", "/c.pem"], "set DB_KEY_FILE"),
            (&["--db-sslmode", "verify-full", "--db-ca-file", "/no/ca.pem"], "DB_CA_FILE=/no/ca.pem: No such file"),
            (&["--db-password-file", "/no/password"], "DB_PASSWORD_FILE=/no/password: No such file"),
        ] {
            let db = Program::parse_from([&["program"], arguments].concat()).db;
            let said = db.access().unwrap_err().to_string();
            assert!(said.contains(word) && !said.contains('\n'), "{arguments:?}: {said}");
        }
    }
}
