use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args};

use crate::config::{duration, switch};

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

    /// How long one connection attempt may take
    #[arg(id = "db_connect_timeout", value_name = "DB_CONNECT_TIMEOUT", long = "db-connect-timeout", env = "DB_CONNECT_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub connect_timeout: Duration,

    /// How long a start waits for a database that is not up yet
    #[arg(id = "db_startup_timeout", value_name = "DB_STARTUP_TIMEOUT", long = "db-startup-timeout", env = "DB_STARTUP_TIMEOUT", default_value = "1m", value_parser = duration)]
    pub startup_timeout: Duration,

    /// Bring the database to this version's schema at start; off where the user may not change it
    #[arg(id = "db_migrate", value_name = "DB_MIGRATE", long = "db-migrate", env = "DB_MIGRATE", default_value = "true", value_parser = switch, action = ArgAction::Set)]
    pub migrate: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            host: "localhost".to_owned(),
            port: 5433,
            name: "telemetry".to_owned(),
            user: "telemetry".to_owned(),
            password: "password".to_owned().into(),
            connect_timeout: Duration::from_secs(5),
            startup_timeout: Duration::from_secs(60),
            migrate: true,
        }
    }
}

impl Config {
    /// For the driver: address, credentials and the timeouts of the socket, without session settings.
    pub(super) fn driver(&self, application: &str) -> tokio_postgres::Config {
        let mut driver = tokio_postgres::Config::new();
        driver
            .host(&self.host)
            .port(self.port)
            .dbname(&self.name)
            .user(&self.user)
            .password(&self.password.0)
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

/// A password: for the driver, and in no debug output, log or help text.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself, for those that must hand it on (the environment of a child process, `initdb`).
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Password(text)
    }
}

impl FromStr for Password {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Password(text.to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
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
}
