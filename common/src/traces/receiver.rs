//! Who takes traces: its address, whom it must be, and what it is shown.

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::config::{Invalid, Traced};
use crate::tls::{ClientConfig, ClientFiles, File, Reloaded, Strictness};

const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// Where an OpenTelemetry receiver takes traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver(Option<Uri>);

impl FromStr for Receiver {
    type Err = String;

    /// The base address, as the standard has it: `/v1/traces` is appended. Nothing is none.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches('/');
        if text.is_empty() {
            return Ok(Receiver(None));
        }
        let uri = format!("{text}/v1/traces").parse::<Uri>().ok();
        let is_sound = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
        };
        match uri.filter(is_sound) {
            Some(uri) => Ok(Receiver(Some(uri))),
            None => Err("write it as http://localhost:4318 or https://otel.example:4318".to_owned()),
        }
    }
}

/// A receiver, ready to be told: what was configured, found to be sound.
pub(super) struct Target {
    pub(super) uri: Uri,
    /// Whom it must be; `None`: it is told in the clear.
    pub(super) tls: Option<Reloaded<ClientConfig>>,
    /// Shown with each request. Secret: a receiver's key is among them.
    pub(super) headers: HeaderMap,
}

impl Target {
    /// As configured; `None`: nothing is traced.
    ///
    /// # Errors
    /// A file or headers that cannot be used, in one line without anything that stands in them.
    pub(super) fn of(traced: &Traced) -> Result<Option<Target>, Invalid> {
        let Some(Receiver(Some(uri))) = traced.otlp_endpoint.clone() else { return Ok(None) };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            let what = "OTEL_EXPORTER_OTLP_ENDPOINT names a user; what the receiver is shown goes into";
            return Err(Invalid(format!("{what} {HEADERS}")));
        }
        let headers = traced.otlp_headers.as_ref().map(|headers| read(headers.reveal())).transpose()?;
        let ca = File::named(CERTIFICATE, traced.otlp_certificate.as_deref());
        let tls = match (uri.scheme_str(), ca) {
            (Some("https"), ca) => Some(trust(ca)?),
            (_, Some(ca)) => {
                return Err(Invalid(format!(
                    "{ca}: is not looked at, because OTEL_EXPORTER_OTLP_ENDPOINT is no https://"
                )));
            }
            (_, None) => None,
        };
        Ok(Some(Target { uri, tls, headers: headers.unwrap_or_default() }))
    }

    /// Whether somebody between this host and the receiver could read what it is shown.
    pub(super) fn tells_secrets_in_the_clear(&self) -> bool {
        let here = |host: &str| {
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        self.tls.is_none() && !self.headers.is_empty() && !self.uri.host().is_some_and(here)
    }
}

/// The receiver must be the host that was asked for, of an authority of this file or of those the system trusts.
fn trust(ca: Option<File>) -> Result<Reloaded<ClientConfig>, Invalid> {
    let files = ClientFiles { ca, ..ClientFiles::default() };
    Reloaded::new("the receiver of traces", files.files(), move |contents| files.config(contents, Strictness::Name))
}

/// `name=value`, with commas between and values percent-encoded, as the standard has it. An error tells which part cannot be
/// used, and nothing of it.
fn read(text: &str) -> Result<HeaderMap, Invalid> {
    let mut headers = HeaderMap::new();
    for (number, part) in (1..).zip(text.split(',')).filter(|(_, part)| !part.trim().is_empty()) {
        let wrong = |what| Invalid(format!("{HEADERS}: part {number} {what}; write name=value, with commas between"));
        let (name, value) = part.split_once('=').ok_or_else(|| wrong("has no ="))?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong("has a name that is none of a header"))?;
        let value =
            percent_decode_str(value.trim()).decode_utf8().map_err(|_| wrong("is not percent-encoded UTF-8"))?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| wrong("has a value that no header can have"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cret";

    #[test]
    fn a_receiver_is_an_address() {
        let at = |text: &str| text.parse::<Receiver>().map(|Receiver(uri)| uri.map(|uri| uri.to_string()));
        assert_eq!(at("http://localhost:4318"), Ok(Some("http://localhost:4318/v1/traces".to_owned())));
        assert_eq!(at("https://otel:4318/tenant/"), Ok(Some("https://otel:4318/tenant/v1/traces".to_owned())));
        assert_eq!(at(" "), Ok(None));
        for refused in ["localhost:4318", "grpc://otel:4318", "http://", "no address"] {
            assert!(at(refused).is_err_and(|line| line.contains("http://localhost:4318")), "{refused}");
        }
    }

    #[test]
    fn headers_are_read_and_not_shown() {
        let headers = read(&format!("authorization=Bearer%20{SECRET}, x-tenant = a=b ,")).unwrap();
        assert_eq!(headers["authorization"], format!("Bearer {SECRET}"));
        assert_eq!(headers["x-tenant"], "a=b");
        assert!(!format!("{headers:?}").contains(SECRET), "{headers:?}");
        for wrong in [SECRET, "a b=s3cret", "x-key=s3cret%0a", "x-key=s3cret%ff"] {
            let said = read(&format!("x-good=1,{wrong}")).unwrap_err().to_string();
            assert!(said.contains("part 2") && !said.contains(SECRET), "{said}");
        }
        let traced = Traced { otlp_headers: Some(SECRET.to_owned().into()), ..Traced::default() };
        assert!(!format!("{traced:?}").contains(SECRET), "{traced:?}");
    }

    #[test]
    fn a_key_in_the_clear_is_noticed_where_others_could_read_it() {
        let of = |endpoint: &str, headers: Option<&str>| {
            let otlp_headers = headers.map(|headers| headers.to_owned().into());
            let traced = Traced { otlp_endpoint: Some(endpoint.parse().unwrap()), otlp_headers, ..Traced::default() };
            Target::of(&traced).is_ok_and(|target| target.unwrap().tells_secrets_in_the_clear())
        };
        assert!(of("http://otel.example:4318", Some("x-key=1")));
        assert!(!of("http://otel.example:4318", None));
        for here in ["http://localhost:4318", "http://127.0.0.1:4318", "http://[::1]:4318"] {
            assert!(!of(here, Some("x-key=1")), "{here}");
        }
    }

    #[test]
    fn what_would_not_be_looked_at_is_refused() {
        let of = |endpoint: &str, certificate: Option<&str>| {
            let traced = Traced {
                otlp_endpoint: Some(endpoint.parse().unwrap()),
                otlp_certificate: certificate.map(Into::into),
                ..Traced::default()
            };
            Target::of(&traced).map(|target| target.is_some()).map_err(|Invalid(line)| line)
        };
        assert_eq!((of("", Some("/no/ca.pem")), of("http://localhost:4318", None)), (Ok(false), Ok(true)));
        assert!(of("http://localhost:4318", Some("/ca.pem")).unwrap_err().contains("is not looked at"));
        assert!(
            of("https://localhost:4318", Some("/no/ca.pem")).unwrap_err().contains("CERTIFICATE=/no/ca.pem: No such")
        );
        let said = of("http://me:s3cret@localhost:4318", None).unwrap_err();
        assert!(said.contains(HEADERS) && !said.contains(SECRET), "{said}");
    }
}
