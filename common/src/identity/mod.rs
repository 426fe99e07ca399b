//! Who asks: API keys, what their holders may do, and the file that knows them.
//!
//! A key is 256 random bits behind a prefix that says what it is (`nxk_reader_…`), so that people and scanners of leaked
//! secrets recognise one. It is shown once, where it is made; what is kept is its SHA-256. A slow hash with a salt is for
//! passwords, which are few and can be guessed: nobody guesses 256 random bits, two keys never have one digest, and a
//! request must not cost what a slow hash costs. A key is looked up by its digest, so that how long the look takes tells
//! something of digests at most, and from those no key follows.

mod cut;
mod file;
mod key;
mod role;

pub use cut::{cut, cut_text};
pub use file::{Holder, Wrong, moment, read};
pub use key::{Digest, Key, NoKey};
pub use role::Role;
