//! The file that knows the keys: a line a key, `name role sha256 [expires]`; `#` begins a remark.

use std::collections::HashSet;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Digest, Key, Role};
use crate::domain::Timestamp;

/// The longest name of a key, in bytes.
const LONGEST: usize = 64;

/// Who has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// What logs and the audit log call whoever uses it.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// What the key is known by.
    pub digest: Digest,
    /// From when on it is worth nothing.
    pub expires: Option<Timestamp>,
}

/// A line that cannot be read. It does not say what stood there: that may be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Wrong {
    /// Which, from 1.
    pub line: usize,
    /// What would work.
    pub reason: String,
}

/// The holders a file names.
///
/// # Errors
/// At the first line that is neither a holder nor a remark, or that names somebody twice: a file that is understood in
/// part would let somebody in or out whom nobody meant.
pub fn read(text: &str) -> Result<Vec<Holder>, Wrong> {
    let (mut holders, mut names, mut digests) = (Vec::new(), HashSet::new(), HashSet::new());
    for (line, text) in (1..).zip(text.lines()) {
        let wrong = |reason: &str| Wrong { line, reason: reason.to_owned() };
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let holder = Holder::read(text).map_err(|reason| wrong(&reason))?;
        if !names.insert(holder.name.clone()) {
            return Err(wrong("this name stands on a line before; a name has one key (alice, alice-2)"));
        }
        if !digests.insert(holder.digest) {
            return Err(wrong("this key stands on a line before"));
        }
        holders.push(holder);
    }
    Ok(holders)
}

impl Holder {
    /// Whether the key is worth something at this time.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Whoever gets this key.
    ///
    /// # Errors
    /// What a name may be.
    pub fn new(name: &str, role: Role, key: &Key, expires: Option<Timestamp>) -> Result<Holder, String> {
        name_of_a_key(name)?;
        Ok(Holder { name: name.to_owned(), role, digest: key.digest(), expires })
    }

    /// One line of the file.
    fn read(text: &str) -> Result<Holder, String> {
        let mut words = text.split_whitespace();
        let (Some(name), Some(role), Some(digest)) = (words.next(), words.next(), words.next()) else {
            return Err("write name, role and SHA-256, as `nexus keys new` prints it".to_owned());
        };
        name_of_a_key(name)?;
        let role = role.parse().map_err(|reason| format!("the role: {reason}"))?;
        if digest.parse::<Key>().is_ok() {
            return Err("here stands a key itself, not its SHA-256: take it out, and make another one".to_owned());
        }
        let digest = digest.parse().map_err(|error| format!("the third word {error}"))?;
        let expires = words.next().map(moment).transpose()?;
        match words.next() {
            Some(_) => Err("there is more than name, role, SHA-256 and the time it expires".to_owned()),
            None => Ok(Holder { name: name.to_owned(), role, digest, expires }),
        }
    }
}

/// As a line of the file.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.role, self.digest)?;
        self.expires.map_or(Ok(()), |expires| write!(f, " {expires}"))
    }
}

/// A name that can stand in a line, a log and a table.
///
/// # Errors
/// What one may be.
fn name_of_a_key(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    match (1..=LONGEST).contains(&name.len()) && name.chars().all(plain) && name.parse::<Key>().is_err() {
        true => Ok(()),
        false => Err(format!("a name is up to {LONGEST} letters, digits or .-_@")),
    }
}

/// When a key expires: `2027-01-31` (its first moment, in UTC) or RFC 3339.
///
/// # Errors
/// What would work.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.into());
    }
    let day = text.parse::<Date>().ok().and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    let day = day.map(|day| day.timestamp().into());
    day.ok_or_else(|| "the time it expires: write 2027-01-31 or 2027-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let (a, b) = (Key::new(Role::Reader).digest(), Key::new(Role::Operator).digest());
        let text = format!("# who may ask\n\nalice reader {a} # until she leaves\nbob operator {b} 2027-01-31\r\n");
        let holders = read(&text).unwrap();
        assert_eq!(holders.len(), 2);
        assert_eq!(holders[1].expires, Some(Timestamp(1_801_353_600_000_000)));
        let written: String = holders.iter().map(|holder| format!("{holder}\n")).collect();
        assert_eq!(read(&written).unwrap(), holders);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn a_key_ends_at_its_time() {
        let holder = read(&format!("a reader {SHA} 1970-01-02")).unwrap().remove(0);
        assert!(holder.is_good(Timestamp(86_399_999_999)) && !holder.is_good(Timestamp(86_400_000_000)));
    }

    #[test]
    fn a_line_that_is_wrong_is_named_and_not_shown() {
        let key = Key::new(Role::Reader);
        let twice = format!("a reader {SHA}\nb reader {SHA}");
        for (text, line, words) in [
            ("alice", 1, "name, role and SHA-256"),
            (&format!("\nalice root {SHA}"), 2, "reader or operator"),
            ("alice reader 123", 1, "no SHA-256"),
            (&format!("alice reader {}", key.reveal()), 1, "a key itself"),
            (&format!("{} reader {SHA}", key.reveal()), 1, "a name is"),
            (&format!("al/ice reader {SHA}"), 1, "a name is"),
            (&format!("alice reader {SHA} tomorrow"), 1, "2027-01-31"),
            (&format!("alice reader {SHA} 2027-01-31 x"), 1, "more than"),
            (&format!("a reader {SHA}\na reader {}", key.digest()), 2, "one key"),
            (&twice, 2, "this key"),
        ] {
            let wrong = read(text).unwrap_err();
            assert!(wrong.line == line && wrong.reason.contains(words), "{text}: {wrong}");
            assert!(!wrong.to_string().contains(key.reveal()), "{wrong}");
        }
    }
}
