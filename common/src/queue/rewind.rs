//! REWIND: an operator puts a lane's cursor back, so that its source is read and published again from there.
//!
//! To a producer it looks as if etcd had been restored: its next publish is [`Fate::Rewound`](super::Fate::Rewound), and it
//! opens the lane again where the cursor stands. That is a new run, so nothing is published under a name that was used (I1);
//! what was stored before merges.

use serde_json::Value;

use super::lane::stored;
use super::{Cursor, Keys, Lane};
use crate::etcd::{Client, Compare, CompareOp, Error, Result, Txn, TxnOp};

/// Whoever publishes meanwhile moves the cursor between look and write.
const TRIES: u32 = 100;

impl Lane {
    /// Puts the cursor of a lane back to `rows`, and what it says of its source to what `position` makes of that. Run, epoch
    /// and number stay: by them a producer knows that it was not fenced. A cursor that stands there, or before, stays as it is.
    ///
    /// # Errors
    /// As etcd answers; where the lane was never opened; where it moves faster than we do.
    pub async fn rewind(
        client: &Client,
        keys: &Keys,
        name: &str,
        rows: u64,
        position: impl Fn(&Value) -> Value,
    ) -> Result<()> {
        let key = keys.lane(name);
        for _ in 0..TRIES {
            let Some((cursor, revision)) = stored(client, keys, name).await? else {
                return Err(Error::Refused(format!("etcd has no cursor of lane {name}")));
            };
            if cursor.rows <= rows {
                return Ok(());
            }
            let back = Cursor { rows, position: position(&cursor.position), ..cursor };
            let txn = Txn::new()
                .when([Compare::mod_revision(key.as_str(), CompareOp::Equal, revision)])
                .and_then([TxnOp::put(key.as_str(), back.encode(), None)]);
            match client.txn(txn).await {
                Ok(answer) if answer.succeeded => return Ok(()),
                // Whether it was written tells the next look.
                Ok(_) => {}
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Refused(format!("the cursor of lane {name} moves all the time: stop its streamer, and try again")))
    }
}
