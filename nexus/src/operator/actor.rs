//! Who types: what the audit log calls the user of the command line.

use nexus_common::books::actions::Actor;
use nexus_common::config::hostname;
use nix::unistd::{User, getuid};

/// `user@host`, as the system knows them.
pub(crate) fn actor() -> Actor {
    let uid = getuid();
    let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    Actor { name: format!("{user}@{}", hostname()), request_id: None }
}
