//! Why a TLS connection did not come about, in words that say what to look at.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// What a TLS failure among this error's causes means; `None`: it is about something else. `ca` and `cert` are the
/// variables that say who is trusted and who we are.
pub fn explain(error: &(dyn StdError + 'static), ca: &str, cert: &str) -> Option<String> {
    let (mut next, mut alert) = (Some(error), None);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref::<Error>() {
            return Some(words(tls, ca, cert));
        }
        // HTTP/2 keeps the text of what broke a connection, and not the error.
        alert = alert.or_else(|| Some(cause.to_string().split_once("fatal alert: ")?.1.to_owned()));
        let inside = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => cause.source(),
        };
    }
    let alert = alert?;
    let name: String = alert.chars().take_while(char::is_ascii_alphanumeric).collect();
    Some(if is_about_us(&name) { refused(&name, cert) } else { ended(&name) })
}

fn words(error: &Error, ca: &str, cert: &str) -> String {
    match error {
        Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet".to_owned()
            }
            CertificateError::UnknownIssuer => {
                format!("the server's certificate is of an authority that is not trusted: {ca} names those that are")
            }
            CertificateError::NotValidForNameContext { expected, presented } => format!(
                "the server's certificate is for {}, not for {}",
                if presented.is_empty() { "nobody".to_owned() } else { names(presented) },
                expected.to_str()
            ),
            CertificateError::NotValidForName => "the server's certificate is for another host".to_owned(),
            reason => format!("the server's certificate cannot be trusted: {reason}"),
        },
        Error::AlertReceived(alert) => match is_ours(*alert) {
            true => refused(&format!("{alert:?}"), cert),
            false => ended(&format!("{alert:?}")),
        },
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "what answers there does not speak TLS".to_owned()
        }
        error => format!("TLS: {error}"),
    }
}

/// As people write them: they come as `DnsName("gw.example")` and `IpAddress(10.0.0.1)`.
fn names(presented: &[String]) -> String {
    let bare = presented.iter().map(|name| {
        let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inside.map_or(name.as_str(), |inside| inside.trim_matches('"'))
    });
    bare.collect::<Vec<_>>().join(", ")
}

/// Is this said of a client's certificate?
fn is_ours(alert: AlertDescription) -> bool {
    is_about_us(&format!("{alert:?}"))
}

fn is_about_us(alert: &str) -> bool {
    const OURS: [&str; 8] = [
        "BadCertificate",
        "UnsupportedCertificate",
        "CertificateRevoked",
        "CertificateExpired",
        "CertificateUnknown",
        "CertificateRequired",
        "UnknownCA",
        "AccessDenied",
    ];
    OURS.contains(&alert)
}

fn refused(alert: &str, cert: &str) -> String {
    format!("the server refuses our certificate, or misses one ({alert}): {cert} names ours")
}

fn ended(alert: &str) -> String {
    format!("the server ends the handshake ({alert})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(error: Error) -> Option<String> {
        explain(&io::Error::new(io::ErrorKind::InvalidData, error), "CA_FILE", "CERT_FILE")
    }

    #[test]
    fn the_variable_to_look_at_is_named() {
        let unknown = explained(Error::InvalidCertificate(CertificateError::UnknownIssuer)).unwrap();
        assert!(unknown.contains("CA_FILE") && !unknown.contains("CERT_FILE"), "{unknown}");
        let refused = explained(Error::AlertReceived(AlertDescription::UnknownCA)).unwrap();
        assert!(refused.contains("CERT_FILE") && refused.contains("UnknownCA"), "{refused}");
        let told = io::Error::other("connection error: received fatal alert: CertificateExpired");
        assert!(explain(&told, "CA_FILE", "CERT_FILE").unwrap().contains("(CertificateExpired): CERT_FILE"));
    }

    #[test]
    fn hosts_are_named_as_people_write_them() {
        let presented = ["DnsName(\"gw.example\")", "IpAddress(10.0.0.1)", "odd"].map(str::to_owned);
        assert_eq!(names(&presented), "gw.example, 10.0.0.1, odd");
    }

    #[test]
    fn another_failure_is_left_alone() {
        assert_eq!(explain(&io::Error::other("connection refused"), "CA_FILE", "CERT_FILE"), None);
    }
}
