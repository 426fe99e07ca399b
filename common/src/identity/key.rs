use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::Role;

/// What every key begins with.
const PREFIX: &str = "nxk_";
/// Random bytes of a key.
const BYTES: usize = 32;

/// A key: a secret, in no debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// What is kept of a key: its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no key, or no digest; it does not say what the text was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no {0}")]
pub struct NoKey(&'static str);

impl Key {
    /// A new one. The role in it is for people: what its holder may do is what the file says.
    pub fn new(role: Role) -> Self {
        let secret: [u8; BYTES] = rand::random();
        Key(format!("{PREFIX}{role}_{}", URL_SAFE_NO_PAD.encode(secret)))
    }

    /// The key itself: for whoever made it, and for the request it is sent with.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What it is known by.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let (role, secret) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(NoKey("API key"))?;
        let sound =
            role.parse::<Role>().is_ok() && URL_SAFE_NO_PAD.decode(secret).is_ok_and(|secret| secret.len() == BYTES);
        if sound { Ok(Key(text.to_owned())) } else { Err(NoKey("API key")) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Digest {
    /// Of any secret that has as many random bits.
    pub fn of(secret: &str) -> Self {
        Digest(Sha256::digest(secret.as_bytes()).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let wrong = NoKey("SHA-256 in hex");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        let mut digest = [0; 32];
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong)?;
        }
        Ok(Digest(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_recognised_and_hides_itself() {
        let (one, other) = (Key::new(Role::Reader), Key::new(Role::Reader));
        assert!(one.reveal().starts_with("nxk_reader_") && one.reveal().len() == 54, "{}", one.reveal());
        assert!(one != other && one.digest() != other.digest());
        assert_eq!(one.reveal().parse(), Ok(one.clone()));
        assert_eq!(format!("{one:?}"), "(hidden)");
    }

    #[test]
    fn what_is_no_key_is_not_looked_up() {
        let key = Key::new(Role::Operator);
        let text = key.reveal();
        for wrong in ["", "nxk_", "nxk_operator_", "secret", &text[..53], &text[1..], &text.replace("operator", "root")]
        {
            assert_eq!(wrong.parse::<Key>(), Err(NoKey("API key")), "{wrong}");
        }
        assert!(format!("{text}A").parse::<Key>().is_err() && format!(" {text}").parse::<Key>().is_err());
    }

    #[test]
    fn a_digest_is_written_as_sha256sum_does() {
        let digest = Digest::of("abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert!(text[1..].parse::<Digest>().is_err() && text.replace('b', "x").parse::<Digest>().is_err());
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }
}
