//! What it can be told.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args};
use nexus_common::config::{some_time, switch};
use nexus_common::db::{self, Password};

/// Who may ask, how often, and what operators may do.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Config {
    /// The file of API keys (`nexus keys new` makes one); it is read again when it changes. Without it nobody is asked for a
    /// key, which only an address of this host may offer
    #[arg(long, env = "API_KEYS_FILE")]
    pub api_keys_file: Option<PathBuf>,

    /// Let everybody read who comes without a key, also from other hosts
    #[arg(long, env = "ALLOW_ANONYMOUS", default_value = "false", value_parser = switch, action = ArgAction::Set)]
    pub allow_anonymous: bool,

    /// Serve /metrics without a key; by default where the gateway listens on this host alone and has no keys
    #[arg(long, env = "METRICS_OPEN", value_parser = switch, action = ArgAction::Set)]
    pub metrics_open: Option<bool>,

    /// Requests of one client (by its key, else by its address) in a second, over a longer time; 0 is without limit. Clients
    /// without a key on this host have none
    #[arg(long, env = "RATE_LIMIT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rate_limit: u32,

    /// Requests of one client that may come at once
    #[arg(long, env = "RATE_BURST", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate_burst: u32,

    /// Proxies whose X-Forwarded-For says who the client is: addresses and networks (10.0.0.0/8), comma separated
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,

    /// Let keys of operators redrive and purge dead letters over HTTP; needs API_KEYS_FILE
    #[arg(long, env = "ENABLE_OPERATOR_ROUTES", default_value = "false", value_parser = switch, action = ArgAction::Set)]
    pub enable_operator_routes: bool,

    /// Database user for what operators do; without it DB_USER
    #[arg(long, env = "OPERATOR_DB_USER")]
    pub operator_db_user: Option<String>,

    /// Its password; without it DB_PASSWORD
    #[arg(long, env = "OPERATOR_DB_PASSWORD", hide_env_values = true)]
    pub operator_db_password: Option<Password>,

    /// A file with the password instead, read again when it changes
    #[arg(long, env = "OPERATOR_DB_PASSWORD_FILE")]
    pub operator_db_password_file: Option<PathBuf>,

    /// How long a message of a redrive waits in the queue before it expires (which is recorded)
    #[arg(long, env = "REDRIVE_TTL", default_value = "1h", value_parser = some_time)]
    pub redrive_ttl: Duration,

    /// A redrive waits while so many rows are queued
    #[arg(long, env = "REDRIVE_HIGH_WATER_ROWS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub redrive_high_water_rows: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            api_keys_file: None,
            allow_anonymous: false,
            metrics_open: None,
            rate_limit: 200,
            rate_burst: 1_000,
            trusted_proxies: Vec::new(),
            enable_operator_routes: false,
            operator_db_user: None,
            operator_db_password: None,
            operator_db_password_file: None,
            redrive_ttl: Duration::from_secs(3_600),
            redrive_high_water_rows: 1_000_000,
        }
    }
}

impl Config {
    /// The database as operators come to it: with their user and their password, where they have any, whatever file those
    /// who read have.
    pub(crate) fn operators(&self, readers: &db::Config) -> db::Config {
        let mut db = readers.clone();
        db.user = self.operator_db_user.clone().unwrap_or(db.user);
        if let Some(password) = &self.operator_db_password {
            (db.password, db.password_file) = (password.clone(), None);
        }
        if let Some(file) = &self.operator_db_password_file {
            (db.password_file, db.password_file_variable) = (Some(file.clone()), "OPERATOR_DB_PASSWORD_FILE");
        }
        db
    }
}

/// Addresses that begin alike: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// Whether the address is one of them.
    pub fn holds(self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, bits: u32| {
            let rest = bits - self.prefix_bits;
            rest == bits || one >> rest == other >> rest
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(u32::from(own).into(), u32::from(other).into(), 32),
            // Shifting all 128 bits away would be no shift: `same` looks at nothing then.
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.into(), other.into(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address and no network; write 10.0.0.1 or 10.0.0.0/8");
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| wrong())?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.unwrap_or(most);
        if prefix_bits > most { Err(wrong()) } else { Ok(Network { address, prefix_bits }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose file it is decides by whom a password is shown: a reader's file must not be an operator's password.
    #[test]
    fn operators_have_a_password_of_their_own() {
        let readers = db::Config { user: "reads".into(), password_file: Some("/readers".into()), ..Default::default() };
        let of = |password: Option<&str>, file: Option<&str>| {
            let asked = Config {
                operator_db_user: Some("acts".to_owned()),
                operator_db_password: password.map(|password| password.to_owned().into()),
                operator_db_password_file: file.map(PathBuf::from),
                ..Config::default()
            };
            let db = asked.operators(&readers);
            assert_eq!(db.user, "acts");
            (db.password.reveal().to_owned(), db.password_file, db.password_file_variable)
        };
        let [known, operators] = ["DB_PASSWORD_FILE", "OPERATOR_DB_PASSWORD_FILE"];
        assert_eq!(of(Some("own"), None), ("own".to_owned(), None, known));
        assert_eq!(of(Some("own"), Some("/own")), ("own".to_owned(), Some("/own".into()), operators));
        assert_eq!(of(None, Some("/own")).1, Some("/own".into()));
        assert_eq!(of(None, None).1, Some("/readers".into()), "where they have none of their own");
    }

    #[test]
    fn a_network_holds_its_addresses() {
        for (network, address, holds) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
        ] {
            assert_eq!(
                network.parse::<Network>().unwrap().holds(address.parse().unwrap()),
                holds,
                "{network} {address}"
            );
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0", "::/129", "10.0.0.0/x", "host"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
