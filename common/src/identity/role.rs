use std::fmt;
use std::str::FromStr;

/// What the holder of a key may do. An operator may do what a reader may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ask for everything that is told of GPUs and of rows.
    Reader,
    /// Send dead letters again, give them up, and see who did.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 2] = [Role::Reader, Role::Operator];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Operator => "operator",
        }
    }

    /// Whether it may do what `other` may.
    pub fn includes(self, other: Role) -> bool {
        self >= other
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or("write reader or operator")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_a_reader_too() {
        assert!(Role::Operator.includes(Role::Reader) && Role::Reader.includes(Role::Reader));
        assert!(!Role::Reader.includes(Role::Operator));
    }
}
